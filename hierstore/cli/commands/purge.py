"""``hierstore purge``: what is in the trash is removed for good."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.asking import agree
from hierstore.cli.common import AsJson, Root, Yes, complain, guarded, opened
from hierstore.cli.durations import seconds
from hierstore.cli.text import count

if TYPE_CHECKING:
    from hierstore import TrashedSession

_DAY_S = 86_400.0
_HALF_A_TICK_S = 0.0005
"""Of the clock of deletions, which counts milliseconds."""

OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="TIME", help="Only what was deleted longer ago: 30d.", show_default=False),
]


@guarded
def command(
    session_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Which; all if none is given.", show_default=False),
    ] = None,
    older_than: OlderThan = None,
    root: Root = None,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    r"""Remove what is in the trash for good.

    First it is shown what would go, then asked. What living forks show of it stays with them.

    \b
    Example:
      hierstore purge --older-than 30d --yes
    """
    from hierstore.cli.trash import find_deleted

    age_s = 0.0 if older_than is None else seconds(older_than, "--older-than")
    with opened(root) as store:
        maybe_id = None if session_id is None else find_deleted(store, session_id).id
        latest = time.time() - age_s
        going = [item for item in store.trash() if maybe_id in (None, item.id) and item.deleted_at <= latest]
        if not (as_json and yes):
            _show(going, stderr=as_json)
        purged: tuple[str, ...] = ()
        if going:
            agree(f"Remove {count(len(going), 'session')} for good", yes=yes)
            purged = store.purge(maybe_id, max_age_days=_age_days(going))
    if as_json:
        from hierstore.cli.shapes import of_trashed, print_json

        print_json({"purged": [of_trashed(item) for item in going if item.id in purged]})
    if going:
        complain(f"{count(len(purged), 'session')} removed for good.")


def _age_days(going: Sequence[TrashedSession]) -> float | None:
    """What makes the store remove these and nothing that was deleted since they were shown."""
    age_s = time.time() - max(item.deleted_at for item in going) - _HALF_A_TICK_S
    # A clock that was set back: none is old enough then, whatever its age.
    return age_s / _DAY_S if age_s > 0 else None


def _show(going: Sequence[TrashedSession], *, stderr: bool) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.terminal import console
    from hierstore.cli.times import ago, size

    if not going:
        complain("There is nothing to remove in the trash.")
        return
    columns = (Column("ID", "bold", share=1), Column("DELETED"), Column("SIZE", is_right=True))
    rows = [(item.id, ago(item.deleted_at), size(item.size_bytes)) for item in going]
    draw(columns, rows, console(stderr=stderr))
    total = size(sum(item.size_bytes for item in going))
    complain(f"To go for good: {count(len(going), 'session')}, {total}.")
