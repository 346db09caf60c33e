"""Export: the logs of a session and its descendants as JSON, without what belongs to this store alone.

A bundle is a sequence of items; in a document they are nested, in a stream each is a line:

- the top: ``format``, ``kind``, ``root``;
- ``past``: a history that forks inherited: ``messages``, after the first so many of an earlier past (``base``). Forks of
  one history share it, so that a hundred of them do not carry it a hundred times;
- ``session``: ``id``, ``parent_id`` within the bundle, ``past`` (which, and how many messages of it), ``routes`` (the keys bound
  to it), ``skipped`` (revisions that a compaction dropped);
- ``commit``: one line of its log, ``seq``, ``at`` and ``events``, what this version does not know included.

Left out are shares, trash, and the turn in progress; parents are said once, by the session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hierstore import routes
from hierstore.disk.engine import Engine
from hierstore.errors import CorruptLog, SessionNotFound
from hierstore.log.compact import EPOCHS
from hierstore.log.events import parse
from hierstore.log.state import State, apply, initial
from hierstore.model import Message
from hierstore.shared import Redact, redacted
from hierstore.transfer.rewriting import DROPPED, carried
from hierstore.values import encode

FORMAT = 1
KIND = "hierstore bundle"

Item = tuple[str, dict[str, Any]]


def document(engine: Engine, session_id: str, *, subtree: bool, redact: Redact | None) -> dict[str, Any]:
    """The bundle as one document."""
    top = {"format": FORMAT, "kind": KIND, "root": session_id}
    pasts: list[dict[str, Any]] = []
    sessions: list[dict[str, Any]] = []
    for kind, item in _items(engine, session_id, subtree=subtree, redact=redact):
        if kind == "past":
            pasts.append(item)
        elif kind == "session":
            sessions.append({**item, "commits": []})
        else:
            sessions[-1]["commits"].append(item)
    return {**top, "pasts": pasts, "sessions": sessions}


def lines(engine: Engine, session_id: str, *, subtree: bool, redact: Redact | None) -> Iterator[bytes]:
    """The bundle as lines of JSON; the last says how many sessions there were."""
    engine.read(engine.entry(session_id))
    return _lines(engine, session_id, subtree=subtree, redact=redact)


def _lines(engine: Engine, session_id: str, *, subtree: bool, redact: Redact | None) -> Iterator[bytes]:
    yield encode({"format": FORMAT, "kind": KIND, "root": session_id}, "bundle") + b"\n"
    sessions = 0
    for kind, item in _items(engine, session_id, subtree=subtree, redact=redact):
        sessions += kind == "session"
        yield encode({kind: item}, "bundle") + b"\n"
    yield encode({"end": {"sessions": sessions}}, "bundle") + b"\n"


def _items(engine: Engine, root_id: str, *, subtree: bool, redact: Redact | None) -> Iterator[Item]:
    engine.check_open()
    pasts = _Pasts()
    stack: list[tuple[str, str | None]] = [(root_id, None)]
    seen: set[str] = set()
    while stack:
        session_id, parent_id = stack.pop()
        if session_id in seen:
            continue
        try:
            log = _read(engine, session_id)
        except SessionNotFound:
            # Deleted since its parent was read.
            if parent_id is None:
                raise
            continue
        if parent_id is not None and log.state.facts.parent_id != parent_id:
            # Moved since; below a parent that comes later, it comes there.
            continue
        seen.add(session_id)
        below = [child for child in log.state.facts.children if subtree and _is_child(engine, child, session_id)]
        yield from _Export(engine, log, parent_id, frozenset(below), redact).items(pasts)
        stack.extend((child, session_id) for child in reversed(below))


class _Log(NamedTuple):
    """A session's log at one moment."""

    data: bytes
    state: State
    inherited: list[Message]
    skipped: int | None


def _read(engine: Engine, session_id: str) -> _Log:
    entry = engine.entry(session_id)
    data, parsed = engine.parse(entry)
    if parsed.fault is not None:
        raise CorruptLog(
            f"Session {session_id!r} cannot be exported: {parsed.fault}.",
            session_id=session_id, path="", offset=0,
        )  # fmt: skip
    state = parsed.state
    return _Log(
        data[: parsed.end],
        state,
        state.facts.epochs[0][1].part(0, state.counts[0]) if state.facts.past else [],
        parsed.skipped,
    )


