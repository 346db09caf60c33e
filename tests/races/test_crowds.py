"""Many processes, threads in each, on one session and on several: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierarchyCycle, SessionStore
from tests.processes import hear, say, store_at

PROCESSES = 8
APPENDS = 2000
THREADED_PROCESSES, THREADS, THREAD_APPENDS = 4, 4, 500
FAIR_APPENDS = 300
MIXED_APPENDS = 2000
SESSIONS = [f"s{number}" for number in range(8)]
PATIENT_S = 60.0
"""A lock_timeout_s under which a crowded lock on a busy machine is no failure."""

Acks = list[tuple[str, int, str]]
"""(session, seq, content) of each acknowledged message, in the order of acknowledgment."""


def go_together() -> None:
    """In a child: a barrier; the test opens it when all have come."""
    say("ready")
    hear()


def run_together(children: list[Any], function: Any, *args: Any, **options: Any) -> list[Any]:
    """Run a function in all children, released at once; their answers."""
    for number, child in enumerate(children):
        child.begin(function, *args, f"p{number}", **options)
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    return [child.result() for child in children]


def check_everything(store: SessionStore, acks: list[Acks]) -> None:
    """Every acknowledged message is there once, in its writer's order; the numbers of each session are 1..n."""
    acknowledged: dict[str, dict[int, str]] = defaultdict(dict)
    for writer in acks:
        last: dict[str, int] = {}
        for session_id, seq, content in writer:
            assert seq > last.get(session_id, 0), "a writer's own order is not kept"
            last[session_id] = seq
            assert seq not in acknowledged[session_id], "one number for two messages"
            acknowledged[session_id][seq] = content
    for session_id, by_seq in acknowledged.items():
        messages = list(store.get(session_id).messages)
        assert [message.seq for message in messages] == list(range(1, len(by_seq) + 1))
        assert {message.seq: message.content for message in messages} == by_seq
        assert len({message.id for message in messages}) == len(messages)
    assert store.check().problems == ()


def append_many(root: Path, session_id: str, count: int, name: str) -> Acks:
    """In a child: append, and see that each message is there once it was acknowledged."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get(session_id)
    acks: Acks = []
    go_together()
    for number in range(count):
        message = session.append("user", f"{name}-{number}")
        acks.append((session_id, message.seq, message.content))
        if number % 97 == 0:
            assert session.messages[message.seq - 1].content == message.content
    return acks


def watch_a_session(root: Path, session_id: str, count: int, name: str) -> int:
    """In a child: read until all messages are there; each reading continues the one before."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get(session_id)
    seen: list[Any] = []
    readings = 0
    go_together()
    while len(seen) < count:
        messages = session.messages
        assert list(messages[: len(seen)][-3:]) == seen[-3:]
        new = messages[len(seen) :]
        assert [message.seq for message in new] == list(range(len(seen) + 1, len(messages) + 1))
        seen.extend(new)
        readings += 1
    return readings


def test_eight_processes_append_to_one_session(start, root, open_store):
    store = open_store()
    store.create("s")
    children = [start() for _ in range(PROCESSES)]
    began = time.monotonic()
    acks = run_together(children, append_many, root, "s", APPENDS)
    print(f"{PROCESSES} x {APPENDS} appends in {time.monotonic() - began:.2f} s")
    assert sum(map(len, acks)) == PROCESSES * APPENDS
    check_everything(store, acks)


def test_readers_see_a_growing_prefix_while_processes_append(start, root, open_store):
    store = open_store()
    store.create("s")
    writers, readers = [start() for _ in range(3)], [start() for _ in range(2)]
    count = 3 * FAIR_APPENDS
    for number, reader in enumerate(readers):
        reader.begin(watch_a_session, root, "s", count, f"r{number}")
        assert reader.hear() == "ready"
        reader.say()
    acks = run_together(writers, append_many, root, "s", FAIR_APPENDS)
    assert all(reader.result() >= 1 for reader in readers)
    check_everything(store, acks)


# Several sessions, and everything else that writes


