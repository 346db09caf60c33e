"""Reading a log from where somebody has got to, without a lock and without folding it.

A line that is whole and valid is a commit. What stands behind the last one may be a write in progress, and is not
judged here.
"""

from __future__ import annotations

import errno
import os
import zlib
from typing import Any, NamedTuple

from hierstore.disk import files
from hierstore.disk.logfile import NO_COMMIT, read_first
from hierstore.log import feed, frame
from hierstore.log.cursor import Position, Stamp, Told, is_nonce
from hierstore.log.events import FORMAT

_HEADER_BYTES = 2**14
_LEAST_BYTES = 2**12
_MOST_BYTES = 2**18
_LINE_BYTES = 512
_PASSING = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN, errno.ESTALE])


class UnfitLog(Exception):
    """A log that is there and cannot be followed; the message is why."""


class EmptyLog(UnfitLog):
    """No bytes, or zeros: what a power cut leaves of a log that was never synced, which is no session."""


UNREADABLE = (OSError, UnfitLog)
"""What reading a log raises."""


def is_passing(error: Exception) -> bool:
    """Whether it is not the log's fault, and over in a moment."""
    return isinstance(error, OSError) and error.errno in _PASSING


class Jump(NamedTuple):
    """Where to go on when the lines in between are not there.

    Attributes:
        revision: the log's last one.
        offset: where it ends.
        chain: the chain value there.
        why: ``"compacted"`` or ``"replaced"``.
    """

    revision: int
    offset: int
    chain: int
    why: str


class Seen(NamedTuple):
    """What a log says beyond a position.

    Attributes:
        session_id, nonce: from the header, or the position's.
        stamp: the file's, when all that it says is in ``lines``; else None.
        lines: valid lines, at most as many as were asked for.
        told: where they begin.
        more: whether valid lines may follow on them.
        jump: to be made after the lines, or None.
        bad_at: where a line begins that is whole and not valid, or None.
    """

    session_id: str
    nonce: str
    stamp: Stamp | None = None
    lines: bytes = b""
    told: Told = Told()
    more: bool = False
    jump: Jump | None = None
    bad_at: int | None = None


def stamp_of(found: os.stat_result) -> Stamp:
    """What tells that a file is as it was."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_on(path: bytes, position: Position | None, count: int) -> Seen | None:
    """What a log says beyond a position; None when the file is as it was.

    Args:
        path: the log.
        position: how far it was told; None for a log that nobody knows. Of another log nothing is read but whose it is.
        count: how many lines at most.

    Raises:
        FileNotFoundError: there is no log.
        EmptyLog, UnfitLog: there is one, and it cannot be followed.
        OSError: there is one, and the system does not let us read it.
    """
    fd = files.open_regular(path, files.READ)
    try:
        # Before the bytes: a file that grows in between is larger than its stamp says, and read again.
        found = files.fstat(fd)
        if position is not None and position.nonce:
            if position.stamp == stamp_of(found):
                return None
            seen = _continue(fd, found, position, count)
            if seen is not None:
                return seen
        top = _header(files.read(fd, _HEADER_BYTES, 0))
        session_id, nonce = top["session"], top["nonce"]
        if position is None or position.nonce != nonce:
            return Seen(session_id, nonce)
        if position.told.offset == 0 and top.get("skipped") is None:
            return _begin(fd, found, position, count)
        return _search(files.read(fd, found.st_size, 0), found, position, _maybe_gaps(top), count)
    finally:
        files.close(fd)


def _continue(fd: int, found: os.stat_result, position: Position, count: int) -> Seen | None:
    """The lines behind the position, if what stands before it is what stood there; else None."""
    told, size = position.told, found.st_size
    if not frame.END_BYTES <= told.offset <= size:
        return None
    start = told.offset - frame.END_BYTES
    want = min(size - start, frame.END_BYTES + _bytes_for(count))
    data = files.read(fd, want, start)
    # The seal's checksum is of every byte before it, the header's nonce among them.
    if frame.maybe_end(data[: frame.END_BYTES]) != (told.chain, told.revision):
        return None
    data = data[frame.END_BYTES :]
    while b"\n" not in data and told.offset + len(data) < size:
        data += files.read(fd, 3 * len(data) + _LEAST_BYTES, told.offset + len(data))
    return _lines(data, found, position, told, count)


def _begin(fd: int, found: os.stat_result, position: Position, count: int) -> Seen:
    """The lines of a log of which nothing was told yet."""
    top = files.read(fd, _HEADER_BYTES, 0)
    scan = frame.scan(top[: top.find(b"\n") + 1], 0, -1)
    if scan.seq < 0:
        raise UnfitLog("It is damaged at its beginning.")
    told = position.told._replace(revision=0, offset=scan.end, chain=scan.chain)
    seen = _continue(fd, found, Position(position.id, position.nonce, told), count)
    if seen is None:
        raise UnfitLog("It is damaged at its beginning.")
    return seen


def _lines(data: bytes, found: os.stat_result, position: Position, told: Told, count: int) -> Seen:
    scan = frame.scan(data, told.chain, told.revision)
    end = feed.cut(data[: scan.end], count)
    is_all = told.offset + end == found.st_size
    bad_at = told.offset + scan.end if data.find(b"\n", scan.end) >= 0 else None
    return Seen(
        position.id,
        position.nonce,
        stamp_of(found) if is_all else None,
        data[:end],
        told,
        more=end < scan.end or (bad_at is None and told.offset + len(data) < found.st_size),
        bad_at=bad_at if end == scan.end else None,
    )


def _bytes_for(count: int) -> int:
    return min(max(count * _LINE_BYTES, _LEAST_BYTES), _MOST_BYTES)


def _header(data: bytes) -> dict[str, Any]:
    """A log's first line, unchecked but for what must be in it."""
    top = read_first(data)
    if not top and frame.is_unfinished(data):
        raise EmptyLog("It is empty.")
    version = top.get("hierstore")
    if isinstance(version, int) and version > FORMAT:
        raise UnfitLog(f"It has format {version}, and this version of hierstore reads up to {FORMAT}.")
    if not isinstance(top.get("session"), str) or not is_nonce(top.get("nonce")):
        raise UnfitLog("It is damaged at its beginning.")
    return top


