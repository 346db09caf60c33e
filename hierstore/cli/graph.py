"""The graph beside a log: which commit goes on from which, drawn in lanes. Pure.

The newest commit comes first and has the lane on the left. What was undone is a lane of its own, which ends where the
history that went on leaves it::

    ●    r6    said after the revert
    ●    r5    reverted to r2
    │ ○  r4    undone
    │ ○  r3    undone
    ├─╯
    ●    r2
    ●    r1
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_MARKS = "●○│├─┴┬╯╮┼"
_FLIPPED = str.maketrans("┴╯", "┬╮")
_NO_LANE = -1


class Node(NamedTuple):
    """A commit, as far as the graph goes.

    Attributes:
        revision: its number.
        parent: the number of the commit whose history it goes on from; None for one that begins anew.
        is_undone: whether what it brought is out of the present history.
    """

    revision: int
    parent: int | None
    is_undone: bool


class Row(NamedTuple):
    """What stands to the left of a commit.

    Attributes:
        mark: beside its first line.
        more: beside its further lines.
        join: on a line of its own, where a lane ends; below the commit, above it with the oldest first. None: no such line.
    """

    mark: str
    more: str
    join: str | None


def rows(nodes: Iterable[Node], *, oldest_first: bool = False, is_ascii: bool = False) -> list[Row]:
    """The graph of some commits, a row for each.

    Args:
        nodes: the newest first.
        oldest_first: whether the rows are to be printed in reverse; the list is in the order of the nodes all the same.
        is_ascii: draw with ASCII.
    """
    drawn = []
    lanes: list[int] = []
    for node in nodes:
        lane, is_tip = _lane_of(node, lanes)
        before = [*lanes]
        if is_tip:
            before[lane] = _NO_LANE
        mark = _bars(lanes, lane, "○" if node.is_undone else "●")
        lanes[lane] = _NO_LANE if node.parent is None else node.parent
        more = _bars(before if oldest_first else lanes)
        join = _join(lanes, lane)
        if join is not None and oldest_first:
            join = join.translate(_FLIPPED)
        row = Row(mark, more, join)
        drawn.append(_in_ascii(row) if is_ascii else row)
    return drawn


def has_marks(encoding: str | None) -> bool:
    """Whether an encoding has what the graph is drawn with."""
    try:
        _MARKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _lane_of(node: Node, lanes: list[int]) -> tuple[int, bool]:
    """The lane of a commit, and whether nothing goes on from it: then a free lane becomes its own."""
    if node.revision in lanes:
        return lanes.index(node.revision), False
    if _NO_LANE in lanes:
        lane = lanes.index(_NO_LANE)
        lanes[lane] = node.revision
        return lane, True
    lanes.append(node.revision)
    return len(lanes) - 1, True


def _bars(lanes: list[int], lane: int | None = None, mark: str = "") -> str:
    marks = ["│" if waits != _NO_LANE else " " for waits in lanes]
    if lane is not None:
        marks[lane] = mark
    return " ".join(marks).rstrip()


def _join(lanes: list[int], lane: int) -> str | None:
    """End the lane on the right of two that wait for the same commit; the line that says so."""
    twins = [place for place, waits in enumerate(lanes) if waits == lanes[lane] != _NO_LANE]
    line = None
    if len(twins) > 1:
        left, right = twins
        marks = ["│" if waits != _NO_LANE else " " for waits in lanes]
        marks[left], marks[right] = "├", "╯"
        for place in range(left + 1, right):
            marks[place] = "┼" if lanes[place] != _NO_LANE else "─"
        line = marks[0] + "".join(
            ("─" if left < place <= right else " ") + mark for place, mark in enumerate(marks) if place
        )
        lanes[right] = _NO_LANE
    while lanes and lanes[-1] == _NO_LANE:
        lanes.pop()
    return line


def _in_ascii(row: Row) -> Row:
    mark, more = (text.translate(str.maketrans("●○│", "*o|")) for text in row[:2])
    join = row.join
    if join is not None:
        for drawn, plain in (("─╯", "/ "), ("─╮", "\\ "), ("─┼", "_|"), ("├", "|"), ("│", "|"), ("─", "_")):
            join = join.replace(drawn, plain)
        join = join.rstrip()
    return Row(mark, more, join)
