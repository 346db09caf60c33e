"""The benchmark of the command runs, and says what it measured beside what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_each_row_is_told_beside_the_start_of_python_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "cli", "--quick", "--json", "-", "--dir", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert {"hierstore --help", "hierstore ls", "completion of a session"} <= rows.keys()
    assert all(row["ratio_to_floor"] > 1 for row in rows.values())
    assert (rows["hierstore --help"]["goal"]["limit"], rows["hierstore ls"]["goal"]["limit"]) == (250.0, 500.0)
    assert list(tmp_path.iterdir()) == []
