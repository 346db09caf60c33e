"""What a message says, in parts: text as it is, anything else by its name, kind and size; never its bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hierstore.cli.text import one_line
from hierstore.cli.times import size

_NAME_CHARS = 60
_DEPTH = 5
_TEXTS = frozenset(["text", "input_text", "output_text"])
_TEXT_KEYS = ("text", "thinking", "reasoning", "refusal", "transcript")
_BYTES_KEYS = frozenset(["data", "file_data", "b64_json", "base64", "bytes"])
_TYPE_KEYS = frozenset(["media_type", "mime_type", "mimeType", "mediaType", "format"])
_NAME_KEYS = frozenset(["filename", "file_name", "file_id", "name", "title"])
_PLACE_KEYS = frozenset(["url", "uri", "file_uri", "fileUri", "image_url", "file_url"])
_FAMILIES = ("image", "audio", "video", "document", "file", "pdf")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+=-]+)*?);base64,([A-Za-z0-9+/_-]{64,}={0,2})", re.ASCII)
_LONG_DATA = re.compile(r"([A-Za-z0-9+/_-]{512,}={0,2})", re.ASCII)
_QUOTED_DATA = re.compile(f'"{_LONG_DATA.pattern}"', re.ASCII)


class Part(NamedTuple):
    """A part of what a message says.

    Attributes:
        name: what it is: ``text``, ``image``, ``audio``, ``call``, ``result``, or the writer's own word; empty for JSON.
        facts: of what cannot be shown: its media type, its size, where it is.
        text: what can be shown.
    """

    name: str
    facts: tuple[str, ...] = ()
    text: str = ""

    @property
    def label(self) -> str:
        """``[image: image/png, 12 KiB]``."""
        name = one_line(self.name, _NAME_CHARS)
        return f"[{name}: {', '.join(self.facts)}]" if self.facts else f"[{name}]"


class Call(NamedTuple):
    """A call of a tool.

    Attributes:
        name: the tool's.
        arguments: what it is called with: any JSON value, or text that should have been JSON.
        id: what the result names, or None.
    """

    name: str
    arguments: Any
    id: str | None


def parts(content: Any) -> Iterator[Part | Call]:
    """The parts of a message's content."""
    if isinstance(content, list):
        for item in content:
            yield _part(item)
    elif isinstance(content, str):
        if content:
            yield Part("text", text=content)
    elif content is not None:
        yield _part(content)


def _part(item: Any) -> Part | Call:
    if isinstance(item, str):
        return Part("text", text=item)
    if not isinstance(item, Mapping):
        return Part("", text=brief(item))
    kind = item["type"] if isinstance(item.get("type"), str) else ""
    if kind in ("tool_use", "function_call") and isinstance(item.get("name"), str):
        call_id = item.get("id", item.get("call_id"))
        return Call(item["name"], item.get("input", item.get("arguments")), None if call_id is None else str(call_id))
    if kind == "tool_result":
        return Part("result", _texts(item.get("tool_use_id")), _flat(item.get("content")))
    for key in _TEXT_KEYS:
        if isinstance(item.get(key), str) and (kind or len(item) == 1):
            return Part("text" if kind in _TEXTS or not kind else kind, text=item[key])
    return _medium(item, kind)


def _medium(item: Mapping[str, Any], kind: str) -> Part:
    """A part that is no text: what can be said of it."""
    found: dict[str, str] = {}
    _look(item, found, _DEPTH)
    family = next((word for word in _FAMILIES if word in f"{kind} {found.get('type', '')}".lower()), kind)
    if "size" in found or "place" in found or (family in _FAMILIES and found):
        return Part(family or "data", tuple(found[key] for key in ("name", "type", "size", "place") if key in found))
    rest = {key: value for key, value in item.items() if key != "type"} if kind else item
    return Part(family, text=brief(rest) if rest else "")


def _look(item: Mapping[str, Any], found: dict[str, str], depth: int) -> None:
    """Note what a part says of its medium, at whatever level."""
    for key, value in item.items():
        if isinstance(value, Mapping) and depth:
            _look(value, found, depth - 1)
        elif isinstance(value, str) and value:
            _note(key, value, found)


def _note(key: str, value: str, found: dict[str, str]) -> None:
    url = _DATA_URL.match(value)
    if url is not None:
        found["type"] = one_line(url[1] or "text/plain", _NAME_CHARS)
        found["size"] = _decoded(url[3])
    elif key in _BYTES_KEYS:
        found["size"] = _decoded(value)
    elif key in _TYPE_KEYS:
        found.setdefault("type", one_line(value, _NAME_CHARS))
    elif key in _NAME_KEYS:
        found.setdefault("name", one_line(value, _NAME_CHARS))
    elif key in _PLACE_KEYS:
        found["place"] = one_line(value, 2 * _NAME_CHARS)


def _decoded(base64: str) -> str:
    """The size of what base64 stands for."""
    return size(len(base64.rstrip("=")) * 3 // 4)


def _texts(value: Any) -> tuple[str, ...]:
    return () if value is None else (one_line(str(value), _NAME_CHARS),)


def _flat(content: Any) -> str:
    """The text of a result, which may have parts of its own."""
    pieces = []
    for part in parts(content):
        if isinstance(part, Call):
            pieces.append(folded(part))
        else:
            pieces.append(part.text if part.name in ("text", "") else f"{part.label} {part.text}".rstrip())
    return "\n".join(pieces)


# Calls


def take_calls(fields: dict[str, Any]) -> Iterator[Call]:
    """Take the calls out of a message's fields that can be shown as calls; leave what has another shape."""
    calls = fields.get("tool_calls")
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        return
    del fields["tool_calls"]
    for call in calls:
        function = call["function"]
        yield Call(function["name"], function.get("arguments"), str(call["id"]) if "id" in call else None)


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def folded(call: Call) -> str:
    """A call as it is written, on one line."""
    given = arguments(call)
    if isinstance(given, Mapping):
        inside = ", ".join(f"{name}={brief(value)}" for name, value in given.items())
    else:
        inside = given
    call_id = "" if call.id is None else f"  [{one_line(call.id, _NAME_CHARS)}]"
    return " ".join(f"{call.name}({inside})".split()) + call_id


def arguments(call: Call) -> Mapping[str, Any] | str:
    """What a call is given: names and values, or text where that is not what it says."""
    from json import loads

    given = call.arguments
    if isinstance(given, str):
        try:
            decoded = loads(given)
        except (ValueError, RecursionError):
            return given
        return decoded if isinstance(decoded, Mapping) else given
    if given is None:
        return ""
    return given if isinstance(given, Mapping) else brief(given)


# JSON and bytes


def shown(value: Any) -> str:
    """A value as text where it is text, else as JSON; bytes by their size."""
    if not isinstance(value, str):
        return brief(value)
    data = _LONG_DATA.fullmatch(value)
    return without_data(value) if data is None else f"[{_decoded(data[1])}]"


def brief(value: Any) -> str:
    """A value as JSON, with the size of what is base64 in its place."""
    from json import dumps

    text = without_data(dumps(value, ensure_ascii=False))
    return _QUOTED_DATA.sub(lambda found: f'"[{_decoded(found[1])}]"', text)


def without_data(text: str) -> str:
    """Text with what ``data:`` URLs hold named by its type and size."""
    if ";base64," not in text:
        return text
    return _DATA_URL.sub(lambda found: f"[{found[1] or 'text/plain'}, {_decoded(found[3])}]", text)
