"""Histories: eight processes do random things to few sessions, some are killed, and every answer is judged.

``tests.races.checker`` says whether any correct store could have given those answers.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hierstore import SessionStore
from tests.figures import Figures
from tests.processes import Child, Zygote
from tests.races import checker
from tests.races.calls import (
    CALLS,
    KEYS,
    PROCESSES,
    READS,
    REFS,
    REMADE,
    SESSIONS,
    Call,
    Life,
    Worker,
    added_bits,
    next_life,
    read_record,
    thing_of,
    work,
)
from tests.races.checker import NEVER, Added, Read, ReadAll, ReadLength, Seen, Sum, Violation, Write

PLANTED_S = 60.0
"""How long a planted defect may stay hidden."""
LONGEST_PAUSE_S = 0.04
"""Between two kills."""

# The history


@dataclass
class History:
    """What all processes wrote down, and what is there in the end.

    Attributes:
        calls: of all of them; the last ones were made when the others were over.
        messages: by session.
        snapshots: their labels, by session.
        children: those that were made, by session.
        kills: how many processes were killed.
    """

    calls: list[Call] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    kills: int = 0


def run(
    start: Callable[[], Child],
    folder: Path,
    seed: int,
    *,
    each: int = 150,
    kills: int = 4,
    plant: Callable[[], None] | None = None,
) -> History:
    """Let the processes work, and kill some.

    Args:
        start: starts a process.
        folder: an empty one.
        seed: what the random choices begin with; how the calls interleave it does not tell.
        each: how many calls each of the eight makes.
        kills: how many processes to kill.
        plant: called in each process first: it breaks the store.
    """
    root, history, random_ = folder / "store", History(), random.Random(seed)
    with SessionStore(root) as store:
        for session_id in SESSIONS:
            store.create(session_id)
    crowd = [_Slot(start, folder, Life(slot, each), seed, plant) for slot in range(PROCESSES)]
    try:
        while history.kills < kills and (busy := [slot for slot in crowd if slot.is_busy()]):
            time.sleep(random_.uniform(0, LONGEST_PAUSE_S))
            history.calls += random_.choice(busy).replace()
            history.kills += 1
        for slot in crowd:
            history.calls += slot.finish()
    finally:
        for slot in crowd:
            slot.end()
    history.calls += look_at_all(root, folder / "last", history)
    return history


class _Slot:
    """One of the processes that there are at once, and those that take its place."""

    def __init__(
        self, start: Callable[[], Child], folder: Path, life: Life, seed: int, plant: Callable[[], None] | None
    ) -> None:
        self._start, self._folder, self._life, self._seed, self._plant = start, folder, life, seed, plant
        self._begin()

    def _begin(self) -> None:
        self._record = self._folder / f"record {self._life.slot} {self._life.number}"
        self._record.touch()
        self._child = self._start()
        if self._plant is not None:
            self._child.call(self._plant)
        self._child.begin(work, self._folder / "store", self._record, self._life, self._seed)

    def is_busy(self) -> bool:
        return not self._child.pipe.poll()

    def replace(self) -> list[Call]:
        """Kill it, and start another."""
        self.end()
        calls = read_record(self._record)
        self._life = next_life(self._life, calls)
        self._begin()
        return calls

    def finish(self) -> list[Call]:
        """Wait until it is done."""
        self._child.result()
        return read_record(self._record)

    def end(self) -> None:
        self._child.kill()
        self._child.pipe.close()


def look_at_all(root: Path, record: Path, history: History) -> list[Call]:
    """Read everything when all is over, from a cold store; what is read now must hold all that was acknowledged."""
    with (
        record.open("ab", buffering=0) as file,
        SessionStore(root) as store,
        SessionStore(root, read_only=True) as reader,
    ):
        worker = Worker(store, reader, file.fileno(), Life(0, 0), random.Random(0))
        for session_id in SESSIONS:
            messages = store.get(session_id).messages
            if [message.seq for message in messages] != list(range(1, len(messages) + 1)):
                raise Violation(f"{session_id}: its messages are numbered {[message.seq for message in messages]}")
            history.messages[session_id] = [thing_of(message) for message in messages]
            history.snapshots[session_id] = [snap.label or "" for snap in store.get(session_id).snapshots]
            history.children[session_id] = [child.id for child in store.get(session_id).children]
            for child in store.get(session_id).children:
                things = [thing_of(message) for message in child.messages]
                if things != history.messages[session_id][: len(things)]:
                    raise Violation(f"{session_id}: its fork {child.id} shows what is no beginning of it: {things}")
            for kind in ("messages", "info", "snapshots", "children", "refs", "usage"):
                assert CALLS[kind][1](worker, session_id)
        for key in KEYS:
            assert worker.resolve_key(key)
        assert worker.listing("")
        if problems := store.check().problems:
            raise Violation(f"check() finds {problems}")
    return read_record(record)


# The judge

_ByTarget = dict[tuple[str, str], list[Call]]


def judge(history: History) -> None:
    """See that the answers are those of a correct store.

    Raises:
        Violation: they are not.
    """
    calls: _ByTarget = defaultdict(list)
    for call in history.calls:
        # A read that was cut off says nothing.
        if call.ended < NEVER or call.kind not in READS:
            calls[call.kind, call.target].append(call)
    for call in calls["listing", ""]:
        if missing := set(SESSIONS) - call.answer.keys():
            raise Violation(f"a listing misses {sorted(missing)}; it shows {sorted(call.answer)}")
    for session_id in SESSIONS:
        _judge_messages(session_id, history, calls)
        _judge_revisions(session_id, history, calls)
        _judge_facts(session_id, calls)
        _judge_usage(session_id, calls)
    for key in KEYS:
        routed = [*map(_routed, calls["route", key])]
        bound = [_write(call, call.args) for call in calls["bind", key]]
        checker.check_register(
            key, None, [*routed, *bound, *(_read(call, call.answer) for call in calls["resolve", key])]
        )
    # Between two lives there is none.
    remade = [_write(call, call.args) for call in calls["remake", REMADE] if call.answer is not False]
    looks = [_read(call, call.answer) for call in calls["look", REMADE] if call.answer is not None]
    checker.check_register(REMADE, None, [*remade, *looks])
    for target in sorted({target for kind, target in calls if kind == "create"}):
        made = [Write(call.begun, call.ended, call.args, True, None, call.answer) for call in calls["create", target]]
        looks = [_read(call, call.answer) for call in calls["look", target]]
        looks += [_read(call, call.answer.get(target, [None])[-1]) for call in calls["listing", ""]]
        checker.check_register(target, None, [*made, *looks])


def _read(call: Call, value: Any) -> Read:
    return Read(call.begun, call.ended, value)


def _write(call: Call, value: Any) -> Write:
    return Write(call.begun, call.ended, value, done=None if call.ended == NEVER else True)


def _routed(call: Call) -> Write | Read:
    """A route makes a session where the key leads nowhere, or shows where it leads."""
    if call.answer in (None, call.args):
        return Write(call.begun, call.ended, call.args, True, None, None if call.answer is None else True)
    return _read(call, call.answer)


def _judge_messages(name: str, history: History, calls: _ByTarget) -> None:
    """What was added to a session, and what was seen of it, in whatever way."""
    added = [
        Added(call.begun, call.ended, tuple(call.args["things"]), call.answer and tuple(call.answer["places"]))
        for call in calls["add", name]
        if call.answer is None or "places" in call.answer
    ]
    forks = [call for call in calls["fork", name] if call.answer is not None]
    reads: list[ReadAll | ReadLength] = _whole([*calls["messages", name], *forks])
    reads += [ReadLength(call.begun, call.ended, call.answer[1]) for call in calls["info", name]]
    reads += [ReadLength(call.begun, call.ended, call.answer[name][1]) for call in calls["listing", ""]]
    reads += [ReadLength(call.begun, call.ended, None, call.args, found=call.answer) for call in calls["search", name]]
    checker.check_sequence(f"messages of {name}", history.messages[name], added, reads)
    for kind, final in (("snapshot", history.snapshots[name]), ("fork", history.children[name])):
        made = [Added(call.begun, call.ended, (call.args,)) for call in calls[kind, name]]
        shown = "children" if kind == "fork" else "snapshots"
        checker.check_sequence(f"{shown} of {name}", final, made, _whole(calls[shown, name]))


def _whole(reads: list[Call]) -> list[ReadAll | ReadLength]:
    return [ReadAll(call.begun, call.ended, call.answer["length"], call.answer["digest"]) for call in reads]


def _judge_revisions(name: str, history: History, calls: _ByTarget) -> None:
    """One revision is one history, and revisions only grow; of those who expect the same one, one is answered."""
    places = {thing: place for place, thing in enumerate(history.messages[name])}
    seen, rows = [], []
    for call in [*calls["info", name], *calls["listing", ""]]:
        revision, count, _ = call.answer[name] if call.kind == "listing" else call.answer
        seen.append(Seen(call.begun, call.ended, revision, revision, f"{name}: revision {revision}"))
        rows.append((revision, count))
    for call in calls["snapshot", name]:
        if call.answer is not None:
            what = f"{name}: a snapshot, revision {call.answer}"
            seen.append(Seen(call.begun, call.ended, call.answer - 1, call.answer, what))
    for call in calls["add", name]:
        expected = call.args.get("expected")
        if call.answer is not None and "actual" in call.answer:
            actual = call.answer["actual"]
            if actual == expected:
                raise Violation(f"{name}: was refused for being at revision {actual}, which was expected")
            seen.append(Seen(call.begun, call.ended, actual, actual, f"{name}: refused at revision {actual}"))
        elif call.answer is not None and expected is not None:
            place = places[call.args["things"][0]]
            what = f"{name}: a message at revision {expected}, which was expected"
            seen.append(Seen(call.begun, call.ended, expected, expected + 1, what))
            rows += [(expected, place), (expected + 1, place + 1)]
    checker.check_real_time(seen)
    checker.check_revisions(name, rows)


def _judge_facts(name: str, calls: _ByTarget) -> None:
    """Its title and its refs, each a register."""
    titles = [_read(call, call.answer[2]) for call in calls["info", name]]
    titles += [_read(call, call.answer[name][2]) for call in calls["listing", ""]]
    checker.check_register(
        f"title of {name}", None, [*titles, *(_write(call, call.args) for call in calls["title", name])]
    )
    for ref in REFS:
        writes = [_write(call, call.args["value"]) for call in calls["set ref", name] if call.args["name"] == ref]
        writes += [
            Write(call.begun, call.ended, call.args["value"], True, call.args["old"], call.answer)
            for call in calls["replace ref", name]
            if call.args["name"] == ref
        ]
        reads = [_read(call, call.answer.get(ref)) for call in calls["refs", name]]
        checker.check_register(f"ref {ref!r} of {name}", None, [*writes, *reads])


def _judge_usage(name: str, calls: _ByTarget) -> None:
    """Its counters: those added to are one sum, whose bits tell who added; the other is a register."""
    sums = [Sum(call.begun, call.ended, 1 << call.args, is_read=False) for call in calls["add usage", name]]
    sums += [Sum(call.begun, call.ended, added_bits(call.answer), is_read=True) for call in calls["usage", name]]
    checker.check_sums(f"usage of {name}", sums)
    totals = [_write(call, call.args) for call in calls["set usage", name]]
    reads = [_read(call, call.answer.get("total")) for call in calls["usage", name]]
    checker.check_register(f"total of {name}", None, [*totals, *reads])


# For tests and for long runs


def run_and_judge(start: Callable[[], Child], folder: Path, seed: int, figures: Figures, **options: Any) -> None:
    """One history.

    Raises:
        Violation: the store gave an answer that no correct one gives; the seed is noted.
    """
    try:
        history = run(start, folder, seed, **options)
        judge(history)
    except Violation as violation:
        violation.add_note(f"seed {seed} {options}; how the processes interleave it does not repeat")
        raise
    figures.add("histories checked")
    figures.add("operations in histories", len(history.calls))
    figures.add("reads checked", sum(call.kind in READS and call.ended < NEVER for call in history.calls))
    figures.add("processes killed in histories", history.kills)


def find(start: Callable[[], Child], folder: Path, plant: Callable[[], None], figures: Figures, seed: int = 0) -> None:
    """Histories with a defect planted, until one is found that no correct store gives.

    Raises:
        AssertionError: none was found within a minute.
    """
    began = time.monotonic()
    for number in itertools.count(seed):
        place = folder / f"planted {number}"
        place.mkdir()
        try:
            judge(run(start, place, number, kills=0, plant=plant))
        except Violation as violation:
            took_s = time.monotonic() - began
            print(f"{plant.__name__}: {number - seed + 1} histories, {took_s:.1f} s: {str(violation)[:300]}")
            figures.add("planted defects found by histories")
            return
        shutil.rmtree(place)
        found_none = f"{plant.__name__}: {number - seed + 1} histories, and nothing found"
        assert time.monotonic() < began + PLANTED_S, found_none


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Histories of various sizes and in various worlds, one after the other, until the time is over."""
    # That module is made of this one.
    from tests.races.test_histories import DEFECTS, let_nothing_tell_files_apart

    over = time.monotonic() + seconds
    random_ = random.Random(seed)
    zygote = Zygote()
    try:
        while time.monotonic() < over:
            place, number = folder / "history", random_.randrange(2**32)
            place.mkdir()
            world = random_.choices(["usual", "trap", "planted"], [8, 2, 1])[0]
            if world == "planted":
                find(zygote.start, place, random_.choice(DEFECTS), figures, number)
            else:
                each, kills = random_.choice([(30, 10), (150, 4), (400, 0), (400, 12)])
                plant = let_nothing_tell_files_apart if world == "trap" else None
                run_and_judge(zygote.start, place, number, figures, each=each, kills=kills, plant=plant)
            shutil.rmtree(place)
    finally:
        zygote.close()
