from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import COLUMNS, is_one_sentence, plain, run, run_in_terminal, start
from tests.cli.screen import INTERRUPT, Terminal
from tests.support import contents


def _family(store: SessionStore) -> None:
    lead = store.create("lead", title="Plan a trip")
    lead.extend([{"role": "user", "content": str(number)} for number in range(3)])
    lead.spawn("hotels", kind="delegate", title="Find hotels").append("user", "x")
    lead.children[0].spawn("prices", kind="delegate")
    lead.fork("what-if", title="By train")
    store.create("other")


def test_the_hierarchy_is_drawn_with_ids_kinds_counts_and_titles(root: Path, store: SessionStore) -> None:
    _family(store)
    done = run("tree", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 roots, 5 sessions, 7 messages",
        "lead  3 messages, 2 children  Plan a trip",
        "├── hotels  delegate, 1 message, 1 child  Find hotels",
        "│   └── prices  delegate, 0 messages",
        "└── what-if  branch, fork at #3, 3 messages  By train",
        "other  0 messages",
    ]


def test_a_session_is_drawn_with_what_is_below_it_alone(root: Path, store: SessionStore) -> None:
    _family(store)
    assert run("tree", "hotels", "--root", root).stdout.splitlines() == [
        "1 root, 2 sessions, 1 message",
        "hotels  delegate, 1 message, 1 child  Find hotels",
        "└── prices  delegate, 0 messages",
    ]


def test_depth_ends_the_branches_and_says_how_much_is_below(root: Path, store: SessionStore) -> None:
    _family(store)
    assert run("tree", "--depth", "0", "--root", root).stdout.splitlines()[1:] == [
        "lead  3 messages, 3 more below  Plan a trip",
        "other  0 messages",
    ]


def test_an_empty_store_says_how_to_begin(root: Path, store: SessionStore) -> None:
    done = run("tree", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hierstore new" in done.stderr


def test_drawing_writes_nothing(root: Path, store: SessionStore) -> None:
    _family(store)
    before = contents(root)
    run("tree", "--root", root)
    assert contents(root) == before


def test_fifty_roots_and_two_hundred_children_fit_in_80_columns(root: Path, store: SessionStore) -> None:
    for task in range(50):
        parent = store.create(f"a-file-of-some-length/{task}", title=f"Task {task}")
        for trial in range(4):
            child = parent.spawn(f"{parent.id}/{trial}", kind="trial", title="Please change my flight 漢字 " * 5)
            child.append("user", "x")
    written, status = run_in_terminal("tree", "--root", root)
    lines = plain(written)
    assert status == 0
    assert lines[0] == "50 roots, 250 sessions, 200 messages"
    assert len(lines) == 1 + 250 + 1  # one each, and what follows the last newline
    assert max(map(cell_len, lines)) <= COLUMNS
    assert sum("a-file-of-some-length/17/3  trial, 1 message  Please" in line for line in lines) == 1
    assert sum(line.endswith("…") for line in lines) == 200


def test_a_long_id_is_cut_in_a_terminal_so_that_the_facts_stay_and_whole_in_a_pipe(
    root: Path, store: SessionStore
) -> None:
    store.create("i" * 512, title="The title").append("user", "x")
    line = plain(run_in_terminal("tree", "--root", root)[0])[1]
    assert cell_len(line) <= COLUMNS
    assert "…  1 message" in line
    assert "i" * 512 + "  1 message  The title" in run("tree", "--root", root).stdout


def test_a_very_deep_branch_is_cut_where_a_line_would_have_no_room(root: Path, store: SessionStore) -> None:
    session = store.create("level-0")
    for level in range(1, 200):
        session = session.spawn(f"level-{level}", title="t" * 100)
    lines = plain(run_in_terminal("tree", "--root", root)[0])
    assert max(map(cell_len, lines)) <= COLUMNS
    assert lines[0].startswith("1 root, 200 sessions")
    last = int(lines[-2].split("level-")[1].split()[0])
    assert f"{199 - last} more below" in lines[-2]
    assert run("tree", "--root", root).returncode == 0


def test_control_characters_and_markup_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold]x[/] [/nope] :smile: \u202e\x9b31m\rline\nline"
    store.create(evil, title=evil).spawn("child", kind=evil)
    shown = "".join(plain(run_in_terminal("tree", "--root", root)[0]))
    piped = run("tree", "--root", root).stdout
    for text in (shown, piped.replace("\n", "")):
        assert text.isprintable()
        assert "\\x1b]0;owned\\x07\\x1b[2J[bold]x" in text
    assert "[bold]x[/] [/nope] :smile: \\u202e\\x9b31m" in piped
    assert len(piped.splitlines()) == 3


