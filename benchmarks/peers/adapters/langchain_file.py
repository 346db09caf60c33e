"""FileChatMessageHistory of LangChain: a JSON file a session, read and written over in place for each message.

Nothing locks it: a reader may find half a file, and of two writers one loses its message.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from langchain_community.chat_message_histories import FileChatMessageHistory
from langchain_core.messages import ChatMessage, messages_to_dict

from benchmarks.peers.adapters.parts import Kept, Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._root = root
        self._sessions = Kept(self._open)

    def _open(self, session_id: str) -> FileChatMessageHistory:
        return FileChatMessageHistory(str(self._path(session_id)), encoding="utf-8")

    def _path(self, session_id: str) -> Path:
        return self._root / f"{quote(session_id, safe='')}.json"

    def create(self, session_id: str) -> None:
        self._open(session_id)

    def append(self, session_id: str, role: str, text: str) -> None:
        self._sessions[session_id].add_message(ChatMessage(role=role, content=text))

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        """Writes what ``add_messages`` would leave, at once: that one writes the file once for each message."""
        added = [ChatMessage(role=role, content=text) for role, text in messages]
        stored = messages_to_dict([*self._sessions[session_id].messages, *added])
        self._path(session_id).write_text(json.dumps(stored), encoding="utf-8")

    def read_all(self, session_id: str) -> list[str]:
        return [message.content for message in self._sessions[session_id].messages]
