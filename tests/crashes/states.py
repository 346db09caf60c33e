"""Every state that a power cut may leave behind a public call, opened and judged.

A run makes a store, all of it on the medium, records what a call does to it after two appends that were acknowledged,
and asks the model what a power cut could leave at each of its moments. Each such folder is made, opened, and held to
what the store promises:

``power``: what was acknowledged is there; the call that was cut off is done or not begun.

``process``: each session is as it was at some moment since the beginning, which was on the medium: nothing of that is
lost, nothing torn or mixed is shown; the last commits may be gone, and so may be a session that was only made then.

In both a call is there whole or not at all, whatever it touches, and ``check()`` has nothing to say: no child that its
parent does not list, no key or share that one side knows and the other does not. Calling it again works.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hierstore import HierstoreError, SessionNotFound, SessionStore
from hierstore.disk.logfile import parse_log
from hierstore.naming import stripe_of
from tests.crashes.filesystem import FileSystem, State
from tests.crashes.recorder import Answer, Recorder, Sync, SyncDirectory
from tests.figures import Figures
from tests.processes import replaced
from tests.seam import KEY, LONG, OPERATIONS, Operation, View, ever_led, family, finish, view
from tests.support import log_of

Step = Callable[[SessionStore], Any]


# What is cut off


@functools.cache
def _bundle(*, as_lines: bool) -> Any:
    """What another store exports: three sessions, one of them a fork, with a key."""
    with tempfile.TemporaryDirectory() as folder, SessionStore(folder) as store:
        top = store.create("i", title="imported")
        top.append("user", "hello")
        top.append("user", LONG)
        store.bind(KEY, top)
        top.fork("i fork").append("user", "own")
        top.spawn("i child").append("user", "leaf")
        return list(store.export_lines("i")) if as_lines else store.export("i")


def _keep_two(store: SessionStore) -> None:
    for name in ("top", "a"):
        store.get(name).update(pinned=True)


def _note_a_fork(store: SessionStore) -> None:
    """Its parent's log has nothing more to say of a fork of that name."""
    store.get("a").fork("new")
    store.delete("new")
    store.purge("new")


def _delete_both(store: SessionStore) -> None:
    for name in ("branch", "top"):
        store.delete(name, children="orphan")


def _make_anew(store: SessionStore) -> None:
    """What is left behind of the first must not befall the second."""
    if "aa" in store:
        store.delete("aa")
    store.create("aa", title="another")


def _damage(store: SessionStore) -> None:
    """A torn tail, a damaged line with whole ones behind it, a key that the registry does not know, a stray."""
    store.bind(KEY, "ab")
    store.get("aa").append("user", "behind the damage")
    torn, damaged = log_of(store, "a"), log_of(store, "aa")
    with torn.open("ab") as file:
        file.write(b'{"message":{"seq":9')
    data = bytearray(damaged.read_bytes())
    data[data.index(b'"leaf"') + 1] ^= 1
    damaged.write_bytes(data)
    (store.root / "registry" / f"{stripe_of(KEY):02x}.jsonl").unlink()
    (store.root / "tmp" / "left.log").write_bytes(b"left")


def _operation(run: Step, prepare: Step = lambda store: None, **facts: Any) -> Operation:
    return Operation(prepare, run, frozenset(), **facts)


MORE: dict[str, Operation] = {
    "import_bundle": _operation(
        lambda s: s.import_bundle(_bundle(as_lines=False), on_conflict="refuse", parent="a", routes=True),
        again="SessionExists",
    ),
    "import_lines": _operation(
        lambda s: s.import_lines(_bundle(as_lines=True), on_conflict="refuse", routes=True), again="SessionExists"
    ),
    "repair": _operation(lambda s: s.repair(), _damage, is_stepwise=True),
    "fork, noted before": _operation(lambda s: s.get("a").fork("new"), _note_a_fork, again="SessionExists"),
    "purge what a deleted fork shows": _operation(
        lambda s: s.purge("top"),
        _delete_both,
        again="SessionNotFound",
    ),
    "delete and create": _operation(_make_anew, is_stepwise=True, adds=True),
    "prune": _operation(lambda s: s.prune(max_sessions=3), _keep_two, is_stepwise=True),
}  # fmt: skip
ALL = {**OPERATIONS, **MORE}
NEW = "a new store"
DURABILITIES = ("process", "power")


# A run


