from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import plain, run, run_in_terminal
from tests.cli.screen import shown
from tests.support import contents, log_of


def _some(store: SessionStore) -> None:
    store.create("small").append("user", "x")
    large = store.create("large")
    large.append("user", "x" * 20_000)
    large.fork("fork")


def test_into_a_pipe_there_are_bytes_for_each_session_and_folder(root: Path, store: SessionStore) -> None:
    _some(store)
    done = run("du", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(row) for row in rows} == {4}
    sessions = {row[1]: (int(row[2]), int(row[3])) for row in rows if row[0] == "session"}
    assert list(sessions) == ["fork", "large", "small"]
    size = log_of(store, "small").stat().st_size
    assert sessions["small"] == (size, size)
    assert sessions["fork"][0] > 20_000 > sessions["fork"][1]
    folders = {row[1]: int(row[2]) for row in rows if row[0] == "folder"}
    assert folders["total"] == sum(number for name, number in folders.items() if name != "total")
    assert folders["logs"] == store.disk_usage().logs < 2 * 20_000, "what is shared counts once"


def test_top_shows_the_largest_and_says_how_many_are_left_out(root: Path, store: SessionStore) -> None:
    _some(store)
    lines = shown("du", "--top", 1, "--root", root)
    assert [line.split()[5] for line in lines[1:2]] == ["fork"]
    assert any("2 smaller sessions: --top 0" in line for line in lines)
    assert "small" in run("du", "--top", 0, "--root", root).stdout


def test_numbers_can_be_used_for_the_sessions_shown(root: Path, store: SessionStore) -> None:
    _some(store)
    lines = shown("du", "--root", root)
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert run("show", "3", "--root", root).stdout.splitlines()[0] == "small"


def test_json_is_one_line(root: Path, store: SessionStore) -> None:
    _some(store)
    done = run("du", "--top", 1, "--json", "--root", root)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    [item] = found["sessions"]
    assert item == {"id": "fork", "size_bytes": store.sizes()[0].size_bytes, "own_bytes": store.sizes()[0].own_bytes}
    assert found["folders"]["total"] == store.disk_usage().total


def test_bars_are_as_long_as_the_sizes(root: Path, store: SessionStore) -> None:
    store.create("a").append("user", "x" * 100_000)
    store.create("b").append("user", "x" * 50_000)
    lines = shown("du", "--root", root)
    bars = {line.split()[5]: line.count("█") for line in lines[1:3]}
    assert bars["a"] > 10
    assert abs(bars["a"] - 2 * bars["b"]) <= 2


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, root: Path, store: SessionStore) -> None:
    store.create("漢字" * 100).append("user", "x")
    store.create("x" * 300)
    lines = plain(run_in_terminal("du", "--root", root, columns=columns)[0])
    assert max(map(cell_len, lines)) <= columns


def test_control_characters_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    store.create("\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\tx\nline")
    assert run("du", "--root", root).stdout.replace("\n", "").replace("\t", "").isprintable()
    assert "".join(plain(run_in_terminal("du", "--root", root)[0])).isprintable()


def test_an_empty_store_has_folders_alone(root: Path, store: SessionStore) -> None:
    assert shown("du", "--root", root)[0].split() == ["FOLDER", "SIZE"]
    assert "session" not in run("du", "--root", root).stdout


def test_looking_writes_nothing(root: Path, store: SessionStore) -> None:
    _some(store)
    before = contents(root)
    run("du", "--root", root)
    assert contents(root) == before
