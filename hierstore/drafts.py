"""A message on its way in: the caller's arguments, checked and encoded before any lock is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hierstore import clock
from hierstore.errors import InvalidRecord, quoted
from hierstore.log.events import Draft
from hierstore.model import Message
from hierstore.values import MAX_BYTES, check_json, check_text, encode, json_object, maybe_text, plain

_SURELY_SMALL = MAX_BYTES // 4
_MESSAGE_KEYS = frozenset(["role", "content", "message_id", "metadata"])


def draft(
    role: object, content: Any, message_id: str | None, metadata: Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> Draft:
    """Check and encode a message before any lock is taken."""
    if type(role) is not str or len(role) > _SURELY_SMALL:
        role = maybe_text(role, "role")
    if not role:
        raise InvalidRecord("The role cannot be stored: it is empty.", where="role")
    if type(content) is str:
        if len(content) > _SURELY_SMALL:
            check_text(content, "content")
    else:
        content = plain(content, "content")
        check_json(encode(content, "content"), "content")
    extras: dict[str, Any] | None = None
    if metadata:
        extras = {"metadata": json_object(metadata, "metadata")}
    if fields:
        extras = extras or {}
        extras["fields"] = _fields(fields)
    if message_id is None:
        return Draft(clock.new_id(), role, content, clock.now(), extras, False)
    if not isinstance(message_id, str) or not 0 < len(message_id) <= 512:
        raise InvalidRecord(
            "The message_id cannot be stored: it is not a text of 1 to 512 characters.", where="message_id"
        )
    return Draft(message_id, role, content, clock.now(), extras, True)


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    # Field by field: the mapping itself is no level of the caller's nesting.
    copy = {}
    for name, value in fields.items():
        if not isinstance(name, str):
            raise InvalidRecord(f"The message cannot be stored: {name!r} is no name for a field.", where="fields")
        copy[name] = plain(value, f"field {name!r}")
    check_json(encode(copy, "fields"), "fields")
    return copy


def draft_of(item: object) -> Draft:
    """A draft of a Message, or of a mapping that holds ``append``'s arguments and, beside them, fields."""
    if isinstance(item, Message):
        return draft(item.role, item.content, item.id, item.metadata, item.fields)
    if not isinstance(item, Mapping):
        raise InvalidRecord(
            f"A message is a Message or a mapping, not {type(item).__name__}; nothing was written.", where="messages"
        )
    for key in ("role", "content"):
        if key not in item:
            raise InvalidRecord(f"The message {quoted(item)[:60]} has no {key}; nothing was written.", where=key)
    fields = {key: value for key, value in item.items() if key not in _MESSAGE_KEYS}
    return draft(item["role"], item["content"], item.get("message_id"), item.get("metadata"), fields)
