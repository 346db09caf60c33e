"""One repair under way: what it knows, what it reports, and the two ways in which it takes something out of the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType

from hierstore.census import Census
from hierstore.disk import files, journal
from hierstore.disk.engine import Engine
from hierstore.errors import HierstoreError, SessionNotFound, StoreClosed
from hierstore.reports import Finding, RepairReport


class Run:
    """One repair.

    Args:
        engine: the store's.
        dry_run: change nothing.

    Attributes:
        census: all sessions, as they are after what was done, or would be.
        gone: the logs that were put aside, or would be.
        moved: the logs that went to their places with the files beside them, or would.
        owners: for the log of each session that can be read, the session.
    """

    def __init__(self, engine: Engine, *, dry_run: bool) -> None:
        self.engine = engine
        self.dry_run = dry_run
        self.census = Census()
        self.gone: set[bytes] = set()
        self.moved: set[bytes] = set()
        self.owners: dict[bytes, str] = {}
        self._done: list[Finding] = []
        self._left: list[Finding] = []

    def did(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        """Report what was done."""
        self._done.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def leave(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        """Report what was not, and why."""
        self._left.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def report(self) -> RepairReport:
        """The report."""
        return RepairReport(tuple(self._done), tuple(self._left), self.dry_run)

    def guarding(self, kind: str, session_id: str | None, path: bytes) -> _Guard:
        """Do one thing; where it cannot be done it is left, and the next is done."""
        return _Guard(self, kind, session_id, path)

    def check_nothing_pending(self) -> None:
        """See that no work on several sessions is half done; the tree's lock is held, so whoever began it is dead.

        Raises:
            HierstoreError: some is.
        """
        if journal.pending(self.engine.layout):
            raise HierstoreError("Work that a crash cut off could not be finished, and this has to wait for it.")

    def put_aside(self, path: bytes, stripes: Sequence[int] = ()) -> None:
        """Move a file to quarantine; the locks of whoever may use it are held.

        Args:
            path: the file.
            stripes: those that guard its name, if a session may be made under that name again.
        """
        layout = self.engine.layout
        for number in stripes:
            # As when a session is deleted: the next log of this name must not have a stamp that this one had.
            stripe = self.engine.locks.stripes[number]
            found, floor = files.lstat(path), files.fstat(stripe.fd)
            if found.st_mtime_ns > floor.st_mtime_ns:
                files.set_mtime(stripe.fd, stripe.path, found.st_mtime_ns)
        layout.quarantine_file(path)
        files.sync_directory(layout.quarantine)
        files.sync_directory(os.path.dirname(path))


class _Guard:
    """Around one thing that a repair does: what goes wrong with it is left, and keeps nothing else from being done."""

    def __init__(self, run: Run, kind: str, session_id: str | None, path: bytes) -> None:
        self._run = run
        self._kind = kind
        self._session_id = session_id
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, SessionNotFound):
            # Deleted meanwhile: there is nothing left to mend.
            return True
        if isinstance(error, HierstoreError) and not isinstance(error, StoreClosed):
            detail = str(error)
        elif isinstance(error, OSError):
            detail = f"{os.fsdecode(self._path)} could not be mended: {error.strerror}."
        else:
            return False
        self._run.leave(self._kind, self._session_id, self._path, detail)
        return True
