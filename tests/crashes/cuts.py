"""Real power cuts: writers on a file system of its own, whose power goes at a random moment, and what is there after.

A process that makes random calls tells the test over a pipe of each that it begins and of each that was acknowledged.
At a random moment the file system stops bringing anything to its medium, the writer is killed, and the file system is
mounted anew. The same calls, made once more on a store that nothing happens to, tell what must be there:

- ``power``: the store shows exactly what was acknowledged before the cut, or that and the calls that came after it.
- ``process``: each session is as it was after some call: not before the last time that everything was brought to the
  medium, and not after the call that was under way. A call that touches several sessions is whole in all, or in none.
- Both: nothing is there to repair.

Several processes that write to the same sessions are cut too; there each session's messages tell.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hierstore import (
    HasChildren,
    HierarchyCycle,
    HierstoreError,
    RevisionNotFound,
    Session,
    SessionNotFound,
    SessionStore,
)
from tests.crashes.images import KINDS, Heard, Image, Lab, Unavailable, go_private, sync_all
from tests.figures import Figures
from tests.processes import Zygote
from tests.seam import KEY, View, ever_led, view

MOST_SESSIONS = 7
MOST_CALLS = 40
"""How many calls a writer makes before it waits for its end."""
CUTS = 8
"""How many on one image; in ``power`` also on one store."""
WRITERS = 3
SHARED = ("s0", "s1")
SIZES = (10, 10, 10, 300, 5_000, 60_000)


# The writer


class Player:
    """Makes random calls; the same ones on every store, if it is given the same seed and the same store."""

    def __init__(self, store: SessionStore, seed: str) -> None:
        self.store = store
        self.dice = random.Random(seed)
        self.serial = 0
        self._name = seed.rpartition(" ")[2]

    def step(self) -> str:
        """Make one call that changes something, if the store is such that it does; its name."""
        self.serial += 1
        there = ids_of(self.store)
        calls = _FIRST if len(there) < 2 else _ANY if len(there) < MOST_SESSIONS else _NO_MORE
        name = self.dice.choice(calls)
        with contextlib.suppress(HierarchyCycle, HasChildren, RevisionNotFound):
            _CALLS[name](self, self.store.get(self.dice.choice(there)) if there else None)
        return name

    def new(self) -> str:
        """A name that no other call uses."""
        return f"{self._name}-{self.serial}"

    def text(self) -> str:
        """Something to say, short or long."""
        word = f"{self.new()} "
        return (word * 6_000)[: self.dice.choice(SIZES)] + word

    def some(self) -> list[dict[str, Any]]:
        """Some messages."""
        return [{"role": "user", "content": self.text()} for _ in range(self.dice.randint(1, 4))]

    def another(self) -> str:
        """A session that is there."""
        return self.dice.choice(ids_of(self.store))

    def turn(self, session: Session) -> None:
        with session.turn() as turn:
            for message in self.some():
                turn.append("assistant", message["content"])

    def revert(self, session: Session) -> None:
        if len(session.messages):
            session.revert(session.messages[self.dice.randrange(len(session.messages))].id)

    def with_trash(self, call: Callable[[str], object]) -> None:
        trash = trash_of(self.store)
        if trash:
            call(self.dice.choice(trash))


_CALLS: dict[str, Callable[[Player, Any], object]] = {
    "create": lambda play, _: play.store.create(play.new(), title=play.text()[:100], labels=["x"]),
    "spawn": lambda play, session: session.spawn(play.new(), kind="delegate"),
    "append": lambda play, session: session.append("user", play.text()),
    "extend": lambda play, session: session.extend(play.some()),
    "turn": Player.turn,
    "reset": lambda play, session: session.reset(),
    "set_title": lambda play, session: session.set_title(play.text()[:50]),
    "update": lambda play, session: session.update(labels=[play.new()], metadata={"step": play.serial}, pinned=True),
    "set_ref": lambda play, session: session.set_ref("thread", play.text()),
    "add_usage": lambda play, session: session.add_usage(tokens=play.serial),
    "snapshot": lambda play, session: session.snapshot(play.new()),
    "revert": Player.revert,
    "undo_revert": lambda play, session: session.undo_revert(),
    "fork": lambda play, session: session.fork(play.new()),
    "move": lambda play, session: session.move(play.dice.choice([None, play.another()])),
    "delete": lambda play, session: play.store.delete(
        session, children=play.dice.choice(["cascade", "orphan", "refuse"])
    ),
    "restore": lambda play, _: play.with_trash(play.store.restore),
    "purge": lambda play, _: play.with_trash(play.store.purge),
    "compact": lambda play, session: session.compact(keep=play.dice.choice(["snapshots", "present"])),
    "share": lambda play, session: session.share(subtree=play.dice.random() < 0.5),
    "unshare": lambda play, session: session.unshare(),
    "bind": lambda play, session: play.store.bind(KEY, session),
    "unbind": lambda play, _: play.store.unbind(KEY),
    "route": lambda play, _: play.store.route(KEY, session_id=play.new()),
    "route anew": lambda play, _: play.store.route(KEY, session_id=play.new(), reset_idle_s=1e-9),
    "import": lambda play, _: play.store.import_bundle(bundle_of(play.new()), on_conflict="refuse"),
}
_MORE = ("create", "fork", "fork", "spawn", "spawn", "restore", "restore", "route anew", "import")
_FIRST = ("create",)
_NO_MORE = (
    *(name for name in _CALLS if name not in _MORE),
    "append",
    "append",
    "extend",
    "delete",
    "delete",
    "compact",
)
_ANY = (*_NO_MORE, *_MORE, "append")


def ids_of(store: SessionStore) -> list[str]:
    """Every session that is there."""
    nodes = list(store.tree())
    for node in nodes:
        nodes.extend(node.children)
    return sorted(node.id for node in nodes)


def trash_of(store: SessionStore) -> tuple[str, ...]:
    """Every session in the trash."""
    return tuple(sorted(path.name.split(".")[1] for path in (store.root / "trash").glob("*.jsonl")))


def bundle_of(name: str) -> Any:
    """Two sessions to import, one below the other."""
    return json.loads(_bundle().replace('"the top"', f'"{name}"').replace('"below it"', f'"{name}b"'))


@functools.cache
def _bundle() -> str:
    with tempfile.TemporaryDirectory() as folder, SessionStore(folder) as store:
        top = store.create("the top")
        top.extend([{"role": "user", "content": "x" * 6_000}, {"role": "assistant", "content": "y"}])
        top.spawn("below it").append("user", "below")
        return json.dumps(store.export(top))


def play_until_cut(pipe: int, root: Path, durability: Any, seed: str) -> None:
    """In a forked process: say ``b`` before each call and ``d`` after it; ``e`` and why when one fails."""
    try:
        player = Player(SessionStore(root, durability=durability), seed)
        for _ in range(MOST_CALLS):
            os.write(pipe, b"b")
            player.step()
            os.write(pipe, b"d")
    except (HierstoreError, OSError) as error:
        os.write(pipe, b"e" + repr(error).encode())
    signal.pause()


def crowd_until_cut(pipe: int, root: Path, durability: Any, seed: str) -> None:
    """In a forked process: append to what others append to as well, ``d`` after each; ``e`` and why when one fails."""
    try:
        store, dice, name = SessionStore(root, durability=durability), random.Random(seed), seed.rpartition(" ")[2]
        for number in range(MOST_CALLS):
            session = store.get(dice.choice(SHARED))
            session.append("user", "x" * dice.choice(SIZES), message_id=f"{name}.{number}")
            os.write(pipe, b"d")
    except (HierstoreError, OSError) as error:
        os.write(pipe, b"e" + repr(error).encode())
    signal.pause()


# The judge


def power_trials(lab: Lab, seed: str, cuts: int, counts: Counter[str]) -> None:
    """Cut after cut on one store: what was found after one is what the next begins with."""
    model = lab.image.memory / "model"
    for number in range(cuts):
        name = f"{seed} g{number}"
        [heard] = lab.cut(
            [functools.partial(play_until_cut, root=lab.root, durability="power", seed=name)], MOST_CALLS, brings=False
        )
        with _repeatable(lab, name, [heard], counts), SessionStore(model) as plain:
            player = Player(plain, name)
            for _ in range(heard.before):
                player.step()
            with SessionStore(lab.root, durability="power") as store:
                counts["calls that got through unacknowledged"] += _follow(plain, player, view(store), heard)
                _judge_whole(store)
                for each in (store, plain):
                    _write_something(each, name)


def _follow(plain: SessionStore, player: Player, found: View, heard: Heard) -> int:
    """Let the model make those calls too that got through without being acknowledged in time; how many."""
    calls = []
    for more in range(heard.done - heard.before + 2):
        shown = view(plain)
        if found == shown:
            return more
        if calls[-1:] == ["route anew"] and found == View(shown.sessions, shown.trash, found.lead):
            # In steps: the session is there before the key leads to it, and the next call of route takes it.
            plain.bind(KEY, found.lead) if found.lead else plain.unbind(KEY)
            return more
        calls.append(player.step())
    raise AssertionError(
        f"neither what was acknowledged, nor that and what was under way ({calls}): {differ(found, shown)}"
    )


def differ(found: View, wanted: View) -> str:
    """In what a store is another than it should be."""
    names = sorted({*found.sessions, *wanted.sessions})
    parts = [(name, found.sessions.get(name), wanted.sessions.get(name)) for name in names]
    told = [f"{name}: {_short(here)} instead of {_short(there)}" for name, here, there in parts if here != there]
    return "; ".join([*told, f"trash {found.trash}, {wanted.trash}; lead {found.lead}, {wanted.lead}"])


def process_trials(lab: Lab, seed: str, cuts: int, counts: Counter[str]) -> None:
    """Cut after cut, each on a store of its own."""
    model = lab.image.memory / "model"
    for number in range(cuts):
        lab.clear(lab.root, model)
        name = f"{seed} g{number}"
        [heard] = lab.cut(
            [functools.partial(play_until_cut, root=lab.root, durability="process", seed=name)], MOST_CALLS, brings=True
        )
        with _repeatable(lab, name, [heard], counts):
            states, calls, led = _states(model, name, heard)
            with SessionStore(lab.root) as store:
                found = view(store)
                assert found.lead in led, f"the key leads to {found.lead} instead of any of {led}"
                counts["sessions that lost their newest commits"] += judge_prefixes(found, states, calls)
                _judge_whole(store)
                _restore_all(store)
                _write_something(store, name)


def crowd_trials(lab: Lab, seed: str, cuts: int, counts: Counter[str]) -> None:
    """Cut after cut, of several writers to the same sessions, in one durability and in the other."""
    for number in range(cuts):
        durability = ("power", "process")[number % 2]
        lab.clear(lab.root)
        with SessionStore(lab.root) as store:
            for session_id in SHARED:
                store.create(session_id)
        sync_all(lab.image.mounted)
        names = [f"{seed} g{number}w{writer}" for writer in range(WRITERS)]
        works = [functools.partial(crowd_until_cut, root=lab.root, durability=durability, seed=name) for name in names]
        all_heard = lab.cut(works, MOST_CALLS, brings=durability == "process")
        with _repeatable(lab, f"{seed} g{number} ({durability})", all_heard, counts), SessionStore(lab.root) as store:
            found = [[message.id for message in store.get(name).messages] for name in SHARED]
            for name, heard in zip(names, all_heard, strict=True):
                _judge_one_of_many(name, found, heard, durability)
            _judge_whole(store)
            _write_something(store, f"{seed} g{number}")


def _judge_one_of_many(name: str, found: list[list[str]], heard: Heard, durability: str) -> None:
    """Of one writer every session has the first messages, in order; ``power``: all those that were acknowledged."""
    dice, sent = random.Random(name), [[], []]
    for number in range(MOST_CALLS):
        sent[SHARED.index(dice.choice(SHARED))].append((number, f"{name.rpartition(' ')[2]}.{number}"))
        dice.choice(SIZES)
    floor = heard.before if durability == "power" else heard.floor
    for there, wanted in zip(found, sent, strict=True):
        own = [message_id for message_id in there if message_id.startswith(f"{name.rpartition(' ')[2]}.")]
        assert own == [message_id for _, message_id in wanted[: len(own)]], f"{own} is not how {name} began"
        lost = [message_id for number, message_id in wanted[len(own) :] if number < floor]
        assert not lost, f"{lost} was acknowledged"
        assert all(number <= heard.done for number, _ in wanted[: len(own)])


@contextlib.contextmanager
def _repeatable(lab: Lab, seed: str, all_heard: list[Heard], counts: Counter[str]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"the cut of seed {seed!r} on {lab.image.kind}, mounted {lab.options!r} after it: {all_heard}")
        raise
    counts["calls acknowledged before a cut"] += sum(heard.before for heard in all_heard)
    counts["cuts"] += 1


def _judge_whole(store: SessionStore) -> None:
    problems = store.check().problems
    assert problems == (), problems


def _restore_all(store: SessionStore) -> None:
    """What is in the trash comes back; but of what was only just made, nothing may have come to the medium."""
    for session_id in trash_of(store):
        if session_id in trash_of(store):
            with contextlib.suppress(SessionNotFound):
                store.restore(session_id)
    _judge_whole(store)


def _write_something(store: SessionStore, name: str) -> None:
    """After a cut every session takes a write, new ones can be made, and there is nothing wrong then either."""
    for session_id in ids_of(store):
        assert store.get(session_id).append("user", name) == store.get(session_id).messages[-1]
    store.create(f"{name.rpartition(' ')[2]}-after").append("user", "next")
    _judge_whole(store)


def _states(model: Path, name: str, heard: Heard) -> tuple[list[View], list[str], set[str | None]]:
    """What a store may show that was cut: after the last call that is on the medium for certain, and each one since.

    Returns:
        The states, the calls between them, and where the key led at any time.
    """
    with SessionStore(model) as plain:
        player = Player(plain, name)
        states, calls = [], []
        for number in range(heard.done + 2):
            if number >= heard.floor:
                states.append(view(plain))
            calls.append(player.step())
        return states, calls[heard.floor : -1], ever_led(plain)


def judge_prefixes(found: View, states: list[View], calls: list[str]) -> int:
    """Each session is as after some call, and a call that touched several shows in all of them or in none.

    Returns:
        How many sessions lost something.
    """
    names = {*found.sessions, *found.trash}.union(*(state.sessions for state in states))
    history = {name: [_part(state, name) for state in states] for name in names}
    may: dict[str, set[int]] = {}
    for name, parts in history.items():
        may[name] = {number for number, part in enumerate(parts) if part == _part(found, name)}
        if not may[name] and calls[-1:] == ["delete"] and _part(found, name) in map(_orphaned, parts):
            # Opening the store finished the delete that was under way, on a child that had lost its newest commits.
            may[name] = {len(states) - 1}
        assert may[name], f"{name} was never like this: {_short(_part(found, name))}; but {_shorts(parts)}"
    # One that was only just made, and did not come to the medium, cannot show what was done to it since.
    lost = {name for name in names if _part(found, name) == "not there"}
    touched = [
        [
            name
            for name, parts in history.items()
            if parts[number] != parts[number - 1] and not (name in lost and parts[number - 1] != "not there")
        ]
        for number in range(1, len(states))
    ]
    is_settled = False
    while not is_settled:
        is_settled = True
        for number, several in enumerate(touched, 1):
            for name in several:
                if all(moment >= number for moment in may[name]):
                    kept = {other: {moment for moment in may[other] if moment >= number} for other in several}
                elif all(moment < number for moment in may[name]):
                    kept = {other: {moment for moment in may[other] if moment < number} for other in several}
                else:
                    continue
                assert all(kept.values()), f"{calls[number - 1]} is half there, of {several}: {kept}"
                is_settled = is_settled and all(kept[other] == may[other] for other in several)
                may.update(kept)
    return sum(max(moments) < len(states) - 2 for moments in may.values())


def _part(shown: View, name: str) -> Any:
    """What its own log says of a session; who its children are, others' logs say too."""
    if name in shown.sessions:
        return {**shown.sessions[name], "children": None}
    return "in the trash" if name in shown.trash else "not there"


