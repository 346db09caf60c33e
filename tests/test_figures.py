"""What tests count is added up over tests and workers."""

from __future__ import annotations

from tests.figures import Figures, summed, table


def test_counts_add_up():
    noted: list[tuple[str, object]] = [("other", 1)]
    for number in (2, 3):
        Figures(noted).add("kills", number)
    Figures(noted).add("states")
    assert summed(noted) == {"kills": 5, "states": 1}
    assert table({"kills": 12345, "a": 1}) == ["a                 1", "kills        12,345"]
