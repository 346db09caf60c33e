"""Which session a word means: an id, a number from the last listing, ``@last``, a route key, or the beginning of an id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hierstore.cli.memory import Memory
from hierstore.cli.text import Refused, one_line
from hierstore.errors import InvalidRecord, InvalidSessionId, SessionNotFound

if TYPE_CHECKING:
    from hierstore import Session, SessionInfo, SessionStore

LAST = "@last"
_PAGE = 10_000
_SHOWN = 10
_ID_CHARS = 60
_DIGITS = 9


def find(store: SessionStore, word: str) -> Session:
    """The session that a word means, which is from now on ``@last``.

    In this order: the id itself, ``@last``, a number of the last listing, a route key, the beginning of one id.

    Raises:
        Refused: it is the beginning of several ids.
        SessionNotFound, InvalidSessionId: it means none.
    """
    session = _found(store, word)
    Memory(store.root).use(session.id)
    return session


def _found(store: SessionStore, word: str) -> Session:
    try:
        return store.get(word)
    except (SessionNotFound, InvalidSessionId) as error:
        missing = error
    if word == LAST:
        return _last(store)
    listed = _maybe_listed(store, word)
    if listed is not None:
        return store.get(listed)
    session = _maybe_routed(store, word)
    if session is not None:
        return session
    candidates = list(ids_beginning(store, word, _SHOWN + 1)) if word else []
    if len(candidates) == 1:
        return store.get(candidates[0].id)
    if candidates:
        raise _ambiguous(word, candidates)
    raise missing


def _maybe_listed(store: SessionStore, word: str) -> str | None:
    """The id that has this number in the last listing."""
    if not (word.isascii() and word.isdecimal() and len(word) <= _DIGITS):
        return None
    listed = Memory(store.root).listed
    return listed[int(word) - 1] if 0 < int(word) <= len(listed) else None


def _maybe_routed(store: SessionStore, word: str) -> Session | None:
    """The session that this leads to, if it is a route key that does."""
    try:
        return store.resolve(word)
    except InvalidRecord:
        # No text that a key could be.
        return None


def _last(store: SessionStore) -> Session:
    used = Memory(store.root).used
    if used is not None and used in store:
        return store.get(used)
    page = store.sessions(limit=1, archived=None)
    if not page.items:
        raise Refused("The store has no sessions yet; `hierstore new` makes one.")
    return store.get(page.items[0].id)


def _ambiguous(word: str, candidates: list[SessionInfo]) -> Refused:
    shown = [
        f"  {one_line(info.id, _ID_CHARS)}{f'  {one_line(info.title, _ID_CHARS)}' if info.title else ''}"
        for info in candidates[:_SHOWN]
    ]
    more = ["  …"] if len(candidates) > _SHOWN else []
    sentence = f"{one_line(word, _ID_CHARS)!r} is the beginning of several ids; write more of the one that is meant."
    return Refused(sentence, (*shown, *more))


def all_infos(store: SessionStore) -> Iterator[SessionInfo]:
    """Every session's facts, archived ones too, the latest changed first."""
    after = None
    while True:
        page = store.sessions(archived=None, limit=_PAGE, after=after)
        yield from page.items
        after = page.next
        if after is None:
            return


def ids_beginning(store: SessionStore, start: str, limit: int) -> Iterator[SessionInfo]:
    """The facts of sessions whose id begins so, the latest changed first."""
    for info in all_infos(store):
        if info.id.startswith(start):
            yield info
            limit -= 1
            if not limit:
                return
