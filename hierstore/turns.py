"""A turn: messages that are stored together when a block ends, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hierstore.disk import refusals
from hierstore.drafts import draft, draft_of
from hierstore.errors import InvalidRecord

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine
    from hierstore.log.events import Draft
    from hierstore.log.state import State
    from hierstore.model import Message


class Turn:
    """The messages of one turn, still to be stored. Made by ``Session.turn``; for one thread.

    Attributes:
        messages: after the block, the messages as stored.
    """

    def __init__(self, engine: Engine, entry: Entry, expected_revision: int | None) -> None:
        self._engine = engine
        self._entry = entry
        self._expected = expected_revision
        self._drafts: list[Draft] | None = None
        self._began = ("", 0)
        self.messages: tuple[Message, ...] = ()

    def append(
        self,
        role: str,
        content: Any,
        *,
        message_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Add a message to the turn; the arguments are ``Session.append``'s.

        Returns:
            The id that the message will have.

        Raises:
            InvalidRecord: it cannot be stored.
        """
        item = draft(role, content, message_id, metadata, fields)
        self._open().append(item)
        return item.id

    def extend(self, messages: Iterable[Message | Mapping[str, Any]]) -> None:
        """Add several, as ``Session.extend`` takes them."""
        self._open().extend([draft_of(item) for item in messages])

    def _open(self) -> list[Draft]:
        if self._drafts is None:
            raise InvalidRecord("A turn takes messages inside its with block only.", where="turn")
        return self._drafts

    def __enter__(self) -> Turn:
        self._engine.check_writable()
        reset_at = self._engine.read(self._entry).facts.reset_at
        self._began = (self._entry.nonce, reset_at)
        self._drafts = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drafts, self._drafts = self._drafts, None
        if kind is None and drafts:
            self.messages = self._engine.append(self._entry, drafts, self._expected, self._check)

    def _check(self, state: State) -> None:
        """Refuse the messages of a turn that began in another time of the session."""
        nonce, reset_at = self._began
        if nonce != self._entry.nonce:
            # Deleted, and made anew: the turn is not the new session's.
            raise refusals.not_found(self._entry.id)
        if reset_at != state.facts.reset_at:
            raise refusals.was_reset(self._entry.id, reset_at, state.facts.reset_at)
