"""Every error of the store, one tree.

::

    HierstoreError
    ├── the caller's side
    │   ├── InvalidSessionId     not a string of 1-512 encodable characters
    │   ├── InvalidRecord        not JSON, too deep, too large, not allowed there: nothing was written
    │   ├── SessionNotFound      no session of that id (never was, or deleted)
    │   ├── SessionExists        create or restore over a living session
    │   ├── RevisionNotFound     no such message, snapshot or revision in the session
    │   ├── RevisionConflict     the session moved on; nothing was written
    │   ├── HierarchyCycle       a move would make a session its own ancestor
    │   ├── HasChildren          delete with children="refuse" of a session that has some
    │   ├── ReadOnlyStore        a write to a store that was opened, or can only be, read
    │   ├── StoreClosed          a call after close()
    │   ├── ShareNotFound        no such share (wrong, revoked and never existed read alike)
    │   └── ShareExpired         the share's time is over
    └── the disk's side
        ├── InvalidRoot          the folder cannot hold a store: a file, open to others, without locks
        ├── FormatTooNew         made by a later version of hierstore
        ├── LockTimeout          a lock stayed taken for longer than lock_timeout_s
        ├── UnreadableLog        the log is there, and the system does not let us read it
        ├── CorruptLog           the log's bytes are damaged
        ├── WriteFailed          the system refused a write (disk full, I/O error)
        └── DurabilityError      a sync failed: what was written may not survive a power cut

An error's message is one plain sentence; its facts are attributes (``session_id``, ``path``, …). Errors survive
pickling, so they cross process boundaries whole.
"""

from __future__ import annotations

from typing import Any

_MOST_QUOTED = 200


class HierstoreError(Exception):
    """The base of all errors of the store.

    Args:
        message: one plain sentence for a person.
        facts: what a program needs to know; each becomes an attribute.
    """

    def __init__(self, message: str, /, **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and facts: the default would call the class with the message alone."""
        facts = {name: value if _survives(value) else quoted(value) for name, value in self.__dict__.items()}
        return _rebuild, (type(self), str(self), facts)


def _survives(value: object) -> bool:
    """Whether a fact can be pickled: a caller's argument that was refused may be anything."""
    import pickle

    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # its own methods are asked, and may raise anything
        return False
    return True


def quoted(value: object) -> str:
    """A caller's argument for a sentence: never itself an error, nor longer than a sentence may be."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or nested too deep to be written out.
        text = f"a {type(value).__name__}"
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…"


def _rebuild(cls: type[HierstoreError], message: str, facts: dict[str, Any]) -> HierstoreError:
    return cls(message, **facts)


class InvalidSessionId(HierstoreError, ValueError):
    """An id is not a string of 1 to 512 characters that UTF-8 can encode."""

    session_id: object


class InvalidRecord(HierstoreError, ValueError):
    """An argument cannot be taken: not JSON, nested too deep, too large, or not among what is allowed there.

    Nothing was written.

    Attributes:
        where: which argument it was (``"content"``, ``"metadata"``, …).
    """

    where: str


class SessionNotFound(HierstoreError):
    """There is no session of that id: it never existed, or it was deleted."""

    session_id: str


class SessionExists(HierstoreError):
    """A session of that id exists already; it was not touched."""

    session_id: str


class RevisionNotFound(HierstoreError):
    """The session has no such message, snapshot or revision."""

    session_id: str
    target: object


class RevisionConflict(HierstoreError):
    """The session is not at the revision that the caller expected; nothing was written."""

    session_id: str
    expected: int
    actual: int


class HierarchyCycle(HierstoreError):
    """A session cannot be moved below itself or one of its descendants."""

    session_id: str
    parent_id: str


class HasChildren(HierstoreError):
    """A session with children is deleted only when told what becomes of them."""

    session_id: str
    children: tuple[str, ...]


class ReadOnlyStore(HierstoreError):
    """A write was asked of a store that only reads."""

    root: str


class StoreClosed(HierstoreError):
    """The store was closed."""

    root: str


class ShareNotFound(HierstoreError):
    """No share answers to that token."""


class ShareExpired(HierstoreError):
    """The share's time is over."""

    expires_at: float


class InvalidRoot(HierstoreError):
    """The folder cannot hold a store."""

    root: str


class FormatTooNew(HierstoreError):
    """The store or log was written by a later version."""

    path: str
    format: int
    supported: int


class LockTimeout(HierstoreError):
    """A lock stayed taken for longer than ``lock_timeout_s``; nothing was written.

    Attributes:
        path: the lock file.
        waited_s: seconds.
        holder: the process id that holds it where the system tells, else None.
    """

    path: str
    waited_s: float
    holder: int | None


class UnreadableLog(HierstoreError):
    """The log exists, and the system does not let it be read; it is never taken for empty."""

    session_id: str
    path: str
    errno: int


class CorruptLog(HierstoreError):
    """Bytes of a log are damaged.

    The valid prefix is still served to readers; writes wait for a repair.
    """

    session_id: str
    path: str
    offset: int


class WriteFailed(HierstoreError):
    """The system refused a write; the session is as it was before the call."""

    session_id: str
    path: str
    errno: int


class DurabilityError(HierstoreError):
    """A sync failed: the commit is in the log, and may not survive a power cut.

    The session's handle in this store takes no more writes: after a failed sync the kernel may have dropped the
    pages and report success next time (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
    """

    session_id: str
    path: str
    errno: int
