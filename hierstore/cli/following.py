"""Messages as they come: what of several sessions was shown, and what came since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hierstore.errors import HierstoreError

if TYPE_CHECKING:
    from hierstore import Event, Message, Session, SessionStore, Watcher

_NOTED = frozenset(["created", "reverted", "unreverted", "reset", "deleted", "restored", "unreadable"])
"""What one who reads along must be told of: the history is not what was shown, or not there."""


class Said(NamedTuple):
    """A message of a session, or a change that concerns who reads along; one of the two is None."""

    session_id: str
    message: Message | None
    event: Event | None


class Following:
    """The last messages of some sessions, and those that come.

    Args:
        store: their store.
        sessions: which.
        watcher: made before anything of the sessions was read: so what comes meanwhile is told, and by its number it is
            told once.
    """

    def __init__(self, store: SessionStore, sessions: Sequence[Session], watcher: Watcher | None) -> None:
        self._store = store
        self._sessions = sessions
        self._watcher = watcher
        self._shown: dict[str, int] = {}

    def last(self, number: int) -> Iterator[Said]:
        """The last messages of each session, the oldest first, session by session."""
        for session in self._sessions:
            messages = session.messages
            self._shown[session.id] = messages[-1].seq if messages else 0
            for message in messages[max(0, len(messages) - number) :]:
                yield Said(session.id, message, None)

    def coming(self) -> Iterator[Said]:
        """What comes, as long as nobody interrupts."""
        for event in self._watcher or ():
            if event.session_id not in self._shown:
                continue
            if event.type == "reset" and event.missed is not None:
                # Between the last look and this one the log was rewritten: what came is in the session, not in the feed.
                yield from self._new_in(event.session_id, self._present(event.session_id))
            elif event.type == "created":
                # Deleted, and made anew: its numbers begin again.
                self._shown[event.session_id] = 0
            yield from self._new_in(event.session_id, event.messages)
            # What a compaction leaves out, nobody saw.
            if event.type in _NOTED and event.missed != "compacted":
                yield Said(event.session_id, None, event)

    def _new_in(self, session_id: str, messages: Sequence[Message]) -> Iterator[Said]:
        for message in messages:
            if message.seq > self._shown[session_id]:
                self._shown[session_id] = message.seq
                yield Said(session_id, message, None)

    def _present(self, session_id: str) -> Sequence[Message]:
        try:
            return self._store.get(session_id).messages
        except HierstoreError:
            # Gone since, or not readable: an event of its own tells that.
            return ()
