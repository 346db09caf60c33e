"""Stripes of locks: one empty file each, kept open, locked with ``flock`` (or its like) through filelock.

A session's stripe is chosen by its id. Behind each descriptor stands a ``threading.Lock``, because two threads that
share a descriptor do not exclude each other. Stripes are taken in ascending order, the tree's lock before all.

A lock file is never unlinked and never renamed: whoever held the old file and whoever opened the new one would both
be inside.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hierstore.disk import files
from hierstore.errors import InvalidRoot, LockTimeout, StoreClosed
from hierstore.naming import STRIPES

TREE = STRIPES
"""The number of the lock over the shape of the tree: held by what moves, deletes and restores sessions."""

_NO_LOCKS = frozenset([errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
CLOSING_S = 2.0
"""How long closing a store waits for each lock that a thread has."""

_FIRST_WAIT_S = 50e-6
_LONGEST_WAIT_S = 2e-3


class Stripe:
    """One lock between threads and processes. Not reentrant.

    Of several waiters any may be next. A process that dies lets go at once.

    Attributes:
        number: its place in the order in which several are taken.
        path: the lock file.
        mutex: the lock between threads.
        fd: the lock file's descriptor, or -1.
        owner: the thread that holds the lock, or 0: its own reads of the stripe's sessions must not wait for it.
    """

    __slots__ = ("_is_file_locked", "_table", "fd", "mutex", "number", "owner", "path")

    def __init__(self, table: LockTable, number: int, path: bytes) -> None:
        self._table = table
        self.number = number
        self.path = path
        self.mutex = threading.Lock()
        self.fd = -1
        self.owner = 0
        self._is_file_locked = False

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            LockTimeout: it stayed taken.
            StoreClosed: the store was closed.
            OSError: the lock file cannot be opened.
        """
        table = self._table
        if not self.mutex.acquire(False):
            table.wait_for_thread(self)
        self.owner = threading.get_ident()
        self._is_file_locked = True
        try:
            if self.fd < 0:
                table.open(self)
            if not table.try_lock(self.fd, blocking=False):
                table.wait_for_process(self)
        except BaseException:
            # A Ctrl-C may have come when the file was locked already: unlocking what is not locked does no harm.
            self.release()
            raise

    def mark_locked(self) -> None:
        """Note that the file is locked; for ``maybe_take``."""
        self._is_file_locked = True

    def release(self) -> None:
        """Let others in; nothing when this thread does not hold the lock.

        A Ctrl-C may be raised before the first line of this, so whoever must not keep the lock calls it again then.
        """
        if self.owner == threading.get_ident():
            try:
                self.release_file()
            except OSError:
                self.owner = 0
                self.mutex.release()
                raise
            # Not in a finally: after a Ctrl-C in there the file is still locked, and this is called again. No signal is
            # handled between these two.
            self.owner = 0
            self.mutex.release()

    def release_file(self) -> None:
        """Let other processes in, while this process's other threads go on waiting: to parse what was read."""
        if self._is_file_locked and self.fd >= 0:
            self._table.unlock(self.fd)
        self._is_file_locked = False


