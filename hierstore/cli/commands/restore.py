"""``hierstore restore``: sessions come back from the trash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.asking import tell
from hierstore.cli.common import AsJson, Root, guarded, opened
from hierstore.cli.text import Refused, count, safe

if TYPE_CHECKING:
    from hierstore import Session, SessionStore

Deleted = Annotated[
    list[str],
    typer.Argument(metavar="ID", help="Which; the beginning of its id will do.", show_default=False),
]


@guarded
def command(ids: Deleted, root: Root = None, as_json: AsJson = False) -> None:
    r"""Bring a session back from the trash.

    With it comes what hung below it and was deleted with it. If its parent is gone it becomes a root. `ls --trash` lists
    what is in the trash. Prints the id.

    \b
    Example:
      hierstore restore old-chat
    """
    from hierstore.cli.memory import Memory
    from hierstore.cli.trash import find_deleted

    with opened(root) as store:
        wanted = list(dict.fromkeys(find_deleted(store, word).id for word in ids))
        before = len(store.trash())
        back = [_restore(store, session_id) for session_id in wanted]
        more = before - len(store.trash()) - len(back)
        Memory(store.root).use(back[-1].id)
        if as_json:
            from hierstore.cli.shapes import of_info, print_json

            print_json({"sessions": [of_info(session.info) for session in back]})
            return
    for session in back:
        typer.echo(safe(session.id))
    if more > 0:
        tell(f"{count(more, 'session')} that hung below came back too.")


def _restore(store: SessionStore, session_id: str) -> Session:
    from hierstore.errors import SessionExists, quoted

    if all(item.id != session_id for item in store.trash()):
        # It came back with one that was named before it.
        return store.get(session_id)
    try:
        return store.restore(session_id)
    except SessionExists as error:
        raise Refused(
            f"There is a session {quoted(error.session_id)} again, so the deleted one cannot come back; `hierstore rm` makes way for it."
        ) from None
