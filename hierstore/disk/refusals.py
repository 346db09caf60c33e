"""The errors that the disk's side raises, each with its sentence and its facts, in one place."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from hierstore.errors import (
    CorruptLog,
    DurabilityError,
    InvalidRoot,
    LockTimeout,
    ReadOnlyStore,
    RevisionConflict,
    RevisionNotFound,
    SessionExists,
    SessionNotFound,
    StoreClosed,
    UnreadableLog,
    WriteFailed,
    quoted,
)

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry


def closed(root: bytes) -> StoreClosed:
    """A call after close()."""
    return StoreClosed("The store is closed.", root=os.fsdecode(root))


def read_only(root: bytes) -> ReadOnlyStore:
    """A write to a store that only reads."""
    name = os.fsdecode(root)
    return ReadOnlyStore(f"The store {name} is open for reading only.", root=name)


def not_found(session_id: str) -> SessionNotFound:
    """No log of that id."""
    return SessionNotFound(f"There is no session {session_id!r}.", session_id=session_id)


def already_there(session_id: str) -> SessionExists:
    """A log of that id."""
    return SessionExists(f"There is a session {session_id!r} already.", session_id=session_id)


def conflict(session_id: str, expected: int, actual: int) -> RevisionConflict:
    """Another revision than the caller's."""
    return RevisionConflict(
        f"Session {session_id!r} is at revision {actual}, not {quoted(expected)}; nothing was written.",
        session_id=session_id,
        expected=expected,
        actual=actual,
    )


def was_reset(session_id: str, expected: int, actual: int) -> RevisionConflict:
    """A reset while a turn was under way."""
    return RevisionConflict(
        f"Session {session_id!r} was reset while the turn was under way; nothing was written.",
        session_id=session_id,
        expected=expected,
        actual=actual,
    )


def compacted(session_id: str, target: object) -> RevisionNotFound:
    """A revision that a compaction dropped."""
    return RevisionNotFound(
        f"Session {session_id!r} was compacted, and its revision {quoted(target)} was not kept.",
        session_id=session_id,
        target=target,
    )


def busy(entry: Entry, waited_s: float) -> LockTimeout:
    """A log that changed too fast for what takes longer."""
    path = os.fsdecode(entry.path)
    return LockTimeout(
        f"Session {entry.id!r} was written to so busily that its log {path} could not be compacted; try again later.",
        path=path,
        waited_s=waited_s,
        holder=None,
    )


def unreadable(error: OSError, session_id: str, path: bytes) -> UnreadableLog:
    """A log that is there and cannot be read."""
    name = os.fsdecode(path)
    why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    return UnreadableLog(
        f"The log {name} of session {session_id!r} cannot be read: {why}.",
        session_id=session_id,
        path=name,
        errno=error.errno,
    )


def root_unusable(root: bytes, error: OSError) -> InvalidRoot:
    """A store's folder in which the system refuses what opening takes."""
    name = os.fsdecode(root)
    return InvalidRoot(f"The store {name} cannot be opened: {error.strerror}.", root=name)


def folder_unreadable(error: OSError, path: bytes) -> UnreadableLog:
    """A folder of logs that cannot be listed."""
    name = os.fsdecode(path)
    return UnreadableLog(
        f"The folder {name} cannot be read: {error.strerror}.", session_id="", path=name, errno=error.errno
    )


def corrupt(entry: Entry, offset: int, what: str) -> CorruptLog:
    """A log with damage; ``what`` goes on the sentence that begins with its name."""
    path = os.fsdecode(entry.path)
    return CorruptLog(f"The log {path} of session {entry.id!r} {what}.", session_id=entry.id, path=path, offset=offset)


def index_unusable(error: OSError, root: bytes) -> WriteFailed:
    """An index that cannot be removed."""
    name = os.fsdecode(root)
    return WriteFailed(
        f"The index of the store {name} could not be made anew: {error.strerror}.",
        session_id="",
        path=name,
        errno=error.errno or 0,
    )


def trash_unusable(error: OSError, session_id: str | None, path: bytes) -> WriteFailed:
    """A trash that cannot be listed or purged."""
    name = os.fsdecode(path)
    return WriteFailed(
        f"The trash {name} could not be purged: {error.strerror}.",
        session_id=session_id or "",
        path=name,
        errno=error.errno or 0,
    )


def import_failed(error: OSError, path: bytes) -> WriteFailed:
    """An import that the system refused."""
    name = os.fsdecode(path)
    return WriteFailed(
        f"Nothing was imported: a file below {name} could not be written ({error.strerror}).",
        session_id="",
        path=name,
        errno=error.errno or 0,
    )


def write_failed(entry: Entry, error: OSError) -> WriteFailed:
    """A write that the system refused."""
    path = os.fsdecode(entry.path)
    return WriteFailed(
        f"Session {entry.id!r} could not be written to {path}: {error.strerror}.",
        session_id=entry.id,
        path=path,
        errno=error.errno or 0,
    )


def not_durable(entry: Entry, number: int, why: str) -> DurabilityError:
    """A sync that failed."""
    path = os.fsdecode(entry.path)
    return DurabilityError(
        f"Session {entry.id!r} could not be brought to the medium ({why}); its last commits may not survive a power"
        " cut, and it takes no more through this store.",
        session_id=entry.id,
        path=path,
        errno=number,
    )


def folder_not_durable(session_id: str, path: bytes, error: OSError) -> DurabilityError:
    """A folder whose sync failed."""
    name = os.fsdecode(path)
    return DurabilityError(
        f"Session {session_id!r} may not survive a power cut: its folder {name} could not be brought to the medium"
        f" ({error.strerror}).",
        session_id=session_id,
        path=name,
        errno=error.errno or 0,
    )
