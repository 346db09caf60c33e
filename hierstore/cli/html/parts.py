"""What a message is made of, as HTML: text, calls of tools, their results, places of files, and other programs' own parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hierstore.cli.html.prose import data, laid_out, link, maybe_data, plain_word, prose, verbatim, word
from hierstore.cli.parts import Call, Part, arguments, parts

_NOTHING = "<p>Nothing.</p>"
_BRIEF_CHARS = 90
_PREVIEW_CHARS = 400
_NAME_CHARS = 80
_LONG_VALUE_CHARS = 80
_THOUGHTS = frozenset(["thinking", "reasoning"])


def said(content: Any) -> Iterator[str]:
    """The content of a message that is no tool's."""
    for part in parts(content):
        yield call(part) if isinstance(part, Call) else _part(part)


def _part(part: Part) -> str:
    if part.facts and part.name != "result":
        return f'<p class="part">{word(part.name)}: {", ".join(map(_fact, part.facts))}</p>{prose(part.text)}'
    if part.name == "text":
        return prose(part.text)
    if part.name == "result":
        return result(part.text)
    if part.name in _THOUGHTS:
        return folded("thought", "Thinking", part.text, prose(part.text))
    decoded = maybe_data(part.text)
    if not part.name:
        return verbatim(part.text) if decoded is None else data(decoded)
    if decoded is None:
        return f'<p class="part">{word(part.name)}</p>{prose(part.text)}'
    return other(part.name, decoded)


def _fact(fact: str) -> str:
    # A long address is cut, and leads nowhere.
    return word(fact) if fact.endswith("…") else link(fact, word(fact))


def folded(kind: str, what: str, preview: str, inside: str) -> str:
    """Something that is opened when it is wanted.

    Args:
        kind: its class: one of ours, never the content's.
        what: HTML.
        preview: text of which the beginning is shown beside it.
        inside: HTML.
    """
    brief = plain_word(preview, _BRIEF_CHARS)
    beside = f' <bdi class="brief">{brief}</bdi>' if brief else ""
    return f'<details class="{kind}"><summary><span class="what">{what}</span>{beside}</summary>{inside}</details>'


def call(called: Call) -> str:
    """A call of a tool."""
    given = arguments(called)
    what = f"Calls <code>{word(called.name, _NAME_CHARS)}</code>"
    if isinstance(given, Mapping):
        preview = ", ".join(f"{key}={_short(value)}" for key, value in list(given.items())[:8])
        return folded("call", what, preview, pairs(given) or "<p>No arguments.</p>")
    return folded("call", what, given[:_PREVIEW_CHARS], _whole(given) if given else "<p>No arguments.</p>")


def result(content: Any, name: str | None = None) -> str:
    """What a tool answered."""
    what = f"Result of <code>{word(name, _NAME_CHARS)}</code>" if name else "Result"
    if not isinstance(content, list):
        preview = content if isinstance(content, str) else "" if content is None else _short(content)
        return folded("result", what, preview[:_PREVIEW_CHARS], _whole(content))
    found = list(parts(content))
    texts = [part.text for part in found if isinstance(part, Part) and part.name == "text"]
    inside = _whole("\n".join(texts)) if len(texts) == len(found) else "".join(said(content))
    return folded("result", what, " ".join(texts)[:_PREVIEW_CHARS], inside)


def _whole(value: Any) -> str:
    if value is None or value == "":
        return _NOTHING
    if not isinstance(value, str):
        return data(value)
    decoded = maybe_data(value)
    return verbatim(value) if decoded is None else data(decoded)


def _short(value: Any) -> str:
    return " ".join(laid_out(value)[:_PREVIEW_CHARS].split())


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values; text of several lines stands as it is, anything else as JSON."""
    rows = "".join(f"<dt>{word(str(key), _NAME_CHARS)}</dt><dd>{_value(value)}</dd>" for key, value in values.items())
    return f'<dl class="pairs">{rows}</dl>' if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, str) and (len(value) > _LONG_VALUE_CHARS or "\n" in value):
        return verbatim(value)
    text = laid_out(value)
    if len(text) > _LONG_VALUE_CHARS or "\n" in text:
        return verbatim(text)
    return f"<code>{word(text)}</code>"


def other(what: str, values: Any) -> str:
    """Whatever else there is."""
    if not isinstance(values, Mapping):
        return folded("other", word(what, _NAME_CHARS), _short(values), data(values))
    inside = pairs(values) or _NOTHING
    return folded("other", word(what, _NAME_CHARS), ", ".join(map(str, values))[:_PREVIEW_CHARS], inside)
