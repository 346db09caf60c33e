"""What the command remembers of a store between two calls: the last listing's ids, and the session used last.

It is kept in the user's state folder, not in the store, which may be read-only or shared. Losing it loses nothing: where it
cannot be read or written there is no last listing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MOST = 10_000


class Memory:
    """What is remembered of one store.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        from platformdirs import user_state_dir

        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
        self._path = os.path.join(user_state_dir("hierstore", appauthor=False), f"{name}.json")

    @property
    def listed(self) -> list[str]:
        """The ids of the last listing, in its order."""
        found = self._read().get("listed")
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    @property
    def used(self) -> str | None:
        """The session that was named or made last."""
        found = self._read().get("used")
        return found if isinstance(found, str) else None

    def list(self, ids: Sequence[str]) -> None:
        """Remember a listing."""
        self._write({**self._read(), "listed": list(ids[:_MOST])})

    def use(self, session_id: str) -> None:
        """Remember a session as the last one."""
        known = self._read()
        if known.get("used") != session_id:
            self._write({**known, "used": session_id})

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, known: dict[str, Any]) -> None:
        scratch = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            _write_new(scratch, known)
            os.replace(scratch, self._path)
        except OSError:
            return


def _write_new(path: str, known: dict[str, Any]) -> None:
    """Write a file that nobody else has open; a dead process of this number may have left one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(known, file)
    except BaseException:
        os.unlink(path)
        raise
