"""The watchdog listener: cached sessions whose files change are dropped at once.

Its events are hints. A read compares stamps with or without it; what it adds is to notice what no stamp can, an edit
from outside that restores size and modification time. Needs a thread, and so runs only when asked for.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from hierstore.disk import files
from hierstore.disk.logfile import SUFFIX

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine
