"""Putting conversations into a store: what is there already stays as it is, what disagrees is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hierstore import RevisionConflict, Session, SessionStore
from hierstore.cli.conversations import Conversation
from hierstore.cli.text import Refused
from hierstore.cli.where import is_shared

_BATCH = 32
"""The most conversations in one job: enough to make the way to a worker cheap, few enough to show progress."""


@dataclass(frozen=True, slots=True)
class Filed:
    """What a job wrote."""

    conversations: int
    messages: int


def missing(
    store: SessionStore, conversations: Iterable[Conversation], seen: Callable[[], object]
) -> list[Conversation]:
    """Those that are not all in the store yet; calls ``seen`` for each of the others. Writes nothing.

    Raises:
        Refused: the store has a session of such an id and other content.
    """
    todo = []
    for conversation in conversations:
        if _is_filed(store, conversation):
            seen()
        else:
            todo.append(conversation)
    return todo


def _is_filed(store: SessionStore, conversation: Conversation) -> bool:
    parent = conversation.parent
    if parent is not None and parent.id in store:
        _check_metadata(store.get(parent.id), parent.metadata, conversation)
    if conversation.id not in store:
        return False
    session = store.get(conversation.id)
    _check_metadata(session, conversation.metadata, conversation)
    return _stored(session, conversation) >= len(conversation.records)


def _check_metadata(session: Session, wanted: Mapping[str, Any], conversation: Conversation) -> None:
    # The app may have added facts of its own.
    stored = session.metadata
    if any(key not in stored or stored[key] != value for key, value in wanted.items()):
        raise _disagreement(session, conversation, "metadata")


def _stored(session: Session, conversation: Conversation) -> int:
    """How many of the conversation's messages the session has. It may have gone on since, with messages of its own."""
    stored = session.messages
    wanted = conversation.messages()
    for number, (one, other) in enumerate(zip(stored, wanted, strict=False), 1):
        if one.id != other.id or one.as_dict() != other.as_dict() or one.metadata != other.metadata:
            raise _disagreement(session, conversation, f"message {number}")
    return min(len(stored), len(wanted))


def _disagreement(session: Session, conversation: Conversation, what: str) -> Refused:
    return Refused(
        f"The store has a session {session.id!r} already, and its {what} is not that of {conversation.source};"
        " nothing was changed in it. To import this file beside it, give it another --name."
    )


def batches(conversations: Iterable[Conversation]) -> Iterator[tuple[Conversation, ...]]:
    """The conversations as jobs: those of one task together, so that a task's trials come into order."""
    by_root: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        root = conversation.parent.id if conversation.parent else ""
        by_root.setdefault(root, []).append(conversation)
    for group in by_root.values():
        for start in range(0, len(group), _BATCH):
            yield tuple(group[start : start + _BATCH])


def make_roots(store: SessionStore, batch: Sequence[Conversation], below: str | None = None) -> None:
    """Make the sessions that hang below nothing. Done by one process, so that they come in the files' order."""
    for conversation in batch:
        if conversation.parent is None:
            _session(store, conversation, below)
        else:
            _parent(store, conversation, below)


def file_batch(root: str, batch: Sequence[Conversation], below: str | None = None) -> Filed:
    """``file``, as a worker's job."""
    return file(_opened(os.path.abspath(root)), batch, below)


def file(store: SessionStore, batch: Sequence[Conversation], below: str | None = None) -> Filed:
    """Put the conversations into the store, each in one commit, below a session of the store's if one is named."""
    return Filed(len(batch), sum([_file_one(store, conversation, below) for conversation in batch]))


@cache
def _opened(root: str) -> SessionStore:
    # One for each process, for its life: its end closes it.
    return SessionStore(root, shared=is_shared())


def _parent(store: SessionStore, conversation: Conversation, below: str | None) -> str | None:
    parent = conversation.parent
    if parent is None:
        return below
    store.get_or_create(parent.id, title=parent.title, metadata=parent.metadata, parent=below)
    return parent.id


def _session(store: SessionStore, conversation: Conversation, below: str | None) -> Session:
    parent_id = _parent(store, conversation, below)
    return store.get_or_create(
        conversation.id, parent=parent_id, kind=conversation.kind, metadata=conversation.metadata
    )


def _file_one(store: SessionStore, conversation: Conversation, below: str | None) -> int:
    session = _session(store, conversation, below)
    title = conversation.maybe_title
    if title and session.title is None and not session.messages:
        session.set_title(title, source="auto")
    while True:
        # Read before the messages: if another process writes in between, the commit is refused, not the messages mixed.
        revision = session.revision
        have = _stored(session, conversation)
        try:
            return len(session.extend(conversation.messages(have), expected_revision=revision))
        except RevisionConflict:
            continue
