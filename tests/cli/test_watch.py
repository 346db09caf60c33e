"""``hierstore watch``: the change feed, one line for each change."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, run
from tests.cli.screen import shown
from tests.cli.test_tail import tailing
from tests.support import contents, fill


def _everything(store: SessionStore) -> None:
    """One of each change that there is."""
    session = fill(store.create("s", title="Title", kind="chat", metadata={"k": 1}, labels=["x"]), "said")
    session.set_title("New", source="user")
    session.set_title(None)
    session.update(labels=["a", "b"], pinned=True, archived=True, suspended=True, metadata={"k": None, "n": [1]})
    session.update(pinned=False, archived=False, suspended=False, derived={"d": 1})
    snapshot = session.snapshot("label")
    session.snapshot()
    session.revert(snapshot)
    session.undo_revert()
    session.set_ref("openai", "thread_1")
    session.set_ref("openai", None)
    session.add_usage(input_tokens=812, cost_usd=0.004)
    session.set_usage(input_tokens=1)
    session.end_turn(session.start_turn())
    store.bind("telegram:42", session)
    session.unshare(session.share(role="append", subtree=True))
    parent = store.create("p")
    session.move(parent)
    session.move(None)
    session.fork("f")
    session.reset("why")
    store.delete("s", children="cascade")
    store.restore("s")


EXPECTED = [
    ("created", '"Title", as chat'), ("#1 user", "said"), ("title", '"New"'), ("title", "removed"),
    ("changed", "pinned; archived; suspended; labels: a, b; metadata: -k, n=[1]"),
    ("changed", "unpinned; unarchived; resumed; derived: d=1"), ("snapshot", '"label"'), ("snapshot", None),
    ("reverted", "to r7 (label): 1 message"), ("undone", "a revert; back to r8: 1 message"), ("link", "openai: thread_1"),
    ("link", "openai removed"), ("usage", "input_tokens +812, cost_usd +0.004"), ("usage", "input_tokens = 1"),
    ("turn", "began"), ("turn", "ended"), ("route", "telegram:42"), ("shared", "to append, subtree"), ("unshared", "1 share"),
    ("moved", "below p"), ("moved", "to the top"), ("reset", "the history is empty: why"), ("deleted", "it is in the trash"),
    ("restored", "from the trash"),
]  # fmt: skip


def _rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_each_kind_of_change_has_a_line_in_words(root: Path, store: SessionStore) -> None:
    _everything(store)
    done = run("watch", "--once", "--session", "s", "--root", root)
    assert done.returncode == 0
    rows = _rows(done.stdout)
    assert all(len(row) == 5 and row[1] == "s" and row[2].startswith("r") for row in rows)
    assert [row[3] for row in rows] == [what for what, _ in EXPECTED]
    for row, (what, text) in zip(rows, EXPECTED, strict=True):
        # The feed's lines do not know the labels of snapshots; the log's do.
        expected = None if text is None else text.replace(" (label)", "")
        assert expected in (None, row[4]), what
    assert f"({len(EXPECTED)} changes" in done.stderr


def test_the_log_uses_the_same_words(root: Path, store: SessionStore) -> None:
    _everything(store)
    rows = _rows(run("log", "s", "--reverse", "--root", root).stdout)
    assert [row[3] for row in rows] == [what for what, _ in EXPECTED]
    assert [row[4] for row, (_, text) in zip(rows, EXPECTED, strict=True) if text] == [
        text for _, text in EXPECTED if text
    ]


def test_once_prints_everything_of_all_sessions_and_ends(root: Path, store: SessionStore) -> None:
    fill(store.create("a"), "one")
    fill(store.create("b"), "two")
    store.delete("b")
    before = contents(root)
    rows = _rows(run("watch", "--once", "--root", root).stdout)
    assert sorted((row[1], row[3]) for row in rows) == [
        ("a", "#1 user"), ("a", "created"), ("b", "#1 user"), ("b", "created"), ("b", "deleted"),
    ]  # fmt: skip
    assert contents(root) == before, "watching writes nothing"


def test_json_prints_a_line_for_each_event(root: Path, store: SessionStore) -> None:
    fill(store.create("a", title="T"), "one")
    lines = run("watch", "--once", "--json", "--root", root).stdout.splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [(row["type"], row["session"], row["revision"]) for row in found] == [
        ("created", "a", 1),
        ("appended", "a", 2),
    ]
    assert found[0]["data"]["title"] == "T"
    assert found[1]["messages"][0]["content"] == "one"


def test_it_prints_what_changes_from_now_on_until_ctrl_c(root: Path, tmp_path: Path, store: SessionStore) -> None:
    fill(store.create("a"), "before")
    with tailing("watch", "--cursor-file", tmp_path / "cursor", "--root", root) as watch:
        while not (tmp_path / "cursor").exists():
            assert watch.process.poll() is None
        fill(store.create("b"), "after")
        lines = watch.until("after")
        assert watch.interrupt() == 130
    assert [line.split("\t")[3] for line in lines] == ["created", "#1 user"]


def test_a_cursor_file_lets_the_next_call_go_on(root: Path, tmp_path: Path, store: SessionStore) -> None:
    cursor = tmp_path / "cursor"
    session = fill(store.create("a"), "one")
    arguments = ("watch", "--once", "--cursor-file", cursor, "--root", root)
    assert len(run(*arguments).stdout.splitlines()) == 2
    assert run(*arguments).stdout == ""
    fill(session, "two")
    assert [row[4] for row in _rows(run(*arguments).stdout)] == ["two"]
    assert stat.S_IMODE(cursor.stat().st_mode) == 0o600
    fill(session, "three")
    done = run("watch", "--once", "--after", cursor.read_text().strip(), "--root", root)
    assert [row[4] for row in _rows(done.stdout)] == ["three"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("cursor")] == ["cursor"]


def test_following_with_a_cursor_file_goes_on_where_it_was_interrupted(
    root: Path, tmp_path: Path, store: SessionStore
) -> None:
    arguments = ("watch", "--after", "", "--root", root)
    session = fill(store.create("a"), "one")
    with tailing(*arguments) as watch:
        watch.until("one")
    cursor = tmp_path / "cursor"
    assert run("watch", "--once", "--cursor-file", cursor, "--root", root).returncode == 0
    fill(session, "two")
    with tailing("watch", "--cursor-file", cursor, "--root", root) as watch:
        assert "two" in watch.until("#")[-1]
        fill(session, "three")
        assert "three" in watch.until("#")[-1]


def test_a_cursor_that_is_none_is_refused_in_one_sentence(root: Path, tmp_path: Path, store: SessionStore) -> None:
    store.create("a")
    (tmp_path / "cursor").write_text("nonsense\n")
    for arguments in (["--after", "nonsense"], ["--cursor-file", tmp_path / "cursor"]):
        done = run("watch", "--once", *arguments, "--root", root)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)
    assert (tmp_path / "cursor").read_text() == "nonsense\n"


@pytest.mark.parametrize("name", ["missing/cursor", "."])
def test_a_cursor_file_that_cannot_be_is_one_sentence(
    name: str, root: Path, tmp_path: Path, store: SessionStore
) -> None:
    store.create("a")
    done = run("watch", "--once", "--cursor-file", tmp_path / name, "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)


def test_two_beginnings_are_wrong_usage(root: Path, tmp_path: Path, store: SessionStore) -> None:
    store.create("a")
    assert run("watch", "--after", "", "--cursor-file", tmp_path / "c", "--root", root).returncode == 2


def test_in_a_terminal_a_change_is_one_line_of_its_width(root: Path, store: SessionStore) -> None:
    fill(store.create("s" * 200), "word " * 100)
    lines = shown("watch", "--once", "--root", root, columns=60)
    assert len(lines) == 3
    assert all(len(line) <= 60 for line in lines)
