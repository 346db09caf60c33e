"""Keeping: what looks after a store's sessions once they are there. The second half of SessionStore's methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from hierstore.disk import refusals
from hierstore.looking import Looking
from hierstore.naming import check_id
from hierstore.session import Session, id_of, required_id

if TYPE_CHECKING:
    from hierstore.disk.engine import Engine
    from hierstore.reports import (
        CheckReport,
        CompactAllReport,
        ImportReport,
        PruneReport,
        RepairReport,
        TrashedSession,
    )
    from hierstore.shared import Redact

# Each method imports what it needs: a program that only talks should not pay for it at its start.

OnConflict = Literal["new_ids", "refuse", "skip"]


class Keeping(Looking):
    """Deleting and the trash, pruning, compacting, exporting and importing, checking and repairing."""

    _engine: Engine

    # Deleting, and the trash

    def delete(self, session_id: Session | str, *, children: Literal["refuse", "cascade", "orphan"] = "refuse") -> None:
        """Move a session to the trash, where it stays until it is restored or purged.

        Args:
            session_id: the session, or its id.
            children: what becomes of its children: ``"refuse"`` to delete it, ``"cascade"`` to delete everything
                below it too, ``"orphan"`` to make its children roots. All or nothing, also after a crash.

        Raises:
            SessionNotFound: there is none.
            HasChildren: it has children, and they are not to be touched.
        """
        from hierstore import trash

        entry = self._engine.entry(required_id(session_id))
        with self._engine.translating(entry):
            trash.delete(self._engine, entry, children)

    def restore(self, session_id: str) -> Session:
        """Bring a deleted session back, with everything below it that the same call deleted.

        Of several deleted sessions of one id the latest. If its parent is gone it becomes a root.

        Raises:
            SessionNotFound: it is not in the trash.
            SessionExists: there is one of that id again.
        """
        from hierstore import trash

        with self._engine.translating(self._engine.entry(check_id(session_id))):
            trash.restore(self._engine, session_id)
        entry = self._engine.entry(session_id)
        self._engine.read(entry)
        return Session(self._engine, entry)

    def trash(self) -> tuple[TrashedSession, ...]:
        """What is in the trash, the first deleted first."""
        from hierstore import trash

        try:
            return trash.listed(self._engine)
        except OSError as error:
            raise refusals.folder_unreadable(error, self._engine.layout.trash) from error

    def purge(self, session_id: str | None = None, *, max_age_days: float | None = None) -> tuple[str, ...]:
        """Remove what is in the trash for good: its bytes are gone, but for those that a living fork shows.

        Args:
            session_id: only this one; None empties the trash.
            max_age_days: only what was deleted longer ago; of 0 or less, nothing is.

        Returns:
            The ids of what was removed.

        Raises:
            SessionNotFound: the one named is not in the trash.
        """
        from hierstore import purge

        maybe_id = None if session_id is None else check_id(session_id)
        with self._trash_errors(maybe_id):
            purged = purge.purge(self._engine, maybe_id, max_age_days)
            if purged:
                self._scrub_index()
            return purged

    @contextmanager
    def _trash_errors(self, maybe_id: str | None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refusals.trash_unusable(error, maybe_id, self._engine.layout.trash) from error

    def prune(
        self,
        *,
        max_age_days: float | None = None,
        max_sessions: int | None = None,
        max_bytes: int | None = None,
        keep: Callable[[tuple[str, ...], Session], bool] | None = None,
        dry_run: bool = False,
    ) -> PruneReport:
        """Move sessions that are no longer needed to the trash, from which they can be restored until they are purged.

        Pinned, archived and suspended sessions are kept, sessions that cannot be read, and every ancestor of a kept
        one. Age counts from ``updated_at``.

        Args:
            max_age_days: prune what has not changed for longer. None, 0 and less prune nothing.
            max_sessions: prune the longest unchanged until no more than so many are left. None: however many.
            max_bytes: the same until the logs have no more than so many bytes on disk. None: however many.
            keep: called with the route keys bound to a session and the session, without a lock, for each that would be
                pruned; True keeps it. If it raises, the session is kept, and the error is in the report.
            dry_run: change nothing, and report what would be done.

        Returns:
            What was pruned and what was kept. A session that changed while the prune ran is kept.

        Raises:
            InvalidRecord: a limit is not a number, or ``keep`` cannot be called; nothing was done.
            ReadOnlyStore: the store only reads, and it is no dry run.
            WriteFailed, DurabilityError: the trash does not take a session; what was pruned before stays there.
        """
        from hierstore import retention

        return retention.prune(
            self._engine,
            retention.limits(max_age_days, max_sessions, max_bytes),
            keep,
            lambda entry: Session(self._engine, entry),
            dry_run=dry_run,
        )

    def compact(self, *, keep: Literal["snapshots", "present"]) -> CompactAllReport:
        """``Session.compact`` for every session, one after the other; what fails for one is in the report."""
        from hierstore import compaction

        return compaction.compact_all(self._engine, keep)

    # Transfer

    def export(
        self, session_id: Session | str, *, subtree: bool = True, redact: Redact | None = None
    ) -> dict[str, Any]:
        """One JSON document with everything that the session's log says, and its descendants' logs.

        Shares are not in it. Each session is shown at one revision. For a large subtree ``export_lines`` needs less
        memory.

        Args:
            session_id: the session, or its id.
            subtree: whether what hangs below it comes along.
            redact: called with each message that was ever stored; what it returns is exported instead, None leaves the
                message out.
        """
        from hierstore.transfer import exporting

        return exporting.document(self._engine, required_id(session_id), subtree=subtree, redact=redact)

    def export_lines(
        self, session_id: Session | str, *, subtree: bool = True, redact: Redact | None = None
    ) -> Iterator[bytes]:
        """The same as lines of JSON, each with its newline, one session in memory at a time."""
        from hierstore.transfer import exporting

        return exporting.lines(self._engine, required_id(session_id), subtree=subtree, redact=redact)

    def import_bundle(
        self,
        data: Mapping[str, Any],
        *,
        on_conflict: OnConflict = "new_ids",
        parent: Session | str | None = None,
        refs: bool = True,
        routes: bool = False,
    ) -> Session:
        """Take in what ``export`` made: all of it or, also after a crash, nothing.

        Args:
            data: the document.
            on_conflict: what to do when one of its sessions' ids is taken here: give all of them new ids, ``"refuse"``
                the import, or ``"skip"`` those sessions. Ids of messages and snapshots stay.
            parent: the session to hang the imported one below.
            refs: whether ids in other systems come along.
            routes: whether route keys come along; one that leads to a session here stays with that one.

        Returns:
            The imported session (with ``"skip"`` perhaps the one that was there).

        Raises:
            FormatTooNew: a later version made the bundle.
            InvalidRecord, HierarchyCycle: it is damaged; nothing was written.
            SessionExists: an id is taken, with ``"refuse"``; nothing was written.
            SessionNotFound: there is no such parent.
        """
        from hierstore.transfer import importing

        options = importing.options(on_conflict, id_of(parent), refs=refs, routes=routes)
        report = importing.document(self._engine, data, options)
        return Session(self._engine, self._engine.entry(report.roots[0]))

    def import_lines(
        self,
        lines: Iterable[bytes | str],
        *,
        on_conflict: OnConflict = "new_ids",
        parent: Session | str | None = None,
        refs: bool = True,
        routes: bool = False,
    ) -> Session:
        """Take in what ``export_lines`` made (an open file will do); the rest is as with ``import_bundle``."""
        from hierstore.transfer import importing

        options = importing.options(on_conflict, id_of(parent), refs=refs, routes=routes)
        report = importing.lines(self._engine, lines, options)
        return Session(self._engine, self._engine.entry(report.roots[0]))

    def import_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        layout: Literal["praisonai", "claude-code"] | None = None,
        on_conflict: OnConflict = "skip",
        parent: Session | str | None = None,
    ) -> ImportReport:
        """Take in the sessions of another system's folder, which is not changed: all of them or nothing.

        Args:
            folder: PraisonAI's hierarchical session store, or one of Claude Code's project folders.
            layout: which of the two; found out when None.
            on_conflict: as with ``import_bundle``; by default a second run takes only what is new.
            parent: the session to hang the imported ones below.

        Returns:
            What was taken, and each bad line or file with the reason why it was not.

        Raises:
            InvalidRecord: the folder is not there, or not what was expected; nothing was written.
        """
        from hierstore.transfer import importing

        options = importing.options(on_conflict, id_of(parent), refs=True, routes=False)
        return importing.folder(self._engine, folder, layout, options)

    # Care

    def check(self) -> CheckReport:
        """Verify every line of every log and every tie between them; changes nothing.

        Other processes may go on writing meanwhile.
        """
        from hierstore.check import check

        try:
            return check(self._engine)
        except OSError as error:
            raise refusals.folder_unreadable(error, self._engine.layout.root) from error

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Mend what ``check`` finds, as far as that can be done without losing a byte.

        What is cut away goes to ``quarantine/``. Sessions of other processes may be written to meanwhile.

        Args:
            dry_run: change nothing, and report what would be done.

        Returns:
            What was done, and what was left and why.
        """
        from hierstore import repair

        try:
            return repair.repair(self._engine, dry_run=dry_run)
        except OSError as error:
            raise refusals.folder_unreadable(error, self._engine.layout.root) from error
