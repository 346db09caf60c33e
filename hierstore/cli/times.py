"""Times and sizes for people."""

from __future__ import annotations

import math
import time

_STEPS = ((60.0, "s"), (3600.0, "min"), (86_400.0, "h"), (86_400.0 * 30, "d"), (86_400.0 * 365, "mo"))
_BELOW = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "mo": 86_400.0 * 30}
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def ago(unix_s: float, now_s: float | None = None) -> str:
    """How long ago, in one unit: ``now``, ``40s ago``, ``3min ago``, ``5h ago``, ``2d ago``, ``4mo ago``, ``2y ago``."""
    passed_s = (time.time() if now_s is None else now_s) - unix_s
    if not math.isfinite(passed_s):
        return f"at {unix_s} s"
    if abs(passed_s) < 1:
        return "now"
    text = _rough(abs(passed_s))
    return f"{text} ago" if passed_s > 0 else f"in {text}"


def _rough(seconds: float) -> str:
    for limit_s, unit in _STEPS:
        if seconds < limit_s:
            return f"{int(seconds / _BELOW[unit])}{unit}"
    return f"{int(seconds / (86_400.0 * 365))}y"


def moment(unix_s: float) -> str:
    """``2026-01-05 10:00:01``, in the local time zone; a time out of the calendar as its seconds."""
    from datetime import datetime

    try:
        return f"{datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"


def size(number: float) -> str:
    """``0 B``, ``1.4 KiB``, ``12 MiB``."""
    unit = 0
    while number >= 1024 and unit < len(_SIZES) - 1:
        number /= 1024
        unit += 1
    return f"{number:.0f} {_SIZES[unit]}" if unit == 0 or number >= 10 else f"{number:.1f} {_SIZES[unit]}"
