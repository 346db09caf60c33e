"""The index of one store in one process: brought up to the logs before each answer, by whoever asks.

Nothing is told to it and nothing waits for it: before an answer the logs' stamps are compared with those in the index,
and what changed is read, from where it was read before. One process writes at a time; another one that lists meanwhile
does not wait for long, but reads what changed for itself and lays that over what the index has.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hierstore.disk import forking
from hierstore.disk.index.catching_up import Overlay, Work, is_behind, read_aside, write
from hierstore.disk.index.database import (
    ABANDONED,
    Damaged,
    Database,
    Unusable,
    is_busy,
    judge,
    patiently,
    places,
    remove_all,
)
from hierstore.disk.index.freshness import Freshness, Heard
from hierstore.disk.index.stamps import Changes, Known
from hierstore.errors import LockTimeout

if TYPE_CHECKING:
    from hierstore.disk.layout import Layout

_PATIENCE_S = 0.25
"""How long a listing waits for a process that writes the index, before it reads the logs for itself."""
_YIELD_S = 0.02
"""How long others get to begin between two transactions: longer than they sleep when they wait for it."""
_FORK_WAIT_S = 2.0
_ATTEMPTS = 3
_NONSENSE = (TypeError, ValueError, KeyError, IndexError, AttributeError, zlib.error)
"""What rows of an index raise that is damaged in a way that SQLite does not see."""
_OPTIMIZE_WAIT_S = 5.0

Result = TypeVar("Result")


class View(NamedTuple):
    """The index, as fresh as the logs were when it was asked for.

    Attributes:
        sql: to be read in the transaction that is open.
        overlay: what to lay over it.
    """

    sql: sqlite3.Connection
    overlay: Overlay


class Index:
    """One process's way to the index of one store; opened when first asked. Any thread may call.

    Args:
        layout: where everything is.
        timeout_s: how long to wait for another process, seconds.
        read_only: keep it outside the store.
        check_open: raises when the store was closed.
    """

    def __init__(self, layout: Layout, *, timeout_s: float, read_only: bool, check_open: Callable[[], None]) -> None:
        self._layout = layout
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._check_open = check_open
        self._mutex = threading.Lock()
        self._database: Database | None = None
        self._is_private = False
        self._known = Known(layout.sessions, layout.trash)
        self.freshness: Freshness = Heard(layout, self._known.count)
        self._version = -1
        self._is_compared = False
        self._pending: set[bytes] = set()
        self._is_held_for_fork = False
        forking.register(self)

    # Asking

    def listing(self, ask: Callable[[View], Result]) -> Result:
        """Ask for what listings need: every change of before this call is in it."""
        return self._asked(ask, with_text=False)

    def search(self, ask: Callable[[View], Result]) -> Result:
        """Ask for what searches need.

        Raises:
            LockTimeout: another process kept the index to itself for too long.
        """
        return self._asked(ask, with_text=True)

    def _asked(self, ask: Callable[[View], Result], *, with_text: bool) -> Result:
        work: Work | None = None
        failures = 0
        while True:
            # Not held from one step to the next: other threads and other processes get in between.
            with self._held():
                try:
                    done = self._step(work, with_text=with_text)
                    if isinstance(done, Overlay):
                        return self._answer(ask, done)
                    work = done
                except (sqlite3.Error, Damaged, Unusable, *_NONSENSE) as error:
                    work = None
                    failures += 1
                    self._start_anew(self._verdict(error), failures)
                    if failures == _ATTEMPTS:
                        raise
            time.sleep(_YIELD_S)

    def _verdict(self, error: Exception) -> Exception:
        if isinstance(error, Damaged | Unusable):
            return error
        if not isinstance(error, sqlite3.Error):
            return Damaged(repr(error))
        verdict = judge(error)
        if verdict is error:
            raise self._timeout() from error
        return verdict

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._mutex.acquire(timeout=max(0, self._timeout_s)):
            raise self._timeout()
        try:
            self._check_open()
            yield
        finally:
            self._mutex.release()

    def _timeout(self) -> LockTimeout:
        path = self._layout.root.decode(errors="replace")
        return LockTimeout(
            f"The index of the store {path} stayed taken for {self._timeout_s:.1f} seconds.",
            path=path, waited_s=self._timeout_s, holder=None,
        )  # fmt: skip

    def _answer(self, ask: Callable[[View], Result], overlay: Overlay) -> Result:
        # The one that was brought up to date: where another process discarded the file since, a new one would be empty.
        if self._database is None:
            raise Damaged("the index is gone")
        sql = self._database.sql
        patiently(lambda: sql.execute("BEGIN").execute("SELECT 1 FROM fact").fetchone(), self._timeout_s)
        try:
            return ask(View(sql, overlay))
        finally:
            _end(sql)

    # Opening

    def _sql(self) -> sqlite3.Connection:
        return self._open()

    def _open(self) -> sqlite3.Connection:
        """The connection, to the file that others have open too."""
        if self._database is not None and not self._database.is_current():
            self._close()
        if self._database is None:
            self._database = self._opened()
            self._known.forget()
            self._version = -1
            self._is_compared = False
            self._pending.clear()
        return self._database.sql

    def _opened(self) -> Database:
        layout = self._layout
        if not self._is_private:
            index = layout.root + b"/index"
            for folder in places(layout.root, read_only=self._read_only):
                is_inside = folder == index
                try:
                    return Database(
                        folder,
                        timeout_s=self._timeout_s,
                        file_mode=layout.file_mode if is_inside else 0o600,
                        folder_mode=layout.folder_mode if is_inside else 0o700,
                    )
                except (Unusable, Damaged):
                    continue
        return Database(None, timeout_s=self._timeout_s, file_mode=0o600, folder_mode=0o700)

    def _start_anew(self, verdict: Exception, failures: int) -> None:
        """Leave an index that is damaged, or a place where none can be kept."""
        database, self._database = self._database, None
        # The disk is full, or went away, or damages again and again: what is asked is answered from memory.
        self._is_private = self._is_private or isinstance(verdict, Unusable) or failures >= _ATTEMPTS - 1
        if database is None:
            return
        if isinstance(verdict, Unusable):
            database.close()
        else:
            try:
                database.discard()
            except OSError:
                # It stays where it is, and nobody here asks it again.
                self._is_private = True

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    # Catching up

    def _step(self, work: Work | None, *, with_text: bool) -> Work | Overlay:
        """Bring the index up to the logs, as far as one transaction does.

        Args:
            work: what is left of the step before; None: find out what there is to do.
            with_text: whether search needs it.

        Returns:
            What is left; an Overlay when the index is up to the logs, but for what that holds.
        """
        sql = self._open()
        if work is None or work.sql is not sql:
            self._load(sql)
            changes = self._changes()
            wait_s = self._timeout_s if with_text else min(_PATIENCE_S, self._timeout_s)
            work = Work(sql, with_text, changes, with_text and is_behind(sql), time.monotonic() + wait_s)
        if work.is_done:
            return Overlay({})
        if not self._begin(sql, work.deadline):
            if with_text:
                raise self._timeout()
            self._load(sql)
            work.changes = self._known.still(work.changes)
            return read_aside(self._known, work)
        self._write(work)
        work.deadline = time.monotonic() + self._timeout_s
        return Overlay({}) if work.is_done else work

    def _write(self, work: Work) -> None:
        """Write a part of what is to be done, in a transaction that has begun."""
        try:
            self._load(work.sql)
            # Another process, or another thread between two steps, may have been faster.
            work.changes = self._known.still(work.changes)
            stamps = write(self._known, work)
            work.sql.execute("COMMIT")
        except BaseException:
            _end(work.sql)
            self._known.forget()
            self._version = -1
            raise
        self._pending -= {self._known.path(name) for name, stamp in stamps.items() if stamp is None or stamp[0] >= 0}

    def _load(self, sql: sqlite3.Connection) -> bool:
        """Know what other processes have written to the index; whether there was anything."""
        version = patiently(lambda: sql.execute("PRAGMA data_version").fetchone()[0], self._timeout_s)
        if version == self._version:
            return False
        patiently(lambda: self._known.load(sql), self._timeout_s)
        self._version = version
        return True

    def _changes(self) -> Changes:
        """The logs that are not as the index has them."""
        # Whatever ends this halfway: what was told is not told again, and all is looked at.
        was_compared, self._is_compared = self._is_compared, False
        maybe_changed = self.freshness.changed()
        if maybe_changed is None or not was_compared:
            found = self._known.changes()
        else:
            found = self._known.changes_among(self._pending | maybe_changed)
        # Until it is written: nobody tells of it again.
        self._pending = {self._known.path(name) for name in found}
        self._is_compared = True
        return found

    def _begin(self, sql: sqlite3.Connection, deadline: float) -> bool:
        """Begin to write; False when another process does, until the deadline."""
        try:
            patiently(lambda: sql.execute("BEGIN IMMEDIATE"), max(0.0, deadline - time.monotonic()))
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return False
            raise
        return True

    # Forgetting

    def scrub(self) -> None:
        """Let the index hold nothing of sessions that were purged; where there is none, none is made."""
        try:
            with self._held():
                # Whatever is told of changes: this must not miss one.
                self._is_compared = False
            self.search(_optimize)
            with self._held():
                patiently(self._checkpoint, self._timeout_s)
        except (sqlite3.Error, Damaged, Unusable, LockTimeout):
            # Whatever is wrong with it: without it nothing of them is left.
            with self._held():
                self._open()
                self._start_anew(Damaged("it could not be scrubbed"), 0)

    def renew(self) -> int:
        """Make the index anew from the logs, with all their text, whatever state it is in.

        Returns:
            How many sessions it then has.

        Raises:
            OSError: the one that is there cannot be removed.
            LockTimeout: another process kept the new one to itself for too long.
        """
        with self._held():
            self._close()
            # What kept it from a file may be mended by now.
            self._is_private = False
            for folder in places(self._layout.root, read_only=self._read_only):
                remove_all(folder)
        return self.search(_count)

    def _checkpoint(self) -> None:
        """Empty SQLite's log of writes, which others may be reading."""
        if self._sql().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            busy = sqlite3.OperationalError("somebody reads the log of writes")
            busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise busy

    # Life

    def close(self) -> None:
        """Close the index; it must not be asked again."""
        with self._mutex:
            self.freshness.close()
            self._close()

    def __del__(self) -> None:
        if getattr(self, "_database", None) is not None:
            self._close()

    def before_fork(self) -> None:
        """Close the connection, which a child must neither use nor close; the next call opens it again.

        SQLite knows of each process which locks it has on a file; a child would take its parent's for its own.
        """
        self._is_held_for_fork = self._mutex.acquire(timeout=_FORK_WAIT_S)
        if self._is_held_for_fork:
            self._close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_held_for_fork:
            self._is_held_for_fork = False
            self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Start anew; where a thread of the parent was at work, without the file, whose locks cannot be told apart."""
        self._mutex = threading.Lock()
        # A queue of changes is the parent's, which reads it.
        self.freshness.close()
        if self._database is not None:
            ABANDONED.append(self._database.sql)
            self._database = None
            self._is_private = True
        self._is_held_for_fork = False


def _optimize(view: View) -> None:
    """Have FTS5 write its words anew: those of rows that were deleted stay with it until then."""
    _end(view.sql)
    patiently(lambda: view.sql.execute("INSERT INTO text (text) VALUES ('optimize')"), _OPTIMIZE_WAIT_S)


def _count(view: View) -> int:
    found: int = view.sql.execute("SELECT count(*) FROM log WHERE listed").fetchone()[0]
    return found


def _end(sql: sqlite3.Connection) -> None:
    if sql.in_transaction:
        try:
            sql.execute("ROLLBACK")
        except sqlite3.Error:
            # The connection is of no use any more, and will be closed.
            return
