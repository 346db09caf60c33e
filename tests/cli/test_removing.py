from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from tests.cli.ageing import days_ago, deleted, living
from tests.cli.running import is_one_sentence, run
from tests.cli.screen import INTERRUPT, Terminal


@pytest.fixture
def family(store: SessionStore) -> list[Session]:
    """A root, its child, its grandchild, and one beside them."""
    top = store.create("top", title="The top")
    below = top.spawn("below")
    return [top, below, below.spawn("deep"), store.create("beside")]


# rm


def test_sessions_go_to_the_trash_without_a_question(root: Path, store: SessionStore, family: list[Session]) -> None:
    done = run("rm", "deep", "beside", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)
    assert living(store) == {"top", "below"}
    assert deleted(store) == {"deep", "beside"}


def test_what_has_children_is_refused_and_nothing_is_deleted(
    root: Path, store: SessionStore, family: list[Session]
) -> None:
    done = run("rm", "beside", "top", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    sentence, child = done.stderr.splitlines()
    assert "--cascade" in sentence
    assert "--orphan" in sentence
    assert child.strip() == "below"
    assert len(living(store)) == 4


def test_children_that_are_named_too_keep_nobody(root: Path, store: SessionStore, family: list[Session]) -> None:
    assert run("rm", "top", "below", "deep", "top", "--root", root).returncode == 0
    assert living(store) == {"beside"}


def test_children_become_roots(root: Path, store: SessionStore, family: list[Session]) -> None:
    assert run("rm", "top", "--orphan", "--root", root).returncode == 0
    assert living(store) == {"below", "deep", "beside"}
    assert family[1].parent_id is None


def test_a_cascade_without_a_terminal_does_nothing_unless_told(
    root: Path, store: SessionStore, family: list[Session]
) -> None:
    done = run("rm", "top", "--cascade", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--yes" in done.stderr.splitlines()[-1]
    assert [line.split("\t")[0] for line in done.stderr.splitlines()[:-1]] == ["top", "below", "deep"]
    assert len(living(store)) == 4
    told = run("rm", "below", "top", "--cascade", "--yes", "--json", "--root", root)
    assert json.loads(told.stdout) == {"deleted": ["top", "below", "deep"]}
    assert living(store) == {"beside"}


def test_a_cascade_that_takes_nobody_along_asks_nothing(root: Path, store: SessionStore, family: list[Session]) -> None:
    assert run("rm", "beside", "deep", "--cascade", "--root", root).returncode == 0
    assert living(store) == {"top", "below"}


@pytest.mark.parametrize("answer", ["y", "yes", "YES"])
def test_a_cascade_is_shown_and_done_when_the_person_agrees(
    answer: str, root: Path, store: SessionStore, family: list[Session]
) -> None:
    with Terminal("rm", "top", "--cascade", "--root", root) as terminal:
        terminal.wait_for("3 sessions to the trash? [y/N]")
        assert any("The top" in line for line in terminal.lines)
        assert len(living(store)) == 4
        terminal.type(f"{answer}\n")
        assert terminal.end() == 0
    assert living(store) == {"beside"}


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "\x04"])
def test_any_other_answer_does_nothing(answer: str, root: Path, store: SessionStore, family: list[Session]) -> None:
    with Terminal("rm", "top", "--cascade", "--root", root) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type(answer)
        assert terminal.end() == 1
        assert terminal.lines[-1] == "Nothing was done."
    assert len(living(store)) == 4


def test_ctrl_c_at_the_question_does_nothing(root: Path, store: SessionStore, family: list[Session]) -> None:
    with Terminal("rm", "top", "--cascade", "--root", root) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
    assert len(living(store)) == 4


def test_cascade_and_orphan_are_wrong_usage_together(root: Path, store: SessionStore, family: list[Session]) -> None:
    assert run("rm", "top", "--cascade", "--orphan", "--yes", "--root", root).returncode == 2
    assert len(living(store)) == 4


def test_a_title_in_the_question_is_shown_and_not_executed(root: Path, store: SessionStore) -> None:
    store.create("top").spawn("below", title="\x1b[2Jgone\nMove nothing? [y/N] ")
    with Terminal("rm", "top", "--cascade", "--root", root, columns=120) as terminal:
        terminal.wait_for("2 sessions to the trash? [y/N]")
        assert "\x1b[2J" not in terminal.written
        terminal.type("n\n")
        assert terminal.end() == 1


# restore


