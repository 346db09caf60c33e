"""What FTS5 finds, in an order that a rebuilt index would give too, with who shows it."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from hierstore.disk.index.texts import TITLE_SEQ

_NTH = "SELECT score FROM temp.hit WHERE score >= ? ORDER BY score LIMIT 1 OFFSET ?"


class Wanted(NamedTuple):
    """What to look for.

    Attributes:
        expression: in FTS5's language.
        roles: only messages of these roles, and no titles; None: all.
        sessions: only what this session shows; None: all.
        subtree: with ``sessions``, also what those below it show.
        reverted: also what no session shows any more.
        deleted: also what is in the trash.
    """

    expression: str
    roles: tuple[str, ...] | None
    session: str | None
    subtree: bool
    reverted: bool
    deleted: bool


class Position(NamedTuple):
    """Where an answer ended: rank, time and digest of its last row."""

    score: float
    at: float
    digest: int


class Hit(NamedTuple):
    """A row that was found, and the log that shows it.

    Attributes:
        position: its place in the order.
        seq: the message's number; 0 for a title.
        role: who speaks.
        path: the log's, below ``sessions/`` or ``trash/…``.
        session_id: whose log that is.
        reverted: whether it does not show it any more.
    """

    position: Position
    seq: int
    role: str
    path: str
    session_id: str
    reverted: bool


def hits(sql: sqlite3.Connection, wanted: Wanted, limit: int, after: Position | None) -> list[Hit]:
    """The best rows, at most ``limit``; those of a message that several logs hold once.

    Rows of one rank come the latest first: the order must not be that in which the index happened to be filled.
    """
    sql.execute("DELETE FROM temp.hit")
    # Ranked once, all of it: FTS5 has to look at every row that matches anyway, and rows that are not shown are passed
    # over below.
    sql.execute("INSERT INTO temp.hit SELECT rowid, bm25(text) FROM text WHERE text MATCH ?", (wanted.expression,))
    try:
        _choose(sql, wanted)
        found: list[Hit] = []
        size = 4 * limit if wanted.roles is None and wanted.session is None else None
        while True:
            edge = None
            if size is not None:
                first = -1e308 if after is None else after.score
                row = sql.execute(_NTH, (first, size)).fetchone()
                edge = None if row is None else row[0]
            found = _shown(sql, wanted, edge, limit, after)
            if edge is None or len(found) >= limit:
                return found
            size = 16 * (size or limit)
    finally:
        sql.execute("DELETE FROM temp.hit")


def _choose(sql: sqlite3.Connection, wanted: Wanted) -> None:
    """Put the logs whose messages are wanted in a table, when not all are."""
    sql.execute("DELETE FROM temp.chosen")
    if wanted.session is None:
        return
    alive = "(l.listed OR l.trashed)" if wanted.deleted else "l.listed"
    if wanted.subtree:
        sql.execute(
            "INSERT INTO temp.chosen WITH RECURSIVE below (id) AS (VALUES (?) UNION"
            f" SELECT l.id FROM below b JOIN log l ON l.parent = b.id WHERE {alive})"
            f" SELECT l.key FROM log l JOIN below b ON l.id = b.id WHERE {alive}",
            (wanted.session,),
        )
    else:
        sql.execute(f"INSERT INTO temp.chosen SELECT l.key FROM log l WHERE l.id = ? AND {alive}", (wanted.session,))


def _shown(
    sql: sqlite3.Connection, wanted: Wanted, edge: float | None, limit: int, after: Position | None
) -> list[Hit]:
    """The best of the rows up to a rank that somebody shows."""
    terms, values = ["1"], list[object]()
    if edge is not None:
        terms.append("h.score <= ?")
        values.append(edge)
    if after is not None:
        terms.append("(h.score, -m.at, m.digest) > (?, ?, ?)")
        values += [after.score, -after.at, after.digest]
    if wanted.roles is not None:
        terms.append(f"m.seq <> {TITLE_SEQ} AND r.name IN ({', '.join('?' * len(wanted.roles))})")
        values += wanted.roles
    alive = "(l.listed OR l.trashed)" if wanted.deleted else "l.listed"
    if wanted.session is not None:
        alive += " AND l.key IN (SELECT log FROM temp.chosen)"
    spans = (
        "SELECT s.log FROM span s JOIN log l ON l.key = s.log"
        f" WHERE s.source = m.source AND s.lo <= m.seq AND s.hi >= m.seq AND {alive}"
    )
    is_shown = f"EXISTS ({spans})"
    if wanted.reverted:
        is_shown = f"({is_shown} OR m.own AND EXISTS (SELECT 1 FROM source n JOIN log l ON l.nonce = n.nonce WHERE n.key = m.source AND {alive}))"
    query = (
        "SELECT h.score, m.at, m.digest, m.seq, m.source, r.name FROM temp.hit h CROSS JOIN message m ON m.key = h.key"
        f" JOIN role r ON r.key = m.role WHERE {' AND '.join(terms)} AND {is_shown}"
        " ORDER BY h.score, m.at DESC, m.digest"
    )
    found: list[Hit] = []
    last: Position | None = None
    for score, at, digest, seq, source, role in sql.execute(query, values):
        position = Position(score, at, digest)
        # The copies of a message have its time and id, and its rank: they stand side by side.
        if position != last:
            last = position
            if len(found) >= limit:
                break
            path, session_id, reverted = _owner(sql, source, seq, alive)
            found.append(Hit(position, seq, role, path, session_id, reverted))
    return found


def _owner(sql: sqlite3.Connection, source: int, seq: int, alive: str) -> tuple[str, str, bool]:
    """The log that shows a row: the one it was written in, or the first by its id that shows it still."""
    found = sql.execute(
        "SELECT l.path, l.id, n.nonce = l.nonce AS own FROM span s JOIN log l ON l.key = s.log JOIN source n"
        f" ON n.key = s.source WHERE s.source = ? AND s.lo <= ? AND s.hi >= ? AND {alive}"
        " ORDER BY l.trashed, own DESC, l.id LIMIT 1",
        (source, seq, seq),
    ).fetchone()
    if found is not None:
        return found[0], found[1], False
    path, session_id = sql.execute(
        f"SELECT l.path, l.id FROM source n JOIN log l ON l.nonce = n.nonce WHERE n.key = ? AND {alive} ORDER BY l.trashed LIMIT 1",
        (source,),
    ).fetchone()
    return path, session_id, True
