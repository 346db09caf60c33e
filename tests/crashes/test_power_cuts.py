"""Real power cuts of real file systems (see ``cuts``): what was acknowledged is there, and every session is whole."""

from __future__ import annotations

import pytest

from tests.crashes import images
from tests.crashes.cuts import CUTS, TRIALS, count, run_cuts

SEED = 5
ROUNDS = {"ext4": 4, "coarse": 2, "xfs": 4}
"""How many images of each kind for each trial, with some cuts each."""


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind, count in ROUNDS.items() for number in range(count)]
)
def test_after_a_power_cut_what_was_promised_is_there(start, tmp_path, figures, kind, number, trial):
    if reason := images.why_not_root():
        pytest.skip(reason)
    answer = start().call(run_cuts, tmp_path, kind, trial, f"{SEED}.{number}")
    if isinstance(answer, str):
        pytest.skip(answer)
    assert answer["cuts"] == CUTS
    if trial == "process":
        assert answer["sessions that lost their newest commits"], "nothing was lost, so nothing was cut"
    count(figures, kind, trial, answer)
