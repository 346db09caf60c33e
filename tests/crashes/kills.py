"""``kill -9`` by strace, at every system call that changes something, whether the store's seam knows of it or not.

A child makes a store, tells, and waits; strace is attached, so that it counts from here; then the child makes one call
of ``tests.seam.OPERATIONS``, and is dead before the Nth of its changing system calls, or ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hierstore import SessionStore
from tests.crashes import test_kill_at_random
from tests.figures import Figures
from tests.processes import PATIENCE_S, Child, Zygote, hear, replaced, say
from tests.seam import OPERATIONS, View, before_and_after, finish, hooked, is_change, is_legal, prepared, view

CHANGING = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice", "ioctl", "mmap"),
    *("open", "openat", "openat2", "creat", "mknod", "mknodat", "symlink", "symlinkat", "link", "linkat"),
    *("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat"),
    *("truncate", "ftruncate", "fallocate", "utime", "utimes", "utimensat", "futimesat"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "setxattr", "fsetxattr", "lsetxattr"),
    *("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
)
"""Every system call of Linux that changes, or brings to the medium, what files hold; of ``openat``, ``ioctl`` and
``mmap`` only some do."""

SEAM = {
    "write": "write",
    "open_file": "openat",
    "unlink": "unlink",
    "rename": "rename",
    "replace": "rename",
    "link": "linkat",
    "mkdir": "mkdir",
    "utime": "utimensat",
    "chmod": "chmod",
    "ftruncate": "ftruncate",
    "sync": "fdatasync",
    "sync_directory": "fsync",
}
"""What the functions of the seam that change something are to the system."""

_ALIASES = {
    "link": "linkat",
    "unlinkat": "unlink",
    "renameat": "rename",
    "renameat2": "rename",
    "mkdirat": "mkdir",
    "fchmodat": "chmod",
    "open": "openat",
}
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")
DURABILITIES = ("process", "power")

KILLS_PER_ROUND = 60
LONGEST_PAUSE_S = 0.02
"""Of the random kills of the long form: more of them, and faster, than in CI."""

LEFT_BE = frozenset(["missing_child", "quarantined"])
"""What a sweep for leftovers leaves: a note of a child that never came, and what it put aside itself."""

_PR_SET_PTRACER, _ANYBODY = 0x59616D61, 2**64 - 1

Points = list[tuple[str, int]]


class Unavailable(Exception):
    """What this machine does not allow: no error, but a reason to skip."""


def run_when_told(root: Path, name: str, durability: str) -> None:
    """In a child: make a store, wait until strace is there, make the call, tell what it asked of the system, and end."""
    made: list[str] = []

    def note(_number: int, called: str, call: Callable[[], object], args: tuple[object, ...]) -> object:
        if is_change(called, args) or called in ("sync", "sync_directory"):
            made.append(SEAM[called])
        return call()

    operation = OPERATIONS[name]
    store = prepared(root, name, durability=durability)
    _let_anybody_trace()
    say(os.getpid())
    hear()
    with hooked(note):
        operation.run_or_be_refused(store)
    say(made)
    # At once: what an interpreter does at its end is no call of the store.
    os._exit(0)


def _let_anybody_trace() -> None:
    """In a child: many systems let a process be traced by its parents alone, and strace is none of ours."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY))