def _maybe_gaps(top: dict[str, Any]) -> int | None:
    """How many revisions a compaction left without a line; None where there was none."""
    skipped = top.get("skipped")
    return skipped if isinstance(skipped, int) and skipped >= 0 else None


def _search(data: bytes, found: os.stat_result, position: Position, gaps: int | None, count: int) -> Seen:
    """Where to go on in a log that is not a longer one than before: it was compacted, or put back from outside."""
    scan = frame.scan(data, 0, -1, gaps or 0)
    if scan.seq < 1:
        raise UnfitLog("It is damaged at its beginning.")
    lines, told = data[: scan.end], position.told
    whole_from = None if gaps is None else _whole_from(lines, scan.seq, gaps)
    is_new = told.offset == 0
    if whole_from is not None and whole_from <= max(told.revision, is_new) and told.revision <= scan.seq:
        start = _end_of(lines, told.revision)
        told = told._replace(offset=start, chain=zlib.crc32(lines[:start]))
        return _lines(lines[start:], found, position, told, count)
    why = "replaced" if whole_from is None or told.revision > scan.seq else "compacted"
    jump = Jump(scan.seq, scan.end, scan.chain, why)
    stamp = stamp_of(found) if scan.end == found.st_size else None
    first = Told(0, start := lines.index(b"\n") + 1, zlib.crc32(lines[:start]))
    # Of a log that nobody knew: that it began is true whatever a compaction left out.
    begun = lines[start : lines.index(b"\n", start) + 1] if is_new else b""
    return Seen(position.id, position.nonce, stamp, begun, first if is_new else told, jump=jump)


def _whole_from(lines: bytes, last: int, gaps: int) -> int:
    """The revision from which on every commit of a compacted log has its line."""
    try:
        maybe = feed.maybe_through(lines)
    except NO_COMMIT:
        maybe = None
    return maybe if maybe is not None else last if gaps else 0


def _end_of(lines: bytes, revision: int) -> int:
    """Where the last line of a revision not beyond this one ends."""
    seqs = frame.seqs(lines, 0, len(lines))
    return feed.cut(lines, sum(1 for seq in seqs if seq <= revision))


def at_end(path: bytes) -> Position | None:
    """A position behind everything that a log says; None when there is no log.

    The seal of the last line is taken at its word. Whether the lines before it are valid is not asked: a damaged log
    takes no writes.

    Raises:
        UnfitLog: there is one, and it cannot be followed.
        OSError: there is one, and the system does not let us read it.
    """
    try:
        fd = files.open_regular(path, files.READ)
    except FileNotFoundError:
        return None
    try:
        found = files.fstat(fd)
        size = found.st_size
        head = files.read(fd, min(size, _LEAST_BYTES), 0)
        if b"\n" not in head:
            head = files.read(fd, _HEADER_BYTES, 0)
        try:
            top = _header(head)
        except EmptyLog:
            return None
        start = max(size - frame.END_BYTES, 0)
        tail = head[start:] if size <= len(head) else files.read(fd, frame.END_BYTES, start)
        end = frame.maybe_end(tail)
        if end is not None:
            return Position(top["session"], top["nonce"], Told(end[1], size, end[0]), stamp_of(found))
        scan = frame.scan(files.read(fd, size, 0), 0, -1, _maybe_gaps(top) or 0)
        if scan.seq < 1:
            raise UnfitLog("It is damaged at its beginning.")
        return Position(top["session"], top["nonce"], Told(scan.seq, scan.end, scan.chain))
    finally:
        files.close(fd)
