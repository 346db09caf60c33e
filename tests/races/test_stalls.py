"""One call stopped at its worst place; who waits for it, and who does not."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import LockTimeout, SessionStore, clock
from hierstore.disk import files
from hierstore.naming import stripe_of
from tests.processes import PATIENCE_S, hear, replaced, say, state_of, store_at, wait_until

SLOW = "slow"
OTHERS = [name for name in ("one", "two", "three") if stripe_of(name) != stripe_of(SLOW)]
IMPATIENT_S = 0.3
"""A lock_timeout_s for calls that are to be kept out."""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def texts(session: Any) -> list[Any]:
    return [message.content for message in session.messages]


@pytest.fixture
def store(open_store):
    """Sessions with one message each, all of them cached in this process."""
    made = open_store(lock_timeout_s=IMPATIENT_S)
    for name in (SLOW, *OTHERS):
        made.create(name).append("user", "first")
        assert texts(made.get(name)) == ["first"]
    return made


def stopping(call: Callable[..., Any], stop: Callable[[], None]) -> Callable[..., Any]:
    """The call, but that its first use stops before it."""
    calls = iter([stop])

    def stopped(*args: Any, **options: Any) -> Any:
        next(calls, lambda: None)()
        return call(*args, **options)

    return stopped


def stop_and_tell() -> None:
    """In a child: stand still until the test says so."""
    say("stopped")
    hear()


def stop_by_signal() -> None:
    """In a child: stand still until SIGCONT."""
    say("stopped")
    os.kill(os.getpid(), signal.SIGSTOP)


def stalled(root: Path, seam: str, work: str, stop: Callable[[], None] = stop_and_tell, **options: Any) -> Any:
    """In a child: do some work, stopped before its first use of a system call."""
    store = store_at(root, **options)
    if work != "read":
        assert len(store.get(SLOW).messages)
    with replaced(files, **{seam: stopping(getattr(files, seam), stop)}):
        if work == "append":
            return store.get(SLOW).append("user", "second").seq
        if work == "delete":
            return store.delete(SLOW)
        return texts(store.get(SLOW))


def others_answer(store: SessionStore) -> None:
    """Read, write and make sessions beside the stalled one."""
    for name in OTHERS:
        session = store.get(name)
        before = len(session.messages)
        session.append("user", "more")
        assert len(session.messages) == before + 1
        session.set_title("more")
    parent, child, fork = free_ids()
    store.create(parent).append("user", "made")
    assert store.get(parent).spawn(child).parent_id == parent
    assert store.get(parent).fork(fork).parent_id == parent


def free_ids() -> list[str]:
    """New ids that do not happen to share the stalled session's lock."""
    ids = (clock.new_id() for _ in range(10))
    return [new for new in ids if stripe_of(new) != stripe_of(SLOW)][:3]


def others_answer_at(root: Path) -> None:
    """In a child."""
    others_answer(store_at(root, lock_timeout_s=IMPATIENT_S))


def read_at(root: Path, session_id: str) -> list[Any]:
    """In a child."""
    return texts(store_at(root, lock_timeout_s=IMPATIENT_S).get(session_id))


def append_at(root: Path, session_id: str, content: str, **options: Any) -> None:
    """In a child."""
    store_at(root, **options).get(session_id).append("user", content)


# One session is stalled, the others answer


@linux
def test_a_process_stopped_inside_a_write_holds_up_its_own_session_only(start, root, store):
    """behaviours 9"""
    stopped, bystander = start(), start()
    assert bystander.call(read_at, root, SLOW) == ["first"]
    stopped.begin(stalled, root, "write", "append", stop_by_signal)
    assert stopped.hear() == "stopped"
    wait_until(lambda: state_of(stopped.pid) == "T", "the process does not stop")
    others_answer(store)
    bystander.call(others_answer_at, root)
    start().call(others_answer_at, root)
    # What is cached and unchanged is served without the lock.
    assert bystander.call(read_at, root, SLOW) == ["first"]
    assert texts(store.get(SLOW)) == ["first"]
    with pytest.raises(LockTimeout):
        store.get(SLOW).append("user", "kept out")
    with pytest.raises(LockTimeout):
        start().call(read_at, root, SLOW)
    stopped.signal(signal.SIGCONT)
    assert stopped.result() == 2
    assert texts(store.get(SLOW)) == bystander.call(read_at, root, SLOW) == ["first", "second"]


