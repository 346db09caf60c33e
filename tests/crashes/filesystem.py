"""What a file system may have kept of a folder when the power goes: a model of its own, and every state it allows.

A file is a number: its durable bytes, and what it was after each change since its last sync. A directory is its durable
entries, and the changes of names since its last sync. Of what is pending a power cut keeps what it likes, by these rules:

- A medium writes sectors of 512 bytes, each whole. A pending file has each sector as of any moment since the last sync
  (zeros, where there was none yet), and the size as of any moment or that of whole sectors in between. So its bytes may
  be absent, cut off, zeros, or there behind a hole, and late ones may be there without early ones.
- The names in one directory are kept as a prefix of what was done there; only its own sync makes them durable, which is
  what POSIX promises, and less than ext4 and XFS do (one journal of all names). A rename between two directories is kept
  in both or in neither. A new directory that its parent lost is lost with all that is in it.
- Names know nothing of bytes: a rename may survive, and the bytes of what it names not; and the other way round.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from tests.crashes.recorder import (
    Answer,
    Create,
    Link,
    MakeDirectory,
    Record,
    Recorder,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

SECTOR = 512


@dataclass(eq=False)
class Directory:
    """The entries that are durable: of each name the number of a file, or a directory."""

    entries: dict[str, int | Directory] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Names:
    """One pending change of names, whole or not at all: in each place a name gets something else, or nothing."""

    changes: tuple[tuple[Directory, str, int | Directory | None], ...]

    @property
    def directories(self) -> tuple[Directory, ...]:
        """Where it changes something."""
        return tuple(directory for directory, _, _ in self.changes)


@dataclass(frozen=True)
class State:
    """A folder as a power cut leaves it.

    Attributes:
        folders: the directories, parents first.
        files: of each path the number of its file: two names of one file have the same.
        data: the bytes of each file that has a name.
        how: what was kept, in words.
        rank: 0 for the plainest (all kept, nothing kept), 1 for the extremes, 2 for any other.
    """

    folders: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    data: Mapping[int, bytes]
    how: str
    rank: int

    @property
    def content(self) -> tuple[object, ...]:
        """What tells states apart: two that were reached in two ways are one."""
        return (self.folders, tuple((path, file, self.data[file]) for path, file in self.files))

    def write_to(self, root: Path) -> None:
        """Make the folder."""
        root.mkdir(mode=0o700)
        for folder in self.folders:
            os.mkdir(root / folder, 0o700)
        made: dict[int, str] = {}
        for path, file in self.files:
            if file in made:
                os.link(made[file], f"{root}/{path}")
                continue
            made[file] = f"{root}/{path}"
            fd = os.open(made[file], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(fd, self.data[file])
            finally:
                os.close(fd)


class FileSystem:
    """The model: given what was recorded, it knows what is durable and what is pending.

    Args:
        recorder: knows the folder at the beginning, all of which is durable.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._root = Directory()
        self._pending: list[Names] = []
        # Of each file its bytes after each change since its last sync; the first are the durable ones.
        self._versions: dict[int, list[bytes]] = {}
        self._now: dict[Directory, dict[str, int | Directory]] = {self._root: {}}
        for folder in recorder.folders:
            self._name(folder, Directory())
        for path, file in recorder.files:
            self._versions[file] = [recorder.data[file]]
            self._name(path, file)
        self._keep(self._pending)

    # What happens

    def apply(self, record: Record) -> None:
        """Something happened."""
        match record:
            case Write(file, offset, data):
                now = self._versions[file][-1]
                self._versions[file].append(now[:offset].ljust(offset, b"\0") + data + now[offset + len(data) :])
            case Truncate(file, size):
                self._versions[file].append(self._versions[file][-1][:size].ljust(size, b"\0"))
            case Create(path, file):
                self._versions[file] = [b""]
                self._name(path, file)
            case MakeDirectory(path):
                self._name(path, Directory())
            case Link(source, target):
                self._change((target, self._at(source)))
            case Rename(source, target):
                self._change((source, None), (target, self._at(source)))
            case Unlink(path):
                self._change((path, None))
            case Sync(file):
                self._versions[file] = self._versions[file][-1:]
            case SyncDirectory(path):
                directory = self._folder(path)
                self._keep(self._with_what_came_before([directory in names.directories for names in self._pending]))
            case Answer():
                pass

    def _folder(self, path: str) -> Directory:
        found = self._root
        for part in filter(None, path.split("/")):
            below = self._now[found][part]
            assert isinstance(below, Directory), path
            found = below
        return found

    def _at(self, path: str) -> int | Directory:
        folder, _, name = path.rpartition("/")
        return self._now[self._folder(folder)][name]

    def _name(self, path: str, what: int | Directory) -> None:
        if isinstance(what, Directory):
            self._now[what] = {}
        self._change((path, what))

    def _change(self, *changes: tuple[str, int | Directory | None]) -> None:
        places = []
        for path, what in changes:
            folder, _, name = path.rpartition("/")
            places.append((self._folder(folder), name, what))
        self._pending.append(Names(tuple(places)))
        for directory, name, what in places:
            _set(self._now[directory], name, what)

    def _with_what_came_before(self, wanted: Sequence[bool]) -> list[Names]:
        """Some of the pending changes, with those that were made before them in the same directories."""
        needed: set[Directory] = set()
        found = []
        for names, is_wanted in reversed(list(zip(self._pending, wanted, strict=False))):
            if is_wanted or needed.intersection(names.directories):
                needed.update(names.directories)
                found.append(names)
        return found[::-1]

    def _keep(self, kept: Sequence[Names]) -> None:
        for names in kept:
            for directory, name, what in names.changes:
                _set(directory.entries, name, what)
        gone = set(map(id, kept))
        self._pending = [names for names in self._pending if id(names) not in gone]

    # What a power cut may leave

    def live(self) -> State:
        """Everything kept: what the death of every process leaves."""
        return self._state(self._pending, {}, "everything kept", 0)

    def states(self, choice: random.Random, limit: int) -> Iterator[State]:
        """Every state there may be; where these are more than ``limit``, the extremes and as many others."""
        yield self._state([], self._oldest(), "nothing pending kept", 0)
        yield self.live()
        found = self._maybe_every(limit)
        if found is None:
            found = itertools.chain(self._extremes(), (self._any(choice) for _ in range(limit)))
        yield from found

    def _maybe_every(self, limit: int) -> Iterator[State] | None:
        """All; None when they are more than so many."""
        names = list(itertools.islice(self._every_names(), limit + 1))
        files = self._changed()
        contents = [_every(self._versions[file], limit) for file in files]
        if len(names) * prod(limit + 1 if many is None else len(many) for many in contents) > limit:
            return None
        return (
            self._state(
                kept, dict(zip(files, data, strict=True)), f"{self._words(kept)}, {list(map(len, data))} bytes", 2
            )
            for kept in names
            for data in itertools.product(*(many or [] for many in contents))
        )

    def _extremes(self) -> Iterator[State]:
        """Each pending change alone lost, each alone kept."""
        for place in range(len(self._pending)):
            lost = self._without(lambda _, number, place=place: number == place)  # type: ignore[misc]
            yield self._state(lost, {}, f"change of names {place} lost, and what had to come after it")
            kept = self._with_what_came_before([number == place for number in range(place + 1)])
            yield self._state(kept, self._oldest(), f"change of names {place} kept, with what had to come before it")
            yield self._state(kept, {}, f"change of names {place} kept so, and all bytes")
            yield self._state(self._pending[:place], {}, f"the first {place} changes of names kept, and all bytes")
        for file in self._changed():
            for words, data in _extremes(self._versions[file]):
                yield self._state(self._pending, {file: data}, f"all, but of file {file} {words}")
                alone = {**self._oldest(), file: data}
                yield self._state(self._pending, alone, f"all names, and of bytes only of file {file} {words}")

    def _any(self, choice: random.Random) -> State:
        """Any state, extreme or not."""
        data, words = {}, []
        for file in self._changed():
            how, data[file] = _any(self._versions[file], choice)
            words.append(f"file {file}: {how}")
        kept = self._any_names(choice)
        return self._state(kept, data, f"{self._words(kept)}; {'; '.join(words)}", 2)

    def _words(self, kept: Sequence[Names]) -> str:
        return f"of the changes of names {[number for number, names in enumerate(self._pending) if names in kept]}"

    def _changed(self) -> list[int]:
        """The files with pending bytes that may have a name."""
        named = {what for names in self._pending for _, _, what in names.changes}
        for directory in self._now:
            named.update(directory.entries.values())
        return [file for file, versions in self._versions.items() if len(versions) > 1 and file in named]

    def _oldest(self) -> dict[int, bytes]:
        return {file: self._versions[file][0] for file in self._changed()}

    def _any_names(self, choice: random.Random) -> list[Names]:
        kind = choice.random()
        if kind < 0.4:
            # What is not named is not seen.
            return self._pending
        if kind < 0.7:
            return self._pending[: choice.randint(0, len(self._pending))]
        # Each directory's own moment.
        cuts: dict[Directory, int] = {}
        return self._without(
            lambda directory, number: number >= cuts.setdefault(directory, choice.randint(0, len(self._pending)))
        )

    def _without(self, is_lost: Callable[[Directory, int], bool]) -> list[Names]:
        """The pending changes without some, and without those that were made after them in the same directories."""
        ended: set[Directory] = set()
        kept = []
        for number, names in enumerate(self._pending):
            if any(is_lost(directory, number) or directory in ended for directory in names.directories):
                ended.update(names.directories)
            else:
                kept.append(names)
        return kept

    def _every_names(self) -> Iterator[list[Names]]:
        """All that may be kept of the pending changes of names."""
        stack: list[tuple[int, list[Names], frozenset[Directory]]] = [(0, [], frozenset())]
        while stack:
            place, kept, ended = stack.pop()
            for number, names in enumerate(self._pending[place:], place + 1):
                if ended.isdisjoint(names.directories):
                    stack.append((number, kept[:], ended.union(names.directories)))
                    kept.append(names)
                else:
                    ended = ended.union(names.directories)
            yield kept

    def _state(self, kept: Sequence[Names], data: Mapping[int, bytes], how: str, rank: int = 1) -> State:
        """The durable names with some of the pending ones, and all bytes but those that are given."""
        entries: dict[Directory, dict[str, int | Directory]] = {}
        for names in kept:
            for directory, name, what in names.changes:
                _set(entries.setdefault(directory, dict(directory.entries)), name, what)
        folders: list[str] = []
        files: list[tuple[str, int]] = []
        stack = [("", self._root)]
        while stack:
            path, directory = stack.pop()
            for name, what in entries.get(directory, directory.entries).items():
                if isinstance(what, Directory):
                    folders.append(path + name)
                    stack.append((f"{path}{name}/", what))
                else:
                    files.append((path + name, what))
        named = {file: data[file] if file in data else self._versions[file][-1] for _, file in files}
        return State(tuple(sorted(folders)), tuple(sorted(files)), named, how, rank)


