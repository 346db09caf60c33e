"""Telling which logs have changed, so that not all need to be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hierstore.disk.layout import Layout
from hierstore.disk.news import News

MANY = 2_000
"""From how many logs on a look at all takes longer than a queue of changes is worth: it costs the user one of a few, and
every writer a microsecond."""
_AGAIN_S = 60.0
"""How long not to ask again for a queue that was refused."""


class Freshness(Protocol):
    """What the index asks before it looks."""

    def changed(self) -> set[bytes] | None:
        """The logs that may have changed since the last call, as absolute paths; None: unknown, look at all.

        In it, or in an earlier answer, is every log with a change that was finished before this call began, whoever made
        it: a log that grew, appeared, was replaced or removed, in ``sessions/`` or in ``trash/``; or the folder below
        ``sessions/`` that it is in. More does no harm.
        """

    def close(self) -> None:
        """Hold nothing open; it may be asked again."""


class Heard:
    """Asks the system's queue of changes, where there is one and the store is large enough for it.

    Args:
        layout: where everything is.
        count: how many logs there are, as far as is known.
    """

    def __init__(self, layout: Layout, count: Callable[[], int]) -> None:
        self._layout = layout
        self._count = count
        self._news: News | None = None
        self._not_before = 0.0

    def changed(self) -> set[bytes] | None:
        """See ``Freshness``."""
        if self._news is not None:
            try:
                return self._news.changed()
            except OSError:
                self.close()
        if time.monotonic() >= self._not_before and self._count() >= MANY:
            try:
                # Before the look at all that follows: what changes during that is told of the next time.
                self._news = News(self._layout.sessions, self._layout.trash)
            except OSError:
                self._not_before = time.monotonic() + _AGAIN_S
        return None

    def close(self) -> None:
        """See ``Freshness``."""
        news, self._news = self._news, None
        if news is not None:
            news.close()
