"""What several adapters need: the calls that a peer lacks, a few objects that are kept open, and an event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from benchmarks.peers.peer import NotOffered

Kind = TypeVar("Kind")

PATIENCE_S = 60.0
"""How long a peer that can be told waits for another process; the others wait as long as they have built in."""

KEPT = 64
"""Of how many sessions a process keeps the peer's object: a server with many sessions cannot keep all their files open."""

EVERY = 2**31 - 1
"""For peers that must be told how many hits they may give."""


class Partial:
    """What an adapter says when the peer has no such call.

    A peer that cannot read only the end is read whole and cut, as its users do; so the row shows what that costs them.
    """

    def create(self, session_id: str) -> None:
        """Nothing: a session is there with its first message."""

    def append(self, session_id: str, role: str, text: str) -> None:
        raise NotImplementedError

    def read_all(self, session_id: str) -> list[str]:
        raise NotImplementedError

    def extend(self, session_id: str, messages: list[tuple[str, str]]) -> None:
        for role, text in messages:
            self.append(session_id, role, text)

    def read_last(self, session_id: str, count: int) -> list[str]:
        return self.read_all(session_id)[-count:]

    def fork(self, session_id: str, new_id: str) -> None:  # noqa: ARG002 - of the interface
        lacking("no call copies a session")

    def set_title(self, session_id: str, title: str) -> None:  # noqa: ARG002
        lacking("a session has no title")

    def title(self, session_id: str) -> str | None:  # noqa: ARG002
        lacking("a session has no title")

    def list_sessions(self, count: int) -> list[str]:  # noqa: ARG002
        lacking("no call lists the sessions")

    def search(self, word: str) -> int:  # noqa: ARG002
        lacking("no search in messages")

    def close(self) -> None:
        """Nothing is kept open."""


def lacking(reason: str) -> NoReturn:
    """Say that the peer does not do this."""
    raise NotOffered(reason)


class Kept(Generic[Kind]):
    """The peer's objects for the sessions used last, made when asked for and closed when others take their place."""

    def __init__(self, make: Callable[[str], Kind], close: Callable[[Kind], object] = lambda _: None) -> None:
        self._make = make
        self._close = close
        self._kept: OrderedDict[str, Kind] = OrderedDict()

    def __getitem__(self, session_id: str) -> Kind:
        kept = self._kept.get(session_id)
        if kept is None:
            kept = self._kept[session_id] = self._make(session_id)
            if len(self._kept) > KEPT:
                self._close(self._kept.popitem(last=False)[1])
        else:
            self._kept.move_to_end(session_id)
        return kept

    def close(self) -> None:
        while self._kept:
            self._close(self._kept.popitem()[1])


class Loop:
    """One event loop, kept open, on which the calls of an asynchronous peer run one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # What a call costs when there is nothing to do, some 10 us and 50 with a hop to a thread, is in every figure.
        self.run = self._loop.run_until_complete

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.close()
