"""The benchmark beside the peers tells of all of them: also of who hangs, dies, lies or is not there. No test here looks at a time."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Figure
from benchmarks.peers import summary, table
from benchmarks.peers.cell import Cell, Row
from benchmarks.peers.fits import fit, fits
from benchmarks.peers.host import PeerFailed
from benchmarks.peers.main import lost
from benchmarks.peers.peer import NotOffered
from benchmarks.peers.rows.base import QUICK, cell, take_turns
from benchmarks.peers.rows.processes import Outcome
from benchmarks.peers.work import WORD, content, number_of

CHECKOUT = Path(__file__).resolve().parents[2]
STANDARD = ("hierstore", "SQLite, NORMAL", "system calls")

FILES = """
    import os, time
    from benchmarks.peers.peer import NotOffered

    class Store:
        def __init__(self, root):
            self.root = root

        def create(self, session_id):
            open(self.root / session_id, "a").close()

        def append(self, session_id, role, text):
            with open(self.root / session_id, "ab", buffering=0) as file:
                file.write(text.encode() + b"\\n")

        def extend(self, session_id, messages):
            for role, text in messages:
                self.append(session_id, role, text)

        def read_all(self, session_id):
            with open(self.root / session_id) as file:
                return file.read().splitlines()

        def set_title(self, session_id, title):
            raise NotOffered("files have no titles")

        def close(self):
            pass
"""
ODD = {
    "plain": "",
    "hanging": """
        def read_all(self, session_id):
            time.sleep(3600)
    """,
    "dying": """
        def append(self, session_id, role, text):
            print("about to die", file=__import__("sys").stderr)
            os.abort()
    """,
    "lying": """
        def append(self, session_id, role, text):
            if not text[:10].endswith("3"):
                super().append(session_id, role, text)
    """,
    "raising": """
        def append(self, session_id, role, text):
            raise OSError(f"no room in {self.root}")
    """,
    "slow": """
        def append(self, session_id, role, text):
            time.sleep(1.1)
            super().append(session_id, role, text)

        def extend(self, session_id, messages):
            for role, text in messages:
                super().append(session_id, role, text)
    """,
    "broken": "raise RuntimeError('not with this Python')",
}


def peers(*arguments: str | Path, path: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "peers", *map(str, arguments)]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def dedented(text: str, by: int) -> str:
    return "\n".join(line[by:] for line in text.splitlines())


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with a package of adapters of which most misbehave, and their registry."""
    package = tmp_path / "path" / "odd"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "files.py").write_text(dedented(FILES, 4), encoding="utf-8")
    for name, body in ODD.items():
        lines = ["import os, time", "from odd.files import Store as Files", "class Store(Files):", "    pass"]
        source = "\n".join(lines) + dedented(body, 4) if body.startswith("\n") else f"{body}\n" + "\n".join(lines)
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    rows = [f"Peer({name!r}, 'odd.{name}', '')" for name in ODD]
    rows += ["Peer('absent', 'odd.absent', 'a-distribution-that-is-not-there')", "Peer('gone', 'odd.gone', '')"]
    source = f"from benchmarks.peers.peer import Peer\nPEERS = ({', '.join(rows)})\n"
    (package / "registry.py").write_text(source, encoding="utf-8")
    return package.parent


