"""From a log's bytes to a state: the header, the past of a fork, the valid prefix, and what stands behind it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hierstore import clock
from hierstore.disk import files, refusals
from hierstore.errors import CorruptLog, FormatTooNew, SessionNotFound, UnreadableLog, quoted
from hierstore.history import History
from hierstore.log import frame
from hierstore.log.events import FORMAT, Past, commit, header, parse
from hierstore.log.state import State, fold, initial
from hierstore.values import loads

if TYPE_CHECKING:
    from hierstore.disk.layout import Layout

SUFFIX = b".jsonl"
NO_COMMIT = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)
"""What folding a line raises that has a right checksum and is no commit: not this library wrote it."""

_PAST_EVENT = b'\n{"events":[{"type":"past"'


def read_header(path: bytes) -> dict[str, Any]:
    """The first line of a log, unchecked, as JSON; empty where there is no log, or no JSON in it.

    Raises:
        UnreadableLog: it is there, and the system does not let us read it.
    """
    try:
        fd = files.open_regular(path, files.READ)
        try:
            line = files.read(fd, 2**14, 0)
        finally:
            files.close(fd)
    except FileNotFoundError:
        return {}
    except OSError as error:
        # The name as far as it tells: in the trash a batch stands before it.
        name = os.path.basename(path).removesuffix(SUFFIX).rpartition(b".")[2]
        raise refusals.unreadable(error, name.decode(errors="replace"), path) from error
    return read_first(line)


def read_first(data: bytes) -> dict[str, Any]:
    """The same of a log's bytes."""
    try:
        top = loads(data.split(b"\n", 1)[0])
    except ValueError:
        return {}
    return top if isinstance(top, dict) else {}


Pasts = MutableMapping[tuple[int, ...], History]
"""Histories of the time before forks, by what they were read from: hundreds of forks may share one."""


class _Loaded(NamedTuple):
    history: History
    kept: int
    fault: str | None


class Parsed(NamedTuple):
    """What a log's bytes say.

    Attributes:
        state: of the valid prefix.
        end: where that prefix ends.
        chain: the chain value there.
        nonce: from the header; tells a log from another that had its name before.
        floor_ns: from the header; the log's mtime is to be larger.
        shared: the history of the time before, which other forks may share, or None.
        shared_size: its bytes on disk.
        fault: why nothing may be appended even though no bytes follow the prefix, or None.
        skipped: how many revisions a compaction left without a line; None where there was none.
    """

    state: State
    end: int
    chain: int
    nonce: str
    floor_ns: int
    shared: History | None
    shared_size: int
    fault: str | None
    skipped: int | None


def past_path(path: bytes, number: int) -> bytes:
    """The file beside a log that keeps the beginning of its history."""
    return b"%b.past%d" % (path.removesuffix(SUFFIX), number)


def first_lines(session_id: str, nonce: str, at: float, created: bytes, floor_ns: int = 0) -> tuple[bytes, int]:
    """The header and the first commit of a new log, and the chain value at their end."""
    top, chain = frame.seal(header(session_id, nonce, at, floor_ns), 0)
    line, chain = frame.seal(created, chain)
    return top + line, chain


def parse_log(
    data: bytes, session_id: str, path: bytes, until: int | None = None, known: Pasts | None = None
) -> Parsed:
    """Fold a log from its beginning.

    Args:
        data: the log's bytes.
        session_id: whose log it should be.
        path: where it is; a fork's past is beside it.
        until: fold up to this revision only, which the log has.
        known: pasts that were read already; what is read is added.

    Raises:
        SessionNotFound: the file is what a power cut leaves of a log that was never synced: empty, zeros, half a beginning.
        CorruptLog: not even the header and the first commit are whole.
        FormatTooNew: a later version wrote it.
        UnreadableLog: the past of a fork cannot be read.
    """
    name = os.fsdecode(path)
    start = data.find(b"\n") + 1
    top = _header(data[:start], session_id, path)
    skipped = _skipped(top)
    found = frame.scan(data, 0, -1, skipped or 0)
    if found.seq < 1:
        raise _no_beginning(data, session_id, name, found.end)
    nonce, floor_ns = _identity(top, session_id, name)
    lines = data if found.end == len(data) else data[: found.end]
    try:
        pasts = _pasts(lines, start)
    except NO_COMMIT as error:
        raise _no_commit(session_id, name) from error
    history, count, fault = _load_past(pasts, session_id, path, {} if known is None else known)
    if fault is not None:
        # Nothing after a damaged past can be shown without mixing: what is left of it is the whole history.
        lines = lines[: lines.index(b"\n", start) + 1]
    elif until is not None:
        maybe_end = _maybe_end_of(lines, until, skipped)
        if maybe_end is None:
            raise CorruptLog(
                f"The log {name} of session {session_id!r} has lost revision {until}, which it had.",
                session_id=session_id, path=name, offset=found.end,
            )  # fmt: skip
        lines = lines[:maybe_end]
    try:
        state = fold(initial(session_id, history.shared(count), count), lines, start, skips=bool(skipped))
    except NO_COMMIT as error:
        raise _no_commit(session_id, name) from error
    shared_size = sum(past.size for past in pasts)
    return Parsed(
        state, found.end, found.chain, nonce, floor_ns, history if pasts else None, shared_size, fault, skipped
    )