@dataclass(frozen=True)
class Run:
    """Calls that were recorded.

    Attributes:
        names: the operations, one after the other; or ``NEW`` alone.
        durability: the store's.
        root: where the store was. Its states are made there again.
        recorder: what happened.
        views: what the store showed at the beginning, after the first answer, after the second, …
        trashed: how many messages each session had that was in the trash at the beginning.
        earlier: how many calls were made before the operations.
        led: where the key led at any time.
    """

    names: tuple[str, ...]
    durability: str
    root: Path
    recorder: Recorder
    views: tuple[View, ...]
    trashed: dict[str, int | None]
    earlier: int
    led: set[str | None]

    @property
    def steps(self) -> int:
        """How many calls there were."""
        return len(self.views) - 1

    @property
    def operations(self) -> list[Operation]:
        """Those of ``names``."""
        return [] if self.names == (NEW,) else [ALL[name] for name in self.names]

    def is_stepwise(self, step: int) -> bool:
        """Whether a call does independent steps itself."""
        return step >= self.earlier and bool(self.operations) and self.operations[step - self.earlier].is_stepwise


def _append(session_id: str, text: str) -> Step:
    return lambda store: store.get(session_id).append("user", text)


EARLIER = (_append("ba", "acknowledged"), _append("b", "this one too"))
"""What was acknowledged before, in sessions that are there for nearly every operation."""


def record(folder: Path, names: Sequence[str], durability: str) -> Run:
    """Make a store, and record some operations on it, after a few appends."""
    root = folder / "store"
    if tuple(names) == (NEW,):
        root.mkdir(mode=0o700)
        steps: list[Step] = [lambda s: s.create("new", title="t"), lambda s: s.get("new").append("user", LONG)]
        return _record(root, names, durability, steps, 0)
    with SessionStore(root, durability="power") as store:
        family(store)
        for name in names:
            _maybe_refused(ALL[name].prepare, store)
    return _record(root, names, durability, [*EARLIER, *(ALL[name].run_or_be_refused for name in names)], len(EARLIER))


def _record(root: Path, names: Sequence[str], durability: str, steps: Sequence[Step], earlier: int) -> Run:
    recorder = Recorder(root)
    views, trashed = [], _trashed(root)
    with contextlib.ExitStack() as stack:
        with recorder.recording():
            store = stack.enter_context(SessionStore(root, durability=durability))  # type: ignore[arg-type]
        # A second pair of eyes: what it reads, the first one has not cached.
        eyes = stack.enter_context(SessionStore(root))
        views.append(view(eyes))
        for step in steps:
            with recorder.recording():
                _maybe_refused(step, store)
            recorder.answer()
            views.append(view(eyes))
        led = ever_led(eyes)
    run = Run(tuple(names), durability, root, recorder, tuple(views), trashed, earlier, led)
    _is_what_happened(run)
    return run


def _maybe_refused(step: Step, store: SessionStore) -> None:
    """Make a call; of several, one may have taken away what another works on."""
    with contextlib.suppress(HierstoreError):
        step(store)


def _is_what_happened(run: Run) -> None:
    """The model, without a power cut, ends with the folder as it is."""
    disk = FileSystem(run.recorder)
    for happened in run.recorder.records:
        disk.apply(happened)
    live, found = disk.live(), Recorder(run.root)
    there = {path: found.data[file] for path, file in found.files}
    assert {path: live.data[file] for path, file in live.files} == there, "the recorder missed something"


# Its states


@dataclass(frozen=True)
class Point:
    """A moment at which the power goes: after so many records, and so many answers."""

    records: int
    answered: int


def points(run: Run) -> Iterator[Point]:
    """The moments before each sync and each answer of the operations, and the end.

    At any other moment a power cut leaves nothing that it could not leave at the next of these: what was done in between
    may be lost again, and only a sync takes possibilities away.
    """
    answered = 0
    for number, happened in enumerate(run.recorder.records):
        if answered >= run.earlier and isinstance(happened, Answer | Sync | SyncDirectory):
            yield Point(number, answered)
        answered += isinstance(happened, Answer)
    yield Point(len(run.recorder.records), answered)


