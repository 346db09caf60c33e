"""``python -m benchmarks core``: what storage.md promises about speed, each row beside SQLite and the floor of its run.

A 300-byte message. SQLite is the standard library's (``sqlite_peer``), the floor the bare system calls (``floor``). The
compared systems take turns (``measure``); every figure is a median. A missed goal is printed and fails nothing; a lost
message fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import appends, machine, processes, reads, report, weight
from benchmarks.bench import QUICK, Bench, Scale
from benchmarks.report import Row

_BENCHES: tuple[Bench, ...] = (
    appends.APPENDS,
    appends.POWER,
    processes.PROCESSES,
    reads.CACHED,
    reads.AFTER_APPEND,
    reads.COLD,
    reads.FORK,
    weight.MEMORY,
    weight.IMPORT,
)
_RESULTS = Path(__file__).resolve().parent / "results" / "core.json"
_STDOUT = "-"


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="python -m benchmarks core", description=(__doc__ or "").split("\n\n")[1])
    result.add_argument("--quick", action="store_true", help="a smoke run of seconds: few samples, short sessions")
    result.add_argument(
        "--json",
        metavar="FILE",
        help="where to write the figures, - for standard output (the table then goes to standard error);"
        " a full run writes benchmarks/results/core.json when this is not given, a --quick or --only run nothing",
    )
    result.add_argument("--only", metavar="NAME", default="", help="only rows whose name contains this")
    result.add_argument("--list", action="store_true", help="print the names of the rows and end")
    result.add_argument("--dir", metavar="DIR", help="measure in a temporary folder below this one")
    result.add_argument("--spread", action="store_true", help="print every figure's p10, median, p90 and mean too")
    return result


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write.

    Returns:
        1 if a message was lost, 2 if no row has the name asked for, else 0.
    """
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else Scale()
    wanted = [name for bench in _BENCHES for name in bench.rows(scale) if options.only.lower() in name.lower()]
    if not wanted:
        print(f"No row's name contains {options.only!r}; --list shows them.", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(wanted))
        return 0
    # Ended by a signal or by Ctrl-C, it leaves no folder and no process behind.
    signal.signal(signal.SIGTERM, _end)
    try:
        with tempfile.TemporaryDirectory(prefix="hierstore-bench-", dir=options.dir) as folder:
            facts = machine.facts(Path(folder))
            rows = _measure(Path(folder), scale, wanted)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    _show(rows, options.json == _STDOUT, spread=options.spread)
    _write(_document(rows, options, facts), options)
    return 1 if any(row.unit == "msg" and not row.met for row in rows) else 0


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _measure(folder: Path, scale: Scale, wanted: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for place, bench in enumerate(_BENCHES):
        names = [name for name in bench.rows(scale) if name in wanted]
        if not names:
            continue
        print(f"{names[0]}{' and so on' if len(names) > 1 else ''} …", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        own = folder / str(place)
        own.mkdir()
        rows += [row for row in bench.run(own, scale) if row.name in wanted]
        print(f"{time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return rows


def _show(rows: Sequence[Row], to_stderr: bool, *, spread: bool) -> None:
    parts = [report.table(rows), report.legend(rows)]
    if spread:
        parts.append(report.spread(rows))
    print("\n\n".join(parts), file=sys.stderr if to_stderr else sys.stdout)


def _document(rows: Sequence[Row], options: argparse.Namespace, facts: dict[str, object]) -> dict[str, Any]:
    words = ["python -m benchmarks core"]
    words += ["--quick"] if options.quick else []
    words += [f"--only {options.only!r}"] if options.only else []
    words += ["--dir DIR"] if options.dir else []
    return {
        "benchmark": "core",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(words),
        "machine": facts,
        "units": {
            "us": "microseconds", "ms": "milliseconds", "MiB": "2**20 bytes", "/s": "messages a second", "x": "a quotient",
            "msg": "messages",
        },
        "rows": [row.as_dict() for row in rows],
    }  # fmt: skip


def _write(document: dict[str, Any], options: argparse.Namespace) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if options.json == _STDOUT:
        sys.stdout.write(text)
        return
    target = options.json or (None if options.quick or options.only else _RESULTS)
    if target is None:
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"\nWritten to {os.path.relpath(path)}", file=sys.stderr)
