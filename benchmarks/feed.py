"""``python -m benchmarks feed``: how soon a watcher is told of what another process has appended, and what watching costs.

Latency is from the return of ``append`` in one process to the return of ``Watcher.next`` in another, by the clock that
both share. The floor is a bare watchdog handler on the same folders, told of the same appends. A missed goal is printed
and fails nothing; an event that is missing, doubled or out of order fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from watchdog.events import FileModifiedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from benchmarks import machine, report
from benchmarks.measure import MS, Figure
from benchmarks.message import ROLE, text
from benchmarks.processes import worker
from benchmarks.report import FLOOR, OURS, Goal, Row
from hierstore import SessionStore, Watcher, clock
from hierstore.disk.logfile import first_lines
from hierstore.log.events import commit, event
from hierstore.naming import stripe_of

_RESULTS = Path(__file__).resolve().parent / "results" / "feed.json"
_STDOUT = "-"
_INTERVAL_S = 0.2
_LATE_S = 30.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the defaults are the full run.

    Attributes:
        appends: timed one by one, in each of ``runs`` runs.
        runs: repetitions; each has a 99th percentile.
        polls: appends to a store that is polled.
        missed: events that a resumed watcher is behind.
        sessions: in the store of which cursors are taken.
    """

    appends: int = 1_000
    runs: int = 5
    polls: int = 60
    missed: int = 20_000
    sessions: int = 100_000


QUICK = Scale(appends=40, runs=2, polls=4, missed=400, sessions=500)


# The other process


def append_when_told(pipe: Connection, root: str) -> None:
    """In a worker: for each session's name append a message to it, and answer when that had returned, nanoseconds."""
    with SessionStore(root) as store:
        sessions = {name: store.get(name) for name in ("a", "b")}
        pipe.send("ready")
        number = 0
        while True:
            try:
                name = pipe.recv()
            except EOFError:
                return
            number += 1
            content = text(number)
            sessions[name].append(ROLE, content)
            pipe.send(time.monotonic_ns())


@contextmanager
def _writer(root: str) -> Iterator[Callable[[str], int]]:
    """A function that has a message appended, and tells when that returned."""
    with SessionStore(root) as store:
        for name in ("a", "b"):
            store.get_or_create(name)
    with worker(append_when_told, root) as pipe:
        assert pipe.recv() == "ready"

        def append(name: str) -> int:
            pipe.send(name)
            returned: int = pipe.recv()
            return returned

        yield append


class _Listening(threading.Thread):
    """Notes when each event comes, as a program's own thread would take it."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self.times: dict[tuple[str, int], int] = {}
        self.order: list[tuple[str, int]] = []
        self._watcher = watcher

    def run(self) -> None:
        for item in self._watcher:
            key = (item.session_id, item.revision)
            self.times[key] = time.monotonic_ns()
            self.order.append(key)


# Native


class _Bare(FileSystemEventHandler):
    """A handler that does nothing but note the time."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def on_any_event(self, _: FileSystemEvent) -> None:
        self.times.append(time.monotonic_ns())


def _latency_names(_: Scale) -> list[str]:
    return ["append to event", "append to event, p99", "events missing or doubled"]


def _latency(folder: Path, scale: Scale) -> Sequence[Row]:
    ours: list[float] = []
    bare: list[float] = []
    tails: list[float] = []
    bare_tails: list[float] = []
    faults = 0
    chance = random.Random(1)
    root = str(folder / "store")
    with _writer(root) as append:
        for _ in range(scale.runs):
            taken, wrong = _latency_run(root, append, scale, chance)
            faults += wrong
            ours += taken
            tails.append(_p99(taken))
            floor = _floor_run(root, append, scale, chance)
            bare += floor
            bare_tails.append(_p99(floor))
    written = scale.runs * scale.appends
    return [
        Row(
            "append to event", "ms", {OURS: Figure.of(ours, MS), FLOOR: Figure.of(bare, MS)}, Goal(5.0, against=None),
            "a bare watchdog handler on the same folders",
        ),
        Row(
            "append to event, p99", "ms", {OURS: Figure.of(tails, MS), FLOOR: Figure.of(bare_tails, MS)},
            Goal(50.0, against=None), notes=("the 99th percentile of each run, and the median of the runs'.",),
            facts={"worst_ms": max(ours) / MS},
        ),
        Row(
            "events missing or doubled", "msg",
            {OURS: Figure.of([written - faults]), "written": Figure.of([written])},
            Goal(1.0, against="written", at_least=True), notes=("how many came once and in order; the ratio is to what was written.",),
        ),
    ]  # fmt: skip


def _p99(samples: Sequence[float]) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * 0.99))]


