"""FileSessionManager of Strands Agents: a JSON file a message, whose number is in its name.

A manager belongs to one agent of one session. It counts the messages in memory from when the agent was made, so two processes
give the same numbers, and the file of the one takes the place of the other's. An agent needs a model: this one has a dumb one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from strands import Agent
from strands.models import Model
from strands.session.file_session_manager import FileSessionManager

from benchmarks.peers.adapters.parts import Kept, Partial

_AGENT = "assistant"


class _Dumb(Model):
    def update_config(self, **model_config: Any) -> None:
        pass

    def get_config(self) -> Any:
        return {}

    def structured_output(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def stream(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError


class _Open(NamedTuple):
    manager: FileSessionManager
    agent: Agent


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._folder = str(root / "sessions")
        self._model = _Dumb()
        self._sessions = Kept(self._open)

    def _open(self, session_id: str) -> _Open:
        manager = FileSessionManager(session_id, storage_dir=self._folder)
        agent = Agent(model=self._model, agent_id=_AGENT, session_manager=manager, callback_handler=None)
        # It has read all messages, and with its first answer would keep the last 40: each sync goes over what it keeps.
        agent.conversation_manager.apply_management(agent)
        return _Open(manager, agent)

    def create(self, session_id: str) -> None:
        self._sessions[session_id]

    def append(self, session_id: str, role: str, text: str) -> None:
        manager, agent = self._sessions[session_id]
        # Both, because the manager hooks both into each message.
        manager.append_message({"role": role, "content": [{"text": text}]}, agent)
        manager.sync_agent(agent)

    def read_all(self, session_id: str) -> list[str]:
        stored = self._sessions[session_id].manager.list_messages(session_id, _AGENT)
        return [message.to_message()["content"][0]["text"] for message in stored]

    def set_title(self, session_id: str, title: str) -> None:
        manager, agent = self._sessions[session_id]
        agent.state.set("title", title)
        manager.sync_agent(agent)

    def title(self, session_id: str) -> str | None:
        stored = self._sessions[session_id].manager.read_agent(session_id, _AGENT)
        return None if stored is None else stored.state.get("title")
