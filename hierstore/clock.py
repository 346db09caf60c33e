"""Where time and ids come from, so that a test can set both in one place."""

from __future__ import annotations

import itertools
import os
import time

now = time.time
"""Unix seconds. Used for people and for ageing, never for order."""

_last_ms = 0
_prefix = ""
_origin = ""
_serial = itertools.count()


def _renew_origin() -> None:
    """Draw this process's part of every id; a forked child draws its own, or it would repeat its parent's ids."""
    global _origin, _prefix, _serial  # noqa: PLW0603  # process identity is global by nature
    _origin = os.urandom(6).hex()
    _prefix = "%012x%s" % (_last_ms, _origin)
    _serial = itertools.count()


_renew_origin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_origin)


def new_id() -> str:
    """A new id: 30 hexadecimal digits, unique everywhere, ordered by time of making.

    48 bits of milliseconds (good until the year 10889), 48 random bits of the process, 24 bits of a counter. Within
    a process ids keep increasing when the clock steps back. Between processes the order is that of their clocks.
    """
    global _last_ms, _prefix  # noqa: PLW0603  # a race between threads costs order within a millisecond, nothing else
    ms = int(now() * 1000)
    if ms > _last_ms:
        _last_ms = ms
        _prefix = "%012x%s" % (ms, _origin)
    return "%s%06x" % (_prefix, next(_serial) & 0xFFFFFF)


def time_of(made_id: str) -> float:
    """When ``new_id`` made an id, Unix seconds; 0.0 for any other text."""
    try:
        return int(made_id[:12], 16) / 1000
    except ValueError:
        return 0.0
