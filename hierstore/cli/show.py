"""``hierstore show``: one session's facts and messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierstore.cli.common import Root, guarded, required_root
from hierstore.cli.terminal import console, is_limited
from hierstore.cli.text import count, one_line, safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hierstore import Message, Session, SessionInfo

_INDENT = 2
_FACT_CHARS = 300
_ROLE_STYLES = {"system": "magenta", "user": "green", "assistant": "cyan", "tool": "yellow"}
_IN_HEADER = ("name", "tool_call_id")


@guarded
def command(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.", show_default=False)],
    root: Root = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last", metavar="N", min=0, help="Only the last N messages; 0: the facts alone.", show_default=False
        ),
    ] = None,
) -> None:
    """Print a session's facts and its messages, the oldest first."""
    from hierstore import SessionStore

    with SessionStore(required_root(root), read_only=True) as store:
        _show(console(), store.get(session), last)


def _show(screen: Console, session: Session, last: int | None) -> None:
    messages = session.messages
    skipped = 0 if last is None else max(0, len(messages) - last)
    _print(screen, safe(session.id), style="bold")
    facts = list(_facts(session, session.info))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        _print(screen, value, indent=_INDENT, label=f"{name:<{width}}  ")
    if skipped:
        _print(screen, "")
        _print(screen, f"({count(skipped, 'earlier message')} not shown)", style="dim")
    for message in messages[skipped:]:
        _print_message(screen, message)


def _facts(session: Session, info: SessionInfo) -> Iterator[tuple[str, str]]:
    """Name and value of what there is to say about a session; what is empty is left out."""
    children = session.children
    flags = [name for name in ("pinned", "archived", "suspended") if getattr(info, name)]
    yield "messages", f"{info.message_count:,}"
    facts = {
        "title": info.title,
        "kind": info.kind,
        "parent": info.parent_id,
        "children": f"{len(children):,}: {', '.join(child.id for child in children[:8])}" if children else None,
        "labels": ", ".join(info.labels),
        "flags": ", ".join(flags),
        "snapshots": ", ".join(f"{snap.label or snap.id} (revision {snap.revision})" for snap in session.snapshots),
    }
    for name, value in facts.items():
        if value:
            yield name, one_line(value, _FACT_CHARS)
    yield "created", _moment(info.created_at)
    yield "updated", f"{_moment(info.updated_at)}, revision {info.revision:,}"
    own = (f"{name}: {value if isinstance(value, str) else _json(value)}" for name, value in info.metadata.items())
    if lines := [one_line(fact, _FACT_CHARS) for fact in own]:
        yield "metadata", "\n".join(lines)


def _moment(unix_s: float) -> str:
    from datetime import UTC, datetime

    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"


def _print_message(screen: Console, message: Message) -> None:
    fields = message.fields
    role = one_line(message.role, 40)
    header = "  ".join(
        [f"#{message.seq}", *(one_line(str(fields.pop(key)), 60) for key in _IN_HEADER if key in fields)]
    )
    _print(screen, "")
    _print(screen, header, label=f"{role}  ", label_style=f"bold {_ROLE_STYLES.get(role, 'blue')}", style="dim")
    for text in _content(message.content):
        _print(screen, text, indent=_INDENT)
    for call in _tool_calls(fields):
        _print(screen, call, indent=_INDENT, label="→ ", label_style="yellow")
    for name, value in fields.items():
        _print(screen, _json(value), indent=_INDENT, label=f"{one_line(name, 40)}: ", style="dim")
    for name, value in message.metadata.items():
        _print(screen, _json(value), indent=_INDENT, label=f"({one_line(name, 40)}) ", style="dim")


def _content(content: Any) -> Iterator[str]:
    """What a message says, part by part: text as it is, anything else as JSON."""
    if isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else part
            yield text if isinstance(text, str) else _json(part)
    elif isinstance(content, str):
        if content:
            yield content
    elif content is not None:
        yield _json(content)


def _tool_calls(fields: dict[str, Any]) -> Iterator[str]:
    """Take the calls out of the fields that can be shown as calls; leave what has another shape."""
    calls = fields.get("tool_calls")
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        return
    del fields["tool_calls"]
    for call in calls:
        function = call["function"]
        call_id = f"  [{one_line(str(call['id']), 60)}]" if "id" in call else ""
        yield f"{function['name']}({_arguments(function.get('arguments', ''))}){call_id}"


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _arguments(arguments: Any) -> str:
    """A call's arguments, as a call is written; what is not a JSON object stands as it is."""
    from json import loads

    if isinstance(arguments, str):
        try:
            decoded = loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    else:
        decoded = arguments
    if isinstance(decoded, Mapping):
        return ", ".join(f"{name}={_json(value)}" for name, value in decoded.items())
    return arguments if isinstance(arguments, str) else _json(arguments)


def _json(value: Any) -> str:
    from json import dumps

    return dumps(value, ensure_ascii=False)


def _print(
    screen: Console, text: str, *, indent: int = 0, label: str = "", style: str = "", label_style: str = "dim"
) -> None:
    """Print text with its own line breaks, each line indented, so that none can pass for a header of ours.

    In a terminal lines are wrapped to its width; into a pipe they are whole.
    """
    from rich.text import Text

    prefix = Text.assemble(" " * indent, (safe(label), label_style))
    margin = Text(" " * prefix.cell_len)
    whole = Text()
    for line in text.replace("\r\n", "\n").replace("\t", "    ").split("\n"):
        for piece in _wrapped(screen, Text(safe(line), style), margin.cell_len):
            start = prefix if piece or prefix is not margin else ""
            whole.append(start).append_text(piece).append("\n")
            prefix = margin
    screen.print(whole, end="", soft_wrap=True)


def _wrapped(screen: Console, line: Text, margin: int) -> list[Text]:
    if not is_limited(screen):
        return [line]
    pieces = list(line.wrap(screen, max(10, screen.width - margin)))
    for piece in pieces:
        piece.rstrip()
    return pieces or [line]
