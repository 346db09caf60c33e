"""The process in which a peer runs: ``python -m benchmarks.peers.worker MODULE``, with a socket as its standard input.

It imports the adapter, reads commands as JSON lines, measures inside with ``perf_counter_ns``, and answers each with a
line. What a peer prints goes to standard error.

One such process per peer does nothing but import and fork: whoever needs a process asks it, so that a process costs no
second import. Nothing is open when it forks, and it holds a single thread; where importing a peer starts a thread, it says so
and processes are started anew instead.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks.measure import clock
from benchmarks.peers.channel import Channel
from benchmarks.peers.peer import NotOffered
from benchmarks.peers.work import COMMANDS, Stores

ADAPTERS = "benchmarks.peers.adapters"
_ERROR_CHARS = 600


def adapter(module: str) -> Any:
    """The module of an adapter: below ``adapters``, or anywhere if its name has a dot."""
    return importlib.import_module(module if "." in module else f"{ADAPTERS}.{module}")


def threads() -> int:
    """How many threads this process has, Python's or not."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


class Zygote:
    """What forks processes and ends them."""

    def __init__(self, channel: Channel, module: Any) -> None:
        self._channel = channel
        self._module = module
        self._children: set[int] = set()

    def fork(self, _: dict[str, Any]) -> dict[str, Any]:
        """Make a process that listens to the descriptor that came along."""
        descriptor = self._channel.take_descriptor()
        gc.freeze()  # else the first collection of the child would copy every page of the imports
        pid = os.fork()
        if pid == 0:
            self._channel.close()
            self._children.clear()
            status = 1
            try:
                serve(Channel(socket.socket(fileno=descriptor)), Stores(self._module.Store))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(descriptor)
        self._children.add(pid)
        return {"pid": pid}

    def end(self, command: dict[str, Any]) -> dict[str, Any]:
        """Kill a process of ours, if it still runs, and tell how it ended.

        A number is given to no other process before its parent has waited for it: nobody else is ever killed.
        """
        pid = command["pid"]
        if pid not in self._children:
            return {"status": None}
        gone, status = os.waitpid(pid, os.WNOHANG)
        if not gone:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        self._children.discard(pid)
        return {"status": os.waitstatus_to_exitcode(status)}

    def end_all(self) -> None:
        """Nobody outlives this process."""
        for pid in list(self._children):
            self.end({"pid": pid})


def serve(
    channel: Channel, stores: Stores, more: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None
) -> None:
    """Answer commands until the other end is closed."""
    while True:
        try:
            command = channel.receive()
        except (EOFError, ConnectionError):
            return
        answer = _answer(stores, command, more or {})
        try:
            channel.send(answer)
        except OSError:
            return


def _answer(
    stores: Stores, command: dict[str, Any], more: dict[str, Callable[[dict[str, Any]], dict[str, Any]]]
) -> dict[str, Any]:
    name = command.pop("do")
    try:
        return more[name](command) if name in more else COMMANDS[name](stores, **command)
    except NotOffered as reason:
        return {"cannot": str(reason)}
    except Exception as error:  # noqa: BLE001  # whatever a peer raises is what its cell says
        traceback.print_exc()
        return {"error": said(error)}


def said(error: BaseException) -> str:
    """An error's type and message in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_ERROR_CHARS]


def _imported(channel: Channel, name: str) -> Any:
    began = clock()
    try:
        module = adapter(name)
    except BaseException as error:  # noqa: BLE001  # a peer that cannot be imported is shown as such
        traceback.print_exc()
        channel.send({"error": said(error), "missing": isinstance(error, ModuleNotFoundError)})
        return None
    can_fork = hasattr(os, "fork") and threads() == 1
    channel.send({"pid": os.getpid(), "import_ns": clock() - began, "can_fork": can_fork})
    return module


def main(module_name: str) -> int:
    """Import, and serve until standard input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    channel = Channel(socket.socket(fileno=os.dup(0)))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    module = _imported(channel, module_name)
    if module is None:
        return 1
    zygote = Zygote(channel, module)
    serve(channel, Stores(module.Store), {"fork": zygote.fork, "end": zygote.end})
    zygote.end_all()
    sys.stderr.flush()
    # A peer's threads or exit handlers must not keep a process that has nothing left to do.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
