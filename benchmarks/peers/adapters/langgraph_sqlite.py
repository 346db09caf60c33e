"""SqliteSaver of LangGraph: a thread is a row of checkpoints, and each holds the whole state.

A graph reads the last checkpoint and puts a new one, step by step; so does the adapter, without a graph. Messages are plain
dictionaries, which cost the serializer less than message objects. A title is a value of the state. Of two processes that read
the same checkpoint, the later one's state is the thread's, and the earlier one's messages are not in it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.peers.adapters.parts import PATIENCE_S, Partial, lacking


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._connection = sqlite3.connect(root / "checkpoints.sqlite", check_same_thread=False, timeout=PATIENCE_S)
        self._saver = SqliteSaver(self._connection)

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        last = self._last(session_id)
        added = [{"role": role, "content": text} for role, text in messages]
        self._put(session_id, last, "messages", [*_values(last).get("messages", []), *added])

    def read_all(self, session_id: str) -> list[str]:
        return [message["content"] for message in _values(self._last(session_id)).get("messages", [])]

    def fork(self, session_id: str, new_id: str) -> None:  # noqa: ARG002
        lacking("branches stay in their thread; this saver has no copy_thread")

    def set_title(self, session_id: str, title: str) -> None:
        self._put(session_id, self._last(session_id), "title", title)

    def title(self, session_id: str) -> str | None:
        return _values(self._last(session_id)).get("title")

    def list_sessions(self, count: int) -> list[str]:
        """It lists checkpoints and not threads, so those of one thread are passed over."""
        threads: dict[str, None] = {}
        for checkpoint in self._saver.list(None):
            threads.setdefault(checkpoint.config["configurable"]["thread_id"])
            if len(threads) == count:
                break
        return list(threads)

    def close(self) -> None:
        self._connection.close()

    def _last(self, session_id: str) -> CheckpointTuple | None:
        return self._saver.get_tuple(_thread(session_id))

    def _put(self, session_id: str, last: CheckpointTuple | None, channel: str, value: Any) -> None:
        checkpoint = empty_checkpoint()
        versions = dict(last.checkpoint["channel_versions"]) if last else {}
        version = self._saver.get_next_version(versions.get(channel), None)
        checkpoint["channel_values"] = _values(last) | {channel: value}
        checkpoint["channel_versions"] = versions | {channel: version}
        step = last.metadata["step"] + 1 if last else 0
        metadata: Any = {"source": "update", "step": step, "parents": {}}
        self._saver.put(last.config if last else _thread(session_id), checkpoint, metadata, {channel: version})


def _thread(session_id: str) -> Any:
    return {"configurable": {"thread_id": session_id, "checkpoint_ns": ""}}


def _values(checkpoint: CheckpointTuple | None) -> dict[str, Any]:
    return checkpoint.checkpoint["channel_values"] if checkpoint else {}
