"""The other side of ``worker``: a peer's processes, asked with a time limit, so that whoever hangs or dies is a cell that says so."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers.channel import Channel
from benchmarks.peers.peer import NotOffered, Peer

CHECKOUT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 120.0
ANSWER_LIMIT_S = 30.0
_END_LIMIT_S = 2.0
_LAST_WORDS = 200


class NotInstalled(Exception):
    """The peer is not there; the message says what is missing."""


class PeerFailed(Exception):
    """The peer raised, hung or died; the message says what happened."""


class GaveUp(Exception):
    """What would take longer than the benchmark allows; the message says what."""


Unmeasured = (NotOffered, NotInstalled, PeerFailed, GaveUp)


class Worker:
    """A process of a peer, and the line to it."""

    def __init__(self, host: Host, channel: Channel, pid: int, process: subprocess.Popen[bytes] | None) -> None:
        self._host = host
        self._channel = channel
        self._process = process
        self.pid = pid
        self.import_ns = 0
        self.is_over = False

    def ask(self, do: str, *, within_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            NotOffered: the peer does not do this.
            PeerFailed: it raised, ended, or did not answer within the time; in the last two the process is over.
        """
        self.tell(do, **arguments)
        return self.hear(within_s)

    def tell(self, do: str, *, descriptor: int | None = None, **arguments: Any) -> None:
        """Send a command; ``hear`` waits for the answer."""
        if self.is_over:
            raise PeerFailed("its process had ended before")
        try:
            self._channel.send({"do": do, **arguments}, descriptor=descriptor, timeout_s=ANSWER_LIMIT_S)
        except OSError:
            raise PeerFailed(self._how_it_ended()) from None

    def hear(self, within_s: float | None = None) -> dict[str, Any]:
        """The answer to the command that was sent last."""
        within_s = self._host.limit_s if within_s is None else within_s
        try:
            answer = self._channel.receive(within_s)
        except TimeoutError:
            self.kill()
            raise PeerFailed(f"no answer within {within_s:.3g} s") from None
        except (EOFError, ConnectionError):
            raise PeerFailed(self._how_it_ended()) from None
        if "cannot" in answer:
            raise NotOffered(answer["cannot"])
        if answer.get("missing"):
            raise NotInstalled(self._host.cleaned(answer["error"]))
        if "error" in answer:
            raise PeerFailed(self._host.cleaned(answer["error"]))
        return answer

    def _how_it_ended(self) -> str:
        status = self.kill(grace_s=_END_LIMIT_S)
        how = f"killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
        words = self._host.last_words()
        return f"its process was {how}: {words}" if words else f"its process was {how}"

    def kill(self, *, grace_s: float = 0.0) -> int | None:
        """End the process, after the grace, with SIGKILL.

        Returns:
            Its exit status, negative for a signal; None if it is not known.
        """
        if self.is_over:
            return None
        self.is_over = True
        self._channel.close()
        if self._process is None:
            return self._host.end(self.pid, grace_s)
        try:
            return self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """Let it end by itself, and end it if it does not."""
        self.kill(grace_s=_END_LIMIT_S)


class Host:
    """A peer's processes: one that has imported it, and those that are forked from it.

    Args:
        peer: whose.
        folder: for its errors and for what it takes to be the user's home.
        limit_s: how long an answer may take, where nothing else is said.
    """

    def __init__(self, peer: Peer, folder: Path, limit_s: float = ANSWER_LIMIT_S) -> None:
        self.limit_s = limit_s
        self.peer = peer
        self.version: str | None = None
        self.import_ns: int | None = None
        self._folder = folder
        self._first: Worker | None = None
        self._can_fork = False
        self._errors = folder / "stderr"

    @property
    def slug(self) -> str:
        """The peer's name as part of a path."""
        return re.sub(r"[^a-z0-9]+", "-", self.peer.name.lower()).strip("-")

    def start(self) -> None:
        """Import the peer.

        Raises:
            NotInstalled, PeerFailed: there is nothing to measure.
        """
        if self.peer.distribution:
            try:
                self.version = version(self.peer.distribution)
            except PackageNotFoundError:
                raise NotInstalled(f"no distribution {self.peer.distribution}") from None
        (self._folder / "home").mkdir(parents=True, exist_ok=True)
        self._first = self.spawn()
        self.import_ns = self._first.import_ns

    def spawn(self) -> Worker:
        """A new interpreter that imports the peer."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "benchmarks.peers.worker", self.peer.module]
        with theirs, self._errors.open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment(),
                cwd=self._folder,
            )
        worker = Worker(self, Channel(ours), process.pid, process)
        answer = worker.hear(START_LIMIT_S)
        worker.import_ns = answer["import_ns"]
        self._can_fork = answer["can_fork"]
        return worker

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        paths = [str(CHECKOUT), kept.get("PYTHONPATH", "")]
        return kept | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HOME": str(self._folder / "home"),  # what a peer leaves in a home is not left in the user's
            "OPENBLAS_NUM_THREADS": "1",  # a library that a peer imports starts threads else, and they forbid a fork
            "OMP_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",
        }

    def worker(self) -> Worker:
        """A process of its own that has imported the peer and opened nothing."""
        if self._first is None or self._first.is_over:
            self._first = self.spawn()  # it had died: the next row gets another chance
        if not self._can_fork:
            return self.spawn()
        ours, theirs = socket.socketpair()
        with theirs:
            self._first.tell("fork", descriptor=theirs.fileno())
            pid = self._first.hear()["pid"]
        return Worker(self, Channel(ours), pid, None)

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[list[Worker]]:
        """So many processes, ended with the block."""
        with ExitStack() as stack:
            found = []
            for _ in range(count):
                worker = self.worker()
                stack.callback(worker.close)
                found.append(worker)
            yield found

    def end(self, pid: int, grace_s: float) -> int | None:
        """End a forked process."""
        until = time.monotonic() + grace_s
        while grace_s and time.monotonic() < until and _runs(pid):
            time.sleep(0.001)
        if self._first is None or self._first.is_over:
            return None  # whoever forked it has ended it
        try:
            status: int | None = self._first.ask("end", pid=pid)["status"]
        except PeerFailed:
            return None
        return status

    def cleaned(self, words: str) -> str:
        """What a peer said, without the folders of this machine."""
        for path in (self._folder.parent, Path(tempfile.gettempdir()), CHECKOUT, Path(sys.prefix), Path.home()):
            if str(path) != "/":
                words = words.replace(str(path), "…")
        return re.sub(r"0x[0-9a-f]{6,}", "0x…", words)

    def last_words(self) -> str:
        """The last line that it said on standard error."""
        try:
            lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        said = [line for line in lines if line.strip()]
        return self.cleaned(said[-1])[:_LAST_WORDS] if said else ""

    def close(self) -> None:
        """End all of its processes."""
        if self._first is not None:
            self._first.close()


def _runs(pid: int) -> bool:
    """Whether a process that nobody has waited for yet still runs."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
