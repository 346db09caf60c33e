"""Rows, their goals, and the two ways in which they are shown: a plain table and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure import Figure

OURS = "hierstore"
SQLITE = "sqlite"
AUTOCOMMIT = "sqlite_autocommit"
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Goal:
    """What storage.md asks of a row.

    Attributes:
        limit: the number.
        against: the figure that hierstore's median is divided by; None when the median itself is the number.
        at_least: the number is a lower bound, not an upper one.
        difference: hierstore's median less the other's, in the row's unit, in place of the quotient.
    """

    limit: float
    against: str | None = SQLITE
    at_least: bool = False
    difference: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: what was done.
        unit: of all figures: ``us``, ``ms``, ``MiB``, ``/s`` (messages a second), ``x`` (a quotient), ``msg``.
        figures: by system: OURS, and perhaps SQLITE, AUTOCOMMIT, FLOOR and others.
        goal: None for a row that is there as information.
        floor: what the floor is.
        notes: sentences for whoever reads the figures.
        facts: further numbers, each name with its unit.
    """

    name: str
    unit: str
    figures: dict[str, Figure]
    goal: Goal | None = None
    floor: str | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)

    def maybe_ratio(self, against: str) -> float | None:
        """Hierstore's median over another's."""
        other = self.figures.get(against)
        return self.figures[OURS].median / other.median if other else None

    @property
    def value(self) -> float | None:
        """The number that is held to the goal; without a goal the ratio to SQLite."""
        if self.goal is None:
            return self.maybe_ratio(SQLITE)
        if self.goal.against is None:
            return self.figures[OURS].median
        if self.goal.difference:
            return self.figures[OURS].median - self.figures[self.goal.against].median
        return self.maybe_ratio(self.goal.against)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        value = self.value
        if self.goal is None or value is None:
            return None
        return value >= self.goal.limit if self.goal.at_least else value <= self.goal.limit

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        goal = self.goal and {
            "limit": self.goal.limit,
            "bound": "at least" if self.goal.at_least else "at most",
            "of": ("hierstore - " if self.goal.difference else "hierstore / ") + self.goal.against
            if self.goal.against
            else "hierstore",
            "value": rounded(self.value),
            "met": self.met,
        }
        return {
            "name": self.name,
            "unit": self.unit,
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "ratio_to_sqlite": rounded(self.maybe_ratio(SQLITE)),
            "ratio_to_sqlite_autocommit": rounded(self.maybe_ratio(AUTOCOMMIT)),
            "ratio_to_floor": rounded(self.maybe_ratio(FLOOR)),
            "goal": goal,
            "floor": self.floor,
            "notes": list(self.notes),
            "facts": {name: rounded(value) for name, value in self.facts.items()},
        }


def rounded(value: float | None) -> float | None:
    """Five significant digits."""
    return None if value is None else float(f"{value:.5g}")


def number(value: float) -> str:
    """Three significant digits, and all of a whole number."""
    if value >= 100:
        return f"{value:,.0f}"
    for limit, digits in ((10, 1), (1, 2), (0.1, 3)):
        if value >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.2g}"


_COLUMNS = (("work", 30), ("unit", 4), ("hierstore", 9), ("SQLite", 8), ("floor", 8), ("ratio", 7), ("to auto", 7))
_LEFT = 2
_ABSOLUTE = frozenset(["ms", "us", "MiB"])
"""Units in which a row that is held to a number, and to no other system, is shown as it is."""


def table(rows: Sequence[Row]) -> str:
    """The rows as text, no line longer than 100 columns."""
    lines = [_line([name for name, _ in _COLUMNS], "goal")]
    lines.append("-" * 99)
    for row in rows:
        cells = [row.name, row.unit]
        cells += [number(row.figures[name].median) if name in row.figures else "" for name in (OURS, SQLITE, FLOOR)]
        auto = row.maybe_ratio(AUTOCOMMIT)
        cells += [_value(row), f"{number(auto)}x" if auto is not None else ""]
        lines.append(_line(cells, _goal(row)))
    return "\n".join(lines)


def _line(cells: Sequence[str], goal: str) -> str:
    parts = []
    for place, (cell, (_, width)) in enumerate(zip(cells, _COLUMNS, strict=True)):
        parts.append(cell.ljust(width) if place < _LEFT else cell.rjust(width))
    return (" ".join(parts) + "  " + goal).rstrip()


def _value(row: Row) -> str:
    value = row.value
    if value is None:
        return ""
    if row.goal is not None and row.goal.difference:
        return f"{value:+.1f}"
    if row.goal is not None and row.goal.against is None and row.unit in _ABSOLUTE:
        return number(value)
    return f"{number(value)}x" if row.unit != "msg" or row.goal else number(value)


def _goal(row: Row) -> str:
    goal = row.goal
    if goal is None:
        return "-"
    limit = f"{goal.limit:+g}" if goal.difference else f"{goal.limit:g}x"
    if goal.against is None and row.unit in _ABSOLUTE:
        limit = f"{goal.limit:g} {row.unit}"
    against = " floor" if goal.against == FLOOR else ""
    return f"{'>=' if goal.at_least else '<='}{limit}{against} {'met' if row.met else 'MISSED'}"


def spread(rows: Sequence[Row]) -> str:
    """Every figure's p10, median, p90 and mean as text."""
    lines = [f"{'work':<30} {'system':<21} {'p10':>9} {'median':>9} {'p90':>9} {'mean':>9} {'n':>6}"]
    lines.append("-" * 99)
    for row in rows:
        for name, figure in row.figures.items():
            numbers = f"{number(figure.p10):>9} {number(figure.median):>9} {number(figure.p90):>9} {number(figure.mean):>9} {figure.samples:>6,}"
            lines.append(f"{row.name:<30} {name:<21} {numbers}")
    return "\n".join(lines)


def legend(rows: Sequence[Row]) -> str:
    """What the columns are, what each floor is, and the notes, each once."""
    columns = (
        "All figures are medians. ratio: hierstore to what the goal names, which is SQLite where it names nothing. to auto:"
        " hierstore to SQLite in autocommit, its fastest way; goals are against its documented default, `with connection:`."
    )
    said = [columns]
    floors: dict[str, list[str]] = {}
    for row in rows:
        if row.floor:
            floors.setdefault(row.floor, []).append(row.name)
    said += [
        f"Floor of {names[0]}{' and so on' if len(names) > 1 else ''}: {floor}." for floor, names in floors.items()
    ]
    first = {note: row.name for row in reversed(rows) for note in reversed(row.notes)}
    said += [f"{name}: {note}" for note, name in reversed(first.items())]
    return "\n".join(textwrap.fill(line, 99, subsequent_indent="  ") for line in said)
