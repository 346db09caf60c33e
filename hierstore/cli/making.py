"""The store of a command that makes sessions: made with the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hierstore.cli.common import complain, opened

if TYPE_CHECKING:
    from hierstore import SessionStore


@contextmanager
def opened_or_made(root: str | None) -> Iterator[SessionStore]:
    """The store that the command is about, for the length of the block; one that is made is told of.

    Args:
        root: what ``--root`` says.
    """
    from hierstore.cli.where import find

    where = find(root)
    with opened(root, create=True) as store:
        if not where.exists:
            complain(f"A new store was made in {where.path}.")
        yield store
