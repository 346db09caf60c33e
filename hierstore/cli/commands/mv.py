"""``hierstore mv``: a session is hung below another, or made a root."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, misused, opened
from hierstore.cli.text import one_line

Parent = Annotated[
    str | None,
    typer.Argument(
        metavar="PARENT", help="What to hang it below.", show_default=False, autocompletion=completion.sessions
    ),
]


@guarded
def command(
    session: SessionName,
    parent: Parent = None,
    is_root: Annotated[bool, typer.Option("--root-level", help="Make it a root.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Hang a session below another, or make it a root.

    What hangs below the session comes along.

    \b
    Example:
      hierstore mv notes support-42
    """
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import find

    if (parent is None) != is_root:
        raise misused("Name the PARENT to hang it below, or say --root-level to make it a root.")
    with opened(root) as store:
        found = find(store, session)
        above = None if parent is None else find(store, parent)
        Memory(store.root).use(found.id)
        found.move(above)
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(found))
    name = one_line(found.id, 60)
    complain(f"{name} is a root now." if above is None else f"{name} hangs below {one_line(above.id, 60)} now.")
