"""``os.fork`` with a store open: parent and child go on through it, and no lock is held by both or by nobody.

All forking is done in a child of the test: pytest's own process has threads of others.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hierstore import LockTimeout, Session, SessionStore
from hierstore.disk import files
from hierstore.naming import stripe_of
from tests.processes import PATIENCE_S, hear, replaced, say, store_at

CHILDREN = 4
APPENDS = 300
FORKS_UNDER_LOAD = 15
HANG_S = 30
"""A forked child that takes longer is killed, and counts as hung."""
IMPATIENT_S = 0.3

SLOW = "slow"
FREE = next(name for name in ("one", "two", "three") if stripe_of(name) != stripe_of(SLOW))


def contents(session: Any) -> list[Any]:
    return [message.content for message in session.messages]


def check_one_to_n(session: Session, wanted: list[str]) -> None:
    """The session holds exactly these, numbered from 1."""
    messages = list(session.messages)
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert sorted(message.content for message in messages) == sorted(wanted)


def fork(work: Callable[[], Any]) -> int:
    """Fork a process that does some work and exits with 0 if that went well; one that hangs is killed."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(HANG_S)
        work()
        code = 0
    except BaseException:  # noqa: BLE001  # the parent sees the exit code
        sys.excepthook(*sys.exc_info())
    os._exit(code)


def join(pids: list[int]) -> None:
    """Wait for forked processes; each has to have done its work."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(pids), "a forked process failed, or hung"


def appending(session: Session, name: str, count: int = APPENDS) -> Callable[[], None]:
    """Work: append, and see each message after it was acknowledged."""

    def work() -> None:
        for number in range(count):
            message = session.append("user", f"{name}-{number}")
            assert session.messages[message.seq - 1].content == message.content

    return work


def named(*names: str, count: int = APPENDS) -> list[str]:
    return [f"{name}-{number}" for name in names for number in range(count)]


# Parent and children go on


def fork_in_the_middle(root: Path) -> None:
    """In a child."""
    session = store_at(root).create("s")
    appending(session, "before")()
    pids = [fork(appending(session, f"c{number}")) for number in range(CHILDREN)]
    appending(session, "parent")()
    join(pids)
    check_one_to_n(session, named("before", "parent", *(f"c{number}" for number in range(CHILDREN))))


def test_parent_and_forked_children_go_on_through_one_store(start, root, open_store):
    start().call(fork_in_the_middle, root)
    assert len(open_store().get("s").messages) == APPENDS * (CHILDREN + 2)


def fork_generations(root: Path) -> None:
    """In a child: a child of a child of a child."""
    session = store_at(root).create("s")

    def generation(number: int) -> None:
        pids = [fork(lambda: generation(number - 1))] if number else []
        appending(session, f"g{number}", 50)()
        join(pids)

    generation(4)
    check_one_to_n(session, named(*(f"g{number}" for number in range(5)), count=50))


def test_a_forked_child_forks_again(start, root, open_store):
    start().call(fork_generations, root)
    assert len(open_store().get("s").messages) == 250


def make_after_fork(root: Path) -> None:
    """In a child: parent and children make sessions and messages whose ids must differ."""
    store = store_at(root)
    base = store.create("base")

    def work() -> None:
        for _ in range(20):
            session = base.spawn()
            session.append("user", "x")
            session.fork().append("user", "y")

    pids = [fork(work) for _ in range(CHILDREN)]
    work()
    join(pids)
    below = base.descendants()
    assert len(below) == len({session.id for session in below}) == 2 * 20 * (CHILDREN + 1)
    ids = [message.id for session in base.children for message in session.messages]
    assert len(ids) == len(set(ids)) == 20 * (CHILDREN + 1)


def test_forked_children_never_make_an_id_twice(start, root, open_store):
    start().call(make_after_fork, root)
    assert open_store().check().ok


# Forks while other threads are busy


@contextlib.contextmanager
def busy(*works: Callable[[int], None]) -> Iterator[list[int]]:
    """Threads that each do their work again and again; how often each did it."""
    ending = threading.Event()
    done = [0] * len(works)
    failures: list[BaseException] = []

    def run(place: int, work: Callable[[int], None]) -> None:
        try:
            while not ending.is_set():
                work(done[place])
                done[place] += 1
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def fork_under_load(root: Path) -> list[str]:
    """In a child: fork again and again while threads append, read and open sessions."""
    store = store_at(root)
    session = store.create("s")
    other = store.create("other")

    def open_one(_: int) -> None:
        made = store.create()
        made.append("user", "x")

    works = (
        lambda number: session.append("user", f"t0-{number}"),
        lambda number: session.append("user", f"t1-{number}"),
        lambda number: other.append("user", f"t2-{number}"),
        lambda _: contents(other)[-1:],
        open_one,
    )
    with busy(*works) as done:
        for number in range(FORKS_UNDER_LOAD):
            fresh = SessionStore(root) if number % 2 else store

            def work(number: int = number, fresh: SessionStore = fresh) -> None:
                appending(session, f"c{number}", 10)()
                appending(other, f"o{number}", 10)()
                open_one(0)
                appending(fresh.get("s"), f"f{number}", 2)()

            join([fork(work)])
            if fresh is not store:
                fresh.close()
    own = [f"t{thread}-{number}" for thread in (0, 1) for number in range(done[thread])]
    numbers = range(FORKS_UNDER_LOAD)
    check_one_to_n(
        session, own + named(*(f"c{n}" for n in numbers), count=10) + named(*(f"f{n}" for n in numbers), count=2)
    )
    check_one_to_n(other, [f"t2-{n}" for n in range(done[2])] + named(*(f"o{n}" for n in numbers), count=10))
    return own


def test_forks_while_threads_append_neither_hang_nor_lose(start, root, open_store):
    own = start().call(fork_under_load, root)
    assert set(own) <= set(contents(open_store().get("s")))


@contextlib.contextmanager
def thread_stopped_in(seam: str, work: Callable[[], Any]) -> Iterator[None]:
    """A thread that stands still before a system call, with whatever locks it holds there; goes on at the end."""
    stopped, go_on = threading.Event(), threading.Event()
    call = getattr(files, seam)

    def stop(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is thread and not stopped.is_set():
            stopped.set()
            go_on.wait()
        return call(*args, **options)

    thread = threading.Thread(target=work)
    with replaced(files, **{seam: stop}):
        thread.start()
        assert stopped.wait(PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()
            thread.join()


def kept_out(session: Session) -> None:
    """A write must not get in."""
    with pytest.raises(LockTimeout):
        session.append("user", "too early")


def fork_beside_a_holder(root: Path, seam: str) -> None:
    """In a child: a thread holds a session's lock while the process forks."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)
    slow, free = store.create(SLOW), store.create(FREE)
    slow.append("user", "first")
    with thread_stopped_in(seam, lambda: slow.append("user", "second")):

        def work() -> None:
            # The lock is the parent's, and not this process's too: it may neither be entered nor let go.
            kept_out(slow)
            free.append("user", "child")
            kept_out(slow)

        join([fork(work)])
        join([fork(lambda: (gc.collect(), store.close()))])
        kept_out(slow)
        with SessionStore(root, lock_timeout_s=IMPATIENT_S) as second, pytest.raises(LockTimeout):
            second.get(SLOW)
        say("forked")
        hear()
    join([fork(lambda: slow.append("user", "third"))])
    assert contents(slow) == ["first", "second", "third"]
    assert contents(free) == ["child"]


