"""Sessions for AI agents: a hierarchy of conversations in plain files that many processes read and write at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from hierstore.session import Session
from hierstore.snapshots import PastSession
from hierstore.store import SessionStore
from hierstore.turns import Turn

if TYPE_CHECKING:
    from hierstore.health import examine
    from hierstore.log.feed import Event
    from hierstore.pages import Page, SearchHit
    from hierstore.reports import (
        CheckReport,
        CompactAllReport,
        CompactReport,
        DiskUsage,
        Finding,
        HealthReport,
        ImportReport,
        PruneReport,
        RepairReport,
        SessionError,
        SessionSize,
        SourceProblem,
        StoreStatistics,
        TrashedSession,
        Verdict,
    )
    from hierstore.shared import SharedSession
    from hierstore.watching import Watcher

__version__ = "0.1.0"

__all__ = [
    "CheckReport",
    "CompactAllReport",
    "CompactReport",
    "CorruptLog",
    "DiskUsage",
    "DurabilityError",
    "Event",
    "Finding",
    "FormatTooNew",
    "HasChildren",
    "HealthReport",
    "HierarchyCycle",
    "HierstoreError",
    "ImportReport",
    "InvalidRecord",
    "InvalidRoot",
    "InvalidSessionId",
    "LockTimeout",
    "Message",
    "Messages",
    "Page",
    "PastSession",
    "PruneReport",
    "ReadOnlyStore",
    "RepairReport",
    "RevisionConflict",
    "RevisionNotFound",
    "SearchHit",
    "Session",
    "SessionError",
    "SessionExists",
    "SessionInfo",
    "SessionNotFound",
    "SessionSize",
    "SessionStore",
    "ShareExpired",
    "ShareGrant",
    "ShareNotFound",
    "SharedSession",
    "Snapshot",
    "SourceProblem",
    "StoreClosed",
    "StoreStatistics",
    "TrashedSession",
    "TreeNode",
    "Turn",
    "TurnInProgress",
    "UnreadableLog",
    "Verdict",
    "Watcher",
    "WriteFailed",
    "examine",
]


_ELSEWHERE = {
    "Event": "hierstore.log.feed",
    "Page": "hierstore.pages",
    "SearchHit": "hierstore.pages",
    "SharedSession": "hierstore.shared",
    "Watcher": "hierstore.watching",
    "examine": "hierstore.health",
}


def __getattr__(name: str) -> Any:
    """What few programs name is imported when it is: a program that only talks should not pay for it at its start."""
    if name not in __all__:
        raise AttributeError(f"module 'hierstore' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_ELSEWHERE.get(name, "hierstore.reports")), name)
