"""What an event from outside must look like to be taken: types of keys, beyond what folding would notice by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hierstore.model import PLAIN_KEYS

Test = Callable[[Any], bool]

_PLAIN = PLAIN_KEYS | {"type"}
_PLAIN_LENGTH = len(_PLAIN)
_MAX_SEQ = 2**62
_MAX_ID = 512


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_ID


def _word(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return (type(value) is int and -(2**63) <= value < 2**64) or (type(value) is float and math.isfinite(value))


def _count(value: Any) -> bool:
    # JSON readers take larger ones for floats.
    return type(value) is int and 0 <= value <= 2**53


def _message_number(value: Any) -> bool:
    # An import takes any up to the largest count, and goes on from there.
    return type(value) is int and 0 <= value <= _MAX_SEQ


def _revision(value: Any) -> bool:
    return _count(value) and value > 0


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _any(_value: Any) -> bool:
    return True


def _maybe(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _row(*tests: Test) -> Test:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(tests)
        and all(test(item) for test, item in zip(tests, value, strict=True))
    )


def _totals(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _digits(value: Any) -> bool:
    return isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) <= 4000


def _exponent(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 1200


def _more(value: Any) -> bool:
    return isinstance(value, dict) and all(key in _FACTS and _FACTS[key](rows) for key, rows in value.items())


_FACTS: dict[str, Test] = {
    "parent_id": _maybe(_id), "kind": _maybe(_text), "title": _maybe(_text), "title_source": _maybe(_text),
    "labels": _list(_text), "pinned": _flag, "archived": _flag, "suspended": _flag, "created_at": _number,
    "children": _list(_id), "reset_at": _count, "deleted": _flag, "turn": _maybe(_row(_text, _number)),
    "bound": _list(_row(_text, _number)), "metadata": _object, "derived": _object, "refs": _object,
    "usage": _list(_row(_word, _digits, _exponent, _flag)), "grants": _list(_any),
    "snapshots": _list(_row(_id, _maybe(_text), _revision, _number, _object)), "last_seq": _message_number,
    "updated_at": _number, "through": _count, "kept": _list(_revision), "more": _more,
}  # fmt: skip

_FIVE = (_count, _count, _count, _revision, _count)


def _past(value: Any) -> bool:
    return _row(*_FIVE)(value) or _row(*_FIVE, _text)(value)


_PAST = _list(_past)

_SHAPES: dict[str, tuple[frozenset[str], dict[str, Test]]] = {
    # type: (keys that must be there, what each must be)
    "created": (frozenset(), {
        "title": _maybe(_text), "title_source": _maybe(_text), "parent": _maybe(_id), "kind": _maybe(_text),
        "metadata": _object, "labels": _list(_text), "past": _PAST,
    }),
    "message": (frozenset(["seq", "id", "role", "content", "at"]), {
        "seq": _message_number, "id": _id, "role": _word, "at": _number, "metadata": _object, "fields": _object,
    }),
    "title": (frozenset(["title"]), {"title": _maybe(_text), "source": _maybe(_text)}),
    "updated": (frozenset(), {
        "metadata": _object, "labels": _list(_text), "pinned": _flag, "archived": _flag, "suspended": _flag,
        "derived": _object,
    }),
    "child": (frozenset(["id"]), {"id": _id}),
    "bound": (frozenset(["key"]), {"key": _word}),
    "reset": (frozenset(), {"reason": _maybe(_text)}),
    "snapshot": (frozenset(["id"]), {"id": _id, "label": _maybe(_text), "metadata": _object}),
    "reverted": (frozenset(["revision", "count"]), {"revision": _revision, "count": _count}),
    "unreverted": (frozenset(["revision", "count"]), {"revision": _revision, "count": _count}),
    "ref": (frozenset(["name", "value"]), {"name": _word}),
    "usage": (frozenset(), {"add": _totals, "set": _totals}),
    "compacted": (frozenset(["last_seq", "updated_at"]), _FACTS),
    "past": (frozenset(["past"]), {"past": _PAST}),
    "forgotten": (frozenset(["id"]), {"id": _id}),
    "moved": (frozenset(["parent"]), {"parent": _maybe(_id)}),
    "shared": (frozenset(["id", "digest", "role"]), {
        "id": _text, "digest": _text, "role": _text, "expires_at": _maybe(_number), "subtree": _flag,
        "frozen": _maybe(_list(_row(_id, _text, _revision))),
    }),
    "unshared": (frozenset(["ids"]), {"ids": _list(_text)}),
    "turn": (frozenset(["token"]), {"token": _maybe(_text)}),
    "route": (frozenset(["key", "session"]), {"key": _text, "session": _maybe(_id)}),
    "locator": (frozenset(["locator", "session"]), {"locator": _text, "session": _maybe(_id)}),
}  # fmt: skip


def maybe_fault(event: object) -> str | None:
    """Why an event cannot be taken, or None. One of a type that this version does not know can."""
    if not isinstance(event, Mapping) or not isinstance(event.get("type"), str):
        return "an event is not an object with a type"
    kind = event["type"]
    if kind == "message" and _is_plain(event):
        return None
    required, tests = _SHAPES.get(kind, (frozenset[str](), {}))
    if not required <= event.keys():
        return f"an event {kind!r} has no {min(required - event.keys())!r}"
    for key, test in tests.items():
        if key in event and not test(event[key]):
            return f"the {key!r} of an event {kind!r} is not what it should be"
    return None


def _is_plain(event: Mapping[str, Any]) -> bool:
    """Whether a message is right and has no key beyond those that every message has: most are, and there are many."""
    return (
        len(event) == _PLAIN_LENGTH
        and event.keys() == _PLAIN
        and type(seq := event["seq"]) is int
        and 0 <= seq <= _MAX_SEQ
        and type(message_id := event["id"]) is str
        and 0 < len(message_id) <= _MAX_ID
        and type(role := event["role"]) is str
        and role != ""
        and _number(event["at"])
    )
