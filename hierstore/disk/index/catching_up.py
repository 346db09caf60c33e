"""Bringing the index up to the logs, a transaction at a time."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from hierstore.disk.index import rows
from hierstore.disk.index.digests import Digest, Pasts, Row, Texts, digest
from hierstore.disk.index.stamps import UNTRUSTED, Changes, Known, Stamp
from hierstore.disk.index.texts import Writer
from hierstore.disk.logfile import NO_COMMIT
from hierstore.errors import CorruptLog

_NO_ROW = (OverflowError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What SQLite says of values that are not of the type that they should be."""

_BATCH_S = 0.4
_BATCH_LOGS = 200
_MAX_PASTS = 64


@dataclass(slots=True)
class Work:
    """What is to be done before an answer.

    Attributes:
        sql: the connection that it was found by.
        with_text: whether search needs it.
        changes: the logs that are not as the index has them.
        is_behind: whether there is text to be read beside those.
        deadline: until when to wait for another process that writes, on the monotonic clock.
        pasts: histories that forks share.
    """

    sql: sqlite3.Connection
    with_text: bool
    changes: Changes
    is_behind: bool
    deadline: float
    pasts: Pasts = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return not self.changes and not self.is_behind


class Overlay(NamedTuple):
    """What is newer in the logs than in the index.

    Attributes:
        rows: by the log's path; None where there is no session any more.
    """

    rows: dict[str, Row | None]


def is_behind(sql: sqlite3.Connection) -> bool:
    """Whether there is text to be read, or to be removed."""
    return bool(rows.paths_behind(sql, 1)) or sql.execute("SELECT 1 FROM gone LIMIT 1").fetchone() is not None


def write(known: Known, work: Work) -> Changes:
    """Do as much of the work as one transaction should, in one that is open; what is done is taken out.

    Returns:
        The stamps of the logs that were read.
    """
    sql = work.sql
    generation = rows.advance(sql)
    writer = Writer(sql) if work.with_text else None
    stamps: Changes = {}
    until = time.monotonic() + _BATCH_S
    for name in list(work.changes):
        del work.changes[name]
        stamps[name] = _take(known, work, name, generation, writer)
        if time.monotonic() > until:
            break
    if writer is not None and not work.changes:
        _write_behind(known, work, generation, writer, stamps, until)
        writer.drop_gone()
        work.is_behind = is_behind(sql)
    known.store(sql, generation, stamps)
    rows.forget_moves(sql)
    if len(work.pasts) > _MAX_PASTS:
        work.pasts.clear()
    return stamps


def _write_behind(known: Known, work: Work, generation: int, writer: Writer, stamps: Changes, until: float) -> None:
    """Read the text of logs whose facts are known."""
    while paths := rows.paths_behind(work.sql, _BATCH_LOGS):
        for name in paths:
            stamps[name] = _take(known, work, name, generation, writer)
            if time.monotonic() > until:
                return


def _take(known: Known, work: Work, name: str, generation: int, writer: Writer | None) -> Stamp | None:
    """Read one log and write what it says; the stamp that it had."""
    base = rows.find(work.sql, name)
    made = _digest(known, work, name, base)
    if made.row is None:
        rows.remove(work.sql, name)
    elif made.row is not base and not _put(work, made.row, made.texts, base, generation, writer):
        rows.remove(work.sql, name)
        return UNTRUSTED
    return made.stamp


def _put(work: Work, row: Row, texts: Texts | None, base: Row | None, generation: int, writer: Writer | None) -> bool:
    """Write what a log says; False, and nothing is written, when it says what no session can."""
    work.sql.execute("SAVEPOINT log")
    try:
        rows.put(work.sql, row, generation)
        if writer is not None and texts is not None:
            is_same = base is not None and base.nonce == row.nonce
            writer.put(row, texts, base.text_title if base is not None and is_same else None)
    except (*NO_COMMIT, *_NO_ROW):
        # Sealed, and yet written by somebody else: one such log hides no other.
        work.sql.execute("ROLLBACK TO log")
        work.sql.execute("RELEASE log")
        if writer is not None:
            writer.forget()
        return False
    work.sql.execute("RELEASE log")
    return True


def _digest(known: Known, work: Work, name: str, base: Row | None) -> Digest:
    try:
        return digest(known.path(name), name, base, work.pasts, with_text=work.with_text)
    except (CorruptLog, *NO_COMMIT):
        return Digest(UNTRUSTED, None, None)


def read_aside(known: Known, work: Work) -> Overlay:
    """Read what changed for one answer alone: another process writes the index, and takes its time."""
    overlay: dict[str, Row | None] = {}
    for name in work.changes:
        overlay[name] = _digest(known, work, name, rows.find(work.sql, name)).row
    return Overlay(overlay)
