"""The logs that are kept open: opening one costs more than appending to it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hierstore.disk import files, locks, refusals

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry


class OpenLogs:
    """A store's open logs, at most ``files.MAX_OPEN_LOGS``; a log's stripe is held by whoever asks for it.

    Args:
        root: the store's folder, for errors.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._order: dict[Entry, None] = {}
        self._lock = threading.Lock()
        self.is_closed = False

    def fd(self, entry: Entry, found: os.stat_result) -> int:
        """A descriptor of the log that ``found`` describes.

        Raises:
            SessionNotFound, UnreadableLog, StoreClosed.
        """
        if entry.fd >= 0 and entry.file == (found.st_dev, found.st_ino):
            return entry.fd
        self.close(entry)
        with self._lock:
            if self.is_closed:
                raise refusals.closed(self._root)
            if len(self._order) >= files.MAX_OPEN_LOGS:
                self._close_another(entry)
            try:
                entry.fd = files.open_regular(entry.path, files.APPEND)
            except FileNotFoundError:
                raise refusals.not_found(entry.id) from None
            except OSError as error:
                raise refusals.unreadable(error, entry.id, entry.path) from error
            entry.file = (found.st_dev, found.st_ino)
            self._order[entry] = None
        return entry.fd

    def _close_another(self, keep: Entry) -> None:
        for entry in list(self._order):
            mutex = entry.stripe.mutex
            if entry.stripe is keep.stripe:
                # The caller holds this stripe itself.
                self._close(entry)
                return
            if mutex.acquire(False):
                self._close(entry)
                mutex.release()
                return

    def close(self, entry: Entry) -> None:
        """Close the entry's descriptor, if it has one."""
        if entry.fd >= 0:
            with self._lock:
                self._close(entry)

    def _close(self, entry: Entry) -> None:
        fd, entry.fd = entry.fd, -1
        self._order.pop(entry, None)
        if fd >= 0:
            files.close(fd)

    def close_all(self) -> None:
        """Open no more, and close every descriptor once its stripe's holder is done with it."""
        with self._lock:
            self.is_closed = True
            entries = list(self._order)
        for entry in entries:
            # Not under another thread's hands: the number may be another file's a moment later.
            mutex = entry.stripe.mutex
            if mutex.acquire(timeout=locks.CLOSING_S):
                try:
                    self.close(entry)
                finally:
                    mutex.release()

    def before_fork(self) -> None:
        """Let no descriptor be half opened while the process forks."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Close the parent's descriptors: they share one file position, and one lock."""
        self._lock = threading.Lock()
        for entry in list(self._order):
            self._close(entry)
