"""The frozen values that the store hands out.

Nothing that a caller does to one of them can reach the store: text is shared because it is immutable, structured
content is kept as JSON bytes and decoded anew each time it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hierstore.values import encode, loads, plain

_STRUCTURED: Final = object()
PLAIN_KEYS: Final = frozenset(["seq", "id", "role", "content", "at"])
"""What a message's JSON object always has; a text message has no more."""


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
        id: unique in the session, and in the store unless the caller gave it; a fork's copy keeps it.
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

    @classmethod
    def _of_event(cls, event: Mapping[str, Any]) -> Message:
        """A message from the event that brings it: its JSON object with the key ``type``."""
        content = event["content"]
        if type(content) is not str or len(event) != len(PLAIN_KEYS) + 1 or not content.isascii():
            return cls._of_record({key: value for key, value in event.items() if key != "type"})
        # Most are like this, and a commit may bring thousands.
        self = cls.__new__(cls)
        self._seq = event["seq"]
        self._id = event["id"]
        self._role = sys.intern(event["role"])
        self._content = content
        self._at = event["at"]
        self._raw = None
        return self

    def _fill(self, record: dict[str, Any]) -> None:
        content = record["content"]
        self._seq = record["seq"]
        # Roles are few and each appears often: one object for each.
        self._role = sys.intern(record["role"])
        self._at = record["at"]
        self._id = record["id"]
        self._raw = None
        if type(content) is not str or not content.isascii() or len(record) != len(PLAIN_KEYS):
            raw = encode(record, "message")
            if _is_heavy(content, raw):
                content = _STRUCTURED
            if content is _STRUCTURED or record.keys() != PLAIN_KEYS:
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

    def replace(self, **changes: Any) -> Message:
        """A message like this one but for the arguments given: what a redaction hook hands out.

        Args:
            changes: arguments of ``Message``.
        """
        names = ("id", "seq", "role", "content", "at", "metadata", "fields")
        return Message(**{**{name: getattr(self, name) for name in names}, **changes})

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
        preview: in a listing, the beginning of the last message's text, on one line; None where the history is empty, and
            everywhere else. Two infos are equal whatever theirs are.
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
    preview: str | None = field(default=None, compare=False)

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
    """A session and what hangs below it, as of the walk.

    Attributes:
        id: the session's id.
        title: its title, or None.
        kind: why it exists, as its creator said, or None.
        message_count: messages in its history.
        children: in the order in which they came.
        error: why the session cannot be read, a sentence; None for all that can be. The other facts are then empty.
        forked_at: as ``Session.forked_at``.
    """

    id: str
    title: str | None
    kind: str | None
    message_count: int
    children: tuple[TreeNode, ...]
    error: str | None = None
    forked_at: int | None = None


@dataclass(frozen=True, slots=True)
class ShareGrant:
    """A share of a session.

    Attributes:
        id: names it; no secret.
        role: ``"read"``, or ``"append"``: read, and add messages.
        created_at: Unix seconds.
        expires_at: Unix seconds, or None: it does not expire.
        subtree: whether it reaches what hangs below the session.
        frozen: whether it shows the session as it was when the share was made.
        token: what opens it; known only to whom ``share`` returned it, None everywhere else.
    """

    id: str
    role: str
    created_at: float
    expires_at: float | None
    subtree: bool = False
    frozen: bool = False
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TurnInProgress:
    """A turn that was begun and not ended.

    Attributes:
        token: whoever ends it must name it.
        started_at: Unix seconds.
    """

    token: str
    started_at: float
