"""``python -m benchmarks scale``: listings and search in stores of 1,000 to 100,000 sessions of 20 messages.

The logs are written directly (``scale_store``). Beside each listing stand the system calls that it cannot do without, a
look at each folder and log; beside each search the same query in a bare FTS5 table of the same texts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.measure import MS, US, Figure, alternate, clock, timed
from benchmarks.report import FLOOR, OURS, Goal, Row
from benchmarks.scale_probe import bare_look
from benchmarks.scale_store import MESSAGES, Texts, make, session_id
from hierstore import SessionStore
from hierstore.words import parse, text_of

FTS5 = "fts5"
_CHECKOUT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).resolve().parent / "results" / "scale.json"
_MIB = 2**20
_FIRST_MS = {10_000: 60.0, 100_000: 400.0}
_AGAIN_MS = {10_000: 20.0, 100_000: 250.0}
_WATCHED_MS = 5.0
_QUERIES = ((5, 20), (50, 100), (500, 700))
"""Ranks of the two words of each query: from what a fifteenth of all messages hold to what a few do."""
_FLOOR = "a bare look at each folder and each log, in Python"


@dataclass(frozen=True, slots=True)
class Options:
    """How much of everything."""

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    processes: int = 7
    rounds: int = 15
    searches: int = 9
    append_rounds: int = 150


_QUICK = Options(sizes=(20, 60), processes=1, rounds=2, searches=2, append_rounds=3)


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds, in small stores")
    parser.add_argument("--sizes", help="how many sessions, ascending, separated by commas")
    parser.add_argument(
        "--json", metavar="FILE", help="where to write the figures; a full run writes results/scale.json"
    )
    parser.add_argument("--dir", metavar="DIR", help="measure in a temporary folder below this one")
    asked = parser.parse_args(arguments)
    options = _QUICK if asked.quick else Options()
    if asked.sizes:
        options = Options(*[tuple(map(int, asked.sizes.split(","))), *_rest(options)])
    with tempfile.TemporaryDirectory(prefix="hierstore-scale-", dir=asked.dir) as folder:
        facts = machine.facts(Path(folder))
        rows = [row for size in options.sizes for row in _measure(Path(folder), size, options)]
    print(report.table(rows), report.legend(rows), sep="\n\n")
    target = asked.json or (None if asked.quick or asked.sizes else _RESULTS)
    if target:
        Path(target).write_text(json.dumps(_document(rows, facts), indent=1) + "\n", encoding="utf-8")
    return 0


def _rest(options: Options) -> list[Any]:
    return [options.processes, options.rounds, options.searches, options.append_rounds]


def _document(rows: Sequence[Row], facts: dict[str, object]) -> dict[str, Any]:
    return {
        "benchmark": "scale",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks scale",
        "machine": facts,
        "units": {
            "ms": "milliseconds",
            "us": "microseconds",
            "MiB": "2**20 bytes",
            "/s": "a second",
            "x": "a quotient",
        },
        "rows": [row.as_dict() for row in rows],
    }


def _measure(folder: Path, size: int, options: Options) -> list[Row]:
    texts = Texts()
    root = folder / f"store{size}"
    log_bytes = make(root, size, texts)
    print(f"{size:,} sessions, {log_bytes / _MIB:,.0f} MiB of logs …", file=sys.stderr, flush=True)
    rows = [_build_listing(root, size)]
    rows += _listings(root, size, options)
    rows.append(_appends(folder, root, size, options))
    rows += _build_text(folder, root, size, log_bytes)
    rows += _searches(folder, root, size, texts, options)
    shutil.rmtree(root)
    return rows


def _probe(measure: str, root: Path) -> dict[str, int]:
    # With compiled files kept, as a user's are.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(_CHECKOUT), "PYTHONPYCACHEPREFIX": str(root.parent / "compiled")}
    command = [sys.executable, "-m", "benchmarks.scale_probe", measure, str(root)]
    done = subprocess.run(command, env=environment, cwd=root.parent, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


# Listings


def _build_listing(root: Path, size: int) -> Row:
    found = _probe("listing", root)
    return Row(
        f"index of facts, at {size:,}",
        "/s",
        {OURS: Figure.of([size / found["ns"] * 1e9])},
        notes=("sessions a second, in the first listing there ever was.",),
        facts={"peak_MiB": found["peak"] / _MIB, "grew_MiB": found["grew"] / _MIB, "seconds": found["ns"] / 1e9},
    )


def _listings(root: Path, size: int, options: Options) -> list[Row]:
    first, bare = [], []
    peaks = []
    _probe("listing", root)
    for _ in range(options.processes):
        bare.append(_probe("bare", root)["ns"])
        found = _probe("listing", root)
        first.append(found["ns"])
        peaks.append(found["grew"])
    rows = [
        Row(
            f"first listing of 50, at {size:,}",
            "ms",
            {OURS: Figure.of(first, MS), FLOOR: Figure.of(bare, MS)},
            _maybe_goal(_FIRST_MS.get(size)),
            _FLOOR,
            ("in a new process, with its import of sqlite3, the index being there.",),
            {"grew_MiB": max(peaks) / _MIB},
        )
    ]
    with SessionStore(root) as store:
        assert len(store.sessions()) == min(50, size)
        works = {OURS: timed(store.sessions), FLOOR: timed(partial(bare_look, str(root)))}
        samples = alternate(works, rounds=options.rounds)
        figures = {name: Figure.of(taken, MS) for name, taken in samples.items()}
        rows.append(Row(f"listing again, at {size:,}", "ms", figures, _maybe_goal(_AGAIN_MS.get(size)), _FLOOR))
        rows += _in_other_ways(store, size, options, figures[FLOOR])
    return rows


class _Silent:
    """A system that tells of no changes."""

    def changed(self) -> None:
        return None

    def close(self) -> None:
        return None


def _in_other_ways(store: SessionStore, size: int, options: Options, bare: Figure) -> list[Row]:
    def row(name: str, goal: Goal | None, note: str) -> Row:
        samples = alternate({OURS: timed(store.sessions)}, rounds=options.rounds)
        figures = {OURS: Figure.of(samples[OURS], MS), FLOOR: bare}
        return Row(f"{name}, at {size:,}", "ms", figures, goal, _FLOOR, (note,))

    with store.watch(mode="native"):
        store.sessions()
        goal = _maybe_goal(_WATCHED_MS if size >= 100_000 else None)
        watched = row("the same while a watcher runs", goal, "nothing changed.")
    silent = store._opened_index()
    silent.freshness, kept = _Silent(), silent.freshness
    again = row("the same where the system tells nothing", None, "each log is looked at, as on a network share.")
    silent.freshness = kept
    return [watched, again]


def _maybe_goal(limit: float | None) -> Goal | None:
    return None if limit is None else Goal(limit, against=None)


def _appends(folder: Path, root: Path, size: int, options: Options) -> Row:
    small = folder / f"small{size}"
    make(small, 10, Texts())
    with SessionStore(root) as many, SessionStore(small) as few:
        samples = alternate(
            {
                OURS: timed(partial(many.get(session_id(1)).append, "user", "hello")),
                FLOOR: timed(partial(few.get(session_id(1)).append, "user", "hello")),
            },
            rounds=options.append_rounds,
            batch=10,
        )
    figures = {name: Figure.of(taken, US) for name, taken in samples.items()}
    floor = "an append in a store of 10 sessions"
    return Row(f"append, at {size:,} sessions", "us", figures, Goal(1.1, against=FLOOR), floor)


# Search


def _bare_texts(root: Path) -> list[str]:
    """The texts of a store, as its index is given them."""
    found = []
    for path in sorted((root / "sessions").glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines()[1:]:
            record = json.loads(line)
            if "message" in record:
                found.append(text_of(record["message"]["content"], None))
            else:
                found += [event["title"] for event in record["events"] if event.get("title")]
    return found


def _build_text(folder: Path, root: Path, size: int, log_bytes: int) -> list[Row]:
    count = size * (MESSAGES + 1)
    found = _probe("search", root)
    bodies = _bare_texts(root)
    began = clock()
    peer = sqlite3.connect(folder / f"peer{size}.db", isolation_level=None)
    peer.execute("PRAGMA journal_mode = WAL")
    peer.execute("CREATE VIRTUAL TABLE text USING fts5 (body, content='', tokenize='ascii')")
    for start in range(0, len(bodies), 20_000):
        peer.execute("BEGIN")
        part = enumerate(bodies[start : start + 20_000], start + 1)
        peer.executemany("INSERT INTO text (rowid, body) VALUES (?, ?)", part)
        peer.execute("COMMIT")
    bare_ns = clock() - began
    peer.close()
    index_bytes = sum(path.stat().st_size for path in (root / "index").iterdir())
    rates = {OURS: Figure.of([count / found["ns"] * 1e9]), FTS5: Figure.of([count / bare_ns * 1e9])}
    memory = {"peak_MiB": found["peak"] / _MIB, "grew_MiB": found["grew"] / _MIB, "seconds": found["ns"] / 1e9}
    note = "messages a second, in the first search there ever was; fts5 in the JSON is the bare table's."
    sizes = {OURS: Figure.of([index_bytes], _MIB), FLOOR: Figure.of([log_bytes], _MIB)}
    return [
        Row(f"index of text, at {size:,}", "/s", rates, notes=(note,), facts=memory),
        Row(f"size of the index, at {size:,}", "MiB", sizes, floor="the size of the logs"),
    ]


def _searches(folder: Path, root: Path, size: int, texts: Texts, options: Options) -> list[Row]:
    rows = []
    peer = sqlite3.connect(folder / f"peer{size}.db", isolation_level=None)
    with SessionStore(root) as store:
        store.search("session")
        for first, second in _QUERIES:
            words = f"{texts.words[first]} {texts.words[second]}"
            assert len(parse(words, operators=False).wanted) == 2
            expression = f'"{texts.words[first]}" AND "{texts.words[second]}"'
            query = "SELECT rowid, rank FROM text WHERE text MATCH ? ORDER BY rank LIMIT 20"
            works = {
                OURS: timed(partial(store.search, words)),
                FTS5: timed(lambda expression=expression, query=query: peer.execute(query, (expression,)).fetchall()),
            }
            samples = alternate(works, rounds=options.searches)
            figures = {name: Figure.of(taken, MS) for name, taken in samples.items()}
            figures[FLOOR] = figures[FTS5]
            (matches,) = peer.execute("SELECT count(*) FROM text WHERE text MATCH ?", (expression,)).fetchone()
            name = f"two words, {matches:,} rows, at {size:,}"
            floor = "the same query in a bare FTS5 table of the same texts: ids and ranks, no messages"
            goal = Goal(2.0, against=FTS5) if size >= 100_000 else None
            rows.append(Row(name, "ms", figures, goal, floor, facts={"matches": matches}))
    peer.close()
    return rows
