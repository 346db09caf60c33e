from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import COLUMNS, plain, run, run_in_terminal
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
        "└── what-if  branch, 3 messages  By train",
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


def test_an_empty_store_says_so(root: Path, store: SessionStore) -> None:
    assert run("tree", "--root", root).stdout == "The store holds no sessions yet.\n"


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
