"""File systems of our own: images on loop devices, and small tmpfs, which only the process that mounts them sees.

A process that called ``go_private`` has mounts of its own: they are gone with it and its children, however they end. A
loop device detaches by itself when its image is unmounted. So nothing is left behind, also after ``kill -9``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import select
import shutil
import struct
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where no test comes this far
    pass

# What Linux's headers say.
_CLONE_NEWNS = 0x00020000
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 0x20, 0x4000, 0x40000
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4
_LOOP_CONFIG = struct.Struct("=II 5Q 4I 64s 64s 32s 2Q 8Q")
_FS_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_PR_SET_PDEATHSIG = 1

MIB = 2**20


class Unavailable(Exception):
    """What this machine does not allow: no error, but a reason to skip."""


@dataclass(frozen=True)
class Kind:
    """A kind of image: its type, its size in bytes (sparse), and how it is made."""

    type: str
    size: int
    make: tuple[str, ...]


KINDS = {
    "ext4": Kind("ext4", 24 * MIB, ("mkfs.ext4", "-q", "-F")),
    "coarse": Kind("ext4", 16 * MIB, ("mkfs.ext4", "-q", "-F", "-I", "128")),
    "xfs": Kind("xfs", 320 * MIB, ("mkfs.xfs", "-q", "-f")),
}
"""``coarse`` has no room for times finer than seconds."""


OPTIONS = {
    "ext4": ("", "", "nodelalloc", "data=writeback", "data=journal", "commit=1"),
    "coarse": ("", "nodelalloc"),
    "xfs": ("",),
}
"""How each kind of image may be mounted."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(what: str, answer: int) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def why_not_root() -> str | None:
    """Why this process cannot mount anything; None when it perhaps can."""
    if not hasattr(os, "geteuid") or not Path("/proc/self/ns/mnt").exists():
        return "mount namespaces are Linux's"
    return None if os.geteuid() == 0 else "mounting a file system of our own takes root"


def die_with_parent() -> None:
    """In a forked process: do not outlive the process that forked it."""
    _libc().prctl(_PR_SET_PDEATHSIG, 9)


def go_private() -> None:
    """In a child: see the mounts of this process and its children alone, and let nobody else see them.

    It dies with the process that forked it, so that its mounts do.

    Raises:
        Unavailable: that is refused.
    """
    die_with_parent()
    if reason := why_not_root():
        raise Unavailable(reason)
    try:
        _checked("unshare", _libc().unshare(_CLONE_NEWNS))
        _mount(b"none", Path("/"), None, _MS_REC | _MS_PRIVATE, b"")
    except OSError as error:
        raise Unavailable(f"no mounts of our own: {error}") from error


def join(pid: int) -> None:
    """In a child: see the mounts that a process sees which called ``go_private``."""
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked("setns", _libc().setns(fd, _CLONE_NEWNS))
    finally:
        os.close(fd)


def _mount(source: bytes, folder: Path, kind: bytes | None, flags: int, options: bytes) -> None:
    _checked("mount", _libc().mount(source, os.fsencode(folder), kind, ctypes.c_ulong(flags), options))


def unmount(folder: Path) -> None:
    """Unmount; whoever had something open there is about to be reaped."""
    deadline = time.monotonic() + 10.0
    while True:
        try:
            _checked("umount", _libc().umount2(os.fsencode(folder), 0))
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


