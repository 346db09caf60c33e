"""The watchdog listener: cached sessions whose files change are dropped at once.

Its events are hints. A read compares stamps with or without it; what it adds is to notice what no stamp can: an edit
from outside that puts size and modification time back as they were. It needs threads, and so runs only when asked for.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
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
from hierstore.disk.logfile import SUFFIX

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine

# Not among them: opened and closed-without-writing, which the store's own reads make.
_CHANGES: list[type[FileSystemEvent]] = [
    DirCreatedEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent,
]  # fmt: skip


class Listener(FileSystemEventHandler):
    """Listens to a store's logs until closed; also a context manager. Made by ``SessionStore.listen``.

    What it hears it compares with the entry that is cached: the store's own writes, and what a read has noticed
    already, drop nothing. In a forked child it is closed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        # A watch on a folder that is not there fails, and sessions/ is where the marker says there is a store.
        self._observer = Observer()
        self._observer.schedule(self, os.fsdecode(engine.layout.sessions), recursive=True, event_filter=_CHANGES)
        self._observer.start()

    @property
    def closed(self) -> bool:
        """Whether it has stopped listening."""
        return self._is_closed or self._pid != os.getpid()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Drop what the changed files stand for; called on the observer's thread."""
        for path in (event.src_path, event.dest_path):
            name = os.fsencode(path) if path else b""
            if event.is_directory:
                # A new folder: files may have come before its watch did.
                self._drop_changed(name + b"/")
            elif name.endswith(SUFFIX):
                self._drop_changed(name)

    def _drop_changed(self, prefix: bytes) -> None:
        engine = self._engine()
        if engine is None:
            return
        for entry in engine.cache.living():
            if entry.path.startswith(prefix) and _has_changed(entry):
                engine.cache.forget(entry)

    def close(self) -> None:
        """Stop listening, and wait for the threads to end; calling it again does nothing."""
        with self._lock:
            was_closed, self._is_closed = self.closed, True
        if not was_closed:
            self._observer.stop()
            self._observer.join()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _has_changed(entry: Entry) -> bool:
    """Whether a cached log is another than when it was stamped, as far as ``stat`` can tell with ctime."""
    head, ctime = entry.head, entry.ctime
    if head is None:
        return False
    try:
        found = files.stat(entry.path)
    except OSError:
        return True
    # With ctime, which an edit cannot put back. It may also have moved for a fork's hard link: dropped for nothing,
    # once, and only while somebody listens.
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev) != head[:4] or found.st_ctime_ns != ctime
