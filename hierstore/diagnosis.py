"""The verdict on one log's bytes: how far it is sound, and what is wrong behind that. Changes nothing.

A check tells of it, a repair acts on it: one verdict, so that a repair mends what a check finds and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hierstore.disk import files, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import NO_COMMIT, Parsed, parse_log
from hierstore.errors import CorruptLog, HierstoreError
from hierstore.log import frame
from hierstore.log.events import parse
from hierstore.log.grammar import maybe_fault
from hierstore.model import Message
from hierstore.naming import check_id

_ID_KEYS = {
    "created": "parent",
    "moved": "parent",
    "child": "id",
    "forgotten": "id",
    "route": "session",
    "locator": "session",
}
"""Where an event names a session, or none."""


class Verdict(NamedTuple):
    """What a log's bytes are.

    Attributes:
        kind: what is wrong (``"torn_tail"``, ``"hole"``, ``"corrupt"``, ``"empty_log"``), or None.
        detail: a sentence that says so.
        end: where the sound beginning ends; 0 when not even the first commit is sound.
        parsed: what that beginning says, or None; its ``fault`` is set where the past of a fork is damaged.
    """

    kind: str | None
    detail: str
    end: int
    parsed: Parsed | None


def read_log(engine: Engine, stripes: Sequence[int], path: bytes, session_id: str) -> bytes:
    """A log's bytes, with no writer in the middle of a line.

    Args:
        engine: the store's.
        stripes: those that its writers hold, of which the caller has none.
        path: the log.
        session_id: whose it is, for errors.

    Raises:
        SessionNotFound, UnreadableLog, LockTimeout.
    """
    try:
        with engine.locks.holding([] if engine.read_only else stripes):
            return read_whole(path)
    except FileNotFoundError:
        raise refusals.not_found(session_id) from None
    except OSError as error:
        raise refusals.unreadable(error, session_id, path) from error


def read_whole(path: bytes) -> bytes:
    """A file's bytes.

    Raises:
        OSError: it is not there, no regular file, or cannot be read.
    """
    fd = files.open_regular(path, files.READ)
    try:
        return files.read(fd, files.fstat(fd).st_size, 0)
    finally:
        files.close(fd)


def judge(data: bytes, session_id: str, path: bytes) -> Verdict:
    """The verdict on a log's bytes, which were read under its lock.

    Raises:
        FormatTooNew: a later version wrote it.
        UnreadableLog: the past of a fork cannot be read.
    """
    if frame.is_unfinished(data):
        return Verdict("empty_log", "A log that was being made when the power went; it is no session.", 0, None)
    try:
        parsed = parse_log(data, session_id, path)
        kind, detail = _tail(data[parsed.end :], parsed.end)
    except CorruptLog as error:
        end = _folding_end(data, session_id, path)
        if not end:
            return Verdict("corrupt", str(error), 0, None)
        parsed = parse_log(data[:end], session_id, path)
        kind, detail = "corrupt", f"The commit at byte {end} is sealed and yet no valid commit."
    except NO_COMMIT as error:
        raise HierstoreError(
            f"The history that session {session_id!r} was forked from has a line that is sealed and yet no commit."
        ) from error
    number, end = _first_bad_line(data[: parsed.end])
    if end == parsed.end:
        return Verdict(kind, detail, end, parsed)
    detail = f"Commit {number} is sealed and yet no valid commit."
    if number <= 1:
        return Verdict("corrupt", detail, 0, None)
    return Verdict("corrupt", detail, end, parse_log(data[:end], session_id, path))


def _tail(tail: bytes, end: int) -> tuple[str | None, str]:
    verdict = frame.judge(tail, end)
    if verdict is frame.Tail.TORN and frame.has_hole(tail, end):
        verdict = frame.Tail.HOLE
    if verdict is frame.Tail.CLEAN:
        return None, ""
    if verdict is frame.Tail.HOLE:
        return "hole", f"A hole of zeros at byte {end}; the next write moves it to quarantine."
    if verdict is frame.Tail.DAMAGED:
        return "corrupt", f"Damaged at byte {end}, with valid lines behind it."
    if b"\n" in tail:
        return "corrupt", f"Its last line, at byte {end}, is damaged."
    return "torn_tail", f"{len(tail)} bytes of an unfinished commit; the next write cuts them."


def _folding_end(data: bytes, session_id: str, path: bytes) -> int:
    """Where the longest run of lines ends that are sealed and that fold; 0 when the first commit does not."""
    ends = [place + 1 for place, byte in enumerate(data) if byte == 0x0A]
    # The header alone is no log. If some lines fold, so do the first of them.
    good, bad = 1, len(ends) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            is_good = parse_log(data[: ends[middle - 1]], session_id, path).end == ends[middle - 1]
        except CorruptLog:
            is_good = False
        good, bad = (middle, bad) if is_good else (good, middle)
    return ends[good - 1] if good > 1 else 0


def _first_bad_line(lines: bytes) -> tuple[int, int]:
    """The number and the place of the first sealed line that is not the JSON that readers will ask for one day.

    Returns:
        ``(0, the end)`` when there is none.
    """
    numbers = frame.seqs(lines, 0, len(lines))
    place = lines.find(b"\n") + 1
    for number, line in zip(numbers[1:], _lines(lines, place), strict=False):
        try:
            record = parse(line)
            events = record["events"]
            good = record["seq"] == number and isinstance(events, list) and all(map(_is_event, events))
        except NO_COMMIT:
            good = False
        if not good:
            return number, place
        place += len(line)
    return 0, len(lines)


def _lines(data: bytes, start: int) -> Iterator[bytes]:
    while end := data.find(b"\n", start) + 1:
        yield data[start:end]
        start = end


def _is_event(event: Mapping[str, Any]) -> bool:
    """Whether an event can be folded; of a message, also whether it can be shown.

    Raises:
        ValueError, KeyError, TypeError: it cannot.
    """
    kind = event["type"]
    if not isinstance(kind, str) or maybe_fault(event) is not None:
        return False
    if kind == "message":
        # What is nested deeper than can be written again is no message either.
        Message._of_record({key: value for key, value in event.items() if key != "type"})
    maybe_id = event.get(_ID_KEYS[kind]) if kind in _ID_KEYS else None
    return maybe_id is None or check_id(maybe_id) == maybe_id


def last_events(lines: bytes) -> list[Mapping[str, Any]]:
    """The events of the last of some sound lines."""
    start = lines.rfind(b"\n", 0, len(lines) - 1) + 1
    events: list[Mapping[str, Any]] = parse(lines[start:])["events"]
    return events
