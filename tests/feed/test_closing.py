"""Ending: threads end, descriptors are closed, and whoever waits is told; callbacks; forks."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from hierstore import StoreClosed
from tests.feed.taking import rest, short, take, types, watched_descriptors
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import SessionStore
    from hierstore.log.feed import Event


def test_leaving_a_watcher_ends_its_threads_and_closes_its_descriptors(store: SessionStore) -> None:
    threads, descriptors = set(threading.enumerate()), watched_descriptors()
    with store.watch(on_event=print), store.watch() as watcher:
        assert set(threading.enumerate()) - threads
        assert watched_descriptors() == descriptors + 2
    assert watcher.closed
    watcher.close()
    assert set(threading.enumerate()) == threads
    assert watched_descriptors() == descriptors
    with pytest.raises(StoreClosed):
        watcher.next()
    assert list(watcher) == []
    assert watcher.cursor.startswith("h1.")


def test_closing_the_store_closes_its_watchers(store: SessionStore) -> None:
    threads = set(threading.enumerate())
    watchers = [store.watch(), store.watch(mode="polling"), store.watch(on_event=print), store.watch(mode="off")]
    store.close()
    assert all(watcher.closed for watcher in watchers)
    assert set(threading.enumerate()) == threads
    with pytest.raises(StoreClosed):
        store.watch()


def test_a_watcher_that_nobody_holds_ends_its_threads(store: SessionStore) -> None:
    threads = set(threading.enumerate())
    watcher = store.watch()
    assert set(threading.enumerate()) - threads
    del watcher
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) == threads, "its threads did not end")


@pytest.mark.parametrize("mode", ["native", "polling"])
def test_whoever_waits_is_told_when_the_watcher_closes(store: SessionStore, mode: str) -> None:
    watcher = store.watch(mode=mode, poll_s=600)  # type: ignore[arg-type]
    ended: list[object] = []

    def wait() -> None:
        try:
            watcher.next()
        except StoreClosed as error:
            ended.append(error)

    waiting = [threading.Thread(target=wait), threading.Thread(target=lambda: ended.append(list(watcher)))]
    for thread in waiting:
        thread.start()
    assert isinstance(watcher.cursor, str), "a waiting thread keeps nobody from the cursor"
    watcher.close()
    for thread in waiting:
        thread.join(20)
    assert len(ended) == 2
    assert [] in ended


def test_each_event_is_one_threads_of_several(store: SessionStore) -> None:
    session = store.create("a")
    told: list[Event] = []
    with store.watch() as watcher:
        threads = [threading.Thread(target=lambda: told.extend(watcher)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(200):
            session.append("user", str(number))
        wait_until(lambda: len(told) >= 200, "not all came")
    for thread in threads:
        thread.join(20)
    assert sorted(item.revision for item in told) == list(range(2, 202))


# Callbacks


def test_a_callback_gets_each_event_and_may_close_its_watcher(store: SessionStore) -> None:
    told: list[Event] = []
    done = threading.Event()

    def on_event(event: Event) -> None:
        told.append(event)
        if event.type == "titled":
            watcher.close()
            done.set()

    watcher = store.watch(on_event=on_event)
    with pytest.raises(ValueError, match="on_event"):
        watcher.next()
    session = store.create("a")
    session.append("user", "x")
    session.set_title("t")
    assert done.wait(20)
    session.append("user", "not told")
    watcher.close()
    assert types(told) == ["created", "appended", "titled"]
    assert watcher.failure is None
    assert short(rest(store, watcher.cursor)) == [("appended", "a", 4)]


def test_a_callbacks_cursor_holds_the_event_that_it_was_called_with(store: SessionStore) -> None:
    cursors: list[str] = []
    with store.watch(on_event=lambda _: cursors.append(watcher.cursor)) as watcher:
        session = store.create("a")
        session.append("user", "x")
        wait_until(lambda: len(cursors) == 2, "not both came")
    assert short(rest(store, cursors[0])) == [("appended", "a", 2)]
    assert rest(store, cursors[1]) == []


@pytest.mark.parametrize("kind", ["appended", "deleted"])
def test_an_event_at_which_a_callback_failed_is_told_again(
    store: SessionStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    session = store.create("a")
    session.append("user", "x")

    def on_event(event: Event) -> None:
        if event.type == kind:
            raise RuntimeError("no")

    with store.watch(after="", mode="off") as first:
        if kind == "deleted":
            take(first, 2)
            store.delete("a")
            store.purge()
        after = first.cursor
    watcher = store.watch(on_event=on_event, after=after)
    wait_until(lambda: watcher.closed, "it goes on")
    watcher.close()
    assert isinstance(watcher.failure, RuntimeError)
    assert "on_event failed" in caplog.text
    assert types(rest(store, watcher.cursor)) == [kind]


# Forks


def test_in_a_forked_child_a_watcher_is_closed_and_the_parents_goes_on(
    open_store: Callable[..., SessionStore],
) -> None:
    store = open_store()
    session = store.create("a")
    with store.watch() as watcher, store.watch(on_event=lambda _: None):
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                faults = []
                try:
                    watcher.next(timeout_s=0)
                    faults.append("next")
                except StoreClosed:
                    pass
                watcher.close()
                faults += ["open"] if not watcher.closed else []
                faults += ["descriptors"] if watched_descriptors() else []
                with store.watch(after=watcher.cursor) as own:
                    store.get("a").append("user", "by the child")
                    faults += [] if types(take(own, 1)) == ["appended"] else ["own"]
                os.write(write, repr(faults).encode())
            finally:
                os._exit(0)
        os.close(write)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(read, 1000) == b"[]"
        os.close(read)
        session.append("user", "by the parent")
        assert short(take(watcher, 2)) == [("appended", "a", 2), ("appended", "a", 3)]


def test_a_fork_in_the_middle_of_reading_leaves_the_child_no_descriptor(store: SessionStore) -> None:
    session = store.create("a")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            session.append("user", "x")

    with store.watch(on_event=lambda _: None):
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(20):
            pid = os.fork()
            if not pid:
                bad = [name for name in os.listdir("/proc/self/fd") if _is_log(name)]
                os._exit(len(bad))
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        writer.join()


def _is_log(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").endswith(".jsonl")
    except OSError:
        return False
