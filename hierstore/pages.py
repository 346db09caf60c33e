"""What listing and searching answer: frozen values, no behaviour beyond their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hierstore.model import Message

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of what a listing or a search found; iterates over its items.

    Attributes:
        items: in the order asked for.
        next: to be passed as ``after`` for what follows; None when nothing does.
    """

    items: tuple[Item, ...]
    next: str | None = None

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message, or a session's title, in which the words were found.

    Attributes:
        session_id: the session that shows it; of several that share it by forking, the one it was written in, while that
            one shows it.
        message_id: the message's id; None where the title was found.
        seq: the message's number in its session; None for a title.
        role: who speaks; None for a title.
        at: when the message was stored, or the session made, Unix seconds.
        score: how well it fits; higher is better. To be compared within one answer only.
        snippet: the part of the text where the words stand, on one line.
        marks: where they stand in it: (begin, end) of each.
        before: the messages before it, in their order; none for a title.
        message: the message; None for a title.
        after: the messages after it.
        reverted: whether it is out of the session's present history.
        deleted: whether the session is in the trash.
    """

    session_id: str
    message_id: str | None
    seq: int | None
    role: str | None
    at: float
    score: float
    snippet: str
    marks: tuple[tuple[int, int], ...]
    before: tuple[Message, ...] = field(default=(), repr=False)
    message: Message | None = field(default=None, repr=False)
    after: tuple[Message, ...] = field(default=(), repr=False)
    reverted: bool = False
    deleted: bool = False

    def marked(self, begin: str = "**", end: str = "**") -> str:
        """The snippet with something put around each of the words that were found."""
        parts, done = [], 0
        for first, last in self.marks:
            parts += [self.snippet[done:first], begin, self.snippet[first:last], end]
            done = last
        return "".join([*parts, self.snippet[done:]])
