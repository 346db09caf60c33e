"""Counting what a store holds: sessions, messages, usage, and when they came. Changes nothing."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from hierstore.disk.engine import Engine
from hierstore.errors import SessionNotFound
from hierstore.log.state import State
from hierstore.model import Message
from hierstore.reports import StoreStatistics
from hierstore.sizes import disk_usage, forked
from hierstore.sums import NOTHING, Sum, plus, value
from hierstore.tree import BAD_LOG, session_ids


def statistics(engine: Engine) -> StoreStatistics:
    """Read every session, and count. Takes no lock, and drives nothing out of the cache.

    Raises:
        UnreadableLog: a folder cannot be read.
    """
    forks = forked(engine)
    tally = _Tally()
    # Forks first: then it is known which messages of the others they show too.
    for session_id in sorted(session_ids(engine), key=lambda found_id: engine.layout.log(found_id) not in forks):
        entry = engine.entry(session_id)
        try:
            state = engine.peek(entry)
            messages = state.messages[:]
        except SessionNotFound:
            # Deleted meanwhile.
            continue
        except BAD_LOG:
            tally.unreadable += 1
            continue
        tally.add_session(state)
        tally.add_messages(messages, is_fork=entry.path in forks)
    usage = {name: value(total) for name, total in sorted(tally.usage.items())}
    return StoreStatistics(
        sessions=tally.sessions,
        roots=tally.roots,
        archived=tally.archived,
        pinned=tally.pinned,
        suspended=tally.suspended,
        unreadable=tally.unreadable,
        messages=tally.roles.total(),
        usage=usage,
        roles=dict(tally.roles.most_common()),
        kinds=dict(tally.kinds.most_common()),
        labels=dict(tally.labels.most_common()),
        sessions_by_day=dict(sorted(tally.session_days.items())),
        messages_by_day=dict(sorted(tally.message_days.items())),
        disk=disk_usage(engine),
    )


class _Tally:
    """The counts so far."""

    def __init__(self) -> None:
        self.sessions = self.roots = self.archived = self.pinned = self.suspended = self.unreadable = 0
        self.usage: dict[str, Sum] = {}
        self.roles: Counter[str] = Counter()
        self.kinds: Counter[str | None] = Counter()
        self.labels: Counter[str] = Counter()
        self.session_days: Counter[str] = Counter()
        self.message_days: Counter[str] = Counter()
        self._shared: set[tuple[str, int, float]] = set()

    def add_session(self, state: State) -> None:
        """Count a session's facts."""
        facts = state.facts
        self.sessions += 1
        self.roots += facts.parent_id is None
        self.archived += facts.archived
        self.pinned += facts.pinned
        self.suspended += facts.suspended
        self.kinds[facts.kind] += 1
        self.labels.update(facts.labels)
        self.session_days.update(_days(facts.created_at))
        for name, total in facts.usage:
            self.usage[name] = plus(self.usage.get(name, NOTHING), total)

    def add_messages(self, messages: tuple[Message, ...], *, is_fork: bool) -> None:
        """Count messages, but for those that a fork showed before."""
        # An id alone may be the caller's, and another session may use it for another message.
        new = {(message.id, message.seq, message.at): message for message in messages}
        for shared in self._shared & new.keys():
            del new[shared]
        if is_fork:
            self._shared.update(new)
        self.roles.update(message.role for message in new.values())
        for message in new.values():
            self.message_days.update(_days(message.at))


def _days(unix_s: float) -> tuple[str, ...]:
    """The day on which a moment is, here; none for a moment out of the calendar."""
    try:
        return (f"{datetime.fromtimestamp(unix_s):%Y-%m-%d}",)
    except (ValueError, OverflowError, OSError):
        return ()
