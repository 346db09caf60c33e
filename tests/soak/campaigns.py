"""The long runs: what each is for, and which function runs it.

A campaign is ``soak(figures, *, folder, seconds, seed)``: it goes on until the time is over, counts what it went through,
and raises AssertionError, with what repeats it, at the first thing that is not as promised.
"""

from __future__ import annotations

from typing import NamedTuple


class Campaign(NamedTuple):
    """A long run.

    Attributes:
        function: ``module:function``.
        weight: its share of the time.
        what: one line on what it does.
    """

    function: str
    weight: float
    what: str


CAMPAIGNS = {
    "states": Campaign("tests.crashes.states:soak", 2, "every state that a power cut may leave behind each call"),
    "cuts": Campaign("tests.crashes.cuts:soak", 2, "real power cuts of ext4 and XFS images (root, loop devices)"),
    "kills": Campaign("tests.crashes.kills:soak", 6, "kill -9 at every system call (strace), and at random moments"),
    "faults": Campaign("tests.faults.sweep:soak", 1, "every system call fails once, in each way it can"),
    "histories": Campaign("tests.races.histories:soak", 2, "eight processes, every answer checked against the others"),
    "model": Campaign("tests.properties.machine:soak", 1, "random calls against a plain model, with crashes and edits"),
    "fuzz": Campaign("tests.properties.fuzz:soak", 1, "bytes of logs changed, cut, doubled, swapped, zeroed"),
    "mutations": Campaign("tests.mutations.gate:soak", 2, "guards taken out of a copy one by one: the suite must fail"),
}
