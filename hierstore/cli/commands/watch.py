"""``hierstore watch``: what changes, as it changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.text import Refused, count, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from hierstore import Event, Watcher

_WIDE, _WHAT_CELLS = 100, 14
_SAVED_EVERY = 1000
"""A cursor grows with the store: it is not written for each of many events that are there at once."""


@guarded
def command(
    root: Root = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="SESSION", help="Only there.", show_default=False, autocompletion=completion.sessions
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="CURSOR", help='Go on from there; "": the beginning.', show_default=False),
    ] = None,
    cursor_file: Annotated[
        str | None,
        typer.Option(
            "--cursor-file",
            metavar="FILE",
            help="Go on from where FILE says, and keep in it how far this came.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print what there is, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Print what changes, as it changes.

    A line for each change that any process makes: time, session, revision, what happened. It begins now, or with --once at
    the beginning, unless --after or --cursor-file says where. With --cursor-file nothing is lost between two calls; after
    a crash the last changes may be told again.

    \b
    Example:
      hierstore watch --once --session support-42
    """
    if after is not None and cursor_file is not None:
        raise misused("--after and --cursor-file both say where to begin; give one of them.")
    from hierstore.cli.naming import find

    kept = None if cursor_file is None else _read(cursor_file)
    begin = after if cursor_file is None else kept
    if begin is None and once:
        begin = ""
    with (
        opened(root) as store,
        store.watch(
            session=None if session is None else find(store, session), after=begin, mode="off" if once else "auto"
        ) as watcher,
    ):
        printer = _Lines(as_json=as_json)
        _follow(watcher, printer, cursor_file, is_endless=not once)
    if once:
        complain(
            f"({count(printer.total, 'change')}{'' if cursor_file else '; --cursor-file FILE keeps where it ended'})"
        )


def _follow(watcher: Watcher, printer: _Lines, cursor_file: str | None, *, is_endless: bool) -> None:
    """Print what comes; keep the cursor whenever nothing more is there.

    Never before what it covers was printed: who is interrupted is told again rather than not at all.
    """
    if cursor_file is None:
        for change in watcher:
            printer.print(change)
        return
    # At once, so that a file that cannot be written is told before anything is printed.
    _write(cursor_file, watcher.cursor)
    while True:
        event = watcher.next(timeout_s=0)
        if event is None:
            _write(cursor_file, watcher.cursor)
            event = watcher.next() if is_endless else None
        if event is None:
            return
        printer.print(event)
        if printer.total % _SAVED_EVERY == 0:
            _write(cursor_file, watcher.cursor)


def _read(path: str) -> str | None:
    """The cursor that a file holds; None when there is no file yet.

    Raises:
        Refused: it cannot be read.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"The cursor file {path} cannot be read: {error.strerror}.") from error


def _write(path: str, cursor: str) -> None:
    """Put a cursor into a file, whole or not at all.

    Raises:
        Refused: it cannot be written.
    """
    scratch = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(cursor + "\n")
            os.replace(scratch, path)
        finally:
            # Gone, unless that failed, or Ctrl-C came before it.
            if os.path.exists(scratch):
                os.unlink(scratch)
    except OSError as error:
        raise Refused(f"The cursor file {path} cannot be written: {error.strerror}.") from error


class _Lines:
    """Prints changes, a line for each.

    Attributes:
        total: how many were printed.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.total = 0
        self._as_json = as_json
        self._screen: Console | None = None

    def print(self, event: Event) -> None:
        """Print one."""
        if self._as_json:
            from hierstore.cli.shapes import of_event, print_json

            print_json(of_event(event))
        else:
            self._draw(event)
        self.total += 1

    def _draw(self, event: Event) -> None:
        from hierstore.cli.changes import told
        from hierstore.cli.lines import print_cut
        from hierstore.cli.terminal import console, is_limited
        from hierstore.cli.times import moment

        screen = self._screen = self._screen or console()
        change = told(event)
        fields = [moment(event.at), one_line(event.session_id, 512), f"r{event.revision}", change.what, change.text]
        if not is_limited(screen):
            screen.file.write("\t".join(fields) + "\n")
            screen.file.flush()
            return
        from rich.text import Text

        time, name, revision, what, text = map(Text, fields)
        time.stylize("dim")
        name.stylize("bold")
        # In columns as far as nobody knows what is still to come.
        room = min(max(screen.width // 5, 12), 36)
        name.truncate(room, overflow="ellipsis")
        name.pad_right(room - name.cell_len)
        revision.pad_right(max(0, 5 - revision.cell_len))
        what.stylize(change.style)
        if screen.width >= _WIDE:
            what.pad_right(max(0, _WHAT_CELLS - what.cell_len))
        print_cut(screen, [time, name, revision, what, text])
