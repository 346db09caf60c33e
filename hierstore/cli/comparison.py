"""Two states of sessions side by side: which facts and which messages differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hierstore.cli.naming import find
from hierstore.cli.targets import target
from hierstore.cli.text import Refused, one_line
from hierstore.errors import SessionNotFound

if TYPE_CHECKING:
    from hierstore import Message, Session, SessionInfo, SessionStore

_NAME_CHARS = 60
_FACTS = ("title", "pinned", "archived", "suspended")

Part = tuple[str, Sequence["Message"]]


class Side(NamedTuple):
    """A state of a session.

    Attributes:
        name: what the user called it.
        info: its facts.
        messages: its history.
    """

    name: str
    info: SessionInfo
    messages: Sequence[Message]


class Comparison(NamedTuple):
    """What differs.

    Attributes:
        a, b: what was compared.
        facts: name and both values of each that differs; None: it has none.
        parts: runs of messages in their order: ``=`` in both, ``-`` only in a, ``+`` only in b.
    """

    a: Side
    b: Side
    facts: tuple[tuple[str, Any, Any], ...]
    parts: tuple[Part, ...]

    @property
    def common(self) -> int:
        """How many messages both have."""
        return self._total("=")

    @property
    def removed(self) -> int:
        """How many only the first has."""
        return self._total("-")

    @property
    def added(self) -> int:
        """How many only the second has."""
        return self._total("+")

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.facts or self.removed or self.added)

    def _total(self, sign: str) -> int:
        return sum(len(messages) for mark, messages in self.parts if mark == sign)


def side(store: SessionStore, word: str) -> Side:
    """What ``SESSION`` or ``SESSION@STATE`` names. An id may hold an ``@``: the whole word is tried first.

    Raises:
        Refused, SessionNotFound, RevisionNotFound: nothing, or more than one thing.
    """
    try:
        session = find(store, word)
        return Side(session.id, session.info, session.messages)
    except SessionNotFound as error:
        missing = error
    before = word
    while "@" in before[1:]:
        before, _, _ = before.rpartition("@")
        try:
            session = find(store, before)
        except SessionNotFound:
            continue
        past = session.at(target(session, word[len(before) + 1 :]))
        return Side(word, past.info, past.messages)
    raise missing


def undone(store: SessionStore, session: Session) -> Side:
    """What the last revert of a session took out of its history.

    Raises:
        Refused: it has none.
    """
    reverts: list[int] = []
    with store.watch(session=session, after="", mode="off") as watcher:
        for event in watcher:
            if event.type == "reverted":
                reverts.append(event.revision - 1)
            elif event.type == "unreverted":
                reverts = reverts[:-1]
            elif event.type in ("reset", "created"):
                reverts.clear()
    if not reverts:
        name = one_line(session.id, _NAME_CHARS)
        raise Refused(f"Session {name!r} has no revert to compare with; name a second session, or a state by --since.")
    past = session.at(reverts[-1])
    return Side(f"{session.id}@r{reverts[-1]}", past.info, past.messages)


def compare(a: Side, b: Side) -> Comparison:
    """Find out what differs."""
    return Comparison(a, b, tuple(_facts(a.info, b.info)), tuple(_parts(a.messages, b.messages)))


def _facts(a: SessionInfo, b: SessionInfo) -> Iterator[tuple[str, Any, Any]]:
    for name in _FACTS:
        before, after = getattr(a, name), getattr(b, name)
        if before != after:
            yield name, before, after
    if a.labels != b.labels:
        yield "labels", list(a.labels), list(b.labels)
    ours, theirs = a.metadata, b.metadata
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key):
            yield f"metadata {key}", ours.get(key), theirs.get(key)


def _parts(a: Sequence[Message], b: Sequence[Message]) -> Iterator[Part]:
    first = 0
    while first < min(len(a), len(b)) and _is_same(a[first], b[first]):
        first += 1
    if first:
        yield "=", a[:first]
    if first < max(len(a), len(b)):
        yield from _behind(a[first:], b[first:])


def _behind(a: Sequence[Message], b: Sequence[Message]) -> Iterator[Part]:
    """The same of what follows on the common beginning."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, [_key(message) for message in a], [_key(message) for message in b], autojunk=False)
    for operation, a_first, a_end, b_first, b_end in matcher.get_opcodes():
        if operation == "equal":
            yield "=", a[a_first:a_end]
            continue
        if a_first < a_end:
            yield "-", a[a_first:a_end]
        if b_first < b_end:
            yield "+", b[b_first:b_end]


def _is_same(a: Message, b: Message) -> bool:
    return a == b or _key(a) == _key(b)


def _key(message: Message) -> tuple[str, str, str]:
    """What two messages must have in common to count as one: not the time, nor the number."""
    from hierstore.cli.shapes import dumps

    return message.id, message.role, dumps([message.content, message.fields, message.metadata])
