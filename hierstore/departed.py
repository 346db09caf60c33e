"""Following logs that are not under their sessions' names: in the trash, purged, or on their way back.

Which of them is decided by a look at the trash that was begun after the log was missed, and a second look at its name;
never while ``sessions/`` itself is away.
"""

from __future__ import annotations

import time

from hierstore.disk import files, follow
from hierstore.disk.follow import UNREADABLE, Seen
from hierstore.disk.hints import TRASH, Key
from hierstore.disk.logfile import SUFFIX
from hierstore.disk.places import Places
from hierstore.log.cursor import Position
from hierstore.telling import Reading, Telling

_PAUSE_S = 0.05
_GRAIN_NS = 2_000_000_000


class Departed:
    """The trash, and what is in neither place.

    Args:
        telling: how far each log was told.
        only: the one log to follow, or None for all.
        count: how many lines of a log to read ahead.
    """

    def __init__(self, telling: Telling, only: Key | None, count: int) -> None:
        self._telling = telling
        self._places = telling.places
        self._hints = telling.hints
        self._layout = telling.layout
        self._only = only
        self._count = count
        self._unsure: set[str] = set()
        self._cleared: set[str] = set()
        self._seen = (0, 0, 0, 0)
        self._seen_at_ns = 0
        self._due = 0.0

    def count_all(self) -> None:
        """Count everything that is in the trash as told."""
        for name in self._maybe_names() or ():
            try:
                position = follow.at_end(self._places.path_of((TRASH, name)))
            except UNREADABLE:
                position = None
            live = None if position is None else self._places.at(Places.key_of(position.id))
            if position is None:
                self._places.trash[name] = ""
            elif live is not None and live.nonce == position.nonce:
                # It was deleted since its folder was looked at.
                self._adopt(name)
            else:
                position.tell(position.told._replace(is_deleted=True))
                self._places.put_in_trash(name, position)
                self._places.end(position)

    def look(self, key: Key) -> Reading | None:
        """Look at a log in the trash; what it says that was not told."""
        position = self._places.away.get(self._places.trash.get(key[1], ""))
        if position is None:
            if not self._adopt(key[1], must_know=True):
                # There may be an earlier one of its session, which comes first.
                self._hints.add_folder(TRASH)
            return None
        if self._places.comes_after_another(position):
            self._telling.block(position.id, key)
            return None
        try:
            seen = follow.read_on(self._places.path_of(key), position, self._count)
        except FileNotFoundError:
            self._places.take_from_trash(key[1])
            self._hints.add_folder(TRASH)
            return None
        except UNREADABLE as error:
            if follow.is_passing(error):
                raise
            seen = None
        if seen is not None and seen.nonce == position.nonce:
            return Reading(key, position, seen)
        self.await_end(key, position)
        return None

    def await_end(self, key: Key, position: Position, *, is_skipped: bool = False) -> None:
        """Tell that a log in the trash was deleted, if its lines do not: its deleter is about to say so, or died.

        Args:
            key: the log's name in the trash.
            position: how far it was told: to its end.
            is_skipped: whether the line that says so may be among those that are not told.
        """
        if position.told.is_deleted:
            self._telling.is_well(key)
            self._places.end(position)
        elif is_skipped or self._telling.is_over(key):
            self._telling.say("deleted", position, position.told._replace(is_deleted=True))

    def must_wait(self, key: Key, seen: Seen) -> bool:
        """Whether a log is to be told only after an earlier one of its session, or after a look whether there is one."""
        if self._places.ending.get(seen.session_id, set()) - {seen.nonce}:
            self._telling.block(seen.session_id, key)
            return True
        if seen.nonce in self._cleared or self._knows_all():
            self._cleared.discard(seen.nonce)
            return False
        self._unsure.add(seen.nonce)
        self._telling.block(seen.session_id, key)
        self._hints.add_folder(TRASH)
        return True

    def _knows_all(self) -> bool:
        """Whether nothing can have come into the trash since it was last looked at."""
        found = self._stamp()
        # A change in the same tick of a coarse clock as the look would not show.
        return found == self._seen and self._seen_at_ns - found[3] > _GRAIN_NS

    def _stamp(self) -> tuple[int, int, int, int]:
        try:
            return follow.stamp_of(files.stat(self._layout.trash))
        except OSError:
            return 0, 0, 0, time.time_ns()

    def is_due(self) -> bool:
        """Whether the last look at the trash is long enough ago for the next while there is other work.

        Each costs as much as there is in the trash, and one does for all logs missed before it.
        """
        return time.monotonic() >= self._due

    def scan(self) -> None:
        """See what came into the trash and what left it, and what became of the logs that were missed before."""
        waiting, self._telling.blocked = self._telling.blocked, {}
        found, began_ns = self._stamp(), time.time_ns()
        names = self._maybe_names()
        self._due = time.monotonic() + _PAUSE_S
        if names is None:
            self._telling.go_away()
            return
        known = self._places.trash
        for name in known.keys() - set(names):
            self._places.take_from_trash(name)
        for name in names:
            if name not in known:
                self._adopt(name)
            elif self._places.is_ending(known[name]):
                self._hints.add((TRASH, name), first=True)
        self._judge_lost()
        self._seen, self._seen_at_ns = found, began_ns
        self._cleared, self._unsure = self._unsure, set()
        for keys in waiting.values():
            for key in keys:
                self._hints.add(key)

    def _maybe_names(self) -> list[bytes] | None:
        """The logs in the trash, the first deleted first; None when there is no trash to look at."""
        try:
            files.check_folder(self._layout.trash)
            with files.scandir(self._layout.trash) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        except OSError:
            return None
        return names if self._only is None else [name for name in names if name.partition(b".")[2] == self._only[1]]

    def _adopt(self, name: bytes, *, must_know: bool = False) -> bool:
        """Find out whose a log in the trash is that was not there before; False for one to be asked about again.

        Args:
            name: its name.
            must_know: whether to leave one of which nothing was told.
        """
        try:
            seen = follow.read_on(self._places.path_of((TRASH, name)), None, 0)
        except OSError:
            # Gone; or no descriptor was left, or somebody has it open: it is asked about again at the next look.
            return True
        except UNREADABLE:
            seen = None
        if seen is None or Places.key_of(seen.session_id)[1] != name.partition(b".")[2]:
            self._places.trash[name] = ""
            return True
        key = Places.key_of(seen.session_id)
        position = self._places.at(key)
        if position is None or position.nonce != seen.nonce:
            if must_know and seen.nonce not in self._places.away:
                return False
            position = self._places.away.get(seen.nonce) or Position(seen.session_id, seen.nonce)
        elif self._maybe_nonce(key) == seen.nonce:
            # On its way back it has both names for a moment.
            self._telling.put_off((TRASH, name))
            return True
        else:
            self._places.lose(key)
            self._hints.add(key)
        self._places.put_in_trash(name, position)
        self._hints.add((TRASH, name))
        return True

    def _maybe_nonce(self, key: Key) -> str | None:
        """Which log is under a session's name now."""
        try:
            seen = follow.read_on(self._places.path_of(key), None, 0)
        except UNREADABLE:
            return None
        return None if seen is None else seen.nonce

    def _judge_lost(self) -> None:
        """Decide of the logs that are neither under their names nor in the trash."""
        for nonce in list(self._places.lost):
            position = self._places.away[nonce]
            key = Places.key_of(position.id)
            if self._maybe_nonce(key) == nonce:
                self._hints.add(key)
            elif self.maybe_holds(key) is None:
                self._telling.go_away()
                return
            elif position.told.is_deleted:
                self._places.drop(position)
            else:
                self._telling.say("deleted", position, position.told._replace(is_deleted=True), missed="purged")

    def maybe_holds(self, key: Key) -> bool | None:
        """Whether there is something under a session's name; None when the folder of all logs is not there."""
        try:
            return files.maybe_holds(self._layout.sessions, b"%b/%b" % key)
        except OSError:
            return None
