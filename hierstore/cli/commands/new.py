"""``hierstore new``: a session is made."""

from __future__ import annotations

from typing import Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, guarded, opened
from hierstore.cli.making import opened_or_made
from hierstore.cli.text import safe

NewId = Annotated[str | None, typer.Argument(metavar="ID", help="Its id; made if it is not given.", show_default=False)]
Parent = Annotated[
    str | None,
    typer.Option(
        "--parent",
        metavar="SESSION",
        help="The session to hang it below.",
        show_default=False,
        autocompletion=completion.sessions,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="LABEL",
        help="A label; may be repeated.",
        show_default=False,
        autocompletion=completion.labels,
    ),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="A fact, as text; may be repeated.", show_default=False),
]
MetadataJson = Annotated[
    str | None,
    typer.Option("--metadata-json", metavar="JSON", help="Facts, as a JSON object.", show_default=False),
]


@guarded
def command(
    session_id: NewId = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Its title.", show_default=False)] = None,
    parent: Parent = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="WORD", help="Why it exists: delegate, branch, …", show_default=False),
    ] = None,
    label: Labels = None,
    metadata: Pairs = None,
    metadata_json: MetadataJson = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Make a session, and print its id.

    Makes the store too, if there is none yet, and says so on standard error; on standard output stands the id alone.

    \b
    Example:
      hierstore new --title "Refund for order 43" --label refunds
    """
    from hierstore.cli import inputs
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import find

    facts = inputs.metadata(metadata or [], metadata_json)
    # What has a parent is in a store that is there.
    with opened_or_made(root) if parent is None else opened(root) as store:
        above = None if parent is None else find(store, parent)
        session = store.create(session_id, title=title, parent=above, kind=kind, metadata=facts, labels=label or ())
        Memory(store.root).use(session.id)
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(session))
        else:
            typer.echo(safe(session.id))
