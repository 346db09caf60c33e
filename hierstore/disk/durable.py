"""Bringing commits to the medium, after their locks are gone and before their callers are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hierstore.disk import files, refusals
from hierstore.errors import DurabilityError

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.descriptors import OpenLogs


def sync_and_close(entry: Entry, fd: int) -> None:
    """Sync a descriptor of a log and close it; a failure poisons the entry.

    Never tried again: the kernel may have dropped the pages, and would report success.

    Raises:
        DurabilityError: the sync failed.
    """
    try:
        files.sync(fd)
    except OSError as error:
        entry.poisoned = True
        raise refusals.not_durable(entry, error.errno or 0, error.strerror or "") from error
    finally:
        files.close(fd)


def keep_for_sync(entry: Entry, fd: int) -> int:
    """A second descriptor of a log, to sync when its lock is gone; -1 when there is none to be had and it was synced.

    Raises:
        DurabilityError: the sync failed.
    """
    try:
        return files.dup(fd)
    except OSError:
        try:
            files.sync(fd)
        except OSError as error:
            entry.poisoned = True
            raise refusals.not_durable(entry, error.errno or 0, error.strerror or "") from error
        return -1


class Durable:
    """What a multi-session commit has written, to be synced when its locks are gone."""

    def __init__(self, logs: OpenLogs, subject: Entry, *, power: bool) -> None:
        self._logs = logs
        self._subject = subject
        self._power = power
        self._files: dict[Entry, int] = {}
        self._directories: dict[bytes, None] = {}

    def add(self, entry: Entry) -> None:
        """Sync this session's log; call while its stripe is held."""
        if self._power and entry not in self._files:
            fd = keep_for_sync(entry, self._logs.fd(entry, files.stat(entry.path)))
            if fd >= 0:
                self._files[entry] = fd

    def add_directory(self, path: bytes) -> None:
        """Sync this directory."""
        if self._power:
            self._directories[path] = None

    def sync(self) -> None:
        """Bring it all to the medium.

        Raises:
            DurabilityError: some of it failed; all of it was tried once.
        """
        failure: DurabilityError | None = None
        while self._files:
            entry, fd = self._files.popitem()
            try:
                sync_and_close(entry, fd)
            except DurabilityError as error:
                failure = error
        for path in self._directories:
            try:
                files.sync_directory(path)
            except OSError as error:
                failure = refusals.folder_not_durable(self._subject.id, path, error)
        self._directories.clear()
        if failure is not None:
            raise failure

    def abandon(self) -> None:
        """Close what was opened for the sync: the call has failed anyway."""
        for fd in self._files.values():
            files.close(fd)
        self._files.clear()
