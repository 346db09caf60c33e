"""JSON or JSONL as a list of values, or one sentence saying what is wrong with it.

The standard library's parser, not orjson: it keeps integers that are too large for the store as what they are, so that
they are refused instead of silently becoming floats.
"""

from __future__ import annotations

import json
from typing import Any

from hierstore.cli.text import Refused


def items_of(data: bytes, name: str) -> list[Any]:
    """The elements of a JSON array, or the values of lines; a single value is a list of one.

    Args:
        data: what a file holds.
        name: what sentences call it.

    Raises:
        Refused: it is empty, is cut off, or is not JSON.
    """
    text = _decoded(data, name)
    if not text.strip():
        raise Refused(f"{name} is empty.")
    try:
        value = _parse(text, name)
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) == 1 or not _is_object(lines[0][1]):
            raise _refusal(name, text, error, error.lineno) from None
        return [_parse_line(name, number, line, is_last=number == lines[-1][0]) for number, line in lines]
    return value if isinstance(value, list) else [value]


def maybe_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line is, or None."""
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is not JSON: byte {error.start:,} is not UTF-8 text.") from None


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise Refused(f"{name} is nested too deep to be conversations.") from None
    except ValueError:
        raise Refused(f"{name} cannot be read: it holds a number of thousands of digits.") from None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse_line(name: str, number: int, line: str, *, is_last: bool) -> Any:
    try:
        return _parse(line, name)
    except json.JSONDecodeError as error:
        raise _refusal(name, line, error, number, may_be_cut=is_last) from None


def _refusal(name: str, text: str, error: json.JSONDecodeError, line: int, *, may_be_cut: bool = True) -> Refused:
    at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if at_end and may_be_cut:
        return Refused(f"{name} is cut off: it ends in the middle of a value in line {line:,}.")
    return Refused(f"{name} is not JSON: {error.msg} in line {line:,}, column {error.colno:,}.")
