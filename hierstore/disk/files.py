"""Every system call the store makes. The seam: a test that replaces a name here sees, delays or fails that call.

Other modules call through the module (``files.write(...)``), never by an imported name, so that a replacement takes.
Paths are bytes: that saves the encoding on each call, and carries file names that are no valid text.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

stat = os.stat
lstat = os.lstat
fstat = os.fstat
write = os.write
close = os.close
dup = os.dup
ftruncate = os.ftruncate
unlink = os.unlink
rename = os.rename
replace = os.replace
mkdir = os.mkdir
utime = os.utime
chmod = os.chmod
scandir = os.scandir
open_file = os.open
link = getattr(os, "link", None)

# What this system can do; asked here once, never by platform elsewhere.
HAS_LINK = link is not None
HAS_DIRECTORY_SYNC = hasattr(os, "O_DIRECTORY")
HAS_FOLDER_DESCRIPTORS = HAS_DIRECTORY_SYNC and os.stat in os.supports_dir_fd
HAS_TIMES_OF_DESCRIPTORS = os.utime in os.supports_fd
HAS_OWNERS = hasattr(os, "geteuid") and hasattr(os, "fchmod")
KEEPS_OPEN_FILES_MOVABLE = os.name != "nt"
"""Whether a file can be renamed or unlinked while a descriptor of it is open. Where not, none is kept open."""

SHARING_WAITS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""How long to wait before each next try, seconds: 0.8 in all. A log is open for as long as a commit or a read takes."""
TOUCH_WAITS_S = (0.001, 0.01, 0.1, 1.0, 1.0)
_SHARING = frozenset([5, 32])  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION


