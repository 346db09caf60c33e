"""Compacting a session's log: a shorter file takes its place, and nobody who reads or writes notices.

The new file is built beside, without a lock, from the lines that were there at the time; ``log/compact.py`` says which
stay. Then, under the session's lock, come the lines that were added meanwhile, and one rename. A crash leaves the old
log or the new one, and perhaps a file in ``tmp/``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from hierstore import clock
from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import NO_COMMIT, Parsed, first_state, read_first
from hierstore.errors import HierstoreError, InvalidRecord, SessionNotFound, StoreClosed, UnreadableLog, quoted
from hierstore.log import frame
from hierstore.log.compact import EPOCHS, compacted, differs
from hierstore.log.events import header, parse
from hierstore.log.facts import Grant
from hierstore.log.state import State, fold
from hierstore.reports import CompactAllReport, CompactReport, SessionError
from hierstore.tree import ancestors, session_ids

KEEP = ("snapshots", "present")
_ATTEMPTS = 10


class _Old(NamedTuple):
    """The log as it was read."""

    data: bytes
    parsed: Parsed
    kept: tuple[int, ...]


@dataclass(slots=True)
class _New:
    """The file that is to take its place, open and locked, so that nobody takes it for a dead writer's."""

    path: bytes
    fd: int
    chain: int
    size: int
    floor_ns: int

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            files.close(fd)

    def discard(self) -> None:
        """Remove it; before it is let go of, where that can be, so that no repair finds it without a builder."""
        try:
            if not files.KEEPS_OPEN_FILES_MOVABLE:
                self.close()
            files.remove(self.path)
        finally:
            self.close()


def compact(engine: Engine, entry: Entry, keep: str) -> CompactReport:
    """Compact one session's log.

    Raises:
        InvalidRecord: ``keep`` is none of the two.
        SessionNotFound, CorruptLog, WriteFailed, …: the log is as it was.
    """
    if keep not in KEEP:
        raise InvalidRecord(f"keep is 'snapshots' or 'present', not {quoted(keep)}.", where="keep")
    engine.check_writable()
    began = time.monotonic()
    for attempt in range(_ATTEMPTS):
        # Twice what the building may take, and more each time that it was too little.
        ahead_s = 2.0 + 2**attempt * (time.monotonic() - began)
        keep_snapshots = keep == "snapshots"
        try:
            with engine.translating(entry):
                if attempt < _ATTEMPTS - 1:
                    report = _try_once(engine, entry, ahead_s, None, keep_snapshots=keep_snapshots)
                else:
                    # Others were faster each time; now they wait.
                    with engine.holding([entry], tree=True) as durable:
                        report = _try_once(engine, entry, ahead_s, durable, keep_snapshots=keep_snapshots)
        except UnreadableLog:
            # The past of a fork may have been replaced since its log was read; once more tells.
            if attempt == _ATTEMPTS - 1:
                raise
            report = None
        if report is not None:
            return report
    raise refusals.busy(entry, time.monotonic() - began)


def compact_all(engine: Engine, keep: str) -> CompactAllReport:
    """Compact every session's log, one after the other; one that cannot be keeps none from the others."""
    if keep not in KEEP:
        raise InvalidRecord(f"keep is 'snapshots' or 'present', not {quoted(keep)}.", where="keep")
    engine.check_writable()
    reports: list[CompactReport] = []
    errors: list[SessionError] = []
    for session_id in session_ids(engine):
        try:
            report = compact(engine, engine.entry(session_id), keep)
        except (SessionNotFound, StoreClosed) as error:
            # Deleted meanwhile.
            if isinstance(error, StoreClosed):
                raise
        except HierstoreError as error:
            errors.append(SessionError(session_id, str(error)))
        else:
            if report.after_bytes < report.before_bytes:
                reports.append(report)
    return CompactAllReport(tuple(reports), tuple(errors))


def _try_once(
    engine: Engine, entry: Entry, ahead_s: float, held: Durable | None, *, keep_snapshots: bool
) -> CompactReport | None:
    """One attempt; None when the log was replaced, shared or reverted in the middle of it."""
    old = _read(engine, entry, keep_snapshots=keep_snapshots)
    nothing = CompactReport(entry.id, old.parsed.end, old.parsed.end, 0)
    lines = old.data[: old.parsed.end]
    start = lines.index(b"\n") + 1
    first = first_state(lines, entry.id, entry.path)
    shorter = compacted(lines, start, first, old.parsed.state, old.kept, keep_snapshots=keep_snapshots)
    if shorter is None:
        return nothing
    new = _build(engine, entry, old, shorter.bodies, first, ahead_s, keep_snapshots=keep_snapshots)
    try:
        # Also when it is no smaller: what was to go goes.
        goes = shorter.dropped or (not keep_snapshots and old.parsed.state.facts.snapshots)
        if new.size >= old.parsed.end and not goes:
            new.discard()
            return nothing
        report = _swap(engine, entry, old, new, shorter.dropped, held, keep_snapshots=keep_snapshots)
        if report is None:
            new.discard()
        return report
    except BaseException:
        new.discard()
        raise
    finally:
        new.close()


def _read(engine: Engine, entry: Entry, *, keep_snapshots: bool) -> _Old:
    data, parsed = engine.parse(entry)
    if parsed.fault is not None or frame.judge(data[parsed.end :], parsed.end) is frame.Tail.DAMAGED:
        raise refusals.corrupt(entry, parsed.end, "is damaged; it is compacted only after a repair")
    return _Old(data, parsed, _kept(engine, entry, parsed, keep_snapshots=keep_snapshots))