@contextlib.contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """Let strace watch a process; when the block begins, it does.

    Raises:
        Unavailable: there is no strace, or it may not.
    """
    program = shutil.which("strace")
    if program is None:
        raise Unavailable("there is no strace")
    # In a group of its own, so that Ctrl-C is for the test alone, which ends it.
    strace = subprocess.Popen(
        [program, "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, process_group=0
    )
    assert strace.stderr is not None
    try:
        told = b""
        while b"attached" not in told:
            ready, _, _ = select.select([strace.stderr], [], [], PATIENCE_S)
            data = os.read(strace.stderr.fileno(), 4096) if ready else b""
            if not data:
                raise Unavailable(f"strace: {told.decode(errors='replace').strip()}")
            told += data
        yield
        strace.wait(PATIENCE_S)
    finally:
        if strace.poll() is None:
            strace.kill()
            strace.wait()
        strace.stderr.close()


def trace(start: Callable[[], Child], folder: Path, name: str, durability: str) -> tuple[list[str], list[str]]:
    """The changing system calls of an operation: as the kernel sees them, each a line of strace's, and as the seam does.

    The kernel sees one more: the last tells us of the others.
    """
    log = folder / "trace"
    # A question mark: not every machine has every call.
    names = ",".join(f"?{name}" for name in CHANGING)
    child, status = _run(
        start, folder / "traced", name, durability, "-o", os.fspath(log), "-e", f"trace={names}", "-s", "0"
    )
    known = child.hear()
    child.pipe.close()
    assert status == 0, f"{name} ended with {status}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if _CALL.match(line)]
    assert call_of(lines[-1]) == "write", lines[-1]
    log.unlink()
    shutil.rmtree(folder / "traced")
    return lines, known


def _run(start: Callable[[], Child], root: Path, name: str, durability: str, *options: str) -> tuple[Child, int]:
    child = start()
    child.begin(run_when_told, root, name, durability)
    with traced(child.hear(), *options):
        child.say()
    return child, child.wait()


def call_of(line: str) -> str:
    """The name of the call in a line of strace's, one for each thing done."""
    found = _CALL.match(line)
    assert found is not None, line
    return _ALIASES.get(found[1], found[1])


def changes(line: str) -> bool:
    """Whether a call changes something, or brings it to the medium."""
    name = call_of(line)
    if name == "openat":
        return "O_CREAT" in line
    if name == "ioctl":
        return "FICLONE" in line
    return name != "mmap" or ("MAP_SHARED" in line and "PROT_WRITE" in line)


def points_of(lines: list[str]) -> Points:
    """Where to die: for each changing call its name and its number among those of that name."""
    seen: dict[str, int] = {}
    points: Points = []
    for line in lines:
        found = _CALL.match(line)
        assert found is not None, line
        seen[found[1]] = seen.get(found[1], 0) + 1
        if changes(line):
            points.append((found[1], seen[found[1]]))
    return points


def kill_at(
    start: Callable[[], Child],
    root: Path,
    name: str,
    durability: str,
    point: tuple[str, int],
    states: tuple[View, View],
    *,
    is_last: bool,
) -> bool:
    """Kill an operation at a system call; afterwards the store shows all of it or nothing, works, and can be tidied.

    The last is the one that would tell that it is done: there all of it must be there.

    Returns:
        Whether it came that far: how often times are set, and lock files made, differs from run to run.

    Raises:
        AssertionError: with what repeats it.
    """
    called, number = point
    operation = OPERATIONS[name]
    inject = ("-o", os.devnull, "-e", f"trace={called}", "-e", f"inject={called}:signal=KILL:when={number}")
    try:
        child, status = _run(start, root, name, durability, *inject)
        child.pipe.close()
        is_killed = status == -signal.SIGKILL
        assert is_killed or (status == 0 and called in ("utimensat", "openat")), f"it was not killed: {status}"
        with SessionStore(root) as store:
            found = view(store)
            assert is_legal(operation, found, *states), found
            assert found == states[1] or (is_killed and not is_last), "it was done, and is gone"
            assert store.check().problems == ()
            finish(store, operation, states[1])
            sweep_up(store)
    except BaseException as error:
        error.add_note(f"{name!r}, {durability}: killed at {called} number {number}")
        raise
    shutil.rmtree(root)
    return is_killed


def sweep_up(store: SessionStore) -> None:
    """Let the store put its house in order; then nothing of a dead process is left."""
    report = store.repair()
    assert report.ok, report.left
    found = store.check()
    assert found.problems == (), found.problems
    assert {note.kind for note in found.notes} <= LEFT_BE, found.notes
    assert not list((store.root / "tmp").iterdir())


def sweep(
    start: Callable[[], Child], folder: Path, name: str, durability: str, chosen: Callable[[Points], Points]
) -> Iterator[bool]:
    """Kill an operation at its changing system calls, or at those chosen of them; tells of each whether it was killed."""
    states = before_and_after(folder, name)
    lines, _ = trace(start, folder, name, durability)
    points = points_of(lines)
    for count, point in enumerate(chosen(points)):
        yield kill_at(start, folder / f"{count}", name, durability, point, states, is_last=point == points[-1])


# The long form


@contextlib.contextmanager
def starting(zygote: Zygote) -> Iterator[Callable[[], Child]]:
    """Starts processes; whatever is left of them is killed and reaped."""
    children: list[Child] = []

    def begin() -> Child:
        children.append(zygote.start())
        return children[-1]

    try:
        yield begin
    finally:
        for child in children:
            child.kill()
            child.pipe.close()


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Kill at each system call of each operation, and at random moments, in turn, until the time is over."""
    deadline = time.monotonic() + seconds
    dice = random.Random(seed)
    zygote = Zygote()
    try:
        for number in itertools.count():
            order = [(name, durability) for name in OPERATIONS for durability in DURABILITIES]
            dice.shuffle(order)
            for place, (name, durability) in enumerate(order):
                if time.monotonic() > deadline:
                    return
                for again in range(2):
                    _kill_at_random(zygote, figures, folder, f"{seed} {number} {place} {again}")
                _kill_at_each(zygote, figures, folder / "sweep", name, durability, deadline)
    finally:
        zygote.close()


def _kill_at_each(zygote: Zygote, figures: Figures, folder: Path, name: str, durability: str, deadline: float) -> None:
    folder.mkdir()
    try:
        with starting(zygote) as start:
            for is_killed in sweep(start, folder, name, durability, list):
                figures.add("kills at a system call (strace)", is_killed)
                if time.monotonic() > deadline:
                    break
    except Unavailable as error:
        figures.add(f"skipped: {error}")
    shutil.rmtree(folder, ignore_errors=True)


def _kill_at_random(zygote: Zygote, figures: Figures, folder: Path, seed: str) -> None:
    root = folder / "random"
    try:
        kills = KILLS_PER_ROUND * test_kill_at_random.ROUNDS
        with (
            replaced(test_kill_at_random, KILLS=kills, LONGEST_PAUSE_S=LONGEST_PAUSE_S),
            starting(zygote) as start,
        ):
            test_kill_at_random.killing_round(start, root, 0, random.Random(seed))
        with SessionStore(root) as store:
            sweep_up(store)
    except BaseException as error:
        error.add_note(f"the round of seed {seed!r}; the scheduler's choices are not repeated")
        raise
    figures.add("random kills", KILLS_PER_ROUND)
    shutil.rmtree(root)
