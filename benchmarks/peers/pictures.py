"""The document of a run as pictures, SVG and PNG: readable in black and white, every line named where it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.peers.rows.processes import title
from benchmarks.peers.table import OURS

_MARKERS = "osD^v<>pPX*hd8H"
_DASHES = ("-", "--", "-.", ":")
_GREYS = ("0.15", "0.4", "0.6")
_HATCHES = {True: "", False: "///"}
_LABEL_PT = 8.0
_GAP = 0.04
"""Between two labels, as a part of the axis."""

Document = Mapping[str, Any]
Line = list[tuple[float, float]]

_STYLE = {
    "font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "0.88",
    "grid.linewidth": 0.6, "svg.fonttype": "path", "svg.hashsalt": "hierstore", "axes.axisbelow": True,
}  # fmt: skip


def draw(document: Document, folder: Path) -> list[Path]:
    """Draw all pictures for which the run has figures.

    Returns:
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(_STYLE):
        for name, figure in _figures(document):
            for ending in ("svg", "png"):
                path = folder / f"{name}.{ending}"
                # No date in it: the same run draws the same bytes.
                figure.savefig(path, dpi=150, metadata={"Date": None} if ending == "svg" else None)
                paths.append(path)
            plt.close(figure)
    return paths


def _figures(document: Document) -> Iterator[tuple[str, Figure]]:
    styles = {peer: _style(place, peer) for place, peer in enumerate(document["peers"])}
    for op, name, what in (
        ("append", "append", "One append"),
        ("read-all", "read", "Read all messages"),
        ("cold", "cold", "Open in a new process and read all"),
        ("fork", "fork", "Fork at the end"),
    ):
        lines = _lines(document, op)
        if any(len(line) > 1 for line in lines.values()):
            yield name, _over_length(what, lines, styles)
    counts = _counts(document)
    if len(counts) > 1:
        yield "throughput", _throughput(document, counts, styles)
    if counts and counts[-1] > 1:
        yield "kept", _kept(document, counts[-1])


