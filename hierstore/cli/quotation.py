"""A session or a subtree as a Markdown document, to be read as text or pasted where Markdown is shown.

Content is quoted, so that none of it can pass for a heading of the document, and what would be HTML or load an image is
escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hierstore.cli.parts import Call, Part, brief, parts, take_calls, without_data
from hierstore.cli.text import one_line, safe

if TYPE_CHECKING:
    from hierstore import Message, Session, SessionStore, TreeNode

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|&~])")
# What begins HTML or an image, with the backslashes before it; an address in brackets is neither.
_MARKUP = re.compile(r"(\\*)(<(?!https?://[^\s<>]+>)|!(?=\[))")
_TITLE_CHARS = 200
_NAME_CHARS = 80
_MOST_MARKDOWN_CHARS = 50_000
_RAW_ROLES = frozenset(["tool", "function"])


def document(
    store: SessionStore, roots: Sequence[TreeNode], seen: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """The document, piece by piece.

    Args:
        store: where the sessions are.
        roots: what is shown, with what hangs below.
        seen: called after each message.

    Raises:
        SessionNotFound, CorruptLog, UnreadableLog: a session cannot be read.
    """
    between = ""
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        yield between
        between = "\n"
        yield from _session(store.get(node.id), seen)
        stack.extend(reversed(node.children))


def _session(session: Session, seen: Callable[[], object]) -> Iterator[str]:
    from hierstore.shared import public

    info = session.info
    title = info.title if info.title and info.title.strip() else info.id
    yield f"# {plain(one_line(title, _TITLE_CHARS))}\n\n- Id: {code(safe(info.id))}\n"
    for name, value in (("Kind", info.kind), ("Parent", info.parent_id), ("Labels", ", ".join(info.labels))):
        if value:
            yield f"- {name}: {code(safe(value))}\n"
    yield f"- Begun: {_moment(info.created_at)}\n- Changed: {_moment(info.updated_at)}\n"
    for key, value in public(info.metadata).items():
        yield f"- {code(one_line(key, _NAME_CHARS))}: {code(safe(brief(value)))}\n"
    for message in session.messages:
        yield from _message(message)
        seen()


def _message(message: Message) -> Iterator[str]:
    fields = message.fields
    name = fields.pop("name", None)
    named = f", {plain(one_line(str(name), _NAME_CHARS))}" if name else ""
    answers = fields.pop("tool_call_id", None) if message.role in _RAW_ROLES else None
    answered = f", to {code(one_line(str(answers), _NAME_CHARS))}" if answers else ""
    yield f"\n## {message.seq}. {plain(one_line(message.role, 40))}{named}{answered}, {_moment(message.at)}\n"
    for part in parts(message.content):
        yield from _call(part) if isinstance(part, Call) else _part(part, is_raw=message.role in _RAW_ROLES)
    for call in take_calls(fields):
        yield from _call(call)
    if rest := {key: value for key, value in fields.items() if value is not None}:
        yield f"\nMore:\n\n{quoted(fenced(_laid_out(rest), 'json'))}"


def _part(part: Part, *, is_raw: bool) -> Iterator[str]:
    if part.name and part.name != "text":
        yield f"\n{plain(one_line(part.label, 2 * _TITLE_CHARS))}\n"
    if part.text.strip():
        yield f"\n{quoted(fenced(part.text) if is_raw or not part.name else tamed(without_data(part.text)))}"


def _call(call: Call) -> Iterator[str]:
    given = call.arguments
    text = given if isinstance(given, str) else _laid_out(given)
    named = "" if call.id is None else f" ({code(one_line(call.id, _NAME_CHARS))})"
    yield f"\nCalls {code(one_line(call.name, _NAME_CHARS))}{named}:\n\n{quoted(fenced(text, 'json'))}"


def plain(text: str) -> str:
    """A line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """A line of code, whatever it holds."""
    ticks = "`" * (1 + _longest_run(text))
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{ticks}{space}{text}{space}{ticks}" if text.strip() else "(empty)"


def fenced(text: str, language: str = "") -> str:
    """A block of code, whatever it holds."""
    ticks = "`" * max(3, 1 + _longest_run(text))
    return f"{ticks}{language}\n{text}\n{ticks}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def quoted(text: str) -> str:
    """The text as a quotation, each line of it; nothing in it acts on a terminal."""
    return "".join(f"> {safe(line.expandtabs(4))}\n" if line else ">\n" for line in _lines(text))


def tamed(text: str) -> str:
    """Markdown in which nothing is HTML, and images are links; blocks of code stay as they are."""
    lines = _lines(text)
    for number in set(range(len(lines))) - _in_code("\n".join(lines)):
        lines[number] = _MARKUP.sub(_escaped, lines[number])
    return "\n".join(lines)


def _escaped(found: re.Match[str]) -> str:
    # One backslash more would undo the one that is there.
    return found[0] if len(found[1]) % 2 else f"{found[1]}\\{found[2]}"


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _in_code(text: str) -> set[int]:
    """The numbers of the lines that are blocks of code at the top, where any reader of Markdown finds them."""
    from markdown_it import MarkdownIt

    if len(text) > _MOST_MARKDOWN_CHARS or not ("```" in text or "~~~" in text):
        return set()
    tokens = MarkdownIt("commonmark", {"html": False}).parse(text)
    places = [token.map for token in tokens if token.type == "fence" and token.level == 0 and token.map is not None]
    return {number for begin, end in places for number in range(begin, end)}


def _laid_out(value: Any) -> str:
    for indent in (2, None):
        try:
            return without_data(json.dumps(value, ensure_ascii=False, indent=indent))
        except RecursionError:
            continue
    return "(nested too deep to be shown)"


def _moment(unix_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC).replace(tzinfo=None, microsecond=0).isoformat(' ')} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"
