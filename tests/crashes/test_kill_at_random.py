"""``kill -9`` at random moments: what was acknowledged is there, what is there is whole.

Several writers share a few sessions. Each says what it is about to do, does it, and says that it is done. The test
kills one at a random moment, reads what it said to the last, and starts another. What was said to be done must be
there; what was only begun may be there, whole.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionExists, SessionStore
from tests.processes import Child, say, store_at

KILLS = 200
ROUNDS = 10
"""Each on a new store, so that the logs stay small enough to be read again by each new writer."""
WRITERS = 4
SHARED = ("s0", "s1", "s2")
LARGE = 100_000
LONGEST_PAUSE_S = 0.06
PATIENT_S = 60.0

Said = tuple[str, tuple[Any, ...]]


def content_of(message_id: str, size: int) -> str:
    """What a message of that id says: nothing else may ever be read for it."""
    return f"{message_id}:" + (message_id * (size // len(message_id) + 1))[:size]


def size_of(message_id: str) -> int:
    return int(message_id.rpartition(".")[2])


# The writer


def write_until_killed(root: Path, name: str, seed: int) -> None:
    """In a child: do random things for ever."""
    writer = _Writer(store_at(root, lock_timeout_s=PATIENT_S), name, random.Random(seed))
    while True:
        writer.step()


class _Writer:
    def __init__(self, store: SessionStore, name: str, random_: random.Random) -> None:
        self.store = store
        self.name = name
        self.random = random_
        self.serial = 0
        self.own: list[str] = []
        """Sessions that only this writer changes."""

    def step(self) -> None:
        self.serial += 1
        dice = self.random.random()
        if dice < 0.6 or not self.own:
            self.append()
            if not self.own:
                self.create()
        else:
            self.random.choice([self.extend, self.create, self.fork, self.move, self.delete])()

    def do(self, *what: Any, work: Callable[[], Any]) -> None:
        say(("begun", what))
        work()
        say(("done", what))

    def new(self, size: int) -> str:
        self.serial += 1
        return f"{self.name}.{self.serial}.{size}"

    def append(self) -> None:
        session_id = self.random.choice(SHARED)
        message_id = self.new(self.random.choice([10, 10, 300]))
        session = self.store.get(session_id)
        content = content_of(message_id, size_of(message_id))
        self.do(
            "append", session_id, (message_id,), work=lambda: session.append("user", content, message_id=message_id)
        )

    def extend(self) -> None:
        session_id = self.random.choice(SHARED)
        large = LARGE if self.random.random() < 0.3 else 500
        ids = tuple(self.new(size) for size in (10, large, large, 20))
        messages = [
            {"role": "user", "content": content_of(message_id, size_of(message_id)), "message_id": message_id}
            for message_id in ids
        ]
        session = self.store.get(session_id)
        self.do("append", session_id, ids, work=lambda: session.extend(messages))

    def create(self) -> None:
        session_id = f"{self.name}-{self.serial}"
        parent = self.random.choice([None, *SHARED])
        self.do("create", session_id, parent, work=lambda: self.store.create(session_id, parent=parent))
        self.own.append(session_id)

    def fork(self) -> None:
        session_id = f"{self.name}-{self.serial}"
        parent = self.store.get(self.random.choice(SHARED))
        known = tuple(message.id for message in parent.messages[-3:])
        self.do("fork", session_id, parent.id, known, work=lambda: parent.fork(session_id))
        self.own.append(session_id)

    def move(self) -> None:
        session_id = self.random.choice(self.own)
        parent = self.random.choice([None, *SHARED])
        self.do("move", session_id, parent, work=lambda: self.store.get(session_id).move(parent))

    def delete(self) -> None:
        session_id = self.own.pop(self.random.randrange(len(self.own)))
        self.do("delete", session_id, work=lambda: self.store.delete(session_id))


# The judge


@dataclass
class _Judge:
    """What the writers said, and what must and may therefore be there."""

    done: dict[str, list[tuple[str, ...]]] = field(default_factory=lambda: {name: [] for name in SHARED})
    begun: dict[str, list[tuple[str, ...]]] = field(default_factory=lambda: {name: [] for name in SHARED})
    parents: dict[str, set[str | None]] = field(default_factory=dict)
    """For each session of a writer's own: the parents it may have."""
    lives: dict[str, set[bool]] = field(default_factory=dict)
    """… and whether it may, or must, exist."""
    forks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    acknowledged: int = 0
    cut_off: int = 0

    def hear(self, said: list[Said]) -> None:
        """One writer's whole life: only its last word may be of something that was not finished."""
        open_: tuple[Any, ...] | None = None
        for kind, what in said:
            if kind == "begun":
                open_ = what
            else:
                assert what == open_
                self._note(what, done=True)
                self.acknowledged += 1
                open_ = None
        if open_ is not None:
            self._note(open_, done=False)
            self.cut_off += 1

    def _note(self, what: tuple[Any, ...], *, done: bool) -> None:
        kind, session_id, *rest = what
        if kind == "append":
            (self.done if done else self.begun)[session_id].append(rest[0])
        elif kind == "delete":
            self.lives[session_id] = {False} if done else {True, False}
        elif kind == "move":
            self.parents[session_id] = {rest[0]} | (set() if done else self.parents[session_id])
        else:
            self.lives[session_id] = {True} if done else {True, False}
            self.parents[session_id] = {rest[0]}
            if kind == "fork":
                self.forks[session_id] = rest[1]

    def judge(self, store: SessionStore) -> None:
        for session_id in SHARED:
            self._judge_messages(store, session_id)
        children = {name: {child.id for child in store.get(name).children} for name in SHARED}
        for session_id, may_live in self.lives.items():
            lives = session_id in store
            assert lives in may_live, f"{session_id} {'is there' if lives else 'is lost'}"
            if lives:
                self._judge_own(store, session_id, children)
            elif may_live == {False}:
                self._judge_deleted(store, session_id)
        assert store.check().problems == ()

    def _judge_messages(self, store: SessionStore, session_id: str) -> None:
        messages = list(store.get(session_id).messages)
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
        for message in messages:
            assert message.content == content_of(message.id, size_of(message.id)), "not what was written"
        there = [message.id for message in messages]
        places = {message_id: place for place, message_id in enumerate(there)}
        assert len(places) == len(there), "something is there twice"
        last: dict[str, int] = {}
        for commit in self.done[session_id]:
            assert all(message_id in places for message_id in commit), f"{commit} was acknowledged and is lost"
            first = places[commit[0]]
            assert there[first : first + len(commit)] == list(commit), "one commit, and others in between"
            writer = commit[0].partition(".")[0]
            assert last.get(writer, -1) < first, "a writer's order is not kept"
            last[writer] = first
        expected = {message_id for commit in self.done[session_id] for message_id in commit}
        for commit in self.begun[session_id]:
            found = [message_id in places for message_id in commit]
            assert all(found) or not any(found), f"half of {commit} is there"
            expected.update(commit)
        assert set(there) <= expected, "something is there that nobody wrote"

    def _judge_own(self, store: SessionStore, session_id: str, children: dict[str, set[str]]) -> None:
        session = store.get(session_id)
        assert session.parent_id in self.parents[session_id]
        if session.parent_id is not None:
            assert session_id in children[session.parent_id]
        if session_id in self.forks:
            ids = {message.id for message in session.messages}
            assert ids >= set(self.forks[session_id])
            for message in session.messages[-5:]:
                assert message.content == content_of(message.id, size_of(message.id))

    @staticmethod
    def _judge_deleted(store: SessionStore, session_id: str) -> None:
        if session_id.endswith("1"):  # some of them: it can be restored
            store.restore(session_id)
            assert session_id in store
            store.delete(session_id)


