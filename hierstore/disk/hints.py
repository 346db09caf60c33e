"""What may have changed: names of logs to be looked at, from whoever hears of them, for the one who looks.

Bounded by the number of logs: a log that changes a thousand times before anybody looks is here once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

Key = tuple[bytes, bytes]
"""A log: its folder below ``sessions/``, or ``TRASH``, and its name there."""

TRASH = b"trash"


class Hints:
    """Logs and folders to be looked at. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        # Not plain dicts: taking the first of one looks at every place that was taken before.
        self._logs: OrderedDict[Key, None] = OrderedDict()
        self._first: OrderedDict[Key, None] = OrderedDict()
        self._folders: dict[bytes, None] = {}
        self._is_all = False
        self._is_closed = False

    def add(self, key: Key, *, first: bool = False) -> None:
        """Look at a log, before the others if asked."""
        with self._news:
            (self._first if first else self._logs)[key] = None
            self._news.notify_all()

    def add_folder(self, folder: bytes) -> None:
        """Look at what is in a folder."""
        with self._news:
            self._folders[folder] = None
            self._news.notify_all()

    def add_all(self) -> None:
        """Look at everything: hints may have been lost."""
        with self._news:
            self._is_all = True
            self._news.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()

    def maybe_log(self) -> Key | None:
        """The next log, which is then no longer here."""
        with self._news:
            logs = self._first or self._logs
            return logs.popitem(last=False)[0] if logs else None

    def maybe_folder(self, *, but: bytes | None = None) -> bytes | None:
        """The next folder, which is then no longer here; one of them may be left."""
        with self._news:
            for folder in self._folders:
                if folder != but:
                    del self._folders[folder]
                    return folder
            return None

    def take_all(self) -> bool:
        """Whether everything is to be looked at; it is then no longer asked for."""
        with self._news:
            is_all, self._is_all = self._is_all, False
            return is_all

    def clear(self) -> None:
        """Forget the logs and folders."""
        with self._news:
            self._logs.clear()
            self._first.clear()
            self._folders.clear()

    def has_logs(self) -> bool:
        """Whether there is a log to be looked at."""
        return bool(self._first or self._logs)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until there is something to be looked at, the time is over, or this is closed."""
        with self._news:
            self._news.wait_for(self._has_any, timeout_s)

    def _has_any(self) -> bool:
        return bool(self._first or self._logs or self._folders or self._is_all or self._is_closed)