def test_what_was_deleted_together_comes_back_together(root: Path, store: SessionStore, family: list[Session]) -> None:
    store.delete("top", children="cascade")
    done = run("restore", "top", "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "top\n", "")
    assert living(store) == {"top", "below", "deep", "beside"}


def test_several_come_back_the_one_with_the_other_once(root: Path, store: SessionStore, family: list[Session]) -> None:
    store.delete("top", children="cascade")
    store.delete("beside")
    done = run("restore", "top", "below", "beside", "--root", root)
    assert done.stdout == "top\nbelow\nbeside\n"
    assert deleted(store) == set()


def test_the_beginning_of_a_deleted_id_will_do_unless_it_is_that_of_several(root: Path, store: SessionStore) -> None:
    for name in ("chat-1", "chat-2", "other"):
        store.create(name)
        store.delete(name)
    done = run("restore", "chat", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert {line.split()[0] for line in done.stderr.splitlines()[1:]} == {"chat-1", "chat-2"}
    assert run("restore", "oth", "--root", root).stdout == "other\n"
    assert deleted(store) == {"chat-1", "chat-2"}


def test_what_was_deleted_last_can_be_called_so(root: Path, store: SessionStore) -> None:
    store.create("chat")
    run("rm", "chat", "--root", root)
    assert run("restore", "@last", "--root", root).stdout == "chat\n"


def test_a_number_of_the_last_listing_finds_what_was_pruned(root: Path, store: SessionStore) -> None:
    with days_ago(100):
        store.create("older")
    with days_ago(50):
        store.create("old")
    listed = run("prune", "--older-than", "30d", "--yes", "--root", root).stdout.splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["1", "older"], ["2", "old"]]
    assert run("restore", "2", "--root", root).stdout == "old\n"


def test_a_living_session_of_that_id_is_in_the_way(root: Path, store: SessionStore) -> None:
    store.create("chat")
    store.delete("chat")
    store.create("chat", title="New")
    done = run("restore", "chat", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert store.get("chat").title == "New"


def test_what_is_not_in_the_trash_cannot_be_restored(root: Path, store: SessionStore) -> None:
    store.create("chat")
    for word in ("chat", "nothing", "1", "@last", ""):
        done = run("restore", word, "--root", root)
        assert done.returncode == 1
        assert is_one_sentence(done.stderr)


def test_a_restored_session_as_json(root: Path, store: SessionStore) -> None:
    store.create("chat", title="Back")
    store.delete("chat")
    found = json.loads(run("restore", "chat", "--json", "--root", root).stdout)
    assert [item["title"] for item in found["sessions"]] == ["Back"]


# purge


def test_purge_shows_the_trash_and_removes_it_when_told(root: Path, store: SessionStore, family: list[Session]) -> None:
    store.delete("top", children="cascade")
    refused = run("purge", "--root", root)
    assert refused.returncode == 1
    assert {line.split("\t")[0] for line in refused.stdout.splitlines()} == {"top", "below", "deep"}
    assert "--yes" in refused.stderr
    assert len(deleted(store)) == 3
    done = run("purge", "--yes", "--json", "--root", root)
    assert {item["id"] for item in json.loads(done.stdout)["purged"]} == {"top", "below", "deep"}
    assert deleted(store) == set()


def test_purge_removes_one_by_the_beginning_of_its_id(root: Path, store: SessionStore) -> None:
    for name in ("chat-1", "chat-2"):
        store.create(name)
        store.delete(name)
    assert run("purge", "chat-2", "--yes", "--root", root).returncode == 0
    assert deleted(store) == {"chat-1"}
    assert run("purge", "chat", "--yes", "--root", root).returncode == 0
    assert deleted(store) == set()


def test_purge_leaves_what_was_deleted_of_late(root: Path, store: SessionStore) -> None:
    store.create("old")
    store.create("new")
    with days_ago(40):
        store.delete("old")
    store.delete("new")
    assert run("purge", "--older-than", "30d", "--yes", "--root", root).returncode == 0
    assert deleted(store) == {"new"}
    done = run("purge", "--older-than", "30d", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)


def test_what_is_deleted_while_the_question_stands_is_not_purged(root: Path, store: SessionStore) -> None:
    for name in ("shown", "later"):
        store.create(name)
    store.delete("shown")
    with Terminal("purge", "--root", root) as terminal:
        terminal.wait_for("[y/N]")
        store.delete("later")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert deleted(store) == {"later"}


def test_purge_of_what_is_not_in_the_trash_is_an_error(root: Path, store: SessionStore) -> None:
    store.create("chat")
    done = run("purge", "chat", "--yes", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "chat" in store
