"""What a watcher tells, and how far it has told each log: the lines that are being told, and what no line says."""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from hierstore import clock
from hierstore.disk.engine import Engine
from hierstore.disk.follow import Seen
from hierstore.disk.hints import Hints, Key
from hierstore.disk.logfile import NO_COMMIT
from hierstore.disk.places import Places
from hierstore.log import frame
from hierstore.log.cursor import Position, Told
from hierstore.log.feed import Event, events_of
from hierstore.values import encode

_PATIENCE_S = 1.0
"""How long a log may lie in the trash without saying that it was deleted, or hold a bad line, before that is told: the
writer may be in the middle of it."""
_AGAIN_S = 0.02


class Telling:
    """How far each log was told, and what is to be told next.

    Attributes:
        places: the positions.
        hints: what is to be looked at.
        layout: the store's.
        is_away: whether ``sessions/`` was not there when it was last looked for.
        blocked: by session, its logs that are told only after another one, or after a look at the trash.
    """

    def __init__(self, engine: Engine, hints: Hints) -> None:
        self.layout = engine.layout
        self.places = Places(engine.layout, self._free)
        self.hints = hints
        self.is_away = False
        self.blocked: dict[str, set[Key]] = {}
        self._said: OrderedDict[Position, tuple[Event, Told, bool]] = OrderedDict()
        self._later: dict[Key, float] = {}
        self._since: dict[Key, float] = {}
        self._undo: tuple[Position, Told, bool] | None = None

    def move(self, position: Position, told: Told, *, is_gone: bool = False) -> None:
        """Count a log as told up to there."""
        self._undo = (position, position.told, is_gone)
        self.places.move(position, told)
        if is_gone:
            self.places.drop(position)

    def block(self, session_id: str, key: Key) -> None:
        """Let a log wait."""
        self.blocked.setdefault(session_id, set()).add(key)

    def _free(self, session_id: str) -> None:
        for key in self.blocked.pop(session_id, ()):
            self.hints.add(key)

    def begin(self) -> None:
        """What was told before is past undoing."""
        self._undo = None

    def undo(self) -> None:
        """Count the last move as not made; only before the next ``begin``."""
        if self._undo is not None:
            position, told, is_gone = self._undo
            self.places.move(position, told)
            if is_gone:
                self.places.put_away(position)

    # What no line says

    def say(
        self, kind: str, position: Position, told: Told, *, missed: str | None = None, why: str | None = None
    ) -> None:
        """Have something told of a log; one such thing at a time.

        Args:
            kind: the event's type.
            position: the log.
            told: how far it is told with it.
            missed: see ``Event``. ``"purged"``: the log is forgotten with it.
            why: a sentence.
        """
        if position not in self._said:
            data = b"{}" if why is None else encode({"why": why}, "event")
            event = Event(kind, position.id, told.revision, clock.now(), missed=missed, data_json=data)
            self._said[position] = event, told, missed == "purged"

    def say_unreadable(self, position: Position, why: str) -> None:
        """Have it told that a log cannot be read, unless it was."""
        if not position.told.is_unreadable:
            self.say("unreadable", position, position.told._replace(is_unreadable=True), why=why)

    def maybe_said(self) -> Event | None:
        """The next of what is to be told, which then is."""
        if not self._said:
            return None
        position, (event, told, is_gone) = self._said.popitem(last=False)
        self.move(position, told, is_gone=is_gone)
        if told.is_deleted:
            self.places.end(position)
        return event

    def go_away(self) -> None:
        """The folder of all logs is not there: nothing can be said of any of them."""
        self.is_away = True
        self.hints.clear()

    # Time

    def put_off(self, key: Key) -> None:
        """Look at a log again in a moment."""
        self._later[key] = time.monotonic() + _AGAIN_S

    def is_over(self, key: Key) -> bool:
        """Whether something has been so for long enough to be told; else the log is looked at again."""
        if time.monotonic() - self._since.setdefault(key, time.monotonic()) >= _PATIENCE_S:
            del self._since[key]
            return True
        self.put_off(key)
        return False

    def is_well(self, key: Key) -> None:
        """What ``is_over`` was asked of is so no longer."""
        self._since.pop(key, None)

    def look_again(self) -> None:
        """Make hints of what was put off until now."""
        if self._later:
            now = time.monotonic()
            for key in [key for key, due in self._later.items() if due <= now]:
                del self._later[key]
                self.hints.add(key)

    def due_s(self) -> float | None:
        """In how many seconds something that was put off is due, or None."""
        return max(0.0, min(self._later.values()) - time.monotonic()) if self._later else None


class Reading:
    """Lines of a log that are being told.

    Attributes:
        key, position, seen: whose, and which.
    """

    __slots__ = ("_events", "_next", "_start", "_told", "key", "position", "seen")

    def __init__(self, key: Key, position: Position, seen: Seen) -> None:
        self.key = key
        self.position = position
        self.seen = seen
        self._told = seen.told
        self._start = 0
        self._events: deque[Event] = deque()
        self._next = seen.told

    def maybe_next(self) -> tuple[Event | None, Told] | None:
        """An event, or None for what needs no telling, and how far the log is told with it; None at the end."""
        if not self._events and not self._read():
            return None
        event = self._events.popleft() if self._events else None
        told = self._told
        is_deleted = told.is_deleted
        if event is not None and event.type in ("deleted", "restored"):
            is_deleted = event.type == "deleted"
            # It was told already, from where the log was found.
            event = None if is_deleted == told.is_deleted else event
        told = told._replace(part=told.part + 1) if self._events else self._next
        self._told = told._replace(is_deleted=is_deleted)
        return event, self._told

    def _read(self) -> bool:
        """Take the next line; False when there is none."""
        lines, start = self.seen.lines, self._start
        if start == len(lines):
            return False
        self._start = lines.index(b"\n", start) + 1
        line = lines[start : self._start]
        told = self._told
        chain, revision = frame.maybe_end(line) or (told.chain, told.revision)
        self._next = told._replace(revision=revision, offset=told.offset + len(line), chain=chain, part=0)
        try:
            events = events_of(line, self.position.id)
        except NO_COMMIT:
            why = encode({"why": "A line is sealed, and yet no commit."}, "event")
            events = [Event("unreadable", self.position.id, revision, clock.now(), data_json=why)]
        self._events.extend(events[told.part :])
        return True
