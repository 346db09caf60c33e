"""Whether a folder and this machine keep what a store promises: each thing is tried, and judged. Leaves nothing behind.

Needs no store: it is asked when one cannot be opened.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import stat
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from hierstore import clock
from hierstore.disk import files, journal, mounts, probing
from hierstore.disk.index import database
from hierstore.disk.layout import FOLDERS
from hierstore.disk.logfile import SUFFIX
from hierstore.log.events import FORMAT
from hierstore.reports import HealthReport, Verdict
from hierstore.values import loads

_LITTLE_BYTES, _FEW_BYTES = 256 * 2**20, 16 * 2**20
_LITTLE_FILES, _FEW_FILES = 10_000, 300
_WATCHES, _INSTANCES = 8_192, 64
_FINE_NS = 20_000_000
_SKEW_S = 2.0
_OLD_S = 3_600.0
_NEEDED = ("filelock", "orjson", "watchdog")
_INNER = (*FOLDERS, b"registry")

Grade = Literal["good", "note", "bad"]


def examine(root: str | os.PathLike[str], *, shared: bool = False) -> HealthReport:
    """Try whether a store in this folder can be relied on; works also where none can be opened, or none is.

    Writes for the trial, where it may, into a folder of its own, which is removed again: in the store's ``tmp/``, or
    where the store would be made. Takes about a second; longer where the system does not answer.

    Args:
        root: the store's folder; it need not exist.
        shared: whether other users are meant to write to it too.

    Raises:
        ValueError: the root is empty.
    """
    if not os.fspath(root):
        raise ValueError("root is a folder's path, and empty")
    path = os.path.abspath(os.fsencode(root))
    subject = _Subject(os.path.realpath(path) if os.path.isdir(path) else path, shared=shared)
    checks: tuple[Callable[[_Subject], Verdict], ...] = (
        _folder, _store, _file_system, _space, _locks, _events, _clock, _links, _limits, _versions, _pending,
        _quarantine, _index,
    )  # fmt: skip
    return HealthReport(os.fsdecode(path), tuple(check(subject) for check in checks))


class _Subject:
    """What is examined.

    Attributes:
        root: the folder.
        is_there: whether it exists.
        ground: the nearest folder that does: itself, or where it would be made.
        marker: the file that a store has.
        trials: where to try things out.
    """

    def __init__(self, root: bytes, *, shared: bool) -> None:
        self.root = root
        self.shared = shared
        self.is_there = os.path.isdir(root)
        ground = root
        while not os.path.isdir(ground):
            ground = os.path.dirname(ground)
        self.ground = ground
        self.marker = os.path.join(root, b"hierstore.json")
        tmp = os.path.join(root, b"tmp")
        is_ours = os.path.lexists(self.marker) and os.path.isdir(tmp) and not os.path.islink(tmp)
        self.trials = tmp if is_ours else ground

    @property
    def may_write(self) -> bool:
        """Whether trials can be made."""
        return os.access(self.trials, os.W_OK | os.X_OK)

    def tried(self, name: str, trial: Callable[[bytes], Verdict], advice: str) -> Verdict:
        """The verdict of a trial in a folder of its own; where the system refuses it, that is one too."""
        if not self.may_write:
            return Verdict(name, "note", "It was not tried, as nothing may be written there.")
        try:
            with probing.trial_folder(self.trials) as folder:
                return trial(folder)
        except OSError as error:
            return Verdict(name, "bad", f"It could not be tried: {error.strerror}.", advice)

    def names(self, folder: bytes) -> Iterator[bytes]:
        """The names in one of the store's folders; none where it cannot be read, of which ``folder`` tells."""
        try:
            yield from files.names(os.path.join(self.root, folder))
        except OSError:
            return


# The folder, and what is in it


