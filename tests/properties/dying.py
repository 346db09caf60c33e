"""What a process is that dies in the middle of a call, and a file system that keeps whole seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY, MagicMock

from hierstore.disk import files
from tests.processes import replaced
from tests.seam import hooked, is_change


def silent() -> Any:
    """A store that takes every call and does nothing: what is left of a rule is what it does to the model."""
    store = MagicMock()
    store.route.return_value.id = store.unbind.return_value = ANY
    store.restore.side_effect = lambda session_id: SimpleNamespace(id=session_id)
    return store


def depends_on_luck(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call is made or not by the clock or by random ids: to count it would keep a life from being repeated."""
    return name in ("utime", "mkdir") or (name == "open_file" and b"/locks/" in args[0])


def finishes(work: Callable[[], None], at_call: int) -> bool:
    """Let a process do some work and die at a call that changes something; False if it died."""

    def die(number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal at_call
        if is_change(name, args) and not depends_on_luck(name, args):
            at_call -= 1
            if at_call == 0:
                if name == "write":
                    call(args[0], args[1][: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
        return call()

    with warnings.catch_warnings():
        # Whoever runs the tests may have threads; the child needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            with hooked(die):
                work()
            os._exit(0)
        except BaseException:  # noqa: BLE001  # the parent sees that it did not end well
            traceback.print_exc()
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the call failed in the child, which ended with {code}"
    return code == 0


@contextlib.contextmanager
def whole_seconds(*, has_inodes: bool = True) -> Iterator[None]:
    """Let every file's times be whole seconds, as on a file system that keeps nothing finer.

    Args:
        has_inodes: whether files have numbers that tell them apart, too.
    """

    def coarse(call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def coarse_call(*args: Any, **options: Any) -> os.stat_result:
            found = call(*args, **options)
            times = {f"st_{name}time_ns": getattr(found, f"st_{name}time_ns") // 10**9 * 10**9 for name in "amc"}
            numbers = (found.st_mode, found.st_ino if has_inodes else 0, *found[2:10])
            return os.stat_result(numbers, times)

        return coarse_call

    with replaced(files, **{name: coarse(getattr(files, name)) for name in ("stat", "lstat", "fstat")}):
        yield
