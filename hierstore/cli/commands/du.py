"""``hierstore du``: what takes how much room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import AsJson, Root, guarded, opened
from hierstore.cli.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from hierstore import DiskUsage, SessionSize


@guarded
def command(
    root: Root = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, help="How many sessions, the largest; 0: all.")] = 20,
    as_json: AsJson = False,
) -> None:
    r"""Say what takes how much room.

    SIZE is a session's log, with what a fork shares of the logs before it. OWN is what no other session needs of that:
    about what deleting and purging it would free. Then what each folder of the store has; there a shared file counts once.
    Into a pipe: "session" or "folder", its name, and bytes, between tabs.

    \b
    Example:
      hierstore du --top 3
    """
    from hierstore.cli.memory import Memory

    with opened(root) as store:
        sizes = store.sizes()
        usage = store.disk_usage()
        shown = sizes[: top or None]
        Memory(store.root).list([item.id for item in shown])
    if as_json:
        from hierstore.cli.shapes import of_disk, of_size, print_json

        print_json({"sessions": [of_size(item) for item in shown], "folders": of_disk(usage)})
        return
    from hierstore.cli.terminal import console, is_piped

    if is_piped():
        _write(shown, usage)
        return
    screen = console()
    _draw_sessions(screen, shown, len(sizes))
    _draw_folders(screen, usage)


def _write(shown: Sequence[SessionSize], usage: DiskUsage) -> None:
    """Everything, for programs: a line each."""
    from hierstore.cli.shapes import of_disk
    from hierstore.cli.table import Column, draw

    rows = [("session", item.id, str(item.size_bytes), str(item.own_bytes)) for item in shown]
    rows += [("folder", name, str(number), "") for name, number in of_disk(usage).items()]
    draw([Column("")] * 4, rows)


def _draw_sessions(screen: Console, shown: Sequence[SessionSize], total: int) -> None:
    from rich.text import Text

    from hierstore.cli.bars import Row, chart
    from hierstore.cli.table import Column
    from hierstore.cli.times import size

    if not shown:
        return
    columns = (
        Column("#", "dim", is_right=True),
        Column("SIZE", is_right=True),
        Column("OWN", is_right=True),
        Column("ID", "bold", share=1),
    )
    rows = []
    for number, item in enumerate(shown, 1):
        fields = (str(number), size(item.size_bytes), size(item.own_bytes), item.id)
        rows.append(Row(fields, item.size_bytes))
    chart(screen, columns, rows)
    if total > len(shown):
        screen.print(Text(f"… {count(total - len(shown), 'smaller session')}: --top 0", style="dim"))
    screen.print()


def _draw_folders(screen: Console, usage: DiskUsage) -> None:
    from hierstore.cli.bars import Row, chart
    from hierstore.cli.shapes import of_disk
    from hierstore.cli.table import Column
    from hierstore.cli.times import size

    columns = (Column("FOLDER", share=1), Column("SIZE", is_right=True))
    # The total is no bar among the others: it would be the longest always.
    rows = [Row((name, size(number)), number * (name != "total")) for name, number in of_disk(usage).items()]
    chart(screen, columns, rows)