def _latency_run(
    root: str, append: Callable[[str], int], scale: Scale, chance: random.Random
) -> tuple[list[float], int]:
    """The latencies of one run, and how many events were missing, doubled or out of order."""
    returned: dict[tuple[str, int], int] = {}
    with SessionStore(root) as store, store.watch() as watcher:
        assert watcher.mode == "native"
        revisions = {name: store.get(name).revision for name in ("a", "b")}
        listening = _Listening(watcher)
        listening.start()
        for number in range(scale.appends):
            name = "ab"[number % 2]
            revisions[name] += 1
            returned[name, revisions[name]] = append(name)
            time.sleep(chance.uniform(0.0, 0.004))
        _wait(lambda: len(listening.order) >= len(returned))
        time.sleep(0.1)
    listening.join()
    wrong = abs(len(listening.order) - len(returned)) + len(returned.keys() - listening.times.keys())
    for name in ("a", "b"):
        own = [revision for owner, revision in listening.order if owner == name]
        wrong += sum(1 for before, after in pairwise(own) if after != before + 1)
    # An event may be there before append has returned: it is in the log by then.
    return [max(0.0, listening.times[key] - at) for key, at in returned.items() if key in listening.times], wrong


def _floor_run(root: str, append: Callable[[str], int], scale: Scale, chance: random.Random) -> list[float]:
    bare = _Bare()
    observer = Observer()
    observer.schedule(bare, f"{root}/sessions", recursive=True, event_filter=[FileModifiedEvent])
    observer.start()
    samples = []
    try:
        for number in range(scale.appends):
            bare.times.clear()
            returned = append("ab"[number % 2])
            _wait(lambda: bool(bare.times))
            samples.append(max(0.0, bare.times[0] - returned))
            time.sleep(chance.uniform(0.0, 0.004))
    finally:
        observer.stop()
        observer.join()
    return samples


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LATE_S
    while not is_done() and time.monotonic() < deadline:
        time.sleep(0.0005)


# Polling


def _polling_names(_: Scale) -> list[str]:
    return ["polled, later than its interval"]


def _polling(folder: Path, scale: Scale) -> Sequence[Row]:
    root = str(folder / "store")
    chance = random.Random(1)
    waits = []
    with (
        _writer(root) as append,
        SessionStore(root) as store,
        store.watch(mode="polling", poll_s=_INTERVAL_S) as watcher,
    ):
        revision = store.get("a").revision
        listening = _Listening(watcher)
        listening.start()
        for _ in range(scale.polls):
            revision += 1
            returned = append("a")
            _wait(lambda: len(listening.order) > len(waits))
            waits.append((listening.times["a", revision] - returned) / MS)
            time.sleep(chance.uniform(0.0, _INTERVAL_S))
    listening.join()
    late = [max(0.0, wait - _INTERVAL_S * 1e3) for wait in waits]
    return [
        Row(
            "polled, later than its interval", "ms", {OURS: Figure.of([max(late)])}, Goal(50.0, against=None),
            notes=(f"the latest of {len(late)} events at an interval of {_INTERVAL_S * 1e3:g} ms.",),
            facts={"median_wait_ms": Figure.of(waits).median, "worst_wait_ms": max(waits)},
        )
    ]  # fmt: skip


# Catching up


def _resume_names(scale: Scale) -> list[str]:
    return [f"{scale.missed:,} missed events"]


def _resume(folder: Path, scale: Scale) -> Sequence[Row]:
    """A watcher that was away while others wrote; the floor reads the same history by the store itself."""
    with SessionStore(folder / "store") as store:
        sessions = [store.create() for _ in range(20)]
        with store.watch(mode="off") as watcher:
            after = watcher.cursor
        for number in range(scale.missed):
            sessions[number % len(sessions)].append(ROLE, text(number))
        rates = []
        for _ in range(max(2, scale.runs)):
            began = time.perf_counter()
            with store.watch(after=after, mode="off") as watcher:
                count = sum(1 for _ in watcher)
            rates.append(count / (time.perf_counter() - began))
            assert count == scale.missed
    return [Row(_resume_names(scale)[0], "/s", {OURS: Figure.of(rates)}, notes=("events a second, one thread.",))]


# Many sessions


def _many_names(scale: Scale) -> list[str]:
    return [
        f"watch {scale.sessions:,} from now on",
        "cursor, the first",
        "cursor, after an event",
        "cursor, after one in each folder",
        "cursor, size",
        "resume, nothing missed",
    ]


