"""What the processes of a history do: random calls on few sessions, each written down before it and after it.

Each writes to a file of its own, which survives it. A call that was begun and not answered may have happened or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hierstore import RevisionConflict, Session, SessionExists, SessionNotFound, SessionStore
from tests.processes import store_at
from tests.races import checker
from tests.races.checker import NEVER, Violation

PROCESSES = 8
SESSIONS = ("h0", "h1", "h2")
KEYS = ("key 0", "key 1")
REFS = ("thread", "run")
REMADE = "again"
PATIENT_S = 60.0
_BITS = 6
"""How many additions each process has in one counter: 8 times 6 powers of two fit a number of 64 bits."""
_WIDTH = _BITS * PROCESSES


def content_of(thing: str) -> str:
    """What the message says that is known as ``thing``: nothing else may ever be read for it."""
    number = int(thing[-5:])
    return f"{thing} {'y' * (5000 if number % 50 == 0 else number % 7)}"


def thing_of(message: Any) -> str:
    """Which message it is, if it is whole."""
    thing = str(message.content)[:8]
    return thing if message.content == content_of(thing) else f"not as written: {message.content!r:.60}"


def added_bits(usage: dict[str, int]) -> int:
    """All counters that are added to as one number, with a bit for each addition."""
    return sum(total << (_WIDTH * int(name[1:])) for name, total in usage.items() if name[0] == "a")


# What a process does


@dataclass
class Life:
    """Where a process begins: those of one slot, each after the other was killed, never do the same thing twice.

    Attributes:
        slot: which of the processes that there are at once.
        number: how many were there before it.
        serial: how many calls those made.
        adds: how many of them were additions to counters.
        left: how many calls there are to make.
        unsure: what it should try again: the session and the messages of the call that was cut off.
    """

    slot: int
    left: int
    number: int = 0
    serial: int = 0
    adds: int = 0
    unsure: tuple[str, list[str]] | None = None


def work(root: Path, record: Path, life: Life, seed: int) -> None:
    """In a child: make calls and write them down; end at the first error that none of them should give."""
    # One of them keeps nothing in memory.
    options = {"cache_bytes": 1} if life.slot == 1 else {}
    store, reader = store_at(root, lock_timeout_s=PATIENT_S, **options), store_at(root, read_only=True)
    with record.open("ab", buffering=0) as file:
        worker = Worker(store, reader, file.fileno(), life, random.Random(f"{seed} {life.slot} {life.number}"))
        for _ in range(life.left):
            if not worker.step():
                return


class Worker:
    """A process, or rather one of its lives.

    Args:
        store: what it works with.
        reader: one that takes no lock, for some reads.
        fd: where it writes down what it does.
        life: where it begins.
        random_: what it chooses by.
    """

    def __init__(self, store: SessionStore, reader: SessionStore, fd: int, life: Life, random_: random.Random) -> None:
        self.store = store
        self.reader = reader
        self.fd = fd
        self.life = life
        self.random = random_
        self.retries = [life.unsure] if life.unsure else []

    def step(self) -> bool:
        """Make one call; False if it failed."""
        if self.retries and self.random.random() < 0.2:
            session_id, things = self.retries.pop()
            return self.add(session_id, things)
        kind = self.random.choices(list(CALLS), [weight for weight, _ in CALLS.values()])[0]
        return CALLS[kind][1](self, self.random.choice(SESSIONS))

    def call(self, kind: str, target: str, args: Any, answer: Callable[[], Any]) -> bool:
        """Make a call, and write it down."""
        self.life.serial += 1
        self.write(["begun", time.monotonic_ns(), self.life.serial, kind, target, args])
        try:
            found = answer()
        except (AttributeError, TypeError):
            # A slip, most likely in here; it must not pass for a defect that a test planted.
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the judge tells of it
            self.write(["failed", time.monotonic_ns(), f"{type(error).__name__}: {error}"])
            return False
        self.write(["ended", time.monotonic_ns(), found])
        return True

    def write(self, row: list[Any]) -> None:
        os.write(self.fd, json.dumps(row).encode() + b"\n")

    def new(self) -> str:
        """A word of its own, which is the beginning of no other."""
        self.life.serial += 1
        return f"w{self.life.slot}x{self.life.serial:05d}"

    def session(self, session_id: str) -> Session:
        return self.store.get(session_id)

    def shown(self, session_id: str) -> Session:
        """To read from: sometimes through a store that takes no lock."""
        return (self.reader if self.random.random() < 0.25 else self.store).get(session_id)

    # What is added

    def add(self, session_id: str, things: list[str], expected: int | None = None) -> bool:
        session = self.session(session_id)
        messages = [{"role": "user", "content": content_of(thing), "message_id": thing} for thing in things]

        def answer() -> Any:
            try:
                if len(things) == 1:
                    stored = (session.append(**messages[0], expected_revision=expected),)
                else:
                    stored = session.extend(messages, expected_revision=expected)
            except RevisionConflict as error:
                return {"actual": error.actual}
            return {"places": [message.seq - 1 for message in stored]}

        return self.call("add", session_id, {"things": things, "expected": expected}, answer)

    def append(self, session_id: str) -> bool:
        thing = self.new()
        session = self.session(session_id)
        return self.call(
            "add", session_id, {"things": [thing]},
            lambda: {"places": [session.append("user", content_of(thing)).seq - 1]},
        )  # fmt: skip

    def append_named(self, session_id: str) -> bool:
        things = [self.new() for _ in range(self.random.choice([1, 1, 3]))]
        self.retries = [*self.retries[-3:], (session_id, things)]
        return self.add(session_id, things)

    def append_expecting(self, session_id: str) -> bool:
        return self.add(session_id, [self.new()], self.session(session_id).revision)

    def turn(self, session_id: str) -> bool:
        things = [self.new() for _ in range(2)]

        def answer() -> Any:
            with self.session(session_id).turn() as turn:
                for thing in things:
                    turn.append("assistant", content_of(thing))
            return {"places": [message.seq - 1 for message in turn.messages]}

        return self.call("add", session_id, {"things": things}, answer)

    def snapshot(self, session_id: str) -> bool:
        label = self.new()
        return self.call("snapshot", session_id, label, lambda: self.session(session_id).snapshot(label).revision)

    def add_usage(self, session_id: str) -> bool:
        self.life.adds += 1
        counter, bit = divmod(self.life.adds, _BITS)
        bit += self.life.slot * _BITS
        counters = {f"a{counter}": 1 << bit}
        number = counter * _WIDTH + bit
        return self.call("add usage", session_id, number, lambda: self.session(session_id).add_usage(**counters))

    def fork(self, session_id: str) -> bool:
        """Add a child, which shows what was there at that moment."""
        child = self.new()

        def answer() -> Any:
            return _shown([thing_of(message) for message in self.session(session_id).fork(child).messages])

        return self.call("fork", session_id, child, answer)

    def compact(self, session_id: str) -> bool:
        """Put a shorter log in the place of the one that is there: nobody is to notice."""
        return self.call(
            "compact", session_id, None, lambda: self.session(session_id).compact(keep="snapshots").after_bytes
        )

    # What is replaced

    def remake(self, _: str) -> bool:
        """Let a session be purged and made again, its log of the same size each time."""
        title = self.new()

        def answer() -> bool:
            for end in (self.store.delete, self.store.purge):
                with contextlib.suppress(SessionNotFound):
                    end(REMADE)
            try:
                self.store.create(REMADE, title=title)
            except SessionExists:
                return False
            return True

        return self.call("remake", REMADE, title, answer)

    def title(self, session_id: str) -> bool:
        title = self.new()
        return self.call("title", session_id, title, lambda: self.session(session_id).set_title(title))

    def set_ref(self, session_id: str) -> bool:
        name, value = self.random.choice(REFS), self.new()
        session = self.session(session_id)
        return self.call("set ref", session_id, {"name": name, "value": value}, lambda: session.set_ref(name, value))

    def replace_ref(self, session_id: str) -> bool:
        name, value = self.random.choice(REFS), self.new()
        session = self.session(session_id)
        old = session.refs.get(name)
        args = {"name": name, "value": value, "old": old}
        return self.call("replace ref", session_id, args, lambda: session.set_ref(name, value, if_equals=old))

    def set_usage(self, session_id: str) -> bool:
        self.life.serial += 1
        total = self.life.slot * 10**6 + self.life.serial
        return self.call("set usage", session_id, total, lambda: self.session(session_id).set_usage(total=total))

    def bind(self, _: str) -> bool:
        key, target = self.random.choice(KEYS), self.new()
        self.store.create(target)
        return self.call("bind", key, target, lambda: self.store.bind(key, target))

    def route(self, _: str) -> bool:
        key, target = self.random.choice(KEYS), self.new()
        return self.call("route", key, target, lambda: self.store.route(key, session_id=target).id)

    def create(self, _: str) -> bool:
        """Make a session that others try to make too."""
        target, title = f"c{self.life.serial // 50}", self.new()

        def answer() -> bool:
            try:
                self.store.create(target, title=title)
            except SessionExists:
                return False
            return True

        return self.call("create", target, title, answer)

    # What is shown

    def messages(self, session_id: str) -> bool:
        def answer() -> Any:
            return _shown([thing_of(message) for message in self.shown(session_id).messages])

        return self.call("messages", session_id, None, answer)

    def info(self, session_id: str) -> bool:
        def answer() -> Any:
            info = self.shown(session_id).info
            return [info.revision, info.message_count, info.title]

        return self.call("info", session_id, None, answer)

    def snapshots(self, session_id: str) -> bool:
        def answer() -> Any:
            return _shown([snap.label or "" for snap in self.shown(session_id).snapshots])

        return self.call("snapshots", session_id, None, answer)

    def children(self, session_id: str) -> bool:
        def answer() -> Any:
            return _shown([child.id for child in self.shown(session_id).children])

        return self.call("children", session_id, None, answer)

    def refs(self, session_id: str) -> bool:
        return self.call("refs", session_id, None, lambda: self.shown(session_id).refs)

    def usage(self, session_id: str) -> bool:
        return self.call("usage", session_id, None, lambda: self.shown(session_id).usage)

    def resolve(self, _: str) -> bool:
        return self.resolve_key(self.random.choice(KEYS))

    def resolve_key(self, key: str) -> bool:
        def answer() -> Any:
            found = self.store.resolve(key)
            return None if found is None else found.id

        return self.call("resolve", key, None, answer)

    def look(self, _: str) -> bool:
        return self.look_at(f"c{max(0, self.life.serial // 50 - self.random.choice([0, 0, 1]))}")

    def look_again(self, _: str) -> bool:
        return self.look_at(REMADE)

    def look_at(self, target: str) -> bool:
        def answer() -> Any:
            try:
                return self.shown(target).title
            except SessionNotFound:
                return None

        return self.call("look", target, None, answer)

    def listing(self, _: str) -> bool:
        def answer() -> Any:
            infos = self.store.sessions(limit=10_000).items
            return {info.id: [info.revision, info.message_count, info.title] for info in infos if info.id[0] in "hc"}

        return self.call("listing", "", None, answer)

    def search(self, session_id: str) -> bool:
        thing = f"w{self.random.randrange(PROCESSES)}x{max(0, self.life.serial - self.random.randrange(20)):05d}"

        def answer() -> bool:
            hits = self.store.search(thing, session=session_id, role=["user", "assistant"]).items
            return any(hit.session_id == session_id for hit in hits)

        return self.call("search", session_id, thing, answer)


def _shown(things: list[str]) -> dict[str, Any]:
    return {"length": len(things), "digest": checker.digest(things), "last": things[-1:]}


CALLS: dict[str, tuple[int, Callable[[Worker, str], bool]]] = {
    "append": (20, Worker.append), "append_named": (9, Worker.append_named), "turn": (4, Worker.turn),
    "append_expecting": (6, Worker.append_expecting), "snapshot": (2, Worker.snapshot),
    "title": (5, Worker.title), "set_ref": (3, Worker.set_ref), "replace_ref": (6, Worker.replace_ref),
    "add_usage": (8, Worker.add_usage), "set_usage": (2, Worker.set_usage), "bind": (2, Worker.bind),
    "route": (2, Worker.route), "create": (3, Worker.create), "messages": (13, Worker.messages),
    "info": (9, Worker.info), "snapshots": (2, Worker.snapshots), "refs": (7, Worker.refs),
    "usage": (6, Worker.usage), "resolve": (5, Worker.resolve), "look": (4, Worker.look),
    "listing": (2, Worker.listing), "search": (2, Worker.search), "fork": (1, Worker.fork),
    "children": (2, Worker.children), "compact": (1, Worker.compact), "remake": (1, Worker.remake),
    "look_again": (5, Worker.look_again),
}  # fmt: skip
"""How often each is made, and how."""

READS = frozenset(
    ["messages", "info", "snapshots", "children", "refs", "usage", "resolve", "look", "listing", "search"]
)


# The record


@dataclass(frozen=True, slots=True)
class Call:
    """A call that some process made; ``answer`` is None when it was cut off, too."""

    serial: int
    kind: str
    target: str
    args: Any
    begun: int
    ended: int
    answer: Any


def read_record(path: Path) -> list[Call]:
    """What a process wrote down; its last call may have no answer.

    Raises:
        Violation: a call failed.
    """
    calls: list[Call] = []
    begun: list[Any] | None = None
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        row = json.loads(line)
        if row[0] == "begun":
            begun = row
            continue
        assert begun is not None
        if row[0] == "failed":
            raise Violation(f"{begun[3]} of {begun[4]!r} {begun[5]} raised {row[2]}")
        calls.append(Call(*begun[2:], begun[1], row[1], row[2]))
        begun = None
    if begun is not None:
        calls.append(Call(*begun[2:], begun[1], NEVER, None))
    return calls


def next_life(life: Life, calls: list[Call]) -> Life:
    """The process that takes the place of one that was killed: it tries again what was cut off."""
    last = calls[-1] if calls else None
    unsure = None
    if last is not None and last.kind == "add" and last.ended == NEVER and "expected" in last.args:
        unsure = (last.target, last.args["things"])
    # It may have counted on before it wrote down the next call, though not by much.
    serial = 10 + (life.serial if last is None else last.serial)
    adds = life.adds + sum(call.kind == "add usage" for call in calls)
    return Life(life.slot, max(0, life.left - len(calls)), life.number + 1, serial, adds, unsure)
