"""What tests of several rooms share: looking at a store's folder from outside, and building logs without a store."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierstore.log import frame
from hierstore.log.events import Draft, commit, event, header, message_commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hierstore import Session, SessionStore


def texts(session: Any) -> list[Any]:
    """The contents of a session's messages."""
    return [message.content for message in session.messages]


def log_of(store: SessionStore, session_id: str) -> Path:
    """Where a session's log is, or would be."""
    return Path(os.fsdecode(store._engine.layout.log(session_id)))


def lines_of(store: SessionStore, session_id: str) -> list[dict[str, Any]]:
    """Every line of a session's log, as JSON."""
    return [json.loads(line) for line in log_of(store, session_id).read_text().splitlines()]


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder: the permissions of each name, and the bytes of each file.

    Without ``locks/``: its files are empty and made when a stripe is first taken, also by a call that is refused.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not name.startswith("locks/"):
            mode = path.lstat().st_mode
            found[name] = (mode, path.read_bytes() if stat.S_ISREG(mode) else b"")
    return found


def holding(root: Path, needle: str) -> list[str]:
    """The files below a folder that hold some text, in their bytes or their name."""
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if needle in path.name or (path.is_file() and needle.encode() in path.read_bytes())
    ]


def fill(session: Session, *contents: Any) -> Session:
    """Append user messages."""
    for content in contents:
        session.append("user", content)
    return session


class LogBuilder:
    """A log made of pure functions alone.

    Attributes:
        lines: the sealed lines, the header first.
        chain: the chain value at their end.
    """

    def __init__(self, session_id: str = "s", nonce: str = "0123456789abcdef") -> None:
        self.lines: list[bytes] = []
        self.chain = 0
        self._messages = 0
        self.seal(header(session_id, nonce, 1.0))
        self.commit(event("created", title="a title", title_source="user", metadata={"k": [1]}, labels=["x"]))

    def seal(self, body: bytes) -> None:
        """Add any line."""
        line, self.chain = frame.seal(body, self.chain)
        self.lines.append(line)

    def commit(self, *events: dict[str, Any]) -> None:
        """Add a commit of events."""
        self.seal(commit(events, len(self.lines), 2.0 + len(self.lines)))

    def messages(self, *items: tuple[str, Any], ids: Sequence[str] = ()) -> None:
        """Add a commit of messages, given as (role, content)."""
        names = ids or [f"m{self._messages + number}" for number in range(1, len(items) + 1)]
        at = 2.0 + len(self.lines)
        drafts = [
            Draft(name, role, content, at, None, False) for name, (role, content) in zip(names, items, strict=True)
        ]
        self.seal(message_commit(drafts, self._messages + 1, len(self.lines)))
        self._messages += len(items)

    @property
    def data(self) -> bytes:
        """The whole log."""
        return b"".join(self.lines)

    @property
    def ends(self) -> list[int]:
        """Where each line ends."""
        ends, end = [], 0
        for line in self.lines:
            end += len(line)
            ends.append(end)
        return ends


def sample_log() -> LogBuilder:
    """A short log with a line of every shape."""
    log = LogBuilder()
    log.messages(("user", "hello"))
    log.messages(("assistant", [{"type": "text", "text": "a \u00e9 \U0001f600"}]))
    log.commit(event("title", title="another", source="user"))
    log.messages(("user", "one"), ("assistant", "two"), ("tool", "three"))
    log.commit(event("snapshot", id="snap", label="here", metadata={}))
    log.commit(event("reverted", revision=3, count=2))
    log.commit({"type": "from_the_future", "x": 1})
    log.messages(("user", "last but one"))
    log.messages(("user", "last"))
    return log
