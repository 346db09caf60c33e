"""hierstore, where every acknowledged commit survives a power cut."""

from __future__ import annotations

from typing import ClassVar, Literal

from benchmarks.peers.adapters import ours


class Store(ours.Store):
    DURABILITY: ClassVar[Literal["process", "power"]] = "power"
