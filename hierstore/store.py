"""SessionStore: one folder of sessions. Each method is a few lines over the capability it names."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from hierstore import tree
from hierstore.disk import journal, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.layout import prepare
from hierstore.errors import HierstoreError, InvalidSessionId, SessionExists
from hierstore.model import CheckReport, TreeNode
from hierstore.naming import check_id
from hierstore.session import Session, created_facts, id_of, new_or_checked_id

if TYPE_CHECKING:
    from pathlib import Path

    from hierstore.disk.layout import Layout
    from hierstore.disk.watcher import Listener

# What few programs call is imported where it is called: a program that only talks should not pay for it at its start.


class SessionStore:
    """The sessions in one folder. Any number of processes and threads may have it open, and fork while they do.

    Args:
        root: the folder; made, with the folders above it, if it is not there.
        durability: ``"process"``: what was acknowledged survives the death of every process, and after a power cut
            each session is an exact prefix of what was acknowledged. ``"power"``: it survives the power cut too.
        lock_timeout_s: how long a call waits for a lock, seconds; then it raises LockTimeout.
        cache_bytes: how much memory to spend on sessions once read. The latest one is kept even if it is larger.
        read_only: write nothing, and take no lock. Also the case where the folder cannot be written to.
        shared: the folder is meant to be written to by other users too. Without it such a folder is refused.

    Raises:
        InvalidRoot: a file, not ours, open to others, or on a file system without working locks.
        FormatTooNew: a later version of hierstore made it.

    Promises: no acknowledged message is lost, none is shown torn or stale, whatever other processes do with the same
    folder through this library. Not promised: that two machines may share the folder over a network file system whose
    locks or attributes lie.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: Literal["process", "power"] = "process",
        lock_timeout_s: float = 10.0,
        cache_bytes: int = 64 * 2**20,
        read_only: bool = False,
        shared: bool = False,
    ) -> None:
        if durability not in ("process", "power"):
            raise ValueError(f"durability is 'process' or 'power', not {durability!r}")
        if not isinstance(lock_timeout_s, int | float) or not 0 <= lock_timeout_s <= threading.TIMEOUT_MAX:
            raise ValueError(f"lock_timeout_s is a number of seconds, not {lock_timeout_s!r}")
        if not isinstance(cache_bytes, int) or cache_bytes < 0:
            raise ValueError(f"cache_bytes is a number of bytes, not {cache_bytes!r}")
        layout, only_reads = prepare(root, shared=shared, read_only=read_only)
        self._engine = Engine(
            layout,
            power=durability == "power",
            lock_timeout_s=lock_timeout_s,
            cache_bytes=cache_bytes,
            read_only=only_reads,
        )
        self._listener: Listener | None = None
        if not only_reads:
            try:
                self._engine.locks.probe()
                self._finish_pending(layout)
            except BaseException:
                self._engine.close()
                raise

    def _finish_pending(self, layout: Layout) -> None:
        if journal.pending(layout):
            from hierstore import trash

            try:
                trash.finish_pending(self._engine, wait=False)
            except HierstoreError:
                # One session that cannot be finished keeps nobody from the others; check() tells of it.
                return

    @property
    def root(self) -> Path:
        """The store's folder."""
        from pathlib import Path

        return Path(os.fsdecode(self._engine.layout.root))

    # Sessions

    def create(
        self,
        session_id: str | None = None,
        *,
        title: str | None = None,
        parent: Session | str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
    ) -> Session:
        """Make a session.

        Args:
            session_id: any text of 1-512 characters; made, unique and ordered by time, when None.
            title: counts as a person's.
            parent: the session to hang it below, or its id.
            kind: why a child exists: ``"delegate"``, ``"branch"``, ``"continuation"`` or the caller's own word.
            metadata: the app's own facts, a JSON object.
            labels: distinct texts.

        Raises:
            SessionExists: there is one of that id; it was not touched.
            SessionNotFound: there is no such parent.
            InvalidSessionId, InvalidRecord: nothing was written.
        """
        facts = created_facts(title, parent, kind, metadata, labels)
        return Session(self._engine, tree.create(self._engine, new_or_checked_id(session_id), facts))

    def get(self, session_id: str) -> Session:
        """The session of that id; never makes one.

        Raises:
            SessionNotFound: there is none.
            UnreadableLog, CorruptLog: there is one, and it cannot be read.
        """
        entry = self._engine.entry(check_id(session_id))
        self._engine.read(entry)
        return Session(self._engine, entry)

    def get_or_create(
        self,
        session_id: str,
        *,
        title: str | None = None,
        parent: Session | str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
    ) -> Session:
        """The session of that id, made if there is none: of all processes that try at once, one makes it.

        The other arguments are ``create``'s, and count only for the one that makes it.
        """
        facts = created_facts(title, parent, kind, metadata, labels)
        entry = self._engine.entry(check_id(session_id))
        while not self._engine.exists(entry.id):
            try:
                tree.create(self._engine, entry.id, facts)
            except SessionExists:
                continue
        return Session(self._engine, entry)

    def __contains__(self, session_id: object) -> bool:
        try:
            return self._engine.exists(check_id(session_id))
        except InvalidSessionId:
            return False

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

        entry = self._engine.entry(_required_id(session_id))
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
        return self.get(session_id)

    def purge(self, session_id: str | None = None) -> tuple[str, ...]:
        """Remove what is in the trash for good: its bytes are gone, but for those that a living fork shows.

        Args:
            session_id: only this one; None empties the trash.

        Returns:
            The ids of what was removed.

        Raises:
            SessionNotFound: the one named is not in the trash.
        """
        from hierstore import purge

        maybe_id = None if session_id is None else check_id(session_id)
        try:
            return purge.purge(self._engine, maybe_id)
        except OSError as error:
            raise refusals.trash_unusable(error, maybe_id, self._engine.layout.trash) from error

    # Looking

    @overload
    def tree(self, session_id: None = None) -> tuple[TreeNode, ...]: ...
    @overload
    def tree(self, session_id: Session | str) -> TreeNode: ...
    def tree(self, session_id: Session | str | None = None) -> TreeNode | tuple[TreeNode, ...]:
        """The tree below a session, or the trees of all roots in the order of their making.

        Reads every session concerned. Each is shown as of the moment it was read, not all as of one.
        """
        return tree.tree(self._engine, id_of(session_id))

    def check(self) -> CheckReport:
        """Verify every line of every log and every tie between them; changes nothing.

        Other processes may go on writing meanwhile.
        """
        from hierstore.check import check

        try:
            return check(self._engine)
        except OSError as error:
            raise refusals.folder_unreadable(error, self._engine.layout.root) from error

    # Life

    def listen(self) -> Listener:
        """Start to drop cached sessions as soon as their files change; without it, a read finds out by itself.

        Needed only to notice edits from outside that keep a file's size and modification time. Starts a thread,
        which ``Listener.close`` or closing the store ends. Calling it again gives the same listener.
        """
        from hierstore.disk.watcher import Listener

        self._engine.check_open()
        if self._listener is None or self._listener.closed:
            self._listener = Listener(self._engine)
        return self._listener

    def close(self) -> None:
        """Close every file and end every thread of the store; calling it again does nothing.

        Later calls of the store or of its sessions raise StoreClosed.
        """
        if self._listener is not None:
            self._listener.close()
        self._engine.close()

    def __enter__(self) -> SessionStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SessionStore({os.fsdecode(self._engine.layout.root)!r})"


def _required_id(session: Session | str) -> str:
    return session.id if isinstance(session, Session) else check_id(session)
