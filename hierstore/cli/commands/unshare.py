"""``hierstore unshare``: shares are revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, opened
from hierstore.cli.text import Refused, count
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Session

_SHOWN = 10


@guarded
def command(
    session: SessionName,
    share: Annotated[
        str | None,
        typer.Argument(metavar="SHARE", help="Its id, or the beginning; all if not given.", show_default=False),
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Revoke a session's shares.

    From then on the token opens nothing, in any process. `share SESSION --list` lists the ids.

    \b
    Example:
      hierstore unshare support-42
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = find(store, session)
        before = len(found.shares)
        found.unshare(None if share is None else _share(found, share))
        revoked = before - len(found.shares)
        if as_json:
            from hierstore.cli.shapes import of_session, print_json

            print_json(of_session(found))
    if before:
        complain(f"{count(revoked, 'share')} revoked.")
    else:
        complain("It has no shares.")


def _share(session: Session, word: str) -> str:
    """The id of the share that a word means; whether there is one is left to the store."""
    ids = [grant.id for grant in session.shares]
    found = [share_id for share_id in ids if word and share_id.startswith(word)]
    if word in ids or not found:
        return word
    if len(found) > 1:
        raise Refused(
            f"{quoted(word)} is the beginning of several shares; write more of the one that is meant.",
            tuple(f"  {share_id}" for share_id in found[:_SHOWN]),
        )
    return found[0]
