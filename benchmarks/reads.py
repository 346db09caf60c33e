"""Reads of a session with a history: cached, after another process's append, cold; and its fork."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import floor
from benchmarks.bench import FORK_BATCH, READ_BATCH, Bench, Scale
from benchmarks.floor import Floor
from benchmarks.measure import MS, US, Figure, Sample, alternate, clock, timed
from benchmarks.processes import append_when_told, worker
from benchmarks.report import FLOOR, OURS, SQLITE, Goal, Row
from benchmarks.setups import SESSION, Pair
from benchmarks.sqlite_peer import Peer, open_and_read, open_and_read_last
from hierstore import SessionStore
from hierstore.history import Messages
from hierstore.session import Session

_AFTER_APPEND = "read after another's append"
_SQLITE_LAST = "sqlite_count_and_last"


def _figures(samples: dict[str, list[float]], unit: float) -> dict[str, Figure]:
    return {system: Figure.of(taken, unit) for system, taken in samples.items()}


# Cached


def _cached_name(scale: Scale) -> str:
    return f"cached read of {scale.history:,}"


def _run_cached(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "cached", scale.history)
    with SessionStore(pair.root) as store, closing(Peer(pair.database)) as peer:
        session = store.get(SESSION)
        if len(session.messages) != scale.history:
            raise RuntimeError("The session is not as it was written.")
        # The loops are written out: a call of a function round them would cost as much as a tenth of what they time.
        contenders: dict[str, Sample] = {
            OURS: lambda: _read_loop(session, scale.loop_length),
            FLOOR: lambda: _stat_loop(os.fsencode(pair.log), scale.loop_length),
        }
        samples = alternate(contenders, rounds=scale.loops)
        samples |= alternate({SQLITE: timed(lambda: peer.messages(SESSION))}, rounds=scale.opens)
    note = (
        f"one sample is {scale.loop_length} reads in a loop; SQLite, which has no such cache, selects and decodes all."
    )
    goal = Goal(1.5, against=FLOOR)
    return [Row(_cached_name(scale), "us", _figures(samples, US), goal, "os.stat of the log's path", (note,))]


def _read_loop(session: Session, length: int) -> float:
    began = clock()
    for _ in range(length):
        session.messages  # noqa: B018  # the property is the work
    return (clock() - began) / length


def _stat_loop(path: bytes, length: int) -> float:
    stat = os.stat
    began = clock()
    for _ in range(length):
        stat(path)
    return (clock() - began) / length


# After another process's append


def _run_after_append(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "after", scale.history)
    with (
        SessionStore(pair.root) as store,
        closing(Peer(pair.database)) as peer,
        closing(Floor(folder / "floor")) as bottom,
        worker(append_when_told, pair.root, pair.database) as other,
    ):
        other.recv()
        session = store.get(SESSION)
        if session.messages[-1].content == "":
            raise RuntimeError("The session is not as it was written.")
        contenders: dict[str, Sample] = {
            OURS: lambda: _read_new(other, OURS, lambda: _read_last(session)),
            SQLITE: lambda: _read_new(other, SQLITE, lambda: _select_last(peer)),
            FLOOR: lambda: _read_new_line(bottom),
        }
        samples = alternate(contenders, rounds=scale.read_rounds, batch=READ_BATCH)
    # A turn's first read finds the processor's caches as SQLite's select of everything left them.
    facts = {"hierstore_first_of_each_turn_us": Figure.of(samples[OURS][::READ_BATCH], US).median}
    return [Row(_AFTER_APPEND, "us", _figures(samples, US), Goal(0.003), floor.DELTA, facts=facts)]


def _read_last(session: Session) -> tuple[object, str]:
    messages = session.messages
    return messages, messages[-1].content


def _select_last(peer: Peer) -> tuple[object, str]:
    messages = peer.messages(SESSION)
    return messages, messages[-1]["content"]


def _read_new(other: Connection, system: str, read: Callable[[], tuple[object, str]]) -> float:
    other.send(system)
    wanted = other.recv()
    began = clock()
    found = read()
    took = clock() - began
    if found[1] != wanted:
        raise RuntimeError(f"{system} does not show what another process has appended.")
    return took


def _read_new_line(bottom: Floor) -> float:
    bottom.append()
    began = clock()
    bottom.read_last()
    return clock() - began


# Cold


def _iterate(messages: Messages) -> None:
    for _ in messages:
        pass


def _touch(messages: Messages) -> None:
    for message in messages:
        message.content  # noqa: B018  # the property is the work


_COLD = {
    "cold open, len and last": lambda messages: (len(messages), messages[-1].content),
    "cold open, all messages": _iterate,
    "cold open, all contents": _touch,
}
_COLD_NOTES = {
    "cold open, len and last": (
        "less work than SQLite's column, which decodes everything; SQLite's own count and last row only are in the JSON"
        f" ({_SQLITE_LAST})."
    ),
    "cold open, all contents": "the one that is equal in work to SQLite's column.",
}


def _run_cold(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "cold", scale.history)
    log = os.fsencode(pair.log)
    contenders: dict[str, Sample] = {name: _opening(pair, work) for name, work in _COLD.items()}
    contenders[SQLITE] = _closing(lambda: open_and_read(pair.database, SESSION))
    contenders[_SQLITE_LAST] = _closing(lambda: open_and_read_last(pair.database, SESSION))
    contenders[FLOOR] = timed(lambda: floor.read_whole(log))
    samples = alternate(contenders, rounds=scale.opens, collect=True)
    rows = []
    for name in _COLD:
        figures = {OURS: samples[name], SQLITE: samples[SQLITE], FLOOR: samples[FLOOR]}
        if name == next(iter(_COLD)):
            figures[_SQLITE_LAST] = samples[_SQLITE_LAST]
        notes = (_COLD_NOTES[name],) if name in _COLD_NOTES else ()
        rows.append(Row(name, "ms", _figures(figures, MS), Goal(0.7), floor.COLD, notes))
    return rows


def _opening(pair: Pair, work: Callable[[Messages], object]) -> Sample:
    def sample() -> float:
        began = clock()
        store = SessionStore(pair.root)
        messages = store.get(SESSION).messages
        result = work(messages)
        took = clock() - began
        del result, messages
        store.close()
        return took

    return sample


def _closing(read: Callable[[], tuple[object, ...]]) -> Sample:
    def sample() -> float:
        began = clock()
        connection, *result = read()
        took = clock() - began
        del result
        connection.close()  # type: ignore[attr-defined]
        return took

    return sample


# Fork


def _fork_name(scale: Scale) -> str:
    return f"fork of {scale.history:,}"


def _run_fork(folder: Path, scale: Scale) -> Sequence[Row]:
    pair = Pair(folder / "fork", scale.history)
    log, targets = os.fsencode(pair.log), (os.fsencode(folder / f"target-{n}") for n in itertools.count())
    names = (f"fork-{n}" for n in itertools.count())
    read_last: list[float] = []
    with SessionStore(pair.root) as store, closing(Peer(pair.database)) as peer:
        session = store.get(SESSION)
        wanted = session.messages[-1].content

        def fork() -> float:
            began = clock()
            child = session.fork()
            forked = clock()
            last = child.messages[-1].content
            read_last.append(clock() - forked)
            if last != wanted or len(child.messages) != scale.history:
                raise RuntimeError("The fork does not show its parent's history.")
            return forked - began

        def copy() -> float:
            name = next(names)
            return timed(lambda: peer.copy(SESSION, name))()

        def link() -> float:
            target = next(targets)
            return timed(lambda: floor.fork(log, target))()

        samples = alternate(
            {OURS: fork, SQLITE: copy, FLOOR: link}, rounds=scale.fork_rounds, batch=FORK_BATCH, collect=True
        )
    note = "SQLite: insert … select of all rows, committed."
    facts = {"first_read_of_the_fork_us": Figure.of(read_last, US).median}
    return [Row(_fork_name(scale), "us", _figures(samples, US), Goal(0.02), floor.FORK, (note,), facts)]


CACHED = Bench(lambda scale: [_cached_name(scale)], _run_cached)
AFTER_APPEND = Bench(lambda _: [_AFTER_APPEND], _run_after_append)
COLD = Bench(lambda _: list(_COLD), _run_cold)
FORK = Bench(lambda scale: [_fork_name(scale)], _run_fork)
