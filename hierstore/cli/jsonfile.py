"""A JSON or JSONL file as a list of values, or one sentence saying what is wrong with it.

The standard library's parser, not orjson: it keeps integers that are too large for the store as what they are, so that
they are refused instead of silently becoming floats.
"""

from __future__ import annotations

import json
from typing import Any

from hierstore.cli.text import Refused


def read_items(path: str) -> list[Any]:
    """The elements of a file's JSON array, or the values of its lines; a single value is a list of one.

    Raises:
        Refused: it cannot be read, is empty, is cut off, or is not JSON.
    """
    text = _read(path)
    if not text.strip():
        raise Refused(f"{path} is empty.")
    try:
        value = _parse(text, path)
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) == 1 or not _is_object(lines[0][1]):
            raise _refusal(path, text, error, error.lineno) from None
        return [_parse_line(path, number, line, is_last=number == lines[-1][0]) for number, line in lines]
    return value if isinstance(value, list) else [value]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not JSON: byte {error.start:,} is not UTF-8 text.") from None


def _parse(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise Refused(f"{path} is nested too deep to be conversations.") from None
    except ValueError:
        raise Refused(f"{path} cannot be read: it holds a number of thousands of digits.") from None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse_line(path: str, number: int, line: str, *, is_last: bool) -> Any:
    try:
        return _parse(line, path)
    except json.JSONDecodeError as error:
        raise _refusal(path, line, error, number, may_be_cut=is_last) from None


def _refusal(path: str, text: str, error: json.JSONDecodeError, line: int, *, may_be_cut: bool = True) -> Refused:
    at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    if at_end and may_be_cut:
        return Refused(f"{path} is cut off: it ends in the middle of a value in line {line:,}.")
    return Refused(f"{path} is not JSON: {error.msg} in line {line:,}, column {error.colno:,}.")
