"""The vocabulary: each event's name, what it holds, and how a commit of events becomes bytes and back.

One table. A new event is a row here, a function in ``state.py``, and a method where users call it. Unknown types are
kept in the state and in the file; unknown keys of known events stay in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hierstore.model import Message
from hierstore.values import encode, loads

FORMAT = 1
"""The version that header lines and ``hierstore.json`` bear."""

EVENTS: dict[str, tuple[str, ...]] = {
    # type: keys beside "type"
    "created": ("title", "title_source", "parent", "kind", "metadata", "labels", "past"),
    "past": ("past",),  # where the history of the time before a fork is kept now
    "message": ("seq", "id", "role", "content", "at", "metadata", "fields"),
    "title": ("title", "source"),
    "updated": ("metadata", "labels", "pinned", "archived", "suspended", "derived"),
    "child": ("id",),  # noted in the parent, before the child appears
    "moved": ("parent",),
    "reset": ("reason",),
    "snapshot": ("id", "label", "metadata"),
    "reverted": ("revision", "count"),  # the history becomes the first `count` messages of that revision's
    "unreverted": ("revision", "count"),
    "forgotten": ("id",),  # a child noted that does not exist; written by a repair
    "deleted": ("batch",),
    "restored": ("batch",),
    "ref": ("name", "value"),  # an id in another system; null clears
    "usage": ("add", "set"),
    "shared": ("id", "digest", "role", "expires_at", "subtree", "frozen"),
    "unshared": ("ids",),
    "turn": ("token",),  # a turn is in progress; null: it has ended
    "bound": ("key",),  # noted in the session, before the registry binds the key to it
    "compacted": (  # what the events that were dropped did to the facts; of lists that grew, what is new, in "more"
        "parent_id",
        "kind",
        "title",
        "title_source",
        "labels",
        "pinned",
        "archived",
        "suspended",
        "created_at",
        "children",
        "reset_at",
        "deleted",
        "turn",
        "bound",
        "metadata",
        "derived",
        "refs",
        "usage",
        "grants",
        "snapshots",
        "more",
        "last_seq",
        "updated_at",
        "through",
        "kept",
    ),
    # In the registry's logs alone:
    "route": ("key", "session"),
    "locator": ("locator", "session"),
}


class Past(NamedTuple):
    """Where the beginning of a fork's history is kept: one log of the time before.

    Attributes:
        file: the number of the file beside the fork's own log.
        size: the byte count up to which that log counts.
        chain: its chain value there.
        revision: the revision in it whose history is taken.
        kept: how many messages of that history are taken.
        nonce: from its header; empty in what earlier versions wrote.
    """

    file: int
    size: int
    chain: int
    revision: int
    kept: int
    nonce: str = ""


def header(session_id: str, nonce: str, at: float, floor_ns: int = 0, skipped: int | None = None) -> bytes:
    """The body of a log's first line.

    Args:
        session_id: whose log it is.
        nonce: tells it from any other log.
        at: Unix seconds.
        floor_ns: no log that had this name before was modified later; this one's mtime is always larger.
        skipped: how many revisions a compaction left without a line; None where there was none.
    """
    record = {"hierstore": FORMAT, "session": session_id, "nonce": nonce, "at": at, "floor_ns": floor_ns}
    record |= {"seq": 0} if skipped is None else {"skipped": skipped, "seq": 0}
    return encode(record, "session id")[:-1]


def event(name: str, /, **payload: Any) -> dict[str, Any]:
    """An event of a known type.

    Raises:
        KeyError: the type or a key is not in the table.
    """
    unknown = payload.keys() - set(EVENTS[name])
    if unknown:
        raise KeyError(f"{name} has no {sorted(unknown)}")
    return {"type": name, **payload}


def commit(events: Sequence[Mapping[str, Any]], seq: int, at: float) -> bytes:
    """The body of a commit line of any events."""
    return encode({"events": list(events), "at": at, "seq": seq}, "commit")[:-1]


class Draft:
    """A message on its way in: checked and encoded, still without its number.

    Args:
        id: the message's id.
        role: who speaks.
        content: what it says, made of plain JSON values.
        at: Unix seconds.
        extras: ``metadata`` and ``fields``, where it has any, made of plain JSON values.
        is_retry_safe: whether the caller gave the id, so that an equal id in the history is this message again.

    Raises:
        InvalidRecord: it holds a lone surrogate.
    """

    __slots__ = ("at", "content", "id", "is_plain", "is_retry_safe", "record", "role")

    def __init__(
        self,
        id: str,
        role: str,
        content: Any,
        at: float,
        extras: dict[str, Any] | None,
        is_retry_safe: bool,
    ) -> None:
        self.id = id
        self.role = role
        self.content = content
        self.at = at
        self.is_plain = not extras and type(content) is str
        self.is_retry_safe = is_retry_safe
        # Without its opening brace: the number goes in front.
        self.record = encode({"id": id, "role": role, "content": content, "at": at, **(extras or {})}, "message")[1:]

    def message(self, seq: int) -> Message:
        """The message as it will stand in the history."""
        if self.is_plain:
            return Message._of_text(self.id, seq, self.role, self.content, self.at)
        return Message._of_record(loads(b'{"seq":%d,%b' % (seq, self.record)))


def message_commit(drafts: Sequence[Draft], message_seq: int, seq: int) -> bytes:
    """The body of a commit of messages; the short form where it is one.

    Args:
        drafts: the messages, at least one.
        message_seq: the first one's number.
        seq: the commit's.
    """
    if len(drafts) == 1:
        return b'{"message":{"seq":%d,%b,"seq":%d' % (message_seq, drafts[0].record, seq)
    events = b",".join(
        [b'{"type":"message","seq":%d,%b' % (number, draft.record) for number, draft in enumerate(drafts, message_seq)]
    )
    return b'{"events":[%b],"at":%b,"seq":%d' % (events, encode(drafts[-1].at, "time"), seq)


def parse(line: bytes) -> dict[str, Any]:
    """A commit line as its JSON object; the short form is spelled out."""
    record: dict[str, Any] = loads(line)
    message = record.pop("message", None)
    if message is not None:
        record["events"] = [{"type": "message", **message}]
        record.setdefault("at", message.get("at"))
    return record
