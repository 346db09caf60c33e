"""Timing: samples taken in turns, and what is told of them.

The machine is taken to be noisy: its speed changes within a run. So the compared systems alternate in small batches, and the order is
turned round every other time, for what runs after another finds the processor's caches as the other left them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

Sample = Callable[[], float]
"""Does a piece of work and returns what one operation of it took, nanoseconds."""

Key = TypeVar("Key", bound=Hashable)

US = 1e3
MS = 1e6
clock = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Figure:
    """What is told of a set of samples, all in one unit."""

    median: float
    p10: float
    p90: float
    mean: float
    samples: int

    @classmethod
    def of(cls, samples: Sequence[float], unit: float = 1.0) -> Figure:
        """The figure of samples.

        Args:
            samples: at least one.
            unit: how many of the samples' unit make one of the figure's.
        """
        ordered = sorted(sample / unit for sample in samples)
        last = len(ordered) - 1
        return cls(
            median=statistics.median(ordered),
            p10=ordered[round(last * 0.1)],
            p90=ordered[round(last * 0.9)],
            mean=statistics.fmean(ordered),
            samples=len(ordered),
        )

    def as_dict(self) -> dict[str, float]:
        """For the JSON; five significant digits are more than the clock gives."""
        return {name: value if name == "samples" else float(f"{value:.5g}") for name, value in asdict(self).items()}


def timed(work: Callable[[], object]) -> Sample:
    """A sample that times one call; what the call returns is let go after the clock has stopped."""

    def sample() -> float:
        began = clock()
        result = work()
        took = clock() - began
        del result
        return took

    return sample


def alternate(
    contenders: Mapping[Key, Sample],
    *,
    rounds: int,
    batch: int = 1,
    before_round: Callable[[int], None] | None = None,
    collect: bool = False,
) -> dict[Key, list[float]]:
    """Let contenders take turns.

    The collector stays on, as in a user's program, but what the benchmark itself holds is frozen out of its sight: else
    one contender would pay for walking the other's objects.

    Args:
        contenders: by name.
        rounds: how often each has its turn; a round before them is thrown away.
        batch: how many samples make a turn.
        before_round: called before each round with its number, from -1 for the one thrown away.
        collect: empty the collector's nurseries before each turn; for samples that leave a lot of garbage.

    Returns:
        Every contender's samples.
    """
    samples: dict[Key, list[float]] = {key: [] for key in contenders}
    order = list(contenders)
    gc.collect()
    gc.freeze()
    try:
        for number in range(-1, rounds):
            if before_round is not None:
                before_round(number)
            for key in order if number % 2 else reversed(order):
                if collect:
                    gc.collect()
                taken = [contenders[key]() for _ in range(batch)]
                if number >= 0:
                    samples[key] += taken
    finally:
        gc.unfreeze()
    return samples