def _no_beginning(data: bytes, session_id: str, name: str, offset: int) -> SessionNotFound | CorruptLog:
    """What to say of a file whose header and first commit are not whole."""
    if frame.is_unfinished(data):
        why = "the power went before its file was written" if data else "its file is empty"
        return SessionNotFound(f"There is no session {session_id!r} ({why}).", session_id=session_id)
    return CorruptLog(
        f"The log {name} of session {session_id!r} is damaged at its beginning.",
        session_id=session_id, path=name, offset=offset,
    )  # fmt: skip


def _identity(top: Mapping[str, Any], session_id: str, name: str) -> tuple[str, int]:
    """The nonce and the floor of the mtime that a header gives.

    Raises:
        CorruptLog: it is another session's, or no header of ours.
    """
    if top.get("session") != session_id:
        raise CorruptLog(
            f"The log {name} holds session {quoted(top.get('session'))}, not {session_id!r}.",
            session_id=session_id, path=name, offset=0,
        )  # fmt: skip
    nonce, floor_ns = top.get("nonce", ""), top.get("floor_ns", 0)
    if not isinstance(nonce, str) or type(floor_ns) is not int or not 0 <= floor_ns < 2**63:
        raise _no_commit(session_id, name)
    return nonce, floor_ns


def first_state(lines: bytes, session_id: str, path: bytes) -> State:
    """The state before the first commit of a log whose lines are valid: what a fork starts with, or nothing."""
    history, count, _ = _load_past(_pasts(lines, lines.index(b"\n") + 1), session_id, path, {})
    return initial(session_id, history.shared(count), count)


class Lineage(NamedTuple):
    """The logs that a fork's history comes from.

    Attributes:
        before: of each log of the time before, the oldest first, its nonce, and the number of the last message that it
            inherited itself: its own have larger ones.
        own_base: the number of the last message that the fork inherited; 0 for any other session.
    """

    before: tuple[tuple[str, int], ...]
    own_base: int


def lineage(pasts: tuple[Past, ...], session_id: str, path: bytes, known: Pasts) -> Lineage:
    """Where the messages of a log were written.

    Raises:
        UnreadableLog: the past of a fork cannot be read.
    """
    before = []
    base = 0
    for number, past in enumerate(pasts, 1):
        nonce = read_header(past_path(path, past.file)).get("nonce")
        before.append((str(nonce), base))
        history, count, _ = _load_past(pasts[:number], session_id, path, known)
        base = history.message(count - 1).seq if count else 0
    return Lineage(tuple(before), base)


def _skipped(top: dict[str, Any]) -> int | None:
    """How many revisions a compaction left without a line; None where there was none."""
    skipped = top.get("skipped")
    return skipped if isinstance(skipped, int) and skipped >= 0 else None


def _maybe_end_of(lines: bytes, revision: int, skipped: int | None) -> int | None:
    """Where the line of a revision ends, or of the last one before it that has a line; None when it is not there."""
    place = bisect_right(frame.seqs(lines, 0, len(lines)), revision) if skipped else revision + 1
    end = 0
    for _ in range(place):
        end = lines.find(b"\n", end) + 1
        if not end:
            return None
    return end


def _no_commit(session_id: str, name: str) -> CorruptLog:
    return CorruptLog(
        f"The log {name} of session {session_id!r} has a line that is sealed and yet no commit.",
        session_id=session_id, path=name, offset=0,
    )  # fmt: skip


