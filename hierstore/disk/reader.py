"""Reading a session: from the cache where the file's stamp says so, else what is new of it, under its lock."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hierstore.disk import files, logfile, refusals
from hierstore.disk.cache import Cache, Entry
from hierstore.errors import CorruptLog, UnreadableLog
from hierstore.log import frame
from hierstore.log.state import State, fold
from hierstore.naming import stripe_of

if TYPE_CHECKING:
    from hierstore.disk.descriptors import OpenLogs
    from hierstore.disk.layout import Layout
    from hierstore.disk.locks import LockTable

MAX_ATTEMPTS = 5
_BEGINNING_BYTES = 2**12


class Reader:
    """One process's view of one store's sessions. All methods may be called from any thread.

    Args:
        layout: where everything is.
        cache: the entries.
        locks: the stripes.
        logs: the open logs.
        read_only: take no lock.
    """

    def __init__(self, layout: Layout, cache: Cache, locks: LockTable, logs: OpenLogs, *, read_only: bool) -> None:
        self._layout = layout
        self._cache = cache
        self._locks = locks
        self._logs = logs
        self._read_only = read_only
        self._keeps_open = files.KEEPS_OPEN_FILES_MOVABLE

    def entry(self, session_id: str) -> Entry:
        """The entry of an id that ``naming.check_id`` has passed."""
        return self._cache.entry(session_id, self._make_entry)

    def _make_entry(self, session_id: str) -> Entry:
        return Entry(session_id, self._layout.log(session_id), self._locks.stripes[stripe_of(session_id)])

    def registry(self, number: int) -> Entry:
        """The entry of a part of the registry, 0 to 255: a log as any other, under the stripe of that number."""

        def make(_: object) -> Entry:
            return Entry(f"registry {number:02x}", self._layout.registry(number), self._locks.stripes[number])

        return self._cache.entry(number, make)

    def exists(self, session_id: str) -> bool:
        """Whether the session has a log.

        Raises:
            UnreadableLog: the system does not say.
        """
        self.check_open()
        return self.exists_at(self._layout.log(session_id), session_id)

    @staticmethod
    def exists_at(path: bytes, session_id: str) -> bool:
        """The same of a log at a path."""
        try:
            if files.stat(path).st_size == 0:
                return False
            fd = files.open_regular(path, files.READ)
            try:
                beginning = files.read(fd, _BEGINNING_BYTES, 0)
                # Nearly every log has both of its first lines there.
                if b"\0" not in beginning and beginning.count(b"\n") > 1:
                    return True
                return not frame.is_unfinished(files.read(fd, files.fstat(fd).st_size, 0))
            finally:
                files.close(fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise refusals.unreadable(error, session_id, path) from error

    def check_open(self) -> None:
        """Refuse to work for a store that was closed.

        Raises:
            StoreClosed: it was.
        """
        if self._logs.is_closed:
            raise refusals.closed(self._layout.root)

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
        if self._read_only:
            return self._read_without_lock(entry)
        for _ in range(MAX_ATTEMPTS):
            try:
                state = self._read_new(entry)
            except OSError as error:
                raise refusals.unreadable(error, entry.id, entry.path) from error
            if state is not None:
                return state
        raise refusals.corrupt(entry, 0, "kept changing other than by growing")

    def _read_new(self, entry: Entry) -> State | None:
        """Read what is new, once; None when everything must be read again."""
        if entry.stripe.owner == threading.get_ident():
            return self.digest(entry, *self.read_bytes(entry))[0]
        if self._locks.is_holding():
            # Stripes are taken in one order; a holder that waited for another here might wait for one who waits for it.
            if not self._locks.maybe_take(entry.stripe):
                return self._read_prefix(entry)
        else:
            self.lock(entry)
        try:
            try:
                found, data, base = self.read_bytes(entry)
            finally:
                if not self._keeps_open:
                    self._logs.close(entry)
            entry.stripe.release_file()
            # Parsed after other processes were let in; this process's threads still wait for the mutex.
            return self.digest(entry, found, data, base)[0]
        finally:
            try:
                entry.stripe.release()
            except BaseException:
                entry.stripe.release()
                raise

    def _read_prefix(self, entry: Entry) -> State:
        """The committed prefix, without the lock and past the cache; what its holder writes now nobody was told of."""
        return self.parse(entry)[1].state

    def peek(self, entry: Entry) -> State:
        """The session as it is now, without waiting for a lock and without keeping it in the cache.

        Raises:
            SessionNotFound, UnreadableLog, CorruptLog: as ``read``.
        """
        head = entry.head
        if head is not None:
            try:
                found = files.stat(entry.path)
            except OSError:
                return self._read_prefix(entry)
            if (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev) == head[:4]:
                return head[4]
        return self._read_prefix(entry)

    def lock(self, entry: Entry) -> None:
        """Take the session's stripe, to read it."""
        try:
            entry.stripe.acquire()
        except OSError as error:
            raise refusals.unreadable(error, entry.id, entry.stripe.path) from error

    def read_at(self, entry: Entry, revision: int) -> State:
        """The session as it was at a revision: the beginning of its log, folded anew.

        Raises:
            RevisionNotFound: a compaction dropped it.
        """
        self.read(entry)
        data, parsed = self.parse(entry, revision)
        if parsed.skipped is not None:
            # Judged by the same bytes: the log may have been compacted since anybody looked.
            whole = logfile.parse_log(data, entry.id, entry.path, known=self._cache.pasts).state
            if not whole.is_whole(revision):
                raise refusals.compacted(entry.id, revision)
        return parsed.state

    def parse(self, entry: Entry, until: int | None = None) -> tuple[bytes, logfile.Parsed]:
        """The log's bytes, read without a lock, and what they say.

        Raises:
            SessionNotFound, UnreadableLog, CorruptLog, FormatTooNew.
        """
        for attempt in range(MAX_ATTEMPTS):
            data = self.log_bytes(entry)
            try:
                return data, logfile.parse_log(data, entry.id, entry.path, until, self._cache.pasts)
            except (CorruptLog, UnreadableLog):
                # The past of a fork may have been replaced since its log was read; once more tells.
                if attempt == MAX_ATTEMPTS - 1:
                    raise
        raise refusals.corrupt(entry, 0, "kept changing other than by growing")

    def log_bytes(self, entry: Entry) -> bytes:
        """The log's bytes as they are, read without a lock: what is committed never changes, the end may be torn."""
        try:
            return files.read_all(entry.path)
        except FileNotFoundError:
            raise refusals.not_found(entry.id) from None
        except OSError as error:
            raise refusals.unreadable(error, entry.id, entry.path) from error

    def read_bytes(self, entry: Entry) -> tuple[os.stat_result, bytes, State | None]:
        """Under the lock: the stamp, the bytes not yet known, and the state that they follow on.

        No bytes with a state mean that the state is current.
        """
        found = self.stat(entry)
        head = entry.head
        fd = self._logs.fd(entry, found)
        try:
            if head is not None and (head[2], head[3]) == (found.st_ino, found.st_dev):
                if found.st_size > head[1]:
                    data = files.read(fd, found.st_size - head[1], head[1])
                    # The stamp from before these bytes will do: no writer comes in between, and what somebody without
                    # the lock writes there makes it differ from the file's, which is then read again.
                    is_all = len(data) == found.st_size - head[1]
                    return found if is_all else files.fstat(fd), data, head[4]
                if (head[0], head[1]) == (found.st_mtime_ns, found.st_size):
                    return found, b"", head[4]
            data = files.read(fd, found.st_size, 0)
            return files.fstat(fd), data, None
        except OSError as error:
            raise refusals.unreadable(error, entry.id, entry.path) from error

    def digest(self, entry: Entry, found: os.stat_result, data: bytes, base: State | None) -> tuple[State | None, bool]:
        """Fold bytes read under the lock and store the result with their stamp, unless a tail is dirty.

        Returns:
            The state, and whether it is of the whole file, so that a writer may go on from it (asking the entry would
            not tell: another thread may have dropped it for its age). No state when the bytes do not continue what was
            cached, and everything must be read again.
        """
        if base is None:
            return self._digest_whole(entry, found, data)
        if not data:
            return base, True
        scan = frame.scan(data, entry.chain, base.revision)
        try:
            is_next = scan.end == len(data) and found.st_mtime_ns > entry.floor_ns
            state = fold(base, data) if is_next else None
        except logfile.NO_COMMIT:
            state = None
        if state is None:
            # A torn tail, or another file's bytes: only reading it whole tells.
            entry.drop()
            return None, False
        entry.publish(found, state, scan.chain)
        if found.st_size >= entry.recount_at:
            self._cache.hold(entry, found.st_size)
        return state, True

    def _digest_whole(self, entry: Entry, found: os.stat_result, data: bytes) -> tuple[State, bool]:
        entry.drop()
        parsed = logfile.parse_log(data, entry.id, entry.path, known=self._cache.pasts)
        entry.floor_ns, entry.nonce = parsed.floor_ns, parsed.nonce
        is_whole = parsed.end == found.st_size == len(data) and parsed.fault is None
        # A writer died before it could raise the mtime: the log that had this name before may have had this stamp.
        is_whole = is_whole and found.st_mtime_ns > parsed.floor_ns
        if is_whole:
            entry.publish(found, parsed.state, parsed.chain)
            self._cache.hold(entry, found.st_size, parsed.shared, parsed.shared_size)
        return parsed.state, is_whole

    def _read_without_lock(self, entry: Entry) -> State:
        """The committed prefix, for a store that only reads: an unfinished tail may be a write in progress."""
        self.check_open()
        for attempt in range(MAX_ATTEMPTS):
            try:
                fd = files.open_regular(entry.path, files.READ)
            except FileNotFoundError:
                entry.drop()
                raise refusals.not_found(entry.id) from None
            except OSError as error:
                raise refusals.unreadable(error, entry.id, entry.path) from error
            try:
                # Before the bytes: a file that grows in between is larger than its stamp says, and read again.
                found = files.fstat(fd)
                data = files.read(fd, found.st_size, 0)
            except OSError as error:
                raise refusals.unreadable(error, entry.id, entry.path) from error
            finally:
                files.close(fd)
            try:
                with entry.stripe.mutex:
                    state, _ = self.digest(entry, found, data, None)
            except (CorruptLog, UnreadableLog):
                # The log, or a fork's past, may have been replaced between two calls; once more tells.
                if attempt == MAX_ATTEMPTS - 1:
                    raise
                continue
            if state is not None:
                return state
        raise refusals.corrupt(entry, 0, "kept changing other than by growing")

    def stat(self, entry: Entry) -> os.stat_result:
        """The log's ``stat``, with the stripe held."""
        try:
            return files.stat(entry.path)
        except FileNotFoundError:
            self._logs.close(entry)
            self._cache.forget(entry)
            raise refusals.not_found(entry.id) from None
        except OSError as error:
            raise refusals.unreadable(error, entry.id, entry.path) from error
