"""``hierstore rm``: sessions are moved to the trash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.asking import agree
from hierstore.cli.common import AsJson, Root, SessionNames, Yes, complain, guarded, misused, opened
from hierstore.cli.text import Refused, count, one_line
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Session, SessionStore

_SHOWN = 10
_ID_CHARS = 60


@guarded
def command(
    sessions: SessionNames,
    cascade: Annotated[bool, typer.Option("--cascade", help="With all that hangs below them.")] = False,
    orphan: Annotated[bool, typer.Option("--orphan", help="Make their children roots.")] = False,
    root: Root = None,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    r"""Move sessions to the trash.

    `restore` brings them back, until `purge` removes them. What has children is refused unless it is said what becomes of
    them; --cascade shows what would go, and asks.

    \b
    Example:
      hierstore rm helper-1
    """
    from hierstore.cli.naming import find

    if cascade and orphan:
        raise misused("--cascade and --orphan cannot be used together.")
    with opened(root) as store:
        named = list(dict.fromkeys(find(store, word) for word in sessions))
        gone = _cascade(store, named, yes=yes) if cascade else _one_by_one(store, named, orphan=orphan)
    if as_json:
        from hierstore.cli.shapes import print_json

        print_json({"deleted": gone})
    complain(
        f"{count(len(gone), 'session')} moved to the trash; `hierstore restore` brings {'it' if len(gone) == 1 else 'them'} back."
    )


def _one_by_one(store: SessionStore, named: Sequence[Session], *, orphan: bool) -> list[str]:
    """Delete them, the deepest first: a child that is named too keeps nobody from its parent."""
    if not orphan:
        for session in named:
            _refuse_children(session, named)
    gone = []
    for session in sorted(named, key=lambda session: len(session.ancestors), reverse=True):
        store.delete(session, children="orphan" if orphan else "refuse")
        gone.append(session.id)
    return gone


def _refuse_children(session: Session, named: Sequence[Session]) -> None:
    """Refuse before anything is deleted what the store would refuse in the middle of it."""
    left = [child for child in session.children if child not in named]
    if left:
        shown = [f"  {one_line(child.id, _ID_CHARS)}" for child in left[:_SHOWN]]
        more = [f"  and {len(left) - _SHOWN:,} more"] if len(left) > _SHOWN else []
        raise Refused(
            f"Session {quoted(session.id)} has children, and nothing was deleted; --cascade deletes them too,"
            " --orphan makes them roots.",
            (*shown, *more),
        )


def _cascade(store: SessionStore, named: Sequence[Session], *, yes: bool) -> list[str]:
    """Delete them with all below, each subtree at once."""
    below = {session: session.descendants() for session in named}
    under = {session for sessions in below.values() for session in sessions}
    tops = [session for session in named if session not in under]
    going = [session for top in tops for session in (top, *below[top])]
    if len(going) > len(tops):
        if not yes:
            _show(going)
        agree(f"Move {count(len(going), 'session')} to the trash", yes=yes)
    for top in tops:
        store.delete(top, children="cascade")
    return [session.id for session in going]


def _show(going: Sequence[Session]) -> None:
    """Show on standard error what is asked about."""
    from hierstore.cli.table import Column, draw
    from hierstore.cli.terminal import console

    columns = (Column("ID", "bold", share=3), Column("MESSAGES", is_right=True), Column("TITLE", share=2))
    infos = [session.info for session in going]
    rows = [(info.id, f"{info.message_count:,}", info.title or "") for info in infos]
    draw(columns, rows, console(stderr=True))
