"""``hierstore label``: labels are printed, added and removed."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, opened
from hierstore.cli.text import safe
from hierstore.errors import quoted

Added = Annotated[
    list[str] | None,
    typer.Argument(metavar="LABEL", help="Labels to add.", show_default=False, autocompletion=completion.labels),
]
Removed = Annotated[
    list[str] | None,
    typer.Option(
        "--remove",
        "-r",
        metavar="LABEL",
        help="A label to remove; may be repeated.",
        show_default=False,
        autocompletion=completion.labels,
    ),
]


@guarded
def command(
    session: SessionName,
    added: Added = None,
    removed: Removed = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove those that it has.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Print, add or remove labels.

    Prints the labels that the session has then, one on a line.

    \b
    Example:
      hierstore label support-42 urgent --remove refunds
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = find(store, session)
        if added or removed or clear:
            if missing := [label for label in dict.fromkeys(removed or ()) if label not in found.labels]:
                complain(f"It did not have the label {quoted(missing[0])}.")
            found.update(labels=() if clear else None, add_labels=added or (), remove_labels=removed or ())
        info = found.info
    if as_json:
        from hierstore.cli.shapes import of_info, print_json

        print_json(of_info(info))
        return
    for label in info.labels:
        typer.echo(safe(label))
    if not info.labels:
        complain("It has no labels.")
