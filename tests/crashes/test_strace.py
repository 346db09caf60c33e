"""``kill -9`` where strace says, so that no system call is missed that goes past the store's seam."""

from __future__ import annotations

import random

import pytest

from tests.crashes.kills import DURABILITIES, Unavailable, call_of, changes, sweep, trace
from tests.seam import OPERATIONS

SEED = 5
KILLS = 4
"""Of each operation in each durability; the long form goes through all."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_change_that_the_kernel_sees_goes_through_the_seam(start, tmp_path, figures, name):
    durability = random.Random(f"{SEED} {name}").choice(DURABILITIES)
    try:
        seen, known = trace(start, tmp_path, name, durability)
    except Unavailable as error:
        pytest.skip(str(error))
    calls = [call_of(line) for line in seen if changes(line)]
    assert calls == [*known, "write"]
    figures.add("changing system calls compared with the seam", len(calls))


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_by_strace_at_a_system_call_it_is_done_or_not_begun(start, tmp_path, figures, name, durability):
    dice = random.Random(f"{SEED} {name} {durability}")
    try:
        for is_killed in sweep(
            start, tmp_path, name, durability, lambda points: dice.sample(points, min(KILLS, len(points)))
        ):
            figures.add("kills at a system call (strace)", is_killed)
    except Unavailable as error:
        pytest.skip(str(error))
