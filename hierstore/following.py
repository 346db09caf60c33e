"""Following a store's sessions: from hints that a log may have changed to what it says that was not told yet.

What is told is read from the logs, in the order of their lines; a hint only says where to look. One log is read at a
time, a few lines at a time, so memory holds positions and those lines, however far behind the reader is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from hierstore import clock
from hierstore.departed import Departed
from hierstore.disk import files, follow, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.follow import UNREADABLE, Seen
from hierstore.disk.hints import TRASH, Hints, Key
from hierstore.disk.logfile import SUFFIX
from hierstore.disk.places import Places
from hierstore.log.cursor import Position, Stamp, Told
from hierstore.log.feed import Event
from hierstore.telling import Reading, Telling


class Following:
    """Tells what the logs say that was not told yet. One thread at a time.

    Args:
        engine: the store's.
        hints: which logs to look at.
        session_id: the one session to follow, or None for all.
        count: how many lines of a log to read ahead.

    Attributes:
        scan_s: how long looking at folders has taken, seconds; for whoever sets it back.
    """

    def __init__(self, engine: Engine, hints: Hints, session_id: str | None, count: int) -> None:
        self.scan_s = 0.0
        self._layout = engine.layout
        self._hints = hints
        self._only = None if session_id is None else Places.key_of(session_id)
        self._count = count
        self._telling = Telling(engine, hints)
        self._places = self._telling.places
        self._departed = Departed(self._telling, self._only, count)
        self._reading: Reading | None = None
        self._is_turn = False

    @property
    def is_away(self) -> bool:
        """Whether ``sessions/`` was not there when it was last looked for."""
        return self._telling.is_away

    def rows(self) -> Iterator[bytes]:
        """How far everything was told, for a cursor."""
        return self._places.rows()

    # Where to begin

    def start_now(self) -> None:
        """Count everything that is there as told."""
        self._count_all()
        self._departed.count_all()
        # Once more, for what came back from the trash after its folder was looked at.
        self._count_all()
        # The first cursor then costs no more than those after it.
        for _ in self._places.rows():
            pass

    def _count_all(self) -> None:
        for folder in [self._only[0]] if self._only else self._folders():
            for name in self._names_in(folder) - self._places.here.get(folder, {}).keys():
                key = (folder, name)
                try:
                    position = follow.at_end(self._places.path_of(key))
                except UNREADABLE:
                    position = Position(_id_by(name), "", Told(is_unreadable=True))
                if position is not None:
                    self._places.put(key, position)

    def _folders(self) -> list[bytes]:
        try:
            return list(files.names(self._layout.sessions))
        except OSError as error:
            raise refusals.folder_unreadable(error, self._layout.sessions) from error

    def start_from(self, positions: Iterable[Position]) -> None:
        """Go on from positions; everything else is told from its beginning."""
        for position in positions:
            key = Places.key_of(position.id)
            if position.told.is_deleted or self._places.at(key) is not None:
                self._places.put_away(position)
            else:
                self._places.put(key, position)

    # What comes next

    def step(self) -> Event | bool:
        """The next event, or whether there is more to be done before it is known that there is none."""
        self._telling.begin()
        if self._reading is not None:
            return self._tell(self._reading)
        said = self._telling.maybe_said()
        if said is not None:
            return said
        self._telling.look_again()
        # In turns, so that neither many changes nor many folders keep the other waiting.
        self._is_turn = not self._is_turn
        return (self._is_turn and self._look_at_one()) or self._scan_one() or self._look_at_one()

    def undo(self) -> None:
        """Count the event of the last step as not told; only before the next step."""
        self._telling.undo()

    def due_s(self) -> float | None:
        """In how many seconds something is to be looked at again, or None."""
        return self._telling.due_s()

    def _look_at_one(self) -> bool:
        key = self._hints.maybe_log()
        if key is None:
            return False
        if self._only is not None and (key[1].partition(b".")[2] if key[0] == TRASH else key[1]) != self._only[1]:
            return True
        try:
            self._reading = self._departed.look(key) if key[0] == TRASH else self._look(key)
        except OSError as error:
            if not follow.is_passing(error):
                raise
            self._telling.put_off(key)
        return True

    # A log under its session's name

    def _look(self, key: Key) -> Reading | None:
        """Look at a log; what it says that was not told."""
        position = self._places.at(key)
        try:
            seen = follow.read_on(self._places.path_of(key), position, self._count)
        except FileNotFoundError:
            self._miss(key, position)
            return None
        except follow.EmptyLog:
            if position is not None:
                self._telling.say_unreadable(position, "It is empty.")
            return None
        except UNREADABLE as error:
            if follow.is_passing(error):
                raise
            if position is None:
                position = Position(_id_by(key[1]), "")
                self._places.put(key, position)
            self._telling.say_unreadable(position, _reason(error))
            return None
        if seen is None:
            return None
        if position is not None and position.nonce == seen.nonce:
            return Reading(key, position, seen)
        self._meet(key, position, seen)
        return None

    def _miss(self, key: Key, position: Position | None) -> None:
        """A log is not there."""
        if position is None:
            return
        holds = self._departed.maybe_holds(key)
        if holds:
            self._hints.add(key)
        elif holds is None:
            self._telling.go_away()
        elif not position.nonce:
            self._places.forget(key)
        else:
            self._places.lose(key)
            self._hints.add_folder(TRASH)

    def _meet(self, key: Key, position: Position | None, seen: Seen) -> None:
        """A log is there that is not the one that was."""
        if Places.key_of(seen.session_id) != key:
            if position is not None:
                self._telling.say_unreadable(position, f"It holds session {seen.session_id!r}.")
            return
        if position is not None and not position.nonce:
            self._begin_late(key)
            return
        if position is not None:
            self._places.lose(key)
            self._hints.add_folder(TRASH)
        if self._departed.must_wait(key, seen):
            return
        known = self._places.away.get(seen.nonce)
        if known is not None:
            self._places.bring_back(key, known)
        else:
            self._places.put(key, Position(seen.session_id, seen.nonce))
        self._hints.add(key, first=True)

    def _begin_late(self, key: Key) -> None:
        """A log that could not be read from the first can be now: what it says by now is not told."""
        position = follow.at_end(self._places.path_of(key))
        if position is not None:
            told, position.stamp = position.told, None
            position.tell(Told())
            self._places.put(key, position)
            self._telling.say("reset", position, told, missed="unreadable")

    # Lines

    def _tell(self, reading: Reading) -> Event | bool:
        step = reading.maybe_next()
        if step is None:
            self._reading = None
            return self._finish(reading)
        event, told = step
        self._telling.move(reading.position, told)
        return event or True

    def _finish(self, reading: Reading) -> Event | bool:
        """All lines that were read are told."""
        key, position, seen = reading.key, reading.position, reading.seen
        position.stamp = seen.stamp
        if seen.more:
            # Of several logs of one session in the trash, one after the other.
            self._hints.add(key, first=key[0] == TRASH)
            return True
        if seen.jump is None:
            self._settle(key, position, seen)
            return True
        revision, offset, chain, why = seen.jump
        self._telling.move(position, Told(revision, offset, chain, is_deleted=position.told.is_deleted))
        self._settle(key, position, seen)
        return Event("reset", position.id, revision, clock.now(), missed=why)

    def _settle(self, key: Key, position: Position, seen: Seen) -> None:
        """A log was told to its end: is that all there is to say?"""
        if seen.bad_at is not None:
            if self._telling.is_over(key):
                self._telling.say_unreadable(position, f"It is damaged at byte {seen.bad_at}.")
        elif position.told.is_unreadable:
            self._telling.move(position, position.told._replace(is_unreadable=False))
        if key[0] == TRASH:
            self._departed.await_end(key, position, is_skipped=seen.jump is not None)
        elif position.told.is_deleted:
            # It was damaged when it came back, and takes no lines.
            self._telling.say("restored", position, position.told._replace(is_deleted=False))
        elif seen.bad_at is None:
            self._telling.is_well(key)

    # Folders

    def rescan(self) -> bool:
        """Look at everything, bit by bit; False when ``sessions/`` is not there."""
        try:
            files.check_folder(self._layout.sessions)
            with files.scandir(self._layout.sessions) as entries:
                folders = [entry.name for entry in entries] if self._only is None else [self._only[0]]
        except OSError:
            self._telling.go_away()
            return False
        self._telling.is_away = False
        for folder in (TRASH, *folders, *self._places.here):
            self._hints.add_folder(folder)
        return True

    def _scan_one(self) -> bool:
        is_soon = self._hints.has_logs() and not self._departed.is_due()
        folder = self._hints.maybe_folder(but=TRASH if is_soon else None)
        if folder is None:
            return False
        began = time.perf_counter()
        if folder == TRASH:
            self._departed.scan()
        else:
            self._scan(folder)
        self.scan_s += time.perf_counter() - began
        return True

    def _scan(self, folder: bytes) -> None:
        """Compare a folder's logs with what they were."""
        known = self._places.here.get(folder, {})
        names = self._names_in(folder)
        for name in names:
            position = known.get(name)
            if position is None or position.stamp is None or position.stamp != self._maybe_stamp((folder, name)):
                self._hints.add((folder, name))
        for name in known.keys() - names:
            self._hints.add((folder, name))

    def _maybe_stamp(self, key: Key) -> Stamp | None:
        try:
            return follow.stamp_of(files.stat(self._places.path_of(key)))
        except OSError:
            return None

    def _names_in(self, folder: bytes) -> set[bytes]:
        try:
            names = {name for name in files.names(b"%b/%b" % (self._layout.sessions, folder)) if name.endswith(SUFFIX)}
        except OSError:
            # A file among the folders, or a folder that cannot be read: what is known of it is looked at anyway.
            return set()
        return names if self._only is None else names & {self._only[1]}


def _id_by(name: bytes) -> str:
    """The id that a log's name stands for, as far as a name tells."""
    return name.removesuffix(SUFFIX).decode(errors="replace")


def _reason(error: Exception) -> str:
    return f"It cannot be read: {error.strerror}." if isinstance(error, OSError) else str(error)