def append_impatiently(root: Path) -> None:
    """In a child."""
    store_at(root, lock_timeout_s=IMPATIENT_S).get(SLOW).append("user", "too early")


@pytest.mark.parametrize("seam", ["write", "fstat"])
def test_a_lock_held_at_the_fork_stays_the_parents_alone(start, root, open_store, seam):
    forker = start()
    forker.begin(fork_beside_a_holder, root, seam)
    assert forker.hear() == "forked"
    with pytest.raises(LockTimeout):  # the children that came and went did not unlock it
        start().call(append_impatiently, root)
    forker.say()
    forker.result()
    assert contents(open_store().get(SLOW)) == ["first", "second", "third"]


def outlive_the_parent(root: Path) -> None:
    """In a child: fork beside a thread that holds a lock, and be killed; the forked child stays."""
    store = store_at(root)
    slow = store.create(SLOW)
    with thread_stopped_in("write", lambda: slow.append("user", "lost")):
        out, into = os.pipe()
        pid = fork(lambda: os.read(out, 1))
        say(pid)
        hear()
    os.close(into)


def test_a_forked_child_holds_no_lock_of_a_parent_that_was_killed(start, root, open_store):
    parent = start()
    parent.begin(outlive_the_parent, root)
    orphan = parent.hear()
    try:
        parent.kill()
        session = open_store(lock_timeout_s=IMPATIENT_S * 10).get(SLOW)
        session.append("user", "after")
        assert contents(session) == ["after"]
    finally:
        os.kill(orphan, signal.SIGKILL)