def test_a_fork_says_where_it_begins(root: Path, store: SessionStore) -> None:
    _family(store)
    lead = store.get("lead")
    lead.fork("early", at=lead.messages[0].id, kind=None)
    assert run("tree", "early", "--root", root).stdout.splitlines()[1] == "early  fork at #1, 1 message"


@pytest.mark.parametrize("columns", [60, 120, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, root: Path, store: SessionStore) -> None:
    session = store.create("漢字" * 60, title="שלום " * 40)
    for level in range(30):
        session = session.spawn(f"level-{level}-" + "é" * 50, title="👩‍👩‍👧" * 30, kind="k" * 60)
    lines = plain(run_in_terminal("tree", "--root", root, columns=columns)[0])
    assert max(map(cell_len, lines)) <= columns


# JSON


def _ids(node: dict[str, Any]) -> list[Any]:
    return [node["id"], *(_ids(child) for child in node["children"])]


def test_json_is_the_whole_tree_on_one_line(root: Path, store: SessionStore) -> None:
    _family(store)
    done = run("tree", "--json", "--root", root)
    assert done.stdout.count("\n") == 1
    roots = json.loads(done.stdout)["roots"]
    assert [_ids(node) for node in roots] == [["lead", ["hotels", ["prices"]], ["what-if"]], ["other"]]
    fork = roots[0]["children"][1]
    assert fork == {
        "id": "what-if", "title": "By train", "kind": "branch", "messages": 3, "forked_at": 3, "error": None,
        "children": [],
    }  # fmt: skip
    assert _ids(json.loads(run("tree", "hotels", "--json", "--root", root).stdout)["roots"][0])[0] == "hotels"


def test_json_of_a_hierarchy_deeper_than_the_stack_is_whole(root: Path, store: SessionStore) -> None:
    session = store.create("0")
    for level in range(1, 600):
        session = session.spawn(str(level))
    done = run("tree", "--json", "--root", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"children":[') == 600
    assert done.stdout.endswith("]}" * 601 + "\n")
    assert run("tree", "--root", root).returncode == 0


# Watching


def _lines_until(output: IO[str], wanted: str) -> list[str]:
    """Read lines up to and with one that has something in it."""
    lines = []
    for line in output:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"it ended without {wanted!r}: {''.join(lines)}")


def _interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_watch_draws_again_what_any_process_changes_until_ctrl_c(root: Path, store: SessionStore) -> None:
    _family(store)
    with Terminal("tree", "--watch", "--root", root) as terminal:
        terminal.wait_for("2 roots, 5 sessions, 7 messages")
        store.get("other").append("user", "x")
        terminal.wait_for("2 roots, 5 sessions, 8 messages")
        assert sum("lead" in line for line in terminal.lines) == 1, "drawn over, not below"
        store.get("lead").spawn("a-new-one", title="just now")
        terminal.wait_for("a-new-one")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.written
    assert store.check().ok


def test_watch_in_a_small_window_says_what_it_has_no_room_for_and_follows_its_size(
    root: Path, store: SessionStore
) -> None:
    for number in range(30):
        store.create(f"session-{number}")
    with Terminal("tree", "--watch", "--root", root, rows=10) as terminal:
        terminal.wait_for("… 22 more lines")
        assert len(terminal.lines) == 10
        terminal.resize(60, 20)
        terminal.wait_for("… 12 more lines")
        store.create("another")
        terminal.wait_for("31 roots")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
        assert "session-29" not in terminal.written


def test_watch_into_a_pipe_prints_one_drawing_after_the_other(root: Path, store: SessionStore) -> None:
    _family(store)
    process = start("tree", "lead", "--watch", "--root", root)
    assert process.stdout is not None
    _lines_until(process.stdout, "what-if")
    store.get("hotels").append("user", "y")
    assert "2 messages" in _lines_until(process.stdout, "hotels")[-1]
    assert _interrupted(process) == (130, "")


def test_watch_with_json_prints_a_line_for_each_change(root: Path, store: SessionStore) -> None:
    store.create("a")
    process = start("tree", "--watch", "--json", "--root", root)
    assert process.stdout is not None
    assert [node["id"] for node in json.loads(process.stdout.readline())["roots"]] == ["a"]
    store.create("b")
    assert [node["id"] for node in json.loads(process.stdout.readline())["roots"]] == ["a", "b"]
    assert _interrupted(process) == (130, "")


def test_watching_a_session_that_is_deleted_ends_with_a_sentence(root: Path, store: SessionStore) -> None:
    store.create("a")
    process = start("tree", "a", "--watch", "--root", root)
    assert process.stdout is not None
    _lines_until(process.stdout, "a  0 messages")
    store.delete("a")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert is_one_sentence(errors)
