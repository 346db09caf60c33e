"""Sessions that were made or deleted some time ago, and which are there and which in the trash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hierstore import SessionStore, clock

DAY_S = 86_400.0


@contextmanager
def days_ago(days: float) -> Iterator[None]:
    """What is done in the block was done then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: time.time() - days * DAY_S)
        # An id never goes back in time within a process; the trash counts from an id.
        patch.setattr(clock, "_last_ms", 0)
        yield


def living(store: SessionStore) -> set[str]:
    """The ids of all sessions."""
    return {info.id for info in store.sessions(archived=None).items}


def deleted(store: SessionStore) -> set[str]:
    """The ids of what is in the trash."""
    return {item.id for item in store.trash()}
