"""Records what public calls do to a folder: each change, each sync, and each answer to the caller."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import replaced
from tests.seam import hooked

SEES_SYNCS = hasattr(os, "fdatasync")
"""Elsewhere the store syncs by calls that the recorder does not look at."""


@dataclass(frozen=True)
class Write:
    """Bytes put into a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file cut, or grown by zeros."""

    file: int
    size: int


@dataclass(frozen=True)
class Create:
    """A new, empty file under a new name."""

    path: str
    file: int


@dataclass(frozen=True)
class Link:
    """A second name for a file."""

    source: str
    target: str


@dataclass(frozen=True)
class Rename:
    """Another name for a file; a file that had that name loses it."""

    source: str
    target: str


@dataclass(frozen=True)
class Unlink:
    """A name gone."""

    path: str


@dataclass(frozen=True)
class MakeDirectory:
    """A new directory."""

    path: str


@dataclass(frozen=True)
class Sync:
    """A file's bytes and size are on the medium."""

    file: int


@dataclass(frozen=True)
class SyncDirectory:
    """A directory's entries are on the medium."""

    path: str


@dataclass(frozen=True)
class Answer:
    """A call has returned: what it did is acknowledged."""

    step: int


Record = Write | Truncate | Create | Link | Rename | Unlink | MakeDirectory | Sync | SyncDirectory | Answer

IGNORED = ("locks/", "index/")
"""What a power cut may take without harm: lock files are empty and made when needed, the index is derived."""


def is_ignored(path: str) -> bool:
    """Whether a path, relative to the store's folder, is of no interest."""
    return path.startswith(IGNORED)


class Recorder:
    """What happened below a folder, in order.

    Files are told apart by a number, not by their names: a name may pass from one to another, and a log that is open
    is written to under whatever name it has by then. Nor by their inodes, which the system gives out again.

    Attributes:
        records: what happened. Modification times are not in it: no power cut is promised to keep them.
        folders: the directories that were there at the beginning, parents first.
        files: the files that were there, each name with the number of its file.
        data: the bytes of each.
    """

    def __init__(self, root: Path) -> None:
        self.records: list[Record] = []
        self._root = os.fsencode(root) + b"/"
        # The making of the next file tells when an inode is another's.
        self._numbers: dict[tuple[int, int], int] = {}
        # Under what name each descriptor was opened last.
        self._opened: dict[int, bytes] = {}
        below = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*"))
        self.folders = tuple(name for name, path in below if path.is_dir())
        self.files: list[tuple[str, int]] = []
        self.data: dict[int, bytes] = {}
        for name, path in below:
            if path.is_file() and not is_ignored(name):
                found = path.stat()
                file = self._numbers.setdefault((found.st_dev, found.st_ino), len(self._numbers))
                self.files.append((name, file))
                self.data[file] = path.read_bytes()
        self._made = len(self._numbers) - 1

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record what happens meanwhile."""
        # Of syncs the system's own calls: a function of the store that is called so might make none.
        syncs = {name: self._syncing(getattr(os, name)) for name in ("fsync", "fdatasync")}
        with hooked(self._hook), replaced(os, **syncs):
            yield

    def answer(self) -> None:
        """Note that a call has returned."""
        steps = sum(isinstance(record, Answer) for record in self.records)
        self.records.append(Answer(steps))

    def _hook(self, _number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        note = getattr(self, f"_{name}", None)
        return call() if note is None else note(call, *args)

    def _inside(self, path: bytes) -> str | None:
        """A path relative to the folder; None where it is of no interest."""
        if not path.startswith(self._root):
            return None
        name = os.fsdecode(path.removeprefix(self._root))
        return None if is_ignored(name) else name

    def _maybe_file(self, fd: int) -> int | None:
        found = os.fstat(fd)
        return self._numbers.get((found.st_dev, found.st_ino))

    # One for each system call that changes something or promises something

    def _write(self, call: Callable[..., Any], fd: int, data: bytes) -> int:
        file, offset = self._maybe_file(fd), os.fstat(fd).st_size
        done: int = call()
        if file is not None:
            # Every file of the store is opened for appending: its end is where the bytes went.
            self.records.append(Write(file, offset, bytes(data[:done])))
        return done

    def _ftruncate(self, call: Callable[..., Any], fd: int, size: int) -> None:
        call()
        file = self._maybe_file(fd)
        if file is not None:
            self.records.append(Truncate(file, size))

    def _open_file(self, call: Callable[..., Any], path: bytes, flags: int, *_mode: int) -> int:
        name = self._inside(path)
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        fd: int = call()
        self._opened[fd] = path
        if is_new:
            found = os.fstat(fd)
            self._numbers.pop((found.st_dev, found.st_ino), None)
            if name is not None:
                self._made += 1
                self._numbers[found.st_dev, found.st_ino] = self._made
                self.records.append(Create(name, self._made))
        return fd

    def _syncing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            call(fd)
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                self._add_directory_sync(self._opened[fd])
            elif (file := self._maybe_file(fd)) is not None:
                self.records.append(Sync(file))

        return sync

    def _add_directory_sync(self, path: bytes) -> None:
        # The folder itself has no name below itself.
        name = "" if path + b"/" == self._root else self._inside(path)
        if name is not None:
            self.records.append(SyncDirectory(name))

    def _link(self, call: Callable[..., Any], source: bytes, target: bytes) -> None:
        call()
        self._add_two(Link, source, target)

    def _rename(self, call: Callable[..., Any], source: bytes, target: bytes) -> None:
        call()
        self._add_two(Rename, source, target)

    _replace = _rename

    def _add_two(self, kind: type[Link] | type[Rename], source: bytes, target: bytes) -> None:
        names = self._inside(source), self._inside(target)
        if names[0] is not None and names[1] is not None:
            self.records.append(kind(names[0], names[1]))

    def _unlink(self, call: Callable[..., Any], path: bytes) -> None:
        call()
        name = self._inside(path)
        if name is not None:
            self.records.append(Unlink(name))

    def _mkdir(self, call: Callable[..., Any], path: bytes, *_mode: int) -> None:
        call()
        name = self._inside(path)
        if name is not None:
            self.records.append(MakeDirectory(name))
