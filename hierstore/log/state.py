"""State = fold(commits): what a session is after its commits. Pure, one function an event.

A state is a value: folding makes a new one and leaves the old one as it was. Two things are shared between states
because copying them would make an append cost more in a long session: the list of messages and the list of counts.
Both only grow, and a state counts how much of them is its own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hierstore.history import History, Messages
from hierstore.log.events import Past, parse
from hierstore.log.frame import EVENTS_START, MESSAGE_START
from hierstore.model import Message, SessionInfo, Snapshot
from hierstore.values import encode, loads


class Facts(NamedTuple):
    """What appending a message leaves as it is."""

    id: str
    parent_id: str | None = None
    kind: str | None = None
    title: str | None = None
    title_source: str | None = None
    metadata_json: bytes = b"{}"
    derived_json: bytes = b"{}"
    labels: tuple[str, ...] = ()
    pinned: bool = False
    archived: bool = False
    suspended: bool = False
    created_at: float = 0.0
    children: tuple[str, ...] = ()
    """Ids noted by this session; who its children are, the children's own logs say."""
    snapshots: tuple[Snapshot, ...] = ()
    epochs: tuple[tuple[int, History], ...] = ()
    """(first revision, list of messages): a new epoch begins where the history changes other than by growing."""
    reverts: tuple[int, ...] = ()
    """For each revert that can be undone, the revision before it."""
    reset_at: int = 0
    """The revision of the last reset, 0 without one."""
    past: tuple[Past, ...] = ()
    deleted: bool = False
    unknown: tuple[bytes, ...] = ()
    """Events of types that this version does not know, as JSON."""


class State:
    """A session after some commit.

    Attributes:
        facts: what appending does not change.
        revision: the number of the last commit; 0 before the first.
        history: the list that holds the current messages.
        count: how many of it are this state's.
        counts: for each revision, from 1, how many messages its history had.
        seq: the number of the last message ever stored.
    """

    __slots__ = ("_info", "_messages", "_updated_at", "count", "counts", "facts", "history", "revision", "seq")

    def __init__(
        self,
        facts: Facts,
        revision: int,
        history: History,
        count: int,
        counts: array[int],
        seq: int,
        updated_at: float | None,
    ) -> None:
        self.facts = facts
        self.revision = revision
        self.history = history
        self.count = count
        self.counts = counts
        self.seq = seq
        # None stands for the time of the last message: finding that out would decode it.
        self._updated_at = updated_at
        self._messages: Messages | None = None
        self._info: SessionInfo | None = None

    @property
    def updated_at(self) -> float:
        """When the history last changed, Unix seconds."""
        if self._updated_at is None:
            self._updated_at = self.history.message(self.count - 1).at
        return self._updated_at

    @property
    def messages(self) -> Messages:
        """The history of this state."""
        view = self._messages
        if view is None:
            view = self._messages = Messages(self.history, self.count)
        return view

    @property
    def info(self) -> SessionInfo:
        """The facts of this state, for users."""
        if self._info is None:
            facts = self.facts
            self._info = SessionInfo(
                id=facts.id,
                title=facts.title,
                title_source=facts.title_source,
                parent_id=facts.parent_id,
                kind=facts.kind,
                labels=facts.labels,
                pinned=facts.pinned,
                archived=facts.archived,
                suspended=facts.suspended,
                created_at=facts.created_at,
                updated_at=self.updated_at,
                revision=self.revision,
                message_count=self.count,
                metadata_json=facts.metadata_json,
                derived_json=facts.derived_json,
            )
        return self._info

    def history_at(self, revision: int) -> tuple[History, int]:
        """The list and the count that were the history at a revision from 1 to this state's."""
        epochs = self.facts.epochs
        place = bisect_right(epochs, revision, key=lambda epoch: epoch[0]) - 1
        return epochs[place][1], self.counts[revision - 1]

    def find_revision(self, message_id: str) -> tuple[int, int] | None:
        """The revision that brought a message, and how many messages of its history reach up to and with it.

        Of several (a revert shows a message again) the one that brought it into the latest history that has it.
        """
        epochs = self.facts.epochs
        for place in range(len(epochs) - 1, -1, -1):
            history = epochs[place][1]
            last = epochs[place + 1][0] - 1 if place + 1 < len(epochs) else self.revision
            if last >= epochs[place][0]:
                found = history.find(message_id, self.counts[last - 1])
                if found is not None:
                    brought = bisect_left(self.counts, found + 1, epochs[place][0] - 1, last) + 1
                    return brought, found + 1
        return None

    def with_messages(self, messages: Sequence[Message]) -> State:
        """The state after one commit of messages: what ``fold`` would make of it, without the bytes."""
        base = self if self._is_own else self._own()
        for message in messages:
            base.history.append(message)
        count = base.count + len(messages)
        base.counts.append(count)
        last = messages[-1]
        return State(base.facts, base.revision + 1, base.history, count, base.counts, last._seq, last._at)

    def with_lines(self, lines: bytes, begin: int, end: int) -> State:
        """The state after commits of one message each: the lines from ``begin`` to before ``end``, left undecoded."""
        base = self._own()
        revision, seq = _last_numbers(lines, begin, end)
        count = revision - base.revision
        base.history.append_lines(lines, begin, end, count)
        total = base.count + count
        base.counts.extend(range(base.count + 1, total + 1))
        return State(base.facts, revision, base.history, total, base.counts, seq, None)

    @property
    def _is_own(self) -> bool:
        """Whether nobody has grown the shared lists past this state."""
        return self.history.total == self.count and len(self.counts) == self.revision

    def _own(self) -> State:
        """This state over lists that nobody has grown past it, so that they can be grown."""
        if self._is_own:
            return self
        history = self.history.prefix(self.count)
        epochs = (*self.facts.epochs[:-1], (self.facts.epochs[-1][0], history))
        facts = self.facts._replace(epochs=epochs)
        return State(
            facts, self.revision, history, self.count, self.counts[: self.revision], self.seq, self._updated_at
        )


