"""Two commits are compared by what each round says, and nothing is left of their checkouts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare import ratios, table, verdict

CHECKOUT = Path(__file__).resolve().parents[2]


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True, check=True).stdout


def compare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "compare", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def _in_a_clone() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a clone, to check commits out")


@pytest.mark.usefixtures("_in_a_clone")
def test_a_commit_is_compared_with_itself_and_no_checkout_remains(tmp_path: Path) -> None:
    before = git("worktree", "list")
    done = compare("HEAD", "--quick", "--rounds", "1", "--rows", "cold open, all", "--json", "-", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["base"] == document["head"]
    assert [row["name"] for row in document["rows"]] == ["cold open, all messages", "cold open, all contents"]
    assert all(row["least"] == row["ratio"] == row["most"] > 0 for row in document["rows"])
    assert "cold open, all messages" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert git("worktree", "list") == before


@pytest.mark.usefixtures("_in_a_clone")
@pytest.mark.parametrize("wrong", [["no-such-commit"], ["HEAD", "--rounds", "0"], ["--", "--upload-pack=x"]])
def test_a_commit_that_is_not_there_is_a_mistake(wrong: list[str]) -> None:
    done = compare(*wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("_in_a_clone")
def test_a_row_that_is_not_there_is_a_mistake_and_no_checkout_remains(tmp_path: Path) -> None:
    done = compare("HEAD", "--quick", "--rows", "no such row", "--dir", tmp_path)
    assert done.returncode == 2
    assert "no such row" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_ratio_is_of_the_two_figures_of_each_round() -> None:
    (row,) = ratios({"append": [10.0, 20.0, 40.0]}, {"append": [5.0, 20.0, 10.0]}, {"append": "us"})
    assert (row["ratio"], row["least"], row["most"]) == (0.5, 0.25, 1.0)
    assert row["base"]["median"] == 20.0
    assert row["head"]["median"] == 10.0
    assert row["verdict"] == ""


def test_a_row_of_one_commit_only_has_no_ratio() -> None:
    assert ratios({"gone": [1.0]}, {"new": [1.0]}, {"gone": "us", "new": "us"}) == []


@pytest.mark.parametrize(
    ("quotients", "unit", "said"),
    [
        ([1.1, 1.2, 1.3], "us", "worse"),
        ([0.9, 0.8, 0.7], "us", "better"),
        ([1.1, 1.2, 1.3], "/s", "better"),
        ([0.9, 0.8, 0.7], "/s", "worse"),
        ([0.9, 1.1, 0.8], "us", ""),
        ([1.1, 1.1], "us", ""),
    ],
)
def test_only_what_every_round_says_is_a_verdict(quotients: list[float], unit: str, said: str) -> None:
    assert verdict(quotients, unit) == said


def test_the_table_shows_base_head_and_ratio() -> None:
    rows = ratios({"append, at 10": [10.0] * 3}, {"append, at 10": [15.0] * 3}, {"append, at 10": "us"})
    shown = table({"base": "a" * 40, "head": "b" * 40, "rounds": 3, "rows": rows})
    assert "aaaaaaaaaaaa" in shown
    assert "1.500x" in shown
    assert shown.endswith("worse")
    assert max(map(len, shown.splitlines())) <= 100