class LockTable:
    """The locks of one store: 256 stripes and the tree's.

    Args:
        folder: where the lock files are.
        timeout_s: how long to wait for one.
        file_mode: the permissions of a new lock file.
    """

    def __init__(self, folder: bytes, timeout_s: float, file_mode: int) -> None:
        # Imported with the first store, not with the package: it costs as much as everything else together.
        from filelock import lock_descriptor, unlock_descriptor

        self.try_lock = lock_descriptor
        self.unlock = unlock_descriptor
        self.timeout_s = timeout_s
        self._file_mode = file_mode
        self._closed = False
        self._open_order: dict[Stripe, None] = {}
        self._opening = threading.Lock()
        self._holders: set[int] = set()
        paths = [b"%b/%02x.lock" % (folder, number) for number in range(STRIPES)]
        paths.append(b"%b/tree.lock" % folder)
        self._folder = folder
        self.stripes = [Stripe(self, number, path) for number, path in enumerate(paths)]

    def open(self, stripe: Stripe) -> None:
        """Open a stripe's file, which must be closed; may close another that nobody holds."""
        with self._opening:
            if self._closed:
                raise self._closed_error()
            if len(self._open_order) >= files.MAX_OPEN_LOCKS:
                self._close_one(stripe)
            stripe.fd = self._open_file(stripe.path)
            self._open_order[stripe] = None

    def _closed_error(self) -> StoreClosed:
        return StoreClosed("The store is closed.", root=os.fsdecode(os.path.dirname(self._folder)))

    def _open_file(self, path: bytes) -> int:
        fd = files.open_file(path, files.LOCK, self._file_mode)
        try:
            if files.HAS_OWNERS and files.fstat(fd).st_uid == os.geteuid():
                files.set_mode(fd, self._file_mode)
        except BaseException:
            files.close(fd)
            raise
        return fd

    def _close_one(self, keep: Stripe) -> None:
        for stripe in self._open_order:
            # A thread that waits for or holds the stripe has its mutex, and needs the descriptor.
            if stripe is not keep and stripe.mutex.acquire(False):
                self._close(stripe)
                stripe.mutex.release()
                return

    def _close(self, stripe: Stripe) -> None:
        fd, stripe.fd = stripe.fd, -1
        self._open_order.pop(stripe, None)
        if fd >= 0:
            # An error is of no consequence, as nothing is ever written there; the descriptor is gone all the same.
            files.let_go(fd)

    def wait_for_thread(self, stripe: Stripe) -> None:
        """Take the stripe's mutex from another thread."""
        if not stripe.mutex.acquire(timeout=self.timeout_s):
            self._fail(stripe, self.timeout_s)

    def wait_for_process(self, stripe: Stripe) -> None:
        """Take the stripe's file lock from another process.

        Not the blocking call: it cannot time out. And not filelock's poll of 50 ms, which starves: of eight
        processes one got in once in three seconds. The waits are jittered, and stay short: a lock is held for
        microseconds. With 8 processes on one session and 2 cores, a longest wait of 1 ms gave 41,000 appends a second
        and 1.3 between the slowest process and the fastest, 4 ms 48,000 and up to 2.0, 8 ms 55,000 and 3.
        """
        import random

        began = time.monotonic()
        wait_s = _FIRST_WAIT_S
        while True:
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
            if self._closed:
                raise self._closed_error()
            if self.try_lock(stripe.fd, blocking=False):
                return
            waited_s = time.monotonic() - began
            if waited_s >= self.timeout_s:
                self._fail(stripe, waited_s)
            wait_s = min(wait_s * 1.5, _LONGEST_WAIT_S)

    def _fail(self, stripe: Stripe, waited_s: float) -> None:
        path = os.fsdecode(stripe.path)
        holder = maybe_holder(stripe.path)
        by = f" by process {holder}" if holder is not None else ""
        raise LockTimeout(
            f"The lock {path} stayed taken{by} for {waited_s:.1f} seconds.", path=path, waited_s=waited_s, holder=holder
        )

    def maybe_take(self, stripe: Stripe) -> bool:
        """Take the lock if it is free at once; False if not."""
        if not stripe.mutex.acquire(False):
            return False
        stripe.owner = threading.get_ident()
        taken = False
        try:
            if stripe.fd < 0:
                self.open(stripe)
            taken = self.try_lock(stripe.fd, blocking=False)
        finally:
            if taken:
                stripe.mark_locked()
            else:
                stripe.release()
        return taken

    @contextmanager
    def holding(self, numbers: Iterable[int]) -> Iterator[None]:
        """Hold several stripes, taken in one order by everyone: the tree's first, then ascending."""
        taken: list[Stripe] = []
        me = threading.get_ident()
        is_outer = me not in self._holders
        try:
            self._holders.add(me)
            for number in sorted(set(numbers), key=lambda number: (number != TREE, number)):
                taken.append(self.stripes[number])
                self.stripes[number].acquire()
            yield
        finally:
            if is_outer:
                self._holders.discard(me)
            for stripe in reversed(taken):
                try:
                    stripe.release()
                except BaseException:
                    stripe.release()
                    raise

    def is_holding(self) -> bool:
        """Whether this thread holds stripes by ``holding``: it must not wait for one more, outside the order."""
        return threading.get_ident() in self._holders

    def probe(self) -> None:
        """See whether locks work here: a second descriptor of a locked file must not get the lock.

        Raises:
            InvalidRoot: they do not.
        """
        path = os.path.join(self._folder, b"probe.lock")
        root = os.fsdecode(os.path.dirname(self._folder))
        try:
            first = self._open_file(path)
        except OSError as error:
            raise InvalidRoot(f"The locks of the store {root} cannot be used: {error.strerror}.", root=root) from error
        try:
            second = self._open_file(path)
            try:
                # When the first try fails another process is probing, and was kept out of nothing: locks work.
                if self.try_lock(first, blocking=False) and self.try_lock(second, blocking=False):
                    raise InvalidRoot(
                        f"The file system of {root} lets two descriptors hold one lock, so a store there would lose"
                        " messages; keep it on a local disk.",
                        root=root,
                    )
            finally:
                files.close(second)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise InvalidRoot(
                    f"The locks of the store {root} cannot be used: {error.strerror}.", root=root
                ) from error
            raise InvalidRoot(
                f"The file system of {root} has no working file locks ({error.strerror}); keep the store on a local"
                " disk.",
                root=root,
            ) from error
        finally:
            files.close(first)

    def before_fork(self) -> None:
        """Let no descriptor be half opened while the process forks."""
        self._opening.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._opening.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's locks: a descriptor shared with it is one lock that both would hold.

        Closing the copies does not unlock: the parent's descriptor still stands for the lock.
        """
        self._opening = threading.Lock()
        self._holders = set()
        for stripe in self.stripes:
            stripe.mutex = threading.Lock()
            stripe.owner = 0
            self._close(stripe)

    def close(self) -> None:
        """Close all files, each when its holder lets go; every later acquire raises StoreClosed."""
        with self._opening:
            self._closed = True
            stripes = list(self._open_order)
        for stripe in stripes:
            # One that does not come free is a thread's that hangs, or that a Ctrl-C cut off in the wrong moment. Its
            # descriptor stays open: closing it under somebody's hands is worse than leaving it.
            if stripe.mutex.acquire(timeout=CLOSING_S):
                try:
                    with self._opening:
                        self._close(stripe)
                finally:
                    stripe.mutex.release()


def maybe_holder(path: bytes) -> int | None:
    """The process that holds the lock on a file, where the system tells (Linux, ``/proc/locks``)."""
    try:
        found = files.stat(path)
        wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        with open("/proc/locks", encoding="ascii") as table:
            rows: list[Any] = [line.split() for line in table]
    except OSError:
        return None
    for row in rows:
        if "->" not in row and wanted in row:
            return int(row[row.index(wanted) - 1])
    return None