def _style(place: int, peer: str) -> dict[str, Any]:
    if peer == OURS:
        return {"color": "black", "marker": "o", "linestyle": "-", "linewidth": 2.6, "markersize": 6, "zorder": 5}
    return {
        "color": _GREYS[place % len(_GREYS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
        "linewidth": 1.1,
        "markersize": 5,
        "markerfacecolor": "white" if place % 2 else _GREYS[place % len(_GREYS)],
    }


def _lines(document: Document, op: str) -> dict[str, Line]:
    """By peer, the medians in microseconds by size."""
    lines: dict[str, Line] = {}
    for row in document["rows"]:
        if row.get("op") == op:
            for peer, cell in row["cells"].items():
                if cell.get("median", 0) > 0:
                    lines.setdefault(peer, []).append((row["x"], cell["median"]))
    return lines


def _over_length(heading: str, lines: Mapping[str, Line], styles: Mapping[str, dict[str, Any]]) -> Figure:
    figure, axes = plt.subplots(figsize=(8.8, 6.2))
    figure.subplots_adjust(left=0.1, right=0.64, bottom=0.09, top=0.93)
    _plot(axes, lines, styles)
    axes.set_xlabel("messages in the session")
    axes.set_ylabel("time (median)")
    axes.yaxis.set_major_formatter(lambda value, _: _time(value))
    axes.set_title(heading, loc="left")
    _label(axes, lines, styles)
    return figure


def _plot(axes: Axes, lines: Mapping[str, Line], styles: Mapping[str, dict[str, Any]]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for peer, line in lines.items():
        axes.plot(*zip(*line, strict=True), **styles[peer])
    sizes = sorted({size for line in lines.values() for size, _ in line})
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.minorticks_off()


def _label(axes: Axes, lines: Mapping[str, Line], styles: Mapping[str, dict[str, Any]]) -> None:
    """The peers' names right of the axes, in the order of the lines' ends, moved apart; a thin line leads to each.

    Called when the limits are what they will be, for it asks where the ends are.
    """
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = {peer: to_axes.transform(line[-1]) for peer, line in lines.items()}
    places = spread_out({peer: float(y) for peer, (_, y) in ends.items()}, _GAP)
    for peer, place in places.items():
        axes.annotate(
            "", xy=ends[peer], xytext=(1.03, place), xycoords="axes fraction", textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip
        style = styles[peer]
        axes.plot(
            [1.05], [place], transform=axes.transAxes, clip_on=False, **{**style, "linestyle": "none", "markersize": 5}
        )
        axes.text(
            1.08, place, peer, transform=axes.transAxes, va="center", fontsize=_LABEL_PT,
            fontweight="bold" if peer == OURS else "normal",
        )  # fmt: skip


def spread_out(wanted: Mapping[str, float], gap: float) -> dict[str, float]:
    """Places as near as may be to the wanted ones, in their order, none nearer to the next than the gap, from 0 to 1.

    Places that collide become a block round the mean of what they wanted; blocks that collide become one. If there is no
    room for all, they go on beyond 1.
    """
    order = sorted(wanted, key=lambda name: wanted[name])
    blocks: list[list[str]] = []
    for name in order:
        blocks.append([name])
        while len(blocks) > 1 and _bottom(blocks[-1], wanted, gap) < _top(blocks[-2], wanted, gap) + gap:
            last = blocks.pop()
            blocks[-1] += last
    return {name: _bottom(block, wanted, gap) + place * gap for block in blocks for place, name in enumerate(block)}


def _bottom(block: Sequence[str], wanted: Mapping[str, float], gap: float) -> float:
    height = gap * (len(block) - 1)
    middle = sum(wanted[name] for name in block) / len(block)
    return max(0.0, min(middle - height / 2, 1.0 - height))


def _top(block: Sequence[str], wanted: Mapping[str, float], gap: float) -> float:
    return _bottom(block, wanted, gap) + gap * (len(block) - 1)


def _time(microseconds: float) -> str:
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} µs"


# Several processes


def _counts(document: Document) -> list[int]:
    """With how many processes the run appended."""
    groups = {row["group"] for row in document["rows"]}
    return [count for count in range(1, 65) if title(count, own=False) in groups]


def _column(document: Document, group: str, name: str) -> dict[str, dict[str, Any]]:
    for row in document["rows"]:
        if row["group"] == group and row["name"] == name:
            return dict(row["cells"])
    return {}


def _throughput(document: Document, counts: Sequence[int], styles: Mapping[str, dict[str, Any]]) -> Figure:
    figure, both = plt.subplots(1, 2, figsize=(13.6, 6.2), sharey=True)
    figure.subplots_adjust(left=0.065, right=0.77, bottom=0.09, top=0.93, wspace=0.8)
    panels: list[dict[str, Line]] = []
    for axes, own in zip(both, (False, True), strict=True):
        lines: dict[str, Line] = {}
        for count in counts:
            cells = _column(document, title(count, own=own and count > 1), "appends a second")
            for peer, cell in cells.items():
                if cell.get("median", 0) > 0:
                    lines.setdefault(peer, []).append((count, cell["median"]))
        _plot(axes, lines, styles)
        panels.append(lines)
        axes.set_xlabel("processes")
        axes.set_title("All append to one session" if not own else "Each appends to a session of its own", loc="left")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for axes, lines in zip(both, panels, strict=True):
        _label(axes, lines, styles)
    both[0].set_ylabel("acknowledged appends a second, all processes together")
    return figure


def _kept(document: Document, count: int) -> Figure:
    peers = list(document["peers"])[::-1]
    figure, both = plt.subplots(1, 2, figsize=(10.6, 0.3 * len(peers) + 1.3), sharey=True, layout="constrained")
    for axes, own in zip(both, (False, True), strict=True):
        cells = _column(document, title(count, own=own), "kept of acknowledged")
        for place, peer in enumerate(peers):
            _bar(axes, place, cells.get(peer, {"why": "not measured"}))
        axes.set_yticks(range(len(peers)), peers)
        axes.set_xlim(0, 100)
        axes.set_ylim(-0.7, len(peers) - 0.3)
        axes.set_xlabel("% of acknowledged messages")
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{count} processes, {'a session each' if own else 'one session'}", loc="left")
    figure.suptitle("Kept of what was acknowledged", x=0.01, ha="left")
    return figure


def _bar(axes: Axes, place: int, cell: Mapping[str, Any]) -> None:
    text = "0 %"
    if "median" in cell:
        percent = cell["median"]
        whole = cell["facts"]["kept"] == cell["facts"]["acknowledged"]
        axes.barh(
            place, percent, color="0.75" if whole else "white", edgecolor="black", hatch=_HATCHES[whole], height=0.62
        )
        text = "all" if whole else f"{min(percent, 99.99):.3g} %" if percent >= 0.1 else "none"
    else:
        text = cell.get("text") or cell.get("why", "")
        percent = 0.0
    inside = percent > 30
    axes.text(
        percent - 2 if inside else percent + 2, place, text, va="center", ha="right" if inside else "left", fontsize=_LABEL_PT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0} if inside and text != "all" else None,
    )  # fmt: skip


if __name__ == "__main__":
    for written in draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])):
        print(written)
