"""Pages of sessions: filters, orders, and going on where a page ended, over the index and what is newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from hierstore.disk.index import rows
from hierstore.disk.index.digests import Row
from hierstore.disk.index.index import View
from hierstore.model import SessionInfo


class Filter(NamedTuple):
    """Which sessions; None: any.

    Attributes:
        parent: only its children.
        roots: only those without a parent.
        labels: only those that have all of these.
        kind, pinned, suspended, archived: only those that are so.
    """

    parent: str | None = None
    roots: bool = False
    labels: tuple[str, ...] = ()
    kind: str | None = None
    pinned: bool | None = None
    suspended: bool | None = None
    archived: bool | None = None

    def takes(self, info: SessionInfo) -> bool:
        """Whether a session is among them."""
        return (
            (self.parent is None or info.parent_id == self.parent)
            and (not self.roots or info.parent_id is None)
            and all(label in info.labels for label in self.labels)
            and (self.kind is None or info.kind == self.kind)
            and (self.pinned is None or info.pinned == self.pinned)
            and (self.suspended is None or info.suspended == self.suspended)
            and (self.archived is None or info.archived == self.archived)
        )

    def where(self) -> tuple[str, list[object]]:
        """The same for the index."""
        terms, values = ["l.listed"], list[object]()
        for name in ("kind", "pinned", "suspended", "archived"):
            wanted = getattr(self, name)
            if wanted is not None:
                terms.append(f"l.{name} = ?")
                values.append(wanted)
        if self.parent is not None:
            terms.append("l.parent = ?")
            values.append(self.parent)
        if self.roots:
            terms.append("l.parent IS NULL")
        for label in self.labels:
            terms.append("l.key IN (SELECT log FROM label WHERE name = ?)")
            values.append(label)
        return " AND ".join(terms), values


class Order(NamedTuple):
    """An order of sessions.

    Attributes:
        column: what they are ordered by; those that are equal in it by their ids.
        is_descending: whether the largest comes first.
    """

    column: str
    is_descending: bool

    def key(self, info: SessionInfo) -> Any:
        """What a session is ordered by."""
        return rows.title_order(info.title) if self.column == "title_order" else getattr(info, self.column)


ORDERS = {
    "updated": Order("updated_at", True),
    "created": Order("created_at", True),
    "title": Order("title_order", False),
}


class Cursor(NamedTuple):
    """Where a page ended.

    Attributes:
        epoch: the index's.
        generation: its generation when the walk began: the walk goes by the places that the sessions had then.
        key: what the last session of the page was ordered by.
        id: its id.
        shown: ids of sessions that earlier pages showed and that stood elsewhere in the index then.
    """

    epoch: str
    generation: int
    key: float | str
    id: str
    shown: tuple[str, ...] = ()


class Found(NamedTuple):
    """A page: the sessions, and the cursor to what follows, or None."""

    infos: tuple[SessionInfo, ...]
    next: Cursor | None


class _Place(NamedTuple):
    key: Any
    info: SessionInfo
    path: str


def page(view: View, wanted: Filter, order: Order, limit: int, after: Cursor | None) -> Found:
    """The sessions that come next, and a cursor if there are more."""
    sql = view.sql
    epoch = rows.epoch(sql)
    generation = rows.generation(sql)
    if after is not None and (after.epoch != epoch or after.generation < rows.moves_from(sql)):
        # Another index, or too long ago: nobody knows the places of then. The walk goes on by those of now.
        after = after._replace(epoch=epoch, generation=generation)
    # One more than asked for: whether there is a next page.
    found = _indexed(view, wanted, order, limit + 1, after)
    found += _laid_over(view, wanted, order, after)
    found = _sorted(found, order)
    shown, more = found[:limit], len(found) > limit
    if not more or not shown:
        return Found(tuple(place.info for place in shown), None)
    newer = tuple(place.info.id for place in shown if place.path in view.overlay.rows) if after is None else ()
    cursor = Cursor(
        epoch,
        generation if after is None else after.generation,
        shown[-1].key,
        shown[-1].info.id,
        newer if after is None else after.shown,
    )
    return Found(tuple(place.info for place in shown), cursor)


def _sorted(found: Iterable[_Place], order: Order) -> list[_Place]:
    by_id = sorted(found, key=lambda place: place.info.id)
    # Ids ascend where keys are equal, whichever way those go.
    return sorted(by_id, key=lambda place: place.key, reverse=order.is_descending)


def _indexed(view: View, wanted: Filter, order: Order, limit: int, after: Cursor | None) -> list[_Place]:
    """The first sessions as the index has them, without those that something newer is known of."""
    where, values = wanted.where()
    # A parent or a label mostly has few: sorting those is less than walking along all.
    plus = "+" if wanted.parent is not None or wanted.labels else ""
    key = f"{plus}l.{order.column}"
    limit += len(view.overlay.rows)
    if after is None:
        found = _select(view.sql, order, f"FROM log l WHERE {where}", key, values, limit)
    else:
        still = f"FROM log l WHERE {where} AND l.moved <= ? AND l.born <= ?"
        found = _select(view.sql, order, still, key, [*values, after.generation, after.generation], limit, after)
        found += _moved(view.sql, order, where, values, limit, after)
    newer = view.overlay.rows
    shown = set(after.shown) if after is not None else set()
    return [place for place in found if place.path not in newer and place.info.id not in shown]


_EARLIER = (
    "FROM (SELECT log, min(generation) AS first FROM moved WHERE generation > ? GROUP BY log) e"
    " JOIN moved m ON m.log = e.log AND m.generation = e.first JOIN log l ON l.key = e.log"
)


def _moved(
    sql: sqlite3.Connection, order: Order, where: str, values: list[object], limit: int, after: Cursor
) -> list[_Place]:
    """Sessions that have another place since the walk began, where they were then."""
    source = f"{_EARLIER} WHERE {where} AND l.born <= ?"
    return _select(sql, order, source, f"m.{order.column}", [after.generation, *values, after.generation], limit, after)


def _select(
    sql: sqlite3.Connection,
    order: Order,
    source: str,
    key: str,
    values: list[object],
    limit: int,
    after: Cursor | None = None,
) -> list[_Place]:
    way = "DESC" if order.is_descending else "ASC"
    more = ""
    if after is not None:
        # The first term lets the index's order be used, the second cuts at the id.
        sign = "<" if order.is_descending else ">"
        more = f" AND {key} {sign}= ? AND ({key} {sign} ? OR l.id > ?)"
        values = [*values, after.key, after.key, after.id]
    query = f"SELECT {rows.INFO}, {key}, l.path {source}{more} ORDER BY {key} {way}, l.id LIMIT {limit}"
    return [_Place(row[-2], rows.info_of(row), row[-1]) for row in sql.execute(query, values)]


def _laid_over(view: View, wanted: Filter, order: Order, after: Cursor | None) -> list[_Place]:
    """The sessions that are newer than the index, with their places: those of when the walk began."""
    found = []
    for path, row in view.overlay.rows.items():
        if row is None or row.is_trashed or not wanted.takes(row.info):
            continue
        key = order.key(row.info)
        if after is not None:
            maybe_key = _place_then(view.sql, order, row, after)
            if maybe_key is None or row.info.id in after.shown or not _follows(order, maybe_key, row.info.id, after):
                continue
            key = maybe_key[0]
        found.append(_Place(key, row.info, path))
    return found


def _follows(order: Order, key: tuple[Any], session_id: str, after: Cursor) -> bool:
    if key[0] == after.key:
        return session_id > after.id
    return bool((key[0] < after.key) == order.is_descending)


def _place_then(sql: sqlite3.Connection, order: Order, row: Row, after: Cursor) -> tuple[Any] | None:
    """What a session was ordered by when the walk began; None when it was not there."""
    column = order.column
    found: tuple[Any] | None = sql.execute(
        f"SELECT m.{column} FROM moved m JOIN log l ON l.key = m.log WHERE l.path = ? AND l.born <= ?"
        " AND m.generation > ? ORDER BY m.generation LIMIT 1",
        (row.path, after.generation, after.generation),
    ).fetchone()
    if found is None:
        found = sql.execute(
            f"SELECT {column} FROM log WHERE path = ? AND born <= ?",
            (row.path, after.generation),
        ).fetchone()
    return found
