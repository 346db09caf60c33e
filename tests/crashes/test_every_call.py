"""``kill -9`` at every system call of every mutating call: afterwards all of it is there, or nothing of it.

Of two neighbouring calls between which nothing changes on disk only the later one is a point to die at.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.processes import store_at
from tests.seam import OPERATIONS, Call, View, before_and_after, finish, hooked, is_legal, list_calls, prepared, view


def die() -> None:
    """In a child: as ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(root: Path, name: str, at: int, *, torn: bool, durability: str) -> None:
    """In a child: run an operation, and die before the system call of that number, or in the middle of a write."""
    store = prepared(root, name, durability=durability)

    def hook(number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        if number == at:
            if torn and called == "write":
                fd, data = args
                call(fd, bytes(data)[: len(data) // 2])
            die()
        return call()

    with hooked(hook):
        OPERATIONS[name].run_or_be_refused(store)
    die()


def calls_of(root: Path, name: str, durability: str) -> list[Call]:
    """In a child: the system calls that an operation makes."""
    store = prepared(root, name, durability=durability)
    return list_calls(lambda: OPERATIONS[name].run_or_be_refused(store))


def reopen(root: Path, name: str, before: View, after: View) -> View:
    """Open what a dead process left: it is whole, and every call works."""
    operation = OPERATIONS[name]
    with SessionStore(root) as store:
        found = view(store)
        assert is_legal(operation, found, before, after)
        assert store.check().problems == ()
        finish(store, operation, after)
    return found


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_system_call_it_is_done_or_not_begun(start, tmp_path, name, durability):
    before, after = before_and_after(tmp_path, name)
    calls = start().call(calls_of, tmp_path / "calls", name, durability)
    # One past the last: everything was done, and the acknowledgment never came.
    end = Call(10**6, "the end", changes=True)
    points = [(call, False) for call in [*calls, end] if call.changes]
    points += [(call, True) for call in calls if call.name == "write"]
    states = {}
    for call, torn in points:
        child = start()
        root = tmp_path / f"{call.number}{'-torn' * torn}"
        child.begin(run_and_die, root, name, call.number, torn=torn, durability=durability)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        try:
            states[call, torn] = reopen(root, name, before, after)
        except BaseException as error:
            error.add_note(
                f"killed {'in' if torn else 'before'} system call {call.number} of {len(calls)}: {call.name}"
            )
            raise
        shutil.rmtree(root)
    assert states[points[0]] == before
    assert states[end, False] == after, "it was done, and is gone"


def recover_and_die(root: Path, at: int) -> None:
    """In a child: open a store, which finishes what another left, and die before that system call."""

    def hook(number: int, _called: str, call: Any, _args: tuple[Any, ...]) -> Any:
        if number == at:
            die()
        return call()

    with hooked(hook):
        SessionStore(root)


def leave_half_done(root: Path, name: str) -> None:
    """In a child: die in the middle of an operation, where it has moved the first log and not the last."""
    store = prepared(root, name)
    moves = 0

    def hook(_number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        nonlocal moves
        if called in ("rename", "link") and b".jsonl" in args[0]:
            moves += 1
            if moves == 2:
                die()
        return call()

    with hooked(hook):
        OPERATIONS[name].run(store)


def recovery_calls_of(root: Path) -> list[Call]:
    """In a child: the system calls that opening a store makes."""
    return list_calls(lambda: store_at(root))


@pytest.mark.parametrize("name", ["delete, cascade", "restore"])
def test_killed_at_every_system_call_of_the_recovery_it_is_still_finished(start, tmp_path, name):
    before, after = before_and_after(tmp_path, name)

    def crashed(root: Path) -> Path:
        child = start()
        child.begin(leave_half_done, root, name)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        return root

    calls = start().call(recovery_calls_of, crashed(tmp_path / "calls"))
    changing = [call for call in calls if call.changes]
    assert len(changing) > 8, "there was nothing to recover"
    for call in changing:
        child = start()
        root = crashed(tmp_path / f"{call.number}")
        child.begin(recover_and_die, root, call.number)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        try:
            assert reopen(root, name, before, after) == after
        except BaseException as error:
            error.add_note(f"killed before system call {call.number} of the recovery: {call.name}")
            raise
        shutil.rmtree(root)


def peek(root: Path) -> View:
    """In a child."""
    return view(store_at(root))


@pytest.mark.parametrize("name", ["delete, cascade", "restore"])
def test_a_process_that_had_the_store_open_sees_all_or_nothing_after_another_opened_it(start, tmp_path, name):
    before, after = before_and_after(tmp_path, name)
    root = tmp_path / "store"
    maker = start()
    maker.call(make_and_keep, root, name)
    victim = start()
    victim.begin(join_and_die, root, name)
    assert victim.wait() == -signal.SIGKILL
    assert start().call(peek, root) == after
    assert maker.call(peek, root) == after
    assert before != after


def make_and_keep(root: Path, name: str) -> None:
    """In a child: make the store, and keep one open with every session cached."""
    prepared(root, name).close()
    view(store_at(root))


def join_and_die(root: Path, name: str) -> None:
    """In a child: run an operation on a store that is there, and die after the first log was moved."""
    store = store_at(root)
    moves = 0

    def hook(_number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        nonlocal moves
        answer = call()
        if called in ("rename", "link") and args[0].endswith(b".jsonl"):
            moves += 1
            if moves == 2:
                die()
        return answer

    with hooked(hook):
        OPERATIONS[name].run(store)
