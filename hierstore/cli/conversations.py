"""Reading conversations out of files: what is in them, under which ids, and that the store can hold it.

Everything here happens before anything is written. An id is made from where a conversation stands, so that the same
file makes the same ids each time::

    airline.json, record of task 7, trial 2     airline/7/2, below airline/7
    airline.json, second record of the same     airline/7/2#2
    airline.json, third record without a task   airline#3
    airline.json, messages and nothing else     airline
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hierstore.cli.sources import STDIN, Source, recognised
from hierstore.cli.text import Refused, count, one_line
from hierstore.errors import InvalidRecord
from hierstore.model import Message
from hierstore.values import check_json, encode, json_object

_PREFERRED_KEYS = ("traj", "messages")
_PART_CHARS = 100
_TITLE_CHARS = 80
NO_CONTENT = {"without_content": True}
"""The metadata of a message that came without ``content``; the store holds None for it."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The session of a task, above those of its trials."""

    id: str
    title: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One session to be.

    Attributes:
        id: its session id.
        source: where it was found, for sentences.
        parent: the session above it, or None.
        metadata: the record without its messages.
        records: the messages as they stand in the file.
    """

    id: str
    source: str
    parent: Parent | None
    metadata: dict[str, Any]
    records: tuple[dict[str, Any], ...]

    @property
    def kind(self) -> str | None:
        """Why it exists: a trial of its parent's task."""
        return None if self.parent is None else "trial"

    @property
    def maybe_title(self) -> str | None:
        """The beginning of what the user said first."""
        said = (record.get("content") for record in self.records if record["role"] == "user")
        first = next((content for content in said if isinstance(content, str)), None)
        return one_line(first, _TITLE_CHARS) or None if first else None

    def messages(self, start: int = 0) -> list[Message]:
        """The messages from a position on, with the ids that their positions give them.

        Raises:
            InvalidRecord: one of them cannot be stored.
        """
        numbered = enumerate(self.records[start:], start + 1)
        return [_message(f"{self.id}:{number}", record) for number, record in numbered]


def _message(message_id: str, record: Mapping[str, Any]) -> Message:
    # As a Message, not as arguments of append: a field may be named as one of those.
    fields = {key: value for key, value in record.items() if key not in ("role", "content")}
    return Message(
        message_id,
        0,
        record["role"],
        record.get("content"),
        0.0,
        metadata=None if "content" in record else NO_CONTENT,
        fields=fields,
    )


def read_files(paths: Sequence[str], name: str | None = None) -> list[Conversation]:
    """The conversations of all files, each checked; the same one found twice counts once.

    Args:
        paths: the files.
        name: what ids begin with, instead of the file's name without its ending.

    Raises:
        Refused: a file cannot be read or holds no conversations, or two files make one id of different content.
    """
    return gathered([source for path in paths for source in recognised(path, "conversations")], name)


def gathered(sources: Iterable[Source], name: str | None = None) -> list[Conversation]:
    """The same of files that were read."""
    found: dict[str, Conversation] = {}
    for source in sources:
        for conversation in _conversations(source, name):
            first = found.setdefault(conversation.id, conversation)
            if (first.records, first.metadata) != (conversation.records, conversation.metadata):
                raise Refused(
                    f"{first.source} and {conversation.source} would both become session {conversation.id!r};"
                    " import one of the files under another --name."
                )
    return list(found.values())


def _conversations(source: Source, name: str | None) -> list[Conversation]:
    own_name = "stdin" if source.path == STDIN else os.path.splitext(os.path.basename(source.path))[0]
    stem = _part(name or own_name)
    items = source.items
    if items and all(_is_message(item) for item in items):
        conversations = [Conversation(stem, source.name, None, {}, tuple(items))]
    else:
        conversations = list(_records(source.name, stem, items))
    if not any(conversation.records for conversation in conversations):
        raise Refused(f"{source.name} holds no messages.")
    for conversation in conversations:
        _check(conversation)
    return conversations


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and "role" in item


def _records(path: str, stem: str, items: Sequence[Any]) -> Iterator[Conversation]:
    taken: Counter[str] = Counter()
    for number, item in enumerate(items, 1):
        source = f"{path}, record {number}"
        key = _messages_key(item, source)
        metadata = {other: value for other, value in item.items() if other != key}
        for place, record in enumerate(item[key], 1):
            if not _is_message(record):
                raise Refused(f"{source}: item {place} of its {key!r} is no message, as it has no role.")
        parent = _parent(stem, item.get("task_id"))
        session_id = f"{stem}#{number}" if parent is None else _trial_id(parent.id, item.get("trial"), taken)
        yield Conversation(session_id, source, parent, metadata, tuple(item[key]))


def _messages_key(item: Any, source: str) -> str:
    """Under which key a record has its messages."""
    if not isinstance(item, dict):
        raise Refused(f"{source} is neither a message nor a record of messages: it is no JSON object.")
    for key in _PREFERRED_KEYS:
        if isinstance(item.get(key), list):
            return key
    for key, value in item.items():
        if isinstance(value, list) and value and all(_is_message(element) for element in value):
            return str(key)
    raise Refused(f"{source} holds no messages: none of its keys has a list of objects with a role.")


def _parent(stem: str, task: Any) -> Parent | None:
    if task is None:
        return None
    text = _text(task)
    return Parent(f"{stem}/{_part(text)}", f"Task {one_line(text, _TITLE_CHARS - 5)}", {"task_id": task})


def _trial_id(parent_id: str, trial: Any, taken: Counter[str]) -> str:
    """A trial is named by its own number; a second one of that number, or one without, by its turn."""
    base = f"{parent_id}/" if trial is None else f"{parent_id}/{_part(_text(trial))}"
    taken[base] += 1
    return base if taken[base] == 1 and trial is not None else f"{base}#{taken[base]}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value, "task_id").decode()


def _part(text: str) -> str:
    """A text as part of an id: what separates parts, and what a terminal would not show, in per cent escapes.

    Different texts stay different: a long one ends in a hash, and is longer than any that is not cut.
    """
    escaped = "".join([c if c.isprintable() and c not in "/#%" else _per_cent(c) for c in text])
    if len(escaped) <= _PART_CHARS:
        return escaped
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{escaped[: _PART_CHARS - 10]}~{digest[:16]}"


def _per_cent(character: str) -> str:
    return "".join([f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass")])


def _check(conversation: Conversation) -> None:
    """Refuse what the store would refuse, before anything of the import is written."""
    number = 0
    try:
        json_object(conversation.metadata, "record")
        for number, record in enumerate(conversation.records, 1):  # noqa: B007  # named in the sentence below
            _check_message(record)
    except InvalidRecord as error:
        where = f"{conversation.source}, message {number}" if number else conversation.source
        raise Refused(f"{where}: {error}") from None


def _check_message(record: Mapping[str, Any]) -> None:
    if not isinstance(record["role"], str) or not record["role"]:
        raise InvalidRecord("The role cannot be stored: it is not a text of at least one character.", where="role")
    message = _message("-", record)
    check_json(encode(message.content, "content"), "content")
    check_json(encode(message.fields, "fields"), "fields")


def describe(conversations: Sequence[Conversation]) -> str:
    """``200 conversations (5,308 messages)``."""
    messages = sum(len(conversation.records) for conversation in conversations)
    return f"{count(len(conversations), 'conversation')} ({count(messages, 'message')})"
