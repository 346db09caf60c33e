"""The list of a session's messages: decoded when asked for, shared between views, and the view that users get."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

from hierstore.errors import CorruptLog
from hierstore.model import PLAIN_KEYS, Message
from hierstore.values import count_lines, loads

_CHUNK: Final = 256
_BLOCK_BYTES: Final = 2**16

_new = Message.__new__
_intern = sys.intern
_PLAIN_LENGTH: Final = len(PLAIN_KEYS)
_ONLY_MESSAGES: Final = frozenset([Message])


class _Lines:
    """Log lines of one message each, which stand in a History's place for their messages until one is asked for.

    They are decoded by the block, as one JSON array: that takes half of what a call of the parser for each takes.
    """

    __slots__ = ("begin", "count", "end", "place", "text")

    def __init__(self, text: bytes, begin: int, end: int, place: int, count: int) -> None:
        # The whole text and where the lines are in it: cutting them out is a third of a cold open.
        self.text = text
        self.begin = begin
        self.end = end
        self.place = place
        self.count = count

    def give_way(self, items: list[Message | _Lines], place: int) -> int:
        """Put the message at a place, and others of its block, where the lines stand; or smaller blocks first.

        Each step is one assignment of a slice of equal length, which no reader and no writer at the end sees half of.
        Two threads that do it at once put equal messages there.

        Returns:
            Before which place there are messages from this one on: this one itself, if it was smaller blocks.
        """
        if self.end - self.begin <= 2 * _BLOCK_BYTES:
            self._put(items, self.place, self._decode())
            return self.place + self.count
        # The end of a history is what is asked for most.
        cut = self.text.rfind(b"\n", self.begin, self.end - _BLOCK_BYTES) + 1
        count = count_lines(self.text, cut, self.end)
        first = self.place + self.count - count
        if cut > self.begin and place >= first:
            self._put(items, first, _Lines(self.text, cut, self.end, first, count)._decode())
            front = _Lines(self.text, self.begin, cut, self.place, self.count - count)
            self._put(items, self.place, [front] * front.count)
            return first + count
        blocks = list(self._blocks())
        if len(blocks) == 1:
            # One line, or the last of a few, is larger than a block.
            self._put(items, self.place, self._decode())
            return self.place + self.count
        self._put(items, self.place, [lines for lines in blocks for _ in range(lines.count)])
        return place

    @staticmethod
    def _put(items: list[Message | _Lines], place: int, new: Sequence[Message | _Lines]) -> None:
        items[place : place + len(new)] = new

    def _blocks(self) -> Iterator[_Lines]:
        begin, place = self.begin, self.place
        while begin < self.end:
            end = self.text.find(b"\n", min(begin + _BLOCK_BYTES, self.end - 1)) + 1
            count = count_lines(self.text, begin, end)
            yield _Lines(self.text, begin, end, place, count)
            begin, place = end, place + count

    def _decode(self) -> list[Message]:
        """The messages.

        Raises:
            CorruptLog: a line is sealed, and yet no message: not this library wrote it.
        """
        try:
            messages = self._decoded()
            if len(messages) != self.count:
                raise ValueError("not a message a line")
            return messages
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CorruptLog(
                "A log has a line that is sealed and yet no message.", session_id="", path="", offset=self.begin
            ) from error

    def _decoded(self) -> list[Message]:
        block = self.text[self.begin : self.end - 1]
        # Asked once for a block, not for each message. What is escaped may be anything.
        is_ascii = block.isascii() and b"\\" not in block
        messages = []
        for commit in loads(b"[%b]" % block.replace(b"\n", b",")):
            record = commit["message"]
            content = record["content"]
            if len(record) == _PLAIN_LENGTH and type(content) is str and (is_ascii or content.isascii()):
                # Not by a call for each: that is a third of the time of reading a long history.
                message = _new(Message)
                message._seq = record["seq"]
                message._id = record["id"]
                message._role = _intern(record["role"])
                message._content = content
                message._at = record["at"]
                message._raw = None
            else:
                message = Message._of_record(record)
            messages.append(message)
        return messages


class History:
    """An append-only list of messages, shared by every view of it; the rest of the package's, not the user's.

    One writer at a time adds to it (the session's lock sees to that), any thread reads, and no lock is taken: readers
    stay below the count of the state that they have.
    """

    __slots__ = ("__weakref__", "_base", "_ids", "_items", "_source", "_start", "total")

    def __init__(self, items: list[Message] | None = None) -> None:
        # The first _start messages are another session's: in _base, or still in the list that _source names.
        self._base: list[Message] | None = None
        self._source: tuple[History, int] | None = None
        self._start = 0
        self._items: list[Message | _Lines] = [*items] if items else []
        self._ids: tuple[dict[str, int], int] = ({}, 0)
        self.total = len(self._items)

    def append(self, message: Message) -> None:
        """Add one message at the end."""
        self._items.append(message)
        self.total += 1

    def append_lines(self, text: bytes, begin: int, end: int, count: int) -> None:
        """Add ``count`` log lines of one message each, which stand in ``text`` from ``begin`` to before ``end``."""
        self._items.extend([_Lines(text, begin, end, len(self._items), count)] * count)
        self.total += count

    def shared(self, count: int) -> History:
        """A list of another session that begins with the first ``count`` messages of this one, at no cost.

        Each of the two grows by itself: they have different writers, under different locks.
        """
        other = History()
        other._source = (self, count)
        other._start = other.total = count
        return other

    def _first(self) -> list[Message]:
        # Base last: the source goes when the base has come, so a thread that finds no base has the source.
        source = self._source
        base = self._base
        if base is None:
            base = self._base = [] if source is None else source[0].part(0, source[1])
            self._source = None
        return base

    def message(self, place: int) -> Message:
        """The message at a place from 0."""
        start = self._start
        if place < start:
            source = self._source
            return self._first()[place] if source is None else source[0].message(place)
        found = self._items[place - start]
        while not isinstance(found, Message):
            found.give_way(self._items, place - start)
            found = self._items[place - start]
        return found

    def part(self, begin: int, end: int) -> list[Message]:
        """The messages from one place to before another, in a list of the caller's own."""
        start = self._start
        if end <= start:
            return self._first()[begin:end]
        items = self._messages(max(begin - start, 0), end - start)
        return items if begin >= start else self._first()[begin:] + items

    def _messages(self, begin: int, end: int) -> list[Message]:
        """The same of the messages that are not another session's."""
        items = self._items
        found = items[begin:end]
        if _ONLY_MESSAGES.issuperset(map(type, found)):
            return found  # type: ignore[return-value]
        place = begin
        while place < end:
            item = items[place]
            place = place + 1 if isinstance(item, Message) else item.give_way(items, place)
        return items[begin:end]  # type: ignore[return-value]

    def prefix(self, count: int) -> History:
        """A new list of the first ``count`` messages; the messages themselves are shared."""
        return History(self.part(0, count))

    def messages(self, count: int) -> Iterator[Message]:
        """Iterate over the first ``count``."""
        for begin in range(0, count, _CHUNK):
            yield from self.part(begin, min(begin + _CHUNK, count))

    def find(self, message_id: str, count: int) -> int | None:
        """The place of the message of that id among the first ``count``, or None.

        The first look-up decodes every message, later ones only those that came since.
        """
        places, known = self._ids
        if known < count:
            for place, message in enumerate(self.part(known, count), known):
                places.setdefault(message._id, place)
            self._ids = (places, count)
        found = places.get(message_id)
        return found if found is not None and found < count else None


class Messages(Sequence[Message]):
    """A session's messages as of one moment: an immutable sequence that costs no copy.

    ``len``, index and iteration are a list's; a slice is a tuple. Equal to any list or tuple of equal messages.
    """

    __slots__ = ("_count", "_history")

    def __init__(self, history: History, count: int) -> None:
        self._history = history
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Message, ...]: ...
    def __getitem__(self, index: int | slice) -> Message | tuple[Message, ...]:
        if isinstance(index, slice):
            begin, end, step = index.indices(self._count)
            if step == 1:
                return tuple(self._history.part(begin, max(begin, end)))
            return tuple([self._history.message(place) for place in range(begin, end, step)])
        place = index if index >= 0 else self._count + index
        if not 0 <= place < self._count:
            raise IndexError(f"message {index} of {self._count}")
        return self._history.message(place)

    def __iter__(self) -> Iterator[Message]:
        return self._history.messages(self._count)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Messages | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{self._count} messages>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _messages_of, (list(self),)


def _messages_of(items: list[Message]) -> Messages:
    return Messages(History(items), len(items))