def _folder(subject: _Subject) -> Verdict:
    name = "folder"
    if not subject.is_there:
        return _missing_folder(subject)
    found = files.stat(subject.root)
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    if not os.access(subject.root, os.R_OK | os.X_OK):
        return Verdict(name, "bad", f"We may not read it (mode {mode}).", "Ask its owner for the right to.")
    if files.HAS_OWNERS and not subject.shared:
        if found.st_mode & 0o022:
            advice = (
                "Take that right from them (chmod go-w), or say that it is meant (shared=True, HIERSTORE_SHARED=1)."
            )
            return Verdict(name, "bad", f"Other users can write to it (mode {mode}).", advice)
        if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0:
            advice = "Use a folder of your own, or say that it is meant (shared=True, HIERSTORE_SHARED=1)."
            return Verdict(name, "bad", f"It belongs to another user (number {found.st_uid}).", advice)
    inside = _maybe_wrong_inside(subject, found)
    if inside is not None:
        return inside
    if not os.access(subject.root, os.W_OK):
        return Verdict(name, "note", f"We may read it, and not write to it (mode {mode}): the store can only be read.")
    whose = "shared with other users" if subject.shared else "its owner's alone"
    return Verdict(name, "good", f"It is {whose} (mode {mode}).")


def _missing_folder(subject: _Subject) -> Verdict:
    if files.exists(subject.root):
        return Verdict("folder", "bad", "It is no folder.", "Name a folder, or move that file out of the way.")
    ground = os.fsdecode(subject.ground)
    if not subject.may_write:
        return Verdict(
            "folder", "bad", f"It is not there, and we may make nothing in {ground}.", "Name another folder."
        )
    return Verdict("folder", "note", f"It is not there yet; it can be made in {ground}.")


def _maybe_wrong_inside(subject: _Subject, root: os.stat_result) -> Verdict | None:
    """What is wrong with the folders and logs in it, if it is a store and anything is."""
    if not os.path.lexists(subject.marker):
        return None
    for name in _INNER:
        path = os.path.join(subject.root, name)
        shown = name.decode()
        try:
            found = files.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            advice = "Move it out of the way; no link is followed there."
            return Verdict("folder", "bad", f"What is called {shown} in it is no folder, or a link.", advice)
        if files.HAS_OWNERS and found.st_mode & 0o022 & ~root.st_mode:
            return Verdict("folder", "bad", f"Other users can write to its folder {shown}.", "Run chmod -R go-w on it.")
        if os.access(subject.root, os.W_OK) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            advice = "Give its owner the right to (chmod -R u+rwX), or the folder back to its owner (chown -R)."
            return Verdict("folder", "bad", f"We may not read and write its folder {shown}.", advice)
    others = 0 if subject.shared else _count_foreign(subject, root.st_uid)
    if others:
        advice = "Give them back (chown -R), and do not run programs on the store as another user."
        return Verdict("folder", "bad", f"Logs in it belong to another user than it ({others:,}).", advice)
    return None


def _count_foreign(subject: _Subject, owner: int) -> int:
    """How many logs belong to somebody else: a program was run with sudo."""
    others = 0
    for path in _logs(subject):
        try:
            others += files.HAS_OWNERS and files.lstat(path).st_uid != owner
        except OSError:
            continue
    return others


def _logs(subject: _Subject) -> Iterator[bytes]:
    for folder in subject.names(b"sessions"):
        below = os.path.join(b"sessions", folder)
        for name in subject.names(below):
            if name.endswith(SUFFIX):
                yield os.path.join(subject.root, below, name)