def mix(root: Path, seed: int, name: str) -> tuple[Acks, dict[str, Any]]:
    """In a child: appends to all sessions, with titles, snapshots, forks and moves thrown in."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    random_ = random.Random(f"{seed} {name}")
    acks: Acks = []
    made: dict[str, Any] = {"forks": {}, "snapshots": [], "parents": {}}
    go_together()
    for number in range(MIXED_APPENDS):
        session_id = random_.choice(SESSIONS)
        session = store.get(session_id)
        message = session.append("user", f"{name}-{number}")
        acks.append((session_id, message.seq, message.content))
        dice = random_.random()
        if dice < 0.03:
            session.set_title(f"{name}-{number}")
        elif dice < 0.06:
            made["snapshots"].append((session_id, session.snapshot(f"{name}-{number}").id))
        elif dice < 0.09:
            fork = session.fork(f"{name}-{number}", at=message.id)
            made["forks"][fork.id] = (message.seq, message.content)
            made["parents"][fork.id] = session_id
        elif dice < 0.12 and made["forks"]:
            # Only one's own forks: what the last move said must then be so.
            moved, target = random_.choice(list(made["forks"])), random_.choice([*SESSIONS, *made["forks"], None])
            made["parents"][moved] = try_to_move(store, moved, target, made["parents"][moved])
    return acks, made


def try_to_move(store: SessionStore, moved: str, target: str | None, before: str | None) -> str | None:
    """Move a session if that makes no cycle; its parent afterwards."""
    try:
        store.get(moved).move(target)
    except HierarchyCycle:
        return before
    return target


def test_eight_processes_do_everything_on_eight_sessions(start, root, open_store):
    store = open_store()
    for session_id in SESSIONS:
        store.create(session_id)
    children = [start() for _ in range(PROCESSES)]
    results = run_together(children, mix, root, 20)
    check_everything(store, [acks for acks, _ in results])
    roots = {node.id for node in store.tree()}
    for _, made in results:
        for session_id, snapshot_id in made["snapshots"]:
            assert snapshot_id in {snap.id for snap in store.get(session_id).snapshots}
        for fork_id, (seq, content) in made["forks"].items():
            messages = store.get(fork_id).messages
            assert (len(messages), messages[-1].seq, messages[-1].content) == (seq, seq, content)
        for fork_id, parent_id in made["parents"].items():
            assert store.get(fork_id).parent_id == parent_id
            assert (fork_id in roots) == (parent_id is None)
            if parent_id is not None:
                assert fork_id in {child.id for child in store.get(parent_id).children}


# Threads in each process


def append_in_threads(root: Path, sessions: list[str], name: str) -> list[Acks]:
    """In a child: several threads append to the same sessions through one store."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    acks: list[Acks] = [[] for _ in range(THREADS)]
    failures: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def work(number: int) -> None:
        try:
            barrier.wait()
            for count in range(THREAD_APPENDS):
                session_id = sessions[(number + count) % len(sessions)]
                message = store.get(session_id).append("user", f"{name}-{number}-{count}")
                acks[number].append((session_id, message.seq, message.content))
        except BaseException as error:  # noqa: BLE001  # raised again where the test sees it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    go_together()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return acks


@pytest.mark.parametrize("count", [1, 3], ids=["one session", "three sessions"])
def test_threads_in_several_processes_append(start, root, open_store, count):
    store = open_store()
    sessions = SESSIONS[:count]
    for session_id in sessions:
        store.create(session_id)
    children = [start() for _ in range(THREADED_PROCESSES)]
    results = run_together(children, append_in_threads, root, sessions)
    acks = [of_thread for of_process in results for of_thread in of_process]
    assert sum(map(len, acks)) == THREADED_PROCESSES * THREADS * THREAD_APPENDS
    check_everything(store, acks)


def crowd_one_store(root: Path, name: str) -> None:
    """In a child: threads read, write, fork, title and check through one store."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    session = store.get("s")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(60):
                message = session.append("user", f"{number}-{count}")
                assert session.messages[message.seq - 1].id == message.id
                if count % 20 == number % 20:
                    session.fork(f"{name}-{number}-{count}")
                    session.set_title(f"{number}")
                    store.tree("s")
        except BaseException as error:  # noqa: BLE001  # raised again where the test sees it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    go_together()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_threads_of_two_processes_do_different_things_to_one_session(start, root, open_store):
    store = open_store()
    store.create("s")
    run_together([start(), start()], crowd_one_store, root)
    session = store.get("s")
    assert [message.seq for message in session.messages] == list(range(1, 2 * 8 * 60 + 1))
    assert len(session.children) == 2 * 8 * 3
    assert store.check().problems == ()


# Shape: opposite orders


def cross_move(root: Path, name: str) -> int:
    """In a child: hang two trees below each other, in the order opposite to the other process's."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    first, second = ("a", "b") if name == "p0" else ("b", "a")
    refused = 0
    go_together()
    for _ in range(100):
        try:
            store.get(first).move(second)
        except HierarchyCycle:
            refused += 1
        store.get(first).move(None)
    return refused


def test_moves_in_opposite_directions_neither_deadlock_nor_make_a_cycle(start, root, open_store):
    store = open_store()
    store.create("a")
    store.create("b")
    run_together([start(), start()], cross_move, root)
    assert store.check().problems == ()
    assert {node.id for node in store.tree()} == {"a", "b"}


# Fairness: printed, not asserted


def append_and_time(root: Path, name: str) -> tuple[Acks, float, float]:
    """In a child: appends, and when it began and ended."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    assert len(session.messages) == 0
    go_together()
    began = time.monotonic()
    acks = []
    for number in range(FAIR_APPENDS):
        message = session.append("user", f"{name}-{number}")
        acks.append(("s", message.seq, message.content))
    return acks, began, time.monotonic()


def test_a_crowd_gets_everything_stored(start, root, open_store, capsys):
    store = open_store()
    store.create("s")
    results = run_together([start() for _ in range(PROCESSES)], append_and_time, root)
    check_everything(store, [acks for acks, _, _ in results])
    took = sorted(ended - began for _, began, ended in results)
    whole = max(ended for _, _, ended in results) - min(began for _, began, _ in results)
    with capsys.disabled():
        print(
            f"\n{PROCESSES} processes, {FAIR_APPENDS} appends each: {PROCESSES * FAIR_APPENDS / whole:,.0f} a second,"
            f" slowest / fastest {took[-1] / took[0]:.2f}"
        )
