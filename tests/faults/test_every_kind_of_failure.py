"""Each system call of every call of the store fails, in one of six ways: see ``sweep.py``."""

from __future__ import annotations

import pytest

from tests.faults.sweep import KINDS, OPENINGS, READS, sweep_opening, sweep_operation, sweep_read
from tests.seam import OPERATIONS

SEED = 5

# In two tests each, for a defect in one is not to hide the other's: the failing calls are others on Windows.
HERE = [kind for kind in KINDS if kind != "sharing violation"]
WINDOWS = ["sharing violation"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_of_which_a_system_call_fails_is_done_or_undone(tmp_path, figures, name):
    """behaviours 10"""
    sweep_operation(figures, tmp_path, name, SEED, HERE)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_that_a_sharing_violation_stops_is_done_or_undone(tmp_path, figures, name):
    """behaviours 10"""
    sweep_operation(figures, tmp_path, name, SEED, WINDOWS)


@pytest.mark.parametrize("name", READS)
def test_a_read_of_which_a_system_call_fails_never_shows_less(tmp_path, figures, name):
    """behaviours 10"""
    sweep_read(figures, tmp_path, name, SEED, HERE)


@pytest.mark.parametrize("name", READS)
def test_a_read_that_a_sharing_violation_stops_never_shows_less(tmp_path, figures, name):
    """behaviours 10"""
    sweep_read(figures, tmp_path, name, SEED, WINDOWS)


@pytest.mark.parametrize("kinds", [HERE, WINDOWS], ids=["here", "windows"])
@pytest.mark.parametrize("name", OPENINGS)
def test_a_store_that_could_not_be_opened_can_be_opened_next(tmp_path, figures, name, kinds):
    """behaviours 10"""
    sweep_opening(figures, tmp_path, name, SEED, kinds)
