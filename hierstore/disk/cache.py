"""The one cache: a session's entry, and how many bytes of entries are kept.

An entry's head holds the stamp and the state that it stands for in one tuple, so they are replaced and dropped
together, and a reader without a lock never pairs one's stamp with another's state.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from hierstore.disk.locks import Stripe
from hierstore.history import History
from hierstore.log.state import State

Head = tuple[int, int, int, int, State]
"""(st_mtime_ns, st_size, st_ino, st_dev, state): what one ``fstat`` under the lock said, and the state of those bytes.

``st_ctime_ns`` stays out: the hard link of a fork moves it, and on Windows it means creation.
"""

_Key = TypeVar("_Key", str, int)

_FIXED_COST = 2048
_RECOUNT = 2**16
_GROWTH = 1.5
"""A cached session's bytes in memory for each on disk; measured 0.5 as read, 1.4 when every message is decoded."""


class Entry:
    """What one process knows of one session. One object an id, shared by all its handles.

    ``head`` may be read by any thread at any time. All else belongs to whoever holds the stripe.

    Attributes:
        id: the session's id.
        path: its log.
        stripe: its lock.
        head: the validated state, or None.
        chain: the chain value at the end of ``head``'s bytes.
        ctime: ``st_ctime_ns`` with ``head``: no part of its stamp, a hint for the listener.
        fd: a descriptor of the log, or -1.
        file: ``(st_dev, st_ino)`` behind ``fd``.
        floor_ns: from the log's header: its mtime is kept larger, or it has no stamp.
        nonce: from the log's header: tells it from another session that had or gets its id.
        named: the nonce of the log of which this process knows that its name is on the medium.
        poisoned: a sync failed; no more writes through this entry.
        used: read since the cache last looked for something to drop.
        cost: the bytes that the cache counts for it.
        recount_at: the log's size from which on the cache should count it again.
        shared: the list of messages of another session that this one's state keeps alive, or None.
    """

    __slots__ = (
        "__weakref__", "chain", "cost", "ctime", "fd", "file", "floor_ns", "head", "id", "named", "nonce", "path",
        "poisoned", "recount_at", "shared", "stripe", "used",
    )  # fmt: skip

    def __init__(self, session_id: str, path: bytes, stripe: Stripe) -> None:
        self.id = session_id
        self.path = path
        self.stripe = stripe
        self.head: Head | None = None
        self.chain = 0
        self.ctime = 0
        self.fd = -1
        self.file = (0, 0)
        self.floor_ns = 0
        self.nonce = ""
        self.named = ""
        self.poisoned = False
        self.used = False
        self.cost = 0
        self.recount_at = 0
        self.shared: History | None = None

    def publish(self, found: os.stat_result, state: State, chain: int) -> None:
        """Store a state with its stamp.

        Args:
            found: from ``fstat`` in the hold of the lock in which the bytes were read or written, which end where the
                file ends: over a dirty tail a later truncation and append could bring an equal stamp back.
            state: what those bytes fold to.
            chain: the chain value at their end.
        """
        self.chain = chain
        self.ctime = found.st_ctime_ns
        self.head = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, state)

    def drop(self) -> None:
        """Forget value and stamp together."""
        self.head = None


class _Shared:
    """A list of messages that several states keep alive.

    Attributes:
        cost: the bytes that the cache counts for it.
        users: how many entries share it.
        owner: the entry of the session whose list it is, while it is counted with that one, or None.
    """

    __slots__ = ("cost", "owner", "users")

    def __init__(self, cost: int) -> None:
        self.cost = cost
        self.users = 0
        self.owner: Entry | None = None


class Cache:
    """All entries of a store, with the states of the least recently used dropped.

    Args:
        limit_bytes: how many bytes of states to keep. The latest one stays even if it is larger alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._entries: weakref.WeakValueDictionary[str | int, Entry] = weakref.WeakValueDictionary()
        self._held: dict[Entry, None] = {}
        self._shared: dict[History, _Shared] = {}
        self._lent: dict[Entry, set[_Shared]] = {}
        self._total = 0
        self.pasts: weakref.WeakValueDictionary[tuple[int, ...], History] = weakref.WeakValueDictionary()

    @property
    def size_bytes(self) -> int:
        """The bytes counted for the states held."""
        return self._total

    def entry(self, key: _Key, make: Callable[[_Key], Entry]) -> Entry:
        """The one entry of a session's id, or of the number of a part of the registry."""
        entry = self._entries.get(key)
        if entry is None:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = make(key)
        return entry

    def hold(
        self,
        entry: Entry,
        size_bytes: int,
        shared: History | None = None,
        shared_bytes: int = 0,
        owner: Entry | None = None,
    ) -> None:
        """Count an entry that has just got a head, and drop others until the limit holds.

        Args:
            entry: the entry.
            size_bytes: the size on disk of what was read for it.
            shared: a list of messages that its state shares with other entries'; counted once for all of them.
            shared_bytes: that list's size on disk.
            owner: whose state the list is part of, and counted with, as long as that is held.
        """
        cost = int(size_bytes * _GROWTH) + _FIXED_COST
        with self._lock:
            if shared is not None and entry.shared is None:
                self._share(entry, shared, int(shared_bytes * _GROWTH), owner)
            self._total += cost - entry.cost
            entry.cost = cost
            entry.recount_at = size_bytes + max(_RECOUNT, size_bytes // 4)
            # Not "used": that is for those asked for again, or all would be, and the oldest would go for its age.
            self._held.pop(entry, None)
            self._held[entry] = None
            # Second chance: what was read since the last look goes to the back once, so that a hit takes no lock.
            looks = 2 * len(self._held)
            while self._total > self._limit and len(self._held) > 1 and looks:
                looks -= 1
                oldest = next(iter(self._held))
                if oldest is entry or oldest.used:
                    oldest.used = False
                    del self._held[oldest]
                    self._held[oldest] = None
                else:
                    self._release(oldest)

    def _share(self, entry: Entry, history: History, cost: int, owner: Entry | None) -> None:
        shared = self._shared.get(history)
        if shared is None:
            shared = self._shared[history] = _Shared(cost)
            if owner is not None and owner in self._held:
                shared.owner = owner
                self._lent.setdefault(owner, set()).add(shared)
            else:
                self._total += cost
        shared.users += 1
        entry.shared = history

    def _unshare(self, entry: Entry) -> None:
        history, entry.shared = entry.shared, None
        if history is not None:
            shared = self._shared[history]
            shared.users -= 1
            if not shared.users:
                del self._shared[history]
                if shared.owner is None:
                    self._total -= shared.cost
                else:
                    self._lent[shared.owner].discard(shared)

    def _release(self, entry: Entry) -> None:
        entry.drop()
        self._unshare(entry)
        self._held.pop(entry, None)
        self._total -= entry.cost
        entry.cost = entry.recount_at = 0
        for shared in self._lent.pop(entry, ()):
            # It stays in memory for those who share it.
            shared.owner = None
            self._total += shared.cost

    def forget(self, entry: Entry) -> None:
        """Drop one entry's state."""
        with self._lock:
            self._release(entry)

    def clear(self) -> None:
        """Drop every state."""
        with self._lock:
            for entry in list(self._entries.values()):
                self._release(entry)

    def living(self) -> list[Entry]:
        """Every entry that a handle or the cache still holds."""
        with self._lock:
            return list(self._entries.values())

    def after_fork_in_child(self) -> None:
        """Take a lock of this process's own: a thread of the parent may have held the old one."""
        self._lock = threading.Lock()
