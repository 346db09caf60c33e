"""Stores of more and more sessions: list 50 of them, search them, and what a neighbour costs an append, a read and a title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.host import GaveUp, PeerFailed, Worker
from benchmarks.peers.rows.base import LISTED, NS, Bench, Run, Track, at_once, by_size
from benchmarks.peers.work import WORD

_PREFIX = "session"
_FIRST = f"{_PREFIX}-0"
_CHUNK = 50
_TURN_NS = NS // 5
_PER = "sessions in the store"

_GROUPS = {
    "list": f"List {LISTED} sessions",
    "search": "Search all messages for a word that is in one of each session",
    "store-append": "Append one message, in a store of many sessions",
    "store-title": "Set the title, in a store of many sessions",
    "store-read": "Read all messages of a session, in a store of many sessions",
}
WORKS = {
    "list": f"list {LISTED} sessions of a store of many",
    "search": "search all messages of a store for a word",
    "store-read": "read a short session in a store of many",
    "store-append": "append one message in a store of many sessions",
    "store-title": "set a title in a store of many sessions",
}


def _filling(each: int) -> Callable[[Worker, str, int, float], float]:
    def fill(worker: Worker, key: str, size: int, limit_s: float) -> float:
        took = 0.0
        for start in range(0, size, _CHUNK):
            count = min(_CHUNK, size - start)
            answer = worker.ask(
                "fill_many", within_s=limit_s, key=key, prefix=_PREFIX, start=start, count=count, each=each
            )
            took += answer["ns"] / NS
            if took > limit_s:
                raise GaveUp(f"making {size:,} sessions: {start + count:,} took {took:.3g} s")
        return took

    return fill


class _Calls:
    """One call, again and again, and how many it answered with."""

    def __init__(self, op: str, *arguments: Any) -> None:
        self._op = op
        self._arguments = list(arguments)
        self.sizes: dict[tuple[str, int], Any] = {}

    def sample(self, track: Track, size: int) -> Sequence[float]:
        answer = track.worker.ask(
            "time_call", key=str(size), op=self._op, arguments=self._arguments, count=5, limit_ns=_TURN_NS
        )
        self.sizes[track.host.peer.name, size] = answer["size"]
        taken: Sequence[float] = answer["ns"]
        return taken


def _measure(run: Run) -> list[Row]:
    sizes = run.scale.stores
    with ExitStack() as stack:
        tracks: dict[str, Track] = {}

        def prepare(name: str) -> None:
            tracks[name].prepare(sizes, _filling(run.scale.each))
            run.say(f"stores of up to {max(sizes):,} sessions: {name}")

        for name, host in run.hosts.items():
            if name not in run.broken:
                tracks[name] = Track(host, run.place("sessions", host.slug), run.scale.fill_limit_s)
                stack.callback(tracks[name].close)
        at_once(run, prepare)
        rows: list[Row] = []
        for work in WORKS:
            if work in run.wanted:
                run.say(_GROUPS[work].lower())
                rows += _one_work(run, work, tracks)
    order = list(_GROUPS.values())
    return sorted(rows, key=lambda row: order.index(row.group))


def _one_work(run: Run, work: str, tracks: dict[str, Track]) -> list[Row]:
    calls = {
        "list": _Calls("list_sessions", LISTED),
        "search": _Calls("search", WORD),
        "store-read": _Calls("read_all", _FIRST),
        "store-append": _Calls("append", _FIRST, "user", "One more message."),
        "store-title": _Calls("set_title", _FIRST, "+"),
    }[work]
    found = by_size(run, tracks, run.scale.stores, calls.sample)
    rows = []
    for size, cells in found.items():
        wanted = {"list": min(size, LISTED), "search": size, "store-read": run.scale.each}.get(work)
        checked = {name: _checked(work, cell, calls.sizes.get((name, size)), wanted) for name, cell in cells.items()}
        rows.append(Row(_GROUPS[work], f"of {size:,}", "us", run.cells(checked), op=work, x=size, per=_PER))
    return rows


def _checked(work: str, cell: Cell, got: Any, wanted: int | None) -> Cell:
    """A cell whose peer answered with less or more than there is says so; a read that does has failed."""
    if cell.figure is None or wanted is None or got == wanted:
        return cell
    if work == "store-read":
        return Cell.without(PeerFailed(f"returned {got} messages of {wanted}"))
    notes = [f"answered with {got} of {wanted:,}", *filter(None, [cell.note])]
    return Cell(cell.figure, note=", ".join(notes), facts=cell.facts)


SESSIONS = Bench(WORKS, _measure)
