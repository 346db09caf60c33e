"""Which logs are not as the index has them: a look at every folder, compared with the stamps of the last one.

The stamps of a folder are one run of numbers, and its names another of bytes, in the order in which the system lists
them: a folder in which nothing happened is found equal by comparing the two, and a new process takes them from the index
as they are. What cannot be trusted (a log whose end was being written) has a stamp that no file has.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from hierstore.disk import files, refusals
from hierstore.disk.logfile import SUFFIX

Stamp = tuple[int, int, int, int]
"""(size, mtime in nanoseconds, inode, device)."""

UNTRUSTED: Stamp = (-1, 0, 0, 0)
TRASH = "trash"
_JOIN = "/"
_SUFFIX = SUFFIX.decode()
_WIDTH = 4


class Freshness(Protocol):
    """Tells which logs have changed, so that not all need to be looked at."""

    def changed(self) -> set[bytes] | None:
        """The logs that may have changed since the last call, as absolute paths; None: unknown, look at all.

        In it, or in an earlier answer, is every log with a change that was finished before this call began, whoever made
        it: a log that grew, appeared, was replaced or removed, in ``sessions/`` or in ``trash/``. More does no harm.
        """


class Rescan:
    """Knows nothing: every log is looked at."""

    def changed(self) -> set[bytes] | None:
        """None."""
        return None


class Folder(NamedTuple):
    """The logs of one folder.

    Attributes:
        names: as bytes, joined by slashes.
        stamps: four numbers for each.
    """

    names: bytes
    stamps: bytes

    def items(self) -> Iterator[tuple[str, Stamp]]:
        """Each name with its stamp."""
        if self.names:
            numbers = iter(array("q", self.stamps))
            yield from zip(os.fsdecode(self.names).split(_JOIN), zip(*[numbers] * _WIDTH, strict=True), strict=True)


EMPTY = Folder(b"", b"")


def folder_of(items: Iterable[tuple[str, Stamp]]) -> Folder:
    """The folder of names and stamps."""
    rows = list(items)
    names = os.fsencode(_JOIN.join(name for name, _ in rows))
    return Folder(names, array("q", [number for _, stamp in rows for number in stamp]).tobytes())


def look(path: bytes) -> Folder:
    """A folder as it is; without logs when there is none.

    Raises:
        UnreadableLog: it cannot be read.
    """
    try:
        names, numbers = files.stamps_in(path, _SUFFIX)
    except (FileNotFoundError, NotADirectoryError):
        return EMPTY
    except OSError as error:
        raise refusals.folder_unreadable(error, path) from error
    return Folder(os.fsencode(_JOIN.join(names)), numbers.tobytes())


Changes = dict[str, Stamp | None]
"""For each path below ``sessions/``, or ``trash/…``, the stamp that was found; None where there is no log."""


class Known:
    """The stamps that the index has, as this process last saw them.

    Args:
        sessions: the folder of the folders of logs.
        trash: the folder of deleted ones.
    """

    def __init__(self, sessions: bytes, trash: bytes) -> None:
        self._sessions = sessions
        self._trash = trash
        self._folders: dict[str, Folder] = {}
        self._generation = -1

    def load(self, sql: sqlite3.Connection) -> None:
        """Take over what the index has got since."""
        rows = sql.execute(
            "SELECT name, names, stamps, generation FROM folder WHERE generation > ?", (self._generation,)
        )
        for name, names, stamps, generation in rows.fetchall():
            self._folders[name] = Folder(names, stamps)
            self._generation = max(self._generation, generation)

    def forget(self) -> None:
        """Know nothing: the index is another."""
        self._folders.clear()
        self._generation = -1

    def path(self, name: str) -> bytes:
        """The absolute path of a log."""
        folder, _, rest = name.partition(_JOIN)
        return os.path.join(self._trash, os.fsencode(rest)) if folder == TRASH else self._below(name)

    def _below(self, name: str) -> bytes:
        return os.path.join(self._sessions, os.fsencode(name))

    def changes(self) -> Changes:
        """Every log that is not as the index has it, found by looking at all."""
        try:
            names = {os.fsdecode(name) for name in files.names(self._sessions)}
        except OSError as error:
            raise refusals.folder_unreadable(error, self._sessions) from error
        found: Changes = {}
        for name in sorted(names | self._folders.keys() | {TRASH}):
            if len(name) == 2 or name == TRASH:  # two hexadecimal digits
                self._compare(name, found)
        return found

    def _compare(self, name: str, found: Changes) -> None:
        seen = look(self._trash if name == TRASH else self._below(name))
        known = self._folders.get(name, EMPTY)
        if seen == known:
            return
        before, now = dict(known.items()), dict(seen.items())
        for file in before.keys() - now.keys():
            found[f"{name}/{file}"] = None
        for file, stamp in now.items():
            if before.get(file) != stamp:
                found[f"{name}/{file}"] = stamp
        if before == now:
            # Only the order is another: the next comparison is a short one again.
            self._folders[name] = seen

    def changes_among(self, paths: set[bytes]) -> Changes:
        """The same of some logs."""
        found: Changes = {}
        for path in paths:
            name = self._name(path)
            if name is None:
                continue
            try:
                of = files.lstat(path)
                stamp: Stamp | None = (of.st_size, of.st_mtime_ns, of.st_ino, of.st_dev)
            except (FileNotFoundError, NotADirectoryError):
                stamp = None
            except OSError as error:
                raise refusals.folder_unreadable(error, path) from error
            if self.stamp(name) != stamp:
                found[name] = stamp
        return found

    def _name(self, path: bytes) -> str | None:
        """A log's path as the index has it; None when it is no log's."""
        folder, file = os.path.split(path)
        if not file.endswith(SUFFIX):
            return None
        if folder == self._trash:
            return f"{TRASH}/{os.fsdecode(file)}"
        return os.fsdecode(path[len(self._sessions) + 1 :]) if os.path.dirname(folder) == self._sessions else None

    def still(self, changes: Changes) -> Changes:
        """Those of some changes that the index still does not have."""
        folders = {name.partition(_JOIN)[0] for name in changes}
        known = {folder: dict(self._folders.get(folder, EMPTY).items()) for folder in folders}
        return {
            name: stamp
            for name, stamp in changes.items()
            if known[name.partition(_JOIN)[0]].get(name.partition(_JOIN)[2]) != stamp
        }

    def stamp(self, name: str) -> Stamp | None:
        """The stamp that the index has of a log, or None."""
        folder, _, file = name.partition(_JOIN)
        return dict(self._folders.get(folder, EMPTY).items()).get(file)

    def store(self, sql: sqlite3.Connection, generation: int, changes: Changes) -> None:
        """Let the index have these stamps; None removes one."""
        by_folder: dict[str, Changes] = {}
        for name, stamp in changes.items():
            folder, _, file = name.partition(_JOIN)
            by_folder.setdefault(folder, {})[file] = stamp
        for folder, changed in by_folder.items():
            merged = {**dict(self._folders.get(folder, EMPTY).items()), **changed}
            made = folder_of((file, stamp) for file, stamp in merged.items() if stamp is not None)
            self._folders[folder] = made
            sql.execute(
                "INSERT OR REPLACE INTO folder VALUES (?, ?, ?, ?)", (folder, generation, made.names, made.stamps)
            )
        self._generation = generation
