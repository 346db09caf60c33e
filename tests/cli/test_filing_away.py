from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from tests.cli.running import is_one_sentence, run, run_in_terminal


@pytest.fixture
def chat(store: SessionStore) -> Session:
    return store.create("chat", title="Old", labels=["a", "b"])


# Titles


def test_a_title_is_printed_set_and_cleared(root: Path, chat: Session) -> None:
    assert run("title", "chat", "--root", root).stdout == "Old\n"
    done = run("title", "chat", "New", "--root", root)
    assert (done.stdout, done.stderr) == ("", "chat is now titled 'New'.\n")
    assert chat.title == "New"
    assert run("title", "chat", "--clear", "--root", root).returncode == 0
    assert chat.title is None
    done = run("title", "chat", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)


def test_an_automatic_title_does_not_replace_a_persons_and_says_so(
    root: Path, store: SessionStore, chat: Session
) -> None:
    done = run("title", "chat", "Guessed", "--auto", "--root", root)
    assert done.returncode == 0
    assert is_one_sentence(done.stderr)
    assert chat.title == "Old"
    store.create("other")
    assert "stays" not in run("title", "other", "Guessed", "--auto", "--root", root).stderr
    assert store.get("other").info.title_source == "auto"


@pytest.mark.parametrize("wrong", [("New", "--clear"), ("--auto",)])
def test_contradicting_options_of_a_title_are_wrong_usage(wrong: tuple[str, ...], root: Path, chat: Session) -> None:
    done = run("title", "chat", *wrong, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_sentence(done.stderr)
    assert chat.title == "Old"


def test_a_title_is_shown_and_not_executed(root: Path, chat: Session) -> None:
    chat.set_title("a\x1b]0;evil\x07\nb")
    for written in (run("title", "chat", "--root", root).stdout, run_in_terminal("title", "chat", "--root", root)[0]):
        assert written == "a\\x1b]0;evil\\x07\\nb\n"


# Labels


def test_labels_are_printed_added_and_removed(root: Path, chat: Session) -> None:
    assert run("label", "chat", "--root", root).stdout == "a\nb\n"
    done = run("label", "chat", "c", "a", "--remove", "b", "-r", "d", "--root", root)
    assert (done.returncode, done.stdout) == (0, "a\nc\n")
    assert "'d'" in done.stderr
    assert chat.labels == ("a", "c")


def test_all_labels_are_replaced_or_removed(root: Path, chat: Session) -> None:
    assert run("label", "chat", "--clear", "z", "--root", root).stdout == "z\n"
    done = run("label", "chat", "--clear", "--root", root)
    assert (done.returncode, done.stdout, chat.labels) == (0, "", ())


def test_printing_labels_changes_nothing(root: Path, chat: Session) -> None:
    revision = chat.revision
    run("label", "chat", "--root", root)
    assert chat.revision == revision


def test_a_label_is_shown_and_not_executed(root: Path, chat: Session) -> None:
    done = run("label", "chat", "x\x1b[2J\ny", "--remove", "z\x1b[2J", "--root", root)
    assert (done.returncode, done.stdout) == (0, "a\nb\nx\\x1b[2J\\ny\n")
    assert is_one_sentence(done.stderr)
    assert "\x1b" not in done.stderr


# Archiving and pinning


@pytest.mark.parametrize(("command", "flag"), [("archive", "archived"), ("pin", "pinned")])
def test_several_sessions_are_filed_and_taken_back(command: str, flag: str, root: Path, store: SessionStore) -> None:
    sessions = [store.create("one"), store.create("two")]
    done = run(command, "one", "two", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("2 sessions ")
    assert is_one_sentence(done.stderr)
    assert all(getattr(session, flag) for session in sessions)
    found = json.loads(run(command, "two", "--undo", "--json", "--root", root).stdout)
    assert [(item["id"], item[flag]) for item in found["sessions"]] == [("two", False)]
    assert [getattr(session, flag) for session in sessions] == [True, False]


@pytest.mark.parametrize("command", ["archive", "pin", "rm"])
def test_one_name_that_is_wrong_leaves_all_as_they_are(command: str, root: Path, store: SessionStore) -> None:
    session = store.create("one")
    done = run(command, "one", "nobody", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert (session.archived, session.pinned) == (False, False)


def test_it_is_said_how_many(root: Path, chat: Session) -> None:
    assert run_in_terminal("archive", "chat", "--root", root) == ("1 session out of the listings.\n", 0)
    assert run_in_terminal("pin", "chat", "--undo", "--root", root) == ("1 session no longer pinned.\n", 0)


# Moving


def test_a_session_is_hung_below_another_and_made_a_root(root: Path, store: SessionStore, chat: Session) -> None:
    store.create("above")
    done = run("mv", "chat", "above", "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "chat hangs below above now.\n")
    assert chat.parent_id == "above"
    moved = json.loads(run("mv", "chat", "--root-level", "--json", "--root", root).stdout)
    assert (moved["id"], moved["parent"], chat.parent_id) == ("chat", None, None)


def test_the_session_that_was_moved_is_the_last_one(root: Path, store: SessionStore, chat: Session) -> None:
    store.create("above", title="Above")
    run("mv", "chat", "above", "--root", root)
    assert run("title", "@last", "--root", root).stdout == "Old\n"


def test_a_cycle_is_refused(root: Path, store: SessionStore, chat: Session) -> None:
    below = chat.spawn("below")
    done = run("mv", "chat", "below", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert (chat.parent_id, below.parent_id) == (None, "chat")


@pytest.mark.parametrize("wrong", [(), ("above", "--root-level")])
def test_a_move_to_nowhere_or_to_two_places_is_wrong_usage(
    wrong: tuple[str, ...], root: Path, store: SessionStore, chat: Session
) -> None:
    store.create("above")
    assert run("mv", "chat", *wrong, "--root", root).returncode == 2
    assert chat.parent_id is None
