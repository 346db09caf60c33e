"""Compaction of a log's lines: what is left of them when only some revisions are to be kept whole. Pure.

Lines keep their numbers, so revisions keep theirs; those of dropped lines are missing in the new log. What stays:

- the first line;
- each message that the history of a kept revision shows. A message was added to one history once, so all histories
  that show it begin alike up to it: the messages kept of any history are its beginning, and a revert is rewritten by
  shortening its count;
- reverts and resets that still change something;
- in the last other line up to each kept revision, what the events that went have done to the facts, unless those are
  shorter themselves;
- whatever this version does not know.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hierstore.history import History
from hierstore.log.events import EVENTS, event, parse
from hierstore.log.facts import Facts, change
from hierstore.log.frame import EVENTS_START, MESSAGE_START, SEAL_BYTES
from hierstore.log.state import State, apply, initial
from hierstore.values import encode

EPOCHS = frozenset(["reset", "reverted", "unreverted"])
"""The events that make the history another one."""

_KNOWN = {name: frozenset(keys) | {"type"} for name, keys in EVENTS.items()}
_COMMIT_KEYS = frozenset(["events", "at", "seq", "crc"])
_SEQ_AT = len(MESSAGE_START) + len(b'{"seq":')


class Shorter(NamedTuple):
    """What is left of a log.

    Attributes:
        bodies: its commits, still without seals.
        dropped: how many messages are not among them.
    """

    bodies: list[bytes]
    dropped: int


def compacted(
    lines: bytes, start: int, first: State, last: State, kept: Iterable[int], *, keep_snapshots: bool
) -> Shorter | None:
    """The new log's commits; None when nothing can be dropped.

    Args:
        lines: the old log's valid lines.
        start: where its first commit begins.
        first: the state before that.
        last: the state after all lines.
        kept: the revisions to keep whole, beside the last.
        keep_snapshots: whether the snapshots stay; ``kept`` then holds their revisions.
    """
    bounds = sorted({*kept, last.revision})
    run = _Run(first, last, bounds, keep_snapshots)
    run.find_dumps(lines, start)
    if not run.dumps:
        return None
    run.walk(lines, start)
    return Shorter(run.bodies, run.dropped)


class _Part:
    """The lines up to one dump, as they were and as they would be.

    Args:
        state: what the new log says before them, the messages left out: a dump holds only what that does not.
    """

    def __init__(self, state: State) -> None:
        self._before = state
        self._old: list[tuple[bytes, dict[str, Any] | None]] = []
        self._new: list[bytes] = []
        self.state = state
        self.commits = 0
        self.must_change = False

    def message(self, body: bytes) -> None:
        """A line of a message, which stays."""
        self._old.append((body, None))
        self._new.append(body)

    def commit(self, body: bytes, record: dict[str, Any], new: dict[str, Any] | None) -> None:
        """Any other line: how it was, and how it would be, if at all."""
        self._old.append((body, record))
        self.commits += 1
        if new is not None:
            self._new.append(encode(new, "commit")[:-1])
            self.state = _without_messages(self.state, new)

    def end(self) -> tuple[list[bytes], State]:
        """The lines chosen, and what the new log says after them: the old where they can stay and are no longer."""
        if self.must_change or (
            self.commits > 1 and sum(len(body) for body, _ in self._old) > sum(map(len, self._new))
        ):
            return self._new, self.state
        state = self._before
        for _, record in self._old:
            if record is not None:
                state = _without_messages(state, record)
        return [body for body, _ in self._old], state


def _commit(record: Mapping[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """A commit with other events; its keys in the order that a line's have."""
    extras = {key: value for key, value in record.items() if key not in _COMMIT_KEYS}
    return {"events": events, "at": record["at"], **extras, "seq": record["seq"]}


def _without_messages(state: State, record: Mapping[str, Any]) -> State:
    """What a commit makes of the facts; of the history nothing is asked here."""
    events = [item for item in record["events"] if item.get("type") != "message"]
    # A revert names a revision with its messages, of which this state knows nothing: to the facts all are the same.
    events = [{**item, "revision": 1, "count": 0} if item.get("type") in EPOCHS else item for item in events]
    return apply(state, {**record, "events": events})


