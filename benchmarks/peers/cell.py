"""What the benchmark finds: rows of cells, one for each peer, and how they go into the document that all outputs are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure import Figure
from benchmarks.peers.host import GaveUp, NotInstalled, PeerFailed
from benchmarks.peers.peer import NotOffered
from benchmarks.report import rounded

LESS = "less"
MORE = "more"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one peer did in one row: a figure, or a text in its place, or why there is neither.

    Attributes:
        figure: of its samples.
        text: shown in place of the figure: ``2,000 of 2,000``.
        why: ``cannot``, ``failed``, ``gave up``, ``not installed``; empty where it was measured.
        reason: the sentence to it.
        note: what whoever reads the figure has to know.
        facts: further numbers.
    """

    figure: Figure | None = None
    text: str = ""
    why: str = ""
    reason: str = ""
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Sequence[float], unit: float = 1.0, **more: Any) -> Cell:
        """A measured one."""
        return cls(Figure.of(samples, unit), **more)

    @classmethod
    def without(cls, error: Exception) -> Cell:
        """The cell of what could not be measured."""
        kinds = {NotOffered: "cannot", NotInstalled: "not installed", GaveUp: "gave up", PeerFailed: "failed"}
        return cls(why=kinds[type(error)], reason=str(error))

    def as_dict(self) -> dict[str, Any]:
        """For the JSON; nothing that is empty."""
        result: dict[str, Any] = self.figure.as_dict() if self.figure else {}
        if self.why:
            result |= {"why": self.why, "reason": self.reason}
        return result | {name: value for name in ("text", "note", "facts") if (value := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class Row:
    """One piece of work, done by every peer.

    Attributes:
        group: the table it stands in; its peers are the lines of that table.
        name: the heading of its column.
        unit: ``us``, ``/s``, ``x``, ``bytes``, ``%`` or empty.
        cells: by the peer's name.
        better: LESS or MORE; empty where neither is.
        op: what was done, the same in all rows that differ in size only.
        x: the size.
        per: what the size counts: messages in a session, or sessions in a store.
    """

    group: str
    name: str
    unit: str
    cells: dict[str, Cell]
    better: str = LESS
    op: str = ""
    x: int | None = None
    per: str = ""

    def as_dict(self, ours: str) -> dict[str, Any]:
        """For the JSON, each figure with its ratio to ours."""
        own = self.cells.get(ours)
        base = own.figure.median if own and own.figure else None
        cells = {}
        for name, cell in self.cells.items():
            cells[name] = cell.as_dict()
            if base and cell.figure and self.better:
                cells[name]["ratio"] = rounded(cell.figure.median / base)
        facts: dict[str, Any] = {"group": self.group, "name": self.name, "unit": self.unit, "better": self.better}
        if self.x is not None:
            facts |= {"op": self.op, "x": self.x, "per": self.per}
        return {**facts, "cells": cells}
