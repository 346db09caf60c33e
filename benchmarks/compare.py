"""``python -m benchmarks compare BASE``: the rows of core of two commits in alternation, and for each row the ratio.

Both commits are checked out into a temporary folder, which is removed afterwards; the working tree stays as it is, and what is not
committed is not measured. Both are measured by the benchmarks of this checkout, so that a change of the ruler is not taken for
one of what it measures. A round runs each of the two once, and the order is turned round every other time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure
from benchmarks.report import OURS, number

_CHECKOUT = Path(__file__).resolve().parents[1]
_BASE = "base"
_HEAD = "head"
_MORE_IS_BETTER = frozenset(["/s", "msg"])
_STDOUT = "-"
_MIN_ROUNDS = 3
"""Fewer agree by chance too often."""

Medians = Mapping[str, list[float]]
"""By the row's name, hierstore's median in each round."""


class Failed(Exception):
    """A sentence for whoever asked."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(prog="python -m benchmarks compare", description=(__doc__ or "").split("\n\n")[1])
    result.add_argument("base", metavar="BASE", help="the commit to compare with")
    result.add_argument("--head", metavar="COMMIT", default="HEAD", help="the other commit (default: %(default)s)")
    result.add_argument(
        "--rows", metavar="NAME", nargs="+", default=[], help="only rows whose name contains one of these"
    )
    result.add_argument("--rounds", metavar="N", type=int, default=5, help="how often each runs (default: %(default)s)")
    result.add_argument("--quick", action="store_true", help="short sessions and few samples; no figures to quote")
    result.add_argument("--json", metavar="FILE", help="write everything there; - for standard output")
    result.add_argument("--dir", metavar="DIR", help="check out and measure in a temporary folder below this one")
    return result


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write.

    Returns:
        0; 2 if a commit or a row is not there or one of them does not run, 130 after Ctrl-C.
    """
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    try:
        document = _compare(options)
    except Failed as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    print(table(document), file=sys.stderr if options.json == _STDOUT else sys.stdout)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if options.json == _STDOUT:
        sys.stdout.write(text)
    elif options.json:
        Path(options.json).write_text(text, encoding="utf-8")
    return 0


def _compare(options: argparse.Namespace) -> dict[str, Any]:
    if options.rounds < 1:
        raise Failed("--rounds needs at least 1.")
    commits = {_BASE: _commit(options.base), _HEAD: _commit(options.head)}
    units: dict[str, str] = {}
    medians: dict[str, dict[str, list[float]]] = {_BASE: {}, _HEAD: {}}
    with _trees(commits, options.dir) as trees:
        for turn in range(options.rounds):
            for side in (_BASE, _HEAD) if turn % 2 == 0 else (_HEAD, _BASE):
                print(f"round {turn + 1} of {options.rounds}: {side}", file=sys.stderr, flush=True)
                for row in _rows(trees[side], options):
                    units[row["name"]] = row["unit"]
                    medians[side].setdefault(row["name"], []).append(row["figures"][OURS]["median"])
    rows = ratios(medians[_BASE], medians[_HEAD], units)
    return {"benchmark": "compare", **commits, "rounds": options.rounds, "quick": options.quick, "rows": rows}


def ratios(base: Medians, head: Medians, units: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each row the median over the rounds of head over base, and the smallest and largest.

    The two figures of a ratio are of the same round: what the machine did meanwhile is in both.
    """
    rows = []
    for name, unit in units.items():
        pairs = list(zip(base.get(name, []), head.get(name, []), strict=False))
        quotients = [after / before for before, after in pairs if before]
        if not quotients:
            continue
        figure = Figure.of(quotients)
        rows.append(
            {
                "name": name,
                "unit": unit,
                _BASE: Figure.of([before for before, _ in pairs]).as_dict(),
                _HEAD: Figure.of([after for _, after in pairs]).as_dict(),
                "ratio": round(figure.median, 4),
                "least": round(min(quotients), 4),
                "most": round(max(quotients), 4),
                "verdict": verdict(quotients, unit),
            }
        )
    return rows


def verdict(quotients: Sequence[float], unit: str) -> str:
    """``better`` or ``worse`` if all rounds, and enough of them, say the same; else empty, for then it may be noise."""
    if len(quotients) < _MIN_ROUNDS or min(quotients) <= 1.0 <= max(quotients):
        return ""
    return "better" if (min(quotients) > 1.0) == (unit in _MORE_IS_BETTER) else "worse"


def table(document: Mapping[str, Any]) -> str:
    """The rows as text, no line longer than 100 columns."""
    lines = [
        f"base {document[_BASE][:12]}, head {document[_HEAD][:12]}, {document['rounds']} rounds; medians of hierstore.",
        "better, worse: what every round says; where they disagree it may be noise.",
        "",
        f"{'row':<34} {'unit':<4} {'base':>9} {'head':>9} {'head/base':>10} {'least':>7} {'most':>7}",
        "-" * 92,
    ]
    for row in document["rows"]:
        figures = f"{number(row[_BASE]['median']):>9} {number(row[_HEAD]['median']):>9}"
        spread = f"{row['ratio']:>9.3f}x {row['least']:>7.3f} {row['most']:>7.3f}"
        lines.append(f"{row['name']:<34} {row['unit']:<4} {figures} {spread}  {row['verdict']}".rstrip())
    return "\n".join(lines)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def _commit(name: str) -> str:
    return _git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")


@contextmanager
def _trees(commits: Mapping[str, str], below: str | None) -> Iterator[dict[str, Path]]:
    """The commits, checked out, with this checkout's benchmarks; gone after the block."""
    with tempfile.TemporaryDirectory(prefix="hierstore-compare-", dir=below) as name:
        trees = {side: Path(name, side) for side in commits}
        try:
            for side, tree in trees.items():
                _git("worktree", "add", "--quiet", "--detach", str(tree), commits[side])
                shutil.rmtree(tree / "benchmarks", ignore_errors=True)
                ignored = shutil.ignore_patterns("__pycache__", "results")
                shutil.copytree(_CHECKOUT / "benchmarks", tree / "benchmarks", ignore=ignored)
            yield trees
        finally:
            for tree in trees.values():
                if tree.exists():
                    _git("worktree", "remove", "--force", str(tree))
            _git("worktree", "prune")


def _rows(tree: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Core's rows as they are measured in a tree."""
    found: dict[str, dict[str, Any]] = {}
    for only in options.rows or [""]:
        command = [sys.executable, "-m", "benchmarks", "core", "--json", _STDOUT, "--dir", str(tree.parent)]
        command += ["--quick"] if options.quick else []
        command += ["--only", only] if only else []
        # The tree comes first in the path, and so before a hierstore that is installed.
        environment = os.environ | {"PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if not done.stdout.strip():
            words = done.stderr.strip().splitlines()
            raise Failed(f"{tree.name} does not run: {words[-1] if words else f'status {done.returncode}'}")
        found |= {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    return list(found.values())