def _orphaned(part: Any) -> Any:
    return {**part, "parent": None} if isinstance(part, dict) else part


def _short(part: Any) -> Any:
    if part is None or isinstance(part, str):
        return part
    messages = [f"{role} {content[:20]}({len(content)})" for _, role, content in part["messages"]]
    return {**part, "messages": messages, "snapshots": len(part["snapshots"])}


def _shorts(parts: list[Any]) -> str:
    return "; ".join(dict.fromkeys(str(_short(part)) for part in parts))


# In a child of the tests


TRIALS = {"power": power_trials, "process": process_trials, "crowd": crowd_trials}


def run_cuts(folder: Path, kind: str, trial: str, seed: str) -> Counter[str] | str:
    """In a child: cut power ``CUTS`` times on a new file system; what was gone through, or why that cannot be done here.

    Raises:
        AssertionError: something was not as promised; its notes tell what repeats it.
    """
    counts: Counter[str] = Counter()
    try:
        go_private()
        with Image(folder, kind) as image:
            TRIALS[trial](Lab(image, random.Random(seed)), seed, CUTS, counts)
    except Unavailable as error:
        return str(error)
    return counts


def count(figures: Figures, kind: str, trial: str, counts: Counter[str]) -> None:
    """Add up what ``run_cuts`` answered."""
    for what, number in sorted(counts.items()):
        figures.add(f"power cuts of {kind}, {trial}" if what == "cuts" else f"{what}, {trial}", number)


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Cut power until the time is over, in turn of each file system and in each durability."""
    deadline = time.monotonic() + seconds
    zygote = Zygote()
    try:
        round_ = 0
        while time.monotonic() < deadline:
            for kind in KINDS:
                for trial in TRIALS:
                    if time.monotonic() < deadline:
                        _soak_one(zygote, figures, folder, kind, trial, f"{seed}.{round_}")
            round_ += 1
    finally:
        zygote.close()


def _soak_one(zygote: Zygote, figures: Figures, folder: Path, kind: str, trial: str, seed: str) -> None:
    child = zygote.start()
    try:
        answer = child.call(run_cuts, folder, kind, trial, seed)
    finally:
        child.kill()
        child.pipe.close()
    if isinstance(answer, str):
        figures.add(f"skipped: {kind}, {trial}: {answer}")
    else:
        count(figures, kind, trial, answer)
