from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from hierstore.cli.targets import is_number, target
from hierstore.cli.text import Refused
from tests.cli.running import is_one_sentence, run, run_in_terminal
from tests.support import texts


@pytest.fixture
def chat(store: SessionStore) -> Session:
    session = store.create("chat")
    for number in range(1, 5):
        session.append("user", f"text {number}", message_id=f"m-{number}")
    return session


# What a word names


def test_a_number_is_a_message_an_r_a_revision_and_another_word_a_snapshot_or_an_id(chat: Session) -> None:
    first = chat.snapshot("same")
    latest = chat.snapshot("same")
    assert target(chat, "2") == target(chat, "#2") == target(chat, "#002") == "m-2"
    assert target(chat, "r3") == 3
    assert target(chat, "same") == latest.id
    assert target(chat, first.id) == first.id
    assert target(chat, "m-4") == "m-4"


def test_numbers_go_on_behind_what_was_undone_and_none_is_taken_for_another(chat: Session) -> None:
    chat.revert("m-2")
    chat.append("user", "text 5", message_id="m-5")
    assert [message.seq for message in chat.messages] == [1, 2, 5]
    assert target(chat, "5") == "m-5"
    for missing in ("0", "3", "#4", "6"):
        with pytest.raises(Refused, match="has no message"):
            target(chat, missing)


def test_a_label_that_is_a_number_is_asked_about_and_both_can_be_written(chat: Session) -> None:
    labelled = [chat.snapshot("2"), chat.snapshot("#3"), chat.snapshot("r2")]
    others = ["#2", "#03", "r02"]
    meant = ["m-2", "m-3", 2]
    for snapshot, other, what in zip(labelled, others, meant, strict=True):
        assert snapshot.label is not None
        assert is_number(snapshot.label)
        with pytest.raises(Refused) as refused:
            target(chat, snapshot.label)
        assert f"write {other} " in str(refused.value)
        assert snapshot.id in str(refused.value)
        assert target(chat, other) == what


# Forks


def test_a_fork_has_the_history_up_to_and_with_what_was_named(root: Path, store: SessionStore, chat: Session) -> None:
    snapshot = chat.snapshot("all")
    wanted = {"2": 2, "#3": 3, "r3": 2, "m-1": 1, "all": 4, snapshot.id: 4}
    for word, length in wanted.items():
        done = run("fork", "chat", "--at", word, "--root", root)
        assert (done.returncode, done.stderr) == (0, "")
        assert texts(store.get(done.stdout.strip())) == texts(chat)[:length]


def test_a_fork_takes_its_id_title_and_kind(root: Path, store: SessionStore, chat: Session) -> None:
    assert run("fork", "chat", "other", "--title", "Other", "--kind", "trial", "--root", root).stdout == "other\n"
    info = store.get("other").info
    assert (info.title, info.kind, info.parent_id, info.message_count) == ("Other", "trial", "chat", 4)
    assert store.get(run("fork", "chat", "--root", root).stdout.strip()).kind == "branch"


def test_the_fork_is_the_last_session(root: Path, store: SessionStore, chat: Session) -> None:
    fork_id = run("fork", "chat", "--root", root).stdout.strip()
    run("title", "@last", "Forked", "--root", root)
    assert store.get(fork_id).title == "Forked"


def test_a_fork_as_json_is_the_session(root: Path, chat: Session) -> None:
    fork = json.loads(run("fork", "chat", "--at", "2", "--json", "--root", root).stdout)
    assert (fork["parent"], fork["messages"], fork["kind"]) == ("chat", 2, "branch")


@pytest.mark.parametrize("word", ["9", "#0", "r99", "nothing", ""])
def test_a_place_that_is_not_there_is_one_sentence_and_makes_no_fork(
    word: str, root: Path, store: SessionStore, chat: Session
) -> None:
    done = run("fork", "chat", "--at", word, "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert chat.children == ()


def test_a_terminal_is_told_how_much_the_fork_shares(root: Path, chat: Session) -> None:
    written, status = run_in_terminal("fork", "chat", "other", "--at", "3", "--root", root)
    assert status == 0
    assert "3 messages" in written


# Snapshots


def test_a_snapshot_prints_its_id_and_names_the_present(root: Path, chat: Session) -> None:
    done = run("snapshot", "chat", "before lunch", "--root", root)
    (snapshot,) = chat.snapshots
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{snapshot.id}\n", "")
    assert (snapshot.label, snapshot.revision) == ("before lunch", chat.revision)


def test_a_snapshot_needs_no_label(root: Path, chat: Session) -> None:
    assert run("snapshot", "chat", "--root", root).returncode == 0
    assert [snapshot.label for snapshot in chat.snapshots] == [None]


def test_a_label_that_is_used_again_is_said(root: Path, chat: Session) -> None:
    chat.snapshot("same")
    done = run("snapshot", "chat", "same", "--root", root)
    assert is_one_sentence(done.stderr)
    assert len(chat.snapshots) == 2


@pytest.mark.parametrize("label", ["12", "#12", "r40"])
def test_a_label_that_would_be_taken_for_a_number_is_wrong_usage(label: str, root: Path, chat: Session) -> None:
    done = run("snapshot", "chat", label, "--root", root)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert chat.snapshots == ()


def test_snapshots_are_listed(root: Path, chat: Session) -> None:
    assert run("snapshot", "chat", "--list", "--root", root).stdout == ""
    snapshots = [chat.snapshot("one"), chat.snapshot()]
    rows = [line.split("\t") for line in run("snapshot", "chat", "--list", "--root", root).stdout.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("one", f"r{snapshots[0].revision}", snapshots[0].id),
        ("", f"r{snapshots[1].revision}", snapshots[1].id),
    ]
    listed = json.loads(run("snapshot", "chat", "--list", "--json", "--root", root).stdout)
    assert [item["id"] for item in listed["snapshots"]] == [snapshot.id for snapshot in snapshots]
    assert len(chat.snapshots) == 2


def test_a_label_and_the_list_are_wrong_usage_together(root: Path, chat: Session) -> None:
    assert run("snapshot", "chat", "x", "--list", "--root", root).returncode == 2
    assert chat.snapshots == ()
