"""``python -m benchmarks cli``: how long the command takes, whole process, cold imports included.

Each is told beside ``python -c pass`` of the same run, as a quotient: what Python itself takes to start is the floor. The
output goes into a pipe. A missed goal is printed and fails nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, report
from benchmarks.measure import MS, Figure, alternate, timed
from benchmarks.report import FLOOR, OURS, Goal, Row
from hierstore import SessionStore

_RESULTS = Path(__file__).resolve().parent / "results" / "cli.json"
_STDOUT = "-"
_SOURCE = Path(__file__).resolve().parents[1]
_PASS = "python -c pass"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the defaults are the full run.

    Attributes:
        sessions: in the store that is listed.
        rounds: whole processes for each figure.
    """

    sessions: int = 10_000
    rounds: int = 15


QUICK = Scale(sessions=100, rounds=2)

# The row's name, the command, and how long it may take, milliseconds.
_ROWS: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("hierstore --help", ("--help",), 250.0),
    ("hierstore --version", ("--version",), None),
    ("hierstore where", ("where",), None),
    ("hierstore ls", ("ls",), 500.0),
    ("hierstore ls, in 80 columns", ("ls",), 500.0),
    ("hierstore show SESSION", ("show", "session-5"), None),
    ("hierstore search WORD", ("search", "refund"), None),
    ("completion of a session", ("show", "session-5"), 1_000.0),
)


def _environment(folder: Path, **more: str) -> dict[str, str]:
    own = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("STATE", "DATA", "CACHE", "CONFIG")}
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    path = os.pathsep.join([str(_SOURCE), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, **own, "HIERSTORE_ROOT": str(folder / "store"), "PYTHONPATH": path, **more}


class _Process:
    """A command, run to its end again and again.

    Attributes:
        cpu_ms: what each run took of the processors: on a machine with other work it says more than the time does.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self.cpu_ms: list[float] = []

    def run(self) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_ms.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))


def _fill(root: Path, sessions: int) -> None:
    with SessionStore(root) as store:
        for number in range(sessions):
            session = store.create(
                f"session-{number}", title=f"Refund for order {number}", labels=[f"label-{number % 7}"]
            )
            session.append("user", f"Where is my refund for order {number}?")


def measure(folder: Path, scale: Scale) -> list[Row]:
    """The rows, measured in an empty folder."""
    _fill(folder / "store", scale.sessions)
    processes = {_PASS: _Process([sys.executable, "-c", "pass"], _environment(folder))}
    for name, arguments, _ in _ROWS:
        more = {"_HIERSTORE_COMPLETE": "zsh"} if name.startswith("completion") else {}
        more |= {"COLUMNS": "80"} if "columns" in name else {}
        processes[name] = _Process([sys.executable, "-m", "hierstore", *arguments], _environment(folder, **more))
    # Once beforehand: the first listing makes the index, and the user has it from then on.
    for process in processes.values():
        process.run()
    taken = alternate({name: timed(process.run) for name, process in processes.items()}, rounds=scale.rounds)
    floor = Figure.of(taken[_PASS], MS)
    return [
        Row(
            name,
            "ms",
            {OURS: Figure.of(taken[name], MS), FLOOR: floor},
            goal=None if limit_ms is None else Goal(limit_ms, against=None),
            floor=_PASS,
            facts={
                "cpu ms": statistics.median(processes[name].cpu_ms),
                "cpu ms of the floor": statistics.median(processes[_PASS].cpu_ms),
            },
        )
        for name, _, limit_ms in _ROWS
    ]


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks cli", description=__doc__.split("\n", 1)[0])
    made.add_argument("--quick", action="store_true", help="a small store and few processes: to see that it runs")
    made.add_argument("--dir", metavar="DIR", help="where the store is made; a temporary folder when not given")
    made.add_argument(
        "--json", metavar="FILE", help="where results go; - is stdout; by default kept when the run is full"
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write."""
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else Scale()
    with tempfile.TemporaryDirectory(prefix="hierstore-bench-", dir=options.dir) as folder:
        facts = machine.facts(Path(folder))
        rows = measure(Path(folder), scale)
    print(f"{report.table(rows)}\n\n{report.legend(rows)}", file=sys.stderr if options.json == _STDOUT else sys.stdout)
    document = {
        "benchmark": "cli",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "units": {"ms": "milliseconds"},
        "rows": [row.as_dict() for row in rows],
    }
    words = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if options.json == _STDOUT:
        sys.stdout.write(words)
        return 0
    target = options.json or (None if options.quick else _RESULTS)
    if target is not None:
        Path(target).write_text(words, encoding="utf-8")
        print(f"\nWritten to {os.path.relpath(target)}", file=sys.stderr)
    return 0
