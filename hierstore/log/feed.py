"""The change feed's events: what a log's lines say to somebody who follows the session. Pure.

An event of the log becomes an event of the feed by one table. What the store writes for itself (that a parent has a
child, where a fork's past is kept, what a compaction left) becomes none; a type that this version does not know is
passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hierstore.log.events import EVENTS, parse
from hierstore.log.frame import EVENTS_START
from hierstore.model import Message
from hierstore.values import encode, loads


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one session.

    ============== ==========================================================================================
    type           data
    ============== ==========================================================================================
    created        title, title_source, parent_id, kind, metadata, labels; forked: it starts with a history
    appended       nothing; the messages of the commit are in ``messages``
    titled         title, source
    updated        those of metadata, labels, pinned, archived, suspended, derived that were given; in metadata
                   and derived only the keys that change, null for one that goes
    moved          parent_id, or null: it is a root now
    snapshot       id, label, metadata
    reverted       revision, count: the history is the first ``count`` messages of that revision's again
    unreverted     the same; a revert was undone
    reset          reason: the history is empty; or, where ``missed`` says why, what came before is not told: the
                   session is to be read anew
    ref            name, value: its id in another system; null: it has none any more
    usage          add, set: counters
    turn           token of the turn in progress, or null: it has ended
    routed         key: a route key was bound to it
    shared         id, role, expires_at, subtree, frozen; nothing that opens the share
    unshared       ids
    deleted        nothing
    restored       nothing
    unreadable     why: its log cannot be read, or holds damage; told once, until it can be read again
    unknown        the event's JSON, of a type that a later version wrote
    ============== ==========================================================================================

    Attributes:
        type: one of the above.
        session_id: the session.
        revision: the session's, which the commit made. Several events of one commit have the same.
        at: when it was committed, by that machine's clock, Unix seconds; for what no commit says, when it was noticed.
        messages: for ``appended``, the messages; else empty.
        missed: None where all that came before in the session has been told. Else why not: ``"compacted"``,
            ``"replaced"`` (the log was cut back or put back from outside), ``"unreadable"``, ``"purged"``.
        data: see above; a fresh copy at each access.
    """

    type: str
    session_id: str
    revision: int
    at: float
    messages: tuple[Message, ...] = ()
    missed: str | None = None
    data_json: bytes = field(default=b"{}", repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """What changed, by name."""
        value: dict[str, Any] = loads(self.data_json)
        return value


_TYPES = {
    # in the log: in the feed
    "created": "created", "message": "appended", "title": "titled", "updated": "updated", "moved": "moved",
    "reset": "reset", "snapshot": "snapshot", "reverted": "reverted", "unreverted": "unreverted", "deleted": "deleted",
    "restored": "restored", "ref": "ref", "usage": "usage", "shared": "shared", "unshared": "unshared", "turn": "turn",
    "bound": "routed",
}  # fmt: skip
_SILENT = EVENTS.keys() - _TYPES.keys()
# Not told: a digest is nobody's business, and a batch, a past and the rows of a frozen share are the store's own.
_HIDDEN = frozenset(["type", "digest", "batch", "past", "parent", "frozen"])
_MARK = b'"compacted"'


def events_of(line: bytes, session_id: str) -> list[Event]:
    """What one commit says, in its order; its messages together, where the first of them stands.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is sealed and yet no commit.
    """
    record = parse(line)
    revision, at = record["seq"], record["at"] or 0.0
    found: list[Event] = []
    messages: list[Mapping[str, Any]] = [item for item in record["events"] if item.get("type") == "message"]
    for item in record["events"]:
        kind = item.get("type")
        if kind == "message":
            if item is messages[0]:
                found.append(Event("appended", session_id, revision, at, _messages(messages)))
        elif kind not in _SILENT:
            found.append(Event(_TYPES.get(kind, "unknown"), session_id, revision, at, data_json=_data(item)))
    return found


def _messages(items: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    records = ({key: value for key, value in item.items() if key != "type"} for item in items)
    return tuple([Message._of_record(record) for record in records])


def _data(item: Mapping[str, Any]) -> bytes:
    kind = item.get("type")
    if kind not in _TYPES:
        return encode(item, "event")
    data = {key: value for key, value in item.items() if key in EVENTS[kind] and key not in _HIDDEN}
    if kind in ("created", "moved"):
        data["parent_id"] = item.get("parent")
    if kind == "created":
        data["forked"] = bool(item.get("past"))
    if kind == "shared":
        data["frozen"] = item.get("frozen") is not None
    return encode(data, "event")


def split(lines: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where each of some whole lines begins and ends."""
    while start < len(lines):
        end = lines.index(b"\n", start) + 1
        yield start, end
        start = end


def cut(lines: bytes, count: int) -> int:
    """Where the first ``count`` of some whole lines end, or all of them if they are fewer."""
    end = 0
    for _ in range(count):
        end = lines.find(b"\n", end) + 1
        if not end:
            return len(lines)
    return end


def maybe_through(lines: bytes) -> int | None:
    """Up to which revision a compacted log's lines are a selection; from the next one on each commit has its line.

    Args:
        lines: all valid lines of the log.
    """
    latest: int | None = None
    place = lines.find(_MARK)
    while place >= 0:
        start = lines.rfind(b"\n", 0, place) + 1
        end = lines.index(b"\n", place) + 1
        # A message may hold those words too.
        if lines.startswith(EVENTS_START, start):
            for item in parse(lines[start:end])["events"]:
                latest = item.get("through", latest) if item.get("type") == "compacted" else latest
        place = lines.find(_MARK, end)
    return latest
