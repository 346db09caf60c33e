"""An error at every system call of every mutating call.

Afterwards the store shows the old state or the new one, the error is the store's own and names the session, nothing is
leaked, and the next call works.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import DurabilityError, HierstoreError, SessionStore, TreeNode, UnreadableLog
from tests.seam import (
    FAMILY,
    OPERATIONS,
    Call,
    Operation,
    View,
    before_and_after,
    descriptors,
    ends_of_loops,
    finish,
    hooked,
    is_change,
    is_legal,
    list_calls,
    prepared,
    view,
)

IMPATIENT_S = 1.0
SYNCS = ("sync", "sync_directory")
OPENS = ("open_file", "dup", "scandir", "sync_directory")

Fail = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def eio(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The medium fails. A failing close closes all the same, as Linux does."""
    if name == "close":
        call()
    raise refuse(errno.EIO)


def emfile(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """No descriptor is left."""
    raise refuse(errno.EMFILE)


def enospc(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The disk is full: no room for a file, or for half of the bytes."""
    if name == "write":
        fd, data = args
        call(fd, bytes(data)[: len(data) // 2])
    raise refuse(errno.ENOSPC)


def failing(point: Call, fail: Fail, *, goes_on: bool = False) -> Any:
    """A hook that lets that call fail; and, if it goes on, every later one that changes something.

    Where a clock's grain shifted the numbers, the next call of that name fails instead.
    """
    failed = False

    def hook(number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal failed
        if not failed and number >= point.number and name == point.name:
            failed = True
            return fail(name, call, args)
        return fail(name, call, args) if failed and goes_on and is_change(name, args) else call()

    return hook


def calls_of(folder: Path, name: str, **options: Any) -> list[Call]:
    with prepared(folder / "calls", name, **options) as store:
        return list_calls(lambda: OPERATIONS[name].run_or_be_refused(store))


def attempt(store: SessionStore, operation: Operation, hook: Any) -> HierstoreError | None:
    """Run an operation through a hook; the error, which has to be the store's own and to name the session."""
    caught = None
    try:
        with hooked(hook):
            operation.run(store)
    except HierstoreError as error:
        caught = error
    if caught is not None and type(caught).__name__ != operation.again:
        assert getattr(caught, "session_id", None) in operation.ids, f"{caught!r} names no session of this call"
    return caught


def sweep(folder: Path, name: str, points: list[Call], fail: Fail, *, goes_on: bool = False, **options: Any) -> None:
    """Let each of these calls fail, each on a store made anew; every one that did harm is told of."""
    before, after = before_and_after(folder, name)
    harm = []
    for point in points:
        root = folder / f"{point.number}"
        try:
            _fail_once(root, name, failing(point, fail, goes_on=goes_on), before, after, options)
        except (AssertionError, HierstoreError, OSError) as failure:
            what = f"{type(failure).__name__}: {failure}".splitlines()[0]
            harm.append(f"{fail.__name__} at {point.number} {point.name} from {_lines(point)}: {what[:300]}")
        shutil.rmtree(root)
    assert not harm, "\n".join([f"{len(harm)} of {len(points)} faults did harm:", *harm])


def _fail_once(root: Path, name: str, hook: Any, before: View, after: View, options: dict[str, Any]) -> None:
    operation = OPERATIONS[name]
    opened, threads = descriptors(), threading.active_count()
    with prepared(root, name, lock_timeout_s=IMPATIENT_S, **options) as store:
        error = attempt(store, operation, hook)
        _judge(root, store, operation, before, after, error)
    assert descriptors() == opened, "a descriptor was leaked"
    assert threading.active_count() == threads


def _lines(point: Call) -> str:
    return " < ".join(f"{os.path.basename(file)}:{line}" for file, line in point.place)


def _judge(
    root: Path, store: SessionStore, operation: Operation, before: View, after: View, error: HierstoreError | None
) -> None:
    with SessionStore(root, lock_timeout_s=IMPATIENT_S) as fresh:  # whose locks are others: none is still held
        found = view(fresh)
        assert is_legal(operation, found, before, after), f"neither the old state nor the new one, after {error!r}"
        if error is None:
            assert found == after, "it was answered, and is not there"
        assert fresh.check().problems == ()
        if isinstance(error, DurabilityError):
            # This store takes no more writes for the session; another does.
            finish(fresh, operation, after)
            return
        assert view(store) == found, f"this store shows another state than a fresh one, after {error!r}"
    finish(store, operation, after)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_io_error_at_every_system_call(tmp_path, name):
    """behaviours 10"""
    sweep(tmp_path, name, ends_of_loops(calls_of(tmp_path, name)), eio)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_full_disk_at_every_system_call(tmp_path, name):
    """behaviours 10"""
    points = [
        call
        for call in ends_of_loops(calls_of(tmp_path, name))
        if call.changes and call.name not in ("utime", "unlink")
    ]
    sweep(tmp_path, name, points, enospc)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_fails_from_some_system_call_on(tmp_path, name):
    """behaviours 10: what would clean up fails too"""
    points = [call for call in ends_of_loops(calls_of(tmp_path, name)) if call.changes]
    sweep(tmp_path, name, points, enospc, goes_on=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_descriptor_left_at_every_open(tmp_path, name):
    """behaviours 10"""
    points = [call for call in ends_of_loops(calls_of(tmp_path, name)) if call.name in OPENS]
    sweep(tmp_path, name, points, emfile)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_failing_sync_at_every_sync(tmp_path, name):
    """behaviours 10"""
    calls = ends_of_loops(calls_of(tmp_path, name, durability="power"))
    sweep(tmp_path, name, [call for call in calls if call.name in (*SYNCS, "dup")], eio, durability="power")


# Reading

READS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda store: store.get("a").id,
    "messages": lambda store: [message.content for message in store.get("twig").messages],
    "at": lambda store: [message.content for message in store.get("a").at(3).messages],
    "children": lambda store: [child.id for child in store.get("top").children],
    "ancestors": lambda store: [other.id for other in store.get("aa").ancestors],
    "descendants": lambda store: [other.id for other in store.get("top").descendants()],
    "in": lambda store: "a" in store,
    "tree of one": lambda store: store.tree("top"),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_that_fails_never_shows_less(tmp_path, name):
    """behaviours 10: an unreadable session is neither missing nor empty"""
    root = tmp_path / "store"
    with prepared(root, "append") as store:
        wanted = READS[name](store)
    with SessionStore(root) as cold:
        calls = list_calls(lambda: READS[name](cold))
    harm = []
    for point in calls:
        try:
            _read_once(root, name, failing(point, eio), wanted)
        except (AssertionError, OSError, HierstoreError) as failure:
            what = f"{type(failure).__name__}: {failure}".splitlines()[0]
            harm.append(f"eio at {point.number} {point.name} from {_lines(point)}: {what[:300]}")
    assert not harm, "\n".join([f"{len(harm)} of {len(calls)} faults did harm:", *harm])


def _read_once(root: Path, name: str, hook: Any, wanted: Any) -> None:
    opened = descriptors()
    with SessionStore(root, lock_timeout_s=IMPATIENT_S) as store:
        found = caught = None
        try:
            with hooked(hook):
                found = READS[name](store)
        except HierstoreError as error:
            caught = error
        if caught is None:
            assert _ids_of(found) == _ids_of(wanted), "it shows less"
        else:
            assert isinstance(caught, UnreadableLog), f"{caught!r} instead of UnreadableLog"
            assert caught.session_id in FAMILY
        assert READS[name](store) == wanted, "the error stayed"
    assert descriptors() == opened, "a descriptor was leaked"


def _ids_of(found: Any) -> Any:
    """Who is in a tree, where it is one: a node that cannot be read is shown as no more than its id."""
    if isinstance(found, TreeNode):
        return found.id, [_ids_of(child) for child in found.children]
    return found
