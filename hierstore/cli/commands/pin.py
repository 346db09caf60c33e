"""``hierstore pin``: sessions are kept from being pruned."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionNames, complain, guarded, opened
from hierstore.cli.text import count


@guarded
def command(
    sessions: SessionNames,
    undo: Annotated[bool, typer.Option("--undo", help="Let them be pruned again.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Keep a session from being pruned, or no longer.

    What a pinned session hangs below is not pruned either. `rm` removes it all the same. `ls --pinned` lists such sessions.

    \b
    Example:
      hierstore pin support-42
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = [find(store, word) for word in sessions]
        for session in found:
            session.update(pinned=not undo)
        infos = [session.info for session in found]
    if as_json:
        from hierstore.cli.shapes import of_info, print_json

        print_json({"sessions": [of_info(info) for info in infos]})
    complain(f"{count(len(infos), 'session')} {'no longer pinned' if undo else 'pinned'}.")
