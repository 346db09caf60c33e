"""SessionStore: one folder of sessions. Each method is a few lines over the capability it names."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from hierstore import links, tree
from hierstore.disk import journal, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.layout import prepare
from hierstore.errors import HierstoreError, InvalidSessionId, SessionExists, quoted
from hierstore.keeping import Keeping
from hierstore.model import TreeNode
from hierstore.naming import check_id
from hierstore.session import Session, created_facts, id_of, new_or_checked_id, required_id

if TYPE_CHECKING:
    from pathlib import Path

    from hierstore.disk.layout import Layout
    from hierstore.disk.watcher import Listener
    from hierstore.log.feed import Event
    from hierstore.shared import Redact, SharedSession
    from hierstore.watching import Mode, Watcher

# What few programs call is imported where it is called: a program that only talks should not pay for it at its start.


class SessionStore(Keeping):
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
            raise ValueError(f"durability is 'process' or 'power', not {quoted(durability)}")
        if not isinstance(lock_timeout_s, int | float) or not 0 <= lock_timeout_s <= threading.TIMEOUT_MAX:
            raise ValueError(f"lock_timeout_s is a number of seconds, not {quoted(lock_timeout_s)}")
        if not isinstance(cache_bytes, int) or cache_bytes < 0:
            raise ValueError(f"cache_bytes is a number of bytes, not {quoted(cache_bytes)}")
        layout, only_reads = prepare(root, shared=shared, read_only=read_only)
        self._engine = Engine(
            layout,
            power=durability == "power",
            lock_timeout_s=lock_timeout_s,
            cache_bytes=cache_bytes,
            read_only=only_reads,
        )
        self._listener: Listener | None = None
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        if not only_reads:
            try:
                self._engine.locks.probe()
                self._finish_pending(layout)
            except OSError as error:
                self._engine.close()
                raise refusals.root_unusable(layout.root, error) from error
            except BaseException:
                self._engine.close()
                raise

    def _finish_pending(self, layout: Layout) -> None:
        if journal.pending(layout):
            from hierstore import trash

            try:
                trash.finish_pending(self._engine, wait=False)
            except (HierstoreError, OSError):
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

    # Ways in from outside

    def bind(self, key: str, session: Session | str) -> None:
        """Let a route key lead to a session from now on; the session that it led to before stays as it is.

        Args:
            key: any text of 1-4096 characters (``"telegram:chat:42"``).
            session: the session, or its id.

        Raises:
            SessionNotFound: there is no such session.
            InvalidRecord: it is no key.
        """
        from hierstore import routes

        key = routes.check_key(key)
        routes.bind(self._engine, key, self._engine.entry(required_id(session)))

    def unbind(self, key: str) -> bool:
        """Let a route key lead nowhere; False when it did already."""
        from hierstore import routes

        return routes.unbind(self._engine, routes.check_key(key))

    def resolve(self, key: str) -> Session | None:
        """The session that a route key leads to now; None when it leads nowhere, or its session was deleted."""
        from hierstore import routes

        found = routes.resolve(self._engine, routes.check_key(key))
        return None if found is None else Session(self._engine, found[0])

    def route(
        self,
        key: str,
        *,
        session_id: str | None = None,
        title: str | None = None,
        parent: Session | str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
        reset_idle_s: float | None = None,
        reset_hour: int | None = None,
    ) -> Session:
        """The session that a route key leads to, made and bound if there is none: one, however many ask at once.

        Args:
            key: any text of 1-4096 characters.
            session_id: the new session's id, if one is made; the arguments after it are ``create``'s too.
            title: see ``create``.
            parent: see ``create``.
            kind: see ``create``.
            metadata: see ``create``.
            labels: see ``create``.
            reset_idle_s: give the key a new session when the history of its present one last changed longer ago, seconds.
            reset_hour: give it a new one at this hour of each day, 0-23, this machine's local time.

        Returns:
            The session. One that gave way to a new one stays, and knows it: ``Session.succeeded_by``.

        Raises:
            SessionExists: ``session_id`` is taken by another session.
            InvalidRecord: it is no key, or no policy.
        """
        from hierstore import routes

        key = routes.check_key(key)
        routes.check_policy(reset_idle_s, reset_hour)
        facts = created_facts(title, parent, kind, metadata, labels)
        maybe_id = None if session_id is None else check_id(session_id)
        entry = routes.route(self._engine, key, maybe_id, facts, reset_idle_s=reset_idle_s, reset_hour=reset_hour)
        return Session(self._engine, entry)

    def open_share(self, token: str, *, redact: Redact | None = None) -> SharedSession:
        """The session that a share's token opens, with what its role allows and nothing else.

        Args:
            token: from ``Session.share``.
            redact: called with each message before it is shown; shows what it returns, and nothing for None.

        Raises:
            ShareNotFound: it is wrong, or revoked, or its session is gone: in the same words.
            ShareExpired: its time is over.
        """
        from hierstore import shared

        return shared.open_share(self._engine, token, redact)

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

    def interrupted(self) -> tuple[Session, ...]:
        """The sessions with a turn in progress, the one begun first first: after a crash, those that were cut off.

        Turns that are going on right now are among them. Reads every session.
        """
        return tuple(Session(self._engine, entry) for entry in links.interrupted(self._engine))

    def watch(
        self,
        *,
        session: Session | str | None = None,
        after: str | None = None,
        on_event: Callable[[Event], object] | None = None,
        mode: Mode = "auto",
        poll_s: float | None = None,
        queue: int = 1024,
    ) -> Watcher:
        """Follow what changes, whichever process changes it: each event once, those of a session in order.

        Args:
            session: follow only this one, or its id; it need not exist yet.
            after: a ``Watcher.cursor`` of this store: go on behind it, as if nobody had stopped; of a session that was
                compacted past it one event ``reset`` says so. ``""``: from the beginning of all that is on disk, the
                trash included. None: from now on.
            on_event: called with each event, on a thread of the watcher's. If it raises, the watcher closes, with its
                cursor before that event. Without it, iterate the watcher, or call its ``next``.
            mode: how to hear of changes. ``"native"``: by the system's events; ``"polling"``: by looking at every log
                now and then; ``"auto"``: native where it works, else polling; ``"off"``: only when ``next`` is called,
                which then never waits: iterating ends when there is nothing new.
            poll_s: how often to look at every log, seconds: 1 s unless the system's events are relied on, then 5 s,
                should any have been lost.
            queue: how many commits of a log to read ahead. A slow consumer loses nothing, however few.

        Raises:
            InvalidRecord: ``after`` is no cursor of this store, or of a watcher of other sessions.
            UnreadableLog: with ``"native"``, the system does not tell of changes.
        """
        from hierstore.watching import Watcher

        watcher = Watcher(
            self._engine,
            session_id=id_of(session),
            after=after,
            on_event=on_event,
            mode=mode,
            poll_s=poll_s,
            queue=queue,
        )
        self._watchers.add(watcher)
        return watcher

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
        for watcher in list(self._watchers):
            watcher.close()
        self._engine.close()
        self._close_index()

    def __enter__(self) -> SessionStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SessionStore({os.fsdecode(self._engine.layout.root)!r})"
