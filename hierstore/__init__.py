"""Sessions for AI agents: a hierarchy of conversations in plain files that many processes read and write at once."""

from hierstore.errors import (
    CorruptLog,
    DurabilityError,
    FormatTooNew,
    HasChildren,
    HierarchyCycle,
    HierstoreError,
    InvalidRecord,
    InvalidRoot,
    InvalidSessionId,
    LockTimeout,
    ReadOnlyStore,
    RevisionConflict,
    RevisionNotFound,
    SessionExists,
    SessionNotFound,
    ShareExpired,
    ShareNotFound,
    StoreClosed,
    UnreadableLog,
    WriteFailed,
)
from hierstore.history import Messages
from hierstore.model import CheckReport, Finding, Message, SessionInfo, Snapshot, TreeNode
from hierstore.session import Session
from hierstore.snapshots import PastSession
from hierstore.store import SessionStore
from hierstore.turns import Turn

__version__ = "0.1.0"

__all__ = [
    "CheckReport",
    "CorruptLog",
    "DurabilityError",
    "Finding",
    "FormatTooNew",
    "HasChildren",
    "HierarchyCycle",
    "HierstoreError",
    "InvalidRecord",
    "InvalidRoot",
    "InvalidSessionId",
    "LockTimeout",
    "Message",
    "Messages",
    "PastSession",
    "ReadOnlyStore",
    "RevisionConflict",
    "RevisionNotFound",
    "Session",
    "SessionExists",
    "SessionInfo",
    "SessionNotFound",
    "SessionStore",
    "ShareExpired",
    "ShareNotFound",
    "Snapshot",
    "StoreClosed",
    "TreeNode",
    "Turn",
    "UnreadableLog",
    "WriteFailed",
]
