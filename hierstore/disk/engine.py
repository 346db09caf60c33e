"""Joins log, files, locks and cache: commit to a session, commit to several, make one.

The order of a commit: thread lock, stripe lock, ``stat`` of the path and catching up, the caller's decision, one write
of one line, ``fstat``, new stamp, unlock, and in ``durability="power"`` the sync, before the call returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hierstore import clock
from hierstore.disk import files, forking, logfile, refusals
from hierstore.disk.cache import Cache, Entry
from hierstore.disk.descriptors import OpenLogs
from hierstore.disk.durable import Durable, keep_for_sync, sync_and_close
from hierstore.disk.locks import TREE, LockTable
from hierstore.disk.reader import MAX_ATTEMPTS, Reader
from hierstore.history import History
from hierstore.log import frame
from hierstore.log.events import Draft, Past, commit, event, message_commit
from hierstore.log.state import State, apply, initial

if TYPE_CHECKING:
    from hierstore.disk.layout import Layout
    from hierstore.model import Message

Decide = Callable[[State], Sequence[Mapping[str, Any]]]
"""Given the state under the lock, the events to commit; none is no commit."""


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
        self.logs = OpenLogs(layout.root)
        self._keeps_open = files.KEEPS_OPEN_FILES_MOVABLE
        self._reader = reader = Reader(layout, self.cache, self.locks, self.logs, read_only=read_only)
        # The reader's methods themselves, not others that call them: a cached read takes two microseconds in all.
        self.entry = reader.entry
        self.registry = reader.registry
        self.exists = reader.exists
        self.exists_at = reader.exists_at
        self.parse = reader.parse
        self.log_bytes = reader.log_bytes
        self.peek = reader.peek
        self.read = reader.read
        self.read_at = reader.read_at
        self.refresh = reader.refresh
        self.lock = reader.lock
        self.check_open = reader.check_open
        forking.register(self)

    def check_writable(self) -> None:
        """Refuse a write to a store that only reads.

        Raises:
            ReadOnlyStore: it only reads.
        """
        self.check_open()
        if self.read_only:
            raise refusals.read_only(self.layout.root)

    def current(self, entry: Entry) -> State:
        """The session's state for a writer, who holds the stripe: caught up, and its tail recovered.

        Raises:
            SessionNotFound, UnreadableLog, CorruptLog, DurabilityError.
        """
        reader = self._reader
        for _ in range(MAX_ATTEMPTS):
            found = reader.stat(entry)
            head = entry.head
            if (
                head is not None
                and head[0] == found.st_mtime_ns
                and head[1] == found.st_size
                and head[2] == found.st_ino
                and head[3] == found.st_dev
            ):
                state: State | None = head[4]
                is_whole = True
            else:
                found, data, base = reader.read_bytes(entry)
                state, is_whole = reader.digest(entry, found, data, base)
            if state is not None and is_whole:
                if entry.poisoned:
                    raise refusals.not_durable(entry, 0, "an earlier sync failed")
                return state
            if state is not None:
                self._recover(entry, data)
        raise refusals.corrupt(entry, 0, "kept changing other than by growing")

    def _recover(self, entry: Entry, data: bytes) -> None:
        """Cut a torn tail off, under the lock; damage is copied to quarantine, and left for a repair.

        Args:
            entry: the session, its log open.
            data: the whole log.

        Raises:
            CorruptLog: the damage is not of the kind that a crash leaves.
        """
        parsed = logfile.parse_log(data, entry.id, entry.path)
        if parsed.fault is not None:
            raise refusals.corrupt(entry, 0, f"takes no writes: {parsed.fault}")
        tail = data[parsed.end :]
        verdict = frame.judge(tail, parsed.end)
        # There may be none: then it is the mtime that a writer did not live to raise.
        if tail and (b"\n" in tail or verdict is not frame.Tail.TORN):
            self.layout.quarantine_bytes(entry.path, parsed.nonce, parsed.end, tail)
        if verdict is frame.Tail.DAMAGED:
            raise refusals.corrupt(
                entry,
                parsed.end,
                f"is damaged at byte {parsed.end}; it is served up to there, and takes no writes until it is repaired",
            )
        try:
            if b"\n" in tail and files.fstat(entry.fd).st_nlink > 1:
                # A fork may count what is cut off here, and must not see what comes in its place.
                self.logs.close(entry)
                logfile.replace_log(self.layout, entry.path, data[: parsed.end], parsed.floor_ns)
                return
            files.ftruncate(entry.fd, parsed.end)
            files.raise_mtime(entry.fd, entry.path, parsed.floor_ns)
        except OSError as error:
            raise refusals.write_failed(entry, error) from error

    def append(
        self,
        entry: Entry,
        drafts: Sequence[Draft],
        expected_revision: int | None,
        guard: Callable[[State], None] | None = None,
    ) -> tuple[Message, ...]:
        """Store messages in one commit.

        A draft whose id the caller gave and the history has already is answered with the stored message.

        Args:
            entry: the session.
            drafts: the messages, at least one.
            expected_revision: store them only at this revision.
            guard: called with the current state under the lock; what it raises keeps them from being stored.

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
            messages = self._append_held(entry, drafts, expected_revision, guard)
            if self.power:
                # Also when nothing was missing: the first attempt may have died between its write and its sync.
                synced = keep_for_sync(entry, self.logs.fd(entry, files.stat(entry.path)))
        except OSError as error:
            raise refusals.write_failed(entry, error) from error
        finally:
            if not self._keeps_open:
                self.logs.close(entry)
            try:
                stripe.release()
            except BaseException:
                stripe.release()
                raise
        if synced >= 0:
            sync_and_close(entry, synced)
        return messages

    def append_beside(
        self,
        entry: Entry,
        other: Entry,
        drafts: Sequence[Draft],
        expected_revision: int | None,
        guard: Callable[[State], None],
    ) -> tuple[Message, ...]:
        """The same while the tree and another session's stripe are held, so that ``guard`` can rely on them."""
        with self.holding([entry, other], tree=True, about=entry) as durable:
            messages = self._append_held(entry, drafts, expected_revision, guard)
            durable.add(entry)
        return messages

    def _append_held(
        self,
        entry: Entry,
        drafts: Sequence[Draft],
        expected_revision: int | None,
        guard: Callable[[State], None] | None,
    ) -> tuple[Message, ...]:
        """Append for a caller who holds the stripe."""
        state = self.current(entry)
        if guard is not None:
            guard(state)
        for draft in drafts:
            if draft.is_retry_safe:
                return self._append_missing(entry, state, drafts, expected_revision)
        if expected_revision is not None and expected_revision != state.revision:
            raise refusals.conflict(entry.id, expected_revision, state.revision)
        return self._append_new(entry, state, drafts)

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
                raise refusals.conflict(entry.id, expected_revision, state.revision)
            self._append_new(entry, state, missing)
            state = self.current(entry)
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
            fd = self.logs.fd(entry, files.stat(entry.path))
        head = entry.head
        size = head[1] if head is not None else files.fstat(fd).st_size
        try:
            done = files.write(fd, line)
            if done != len(line):
                files.write_all(fd, line[done:])
            found = files.fstat(fd)
            if found.st_mtime_ns <= entry.floor_ns:
                files.raise_mtime(fd, entry.path, entry.floor_ns)
                found = files.fstat(fd)
            return found
        except OSError as error:
            entry.drop()
            try:
                files.ftruncate(fd, size)
            except OSError:
                # The tail stays dirty; the next writer recovers it.
                pass
            raise refusals.write_failed(entry, error) from error

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
        durable.add(entry, entry.fd)
        state = apply(state, {"events": events, "at": at})
        entry.publish(found, state, chain)
        return state

    @contextmanager
    def translating(self, about: Entry) -> Iterator[None]:
        """Turn what the system refuses into the session's WriteFailed."""
        try:
            yield
        except OSError as error:
            raise refusals.write_failed(about, error) from error

    @contextmanager
    def holding(
        self, entries: Iterable[Entry], *, tree: bool = False, about: Entry | None = None, ordered: bool = False
    ) -> Iterator[Durable]:
        """Hold the stripes of several sessions, and the tree's lock if asked; sync what was written at the end.

        The syncs of the end come after the locks are gone, and before the caller is answered, in ``power`` only. Those
        in between, by which one file can rely on another, come in either durability.

        Args:
            entries: the sessions.
            tree: whether to hold the tree's lock too.
            about: whose failure it is when the system refuses something; the first session's when None.
            ordered: whether more than one session's log is written, also where one stripe is all that is held.

        Raises:
            WriteFailed: the system refused something.
        """
        self.check_writable()
        held = list(entries)
        subject = about or held[0]
        numbers = {entry.stripe.number for entry in held}
        durable = Durable(self.logs, subject, power=self.power, ordered=ordered or tree or len(held) > 1)
        try:
            with self.locks.holding(numbers | ({TREE} if tree else set())):
                try:
                    yield durable
                finally:
                    if not self._keeps_open:
                        for entry in held:
                            self.logs.close(entry)
        except OSError as error:
            durable.abandon()
            raise refusals.write_failed(subject, error) from error
        except BaseException:
            durable.abandon()
            raise
        durable.settle()

    def open_scratch(self, suffix: bytes) -> tuple[bytes, int]:
        """A new file in ``tmp/`` for work without a lock; locked itself, as long as its descriptor is open.

        That it is locked tells a repair that its writer lives. Made and locked under the tree's lock, which the repair
        holds when it looks.
        """
        path = self.layout.scratch(suffix)
        is_held = self.locks.stripes[TREE].owner == threading.get_ident()
        with self.locks.holding([] if is_held else [TREE]):
            fd = files.create(path, self.layout.file_mode)
            self.locks.try_lock(fd, blocking=False)
        return path, fd

    def create(
        self,
        entry: Entry,
        facts: Mapping[str, Any],
        durable: Durable,
        history: tuple[History, int] | None = None,
        past: Sequence[Past] = (),
        more: Sequence[Mapping[str, Any]] = (),
        is_new: bool = False,
        owner: Entry | None = None,
    ) -> State:
        """Make a new log; the stripe is held.

        Args:
            entry: the new session's.
            facts: what the ``created`` event holds.
            durable: from ``holding``.
            history: what a fork starts with, as ``past`` will say.
            past: where a fork's history is kept; the files are there already.
            more: further events of the first commit.
            is_new: whether the caller has seen, in this hold of the stripe, that there is no such session.
            owner: whose history it starts with.

        Raises:
            SessionExists: nothing was changed.
        """
        if not is_new and self._reader.exists_at(entry.path, entry.id):
            raise refusals.already_there(entry.id)
        at = clock.now()
        created = event("created", **facts, **({"past": [list(item) for item in past]} if past else {}))
        events = [created, *more]
        nonce = os.urandom(8).hex()
        # Above the mtime of any log that had this name before: a purged log's inode may be this one's.
        floor_ns = files.fstat(entry.stripe.fd).st_mtime_ns
        data, chain = logfile.first_lines(entry.id, nonce, at, commit(events, 1, at), floor_ns)
        self.layout.make_folder(entry.path, power=self.power)
        scratch = self.layout.scratch(b".log")
        try:
            self._build(scratch, data, floor_ns)
            self._place(scratch, entry)
        except OSError:
            files.remove(scratch)
            raise
        # Of the name, not of the descriptor that built it: events of a write are told under the name that its
        # descriptor was opened by.
        self.logs.close(entry)
        found = files.stat(entry.path)
        if not self.power:
            durable.add_new(entry)
            durable.add_directory(os.path.dirname(os.path.dirname(entry.path)))
        durable.add_directory(os.path.dirname(entry.path))
        entry.poisoned = False
        entry.floor_ns, entry.nonce = floor_ns, nonce
        messages, count = (history[0].shared(history[1]), history[1]) if history else (History(), 0)
        state = apply(initial(entry.id, messages, count), {"events": events, "at": at})
        entry.publish(found, state, chain)
        self.cache.hold(entry, found.st_size, history[0] if history else None, sum(item.size for item in past), owner)
        return state

    def _build(self, scratch: bytes, data: bytes, floor_ns: int) -> None:
        fd = files.create(scratch, self.layout.file_mode)
        try:
            files.write_all(fd, data)
            files.raise_mtime(fd, scratch, floor_ns)
            if self.power:
                files.sync(fd)
        finally:
            files.close(fd)

    def _place(self, scratch: bytes, entry: Entry) -> None:
        try:
            files.place(scratch, entry.path)
        except FileExistsError:
            # Not a session, or create() would have said so.
            self.make_way(entry)
            files.place(scratch, entry.path)

    def make_way(self, entry: Entry) -> None:
        """Put aside what a power cut left of a log that was never synced; to be called where no session exists."""
        if files.exists(entry.path):
            self.layout.quarantine_file(entry.path)

    def close(self) -> None:
        """Close every descriptor. Later calls that need one raise StoreClosed."""
        self.logs.close_all()
        for entry in self.cache.living():
            entry.drop()
        self.locks.close()

    def __del__(self) -> None:
        if hasattr(self, "locks"):
            self.close()

    def before_fork(self) -> None:
        """Let nothing be half opened while the process forks."""
        self.logs.before_fork()
        self.locks.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.locks.after_fork_in_parent()
        self.logs.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: own descriptors, own locks, nothing cached."""
        self.logs.after_fork_in_child()
        self.locks.after_fork_in_child()
        self.cache.after_fork_in_child()
        self.cache.clear()
