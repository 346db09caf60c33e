"""How many bytes things take: each folder of a store, and each session. Changes nothing.

A file that forks share has several names and is there once. It is counted once in the folders; of a session it is told
twice: what it needs of it, and what nobody else does.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from hierstore.census import maybe_past
from hierstore.disk import files, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import SUFFIX, past_path
from hierstore.errors import SessionNotFound
from hierstore.reports import DiskUsage, SessionSize
from hierstore.tree import BAD_LOG, session_ids

_FOLDERS = {"logs": b"sessions", "trash": b"trash", "quarantine": b"quarantine", "index": b"index"}
"""In the order in which a file of several names is counted."""

_Inode = tuple[int, int]


def disk_usage(engine: Engine) -> DiskUsage:
    """What each folder takes.

    Raises:
        UnreadableLog: a folder cannot be read.
    """
    engine.check_open()
    root = engine.layout.root
    counted: set[_Inode] = set()
    try:
        named = {name: _size_below(os.path.join(root, folder), counted) for name, folder in _FOLDERS.items()}
        others = set(files.names(root)) - set(_FOLDERS.values())
        other = sum(_size_below(os.path.join(root, name), counted) for name in others)
    except OSError as error:
        raise refusals.folder_unreadable(error, root) from error
    return DiskUsage(**named, other=other)


def _size_below(path: bytes, counted: set[_Inode]) -> int:
    """The bytes of the files at and below a path that were not counted yet; no link is followed."""
    total = 0
    stack = [path]
    while stack:
        path = stack.pop()
        try:
            found = files.lstat(path)
        except FileNotFoundError:
            # Files come and go while others work.
            continue
        inode = (found.st_dev, found.st_ino)
        if stat.S_ISDIR(found.st_mode):
            stack.extend(os.path.join(path, name) for name in files.names(path))
        elif stat.S_ISREG(found.st_mode) and inode not in counted:
            counted.add(inode)
            total += found.st_size
    return total


def forked(engine: Engine) -> frozenset[bytes]:
    """The paths of the logs that have the beginning of their history in files beside them.

    Raises:
        UnreadableLog: the folders cannot be read.
    """
    sessions = engine.layout.sessions
    found = set()
    try:
        for folder in files.names(sessions):
            for name in files.names(os.path.join(sessions, folder)):
                maybe_stem = maybe_past(name)
                if maybe_stem is not None:
                    found.add(os.path.join(sessions, folder, maybe_stem[0] + SUFFIX))
    except OSError as error:
        raise refusals.folder_unreadable(error, sessions) from error
    return frozenset(found)


class _File(NamedTuple):
    """A file that a session needs.

    Attributes:
        inode: which.
        size: its bytes.
        needed: how many of them, from its beginning, the session needs.
        names: how many names it has.
    """

    inode: _Inode
    size: int
    needed: int
    names: int


def sizes(engine: Engine) -> tuple[SessionSize, ...]:
    """What each session takes, the largest first.

    Only forks are read; of all others the system is asked.

    Raises:
        UnreadableLog: the folders cannot be read.
    """
    forks = forked(engine)
    needed = {session_id: tuple(_files(engine, session_id, forks)) for session_id in session_ids(engine)}
    users: defaultdict[_Inode, list[tuple[str, int]]] = defaultdict(list)
    for session_id, each in needed.items():
        for file in each:
            users[file.inode].append((session_id, file.needed))

    def own(session_id: str, file: _File) -> int:
        others = [size for other_id, size in users[file.inode] if other_id != session_id]
        # A name that no session has is in the trash, and may be restored.
        return 0 if file.names > len(users[file.inode]) else max(0, file.size - max(others, default=0))

    found = [
        SessionSize(session_id, sum(file.needed for file in each), sum(own(session_id, file) for file in each))
        for session_id, each in needed.items()
        if each
    ]
    return tuple(sorted(found, key=lambda item: (-item.size_bytes, item.id)))


def _files(engine: Engine, session_id: str, forks: frozenset[bytes]) -> Iterator[_File]:
    """The files that a session needs; none when it is gone."""
    entry = engine.entry(session_id)
    try:
        log = files.lstat(entry.path)
        pasts = engine.peek(entry).facts.past if entry.path in forks else ()
        found = [(files.lstat(past_path(entry.path, past.file)), past.size) for past in pasts]
    except (SessionNotFound, FileNotFoundError):
        # Gone since its folder was read; of a fork, perhaps only the files that it had then.
        return
    except BAD_LOG:
        found = []
    except OSError as error:
        raise refusals.unreadable(error, session_id, entry.path) from error
    for each, counting in ((log, log.st_size), *found):
        # What has no other name is there for this session alone, whether all of it counts or not.
        needed = each.st_size if each.st_nlink == 1 else min(counting, each.st_size)
        yield _File((each.st_dev, each.st_ino), each.st_size, needed, each.st_nlink)
