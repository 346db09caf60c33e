"""SQLite as the peer: the standard library's, WAL, one table with an index on the session column, JSON through orjson.

``synchronous`` is NORMAL, and FULL where a message must survive a power cut. Every insert is a committed transaction of its
own, in both ways that the standard library offers:

* the documented default: a connection as ``sqlite3.connect`` gives it, and ``with connection:`` round the insert, as the
  sqlite3 documentation shows. Goals and ratios are against this one;
* autocommit (``isolation_level=None``): the bare insert, one statement in place of three. It is the fastest SQLite that there
  is, and its figure stands beside.

An insert into a database whose WAL file is still growing costs about a quarter more than later, when the file is written
over from its beginning. ``settle`` brings a database to that later state, so that the figures do not depend on how long the
database has been there; it is the better one for SQLite. Every 1,000 pages of WAL an insert pays for a checkpoint: that is
in the mean, and not in the median.

The peer does less than hierstore does: it makes no id and takes no time for a message, keeps no checksum, and a retry stores twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from typing import Any

import orjson

from benchmarks.measure import clock
from benchmarks.message import ROLE, text

_INSERT = "INSERT INTO messages (session, body) VALUES (?, ?)"
_SELECT = "SELECT body FROM messages WHERE session = ? ORDER BY id"
_COUNT = "SELECT count(*) FROM messages WHERE session = ?"
_LAST = "SELECT body FROM messages WHERE session = ? ORDER BY id DESC LIMIT 1"
_SETTLING = 1_000
_YOUNG = 250
_COPY = "INSERT INTO messages (session, body) SELECT ?, body FROM messages WHERE session = ? ORDER BY id"


class Peer:
    """One connection to one database, which is made if it is not there.

    Args:
        path: the database's file.
        autocommit: insert without a transaction round it.
        synchronous: NORMAL or FULL.
    """

    def __init__(self, path: str | os.PathLike[str], *, autocommit: bool = False, synchronous: str = "NORMAL") -> None:
        # The timeout is SQLite's busy_timeout.
        if autocommit:
            self.connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        else:
            self.connection = sqlite3.connect(path, timeout=60.0)
        self.append = self._append_bare if autocommit else self._append
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session TEXT NOT NULL, body BLOB NOT NULL)"
        )
        self.connection.execute("CREATE INDEX IF NOT EXISTS messages_of_session ON messages (session)")
        self.connection.commit()

    def _append(self, session: str, role: str, content: str) -> None:
        with self.connection:
            self.connection.execute(_INSERT, (session, orjson.dumps({"role": role, "content": content})))

    def _append_bare(self, session: str, role: str, content: str) -> None:
        self.connection.execute(_INSERT, (session, orjson.dumps({"role": role, "content": content})))

    def fill(self, session: str, numbers: Iterable[int]) -> None:
        """Store messages in one transaction: preparation, never timed."""
        self.connection.execute("BEGIN")
        self.connection.executemany(
            _INSERT, ((session, orjson.dumps({"role": ROLE, "content": text(number)})) for number in numbers)
        )
        self.connection.execute("COMMIT")

    def settle(self) -> list[float]:
        """Append to another session until the WAL file has reached its size, which it keeps while a connection is open.

        Returns:
            What each insert took while the file grew, nanoseconds: as information, for nothing alternates with them.
        """
        samples = []
        for number in range(_SETTLING):
            content = text(number)
            began = clock()
            self.append("an earlier conversation", ROLE, content)
            samples.append(float(clock() - began))
        return samples[:_YOUNG]

    def messages(self, session: str) -> list[dict[str, Any]]:
        """All messages of a session, decoded."""
        return read_all(self.connection, session)

    def copy(self, session: str, new_session: str) -> None:
        """Give another session the same messages, committed."""
        with self.connection:
            self.connection.execute(_COPY, (new_session, session))

    def count(self, session: str) -> int:
        """How many messages a session has."""
        return count(self.connection, session)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def read_all(connection: sqlite3.Connection, session: str) -> list[dict[str, Any]]:
    """All messages of a session, decoded."""
    loads = orjson.loads
    return [loads(body) for (body,) in connection.execute(_SELECT, (session,))]


def open_and_read(path: str, session: str) -> tuple[sqlite3.Connection, list[dict[str, Any]]]:
    """A cold open: a new connection and every message, decoded. No pragma is needed to read."""
    connection = sqlite3.connect(path)
    return connection, read_all(connection, session)


def open_and_read_last(path: str, session: str) -> tuple[sqlite3.Connection, int, Any]:
    """A cold open for the number of messages and the last one only."""
    connection = sqlite3.connect(path)
    ((body,),) = connection.execute(_LAST, (session,))
    return connection, count(connection, session), orjson.loads(body)


def count(connection: sqlite3.Connection, session: str) -> int:
    """How many messages a session has."""
    ((number,),) = connection.execute(_COUNT, (session,))
    return int(number)
