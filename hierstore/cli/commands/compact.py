"""``hierstore compact``: logs lose what was undone."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hierstore.cli import completion
from hierstore.cli.asking import agree
from hierstore.cli.common import AsJson, Root, Yes, complain, guarded, opened
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from hierstore import CompactReport, Session, SessionError, SessionStore

_ID_CHARS = 60


class Keep(StrEnum):
    """What can still be gone back to."""

    SNAPSHOTS = "snapshots"
    PRESENT = "present"


_QUESTIONS = {
    Keep.SNAPSHOTS: "Drop for good what was undone, but for what snapshots show",
    Keep.PRESENT: "Drop for good what was undone, and all snapshots",
}

Sessions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SESSION",
        help="Which sessions; all if none is given.",
        show_default=False,
        autocompletion=completion.sessions,
    ),
]


@guarded
def command(
    sessions: Sessions = None,
    keep: Annotated[Keep, typer.Option("--keep", help="What can still be gone back to.")] = Keep.SNAPSHOTS,
    root: Root = None,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    r"""Drop from the logs what was undone.

    Nothing that a reader sees changes: messages, facts and revisions stay as they are. What goes is the way there, for
    good: reverts cannot be undone any more, and of earlier states those of snapshots are kept, or with --keep present
    none. So it asks.

    \b
    Example:
      hierstore compact support-42 --yes
    """
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = list(dict.fromkeys(find(store, word) for word in sessions or ()))
        agree(f"{_QUESTIONS[keep]}, from {_whose(found)}", yes=yes)
        reports, errors = _compact(store, found, keep)
    if as_json:
        _print(reports, errors)
    else:
        _show(reports)
    for error in errors:
        complain(f"{one_line(error.session_id, _ID_CHARS)} stays as it is: {error.error}")
    freed = sum(report.before_bytes - report.after_bytes for report in reports)
    _say(len(reports), freed)
    if errors:
        raise typer.Exit(1)


def _whose(sessions: Sequence[Session]) -> str:
    if not sessions:
        return "the logs of all sessions"
    if len(sessions) == 1:
        return f"the log of {one_line(sessions[0].id, _ID_CHARS)}"
    return f"the logs of {len(sessions):,} sessions"


def _compact(
    store: SessionStore, sessions: Sequence[Session], keep: Keep
) -> tuple[tuple[CompactReport, ...], tuple[SessionError, ...]]:
    """The reports of the logs that became smaller, and what went wrong."""
    how: Literal["snapshots", "present"] = "present" if keep is Keep.PRESENT else "snapshots"
    if not sessions:
        report = store.compact(keep=how)
        return report.sessions, report.errors
    reports = [session.compact(keep=how) for session in sessions]
    return tuple(
        report for report in reports if report.dropped_messages or report.after_bytes < report.before_bytes
    ), ()


def _show(reports: Sequence[CompactReport]) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.times import size

    if not reports:
        return
    columns = (
        Column("ID", "bold", share=1), Column("BEFORE", is_right=True), Column("AFTER", is_right=True),
        Column("MESSAGES DROPPED", is_right=True),
    )  # fmt: skip
    rows = [
        (one.session_id, size(one.before_bytes), size(one.after_bytes), f"{one.dropped_messages:,}") for one in reports
    ]
    draw(columns, rows)


def _say(logs: int, freed_bytes: int) -> None:
    from hierstore.cli.times import size

    if logs:
        complain(f"{size(max(0, freed_bytes))} freed in {count(logs, 'log')}.")
    else:
        complain("There was nothing to drop.")


def _print(reports: Sequence[CompactReport], errors: Sequence[SessionError]) -> None:
    from hierstore.cli.shapes import of_compaction, of_error, print_json

    print_json(
        {
            "sessions": [of_compaction(report) for report in reports],
            "freed_bytes": sum(report.before_bytes - report.after_bytes for report in reports),
            "errors": [of_error(error) for error in errors],
        }
    )
