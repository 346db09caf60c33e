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
from hierstore.model import Message, SessionInfo, ShareGrant, Snapshot, TreeNode, TurnInProgress
from hierstore.reports import (
    CheckReport,
    CompactAllReport,
    CompactReport,
    Finding,
    ImportReport,
    PruneReport,
    RepairReport,
    SessionError,
    SourceProblem,
    TrashedSession,
)
from hierstore.session import Session
from hierstore.shared import SharedSession
from hierstore.snapshots import PastSession
from hierstore.store import SessionStore
from hierstore.turns import Turn

__version__ = "0.1.0"

__all__ = [
    "CheckReport",
    "CompactAllReport",
    "CompactReport",
    "CorruptLog",
    "DurabilityError",
    "Finding",
    "FormatTooNew",
    "HasChildren",
    "HierarchyCycle",
    "HierstoreError",
    "ImportReport",
    "InvalidRecord",
    "InvalidRoot",
    "InvalidSessionId",
    "LockTimeout",
    "Message",
    "Messages",
    "PastSession",
    "PruneReport",
    "ReadOnlyStore",
    "RepairReport",
    "RevisionConflict",
    "RevisionNotFound",
    "Session",
    "SessionError",
    "SessionExists",
    "SessionInfo",
    "SessionNotFound",
    "SessionStore",
    "ShareExpired",
    "ShareGrant",
    "ShareNotFound",
    "SharedSession",
    "Snapshot",
    "SourceProblem",
    "StoreClosed",
    "TrashedSession",
    "TreeNode",
    "Turn",
    "TurnInProgress",
    "UnreadableLog",
    "WriteFailed",
]
