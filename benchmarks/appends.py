"""Appends by one process: at growing lengths of the session, and in both durabilities.

One store, and one database for each of SQLite's ways, for each length and each way of filling: a session's neighbours cost
nothing here. A session that has doubled in length by being measured is replaced by a fresh one, so that "at 10" stays near
10. Half of the turns go to sessions that were filled by single appends and half to such as were filled by ``extend``: how a
session was filled must not show, and the row's facts give both medians.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks import floor
from benchmarks.bench import Bench, Scale
from benchmarks.floor import Floor
from benchmarks.measure import US, Figure, Sample, alternate, clock, timed
from benchmarks.message import ROLE, text
from benchmarks.report import AUTOCOMMIT, FLOOR, OURS, SQLITE, Goal, Row
from benchmarks.setups import fill
from benchmarks.sqlite_peer import Peer
from hierstore import SessionStore

_SYSTEMS = (OURS, SQLITE, AUTOCOMMIT, FLOOR)
_YOUNG = "sqlite_while_its_wal_grows_us"
_OVERWRITE = "floor_overwrite"
_FILLS = ("append", "extend")


class Track:
    """The compared systems with sessions of one length, filled in one way.

    Args:
        folder: not there yet.
        size: messages in a session before it is measured.
        by_extend: fill it with ``extend`` rather than one by one.
        power: let an append survive a power cut, in all systems.
    """

    def __init__(self, folder: Path, size: int, *, by_extend: bool, power: bool = False) -> None:
        folder.mkdir()
        durability: Literal["process", "power"] = "power" if power else "process"
        synchronous = "FULL" if power else "NORMAL"
        self._size = size
        self._by_extend = by_extend
        self._numbers = itertools.count()
        self._open = ExitStack()
        self._store = self._open.enter_context(SessionStore(folder / "store", durability=durability))
        self._peers = {
            SQLITE: self._open.enter_context(closing(Peer(folder / "peer.db", synchronous=synchronous))),
            AUTOCOMMIT: self._open.enter_context(
                closing(Peer(folder / "bare.db", autocommit=True, synchronous=synchronous))
            ),
        }
        self.while_wal_grows = self._peers[SQLITE].settle()
        self._peers[AUTOCOMMIT].settle()
        bottom = self._open.enter_context(closing(Floor(folder / "floor")))
        self._grown = 0
        self._renew()
        self.overwrite: Sample = timed(bottom.overwrite_synced)
        self.samples: dict[str, Sample] = {
            OURS: self._append,
            SQLITE: partial(self._insert, self._peers[SQLITE]),
            AUTOCOMMIT: partial(self._insert, self._peers[AUTOCOMMIT]),
            FLOOR: timed(bottom.append_synced if power else bottom.append),
        }

    def _renew(self) -> None:
        numbers = [next(self._numbers) for _ in range(self._size)]
        self._name = f"conversation-{next(self._numbers)}"
        self._session = self._store.create(self._name)
        fill(self._session, numbers, by_extend=self._by_extend)
        for peer in self._peers.values():
            peer.fill(self._name, numbers)
        self._grown = 0

    def grow(self, count: int) -> None:
        """Say that each system is about to get so many messages; a session that would more than double is replaced."""
        if self._grown + count > self._size:
            self.verify()
            self._renew()
        self._grown += count

    def verify(self) -> None:
        """See that every system has what it was given.

        Raises:
            RuntimeError: one has not.
        """
        wanted = self._size + self._grown
        found = [len(self._session.messages), *(peer.count(self._name) for peer in self._peers.values())]
        if found != [wanted] * len(found):
            raise RuntimeError(f"{wanted} messages were appended, and the systems have {found}.")

    def _append(self) -> float:
        content = text(next(self._numbers))
        append = self._session.append
        began = clock()
        append(ROLE, content)
        return clock() - began

    def _insert(self, peer: Peer) -> float:
        content = text(next(self._numbers))
        append, name = peer.append, self._name
        began = clock()
        append(name, ROLE, content)
        return clock() - began

    def close(self) -> None:
        """Close everything."""
        self._open.close()


def _name(size: int) -> str:
    return f"append, at {size:,}"


def _growth_name(scale: Scale) -> str:
    return f"append, at {scale.sizes[-1]:,} / at {scale.sizes[0]:,}"


def _rows(scale: Scale) -> Sequence[str]:
    return [*map(_name, scale.sizes), _growth_name(scale)]


def _run(folder: Path, scale: Scale) -> Sequence[Row]:
    with ExitStack() as stack:
        tracks = {
            (size, way): stack.enter_context(closing(Track(folder / f"{size}-{way}", size, by_extend=way == "extend")))
            for size in scale.sizes
            for way in _FILLS
        }
        # Both ways of filling, all lengths and all systems take turns with each other, so that each ratio is of samples
        # of the same moments.
        contenders = {
            (system, size, way): tracks[size, way].samples[system]
            for size in scale.sizes
            for way in _FILLS
            for system in _SYSTEMS
        }

        def before_round(_: int) -> None:
            for track in tracks.values():
                track.grow(scale.append_batch)

        samples = alternate(
            contenders, rounds=scale.append_rounds // 2, batch=scale.append_batch, before_round=before_round
        )
        for track in tracks.values():
            track.verify()
    young = Figure.of([taken for track in tracks.values() for taken in track.while_wal_grows], US).median
    rows = [
        _row(size, {(system, way): samples[system, size, way] for system in _SYSTEMS for way in _FILLS}, young)
        for size in scale.sizes
    ]
    return [*rows, _growth_row(rows, _growth_name(scale))]


def _row(size: int, samples: dict[tuple[str, str], list[float]], young_us: float) -> Row:
    figures = {system: Figure.of([*samples[system, "append"], *samples[system, "extend"]], US) for system in _SYSTEMS}
    facts = {f"hierstore_filled_by_{way}_us": statistics.median(samples[OURS, way]) / US for way in _FILLS}
    facts |= _ratio_of_means(figures) | {_YOUNG: young_us}
    note = "SQLite as it is once its WAL file has stopped growing; its checkpoints are in the mean, not in the median."
    return Row(_name(size), "us", figures, Goal(0.4), floor.APPEND, (note,), facts)


def _ratio_of_means(figures: dict[str, Figure]) -> dict[str, float]:
    return {f"ratio_of_means_to_{peer}_x": figures[OURS].mean / figures[peer].mean for peer in (SQLITE, AUTOCOMMIT)}


def _growth_row(rows: Sequence[Row], name: str) -> Row:
    growth = {
        system: Figure.of([rows[-1].figures[system].median / rows[0].figures[system].median])
        for system in (OURS, SQLITE, AUTOCOMMIT, FLOOR)
    }
    return Row(name, "x", growth, Goal(1.1, against=None))


def _run_power(folder: Path, scale: Scale) -> Sequence[Row]:
    with closing(Track(folder / "power", scale.power_size, by_extend=False, power=True)) as track:
        contenders = track.samples | {_OVERWRITE: track.overwrite}
        samples = alternate(contenders, rounds=scale.power_samples, before_round=lambda _: track.grow(1))
        track.verify()
    figures = {system: Figure.of(taken, US) for system, taken in samples.items()}
    note = (
        "durability='power' against synchronous=FULL. A sync after bytes within a file's size, as in a WAL that is written"
        f" over, costs less than one after the file grew: {_OVERWRITE} in the JSON."
    )
    facts = _ratio_of_means(figures) | {_YOUNG: Figure.of(track.while_wal_grows, US).median}
    return [Row("append, power", "us", figures, Goal(0.7), floor.APPEND_POWER, (note,), facts)]


APPENDS = Bench(_rows, _run)
POWER = Bench(lambda _: ["append, power"], _run_power)
