"""In a fresh process: how much memory a session takes. ``python -m benchmarks.probe SYSTEM MEASURE PATH`` prints bytes.

SYSTEM is ``hierstore`` (the messages stay in the store's cache, and nowhere else) or ``sqlite`` (a list of all messages,
decoded). MEASURE is ``traced``, what tracemalloc counts, or ``resident``, by how much the process grew. Everything is
imported and open before the first look, so that only the session is counted.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable

from benchmarks.setups import SESSION
from benchmarks.sqlite_peer import Peer
from hierstore import SessionStore

HAS_STATM = os.path.exists("/proc/self/statm")


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


def _loader(system: str, path: str) -> Callable[[], object]:
    if system == "sqlite":
        peer = Peer(path)
        return lambda: (peer, peer.messages(SESSION))
    store = SessionStore(path)

    def load() -> object:
        session = store.get(SESSION)
        for message in session.messages:
            assert message.id
            assert message.content
        return store, session

    return load


def main(system: str, measure: str, path: str) -> None:
    """Measure, and print the bytes."""
    if measure == "traced":
        tracemalloc.start()
    look = _traced_bytes if measure == "traced" else _resident_bytes
    load = _loader(system, path)
    gc.collect()
    before = look()
    held = load()
    gc.collect()
    print(look() - before)
    del held


if __name__ == "__main__":
    main(*sys.argv[1:])
