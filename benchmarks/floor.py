"""The floor: the bare system calls without which no store could do the work, on descriptors that are kept open."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows: the floor is then the calls without the lock
    fcntl = None  # type: ignore[assignment]

APPEND = "flock, stat, write, fstat, unlock on kept descriptors" if fcntl else "stat, write, fstat on kept descriptors"
APPEND_POWER = "write, fdatasync" if hasattr(os, "fdatasync") else "write, fsync"
DELTA = "flock, stat, pread of the new line, fstat, unlock" if fcntl else "stat, pread of the new line, fstat"
COLD = "open, read, close of the log"
FORK = "link of the log; create, write, close of a small file"

LINE_SIZE_BYTES = 450
"""About a log line of a 300-byte message."""

_ROOM_SIZE_BYTES = 2**20

_sync = getattr(os, "fdatasync", os.fsync)


class Floor:
    """A file and a lock file beside it.

    Args:
        path: the file, made if it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsencode(path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock_fd = os.open(self.path + b".lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._room_fd = os.open(self.path + b".room", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._room_fd, bytes(_ROOM_SIZE_BYTES + LINE_SIZE_BYTES), 0)
        self._place = 0
        self._line = b"x" * (LINE_SIZE_BYTES - 1) + b"\n"

    def append(self) -> None:
        """What an append costs at least; waits where another process has the lock."""
        if fcntl:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        os.stat(self.path)
        os.write(self._fd, self._line)
        os.fstat(self._fd)
        if fcntl:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def append_synced(self) -> None:
        """What an append that survives a power cut costs at least."""
        os.write(self._fd, self._line)
        _sync(self._fd)

    def overwrite_synced(self) -> None:
        """The same within the size that the file has had from before: no new size for the file system to note."""
        os.pwrite(self._room_fd, self._line, self._place)
        _sync(self._room_fd)
        self._place = (self._place + LINE_SIZE_BYTES) % _ROOM_SIZE_BYTES

    def read_last(self) -> bytes:
        """What it costs at least to pick up one new line."""
        if fcntl:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        size = os.stat(self.path).st_size
        data = os.pread(self._fd, LINE_SIZE_BYTES, size - LINE_SIZE_BYTES)
        os.fstat(self._fd)
        if fcntl:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return data

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self._fd)
        os.close(self._lock_fd)
        os.close(self._room_fd)


def read_whole(path: bytes) -> bytes:
    """What it costs at least to read a file once."""
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, os.fstat(fd).st_size)
    os.close(fd)
    return data


def fork(path: bytes, target: bytes) -> None:
    """What it costs at least to share a file's bytes and note it."""
    os.link(path, target + b".past")
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, b"x" * LINE_SIZE_BYTES)
    os.close(fd)