def chosen(run: Run, seed: int, limit: int) -> list[tuple[Point, State]]:
    """The states that differ: all, or, of more than ``limit``, the plainest of each moment and a sample of the rest."""
    choice = random.Random(f"{seed} {run.names} {run.durability}")
    disk = FileSystem(run.recorder)
    kept: dict[tuple[object, int], tuple[Point, State]] = {}
    done = 0
    for point in points(run):
        for happened in run.recorder.records[done : point.records]:
            disk.apply(happened)
        done = point.records
        for state in disk.states(choice, 2 * limit):
            # What must be there depends on what was acknowledged.
            promised = point.answered if run.durability == "power" else 0
            kept.setdefault((state.content, promised), (point, state))
    found = list(kept.values())
    if len(found) <= limit:
        return found
    ranks = [[place for place, (_, state) in enumerate(found) if state.rank == rank] for rank in range(3)]
    room = max(0, limit - len(ranks[0]))
    extremes = choice.sample(ranks[1], min(len(ranks[1]), max(room // 2, room - len(ranks[2]))))
    others = choice.sample(ranks[2], min(len(ranks[2]), room - len(extremes)))
    return [found[place] for place in sorted([*ranks[0], *extremes, *others])]


# What is promised of them


class Judge:
    """Holds states of one run to what the store promises of them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._is_mixed = len(run.operations) > 1 or run.is_stepwise(run.steps - 1)
        # Now, and not when it is asked for: it works where the states are made.
        self._shown = self._show_each() if self._is_mixed else []

    def judge(self, point: Point, state: State) -> None:
        """Make a state, open it and look, and go on working with it.

        Raises:
            AssertionError: it is not as promised.
        """
        run = self.run
        with self._made(state) as store:
            found = view(store)
            if run.durability == "power":
                self._is_what_was_acknowledged(point, found)
            else:
                self._is_a_beginning(found)
            if "repair" in run.names:
                store.repair()
            _is_sound(store)
            self._keeps_what_was_deleted()
            if run.durability == "power" and len(run.operations) == 1:
                finish(store, run.operations[0], run.views[-1])
                return
            for operation in run.operations:
                _maybe_refused(operation.run, store)
            _use_all(store)
            _is_sound(store)

    @contextlib.contextmanager
    def _made(self, state: State) -> Iterator[SessionStore]:
        shutil.rmtree(self.run.root)
        state.write_to(self.run.root)
        with SessionStore(self.run.root, durability=self.run.durability) as store:  # type: ignore[arg-type]
            yield store

    def _show_each(self) -> list[View]:
        """What the store shows after each record: what its independent steps make of it, one by one."""
        disk = FileSystem(self.run.recorder)
        shown: list[View] = [self.run.views[0]]
        last: object = disk.live().content
        for happened in self.run.recorder.records:
            disk.apply(happened)
            live = disk.live()
            if live.content != last:
                last = live.content
                with self._made(live) as store:
                    shown.append(view(store))
        return shown

    def _keeps_what_was_deleted(self) -> None:
        """What is in the trash can be read, and has the messages that it had."""
        for name, count in _trashed(self.run.root).items():
            shown = [view.sessions[name] for view in [*self.run.views, *self._shown] if name in view.sessions]
            known: set[int | None] = {len(facts["messages"]) for facts in shown}
            if name in self.run.trashed or name not in self.run.views[0].sessions:
                known.add(self.run.trashed.get(name))
            assert count in known, f"{name!r} has {count} messages in the trash; it had {known}"

    # Power

    def _is_what_was_acknowledged(self, point: Point, found: View) -> None:
        views = self.run.views
        before = views[point.answered]
        if point.answered == self.run.steps:
            assert found == before, "what was acknowledged is not there"
        elif self.run.is_stepwise(point.answered):
            self._is_between(found, before, views[point.answered + 1])
        else:
            assert found in (before, views[point.answered + 1]), "neither done nor not begun, or something else is lost"

    def _is_between(self, found: View, before: View, after: View) -> None:
        """Independent steps: each session is as it was at some moment of them."""
        _each_session_is_in(found, [before, after, *self._shown])
        trash = set(before.trash), set(after.trash)
        assert trash[0] & trash[1] <= set(found.trash) <= trash[0] | trash[1]
        assert found.lead in (before.lead, after.lead)

    # Process

    def _is_a_beginning(self, found: View) -> None:
        *before, after = self.run.views
        if self._is_mixed:
            _each_session_is_in(found, [*self.run.views, *self._shown])
            assert found.lead in self.run.led, "the key leads where it never led"
            return
        _each_session_is_in(found, self.run.views)
        touched = _touched(before[-1], after)
        is_done = [found.sessions.get(name) == after.sessions.get(name) for name in touched]
        is_absent = [any(found.sessions.get(name) == shown.sessions.get(name) for shown in before) for name in touched]
        is_done.append((found.trash, found.lead) == (after.trash, after.lead))
        is_absent.append((found.trash, found.lead) == (before[-1].trash, before[-1].lead))
        assert all(is_done) or all(is_absent), "some of it is done, and some is not"


def _trashed(root: Path) -> dict[str, int | None]:
    """The sessions in the trash, and how many messages each has; None for one that was never on the medium."""
    counts: dict[str, int | None] = {}
    for path in sorted(root.glob("trash/*.jsonl")):
        name = path.name.split(".")[1]
        try:
            parsed = parse_log(path.read_bytes(), name, os.fsencode(path))
        except SessionNotFound:
            counts[name] = None
        else:
            assert parsed.fault is None, parsed.fault
            counts[name] = parsed.state.count
    return counts


def _touched(before: View, after: View) -> list[str]:
    """The sessions that a call changed, made or took away."""
    names = before.sessions.keys() | after.sessions.keys()
    return [name for name in names if before.sessions.get(name) != after.sessions.get(name)]


def _each_session_is_in(found: View, shown: Sequence[View]) -> None:
    for name, facts in found.sessions.items():
        known = [_own(other.sessions[name]) for other in shown if name in other.sessions]
        assert _own(facts) in known, f"session {name!r} is as it never was: {facts}"
    for name in shown[0].sessions:
        is_there = name in found.sessions or any(name not in other.sessions for other in shown)
        assert is_there, f"session {name!r} is lost"


def _own(facts: dict[str, Any]) -> dict[str, Any]:
    """What a session's log says itself; who its children are is said by theirs."""
    return {name: value for name, value in facts.items() if name != "children"}


def _is_sound(store: SessionStore) -> None:
    problems = store.check().problems
    assert not problems, f"a check finds {problems}"


def _use_all(store: SessionStore) -> None:
    """The store takes writes everywhere."""
    for name in list(view(store).sessions):
        last = store.get(name).append("user", "next")
        assert store.get(name).messages[-1] == last


def sweep(
    figures: Figures,
    folder: Path,
    names: Sequence[str],
    durability: str,
    *,
    seed: int,
    limit: int,
    until: float = float("inf"),
) -> None:
    """Record some operations, and judge what a power cut may leave of them.

    Args:
        figures: counts the states.
        folder: where to work; empty.
        names: of the operations.
        durability: the store's.
        seed: what random choices begin with.
        limit: how many states at most, unless there are more moments than that.
        until: when to end, by the monotonic clock.
    """
    # What is on the medium is the model's business here: to bring it there as well would only take time.
    with replaced(os, fsync=_nothing, fdatasync=_nothing):
        run = record(folder, names, durability)
        judge = Judge(run)
        for point, state in chosen(run, seed, limit):
            if time.monotonic() > until:
                return
            try:
                judge.judge(point, state)
            except Exception as error:
                raise AssertionError(_story(run, point, state, seed, limit)) from error
            figures.add(f"crash states of {names[0]}" if len(names) == 1 else "crash states of several calls")


def _nothing(fd: int) -> None:
    pass


def _story(run: Run, point: Point, state: State, seed: int, limit: int) -> str:
    records = run.recorder.records[: point.records]
    happened = "\n".join(f"  {number} {str(record)[:200]}" for number, record in enumerate(records))
    return (
        f"sweep(figures, folder, {list(run.names)}, {run.durability!r}, seed={seed}, limit={limit}): power cut after"
        f" {point.answered} of {run.steps} answers; {state.how}\n{happened}"
    )


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Ever new runs of one call or several, until the time is over."""
    until = time.monotonic() + seconds
    choice = random.Random(seed)
    while time.monotonic() < until:
        count = choice.choice([1, 1, 2, 3, 4])
        # What is damaged refuses what the others would do.
        names = choice.choices([name for name in ALL if name != "repair"], k=count)
        if choice.random() < 0.04:
            names = [choice.choice([NEW, "repair"])]
        below = folder / "run"
        below.mkdir()
        sweep(figures, below, names, choice.choice(DURABILITIES), seed=choice.randrange(2**32), limit=200, until=until)
        shutil.rmtree(below)