def _header(line: bytes, session_id: str, path: bytes) -> dict[str, Any]:
    """The header's JSON; empty where it is none (the scan has the verdict)."""
    try:
        top = loads(line)
    except ValueError:
        return {}
    version = top.get("hierstore") if isinstance(top, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise FormatTooNew(
            f"The log of session {session_id!r} has format {version}, and this version of hierstore reads up to"
            f" {FORMAT}; upgrade hierstore.",
            path=os.fsdecode(path), format=version, supported=FORMAT,
        )  # fmt: skip
    return top if isinstance(top, dict) else {}


def _pasts(lines: bytes, start: int) -> tuple[Past, ...]:
    """Where the past is kept now: as the creation says, or the last event that changed it."""
    pasts = _pasts_in(lines, start)
    latest = lines.rfind(_PAST_EVENT, start - 1) + 1 if pasts else 0
    return _pasts_in(lines, latest) if latest else pasts


def _pasts_in(lines: bytes, start: int) -> tuple[Past, ...]:
    record = parse(lines[start : lines.index(b"\n", start) + 1])
    return tuple(Past(*past) for past in record["events"][0].get("past", ()))


def _load_past(pasts: tuple[Past, ...], session_id: str, path: bytes, known: Pasts) -> _Loaded:
    """Fold the logs of the time before a fork, the oldest first, or find them folded for another fork."""
    history, count = History(), 0
    key: tuple[int, ...] = ()
    for past in pasts:
        file = past_path(path, past.file)
        try:
            fd = files.open_regular(file, files.READ)
            try:
                found = files.fstat(fd)
                # While some fork has it the inode cannot be another's; and up to its size it never changes.
                key = (*key, found.st_dev, found.st_ino, past.size, past.chain, past.revision, past.kept)
                maybe_known = known.get(key)
                data = files.read(fd, past.size, 0) if maybe_known is None else b""
            finally:
                files.close(fd)
        except OSError as error:
            raise refusals.unreadable(error, session_id, file) from error
        if maybe_known is not None:
            history, count = maybe_known, past.kept
            continue
        loaded = _fold_past(data, past, session_id, history, count)
        if loaded.fault is not None:
            return loaded._replace(fault=f"the history it was forked from is damaged in {os.fsdecode(file)}")
        history, count = loaded.history, past.kept
        known[key] = history
    return _Loaded(history, count, None)


def _fold_past(data: bytes, past: Past, session_id: str, before: History, count: int) -> _Loaded:
    start = data.find(b"\n") + 1
    top = _header(data[:start], session_id, b"")
    skipped = _skipped(top)
    found = frame.scan(data, 0, -1, skipped or 0)
    if found.seq < 1:
        return _Loaded(before, count, "damaged")
    lines = data if found.end == len(data) else data[: found.end]
    try:
        state = fold(initial(session_id, before.shared(count), count), lines, start, skips=bool(skipped))
    except NO_COMMIT:
        return _Loaded(before, count, "damaged")
    if found.end != past.size or found.chain != past.chain:
        if past.nonce not in ("", top.get("nonce")):
            # Another log altogether: nothing of it was ever this one's.
            return _Loaded(before, count, "another log")
        return _Loaded(state.history, min(past.kept, state.count), "damaged")
    return _Loaded(state.history_at(past.revision)[0], past.kept, None)


def append_offline(
    path: bytes, session_id: str, decide: Callable[[State], Sequence[Mapping[str, Any]]], *, sync: bool = False
) -> bool:
    """Commit events to a log that no session's name points to, as one in the trash; none is no commit.

    The caller keeps others away. With ``sync`` the log is on the medium when this returns, also what was there before.

    Returns:
        False when the log, or a fork's past, is damaged or missing; it is then left as it is.
    """
    fd = files.open_regular(path, files.APPEND)
    try:
        data = files.read(fd, files.fstat(fd).st_size, 0)
        try:
            parsed = parse_log(data, session_id, path)
        except (CorruptLog, UnreadableLog, SessionNotFound):
            return False
        if (
            frame.judge(data[parsed.end :], parsed.end) not in (frame.Tail.CLEAN, frame.Tail.TORN)
            or parsed.fault is not None
        ):
            return False
        events = decide(parsed.state)
        if events:
            files.ftruncate(fd, parsed.end)
            line, _ = frame.seal(commit(events, parsed.state.revision + 1, clock.now()), parsed.chain)
            files.write_all(fd, line)
        if sync:
            files.sync(fd)
        return True
    finally:
        files.close(fd)


def replace_log(layout: Layout, path: bytes, data: bytes, floor_ns: int) -> None:
    """Give a damaged log other bytes; its stripe is held.

    A new file takes its place: the old one may be the past of a fork, which must not see what is appended next, and a
    stamp of the old one must not come again. (What was damaged has no stamp in any cache.)
    """
    scratch = layout.scratch(b".repair")
    fd = files.create(scratch, layout.file_mode)
    try:
        try:
            files.write_all(fd, data)
            files.raise_mtime(fd, scratch, max(floor_ns, files.stat(path).st_mtime_ns))
            files.sync(fd)
        finally:
            files.close(fd)
        files.replace(scratch, path)
    except BaseException:
        files.remove(scratch)
        raise
    files.sync_directory(os.path.dirname(path))
