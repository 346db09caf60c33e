"""watchdog, in one place: what the system says of changed files, and noticing when it does not say everything.

What it says are hints. They may be lost (a kernel queue that overflows, a limit on watches), never come (a network share)
or stop (a folder that is replaced); whoever relies on them looks for himself now and then.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Container
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from hierstore.disk import files

# Not among them: opened and closed-without-writing, which the store's own reads make.
_CHANGES: list[type[FileSystemEvent]] = [
    DirCreatedEvent, DirDeletedEvent, DirMovedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent,
    FileMovedEvent,
]  # fmt: skip

Changed = Callable[[bytes, bool], None]
"""Called on the observer's thread with the path that changed, and whether it is a folder."""


class NativeObserver:
    """Tells of changes below some folders until closed.

    Args:
        folders: each with whether what is below its own folders counts too.
        changed: called for each change.
        lost: called when changes may have been lost, with a word for why: ``"overflow"``, ``"limit"`` (a folder could not
            be watched).
        closes: whether closing a file that was open for writing counts: a store that closes its logs does it too.

    Raises:
        OSError: the system does not let us watch.
    """

    def __init__(
        self, folders: dict[bytes, bool], changed: Changed, lost: Callable[[str], None], *, closes: bool = False
    ) -> None:
        self.identity = identity(next(iter(folders)))
        self.is_complete = True
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._observer = Observer()
        self._handler = _Handler(changed)
        self._lost = lost
        self._hook_watches(folders)
        filters = [*_CHANGES, FileClosedEvent] if closes else _CHANGES
        try:
            for folder, is_recursive in folders.items():
                name = os.fsdecode(folder)
                self._observer.schedule(self._handler, name, recursive=is_recursive, event_filter=filters)
            self._observer.start()
        except BaseException:
            self._observer.stop()
            raise
        self._hook_moves()

    def _hook_watches(self, folders: Container[bytes]) -> None:
        """Notice an overflow and a refused watch, of which watchdog's inotify only logs the one and hides the other.

        These are its insides (of version 7); where they are others, the look that is taken anyway now and then finds
        what was lost.
        """
        inotify: Any = getattr(self._observer, "_inotify_fd", None)
        handle, add = getattr(inotify, "handle_event", None), getattr(inotify, "add_callback", None)
        if handle is None or add is None:
            return

        def handle_event(event: Any) -> None:
            handle(event)
            # After watchdog has made its watches anew: what changed in between is found by who looks now.
            if getattr(event, "is_queue_overflow", False):
                self._lost("overflow")

        def add_callback(path: bytes, *args: Any) -> Any:
            try:
                return add(path, *args)
            except OSError as error:
                # Not for a folder that is gone again, nor for one that was asked for: then our caller is told.
                if error.errno != errno.ENOENT and path not in folders:
                    self.is_complete = False
                    self._lost("limit")
                raise

        inotify.handle_event, inotify.add_callback = handle_event, add_callback

    def _hook_moves(self) -> None:
        """Let a move out of the folders hold nothing up.

        watchdog's inotify keeps such a move, and all events behind it, for half a second, in the hope of seeing where
        it went. Each session that is deleted is one.
        """
        for emitter in self._observer.emitters:
            group = getattr(getattr(emitter, "_inotify", None), "_move_event_grouper", None)
            queue: Any = getattr(group, "_queue", None)
            if hasattr(queue, "delay"):
                queue.delay = 0.0

    def delivers(self, path: bytes, file_mode: int, timeout_s: float) -> bool:
        """Whether a file that is made is told of: a network share says nothing, and no error either.

        Args:
            path: the file, in a folder that is observed; gone afterwards.
            file_mode: its permissions.
            timeout_s: how long to wait.

        Raises:
            OSError: the file cannot be made.
        """
        self._handler.probe = path
        try:
            files.close(files.create(path, file_mode))
            try:
                return self._handler.heard.wait(timeout_s)
            finally:
                files.remove(path)
        finally:
            self._handler.probe = None

    def watches(self, folder: bytes) -> bool:
        """Whether it still watches the folder of that name: not one that was there before it."""
        return self.identity == identity(folder) and all(emitter.is_alive() for emitter in self._observer.emitters)

    @property
    def closed(self) -> bool:
        """Whether it has stopped; in a forked child it has."""
        return self._is_closed or self._pid != os.getpid()

    def close(self) -> None:
        """Stop, and wait for the threads to end; calling it again does nothing."""
        if self.closed:
            return
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            # An event under way while it stops makes watchdog log an error about itself.
            logger = logging.getLogger("watchdog.observers.inotify")
            logger.addFilter(_is_news)
            self._observer.stop()
            self._observer.join()
            logger.removeFilter(_is_news)

    def after_fork_in_child(self) -> None:
        """Close the parent's descriptors: the system would go on queueing events for them, for nobody."""
        inotify: Any = getattr(self._observer, "_inotify_fd", None)
        for name in ("_inotify_fd", "_kill_r", "_kill_w"):
            fd = getattr(inotify, name, None)
            if isinstance(fd, int):
                files.close(fd)


class _Handler(FileSystemEventHandler):
    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self.probe: bytes | None = None
        self.heard = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path:
                name = os.fsencode(path)
                if name == self.probe:
                    self.heard.set()
                else:
                    self._changed(name, event.is_directory)


def _is_news(record: logging.LogRecord) -> bool:
    return "when the thread is inactive" not in record.getMessage()


def identity(folder: bytes) -> tuple[int, int] | None:
    """What tells a folder from another that has its name later; None when there is none."""
    try:
        found = files.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
