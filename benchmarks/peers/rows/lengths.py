"""One process, one session that grows: append, read all, read the last, open cold, fork at the end, set the title.

Each peer has a store of its own for each length, with one session in it. A session that has doubled by being appended to
is replaced by a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.host import PeerFailed, Unmeasured, Worker
from benchmarks.peers.rows.base import NS, SHOWN, Bench, Run, Track, at_once, by_size

_SESSION = "history"
_TURN_NS = NS // 5
_PER = "messages in the session"

WORKS = {
    "read-all": "read all messages of a session, again and again in one process",
    "read-last": f"read the last {SHOWN} messages",
    "cold": "open the store in a new process and read all messages; imports not counted",
    "start": "import the peer and open a store, in a new process",
    "append": "append one message",
    "title": "set the title",
    "fork": "fork at the end",
}
_GROUPS = {
    "append": "Append one message",
    "read-all": "Read all messages, again in the same process",
    "read-last": f"Read the last {SHOWN} messages",
    "cold": "Open in a new process and read all messages",
    "fork": "Fork at the end",
    "title": "Set the title",
    "start": "Start a new process",
}


def _fill(worker: Worker, key: str, size: int, limit_s: float) -> float:
    return float(worker.ask("fill", within_s=limit_s, key=key, session=_SESSION, start=0, count=size)["ns"]) / NS


def _call(op: str, *arguments: Any, count: int) -> Callable[[Track, int], Sequence[float]]:
    def sample(track: Track, size: int) -> Sequence[float]:
        answer = track.worker.ask(
            "time_call", key=str(size), op=op, arguments=list(arguments), count=count, limit_ns=_TURN_NS
        )
        wanted = {"read_all": size, "read_last": min(size, SHOWN)}.get(op)
        if wanted is not None and answer["size"] != wanted:
            raise PeerFailed(f"returned {answer['size']} messages of {wanted:,}")
        taken: Sequence[float] = answer["ns"]
        return taken

    return sample


def _cold(track: Track, size: int) -> Sequence[float]:
    with track.host.workers() as (worker,):
        answer = worker.ask("time_cold", root=track.root(size), other=track.root(0), session=_SESSION)
    if answer["size"] != size:
        raise PeerFailed(f"returned {answer['size']} messages of {size:,}")
    taken: Sequence[float] = answer["ns"]
    return taken


def _start(track: Track, size: int) -> Sequence[float]:
    worker = track.host.spawn()
    try:
        answer = worker.ask("time_cold", root=track.root(size), other="", session=_SESSION)
    finally:
        worker.close()
    return [worker.import_ns + answer["ns"][0]]


class _Appends:
    """Appends, and in the end a look whether they are there."""

    def __init__(self) -> None:
        self._last: dict[tuple[Track, int], dict[str, Any]] = {}

    def sample(self, track: Track, size: int) -> Sequence[float]:
        limit_ns = _TURN_NS
        answer = track.worker.ask(
            "time_append", key=str(size), session=_SESSION, size=size, count=10, limit_ns=limit_ns
        )
        self._last[track, size] = answer
        taken: Sequence[float] = answer["ns"]
        return taken

    def verify(self, tracks: dict[str, Track], found: dict[int, dict[str, Cell]]) -> None:
        """Replace the figure of who does not have what it acknowledged."""
        names = {id(track): name for name, track in tracks.items()}
        for (track, size), answer in self._last.items():
            try:
                there = track.worker.ask("numbers", key=str(size), session=answer["session"])
                if there["numbers"] != list(range(answer["messages"])) or there["strange"]:
                    raise PeerFailed(f"{answer['messages']:,} were appended and {len(there['numbers']):,} are there")
            except Unmeasured as error:
                found[size][names[id(track)]] = Cell.without(error)


def _measure(run: Run) -> list[Row]:
    sizes = run.scale.lengths
    with ExitStack() as stack:
        tracks: dict[str, Track] = {}

        def prepare(name: str) -> None:
            track = tracks[name]
            track.prepare(sizes, _fill)
            run.say(f"sessions of up to {max(sizes):,} messages: {name}")

        for name, host in run.hosts.items():
            if name not in run.broken:
                tracks[name] = Track(host, run.place("lengths", host.slug), run.scale.fill_limit_s)
                stack.callback(tracks[name].close)
        at_once(run, prepare)
        rows: list[Row] = []
        for work in WORKS:
            if work in run.wanted:
                run.say(_GROUPS[work].lower())
                found = _one_work(run, work, tracks)
                rows += [_row(run, work, size, cells) for size, cells in found.items()]
    order = list(_GROUPS.values())
    return sorted(rows, key=lambda row: order.index(row.group))


def _one_work(run: Run, work: str, tracks: dict[str, Track]) -> dict[int, dict[str, Cell]]:
    sizes, opens = run.scale.lengths, run.scale.opens
    if work == "start":
        return by_size(run, tracks, sizes[:1], _start, run.scale.starts)
    if work == "append":
        appends = _Appends()
        found = by_size(run, tracks, sizes, appends.sample)
        appends.verify(tracks, found)
        return found
    if work == "cold":
        return by_size(run, tracks, sizes, _cold, opens)
    if work == "fork":
        return by_size(run, tracks, sizes, _call("fork", _SESSION, "+", count=1), opens)
    sample = {
        "read-all": _call("read_all", _SESSION, count=5),
        "read-last": _call("read_last", _SESSION, SHOWN, count=5),
        "title": _call("set_title", _SESSION, "+", count=5),
    }[work]
    return by_size(run, tracks, sizes, sample)


def _row(run: Run, work: str, size: int, cells: dict[str, Cell]) -> Row:
    if work == "start":
        return Row(_GROUPS[work], f"import, open, read {size} messages", "us", run.cells(cells))
    return Row(_GROUPS[work], f"at {size:,}", "us", run.cells(cells), op=work, x=size, per=_PER)


LENGTHS = Bench(WORKS, _measure)
