"""Many threads on one store: handles are shared, nothing is lost, and every read is a prefix."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import HierarchyCycle, RevisionConflict, SessionExists, SessionStore, history, tree
from hierstore.disk import files
from tests.support import fill, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

THREADS = 6


def together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all let go at one moment; an exception in any is raised here."""
    barrier, failures = threading.Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("stores", [1, 2])
def test_what_many_threads_append_to_one_session_is_there_once_and_in_each_ones_order(
    open_store: OpenStore, stores: int
) -> None:
    handles = [open_store().get_or_create("s") for _ in range(stores)]

    def write(name: int) -> None:
        for number in range(50):
            handles[name % stores].append("user", [name, number])

    together(*[lambda name=name: write(name) for name in range(THREADS)])
    for view in (*handles, open_store().get("s")):
        said = texts(view)
        assert [message.seq for message in view.messages] == list(range(1, THREADS * 50 + 1))
        for name in range(THREADS):
            assert [number for who, number in said if who == name] == list(range(50))


def test_of_many_threads_that_expect_one_revision_one_gets_through(store: SessionStore) -> None:
    session, won = store.create("s"), []

    def attempt(name: int) -> None:
        try:
            session.append("user", name, expected_revision=1)
        except RevisionConflict:
            return
        won.append(name)

    together(*[lambda name=name: attempt(name) for name in range(THREADS)])
    assert texts(session) == won
    assert len(won) == 1


def test_of_many_threads_that_retry_one_message_one_stores_it(store: SessionStore) -> None:
    session, got = store.create("s"), []
    together(*[lambda name=name: got.append(session.append("user", name, message_id="m")) for name in range(THREADS)])
    assert len(session.messages) == 1
    assert set(got) == {session.messages[0]}


def test_of_many_threads_that_create_one_session_one_makes_it(open_store: OpenStore) -> None:
    """behaviours 6"""
    stores, made = [open_store(), open_store()], []

    def attempt(name: int) -> None:
        try:
            made.append(stores[name % 2].create("s", title=str(name)))
        except SessionExists:
            stores[name % 2].get_or_create("s", title="other").append("user", name)

    together(*[lambda name=name: attempt(name) for name in range(THREADS)])
    assert len(made) == 1
    assert sorted([int(made[0].title or "-1"), *texts(made[0])]) == list(range(THREADS))


def test_two_moves_that_would_make_a_cycle_together_do_not(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """behaviours 28"""
    stores = {"A": open_store(), "B": open_store()}
    for root in "AB":
        stores["A"].create(root).spawn(root.lower())
    # All of it is cached in both, so that looking takes no lock that the other one holds.
    assert stores["A"].tree() == stores["B"].tree()
    real, both = tree.ancestors, threading.Barrier(2)

    def ancestors(*arguments: Any) -> Any:
        found = real(*arguments)
        # If both get as far as having looked, both have seen no cycle. Under the tree's lock only one gets here.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return found

    def move(child: str, parent: str) -> None:
        with contextlib.suppress(HierarchyCycle):
            stores[child].get(child).move(parent)

    monkeypatch.setattr(tree, "ancestors", ancestors)
    together(lambda: move("A", "b"), lambda: move("B", "a"))
    monkeypatch.undo()
    assert sorted([stores["A"].get("A").parent_id or "", stores["A"].get("B").parent_id or ""]) in (
        ["", "a"],
        ["", "b"],
    )


@pytest.mark.parametrize("block_bytes", [1, 2000])
def test_readers_of_a_cold_session_that_grows_see_a_prefix_each_time(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(history, "_BLOCK_BYTES", block_bytes)
    fill(open_store().create("s"), *range(300))
    cold, writer = open_store().get("s"), open_store().get("s")
    wrong: list[Any] = []

    def read(how: int) -> None:
        for _ in range(20):
            messages = cold.messages
            if how == 0:
                seen = [message.content for message in messages]
            elif how == 1:
                seen = [message.content for message in reversed(messages)][::-1]
            else:
                seen = [message.content for message in messages[:]]
            if seen != list(range(len(messages))):
                wrong.append(seen)

    together(*[lambda how=how % 3: read(how) for how in range(5)], lambda: fill(writer, *range(300, 400)))
    assert wrong == []
    assert texts(cold) == list(range(400))


def test_one_slow_session_does_not_keep_the_others_waiting(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """behaviours 9"""
    store = open_store(cache_bytes=1)
    slow, quick = fill(store.create("slow"), "x"), fill(store.create("quick"), "y")
    assert slow._entry.stripe is not quick._entry.stripe
    store._engine.cache.clear()
    stalled, go_on = threading.Event(), threading.Event()
    real, fd = files.read, slow._entry

    def read(number: int, size: int, offset: int) -> bytes:
        if number == fd.fd:
            stalled.set()
            assert go_on.wait(20)
        return real(number, size, offset)

    monkeypatch.setattr(files, "read", read)

    def others() -> None:
        try:
            assert stalled.wait(20)
            assert texts(fill(quick, "z")) == ["y", "z"]
            assert texts(store.create("new")) == []
            assert quick.info.message_count == 2
        finally:
            go_on.set()

    together(lambda: texts(slow), others)
    assert texts(slow) == ["x"]
