"""``hierstore route``: where a route key leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.asking import tell
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.making import opened_or_made
from hierstore.cli.text import Refused, one_line, safe
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Session, SessionStore

_CHARS = 60

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="SESSION",
        help="The session to lead it to from now on.",
        show_default=False,
        autocompletion=completion.sessions,
    ),
]


@guarded
def command(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key, as telegram:chat:42.", show_default=False)],
    session: Target = None,
    make: Annotated[bool, typer.Option("--make", help="Make a session for it, if it leads nowhere.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Let it lead nowhere.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    r"""Print or change where a route key leads.

    Prints the id of the session. With SESSION the key leads to that one from now on; the one before stays as it is. A key
    that leads nowhere is an error (status 1), but for --make, which makes its session once, whoever asks at the same
    time.

    \b
    Example:
      hierstore route telegram:chat:42
    """
    if make + clear + (session is not None) > 1:
        raise misused("SESSION, --make and --clear cannot be used together.")
    with opened_or_made(root) if make else opened(root) as store:
        if clear:
            if not store.unbind(key):
                complain("The key led nowhere already.")
            found = None
        else:
            found = _session(store, key, session, make=make)
    if as_json:
        from hierstore.cli.shapes import print_json

        print_json({"key": key, "session": None if found is None else found.id})
    elif found is not None:
        typer.echo(safe(found.id))


def _session(store: SessionStore, key: str, word: str | None, *, make: bool) -> Session:
    """The session that the key leads to now, or from now on."""
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import find

    if word is not None:
        found = find(store, word)
        store.bind(key, found)
        tell(f"{one_line(key, _CHARS)} now leads to {one_line(found.id, _CHARS)}.")
        return found
    maybe_found = store.route(key) if make else store.resolve(key)
    if maybe_found is None:
        raise Refused(
            f"{quoted(key)} leads nowhere; `hierstore route KEY SESSION` leads it to a session, --make to a new one."
        )
    Memory(store.root).use(maybe_found.id)
    return maybe_found
