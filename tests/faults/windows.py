"""The seam as Windows is behind it, and the contract suite run over that: ``pytest -p tests.faults.windows tests/store``.

What is modelled is what the store has to live with there: no file that this process has open is renamed, replaced or
removed; a rename never goes over what is there; a folder cannot be opened, and so neither synced nor looked into by a
descriptor; there is no hard link to be had, no way to set the times or the permissions of a descriptor, no reading at a
place; and the names of POSIX alone are missing from ``os``. What is not: locks that are mandatory, other ids for files,
clocks of 16 ms.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pkgutil
import random
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hierstore
from hierstore.disk import files
from tests.processes import replaced

SHARING_VIOLATION = 32
ACCESS_DENIED = 5
ONE_IN_MANY = 0.02

ABSENT = frozenset(
    ["O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "fchmod", "fdatasync", "geteuid", "getuid", "link", "pread",
     "register_at_fork"]
)  # fmt: skip
"""What ``os`` does not have on Windows, of Python 3.11; a link could be had, of some file systems."""


def refused(winerror: int, path: Any) -> PermissionError:
    """The error that Windows answers with; ``winerror`` is an attribute only there."""
    error = PermissionError(errno.EACCES, "The process cannot access the file", os.fsdecode(path))
    error.winerror = winerror  # type: ignore[attr-defined]
    return error


def is_open(path: Any) -> bool:
    """Whether this process has a file open, by whatever means."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(int(name)), found):
                return True
    return False


# The calls


def _unlink(path: Any) -> None:
    if is_open(path):
        raise refused(SHARING_VIOLATION, path)
    os.unlink(path)


def _rename(source: Any, target: Any) -> None:
    if is_open(source):
        raise refused(SHARING_VIOLATION, source)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", os.fsdecode(target))
    os.rename(source, target)


def _replace(source: Any, target: Any) -> None:
    if is_open(source):
        raise refused(SHARING_VIOLATION, source)
    if is_open(target):
        raise refused(ACCESS_DENIED, target)
    os.replace(source, target)


def _open_file(path: Any, flags: int, mode: int = 0o777) -> int:
    if os.path.isdir(path):
        raise refused(ACCESS_DENIED, path)
    return os.open(path, flags, mode)


def _utime(path: Any, *, ns: tuple[int, int]) -> None:
    if isinstance(path, int):
        raise TypeError("utime: path should be string, bytes or os.PathLike, not int")
    os.utime(path, ns=ns)


def _scandir(path: Any) -> Any:
    if isinstance(path, int):
        raise TypeError("scandir: path should be string, bytes, os.PathLike or None, not int")
    return os.scandir(path)


def _stat(path: Any, *, dir_fd: None = None) -> os.stat_result:
    if dir_fd is not None:
        raise NotImplementedError("dir_fd unavailable on this platform")
    return os.stat(path)


def _read_some(fd: int, size: int, offset: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


class System(ModuleType):
    """The module ``os`` without what is missing on Windows."""

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT:
            raise AttributeError(f"module 'os' has no attribute {name!r}")
        return frozenset() if name in ("supports_fd", "supports_dir_fd") else getattr(os, name)


def modules() -> list[ModuleType]:
    """Every module of the package."""
    found = pkgutil.walk_packages(hierstore.__path__, "hierstore.")
    return [importlib.import_module(info.name) for info in found if not info.name.endswith("__main__")]


CALLS: dict[str, Callable[..., Any]] = {
    "unlink": _unlink,
    "rename": _rename,
    "replace": _replace,
    "open_file": _open_file,
    "utime": _utime,
    "scandir": _scandir,
    "stat": _stat,
    "_read_some": _read_some,
}
FACTS = {
    "link": None,
    "HAS_LINK": False,
    "HAS_DIRECTORY_SYNC": False,
    "HAS_FOLDER_DESCRIPTORS": False,
    "HAS_TIMES_OF_DESCRIPTORS": False,
    "HAS_OWNERS": False,
    "KEEPS_OPEN_FILES_MOVABLE": False,
}
FLAGS = {
    name: value & ~(os.O_NOFOLLOW | os.O_NONBLOCK | os.O_DIRECTORY)
    for name, value in vars(files).items()
    if name in ("READ", "APPEND", "CREATE", "LOCK", "_COMMON", "_DIRECTORY")
}


def _scanned(call: Callable[..., Any], chance: random.Random) -> Callable[..., Any]:
    """A call that a virus scanner, which has the file open for a moment, keeps from being made now and then."""

    def scanned_call(path: Any, *args: Any, **options: Any) -> Any:
        if chance.random() < ONE_IN_MANY and os.path.lexists(path):
            raise refused(chance.choice([SHARING_VIOLATION, ACCESS_DENIED]), path)
        return call(path, *args, **options)

    return scanned_call


@contextlib.contextmanager
def windows(scanner: random.Random | None = None) -> Iterator[None]:
    """Let every store of this process find itself on Windows, as far as it can tell.

    Args:
        scanner: decides when another program has a file open; None where there is none.
    """
    system = System("os")
    moved = {name: CALLS[name] for name in ("unlink", "rename", "replace", "open_file")}
    if scanner is not None:
        moved = {name: _scanned(call, scanner) for name, call in moved.items()}
    # The store's own way of asking again is around them, as it is where it finds itself on Windows.
    calls = CALLS | {name: files.patiently(call) for name, call in moved.items()}
    with contextlib.ExitStack() as stack:
        for module in modules():
            if getattr(module, "os", None) is os:
                stack.enter_context(replaced(module, os=system))
        stack.enter_context(replaced(files, **calls, **FACTS, **FLAGS))
        yield


# The contract suite


def run_contract(seed: int, one_in: int, *, scanner: bool = True) -> int:
    """Run the contract suite in Windows mode, in a process of its own; how many tests passed, of which all had to."""
    # From a folder above the tests, wherever the run was started.
    top = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.faults.windows", "-p", "no:xdist"]
    command += [
        "--tb=short",
        f"--one-in={one_in}",
        f"--seed={seed}",
        *(["--scanner"] if scanner else []),
        "tests/store",
    ]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=top, env=settings, capture_output=True, text=True, check=False)
    told = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert told
    return int(told[1])


