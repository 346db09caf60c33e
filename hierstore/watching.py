"""Watching a store: the change feed as its users see it.

The system's events wake the one who waits, and nothing else: what is told is read from the logs (``following.py``), on
the thread of whoever asks for it. So a slow consumer holds nobody up, and loses nothing: the events that it has not
asked for are in the logs.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from hierstore import clock
from hierstore.disk import forking, refusals
from hierstore.disk.hints import TRASH, Hints
from hierstore.disk.logfile import SUFFIX
from hierstore.errors import StoreClosed, quoted
from hierstore.following import Following
from hierstore.log import cursor
from hierstore.log.feed import Event

if TYPE_CHECKING:
    from hierstore.disk.engine import Engine
    from hierstore.disk.layout import Layout
    from hierstore.disk.observer import NativeObserver

Mode = Literal["auto", "native", "polling", "off"]
MODES = ("auto", "native", "polling", "off")

_POLL_S = 1.0
_BACKSTOP_S = 5.0
_AWAY_S = 0.2
_PROBE_S = 1.0
# A look at everything may take a twentieth of the time: a store of 100,000 sessions takes half a second to look at.
_LEAST_PAUSES = 20
_WORDS = {
    "overflow": "The system lost events of changes in %s; every log is looked at.",
    "limit": "The system watches no more folders (a limit of it); changes in %s are found by looking at every log.",
    "silent": "The system does not tell of changes in %s; they are found by looking at every log.",
    "refused": "The system does not let changes in %s be watched; they are found by looking at every log.",
    "away": "The folder %s is not there; its logs are told of again when it is back.",
}
_log = logging.getLogger("hierstore")


class Watcher:
    """What changes in a store, event by event. Made by ``SessionStore.watch``; a context manager.

    Iterate it, or call ``next``. Every change that any process commits is told once, those of one session in the order
    of its revisions; between sessions there is no order. Events come from the logs, not from what the system says of
    files: nothing is missed, but for what the log itself no longer holds (see ``Event.missed``).

    Of a session that is made, deleted and purged between two looks nothing may be told.

    ``next`` may be called from several threads; each event is then one thread's. In a forked child it is closed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        session_id: str | None,
        after: str | None,
        on_event: Callable[[Event], object] | None,
        mode: Mode,
        poll_s: float | None,
        queue: int,
    ) -> None:
        _check(mode, poll_s, queue)
        engine.check_open()
        layout = engine.layout
        positions = [] if not after else cursor.unpack(after, layout.store_id, session_id)
        self._engine = engine
        self._session_id = session_id
        self._asked = mode
        self._poll_s = poll_s
        self._hints = Hints()
        self._following = Following(engine, self._hints, session_id, queue)
        self._complaints = _Complaints(layout, self._hints)
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False
        self._is_proven = False
        self._due = 0.0
        self._observer: NativeObserver | None = None
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        """What ``on_event`` raised, which closed the watcher; None while it has not."""
        # Before the first look, so that what changes during it is heard of.
        self._observer = self._observe(must=mode == "native") if mode in ("auto", "native") else None
        try:
            if after is None:
                self._following.start_now()
                self._due = time.monotonic() + self._pause_s()
            else:
                self._following.start_from(positions)
        except BaseException:
            self.close()
            raise
        forking.register(self)
        if on_event is not None:
            self._thread = threading.Thread(target=self._run, args=[on_event], name="hierstore-watcher", daemon=True)
            self._thread.start()

    @property
    def mode(self) -> str:
        """How it hears of changes now: ``"native"``, ``"polling"`` or ``"off"``."""
        if self._asked == "off":
            return "off"
        return "native" if self._observer is not None else "polling"

    @property
    def closed(self) -> bool:
        """Whether it was closed; in a forked child it is."""
        return self._is_closed or self._pid != os.getpid()

    @property
    def cursor(self) -> str:
        """Where to go on: ``SessionStore.watch(after=...)``, here or in another process, now or later.

        Covers exactly what was returned so far; with ``on_event``, what that was called with, the call that is under
        way among them. Can be asked for after the watcher was closed.
        """
        with self._mutex:
            return cursor.pack(self._engine.layout.store_id, self._session_id, self._following.rows())

    def next(self, timeout_s: float | None = None) -> Event | None:
        """The next event.

        Args:
            timeout_s: how long to wait for one, seconds; None: as long as it takes. A look at every log, if one is due,
                is not cut short. In mode ``"off"`` nothing is waited for.

        Returns:
            The event; None when the time is over.

        Raises:
            StoreClosed: the watcher is closed, or was while this waited.
        """
        if self._thread is not None:
            raise ValueError("a watcher with on_event hands its events to that")
        return self._next(timeout_s)

    def _maybe_next(self) -> Event | None:
        """The next event; None when the watcher is closed, or has no more to say."""
        try:
            return self._next(None)
        except StoreClosed:
            return None

    def __iter__(self) -> Watcher:
        return self

    def __next__(self) -> Event:
        event = self._maybe_next() if self._thread is None else self.next()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Stop, and wait for the threads to end; calling it again does nothing.

        Whoever waits in ``next`` gets StoreClosed, and an iteration ends. May be called in ``on_event``.
        """
        if self.closed:
            return
        with self._mutex:
            self._is_closed = True
            observer, self._observer = self._observer, None
        self._hints.close()
        if observer is not None:
            observer.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self.close()

    # Waiting and looking

    def _next(self, timeout_s: float | None) -> Event | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        has_looked = False
        while True:
            if self._pid != os.getpid():
                raise _closed(self._engine.layout)
            with self._mutex:
                if self._is_closed:
                    raise _closed(self._engine.layout)
                self._engine.check_open()
                found = self._following.step()
                if found is False and not has_looked:
                    found = has_looked = self._look_at_all(must=self._asked == "off")
                    # Once a call where nobody waits; else whenever it is time.
                    has_looked = has_looked and self._asked == "off"
            if isinstance(found, Event):
                return found
            if not found:
                now = time.monotonic()
                if self._asked == "off" or (deadline is not None and now >= deadline):
                    return None
                self._hints.wait(self._wait_s(now, deadline))

    def _wait_s(self, now: float, deadline: float | None) -> float:
        waits = [self._due - now, self._following.due_s()]
        if deadline is not None:
            waits.append(deadline - now)
        return max(0.0, min(wait for wait in waits if wait is not None))

    def _look_at_all(self, *, must: bool) -> bool:
        """Begin a look at every log, if it is time for one; False when it is not."""
        now = time.monotonic()
        following = self._following
        if following.is_away:
            self._complaints.say("away")
            self._due = min(self._due, now + _AWAY_S)
        if not self._hints.take_all() and not must and now < self._due:
            return False
        if not following.rescan():
            self._complaints.say("away")
            self._due = now + _AWAY_S
            return False
        if self._observer is not None and not self._observer.watches(self._engine.layout.sessions):
            # Another folder has that name now, and nobody tells of what changes there.
            self._observer.close()
            self._observer = self._observe(must=False)
        self._due = now + self._pause_s()
        return True

    def _pause_s(self) -> float:
        """How long until the next look at every log."""
        is_trusted = self._observer is not None and self._observer.is_complete and self._is_proven
        if not is_trusted:
            return self._poll_s or _POLL_S
        spent_s, self._following.scan_s = self._following.scan_s, 0.0
        return max(self._poll_s or _BACKSTOP_S, _LEAST_PAUSES * spent_s)

    def _observe(self, *, must: bool) -> NativeObserver | None:
        """Have the system tell of changes; None where it cannot, or does not."""
        from hierstore.disk.observer import NativeObserver

        layout = self._engine.layout
        hear = _hearer(layout, self._hints)
        try:
            observer = NativeObserver({layout.sessions: True, layout.trash: False}, hear, self._complaints.lost)
        except OSError as error:
            if must:
                raise refusals.folder_unreadable(error, layout.sessions) from error
            self._complaints.say("refused")
            return None
        try:
            # In the trash: logs are renamed from sessions/ to there, so it is on the same file system.
            probe = b"%b/%b.probe" % (layout.trash, clock.new_id().encode())
            self._is_proven = not self._engine.read_only and observer.delivers(probe, layout.file_mode, _PROBE_S)
        except OSError:
            # No space, or no descriptor left: what the system would have told is not known.
            return observer
        if not self._is_proven and not self._engine.read_only:
            observer.close()
            if must:
                silence = OSError(errno.ENOTSUP, "its file system does not tell of changes")
                raise refusals.folder_unreadable(silence, layout.sessions)
            self._complaints.say("silent")
            return None
        return observer

    def _run(self, on_event: Callable[[Event], object]) -> None:
        """Hand events on, on a thread of its own."""
        try:
            while (event := self._maybe_next()) is not None:
                on_event(event)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is kept for whoever asks, and logged
            with self._mutex:
                self._following.undo()
            self.failure = error
            _log.exception("A watcher's on_event failed; the watcher is closed, and its cursor is before that event.")
            self.close()

    # Forking

    def before_fork(self) -> None:
        """Hold no descriptor while the process forks."""
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Be closed: the threads are the parent's."""
        self._mutex = threading.Lock()
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.after_fork_in_child()