def fork_beside_tree_work(root: Path) -> None:
    """In a child: a thread is in the middle of deleting, with the tree's lock, while the process forks."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)
    store.create(SLOW)
    free = store.create(FREE)
    other = store.create()
    with thread_stopped_in("rename", lambda: store.delete(SLOW)):

        def work() -> None:
            free.append("user", "child")
            with pytest.raises(LockTimeout):
                other.move(free)

        join([fork(work)])
    join([fork(lambda: other.move(free))])
    assert other.parent_id == free.id


def test_the_trees_lock_held_at_the_fork_stays_the_parents_alone(start, root, open_store):
    start().call(fork_beside_tree_work, root)
    assert SLOW not in open_store()


def fork_in_a_lock(root: Path) -> None:
    """In a child: fork while this very thread holds locks, from within a system call of the store."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)
    slow, free = store.create(SLOW), store.create(FREE)
    write = files.write
    pids = []

    def forking(fd: int, data: bytes) -> int:
        if not pids:

            def work() -> None:
                signal.alarm(HANG_S)
                kept_out(slow)
                free.append("user", "child")

            pids.append(0)
            pids[0] = fork(work)
            join(pids)
        return write(fd, data)

    with replaced(files, write=forking):
        slow.append("user", "first")
    slow.append("user", "second")
    assert contents(slow) == ["first", "second"]
    assert contents(free) == ["child"]


def test_a_fork_inside_a_held_lock_hangs_nobody(start, root, open_store):
    start().call(fork_in_a_lock, root)
    assert contents(open_store().get(SLOW)) == ["first", "second"]


# Pools

_pool_session: Session | None = None


def pool_task(number: int) -> int:
    """In a pool's process: append through the store that was open at the fork."""
    assert _pool_session is not None
    return _pool_session.append("user", f"task-{number}").seq


def use_a_pool(root: Path) -> None:
    """In a child: a pool of forked processes, while the parent appends too."""
    global _pool_session
    session = _pool_session = store_at(root).create("s")
    session.append("user", "task--1")
    with multiprocessing.get_context("fork").Pool(CHILDREN) as pool:
        answer = pool.map_async(pool_task, range(200), chunksize=5)
        appending(session, "parent")()
        seqs = answer.get(PATIENCE_S)
        pool.close()
        pool.join()
    assert len(set(seqs)) == 200
    check_one_to_n(session, named("parent") + [f"task-{number}" for number in range(-1, 200)])


def test_a_pool_of_forked_processes_appends_through_the_parents_store(start, root, open_store):
    start().call(use_a_pool, root)
    assert len(open_store().get("s").messages) == 501


# What a child leaves alone


def close_in_child(root: Path) -> int:
    """In a child: forked children close the store, and exit in all ways; how many descriptors that cost us."""
    store = store_at(root)
    session = store.create("s")
    session.append("user", "1")
    before = len(os.listdir("/dev/fd"))
    join([fork(store.close)])
    session.append("user", "2")
    join([fork(lambda: session.append("user", "3"))])
    assert contents(session) == ["1", "2", "3"]
    return len(os.listdir("/dev/fd")) - before


def test_a_child_that_closes_the_store_closes_its_own_only(start, root, open_store):
    assert start().call(close_in_child, root) == 0
    assert contents(open_store().get("s")) == ["1", "2", "3"]


def count_in_child(root: Path) -> list[int]:
    """In a child: descriptors below the root right after a fork, and after the forked child has read."""
    store = store_at(root)
    for name in ("a", "b", "c"):
        store.create(name).append("user", "x")
    out, into = os.pipe()

    def below() -> int:
        links = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
        found = 0
        for link in links:
            with contextlib.suppress(OSError):
                found += os.readlink(link).startswith(os.path.realpath(root))
        return found

    def work() -> None:
        at_first = below()
        assert contents(store.get("a")) == ["x"]
        os.write(into, bytes([at_first, below()]))

    join([fork(work)])
    return [below(), *os.read(out, 2)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /dev/fd links")
def test_a_child_keeps_none_of_the_parents_descriptors(start, root, open_store):
    parents, at_first, after_reading = start().call(count_in_child, root)
    assert (parents, at_first, after_reading) == (6, 0, 2)
