"""``python -m tests.soak``: the long forms of the tests that try to break the store."""

from __future__ import annotations

import argparse
import importlib
import json
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.figures import Figures, table
from tests.soak.campaigns import CAMPAIGNS


def main() -> int:
    """Run campaigns, each in a process of its own; 1 if one found a defect."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long in all, about (30)")
    parser.add_argument("--only", nargs="+", choices=CAMPAIGNS, help="these campaigns alone")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--seed", type=int, help="what the random choices begin with; a new one each time, and printed")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--run", choices=CAMPAIGNS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<10} {campaign.what}" for name, campaign in CAMPAIGNS.items()))
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    if options.run:
        return _run(options.run, options.seconds, seed, options.json)
    names = options.only or list(CAMPAIGNS)
    print(f"seed {seed}", flush=True)
    weights = sum(CAMPAIGNS[name].weight for name in names)
    share_s = options.minutes * 60.0 * min(options.jobs, len(names)) / weights
    with ThreadPoolExecutor(options.jobs) as pool:
        # The long ones first, so that none is left alone at the end.
        ordered = sorted(names, key=lambda name: -CAMPAIGNS[name].weight)
        results = list(pool.map(lambda name: _start(name, share_s * CAMPAIGNS[name].weight, seed), ordered))
    counts = {
        f"{name}: {what}": number
        for name, (_, found) in zip(ordered, results, strict=True)
        for what, number in found.items()
    }
    print("\n".join(table(counts)))
    if options.json:
        options.json.write_text(
            json.dumps({"seed": seed, "minutes": options.minutes, "figures": counts}, indent=1) + "\n"
        )
    failed = [name for name, (code, _) in zip(ordered, results, strict=True) if code]
    print(f"FAILED: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def _start(name: str, seconds: float, seed: int) -> tuple[int, dict[str, int]]:
    """Run a campaign in a process, and tell how it went."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [
            sys.executable,
            "-m",
            "tests.soak",
            "--run",
            name,
            "--seconds",
            str(seconds),
            "--seed",
            str(seed),
            "--json",
            str(figures),
        ]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took_s = time.monotonic() - began
        verdict = "as promised" if done.returncode == 0 else f"FAILED (--only {name} --seed {seed})"
        print(f"{name:<10} {took_s:7.0f} s  {verdict}", flush=True)
        if done.returncode:
            print(done.stdout[-20_000:], done.stderr[-20_000:], flush=True)
        return done.returncode, json.loads(figures.read_text()) if figures.exists() else {}


def _run(name: str, seconds: float, seed: int, target: Path) -> int:
    """Run a campaign here."""
    module, _, function = CAMPAIGNS[name].function.partition(":")
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            getattr(importlib.import_module(module), function)(figures, folder=Path(folder), seconds=seconds, seed=seed)
        finally:
            target.write_text(json.dumps(figures.counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
