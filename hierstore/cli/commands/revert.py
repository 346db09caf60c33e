"""``hierstore revert``: a session goes back to an earlier state."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import targets
from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, opened
from hierstore.cli.text import count, one_line


@guarded
def command(
    session: SessionName,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="To what.", show_default=False)],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Go back to an earlier state.

    Nothing is removed from the log: `undo` goes forward again. WHERE is #12 or 12 for a message's number, r40 for a
    revision, or a snapshot's label or id, or a message's id; the message itself stays.

    \b
    Example:
      hierstore revert support-42 answered
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = find(store, session)
        before = found.messages
        found.revert(targets.target(found, where))
        after = found.messages
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(found))
    more = len(after) - len(before)
    change = f", {abs(more):,} {'more' if more > 0 else 'fewer'}" if more else ""
    complain(f"{one_line(found.id, 60)} has {count(len(after), 'message')} now{change}; `hierstore undo` goes back.")
