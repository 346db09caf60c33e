"""hierstore, with its default promise: what was acknowledged survives the death of every process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from benchmarks.peers.adapters.parts import PATIENCE_S, Kept
from hierstore import SessionStore


class Store:
    """A store, and a handle for each of the sessions used last."""

    DURABILITY: ClassVar[Literal["process", "power"]] = "process"

    def __init__(self, root: Path) -> None:
        self._store = SessionStore(root / "store", durability=self.DURABILITY, lock_timeout_s=PATIENCE_S)
        self._sessions = Kept(self._store.get_or_create)

    def create(self, session_id: str) -> None:
        self._sessions[session_id]

    def append(self, session_id: str, role: str, text: str) -> None:
        self._sessions[session_id].append(role, text)

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        self._sessions[session_id].extend([{"role": role, "content": text} for role, text in messages])

    def read_all(self, session_id: str) -> list[str]:
        return [message.content for message in self._sessions[session_id].messages]

    def read_last(self, session_id: str, count: int) -> list[str]:
        return [message.content for message in self._sessions[session_id].messages[-count:]]

    def fork(self, session_id: str, new_id: str) -> None:
        self._sessions[session_id].fork(new_id)

    def set_title(self, session_id: str, title: str) -> None:
        self._sessions[session_id].set_title(title)

    def title(self, session_id: str) -> str | None:
        return self._sessions[session_id].title

    def list_sessions(self, count: int) -> list[str]:
        return [info.id for info in self._store.sessions(limit=count).items]

    def search(self, word: str) -> int:
        page = self._store.search(word, limit=1000)
        found = len(page.items)
        while page.next is not None:
            page = self._store.search(word, limit=1000, after=page.next)
            found += len(page.items)
        return found

    def close(self) -> None:
        self._store.close()
