"""A disk that is really full: the kernel takes some of the bytes, and refuses the rest."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, SessionStore, WriteFailed
from tests.processes import store_at

resource = pytest.importorskip("resource")

SMALL, LARGE = "small", "x" * 20_000


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In a child: no file may grow beyond this; a write that starts below it is short."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def log_of(root: Path) -> Path:
    return next((root / "sessions").glob("*/s.jsonl"))


def fill_up(root: Path, room: int) -> dict[str, Any]:
    """In a child: append where there is room for so many bytes only; then where there is room again."""
    store = store_at(root)
    session = store.get("s")
    assert len(session.messages) == 1
    size = log_of(root).stat().st_size
    with largest_file(size + room):
        try:
            session.append("user", LARGE)
        except WriteFailed as error:
            caught = error
        else:
            raise AssertionError("the disk was not full")
        during = [message.content for message in session.messages]
        left = log_of(root).stat().st_size
        with SessionStore(root) as fresh:
            assert [message.content for message in fresh.get("s").messages] == during
    after = session.append("user", "after").seq
    return {"error": caught, "during": during, "grown": left - size, "after": after}


@pytest.mark.parametrize("room", [0, 1, 100, 19_000])
def test_a_commit_for_which_there_is_no_room_leaves_the_session_as_it_was(start, root, open_store, room):
    """behaviours 10"""
    store = open_store()
    store.create("s").append("user", SMALL)
    told = start().call(fill_up, root, room)
    assert told["error"].session_id == "s"
    assert told["error"].path == str(log_of(root))
    assert told["error"].errno == 27  # EFBIG
    assert told["during"] == [SMALL]
    assert told["grown"] == 0, "half of a commit was left"
    assert told["after"] == 2
    assert [message.content for message in store.get("s").messages] == [SMALL, "after"]


def make_without_room(root: Path) -> list[str]:
    """In a child: everything that makes a file, where files can have no byte."""
    store = store_at(root)
    parent = store.get("s")
    names = []
    with largest_file(0):
        for work in (
            lambda: store.create("new"),
            lambda: parent.spawn("new"),
            lambda: parent.fork("new"),
            lambda: store.delete("s"),
            lambda: parent.append("user", "x"),
            lambda: parent.set_title("x"),
        ):
            try:
                work()
            except HierstoreError as error:
                names.append(f"{type(error).__name__} {error.session_id}")
    assert "new" not in store
    assert [message.content for message in parent.messages] == [SMALL]
    assert not list((root / "tmp").iterdir()), "a half-built file was left"
    store.create("new")
    parent.fork("fork")
    return names


def test_nothing_is_made_where_there_is_no_room(start, root, open_store):
    """behaviours 10"""
    store = open_store()
    store.create("s").append("user", SMALL)
    names = start().call(make_without_room, root)
    assert [name.split()[0] for name in names] == ["WriteFailed"] * 6
    assert [name.split()[1] for name in names] in (["new", "s", "s", "s", "s", "s"], ["new", "s", "new", "s", "s", "s"])
    assert store.get("fork").messages[0].content == SMALL
    assert store.check().problems == ()


def use_few_descriptors(root: Path, count: int) -> None:
    """In a child: many sessions, few descriptors; what else the program opens takes the rest away."""
    store = store_at(root)
    sessions = [store.create(f"s{number}") for number in range(count)]
    hogs = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                hogs.append(os.open("/dev/null", os.O_RDONLY))
        store._engine.cache.clear()
        failed = 0
        for session in sessions:
            try:
                session.append("user", "x")
            except HierstoreError as error:
                assert error.session_id == session.id  # noqa: PT017  # its name is the point
                failed += 1
    finally:
        for fd in hogs:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for session in sessions:
        before = len(session.messages)
        session.append("user", "after")
        assert len(session.messages) == before + 1


def test_a_program_that_has_used_up_its_descriptors_gets_errors_and_loses_nothing(start, root, open_store):
    """behaviours 10"""
    start().call(use_few_descriptors, root, 40)
    store = open_store()
    assert all(store.get(f"s{number}").messages[-1].content == "after" for number in range(40))


def many_sessions(root: Path, count: int) -> int:
    """In a child: far more sessions than descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    store = store_at(root)
    sessions = [store.create() for _ in range(count)]
    for _ in range(2):
        for session in sessions:
            session.append("user", "x")
    assert all(len(session.messages) == 2 for session in sessions)
    return len(os.listdir("/dev/fd"))


def test_more_sessions_than_descriptors(start, root, open_store):
    child = start()
    child.call(limit_first, 128)
    assert child.call(many_sessions, root, 600) < 128
    assert len(open_store().tree()) == 600


def limit_first(count: int) -> None:
    """In a child: what the store reads when it is imported, as a program with such a limit would."""
    from hierstore.disk import files

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    files.MAX_OPEN_LOCKS = files.MAX_OPEN_LOGS = max(8, min(256, files._open_file_limit() // 6))


def test_files_are_the_owners_alone(start, root, open_store):
    open_store().create("s").append("user", "x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")] if path.is_dir()} == {0o700}