class _Life:
    """A writer, and what it said."""

    def __init__(self, child: Child, root: Path, name: str, seed: int) -> None:
        self.child = child
        self.said: list[Said] = []
        child.begin(write_until_killed, root, name, seed)

    def listen(self) -> None:
        """Take in what it says next."""
        self.said.append(self.child.hear())

    def end(self) -> list[Said]:
        """Kill it, and take in its last words."""
        self.child.signal(signal.SIGKILL)
        try:
            while True:
                self.said.append(self.child.hear())
        except (EOFError, ConnectionError):
            pass
        assert self.child.wait() == -signal.SIGKILL
        self.child.pipe.close()
        return self.said


def listen_for(lives: list[_Life], duration_s: float) -> None:
    """Take in what the writers say, so that none of them waits for us."""
    end = time.monotonic() + duration_s
    by_pipe = {life.child.pipe: life for life in lives}
    while (left := end - time.monotonic()) > 0:
        for pipe in wait(list(by_pipe), left):
            by_pipe[pipe].listen()


def killing_round(start: Callable[[], Child], root: Path, number: int, random_: random.Random) -> _Judge:
    """A store, and writers on it that are killed one after the other."""
    judge = _Judge()
    with SessionStore(root) as store:
        for session_id in SHARED:
            store.create(session_id)
    serial = 0

    def born() -> _Life:
        nonlocal serial
        serial += 1
        return _Life(start(), root, f"w{number}x{serial}", random_.randrange(2**32))

    lives = [born() for _ in range(WRITERS)]
    for kill in range(KILLS // ROUNDS):
        # The moment is what is random here, so it comes from a clock and from no event.
        listen_for(lives, random_.uniform(0, LONGEST_PAUSE_S))
        victim = random_.randrange(WRITERS)
        judge.hear(lives[victim].end())
        lives[victim] = born()
        if kill % 10 == 5:
            with SessionStore(root, lock_timeout_s=PATIENT_S) as beside:
                assert beside.check().problems == ()
    for life in lives:
        judge.hear(life.end())
    with SessionStore(root, cache_bytes=2**30) as store:
        judge.judge(store)
    return judge


@pytest.mark.parametrize("number", range(ROUNDS))
def test_nothing_acknowledged_is_lost_and_nothing_torn_is_served(start, root, open_store, number):
    seed = int(os.environ.get("HIERSTORE_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"HIERSTORE_TEST_SEED={seed} repeats the choices, though not the scheduler's")
    judge = killing_round(start, root, number, random.Random(f"{seed} {number}"))
    assert judge.acknowledged > 0
    print(f"{KILLS // ROUNDS} kills: {judge.acknowledged} acknowledged, {judge.cut_off} cut off")
    store = open_store()
    for session_id in SHARED:
        count = len(store.get(session_id).messages)
        assert store.get(session_id).append("user", "after").seq == count + 1


# Killed inside a write


def torn_write(root: Path, share: float) -> None:
    """In a child: a commit of which only a part reaches the file."""
    from hierstore.disk import files

    store = store_at(root)
    write = files.write

    def partly(fd: int, data: bytes) -> int:
        write(fd, bytes(data)[: int(len(data) * share)])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    files.write = partly
    store.get("s").extend([{"role": "user", "content": "lost" * 100}] * 3)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.999])
def test_a_torn_commit_is_never_served_to_those_who_have_the_session_cached(start, root, open_store, share):
    """behaviours 35"""
    here = open_store().create("s")
    here.append("user", "first")
    other = start()
    assert other.call(contents, root) == ["first"]
    for number in range(3):
        wanted = ["first", *(f"after {count}" for count in range(number))]
        victim = start()
        victim.begin(torn_write, root, share)
        assert victim.wait() == -signal.SIGKILL
        assert other.call(contents, root) == [message.content for message in here.messages] == wanted
        assert start().call(contents, root) == wanted
        other.call(append, root, f"after {number}")
        assert [message.content for message in here.messages] == [*wanted, f"after {number}"]


def contents(root: Path) -> list[Any]:
    """In a child."""
    return [message.content for message in store_at(root).get("s").messages]


def append(root: Path, content: str) -> None:
    """In a child."""
    store_at(root).get("s").append("user", content)


def test_a_writer_killed_on_the_way_does_not_stop_a_creation(start, root, open_store):
    """behaviours 26: an id is made once, also when its maker dies"""
    store = open_store()
    for number in range(20):
        victim = start()
        victim.begin(create_and_die, root, f"s{number}", number)
        assert victim.wait() == -signal.SIGKILL
        try:
            store.create(f"s{number}")
        except SessionExists:
            assert store.get(f"s{number}").title == "victim's"
        store.get(f"s{number}").append("user", "x")


def create_and_die(root: Path, session_id: str, at: int) -> None:
    """In a child."""
    from tests.seam import hooked

    def hook(number: int, _name: str, call: Callable[..., Any], _args: tuple[Any, ...]) -> Any:
        if number > at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call()

    store = store_at(root)
    with hooked(hook):
        store.create(session_id, title="victim's")
    os.kill(os.getpid(), signal.SIGKILL)
