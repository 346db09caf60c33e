"""Children for tests: real processes that run functions, talk over a pipe, and are killed and reaped.

A child is forked from a small process (the zygote) that has imported hierstore and never opened a store: it costs a
millisecond, and shares nothing with the test but its pipe. It runs module-level functions that the test names; inside
such a function ``say`` and ``hear`` talk to the test, so that events order a race, and no sleep does.

A child that has ended stays a zombie until the test reaps it, so that a kill never hits a stranger.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore

PATIENCE_S = 60.0
"""How long a test waits for a child before it calls it hung."""

_REQUEST = struct.Struct("cq")
_REPLY = struct.Struct("qq")


class Child:
    """A process of its own. Made by the ``start`` fixture, which kills it at the end of the test."""

    def __init__(self, zygote: Zygote, pid: int, pipe: Connection) -> None:
        self._zygote = zygote
        self.pid = pid
        self.pipe = pipe
        self.status: int | None = None

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a function over there, and give its answer or raise its error here."""
        self.begin(function, *args, **options)
        return self.result()

    def begin(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Let it start; ``result`` waits for the end."""
        self.pipe.send((function, args, options))

    def result(self) -> Any:
        """The answer of what was begun."""
        kind, value, trace = self._receive()
        if kind == "raised":
            value.add_note(trace)
            raise value
        assert kind == "returned", f"the child said {value!r} instead of returning"
        return value

    def hear(self) -> Any:
        """What the function over there says next."""
        kind, value, trace = self._receive()
        assert kind == "said", f"the child ended ({kind} {value!r}) instead of saying something\n{trace}"
        return value

    def say(self, value: Any = None) -> None:
        """Tell the function over there something."""
        self.pipe.send(value)

    def _receive(self) -> tuple[str, Any, str]:
        if not self.pipe.poll(PATIENCE_S):
            os.kill(self.pid, signal.SIGABRT)
            raise TimeoutError(f"process {self.pid} did not answer within {PATIENCE_S} s; its stack is on stderr")
        return self.pipe.recv()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """``kill -9``, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; its exit code, or minus the signal's number."""
        if self.status is None:
            self.status = self._zygote.reap(self.pid)
        return self.status


class Zygote:
    """The process that forks the children."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        code = f"import sys; sys.path[:] = {sys.path!r}; from tests.processes import serve; serve({theirs.fileno()})"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2
            )
        self._control = ours
        self._lock = threading.Lock()

    def start(self) -> Child:
        """A new child, waiting for work."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._control, [_REQUEST.pack(b"F", 0)], [theirs.fileno()])
            pid, _ = self._reply()
        return Child(self, pid, Connection(ours.detach()))

    def reap(self, pid: int) -> int:
        """Wait for a child's end."""
        with self._lock:
            self._control.sendall(_REQUEST.pack(b"W", pid))
            done, status = self._reply()
        assert done == pid, f"process {pid} does not end"
        return os.waitstatus_to_exitcode(status)

    def _reply(self) -> tuple[int, int]:
        data = self._control.recv(_REPLY.size, socket.MSG_WAITALL)
        if len(data) < _REPLY.size:
            raise EOFError("the zygote is gone")
        return _REPLY.unpack(data)

    def close(self) -> None:
        """End it; children that were not reaped are killed."""
        self._control.close()
        self._process.wait(PATIENCE_S)


# In the zygote and its children


_pipe: Connection | None = None
_stores: dict[tuple[str, str], SessionStore] = {}


def say(value: Any = None) -> None:
    """Tell the test something; in a child."""
    assert _pipe is not None
    _pipe.send(("said", value, ""))


def hear() -> Any:
    """What the test says; in a child."""
    assert _pipe is not None
    return _pipe.recv()


def store_at(root: str | os.PathLike[str], **options: Any) -> SessionStore:
    """The child's one store over a folder, with these options; kept open between calls."""
    key = (os.fspath(root), repr(sorted(options.items())))
    if key not in _stores:
        _stores[key] = SessionStore(root, **options)
    return _stores[key]


def told() -> bool:
    """In a child: whether the test has said something that was not heard yet."""
    assert _pipe is not None
    return _pipe.poll()


def serve(control_fd: int) -> None:
    """The zygote's work."""
    import hierstore.check
    import hierstore.forks
    import hierstore.snapshots
    import hierstore.trash  # noqa: F401

    # Loaded with the first store otherwise, which the zygote never has.
    import filelock  # noqa: F401  # isort: skip

    faulthandler.enable()
    living: set[int] = set()
    with socket.socket(fileno=control_fd) as control:
        while True:
            data, fds, _, _ = socket.recv_fds(control, _REQUEST.size, 1)
            if not data:
                break
            kind, pid = _REQUEST.unpack(data)
            if kind == b"F":
                pid = _fork(control, fds[0])
                living.add(pid)
                control.sendall(_REPLY.pack(pid, 0))
            else:
                control.sendall(_REPLY.pack(*_wait(pid)))
                living.discard(pid)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _wait(pid: int) -> tuple[int, int]:
    def too_long(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        return os.waitpid(pid, 0)
    except TimeoutError:
        return 0, 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fork(control: socket.socket, fd: int) -> int:
    pid = os.fork()
    if pid:
        os.close(fd)
        return pid
    try:
        control.close()
        _work(Connection(fd))
    finally:
        os._exit(1)


def _work(pipe: Connection) -> None:
    global _pipe
    _pipe = pipe
    while True:
        try:
            function, args, options = pipe.recv()
        except (EOFError, ConnectionError):
            os._exit(0)
        try:
            answer = ("returned", function(*args, **options), "")
        except BaseException as error:  # noqa: BLE001  # it goes to the test, whatever it is
            answer = ("raised", _portable(error), traceback.format_exc())
        pipe.send(answer)


def _portable(error: BaseException) -> BaseException:
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # an error that does not survive pickling is told of by its text
        return RuntimeError(f"{type(error).__name__}: {error}")


# For tests


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    if not hasattr(os, "fork"):
        pytest.skip("children are forked from a zygote, and this system cannot fork")
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def start(zygote: Zygote) -> Iterator[Callable[[], Child]]:
    """Starts processes; whatever the test leaves of them is killed and reaped."""
    children: list[Child] = []

    def begin() -> Child:
        children.append(zygote.start())
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.pipe.close()


def state_of(pid: int) -> str:
    """The state letter of a process (Linux)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that no pipe can tell of."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)


@contextlib.contextmanager
def replaced(module: Any, **functions: Any) -> Iterator[None]:
    """Other functions under a module's names, for a while."""
    before = {name: getattr(module, name) for name in functions}
    for name, function in functions.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)
