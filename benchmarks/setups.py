"""A session with a history, and the same in SQLite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.message import ROLE, text
from benchmarks.sqlite_peer import Peer
from hierstore import SessionStore
from hierstore.session import Session

SESSION = "conversation"
_CHUNK = 1_000


def fill(session: Session, numbers: Iterable[int], *, by_extend: bool = False) -> None:
    """Store messages one by one, or in commits of 1,000."""
    if not by_extend:
        for number in numbers:
            session.append(ROLE, text(number))
        return
    items = [{"role": ROLE, "content": text(number)} for number in numbers]
    for start in range(0, len(items), _CHUNK):
        session.extend(items[start : start + _CHUNK])


class Pair:
    """A store of one session and a database of one session, with the same messages, appended one by one.

    Args:
        folder: an empty folder.
        count: how many messages.
    """

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.root = str(folder / "store")
        self.database = str(folder / "peer.db")
        with SessionStore(self.root) as store:
            fill(store.create(SESSION), range(count))
        peer = Peer(self.database)
        peer.fill(SESSION, range(count))
        peer.close()

    @property
    def log(self) -> Path:
        """The session's log: ``sessions/<xx>/<id>.jsonl``, as the format page says."""
        (path,) = (Path(self.root) / "sessions").glob(f"*/{SESSION}.jsonl")
        return path