def make_image(path: Path, kind: str) -> None:
    """A new file system in a sparse file.

    Raises:
        Unavailable: there is no program that makes it, or it refuses.
    """
    made = KINDS[kind]
    # An ordinary user's PATH often lacks the folder where these programs are.
    program = shutil.which(made.make[0]) or shutil.which(made.make[0], path="/usr/sbin:/sbin")
    if program is None:
        raise Unavailable(f"there is no {made.make[0]}")
    with path.open("wb") as file:
        file.truncate(made.size)
    done = subprocess.run([program, *made.make[1:], path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{made.make[0]}: {done.stderr.strip()}")


def mount_image(image: Path, folder: Path, kind: str, options: str = "") -> None:
    """Mount an image, through a loop device that goes when it is unmounted: nothing is cached from mount to mount.

    Raises:
        Unavailable: there are no loop devices, or the kernel does not know this file system.
    """
    try:
        with _loop(image) as device:
            _mount(os.fsencode(device), folder, KINDS[kind].type.encode(), 0, options.encode())
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTTY):
            raise Unavailable(f"no {kind} image can be mounted: {error}") from error
        raise


@contextlib.contextmanager
def _loop(image: Path) -> Iterator[str]:
    """A loop device over an image, as long as this block or a mount needs it."""
    with contextlib.ExitStack() as opened:
        backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        opened.callback(os.close, backing)
        for _ in range(100):
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            try:
                device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                info = (0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, b"", b"", b"", 0, 0)
                fcntl.ioctl(fd, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(backing, 0, *info, *[0] * 8))
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
                # Another process was faster.
                continue
            opened.callback(os.close, fd)
            yield device
            return
        raise OSError(errno.ENXIO, "every loop device is busy")


def cut_power(folder: Path) -> None:
    """Let a mounted file system bring nothing more to its medium, not even its journal.

    Raises:
        Unavailable: this file system knows no such thing.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EPERM, errno.EOPNOTSUPP):
            raise Unavailable(f"the power of this file system cannot be cut: {error}") from error
        raise
    finally:
        os.close(fd)


class Image:
    """A file system of its own, in a process with mounts of its own: made, mounted, and gone at the end.

    The image is in memory, so that a slow or busy disk below it changes nothing.

    Args:
        folder: where it is mounted at.
        kind: which of ``KINDS``.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.memory, self.kind = folder / f"memory-{kind}", kind
        self.path, self.mounted = self.memory / "image", self.memory / "mounted"

    def __enter__(self) -> Image:
        self.memory.mkdir(exist_ok=True)
        mount_tmpfs(self.memory, KINDS[self.kind].size + 64 * MIB)
        self.mounted.mkdir()
        make_image(self.path, self.kind)
        mount_image(self.path, self.mounted, self.kind)
        self.mounted.chmod(0o700)
        return self

    def __exit__(self, *_: object) -> None:
        unmount(self.mounted)
        unmount(self.memory)
        self.memory.rmdir()

    def mount_anew(self, options: str = "") -> None:
        """What its medium holds, and nothing that is in memory."""
        unmount(self.mounted)
        mount_image(self.path, self.mounted, self.kind, options)


def sync_one(path: Path, flags: int) -> None:
    """Bring one file to its medium, with what else the file system brings there then."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if flags & os.O_CREAT:
            os.write(fd, b"x")
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_all(folder: Path) -> None:
    """Bring everything on a file system to its medium."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked("syncfs", _libc().syncfs(fd))
    finally:
        os.close(fd)


def mount_tmpfs(folder: Path, size: int) -> None:
    """Mount a tmpfs of so many bytes."""
    _mount(b"tmpfs", folder, b"tmpfs", 0, f"size={size},mode=0700".encode())


def limit_tmpfs(folder: Path, *, pages: int = 1_000, files: int = 1_000) -> None:
    """Let a tmpfs have so many free pages and so many free files; many, unless told otherwise."""
    found = os.statvfs(folder)
    size = (found.f_blocks - found.f_bfree + pages) * found.f_frsize
    inodes = found.f_files - found.f_ffree + files
    # A size of 0 would be no limit.
    _mount(b"tmpfs", folder, None, _MS_REMOUNT, f"size={max(size, 1)},nr_inodes={max(inodes, 1)}".encode())


@contextlib.contextmanager
def forked(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Run something in a forked process, which gets a pipe's end to write to; its id, and the end to read from.

    It is killed at the end, if it is still there.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):
        # Room for all it has to say, so that it never waits for a reader.
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, MIB)
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent()
            os.close(reading)
            work(writing)
        except BaseException:  # noqa: BLE001  # what is told on stderr is in the test's report
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield pid, reading
    finally:
        end(pid)
        os.close(reading)


