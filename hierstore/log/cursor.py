"""How far somebody has followed a store's sessions: positions, and the string that holds them. Pure.

A cursor is base64 of a JSON line (version, store, session) and one row a session. A row has no field that compresses
but the id, which is mostly hexadecimal and then kept as bytes: about 38 bytes a session, 5 MB of text for 100,000.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hierstore.errors import InvalidRecord
from hierstore.values import encode, loads

Stamp = tuple[int, int, int, int]
"""A file's device, inode, size and mtime."""

_VERSION = 1
_PREFIX = "h1."
_NARROW = struct.Struct("<BB8sIIIB")
_WIDE = struct.Struct("<BH8sIQQH")
_DELETED, _UNREADABLE, _IS_WIDE, _IS_HEX, _NO_NONCE = 1, 2, 4, 8, 16
_HEX = re.compile("(?:[0-9a-f]{2})+")
_NONCE = re.compile("[0-9a-f]{16}")


class Told(NamedTuple):
    """How far a session has been told.

    Attributes:
        revision: of the last commit that was told whole; 0: none.
        offset: where its line ends in the log; 0: not even the header was read.
        chain: the chain value there.
        part: how many events of the next commit were told.
        is_deleted: whether the last that was told of its life is that it was deleted.
        is_unreadable: whether it was told that it cannot be read.
    """

    revision: int = 0
    offset: int = 0
    chain: int = 0
    part: int = 0
    is_deleted: bool = False
    is_unreadable: bool = False


_NOTHING = Told()


class Position:
    """A log that is followed.

    Attributes:
        id: the session's.
        nonce: the log's; empty while its header could not be read.
        told: how far it was told; changed by ``tell`` alone.
        row: that, packed, once it was.
        stamp: the file when it was last read to its end; None when it is to be looked at again.
        name: its name in the trash, or None.
    """

    __slots__ = ("id", "name", "nonce", "row", "stamp", "told")

    def __init__(self, session_id: str, nonce: str, told: Told = _NOTHING, stamp: Stamp | None = None) -> None:
        self.id = session_id
        self.nonce = nonce
        self.told = told
        self.stamp = stamp
        self.name: bytes | None = None
        self.row: bytes | None = None

    def tell(self, told: Told) -> None:
        """It was told so far."""
        self.told = told
        self.row = None


def pack_rows(positions: Iterable[Position]) -> bytes:
    """Some positions as rows; those of which nothing was told are not worth one."""
    return b"".join([position.row or _pack(position) for position in positions])


def _pack(position: Position) -> bytes:
    if position.told == _NOTHING:
        return b""
    revision, offset, chain, part, is_deleted, is_unreadable = position.told
    flags = is_deleted * _DELETED | is_unreadable * _UNREADABLE
    session_id, nonce = position.id, position.nonce
    if _HEX.fullmatch(session_id):
        flags |= _IS_HEX
        name = bytes.fromhex(session_id)
    else:
        name = session_id.encode()
    if not nonce:
        flags |= _NO_NONCE
        nonce = "0" * 16
    mark = bytes.fromhex(nonce)
    if offset < 2**32 and revision < 2**32 and part < 256 and len(name) < 256:
        row = _NARROW.pack(flags, len(name), mark, chain, offset, revision, part) + name
    else:
        row = _WIDE.pack(flags | _IS_WIDE, len(name), mark, chain, offset, revision, part) + name
    position.row = row
    return row


def pack(store_id: str, session_id: str | None, rows: Iterable[bytes]) -> str:
    """A cursor.

    Args:
        store_id: the store's.
        session_id: the one session that is followed, or None: all are.
        rows: from ``pack_rows``.
    """
    head = encode({"v": _VERSION, "store": store_id, "session": session_id}, "cursor")
    body = b"".join([head, b"\n", *rows])
    return _PREFIX + base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "little")).decode()


def unpack(cursor: object, store_id: str, session_id: str | None) -> list[Position]:
    """The positions of a cursor.

    Raises:
        InvalidRecord: it is none, or of another store, or of a watcher of another session.
    """
    if not isinstance(cursor, str) or not cursor.startswith(_PREFIX):
        raise _invalid("it is no cursor of a watcher")
    try:
        data = base64.b64decode(cursor[len(_PREFIX) :].encode("ascii"), altchars=b"-_", validate=True)
        body = data[:-4]
        if zlib.crc32(body).to_bytes(4, "little") != data[-4:]:
            raise _invalid("it is damaged")
        head, _, rows = body.partition(b"\n")
        top = loads(head)
        if top["v"] != _VERSION:
            raise _invalid("another version of hierstore made it")
        if top["store"] != store_id:
            raise _invalid("it is of another store")
        if top["session"] != session_id:
            whose = "all sessions" if top["session"] is None else f"session {top['session']!r}"
            raise _invalid(f"it is of a watcher of {whose}")
        return list(_unpack(rows))
    except (binascii.Error, UnicodeError, ValueError, KeyError, TypeError, struct.error) as error:
        if isinstance(error, InvalidRecord):
            raise
        raise _invalid("it is damaged") from None


def _unpack(rows: bytes) -> Iterator[Position]:
    place = 0
    while place < len(rows):
        layout = _WIDE if rows[place] & _IS_WIDE else _NARROW
        flags, size, mark, chain, offset, revision, part = layout.unpack_from(rows, place)
        begin, place = place, place + layout.size + size
        name = rows[place - size : place]
        session_id = name.hex() if flags & _IS_HEX else name.decode()
        told = Told(revision, offset, chain, part, bool(flags & _DELETED), bool(flags & _UNREADABLE))
        position = Position(session_id, "" if flags & _NO_NONCE else mark.hex(), told)
        position.row = rows[begin:place]
        yield position


def is_nonce(value: object) -> bool:
    """Whether it is what a log's header has as nonce."""
    return isinstance(value, str) and _NONCE.fullmatch(value) is not None


def _invalid(what: str) -> InvalidRecord:
    return InvalidRecord(f"The cursor cannot be resumed from: {what}.", where="after")
