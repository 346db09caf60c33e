"""In a fresh process: one look at a store of many sessions. ``python -m benchmarks.scale_probe MEASURE ROOT`` prints JSON.

MEASURE is ``listing`` (nanoseconds of the first listing, whose index may or may not be there), ``bare`` (of the system
calls that it needs: a look at each folder and each log), ``search`` (of the first search). Beside each: the process's
peak memory in bytes, and how much of it came with the work.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable

from benchmarks.measure import clock
from hierstore import SessionStore


def bare_look(root: str) -> int:
    """Look at each log of a store with the system calls alone."""
    count = 0
    sessions = f"{root}/sessions"
    for folder in os.listdir(sessions):
        fd = os.open(f"{sessions}/{folder}", os.O_RDONLY)
        with os.scandir(fd) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                count += 1
        os.close(fd)
    return count


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(measure: str, root: str) -> None:
    """Measure and print."""
    with SessionStore(root) as store:
        works: dict[str, Callable[[], object]] = {
            "listing": store.sessions,
            "bare": lambda: bare_look(root),
            "search": lambda: store.search("session"),
        }
        before = _peak_bytes()
        began = clock()
        works[measure]()
        took = clock() - began
        print(json.dumps({"ns": took, "peak": _peak_bytes(), "grew": _peak_bytes() - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
