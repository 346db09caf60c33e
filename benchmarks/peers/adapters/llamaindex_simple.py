"""SimpleChatStore of LlamaIndex: all sessions in memory, and written to one file as a whole by ``persist``.

A message is stored when that has returned. The file is read once, when the store is opened: nothing that another process
stores later is ever seen, and the next ``persist`` writes over it.
"""

from __future__ import annotations

from pathlib import Path

from llama_index.core.llms import ChatMessage
from llama_index.core.storage.chat_store import SimpleChatStore

from benchmarks.peers.adapters.parts import Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._path = str(root / "chat_store.json")
        self._store = SimpleChatStore.from_persist_path(self._path)

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        for role, text in messages:
            self._store.add_message(session_id, ChatMessage(role=role, content=text))
        self._store.persist(self._path)

    def read_all(self, session_id: str) -> list[str]:
        return [message.content or "" for message in self._store.get_messages(session_id)]

    def list_sessions(self, count: int) -> list[str]:
        return self._store.get_keys()[:count]
