"""One message of a page: who speaks and when, what is said, and what tools were called and answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hierstore.cli.html import parts
from hierstore.cli.html.prose import moment, word
from hierstore.cli.parts import Call, take_calls

if TYPE_CHECKING:
    from hierstore import Message

_ANSWERING = frozenset(["tool", "function"])
_INSTRUCTING = frozenset(["system", "developer"])
_ROLES = _ANSWERING | _INSTRUCTING | {"user", "assistant"}
_ROLE_CHARS = 40
_NAME_CHARS = 80
_LONG_INSTRUCTION_CHARS = 400
_PREVIEW_CHARS = 400
_MOST_OPEN_CALLS = 10_000


class Messages:
    """The messages of one session, one after the other: of a result it is told which call it answers.

    Args:
        place: the session's anchor on the page.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._calls: dict[str, tuple[str, int]] = {}

    def draw(self, message: Message) -> Iterator[str]:
        """The message's HTML, piece by piece."""
        fields, role = message.fields, message.role
        anchor = f"{self._place}-m{message.seq}"
        answers = self._answered(fields) if role in _ANSWERING else None
        name = fields.pop("name") if isinstance(fields.get("name"), str) else None
        known = role if role in _ROLES else "another"
        yield f'<article class="message {known}" id="{anchor}" aria-labelledby="{anchor}-h">\n'
        yield from self._header(message, anchor, None if role in _ANSWERING else name, answers)
        yield '<div class="said" dir="auto" lang="">'
        if role in _ANSWERING:
            yield parts.result(message.content, name=name or (answers[0] if answers else None))
        else:
            yield from _said(role, message.content)
        yield from self._called(fields, message.seq)
        yield "</div>\n"
        yield from _more(fields, message.metadata)
        yield "</article>\n"

    def _header(
        self, message: Message, anchor: str, name: str | None, answers: tuple[str, int] | None
    ) -> Iterator[str]:
        named = f' <span class="name">{word(name, _NAME_CHARS)}</span>' if name else ""
        yield f'<header><h3 id="{anchor}-h"><span class="role">{word(message.role, _ROLE_CHARS)}</span>{named}</h3>'
        yield f' <a class="number" href="#{anchor}" aria-label="Message {message.seq}">#{message.seq}</a>'
        if answers is not None:
            yield f' <a class="number" href="#{self._place}-m{answers[1]}">answers #{answers[1]}</a>'
        yield f" {moment(message.at)}</header>\n"

    def _answered(self, fields: dict[str, Any]) -> tuple[str, int] | None:
        """Name and place of the call that a result answers; its id is taken out of the fields if there is one."""
        call_id = fields.get("tool_call_id")
        found = self._calls.pop(call_id, None) if isinstance(call_id, str) else None
        if found is not None:
            del fields["tool_call_id"]
        return found

    def _called(self, fields: dict[str, Any], seq: int) -> Iterator[str]:
        """Take out of the fields the calls that have a call's shape."""
        for called in take_calls(fields):
            self._note(called, seq)
            yield parts.call(called)
        function = fields.get("function_call")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            del fields["function_call"]
            yield parts.call(Call(function["name"], function.get("arguments"), None))

    def _note(self, called: Call, seq: int) -> None:
        if called.id is not None:
            if len(self._calls) >= _MOST_OPEN_CALLS:
                # Nobody answers them; a page of any length is made in little memory.
                self._calls.clear()
            self._calls[called.id] = (called.name, seq)


def _said(role: str, content: Any) -> Iterator[str]:
    if role in _INSTRUCTING and isinstance(content, str) and len(content) > _LONG_INSTRUCTION_CHARS:
        whole = "".join(parts.said(content))
        yield parts.folded("instruction", "Instructions", content[:_PREVIEW_CHARS], whole)
    else:
        yield from parts.said(content)


def _more(fields: dict[str, Any], metadata: dict[str, Any]) -> Iterator[str]:
    """What else came with the message, but for what was kept private."""
    from hierstore.shared import public

    if rest := {key: value for key, value in fields.items() if value is not None}:
        yield parts.other("More", rest) + "\n"
    if known := public(metadata):
        yield parts.other("Metadata", known) + "\n"