def _set(entries: dict[str, int | Directory], name: str, what: int | Directory | None) -> None:
    if what is None:
        entries.pop(name, None)
    else:
        entries[name] = what


# What may be left of one file, of which ``versions`` are its bytes after each change, the durable ones first


def _sizes(versions: Sequence[bytes]) -> list[int]:
    sizes = {len(version) for version in versions}
    return sorted(sizes.union(range(-(-min(sizes) // SECTOR) * SECTOR, max(sizes), SECTOR)))


def _sector(version: bytes, number: int) -> bytes:
    return version[number * SECTOR : (number + 1) * SECTOR].ljust(SECTOR, b"\0")


def _mixed(sectors: Sequence[bytes], size: int) -> bytes:
    return b"".join(sectors)[:size]


def _every(versions: Sequence[bytes], limit: int) -> list[bytes] | None:
    """All; None when they are more than so many."""
    found: set[bytes] = set()
    for size in _sizes(versions):
        choices = [
            sorted({_sector(version[:size], number) for version in versions}) for number in range(-(-size // SECTOR))
        ]
        if prod(map(len, choices)) > limit:
            return None
        found.update(_mixed(sectors, size) for sectors in itertools.product(*choices))
    return sorted(found) if len(found) <= limit else None


def _extremes(versions: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """What may be left when one of the changes fares otherwise than the rest."""
    old, last = versions[0], versions[-1]
    for number, (before, after) in enumerate(itertools.pairwise(versions), 1):
        yield f"what was before change {number}", before
        yield f"what was after change {number}", after
        count = -(-len(last) // SECTOR)
        changed = [place for place in range(count) if _sector(before, place) != _sector(after, place)]
        if not changed:
            continue
        whole = [_sector(last, place) for place in range(count)]
        for place in sorted({changed[0], changed[len(changed) // 2], changed[-1]}):
            hole = [*whole[:place], _sector(before, place), *whole[place + 1 :]]
            yield f"a hole in change {number}, at sector {place}", _mixed(hole, len(last))
            if len(old) <= place * SECTOR:
                yield f"the sectors before {place} of change {number}", last[: place * SECTOR]
            rest = [*whole[:place], *(_sector(old, other) for other in range(place, count))]
            yield f"the size, and the sectors before {place} of change {number}", _mixed(rest, len(last))


def _any(versions: Sequence[bytes], choice: random.Random) -> tuple[str, bytes]:
    """Whichever."""
    # All of it more often than not: with what is at the end of a file a cut takes away what a hole is in front of.
    size = len(versions[-1]) if choice.random() < 0.6 else choice.choice(_sizes(versions))
    count = -(-size // SECTOR)
    kind = choice.choice(["moment", "end", "sectors"])
    if kind == "moment":
        number = choice.randrange(len(versions))
        return f"as after change {number}", versions[number]
    if kind == "end":
        place = choice.randint(0, count)
        picked = [versions[-1]] * place + [versions[0]] * (count - place)
        words = f"the first {place} sectors of the new bytes"
    else:
        picked = choice.choices(versions, k=count)
        words = "sectors of any moments"
    sectors = [_sector(version[:size], number) for number, version in enumerate(picked)]
    return f"{size} bytes, {words}", _mixed(sectors, size)