class _Complaints:
    """What went wrong with the system's events, logged once each."""

    def __init__(self, layout: Layout, hints: Hints) -> None:
        self._folder = os.fsdecode(layout.sessions)
        self._hints = hints
        self._said: set[str] = set()

    def say(self, word: str) -> None:
        """Log it, if it was not before."""
        if word not in self._said:
            self._said.add(word)
            _log.warning(_WORDS[word], self._folder)

    def lost(self, word: str) -> None:
        """Events may have been lost; called on the observer's thread."""
        self.say(word)
        self._hints.add_all()


def _hearer(layout: Layout, hints: Hints) -> Callable[[bytes, bool], None]:
    """What makes hints of paths. It knows no watcher, so that one that nobody holds any more can go."""
    sessions, trash = layout.sessions + b"/", layout.trash + b"/"

    def hear(path: bytes, is_folder: bool) -> None:
        if path.startswith(trash):
            if path.endswith(SUFFIX):
                hints.add((TRASH, path[len(trash) :]))
            return
        folder, _, name = path[len(sessions) :].partition(b"/")
        if not folder:
            # sessions/ itself.
            hints.add_all()
        elif is_folder or not name:
            # A new one: logs may have come before its watch did.
            hints.add_folder(folder)
        elif name.endswith(SUFFIX) and b"/" not in name:
            hints.add((folder, name))

    return hear


def _closed(layout: Layout) -> StoreClosed:
    return StoreClosed("The watcher is closed.", root=os.fsdecode(layout.root))


def _check(mode: object, poll_s: object, queue: object) -> None:
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {quoted(mode)}")
    is_number = isinstance(poll_s, int | float) and not isinstance(poll_s, bool)
    if poll_s is not None and (not is_number or not 0 < poll_s <= threading.TIMEOUT_MAX):  # type: ignore[operator]
        raise ValueError(f"poll_s is a positive number of seconds, not {quoted(poll_s)}")
    if not isinstance(queue, int) or isinstance(queue, bool) or queue < 1:
        raise ValueError(f"queue is a number of events, at least 1, not {quoted(queue)}")
