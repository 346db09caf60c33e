"""How far something is: a bar on stderr in a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Where the work is; shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        """Begin a step of so many parts, or of nobody knows how many."""

    def advance(self, number: int = 1) -> None:
        """So many parts more are done."""


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress]:
    """A bar for the length of the block; nothing where stderr is no terminal, or where none is wanted."""
    if not (wanted and sys.stderr.isatty()):
        yield Progress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from hierstore.cli.terminal import console
    from hierstore.cli.text import safe

    class Bar(Progress):
        def begin(self, what: str, total: int | None) -> None:
            bars.reset(task, description=safe(what), total=total)
            bars.refresh()

        def advance(self, number: int = 1) -> None:
            bars.advance(task, number)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield Bar()
