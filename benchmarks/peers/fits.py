"""How a cost grows with a size: an exponent, by least squares on the logarithms of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MIN_POINTS = 3


class Fit(NamedTuple):
    """``cost ≈ factor * size ** exponent``.

    Attributes:
        exponent: 0 for a cost that does not grow, 1 for one in proportion.
        factor: the cost at size 1.
        residual: the root mean square of what the line misses, in decades.
        points: how many sizes.
    """

    exponent: float
    factor: float
    residual: float
    points: int


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """The line through the logarithms that has the least squares.

    Raises:
        ValueError: fewer than two sizes differ, or a number is not positive.
    """
    points = [(math.log10(size), math.log10(cost)) for size, cost in zip(sizes, costs, strict=True)]
    if len(set(sizes)) < 2:
        raise ValueError("A line needs two sizes that differ.")
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    exponent = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    start = mean_y - exponent * mean_x
    missed = math.fsum((y - start - exponent * x) ** 2 for x, y in points) / len(points)
    return Fit(exponent, 10**start, math.sqrt(missed), len(points))


def fits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A document's rows that have a size, as one exponent for each work and peer; where there are too few sizes, none.

    Two numbers: over all sizes, and between the last two, for a cost that does not depend on the size hides at small
    sizes one that does.
    """
    groups: dict[tuple[str, str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if "x" not in row:
            continue
        of_work = groups.setdefault((row["op"], row["group"], row["per"]), {})
        for peer, cell in row["cells"].items():
            points = of_work.setdefault(peer, [])
            if cell.get("median", 0) > 0:
                points.append((row["x"], cell["median"]))
    return [
        {"op": op, "group": group, "per": per, "peers": {peer: _both(points) for peer, points in of_work.items()}}
        for (op, group, per), of_work in groups.items()
    ]


def _both(points: Sequence[tuple[float, float]]) -> dict[str, float] | None:
    if len(points) < MIN_POINTS:
        return None
    sizes, costs = zip(*points, strict=True)
    whole = fit(sizes, costs)
    last = fit(sizes[-2:], costs[-2:])
    return {
        "exponent": round(whole.exponent, 3),
        "last": round(last.exponent, 3),
        "residual_decades": round(whole.residual, 3),
        "points": whole.points,
        "up_to": max(sizes),
    }
