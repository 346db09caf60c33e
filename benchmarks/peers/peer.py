"""What a peer is asked for: the same few calls of all of them.

An adapter is a module in ``adapters/`` with a class ``Store`` that has these methods. It is imported in a process of its own
(``worker``), so that no peer pays for another's imports, threads or event loop. What a peer's public API does not offer
raises ``NotOffered`` with the reason in a few words: the table's cell says so. Nothing is rebuilt on top of a peer.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol


class NotOffered(Exception):
    """A peer's public API does not do this; the message says why, in a few words."""


class Peer(NamedTuple):
    """A peer in the table.

    Attributes:
        name: as the table shows it.
        module: the adapter below ``benchmarks.peers.adapters``.
        distribution: what pip installs; empty for the standard library and for bare system calls.
        is_floor: whether it is a floor, and no store of sessions.
        note: what of its configuration matters here, one sentence.
    """

    name: str
    module: str
    distribution: str
    is_floor: bool = False
    note: str = ""


class Store(Protocol):
    """A peer's store, in one process, over one folder. Another process may have the same folder open.

    A message is a role and a text of about 300 bytes; sessions are named by the caller.
    """

    def __init__(self, root: Path) -> None:
        """Open, or make, what is kept in a folder. Called in each process anew: what it costs is the cold open's."""

    def create(self, session_id: str) -> None:
        """Make an empty session, where the peer knows such a thing; else nothing."""

    def append(self, session_id: str, role: str, text: str) -> None:
        """Append one message. When this returns the peer has acknowledged it."""

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        """Append many, in the fastest way that the public API has: for filling; the append row does not use it."""

    def read_all(self, session_id: str) -> list[str]:
        """The texts of all messages, the oldest first, as this store object sees them now."""

    def read_last(self, session_id: str, count: int) -> list[str]:
        """The texts of the last messages, the oldest first."""

    def fork(self, session_id: str, new_id: str) -> None:
        """A second session, named ``new_id`` if the peer lets it be named, that begins with all messages of the first."""

    def set_title(self, session_id: str, title: str) -> None:
        """Give the session a title, or whatever of that kind the peer keeps with a session."""

    def title(self, session_id: str) -> str | None:
        """The title as this store object sees it now."""

    def list_sessions(self, count: int) -> list[str]:
        """The ids of so many sessions, the latest changed first where the peer has an order."""

    def search(self, word: str) -> int:
        """In how many messages of all sessions the word is found."""

    def close(self) -> None:
        """Let go of everything."""
