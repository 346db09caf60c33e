"""What a change of a session was, in a few words; the same ones in ``log``, ``watch`` and ``tail``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from hierstore.cli.lines import beginning, heading, style_of
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from hierstore import Event

_TEXT_CHARS = 200
_NAME_CHARS = 60
_MISSED = {
    "compacted": "what led here is told no more",
    "replaced": "it is another log: what led here is not known",
    "unreadable": "it can be read again: what led here was not told",
    "purged": "it is gone for good",
}


class Told(NamedTuple):
    """A change in words, all of them harmless and on one line.

    Attributes:
        what: what happened; ``#4 user`` for a message, which no other change begins with.
        text: to what, or what was said.
        style: rich's, for ``what``.
    """

    what: str
    text: str
    style: str = "yellow"


def told(event: Event, names: Mapping[int, str] | None = None) -> Told:
    """A change in words.

    Args:
        event: the change.
        names: the labels of snapshots, by revision.
    """
    if event.missed is not None:
        return Told(event.missed, _MISSED.get(event.missed, "what led here is not told"), "red")
    if event.type == "appended":
        return _appended(event)
    data = event.data
    if event.type in ("reverted", "unreverted"):
        return _back(event.type, data, names or {})
    describe = _WORDS.get(event.type)
    what, text = (event.type, _listed(data)) if describe is None else describe(data)
    return Told(what, text)


def _appended(event: Event) -> Told:
    messages = event.messages
    first, last = messages[0], messages[-1]
    if len(messages) == 1:
        return Told(heading(first), beginning(first, _TEXT_CHARS), style_of(first.role))
    roles = list(dict.fromkeys(one_line(message.role, 20) for message in messages))
    shown = ", ".join(roles[:4]) + (", …" if len(roles) > 4 else "")
    return Told(f"#{first.seq}-{last.seq} {shown}", beginning(first, _TEXT_CHARS), style_of(first.role))


def _back(kind: str, data: Mapping[str, Any], names: Mapping[int, str]) -> Told:
    revision = data["revision"]
    label = names.get(revision)
    place = f"r{revision}" if label is None else f"r{revision} ({one_line(label, _NAME_CHARS)})"
    kept = count(data["count"], "message")
    if kind == "reverted":
        return Told("reverted", f"to {place}: {kept}", "red")
    return Told("undone", f"a revert; back to {place}: {kept}", "red")


def _created(data: Mapping[str, Any]) -> tuple[str, str]:
    parent = data.get("parent_id")
    parts = [_quoted(data["title"])] if data.get("title") else []
    if data.get("kind"):
        parts.append(f"as {_name(data['kind'])}")
    if parent is not None:
        parts.append(f"{'from' if data.get('forked') else 'below'} {_name(parent)}")
    return "forked" if data.get("forked") else "created", ", ".join(parts)


def _titled(data: Mapping[str, Any]) -> tuple[str, str]:
    if data.get("title") is None:
        return "title", "removed"
    return "title", _quoted(data["title"]) + (" (by a program)" if data.get("source") == "auto" else "")


def _updated(data: Mapping[str, Any]) -> tuple[str, str]:
    parts = []
    for name, opposite in (("pinned", "unpinned"), ("archived", "unarchived"), ("suspended", "resumed")):
        if data.get(name) is not None:
            parts.append(name if data[name] else opposite)
    if data.get("labels") is not None:
        parts.append(f"labels: {_listed(data['labels']) or 'none'}")
    parts += [f"{name}: {_listed(data[name])}" for name in ("metadata", "derived") if data.get(name)]
    return "changed", "; ".join(parts)


def _moved(data: Mapping[str, Any]) -> tuple[str, str]:
    parent = data.get("parent_id")
    return "moved", "to the top" if parent is None else f"below {_name(parent)}"


def _snapshot(data: Mapping[str, Any]) -> tuple[str, str]:
    return "snapshot", _quoted(data["label"]) if data.get("label") else _name(data["id"])


def _reset(data: Mapping[str, Any]) -> tuple[str, str]:
    reason = data.get("reason")
    return "reset", f"the history is empty{'' if reason is None else ': ' + one_line(reason, _TEXT_CHARS)}"


def _ref(data: Mapping[str, Any]) -> tuple[str, str]:
    name, value = _name(data["name"]), data.get("value")
    return "link", f"{name} removed" if value is None else f"{name}: {_value(value)}"


def _usage(data: Mapping[str, Any]) -> tuple[str, str]:
    parts = [f"{_name(name)} {number:+}" for name, number in (data.get("add") or {}).items()]
    parts += [f"{_name(name)} = {number}" for name, number in (data.get("set") or {}).items()]
    return "usage", ", ".join(parts)


def _shared(data: Mapping[str, Any]) -> tuple[str, str]:
    more = [name for name in ("subtree", "frozen") if data.get(name)]
    return "shared", ", ".join([f"to {_name(data['role'])}", *more])


def _unshared(data: Mapping[str, Any]) -> tuple[str, str]:
    return "unshared", count(len(data.get("ids") or ()), "share")


_WORDS: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "created": _created,
    "titled": _titled,
    "updated": _updated,
    "moved": _moved,
    "snapshot": _snapshot,
    "reset": _reset,
    "ref": _ref,
    "usage": _usage,
    "turn": lambda data: ("turn", "ended" if data.get("token") is None else "began"),
    "routed": lambda data: ("route", _name(data["key"])),
    "shared": _shared,
    "unshared": _unshared,
    "deleted": lambda _: ("deleted", "it is in the trash"),
    "restored": lambda _: ("restored", "from the trash"),
    "unreadable": lambda data: ("unreadable", one_line(str(data.get("why", "")), _TEXT_CHARS)),
}


def _quoted(text: str) -> str:
    return f'"{one_line(text, _TEXT_CHARS)}"'


def _name(text: object) -> str:
    return one_line(str(text), _NAME_CHARS)


def _value(value: Any) -> str:
    from hierstore.cli.shapes import dumps

    return one_line(value if isinstance(value, str) else dumps(value), _NAME_CHARS)


def _listed(values: Any) -> str:
    """Labels, or an object's keys with their values; a key that goes with a minus."""
    if isinstance(values, Mapping):
        return ", ".join(
            f"-{_name(key)}" if value is None else f"{_name(key)}={_value(value)}" for key, value in values.items()
        )
    return ", ".join(map(_name, values))
