"""Lengths of time and sizes as people write them: ``90d``, ``12h``, ``30min``; ``2GiB``, ``500MB``."""

from __future__ import annotations

import re

from hierstore.cli.common import misused
from hierstore.errors import quoted

_NUMBER = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", re.ASCII)
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "mo": 2_592_000.0, "y": 31_536_000.0}
_BYTES = {"b": 1} | {
    f"{prefix}{ending}".lower(): base**power
    for power, prefix in enumerate("KMGT", 1)
    for ending, base in (("", 1024), ("iB", 1024), ("B", 1000))
}


def seconds(word: str, option: str) -> float:
    """A length of time in seconds: a number and its unit, s, min, h, d, w, mo (30 days) or y (365 days).

    Args:
        word: what is to be read.
        option: what it was given to, for the sentence.

    Raises:
        Exit: it is none; the status is 2.
    """
    found = _NUMBER.fullmatch(word)
    unit = found[2].lower() if found else ""
    if found is None or unit not in _SECONDS:
        # A unit is asked for, and m is none: it would be minutes to one person and months to another.
        raise misused(
            f"{option} takes a length of time, not {quoted(word)}; write a number and its unit, as 90d, 12h or 30min"
            " (s, min, h, d, w, mo, y)."
        )
    return float(found[1]) * _SECONDS[unit]


def size_bytes(word: str, option: str) -> int:
    """A size in bytes: a number and its unit, B, KiB, MiB, GiB, TiB (K, M, G, T for short), or KB, MB, GB, TB of 1,000.

    Args:
        word: what is to be read.
        option: what it was given to, for the sentence.

    Raises:
        Exit: it is none; the status is 2.
    """
    found = _NUMBER.fullmatch(word)
    unit = (found[2].lower() or "b") if found else ""
    if found is None or unit not in _BYTES:
        raise misused(f"{option} takes a size, not {quoted(word)}; write a number and its unit, as 500MB or 2GiB.")
    return int(float(found[1]) * _BYTES[unit])
