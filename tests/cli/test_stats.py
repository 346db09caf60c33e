from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import plain, run, run_in_terminal
from tests.cli.screen import shown
from tests.support import contents


def _some(store: SessionStore) -> None:
    lead = store.create("lead", labels=["work"])
    for role in ("user", "assistant", "assistant"):
        lead.append(role, "x")
    lead.add_usage(input_tokens=1200, cost_usd=0.25)
    lead.fork("fork")
    lead.spawn("helper", kind="delegate").add_usage(cost_usd=0.05)
    store.get("helper").update(archived=True)


def test_into_a_pipe_each_number_has_a_line_with_its_section(root: Path, store: SessionStore) -> None:
    _some(store)
    done = run("stats", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    found = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in done.stdout.splitlines()}
    assert len(found) == len(done.stdout.splitlines())
    assert found["total", "sessions"] == "3"
    assert found["total", "messages"] == "3"
    assert found["total", "archived"] == "1"
    assert found["usage", "cost_usd"] == "0.3"
    assert found["usage", "input_tokens"] == "1200"
    assert found["role", "assistant"] == "2"
    assert found["kind", "delegate"] == "1"
    assert found["label", "work"] == "1"
    assert int(found["bytes", "logs"]) > 0
    assert [number for (section, _), number in found.items() if section == "messages stored"] == ["3"]


def test_json_is_one_line_of_the_same_numbers(root: Path, store: SessionStore) -> None:
    _some(store)
    done = run("stats", "--json", "--root", root)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert (found["sessions"], found["roots"], found["messages"], found["usage"]["cost_usd"]) == (3, 1, 3, 0.3)
    assert {"kind": None, "sessions": 1} in found["kinds"]
    assert found["bytes"]["total"] == store.disk_usage().total


def test_in_a_terminal_bars_show_what_is_most(root: Path, store: SessionStore) -> None:
    _some(store)
    lines = shown("stats", "--root", root)
    assert "3 (1 root, 1 archived)" in lines[0]
    assert any("cost_usd 0.3" in line for line in lines)
    bars = {line.split()[0]: line.count("█") for line in lines if "█" in line}
    assert bars["assistant"] == 2 * bars["user"] > 10


def test_an_empty_store_has_no_charts(root: Path, store: SessionStore) -> None:
    lines = shown("stats", "--root", root)
    assert lines[0].split()[:2] == ["sessions", "0"]
    assert "█" not in "".join(lines)


def test_how_many_are_shown_can_be_told_and_what_is_left_out_is_said(root: Path, store: SessionStore) -> None:
    session = store.create("s")
    for number in range(15):
        session.append(f"role-{number}", "x")
    lines = shown("stats", "--root", root)
    assert sum("role-" in line for line in lines) == 10
    assert any("5 others: --top 0" in line for line in lines)
    assert sum("role-" in line for line in shown("stats", "--top", 0, "--root", root)) == 15


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, root: Path, store: SessionStore) -> None:
    session = store.create("s", labels=["漢字" * 50, "x" * 300], kind="k" * 200)
    session.append("r" * 200, "x")
    session.append("שלום", "x")
    session.add_usage(**{"tokens_of_a_long_name" * 5: 1, "more": 2.5})
    lines = plain(run_in_terminal("stats", "--root", root, columns=columns)[0])
    assert max(map(cell_len, lines)) <= columns


def test_where_the_encoding_has_no_blocks_bars_are_of_plain_signs(root: Path, store: SessionStore) -> None:
    _some(store)
    written, status = run_in_terminal("stats", "--root", root, PYTHONIOENCODING="ascii")
    assert status == 0
    assert "####" in written
    assert "\\u25" not in written


def test_control_characters_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\tx\nline"
    session = store.create("s", labels=[evil], kind=evil)
    session.append(evil, "x")
    session.add_usage(**{evil: 1})
    assert run("stats", "--root", root).stdout.replace("\n", "").replace("\t", "").isprintable()
    assert "".join(plain(run_in_terminal("stats", "--root", root)[0])).isprintable()


@pytest.mark.parametrize("arguments", [("--days", "-1"), ("--top", "x")])
def test_bad_numbers_are_wrong_usage(arguments: tuple[str, str], root: Path, store: SessionStore) -> None:
    assert run("stats", *arguments, "--root", root).returncode == 2


def test_counting_writes_nothing(root: Path, store: SessionStore) -> None:
    _some(store)
    before = contents(root)
    run("stats", "--root", root)
    assert contents(root) == before
