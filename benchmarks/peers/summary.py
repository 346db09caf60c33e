"""``python -m benchmarks.peers.summary FILE``: the README's table, made of a run's document, as Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.rows.processes import title
from benchmarks.peers.table import OURS, Document, groups, ratio, value

_LENGTH = "at 10,000"
_PROCESSES = 8


class Column(NamedTuple):
    """A column: its heading, and the group and the name of the row that it shows."""

    head: str
    group: str
    row: str


COLUMNS = (
    Column("append", "Append one message", _LENGTH),
    Column("read the last 20", "Read the last 20 messages", _LENGTH),
    Column("open and read all", "Open in a new process and read all messages", _LENGTH),
    Column("fork", "Fork at the end", _LENGTH),
    Column("8 processes append", title(_PROCESSES, own=False), "appends a second"),
    Column("kept of it", title(_PROCESSES, own=False), "kept of acknowledged"),
    Column("lost by 50 kills", "Killed in the middle of appends", "acknowledged messages lost"),
)


def markdown(document: Document) -> str:
    """A line for each peer: what its users wait for, and what of their messages is left."""
    heads = ["", *(column.head for column in COLUMNS)]
    lines = [heads, ["---", *["--:"] * len(COLUMNS)]]
    rows = [_row(document, column) for column in COLUMNS]
    for peer in document["peers"]:
        name = f"**{peer}**" if peer == OURS else peer
        lines.append([name, *(_cell(row["cells"][peer], row["unit"]) for row in rows)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _row(document: Document, column: Column) -> Mapping[str, Any]:
    for group, rows in groups(document).items():
        if group.startswith(column.group):
            for row in rows:
                if row["name"] == column.row:
                    return row
    raise LookupError(f"The run has no row {column.row!r} of {column.group!r}.")


def _cell(cell: Mapping[str, Any], unit: str) -> str:
    if "why" in cell:
        return {"cannot": "–", "gave up": "too slow"}.get(cell["why"], cell["why"])
    if unit == "%":
        facts = cell.get("facts", {})
        return "all" if facts and facts["kept"] == facts["acknowledged"] else f"{cell['median']:.0f} %"
    times = ratio(cell)
    return f"{value(cell, unit)} ({times})" if times and cell["ratio"] != 1 else value(cell, unit)


if __name__ == "__main__":
    sys.stdout.write(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
