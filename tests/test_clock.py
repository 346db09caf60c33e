"""Ids in the order of time, whatever the clock does."""

from __future__ import annotations

import os
import re
import threading

import pytest

from hierstore import SessionStore, clock


@pytest.fixture(autouse=True)
def fresh_ids(monkeypatch) -> None:
    """Ids remember the latest time they saw: here each test starts at zero and gives the rest back."""
    for name in ("_last_ms", "_prefix", "_origin", "_serial"):
        monkeypatch.setattr(clock, name, getattr(clock, name))
    monkeypatch.setattr(clock, "_last_ms", 0)


def at(monkeypatch, seconds: float) -> str:
    monkeypatch.setattr(clock, "now", lambda: seconds)
    return clock.new_id()


def test_an_id_is_safe_as_a_file_name() -> None:
    assert re.fullmatch(r"[0-9a-f]{30}", clock.new_id())


def test_ids_are_ordered_by_time_past_2039_and_past_the_century(monkeypatch) -> None:
    """behaviours 33"""
    years = [2000, 2025, 2037, 2038, 2039, 2040, 2106, 2107, 2262, 2500, 9999]
    ids = [at(monkeypatch, (year - 1970) * 31_556_952.0) for year in years]
    assert ids == sorted(ids)
    assert {len(made) for made in ids} == {30}


def test_ids_keep_increasing_when_the_clock_steps_back(monkeypatch) -> None:
    """behaviours 33"""
    ids = [at(monkeypatch, second) for second in (5000.0, 4000.0, 1.0, 4999.999, 5000.0, 5000.001)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_many_ids_of_one_millisecond_are_unique_and_in_order(monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 7.0)
    ids = [clock.new_id() for _ in range(50_000)]
    assert ids == sorted(set(ids))


def test_ids_made_by_many_threads_are_unique() -> None:
    made: list[list[str]] = [[] for _ in range(8)]
    barrier = threading.Barrier(8)

    def work(mine: list[str]) -> None:
        barrier.wait()
        mine.extend([clock.new_id() for _ in range(5_000)])

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for mine in made for one in mine}) == 40_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_ids_made_by_forked_children_are_unique(monkeypatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: 7.0)
    clock.new_id()
    pipes = []
    for _ in range(3):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(into, ",".join(clock.new_id() for _ in range(100)).encode())
            os._exit(0)
        os.close(into)
        pipes.append((child, out))
    ids = [clock.new_id() for _ in range(100)]
    for child, out in pipes:
        with os.fdopen(out) as answers:
            ids += answers.read().split(",")
        os.waitpid(child, 0)
    assert len(set(ids)) == 400


def test_sessions_made_without_an_id_are_unique_and_in_order_of_time(store: SessionStore) -> None:
    ids = [store.create().id for _ in range(20)]
    assert ids == sorted(set(ids))