def stall_a_thread(root: Path, seam: str) -> None:
    """In a child: one thread stands still inside a write; the others go on."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)
    assert texts(store.get(SLOW)) == ["first"]
    stopped, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        go_on.wait()

    thread = threading.Thread(target=store.get(SLOW).append, args=("user", "second"))
    with replaced(files, **{seam: stopping(getattr(files, seam), stop)}):
        thread.start()
        assert stopped.wait(PATIENCE_S)
    try:
        others_answer(store)
        if seam == "write":  # later, the file has grown: what is cached is no longer what is there
            assert texts(store.get(SLOW)) == ["first"]
        with pytest.raises(LockTimeout) as caught:
            store.get(SLOW).append("user", "kept out")
        assert caught.value.waited_s >= IMPATIENT_S
    finally:
        go_on.set()
        thread.join()
    assert texts(store.get(SLOW)) == ["first", "second"]


@pytest.mark.parametrize("seam", ["write", "fstat"])
def test_a_thread_stalled_inside_a_write_holds_up_its_own_session_only(start, root, store, seam):
    """behaviours 9"""
    start().call(stall_a_thread, root, seam)


def test_a_stalled_first_read_holds_up_its_own_session_only(start, root, store):
    """behaviours 9"""
    reader = start()
    reader.begin(stalled, root, "_read_some", "read")
    assert reader.hear() == "stopped"
    others_answer(store)
    start().call(others_answer_at, root)
    assert texts(store.get(SLOW)) == ["first"]
    reader.say()
    assert reader.result() == ["first"]


def test_a_stalled_delete_lets_other_sessions_read_and_write(start, root, store):
    """behaviours 9"""
    deleter = start()
    deleter.begin(stalled, root, "rename", "delete")
    assert deleter.hear() == "stopped"
    others_answer(store)
    start().call(others_answer_at, root)
    deleter.say()
    deleter.result()
    assert SLOW not in store


def test_a_slow_sync_holds_no_lock(start, root, store):
    """behaviours 9: in power mode the sync comes after unlocking, so even the same session's writers go on"""
    syncer = start()
    syncer.begin(stalled, root, "sync", "append", durability="power")
    assert syncer.hear() == "stopped"
    store.get(SLOW).append("user", "third")
    start().call(append_at, root, SLOW, "fourth", durability="power", lock_timeout_s=IMPATIENT_S)
    assert texts(store.get(SLOW)) == ["first", "second", "third", "fourth"]
    others_answer(store)
    syncer.say()
    assert syncer.result() == 2


def syncing_thread(root: Path) -> None:
    """In a child: a thread stands still in a sync; another thread writes the same session."""
    store = store_at(root, durability="power", lock_timeout_s=IMPATIENT_S)
    session = store.get(SLOW)
    stopped, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        go_on.wait()

    thread = threading.Thread(target=session.append, args=("user", "second"))
    with replaced(files, sync=stopping(files.sync, stop)):
        thread.start()
        assert stopped.wait(PATIENCE_S)
        try:
            session.append("user", "third")
            assert texts(session) == ["first", "second", "third"]
        finally:
            go_on.set()
            thread.join()


def test_a_slow_sync_of_one_thread_lets_another_write_the_same_session(start, root, store):
    """behaviours 9"""
    start().call(syncing_thread, root)


# Who waits, waits for a time, and is told for whom


def test_lock_timeout_tells_the_file_the_wait_and_the_holder(start, root, store):
    holder = start()
    holder.begin(stalled, root, "write", "append")
    assert holder.hear() == "stopped"
    before = store.get("one").revision
    with pytest.raises(LockTimeout) as caught:
        store.get(SLOW).append("user", "kept out")
    error = caught.value
    lock = Path(error.path)
    assert lock == root / "locks" / f"{stripe_of(SLOW):02x}.lock"
    assert lock.is_file()
    assert IMPATIENT_S <= error.waited_s < 20 * IMPATIENT_S
    assert error.holder == (holder.pid if sys.platform.startswith("linux") else None)
    assert str(lock) in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (LockTimeout, str(error), error.__dict__)
    with pytest.raises(LockTimeout) as elsewhere:  # and whole out of another process
        start().call(append_at, root, SLOW, "kept out", lock_timeout_s=IMPATIENT_S)
    assert elsewhere.value.holder == error.holder
    assert elsewhere.value.path == error.path
    holder.say()
    holder.result()
    assert texts(store.get(SLOW)) == ["first", "second"]
    assert store.get("one").revision == before


