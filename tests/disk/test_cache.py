"""The one cache: bounded in bytes, never in the way of a hit, value and stamp together."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore.disk import files
from hierstore.naming import stripe_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import Session, SessionStore

TEXT = "x" * 1000


def _filled(store: SessionStore, name: str, count: int = 100) -> Session:
    session = store.create(name)
    session.extend([{"role": "user", "content": TEXT}] * count)
    return session


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    read = files.read

    def counting(fd: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return read(fd, size, offset)

    monkeypatch.setattr(files, "read", counting)
    return sizes


def test_a_second_read_reads_no_byte(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _filled(store, "a")
    sizes = _count_reads(monkeypatch)
    assert len(session.messages) == 100
    assert session.messages[99].content == TEXT
    assert sizes == []


def test_what_another_store_appended_is_all_that_is_read(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = open_store(), open_store()
    session = _filled(ours, "a")
    theirs.get("a").append("user", "new")
    sizes = _count_reads(monkeypatch)
    assert session.messages[-1].content == "new"
    assert len(sizes) == 1
    assert sizes[0] < 300


def test_the_cache_is_bounded_in_bytes_and_drops_what_was_not_used_for_longest(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(cache_bytes=1_000_000)
    sessions = [_filled(store, f"s{number}") for number in range(20)]
    engine = store._engine
    assert engine.cache.size_bytes <= 1_000_000
    held = [session.id for session in sessions if session._entry.head is not None]
    assert 3 <= len(held) < 20
    assert sessions[-1].id in held
    assert sessions[0].id not in held
    # And what was dropped comes back whole.
    assert [len(session.messages) for session in sessions] == [100] * 20
    assert engine.cache.size_bytes <= 1_000_000


def test_a_session_in_use_outlives_those_that_are_not(open_store: Callable[..., SessionStore]) -> None:
    store = open_store(cache_bytes=1_000_000)
    favourite = _filled(store, "favourite")
    for number in range(20):
        assert len(favourite.messages) == 100
        _filled(store, f"s{number}")
    assert favourite._entry.head is not None


def test_the_latest_session_is_kept_even_if_it_is_larger_than_the_cache(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(cache_bytes=1000)
    session = _filled(store, "large")
    sizes = _count_reads(monkeypatch)
    session.append("user", "more")
    assert len(session.messages) == 101
    assert sizes == []


def test_a_session_that_grows_is_counted_as_it_grows(open_store: Callable[..., SessionStore]) -> None:
    store = open_store()
    session = store.create("a")
    before = store._engine.cache.size_bytes
    for _ in range(400):
        session.append("user", TEXT)
    assert store._engine.cache.size_bytes - before > 200_000


def test_forks_of_one_history_are_counted_once(store: SessionStore) -> None:
    session = _filled(store, "a", 1000)
    before = store._engine.cache.size_bytes
    forks = [session.fork(f"fork-{number}") for number in range(50)]
    # Once for the parent and all the forks together.
    assert store._engine.cache.size_bytes < 1.2 * before
    # The parent's entry goes, its list stays for the forks.
    store._engine.cache.forget(session._entry)
    assert 0.9 * before < store._engine.cache.size_bytes < 1.2 * before
    assert len(session.messages) == 1000
    assert 1.8 * before < store._engine.cache.size_bytes < 2.2 * before, "two lists now"
    for fork in forks:
        store.delete(fork)
    assert store._engine.cache.size_bytes < 1.1 * before


def test_the_parent_stays_cached_while_it_is_forked(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(cache_bytes=1_000_000)
    session = _filled(store, "a", 500)
    assert 0.6e6 < store._engine.cache.size_bytes < 1e6
    sizes = _count_reads(monkeypatch)
    for number in range(10):
        session.fork(f"fork-{number}").append("user", "x")
    assert len(session.messages) == 500
    assert sizes == []


def test_what_the_cache_counts_is_nothing_when_nothing_is_held(open_store: Callable[..., SessionStore]) -> None:
    store = open_store(cache_bytes=300_000)
    chance = random.Random(7)
    sessions = [_filled(store, f"s{number}", 200) for number in range(4)]
    cache = store._engine.cache
    for number in range(200):
        session = chance.choice(sessions)
        match chance.choice("frrd"):
            case "f":
                sessions.append(session.fork(f"f{number}"))
            case "r":
                assert session.messages[0]
            case "d" if len(sessions) > 4:
                store.delete(sessions.pop(), children="orphan")
    store._engine.cache.clear()
    assert cache.size_bytes == 0
    assert not cache._shared
    assert not cache._lent


def test_a_miss_on_one_session_does_not_block_a_hit_on_another(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    slow, quick = _filled(store, "slow"), _filled(store, "quick")
    assert stripe_of("slow") != stripe_of("quick")
    assert len(quick.messages) == 100
    reading, go_on = threading.Event(), threading.Event()
    read = files.read

    def stalling(fd: int, size: int, offset: int) -> bytes:
        reading.set()
        assert go_on.wait(60)
        return read(fd, size, offset)

    store._engine.cache.forget(slow._entry)
    monkeypatch.setattr(files, "read", stalling)
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(len(slow.messages)))
    thread.start()
    try:
        assert reading.wait(60)
        assert len(quick.messages) == 100
        assert quick.append("user", "still quick").seq == 101
        assert not counts
    finally:
        go_on.set()
        thread.join()
    assert counts == [100]


def test_no_stamp_is_stored_over_a_dirty_tail(open_store: Callable[..., SessionStore]) -> None:
    # behaviours 35: a truncation and an append could restore the size that the dirty tail had.
    store = open_store()
    session = _filled(store, "a", 3)
    path = Path(session._entry.path.decode())
    with path.open("ab") as log:
        log.write(b'{"message":{"seq":4')
    reader = open_store().get("a")
    assert len(reader.messages) == 3
    assert reader._entry.head is None


def test_threads_that_read_and_write_through_a_small_cache_agree(open_store: Callable[..., SessionStore]) -> None:
    store = open_store(cache_bytes=20_000)
    sessions = [store.create(f"s{number}") for number in range(8)]
    failures: list[Any] = []

    def work(number: int) -> None:
        try:
            for turn in range(150):
                session = sessions[(number + turn) % 8]
                stored = session.append("user", f"{number}-{turn}")
                assert session.messages[stored.seq - 1].content == f"{number}-{turn}"
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(len(session.messages) for session in sessions) == 600
