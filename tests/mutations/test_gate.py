"""The mutation gate in its short form: a few guards taken out; ``python -m tests.mutations`` takes out all of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.mutations import gate
from tests.mutations.removals import Removal

SEED = int(os.environ.get("HIERSTORE_GATE_SEED", "5"))
"""Which guards: always the same ones, unless the environment says otherwise."""

SAMPLE = gate.sample(SEED, 4)


def _name(removal: Removal) -> str:
    return removal.name


@pytest.mark.skipif(os.name != "posix", reason="ends what it started by process groups")
@pytest.mark.parametrize("removal", SAMPLE, ids=_name)
def test_a_guard_taken_out_is_missed(tmp_path: Path, figures: Figures, removal: Removal) -> None:
    verdict = gate.take_out(removal, tmp_path)
    figures.add("guards taken out")
    assert verdict.by is not None, f"nobody misses it (python -m tests.mutations --only {removal.name!r}): {removal}"
    figures.add("guards whose removal was noticed")


@pytest.mark.skipif(os.name != "posix", reason="ends what it started by process groups")
def test_a_change_that_takes_no_guard_out_is_noticed_by_nobody(tmp_path: Path) -> None:
    tests = ("tests/log/test_frame.py",)
    harmless = Removal("a docstring", "log/frame.py", "Finish a line.", "End a line.", tests)
    assert gate.take_out(harmless, tmp_path, everything=()).by is None
