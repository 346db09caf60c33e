"""What a benchmark is: names of rows, known beforehand, and a function that measures them at a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row

READ_BATCH = 10
FORK_BATCH = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the defaults are the full run.

    Attributes:
        sizes: messages in a session before appends to it are timed, ascending.
        append_rounds, append_batch: turns of each system at each size, and appends in a turn.
        power_size, power_samples: the same for appends that survive a power cut, one a turn.
        workers, worker_messages, worker_runs: processes on one session, appends of each, and repetitions.
        history: messages in the session that is read, opened, forked and kept in memory.
        loops, loop_length: turns of the cached read, and reads in a turn.
        read_rounds, fork_rounds: turns of reads and forks, each of READ_BATCH or FORK_BATCH.
        opens: samples of a cold open.
        probes: fresh processes for each figure of memory.
        starts: whole processes for each figure of import time.
    """

    sizes: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    append_rounds: int = 200
    append_batch: int = 10
    power_size: int = 1_000
    power_samples: int = 500
    workers: int = 8
    worker_messages: int = 2_000
    worker_runs: int = 3
    history: int = 10_000
    loops: int = 300
    loop_length: int = 200
    read_rounds: int = 20
    fork_rounds: int = 8
    opens: int = 60
    probes: int = 3
    starts: int = 15


QUICK = Scale(
    sizes=(10, 100, 1_000),
    append_rounds=6,
    append_batch=5,
    power_size=100,
    power_samples=10,
    worker_messages=25,
    worker_runs=1,
    history=1_000,
    loops=10,
    loop_length=20,
    read_rounds=2,
    fork_rounds=1,
    opens=3,
    probes=1,
    starts=2,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark.

    Attributes:
        rows: the names of its rows at a scale.
        run: measure in an empty folder.
    """

    rows: Callable[[Scale], Sequence[str]]
    run: Callable[[Path, Scale], Sequence[Row]]
