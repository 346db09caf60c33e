"""Fixtures for all tests: a store that is checked after use, and a watch over descriptors, threads and processes.

``check()`` runs on a cold store of its own after every test that used ``store`` or ``open_store``: it sees what is on
disk, not what the test's store remembers. A test that damages the store on purpose is marked ``damages``.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from hierstore import SessionStore
from tests.figures import Figures, summed, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The same examples on every run and in every worker; no example database is kept.
hypothesis.settings.register_profile("hierstore", derandomize=True, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("hierstore")

_DESCRIPTORS = Path("/proc/self/fd")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "damages: the test damages the files of its store, so check() is not asked after it"
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [
        pair for report in reports if getattr(report, "when", "") == "call" for pair in report.user_properties
    ]
    counts = summed(properties)
    if counts:
        terminalreporter.section("what the tests went through")
        terminalreporter.write_line("\n".join(table(counts)))


@pytest.fixture(scope="session", autouse=True)
def _no_home_is_left() -> Iterator[None]:
    """What the commands were given as their home goes with the run: a worker of xdist ends without Python's own farewell."""
    yield
    from tests.cli.running import home

    if home.cache_info().currsize:
        shutil.rmtree(home(), ignore_errors=True)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Counts what a test goes through; the sums are printed at the end of the run."""
    return Figures(request.node.user_properties)


def _open_below(folder: Path) -> set[tuple[str, str]]:
    """Every descriptor of this process that points below a folder, or is a queue of changes."""
    found = set()
    for link in _DESCRIPTORS.iterdir() if _DESCRIPTORS.is_dir() else ():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith((f"{folder}/", "anon_inode:inotify")):
            found.add((link.name, target))
    return found


@pytest.fixture(autouse=True)
def _no_leaks(tmp_path: Path) -> Iterator[None]:
    """Nothing that a test opened or started outlives it (its fixtures are torn down before this looks)."""
    descriptors = _open_below(tmp_path)
    threads = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - threads
    for thread in started:
        # One that was told to end gets the time to; one that was not is still there.
        thread.join(2.0)
    assert not [thread.name for thread in started if thread.is_alive()], "a thread was left running"
    assert _open_below(tmp_path) <= descriptors, "a descriptor was left open"
    assert not multiprocessing.active_children(), "a process was left running"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store may be made; it does not exist yet."""
    return tmp_path / "store"


@pytest.fixture
def open_store(root: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., SessionStore]]:
    """Opens stores, over ``root`` unless told otherwise; they are closed after the test, and ``root`` is checked."""
    opened: list[SessionStore] = []

    def make(folder: Path = root, **options: Any) -> SessionStore:
        opened.append(SessionStore(folder, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
    if opened and root.exists() and request.node.get_closest_marker("damages") is None:
        with SessionStore(root, shared=True) as cold:
            assert cold.check().problems == ()


@pytest.fixture
def store(open_store: Callable[..., SessionStore]) -> SessionStore:
    """A store over ``root``."""
    return open_store()