def end(pid: int) -> None:
    """``kill -9`` a forked process, and reap it; nothing when that was done."""
    with contextlib.suppress(ChildProcessError):
        # Asked first: once it is reaped its number may be a stranger's.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


# Power cuts


@dataclass
class Heard:
    """What a writer said until it was dead.

    Attributes:
        said: all of it.
        floor: how many calls were made before everything was brought to the medium.
        before: how many were acknowledged before the cut. A sync that is under way then may succeed, says the system,
            and its bytes are lost all the same: so no more is asked for.
    """

    said: bytes = b""
    floor: int = 0
    before: int = 0

    @property
    def done(self) -> int:
        return self.said.partition(b"e")[0].count(b"d")

    def take(self, pipe: int) -> bool:
        """Take in what is said next; whether there was anything."""
        data = os.read(pipe, 65536)
        self.said += data
        return bool(data)


class Lab:
    """A place to cut power in."""

    def __init__(self, image: Image, dice: random.Random) -> None:
        self.image, self.dice = image, dice
        self.root = image.mounted / "store"
        self.options = ""

    def cut(self, works: list[Callable[[int], None]], most: int, *, brings: bool) -> list[Heard]:
        """Let writers write, and cut their power at a random moment.

        Args:
            works: what each does in a process of its own; it gets the pipe to say ``d`` on after every call.
            most: how many calls each makes.
            brings: whether the system writes out some of what is in memory, as it does when it likes to.
        """
        all_heard = [Heard() for _ in works]
        moment = self.dice.choice([0, self.dice.randrange(8), self.dice.randrange(most)])
        syncs = {self.dice.randrange(most) for _ in range(4)} if brings else set()
        with contextlib.ExitStack() as living:
            writers = [living.enter_context(forked(work)) for work in works]
            pipes = {pipe: heard for (_, pipe), heard in zip(writers, all_heard, strict=True)}
            first = all_heard[0]
            while first.done < moment:
                _listen(pipes, None)
                if any(number <= first.done for number in syncs):
                    syncs = {number for number in syncs if number > first.done}
                    self._bring_some(all_heard)
            # Into the middle of a call, or behind the last.
            time.sleep(self.dice.choice([0, self.dice.random() * 0.0005, self.dice.random() * 0.003]))
            while _listen(pipes, 0):
                pass
            for heard in all_heard:
                heard.before = heard.done
            cut_power(self.image.mounted)
            time.sleep(self.dice.random() * 0.001)
            for pid, pipe in writers:
                end(pid)
                while pipes[pipe].take(pipe):
                    pass
        self.options = self.dice.choice(OPTIONS[self.image.kind])
        self.image.mount_anew(self.options)
        return all_heard

    def clear(self, *stores: Path) -> None:
        """Remove stores, so that no cut brings them back."""
        for store in stores:
            shutil.rmtree(store, ignore_errors=True)
        sync_all(self.image.mounted)

    def _bring_some(self, all_heard: list[Heard]) -> None:
        """What a system does beside the writers, and they never asked for: write out some of what is in memory."""
        how = self.dice.randrange(3)
        logs = sorted(self.root.rglob("*.jsonl"))
        if how == 0:
            floors = [heard.done for heard in all_heard]
            sync_all(self.image.mounted)
            for heard, floor in zip(all_heard, floors, strict=True):
                heard.floor = floor
        elif how == 1 or not logs:
            # Commits the journal, and with it every directory, of whose files the bytes are not there yet.
            sync_one(self.image.mounted / "unrelated", os.O_CREAT | os.O_WRONLY)
        else:
            with contextlib.suppress(FileNotFoundError):
                sync_one(self.dice.choice(logs), os.O_RDWR)


def _listen(pipes: dict[int, Heard], timeout_s: float | None) -> bool:
    """Take in what writers say, while nothing is wrong with any; whether one said something."""
    ready, _, _ = select.select(list(pipes), [], [], timeout_s)
    for pipe in ready:
        assert pipes[pipe].take(pipe), "a writer ended by itself"
        assert b"e" not in pipes[pipe].said, f"before the power was cut: {pipes[pipe].said!r}"
    return bool(ready)
