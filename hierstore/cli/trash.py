"""Which deleted session a word means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hierstore.cli.text import Refused, one_line
from hierstore.errors import SessionNotFound, quoted

if TYPE_CHECKING:
    from hierstore import SessionStore, TrashedSession

_SHOWN = 10
_ID_CHARS = 60


def find_deleted(store: SessionStore, word: str) -> TrashedSession:
    """The deleted session that a word means: its id, ``@last``, a number of the last listing, or the beginning of its id.

    Of several of one id it is the latest.

    Raises:
        Refused: it is the beginning of several ids.
        SessionNotFound: it means none.
    """
    deleted = {item.id: item for item in store.trash()}
    if word not in deleted:
        maybe_id = _remembered(store, word)
        if maybe_id in deleted:
            word = maybe_id
    if word in deleted:
        return deleted[word]
    candidates = [item for item in deleted.values() if word and item.id.startswith(word)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise _ambiguous(word, candidates)
    raise SessionNotFound(f"There is no session {quoted(word)} in the trash.", session_id=word)


def _remembered(store: SessionStore, word: str) -> str | None:
    from hierstore.cli.memory import Memory
    from hierstore.cli.naming import LAST

    if word == LAST:
        return Memory(store.root).used
    if word.isascii() and word.isdecimal() and len(word) < 10:
        listed = Memory(store.root).listed
        return listed[int(word) - 1] if 0 < int(word) <= len(listed) else None
    return None


def _ambiguous(word: str, candidates: list[TrashedSession]) -> Refused:
    from hierstore.cli.times import ago

    latest = sorted(candidates, key=lambda item: item.deleted_at, reverse=True)
    shown = [f"  {one_line(item.id, _ID_CHARS)}  deleted {ago(item.deleted_at)}" for item in latest[:_SHOWN]]
    more = ["  …"] if len(candidates) > _SHOWN else []
    sentence = f"{quoted(word)} is the beginning of several deleted ids; write more of the one that is meant."
    return Refused(sentence, (*shown, *more))
