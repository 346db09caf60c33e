"""The same with a sync at each commit, LMDB's default: each message survives a power cut."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.peers.adapters import lmdb_unsynced


class Store(lmdb_unsynced.Store):
    SYNC: ClassVar[bool] = True
