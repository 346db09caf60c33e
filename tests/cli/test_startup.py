"""What a start imports: the command is as fast as what it leaves out. No test measures time; ``benchmarks/cli.py`` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.cli.running import environment

_HEAVY = (
    "rich", "pydantic", "watchdog", "asyncio", "multiprocessing", "concurrent.futures", "http", "urllib.request", "email", "sqlite3",
    "markdown_it", "pygments", "platformdirs", "inspect", "importlib.metadata", "hypothesis",
)  # fmt: skip
_MAY: dict[str, frozenset[str]] = {
    "--help": frozenset(["inspect"]),
    "--version": frozenset(["inspect"]),
    "where": frozenset(["inspect"]),
    "ls": frozenset(
        ["inspect", "sqlite3", "platformdirs", "rich", "asyncio", "concurrent.futures", "email", "urllib.request"]
    ),
}
"""typer needs inspect; a listing needs the index, what it remembers and, to be drawn in a terminal, rich."""
_TELL = "import atexit, sys; atexit.register(lambda: print('loaded', *[m for m in {names!r} if m in sys.modules], file=sys.stderr))"


def loaded(*arguments: str, **more: str) -> set[str]:
    """Which of the heavy modules a run has imported."""
    code = f"{_TELL.format(names=_HEAVY)}; sys.argv = {['hierstore', *arguments]!r}; from hierstore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(**more), check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("command", ["--help", "--version", "where", "ls"])
def test_a_cold_start_imports_only_what_it_uses(command: str, root: Path, store: SessionStore) -> None:
    store.create("a", title="A title").append("user", "Hello")
    assert loaded(command, HIERSTORE_ROOT=str(root)) <= _MAY[command]


def test_the_help_of_one_command_imports_no_other(root: Path) -> None:
    code = (
        "import atexit, sys; from hierstore.cli.app import COMMANDS;"
        "atexit.register(lambda: print(*[m for m in sys.modules if m.startswith('hierstore.cli.commands.')], file=sys.stderr));"
        "sys.argv = ['hierstore', 'show', '--help']; from hierstore.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr.split() == ["hierstore.cli.commands.show"]


def test_a_listing_watches_nothing_and_starts_no_process(root: Path, store: SessionStore) -> None:
    store.create("a")
    assert not {"watchdog", "multiprocessing"} & loaded("ls", HIERSTORE_ROOT=str(root))


def test_importing_the_command_imports_none_of_its_extra() -> None:
    code = "import sys, hierstore.cli; print([m for m in ('typer', 'rich', 'platformdirs') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "[]\n"


def test_such_a_test_can_fail(root: Path) -> None:
    assert "rich" in loaded("doctor", HIERSTORE_ROOT=str(root), COLUMNS="80")
