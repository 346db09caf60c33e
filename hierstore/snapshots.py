"""Naming revisions and going back to them. The history is never cut: going back is an event that moves the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hierstore import clock
from hierstore.disk import refusals
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.errors import RevisionNotFound, quoted
from hierstore.history import Messages
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.model import Message, Snapshot
from hierstore.view import SessionView

Target = Snapshot | Message | str | int
"""A snapshot or message or the id of one, or a revision."""


def resolve(state: State, target: object) -> tuple[int, int]:
    """What a target names: a revision, and how many messages of its history.

    A message stands for the history up to and with it: in the current history if it is there, else in the last
    revision that showed it.

    Raises:
        RevisionNotFound: the session has no such thing.
    """
    if isinstance(target, Snapshot | Message):
        target = target.id
    if isinstance(target, int) and not isinstance(target, bool) and 1 <= target <= state.revision:
        if not state.is_whole(target):
            raise refusals.compacted(state.facts.id, target)
        return int(target), state.counts[target - 1]
    if isinstance(target, str):
        for snapshot in state.facts.snapshots:
            if snapshot.id == target:
                return snapshot.revision, state.counts[snapshot.revision - 1]
        found = state.find_revision(target)
        if found is not None:
            return found
    raise RevisionNotFound(
        f"Session {state.facts.id!r} has no message, snapshot or revision {quoted(target)}.",
        session_id=state.facts.id,
        target=target,
    )


def snapshot(engine: Engine, entry: Entry, label: str | None, metadata: Mapping[str, Any]) -> Snapshot:
    """Name the revision that this very commit makes."""
    payload = event("snapshot", id=clock.new_id(), label=label, metadata=dict(metadata))
    state = engine.commit(entry, lambda _: [payload])
    return state.facts.snapshots[-1]


def revert(engine: Engine, entry: Entry, target: object) -> None:
    """Let the history be again what it was; what came after stays in the log."""

    def decide(state: State) -> list[dict[str, Any]]:
        revision, count = resolve(state, target)
        return [event("reverted", revision=revision, count=count)]

    engine.commit(entry, decide)


def undo_revert(engine: Engine, entry: Entry) -> None:
    """Go back to the history before the last revert that was not undone yet."""

    def decide(state: State) -> list[dict[str, Any]]:
        if not state.facts.reverts:
            raise RevisionNotFound(
                f"Session {entry.id!r} has no revert to undo.", session_id=entry.id, target="undo_revert"
            )
        revision = state.facts.reverts[-1]
        return [event("unreverted", revision=revision, count=state.counts[revision - 1])]

    engine.commit(entry, decide)


def past(engine: Engine, entry: Entry, target: object) -> PastSession:
    """The session as it was at what a target names."""
    state = engine.read(entry)
    revision, count = resolve(state, target)
    if not state.is_whole(revision):
        raise refusals.compacted(state.facts.id, target)
    then = engine.read_at(entry, revision)
    if (then.facts.created_at, then.count) != (state.facts.created_at, state.counts[revision - 1]):
        # Deleted since, and made anew: what the target named is gone.
        raise refusals.not_found(entry.id)
    return PastSession(then, count)


class PastSession(SessionView):
    """A session as it was at one revision: read-only, and what later commits do never shows.

    Has the facts of ``SessionInfo`` as properties.
    """

    __slots__ = ("_messages", "_then")

    def __init__(self, state: State, count: int) -> None:
        self._then = state
        self._messages = Messages(state.history, count)

    def _state(self) -> State:
        return self._then

    @property
    def messages(self) -> Messages:
        """The history of that revision, up to the message asked for."""
        return self._messages

    def __repr__(self) -> str:
        return f"<Session {self.id!r} at revision {self.revision}>"
