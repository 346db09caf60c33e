"""Two stores lead the rough lives of ``tests.properties.machine``, and show what the model shows."""

from __future__ import annotations

import pytest

from tests.properties.machine import MACHINES, live


@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize(("lives", "steps"), [(25, 30), (6, 80)], ids=["short", "long"])
def test_two_stores_show_the_model_through_deaths_and_edits_from_outside(kind, lives, steps, figures):
    """behaviours 1, 2, 7, 21, 23, 24, 27, 28, 35"""
    live(kind, figures, max_examples=lives, stateful_step_count=steps)
