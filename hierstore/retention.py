"""Retention: which sessions are no longer needed, and moving those to the trash.

Three steps. Every session is looked at, without a lock, and only what the decision needs of it is kept. Then it is
decided, from the leaves of the hierarchy up, and the caller is asked. Then each subtree that is to go is moved as a
whole, if under its locks everything in it is still what was decided on.
"""

from __future__ import annotations

import heapq
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hierstore import trash
from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.disk.locks import TREE
from hierstore.disk.logfile import NO_COMMIT, parse_log, past_path
from hierstore.errors import InvalidRecord, LockTimeout, SessionNotFound, UnreadableLog, quoted
from hierstore.log.state import State
from hierstore.purge import latest_time
from hierstore.reports import PruneReport, SessionError
from hierstore.routes import keys_of
from hierstore.tree import BAD_LOG, session_ids

_LOOKS = 3
"""How often a log that looks damaged is looked at: without a lock, its files may be replaced in the middle of a look."""

Keep = Callable[[tuple[str, ...], Any], object]
"""Given a session's route keys and its handle, whether to keep it."""

_File = tuple[tuple[int, int], int]
"""((st_dev, st_ino), size in bytes)."""


# What the caller allows


@dataclass(frozen=True, slots=True)
class Limits:
    """What the sessions that stay have to fit in.

    Attributes:
        before: what has not changed since this time is too old, Unix seconds; minus infinity where nothing is.
        max_sessions: how many may stay; infinity for no limit.
        max_bytes: how many bytes they may have on disk; infinity for no limit.
    """

    before: float
    max_sessions: float
    max_bytes: float


def limits(max_age_days: object, max_sessions: object, max_bytes: object) -> Limits:
    """Check the limits of a prune.

    Args:
        max_age_days: a number of days from now back; of None, 0 and less nothing is too old.
        max_sessions: a whole number of 0 or more, or None for no limit. 0 is a limit as any other: everything goes
            that is not to be kept. All sessions count, also those that are kept for other reasons.
        max_bytes: the same in bytes. The logs count, and those that a fork keeps of the time before it, each file
            once, however many link it. The trash does not count, nor does a log that cannot be read.

    Raises:
        InvalidRecord: one of them is no such number.
    """
    before = -math.inf if max_age_days is None else latest_time(max_age_days, "max_age_days")
    return Limits(before, _count(max_sessions, "max_sessions"), _count(max_bytes, "max_bytes"))


def _count(number: object, where: str) -> float:
    if number is None:
        return math.inf
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidRecord(f"{where} is a whole number of 0 or more, or None, not {quoted(number)}.", where=where)
    return number


# Looking


class _Seen(NamedTuple):
    """What is to be known of a session: not its state, or a prune would hold all histories."""

    parent_id: str | None = None
    children: tuple[str, ...] = ()
    nonce: str = ""
    revision: int = 0
    updated_at: float = 0.0
    is_needed: bool = False
    is_bound: bool = False
    files: tuple[_File, ...] = ()
    error: str | None = None


def _look(engine: Engine, session_id: str) -> _Seen | None:
    """A session as it is now; None when there is none.

    Takes no lock, as nothing is decided here for good, and puts nothing in the cache, out of which a look at every
    session would drive what the program works with.
    """
    entry = engine.entry(session_id)
    seen = _Seen()
    for _ in range(_LOOKS):
        try:
            seen = _look_once(engine, entry)
        except SessionNotFound:
            return None
        except BAD_LOG as error:
            seen = _Seen(error=str(error))
        if seen.error is None:
            break
    return seen


def _look_once(engine: Engine, entry: Entry) -> _Seen:
    # The nonce before the head, and the stamp after both: so the nonce is never a later log's than the head.
    nonce, head, error = entry.nonce, entry.head, None
    try:
        # A symbolic link is no log, whatever was read before it stood there.
        found = files.lstat(entry.path)
        if head is not None and (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev) == head[:4]:
            state = head[4]
        else:
            state, nonce, error = _parse(engine, entry)
        facts = state.facts
        stats = [found, *(files.stat(past_path(entry.path, past.file)) for past in facts.past)]
    except FileNotFoundError as missing:
        if files.exists(entry.path):
            raise refusals.unreadable(missing, entry.id, entry.path) from missing
        raise refusals.not_found(entry.id) from None
    except OSError as refused:
        raise refusals.unreadable(refused, entry.id, entry.path) from refused
    try:
        updated_at = float(state.updated_at)
    except NO_COMMIT as bad:
        raise refusals.corrupt(entry, 0, "has a line that is sealed and yet no commit") from bad
    is_needed = bool(facts.suspended or facts.pinned or facts.archived)
    rows = tuple(((item.st_dev, item.st_ino), item.st_size) for item in stats)
    return _Seen(
        facts.parent_id, facts.children, nonce, state.revision, updated_at, is_needed,
        bool(facts.bound), rows, error,
    )  # fmt: skip


