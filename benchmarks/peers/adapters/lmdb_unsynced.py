"""LMDB: a key is the session and a number, each put a transaction of its own, nothing synced. No store of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import lmdb
import orjson

from benchmarks.peers.adapters.parts import Partial

# Address space, and a sparse file.
_ROOM_SIZE_BYTES = 2**35
_NUMBER_SIZE_BYTES = 8
_END = b"\xff" * (_NUMBER_SIZE_BYTES + 1)


class Store(Partial):
    SYNC: ClassVar[bool] = False

    def __init__(self, root: Path) -> None:
        self._env: Any = lmdb.open(str(root / "lmdb"), map_size=_ROOM_SIZE_BYTES, sync=self.SYNC)

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        self._put(session_id, (orjson.dumps({"role": role, "content": text}) for role, text in messages))

    def read_all(self, session_id: str) -> list[str]:
        with self._env.begin() as transaction:
            return [orjson.loads(value)["content"] for value in _values(transaction, session_id)]

    def read_last(self, session_id: str, count: int) -> list[str]:
        prefix, found = _prefix(session_id), []
        with self._env.begin() as transaction:
            cursor = transaction.cursor()
            there = _to_last(cursor, prefix)
            while there and len(found) < count and cursor.key().startswith(prefix):
                found.append(orjson.loads(cursor.value())["content"])
                there = cursor.prev()
        return found[::-1]

    def fork(self, session_id: str, new_id: str) -> None:
        with self._env.begin() as transaction:
            values = list(_values(transaction, session_id))
        self._put(new_id, values)

    def close(self) -> None:
        self._env.close()

    def _put(self, session_id: str, values: Any) -> None:
        prefix = _prefix(session_id)
        with self._env.begin(write=True) as transaction:
            cursor = transaction.cursor()
            there = _to_last(cursor, prefix) and cursor.key().startswith(prefix)
            number = int.from_bytes(cursor.key()[len(prefix) :], "big") if there else 0
            for number, value in enumerate(values, number + 1):  # noqa: B020 - goes on from it
                transaction.put(prefix + number.to_bytes(_NUMBER_SIZE_BYTES, "big"), value)


def _prefix(session_id: str) -> bytes:
    return session_id.encode() + b"\0"


def _to_last(cursor: Any, prefix: bytes) -> bool:
    return bool(cursor.prev() if cursor.set_range(prefix + _END) else cursor.last())


def _values(transaction: Any, session_id: str) -> Iterator[bytes]:
    prefix = _prefix(session_id)
    cursor = transaction.cursor()
    there = cursor.set_range(prefix)
    while there and cursor.key().startswith(prefix):
        yield cursor.value()
        there = cursor.next()
