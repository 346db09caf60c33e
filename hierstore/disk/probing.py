"""Trying what a store relies on, in a folder of its own that is gone afterwards. What is found is judged in ``health.py``."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote

from hierstore import clock
from hierstore.disk import files

EVENT_PATIENCE_S = 2.0
_STEPS = 5
_STEPS_S = 0.25
_NO_STEP_S = 2.5
_PROCESS_S = 20.0

# Without the package: what is asked is whether the system keeps another process out.
_TRY_LOCK = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("kept out")
else:
    print("let in")
"""


@contextmanager
def trial_folder(above: bytes) -> Iterator[bytes]:
    """A new folder for trials, which is removed with its files.

    Raises:
        OSError: it cannot be made, or not be removed.
    """
    folder = os.path.join(above, clock.new_id().encode() + b".probe")
    files.make_directory(folder, 0o700)
    try:
        yield folder
    finally:
        for name in list(files.names(folder)):
            files.remove(os.path.join(folder, name))
        os.rmdir(folder)


# Locks


class Locks(NamedTuple):
    """Whether a lock keeps others out.

    Attributes:
        of_descriptor: a second descriptor of the same process.
        of_process: a second process, and only while the lock is held; None where none could be asked.
    """

    of_descriptor: bool
    of_process: bool | None


def try_locks(folder: bytes) -> Locks:
    """Hold a lock, and see who is kept out.

    Raises:
        OSError: the system refuses to lock.
    """
    from filelock import lock_descriptor, unlock_descriptor

    path = os.path.join(folder, b"lock")
    first = files.create(path, 0o600)
    try:
        second = files.open_file(path, files.LOCK, 0o600)
        try:
            if not lock_descriptor(first, blocking=False):
                return Locks(False, None)
            of_descriptor = not lock_descriptor(second, blocking=False)
            while_held = _ask_process(path)
            unlock_descriptor(first)
            unlock_descriptor(second)
            free = _ask_process(path)
        finally:
            files.close(second)
    finally:
        files.close(first)
    if while_held is None or free is None:
        return Locks(of_descriptor, None)
    return Locks(of_descriptor, while_held == "kept out" and free == "let in")


def _ask_process(path: bytes) -> str | None:
    """Whether another process is let in; None where there is none to be had."""
    if not sys.executable:
        return None
    command = [sys.executable, "-I", "-S", "-c", _TRY_LOCK, os.fsdecode(path)]
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter, with our own words
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROCESS_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


# Events, times, links


def try_events(folder: bytes) -> bool:
    """Whether the system tells of a file that is made.

    Raises:
        OSError: it does not let us watch.
    """
    from hierstore.disk.observer import NativeObserver

    observer = NativeObserver({folder: False}, lambda _path, _is_folder: None, lambda _why: None)
    try:
        return observer.delivers(os.path.join(folder, b"event"), 0o600, EVENT_PATIENCE_S)
    finally:
        observer.close()


class Times(NamedTuple):
    """What modification times are like.

    Attributes:
        step_ns: the smallest step from one to the next that writing made; None when it made none.
        ahead_s: how far they are ahead of this machine's clock, seconds; negative: behind.
    """

    step_ns: int | None
    ahead_s: float


def try_times(folder: bytes) -> Times:
    """Write until the file's modification time has moved a few times."""
    fd = files.create(os.path.join(folder, b"times"), 0o600)
    try:
        steps: list[int] = []
        began = time.monotonic()
        last = files.fstat(fd).st_mtime_ns
        while len(steps) < _STEPS and time.monotonic() - began < (_STEPS_S if steps else _NO_STEP_S):
            files.write(fd, b".")
            found = files.fstat(fd).st_mtime_ns
            if found != last:
                steps.append(found - last)
                last = found
        return Times(min(steps, default=None), last / 1e9 - clock.now())
    finally:
        files.close(fd)


def try_links(folder: bytes) -> bool:
    """Whether a file can have two names."""
    source = os.path.join(folder, b"one")
    files.close(files.create(source, 0o600))
    return files.maybe_link(source, os.path.join(folder, b"two"))


# Room and limits


class Room(NamedTuple):
    """What is free for us.

    Attributes:
        free_bytes: of the file system.
        free_files: how many files can still be made; None where the file system does not count them.
    """

    free_bytes: int
    free_files: int | None


def maybe_room(folder: bytes) -> Room | None:
    """How much room a file system has; None where the system does not tell."""
    if not hasattr(os, "statvfs"):
        return None
    found = os.statvfs(folder)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def maybe_limit(name: str) -> int | None:
    """One of the limits on inotify that a user's programs have; None where there is no such thing."""
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


# SQLite


def has_full_text() -> bool:
    """Whether SQLite can search words."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE text USING fts5 (body)")
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True


def count_indexed(path: bytes) -> int | None:
    """How many sessions an index knows; None when that cannot be told without changing its files.

    Raises:
        sqlite3.Error: it is damaged.
    """
    # A log of writes without its memory was left by a crash: whoever opens the index next reads it in.
    has_log = files.exists(path + b"-wal")
    if has_log and not files.exists(path + b"-shm"):
        return None
    way = "mode=ro" if has_log else "immutable=1"
    connection = sqlite3.connect(f"file:{quote(path)}?{way}", uri=True, timeout=1.0)
    try:
        found: int = connection.execute("SELECT count(*) FROM log WHERE listed").fetchone()[0]
    finally:
        connection.close()
    return found
