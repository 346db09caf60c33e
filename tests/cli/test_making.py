from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, run, run_in_terminal


def test_the_id_stands_alone_on_standard_output(root: Path, store: SessionStore) -> None:
    done = run("new", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.strip() in store


def test_a_session_has_what_it_was_made_with(root: Path, store: SessionStore) -> None:
    store.create("above")
    facts = [
        "--title",
        "Refund",
        "--kind",
        "delegate",
        "--parent",
        "abo",
        "--label",
        "a",
        "--label",
        "b",
        "--label",
        "a",
    ]
    done = run("new", "chat", *facts, "--metadata", "who=me=you", "--metadata-json", '{"n": 1}', "--root", root)
    assert (done.returncode, done.stdout) == (0, "chat\n")
    info = store.get("chat").info
    assert (info.title, info.kind, info.parent_id, info.labels) == ("Refund", "delegate", "above", ("a", "b"))
    assert info.metadata == {"who": "me=you", "n": 1}


def test_a_store_is_made_where_there_is_none_and_it_is_said_where(root: Path) -> None:
    done = run("new", "first", "--root", root)
    assert (done.returncode, done.stdout) == (0, "first\n")
    assert is_one_sentence(done.stderr)
    assert str(root) in done.stderr
    with SessionStore(root) as store:
        assert "first" in store
    assert run("new", "second", "--root", root).stderr == ""


def test_no_store_is_made_for_a_parent_that_cannot_be_in_it(root: Path) -> None:
    done = run("new", "--parent", "above", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert not root.exists()


def test_an_id_that_is_taken_is_refused_and_what_is_there_stays(root: Path, store: SessionStore) -> None:
    store.create("chat", title="Old")
    done = run("new", "chat", "--title", "New", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert store.get("chat").title == "Old"


@pytest.mark.parametrize(
    "wrong",
    [
        ("--metadata", "novalue"),
        ("--metadata", "=x"),
        ("--metadata-json", "[1]"),
        ("--metadata-json", "{"),
        ("--nope",),
    ],
)
def test_metadata_that_is_none_is_wrong_usage_and_makes_nothing(wrong: tuple[str, ...], root: Path) -> None:
    done = run("new", *wrong, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert not root.exists()


def test_as_json_the_whole_session_is_printed(root: Path, store: SessionStore) -> None:
    made = json.loads(run("new", "chat", "--label", "x", "--json", "--root", root).stdout)
    assert (made["id"], made["labels"], made["messages"], made["children"]) == ("chat", ["x"], 0, [])


def test_the_session_that_was_made_is_the_last_one(root: Path, store: SessionStore) -> None:
    above = run("new", "--root", root).stdout.strip()
    run("new", "--parent", "@last", "below", "--root", root)
    assert store.get("below").parent_id == above
    run("append", "@last", "hello", "--root", root)
    assert [message.content for message in store.get("below").messages] == ["hello"]


def test_what_would_act_on_a_terminal_in_an_id_is_shown_escaped(root: Path, store: SessionStore) -> None:
    written, status = run_in_terminal("new", "a\x1b[2Jb", "--root", root)
    assert status == 0
    assert written == "a\\x1b[2Jb\n"
    assert "a\x1b[2Jb" in store
