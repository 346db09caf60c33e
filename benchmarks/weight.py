"""What hierstore weighs: memory for a cached session, and time to import it. Both are of whole, fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Scale
from benchmarks.measure import MS, Figure, alternate, timed
from benchmarks.probe import HAS_STATM
from benchmarks.report import FLOOR, OURS, SQLITE, Goal, Row
from benchmarks.setups import SESSION, Pair

_CHECKOUT = Path(__file__).resolve().parents[1]
_MIB = 2**20
_TRACED = "memory, cached session"
_RESIDENT = "memory, growth of the process"
_MEASURES = {_TRACED: "traced", _RESIDENT: "resident"}
_NOTES = {
    _TRACED: "what tracemalloc counts when every id and content has been touched. Beside it SQLite's rows as a list of dicts.",
    _RESIDENT: "the same by the process's resident size, so with the allocator's slack and what loading left behind.",
}
_IMPORT = "import hierstore"
_IMPORT_AND_OPEN = "import and open a store"


def _environment() -> dict[str, str]:
    """This process's, with the checkout importable and compiled files kept."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = [str(_CHECKOUT), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


# Memory


def _memory_rows(_: Scale) -> list[str]:
    return [_TRACED, _RESIDENT] if HAS_STATM else [_TRACED]


def _run_memory(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "memory", scale.history)
    on_disk = pair.log.stat().st_size
    rows = []
    for name in _memory_rows(scale):
        figures = {
            OURS: _probe(OURS, _MEASURES[name], pair.root, scale.probes),
            SQLITE: _probe(SQLITE, _MEASURES[name], pair.database, scale.probes),
            FLOOR: Figure.of([on_disk], _MIB),
        }
        goal = Goal(2.0, against=FLOOR)
        rows.append(Row(name, "MiB", figures, goal, "the size of the log on disk", (_NOTES[name],)))
    return rows


def _probe(system: str, measure: str, path: str, times: int) -> Figure:
    command = [sys.executable, "-m", "benchmarks.probe", system, measure, path]
    sizes = [
        int(subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True).stdout)
        for _ in range(times)
    ]
    return Figure.of(sizes, _MIB)


# Import


def _run_import(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "import", 1)
    programs = {
        (_IMPORT, OURS): "import hierstore",
        (_IMPORT, SQLITE): "import sqlite3, orjson",
        (_IMPORT_AND_OPEN, OURS): f"import hierstore; hierstore.SessionStore({pair.root!r}).get({SESSION!r})",
        (_IMPORT_AND_OPEN, SQLITE): f"import sqlite3, orjson; sqlite3.connect({pair.database!r}).execute('SELECT 1')",
        ("", FLOOR): "pass",
    }
    samples = alternate(
        {key: timed(partial(_start, program, folder)) for key, program in programs.items()},
        rounds=scale.starts,
    )
    rows = []
    for name, goal in ((_IMPORT, Goal(50.0, against=FLOOR, difference=True)), (_IMPORT_AND_OPEN, None)):
        figures = {system: Figure.of(samples[name, system], MS) for system in (OURS, SQLITE)}
        figures[FLOOR] = Figure.of(samples["", FLOOR], MS)
        note = "whole processes; the ratio column has the milliseconds more than the floor. SQLite: import sqlite3, orjson."
        rows.append(Row(name, "ms", figures, goal, "python -c pass", (note,) if goal else ()))
    return rows


def _start(program: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", program], env=_environment(), cwd=folder, check=True)


MEMORY = Bench(_memory_rows, _run_memory)
IMPORT = Bench(lambda _: [_IMPORT, _IMPORT_AND_OPEN], _run_import)
