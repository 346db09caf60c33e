"""``hierstore archive``: sessions leave the listings, or come back."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionNames, complain, guarded, opened
from hierstore.cli.text import count


@guarded
def command(
    sessions: SessionNames,
    undo: Annotated[bool, typer.Option("--undo", help="Put them back into the listings.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Take a session out of the listings, or put it back.

    It stays where it is, can be named and searched, and is not pruned. `ls --archived` lists such sessions.

    \b
    Example:
      hierstore archive notes
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = [find(store, word) for word in sessions]
        for session in found:
            session.update(archived=not undo)
        infos = [session.info for session in found]
    if as_json:
        from hierstore.cli.shapes import of_info, print_json

        print_json({"sessions": [of_info(info) for info in infos]})
    complain(f"{count(len(infos), 'session')} {'back in' if undo else 'out of'} the listings.")