# The plugin


NO_LINKS = "nothing is shared through a link, so damage in one log is not damage in another"
NO_SYMBOLIC = "links are not refused: only who administers the system makes them"
NO_OWNERS = "no file has an owner and permissions"

NOT_THERE = {
    "test_a_root_that_others_can_write_to_is_refused": NO_OWNERS,
    "test_a_shared_stores_files_take_the_roots_permissions": NO_OWNERS,
    "test_a_folder_of_another_user_is_refused": NO_OWNERS,
    "test_a_symbolic_link_": NO_SYMBOLIC,
    "test_an_unreadable_session_takes_no_children_from_their_parent": NO_SYMBOLIC,
    "test_what_cannot_be_parsed_is_kept_with_its_ancestors_and_reported[cold-a symbolic link]": NO_SYMBOLIC,
    "test_what_cannot_be_parsed_is_kept_with_its_ancestors_and_reported[warm-a symbolic link]": NO_SYMBOLIC,
    "test_each_damage_is_found_and_nothing_else_and_nothing_is_changed[a log that is a symbolic link": NO_SYMBOLIC,
    "test_each_damage_is_mended_and_the_next_repair_does_nothing[a log that is a symbolic link": NO_SYMBOLIC,
    "test_each_damage_is_found_and_nothing_else_and_nothing_is_changed[damage in a parent that forks share": NO_LINKS,
    "test_each_damage_is_mended_and_the_next_repair_does_nothing[damage in a parent that forks share": NO_LINKS,
    "test_a_damaged_log_is_not_compacted": NO_LINKS,
    "test_a_fork_of_a_mended_parent_never_shows_what_the_parent_says_next": NO_LINKS,
    "test_a_fork_whose_inherited_history_is_damaged_shows_no_mixture": NO_LINKS,
    "test_bytes_that_forks_share_count_once_and_go_with_the_last[links]": NO_LINKS,
    "test_the_cost_of_a_fork_does_not_grow_with_the_history": NO_LINKS,
    "test_a_pipe_in_place_of_a_log_does_not_block": "there are no pipes that have a path in a folder",
}
"""Tests of the contract suite that are about POSIX itself, by how their names begin, and why."""

_mode = contextlib.ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-in", type=int, default=1, help="one in so many of the tests")
    parser.addoption("--scanner", action="store_true", help="another program opens files for moments")
    parser.addoption("--seed", type=int, default=0, help="which of them")


def pytest_configure(config: pytest.Config) -> None:
    chance = random.Random(config.getoption("--seed")) if config.getoption("--scanner") else None
    _mode.enter_context(windows(chance))


def pytest_unconfigure() -> None:
    _mode.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    one_in, chance = config.getoption("--one-in"), random.Random(config.getoption("--seed"))
    kept, left_out = [], []
    for item in items:
        is_there = not any(item.name.startswith(name) for name in NOT_THERE)
        (kept if is_there and chance.randrange(one_in) == 0 else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
