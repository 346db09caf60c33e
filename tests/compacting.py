"""What the tests of compaction share: everything that a session shows, and random lives of a store."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hierstore import HierstoreError, RevisionNotFound, Session, SessionNotFound, SessionStore, clock
from hierstore.log import frame
from tests.processes import replaced
from tests.support import log_of

if TYPE_CHECKING:
    from hierstore import PastSession


def past(view: PastSession) -> dict[str, Any]:
    """Everything that a session shows of a revision."""
    return {
        "info": view.info,
        "messages": [message._record() for message in view.messages],
        "snapshots": view.snapshots,
        "refs": view.refs,
        "usage": view.usage,
        "turn": view.turn_in_progress,
    }


def present(session: Session) -> dict[str, Any]:
    """Everything that a session shows, but for what can be gone back to."""
    return {
        **past(session),  # type: ignore[arg-type]
        "children": [child.id for child in session.children],
        "ancestors": [other.id for other in session.ancestors],
        # Without their ids, in which random names of files may have a part.
        "shares": [replace(grant, id="") for grant in session.shares],
        "routes": session.routes,
        "successor": None if session.succeeded_by is None else session.succeeded_by.id,
        "unknown": session._state().facts.unknown,
    }


def everything(session: Session) -> dict[str, Any]:
    """Everything that a session shows, each of its snapshots too."""
    return {**present(session), "at": {snap.id: past(session.at(snap)) for snap in session.snapshots}}


def without_snapshots(shown: dict[str, Any], through: int = 10**9) -> dict[str, Any]:
    """The same of a session whose snapshots up to some revision are gone."""
    snapshots = tuple(snap for snap in shown["snapshots"] if snap.revision > through)
    at = {snap.id: without_snapshots(shown["at"][snap.id], through) for snap in snapshots} if "at" in shown else {}
    return {**shown, "snapshots": snapshots, "at": at}


def whole_revisions(session: Session) -> list[int]:
    """The revisions that can be gone back to."""
    found = []
    for revision in range(1, session.revision + 1):
        try:
            session.at(revision)
        except RevisionNotFound:
            continue
        found.append(revision)
    return found


def shared_view(store: SessionStore, token: str) -> Any:
    """What the holder of a token sees; the name of an error where it is one."""

    def show(shared: Any) -> Any:
        return (
            [message._record() for message in shared.messages],
            shared.info,
            [show(child) for child in shared.children],
        )

    try:
        return show(store.open_share(token))
    except HierstoreError as error:
        return type(error).__name__


def add_line(store: SessionStore, session_id: str, body: dict[str, Any]) -> None:
    """Append a commit of a later version to a log; ``seq`` is filled in."""
    path = log_of(store, session_id)
    data = path.read_bytes()
    skipped = json.loads(data[: data.index(b"\n")]).get("skipped", 0)
    found = frame.scan(data, 0, -1, skipped)
    assert found.end == len(data)
    record = json.dumps({**body, "seq": found.seq + 1}, separators=(",", ":")).encode()[:-1]
    path.write_bytes(data + frame.seal(record, found.chain)[0])


@contextmanager
def numbered(first: int) -> Iterator[None]:
    """Ids and times that are the same in each run."""
    ids = iter(range(first * 1000, (first + 1) * 1000))
    now = 1_700_000_000.0 + first
    with replaced(clock, new_id=lambda: f"{next(ids):030x}", now=lambda: now):
        yield


class Life:
    """Random public calls on a store, the same for the same dice whatever store it is.

    Args:
        store: where they are made.
        seed: of the dice.
        through: for sessions that were compacted, or that are to be compared with such, the revision up to which; what
            was before is no target, but for what a compaction keeps.
        snapshots: whether it kept the snapshots.
    """

    def __init__(
        self, store: SessionStore, seed: int, through: dict[str, int] | None = None, *, snapshots: bool = True
    ) -> None:
        self.store = store
        self.dice = random.Random(seed)
        self.through = through or {}
        self.snapshots = snapshots
        self.serial = 0
        self.tokens: list[str] = []

    def step(self, number: int) -> None:
        """One call; one that is refused is as good."""
        self.serial = number
        names = sorted(name for name in dir(self) if name.startswith("do_"))
        name = self.dice.choice([*names, "do_append", "do_append", "do_extend", "do_revert_to_message", "do_snapshot"])
        session_id, dice = self.dice.choice(["s", "s", "s", "f"]), self.dice.random()
        with numbered(number):
            try:
                session = self.store.get(session_id)
            except SessionNotFound:
                session = self.store.get("s")
            try:
                getattr(self, name)(session, dice)
            except RevisionNotFound:
                pass

    def do_append(self, session: Session, dice: float) -> None:
        session.append("user", f"text {self.serial}", metadata={"k": 1} if dice < 0.3 else None)

    def do_extend(self, session: Session, dice: float) -> None:
        session.extend([{"role": "tool", "content": [self.serial, n], "name": "f"} for n in range(1 + int(dice * 4))])

    def do_turn(self, session: Session, dice: float) -> None:
        with session.turn() as turn:
            turn.append("user", f"turn {self.serial}")
            turn.append("assistant", "\u00e9")

    def do_reset(self, session: Session, dice: float) -> None:
        if dice < 0.4:
            session.reset("why")

    def do_revert_to_message(self, session: Session, dice: float) -> None:
        messages = session.messages
        if len(messages):
            session.revert(messages[int(dice * len(messages))])

    def do_revert_to_snapshot(self, session: Session, dice: float) -> None:
        through = 0 if self.snapshots else self.through.get(session.id, 0)
        snaps = [snap for snap in session.snapshots if snap.revision > through]
        if snaps:
            session.revert(snaps[int(dice * len(snaps))])

    def do_revert_to_revision(self, session: Session, dice: float) -> None:
        first = self.through.get(session.id, 1)
        session.revert(first + int(dice * (session.revision + 1 - first)))

    def do_undo(self, session: Session, dice: float) -> None:
        reverts = session._state().facts.reverts
        if reverts and reverts[-1] >= self.through.get(session.id, 1):
            session.undo_revert()

    def do_move(self, session: Session, dice: float) -> None:
        if session.id == "f":
            session.move("s" if dice < 0.5 else None)

    def do_snapshot(self, session: Session, dice: float) -> None:
        session.snapshot(f"label {self.serial}", {"n": self.serial})

    def do_title(self, session: Session, dice: float) -> None:
        session.set_title(f"title {self.serial}", source="auto" if dice < 0.5 else "user")

    def do_update(self, session: Session, dice: float) -> None:
        session.update(
            labels=[f"l{self.serial}"], metadata={"k": self.serial}, pinned=dice < 0.5, derived={"d": self.serial}
        )

    def do_ref(self, session: Session, dice: float) -> None:
        session.set_ref(f"r{int(dice * 3)}", None if dice < 0.2 else {"id": self.serial})

    def do_usage(self, session: Session, dice: float) -> None:
        session.add_usage(tokens=self.serial, cost=0.001)

    def do_set_usage(self, session: Session, dice: float) -> None:
        session.set_usage(tokens=self.serial)

    def do_start_turn(self, session: Session, dice: float) -> None:
        session.start_turn("token")

    def do_end_turn(self, session: Session, dice: float) -> None:
        session.end_turn("token")

    def do_bind(self, session: Session, dice: float) -> None:
        self.store.bind(f"key {int(dice * 3)}", session)

    def do_share(self, session: Session, dice: float) -> None:
        grant = session.share(frozen=dice < 0.7, subtree=dice < 0.3)
        assert grant.token is not None
        self.tokens.append(grant.token)

    def do_unshare(self, session: Session, dice: float) -> None:
        if session.shares and dice < 0.5:
            session.unshare(session.shares[0])

    def do_fork(self, session: Session, dice: float) -> None:
        if "f" not in self.store:
            session.fork("f", title="a fork")
        else:
            session.fork(f"f{self.serial}")

    def do_spawn(self, session: Session, dice: float) -> None:
        session.spawn(f"c{self.serial}", kind="delegate")

    def do_unknown(self, session: Session, dice: float) -> None:
        item = {"type": "from_the_future", "n": self.serial}
        title = {"type": "title", "title": f"strange {self.serial}", "source": "user", "tone": 1}
        body = {"events": [item] if dice < 0.5 else [title], "at": clock.now()}
        add_line(self.store, session.id, body if dice < 0.8 else {**body, "beside": 1})


def during(call: Callable[..., Any], action: Callable[[], Any], *, after: bool = False) -> Callable[..., Any]:
    """The call, but that something else happens before (or after) its first use."""
    done: list[bool] = []

    def wrapped(*args: Any, **options: Any) -> Any:
        is_first = not done
        done.append(True)
        if is_first and not after:
            action()
        answer = call(*args, **options)
        if is_first and after:
            action()
        return answer

    return wrapped