def _parse(engine: Engine, entry: Entry) -> tuple[State, str, str | None]:
    """The state of the committed prefix, the log's nonce, and what is wrong with the rest, or None."""
    data = engine.log_bytes(entry)
    parsed = parse_log(data, entry.id, entry.path, known=engine.cache.pasts)
    fault = parsed.fault and f"takes no writes: {parsed.fault}"
    # An unfinished commit has no newline. What has one was a commit, and may have said more than the prefix says.
    if fault is None and data.find(b"\n", parsed.end) >= 0:
        fault = f"is damaged at byte {parsed.end}"
    return parsed.state, parsed.nonce, fault and str(refusals.corrupt(entry, parsed.end, fault))


def _look_at_all(engine: Engine) -> dict[str, _Seen]:
    """Every session there is; also those whose header tells no id, if another one notes them as its child."""
    looked = {session_id: _look(engine, session_id) for session_id in session_ids(engine)}
    noted = {child_id for seen in looked.values() if seen is not None for child_id in seen.children}
    looked.update({child_id: _look(engine, child_id) for child_id in noted - looked.keys()})
    return {session_id: seen for session_id, seen in looked.items() if seen is not None}


# Deciding


class _Left:
    """How much is left while one session after the other is taken away."""

    def __init__(self, all_seen: Iterable[_Seen]) -> None:
        each = list(all_seen)
        self.sessions = len(each)
        self._sizes = {name: size for seen in each for name, size in seen.files}
        self._links = Counter(name for seen in each for name, _ in seen.files)
        self.size_bytes = sum(self._sizes.values())

    def take(self, seen: _Seen) -> None:
        """Take a session away; the files that others link stay."""
        self.sessions -= 1
        for name, _ in seen.files:
            self._links[name] -= 1
            if not self._links[name]:
                self.size_bytes -= self._sizes[name]

    def is_beyond(self, allowed: Limits) -> bool:
        """Whether more have to go."""
        return self.sessions > allowed.max_sessions or self.size_bytes > allowed.max_bytes


def _holds(seen: dict[str, _Seen]) -> tuple[Counter[str], set[str]]:
    """What keeps each session from going, counted: what hangs below it, as far as anybody says that it does.

    Returns:
        The counts, and the ids of those that count one less for their parent when they go. A child that its parent
        does not list would be left behind by the parent's deletion, and one that cannot be read does not go.
    """
    holds: Counter[str] = Counter()
    listed: set[str] = set()
    for session_id, one in seen.items():
        if one.parent_id in seen:
            holds[one.parent_id] += 1
        for child_id in one.children:
            child = seen.get(child_id)
            if child is not None and child.error is not None:
                # It may have said more than can be read of it now.
                holds[session_id] += 1
            elif child is not None and child.parent_id == session_id:
                listed.add(child_id)
    return holds, listed


_Doomed = dict[str, tuple[str, ...]]
"""The sessions that are to go, each with the route keys that were bound to it when that was decided."""


def _decide(seen: dict[str, _Seen], allowed: Limits, ask: Callable[[str], tuple[str, ...] | None]) -> _Doomed:
    """Who is to go, children before parents: of those that nothing holds, always the longest unchanged.

    ``ask`` answers with the route keys of a session that would go, or keeps it by answering None.
    """
    holds, listed = _holds(seen)
    left = _Left(seen.values())
    doomed: _Doomed = {}

    def may_go(session_id: str) -> bool:
        one = seen[session_id]
        return not (holds[session_id] or one.is_needed or one.error is not None)

    # A heap: a parent that joins later may be older than those that went before it.
    leaves = sorted((one.updated_at, session_id) for session_id, one in seen.items() if may_go(session_id))
    while leaves and (leaves[0][0] < allowed.before or left.is_beyond(allowed)):
        _, session_id = heapq.heappop(leaves)
        one = seen[session_id]
        keys = ask(session_id)
        if keys is None:
            continue
        doomed[session_id] = keys
        left.take(one)
        if one.parent_id is not None and session_id in listed:
            holds[one.parent_id] -= 1
            if may_go(one.parent_id):
                heapq.heappush(leaves, (seen[one.parent_id].updated_at, one.parent_id))
    return doomed


def _subtrees(seen: dict[str, _Seen], doomed: _Doomed) -> Iterator[list[str]]:
    """Those that are to go, by subtree, in the order of the decision; in each, parents before children."""
    for top in [session_id for session_id in doomed if seen[session_id].parent_id not in doomed]:
        members: list[str] = []
        stack = [top]
        while stack:
            session_id = stack.pop()
            members.append(session_id)
            below = [found_id for found_id in seen[session_id].children if found_id in doomed]
            stack.extend(found_id for found_id in reversed(below) if seen[found_id].parent_id == session_id)
        yield members


# Pruning


class _Changed(Exception):
    """Something that was to go is no longer what was decided on."""


