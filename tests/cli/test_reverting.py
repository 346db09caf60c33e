from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from tests.cli.running import is_one_sentence, run, run_in_terminal
from tests.support import texts


@pytest.fixture
def chat(store: SessionStore) -> Session:
    session = store.create("chat", title="Old")
    for number in range(1, 4):
        session.append("user", f"text {number}", message_id=f"m-{number}")
    session.snapshot("three")
    session.append("user", "text 4")
    return session


@pytest.mark.parametrize(("word", "length"), [("2", 2), ("#1", 1), ("m-3", 3), ("three", 3), ("r2", 1), ("r1", 0)])
def test_the_history_is_again_what_it_was_there(word: str, length: int, root: Path, chat: Session) -> None:
    done = run("revert", "chat", word, "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)
    assert texts(chat) == ["text 1", "text 2", "text 3", "text 4"][:length]


def test_undo_brings_back_what_was_reverted(root: Path, chat: Session) -> None:
    before = texts(chat)
    run("revert", "chat", "1", "--root", root)
    done = run("undo", "chat", "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "chat has 4 messages now.\n")
    assert texts(chat) == before


def test_undo_says_what_left_the_history_and_how_it_comes_back(root: Path, chat: Session) -> None:
    chat.revert("m-2")
    chat.append("user", "other 3")
    chat.append("user", "other 4")
    done = run("undo", "chat", "--root", root)
    assert done.returncode == 0
    assert is_one_sentence(done.stderr)
    assert "2 messages" in done.stderr
    assert texts(chat)[-1] == "text 4"
    word = next(word for word in done.stderr.replace("`", " ").split() if word.startswith("r") and word[1:].isdigit())
    assert run("revert", "chat", word, "--root", root).returncode == 0
    assert texts(chat) == ["text 1", "text 2", "other 3", "other 4"]


def test_without_a_revert_there_is_nothing_to_undo(root: Path, chat: Session) -> None:
    done = run("undo", "chat", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert len(chat.messages) == 4


@pytest.mark.parametrize("word", ["9", "r99", "nothing"])
def test_what_is_not_there_is_one_sentence_and_changes_nothing(word: str, root: Path, chat: Session) -> None:
    revision = chat.revision
    done = run("revert", "chat", word, "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert chat.revision == revision


def test_both_print_the_session_as_json(root: Path, chat: Session) -> None:
    assert json.loads(run("revert", "chat", "1", "--json", "--root", root).stdout)["messages"] == 1
    assert json.loads(run("undo", "chat", "--json", "--root", root).stdout)["messages"] == 4


def test_it_is_said_what_happened(root: Path, chat: Session) -> None:
    written, status = run_in_terminal("revert", "chat", "three", "--root", root)
    assert (status, written) == (0, "chat has 3 messages now, 1 fewer; `hierstore undo` goes back.\n")
    written, status = run_in_terminal("undo", "chat", "--root", root)
    assert (status, written) == (0, "chat has 4 messages now.\n")


def test_a_dash_before_a_place_does_not_pass_for_an_option_of_another_meaning(root: Path, chat: Session) -> None:
    assert run("revert", "chat", "-1", "--root", root).returncode == 2
    assert len(chat.messages) == 4