def _store(subject: _Subject) -> Verdict:
    shown = "hierstore.json"
    try:
        said = loads(files.read_all(subject.marker))["hierstore"]
    except (FileNotFoundError, NotADirectoryError):
        return Verdict("store", "note", "There is no store yet; whoever opens it to write makes one.")
    except OSError as error:
        return Verdict("store", "bad", f"Its {shown} cannot be read: {error.strerror}.", "Look at its permissions.")
    except (ValueError, KeyError, TypeError):
        advice = f"Put a copy of {shown} back; the sessions do not depend on it."
        return Verdict("store", "bad", f"Its {shown} is damaged: it does not say which format it has.", advice)
    if not isinstance(said, int) or said > FORMAT:
        return Verdict(
            "store", "bad", f"It has a format that this version does not know: {said!r}.", "Upgrade hierstore."
        )
    sessions = sum(1 for _ in _logs(subject))
    return Verdict("store", "good", f"It is a store of format {said} with {_count(sessions, 'session')}.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _pending(subject: _Subject) -> Verdict:
    work, left = 0, 0
    now = clock.now()
    for name in subject.names(b"tmp"):
        work += name.endswith(journal.SUFFIX)
        try:
            path = os.path.join(subject.root, b"tmp", name)
            left += not name.endswith(journal.SUFFIX) and now - files.lstat(path).st_mtime > _OLD_S
        except OSError:
            continue
    if work:
        found = f"Work on several sessions was cut off by a crash ({_count(work, 'record')})."
        return Verdict("pending", "note", found, "Opening the store finishes it; if it stays, run repair.")
    if left:
        found = f"Unfinished files of dead processes lie in tmp/ ({_count(left, 'file')})."
        return Verdict("pending", "note", found, "They harm nothing; repair clears them away.")
    return Verdict("pending", "good", "Nothing was cut off.")


def _quarantine(subject: _Subject) -> Verdict:
    number = sum(1 for _ in subject.names(b"quarantine"))
    if not number:
        return Verdict("quarantine", "good", "It is empty: no damaged bytes were put aside.")
    advice = "Look at what it is; delete it when nobody needs it any more."
    return Verdict("quarantine", "note", f"Damaged bytes were put aside ({_count(number, 'file')}).", advice)


def _index(subject: _Subject) -> Verdict:
    anew = "Run reindex, or delete the folder index/: it is made anew."
    path = next(filter(None, map(database.maybe_latest, _index_places(subject))), None)
    if path is None:
        return Verdict("index", "good", "There is none yet; it is made when it is first needed.")
    try:
        number = probing.count_indexed(path)
    except (sqlite3.Error, OSError) as error:
        return Verdict("index", "note", f"It is damaged ({error}); the next listing makes it anew.", anew)
    if number is None:
        return Verdict("index", "good", "It was left by a crash; the next listing reads it in.")
    return Verdict("index", "good", f"It knows {_count(number, 'session')}; a listing reads what is new.")


def _index_places(subject: _Subject) -> Iterator[bytes]:
    yield from database.places(subject.root, read_only=not os.access(subject.root, os.W_OK))


# The file system


def _file_system(subject: _Subject) -> Verdict:
    kind = mounts.kind(subject.ground)
    if mounts.is_network(subject.ground):
        advice = "Use the store from one machine only, or keep it on a local disk."
        found = f"It is on a network file system ({kind}), whose locks and times may lie to two machines."
        return Verdict("file system", "note", found, advice)
    if not kind:
        return Verdict("file system", "note", "The system does not tell which kind it is.")
    if not mounts.is_local(subject.ground):
        return Verdict("file system", "note", f"It is {kind}, of which nothing is known here; see what follows.")
    return Verdict("file system", "good", f"It is {kind}, a local one.")


def _space(subject: _Subject) -> Verdict:
    room = probing.maybe_room(subject.ground)
    if room is None:
        return Verdict("space", "note", "The system does not tell how much is free.")
    free = f"{room.free_bytes / 2**30:,.1f} GiB" if room.free_bytes >= 2**30 else f"{room.free_bytes / 2**20:,.0f} MiB"
    left = "" if room.free_files is None else f" and {_count(room.free_files, 'file')}"
    few = room.free_files is not None and room.free_files < _FEW_FILES
    little = room.free_files is not None and room.free_files < _LITTLE_FILES
    grade: Grade = "good"
    if room.free_bytes < _LITTLE_BYTES or little:
        grade = "bad" if room.free_bytes < _FEW_BYTES or few else "note"
    advice = None if grade == "good" else "Make room: prune and purge sessions that nobody needs, or use a larger disk."
    return Verdict("space", grade, f"There is room for {free}{left}.", advice)


def _locks(subject: _Subject) -> Verdict:
    local = "Keep the store on a local disk: here two processes would overwrite each other."

    def trial(folder: bytes) -> Verdict:
        found = probing.try_locks(folder)
        if not found.of_descriptor:
            return Verdict("locks", "bad", "Two descriptors hold one lock at once.", local)
        if found.of_process is None:
            return Verdict("locks", "note", "They work within a process; another one could not be asked.")
        if not found.of_process:
            return Verdict("locks", "bad", "A lock of one process is not seen by another as it is.", local)
        return Verdict("locks", "good", "They keep out a second descriptor, and a second process.")

    return subject.tried("locks", trial, local)


def _events(subject: _Subject) -> Verdict:
    polled = "Nothing needs to be done: watch looks at every log now and then, which takes longer."

    def trial(folder: bytes) -> Verdict:
        try:
            arrived = probing.try_events(folder)
        except OSError as error:
            advice = (
                "Raise the limits fs.inotify.max_user_instances and max_user_watches; until then watch looks by itself."
            )
            return Verdict("events", "note", f"The system does not let us watch: {error.strerror}.", advice)
        if not arrived:
            return Verdict("events", "note", "The system does not tell of changed files.", polled)
        return Verdict("events", "good", "The system tells of changed files.")

    return subject.tried("events", trial, polled)


def _clock(subject: _Subject) -> Verdict:
    local = "Keep the store on a file system that keeps modification times."

    def trial(folder: bytes) -> Verdict:
        found = probing.try_times(folder)
        if found.step_ns is None:
            return Verdict("clock", "bad", "Writing to a file does not change its modification time.", local)
        step = f"{found.step_ns / 1e9:.1f} s" if found.step_ns >= 1e9 else f"{found.step_ns / 1e6:.3g} ms"
        if abs(found.ahead_s) > _SKEW_S:
            way = "ahead of" if found.ahead_s > 0 else "behind"
            skew = f"Files' times are {abs(found.ahead_s):.0f} s {way} this machine's clock."
            return Verdict(
                "clock", "note", skew, "Set the clocks of both machines; the order of messages is right anyway."
            )
        grade: Grade = "good" if found.step_ns <= _FINE_NS else "note"
        return Verdict("clock", grade, f"Modification times move in steps of {step}.")

    return subject.tried("clock", trial, local)


def _links(subject: _Subject) -> Verdict:
    def trial(folder: bytes) -> Verdict:
        if probing.try_links(folder):
            return Verdict("links", "good", "A file can have two names: forks share their history.")
        return Verdict("links", "note", "A file cannot have two names: each fork copies its history.")

    return subject.tried("links", trial, "Keep the store on another file system.")


# The machine


def _limits(_: _Subject) -> Verdict:
    watches, instances = probing.maybe_limit("max_user_watches"), probing.maybe_limit("max_user_instances")
    if watches is None or instances is None:
        return Verdict("limits", "note", "The system does not tell how many folders may be watched.")
    found = f"A user may watch {watches:,} folders in {instances:,} queues; a watcher takes up to 260 in one."
    if watches < _WATCHES or instances < _INSTANCES:
        advice = f"Raise fs.inotify.max_user_watches to {_WATCHES:,} and max_user_instances to {_INSTANCES * 2:,}."
        return Verdict("limits", "note", found, advice)
    return Verdict("limits", "good", found)


def _versions(_: _Subject) -> Verdict:
    from hierstore import __version__

    try:
        needed = [f"{name} {version(name)}" for name in _NEEDED]
    except PackageNotFoundError as error:
        return Verdict("versions", "bad", f"The package {error.name} is not installed.", "Install hierstore again.")
    words = [
        f"hierstore {__version__}",
        f"Python {platform.python_version()}",
        *needed,
        f"SQLite {sqlite3.sqlite_version}",
    ]
    found = f"{', '.join(words)}"
    if not probing.has_full_text():
        advice = "Use a Python whose SQLite has FTS5; everything but search works without."
        return Verdict("versions", "bad", f"{found}, without FTS5.", advice)
    return Verdict("versions", "good", f"{found} with FTS5.")