def _make_many(root: Path, count: int) -> None:
    """Sessions by the log's own functions: without a store's locks it takes seconds, not minutes."""
    for _ in range(count):
        name, at = clock.new_id(), clock.now()
        data, _ = first_lines(name, os.urandom(8).hex(), at, commit([event("created")], 1, at))
        folder = root / "sessions" / f"{stripe_of(name):02x}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_bytes(data)


def _many(folder: Path, scale: Scale) -> Sequence[Row]:
    root = folder / "store"
    SessionStore(root).close()
    _make_many(root, scale.sessions)
    figures: dict[str, list[float]] = {name: [] for name in _many_names(scale)}
    start, first, one, all_folders, size, resume = figures
    with SessionStore(root) as store:
        names = {path.parent.name: path.stem for path in (root / "sessions").glob("*/*.jsonl")}
        for _ in range(3):
            began = time.perf_counter_ns()
            with store.watch(mode="off") as watcher:
                figures[start].append(time.perf_counter_ns() - began)
                figures[first].append(_timed(lambda: watcher.cursor))
                for _ in range(5):
                    store.get(next(iter(names.values()))).append(ROLE, text(1))
                    assert watcher.next() is not None
                    figures[one].append(_timed(lambda: watcher.cursor))
                for name in names.values():
                    store.get(name).append(ROLE, text(1))
                assert len(list(watcher)) == len(names)
                figures[all_folders].append(_timed(lambda: watcher.cursor))
                after = watcher.cursor
            began = time.perf_counter_ns()
            with store.watch(after=after, mode="off") as watcher:
                assert watcher.next() is None
            figures[resume].append(time.perf_counter_ns() - began)
    figures[size].append(len(after))
    rows = [
        Row(name, "ms", {OURS: Figure.of(figures[name], MS)}, Goal(100.0, against=None) if name in (first, one, all_folders) else None)
        for name in (start, first, one, all_folders)
    ]  # fmt: skip
    rows.append(Row(size, "MiB", {OURS: Figure.of(figures[size], 2**20)}))
    rows.append(Row(resume, "ms", {OURS: Figure.of(figures[resume], MS)}))
    return rows


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - began


# All


_BENCHES: tuple[tuple[Callable[[Scale], list[str]], Callable[[Path, Scale], Sequence[Row]]], ...] = (
    (_latency_names, _latency),
    (_polling_names, _polling),
    (_resume_names, _resume),
    (_many_names, _many),
)


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="python -m benchmarks feed", description=(__doc__ or "").split("\n\n")[1])
    result.add_argument("--quick", action="store_true", help="a smoke run of seconds: few events, few sessions")
    result.add_argument("--json", metavar="FILE", help="where to write the figures, - for standard output; a full run"
        " writes benchmarks/results/feed.json when this is not given, a --quick or --only run nothing")  # fmt: skip
    result.add_argument(
        "--only", metavar="NAME", default="", help="only benchmarks with a row whose name contains this"
    )
    result.add_argument("--list", action="store_true", help="print the names of the rows and end")
    result.add_argument("--dir", metavar="DIR", help="measure in a temporary folder below this one")
    return result


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write.

    Returns:
        1 if an event was missing, doubled or out of order, 2 if no row has the name asked for, else 0.
    """
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else Scale()
    benches = [
        (names(scale), run)
        for names, run in _BENCHES
        if any(options.only.lower() in name.lower() for name in names(scale))
    ]
    if not benches:
        print(f"No row's name contains {options.only!r}; --list shows them.", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(name for names, _ in benches for name in names))
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="hierstore-bench-", dir=options.dir) as folder:
        facts = machine.facts(Path(folder))
        for place, (names, run) in enumerate(benches):
            print(f"{names[0]} …", end=" ", file=sys.stderr, flush=True)
            began = time.monotonic()
            own = Path(folder) / str(place)
            own.mkdir()
            rows += run(own, scale)
            print(f"{time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    print(f"{report.table(rows)}\n\n{report.legend(rows)}", file=sys.stderr if options.json == _STDOUT else sys.stdout)
    _write(rows, options, facts)
    return 1 if any(row.unit == "msg" and not row.met for row in rows) else 0


def _write(rows: Sequence[Row], options: argparse.Namespace, facts: dict[str, object]) -> None:
    document: dict[str, Any] = {
        "benchmark": "feed",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "units": {"ms": "milliseconds", "MiB": "2**20 bytes", "/s": "events a second", "msg": "events"},
        "rows": [row.as_dict() for row in rows],
    }
    words = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if options.json == _STDOUT:
        sys.stdout.write(words)
        return
    target = options.json or (None if options.quick or options.only else _RESULTS)
    if target is not None:
        Path(target).write_text(words, encoding="utf-8")
        print(f"\nWritten to {os.path.relpath(target)}", file=sys.stderr)
