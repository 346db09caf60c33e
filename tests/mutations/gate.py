"""The mutation gate: each guard of the store is taken out of a copy, and tests run there must fail.

``python -m tests.mutations`` goes through the list and prints it as a table. The tests that are named for a guard run
first, and where they pass all others. A failure counts only if the same test passes in a copy that is whole: one that
fails anyway notices nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.figures import Figures
from tests.mutations.removals import REMOVALS, Removal

TREE = Path(__file__).resolve().parents[2]
_TAKEN = ("hierstore", "tests", "benchmarks", "pyproject.toml", "README.md")
_EVERYTHING = ("tests", "--ignore=tests/mutations/test_gate.py", "-n", "2")

TIMEOUT_S = 900.0
"""How long one run of tests may take: code without a guard may wait for ever. That it does is noticed too.

A single test that hangs fails much sooner, and with its name: pytest-timeout sees to it.
"""

_FAILED, _PASSED, _WRONG_COPY = 1, 0, 97
_RUN = f"""
import os, sys
import hierstore
if not hierstore.__file__.startswith(os.getcwd() + os.sep):
    sys.exit({_WRONG_COPY})
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
_NAME = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?\.py::.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of a removal.

    Attributes:
        name: the guard that was taken out.
        by: the test that noticed; ``"a timeout"``; None: nothing did.
        seconds: how long it took.
    """

    name: str
    by: str | None
    seconds: float


class Result(NamedTuple):
    """A run of pytest: its exit code, None after a timeout, and what it printed."""

    code: int | None
    output: str


def old_text_count(removal: Removal) -> int:
    """How often the text that is to go stands in its file."""
    return (TREE / "hierstore" / removal.file).read_text().count(removal.old)


def take_out(
    removal: Removal, folder: Path, *, until: float = float("inf"), everything: tuple[str, ...] = _EVERYTHING
) -> Verdict:
    """Take a guard out of a copy of the tree, and see who notices.

    Args:
        removal: the guard.
        folder: where copies may be made; what is made is removed.
        until: when the time is over, by the monotonic clock.
        everything: what runs where the tests that are named for it pass.

    Raises:
        TimeoutError: it was over before anybody had noticed.
        RuntimeError: the tests did not run as tests.
    """
    began = time.monotonic()
    whole, broken = _copied(folder / "whole"), _copied(folder / "broken")
    try:
        target = broken / "hierstore" / removal.file
        text = target.read_text()
        if text.count(removal.old) != 1:
            raise RuntimeError(f"the text of {removal.name!r} stands {text.count(removal.old)} times in {removal.file}")
        changed = text.replace(removal.old, removal.new)
        compile(changed, removal.file, "exec")
        target.write_text(changed)
        by = None
        for tests in (*((test,) for test in removal.tests), everything):
            by = by or (_noticed_by(tests, whole, broken, until) if tests else None)
        return Verdict(removal.name, by, time.monotonic() - began)
    finally:
        shutil.rmtree(folder / "whole")
        shutil.rmtree(folder / "broken")


def _noticed_by(tests: tuple[str, ...], whole: Path, broken: Path, until: float) -> str | None:
    """The test that fails in the broken copy and passes in the whole one, if any."""
    result = run(broken, tests, until)
    if result.code == _PASSED:
        return None
    if result.code is None:
        # That they take so long proves something only where they do not without the removal.
        if run(whole, tests, until).code != _PASSED:
            raise RuntimeError(f"{' '.join(tests)} does not pass in {TIMEOUT_S:.0f} s in a tree that is whole")
        return f"a timeout of {' '.join(tests)}"
    failed = _NAME.findall(result.output)
    if result.code != _FAILED or not failed:
        raise RuntimeError(f"{' '.join(tests)} ended with {result.code}, not with a failing test:\n{result.output}")
    control = run(whole, (failed[0],), until)
    if control.code != _PASSED:
        raise RuntimeError(f"{failed[0]} does not pass in a tree that is whole:\n{control.output}")
    return failed[0]


def run(tree: Path, tests: Iterable[str], until: float = float("inf")) -> Result:
    """Run tests in a copy up to the first failure; all processes of a run that takes too long are killed."""
    folder = tree / "tmp"
    folder.mkdir(exist_ok=True)
    names = {name for name in os.environ if name.startswith(("PYTEST", "PYTHON", "HYPOTHESIS", "COV"))}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder)}
    options = ["-x", "-q", "-rfE", "--tb=short", "--color=no", "--timeout=60", f"--basetemp={folder / 'pytest'}"]
    command = [sys.executable, "-c", _RUN, *options, *tests]
    with (folder / "output").open("w+b") as output:
        # A file, not a pipe: a child that outlives the tests would keep a pipe open.
        process = subprocess.Popen(
            command, cwd=tree, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        limit_s = min(TIMEOUT_S, until - time.monotonic())
        try:
            code: int | None = process.wait(max(0.0, limit_s))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_all(process, f"TMPDIR={folder}")
        output.seek(0)
        printed = output.read().decode(errors="replace")[-8000:]
    if code == _WRONG_COPY:
        raise RuntimeError(f"the tests in {tree} imported another hierstore")
    if code is None and limit_s < TIMEOUT_S:
        raise TimeoutError("the time was over")
    return Result(code, printed)


def _kill_all(process: subprocess.Popen[bytes], mark: str) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    # Some tests start programs in sessions of their own: those have its environment.
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
        except (OSError, ValueError):
            # It ended, or is another user's.
            continue


def _copied(target: Path) -> Path:
    """A copy of what tests need."""
    target.mkdir(parents=True)
    # Tests that run as another user import the copy too.
    for parent in (target, target.parent):
        parent.chmod(0o755)
    for name in _TAKEN:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


def sample(seed: int, count: int) -> list[Removal]:
    """Some removals, the same for the same seed."""
    return random.Random(seed).sample(REMOVALS, count)


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """The verdicts as lines."""
    rows = [("removal", "noticed by", "s")]
    rows += [(verdict.name, verdict.by or "NOBODY", f"{verdict.seconds:.1f}") for verdict in verdicts]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{name:<{widths[0]}}  {by:<{widths[1]}}  {seconds:>{widths[2]}}" for name, by, seconds in rows]


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """The list in a random order, until it or the time is over."""
    until = time.monotonic() + seconds
    verdicts: list[Verdict] = []
    for removal in sample(seed, len(REMOVALS)):
        try:
            verdicts.append(take_out(removal, folder, until=until))
        except TimeoutError:
            break
        figures.add("guards taken out")
        figures.add("guards whose removal was noticed", int(verdicts[-1].by is not None))
    print("\n".join(table(verdicts)), flush=True)
    survived = [verdict.name for verdict in verdicts if verdict.by is None]
    assert not survived, f"nobody misses: {', '.join(survived)} (python -m tests.mutations --only NAME)"


def main() -> int:
    """Go through the list and print the table; 1 if a removal was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="removals whose names hold one of these")
    options = parser.parse_args()
    chosen = [one for one in REMOVALS if not options.only or any(word in one.name for word in options.only)]
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        for removal in chosen:
            verdicts.append(take_out(removal, Path(folder)))
            print(table(verdicts[-1:])[1], flush=True)
    print("\n".join(["", *table(verdicts)]))
    return int(any(verdict.by is None for verdict in verdicts))
