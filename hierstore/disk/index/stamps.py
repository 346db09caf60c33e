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
from typing import NamedTuple

from hierstore.disk import files, refusals
from hierstore.disk.logfile import SUFFIX

Stamp = tuple[int, int, int, int]
"""(size, mtime in nanoseconds, inode, device)."""

UNTRUSTED: Stamp = (-1, 0, 0, 0)
TRASH = "trash"
_JOIN = "/"
_SUFFIX = SUFFIX.decode()
_WIDTH = 4
_STAMP_BYTES = 8 * _WIDTH


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


def _is_folder(name: str) -> bool:
    return len(name) == 2  # hexadecimal digits


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
            if _is_folder(name) or name == TRASH:
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

    def count(self) -> int:
        """How many logs there are, as far as the index knows."""
        return sum(len(folder.stamps) for folder in self._folders.values()) // _STAMP_BYTES

    def changes_among(self, paths: set[bytes]) -> Changes:
        """The same of some logs, and of all in some folders below ``sessions/``."""
        found: Changes = {}
        by_folder: dict[str, set[bytes]] = {}
        for path in paths:
            name = self._name(path)
            if name is not None:
                by_folder.setdefault(name.partition(_JOIN)[0], set()).add(path)
            elif os.path.dirname(path) == self._sessions and _is_folder(os.fsdecode(os.path.basename(path))):
                self._compare(os.fsdecode(os.path.basename(path)), found)
        for folder, logs in by_folder.items():
            known = dict(self._folders.get(folder, EMPTY).items())
            for path in logs:
                file = os.fsdecode(os.path.basename(path))
                stamp = self._stamp_at(path)
                if known.get(file) != stamp:
                    found[f"{folder}/{file}"] = stamp
        return found

    @staticmethod
    def _stamp_at(path: bytes) -> Stamp | None:
        try:
            of = files.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise refusals.folder_unreadable(error, path) from error
        return of.st_size, of.st_mtime_ns, of.st_ino, of.st_dev

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
