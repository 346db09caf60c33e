"""The console: how wide it is, and that nothing in a session is taken for markup."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

UNCUT = 4096
"""The width where nobody looks at columns: an id of 512 characters, a title and the deepest guides fit in."""


def console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given: no markup, no emoji codes, no highlighting, no colour into a pipe."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not is_limited(made):
        made.width = UNCUT
    return made


def is_limited(target: Console) -> bool:
    """Whether lines are cut and wrapped to a width: in a terminal, and where COLUMNS asks for it.

    Into a pipe they are whole: what reads them may need all of an id.
    """
    return target.is_terminal or bool(os.environ.get("COLUMNS"))
