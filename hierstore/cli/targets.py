"""What a word names in a session's history: a message, a revision or a snapshot."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING

from hierstore.cli.text import Refused
from hierstore.errors import quoted

if TYPE_CHECKING:
    from hierstore import PastSession, Session, Snapshot

_MESSAGE = re.compile(r"#?([0-9]{1,18})", re.ASCII)
_REVISION = re.compile(r"r([0-9]{1,18})", re.ASCII)

HELP = "#12 or 12: a message's number; r40: a revision; else a snapshot's label or id, or a message's id."
"""For the help of whatever takes such a word."""


def target(session: Session | PastSession, word: str) -> int | str:
    """What a word names, as ``Session.revert``, ``fork`` and ``at`` take it.

    ``#12`` and ``12`` are the message of that number in the present history, ``r40`` is a revision. Any other word is the
    label of a snapshot, the latest of that label, or the id of a snapshot or a message; whether there is one of that id
    is left to the call that takes it.

    Returns:
        A revision, or the id of a snapshot or a message.

    Raises:
        Refused: the history has no message of that number, or a snapshot has such a number for its label.
    """
    labelled = next((snapshot for snapshot in reversed(session.snapshots) if snapshot.label == word), None)
    number, revision = _MESSAGE.fullmatch(word), _REVISION.fullmatch(word)
    if labelled is not None:
        if number or revision:
            raise _ambiguous(word, labelled)
        return labelled.id
    if number:
        return _numbered(session, int(number[1]))
    return int(revision[1]) if revision else word


def is_number(label: str) -> bool:
    """Whether a word names a message or a revision, so that a snapshot of that label could not be named by it."""
    return bool(_MESSAGE.fullmatch(label) or _REVISION.fullmatch(label))


def _ambiguous(word: str, labelled: Snapshot) -> Refused:
    # A number may be written in several ways, a label in one.
    other = f"{word[0]}0{word[1:]}" if word[0] in "#r" else f"#{word}"
    what = "a revision" if word[0] == "r" else "a message's number"
    return Refused(
        f"{quoted(word)} is {what} and a snapshot's label; write {other} for the one, {labelled.id} for the other."
    )


def _numbered(session: Session | PastSession, seq: int) -> str:
    # Numbers only grow within a history, but they have gaps where a revert left something out.
    messages = session.messages
    place = bisect_left(messages, seq, key=lambda message: message.seq)
    if place < len(messages) and messages[place].seq == seq:
        return messages[place].id
    last = f"the last is #{messages[-1].seq}" if len(messages) else "it is empty"
    raise Refused(
        f"The history of {quoted(session.id)} has no message #{seq} ({last}); `hierstore log` shows what was undone."
    )
