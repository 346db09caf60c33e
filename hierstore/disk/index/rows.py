"""A row for each log: writing what a digest says of it, and the order that pages go by while sessions change.

A page is continued in the order that the sessions had when its walk began: a session that was written to since would
else jump from a page not yet shown to one that was. ``moved`` keeps, for a while, what a session's place was before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from hierstore.disk.index.digests import Row, Watermark
from hierstore.model import SessionInfo
from hierstore.values import encode, loads

COLUMNS = (
    "path", "listed", "trashed", "born", "moved", "id", "title", "title_source", "parent", "kind", "labels", "pinned",
    "archived", "suspended", "created_at", "updated_at", "revision", "count", "metadata", "derived", "preview",
    "title_order", "nonce", "end", "chain", "seq", "seen", "text_end", "text_chain", "text_revision", "text_title",
)  # fmt: skip
INFO = (
    "l.id, l.title, l.title_source, l.parent, l.kind, l.labels, l.pinned, l.archived, l.suspended, l.created_at,"
    " l.updated_at, l.revision, l.count, l.metadata, l.derived, l.preview"
)
_INFO_WIDTH = 16
_FULL = f"{INFO}, l.path, l.nonce, l.end, l.chain, l.seq, l.seen, l.text_end, l.text_chain, l.text_revision, l.text_title, l.key"
_INSERT = f"INSERT INTO log ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_KEPT = ("path", "born")
_UPDATED = tuple(name for name in COLUMNS if name not in _KEPT)
_UPDATE = f"UPDATE log SET {', '.join(f'{name} = ?' for name in _UPDATED)} WHERE key = ?"

KEPT_MOVES = 200_000
"""How many changes of place are kept; a walk that is older goes on by the present places."""


def info_of(row: tuple[object, ...]) -> SessionInfo:
    """The facts in the columns ``INFO``."""
    (
        name, title, source, parent, kind, labels, pinned, archived, suspended, created_at, updated_at, revision, count,
        metadata, derived, preview,
    ) = row[:_INFO_WIDTH]  # fmt: skip
    return SessionInfo(
        id=name,  # type: ignore[arg-type]
        title=title,  # type: ignore[arg-type]
        title_source=source,  # type: ignore[arg-type]
        parent_id=parent,  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        labels=tuple(loads(labels)) if labels else (),  # type: ignore[arg-type]
        pinned=bool(pinned),
        archived=bool(archived),
        suspended=bool(suspended),
        created_at=created_at,  # type: ignore[arg-type]
        updated_at=updated_at,  # type: ignore[arg-type]
        revision=revision,  # type: ignore[arg-type]
        message_count=count,  # type: ignore[arg-type]
        metadata_json=metadata,  # type: ignore[arg-type]
        derived_json=derived,  # type: ignore[arg-type]
        preview=preview,  # type: ignore[arg-type]
    )


def find(sql: sqlite3.Connection, path: str) -> Row | None:
    """What the index has of a log."""
    found = sql.execute(f"SELECT {_FULL} FROM log l WHERE l.path = ?", (path,)).fetchone()
    if found is None:
        return None
    name, nonce, end, chain, seq, seen, text_end, text_chain, text_revision, text_title, key = found[_INFO_WIDTH:]
    info = info_of(found)
    read, text = Watermark(end, chain, info.revision), Watermark(text_end, text_chain, text_revision)
    return Row(name, nonce, info, read, seq, seen, text, text_title, key)


def title_order(title: str | None) -> str:
    """What sessions are ordered by where they are ordered by title: those without one last."""
    return "1" if title is None else f"0{title.casefold()}"


def put(sql: sqlite3.Connection, row: Row, generation: int) -> None:
    """Write a row; gives it its key. The log of another session that had the path is gone."""
    before = sql.execute(
        "SELECT key, nonce, moved, listed, updated_at, created_at, title_order FROM log WHERE path = ?", (row.path,)
    ).fetchone()
    if before is not None and before[1] != row.nonce:
        remove(sql, row.path)
        before = None
    place = (row.info.updated_at, row.info.created_at, title_order(row.info.title))
    if before is None:
        row.key = sql.execute(_INSERT, _values(row, generation, generation)).lastrowid or 0
    else:
        row.key = before[0]
        moved = before[2]
        if before[4:] != place:
            moved = generation
            sql.execute("INSERT OR IGNORE INTO moved VALUES (?, ?, ?, ?, ?)", (row.key, generation, *before[4:]))
        values = dict(zip(COLUMNS, _values(row, 0, moved), strict=True))
        sql.execute(_UPDATE, (*(values[name] for name in _UPDATED), row.key))
    _put_labels(sql, row)


def _values(row: Row, born: int, moved: int) -> tuple[object, ...]:
    info = row.info
    labels = encode(list(info.labels), "labels").decode() if info.labels else ""
    return (
        row.path, not row.is_trashed, row.is_trashed, born, moved, info.id, info.title, info.title_source, info.parent_id,
        info.kind, labels, info.pinned, info.archived, info.suspended, info.created_at, info.updated_at, info.revision,
        info.message_count, info.metadata_json, info.derived_json, info.preview, title_order(info.title), row.nonce,
        row.read.end, row.read.chain, row.seq, row.seen, row.text.end, row.text.chain, row.text.revision, row.text_title,
    )  # fmt: skip


def _put_labels(sql: sqlite3.Connection, row: Row) -> None:
    wanted = set() if row.is_trashed else set(row.info.labels)
    found = {name for (name,) in sql.execute("SELECT name FROM label WHERE log = ?", (row.key,))}
    if found != wanted:
        sql.execute("DELETE FROM label WHERE log = ?", (row.key,))
        sql.executemany("INSERT INTO label VALUES (?, ?)", ((name, row.key) for name in wanted))


def remove(sql: sqlite3.Connection, path: str) -> None:
    """Remove a row. Its text is out of sight at once, and goes when search comes next."""
    found = sql.execute("SELECT key, nonce FROM log WHERE path = ?", (path,)).fetchone()
    if found is not None:
        sql.execute("INSERT INTO gone VALUES (?, ?)", found)
        sql.execute("DELETE FROM label WHERE log = ?", (found[0],))
        sql.execute("DELETE FROM moved WHERE log = ?", (found[0],))
        sql.execute("DELETE FROM log WHERE key = ?", (found[0],))


def generation(sql: sqlite3.Connection) -> int:
    """How often the index was written to."""
    number: int = sql.execute("SELECT value FROM fact WHERE name = 'generation'").fetchone()[0]
    return number


def advance(sql: sqlite3.Connection) -> int:
    """Begin the next generation."""
    sql.execute("UPDATE fact SET value = value + 1 WHERE name = 'generation'")
    return generation(sql)


def epoch(sql: sqlite3.Connection) -> str:
    """Which index this is: generations of two cannot be compared."""
    name: str = sql.execute("SELECT value FROM fact WHERE name = 'epoch'").fetchone()[0]
    return name


def forget_moves(sql: sqlite3.Connection) -> None:
    """Drop the oldest changes of place when there are too many."""
    count = sql.execute("SELECT count(*) FROM moved").fetchone()[0]
    if count > 2 * KEPT_MOVES:
        last = sql.execute(
            "SELECT generation FROM moved ORDER BY generation DESC LIMIT 1 OFFSET ?", (KEPT_MOVES,)
        ).fetchone()[0]
        sql.execute("DELETE FROM moved WHERE generation <= ?", (last,))
        sql.execute("INSERT OR REPLACE INTO fact VALUES ('moves_from', ?)", (last,))


def moves_from(sql: sqlite3.Connection) -> int:
    """The generation since which all changes of place are kept."""
    found = sql.execute("SELECT value FROM fact WHERE name = 'moves_from'").fetchone()
    return 0 if found is None else found[0]


def paths_behind(sql: sqlite3.Connection, limit: int) -> list[str]:
    """Logs whose text is not as far as their facts."""
    rows: Iterable[tuple[str]] = sql.execute("SELECT path FROM log WHERE text_end <> end LIMIT ?", (limit,))
    return [path for (path,) in rows]
