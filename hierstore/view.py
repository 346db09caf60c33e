"""SessionView: what can be seen of a session, at present or as it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hierstore import sums
from hierstore.history import Messages
from hierstore.log.state import State
from hierstore.model import SessionInfo, Snapshot, TurnInProgress
from hierstore.values import loads


class SessionView(ABC):
    """The facts and the history of a session; what both ``Session`` and ``PastSession`` show."""

    __slots__ = ()

    @abstractmethod
    def _state(self) -> State:
        """The state that is shown."""

    @property
    def id(self) -> str:
        """The session's id."""
        return self._state().facts.id

    @property
    def messages(self) -> Messages:
        """The history as of now: an immutable sequence that later writes do not change."""
        return self._state().messages

    @property
    def info(self) -> SessionInfo:
        """The session's facts at one revision."""
        return self._state().info

    @property
    def revision(self) -> int:
        """The number of the last commit; a new session is at 1."""
        return self._state().revision

    @property
    def title(self) -> str | None:
        """The title."""
        return self._state().facts.title

    @property
    def parent_id(self) -> str | None:
        """The id of the session it hangs below."""
        return self._state().facts.parent_id

    @property
    def kind(self) -> str | None:
        """Why it exists, as its creator said."""
        return self._state().facts.kind

    @property
    def forked_at(self) -> int | None:
        """How many messages of the history that it was forked from it began with; None for what is no fork.

        Neither a move nor a reset or revert changes it. A fork of an empty history is none: it shares nothing.
        """
        return self._state().facts.forked_at

    @property
    def metadata(self) -> dict[str, Any]:
        """The app's own facts; a fresh copy."""
        return self.info.metadata

    @property
    def derived(self) -> dict[str, Any]:
        """What the app computed from the history (a summary, a mark); a fresh copy. Reset and revert clear it."""
        return self.info.derived

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order given."""
        return self._state().facts.labels

    @property
    def pinned(self) -> bool:
        """Whether it is pinned."""
        return self._state().facts.pinned

    @property
    def archived(self) -> bool:
        """Whether it is archived."""
        return self._state().facts.archived

    @property
    def suspended(self) -> bool:
        """Whether it is suspended."""
        return self._state().facts.suspended

    @property
    def created_at(self) -> float:
        """When it was made, Unix seconds."""
        return self._state().facts.created_at

    @property
    def updated_at(self) -> float:
        """When its history last changed, Unix seconds; titles, labels and the like do not move it."""
        return self._state().updated_at

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The snapshots, the oldest first."""
        return self._state().facts.snapshots

    @property
    def refs(self) -> dict[str, Any]:
        """The session's ids in other systems, by name; a fresh copy. What was cleared is not in it."""
        refs: dict[str, Any] = loads(self._state().facts.refs_json)
        return refs

    @property
    def usage(self) -> dict[str, int | float]:
        """The totals of its counters; a fresh copy. A fork begins with none: what it inherited was counted once."""
        return {name: sums.value(total) for name, total in self._state().facts.usage}

    @property
    def turn_in_progress(self) -> TurnInProgress | None:
        """The turn that was begun with ``start_turn`` and not ended, or None."""
        turn = self._state().facts.turn
        return None if turn is None else TurnInProgress(*turn)
