"""Messages as lines: whole, or their beginning on one; nothing in them acts on a terminal, or passes for a line of ours."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hierstore.cli.text import one_line, safe, steady

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hierstore import Message

_ROLE_STYLES = {"system": "magenta", "user": "green", "assistant": "cyan", "tool": "yellow"}
_ROLE_CHARS = 40
_NAME_CHARS = 60
_LEAST_CELLS = 10
_FROM_RIGHT = frozenset(["R", "AL", "AN"])
_ISOLATE, _END = "\u2068", "\u2069"


def style_of(role: str) -> str:
    """The colour of a role."""
    return _ROLE_STYLES.get(role, "blue")


def heading(message: Message) -> str:
    """``#4 assistant``: no line of ours begins so."""
    return f"#{message.seq} {one_line(message.role, _ROLE_CHARS)}"


def beginning(message: Message, limit: int) -> str:
    """How a message begins, on one line of at most so many characters, harmless."""
    said = ""
    for piece in _spoken(message.content, message.fields):
        said += f" {piece[: 4 * limit]}" if piece else ""
        if len(said) > limit:
            break
    return one_line(said or " ".join(saying(message)), limit)


def body(message: Message) -> Iterator[str]:
    """Everything that a message says, line by line, harmless."""
    for piece in saying(message):
        for line in piece.replace("\r\n", "\n").replace("\t", "    ").split("\n"):
            yield safe(line)


def saying(message: Message) -> Iterator[str]:
    """What a message says, piece by piece, as it stands: text, other parts by their names, calls, its other fields."""
    fields = message.fields
    yield from _spoken(message.content, fields)
    fields.pop("tool_calls", None)
    for name, value in fields.items():
        yield f"{name}: {value if isinstance(value, str) else _json(value)}"


def _spoken(content: Any, fields: Mapping[str, Any]) -> Iterator[str]:
    for part in content if isinstance(content, list) else [] if content in (None, "") else [content]:
        yield _named(part)
    calls = fields.get("tool_calls")
    for call in calls if isinstance(calls, list) else [] if calls is None else [calls]:
        yield _call(call)


def _named(part: Any) -> str:
    """A part of content: its text, or the name of what is not text, which may be megabytes."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        if isinstance(part.get("type"), str):
            return f"[{one_line(part['type'], _NAME_CHARS)}]"
    return _json(part)


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return f"→ {_json(call)}"
    arguments = function.get("arguments", "")
    return f"→ {function['name']}({arguments if isinstance(arguments, str) else _json(arguments)})"


def _json(value: Any) -> str:
    from hierstore.cli.shapes import dumps

    return dumps(value)


# Drawing


def draw(
    screen: Console, lines: Iterable[str], *, prefix: str = "", style: str = "", prefix_style: str | None = None
) -> None:
    """Print harmless lines, each behind a prefix; in a terminal wrapped to its width, into a pipe whole.

    Args:
        screen: where to.
        lines: without their newlines.
        prefix: what each line begins with, those that are wrapped too, so that none can pass for a line of ours.
        style: rich's, of the lines.
        prefix_style: of the prefix; as the lines when None.
    """
    from rich.text import Text

    from hierstore.cli.terminal import is_limited

    if not is_limited(screen):
        screen.file.write("".join([f"{prefix}{line}\n" if line else prefix.rstrip(" ") + "\n" for line in lines]))
        screen.file.flush()
        return
    before = Text(prefix, style=style if prefix_style is None else prefix_style)
    for line in lines:
        for piece in wrapped(screen, Text(steady(line), style=style), before.cell_len):
            whole = Text().append_text(before)
            put(whole, piece)
            screen.print(whole, soft_wrap=True)


def wrapped(screen: Console, line: Text, margin: int) -> list[Text]:
    """A line cut into pieces that fit a terminal behind a margin of so many cells; at least one."""
    pieces = list(line.wrap(screen, max(_LEAST_CELLS, screen.width - margin)))
    for piece in pieces:
        piece.rstrip()
    return pieces or [line]


def put(line: Text, field: Text) -> None:
    """Append a field to a line; one in a script that runs from right to left is isolated, so that it stays in its place."""
    is_turned = any(unicodedata.bidirectional(character) in _FROM_RIGHT for character in field.plain)
    if is_turned:
        line.append(_ISOLATE)
    line.append_text(field)
    if is_turned:
        line.append(_END)


def print_cut(screen: Console, fields: Iterable[Text]) -> None:
    """Print fields, two spaces between them, as one line that is no longer than the terminal."""
    from rich.text import Text

    line = Text(no_wrap=True)
    used = 0
    for field in fields:
        gap = 2 if used else 0
        room = screen.width - used - gap
        if room <= 0:
            break
        field.truncate(room, overflow="ellipsis")
        line.append(" " * gap)
        put(line, field)
        used += gap + field.cell_len
    line.rstrip()
    screen.print(line, soft_wrap=True)
