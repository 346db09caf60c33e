"""SQLiteSession of the OpenAI Agents SDK: an object a session, all in one database file, as its documentation shows.

It works on threads of its own below an event loop, and has no other way in. It waits 5 s for another process and cannot be
told otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents import SQLiteSession

from benchmarks.peers.adapters.parts import Kept, Loop, Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._path = root / "conversations.db"
        self._loop = Loop()
        self._sessions = Kept(self._open, SQLiteSession.close)

    def _open(self, session_id: str) -> SQLiteSession:
        return SQLiteSession(session_id, self._path)

    def append(self, session_id: str, role: str, text: str) -> None:
        self._loop.run(self._sessions[session_id].add_items([_item(role, text)]))

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        self._loop.run(self._sessions[session_id].add_items([_item(role, text) for role, text in messages]))

    def read_all(self, session_id: str) -> list[str]:
        return [item["content"] for item in self._loop.run(self._sessions[session_id].get_items())]

    def read_last(self, session_id: str, count: int) -> list[str]:
        return [item["content"] for item in self._loop.run(self._sessions[session_id].get_items(limit=count))]

    def close(self) -> None:
        self._sessions.close()
        self._loop.close()


def _item(role: str, text: str) -> Any:
    return {"role": role, "content": text}
