"""``hierstore append``: messages are added to a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierstore.cli.common import Root, SessionName, guarded, misused, opened
from hierstore.cli.text import Refused, safe
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import Message

_ROLE = "user"

Text = Annotated[
    str | None,
    typer.Argument(metavar="TEXT", help="What it says; - or nothing: standard input.", show_default=False),
]
Role = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help=f"Who speaks; {_ROLE} if not given.", show_default=False)
]
Name = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="The speaker's name.", show_default=False)]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="MESSAGE",
        help="A message as JSON, with all its fields; -: one, a list or JSON lines from standard input.",
        show_default=False,
    ),
]
MessageId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="ID", help="The message's id: once there, it is not stored again.", show_default=False
    ),
]
Revision = Annotated[
    int | None,
    typer.Option("--expected-revision", metavar="N", help="Only if the session is at this one.", show_default=False),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="A fact about it; may be repeated.", show_default=False),
]


@guarded
def command(
    session: SessionName,
    text: Text = None,
    role: Role = None,
    name: Name = None,
    messages: Json = None,
    message_id: MessageId = None,
    expected_revision: Revision = None,
    metadata: Pairs = None,
    root: Root = None,
) -> None:
    r"""Add a message to a session.

    Prints the number and the id of each message as stored. Of standard input one line break at the end is left out.
    Messages given as JSON are OpenAI-style objects, or as `show --json` and `tail --json` print them; all are stored in
    one commit, or none is. With --id a retry is safe: of a message that is there already number and id are printed, and
    nothing is stored.

    \b
    Example:
      hierstore append notes "Call the bank on Friday."
    """
    from hierstore.cli import inputs
    from hierstore.cli.naming import find

    own: dict[str, object] = {"TEXT": text, "--role": role, "--name": name, "--id": message_id, "--metadata": metadata}
    if messages is not None and (given := [option for option, value in own.items() if value is not None]):
        raise misused(f"--json and {given[0]} cannot be used together: all of a message stands in the JSON.")
    facts: dict[str, Any] = {"message_id": message_id, "metadata": inputs.metadata(metadata or (), None)}
    if name is not None:
        facts["name"] = name
    with opened(root) as store:
        found = find(store, session)
        items: list[Message | dict[str, Any]]
        if messages is not None:
            items = _messages(messages)
        else:
            items = [{**facts, "role": _ROLE if role is None else role, "content": _text(text)}]
        stored = found.extend(items, expected_revision=expected_revision)
    for message in stored:
        typer.echo(f"#{message.seq} {safe(message.id)}")
    for item, message in zip(items, stored, strict=True):
        if _says(item) != (message.role, message.content):
            raise Refused(
                f"Message {quoted(message.id)} was there already and says something else; it stays, and what was given under its"
                " id is not stored."
            )


def _says(item: Message | dict[str, Any]) -> tuple[Any, Any]:
    return (item["role"], item["content"]) if isinstance(item, dict) else (item.role, item.content)


def _messages(word: str) -> list[Message | dict[str, Any]]:
    from hierstore.cli import inputs

    if word == "-":
        return inputs.messages(inputs.standard_input("messages as JSON"), "Standard input")
    return inputs.messages(word, "--json")


def _text(word: str | None) -> str:
    if word is not None and word != "-":
        return word
    from hierstore.cli import inputs

    text = inputs.standard_input("the message")
    text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    if not text:
        raise Refused("Standard input is empty, and nothing was stored; '' as TEXT stores an empty message.")
    return text
