"""The core benchmark runs, tells of every row, and leaves nothing behind. No test here looks at a time."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROMISED = (
    "append, at 10",
    "append, power",
    "8 processes",
    "8 processes, slowest / fastest",
    "8 processes, kept of written",
    "cached read",
    "read after another's append",
    "cold open, len and last",
    "cold open, all messages",
    "cold open, all contents",
    "fork of",
    "memory, cached session",
    "import hierstore",
    "import and open a store",
)


def core(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "core", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)


def test_a_quick_run_tells_of_every_row_in_positive_figures(tmp_path: Path) -> None:
    names = core("--quick", "--list").stdout.splitlines()
    assert [name for name in PROMISED if not any(row.startswith(name) for row in names)] == []

    target, folder = tmp_path / "core.json", tmp_path / "runs"
    folder.mkdir()
    done = core("--quick", "--json", target, "--dir", folder)

    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert [row["name"] for row in document["rows"]] == names
    for row in document["rows"]:
        assert row["unit"] in document["units"]
        assert {"hierstore", "sqlite", "floor"} <= row["figures"].keys()
        for figure in row["figures"].values():
            assert 0 < figure["p10"] <= figure["median"] <= figure["p90"]
            assert figure["samples"] >= 1
    assert list(folder.iterdir()) == [], "the temporary folder was left behind"
    assert max(map(len, done.stdout.splitlines())) <= 100
    for secret in (socket.gethostname(), str(tmp_path), str(CHECKOUT)):
        assert secret not in target.read_text(encoding="utf-8")


def test_the_full_run_grows_the_session_to_a_hundred_thousand() -> None:
    names = core("--list").stdout.splitlines()
    assert [f"append, at {size}" for size in ("10", "100", "1,000", "10,000", "100,000")] == names[:5]
    assert "append, at 100,000 / at 10" in names


def test_only_some_rows_go_to_standard_output_as_json() -> None:
    done = core("--quick", "--only", "cold open, all", "--json", "-")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["name"] for row in rows] == ["cold open, all messages", "cold open, all contents"]


def test_a_name_that_no_row_has_is_a_mistake() -> None:
    done = core("--quick", "--only", "no such row")
    assert done.returncode == 2
    assert "no such row" in done.stderr
