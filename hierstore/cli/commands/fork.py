"""``hierstore fork``: a child that starts with a session's history."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import targets
from hierstore.cli.asking import tell
from hierstore.cli.common import AsJson, Root, SessionName, guarded, opened
from hierstore.cli.text import count, one_line, safe


@guarded
def command(
    session: SessionName,
    new_id: Annotated[
        str | None, typer.Argument(metavar="NEW_ID", help="The fork's id; made if not given.", show_default=False)
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="WHERE", help="Up to where; the whole history if not given.", show_default=False),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="The fork's title.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option("--kind", metavar="WORD", help="Why it exists.")] = "branch",
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Make a child that starts with a session's history.

    Prints the id of the fork. From here on the two are independent. WHERE is #12 or 12 for a message's number, r40 for
    a revision, or a snapshot's label or id, or a message's id; the message itself is in the fork.

    \b
    Example:
      hierstore fork support-42 --at 2 --title "Another answer"
    """
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import find

    with opened(root) as store:
        parent = find(store, session)
        fork = parent.fork(
            new_id, at=None if at is None else targets.target(parent, at), title=title, kind=kind or None
        )
        Memory(store.root).use(fork.id)
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(fork))
            return
        messages = len(fork.messages)
    typer.echo(safe(fork.id))
    tell(f"It begins with {count(messages, 'message')} of {one_line(parent.id, 60)}.")
