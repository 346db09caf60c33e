"""What each event does to a session: one function an event. Pure; called by ``state.apply`` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hierstore.history import History
from hierstore.log.events import Past
from hierstore.log.facts import changed, grant_of
from hierstore.log.registry import Lead, Registry
from hierstore.model import Message, Snapshot
from hierstore.sums import NOTHING, exact, plus
from hierstore.values import encode, loads

if TYPE_CHECKING:
    from hierstore.log.state import State


class Step:
    """From one state to the next, while the events of one commit are applied.

    Attributes:
        before: the state before the commit.
        at: the commit's time, Unix seconds.
        revision: the commit's number.
    """

    def __init__(self, state: State, at: float, revision: int) -> None:
        self.before = state
        self.at = at
        self.revision = revision
        self.facts = state.facts
        self.history = state.history
        self.count = state.count
        self.seq = state.seq
        self.updated_at = state._updated_at

    def set(self, **changes: Any) -> None:
        """Change facts."""
        self.facts = self.facts._replace(**changes)

    def begin_epoch(self, history: History) -> None:
        """Let the history be another list from this commit on."""
        kept = tuple(epoch for epoch in self.facts.epochs if epoch[0] < self.revision)
        self.set(epochs=(*kept, (self.revision, history)), derived_json=b"{}")
        self.history, self.count, self.updated_at = history, history.total, self.at


def _created(step: Step, event: Mapping[str, Any]) -> None:
    step.set(
        parent_id=event.get("parent"),
        kind=event.get("kind"),
        title=event.get("title"),
        title_source=event.get("title_source"),
        metadata_json=encode(event.get("metadata", {}), "metadata"),
        labels=tuple(event.get("labels", ())),
        created_at=step.at,
        past=tuple(Past(*past) for past in event.get("past", ())),
    )
    step.updated_at = step.at


def _past(step: Step, event: Mapping[str, Any]) -> None:
    step.set(past=tuple(Past(*past) for past in event["past"]))


def _message(step: Step, event: Mapping[str, Any]) -> None:
    message = Message._of_event(event)
    step.history.append(message)
    step.count += 1
    step.seq = message.seq
    step.updated_at = step.at


def _title(step: Step, event: Mapping[str, Any]) -> None:
    step.set(title=event["title"], title_source=event.get("source"))


def _updated(step: Step, event: Mapping[str, Any]) -> None:
    for name in ("pinned", "archived", "suspended"):
        if name in event:
            step.set(**{name: event[name]})
    if "labels" in event:
        step.set(labels=tuple(event["labels"]))
    for name in ("metadata", "derived"):
        if name in event:
            step.set(**{f"{name}_json": merged(getattr(step.facts, f"{name}_json"), event[name])})


def merged(before_json: bytes, change: Mapping[str, Any]) -> bytes:
    """One object's keys laid over another's; None removes the key."""
    after = {**loads(before_json), **change}
    return encode({key: value for key, value in after.items() if value is not None}, "metadata")


def _child(step: Step, event: Mapping[str, Any]) -> None:
    if event["id"] not in step.facts.children:
        step.set(children=(*step.facts.children, event["id"]))


def _forgotten(step: Step, event: Mapping[str, Any]) -> None:
    step.set(children=tuple(child_id for child_id in step.facts.children if child_id != event["id"]))


def _moved(step: Step, event: Mapping[str, Any]) -> None:
    step.set(parent_id=event["parent"])


def _reset(step: Step, _event: Mapping[str, Any]) -> None:
    step.begin_epoch(History())
    step.set(reverts=(), reset_at=step.revision, turn=None)


def _snapshot(step: Step, event: Mapping[str, Any]) -> None:
    metadata = encode(event.get("metadata", {}), "metadata")
    snapshot = Snapshot(event["id"], event.get("label"), step.revision, step.at, metadata)
    step.set(snapshots=(*step.facts.snapshots, snapshot))


def _reverted(step: Step, event: Mapping[str, Any]) -> None:
    _go_to(step, event)
    step.set(reverts=(*step.facts.reverts, step.before.revision))


def _unreverted(step: Step, event: Mapping[str, Any]) -> None:
    _go_to(step, event)
    step.set(reverts=step.facts.reverts[:-1])


def _go_to(step: Step, event: Mapping[str, Any]) -> None:
    history, count = step.before.history_at(event["revision"])
    if event["count"] > count:
        raise ValueError("more messages than the history of that revision has")
    step.begin_epoch(history.prefix(event["count"]))


def _deleted(step: Step, _event: Mapping[str, Any]) -> None:
    # Its shares do not come back with it: who deletes a session expects that nobody can see it any more.
    step.set(deleted=True, grants=(), turn=None)


def _restored(step: Step, _event: Mapping[str, Any]) -> None:
    step.set(deleted=False)


def _ref(step: Step, event: Mapping[str, Any]) -> None:
    step.set(refs_json=merged(step.facts.refs_json, {event["name"]: event["value"]}))


def _usage(step: Step, event: Mapping[str, Any]) -> None:
    totals = dict(step.facts.usage)
    totals.update({name: exact(number) for name, number in event.get("set", {}).items()})
    for name, number in event.get("add", {}).items():
        totals[name] = plus(totals.get(name, NOTHING), exact(number))
    step.set(usage=tuple(totals.items()))


def _shared(step: Step, event: Mapping[str, Any]) -> None:
    names = ("id", "digest", "role", "at", "expires_at", "subtree", "frozen")
    grant = grant_of([{**event, "at": step.at}[name] for name in names])
    step.set(grants=(*step.facts.grants, grant))


def _unshared(step: Step, event: Mapping[str, Any]) -> None:
    step.set(grants=tuple(grant for grant in step.facts.grants if grant.id not in event["ids"]))


def _turn(step: Step, event: Mapping[str, Any]) -> None:
    token = event["token"]
    step.set(turn=None if token is None else (token, step.at))


def _bound(step: Step, event: Mapping[str, Any]) -> None:
    others = (row for row in step.facts.bound if row[0] != event["key"])
    step.set(bound=(*others, (event["key"], step.at)))


def _route(step: Step, event: Mapping[str, Any]) -> None:
    registry = step.facts.registry or Registry()
    registry.note(registry.routes, event["key"], Lead(step.revision, event["session"], step.at))
    step.set(registry=registry)


def _locator(step: Step, event: Mapping[str, Any]) -> None:
    registry = step.facts.registry or Registry()
    registry.note(registry.locators, event["locator"], Lead(step.revision, event["session"], step.at))
    step.set(registry=registry)


def _compacted(step: Step, event: Mapping[str, Any]) -> None:
    step.facts = changed(step.facts, event)
    step.seq = event["last_seq"]
    step.updated_at = event["updated_at"]


def unknown(step: Step, event: Mapping[str, Any]) -> None:
    """Keep an event of a type that this version does not know."""
    step.set(unknown=(*step.facts.unknown, encode(event, "event")))


HANDLERS: dict[Any, Callable[[Step, Mapping[str, Any]], None]] = {
    "created": _created,
    "past": _past,
    "message": _message,
    "title": _title,
    "updated": _updated,
    "child": _child,
    "forgotten": _forgotten,
    "moved": _moved,
    "reset": _reset,
    "snapshot": _snapshot,
    "reverted": _reverted,
    "unreverted": _unreverted,
    "deleted": _deleted,
    "restored": _restored,
    "ref": _ref,
    "usage": _usage,
    "shared": _shared,
    "unshared": _unshared,
    "turn": _turn,
    "bound": _bound,
    "route": _route,
    "locator": _locator,
    "compacted": _compacted,
}
