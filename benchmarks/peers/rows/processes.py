"""Several processes append as fast as they can for a while, all to one session or each to its own; then all is counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.cell import MORE, Cell, Row
from benchmarks.peers.host import Host, Unmeasured, Worker
from benchmarks.peers.rows.base import NS, STORE, Bench, Cells, Run, columns, each_peer

_STRIDE = 10_000_000
_HEAD_START_NS = 50_000_000
_ALL_LIMIT_S = 60.0
ONE = "one session"
OWN = "a session each"

WORKS = {"processes": "4 and 8 processes append to one session, and to a session each"}
_HEADS = (
    ("appends a second", "/s", MORE),
    ("fastest / slowest process", "x", ""),
    ("kept of acknowledged", "%", ""),
    ("errors raised", "", ""),
    ("readable afterwards", "", ""),
)


@dataclass(slots=True)
class Outcome:
    """What several runs came to.

    Attributes:
        throughput: acknowledged messages a second, of each run.
        unfairness: the fastest process's acknowledged messages over the slowest's, of each run that has such.
        idle: processes that had no message acknowledged.
        acknowledged, kept, twice, strange: messages.
        errors: what was raised, and how often.
        unreadable: what reading afterwards raised.
    """

    throughput: list[float] = field(default_factory=list)
    unfairness: list[float] = field(default_factory=list)
    idle: int = 0
    acknowledged: int = 0
    kept: int = 0
    twice: int = 0
    strange: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def add_times(self, answers: Sequence[dict[str, Any]]) -> None:
        """Add what the processes said of one run."""
        done = [answer["tried"] - len(answer["refused"]) for answer in answers]
        wall_s = (max(a["ended"] for a in answers) - min(a["began"] for a in answers)) / NS
        self.throughput.append(sum(done) / wall_s)
        self.idle += done.count(0)
        if min(done):
            self.unfairness.append(max(done) / min(done))
        self.acknowledged += sum(done)
        for answer in answers:
            self.errors.update(answer["errors"])

    def add_found(self, wanted: set[int], found: dict[str, Any]) -> None:
        """Add what a session has, against what it was acknowledged to have."""
        times = Counter(found["numbers"])
        self.kept += len(wanted & times.keys())
        self.twice += sum(times.values()) - len(times)
        self.strange += found["strange"]

    def cells(self) -> dict[str, Cell]:
        """The columns of ``_HEADS``."""
        throughput, unfairness, kept, errors, readable = (head[0] for head in _HEADS)
        total = sum(self.errors.values())
        return {
            throughput: Cell.of(self.throughput) if self.acknowledged else Cell(text="none"),
            unfairness: self._unfairness(),
            kept: self._kept(),
            errors: Cell(text=f"{total:,}", note=_most(self.errors), facts=dict(self.errors)),
            readable: Cell(text=f"no: {self.unreadable[0]}" if self.unreadable else "yes"),
        }

    def _unfairness(self) -> Cell:
        if self.idle:
            note = f"{self.idle} process{'es' if self.idle > 1 else ''} got nothing stored"
            return Cell(text="∞", note=note)
        return Cell.of(self.unfairness)

    def _kept(self) -> Cell:
        if not self.acknowledged:
            return Cell(text="0 of 0")
        said = []
        if self.twice:
            said.append(f"{self.twice:,} stored twice")
        if self.strange:
            said.append(f"{self.strange:,} that nobody wrote")
        return Cell.of(
            [100 * self.kept / self.acknowledged],
            text=f"{self.kept:,} of {self.acknowledged:,}",
            note=", ".join(said),
            facts={"acknowledged": self.acknowledged, "kept": self.kept, "twice": self.twice, "strange": self.strange},
        )


def _most(errors: Counter[str]) -> str:
    return errors.most_common(1)[0][0] if errors else ""


def _once(run: Run, host: Host, folder: Path, count: int, *, own: bool, outcome: Outcome) -> None:
    sessions = [f"session-{place}" if own else "session" for place in range(count)]
    with host.workers(count) as workers:
        _open(workers, sessions, str(folder))
        at_ns = time.monotonic_ns() + _HEAD_START_NS
        for place, worker in enumerate(workers):
            worker.tell(
                "append_for", key=STORE, session=sessions[place], start=(place + 1) * _STRIDE, at_ns=at_ns,
                duration_ns=int(run.scale.append_s * NS),
            )  # fmt: skip
        until = time.monotonic() + run.scale.append_s + _ALL_LIMIT_S
        answers = [worker.hear(max(0.1, until - time.monotonic())) for worker in workers]
        for worker in workers:
            worker.ask("close_store", key=STORE)
    outcome.add_times(answers)
    wanted: dict[str, set[int]] = {session: set() for session in sessions}
    for place, answer in enumerate(answers):
        start = (place + 1) * _STRIDE
        wanted[sessions[place]] |= set(range(start, start + answer["tried"])) - set(answer["refused"])
    with host.workers() as (reader,):
        _count(reader, folder, wanted, outcome)


def _open(workers: Sequence[Worker], sessions: Sequence[str], root: str) -> None:
    """The first makes the store and the sessions; all have it open before anyone starts."""
    first = workers[0]
    first.ask("open_store", key=STORE, root=root)
    for session in dict.fromkeys(sessions):
        first.ask("create", key=STORE, session=session)
    for worker in workers[1:]:
        worker.tell("open_store", key=STORE, root=root)
    for worker in workers[1:]:
        worker.hear()


def _count(reader: Worker, folder: Path, wanted: dict[str, set[int]], outcome: Outcome) -> None:
    try:
        reader.ask("open_store", key=STORE, root=str(folder))
    except Unmeasured as error:
        outcome.unreadable.append(str(error))
        return
    for session, numbers in wanted.items():
        try:
            outcome.add_found(numbers, reader.ask("numbers", key=STORE, session=session))
        except Unmeasured as error:
            if numbers:
                outcome.unreadable.append(str(error))


def title(count: int, *, own: bool) -> str:
    """The name of a table."""
    return f"{count} process{'es' if count > 1 else ''}, {OWN if own else ONE}"


def _one_peer(run: Run, count: int, own: bool, turn: int, outcomes: dict[str, Outcome], name: str, host: Host) -> Cells:
    folder = run.place("processes", host.slug, f"{count}-{'own' if own else 'one'}-{turn}")
    _once(run, host, folder, count, own=own, outcome=outcomes.setdefault(name, Outcome()))
    return {}


def _measure(run: Run) -> list[Row]:
    rows: list[Row] = []
    for count in run.scale.processes:
        for own in (False, True) if count > 1 else (False,):
            group = title(count, own=own)
            outcomes: dict[str, Outcome] = {}
            failed: dict[str, Exception] = {}
            for turn in range(run.scale.runs):
                measure = partial(_one_peer, run, count, own, turn, outcomes)
                found = each_peer(run, f"{group.lower()}, run {turn + 1}", measure)
                failed |= {name: cells for name, cells in found.items() if isinstance(cells, Exception)}
            counted: dict[str, Cells] = {name: outcome.cells() for name, outcome in outcomes.items()}
            rows += columns(run, group, counted | failed, _HEADS)
    return rows


PROCESSES = Bench(WORKS, _measure)
