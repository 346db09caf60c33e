"""PraisonAI's HierarchicalSessionStore: a JSON file a session, written anew for each message, under a lock.

``keep_all``, because by default it keeps 100 messages and puts a summary in the place of the others. ``add_message`` and
``set_title`` say False, and raise nothing, where nothing was stored: the adapter raises then.
"""

from __future__ import annotations

from pathlib import Path

from praisonaiagents.session.hierarchy import HierarchicalSessionStore

from benchmarks.peers.adapters.parts import EVERY, PATIENCE_S, Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._store = HierarchicalSessionStore(
            session_dir=str(root / "sessions"), retention="keep_all", lock_timeout=PATIENCE_S
        )
        # It names forks itself.
        self._forks: dict[str, str] = {}

    def create(self, session_id: str) -> None:
        self._store.create_session(session_id)

    def append(self, session_id: str, role: str, text: str) -> None:
        _acknowledged(self._store.add_message(self._named(session_id), role, text))

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        before = self._store.get_chat_history(session_id)
        added = [{"role": role, "content": text} for role, text in messages]
        _acknowledged(self._store.set_chat_history(session_id, [*before, *added]))

    def read_all(self, session_id: str) -> list[str]:
        return [message["content"] for message in self._store.get_chat_history(self._named(session_id))]

    def read_last(self, session_id: str, count: int) -> list[str]:
        history = self._store.get_chat_history(self._named(session_id), max_messages=count)
        return [message["content"] for message in history]

    def fork(self, session_id: str, new_id: str) -> None:
        self._forks[new_id] = self._store.fork_session(session_id)

    def set_title(self, session_id: str, title: str) -> None:
        _acknowledged(self._store.set_title(self._named(session_id), title))

    def title(self, session_id: str) -> str | None:
        return self._store.get_extended_session(self._named(session_id)).title

    def list_sessions(self, count: int) -> list[str]:
        return [session["session_id"] for session in self._store.list_sessions(limit=count)]

    def search(self, word: str) -> int:
        """It finds sessions and not messages, so this is the number of sessions."""
        return len(self._store.search(word, limit=EVERY))

    def _named(self, session_id: str) -> str:
        return self._forks.get(session_id, session_id)


def _acknowledged(stored: bool) -> None:
    if not stored:
        raise RuntimeError("The store answered False: nothing was stored.")
