"""The standard library's SQLite: WAL, synchronous NORMAL, one table with an index, each insert a transaction of its own.

It is ``sqlite_peer`` in autocommit, the fastest that there is: no store of sessions, no titles.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import orjson

from benchmarks import sqlite_peer
from benchmarks.peers.adapters.parts import Partial

_INSERT = "INSERT INTO messages (session, body) VALUES (?, ?)"
_LAST = "SELECT body FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?"
_LATEST = "SELECT session FROM messages GROUP BY session ORDER BY max(id) DESC LIMIT ?"
_FOUND = "SELECT count(*) FROM messages WHERE body ->> 'content' LIKE '%' || ? || '%'"


class Store(Partial):
    SYNCHRONOUS: ClassVar[str] = "NORMAL"

    def __init__(self, root: Path) -> None:
        self._peer = sqlite_peer.Peer(root / "messages.db", autocommit=True, synchronous=self.SYNCHRONOUS)

    def append(self, session_id: str, role: str, text: str) -> None:
        self._peer.append(session_id, role, text)

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        rows = ((session_id, orjson.dumps({"role": role, "content": text})) for role, text in messages)
        self._peer.connection.execute("BEGIN IMMEDIATE")
        with self._peer.connection:
            self._peer.connection.executemany(_INSERT, rows)

    def read_all(self, session_id: str) -> list[str]:
        return [message["content"] for message in self._peer.messages(session_id)]

    def read_last(self, session_id: str, count: int) -> list[str]:
        rows = self._peer.connection.execute(_LAST, (session_id, count)).fetchall()
        return [orjson.loads(body)["content"] for (body,) in reversed(rows)]

    def fork(self, session_id: str, new_id: str) -> None:
        self._peer.copy(session_id, new_id)

    def list_sessions(self, count: int) -> list[str]:
        return [session for (session,) in self._peer.connection.execute(_LATEST, (count,))]

    def search(self, word: str) -> int:
        """A scan of everything."""
        ((found,),) = self._peer.connection.execute(_FOUND, (word,))
        return int(found)

    def close(self) -> None:
        self._peer.close()
