"""The scale benchmark runs and tells of every row. No test here looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROMISED = (
    "index of facts", "first listing of 50", "listing again", "the same while a watcher runs", "the same where the system tells nothing", "append", "index of text",
    "size of the index", "two words",
)  # fmt: skip


def test_a_quick_run_tells_of_every_row_in_positive_figures(tmp_path: Path) -> None:
    target, folder = tmp_path / "scale.json", tmp_path / "runs"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks", "scale", "--quick", "--json", str(target), "--dir", str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    names = [row["name"] for row in document["rows"]]
    assert [name for name in PROMISED if not any(row.startswith(name) for row in names)] == []
    for row in document["rows"]:
        assert row["unit"] in document["units"]
        for figure in row["figures"].values():
            assert 0 < figure["p10"] <= figure["median"] <= figure["p90"]
    assert list(folder.iterdir()) == [], "the temporary folder was left behind"


def test_the_full_run_goes_up_to_a_hundred_thousand_sessions() -> None:
    from benchmarks.scale import Options

    assert Options().sizes == (1_000, 10_000, 100_000)
