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
        files.let_go(fd)


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
    """What a commit under several locks has written, and how much of it has to be on the medium when.

    Args:
        logs: where descriptors come from.
        subject: whose failure it is.
        power: whether all of it must be there before the caller is answered.
        ordered: whether ``sync`` works in either durability: where a call writes to several files, what comes later
            must not be on the medium without what came before, or a power cut would leave half of it.
    """

    def __init__(self, logs: OpenLogs, subject: Entry, *, power: bool, ordered: bool) -> None:
        self._logs = logs
        self._subject = subject
        self._power = power
        self.is_ordered = power or ordered
        self._files: dict[Entry, int] = {}
        self._new: dict[Entry, None] = {}
        self._directories: dict[bytes, None] = {}

    def add(self, entry: Entry, fd: int = -1) -> None:
        """Sync this session's log; call while its stripe is held.

        Args:
            entry: the session.
            fd: the descriptor of its log that the caller has just written through; found when -1.
        """
        if self.is_ordered and entry not in self._files:
            if fd < 0:
                fd = self._logs.fd(entry, files.stat(entry.path))
            fd = keep_for_sync(entry, fd)
            if fd >= 0:
                self._files[entry] = fd

    def add_new(self, entry: Entry) -> None:
        """Sync this session's log, which has just been made, if the call goes on to write what relies on it."""
        if self.is_ordered:
            self._new[entry] = None

    def add_directory(self, path: bytes) -> None:
        """Sync this directory."""
        if self.is_ordered:
            self._directories[path] = None

    def sync(self) -> None:
        """Bring what was written so far to the medium: what is written next relies on it.

        Raises:
            DurabilityError: some of it failed; all of it was tried once.
        """
        for entry in self._new:
            self.add(entry)
        self._new.clear()
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

    def settle(self) -> None:
        """The work is done: sync what the durability asks for, and let go of the rest.

        Raises:
            DurabilityError: some of it failed.
        """
        if self._power:
            self.sync()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Close what was opened for the sync: nothing relies on it, or the call has failed anyway."""
        for fd in self._files.values():
            files.let_go(fd)
        self._files.clear()
        self._new.clear()
        self._directories.clear()
