"""A process is killed with SIGKILL in the middle of appends, again and again: what was acknowledged, and does it still open."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.host import Host, PeerFailed, Unmeasured
from benchmarks.peers.rows.base import STORE, Bench, Cells, Run, columns, each_peer
from benchmarks.peers.work import Counts

_SESSION = "session"
_LENGTH = 100
_FIRST_LIMIT_S = 10.0
_LATEST_S = 0.02
_SEED = 20

WORKS = {"crash": "kill -9 in the middle of appends"}
_GROUP = f"Killed in the middle of appends (a session of {_LENGTH})"
_LOST = "acknowledged messages lost"
_SHUT = "sessions that no longer open"
_BEYOND = "that take no further append"
_STRANGE = "messages that nobody wrote"
_HEADS = ((_LOST, "", ""), (_SHUT, "", ""), (_BEYOND, "", ""), (_STRANGE, "", ""))


@dataclass(slots=True)
class _Wrecks:
    """What was found after the kills."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    shut: int = 0
    stuck: int = 0
    strange: int = 0
    words: Counter[str] = field(default_factory=Counter)

    def cells(self) -> dict[str, Cell]:
        word = self.words.most_common(1)[0][0] if self.words else ""
        facts = {"lost": self.lost, "acknowledged": self.acknowledged, "shut": self.shut, "kills": self.kills}
        return {
            _LOST: Cell(text=f"{self.lost:,} of {self.acknowledged:,}", facts=facts),
            _SHUT: Cell(text=f"{self.shut} of {self.kills}", note=word),
            _BEYOND: Cell(text=f"{self.stuck} of {self.kills}"),
            _STRANGE: Cell(text=f"{self.strange:,}"),
        }


def _kill_once(host: Host, root: Path, after_s: float) -> int:
    """Let a process append, and kill it.

    Returns:
        How many messages it was acknowledged.
    """
    counts = str(root) + ".counts"
    Counts.make(counts)
    counter = Counts(counts)
    with host.workers() as (writer,):
        writer.ask("open_store", key=STORE, root=str(root))
        writer.ask("fill", key=STORE, session=_SESSION, start=0, count=_LENGTH)
        writer.tell("append_and_count", key=STORE, session=_SESSION, start=_LENGTH, counts=counts)
        until = time.monotonic() + _FIRST_LIMIT_S
        while not counter.value:
            if time.monotonic() > until:
                raise PeerFailed(f"no append within {_FIRST_LIMIT_S:.3g} s")
            time.sleep(0.0005)
        time.sleep(after_s)
        if (status := writer.kill()) not in (None, -9):
            raise PeerFailed(f"its process ended by itself with status {status}")
    acknowledged = counter.value
    counter.close()
    return _LENGTH + acknowledged


def _look(host: Host, root: Path, acknowledged: int, wrecks: _Wrecks) -> None:
    """In a new process: read, and append one more."""
    wrecks.kills += 1
    wrecks.acknowledged += acknowledged
    with host.workers() as (reader,):
        try:
            reader.ask("open_store", key=STORE, root=str(root))
            found = reader.ask("numbers", key=STORE, session=_SESSION)
        except Unmeasured as error:
            wrecks.shut += 1
            wrecks.lost += acknowledged
            wrecks.stuck += 1
            wrecks.words[str(error)] += 1
            return
        wrecks.lost += len(set(range(acknowledged)) - set(found["numbers"]))
        wrecks.strange += found["strange"]
        beyond = acknowledged + 10
        try:
            reader.ask("append_one", key=STORE, session=_SESSION, number=beyond)
            wrecks.stuck += reader.ask("numbers", key=STORE, session=_SESSION)["numbers"][-1] != beyond
        except Unmeasured as error:
            wrecks.stuck += 1
            wrecks.words[str(error)] += 1


def _one_peer(run: Run, name: str, host: Host) -> Cells:
    del name
    wrecks = _Wrecks()
    when = random.Random(_SEED)  # the same moments for everyone
    for turn in range(run.scale.kills):
        root = run.place("crash", host.slug) / str(turn)
        _look(host, root, _kill_once(host, root, when.uniform(0.0, _LATEST_S)), wrecks)
    return wrecks.cells()


def _measure(run: Run) -> list[Row]:
    found = each_peer(run, f"kill -9, {run.scale.kills} times", lambda name, host: _one_peer(run, name, host))
    return columns(run, _GROUP, found, _HEADS)


CRASH = Bench(WORKS, _measure)
