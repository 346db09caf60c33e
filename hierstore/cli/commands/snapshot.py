"""``hierstore snapshot``: a session's present state gets a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import targets
from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, misused, opened
from hierstore.cli.text import safe
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Session


@guarded
def command(
    session: SessionName,
    label: Annotated[
        str | None, typer.Argument(metavar="LABEL", help="The name; none if not given.", show_default=False)
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="List the snapshots, and make none.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Give a session's present state a name.

    Prints the snapshot's id. `show --at`, `diff`, `fork --at` and `revert` take the label or the id.

    \b
    Example:
      hierstore snapshot support-42 "before the refund"
    """
    from hierstore.cli.naming import find

    if only_list and label is not None:
        raise misused("--list and a LABEL cannot be used together.")
    if label is not None and targets.is_number(label):
        raise misused(f"{quoted(label)} could not be told from a message's number or a revision; choose another label.")
    with opened(root) as store:
        found = find(store, session)
        if only_list:
            _list(found, as_json=as_json)
            return
        has_namesake = label is not None and any(label == snapshot.label for snapshot in found.snapshots)
        made = found.snapshot(label)
    if as_json:
        from hierstore.cli.shapes import of_snapshot, print_json

        print_json(of_snapshot(made))
    else:
        typer.echo(safe(made.id))
    if has_namesake:
        complain("An earlier snapshot has that label too; it now means this one, and its id the earlier one.")


def _list(session: Session, *, as_json: bool) -> None:
    from hierstore.cli.shapes import of_snapshot, print_json
    from hierstore.cli.table import Column, draw
    from hierstore.cli.times import ago

    snapshots = session.snapshots
    if as_json:
        print_json({"snapshots": [of_snapshot(snapshot) for snapshot in snapshots]})
        return
    if not snapshots:
        complain("It has no snapshots.")
        return
    columns = (Column("LABEL", "bold", share=1), Column("REVISION", is_right=True), Column("MADE"), Column("ID", "dim"))
    rows = ((one.label or "", f"r{one.revision}", ago(one.created_at), one.id) for one in snapshots)
    draw(columns, list(rows))