def patiently(call: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """A call that is tried again, for a bounded time, where Windows refuses it because somebody has the file open."""

    def tried(*args: Arguments.args, **options: Arguments.kwargs) -> Answer:
        for wait_s in SHARING_WAITS_S:
            try:
                return call(*args, **options)
            except PermissionError as error:
                if getattr(error, "winerror", None) not in _SHARING:
                    raise
            time.sleep(wait_s)
        return call(*args, **options)

    return tried


if not KEEPS_OPEN_FILES_MOVABLE:
    open_file, unlink = patiently(open_file), patiently(unlink)
    rename, replace = patiently(rename), patiently(replace)


def _open_file_limit() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


# What one store keeps open, so that a program may have several, and its own files: a third of what the system grants.
MAX_OPEN_LOCKS = max(8, min(257, _open_file_limit() // 6))
MAX_OPEN_LOGS = max(8, min(256, _open_file_limit() // 6))

_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
READ = os.O_RDONLY | _COMMON
APPEND = os.O_RDWR | os.O_APPEND | _COMMON
CREATE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _COMMON
LOCK = os.O_RDWR | os.O_CREAT | _COMMON
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _COMMON

_CHUNK_BYTES = 2**30
_MASK = 2**63 - 1
# Answers of file systems that cannot link, or not this file again.
_NO_LINK = frozenset(
    [errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES]
)


def open_regular(path: bytes, flags: int) -> int:
    """Open an existing regular file.

    Raises:
        OSError: as ``os.open``; EINVAL for a directory, a device, a pipe or a socket; ELOOP where it, or the folder it is
            in, is a symbolic link.
    """
    # O_NOFOLLOW is for the last name of a path alone.
    check_folder(os.path.dirname(path))
    # O_NONBLOCK: opening a pipe that someone planted there must not wait for its other end.
    fd = open_file(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        if not _stat.S_ISREG(fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
    except BaseException:
        close(fd)
        raise
    return fd


def create(path: bytes, mode: int) -> int:
    """Create a file that must not exist, open for appending, with exactly these permissions.

    Raises:
        FileExistsError: something has that name.
    """
    fd = open_file(path, CREATE, mode)
    try:
        set_mode(fd, mode)
    except BaseException:
        close(fd)
        unlink(path)
        raise
    return fd


def set_mode(fd: int, mode: int) -> None:
    """Give a file that we made exactly these permissions, whatever the umask took away: it may take the owner's too."""
    if HAS_OWNERS and _stat.S_IMODE(fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def make_directory(path: bytes, mode: int) -> bool:
    """Make a directory; False when it was there."""
    try:
        mkdir(path, mode)
    except FileExistsError:
        return False
    # As for a file. Here also a bit that the folder above gave, and the caller asks for or not.
    if HAS_OWNERS and _stat.S_IMODE(lstat(path).st_mode) != mode:
        chmod(path, mode)
    return True


def check_folder(path: bytes) -> None:
    """Refuse a folder that is a symbolic link, or no folder: what is made or read in it would be elsewhere.

    Raises:
        OSError: ELOOP for a link, ENOTDIR for another file; as ``lstat``.
    """
    mode = lstat(path).st_mode
    if _stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a symbolic link", os.fsdecode(path))
    if not _stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder", os.fsdecode(path))


def make_directories(path: bytes, mode: int) -> None:
    """Make a directory, and what is missing above it; nothing when it was there.

    Raises:
        FileExistsError: it is a file.
    """
    missing = []
    while not os.path.isdir(path):
        if exists(path):
            raise FileExistsError(errno.EEXIST, "exists", os.fsdecode(path))
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        make_directory(each, mode)


def let_go(fd: int) -> None:
    """Close a descriptor through which nothing was written that another does not stand for; an error says nothing."""
    try:
        close(fd)
    except OSError:
        pass


def write_all(fd: int, data: bytes) -> None:
    """Write every byte at the descriptor's position (its end, if opened for appending).

    Raises:
        OSError: with some of the bytes perhaps written.
    """
    done = write(fd, data)
    while done < len(data):
        done += write(fd, memoryview(data)[done:])


def read(fd: int, size: int, offset: int) -> bytes:
    """Read up to ``size`` bytes from ``offset``; fewer only where the file ends."""
    data = _read_some(fd, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    got = len(data)
    while got < size and (data := _read_some(fd, size - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def read_all(path: bytes) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as ``open_regular`` and reading.
    """
    fd = open_regular(path, READ)
    try:
        return read(fd, fstat(fd).st_size, 0)
    finally:
        close(fd)


if hasattr(os, "pread"):

    def _read_some(fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, min(size, _CHUNK_BYTES), offset)

else:  # Windows

    def _read_some(fd: int, size: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, min(size, _CHUNK_BYTES))


def _sync_fully(fd: int) -> None:
    """Bring a file's bytes and size to the medium."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
        return
    try:
        import fcntl

        # macOS: fsync leaves the data in the drive's cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, AttributeError, OSError):
        os.fsync(fd)


sync = _sync_fully


def sync_directory(path: bytes) -> None:
    """Bring a directory's entries to the medium; nothing where the system cannot."""
    if not HAS_DIRECTORY_SYNC:
        return
    fd = open_file(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        close(fd)


def place(source: bytes, target: bytes) -> None:
    """Give a finished file its name, exclusively; its temporary name is gone afterwards.

    To be called under the lock of the target's session: where links do not work, the check and the rename are two
    steps.

    Raises:
        FileExistsError: something has that name; it is untouched, and the temporary file too.
    """
    if HAS_LINK and maybe_link(source, target):
        unlink(source)
        return
    move(source, target)


def move(source: bytes, target: bytes) -> None:
    """Give a file that others may have open another name, under the lock of the target's session.

    By a rename: the descriptors that are open then belong to the new name, and the system tells of writes through them
    under it. With a link and an unlink it would go on to tell of them under the old one.

    Raises:
        FileExistsError: something has that name; it is untouched, and the file too.
    """
    if exists(target):
        raise FileExistsError(errno.EEXIST, "exists", os.fsdecode(target))
    rename(source, target)


def maybe_link(source: bytes, target: bytes) -> bool:
    """Link a file under a second name; False where the file system cannot.

    Raises:
        FileExistsError: something has that name.
    """
    if not HAS_LINK or link is None:
        return False
    try:
        link(source, target)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def exists(path: bytes) -> bool:
    """Whether anything has that name, a dangling symbolic link included."""
    try:
        lstat(path)
    except FileNotFoundError:
        return False
    return True


def remove(path: bytes) -> None:
    """Unlink; nothing when it is gone already."""
    try:
        unlink(path)
    except FileNotFoundError:
        pass


def names(path: bytes) -> Iterator[bytes]:
    """The names in a directory; none when there is no such directory. A symbolic link is not followed."""
    try:
        check_folder(path)
        with scandir(path) as entries:
            for entry in entries:
                yield entry.name
    except FileNotFoundError:
        return


def whole(path: bytes) -> bytes:
    """A regular file's bytes."""
    fd = open_regular(path, READ)
    try:
        return read(fd, fstat(fd).st_size, 0)
    finally:
        close(fd)


def stamps_in(folder: bytes, suffix: str) -> tuple[list[str], array[int]]:
    """The names in a folder that end so, and four numbers for each: size, mtime in nanoseconds, inode, device.

    Asked of the folder's descriptor where that works: a path is walked once, not for each file. Nothing is followed.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not HAS_FOLDER_DESCRIPTORS:
        paths = [os.path.join(folder, name) for name in names(folder) if os.fsdecode(name).endswith(suffix)]
        return _stamped((os.path.basename(path).decode(errors="surrogateescape"), path) for path in paths)
    fd = open_file(folder, _DIRECTORY)
    try:
        with scandir(fd) as entries:
            logs = [entry for entry in entries if entry.name.endswith(suffix)]
        try:
            # What there is to Python in a look at each of a hundred thousand files, beside the system's part, is here.
            numbers = array("q", chain.from_iterable([_stamp_of(entry.stat(follow_symlinks=False)) for entry in logs]))
        except (FileNotFoundError, OverflowError):
            return _stamped((entry.name, os.path.join(folder, os.fsencode(entry.name))) for entry in logs)
        return [entry.name for entry in logs], numbers
    finally:
        close(fd)


_stamp_of = attrgetter("st_size", "st_mtime_ns", "st_ino", "st_dev")


def _stamped(logs: Iterable[tuple[str, bytes]]) -> tuple[list[str], array[int]]:
    """The same one by one, without those that are gone, and with numbers that fit."""
    found: list[str] = []
    numbers = array("q")
    for name, path in logs:
        try:
            numbers.extend([number & _MASK for number in _stamp_of(lstat(path))])
        except FileNotFoundError:
            continue
        found.append(name)
    return found, numbers


def mounts() -> Iterator[tuple[bytes, str]]:
    """Where something is mounted and of which type it is, where the system tells (Linux)."""
    try:
        fd = open_file(b"/proc/self/mounts", READ)
        try:
            table = _read_stream(fd)
        finally:
            close(fd)
    except OSError:
        return
    for line in table.splitlines():
        parts = line.split(b" ")
        if len(parts) > 2:
            # Spaces and the like in a path stand there as octal numbers.
            path = parts[1].decode("unicode_escape").encode("latin-1")
            yield path, parts[2].decode(errors="replace")


def _read_stream(fd: int) -> bytes:
    parts = []
    while data := os.read(fd, 2**16):
        parts.append(data)
    return b"".join(parts)


def maybe_user_cache() -> bytes | None:
    """The user's folder for what can be made again; None where there is none."""
    named = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return os.fsencode(named)
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return os.fsencode(os.path.join(home, *(["Library", "Caches"] if sys.platform == "darwin" else [".cache"])))


def maybe_holds(folder: bytes, name: bytes) -> bool | None:
    """Whether a folder holds something; None when there is no such folder.

    Asked of the folder itself, not by a path: one that is renamed away at this moment does not look empty.

    Args:
        folder: its path.
        name: a path below it.
    """
    try:
        fd = open_file(folder, _DIRECTORY) if HAS_FOLDER_DESCRIPTORS else -1
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if fd >= 0:
            stat(name, dir_fd=fd)
        else:
            stat(os.path.join(folder, name))
        return True
    except FileNotFoundError:
        return False if fd >= 0 or exists(folder) else None
    finally:
        if fd >= 0:
            close(fd)


def set_mtime(fd: int, path: bytes, mtime_ns: int) -> None:
    """Set an open file's mtime; by its path where that is the only way."""
    times = (fstat(fd).st_atime_ns, mtime_ns)
    target = fd if HAS_TIMES_OF_DESCRIPTORS else path
    try:
        utime(target, ns=times)
    except PermissionError:
        # Another user's file, in a shared root: then only the present may be set, which is later as a rule.
        _touch_after(fd, target, mtime_ns)


def _touch_after(fd: int, target: int | bytes, mtime_ns: int) -> None:
    for wait_s in TOUCH_WAITS_S:
        utime(target)
        if fstat(fd).st_mtime_ns >= mtime_ns:
            return
        time.sleep(wait_s)
    raise PermissionError(errno.EPERM, "another user's file has a time that is to come", target)


def raise_mtime(fd: int, path: bytes, floor_ns: int) -> None:
    """Make a file's mtime larger than ``floor_ns``, also where the clock or its grain would leave it equal or older.

    Equal stamps must mean equal content, and a name's next file may get the inode, the size and, on a coarse clock,
    the time of the one before. Steps grow until one is larger than the file system's grain.
    """
    for step_ns in (0, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000):
        found = fstat(fd)
        if found.st_mtime_ns > floor_ns:
            return
        if step_ns:
            set_mtime(fd, path, floor_ns + step_ns)
    if fstat(fd).st_mtime_ns <= floor_ns:
        raise OSError(errno.EIO, "the file system does not keep modification times")
