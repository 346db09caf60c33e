"""FileHistoryProvider of Microsoft's Agent Framework: a JSON Lines file a session, appended to.

Before it appends it reads and decodes the whole file, to leave out messages that are there already; and its documentation
says that nothing locks the file against another process.
"""

from __future__ import annotations

from pathlib import Path

from agent_framework import FileHistoryProvider, Message

from benchmarks.peers.adapters.parts import Loop, Partial


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._loop = Loop()
        self._provider = FileHistoryProvider(root / "history")

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        added = [Message(role, [text]) for role, text in messages]
        self._loop.run(self._provider.save_messages(session_id, added))

    def read_all(self, session_id: str) -> list[str]:
        return [message.text for message in self._loop.run(self._provider.get_messages(session_id))]

    def close(self) -> None:
        self._loop.close()
