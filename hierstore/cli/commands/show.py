"""``hierstore show``: one session's facts and messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierstore.cli import targets
from hierstore.cli.common import AsJson, Root, SessionName, guarded, misused, opened
from hierstore.cli.terminal import UNCUT
from hierstore.cli.text import Refused, count, one_line, safe

if TYPE_CHECKING:
    from hierstore import Message, PastSession, Session
    from hierstore.cli.transcript import Transcript

_INDENT = 2
_FACT_CHARS = 300
_OWN_CHARS = 100
_NAME_CHARS = 60
_CHILDREN = 8


@guarded
def command(
    session: SessionName,
    root: Root = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="WHERE", help="The session as it was then.", show_default=False),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last", metavar="N", min=0, help="Only the last N messages; 0: the facts alone.", show_default=False
        ),
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="MESSAGE", help="Only this one: its number or id.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Calls and results of tools whole.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Markdown as it is written.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Nothing but the contents, as they are stored.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Print a session's facts and messages.

    The oldest message comes first. In a terminal Markdown is drawn, calls of tools are cut to a line and long results
    folded; into a pipe text goes as it is. Images and the like are named, with their size. --raw prints contents alone,
    text as text and anything else as JSON. WHERE is #12 or 12 for a message's number, r40 for a revision, or a snapshot's
    label or id, or a message's id.

    \b
    Example:
      hierstore show support-42 --last 2
    """
    if raw and as_json:
        raise misused("--raw and --json contradict each other.")
    if message is not None and last is not None:
        raise misused("--message and --last contradict each other.")
    from hierstore.cli.naming import find

    with opened(root) as store:
        found = find(store, session)
        view = found if at is None else found.at(targets.target(found, at))
        history = view.messages
        messages = _chosen(view, history, message, last)
        if raw:
            _print_raw(messages)
        elif as_json:
            _print_json(found, view, messages)
        else:
            skipped = len(history) - len(messages) if message is None else 0
            transcript = _transcript(full=full, plain=plain)
            if message is None:
                _print_facts(transcript, found, view)
            _print_messages(transcript, messages, skipped)


def _chosen(
    view: Session | PastSession, history: Sequence[Message], message: str | None, last: int | None
) -> Sequence[Message]:
    """The messages to show.

    Raises:
        Refused: there is no such message.
    """
    if message is None:
        return history if last is None else history[max(0, len(history) - last) :]
    wanted = targets.target(view, message)
    for found in history:
        if found.id == wanted:
            return (found,)
    name, word = one_line(view.id, _NAME_CHARS), one_line(message, _NAME_CHARS)
    raise Refused(f"The history of {name!r} has no message {word!r}; --at shows an earlier one.")


def _transcript(*, full: bool, plain: bool) -> Transcript:
    from hierstore.cli.terminal import console
    from hierstore.cli.transcript import Transcript

    return Transcript(console(), is_full=full, is_plain=plain)


# Contents alone


def _print_raw(messages: Sequence[Message]) -> None:
    """Contents as they are stored; into a terminal, what could act on it as escapes."""
    import sys

    is_terminal = sys.stdout.isatty()
    for message in messages:
        text = _stored(message.content)
        if is_terminal:
            text = "\n".join([safe(line.replace("\t", "    ")) for line in text.split("\n")])
        sys.stdout.write(text)


def _stored(content: Any) -> str:
    """A content with a newline at its end; nothing for none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content if content.endswith("\n") else f"{content}\n"
    from hierstore.cli.shapes import dumps

    return f"{dumps(content)}\n"


def _print_json(session: Session, view: Session | PastSession, messages: Sequence[Message]) -> None:
    from hierstore.cli.shapes import of_info, of_message, of_session, print_json

    shown = of_session(session) if view is session else of_info(view.info)
    print_json({"session": shown, "messages": [of_message(message) for message in messages]})


# Facts and messages


def _print_messages(transcript: Transcript, messages: Sequence[Message], skipped: int) -> None:
    if skipped:
        transcript.line("")
        transcript.line(f"({count(skipped, 'earlier message')} not shown)", style="dim")
    for message in messages:
        transcript.message(message)


def _print_facts(transcript: Transcript, session: Session, view: Session | PastSession) -> None:
    transcript.line(safe(view.id), style="bold")
    facts = list(_facts(session, view, is_read=transcript.is_read))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        transcript.line(value, indent=_INDENT, label=f"{name:<{width}}  ")


def _facts(session: Session, view: Session | PastSession, *, is_read: bool) -> Iterator[tuple[str, str]]:
    """Name and value of what there is to say about a session; what is empty is left out.

    Args:
        session: as it is now.
        view: as it is shown.
        is_read: whether by a person, to whom it says something how long ago a time was.
    """
    info = view.info
    yield "messages", f"{len(view.messages):,}"
    if view is not session:
        yield "as of", f"revision {view.revision:,} of {session.revision:,}"
    facts = {"title": info.title, "kind": info.kind, "parent": info.parent_id, **_lists(session, view)}
    for name, value in facts.items():
        if value:
            yield name, one_line(value, _FACT_CHARS if is_read else UNCUT)
    yield "created", _when(info.created_at, is_read=is_read)
    yield "updated", f"{_when(info.updated_at, is_read=is_read)}, revision {info.revision:,}"
    # The app's own facts may be whole documents.
    own = [
        one_line(f"{name}: {_shown(value)}", _OWN_CHARS if is_read else UNCUT) for name, value in info.metadata.items()
    ]
    if own:
        yield "metadata", "\n".join(own)


def _lists(session: Session, view: Session | PastSession) -> dict[str, str]:
    """What hangs on a session. Children, route keys and shares are known of the present alone."""
    flags = [name for name in ("pinned", "archived", "suspended") if getattr(view, name)]
    forked = "" if view.forked_at is None else f"after {count(view.forked_at, 'message')}"
    found = {
        "forked": forked,
        "labels": ", ".join(view.labels),
        "flags": ", ".join(flags),
        "snapshots": ", ".join(f"{snap.label or snap.id} (revision {snap.revision})" for snap in view.snapshots),
        "usage": ", ".join(f"{name} {number:,}" for name, number in view.usage.items()),
        "links": ", ".join(f"{name}: {_shown(value)}" for name, value in view.refs.items()),
    }
    if view is not session:
        return found
    children = [child.id for child in session.children]
    more = ", …" if len(children) > _CHILDREN else ""
    shares = count(len(session.shares), "share")
    return {
        "children": f"{len(children):,}: {', '.join(children[:_CHILDREN])}{more}" if children else "",
        **found,
        "routes": ", ".join(session.routes),
        "shared": f"{shares}, open now" if session.is_shared else "",
    }


def _when(unix_s: float, *, is_read: bool) -> str:
    from hierstore.cli.times import ago, moment

    return f"{moment(unix_s)} ({ago(unix_s)})" if is_read else moment(unix_s)


def _shown(value: Any) -> str:
    from hierstore.cli.parts import shown

    return shown(value)