def _kept(engine: Engine, entry: Entry, parsed: Parsed, *, keep_snapshots: bool) -> tuple[int, ...]:
    """The revisions to keep beside the present: those of snapshots, if asked for, and those that frozen shares show."""
    facts = parsed.state.facts
    kept = {snapshot.revision for snapshot in facts.snapshots} if keep_snapshots else set()
    kept |= _frozen(facts.grants, entry.id, parsed.nonce)
    for ancestor in ancestors(engine, entry):
        # One that cannot be read may show any revision: then nothing is dropped.
        try:
            above = engine.read(ancestor).facts.grants
        except SessionNotFound:
            continue
        kept |= _frozen(above, entry.id, parsed.nonce)
    # A share made since the log was read may show a later one: that comes whole, with the lines added since.
    return tuple(sorted(revision for revision in kept if revision <= parsed.state.revision))


def _frozen(grants: Sequence[Grant], session_id: str, nonce: str) -> set[int]:
    rows = (row for grant in grants for row in grant.frozen or ())
    return {revision for row_id, row_nonce, revision in rows if (row_id, row_nonce) == (session_id, nonce)}


def _build(
    engine: Engine,
    entry: Entry,
    old: _Old,
    bodies: Sequence[bytes],
    first: State,
    ahead_s: float,
    *,
    keep_snapshots: bool,
) -> _New:
    """Build the new file, and see that it says what the old one says."""
    last = old.parsed.state
    # The mtime of whatever stands there by then is not known yet; its stamps must never come again.
    try:
        mtime_ns = files.stat(entry.path).st_mtime_ns
    except FileNotFoundError:
        raise refusals.not_found(entry.id) from None
    floor_ns = max(mtime_ns, old.parsed.floor_ns, int(clock.now() * 1e9)) + int(ahead_s * 1e9)
    # The log stays the one that was made then, under its nonce: purging finds the forks of what it was before by it.
    at = read_first(old.data).get("at", 0.0)
    top = header(entry.id, old.parsed.nonce, at, floor_ns, last.revision - len(bodies))
    parts = []
    chain = 0
    for body in (top, *bodies):
        line, chain = frame.seal(body, chain)
        parts.append(line)
    data = b"".join(parts)
    try:
        state = fold(first, data, len(parts[0]), skips=True)
        what = differs(state, last, old.kept, keep_snapshots=keep_snapshots)
    except NO_COMMIT as error:
        what = repr(error)
    if what is not None:
        raise refusals.corrupt(entry, 0, f"was not compacted: its {what} would have changed")
    path, fd = engine.open_scratch(b".compact")
    try:
        files.write_all(fd, data)
        # Before the rename: some file systems write the name before the bytes, and after a power cut it is empty.
        files.sync(fd)
    except BaseException:
        files.close(fd)
        files.remove(path)
        raise
    return _New(path, fd, chain, len(data), floor_ns)


def _swap(
    engine: Engine, entry: Entry, old: _Old, new: _New, dropped: int, held: Durable | None, *, keep_snapshots: bool
) -> CompactReport | None:
    """Add what came meanwhile, and put the new file in the old one's place; None when it is too late for this one."""
    # The tree's lock: a share of a whole subtree is frozen under it, and must find the revisions that it names.
    with nullcontext() if held is not None else engine.holding([entry], tree=True):
        engine.current(entry)
        found = files.stat(entry.path)
        if found.st_mtime_ns > new.floor_ns or entry.nonce != old.parsed.nonce or found.st_size < old.parsed.end:
            return None
        if not set(_kept(engine, entry, old.parsed, keep_snapshots=keep_snapshots)) <= set(old.kept):
            return None
        fd = engine.logs.fd(entry, found)
        added = files.read(fd, found.st_size - old.parsed.end, old.parsed.end)
        scan = frame.scan(added, old.parsed.chain, old.parsed.state.revision)
        if scan.end != len(added) or scan.chain != entry.chain or _goes_back(added, old):
            return None
        size = new.size + _add(new, added)
        files.raise_mtime(new.fd, new.path, new.floor_ns)
        engine.logs.close(entry)
        # No repair comes in between: the tree's lock is held.
        new.close()
        files.replace(new.path, entry.path)
        engine.cache.forget(entry)
        # In either mode: a store in power mode may append to it next, and will sync the file, not its name.
        folder = os.path.dirname(entry.path)
        try:
            files.sync_directory(folder)
        except OSError as error:
            raise refusals.folder_not_durable(entry.id, folder, error) from error
    return CompactReport(entry.id, found.st_size, size, dropped)


def _goes_back(added: bytes, old: _Old) -> bool:
    """Whether lines that came meanwhile make the history what it was at a revision that is to be dropped."""
    for line in added.split(b"\n")[:-1]:
        if line.startswith(frame.EVENTS_START):
            for item in parse(line)["events"]:
                revision = item.get("revision") if item.get("type") in EPOCHS else None
                if revision is not None and revision < old.parsed.state.revision and revision not in old.kept:
                    return True
    return False


def _add(new: _New, added: bytes) -> int:
    """Seal lines anew at the end of the new file; how many bytes that makes."""
    parts = []
    chain = new.chain
    for old_line in added.split(b"\n")[:-1]:
        # The newline is part of the seal.
        line, chain = frame.seal(old_line[: 1 - frame.SEAL_BYTES], chain)
        parts.append(line)
    data = b"".join(parts)
    if data:
        files.write_all(new.fd, data)
        files.sync(new.fd)
    return len(data)