def test_a_killed_holder_lets_go_at_once(start, root, store):
    holder = start()
    holder.begin(stalled, root, "write", "append")
    assert holder.hear() == "stopped"
    holder.kill()
    store.get(SLOW).append("user", "after")
    assert texts(store.get(SLOW)) == ["first", "after"]


# Between the bytes and their stamp


def between_bytes_and_stamp(root: Path, first: str | None) -> list[Any]:
    """In a child: read, stopped before the first ``fstat`` after the bytes were read; of a delta, which has its stamp
    from before, when the bytes were read."""
    store = store_at(root)
    if first is not None:
        assert texts(store.get(SLOW)) == [first]
        say("cached")
        hear()
    read, fstat = files._read_some, files.fstat
    to_stop: list[Callable[[], None]] = []
    reads = 0

    def noting(fd: int, size: int, offset: int) -> bytes:
        nonlocal reads
        data = read(fd, size, offset)
        reads += 1
        if reads == 1 and first is None:
            to_stop.append(stop_and_tell)
        elif reads == 1:
            stop_and_tell()
        return data

    def stamping(fd: int) -> os.stat_result:
        if to_stop:
            to_stop.pop()()
        return fstat(fd)

    with replaced(files, _read_some=noting, fstat=stamping):
        return texts(store.get(SLOW))


@pytest.mark.parametrize("is_cached", [False, True], ids=["whole", "delta"])
def test_no_writer_gets_in_between_a_readers_bytes_and_their_stamp(start, root, store, is_cached):
    """behaviours 22"""
    reader, writer = start(), start()
    reader.begin(between_bytes_and_stamp, root, "first" if is_cached else None)
    wanted = ["first"]
    if is_cached:
        assert reader.hear() == "cached"
        writer.call(append_at, root, SLOW, "second")
        wanted.append("second")
        reader.say()
    assert reader.hear() == "stopped"
    with pytest.raises(LockTimeout) as caught:
        writer.call(append_at, root, SLOW, "too early", lock_timeout_s=IMPATIENT_S)
    assert caught.value.holder in (reader.pid, None)
    writer.begin(append_at, root, SLOW, "late")
    reader.say()
    assert reader.result() in (wanted, [*wanted, "late"])
    writer.result()
    assert reader.call(read_at_default, root) == texts(store.get(SLOW)) == [*wanted, "late"]


def read_at_default(root: Path) -> list[Any]:
    """In a child: read through the store that has the session cached."""
    return texts(store_at(root).get(SLOW))


def append_between_write_and_stamp(root: Path) -> None:
    """In a child: append, stopped between the write and the stamp."""
    session = store_at(root).get(SLOW)
    assert len(session.messages) == 1
    with replaced(files, fstat=stopping(files.fstat, stop_and_tell)):
        session.append("user", "second")


def test_no_writer_gets_in_between_a_writers_bytes_and_their_stamp(start, root, store):
    """behaviours 22"""
    first, second = start(), start()
    first.begin(append_between_write_and_stamp, root)
    assert first.hear() == "stopped"
    with pytest.raises(LockTimeout):
        second.call(append_at, root, SLOW, "too early", lock_timeout_s=IMPATIENT_S)
    second.begin(append_at, root, SLOW, "third")
    first.say()
    first.result()
    second.result()
    assert first.call(read_at_default, root) == texts(store.get(SLOW)) == ["first", "second", "third"]


def read_beside_a_writer_thread(root: Path) -> None:
    """In a child: a thread stands still between bytes and stamp; another thread may not write meanwhile."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)
    reading, go_on = threading.Event(), threading.Event()
    read = files._read_some

    def slow_read(fd: int, size: int, offset: int) -> bytes:
        data = read(fd, size, offset)
        if threading.current_thread() is thread:
            reading.set()
            go_on.wait()
        return data

    thread = threading.Thread(target=lambda: texts(store.get(SLOW)))
    with replaced(files, _read_some=slow_read):
        thread.start()
        try:
            assert reading.wait(PATIENCE_S)
            with pytest.raises(LockTimeout):
                store.get(SLOW).append("user", "too early")
        finally:
            go_on.set()
            thread.join()
    store.get(SLOW).append("user", "late")
    assert texts(store.get(SLOW)) == ["first", "late"]


def test_no_thread_writes_between_another_threads_bytes_and_their_stamp(start, root, store):
    """behaviours 22"""
    start().call(read_beside_a_writer_thread, root)
    assert texts(store.get(SLOW)) == ["first", "late"]
