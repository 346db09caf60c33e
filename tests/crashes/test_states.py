"""Whatever a power cut may leave of a call: it is there whole or not at all, and there once ``power`` acknowledged it."""

from __future__ import annotations

import pytest

from tests.crashes.recorder import SEES_SYNCS
from tests.crashes.states import ALL, DURABILITIES, NEW, sweep

pytestmark = pytest.mark.skipif(not SEES_SYNCS, reason="the recorder sees the syncs of Linux alone")

SEVERAL = (
    ("append", "fork"),
    ("reset", "append", "fork"),
    ("reset", "append", "fork, noted before"),
    ("revert", "append", "fork"),
    ("append long", "set_title", "extend"),
    ("append long", "compact"),
    ("append", "delete, orphan"),
    ("create", "append", "create child"),
    ("create child", "get_or_create", "delete, cascade"),
    ("share", "share", "unshare"),
    ("fork", "compact to the present", "append"),
    ("restore", "delete, cascade"),
    ("import_lines", "unbind"),
    ("delete, orphan", "purge", "append"),
)
"""Calls whose commits, not synced in ``process``, meet in one log or depend on each other."""


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("name", [*ALL, NEW])
def test_a_power_cut_leaves_all_of_a_call_or_nothing_of_it(figures, tmp_path, name, durability):
    sweep(figures, tmp_path, [name], durability, seed=1, limit=40)


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("names", SEVERAL, ids=", ".join)
def test_a_power_cut_after_several_calls_leaves_a_beginning_of_each_session(figures, tmp_path, names, durability):
    sweep(figures, tmp_path, names, durability, seed=1, limit=40)
