"""Small bar charts for a terminal: a table whose last column is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hierstore.cli.table import Column, draw
from hierstore.cli.text import safe

if TYPE_CHECKING:
    from rich.console import Console

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEAST_CELLS = 8
_MOST_CELLS = 40


class Row(NamedTuple):
    """A row of a chart.

    Attributes:
        fields: what stands before the bar, as the columns say.
        value: how long the bar is.
    """

    fields: Sequence[str]
    value: float


def chart(screen: Console, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a chart; the longest bar is the largest value's.

    Args:
        screen: where to.
        columns: those before the bar.
        rows: one bar each.
    """
    from rich.cells import cell_len

    taken = sum(
        max([cell_len(column.head), *(cell_len(safe(row.fields[place])) for row in rows)]) + 2
        for place, column in enumerate(columns)
    )
    cells = min(_MOST_CELLS, max(_LEAST_CELLS, screen.width - taken))
    most = max((row.value for row in rows), default=0)
    is_ascii = screen.options.ascii_only
    drawn = [[*row.fields, bar(row.value / most if most else 0.0, cells, is_ascii=is_ascii)] for row in rows]
    draw([*columns, Column("", "cyan")], drawn, screen)


def bar(part: float, cells: int, *, is_ascii: bool = False) -> str:
    """A bar.

    Args:
        part: how much of the room it fills, from 0 to 1. What is not nothing is seen.
        cells: the room.
        is_ascii: whether the encoding has nothing better than ``#``.
    """
    eighths = round(max(0.0, min(1.0, part)) * cells * 8)
    if part > 0 and eighths == 0:
        eighths = 1
    if is_ascii:
        return "#" * -(-eighths // 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
