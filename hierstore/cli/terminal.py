"""The console: how wide it is, and that nothing in a session is taken for markup."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNCUT = 4096
"""The width where nobody looks at columns: an id of 512 characters, a title and the deepest guides fit in."""


def is_piped() -> bool:
    """Whether standard output takes whole fields and no colour, told without rich: importing it takes its time."""
    steered = any(os.environ.get(name) for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"))
    return not steered and (sys.stdout is None or not sys.stdout.isatty())


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given: no markup, no emoji codes, no highlighting, no colour into a pipe."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            # Rich would end the program as failed; whoever guards the command knows better.
            raise BrokenPipeError

    made = Piped(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not is_limited(made):
        made.width = UNCUT
    return made


def is_limited(target: Console) -> bool:
    """Whether lines are cut and wrapped to a width: in a terminal, and where COLUMNS asks for it.

    Into a pipe they are whole: what reads them may need all of an id.
    """
    return target.is_terminal or bool(os.environ.get("COLUMNS"))
