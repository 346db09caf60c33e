"""The same with synchronous FULL: each insert survives a power cut."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.peers.adapters import sqlite_normal


class Store(sqlite_normal.Store):
    SYNCHRONOUS: ClassVar[str] = "FULL"
