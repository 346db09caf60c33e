"""``hierstore share``: a session is shared, or its shares are listed."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionName, complain, guarded, misused, opened
from hierstore.cli.durations import seconds

if TYPE_CHECKING:
    from hierstore import Session, ShareGrant


class Role(StrEnum):
    """What a token's holder may do."""

    READ = "read"
    APPEND = "append"


Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="For how long: 7d, 12h, 30min.", show_default=False)
]


@guarded
def command(
    session: SessionName,
    role: Annotated[Role, typer.Option("--role", help="What its holder may do.")] = Role.READ,
    expires: Expires = None,
    subtree: Annotated[bool, typer.Option("--subtree", help="Also what hangs below it.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="As it is now, and nothing that comes later.")] = False,
    only_list: Annotated[bool, typer.Option("--list", help="List the shares, and make none.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Share a session, and print the token; list its shares.

    Whoever has the token can open what is shared. The store keeps no token: it is shown this once, alone on standard
    output. `unshare` revokes it.

    \b
    Example:
      hierstore share support-42 --expires 7d
    """
    from hierstore.cli.naming import find

    if only_list and (expires is not None or subtree or frozen or role is not Role.READ):
        raise misused("--list makes no share, and takes no other option of one.")
    if frozen and role is Role.APPEND:
        raise misused("--frozen and --role append cannot be used together: nobody would see what was added.")
    expires_in_s = None if expires is None else seconds(expires, "--expires")
    with opened(root) as store:
        found = find(store, session)
        if only_list:
            _list(found, as_json=as_json)
            return
        grant = found.share(
            role="append" if role is Role.APPEND else "read", expires_in_s=expires_in_s, subtree=subtree, frozen=frozen
        )
    if as_json:
        from hierstore.cli.shapes import of_grant, print_json

        print_json(of_grant(grant))
    else:
        typer.echo(grant.token)
    complain("This token is shown once and kept nowhere; whoever has it opens the share.")


def _list(session: Session, *, as_json: bool) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.times import ago

    shares = session.shares
    if as_json:
        from hierstore.cli.shapes import of_grant, print_json

        print_json({"shares": [of_grant(grant) for grant in shares]})
        return
    if not shares:
        complain("It has no shares.")
        return
    columns = (
        Column("ID", "bold", share=1), Column("ROLE"), Column("OF"), Column("MADE"), Column("ENDS")
    )  # fmt: skip
    draw(columns, [(one.id, one.role, _reach(one), ago(one.created_at), _end(one)) for one in shares])


def _reach(grant: ShareGrant) -> str:
    reach = "subtree" if grant.subtree else "session"
    return f"{reach}, frozen" if grant.frozen else reach


def _end(grant: ShareGrant) -> str:
    from hierstore.cli.times import ago, moment

    if grant.expires_at is None:
        return "never"
    return f"ended {ago(grant.expires_at)}" if grant.expires_at <= time.time() else moment(grant.expires_at)
