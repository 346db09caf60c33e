"""JsonDb of Agno: all sessions in one JSON file and all runs in another, each written anew for each message.

Nothing locks them: of two writers one loses its message, and not only where both are on the same session.
"""

from __future__ import annotations

from pathlib import Path

from agno.db.json import JsonDb

from benchmarks.peers.adapters.agno_runs import AgnoStore


class Store(AgnoStore):
    def __init__(self, root: Path) -> None:
        super().__init__(JsonDb(db_path=str(root / "agno")))
