"""How much a call does, as a number that no machine's noise changes: the lines of hierstore that it runs."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

import hierstore

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_OURS = os.path.join(os.path.dirname(hierstore.__file__), "")


def lines_run(call: Callable[[], Any]) -> int:
    """How many lines of hierstore a call runs, each time round a loop for itself; other threads' lines do not count.

    What the interpreter does within one call of its own (a search through a list, say) is not seen.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(_OURS) else None
        count += event == "line"
        return trace

    before = sys.gettrace()
    # What the collector ends meanwhile, of tests that were before, would count too.
    was_collecting = gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if was_collecting:
            gc.enable()
    return count
