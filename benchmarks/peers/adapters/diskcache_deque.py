"""A diskcache Deque a session, which is what diskcache has for a sequence that processes share: a SQLite database each."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from urllib.parse import quote

from diskcache import Deque

from benchmarks.peers.adapters.parts import Kept, Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._root = root
        self._sessions: Kept[Deque] = Kept(self._open, _close)

    def _open(self, session_id: str) -> Deque:
        return Deque(directory=str(self._root / quote(session_id, safe="")))

    def create(self, session_id: str) -> None:
        self._sessions[session_id]

    def append(self, session_id: str, role: str, text: str) -> None:
        self._sessions[session_id].append({"role": role, "content": text})

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        session = self._sessions[session_id]
        with session.transact():
            session.extend({"role": role, "content": text} for role, text in messages)

    def read_all(self, session_id: str) -> list[str]:
        return [message["content"] for message in self._sessions[session_id]]

    def read_last(self, session_id: str, count: int) -> list[str]:
        return [message["content"] for message in islice(reversed(self._sessions[session_id]), count)][::-1]

    def close(self) -> None:
        self._sessions.close()


def _close(session: Deque) -> None:
    session.cache.close()
