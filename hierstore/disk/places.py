"""Where the followed logs are: under their sessions' names, in the trash, or nowhere to be found.

A log is known by its nonce: it keeps it in the trash and when it comes back, and a later session of the same id has
another. So a log that moves goes on where it was, and nothing of it is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hierstore.disk.hints import TRASH, Key
from hierstore.disk.layout import Layout
from hierstore.disk.logfile import SUFFIX
from hierstore.log.cursor import Position, Told, pack_rows
from hierstore.naming import file_name, stripe_of


class Places:
    """The positions of one watcher.

    Args:
        layout: the store's.
        ended: called with a session's id when the end of one of its logs was told, or is not to be told any more.

    Attributes:
        here: those of the logs under sessions' names, by folder and name.
        away: the others, by nonce.
        trash: for each name in the trash that was looked at, its log's nonce; empty for what is no log.
        lost: the nonces of those that are away and not in the trash either, as far as anybody looked.
        ending: by session, the nonces of those that are away and may have more to tell before they end.
    """

    def __init__(self, layout: Layout, ended: Callable[[str], None]) -> None:
        self._layout = layout
        self._ended = ended
        self._packed: dict[bytes, bytes] = {}
        self.here: dict[bytes, dict[bytes, Position]] = {}
        self.away: dict[str, Position] = {}
        self.trash: dict[bytes, str] = {}
        self.lost: set[str] = set()
        self.ending: dict[str, set[str]] = {}

    @staticmethod
    def key_of(session_id: str) -> Key:
        """Where a session's log is, if it is not in the trash."""
        return b"%02x" % stripe_of(session_id), file_name(session_id).encode() + SUFFIX

    def path_of(self, key: Key) -> bytes:
        """The path that a key stands for."""
        folder = self._layout.trash if key[0] == TRASH else b"%b/%b" % (self._layout.sessions, key[0])
        return b"%b/%b" % (folder, key[1])

    def at(self, key: Key) -> Position | None:
        """The log under a session's name."""
        return self.here.get(key[0], {}).get(key[1])

    def put(self, key: Key, position: Position) -> None:
        """A log is under a session's name."""
        self.here.setdefault(key[0], {})[key[1]] = position
        self._packed.pop(key[0], None)

    def forget(self, key: Key) -> None:
        """There is no log under that name."""
        self.here.get(key[0], {}).pop(key[1], None)
        self._packed.pop(key[0], None)

    def lose(self, key: Key) -> Position:
        """A log is no longer under its session's name; where it went is not known yet."""
        position = self.here[key[0]][key[1]]
        self.forget(key)
        self.put_away(position)
        return position

    def put_away(self, position: Position) -> None:
        """A log is somewhere, but not under its session's name."""
        self._packed.pop(TRASH, None)
        self.away[position.nonce] = position
        if position.name is None:
            self.lost.add(position.nonce)
        self._may_go_on(position)

    def put_in_trash(self, name: bytes, position: Position) -> None:
        """A log lies in the trash."""
        position.name = name
        self.trash[name] = position.nonce
        self.put_away(position)
        self.lost.discard(position.nonce)

    def take_from_trash(self, name: bytes) -> None:
        """There is no log of that name in the trash any more."""
        position = self.away.get(self.trash.pop(name, ""))
        if position is not None and position.name == name:
            position.name = None
            self.lost.add(position.nonce)
            self._may_go_on(position)

    def bring_back(self, key: Key, position: Position) -> None:
        """A log that was away is under its session's name again."""
        self.drop(position)
        position.stamp = None
        self.put(key, position)

    def drop(self, position: Position) -> None:
        """A log is nowhere any more."""
        self._packed.pop(TRASH, None)
        self.away.pop(position.nonce, None)
        self.lost.discard(position.nonce)
        if position.name is not None:
            self.trash.pop(position.name, None)
            position.name = None
        self.end(position)

    def move(self, position: Position, told: Told) -> None:
        """A log was told further."""
        position.tell(told)
        is_away = position.nonce in self.away
        self._packed.pop(TRASH if is_away else b"%02x" % stripe_of(position.id), None)

    def _may_go_on(self, position: Position) -> None:
        self.ending.setdefault(position.id, set()).add(position.nonce)

    def end(self, position: Position) -> None:
        """A log was told to its end, or is not to be."""
        nonces = self.ending.get(position.id)
        if nonces is not None and position.nonce in nonces:
            nonces.discard(position.nonce)
            if not nonces:
                del self.ending[position.id]
            self._ended(position.id)

    def is_ending(self, nonce: str) -> bool:
        """Whether a log is away and may have more to tell."""
        position = self.away.get(nonce)
        return position is not None and nonce in self.ending.get(position.id, ())

    def comes_after_another(self, position: Position) -> bool:
        """Whether an earlier log of the same session is to be told to its end before.

        Of two in the trash the one deleted first. One that is in neither place was judged when this one was found: it is
        back, and comes after what is in the trash.
        """
        others = self.ending.get(position.id, set()) - {position.nonce}
        names = [self.away[nonce].name for nonce in others]
        return any(name is not None and name < (position.name or b"") for name in names)

    def rows(self) -> Iterator[bytes]:
        """All positions, packed; those of a folder in which nothing moved as they were packed before."""
        for folder, logs in self.here.items():
            if folder not in self._packed:
                self._packed[folder] = pack_rows(logs.values())
            yield self._packed[folder]
        if TRASH not in self._packed:
            self._packed[TRASH] = pack_rows(self.away.values())
        yield self._packed[TRASH]
