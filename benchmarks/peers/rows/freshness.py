"""Two processes over one store: how soon one sees what the other appended, whether it sees less than it should, and what a stale
cache overwrites."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import US
from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.host import Host, Unmeasured, Worker
from benchmarks.peers.peer import NotOffered
from benchmarks.peers.rows.base import NS, STORE, Bench, Cells, Run, columns, each_peer
from benchmarks.peers.work import Counts

_SESSION = "session"
_LENGTH = 100
_SEEN_LIMIT_NS = NS
_HEAD_START_NS = 20_000_000
_BLIND = 3

WORKS = {"freshness": "what another process sees of an append, and whether a stale cache overwrites it"}
_GROUP = f"One process appends, another reads (a session of {_LENGTH})"
_UNTIL = "until it is seen"
_QUIET = "reads that showed too little"
_BESIDE = "the same while it appends"
_RAISED = "such reads that raised"
_TITLE = "lost to a title set meanwhile"
_APPEND = "lost to an append meanwhile"
_HEADS = (
    (_UNTIL, "us", "less"), (_QUIET, "", ""), (_BESIDE, "", ""), (_RAISED, "", ""), (_TITLE, "", ""), (_APPEND, "", ""),
)  # fmt: skip


def _one_peer(run: Run, name: str, host: Host) -> Cells:
    del name
    folder = run.place("freshness", host.slug)
    cells: dict[str, Cell] = {}
    looks: tuple[tuple[tuple[str, ...], Callable[[], dict[str, Cell]]], ...] = (
        ((_UNTIL,), lambda: _waits(run, host, folder / "waits")),
        ((_QUIET,), lambda: _quiet(run, host, folder / "quiet")),
        ((_BESIDE, _RAISED), lambda: _beside(run, host, folder / "beside")),
        ((_TITLE,), lambda: {_TITLE: _stale(run, host, folder / "title", by_title=True)}),
        ((_APPEND,), lambda: {_APPEND: _stale(run, host, folder / "append", by_title=False)}),
    )
    for heads, look in looks:
        try:
            cells |= look()
        except Unmeasured as error:
            cells |= dict.fromkeys(heads, Cell.without(error))
    return cells


def _open(workers: Sequence[Worker], root: Path) -> None:
    """The first fills the session; every one has it open, and has read it."""
    for place, worker in enumerate(workers):
        worker.ask("open_store", key=STORE, root=str(root))
        if place == 0:
            worker.ask("fill", key=STORE, session=_SESSION, start=0, count=_LENGTH)
        worker.ask("numbers", key=STORE, session=_SESSION)


def _waits(run: Run, host: Host, root: Path) -> dict[str, Cell]:
    """The reader reads all the time; how long after the acknowledgement does a read end that shows the message."""
    waits: list[float] = []
    blind = raised = 0
    with host.workers(2) as (writer, reader):
        _open((writer, reader), root)
        for number in range(_LENGTH, _LENGTH + run.scale.looks):
            reader.tell("watch_for", key=STORE, session=_SESSION, number=number, limit_ns=_SEEN_LIMIT_NS)
            time.sleep(0.002)  # it is reading by then
            ended = writer.ask("append_one", key=STORE, session=_SESSION, number=number)["ended"]
            answer = reader.hear()
            seen = answer["seen"]
            raised += answer["raised"]
            if seen is None:
                blind += 1
                if blind == _BLIND:
                    break
            else:
                waits.append(max(0, seen - ended))
    notes = [f"{blind} not within {_SEEN_LIMIT_NS // NS} s"] if blind else []
    notes += [f"{raised} reads raised"] if raised else []
    note = ", ".join(notes)
    return {_UNTIL: Cell.of(waits, US, note=note) if waits else Cell(text="never", note=note)}


def _quiet(run: Run, host: Host, root: Path) -> dict[str, Cell]:
    """One read after each append, with nothing else going on: it has to show everything."""
    less = 0
    with host.workers(2) as (writer, reader):
        _open((writer, reader), root)
        for number in range(_LENGTH, _LENGTH + run.scale.looks):
            writer.ask("append_one", key=STORE, session=_SESSION, number=number)
            shown = reader.ask("numbers", key=STORE, session=_SESSION)["numbers"]
            less += shown != list(range(number + 1))
    return {_QUIET: _share(less, run.scale.looks)}


def _share(count: int, total: int, **more: Any) -> Cell:
    return Cell(text=f"{count:,} of {total:,}", facts={"count": count, "total": total}, **more)


def _beside(run: Run, host: Host, root: Path) -> dict[str, Cell]:
    """Reads while the other appends as fast as it can: at least what was acknowledged before the read began."""
    counts = str(root) + ".counts"
    Counts.make(counts)
    duration_ns = int(run.scale.beside_s * NS)
    with host.workers(2) as (writer, reader):
        _open((writer, reader), root)
        common: dict[str, Any] = {
            "key": STORE, "session": _SESSION, "counts": counts, "at_ns": time.monotonic_ns() + _HEAD_START_NS,
            "duration_ns": duration_ns,
        }  # fmt: skip
        writer.tell("append_for", start=_LENGTH, **common)
        reader.tell("read_beside", first=_LENGTH, **common)
        found = reader.hear()
        writer.hear()
    raised = sum(found["errors"].values())
    worst = f"by up to {found['worst']:,} messages" if found["worst"] else ""
    return {
        _BESIDE: _share(found["less"], found["reads"], note=worst),
        _RAISED: _share(raised, found["reads"], note=next(iter(found["errors"]), "")),
    }


def _stale(run: Run, host: Host, root: Path, *, by_title: bool) -> Cell:
    """A has read; B appends, and is told that it is stored; A sets a title, or appends. Does a third process find it?"""
    lost = own = titles = 0
    rounds = run.scale.stales
    for turn in range(rounds):
        place = root / str(turn)
        with host.workers(3) as (a, b, c):
            _open((a, b), place)
            b.ask("append_one", key=STORE, session=_SESSION, number=_LENGTH)
            if by_title:
                a.ask("set_title", key=STORE, session=_SESSION, title="A title")
            else:
                a.ask("append_one", key=STORE, session=_SESSION, number=_LENGTH + 1)
            c.ask("open_store", key=STORE, root=str(place))
            there = set(c.ask("numbers", key=STORE, session=_SESSION)["numbers"])
            lost += _LENGTH not in there
            own += not by_title and _LENGTH + 1 not in there
            titles += by_title and not _has_title(c)
    notes = [f"its own lost in {own}"] if own else []
    notes += [f"the title lost in {titles}"] if titles else []
    return _share(lost, rounds, note=", ".join(notes))


def _has_title(worker: Worker) -> bool:
    try:
        return bool(worker.ask("title", key=STORE, session=_SESSION)["title"] == "A title")
    except NotOffered:
        return True  # it cannot be asked for


def _measure(run: Run) -> list[Row]:
    found = each_peer(run, "freshness", lambda name, host: _one_peer(run, name, host))
    return columns(run, _GROUP, found, _HEADS)


FRESHNESS = Bench(WORKS, _measure)
