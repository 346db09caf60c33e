"""The bare system calls: flock, stat, write, fstat, unlock, on descriptors that are kept. What any store of logs pays at least.

The line is the message as JSON, so that what is read can be looked at. No store of sessions: no titles, no index, no checks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import orjson

from benchmarks.floor import fcntl, read_whole
from benchmarks.peers.adapters.parts import Kept, Partial


class _Log(NamedTuple):
    path: bytes
    fd: int
    lock_fd: int


class Store(Partial):
    def __init__(self, root: Path) -> None:
        self._root = root
        self._logs: Kept[_Log] = Kept(self._open, _close)

    def _open(self, session_id: str) -> _Log:
        path = self._path(session_id)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        return _Log(path, fd, os.open(path + b".lock", os.O_RDWR | os.O_CREAT, 0o600))

    def _path(self, session_id: str) -> bytes:
        return os.fsencode(self._root / quote(session_id, safe=""))

    def append(self, session_id: str, role: str, text: str) -> None:
        self.extend(session_id, [(role, text)])

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        log = self._logs[session_id]
        data = b"".join(orjson.dumps({"role": role, "content": text}) + b"\n" for role, text in messages)
        if fcntl:
            fcntl.flock(log.lock_fd, fcntl.LOCK_EX)
        os.stat(log.path)
        os.write(log.fd, data)
        os.fstat(log.fd)
        if fcntl:
            fcntl.flock(log.lock_fd, fcntl.LOCK_UN)

    def read_all(self, session_id: str) -> list[str]:
        lines = read_whole(self._logs[session_id].path).splitlines()
        if lines and lines[0].startswith(b'{"past'):
            past = read_whole(self._path(session_id) + b".past")[: orjson.loads(lines[0])["past"]]
            lines[:1] = past.splitlines()
        return [orjson.loads(line)["content"] for line in lines]

    def fork(self, session_id: str, new_id: str) -> None:
        """The calls of ``floor.fork``: a link of the log, and a small file that says how much of it counts. Once only."""
        log, target = self._logs[session_id], self._path(new_id)
        os.link(log.path, target + b".past")
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, orjson.dumps({"past": os.fstat(log.fd).st_size}) + b"\n")
        os.close(fd)

    def close(self) -> None:
        self._logs.close()


def _close(log: _Log) -> None:
    os.close(log.fd)
    os.close(log.lock_fd)
