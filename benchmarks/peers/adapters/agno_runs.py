"""Agno's sessions, over either of its stores: a session is a row, and each run of an agent another, with its messages.

A message is a run of its own here, and what fills a session is one run: of what an agent stores at the end of a run, only
the run is written, which its documentation calls the fast way.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from agno.db.base import BaseDb, SessionType
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session import AgentSession

from benchmarks.peers.adapters.parts import Partial

_AGENT = "assistant"


class AgnoStore(Partial):
    """What the adapters of both stores share.

    Args:
        database: one of Agno's.
        of_lists: what ``get_sessions`` is told beyond how many, so that it need not read every run too.
    """

    def __init__(self, database: BaseDb, **of_lists: Any) -> None:
        self._db = database
        self._of_lists = of_lists
        self._known: set[str] = set()

    def create(self, session_id: str) -> None:
        if self._db.get_session(session_id, SessionType.AGENT, runs_limit=1) is None:
            self._db.upsert_session(AgentSession(session_id=session_id, agent_id=_AGENT))
        self._known.add(session_id)

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        if session_id not in self._known:
            self.create(session_id)  # A run needs its session's row.
        run = RunOutput(
            run_id=str(uuid4()),
            agent_id=_AGENT,
            session_id=session_id,
            messages=[Message(role=role, content=text) for role, text in messages],
            status=RunStatus.completed,
        )
        self._db.upsert_run(run, session_id)

    def read_all(self, session_id: str) -> list[str]:
        return self._texts(session_id, None)

    def read_last(self, session_id: str, count: int) -> list[str]:
        return self._texts(session_id, count)[-count:]

    def set_title(self, session_id: str, title: str) -> None:
        self._db.rename_session(session_id, SessionType.AGENT, title)

    def title(self, session_id: str) -> str | None:
        session = self._db.get_session(session_id, SessionType.AGENT, runs_limit=1)
        return session and (session.session_data or {}).get("session_name")

    def list_sessions(self, count: int) -> list[str]:
        sessions: Any = self._db.get_sessions(
            SessionType.AGENT, limit=count, sort_by="updated_at", sort_order="desc", **self._of_lists
        )
        return [session.session_id for session in sessions]

    def close(self) -> None:
        self._db.close()

    def _texts(self, session_id: str, last_runs: int | None) -> list[str]:
        session: Any = self._db.get_session(session_id, SessionType.AGENT, runs_limit=last_runs)
        # Not its get_messages, which shows a system message once.
        return [message.content for run in session.runs or [] for message in run.messages] if session else []