class _Prune:
    """One prune: what it asks, what it deletes, and what went wrong."""

    def __init__(self, engine: Engine, keep: Keep | None, handle: Callable[[Entry], Any]) -> None:
        self.engine = engine
        self.keep = keep
        self.handle = handle
        self.seen = _look_at_all(engine)
        self.errors = {found_id: one.error for found_id, one in self.seen.items() if one.error is not None}
        self._stuck: dict[bytes, str] = {}

    def ask(self, session_id: str) -> tuple[str, ...] | None:
        """See whether the caller keeps a session that would go; no lock is held."""
        if self.keep is None:
            return ()
        try:
            keys = self._keys(session_id, is_bound=self.seen[session_id].is_bound)
            return None if self.keep(keys, self.handle(self.engine.entry(session_id))) else keys
        except Exception as error:  # noqa: BLE001  # whatever the caller's function raises
            self.errors[session_id] = f"Asking whether to keep it raised {type(error).__name__}: {error}"
            return None

    def _keys(self, session_id: str, *, is_bound: bool) -> tuple[str, ...]:
        # Read again only where there is something to find: almost no session has a key.
        return keys_of(self.engine, self.engine.peek(self.engine.entry(session_id))) if is_bound else ()

    def delete(self, members: list[str], doomed: _Doomed) -> set[str]:
        """Move a subtree to the trash, whole or not at all; who was moved."""
        top = members[0]
        victims: set[str] = set()

        def guard(found: Sequence[Entry]) -> None:
            for victim in found:
                self._check(victim.id, doomed)
            victims.update(victim.id for victim in found)

        maybe_sentence = self._maybe_stuck(members)
        if maybe_sentence is not None:
            self.errors[top] = maybe_sentence
            return set()
        try:
            entry = self.engine.entry(top)
            with self.engine.translating(entry):
                trash.delete(self.engine, entry, "cascade", guard)
        except (_Changed, SessionNotFound):
            # Somebody still uses it, or another prune was faster.
            return set()
        except (LockTimeout, *BAD_LOG) as error:
            if victims:
                # In the middle of it: the next to open the store finishes the work.
                raise
            self.errors[top] = str(error)
            if isinstance(error, LockTimeout):
                self._stuck[os.fsencode(error.path)] = str(error)
        return victims

    def _check(self, session_id: str, doomed: _Doomed) -> None:
        """See, under the locks, that a session is what was decided on."""
        now, decided = _look(self.engine, session_id), self.seen.get(session_id)
        if now is not None and now.error is not None:
            self.errors[session_id] = now.error
        if now is None or decided is None or now.error is not None or session_id not in doomed:
            raise _Changed
        # A key that comes back to a session leaves no trace in its log.
        has_other_keys = self.keep and self._keys(session_id, is_bound=now.is_bound) != doomed[session_id]
        if has_other_keys or (now.nonce, now.revision) != (decided.nonce, decided.revision):
            raise _Changed

    def _maybe_stuck(self, members: list[str]) -> str | None:
        """What was said of a lock that they need and that stayed taken before: to wait once is enough."""
        if not self._stuck:
            return None
        stripes = [self.engine.locks.stripes[TREE], *(self.engine.entry(member).stripe for member in members)]
        return next((self._stuck[stripe.path] for stripe in stripes if stripe.path in self._stuck), None)


def prune(
    engine: Engine, allowed: Limits, keep: Keep | None, handle: Callable[[Entry], Any], *, dry_run: bool
) -> PruneReport:
    """Move to the trash what exceeds the limits, the longest unchanged first.

    Kept are suspended, pinned and archived sessions, what ``keep`` keeps, what cannot be read or is damaged behind
    what can, what changes between decision and deletion, and every ancestor of something kept, but not what is below
    it. Each subtree goes whole and in one batch, so that restoring its top brings all of it back, or stays whole.

    Args:
        engine: the store's.
        allowed: from ``limits``.
        keep: called with the route keys of a session that would go, and its handle; true keeps it. No lock is held.
        handle: makes the handle.
        dry_run: write nothing.

    Returns:
        The report. Of several prunes at once, one reports a session as pruned. Subtrees whose locks stayed taken are
        among the errors. A log that tells no id, and whose id no other tells, is only in what ``check()`` finds.

    Raises:
        InvalidRecord: ``keep`` cannot be called.
        ReadOnlyStore: the store only reads, and this is no dry run.
        WriteFailed, DurabilityError: the system refused a write. What went before is in the trash.
    """
    if not dry_run:
        engine.check_writable()
    if keep is not None and not callable(keep):
        raise InvalidRecord(
            f"keep is called with route keys and a session; {quoted(keep)} cannot be called.", where="keep"
        )
    run = _Prune(engine, keep, handle)
    doomed = _decide(run.seen, allowed, run.ask)
    pruned: list[str] = []
    for members in _subtrees(run.seen, doomed):
        gone = set(members) if dry_run else run.delete(members, doomed)
        pruned.extend(member for member in members if member in gone)
    # Looked for again: others make and delete sessions meanwhile.
    others = {*session_ids(engine), *run.seen} - set(pruned)
    kept = tuple(sorted(found_id for found_id in others if _exists(engine, found_id)))
    errors = [SessionError(found_id, run.errors[found_id]) for found_id in kept if found_id in run.errors]
    return PruneReport(tuple(pruned), kept, tuple(errors), dry_run)


def _exists(engine: Engine, session_id: str) -> bool:
    try:
        return engine.exists(session_id)
    except UnreadableLog:
        return True
