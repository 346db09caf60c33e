"""Intake: sessions from outside become logs in ``tmp/``, and then, all at once, sessions of the store.

Each log is built as its commits come, one session in memory at a time, and checked as if it were read from disk. Only
then is it seen which ids are taken; if they are to be new ones, the logs are built once more under them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple

from hierstore import clock
from hierstore.disk import files, journal, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import NO_COMMIT, append_offline, parse_log, past_path
from hierstore.errors import CorruptLog, HierarchyCycle, SessionExists, SessionNotFound
from hierstore.forks import write_past
from hierstore.log import frame
from hierstore.log.events import Past, event, header, parse
from hierstore.log.grammar import maybe_fault
from hierstore.model import Message
from hierstore.naming import check_id
from hierstore.placing import Built, Taken, place
from hierstore.transfer.commits import DEEPER, Arriving, Rewrite, bodies, invalid, message_record
from hierstore.values import plain

_AHEAD_NS = 2_000_000_000
_ATTEMPTS = 10
_MAX_REVISION = 2**24
_MOST_NUMBER = 2**53
"""A log of so many commits is gigabytes large; a revision beyond it is meant to fill our memory."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to take sessions in.

    Attributes:
        on_conflict: ``"new_ids"``, ``"refuse"`` or ``"skip"``.
        parent_id: the session to hang those without a parent below, or None.
        refs: whether ids in other systems come along.
        routes: whether route keys come along.
    """

    on_conflict: str
    parent_id: str | None
    refs: bool
    routes: bool


class Outcome(NamedTuple):
    """What became of the sessions of a source.

    Attributes:
        ids: for each taken in, its id in the source and here.
        skipped: those that exist here, by their ids.
    """

    ids: dict[str, str]
    skipped: tuple[str, ...]


class Intake:
    """Sessions on their way in; a context manager that leaves nothing in ``tmp/``.

    Args:
        engine: the store's.
        options: how to take them in.
    """

    def __init__(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self._options = options
        self._sessions: dict[str, Arriving] = {}
        self._floor_ns = 0
        self._pasts: list[list[Message]] = []
        self._past_files: dict[tuple[int, int], tuple[bytes, Past]] = {}
        self._stem = b""
        self._fd = -1
        self._serial = 0

    def __enter__(self) -> Intake:
        self._engine.check_writable()
        # As long as this one is locked nobody takes our files, which begin alike, for those of a dead process.
        path, self._fd = self._engine.open_scratch(b".building")
        self._stem = path.removesuffix(b".building")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        folder, prefix = os.path.split(self._stem)
        try:
            # What a pending record names is no longer ours: whoever finishes it will place it.
            names = {b".building"} if error is not None and self._is_pending() else None
            for name in list(files.names(folder)):
                if name.startswith(prefix + b".") and (names is None or name.removeprefix(prefix) in names):
                    files.remove(os.path.join(folder, name))
        except OSError:
            # The work is done, or has failed with another error; a repair knows what lies there.
            pass
        finally:
            with suppress(OSError):
                files.close(self._fd)

    def _is_pending(self) -> bool:
        """Whether the import was written down, so that it will be done."""
        return any(self._is_ours(path) for path in journal.pending(self._engine.layout))

    def _is_ours(self, path: bytes) -> bool:
        """Whether a record is of this import."""
        try:
            record = journal.load(path) or {}
            stem = self._engine.layout.relative(self._stem)
            return any(str(row[1]).startswith(stem) for row in record["sessions"])
        except NO_COMMIT:
            # It says nothing that anybody could do.
            return False

    # Taking in

    def add_past(self, base: Sequence[int] | None, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in a history that forks inherited: so many messages of an earlier one, and these."""
        messages: list[Message] = []
        if base is not None:
            messages.extend(self._past(base))
        for record in records:
            if "type" in record or maybe_fault({**record, "type": "message"}) is not None:
                raise invalid("a message of an inherited history is not what it should be")
            message = Message._of_record(message_record(record))
            if messages and message.seq <= messages[-1].seq:
                raise invalid("the messages of an inherited history are not in the order of their numbers")
            messages.append(message)
        self._pasts.append(messages)

    def _past(self, place: Sequence[int]) -> list[Message]:
        number, count = place
        if not 0 <= number < len(self._pasts) or not 0 <= count <= len(self._pasts[number]):
            raise invalid("it names an inherited history that it does not hold")
        return self._pasts[number][:count]

    def add(
        self,
        session_id: str,
        parent_id: str | None,
        commits: Iterable[Mapping[str, Any]],
        *,
        past: Sequence[int] | None = None,
        skipped: int | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Take in one session.

        Args:
            session_id: its id in the source.
            parent_id: its parent's there.
            commits: its commits, ``{"seq", "at", "events"}`` each.
            past: which history it inherited, and how many messages of it.
            skipped: how many revisions have no commit; None where the log was never compacted.
            keys: the route keys bound to it.

        Raises:
            InvalidRecord, InvalidSessionId: it cannot be taken, and so nothing is.
        """
        if check_id(session_id) in self._sessions:
            raise invalid(f"it holds two sessions {session_id!r}")
        item = Arriving(session_id, parent_id, self._scratch(), skipped, tuple(keys) if self._options.routes else ())
        if past is not None:
            item.past = self._place_past(item, past)
        self._sessions[session_id] = item
        here = self._options.parent_id if parent_id is None else parent_id
        self._build(item, session_id, here, self._numbered(item, map(self._checked, commits)), {})
        self._verify(item)

    def _scratch(self) -> bytes:
        self._serial += 1
        return b"%b.%d.jsonl" % (self._stem, self._serial)

    def _place_past(self, item: Arriving, place: Sequence[int]) -> Past:
        """Put a file with what the session inherited beside its log; sessions that inherited the same share it."""
        key = (place[0], place[1])
        messages = self._past(place)
        if key in self._past_files:
            source, past = self._past_files[key]
            if files.maybe_link(source, past_path(item.path, 0)):
                return past
        past = write_past(self._engine, item.source_id, item.path, 0, messages, self._scratch())
        self._past_files[key] = (past_path(item.path, 0), past)
        return past

    def _checked(self, commit: Mapping[str, Any]) -> dict[str, Any]:
        """A commit that can be stored, made of plain values."""
        if not isinstance(commit, Mapping) or not isinstance(commit.get("events"), list):
            raise invalid("a commit is not an object with a list of events")
        rest = {key: value for key, value in commit.items() if key != "events"}
        if type(rest.get("seq")) is not int or type(rest.get("at")) not in (int, float):
            raise invalid("a commit has no seq or no time")
        if "message" in rest:
            raise invalid("a commit has a message beside its events")
        events = []
        for item in commit["events"]:
            fault = maybe_fault(item)
            if fault is not None:
                raise invalid(fault)
            if item["type"] == "message":
                events.append({"type": "message", **message_record({k: v for k, v in item.items() if k != "type"})})
            else:
                events.append(plain(item, "event", -DEEPER))
        return {**plain(rest, "commit"), "events": events}

    @staticmethod
    def _numbered(item: Arriving, commits: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The commits, if their numbers are what they should be."""
        last = missing = 0
        for commit in commits:
            missing += commit["seq"] - last - 1
            if (
                (last == 0 and commit["seq"] != 1)
                or not last < commit["seq"] <= _MAX_REVISION
                or missing > (item.skipped or 0)
            ):
                raise invalid(f"the commits of session {item.source_id!r} are not numbered as they should be")
            last = commit["seq"]
            yield commit
        if missing != (item.skipped or 0):
            raise invalid(f"the commits of session {item.source_id!r} are not numbered as they should be")

    def _build(
        self,
        item: Arriving,
        session_id: str,
        parent_id: str | None,
        commits: Iterable[Mapping[str, Any]],
        ids: Mapping[str, str],
    ) -> None:
        """Write a session's log.

        Args:
            item: the session; gets the log's facts.
            session_id: its id here.
            parent_id: its parent's id here.
            commits: its commits.
            ids: new ids for those in the commits.
        """
        engine = self._engine
        item.nonce = os.urandom(8).hex()
        # The mtime of a log that had this name before is not known yet; this one's stamps must never equal its.
        item.floor_ns = max(int(clock.now() * 1e9) + _AHEAD_NS, self._floor_ns)
        item.noted, item.bound = [], set()
        rewrite = Rewrite(item, parent_id, ids, refs=self._options.refs)
        top = header(session_id, item.nonce, clock.now(), item.floor_ns, item.skipped)
        fd = files.create(item.path, engine.layout.file_mode)
        try:
            chain = 0
            for body in bodies(top, map(rewrite.commit, commits)):
                line, chain = frame.seal(body, chain)
                files.write_all(fd, line)
            files.raise_mtime(fd, item.path, item.floor_ns)
            # In either durability: a record that is on the medium will give it its name.
            files.sync(fd)
        finally:
            files.close(fd)

    def _verify(self, item: Arriving) -> None:
        """See that a log reads as one."""
        data = files.read_all(item.path)
        try:
            parsed = parse_log(data, item.source_id, item.path)
        except (CorruptLog, SessionNotFound) as error:
            raise invalid(f"the commits of session {item.source_id!r} are not a session's") from error
        if parsed.end != len(data) or parsed.fault is not None:
            raise invalid(f"the commits of session {item.source_id!r} are not numbered as they should be")
        state = parsed.state
        facts = state.facts
        named = [facts.through or 1, *facts.kept, *(snapshot.revision for snapshot in facts.snapshots)]
        if not all(1 <= revision <= state.revision and state.is_whole(revision) for revision in named):
            raise invalid(f"session {item.source_id!r} names a revision that it does not have")
        # Decoded now, so that it can be later.
        numbers = [message.seq for message in state.messages]
        if state.seq > _MOST_NUMBER:
            raise invalid(f"session {item.source_id!r} has a message with a number above {_MOST_NUMBER}")
        if any(first >= second for first, second in pairwise(numbers)) or (numbers and state.seq < numbers[-1]):
            raise invalid(f"the messages of session {item.source_id!r} are not in the order of their numbers")

    # Placing

    def finish(self, roots: Sequence[str]) -> Outcome:
        """Make the sessions those of the store.

        Args:
            roots: the ids in the source of those that have no parent there.

        Raises:
            InvalidRecord, HierarchyCycle: their hierarchy is none; nothing was changed.
            SessionExists: an id is taken, and the option is to refuse; nothing was changed.
            SessionNotFound: the parent to hang them below does not exist.
        """
        order = self._order(roots)
        below: dict[str, list[str]] = {}
        for item in self._sessions.values():
            if item.source_parent is not None:
                below.setdefault(item.source_parent, []).append(item.source_id)
        for parent_id, children in below.items():
            self._note_children(self._sessions[parent_id], children)
        ids = {source_id: source_id for source_id in order}
        skipped: set[str] = set()
        for _ in range(_ATTEMPTS):
            batch = [self._built(source_id, ids, skipped) for source_id in order if source_id not in skipped]
            taken = place(self._engine, batch) if batch else None
            if taken is None:
                taken_in = {source_id: ids[source_id] for source_id in order if source_id not in skipped}
                return Outcome(taken_in, tuple(source_id for source_id in order if source_id in skipped))
            ids, skipped = self._give_way(taken, order, ids, skipped)
        raise refusals.already_there(order[0])

    def _give_way(
        self, taken: Taken, order: Sequence[str], ids: dict[str, str], skipped: set[str]
    ) -> tuple[dict[str, str], set[str]]:
        """What to do about ids that exist."""
        # Otherwise a log that was stamped in the future would keep its id from coming in until then.
        self._floor_ns = max(self._floor_ns, taken.floor_ns)
        if taken.ids and self._options.on_conflict == "refuse":
            raise SessionExists(
                f"There is a session {taken.ids[0]!r} already; nothing was imported.", session_id=taken.ids[0]
            )
        if taken.ids and self._options.on_conflict == "skip":
            return ids, skipped | set(taken.ids)
        # All of them: half of a tree under old ids and half under new ones would be two halves.
        new = {source_id: clock.new_id() for source_id in order} if taken.ids else ids
        renamed = {ids[source_id]: new[source_id] for source_id in order}
        for source_id in order:
            item = self._sessions[source_id]
            parent_id = self._options.parent_id if item.source_parent is None else new[item.source_parent]
            self._rebuild(item, new[source_id], parent_id, renamed)
        return new, skipped

    def _rebuild(self, item: Arriving, session_id: str, parent_id: str | None, renamed: Mapping[str, str]) -> None:
        """Build a log once more from itself, under new ids."""
        data = files.read_all(item.path)
        files.remove(item.path)
        commits = [parse(line) for line in data.split(b"\n")[1:-1]]
        self._build(item, session_id, parent_id, commits, renamed)

    def _built(self, source_id: str, ids: Mapping[str, str], skipped: set[str]) -> Built:
        item = self._sessions[source_id]
        parent_id = item.source_parent
        is_outside = parent_id is None or parent_id in skipped
        here = self._options.parent_id if parent_id is None else ids[parent_id]
        # A key counts where the session has noted it.
        keys = tuple(key for key in item.keys if key in item.bound)
        return Built(ids[source_id], item.path, item.nonce, item.floor_ns, here, is_outside, keys)

    def _order(self, roots: Sequence[str]) -> list[str]:
        """Parents before their children.

        Raises:
            InvalidRecord: a parent is missing.
            HierarchyCycle: they hang below each other.
        """
        below: dict[str | None, list[str]] = {}
        for item in self._sessions.values():
            if item.source_parent is not None and item.source_parent not in self._sessions:
                raise invalid(f"the parent {item.source_parent!r} of session {item.source_id!r} is missing")
            below.setdefault(item.source_parent, []).append(item.source_id)
        order = list(below.get(None, ()))
        for source_id in order:
            order.extend(below.get(source_id, ()))
        reached = set(order)
        left = next((source_id for source_id in self._sessions if source_id not in reached), None)
        if left is not None:
            raise HierarchyCycle(
                f"Nothing was imported: session {left!r} hangs below itself.",
                session_id=left, parent_id=self._sessions[left].source_parent,
            )  # fmt: skip
        if not order or set(below[None]) != set(roots):
            raise invalid("its roots are not those that it names" if order else "it holds no session")
        return order

    def _note_children(self, item: Arriving, children: Sequence[str]) -> None:
        """Let a parent note those of its children that it does not note yet."""
        noted = set(item.noted)
        missing = [child_id for child_id in children if child_id not in noted]
        if missing:
            append_offline(item.path, item.source_id, lambda _: [event("child", id=child_id) for child_id in missing])
            fd = files.open_regular(item.path, files.APPEND)
            try:
                files.raise_mtime(fd, item.path, item.floor_ns)
                files.sync(fd)
            finally:
                files.close(fd)