class _Run:
    """One compaction under way."""

    def __init__(self, first: State, last: State, bounds: Sequence[int], keep_snapshots: bool) -> None:
        self.bodies: list[bytes] = []
        self.dropped = 0
        self.dumps: dict[int, int] = {}
        """For each kept revision by its place, the last line up to it that holds anything but messages."""
        self._part = _Part(initial(first.facts.id, History(), 0))
        self._last_dump = 0
        self._bounds = bounds
        self._keep_snapshots = keep_snapshots
        self._state = first
        self._end = first.history.message(first.count - 1).seq if first.count else 0
        # What a fork inherited stands in files of its own: it costs nothing here, and stays.
        self._needed = {message.seq for message in first.history.part(0, first.count)}
        for history, count in histories(last, bounds):
            self._needed.update(message.seq for message in history.part(0, count))

    def _bound(self, revision: int) -> int:
        return bisect_left(self._bounds, revision)

    def find_dumps(self, lines: bytes, start: int) -> None:
        """For each kept revision, find the last line up to it that holds anything but messages."""
        place = lines.find(EVENTS_START, start)
        is_first = True
        while place >= 0:
            end = lines.index(b"\n", place) + 1
            if not is_first:
                record = parse(lines[place:end])
                if any(item.get("type") != "message" for item in record["events"]):
                    self.dumps[self._bound(record["seq"])] = self._last_dump = record["seq"]
            is_first = False
            # A line's beginning: JSON holds no raw newline.
            place = lines.find(b"\n" + EVENTS_START, end - 1) + 1 or -1

    def walk(self, lines: bytes, start: int) -> None:
        """Go through all lines, and keep what is to be kept."""
        size = len(lines)
        while start < size:
            if lines.startswith(MESSAGE_START, start):
                end = lines.find(b"\n" + EVENTS_START, start) + 1 or size
                self._messages(lines, start, end)
                self._state = self._state.with_lines(lines, start, end, skips=True)
            else:
                end = lines.index(b"\n", start) + 1
                self._commit(lines[start:end])
            start = end
        self.bodies.extend(self._part.end()[0])

    def _messages(self, lines: bytes, start: int, end: int) -> None:
        while start < end:
            stop = lines.index(b"\n", start) + 1
            seq = int(lines[start + _SEQ_AT : lines.index(b",", start + _SEQ_AT)])
            if seq in self._needed:
                self._part.message(lines[start : stop - SEAL_BYTES])
                self._end = seq
            else:
                self.dropped += 1
            start = stop

    def _commit(self, line: bytes) -> None:
        record = parse(line)
        before, self._state = self._state, apply(self._state, record)
        if before.revision == 0:
            self._part.commit(line[:-SEAL_BYTES], record, _commit(record, record["events"]))
            return
        # What a later version wrote beside the events stays with those of them that stay.
        is_known = record.keys() <= _COMMIT_KEYS
        events = [new for old in record["events"] for new in self._kept(old, before, is_known)]
        revision = record["seq"]
        new = _commit(record, events)
        if any(item.get("type") in EPOCHS for item in record["events"]):
            self._part.must_change = True
        is_dump = self.dumps.get(self._bound(revision)) == revision
        if is_dump:
            # The last one says what was kept, and without snapshots each says so.
            self._part.must_change |= not self._keep_snapshots or revision == self._last_dump
        if is_dump and (self._part.must_change or self._part.commits):
            events.append(self._dump(_without_messages(self._part.state, new).facts, revision))
        self._part.commit(line[:-SEAL_BYTES], record, new if events else None)
        if is_dump:
            bodies, state = self._part.end()
            self.bodies.extend(bodies)
            self._part = _Part(state)

    def _kept(self, old: Mapping[str, Any], before: State, is_known: bool) -> list[dict[str, Any]]:
        """An event as it stays, or nothing."""
        kind = old.get("type")
        if kind == "message":
            if old["seq"] not in self._needed:
                self.dropped += 1
                return []
            self._end = old["seq"]
            return [dict(old)]
        if kind in EPOCHS:
            return self._epoch(old, before, is_known and old.keys() <= _KNOWN[kind])
        if kind == "compacted" and old.keys() <= _KNOWN[kind]:
            return []
        if kind == "past" or kind not in EVENTS or not is_known or not old.keys() <= _KNOWN[kind]:
            return [dict(old)]
        return []

    def _epoch(self, old: Mapping[str, Any], before: State, is_known: bool) -> list[dict[str, Any]]:
        """A change of the history, if it still is one."""
        count, end = 0, 0
        if old.get("type") != "reset":
            history, _ = before.history_at(old["revision"])
            count, high = 0, old["count"]
            while count < high:
                middle = (count + high) // 2
                if history.message(middle).seq in self._needed:
                    count = middle + 1
                else:
                    high = middle
            end = history.message(count - 1).seq if count else 0
        if end == self._end and is_known:
            return []
        self._end = end
        return [dict(old) if old.get("type") == "reset" else {**old, "count": count}]

    def _dump(self, said: Facts, revision: int) -> dict[str, Any]:
        """What makes the facts that the new log says until here those that they were."""
        facts = self._state.facts
        if not self._keep_snapshots:
            facts = facts._replace(snapshots=())
        record = change(said, facts) | {"last_seq": self._state.seq, "updated_at": self._state.updated_at}
        if revision == self._last_dump:
            record |= {"through": self._bounds[-1], "kept": list(self._bounds[:-1])}
        return event("compacted", **record)


def histories(state: State, revisions: Iterable[int]) -> list[tuple[History, int]]:
    """The lists that hold the histories of some revisions, each once, with how many of it the longest has."""
    found: dict[int, tuple[History, int]] = {}
    for revision in revisions:
        history, count = state.history_at(revision)
        found[id(history)] = (history, max(count, found.get(id(history), (history, 0))[1]))
    return list(found.values())


def differs(new: State, old: State, kept: Iterable[int], *, keep_snapshots: bool) -> str | None:
    """What a compaction changed that a reader could see; None when nothing, as it must be."""
    wanted = old.facts if keep_snapshots else old.facts._replace(snapshots=())
    pairs = {
        "revision": (new.revision, old.revision),
        "info": (new.info, old.info),
        "facts": (change(wanted, new.facts), {}),
        "unknown events": (new.facts.unknown, old.facts.unknown),
        "past": (new.facts.past, old.facts.past),
        "messages": (new.messages, old.messages),
        "last message number": (new.seq, old.seq),
    }
    whole: dict[tuple[int, int], tuple[History, History, int]] = {}
    for revision in kept:
        (ours, our_count), (theirs, their_count) = new.history_at(revision), old.history_at(revision)
        if our_count != their_count:
            return f"revision {revision}"
        longest = max(our_count, whole.get((id(ours), id(theirs)), (ours, theirs, 0))[2])
        whole[id(ours), id(theirs)] = (ours, theirs, longest)
    # Histories that share a list begin alike: the longest of each pair of lists stands for all.
    for ours, theirs, count in whole.values():
        pairs[f"history of {count} messages"] = (ours.part(0, count), theirs.part(0, count))
    return next((name for name, (mine, yours) in pairs.items() if mine != yours), None)
