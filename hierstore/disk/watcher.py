"""The listener: cached sessions whose files change are dropped at once.

Its events are hints. A read compares stamps with or without it; what it adds is to notice what no stamp can: an edit
from outside that puts size and modification time back as they were. It needs threads, and so runs only when asked for.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from hierstore.disk import files
from hierstore.disk.logfile import SUFFIX
from hierstore.disk.observer import NativeObserver

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine


class Listener:
    """Listens to a store's logs until closed; also a context manager. Made by ``SessionStore.listen``.

    What it hears it compares with the entry that is cached: the store's own writes, and what a read has noticed
    already, drop nothing. In a forked child it is closed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        sessions = engine.layout.sessions
        self._observer = NativeObserver(
            {sessions: True}, self._on_change, lambda _: self._drop_changed(sessions + b"/"), closes=True
        )

    @property
    def closed(self) -> bool:
        """Whether it has stopped listening."""
        return self._observer.closed

    def _on_change(self, path: bytes, is_folder: bool) -> None:
        """Drop what a changed file stands for; called on the observer's thread."""
        if is_folder:
            # A new folder: files may have come before its watch did.
            self._drop_changed(path + b"/")
        elif path.endswith(SUFFIX):
            self._drop_changed(path)

    def _drop_changed(self, prefix: bytes) -> None:
        engine = self._engine()
        if engine is None:
            return
        for entry in engine.cache.living():
            if entry.path.startswith(prefix) and _has_changed(entry):
                engine.cache.forget(entry)

    def close(self) -> None:
        """Stop listening, and wait for the threads to end; calling it again does nothing."""
        self._observer.close()

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
