"""What a test went through, counted: how many states, kills, faults, histories. Printed at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PROPERTY = "figure"


class Figures:
    """Counts by name, which add up.

    Args:
        noted: where each count goes too, as a pair of ``PROPERTY`` and (name, number): what pytest carries from its
            workers to the process that prints.
    """

    def __init__(self, noted: list[tuple[str, Any]] | None = None) -> None:
        self.counts: dict[str, int] = {}
        self._noted = noted

    def add(self, name: str, number: int = 1) -> None:
        """Count something, ``"states of append"`` for example."""
        self.counts[name] = self.counts.get(name, 0) + number
        if self._noted is not None:
            self._noted.append((PROPERTY, (name, number)))


def table(counts: dict[str, int]) -> list[str]:
    """The counts as lines, by name."""
    width = max(map(len, counts), default=0)
    return [f"{name:<{width}}  {number:>12,}" for name, number in sorted(counts.items())]


def summed(properties: Iterable[tuple[str, Any]]) -> dict[str, int]:
    """The counts among the properties of many tests, added up."""
    counts: dict[str, int] = {}
    for name, value in properties:
        if name == PROPERTY:
            what, number = value
            counts[what] = counts.get(what, 0) + number
    return counts
