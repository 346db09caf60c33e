"""``hierstore tail``: the last messages, and those that come."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, SessionNames, complain, guarded, opened
from hierstore.cli.naming import find
from hierstore.cli.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from hierstore import Message, Session, SessionStore
    from hierstore.cli.following import Said

_NAME_CHARS = 200


@guarded
def command(
    sessions: SessionNames,
    root: Root = None,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", min=0, help="How many of each.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, from any process, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Print the last messages, and with -f those that come.

    Of several sessions each message stands below its session's name. With -f it goes on, live, also while a session is
    reverted, reset, deleted and restored, and says so on stderr. --json prints a line for each message.

    \b
    Example:
      hierstore tail support-42 --last 2
    """
    with opened(root) as store:
        found = list(dict.fromkeys(find(store, word) for word in sessions))
        printer = _Lines(as_json=as_json, is_named=len(found) > 1)
        _run(store, found, last, printer, is_endless=follow)


def _run(store: SessionStore, sessions: list[Session], last: int, printer: _Lines, *, is_endless: bool) -> None:
    from hierstore.cli.following import Following

    only = sessions[0] if len(sessions) == 1 else None
    # Before anything is read: what comes between the two would be in neither.
    with store.watch(session=only) if is_endless else nullcontext() as watcher:
        following = Following(store, sessions, watcher)
        for said in following.last(last):
            printer.print(said)
        if is_endless:
            for said in following.coming():
                printer.print(said)


class _Lines:
    """Prints messages on stdout, and what happens to their sessions on stderr.

    Args:
        as_json: whether messages are lines of JSON.
        is_named: whether a session's name stands above its messages.
    """

    def __init__(self, *, as_json: bool, is_named: bool) -> None:
        self._as_json = as_json
        self._is_named = is_named
        self._named: str | None = None
        self._screen: Console | None = None

    def print(self, said: Said) -> None:
        """Print one of them."""
        if said.event is not None:
            from hierstore.cli.changes import told

            change = told(said.event)
            complain(f"({one_line(said.session_id, _NAME_CHARS)}: {change.what} {change.text})".replace(" )", ")"))
        elif said.message is not None and self._as_json:
            from hierstore.cli.shapes import of_said, print_json

            print_json(of_said(said.session_id, said.message))
        elif said.message is not None:
            self._print_message(said.session_id, said.message)

    def _print_message(self, session_id: str, message: Message) -> None:
        from hierstore.cli.lines import body, draw, heading, style_of
        from hierstore.cli.terminal import console
        from hierstore.cli.times import moment

        screen = self._screen = self._screen or console()
        if self._is_named and self._named != session_id:
            draw(screen, [f"==> {one_line(session_id, _NAME_CHARS)} <=="], style="bold")
        self._named = session_id
        draw(screen, [f"{heading(message)}  {moment(message.at)}"], style=style_of(message.role))
        draw(screen, body(message), prefix="  ")
