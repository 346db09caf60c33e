"""Which logs changed since they were last asked after: the system's own queue of changes, read by whoever asks.

Linux puts an event in an inotify queue before the call that made it returns (``fsnotify`` in the kernel's ``vfs_write``,
``vfs_rename``, …). So who empties the queue knows of every change that was finished before, in whatever process, and a
look at a hundred thousand logs becomes one call. watchdog (``observer.py``) cannot give that: its events come through
threads, and nobody can tell how many are still on their way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from hierstore.disk import files, mounts

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _IS_FOLDER = 0x4000, 0x8000, 0x40000000
_ONLY_FOLDERS, _NOT_THROUGH_LINKS = 0x01000000, 0x02000000
_CHANGES = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_FOLDERS | _NOT_THROUGH_LINKS
_EVENT = struct.Struct("iIII")
_READ_BYTES = 2**16
_MAX_QUEUES = 32
_MAX_PATHS = 2_000
# Windows has no such numbers, and gets no queue.
_PLACES = f"\0hierstore-news-{getattr(os, 'getuid', int)()}-%d"


class News:
    """What changes in ``sessions/`` and ``trash/`` from now on. One thread at a time.

    A user has a few queues for all programs (128, mostly), so no more than 32 processes of a user get one.

    Args:
        sessions: the folder of the folders of logs.
        trash: the folder of deleted ones.

    Raises:
        OSError: there is none to be had: not on this system, on a file system that other machines may change, or no
            more of them.
    """

    def __init__(self, sessions: bytes, trash: bytes) -> None:
        self._sessions = sessions
        self._trash = trash
        self._fd = -1
        self._folders: dict[int, bytes] = {}
        if not mounts.is_local(sessions) or not mounts.is_local(trash):
            raise OSError(errno.ENOTSUP, "others may change it unseen")
        self._place = _take_place()
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), sessions)
            # Before what is below it: a folder that is made meanwhile is told of.
            for folder in (sessions, trash):
                self._watch(folder)
            self._watch_below()
            self._identity = self._identities()
        except BaseException:
            self.close()
            raise

    def changed(self) -> set[bytes] | None:
        """The logs that may have changed since the last call, and folders where any may have, as paths.

        None when that is not known, and everything is to be looked at.

        Raises:
            OSError: it is of no more use: the folders are others now, or the system does not let them be watched.
        """
        if self._identities() != self._identity:
            raise OSError(errno.ESTALE, "the folders were replaced")
        paths: set[bytes] = set()
        is_known = True
        while data := self._maybe_read():
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = data[at : at + length].rstrip(b"\0")
                at += length
                if not self._take(watch, mask, name, paths):
                    is_known = False
        if not is_known:
            # Folders may have been made of which nobody told.
            self._watch_below()
        return paths if is_known and len(paths) <= _MAX_PATHS else None

    def _take(self, watch: int, mask: int, name: bytes, paths: set[bytes]) -> bool:
        """Note an event; False when others were lost."""
        if mask & _OVERFLOW:
            return False
        folder = self._folders.get(watch)
        if folder is None:
            return True
        if mask & _IGNORED:
            del self._folders[watch]
            paths.add(folder)
            return True
        path = folder + b"/" + name if name else folder
        paths.add(path)
        if mask & _IS_FOLDER and mask & (_CREATE | _MOVED_TO) and folder == self._sessions:
            # Logs that are in it already are found by who looks at it.
            self._watch_one_below(path)
        return True

    def _maybe_read(self) -> bytes:
        try:
            return os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return b""

    def _identities(self) -> list[tuple[int, int]]:
        return [(found.st_dev, found.st_ino) for found in map(files.stat, (self._sessions, self._trash))]

    def _watch_below(self) -> None:
        for name in files.names(self._sessions):
            self._watch_one_below(self._sessions + b"/" + name)

    def _watch_one_below(self, path: bytes) -> None:
        try:
            self._watch(path)
        except (FileNotFoundError, NotADirectoryError):
            # Gone again, which is told of too, or no folder; what a link leads to is no folder of the store's.
            return

    def _watch(self, folder: bytes) -> None:
        watch = self._libc.inotify_add_watch(self._fd, ctypes.c_char_p(folder), ctypes.c_uint32(_CHANGES))
        self._folders[self._checked(watch, folder)] = folder

    @staticmethod
    def _checked(result: int, path: bytes) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fsdecode(path))
        return result

    def close(self) -> None:
        """Give the queue back; calling it again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            files.close(fd)
        self._place.close()

    def __del__(self) -> None:
        if hasattr(self, "_place"):
            self.close()


def _take_place() -> socket.socket:
    """One of the queues that a user's programs may have: a name that the system takes back when a process ends.

    Raises:
        OSError: all are taken.
    """
    place = socket.socket(getattr(socket, "AF_UNIX", socket.AF_INET), socket.SOCK_DGRAM)
    for number in range(_MAX_QUEUES):
        try:
            place.bind(_PLACES % number)
        except OSError:
            continue
        return place
    place.close()
    raise OSError(errno.EMFILE, "too many processes list stores")
