"""SqliteDb of Agno: SQLAlchemy over SQLite, WAL, synchronous FULL. It waits 5 s for another process."""

from __future__ import annotations

from pathlib import Path

from agno.db.sqlite import SqliteDb

from benchmarks.peers.adapters.agno_runs import AgnoStore


class Store(AgnoStore):
    def __init__(self, root: Path) -> None:
        super().__init__(SqliteDb(db_file=str(root / "agno.db")), include_runs=False)
