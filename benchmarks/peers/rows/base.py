"""What all rows share: how much of everything, who takes part, and how the peers take turns."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.measure import US
from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.host import GaveUp, Host, PeerFailed, Unmeasured, Worker

Key = TypeVar("Key", bound=Hashable)
NS = 1_000_000_000
STORE = "store"
SHOWN = 20
LISTED = 50
_FEW = 3
_MUCH = 5
_NOTEWORTHY_NS = NS // 10


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; the defaults are the full run.

    Attributes:
        lengths: messages in a session, ascending.
        stores: sessions in a store, ascending.
        each: messages in each of these sessions.
        rounds: how often each peer has its turn in a row; a turn before them is thrown away.
        opens: samples of a cold open, and of a fork.
        starts: samples of a start with all imports.
        cell_limit_s: a cell takes no further samples after so long.
        call_limit_s: where one call takes longer, its cell keeps the sample, and larger sizes are given up.
        fill_limit_s: what filling a session or a store may take.
        answer_limit_s: after which a process is taken to hang.
        processes: how many append at once, ascending from 1.
        append_s: for how long.
        runs: how often.
        looks: rounds of a reader that waits for an append.
        stales: stale-cache rounds.
        beside_s: how long a reader reads while another process appends.
        kills: processes that are killed.
        replay_limit_s: begin no conversation after so long.
    """

    lengths: tuple[int, ...] = (10, 100, 1_000, 10_000, 100_000)
    stores: tuple[int, ...] = (100, 1_000, 10_000)
    each: int = 2
    rounds: int = 20
    opens: int = 5
    starts: int = 2
    cell_limit_s: float = 0.3
    call_limit_s: float = 1.0
    fill_limit_s: float = 40.0
    answer_limit_s: float = 30.0
    processes: tuple[int, ...] = (1, 4, 8)
    append_s: float = 0.6
    runs: int = 2
    looks: int = 30
    stales: int = 6
    beside_s: float = 1.0
    kills: int = 50
    replay_limit_s: float = 4.0


QUICK = Scale(
    lengths=(10, 50),
    stores=(20, 50),
    rounds=2,
    opens=2,
    starts=1,
    cell_limit_s=0.2,
    fill_limit_s=5.0,
    answer_limit_s=10.0,
    processes=(1, 2),
    append_s=0.1,
    runs=1,
    looks=3,
    stales=2,
    beside_s=0.1,
    kills=2,
    replay_limit_s=1.0,
)


@dataclass(slots=True)
class Run:
    """One run of the benchmark.

    Attributes:
        hosts: every peer's, in the order of the table.
        broken: why a peer takes no part.
        folder: where everything is stored.
        scale: how much of everything.
        wanted: which works are asked for.
        conversations: real ones, each ``[session, [[role, text], …]]``; None where there are none.
        say: tells of the progress.
    """

    hosts: dict[str, Host]
    broken: dict[str, Exception]
    folder: Path
    scale: Scale
    wanted: frozenset[str]
    conversations: list[Any] | None = None
    say: Callable[[str], None] = print

    def place(self, *parts: object) -> Path:
        """A folder that is there."""
        path = self.folder.joinpath(*map(str, parts))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def cells(self, found: Mapping[str, Cell]) -> dict[str, Cell]:
        """A row's cells: of all peers, in the table's order."""
        broken = {name: Cell.without(error) for name, error in self.broken.items()}
        return {name: (broken | dict(found))[name] for name in self.hosts}


@dataclass(frozen=True, slots=True)
class Bench:
    """Rows that are measured together.

    Attributes:
        works: what can be asked for, each with a sentence.
        run: measure.
    """

    works: dict[str, str]
    run: Callable[[Run], list[Row]]


@dataclass(slots=True)
class Taken:
    """What was sampled of a contender so far.

    Attributes:
        samples: nanoseconds.
        first: what the very first call took, which may have had to build or load something.
        total: of the samples.
        error: what ended it.
    """

    samples: list[float] = field(default_factory=list)
    first: float = 0.0
    total: float = 0.0
    error: Exception | None = None
    slow: bool = False


def take_turns(
    contenders: Mapping[Key, Callable[[], Sequence[float]]], scale: Scale, rounds: int | None = None
) -> dict[Key, Taken]:
    """Let contenders take turns, the order turned round every other time; the first turn of each is thrown away.

    A contender whose call takes longer than one may keeps its samples and has no further turn; so does one whose time is up.
    Where the very first turn takes much longer than one may it is kept, and the only one.
    """
    taken = {key: Taken() for key in contenders}
    order = list(contenders)
    for number in range(-1, scale.rounds if rounds is None else rounds):
        for key in order if number % 2 else reversed(order):
            _turn(contenders[key], taken[key], scale, is_first=number < 0)
    return taken


def _turn(contender: Callable[[], Sequence[float]], taken: Taken, scale: Scale, *, is_first: bool) -> None:
    if taken.error or taken.slow or taken.total > scale.cell_limit_s * NS:
        return
    try:
        samples = contender()
    except Unmeasured as error:
        taken.error = error
        return
    limit_ns = scale.call_limit_s * NS
    if is_first:
        taken.first = samples[0]
        if max(samples) < _MUCH * limit_ns:
            return
    taken.total += sum(samples)
    taken.slow = max(samples) > limit_ns
    taken.samples += samples


