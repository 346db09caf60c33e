"""Ids, and the injective way from an id to a file name.

An id never becomes a path: an id that is safe on every file system names its file, any other id becomes a slug, ``~``
and a hash. The two sets cannot meet, because no safe id holds a ``~``.
"""

from __future__ import annotations

import re
import zlib

from hierstore.errors import InvalidSessionId, quoted

MAX_ID_CHARS = 512
STRIPES = 256

_SAFE = re.compile(r"[a-z0-9_-]{1,64}")
_UNSAFE_RUN = re.compile(r"[^a-z0-9]+")
# Windows gives these names to devices, with any extension behind them.
_RESERVED = frozenset(["con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))])


def check_id(session_id: object) -> str:
    """The id itself, if it is one.

    Raises:
        InvalidSessionId: not a string, empty, longer than 512 characters, or with a lone surrogate.
    """
    if not isinstance(session_id, str):
        raise InvalidSessionId(
            f"A session id is a string, not {type(session_id).__name__}.", session_id=quoted(session_id)[:80]
        )
    if not 0 < len(session_id) <= MAX_ID_CHARS:
        raise InvalidSessionId(
            f"A session id has 1 to {MAX_ID_CHARS} characters, this one has {len(session_id)}.", session_id=session_id
        )
    if not session_id.isascii():
        try:
            session_id.encode()
        except UnicodeEncodeError:
            raise InvalidSessionId(
                f"The session id {session_id!a} holds a lone surrogate, which is not text.", session_id=session_id
            ) from None
    return session_id if type(session_id) is str else str.__str__(session_id)


def file_name(session_id: str) -> str:
    """The name, without folder or ending, of the id's log: ``[a-z0-9_~-]`` only, at most 64 characters.

    Injective, also on file systems that fold case or normalize Unicode: what is not already lower-case ASCII is told
    apart by 130 bits of its SHA-256, computed over the id's code points as they are.
    """
    if _SAFE.fullmatch(session_id) and session_id not in _RESERVED:
        return session_id
    # Imported here: most ids are safe, and hashlib costs the import of OpenSSL.
    import base64
    import hashlib

    slug = _UNSAFE_RUN.sub("-", session_id.lower())[:32].strip("-")
    digest = base64.b32encode(hashlib.sha256(session_id.encode()).digest()).decode().lower()
    return f"{slug}~{digest[:26]}"


def stripe_of(session_id: str) -> int:
    """The id's stripe, 0 to 255: names its lock and its folder.

    CRC-32, because it only spreads ids over locks: ids that collide share a lock, nothing more.
    """
    return zlib.crc32(session_id.encode()) & 0xFF