def initial(session_id: str, history: History, count: int) -> State:
    """The state before the first commit.

    Args:
        session_id: the session's id.
        history: what a fork starts with; empty for any other session.
        count: how many of its messages are this session's.
    """
    seq = history.message(count - 1).seq if count else 0
    facts = Facts(session_id, epochs=((1, history),))
    return State(facts, 0, history, count, array("Q"), seq, None)


def fold(state: State, lines: bytes, start: int = 0) -> State:
    """The state after more commits.

    Args:
        state: the state before.
        lines: from ``start`` on valid commit lines, each with its newline, that follow on ``state.revision``.
        start: where they start.
    """
    size = len(lines)
    while start < size:
        if lines.startswith(MESSAGE_START, start):
            end = lines.find(b"\n" + EVENTS_START, start) + 1 or size
            state = state.with_lines(lines, start, end)
        else:
            end = lines.index(b"\n", start) + 1
            state = apply(state, parse(lines[start:end]))
        start = end
    return state


def _last_numbers(lines: bytes, begin: int, end: int) -> tuple[int, int]:
    """The commit's and the message's number in the last of some message lines."""
    last = lines[max(begin, lines.rfind(b"\n", begin, end - 1) + 1) : end]
    message = len(MESSAGE_START) + len(b'{"seq":')
    commit = last.rindex(b',"seq":') + len(b',"seq":')
    return int(last[commit : last.index(b",", commit)]), int(last[message : last.index(b",", message)])


def apply(state: State, commit: Mapping[str, Any]) -> State:
    """The state after one commit, given as its JSON object in the long form."""
    state = state._own()
    draft = _Draft(state, commit["at"] or 0.0)
    for event in commit["events"]:
        _HANDLERS.get(event.get("type"), _unknown)(draft, event)
    state.counts.append(draft.count)
    return State(draft.facts, state.revision + 1, draft.history, draft.count, state.counts, draft.seq, draft.updated_at)


class _Draft:
    """A state in the making, while the events of one commit are applied."""

    def __init__(self, state: State, at: float) -> None:
        self.before = state
        self.at = at
        self.facts = state.facts
        self.history = state.history
        self.count = state.count
        self.seq = state.seq
        self.updated_at = state._updated_at

    def set(self, **changes: Any) -> None:
        self.facts = self.facts._replace(**changes)

    def begin_epoch(self, history: History) -> None:
        """Let the history be another list from this commit on."""
        revision = self.before.revision + 1
        kept = tuple(epoch for epoch in self.facts.epochs if epoch[0] < revision)
        self.set(epochs=(*kept, (revision, history)), derived_json=b"{}")
        self.history, self.count, self.updated_at = history, history.total, self.at


