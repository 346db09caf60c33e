"""What the tests of the feed share: taking events, and looking at them from outside."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierstore.log.feed import Event, events_of, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hierstore import SessionStore, Watcher

PATIENCE_S = 30.0


def take(watcher: Watcher, count: int) -> list[Event]:
    """The next events, of which there must be so many."""
    taken: list[Event] = []
    while len(taken) < count:
        event = watcher.next(timeout_s=PATIENCE_S)
        assert event is not None, f"only {short(taken)} came"
        taken.append(event)
    return taken


def rest(store: SessionStore, after: str, **options: Any) -> list[Event]:
    """All events behind a cursor, by looking."""
    with store.watch(after=after, mode="off", **options) as watcher:
        return list(watcher)


def short(events: Iterable[Event]) -> list[tuple[str, str, int]]:
    """What each event is, whose, and of which revision."""
    return [(event.type, event.session_id, event.revision) for event in events]


def types(events: Iterable[Event]) -> list[str]:
    """What each event is."""
    return [event.type for event in events]


def logged(root: Path) -> dict[str, list[Event]]:
    """What each log of a store says, whole: by nonce, from under sessions' names and the trash."""
    found = {}
    for path in [*root.glob("sessions/*/*.jsonl"), *root.glob("trash/*.jsonl")]:
        data = path.read_bytes()
        start = data.index(b"\n") + 1
        top = json.loads(data[:start])
        found[top["nonce"]] = [
            event for begin, end in split(data, start) for event in events_of(data[begin:end], top["session"])
        ]
    return found


class Account:
    """What a store's logs said, in the order in which they came to say it: to be asked after each change."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[str, int] = {}
        self.events: dict[str, list[Event]] = {}

    def update(self) -> int:
        """Note what is new; how many events there were in all."""
        for nonce, events in logged(self._root).items():
            for event in events[self._counts.get(nonce, 0) :]:
                self.events.setdefault(event.session_id, []).append(event)
            self._counts[nonce] = len(events)
        return sum(map(len, self.events.values()))


def by_session(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events, each session's for itself."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.session_id, []).append(event)
    return found


def change_anything(store: SessionStore, chance: random.Random, number: int) -> None:
    """Some change of some session of six, if there is such a session; deleting one leaves its children."""
    name = f"s{chance.randrange(6)}"
    what = chance.choice("ccccaaaaaaaeemdddrrrtfkn")
    if what == "c":
        store.create(name)
    elif what == "a":
        store.get(name).append("user", "x" * chance.choice([1, 10, 5000]))
    elif what == "e":
        store.get(name).extend([{"role": "user", "content": "e"}] * 3)
    elif what == "m":
        store.get(name).move(chance.choice([None, "s0"]))
    elif what == "d":
        store.delete(name, children="orphan")
    elif what == "r":
        store.restore(name)
    elif what == "t":
        store.get(name).set_title(str(number))
    elif what == "f":
        store.get(name).fork(f"s{chance.randrange(6)}")
    elif what == "k":
        store.route(f"k{number}", session_id=name)
    else:
        store.get(name).snapshot("here")


def watched_descriptors() -> int:
    """How many inotify instances this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += "inotify" in os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found