def measured(odd: Path, *arguments: str) -> dict[str, Any]:
    done = peers("--quick", "--peers", "odd.registry", "--json", "-", *arguments, path=odd)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def column(document: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    (row,) = [row for row in document["rows"] if group in row["group"] and name in row["name"]]
    cells: dict[str, Any] = row["cells"]
    return cells


# Who misbehaves is shown as such


def test_who_dies_raises_lies_or_is_not_there_is_a_cell_that_says_so(odd: Path) -> None:
    document = measured(
        odd,
        "--rows",
        "append",
        "title",
        "--only",
        "plain",
        "dying",
        "lying",
        "raising",
        "slow",
        "broken",
        "absent",
        "gone",
    )
    cells = column(document, "Append one message", "at 10")
    assert cells["plain"]["median"] > 0
    assert cells["dying"]["why"] == "failed"
    assert "killed by signal 6: " in cells["dying"]["reason"]
    assert cells["lying"] == {"why": "failed", "reason": cells["lying"]["reason"]}
    assert "were appended and" in cells["lying"]["reason"]
    assert cells["raising"]["reason"].startswith("OSError: no room in …")
    assert cells["broken"] == {"why": "failed", "reason": "RuntimeError: not with this Python"}
    assert cells["absent"]["why"] == cells["gone"]["why"] == "not installed"
    assert cells["slow"]["samples"] == 1
    assert cells["slow"]["note"] == "1 sample"
    larger = column(document, "Append one message", "at 50")
    assert larger["slow"]["why"] == "gave up"
    assert larger["slow"]["reason"].startswith("one took 1.1 s at 10")
    assert column(document, "Set the title", "at 10")["plain"] == {"why": "cannot", "reason": "files have no titles"}


def test_who_hangs_is_ended_and_shown_as_such_and_the_others_go_on(odd: Path) -> None:
    document = measured(odd, "--rows", "read-all", "--only", "plain", "hanging")
    assert column(document, "Read all", "at 10")["hanging"] == {"why": "failed", "reason": "no answer within 10 s"}
    assert column(document, "Read all", "at 50")["hanging"]["reason"] == "no answer within 10 s"
    assert column(document, "Read all", "at 50")["plain"]["median"] > 0


def test_who_loses_acknowledged_messages_is_found_out_with_processes_and_with_kills(odd: Path) -> None:
    document = measured(odd, "--rows", "processes", "crash", "--only", "plain", "lying", "raising")
    kept = column(document, "2 processes, a session each", "kept of acknowledged")
    assert kept["plain"]["median"] == 100
    assert kept["lying"]["median"] < 100
    assert kept["lying"]["facts"]["kept"] < kept["lying"]["facts"]["acknowledged"]
    assert kept["raising"] == {"text": "0 of 0"}
    errors = column(document, "2 processes, a session each", "errors raised")
    assert int(errors["raising"]["text"].replace(",", "")) > 0
    assert errors["raising"]["note"].startswith("OSError: no room in …/processes/")
    assert tempfile.gettempdir() not in json.dumps(document)
    gone = column(document, "Killed in the middle", "acknowledged messages lost")
    assert gone["plain"]["facts"]["lost"] == 0
    assert gone["lying"]["facts"]["lost"] > 0
    assert gone["raising"]["why"] == "failed"


# A whole run


def test_a_quick_run_tells_of_every_row_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target, tables, folder, given = (tmp_path / name for name in ("peers.json", "peers.md", "runs", "chats.json"))
    folder.mkdir()
    chats = [
        {"messages": [{"role": "user", "content": f"Question {n}"}, {"role": "tool", "tool_call_id": "c"}]}
        for n in range(5)
    ]
    given.write_text(json.dumps(chats), encoding="utf-8")
    # The names are asked for as parts, so "hierstore" brings its two durabilities.
    done = peers(
        "--quick", "--only", *STANDARD, "--input", given, "--json", target, "--markdown", tables, "--dir", folder
    )

    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert [name for name in STANDARD if name not in document["peers"]] == []
    for row in document["rows"]:
        assert row["cells"].keys() == document["peers"].keys()
        ours = row["cells"]["hierstore"]
        assert "why" not in ours, (row["name"], ours)
        if row["better"] and ours["median"]:
            assert ours["ratio"] == 1
        assert row["group"] in done.stdout
        assert f"## {row['group']}" in tables.read_text(encoding="utf-8")
    assert column(document, "2 processes, one", "kept")["hierstore"]["median"] == 100
    assert column(document, "Replay", "read back whole")["hierstore"]["text"] == "5 of 5"
    assert list(folder.iterdir()) == [], "the temporary folder was left behind"
    for secret in (socket.gethostname(), str(tmp_path), str(CHECKOUT)):
        assert secret not in target.read_text(encoding="utf-8")


def test_the_list_names_the_peers_and_the_works() -> None:
    listed = peers("--list").stdout
    for name in ("hierstore", "PraisonAI", "append", "crash", "freshness", "processes", "replay", "search"):
        assert name in listed


@pytest.mark.parametrize(
    "wrong", [["--only", "nobody"], ["--rows", "nothing"], ["--peers", "no.such.module"], ["--input", "no.json"]]
)
def test_a_name_that_is_not_there_is_a_mistake(wrong: list[str]) -> None:
    done = peers("--quick", *wrong)
    assert done.returncode == 2
    assert wrong[1].partition(".")[0] in done.stderr
    assert "Traceback" not in done.stderr


# Arithmetic


@pytest.mark.parametrize(("exponent", "factor"), [(0.0, 7.0), (1.0, 0.25), (0.5, 3.0), (2.0, 1e-3)])
def test_a_power_law_is_fitted_exactly(exponent: float, factor: float) -> None:
    sizes = [10, 100, 1_000, 10_000]
    found = fit(sizes, [factor * size**exponent for size in sizes])
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.factor == pytest.approx(factor)
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert found.points == 4


def test_a_fit_of_points_beside_the_line_is_the_one_of_least_squares() -> None:
    # In decades (0, 0), (1, 0), (2, 3): the slope is 3/2, the line -1/2, 1, 5/2, and it misses by 1/2, -1, 1/2.
    found = fit([1, 10, 100], [1, 1, 1000])
    assert found.exponent == pytest.approx(1.5)
    assert found.factor == pytest.approx(10**-0.5)
    assert found.residual == pytest.approx(math.sqrt(1.5 / 3))


def test_a_fit_needs_two_sizes() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        fit([10, 10], [1, 2])


def test_fits_take_rows_of_one_work_together_and_leave_out_who_has_too_few_sizes() -> None:
    rows = [
        {"group": "Append", "op": "append", "per": "messages", "x": x, "cells": {"a": {"median": x * 2.0}, "b": {"median": 5.0} if x < 100 else {"why": "gave up"}}}
        for x in (10, 100, 1_000)
    ]  # fmt: skip
    (found,) = fits([*rows, {"group": "Other", "cells": {}}])
    assert found["peers"]["b"] is None
    assert found["peers"]["a"] == {"exponent": 1.0, "last": 1.0, "residual_decades": 0.0, "points": 3, "up_to": 1000}


def test_a_row_has_the_ratios_to_ours() -> None:
    cells = {"hierstore": Cell.of([2.0, 4.0, 6.0]), "other": Cell.of([10.0]), "mute": Cell.without(NotOffered("no"))}
    told = Row("Group", "name", "us", cells).as_dict("hierstore")["cells"]
    assert [told[name].get("ratio") for name in cells] == [1.0, 2.5, None]
    assert told["mute"] == {"why": "cannot", "reason": "no"}


def test_cells_are_written_with_fitting_units() -> None:
    assert [table.value({"median": m}, "us") for m in (0, 12.34, 1_234, 5e6)] == [
        "at once",
        "12.3 us",
        "1.23 ms",
        "5.00 s",
    ]
    assert table.value({"median": 3 * 2**20}, "bytes") == "3.00 MiB"
    assert table.value({"median": 12_345.6}, "/s") == "12,346/s"
    assert table.value({"median": 1.0, "text": "1 of 2"}, "%") == "1 of 2"
    assert table.spread({"median": 10, "p10": 9, "p90": 13, "samples": 5}) == "±20%"
    assert table.spread({"median": 10, "p10": 10, "p90": 10, "samples": 1}) == ""


def test_tables_say_why_a_cell_is_empty() -> None:
    cells = {
        "hierstore": Cell.of([1.0]),
        "mute": Cell.without(NotOffered("a | b")),
        "dead": Cell.without(PeerFailed("killed")),
    }
    document = {
        "command": "c", "date": "d", "took_s": 1.0, "machine": {"cpus": 2}, "fits": [],
        "peers": {name: {"distribution": "", "version": "1", "note": "", "is_floor": False} for name in cells},
        "rows": [Row("Group", "name", "us", cells).as_dict("hierstore")],
    }  # fmt: skip
    shown = table.terminal(document)
    assert "cannot [1]" in shown
    assert "[1] a | b" in shown
    assert "[2] killed" in shown
    assert "| mute | cannot: a \\| b |" in table.markdown(document)
    assert "| dead | failed: killed |" in table.markdown(document)


def test_what_processes_wrote_is_counted_message_by_message() -> None:
    outcome = Outcome()
    outcome.add_times(
        [
            {"tried": 30, "refused": [4], "errors": {"E": 1}, "began": 0, "ended": 10**9},
            {"tried": 10, "refused": [], "errors": {}, "began": 0, "ended": 2 * 10**9},
        ]
    )
    outcome.add_found({1, 2, 3, 4}, {"numbers": [1, 2, 2, 9], "strange": 1})
    assert outcome.throughput == [39 / 2]
    assert outcome.unfairness == [2.9]
    assert (outcome.acknowledged, outcome.kept, outcome.twice, outcome.strange) == (39, 2, 1, 1)
    assert outcome.cells()["errors raised"].text == "1"


def test_turns_end_for_who_is_slow_or_fails() -> None:
    calls: dict[str, int] = {"quick": 0, "slow": 0, "failing": 0}

    def contender(name: str, took: float) -> Any:
        def sample() -> list[float]:
            calls[name] += 1
            if name == "failing":
                raise PeerFailed("no")
            return [took]

        return sample

    taken = take_turns(
        {"quick": contender("quick", 2e3), "slow": contender("slow", 2e9), "failing": contender("failing", 0)}, QUICK
    )
    assert calls == {"quick": QUICK.rounds + 1, "slow": 2, "failing": 1}
    assert taken["quick"].samples == [2e3] * QUICK.rounds
    assert cell(taken["slow"]).figure == Figure(2e6, 2e6, 2e6, 2e6, 1)
    assert cell(taken["failing"]).why == "failed"


def test_a_message_is_known_by_its_number_to_the_last_character() -> None:
    assert [number_of(content(number)) for number in (0, 7, 10_000_123)] == [0, 7, 10_000_123]
    assert WORD in content(20)
    assert WORD not in content(21)
    assert len(content(20)) == len(content(21)) == 300
    for wrong in (content(7)[:-1], content(7) + " ", "", None, content(7).replace("failing", "falling")):
        assert number_of(wrong) is None


def test_a_run_in_which_hierstore_loses_something_fails() -> None:
    def document(**facts: int) -> dict[str, Any]:
        return {"rows": [{"cells": {"hierstore": {"facts": facts}}}]}

    assert not lost(document(kept=3, acknowledged=3))
    assert lost(document(kept=2, acknowledged=3))
    assert lost(document(lost=1))
    assert not lost(document(lost=0))


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    pictures = pytest.importorskip("benchmarks.peers.pictures")
    found = pictures.spread_out({"a": 0.5, "b": 0.51, "c": 0.9, "d": 0.5}, 0.1)
    places = sorted(found.values())
    assert [name for name, _ in sorted(found.items(), key=lambda item: item[1])] == ["a", "d", "b", "c"]
    assert min(after - before for before, after in pairwise(places)) >= 0.1 - 1e-9
    assert found["c"] == 0.9


def test_labels_at_an_end_stay_in_the_picture() -> None:
    pictures = pytest.importorskip("benchmarks.peers.pictures")
    for wanted in (1.0, 0.0, 0.5):
        found = pictures.spread_out({str(place): wanted + place / 1000 for place in range(20)}, 0.04)
        places = sorted(found.values())
        assert places[0] >= 0
        assert places[-1] <= 1 + 1e-9
        assert min(after - before for before, after in pairwise(places)) >= 0.04 - 1e-9


# What the project says of it


def test_the_readme_shows_the_table_of_the_run_that_is_kept() -> None:
    results = CHECKOUT / "benchmarks" / "results"
    document = json.loads((results / "peers.json").read_text(encoding="utf-8"))
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert summary.markdown(document) in readme
    assert table.markdown(document) == (results / "peers.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[.+\]\((benchmarks/results/.+)\)", readme)
    assert len(pictures) >= 2
    assert all((CHECKOUT / picture).stat().st_size > 10_000 for picture in pictures)
    assert "failed" not in {row["cells"]["hierstore"].get("why") for row in document["rows"]}
    assert not lost(document)
