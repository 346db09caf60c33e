"""``hierstore title``: a title is printed, set or cleared."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, misused, opened
from hierstore.cli.text import safe
from hierstore.errors import quoted

_TITLE_CHARS = 80


@guarded
def command(
    session: SessionName,
    title: Annotated[str | None, typer.Argument(metavar="TITLE", help="The new title.", show_default=False)] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the title away.")] = False,
    is_auto: Annotated[
        bool, typer.Option("--auto", help="A program made it up: it never replaces a person's.")
    ] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Print or set a title.

    Without TITLE the present one is printed.

    \b
    Example:
      hierstore title notes "Things to do"
    """
    from hierstore.cli.naming import find

    if clear and title is not None:
        raise misused("--clear and a TITLE cannot be used together.")
    if is_auto and title is None:
        raise misused("--auto needs a TITLE.")
    is_change = clear or title is not None
    with opened(root) as store:
        found = find(store, session)
        if is_change:
            found.set_title(title, source="auto" if is_auto else "user")
        info = found.info
    if as_json:
        from hierstore.cli.shapes import of_info, print_json

        print_json(of_info(info))
    elif not is_change and info.title is not None:
        typer.echo(safe(info.title))
    if is_auto and info.title != title:
        complain("The title stays as it is: a person gave it.")
    elif is_change or info.title is None:
        complain(_sentence(info.id, info.title))


def _sentence(session_id: str, title: str | None) -> str:
    from hierstore.cli.text import one_line

    name = one_line(session_id, _TITLE_CHARS)
    return f"{name} has no title." if title is None else f"{name} is now titled {quoted(title)}."