def _created(draft: _Draft, event: Mapping[str, Any]) -> None:
    draft.set(
        parent_id=event.get("parent"),
        kind=event.get("kind"),
        title=event.get("title"),
        title_source=event.get("title_source"),
        metadata_json=encode(event.get("metadata", {}), "metadata"),
        labels=tuple(event.get("labels", ())),
        created_at=draft.at,
        past=tuple(Past(*past) for past in event.get("past", ())),
    )
    draft.updated_at = draft.at


def _past(draft: _Draft, event: Mapping[str, Any]) -> None:
    draft.set(past=tuple(Past(*past) for past in event["past"]))


def _message(draft: _Draft, event: Mapping[str, Any]) -> None:
    record = {key: value for key, value in event.items() if key != "type"}
    message = Message._of_record(record)
    draft.history.append(message)
    draft.count += 1
    draft.seq = message.seq
    draft.updated_at = draft.at


def _title(draft: _Draft, event: Mapping[str, Any]) -> None:
    draft.set(title=event["title"], title_source=event.get("source"))


def _updated(draft: _Draft, event: Mapping[str, Any]) -> None:
    for name in ("pinned", "archived", "suspended"):
        if name in event:
            draft.set(**{name: event[name]})
    if "labels" in event:
        draft.set(labels=tuple(event["labels"]))
    for name in ("metadata", "derived"):
        if name in event:
            draft.set(**{f"{name}_json": merged(getattr(draft.facts, f"{name}_json"), event[name])})


def merged(before_json: bytes, change: Mapping[str, Any]) -> bytes:
    """One object's keys laid over another's; None removes the key."""
    after = {**loads(before_json), **change}
    return encode({key: value for key, value in after.items() if value is not None}, "metadata")


def _child(draft: _Draft, event: Mapping[str, Any]) -> None:
    if event["id"] not in draft.facts.children:
        draft.set(children=(*draft.facts.children, event["id"]))


def _moved(draft: _Draft, event: Mapping[str, Any]) -> None:
    draft.set(parent_id=event["parent"])


def _reset(draft: _Draft, _event: Mapping[str, Any]) -> None:
    draft.begin_epoch(History())
    draft.set(reverts=(), reset_at=draft.before.revision + 1)


def _snapshot(draft: _Draft, event: Mapping[str, Any]) -> None:
    snapshot = Snapshot(
        event["id"],
        event.get("label"),
        draft.before.revision + 1,
        draft.at,
        encode(event.get("metadata", {}), "metadata"),
    )
    draft.set(snapshots=(*draft.facts.snapshots, snapshot))


def _reverted(draft: _Draft, event: Mapping[str, Any]) -> None:
    _go_to(draft, event)
    draft.set(reverts=(*draft.facts.reverts, draft.before.revision))


def _unreverted(draft: _Draft, event: Mapping[str, Any]) -> None:
    _go_to(draft, event)
    draft.set(reverts=draft.facts.reverts[:-1])


def _go_to(draft: _Draft, event: Mapping[str, Any]) -> None:
    history, _ = draft.before.history_at(event["revision"])
    draft.begin_epoch(history.prefix(event["count"]))


def _deleted(draft: _Draft, _event: Mapping[str, Any]) -> None:
    draft.set(deleted=True)


def _restored(draft: _Draft, _event: Mapping[str, Any]) -> None:
    draft.set(deleted=False)


def _unknown(draft: _Draft, event: Mapping[str, Any]) -> None:
    draft.set(unknown=(*draft.facts.unknown, encode(event, "event")))


_HANDLERS: dict[Any, Callable[[_Draft, Mapping[str, Any]], None]] = {
    "created": _created,
    "past": _past,
    "message": _message,
    "title": _title,
    "updated": _updated,
    "child": _child,
    "moved": _moved,
    "reset": _reset,
    "snapshot": _snapshot,
    "reverted": _reverted,
    "unreverted": _unreverted,
    "deleted": _deleted,
    "restored": _restored,
}