def _is_child(engine: Engine, child_id: str, parent_id: str) -> bool:
    try:
        return engine.read(engine.entry(child_id)).facts.parent_id == parent_id
    except SessionNotFound:
        return False


class _Export:
    """One session's way into the bundle."""

    def __init__(
        self, engine: Engine, log: _Log, parent_id: str | None, children: frozenset[str], redact: Redact | None
    ) -> None:
        self._engine = engine
        self._log = log
        self._parent_id = parent_id
        self._children = children
        self._redact = redact
        self._hidden: set[int] = set()
        self._state: State | None = None
        self._keys: tuple[str, ...] = ()

    def items(self, pasts: _Pasts) -> Iterator[Item]:
        """The session's items; those of its past first."""
        log = self._log
        inherited = [record for message in log.inherited if (record := self._shown(message)) is not None]
        place = None
        if log.inherited:
            new, place = pasts.place(inherited)
            if new is not None:
                yield "past", new
        lines = log.data.split(b"\n")
        self._keys = routes.keys_of(self._engine, log.state)
        yield (
            "session",
            {
                "id": log.state.facts.id,
                "parent_id": self._parent_id,
                "past": place,
                "routes": list(self._keys),
                "skipped": log.skipped,
            },
        )
        for line in lines[1:-1]:
            yield "commit", self._commit(line)

    def _commit(self, line: bytes) -> dict[str, Any]:
        record = parse(line)
        before = self._before(record)
        events = [new for old in record["events"] if (new := self._event(old, before)) is not None]
        extras = {key: value for key, value in record.items() if key not in ("seq", "at", "events", "crc")}
        return {"seq": record["seq"], "at": record["at"], **extras, "events": events}

    def _before(self, record: dict[str, Any]) -> State | None:
        """The state before a commit; kept only for a hook, which may make the history shorter."""
        if self._redact is None:
            return None
        before = self._state
        if before is None:
            history, count = self._log.state.facts.epochs[0][1], len(self._log.inherited)
            before = initial(self._log.state.facts.id, history.shared(count), count)
        self._state = apply(before, record)
        return before

    def _event(self, old: dict[str, Any], before: State | None) -> dict[str, Any] | None:
        kind = old.get("type")
        if kind in DROPPED or (kind == "child" and old["id"] not in self._children):
            return None
        if kind == "bound" and old["key"] not in self._keys:
            return None
        if kind == "created":
            return {key: value for key, value in old.items() if key != "past"} | {"parent": self._parent_id}
        if kind == "compacted":
            return carried(old, keys=self._keys, child=lambda child: child if child in self._children else None)
        if self._redact is None or before is None:
            return old
        if kind == "message":
            shown = self._shown(Message._of_record({key: value for key, value in old.items() if key != "type"}))
            return None if shown is None else {"type": "message", **shown}
        if kind in EPOCHS and kind != "reset" and self._hidden:
            part = before.history_at(old["revision"])[0].part(0, old["count"])
            return {**old, "count": sum(message.seq not in self._hidden for message in part)}
        return old

    def _shown(self, message: Message) -> dict[str, Any] | None:
        """What is exported of a message: its JSON object, its number first."""
        shown = redacted(message, self._redact)
        if shown is None:
            self._hidden.add(message.seq)
            return None
        # Its number is its place in the log, whatever a hook says.
        return {"seq": message.seq, **{key: value for key, value in shown._record().items() if key != "seq"}}


class _Pasts:
    """The inherited histories that are in the bundle already."""

    def __init__(self) -> None:
        self._known: list[list[dict[str, Any]]] = []

    def place(self, messages: Sequence[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[int]]:
        """Where a history is to be found: an item to add first, if any; which past, and how many of its messages."""
        best, common = -1, 0
        for number, known in enumerate(self._known):
            length = _common(known, messages)
            if length > common:
                best, common = number, length
        if common == len(messages) and best >= 0:
            return None, [best, common]
        self._known.append(list(messages))
        base = [best, common] if common else None
        return {"base": base, "messages": list(messages[common:])}, [len(self._known) - 1, len(messages)]


def _common(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> int:
    """How many messages two histories begin with alike."""
    length = 0
    for ours, theirs in zip(first, second, strict=False):
        if ours is not theirs and ours != theirs:
            break
        length += 1
    return length
