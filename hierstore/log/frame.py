"""One line is one commit: sealing, scanning, and the verdict on a tail. Pure functions over bytes.

The grammar and the reasons stand in ``FORMAT.md``.
"""

from __future__ import annotations

import enum
import re
import zlib
from typing import NamedTuple

from hierstore.values import count_lines, loads

SEAL_BYTES = 19
r"""The length of a line's end: ``,"crc":"xxxxxxxx"}\n``."""

END_BYTES = SEAL_BYTES + 30
"""How many bytes before a line's end tell its seq and its checksum."""

MESSAGE_START = b'{"message":'
EVENTS_START = b'{"events":'

_crc32 = zlib.crc32
# JSON holds no raw newline, so this is the end of a line and nothing within one.
_SECTOR_BYTES = 512
"""The least that a medium writes at once; of larger sectors it is a part."""

_FEW_BYTES = 2**12

_SEQ = re.compile(rb',"seq":([0-9]+),"crc":"[0-9a-f]{8}"}\n')


def seal(body: bytes, chain: int) -> tuple[bytes, int]:
    """Finish a line.

    Args:
        body: the commit's JSON object up to and with its ``seq``, the closing brace left out.
        chain: the chain value at the end of the line before; 0 before the header.

    Returns:
        The line with its newline, and the chain value at its end.
    """
    end = b',"crc":"%08x"}\n' % (crc := _crc32(body, chain))
    return body + end, _crc32(end, crc)


class Scan(NamedTuple):
    """The valid lines at the beginning of some bytes.

    Attributes:
        end: where they end, counted from the beginning of the bytes.
        chain: the chain value there.
        seq: the last valid line's seq; the seq before when there is none.
    """

    end: int
    chain: int
    seq: int


def seqs(lines: bytes, begin: int, end: int) -> list[int]:
    """The seq of each of some valid lines."""
    return [int(found[1]) for found in _SEQ.finditer(lines, begin, end)]


def is_unfinished(data: bytes) -> bool:
    """Whether a file is what a power cut leaves of a log that was never synced, and so of no session.

    The header and the first commit are written at once, before the log has its name, and the medium takes that in whole
    sectors, in any order: what it did not take is the end of the file, from the border of a sector on, or sectors of
    zeros. (A log has no zeros in it.) Whatever else is wrong with a beginning is damage to what was whole once.

    Args:
        data: all of the file's bytes.
    """
    end = data.find(b"\n", data.find(b"\n") + 1) + 1 if b"\n" in data else 0
    if not end and len(data) % _SECTOR_BYTES == 0:
        return True
    beginning = data[:end] if end else data
    return any(
        not beginning[place : place + _SECTOR_BYTES].strip(b"\0") for place in range(0, len(beginning), _SECTOR_BYTES)
    )


def scan(data: bytes, chain: int, seq: int, skipped: int = 0) -> Scan:
    """Find the longest run of valid lines at the beginning of ``data``.

    Args:
        data: bytes from the end of a valid line (or of an empty file) on.
        chain: the chain value before them.
        seq: the seq of the line before them; -1 before the header.
        skipped: how many seqs are missing among them, where the log was compacted.
    """
    end = data.rfind(b"\n") + 1
    if end == 0:
        return Scan(0, chain, seq)
    # The checksum runs over everything before it, so the last one vouches for all lines: one pass in C. What the end of
    # the last line has to be is made, and compared: that takes half of what parsing the one that is there does.
    # A view of few bytes costs more than a copy.
    sealed = data[: end - SEAL_BYTES] if end < _FEW_BYTES else memoryview(data)[: end - SEAL_BYTES]
    crc = _crc32(sealed, chain)
    last_seq = seq + skipped + count_lines(data, 0, end)
    if data.endswith(b',"seq":%d,"crc":"%08x"}\n' % (last_seq, crc), 0, end):
        return Scan(end, _crc32(data[end - SEAL_BYTES : end], crc), last_seq)
    return _scan_lines(data, chain, seq, skipped)


