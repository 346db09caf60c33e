"""AdvancedSQLiteSession of the OpenAI Agents SDK: SQLiteSession with branches inside a session.

A branch begins with what was before a message of the user, and never at the end. So a fork at the end is two calls: a branch
before the last message of the user, and what is left said again on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents import SQLiteSession
from agents.extensions.memory import AdvancedSQLiteSession

from benchmarks.peers.adapters import openai_sqlite
from benchmarks.peers.adapters.parts import lacking


class Store(openai_sqlite.Store):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        # A branch is known by its session and its own name; which one an object is on is not stored.
        self._branches: dict[str, str] = {}

    def _open(self, session_id: str) -> SQLiteSession:
        trunk = self._branches.get(session_id)
        session = AdvancedSQLiteSession(session_id=trunk or session_id, db_path=self._path, create_tables=True)
        if trunk is not None:
            self._loop.run(session.switch_to_branch(session_id))
        return session

    def fork(self, session_id: str, new_id: str) -> None:
        self._branches[new_id] = self._branches.get(session_id, session_id)
        session: Any = self._sessions[session_id]
        try:
            self._loop.run(_branch(session, new_id))
        finally:
            # A new branch is the object's from then on.
            self._loop.run(session.switch_to_branch(session_id if session_id in self._branches else "main"))

    def search(self, word: str) -> int:  # noqa: ARG002
        lacking("searches within one session, the user's messages")


async def _branch(session: AdvancedSQLiteSession, name: str) -> None:
    items = await session.get_items()
    turns = [place for place, item in enumerate(items) if item["role"] == "user"]
    if not turns:
        lacking("a branch needs a message of the user")
    await session.create_branch_from_turn(len(turns), name)
    await session.add_items(items[turns[-1] :])
