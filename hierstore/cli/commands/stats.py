"""``hierstore stats``: how much of everything there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, guarded, opened
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from hierstore import StoreStatistics

_NAME_CHARS = 60


@guarded
def command(
    root: Root = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=0, help="How many days to show, the latest; 0: all.")
    ] = 14,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=0, help="How many roles, kinds and labels each; 0: all.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    r"""Count sessions, messages, tokens and cost.

    A message that forks share counts once, and only what sessions show now: nothing that was undone. Usage is the sum of
    the sessions' counters. Days are this machine's; those on which nothing happened are left out. The trash counts in the
    bytes alone. Into a pipe: the section, the name and the number, between tabs.

    \b
    Example:
      hierstore stats --days 7
    """
    with opened(root) as store:
        found = store.statistics()
    if as_json:
        from hierstore.cli.shapes import of_statistics, print_json

        print_json(of_statistics(found))
        return
    from hierstore.cli.terminal import console, is_piped

    if is_piped():
        _write(found)
    else:
        _draw(console(), found, days, top)


def _totals(found: StoreStatistics) -> dict[str, int]:
    names = ("sessions", "roots", "pinned", "archived", "suspended", "unreadable", "messages")
    return {name: getattr(found, name) for name in names}


def _write(found: StoreStatistics) -> None:
    """Everything, for programs: a line each."""
    from hierstore.cli.shapes import of_disk
    from hierstore.cli.table import Column, draw

    kinds = {kind or "": number for kind, number in found.kinds.items()}
    sections: dict[str, Mapping[str, float]] = {
        "total": _totals(found),
        "usage": found.usage,
        "bytes": of_disk(found.disk),
        "role": found.roles,
        "kind": kinds,
        "label": found.labels,
        "sessions made": found.sessions_by_day,
        "messages stored": found.messages_by_day,
    }
    rows = [(name, key, str(number)) for name, values in sections.items() for key, number in values.items()]
    draw([Column("")] * 3, rows)


def _draw(screen: Console, found: StoreStatistics, days: int, top: int) -> None:
    from rich.text import Text

    for name, value in _facts(found):
        screen.print(Text.assemble((f"{name:<9}  ", "dim"), value), soft_wrap=False)
    _draw_days(screen, found, days)
    _draw_counts(screen, "ROLE", "MESSAGES", found.roles, top)
    kinds = {"(none)" if kind is None else kind: number for kind, number in found.kinds.items()}
    if found.kinds.keys() - {None}:
        _draw_counts(screen, "KIND", "SESSIONS", kinds, top)
    _draw_counts(screen, "LABEL", "SESSIONS", found.labels, top)


def _facts(found: StoreStatistics) -> list[tuple[str, str]]:
    """The totals, in words."""
    from hierstore.cli.times import size

    totals = _totals(found)
    parts = [count(totals.pop("roots"), "root")]
    messages, sessions = totals.pop("messages"), totals.pop("sessions")
    parts += [f"{number:,} {name}" for name, number in totals.items() if number]
    disk = found.disk
    folders = [
        f"{size(getattr(disk, name))} {name}" for name in ("trash", "quarantine", "index") if getattr(disk, name)
    ]
    facts = [("sessions", f"{sessions:,} ({', '.join(parts)})"), ("messages", f"{messages:,}")]
    usage = ", ".join(f"{one_line(name, _NAME_CHARS)} {total:,}" for name, total in found.usage.items())
    if usage:
        facts.append(("usage", usage))
    facts.append(("on disk", ", ".join([f"{size(disk.logs)} of logs", *folders])))
    return facts


def _draw_days(screen: Console, found: StoreStatistics, days: int) -> None:
    from hierstore.cli.bars import Row, chart
    from hierstore.cli.table import Column

    all_days = sorted({*found.messages_by_day, *found.sessions_by_day})
    shown = all_days[-days:] if days else all_days
    if not shown:
        return
    columns = (
        Column("DAY", "dim"),
        Column("SESSIONS MADE", is_right=True),
        Column("MESSAGES", is_right=True),
    )
    rows = []
    for day in shown:
        sessions, messages = found.sessions_by_day.get(day, 0), found.messages_by_day.get(day, 0)
        rows.append(Row((day, f"{sessions:,}", f"{messages:,}"), messages))
    screen.print()
    chart(screen, columns, rows)
    _left_out(screen, len(all_days) - len(shown), "earlier day", "--days 0")


def _draw_counts(screen: Console, head: str, what: str, counts: Mapping[str, int], top: int) -> None:
    from hierstore.cli.bars import Row, chart
    from hierstore.cli.table import Column

    shown = list(counts.items())[: top or None]
    if not shown:
        return
    rows = [Row((one_line(name, _NAME_CHARS), f"{number:,}"), number) for name, number in shown]
    screen.print()
    chart(screen, (Column(head, share=1), Column(what, is_right=True)), rows)
    _left_out(screen, len(counts) - len(shown), "other", "--top 0")


def _left_out(screen: Console, number: int, what: str, option: str) -> None:
    from rich.text import Text

    if number:
        screen.print(Text(f"… {count(number, what)}: {option}", style="dim"))
