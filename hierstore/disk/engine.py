"""Joins log, files, locks and cache: read a session, commit to a session, commit to several.

The order of a commit: thread lock, stripe lock, ``stat`` of the path and catching up, the caller's decision, one write
of one line, ``fstat``, new stamp, unlock, and in ``durability="power"`` the sync, before the call returns.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hierstore import clock
from hierstore.disk import files, logfile
from hierstore.disk.cache import Cache, Entry
from hierstore.disk.layout import Layout
from hierstore.disk.locks import TREE, LockTable
from hierstore.errors import (
    CorruptLog,
    DurabilityError,
    ReadOnlyStore,
    RevisionConflict,
    SessionExists,
    SessionNotFound,
    StoreClosed,
    UnreadableLog,
    WriteFailed,
)
from hierstore.log import frame
from hierstore.log.events import Draft, Past, commit, event, message_commit
from hierstore.log.state import State, apply, fold, initial
from hierstore.model import History, Message
from hierstore.naming import stripe_of

Decide = Callable[[State], Sequence[Mapping[str, Any]]]
"""Given the state under the lock, the events to commit; none is no commit."""

_MAX_ATTEMPTS = 5

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """One process's way to one store's sessions. All methods may be called from any thread.

    Args:
        layout: where everything is.
        power: whether an acknowledged commit must survive a power cut.
        lock_timeout_s: how long to wait for a lock, seconds.
        cache_bytes: how many bytes of sessions to keep in memory.
        read_only: take no lock and write nothing.
    """

    def __init__(
        self, layout: Layout, *, power: bool, lock_timeout_s: float, cache_bytes: int, read_only: bool
    ) -> None:
        self.layout = layout
        self.power = power
        self.read_only = read_only
        self.cache = Cache(cache_bytes)
        self.locks = LockTable(layout.locks, lock_timeout_s, layout.file_mode)
        self._open_logs: dict[Entry, None] = {}
        self._opening = threading.Lock()
        self._closed = False
        self._keeps_open = files.KEEPS_OPEN_FILES_MOVABLE
        _engines.add(self)

    # Entries

    def entry(self, session_id: str) -> Entry:
        """The entry of an id that ``naming.check_id`` has passed."""
        return self.cache.entry(session_id, self._make_entry)

    def _make_entry(self, session_id: str) -> Entry:
        return Entry(session_id, self.layout.log(session_id), self.locks.stripes[stripe_of(session_id)])

    def exists(self, session_id: str) -> bool:
        """Whether the session has a log.

        Raises:
            UnreadableLog: the system does not say.
        """
        self.check_open()
        path = self.layout.log(session_id)
        try:
            if files.stat(path).st_size == 0:
                return False
            fd = files.open_regular(path, files.READ)
            try:
                # A power cut may leave zeros for a log that was never synced.
                return files.read(fd, 1, 0) != b"\0"
            finally:
                files.close(fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise logfile.unreadable(error, session_id, path) from error

    def check_open(self) -> None:
        """Refuse to work for a store that was closed.

        Raises:
            StoreClosed: it was.
        """
        if self._closed:
            raise StoreClosed("The store is closed.", root=os.fsdecode(self.layout.root))

    def check_writable(self) -> None:
        """Refuse a write to a store that only reads.

        Raises:
            ReadOnlyStore: it only reads.
        """
        self.check_open()
        if self.read_only:
            root = os.fsdecode(self.layout.root)
            raise ReadOnlyStore(f"The store {root} is open for reading only.", root=root)

    # Reading

    def read(self, entry: Entry) -> State:
        """The session as it is on disk now.

        Raises:
            SessionNotFound, UnreadableLog, CorruptLog, FormatTooNew, LockTimeout, StoreClosed.
        """
        head = entry.head
        if head is not None:
            mtime, size, inode, device, state = head
            try:
                found = files.stat(entry.path)
            except OSError:
                return self.refresh(entry)
            # Equality in all four, never "not newer": a file put back from a backup is older.
            if (
                found.st_mtime_ns == mtime
                and found.st_size == size
                and found.st_ino == inode
                and found.st_dev == device
            ):
                entry.used = True
                return state
        return self.refresh(entry)

    def refresh(self, entry: Entry) -> State:
        """The same, past the quick way: read what is new, under the lock."""
        if self.read_only:
            return self._read_without_lock(entry)
        for _ in range(_MAX_ATTEMPTS):
            if entry.stripe.owner == threading.get_ident():
                state = self._digest(entry, *self._read_bytes(entry))
                if state is not None:
                    return state
                continue
            self.lock(entry)
            is_locked = True
            try:
                found, data, base = self._read_bytes(entry)
                self._let_go(entry)
                entry.stripe.release_file()
                is_locked = False
                # Parsed after other processes were let in; this process's threads still wait for the mutex.
                state = self._digest(entry, found, data, base)
            finally:
                if is_locked:
                    entry.stripe.release()
                else:
                    entry.stripe.mutex.release()
            if state is not None:
                return state
        raise self._unstable(entry)

    def lock(self, entry: Entry) -> None:
        """Take the session's stripe, to read it."""
        try:
            entry.stripe.acquire()
        except OSError as error:
            raise logfile.unreadable(error, entry.id, entry.stripe.path) from error

    def read_at(self, entry: Entry, revision: int) -> State:
        """The session as it was at a revision that it has: the beginning of its log, folded anew."""
        self.read(entry)
        try:
            fd = files.open_regular(entry.path, files.READ)
        except FileNotFoundError:
            raise self._not_found(entry) from None
        except OSError as error:
            raise logfile.unreadable(error, entry.id, entry.path) from error
        try:
            # No lock: what is committed never changes, and what follows it is not looked at.
            data = files.read(fd, files.fstat(fd).st_size, 0)
        except OSError as error:
            raise logfile.unreadable(error, entry.id, entry.path) from error
        finally:
            files.close(fd)
        return logfile.parse_log(data, entry.id, entry.path, revision).state

    def _read_bytes(self, entry: Entry) -> tuple[os.stat_result, bytes, State | None]:
        """Under the lock: the stamp, the bytes not yet known, and the state that they follow on.

        No bytes with a state mean that the state is current.
        """
        found = self._stat(entry)
        head = entry.head
        fd = self.log_fd(entry, found)
        try:
            if head is not None and (head[2], head[3]) == (found.st_ino, found.st_dev):
                if found.st_size > head[1]:
                    data = files.read(fd, found.st_size - head[1], head[1])
                    return files.fstat(fd), data, head[4]
                if (head[0], head[1]) == (found.st_mtime_ns, found.st_size):
                    return found, b"", head[4]
            data = files.read(fd, found.st_size, 0)
            return files.fstat(fd), data, None
        except OSError as error:
            raise logfile.unreadable(error, entry.id, entry.path) from error

    def _digest(self, entry: Entry, found: os.stat_result, data: bytes, base: State | None) -> State | None:
        """Fold bytes read under the lock and store the result with their stamp, unless a tail is dirty.

        Returns:
            The state, or None when the bytes do not continue what was cached, and everything must be read again.
        """
        if base is not None:
            if not data:
                return base
            scan = frame.scan(data, entry.chain, base.revision)
            if scan.end != len(data):
                # A torn tail, or another file's bytes: only reading it whole tells.
                entry.drop()
                return None
            try:
                state = fold(base, data)
            except logfile.NO_COMMIT:
                entry.drop()
                return None
            entry.publish(found, state, scan.chain)
            if found.st_size >= entry.recount_at:
                self.cache.hold(entry, found.st_size)
        else:
            entry.drop()
            parsed = logfile.parse_log(data, entry.id, entry.path, known=self.cache.pasts)
            state = parsed.state
            if parsed.end == found.st_size == len(data) and parsed.fault is None and not state.facts.deleted:
                entry.publish(found, state, parsed.chain)
                self.cache.hold(entry, found.st_size, parsed.shared, parsed.shared_size)
        if state.facts.deleted:
            raise self._not_found(entry)
        return state

    def _read_without_lock(self, entry: Entry) -> State:
        """The committed prefix, for a store that only reads: an unfinished tail may be a write in progress."""
        self.check_open()
        for attempt in range(_MAX_ATTEMPTS):
            try:
                fd = files.open_regular(entry.path, files.READ)
            except FileNotFoundError:
                entry.drop()
                raise self._not_found(entry) from None
            except OSError as error:
                raise logfile.unreadable(error, entry.id, entry.path) from error
            try:
                # Before the bytes: a file that grows in between is larger than its stamp says, and read again.
                found = files.fstat(fd)
                data = files.read(fd, found.st_size, 0)
            except OSError as error:
                raise logfile.unreadable(error, entry.id, entry.path) from error
            finally:
                files.close(fd)
            try:
                with entry.stripe.mutex:
                    state = self._digest(entry, found, data, None)
            except (CorruptLog, UnreadableLog):
                # The log, or a fork's past, may have been replaced between two calls; once more tells.
                if attempt == _MAX_ATTEMPTS - 1:
                    raise
                continue
            if state is not None:
                return state
        raise self._unstable(entry)

    def _stat(self, entry: Entry) -> os.stat_result:
        try:
            return files.stat(entry.path)
        except FileNotFoundError:
            self.close_log(entry)
            self.cache.forget(entry)
            raise self._not_found(entry) from None
        except OSError as error:
            raise logfile.unreadable(error, entry.id, entry.path) from error

    def _not_found(self, entry: Entry) -> SessionNotFound:
        return SessionNotFound(f"There is no session {entry.id!r}.", session_id=entry.id)

    def _unstable(self, entry: Entry) -> CorruptLog:
        path = os.fsdecode(entry.path)
        return CorruptLog(
            f"The log {path} of session {entry.id!r} kept changing other than by growing.",
            session_id=entry.id, path=path, offset=0,
        )  # fmt: skip

    # Descriptors

    def log_fd(self, entry: Entry, found: os.stat_result) -> int:
        """A descriptor of the log that ``found`` describes. To be called with the stripe held."""
        if entry.fd >= 0 and entry.file == (found.st_dev, found.st_ino):
            return entry.fd
        self.close_log(entry)
        with self._opening:
            self.check_open()
            if len(self._open_logs) >= files.MAX_OPEN_LOGS:
                self._close_one_log(entry)
            try:
                fd = files.open_regular(entry.path, files.APPEND)
            except FileNotFoundError:
                raise self._not_found(entry) from None
            except OSError as error:
                raise logfile.unreadable(error, entry.id, entry.path) from error
            self.adopt_fd(entry, fd, found)
        return fd

    def adopt_fd(self, entry: Entry, fd: int, found: os.stat_result) -> None:
        """Keep a descriptor of the log for later calls."""
        entry.fd = fd
        entry.file = (found.st_dev, found.st_ino)
        self._open_logs[entry] = None

    def _let_go(self, entry: Entry) -> None:
        """Close the log where an open file could not be renamed by others."""
        if not self._keeps_open:
            self.close_log(entry)

    def _close_one_log(self, keep: Entry) -> None:
        for entry in list(self._open_logs):
            mutex = entry.stripe.mutex
            if entry.stripe is keep.stripe:
                # The caller holds this stripe itself.
                self._close_fd(entry)
                return
            if mutex.acquire(False):
                self._close_fd(entry)
                mutex.release()
                return

    def close_log(self, entry: Entry) -> None:
        """Close the entry's descriptor, if it has one. To be called with the stripe held."""
        if entry.fd >= 0:
            with self._opening:
                self._close_fd(entry)

    def _close_fd(self, entry: Entry) -> None:
        fd, entry.fd = entry.fd, -1
        self._open_logs.pop(entry, None)
        if fd >= 0:
            files.close(fd)

    # Writing

    def current(self, entry: Entry) -> State:
        """The session's state for a writer, who holds the stripe: caught up, and its tail recovered.

        Raises:
            SessionNotFound, UnreadableLog, CorruptLog, DurabilityError.
        """
        for _ in range(_MAX_ATTEMPTS):
            found = self._stat(entry)
            head = entry.head
            if (
                head is None
                or head[0] != found.st_mtime_ns
                or head[1] != found.st_size
                or head[2] != found.st_ino
                or head[3] != found.st_dev
            ):
                found, data, base = self._read_bytes(entry)
                state = self._digest(entry, found, data, base)
                head = entry.head
                if state is None:
                    continue
                if head is None:
                    self._recover(entry, data)
                    continue
            if entry.poisoned:
                raise self._durability(entry, 0, "an earlier sync failed")
            return head[4]
        raise self._unstable(entry)

    def _recover(self, entry: Entry, data: bytes) -> None:
        """Cut a torn tail off, under the lock; damage is copied to quarantine, and left for a repair.

        Args:
            entry: the session, its log open.
            data: the whole log.

        Raises:
            CorruptLog: the damage is not of the kind that a crash leaves.
        """
        parsed = logfile.parse_log(data, entry.id, entry.path)
        path = os.fsdecode(entry.path)
        if parsed.fault is not None:
            raise CorruptLog(
                f"Session {entry.id!r} takes no writes: {parsed.fault}.", session_id=entry.id, path=path, offset=0
            )
        tail = data[parsed.end :]
        verdict = frame.judge(tail)
        if b"\n" in tail or verdict is not frame.Tail.TORN:
            self.layout.quarantine_bytes(entry.path, parsed.nonce, parsed.end, tail)
        if verdict is frame.Tail.DAMAGED:
            raise CorruptLog(
                f"The log {path} of session {entry.id!r} is damaged at byte {parsed.end}; it is served up to there, and"
                " takes no writes until it is repaired.",
                session_id=entry.id, path=path, offset=parsed.end,
            )  # fmt: skip
        try:
            files.ftruncate(entry.fd, parsed.end)
        except OSError as error:
            raise self._write_failed(entry, error) from error

    def append(
        self, entry: Entry, drafts: Sequence[Draft], expected_revision: int | None, reset_at: int | None = None
    ) -> tuple[Message, ...]:
        """Store messages in one commit.

        A draft whose id the caller gave and the history has already is answered with the stored message.

        Args:
            entry: the session.
            drafts: the messages, at least one.
            expected_revision: store them only at this revision.
            reset_at: store them only if the last reset was at this revision.

        Raises:
            SessionNotFound, RevisionConflict, WriteFailed, DurabilityError, ReadOnlyStore, …
        """
        if self.read_only:
            self.check_writable()
        if entry.head is None:
            self.refresh(entry)
        stripe = entry.stripe
        synced = -1
        self.lock(entry)
        try:
            state = self.current(entry)
            if reset_at is not None and reset_at != state.facts.reset_at:
                raise RevisionConflict(
                    f"Session {entry.id!r} was reset while the turn was under way; nothing was written.",
                    session_id=entry.id, expected=reset_at, actual=state.facts.reset_at,
                )  # fmt: skip
            for draft in drafts:
                if draft.is_retry_safe:
                    return self._append_missing(entry, state, drafts, expected_revision)
            if expected_revision is not None and expected_revision != state.revision:
                raise self._conflict(entry, expected_revision, state.revision)
            messages = self._append_new(entry, state, drafts)
            if self.power:
                synced = files.dup(entry.fd)
        finally:
            if not self._keeps_open:
                self.close_log(entry)
            stripe.release()
        if synced >= 0:
            self._sync(entry, synced)
        return messages

    def _append_missing(
        self, entry: Entry, state: State, drafts: Sequence[Draft], expected_revision: int | None
    ) -> tuple[Message, ...]:
        """Append those drafts that the history does not hold, and answer with all, in the order given."""
        places: dict[str, int] = {}
        missing: list[Draft] = []
        for draft in drafts:
            if draft.id not in places:
                place = state.history.find(draft.id, state.count) if draft.is_retry_safe else None
                places[draft.id] = state.count + len(missing) if place is None else place
                if place is None:
                    missing.append(draft)
        if missing:
            if expected_revision is not None and expected_revision != state.revision:
                raise self._conflict(entry, expected_revision, state.revision)
            self._append_new(entry, state, missing)
            state = self.current(entry)
        if self.power:
            # Also when nothing was missing: the first attempt may have died between its write and its sync.
            self._sync(entry, files.dup(self.log_fd(entry, files.stat(entry.path))))
        return tuple([state.history.message(places[draft.id]) for draft in drafts])

    def _append_new(self, entry: Entry, state: State, drafts: Sequence[Draft]) -> tuple[Message, ...]:
        """Write one commit of messages; the stripe is held and ``state`` is current."""
        number = state.seq + 1
        body = message_commit(drafts, number, state.revision + 1)
        line, chain = frame.seal(body, entry.chain)
        found = self._write(entry, line)
        if len(drafts) == 1:
            messages: tuple[Message, ...] = (drafts[0].message(number),)
        else:
            messages = tuple([draft.message(number + place) for place, draft in enumerate(drafts)])
        entry.publish(found, state.with_messages(messages), chain)
        if found.st_size >= entry.recount_at:
            self.cache.hold(entry, found.st_size)
        return messages

    def _write(self, entry: Entry, line: bytes) -> os.stat_result:
        """Write a line at the log's end, and take the new stamp."""
        fd = entry.fd
        if fd < 0:
            fd = self.log_fd(entry, files.stat(entry.path))
        head = entry.head
        size = head[1] if head is not None else files.fstat(fd).st_size
        try:
            done = files.write(fd, line)
            if done != len(line):
                files.write_all(fd, line[done:])
            return files.fstat(fd)
        except OSError as error:
            entry.drop()
            try:
                files.ftruncate(fd, size)
            except OSError:
                # The tail stays dirty; the next writer recovers it.
                pass
            raise self._write_failed(entry, error) from error

    def commit(self, entry: Entry, decide: Decide) -> State:
        """Commit the events that ``decide`` answers for the session's current state; none is no commit.

        Returns:
            The state afterwards.
        """
        self.check_writable()
        if entry.head is None:
            self.refresh(entry)
        with self.holding([entry]) as durable:
            return self.commit_held(entry, decide, durable)

    def commit_held(self, entry: Entry, decide: Decide, durable: Durable) -> State:
        """The same for a caller who holds the stripe."""
        state = self.current(entry)
        events = decide(state)
        if not events:
            return state
        at = clock.now()
        line, chain = frame.seal(commit(events, state.revision + 1, at), entry.chain)
        found = self._write(entry, line)
        durable.add(entry)
        state = apply(state, {"events": events, "at": at})
        entry.publish(found, state, chain)
        return state

    @contextmanager
    def holding(self, entries: Iterable[Entry], *, tree: bool = False, about: Entry | None = None) -> Iterator[Durable]:
        """Hold the stripes of several sessions, and the tree's lock if asked; sync what was written at the end.

        The syncs come after the locks are gone, and before the caller is answered.

        Args:
            entries: the sessions.
            tree: whether to hold the tree's lock too.
            about: whose failure it is when the system refuses something; the first session's when None.

        Raises:
            WriteFailed: the system refused something.
        """
        self.check_writable()
        held = list(entries)
        subject = about or held[0]
        numbers = {stripe_of(entry.id) for entry in held}
        durable = Durable(self)
        try:
            with self.locks.holding(numbers | ({TREE} if tree else set())):
                yield durable
                for entry in held:
                    self._let_go(entry)
        except OSError as error:
            durable.abandon()
            raise self._write_failed(subject, error) from error
        except BaseException:
            durable.abandon()
            raise
        durable.sync()

    def create(
        self,
        entry: Entry,
        facts: Mapping[str, Any],
        durable: Durable,
        history: tuple[History, int] | None = None,
        past: Sequence[Past] = (),
    ) -> State:
        """Make a new session's log; the stripe is held.

        Args:
            entry: the new session's.
            facts: what the ``created`` event holds.
            durable: from ``holding``.
            history: what a fork starts with, as ``past`` will say.
            past: where a fork's history is kept; the files are there already.

        Raises:
            SessionExists: nothing was changed.
        """
        if self.exists(entry.id):
            raise SessionExists(f"There is a session {entry.id!r} already.", session_id=entry.id)
        at = clock.now()
        created = event("created", **facts, **({"past": [list(item) for item in past]} if past else {}))
        nonce = os.urandom(8).hex()
        data, chain = logfile.first_lines(entry.id, nonce, at, commit([created], 1, at))
        self.layout.make_folder(entry.path, self.power)
        scratch = self.layout.scratch(b".log")
        try:
            self._build(scratch, data, entry)
            self._place(scratch, entry)
        except OSError:
            files.remove(scratch)
            raise
        # Of the name, not of the descriptor that built it: events of a write are told under the name that its
        # descriptor was opened by.
        self.close_log(entry)
        found = files.stat(entry.path)
        durable.add_directory(os.path.dirname(entry.path))
        entry.poisoned = False
        messages, count = (history[0].shared(history[1]), history[1]) if history else (History(), 0)
        state = apply(initial(entry.id, messages, count), {"events": [created], "at": at})
        entry.publish(found, state, chain)
        self.cache.hold(entry, found.st_size, history[0] if history else None, sum(item.size for item in past))
        return state

    def _build(self, scratch: bytes, data: bytes, entry: Entry) -> None:
        fd = files.create(scratch, self.layout.file_mode)
        try:
            files.write_all(fd, data)
            # Above the mtime of any log that had this name before: a purged log's inode may be this one's.
            files.raise_mtime(fd, files.fstat(entry.stripe.fd).st_mtime_ns)
            if self.power:
                files.sync(fd)
        finally:
            files.close(fd)

    def _place(self, scratch: bytes, entry: Entry) -> None:
        try:
            files.place(scratch, entry.path)
        except FileExistsError:
            # Not a session, or create() would have said so: an empty file, left by a power cut.
            self.layout.quarantine_file(entry.path)
            files.place(scratch, entry.path)

    def _sync(self, entry: Entry, fd: int) -> None:
        """Sync a descriptor and close it; a failure poisons the entry.

        Never tried again: the kernel may have dropped the pages, and would report success.
        """
        try:
            files.sync(fd)
        except OSError as error:
            entry.poisoned = True
            raise self._durability(entry, error.errno or 0, error.strerror or "") from error
        finally:
            files.close(fd)

    # Errors

    def _conflict(self, entry: Entry, expected: int, actual: int) -> RevisionConflict:
        return RevisionConflict(
            f"Session {entry.id!r} is at revision {actual}, not {expected}; nothing was written.",
            session_id=entry.id, expected=expected, actual=actual,
        )  # fmt: skip

    def _write_failed(self, entry: Entry, error: OSError) -> WriteFailed:
        path = os.fsdecode(entry.path)
        return WriteFailed(
            f"Session {entry.id!r} could not be written to {path}: {error.strerror}.",
            session_id=entry.id, path=path, errno=error.errno or 0,
        )  # fmt: skip

    def _durability(self, entry: Entry, number: int, why: str) -> DurabilityError:
        path = os.fsdecode(entry.path)
        return DurabilityError(
            f"Session {entry.id!r} could not be brought to the medium ({why}); its last commits may not survive a power"
            " cut, and it takes no more through this store.",
            session_id=entry.id, path=path, errno=number,
        )  # fmt: skip

    # Life

    def close(self) -> None:
        """Close every descriptor. Later calls that need one raise StoreClosed."""
        with self._opening:
            self._closed = True
        for entry in self.cache.living():
            entry.drop()
        with self._opening:
            for entry in list(self._open_logs):
                self._close_fd(entry)
        self.locks.close()

    def __del__(self) -> None:
        if hasattr(self, "locks"):
            self.close()

    def before_fork(self) -> None:
        """Let nothing be half opened while the process forks."""
        self._opening.acquire()
        self.locks.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.locks.after_fork_in_parent()
        self._opening.release()

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: own descriptors, own locks, nothing cached.

        A descriptor shared with the parent is one lock that both hold, and one file position.
        """
        self._opening = threading.Lock()
        self.locks.after_fork_in_child()
        self.cache.after_fork_in_child()
        for entry in self.cache.living():
            self._close_fd(entry)
        self.cache.clear()


class Durable:
    """What a multi-session commit has written, to be synced when its locks are gone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._files: dict[Entry, int] = {}
        self._directories: dict[bytes, None] = {}

    def add(self, entry: Entry) -> None:
        """Sync this session's log; call while its stripe is held."""
        if self._engine.power and entry not in self._files:
            self._files[entry] = files.dup(self._engine.log_fd(entry, files.stat(entry.path)))

    def add_directory(self, path: bytes) -> None:
        """Sync this directory."""
        if self._engine.power:
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
                self._engine._sync(entry, fd)
            except DurabilityError as error:
                failure = error
        for path in self._directories:
            try:
                files.sync_directory(path)
            except OSError as error:
                name = os.fsdecode(path)
                failure = DurabilityError(
                    f"The folder {name} could not be brought to the medium ({error.strerror}).",
                    session_id="", path=name, errno=error.errno or 0,
                )  # fmt: skip
        self._directories.clear()
        if failure is not None:
            raise failure

    def abandon(self) -> None:
        """Close what was opened for the sync: the call has failed anyway."""
        for fd in self._files.values():
            files.close(fd)
        self._files.clear()


def _before_fork() -> None:
    _forking[:] = list(_engines)
    for engine in _forking:
        engine.before_fork()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()


_forking: list[Engine] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