def cell(taken: Taken) -> Cell:
    """A cell of what was sampled."""
    if taken.error is not None:
        return Cell.without(taken.error)
    count = len(taken.samples)
    notes = [f"{count} sample{'s' if count > 1 else ''}"] if count < _FEW else []
    if taken.first > max(_NOTEWORTHY_NS, _MUCH * statistics.median(taken.samples)):
        notes.append(f"the first call {taken.first / NS:.2g} s")
    return Cell.of(taken.samples, US, note=", ".join(notes), facts={"first_us": round(taken.first / US, 1)})


def at_once(run: Run, prepare: Callable[[str], None]) -> None:
    """Prepare every peer, as many at once as there are processors; nothing is timed meanwhile."""
    living = [name for name in run.hosts if name not in run.broken]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in [pool.submit(prepare, name) for name in living]:
            done.result()


def each_peer(run: Run, what: str, measure: Callable[[str, Host], Cells]) -> dict[str, Cells]:
    """Let one peer after another do all of a row; an error stands in all of its cells."""
    found: dict[str, Cells] = {}
    for name, host in run.hosts.items():
        if name in run.broken:
            continue
        run.say(f"{what}: {name}")
        try:
            found[name] = measure(name, host)
        except Unmeasured as error:
            found[name] = error
    return found


Cells = dict[str, Cell] | Exception


def columns(run: Run, group: str, found: Mapping[str, Cells], heads: Iterable[tuple[str, str, str]]) -> list[Row]:
    """Rows of what ``each_peer`` found.

    Args:
        run: the run.
        group: the table's name.
        found: by peer, the cells by column.
        heads: of each column its name, its unit, and what is better.
    """
    rows = []
    for name, unit, better in heads:
        cells = {
            peer: Cell.without(cells) if isinstance(cells, Exception) else cells[name] for peer, cells in found.items()
        }
        rows.append(Row(group, name, unit, run.cells(cells), better))
    return rows


class Track:
    """A peer's process with stores of several sizes, which come back after a process had to be ended.

    Args:
        host: the peer's.
        folder: an empty one.
        limit_s: what filling one store may take.
    """

    def __init__(self, host: Host, folder: Path, limit_s: float) -> None:
        self.host = host
        self._folder = folder
        self._limit_s = limit_s
        self._worker: Worker | None = None
        self.lacking: dict[int, Exception] = {}
        self._ready: list[int] = []

    def root(self, size: int) -> str:
        """The folder of the store of a size."""
        return str(self._folder / str(size))

    @property
    def worker(self) -> Worker:
        """A living process in which everything is open."""
        if self._worker is None or self._worker.is_over:
            self._worker = self.host.worker()
            for size in self._ready:
                self._worker.ask("open_store", key=str(size), root=self.root(size))
        return self._worker

    def prepare(self, sizes: Sequence[int], fill: Callable[[Worker, str, int, float], float]) -> None:
        """Fill a store for each size, while it is bearable.

        Args:
            sizes: ascending.
            fill: given the process, the store's key, the size and the limit, seconds, fills and returns what it took, seconds.
        """
        took, before = 0.0, 0
        for size in sizes:
            try:
                if before and took * size / before > self._limit_s:
                    raise GaveUp(f"filling {before:,} took {took:.2g} s, and {self._limit_s:.3g} s is the limit")
                self.worker.ask("open_store", key=str(size), root=self.root(size))
                took = fill(self.worker, str(size), size, self._limit_s)
                before = size
                self._ready.append(size)
            except Unmeasured as error:
                self.lacking |= dict.fromkeys(sizes[sizes.index(size) :], self._why(error, size))
                return

    def _why(self, error: Exception, size: int) -> Exception:
        if isinstance(error, PeerFailed) and str(error).startswith("no answer"):
            return GaveUp(f"filling {size:,} takes more than {self._limit_s:.3g} s")
        return error

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()


def by_size(
    run: Run,
    tracks: Mapping[str, Track],
    sizes: Sequence[int],
    sample: Callable[[Track, int], Sequence[float]],
    rounds: int | None = None,
) -> dict[int, dict[str, Cell]]:
    """One work at ascending sizes, the peers in turns at each; who was too slow at one is not asked at a larger one."""
    stopped: dict[str, Exception] = {}
    found: dict[int, dict[str, Cell]] = {}
    for size in sizes:
        why = {name: error for name, track in tracks.items() if (error := stopped.get(name) or track.lacking.get(size))}
        contenders = {name: _bound(sample, track, size) for name, track in tracks.items() if name not in why}
        taken = take_turns(contenders, run.scale, rounds)
        for name, one in taken.items():
            if one.slow:
                stopped[name] = GaveUp(f"one took {max(one.samples) / NS:.2g} s at {size:,}")
            elif one.error is not None and not isinstance(one.error, GaveUp):
                stopped[name] = one.error
        found[size] = {name: cell(one) for name, one in taken.items()} | {n: Cell.without(e) for n, e in why.items()}
    return found


def _bound(sample: Callable[[Track, int], Sequence[float]], track: Track, size: int) -> Callable[[], Sequence[float]]:
    return lambda: sample(track, size)
