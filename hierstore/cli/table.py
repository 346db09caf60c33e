"""Tables: in a terminal cut to its width by cells, not characters; into a pipe whole fields between tabs, without a head.

Text in a script that runs from right to left is isolated, so that it stays in its column.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from hierstore.cli.terminal import console, is_limited, is_piped
from hierstore.cli.text import safe, steady

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_GAP = "  "
_MIN_CELLS = 6
_FROM_RIGHT = frozenset(["R", "AL", "AN"])
_ISOLATE, _END = "\u2068", "\u2069"


class Column(NamedTuple):
    """A column.

    Attributes:
        head: its heading.
        style: rich's.
        is_right: whether it is aligned to the right: numbers.
        share: how much of the room that is left it gets, and how readily it is cut; 0: it is never cut.
    """

    head: str
    style: str = ""
    is_right: bool = False
    share: int = 0


def draw(columns: Sequence[Column], rows: Iterable[Sequence[str]], screen: Console | None = None) -> None:
    """Print a table.

    Args:
        columns: the columns.
        rows: their fields; line breaks in them are shown as escapes, as is all that could act on a terminal.
        screen: where to; standard output.
    """
    fields = [[safe(field) for field in row] for row in rows]
    if screen is None and is_piped():
        _write(fields, sys.stdout)
        return
    screen = console() if screen is None else screen
    if not is_limited(screen):
        _write(fields, screen.file)
        return
    fields = [_beginnings([steady(field) for field in row], columns, screen.width) for row in fields]
    from rich.cells import cell_len

    heads = [column.head for column in columns]
    widest = [max(map(cell_len, column)) for column in zip(heads, *fields, strict=True)]
    widths = fitted(widest, [column.share for column in columns], screen.width - len(_GAP) * (len(columns) - 1))
    screen.print(_line(heads, widths, columns, "dim"), soft_wrap=True)
    for row in fields:
        screen.print(_line(row, widths, columns, None), soft_wrap=True)


def _write(fields: Sequence[Sequence[str]], file: IO[str]) -> None:
    for row in fields:
        print(*row, sep="\t", file=file)
    if file is not None:
        file.flush()


def _beginnings(row: Sequence[str], columns: Sequence[Column], width: int) -> list[str]:
    """A row without what no width shows: a title may be as long as a book. A character may have no width of its own."""
    return [field[: 4 * width] if column.share else field for field, column in zip(row, columns, strict=True)]


def fitted(widest: Sequence[int], shares: Sequence[int], room: int) -> list[int]:
    """The widths of columns, in cells: those with a share give way, in proportion, until all fit.

    Where there is no room even so, they keep a few cells, and the line is longer than the room.
    """
    widths = list(widest)
    excess = sum(widths) - room
    while excess > 0:
        givers = [place for place, share in enumerate(shares) if share and widths[place] > _MIN_CELLS]
        if not givers:
            break
        # The one that has most for its share.
        place = max(givers, key=lambda place: widths[place] / shares[place])
        widths[place] -= 1
        excess -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column], style: str | None) -> Text:
    from rich.text import Text

    line = Text(no_wrap=True)
    for place, (field, width, column) in enumerate(zip(row, widths, columns, strict=True)):
        if place:
            line.append(_GAP)
        cell = Text(field, style=column.style if style is None else style)
        cell.truncate(width, overflow="ellipsis")
        space = " " * (width - cell.cell_len)
        if column.is_right:
            line.append(space)
        _append(line, cell)
        if not column.is_right and place < len(columns) - 1:
            line.append(space)
    return line


def _append(line: Text, cell: Text) -> None:
    is_turned = any(unicodedata.bidirectional(character) in _FROM_RIGHT for character in cell.plain)
    if is_turned:
        line.append(_ISOLATE)
    line.append_text(cell)
    if is_turned:
        line.append(_END)
