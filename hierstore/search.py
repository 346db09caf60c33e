"""Searching: what a caller may ask for, and from what the index found to hits with their messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hierstore.disk import files
from hierstore.disk.index import searching
from hierstore.disk.index.searching import Hit, Position, Wanted
from hierstore.disk.logfile import parse_log
from hierstore.errors import HierstoreError, InvalidRecord, quoted
from hierstore.listing import check_limit, no_cursor, read, written
from hierstore.pages import Page, SearchHit
from hierstore.values import text_set
from hierstore.words import Query, expression, marked, parse, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hierstore.disk.engine import Engine
    from hierstore.disk.index.index import Index
    from hierstore.log.state import State
    from hierstore.model import Message

SNIPPET_CHARS = 200
MAX_CONTEXT = 50
_ATTEMPTS = 8


def search(
    engine: Engine,
    index: Index,
    query: object,
    *,
    limit: int,
    after: str | None,
    session: str | None,
    subtree: bool,
    role: str | Iterable[str] | None,
    operators: bool,
    reverted: bool,
    deleted: bool,
    context: int,
) -> Page[SearchHit]:
    """A page of hits; empty for a query without a word.

    Raises:
        InvalidRecord: an argument is not what it should be; whatever text the query is, it is none.
    """
    if not isinstance(query, str):
        raise InvalidRecord(f"A query is text, not {type(query).__name__}.", where="query")
    limit = check_limit(limit)
    if not isinstance(context, int) or not 0 <= context <= MAX_CONTEXT:
        raise InvalidRecord(f"context is a number from 0 to {MAX_CONTEXT}, not {quoted(context)}.", where="context")
    position = None if after is None else _position(after)
    asked = parse(query, operators=operators)
    wanted_words = expression(asked)
    roles = None if role is None else text_set([role] if isinstance(role, str) else role, "role")
    if wanted_words is None:
        return Page(())
    wanted = Wanted(wanted_words, roles, session, subtree, reverted, deleted)
    for _ in range(_ATTEMPTS):
        # One more than asked for: whether there is a next page.
        found = index.search(lambda view: searching.hits(view.sql, wanted, limit + 1, position))
        shown = found[:limit]
        logs = _Logs(engine)
        hits = [_hit(logs, row, asked, context) for row in shown]
        if None not in hits:
            break
        # A session was changed since: what it no longer shows, a fork of it may, which the index knows once it has read.
    items = tuple(hit for hit in hits if hit is not None)
    return Page(items, written(["hit", *shown[-1].position]) if len(found) > limit else None)


def _position(text: str) -> Position:
    match read(text):
        case ["hit", float() | int() as score, float() | int() as at, int(digest)]:
            return Position(score, at, digest)
    raise no_cursor(text)


class _Logs:
    """The sessions of one answer, each read once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._states: dict[str, State | None] = {}

    def state(self, row: Hit) -> State | None:
        """The session that shows a row; None when it is gone since."""
        if row.path not in self._states:
            try:
                self._states[row.path] = self._read(row)
            except HierstoreError:
                self._states[row.path] = None
        return self._states[row.path]

    def _read(self, row: Hit) -> State:
        folder, _, name = row.path.partition("/")
        if folder != "trash":
            return self._engine.peek(self._engine.entry(row.session_id))
        path = b"%b/%b" % (self._engine.layout.trash, name.encode("utf-8", "surrogateescape"))
        return parse_log(files.whole(path), row.session_id, path).state


def _hit(logs: _Logs, row: Hit, asked: Query, context: int) -> SearchHit | None:
    """A hit with its messages; None when the session does not show it any more: it was changed since."""
    state = logs.state(row)
    if state is None:
        return None
    if row.seq == 0:
        snippet, marks = marked(state.facts.title or "", asked, SNIPPET_CHARS)
        return SearchHit(
            row.session_id, None, None, None, state.facts.created_at, -row.position.score, snippet, marks,
            deleted=row.path.startswith("trash/"),
        )  # fmt: skip
    around = _around(state, row, context)
    if around is None:
        return None
    before, message, behind = around
    snippet, marks = marked(text_of(message.content, message.fields), asked, SNIPPET_CHARS)
    return SearchHit(
        row.session_id, message.id, message.seq, message.role, message.at, -row.position.score, snippet, marks,
        tuple(before), message, tuple(behind), row.reverted, row.path.startswith("trash/"),
    )  # fmt: skip


_Around = tuple["Sequence[Message]", "Message", "Sequence[Message]"]


def _around(state: State, row: Hit, context: int) -> _Around | None:
    """A message and those before and behind it: in the present history, or, reverted, in the latest that had it."""
    histories = [(state.history, state.count)]
    if row.reverted:
        histories += [(history, history.total) for _, history in reversed(state.facts.epochs)]
    for history, count in histories:
        place = bisect_left(range(count), row.seq, key=lambda place: history.message(place).seq)
        if place < count and history.message(place).seq == row.seq:
            first = max(0, place - context)
            part = history.part(first, min(count, place + context + 1))
            return part[: place - first], part[place - first], part[place - first + 1 :]
    return None
