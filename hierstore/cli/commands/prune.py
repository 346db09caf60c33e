"""``hierstore prune``: what is no longer needed is moved to the trash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierstore.cli.asking import agree
from hierstore.cli.common import AsJson, Root, Yes, complain, guarded, misused, opened
from hierstore.cli.durations import seconds, size_bytes
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from hierstore import PruneReport, Session, SessionInfo, SessionStore

    Keep = Callable[[tuple[str, ...], Session], bool]

_DAY_S = 86_400.0
_ID_CHARS = 60

OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="TIME", help="Not changed for longer: 90d.", show_default=False),
]
MaxSessions = Annotated[
    int | None,
    typer.Option("--max-sessions", metavar="N", min=0, help="Until no more than N are left.", show_default=False),
]
MaxBytes = Annotated[
    str | None,
    typer.Option("--max-bytes", metavar="SIZE", help="Until the logs take no more: 2GiB.", show_default=False),
]


@guarded
def command(
    older_than: OlderThan = None,
    max_sessions: MaxSessions = None,
    max_bytes: MaxBytes = None,
    keep_routed: Annotated[bool, typer.Option("--keep-routed", help="Keep what a route key leads to.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    root: Root = None,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    r"""Move to the trash what is no longer needed.

    Of the limits at least one must be given; what has not changed for longest goes first. Pinned, archived and suspended
    sessions stay, and what they hang below. First it is shown what would go, then asked. `restore` brings back what
    went, `purge` removes it for good.

    \b
    Example:
      hierstore prune --older-than 90d --dry-run
    """
    from hierstore.cli.memory import Memory

    limits = _limits(older_than, max_sessions, max_bytes)
    with opened(root) as store:
        keep = _routed if keep_routed else None
        plan = store.prune(**limits, keep=keep, dry_run=True)
        infos = _infos(store, plan.pruned)
        sizes = {one.id: one.size_bytes for one in store.sizes()} if infos else {}
        if infos and not (as_json and (yes or dry_run)):
            Memory(store.root).list([info.id for info in infos])
            _show(infos, sizes, stderr=as_json)
        _say(plan, infos, sizes)
        report = plan
        if plan.pruned and not dry_run:
            agree(f"Move {count(len(plan.pruned), 'session')} to the trash", yes=yes)
            # Nothing but what was shown: more may be too old, or too many, by now.
            report = store.prune(**limits, keep=_but(plan.pruned, keep))
            _say_done(plan, report)
    if as_json:
        _print(report, infos, dry_run=dry_run)


def _limits(older_than: str | None, max_sessions: int | None, max_bytes: str | None) -> dict[str, Any]:
    """The arguments of ``SessionStore.prune``.

    Raises:
        Exit: there is no limit among them, or one that is none; the status is 2.
    """
    if older_than is None and max_sessions is None and max_bytes is None:
        raise misused("Say what is too much: --older-than, --max-sessions or --max-bytes.")
    age_s = None if older_than is None else seconds(older_than, "--older-than")
    if age_s == 0:
        raise misused("--older-than takes a length of time of more than nothing.")
    return {
        "max_age_days": None if age_s is None else age_s / _DAY_S,
        "max_sessions": max_sessions,
        "max_bytes": None if max_bytes is None else size_bytes(max_bytes, "--max-bytes"),
    }


def _routed(keys: tuple[str, ...], _: Session) -> bool:
    return bool(keys)


def _but(shown: Sequence[str], keep: Keep | None) -> Keep:
    """Keeps all others than those that were shown, and what else is to be kept."""
    ids = set(shown)
    return lambda keys, session: session.id not in ids or (keep is not None and keep(keys, session))


def _infos(store: SessionStore, ids: Sequence[str]) -> list[SessionInfo]:
    from hierstore.errors import SessionNotFound

    found = []
    for session_id in ids:
        try:
            found.append(store.get(session_id).info)
        except SessionNotFound:
            # Deleted meanwhile: nothing is left to be shown, or to be pruned.
            continue
    return found


def _show(infos: Sequence[SessionInfo], sizes: Mapping[str, int], *, stderr: bool) -> None:
    from hierstore.cli.table import Column, draw
    from hierstore.cli.terminal import console
    from hierstore.cli.times import ago, size

    columns = (
        Column("#", "dim", is_right=True), Column("ID", "bold", share=3), Column("MESSAGES", is_right=True),
        Column("SIZE", is_right=True), Column("UPDATED"), Column("TITLE", share=2),
    )  # fmt: skip
    rows = [
        (
            str(number), info.id, f"{info.message_count:,}", size(sizes.get(info.id, 0)), ago(info.updated_at),
            info.title or "",
        )
        for number, info in enumerate(infos, 1)
    ]  # fmt: skip
    draw(columns, rows, console(stderr=stderr))


def _say(plan: PruneReport, infos: Sequence[SessionInfo], sizes: Mapping[str, int]) -> None:
    """The totals, and what could not be asked about."""
    from hierstore.cli.times import size

    for error in plan.errors:
        complain(f"{one_line(error.session_id, _ID_CHARS)} stays: {error.error}")
    number = count(len(plan.pruned) + len(plan.kept), "session")
    if plan.pruned:
        messages = count(sum(info.message_count for info in infos), "message")
        # What forks share counts for each of them.
        most = size(sum(sizes.get(info.id, 0) for info in infos))
        complain(f"To go to the trash: {len(plan.pruned):,} of {number}, with {messages} and at most {most}.")
    else:
        complain(f"Nothing is to be pruned; there are {number}.")


def _say_done(plan: PruneReport, report: PruneReport) -> None:
    known = set(plan.errors)
    for error in report.errors:
        if error not in known:
            complain(f"{one_line(error.session_id, _ID_CHARS)} stays: {error.error}")
    if stayed := len(plan.pruned) - len(report.pruned):
        complain(f"{count(stayed, 'session')} changed meanwhile, and stayed.")
    complain(
        f"{count(len(report.pruned), 'session')} moved to the trash; `hierstore restore` brings back what is still needed."
    )


def _print(report: PruneReport, infos: Sequence[SessionInfo], *, dry_run: bool) -> None:
    from hierstore.cli.shapes import of_error, of_info, print_json

    pruned = set(report.pruned)
    print_json(
        {
            "pruned": [of_info(info) for info in infos if info.id in pruned],
            "kept": len(report.kept),
            "errors": [of_error(error) for error in report.errors],
            "dry_run": dry_run,
        }
    )
