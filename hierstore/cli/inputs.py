"""What a command is given to store: text from standard input, messages as JSON, and metadata."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hierstore.cli.asking import is_terminal
from hierstore.cli.common import complain, misused
from hierstore.cli.text import Refused
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Message

_STDIN = "Standard input"
_STORED = frozenset(["id", "seq", "role", "content", "at", "metadata", "fields"])
"""The keys of a message as ``--json`` prints it."""
_WHOSE = "session"
"""Where messages of several sessions are printed, each says whose it is."""


def standard_input(what: str) -> str:
    """All of standard input, which is UTF-8 text whatever the locale is.

    Args:
        what: what is expected there, for who types it.

    Raises:
        Refused: it is no text.
    """
    if sys.stdin is None:
        raise Refused("There is no standard input to read from; nothing was stored.")
    if is_terminal(sys.stdin):
        complain(f"Type {what}; Ctrl-D on a line of its own ends it, Ctrl-C gives up.")
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{_STDIN} is not UTF-8 text: byte {error.start:,} is none; nothing was stored.") from None


def messages(text: str, source: str) -> list[Message | dict[str, Any]]:
    """The messages in JSON: one object, a list of them, one on each line, or an object that has them as ``messages``.

    A message as ``--json`` of other commands prints it keeps its id.

    Args:
        text: the JSON.
        source: where it comes from, for sentences.

    Returns:
        The messages as ``Session.extend`` takes them.

    Raises:
        Refused: it is no JSON, or what is in it are no messages.
    """
    items = _items(text, source)
    if len(items) == 1 and isinstance(items[0], dict) and isinstance(items[0].get("messages"), list):
        items = items[0]["messages"]
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            raise Refused(
                f"{source}: value {number:,} is no message; one is an object with role and content, as"
                ' {"role": "user", "content": "Hello"}.'
            )
    return [_argument(item) for item in items]


def _items(text: str, source: str) -> list[Any]:
    if not text.strip():
        raise Refused(f"{source} is empty, and nothing was stored; a message is expected as JSON.")
    try:
        value = json.loads(text)
    except RecursionError:
        raise Refused(f"{source} is nested too deep to be messages; nothing was stored.") from None
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) == 1:
            raise _no_json(source, error, 1) from None
        return [_line(source, number, line) for number, line in lines]
    return value if isinstance(value, list) else [value]


def _line(source: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        raise Refused(f"{source} is nested too deep to be messages in line {number:,}; nothing was stored.") from None
    except ValueError as error:
        raise _no_json(source, error, number) from None


def _no_json(source: str, error: ValueError, number: int) -> Refused:
    # The other kind of ValueError is a number of thousands of digits.
    what = f"{error.msg}, column {error.colno:,}" if isinstance(error, json.JSONDecodeError) else "a number is too long"
    return Refused(f"{source} is not JSON in line {number:,} ({what}); nothing was stored.")


def _argument(item: dict[str, Any]) -> Message | dict[str, Any]:
    from hierstore import Message

    if item.keys() - {_WHOSE} == _STORED and isinstance(item["fields"], dict) and isinstance(item["metadata"], dict):
        return Message(item["id"], 0, item["role"], item["content"], 0.0, item["metadata"], item["fields"])
    # Some programs leave the content out where a message is nothing but calls.
    is_call = "tool_calls" in item or "function_call" in item
    return {"content": None, **item} if is_call else item


def metadata(pairs: Sequence[str], text: str | None) -> dict[str, Any]:
    """Metadata from ``KEY=VALUE``, whose values are text, laid over a JSON object.

    Raises:
        Exit: they are none; the status is 2.
    """
    found = _json_object(text) if text is not None else {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise misused(f"{quoted(pair)} is no metadata; write KEY=VALUE.")
        found[key] = value
    return found


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise misused('--metadata-json is no JSON object; one looks like {"customer": 42}.')
    return value
