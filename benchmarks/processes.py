"""Processes: several that append to one session at once, and one that appends when it is told to."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Scale
from benchmarks.floor import APPEND, LINE_SIZE_BYTES, Floor
from benchmarks.measure import Figure
from benchmarks.message import ROLE, text
from benchmarks.report import AUTOCOMMIT, FLOOR, OURS, SQLITE, Goal, Row
from benchmarks.setups import SESSION
from benchmarks.sqlite_peer import Peer
from hierstore import SessionStore

_SYSTEMS = (OURS, SQLITE, AUTOCOMMIT, FLOOR)
_STRIDE = 1_000_000
_START_TIMEOUT_S = 60.0
_LOCK_TIMEOUT_S = 60.0

# Spawned, not forked: nothing of this process may be shared, as between programs that know nothing of each other.
_spawning = multiprocessing.get_context("spawn")


@contextmanager
def worker(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """A process of its own that gets one end of a pipe before the other arguments; ended with the block."""
    ours, theirs = _spawning.Pipe()
    process = _spawning.Process(target=_quietly, args=(target, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    except BaseException:
        process.terminate()
        raise
    finally:
        ours.close()
        process.join(2.0)
        if process.is_alive():
            process.terminate()
            process.join()
        process.close()


def _quietly(target: Callable[..., None], *arguments: Any) -> None:
    # Ctrl-C is for the parent, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        target(*arguments)


@contextmanager
def _appender(system: str, folder: str) -> Iterator[Callable[[str], object]]:
    """A function that appends one content to the one session of a system."""
    if system == OURS:
        # As long as SQLite may wait.
        with SessionStore(f"{folder}/store", lock_timeout_s=_LOCK_TIMEOUT_S) as store:
            session = store.get_or_create(SESSION)
            yield lambda content: session.append(ROLE, content)
    elif system == FLOOR:
        with closing(Floor(f"{folder}/floor")) as bottom:
            yield lambda _: bottom.append()
    else:
        with closing(Peer(f"{folder}/{system}.db", autocommit=system == AUTOCOMMIT)) as peer:
            yield lambda content: peer.append(SESSION, ROLE, content)


def append_many(pipe: Connection, start: Barrier, system: str, folder: str, numbers: range) -> None:
    """In a worker: append as fast as it goes, and send when that began and ended, nanoseconds."""
    contents = [text(number) for number in numbers]
    with _appender(system, folder) as append:
        start.wait(_START_TIMEOUT_S)
        began = time.monotonic_ns()
        for content in contents:
            append(content)
        ended = time.monotonic_ns()
    pipe.send((began, ended))


def append_when_told(pipe: Connection, root: str, database: str) -> None:
    """In a worker: for each name of a system that comes, append one message to it and answer; until the pipe closes."""
    with SessionStore(root) as store, closing(Peer(database)) as peer:
        session = store.get(SESSION)
        number = _STRIDE
        pipe.send("ready")
        while True:
            try:
                system = pipe.recv()
            except EOFError:
                return
            number += 1
            if system == OURS:
                session.append(ROLE, text(number))
            else:
                peer.append(SESSION, ROLE, text(number))
            pipe.send(text(number))


class _Run:
    """One run of all workers on one system.

    Attributes:
        throughput: messages a second, from the first start to the last end.
        unfairness: the slowest worker's time over the fastest's.
        kept: how many of the messages are there exactly once, and nothing else with them.
    """

    def __init__(self, system: str, folder: Path, scale: Scale) -> None:
        folder.mkdir()
        with _appender(system, str(folder)):
            pass  # The store or database is there before anyone starts.
        batches = [range(n * _STRIDE, n * _STRIDE + scale.worker_messages) for n in range(scale.workers)]
        times = _let_run(system, str(folder), batches)
        elapsed = [ended - began for began, ended in times]
        wall_s = (max(ended for _, ended in times) - min(began for began, _ in times)) / 1e9
        self.throughput = scale.workers * scale.worker_messages / wall_s
        self.unfairness = max(elapsed) / min(elapsed)
        self.kept = _kept(system, folder, {text(number) for batch in batches for number in batch})


def _let_run(system: str, folder: str, batches: Sequence[range]) -> list[tuple[int, int]]:
    start = _spawning.Barrier(len(batches))
    with _many(worker(append_many, start, system, folder, batch) for batch in batches) as pipes:
        try:
            return [pipe.recv() for pipe in pipes]
        except EOFError:
            raise RuntimeError(f"A process that appended to {system} failed; its error is above.") from None


@contextmanager
def _many(workers: Iterable[Any]) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(one) for one in workers]


def _kept(system: str, folder: Path, wanted: set[str]) -> int:
    if system == FLOOR:
        return (folder / "floor").stat().st_size // LINE_SIZE_BYTES
    if system == OURS:
        with SessionStore(folder / "store") as store:
            messages = store.get(SESSION).messages
            contents = [message.content for message in messages]
            # An id given twice is a message lost to whoever looks it up.
            surplus = len(messages) - len({message.id for message in messages})
    else:
        with closing(Peer(folder / f"{system}.db")) as peer:
            contents = [message["content"] for message in peer.messages(SESSION)]
        surplus = 0
    once = sum(1 for content, times in Counter(contents).items() if times == 1 and content in wanted)
    return once - surplus - (len(contents) - once)


def _names(scale: Scale) -> list[str]:
    several = f"{scale.workers} processes"
    return [several, f"{several}, slowest / fastest", f"{several}, kept of written"]


def _run(folder: Path, scale: Scale) -> Sequence[Row]:
    runs: dict[str, list[_Run]] = {system: [] for system in _SYSTEMS}
    for repetition in range(scale.worker_runs):
        for system in _SYSTEMS if repetition % 2 == 0 else reversed(_SYSTEMS):
            runs[system].append(_Run(system, folder / f"{system}-{repetition}", scale))
    throughput, unfairness, kept = _names(scale)
    total = scale.workers * scale.worker_messages
    worst = max(run.unfairness for run in runs[OURS])
    return [
        Row(throughput, "/s", _figures(runs, "throughput"), Goal(1.5, at_least=True), f"{APPEND}, waiting in the kernel"),
        Row(
            unfairness, "x", _figures(runs, "unfairness"), Goal(2.0, against=None),
            facts={"hierstore_worst_run_x": worst},
        ),
        Row(
            kept, "msg", _kept_figures(runs) | {"written": Figure.of([total])}, Goal(1.0, against="written", at_least=True),
            notes=("of the worst run; the ratio is to what was written.",),
        ),
    ]  # fmt: skip


def _figures(runs: dict[str, list[_Run]], name: str) -> dict[str, Figure]:
    return {system: Figure.of([getattr(run, name) for run in taken]) for system, taken in runs.items()}


def _kept_figures(runs: dict[str, list[_Run]]) -> dict[str, Figure]:
    return {system: Figure.of([min(run.kept for run in taken)]) for system, taken in runs.items()}


PROCESSES = Bench(_names, _run)
