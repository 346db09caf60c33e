"""The frozen values that the store hands out.

Nothing that a caller does to one of them can reach the store: text is shared because it is immutable, structured
content is kept as JSON bytes and decoded anew each time it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, overload

from hierstore.values import encode, loads, plain

_STRUCTURED: Final = object()
_PLAIN_KEYS: Final = frozenset(["seq", "id", "role", "content", "at"])
_CHUNK: Final = 256
_BLOCK_BYTES: Final = 2**16


def _is_heavy(content: Any, raw: bytes) -> bool:
    """Whether content stays encoded: what a caller could change, and text that takes more memory than twice its bytes.

    One emoji makes each character of a Python string four bytes wide.
    """
    if type(content) is str:
        return not content.isascii() and sys.getsizeof(content) > 2 * len(raw)
    return type(content) is list or type(content) is dict


class Message:
    """One message of a session: frozen, compared by value.

    Handed out by the store; programs make one only for tests.

    Args:
        id: unique in the store; a fork's copy keeps it.
        seq: number within the session, from 1, never used twice. Order is by ``seq``.
        role: ``"user"``, ``"assistant"``, ``"tool"``, …: any text.
        content: any JSON value; text, or a list of content parts, mostly.
        at: when it was stored, Unix seconds by that machine's clock. Not for ordering.
        metadata: what the app noted about it.
        fields: whatever else came with it (``tool_calls``, ``tool_call_id``, ``name``, …).

    ``content`` (where it is not text), ``metadata`` and ``fields`` are fresh copies at each access.
    """

    __slots__ = ("_at", "_content", "_id", "_raw", "_role", "_seq")

    _id: str
    _seq: int
    _role: str
    _content: Any
    _at: float
    _raw: bytes | None
    """The message's JSON, where the other slots do not hold everything."""

    def __init__(
        self,
        id: str,
        seq: int,
        role: str,
        content: Any,
        at: float,
        metadata: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        record = {"seq": seq, "id": id, "role": role, "content": plain(content, "content"), "at": at}
        if metadata:
            record["metadata"] = plain(metadata, "metadata")
        if fields:
            record["fields"] = plain(fields, "fields")
        self._fill(record)

    @classmethod
    def _of_text(cls, message_id: str, seq: int, role: str, content: str, at: float) -> Message:
        """A text message without extras, past all checks: the append path."""
        self = cls.__new__(cls)
        self._id = message_id
        self._seq = seq
        self._role = role
        self._content = content
        self._at = at
        self._raw = None
        return self

    @classmethod
    def _of_record(cls, record: dict[str, Any]) -> Message:
        """A message from its JSON object."""
        self = cls.__new__(cls)
        self._fill(record)
        return self

    def _fill(self, record: dict[str, Any]) -> None:
        content = record["content"]
        self._seq = record["seq"]
        # Roles are few and each appears often: one object for each.
        self._role = sys.intern(record["role"])
        self._at = record["at"]
        self._id = record["id"]
        self._raw = None
        if type(content) is not str or not content.isascii() or len(record) != len(_PLAIN_KEYS):
            raw = encode(record, "message")
            if _is_heavy(content, raw):
                content = _STRUCTURED
            if content is _STRUCTURED or record.keys() != _PLAIN_KEYS:
                self._raw = raw
        self._content = content

    def _record(self) -> dict[str, Any]:
        raw = self._raw
        if raw is None:
            return {"seq": self._seq, "id": self._id, "role": self._role, "content": self._content, "at": self._at}
        record: dict[str, Any] = loads(raw)
        return record

    @property
    def id(self) -> str:
        """The message's id."""
        return self._id

    @property
    def seq(self) -> int:
        """The message's number in its session, from 1."""
        return self._seq

    @property
    def role(self) -> str:
        """Who speaks."""
        return self._role

    @property
    def at(self) -> float:
        """When it was stored, Unix seconds."""
        return self._at

    @property
    def content(self) -> Any:
        """What it says: any JSON value."""
        content = self._content
        return content if content is not _STRUCTURED else self._record()["content"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the app noted about it."""
        return {} if self._raw is None else self._record().get("metadata", {})

    @property
    def fields(self) -> dict[str, Any]:
        """Whatever else came with it."""
        return {} if self._raw is None else self._record().get("fields", {})

    def as_dict(self) -> dict[str, Any]:
        """The message in the shape that models take: ``role``, ``content``, and the fields beside them."""
        record = self._record()
        return {"role": record["role"], "content": record["content"], **record.get("fields", {})}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self is other or self._record() == other._record()

    def __hash__(self) -> int:
        return hash((self.id, self.seq))

    def __repr__(self) -> str:
        extras = "".join(f", {key}={value!r}" for key, value in self._record().items() if key in ("metadata", "fields"))
        return f"Message(id={self.id!r}, seq={self.seq}, role={self.role!r}, content={self.content!r}, at={self.at}{extras})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (self.id, self.seq, self.role, self.content, self.at, self.metadata, self.fields)


_new = Message.__new__
_intern = sys.intern
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

    def give_way(self, items: list[Message | _Lines], place: int) -> None:
        """Put the message at a place, and others of its block, where the lines stand; or smaller blocks first.

        Each step is one assignment of a slice of equal length, which no reader and no writer at the end sees half of.
        Two threads that do it at once put equal messages there.
        """
        if self.end - self.begin <= 2 * _BLOCK_BYTES:
            self._put(items, self.place, self._decode())
            return
        # The end of a history is what is asked for most.
        cut = self.text.rfind(b"\n", self.begin, self.end - _BLOCK_BYTES) + 1
        count = self.text.count(b"\n", cut, self.end)
        first = self.place + self.count - count
        if cut > self.begin and place >= first:
            self._put(items, first, _Lines(self.text, cut, self.end, first, count)._decode())
            front = _Lines(self.text, self.begin, cut, self.place, self.count - count)
            self._put(items, self.place, [front] * front.count)
        else:
            self._put(items, self.place, [lines for lines in self._blocks() for _ in range(lines.count)])

    @staticmethod
    def _put(items: list[Message | _Lines], place: int, new: Sequence[Message | _Lines]) -> None:
        items[place : place + len(new)] = new

    def _blocks(self) -> Iterator[_Lines]:
        begin, place = self.begin, self.place
        while begin < self.end:
            end = self.text.find(b"\n", min(begin + _BLOCK_BYTES, self.end - 1)) + 1
            count = self.text.count(b"\n", begin, end)
            yield _Lines(self.text, begin, end, place, count)
            begin, place = end, place + count

    def _decode(self) -> list[Message]:
        commits = loads(b"[" + self.text[self.begin : self.end - 1].replace(b"\n", b",") + b"]")
        messages = []
        for commit in commits:
            record = commit["message"]
            content = record["content"]
            if len(record) == len(_PLAIN_KEYS) and type(content) is str and content.isascii():
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
            if type(item) is Message:
                place += 1
            else:
                item.give_way(items, place)  # type: ignore[union-attr]
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


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session's facts at one revision, consistent with each other.

    Attributes:
        id: the session's id.
        title: its title, or None.
        title_source: ``"user"``, ``"auto"``, or None without a title.
        parent_id: the session it hangs below, or None.
        kind: why it exists (``"delegate"``, ``"branch"``, …), as its creator said, or None.
        labels: in the order given.
        pinned, archived, suspended: independent flags.
        created_at: Unix seconds.
        updated_at: Unix seconds of the last change of the history; housekeeping does not move it.
        revision: the number of the last commit, from 1.
        message_count: messages in the history now.
        metadata: the app's own facts, a fresh copy at each access.
        derived: facts that the app computed from the history, a fresh copy at each access.
    """

    id: str
    title: str | None
    title_source: str | None
    parent_id: str | None
    kind: str | None
    labels: tuple[str, ...]
    pinned: bool
    archived: bool
    suspended: bool
    created_at: float
    updated_at: float
    revision: int
    message_count: int
    metadata_json: bytes = field(repr=False)
    derived_json: bytes = field(repr=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """The app's own facts."""
        value: dict[str, Any] = loads(self.metadata_json)
        return value

    @property
    def derived(self) -> dict[str, Any]:
        """What the app computed from the history; cleared when the history is reset or reverted."""
        value: dict[str, Any] = loads(self.derived_json)
        return value


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A name for a revision.

    Attributes:
        id: unique in the store.
        label: the caller's name for it, or None.
        revision: the revision it names.
        created_at: Unix seconds.
        metadata: the caller's facts, a fresh copy at each access.
    """

    id: str
    label: str | None
    revision: int
    created_at: float
    metadata_json: bytes = field(default=b"{}", repr=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's facts about it."""
        value: dict[str, Any] = loads(self.metadata_json)
        return value


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A session and what hangs below it, as of the walk."""

    id: str
    title: str | None
    kind: str | None
    message_count: int
    children: tuple[TreeNode, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        kind: a fixed word (``"corrupt"``, ``"torn_tail"``, ``"missing_parent"``, …).
        session_id: the session concerned, or None.
        path: the file concerned.
        detail: a sentence.
    """

    kind: str
    session_id: str | None
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of the whole store found.

    Attributes:
        sessions: how many logs were verified.
        messages: how many messages their histories hold.
        problems: damage, or promises broken.
        notes: traces that a crash may leave and that harm nothing (an unfinished tail, a file in ``tmp/``).
    """

    sessions: int
    messages: int
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when there are no problems."""
        return not self.problems
