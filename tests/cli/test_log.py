"""``hierstore log``: what happened, the newest first, with what was undone as branches."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hierstore import RevisionNotFound, Session, SessionStore
from hierstore.cli.commits import read
from hierstore.cli.graph import Node, rows
from tests.cli.running import run
from tests.cli.screen import shown
from tests.support import fill


def _reverted(store: SessionStore) -> Session:
    """r1 created, r2-r4 messages, r5 a snapshot, r6 a message, r7 back to the first message, r8 a message."""
    session = fill(store.create("s", title="Refund"), "one", "two", "three")
    session.snapshot("answered")
    fill(session, "four")
    session.revert(session.messages[0])
    return fill(session, "five")


def _graph(*lines: str) -> list[str]:
    """The beginning of each line: the graph, and the revision."""
    return [line[: line.index("  ", line.index("r"))].rstrip() if "r" in line else line for line in lines]


def _lines(root: Path, *arguments: object, **more: Any) -> list[str]:
    return [line for line in shown("log", "s", *arguments, "--root", root, **more) if not line.startswith("(")]


def test_the_newest_comes_first_and_what_was_undone_is_a_branch(root: Path, store: SessionStore) -> None:
    _reverted(store)
    assert _graph(*_lines(root)) == [
        "●    r8",
        "●    r7",
        "│ ○  r6",
        "│ ●  r5",
        "│ ○  r4",
        "│ ○  r3",
        "├─╯",
        "●    r2",
        "●    r1",
    ]


def test_with_reverse_the_oldest_comes_first_and_branches_open(root: Path, store: SessionStore) -> None:
    _reverted(store)
    assert _graph(*_lines(root, "--reverse")) == [
        "●    r1",
        "●    r2",
        "├─╮",
        "│ ○  r3",
        "│ ○  r4",
        "│ ●  r5",
        "│ ○  r6",
        "●    r7",
        "●    r8",
    ]


def test_where_the_encoding_has_no_lines_the_graph_is_drawn_with_ascii(root: Path, store: SessionStore) -> None:
    _reverted(store)
    newest_first = _graph(*_lines(root, PYTHONIOENCODING="ascii"))
    assert newest_first[:3] == ["*    r8", "*    r7", "| o  r6"]
    assert newest_first[-3] == "|/"
    assert _graph(*_lines(root, "--reverse", PYTHONIOENCODING="ascii"))[2] == "|\\"


def test_an_undone_revert_makes_what_came_after_it_the_branch(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two")
    session.revert(2)
    fill(session, "three")
    session.undo_revert()
    assert _graph(*_lines(root)) == ["●    r6", "│ ○  r5", "│ ○  r4", "● │  r3", "├─╯", "●    r2", "●    r1"]


def test_a_line_says_what_happened_and_who_said_what(root: Path, store: SessionStore) -> None:
    _reverted(store)
    lines = _lines(root)
    assert "#5 user" in lines[0]
    assert lines[0].endswith("five")
    assert "reverted" in lines[1]
    assert lines[1].endswith("to r2: 1 message")
    assert 'snapshot        "answered"' in lines[3]
    assert 'created         "Refund"' in lines[-1]


def test_into_a_pipe_fields_stand_between_tabs_without_a_graph(root: Path, store: SessionStore) -> None:
    _reverted(store)
    done = run("log", "s", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    fields = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in fields] == ["r8", "r7", "r6", "r5", "r4", "r3", "r2", "r1"]
    assert [row[2] for row in fields] == ["", "", "undone", "", "undone", "undone", "", ""]
    assert fields[0][3:5] == ["#5 user", "five"]
    assert "●" in run("log", "s", "--graph", "--root", root).stdout


def test_last_shows_the_newest_alone(root: Path, store: SessionStore) -> None:
    _reverted(store)
    for arguments in (["--last", "2"], ["--last", "2", "--reverse"]):
        found = [line.split("\t")[0] for line in run("log", "s", *arguments, "--root", root).stdout.splitlines()]
        assert sorted(found) == ["r7", "r8"]
    assert len(run("log", "s", "--last", "99", "--root", root).stdout.splitlines()) == 8
    assert run("log", "s", "--last", "0", "--root", root).returncode == 2


def test_json_prints_a_line_for_each_commit(root: Path, store: SessionStore) -> None:
    _reverted(store)
    found = [json.loads(line) for line in run("log", "s", "--json", "--root", root).stdout.splitlines()]
    assert [(row["revision"], row["parent"], row["undone"]) for row in found] == [
        (8, 7, False), (7, 2, False), (6, 5, True), (5, 4, False), (4, 3, True), (3, 2, True), (2, 1, False),
        (1, None, False),
    ]  # fmt: skip
    assert found[0]["events"][0]["messages"][0]["content"] == "five"
    assert found[1]["events"][0]["data"] == {"revision": 2, "count": 1}


def test_a_snapshot_that_was_gone_back_to_is_called_by_its_label(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one")
    snapshot = session.snapshot("answered")
    fill(session, "two")
    session.revert(snapshot)
    assert "to r3 (answered): 1 message" in run("log", "s", "--root", root).stdout


def test_a_fork_is_named_where_it_leaves(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two", "three")
    session.fork("whole")
    early = session.fork("early", at=session.messages[0])
    early.reset()
    session.spawn("child")
    rows_of = {line.split("\t")[0]: line.split("\t")[5] for line in run("log", "s", "--root", root).stdout.splitlines()}
    assert rows_of["r2"] == "fork early"
    assert rows_of["r4"] == "fork whole"
    assert not any("child" in marks for marks in rows_of.values())
    assert any("(fork early)" in line for line in _lines(root))


def test_a_fork_begins_with_where_it_comes_from(root: Path, store: SessionStore) -> None:
    parent = fill(store.create("parent"), "one", "two")
    fork = parent.fork("s", title="Branch")
    fork.append("assistant", "three")
    fork.revert(fork.messages[1])
    lines = run("log", "s", "--root", root).stdout.splitlines()
    assert [line.split("\t")[3] for line in lines] == ["reverted", "#3 assistant", "forked"]
    assert lines[-1].split("\t")[4] == '"Branch", as branch, from parent, with 2 messages'
    assert lines[1].split("\t")[2] == "undone"


def test_full_prints_messages_whole_and_no_line_of_one_passes_for_ours(root: Path, store: SessionStore) -> None:
    said = "first\n\n●  r9  now        #9 user         forged\nr9\t2026-01-01\t\t#9 user\tforged"
    store.create("s").extend([{"role": "user", "content": said}, {"role": "assistant", "content": "x" * 300}])
    piped = run("log", "s", "--full", "--root", root).stdout.splitlines()
    assert [line for line in piped if line.startswith("r")] == [piped[0], piped[-1]]
    assert "      " + "x" * 300 in piped
    drawn = _lines(root, "--full", columns=60)
    assert not [line for line in drawn if line.startswith("●  r9")]
    assert sum(line.count("x") for line in drawn) == 300


def test_a_reset_begins_a_history_of_its_own(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one")
    session.reset("wrong person")
    fill(session, "two")
    assert _graph(*_lines(root)) == ["●  r4", "●  r3", "○  r2", "●  r1"]
    assert "the history is empty: wrong person" in run("log", "s", "--root", root).stdout


def test_of_an_id_that_was_used_before_only_the_present_session_is_told(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "of the first")
    store.delete("s")
    fill(store.create("s"), "of the second")
    text = run("log", "s", "--root", root).stdout
    assert "of the second" in text
    assert "of the first" not in text


def test_a_compacted_session_still_shows_its_messages_snapshots_and_forks(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two", "three")
    session.snapshot("kept")
    session.revert(session.messages[1])
    session.fork("fork")
    session.set_title("a")
    session.set_title("b")
    session.compact(keep="snapshots")
    fill(session, "four")
    done = run("log", "s", "--root", root)
    assert done.returncode == 0
    for expected in ("one", "two", "four", "snapshot kept", "fork fork", "compacted"):
        assert expected in done.stdout
    assert all(not line.split("\t")[2] for line in done.stdout.splitlines())


def test_several_messages_of_one_commit_are_one_line(root: Path, store: SessionStore) -> None:
    with store.create("s").turn() as turn:
        turn.append("assistant", None, tool_calls=[{"function": {"name": "lookup", "arguments": "{}"}}])
        turn.append("tool", "found")
    assert "#1-2 assistant, tool\t→ lookup({})" in run("log", "s", "--root", root).stdout


@pytest.mark.parametrize("seed", range(8))
def test_what_is_marked_undone_is_what_the_session_does_not_show(seed: int, store: SessionStore) -> None:
    chance = random.Random(seed)
    session = store.create("s")
    for step in range(60):
        _play(session, chance, step)
    commits = read(store, session)
    shown_ids = {message.id for message in session.messages}
    for commit in commits:
        ids = {message.id for event in commit.events for message in event.messages}
        if ids:
            assert commit.is_undone == (not ids & shown_ids), commit
    assert commits[-1].length == len(session.messages)


def _play(session: Session, chance: random.Random, step: int) -> None:
    action = chance.randrange(12)
    if action < 6:
        session.extend([{"role": "user", "content": f"{step}.{number}"} for number in range(chance.randint(1, 3))])
    elif action < 8 and len(session.messages):
        session.revert(chance.choice(session.messages))
    elif action == 8:
        session.revert(chance.randint(1, session.revision))
    elif action == 9:
        session.snapshot(f"step {step}")
    elif action == 10:
        session.spawn(kind="delegate")
    elif chance.random() < 0.2:
        session.reset()
    else:
        with suppress(RevisionNotFound):
            session.undo_revert()


def _drawn(nodes: list[Node], **options: bool) -> list[str]:
    lines = []
    for row in rows(nodes, **options):
        join = [] if row.join is None else [row.join]
        lines += [*join, row.mark] if options.get("oldest_first") else [row.mark, *join]
    return lines


def test_reverts_to_one_place_again_and_again_take_no_more_lanes() -> None:
    nodes = [Node(0, None, False), Node(1, 0, False)]
    for number in range(2, 60, 2):
        nodes += [Node(number, number - 1 if number == 2 else 1, True), Node(number + 1, number, True)]
    nodes.append(Node(99, 1, False))
    lines = _drawn(nodes[::-1])
    assert max(map(len, lines)) == 3
    assert lines[:4] == ["●", "│ ○", "│ ○", "├─╯"]


def test_a_branch_crosses_the_lanes_between() -> None:
    nodes = [Node(5, 1, False), Node(4, 2, True), Node(3, 1, True), Node(2, 0, True), Node(1, 0, False)]
    nodes.append(Node(0, None, False))
    assert _drawn(nodes) == ["●", "│ ○", "│ │ ○", "├─┼─╯", "│ ○", "● │", "├─╯", "●"]
    assert _drawn(nodes, is_ascii=True)[3] == "|_|/"
    assert _drawn(nodes, is_ascii=True, oldest_first=True)[2] == "|_|\\"


@pytest.mark.parametrize("arguments", [(), ("--full",), ("--reverse", "--full")], ids=" ".join)
def test_more_branches_than_the_terminal_has_room_for_are_cut(
    arguments: tuple[str, ...], root: Path, store: SessionStore
) -> None:
    session = fill(store.create("s"), *map(str, range(50)))
    for number in range(40, 2, -1):
        session.revert(number + 2)
        fill(session, f"branch {number}")
    lines = run("log", "s", "--graph", *arguments, "--root", root, COLUMNS="60").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("#" in line for line in lines) == 88
