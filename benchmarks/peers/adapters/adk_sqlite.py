"""SqliteSessionService of Google's ADK: events in SQLite, a new connection on a thread of its own for each call.

A message is appended to a session object. Where another process has appended since that was read, the service refuses it as
stale, and whoever calls must read it again and try again; so does the adapter. A title is a value of the session's state.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.events import Event, EventActions
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai.types import Content, Part

from benchmarks.peers.adapters.parts import PATIENCE_S, Kept, Loop, Partial

_OWNER = {"app_name": "benchmark", "user_id": "user"}


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._loop = Loop()
        self._service = SqliteSessionService(str(root / "sessions.db"))
        self._sessions = Kept(self._read_or_create)

    def create(self, session_id: str) -> None:
        self._sessions[session_id]

    def append(self, session_id: str, role: str, text: str) -> None:
        content = Content(role=role, parts=[Part(text=text)])
        self._append(session_id, Event(author=role, content=content))

    def read_all(self, session_id: str) -> list[str]:
        return _texts(self._read(session_id, None))

    def read_last(self, session_id: str, count: int) -> list[str]:
        session = self._read(session_id, count)
        texts = _texts(session)
        # It counts events, and one that sets the title has no text.
        cut = session is not None and len(session.events) == count > len(texts)
        return self.read_all(session_id)[-count:] if cut else texts

    def set_title(self, session_id: str, title: str) -> None:
        self._append(session_id, Event(author="user", actions=EventActions(state_delta={"title": title})))

    def title(self, session_id: str) -> str | None:
        return self._read(session_id, 0).state.get("title")

    def list_sessions(self, count: int) -> list[str]:
        """It gives all of them, the latest changed last."""
        listed = self._loop.run(self._service.list_sessions(**_OWNER)).sessions
        return [session.id for session in reversed(listed[-count:])]

    def close(self) -> None:
        self._loop.run(self._service.close())
        self._loop.close()

    def _read(self, session_id: str, count: int | None) -> Any:
        config = GetSessionConfig(num_recent_events=count)
        return self._loop.run(self._service.get_session(**_OWNER, session_id=session_id, config=config))

    def _read_or_create(self, session_id: str) -> Any:
        found = self._read(session_id, 0)
        if found is not None:
            return found
        try:
            return self._loop.run(self._service.create_session(**_OWNER, session_id=session_id))
        except AlreadyExistsError:  # Another process was faster.
            return self._read(session_id, 0)

    def _append(self, session_id: str, event: Event) -> None:
        session = self._sessions[session_id]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._loop.run(self._service.append_event(session, event))
            except StaleSessionError:
                if time.monotonic() > deadline:
                    raise
                session.last_update_time = self._read(session_id, 0).last_update_time
            else:
                return


def _texts(session: Any) -> list[str]:
    return [event.content.parts[0].text for event in session.events if event.content] if session else []