def maybe_end(data: bytes) -> tuple[int, int] | None:
    """The chain value and the seq at the end of a line, as its own seal gives them; None where no line ends.

    Args:
        data: bytes of which the last ``END_BYTES`` matter.
    """
    found = _sealed(data, len(data))
    return None if found is None else (_crc32(data[-SEAL_BYTES:], found[0]), found[1])


def _sealed(data: bytes, end: int) -> tuple[int, int] | None:
    """The checksum and seq that stand in the line that ends at ``end``, if it has the right shape."""
    seal = end - SEAL_BYTES
    if seal < 0 or data[seal : seal + 8] != b',"crc":"' or data[end - 3 : end] != b'"}\n':
        return None
    digits = data[seal + 8 : end - 3]
    mark = data.rfind(b',"seq":', max(0, seal - 30), seal)
    number = data[mark + 7 : seal]
    try:
        crc = int(digits, 16)
    except ValueError:
        return None
    # Only as seal() writes it: int() also takes signs, spaces, underscores and capitals.
    return (crc, int(number)) if mark >= 0 and number.isdigit() and b"%08x" % crc == digits else None


def _scan_lines(data: bytes, chain: int, seq: int, skipped: int) -> Scan:
    """The same, line by line: for bytes that are not all valid."""
    start = 0
    view = memoryview(data)
    while (newline := data.find(b"\n", start)) >= 0:
        end = newline + 1
        found = _sealed(data, end) if end - start > SEAL_BYTES else None
        if found is None or not seq < found[1] <= seq + 1 + skipped:
            break
        if _crc32(view[start : end - SEAL_BYTES], chain) != found[0]:
            break
        chain = _crc32(view[end - SEAL_BYTES : end], found[0])
        skipped -= found[1] - seq - 1
        seq = found[1]
        start = end
    return Scan(start, chain, seq)


class Tail(enum.Enum):
    """What the bytes after the last valid line are."""

    CLEAN = "clean"
    """There are none."""
    TORN = "torn"
    """A commit that was never finished: no line follows it."""
    HOLE = "hole"
    """Zeros that a power cut left where data was never synced, with later lines behind them."""
    DAMAGED = "damaged"
    """Bytes that changed after they were written: whole lines follow."""


def judge(tail: bytes, offset: int) -> Tail:
    """The verdict on the bytes after the last valid line.

    To be asked only while the session's lock is held: without it, the tail may be a write in progress.

    Args:
        tail: those bytes.
        offset: where in the file they begin.
    """
    if not tail:
        return Tail.CLEAN
    if not _has_line_behind(tail):
        return Tail.TORN
    return Tail.HOLE if has_hole(tail, offset) else Tail.DAMAGED


def has_hole(tail: bytes, offset: int) -> bool:
    """Whether some bytes of a file, from ``offset`` on, have zeros as a medium leaves them that did not take a sector.

    JSON never holds a zero byte, so a run of them cannot be data that was changed a little. A shorter one is a hole where it
    ends with a sector: the rest of what a write began just before the border.
    """
    if b"\0\0\0\0" in tail:
        return True
    borders = range(_SECTOR_BYTES - offset % _SECTOR_BYTES, len(tail) + 1, _SECTOR_BYTES)
    return any(not tail[border - 1] for border in borders)


def _has_line_behind(tail: bytes) -> bool:
    """Whether a whole line follows on the first, bad one.

    A commit is one write that ends in its only newline, so a write that was cut off has no line behind it. The seal is
    not verified: what it is to be verified from, the end of the line before, may be what is damaged.
    """
    start = tail.find(b"\n") + 1
    while start and (newline := tail.find(b"\n", start)) >= 0:
        if newline - start >= SEAL_BYTES and _sealed(tail, newline + 1) is not None and _is_json(tail[start:newline]):
            return True
        start = newline + 1
    return False


def _is_json(line: bytes) -> bool:
    try:
        loads(line)
    except ValueError:
        return False
    return True
