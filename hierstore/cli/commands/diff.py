"""``hierstore diff``: what two sessions, or two states of one, differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.text import count, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from hierstore import SessionStore
    from hierstore.cli.comparison import Comparison, Side

_NAME_CHARS = 80
_VALUE_CHARS = 400
_MINUS, _PLUS = "red", "green"


@guarded
def command(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="SESSION, or SESSION@STATE.", show_default=False, autocompletion=completion.sessions
        ),
    ],
    b: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="The same.", show_default=False, autocompletion=completion.sessions),
    ] = None,
    root: Root = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="STATE", help="Compare A's present with this state.", show_default=False),
    ] = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only how much differs.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Compare two sessions, or two states of one.

    A STATE is #4, the message of that number; r40, a revision; or a snapshot's label or id, or a message's id. One session
    alone is compared with what its last revert undid, or with --since. Messages count as the same by their id and content;
    those at the beginning that both have are counted, not shown. What only A has begins with -, what only B has with +. The
    status is 0 whether they differ or not.

    \b
    Example:
      hierstore diff support-42 support-42-branch
    """
    if b is not None and since is not None:
        raise misused("--since goes with one session; two are compared as they are named.")
    from hierstore.cli.comparison import compare

    with opened(root) as store:
        first, second = _sides(store, a, b, since)
        found = compare(first, second)
    if as_json:
        from hierstore.cli.shapes import print_json

        print_json(_shape(found, is_short=stat))
    elif stat:
        typer.echo(_counts(found))
    elif not found.is_identical:
        from hierstore.cli.terminal import console

        _print(console(), found)
    if found.is_identical:
        complain(f"They are identical: {count(found.common, 'message')}.")


def _sides(store: SessionStore, a: str, b: str | None, since: str | None) -> tuple[Side, Side]:
    """What is compared, the older first where it is one session."""
    from hierstore.cli.comparison import Side, side, undone
    from hierstore.cli.naming import find
    from hierstore.cli.targets import target

    if b is not None:
        first = side(store, a)
        return first, side(store, b)
    session = find(store, a)
    present = Side(session.id, session.info, session.messages)
    if since is not None:
        past = session.at(target(session, since))
        return Side(f"{session.id}@{since}", past.info, past.messages), present
    return undone(store, session), present


def _print(screen: Console, found: Comparison) -> None:
    from hierstore.cli.lines import body, draw, heading

    for sign, one in (("-", found.a), ("+", found.b)):
        told = f"r{one.info.revision}, {count(len(one.messages), 'message')}"
        draw(screen, [f"{one_line(one.name, _NAME_CHARS)}  ({told})"], prefix=sign * 3 + " ", style="bold")
    for name, before, after in found.facts:
        for sign, style, value in (("-", _MINUS, before), ("+", _PLUS, after)):
            if value is not None:
                draw(screen, [f"{one_line(name, _NAME_CHARS)}: {_value(value)}"], prefix=f"{sign} ", style=style)
    for sign, messages in found.parts:
        if sign == "=":
            draw(screen, [f"{count(len(messages), 'message')} the same"], prefix="  ", style="dim")
            continue
        style = _MINUS if sign == "-" else _PLUS
        for message in messages:
            draw(screen, [heading(message)], prefix=f"{sign} ", style=f"bold {style}")
            draw(screen, body(message), prefix=f"{sign}   ", style=style)


def _value(value: Any) -> str:
    from hierstore.cli.shapes import dumps

    return one_line(value if isinstance(value, str) else dumps(value), _VALUE_CHARS)


def _counts(found: Comparison) -> str:
    parts = [f"{found.common:,} the same", f"{found.removed:,} only in A", f"{found.added:,} only in B"]
    facts = f"; {count(len(found.facts), 'fact')} differ" if found.facts else ""
    return f"messages: {', '.join(parts)}{facts}"


def _shape(found: Comparison, *, is_short: bool) -> dict[str, Any]:
    from hierstore.cli.shapes import of_message

    shown: dict[str, Any] = {
        "a": _of_side(found.a),
        "b": _of_side(found.b),
        "identical": found.is_identical,
        "same": found.common,
        "removed": found.removed,
        "added": found.added,
        "facts": {name: [before, after] for name, before, after in found.facts},
    }
    if not is_short:
        shown["changes"] = [
            {"op": sign, "count": len(messages)}
            if sign == "="
            else {"op": sign, "messages": [of_message(message) for message in messages]}
            for sign, messages in found.parts
        ]
    return shown


def _of_side(one: Side) -> dict[str, Any]:
    return {"session": one.info.id, "revision": one.info.revision, "messages": len(one.messages)}
