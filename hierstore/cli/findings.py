"""What check, repair and doctor found, printed: a table whose last column is wrapped, not cut, as it holds sentences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hierstore.cli.table import Column, draw
from hierstore.cli.terminal import console, is_limited
from hierstore.cli.text import one_line, safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hierstore import Finding

_GAP = "  "
_NARROW = 24
_MAX_CELLS = 32
_STYLES = {
    "problem": "red", "left": "red", "bad": "red", "note": "yellow", "mended": "green", "to mend": "green", "good": "green",
}  # fmt: skip


def rows(word: str, findings: Sequence[Finding], root: str) -> Iterator[tuple[str, str, str, str]]:
    """Findings as rows: what it is to us, its kind, the session or else the file, and the sentence."""
    for finding in findings:
        about = finding.path if finding.session_id is None else finding.session_id
        inside = os.path.relpath(about, root) if finding.session_id is None and about.startswith(root) else about
        yield word, finding.kind, inside, finding.detail


def print_sentences(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Print rows whose first field is a word with a colour, and whose last one is a sentence.

    Into a pipe: whole fields between tabs, without the heads.
    """
    screen = console()
    if not is_limited(screen):
        draw([Column(head) for head in heads], rows, screen)
        return
    from rich.cells import cell_len

    shown = [[*(one_line(field, _MAX_CELLS) for field in row[:-1]), safe(row[-1])] for row in rows]
    columns = zip(heads[:-1], *(row[:-1] for row in shown), strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    _print_row(screen, heads, widths, "dim")
    for row in shown:
        _print_row(screen, row, widths, "")


def _print_row(screen: Console, row: Sequence[str], widths: Sequence[int], style: str) -> None:
    from rich.text import Text

    start = Text()
    for field, width in zip(row, widths, strict=False):
        start.append(field, style or _STYLES.get(field, "")).append(" " * (width - Text(field).cell_len)).append(_GAP)
    room = screen.width - start.cell_len
    if room < _NARROW:
        # Too narrow for a column beside the others: the sentence stands below them.
        screen.print(start, soft_wrap=True)
        start, room = Text(_GAP), screen.width - len(_GAP)
    margin = Text(" " * start.cell_len)
    for piece in _wrapped(screen, Text(row[-1], style), room):
        screen.print(start + piece, soft_wrap=True)
        start = margin


def _wrapped(screen: Console, sentence: Text, room: int) -> Iterator[Text]:
    for piece in sentence.wrap(screen, max(10, room)):
        piece.rstrip()
        yield piece


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on stderr that something takes its time; nothing where stderr is no terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(safe(what)):
        yield
