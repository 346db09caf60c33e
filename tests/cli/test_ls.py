from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, plain, run, run_in_terminal
from tests.cli.screen import shown
from tests.support import contents


def _rows(*arguments: object, root: Path) -> list[list[str]]:
    """What ``ls`` prints into a pipe, by field."""
    done = run("ls", *arguments, "--root", root)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def _ids(*arguments: object, root: Path) -> list[str]:
    return [row[1] for row in _rows(*arguments, root=root)]


def _many(store: SessionStore) -> None:
    lead = store.create("lead", title="Plan a trip", labels=["work", "urgent"])
    lead.append("user", "x")
    lead.spawn("helper", kind="delegate").append("user", "a preview of it")
    store.create("pinned", labels=["work"]).update(pinned=True)
    store.create("asleep").update(suspended=True)
    store.create("old").update(archived=True)


def test_sessions_are_listed_the_latest_changed_first_a_line_each(root: Path, store: SessionStore) -> None:
    _many(store)
    store.get("lead").append("user", "y")
    rows = _rows(root=root)
    assert [row[1] for row in rows] == ["lead", "asleep", "pinned", "helper"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert {len(row) for row in rows} == {8}
    number, session_id, kind, messages, updated, flags, labels, title = rows[0]
    assert (number, session_id, kind, messages, flags, labels, title) == (
        "1", "lead", "", "2", "", "work, urgent", "Plan a trip",
    )  # fmt: skip
    assert updated[:2] == "20"
    assert rows[3][2:4] == ["delegate", "1"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--roots"], ["asleep", "lead", "pinned"]),
        (["--parent", "lead"], ["helper"]),
        (["--parent", "lea"], ["helper"]),
        (["--label", "work"], ["lead", "pinned"]),
        (["--label", "work", "--label", "urgent"], ["lead"]),
        (["--kind", "delegate"], ["helper"]),
        (["--pinned"], ["pinned"]),
        (["--suspended"], ["asleep"]),
        (["--archived"], ["old"]),
        (["--all"], ["asleep", "helper", "lead", "old", "pinned"]),
        (["--label", "none such"], []),
    ],
    ids=" ".join,
)
def test_each_filter_shows_what_it_says(
    arguments: list[str], wanted: list[str], root: Path, store: SessionStore
) -> None:
    _many(store)
    assert sorted(_ids(*arguments, root=root)) == wanted


def test_it_can_be_ordered_by_title_and_by_creation(root: Path, store: SessionStore) -> None:
    for title in ("beta", "Alpha", "gamma"):
        store.create(title, title=title)
    store.get("beta").append("user", "x")
    assert _ids("--order", "title", root=root) == ["Alpha", "beta", "gamma"]
    assert _ids("--order", "created", root=root) == ["gamma", "Alpha", "beta"]
    assert _ids(root=root) == ["beta", "gamma", "Alpha"]


def test_a_page_says_how_to_get_the_next_and_numbers_go_on(root: Path, store: SessionStore) -> None:
    for number in range(5):
        store.create(f"s{number}")
    done = run("ls", "--limit", 2, "--root", root)
    assert len(done.stdout.splitlines()) == 2
    assert "--page 2" in done.stderr
    assert [row[:2] for row in _rows("--limit", 2, "--page", 2, root=root)] == [["3", "s2"], ["4", "s1"]]
    assert run("show", "4", "--last", "0", "--root", root).stdout.splitlines()[0] == "s1"
    assert run("show", "1", "--last", "0", "--root", root).stdout.splitlines()[0] == "s4", "the first page's too"
    last = run("ls", "--limit", 2, "--page", 3, "--root", root)
    assert (last.stdout.split("\t")[1], last.stderr) == ("s0", "")
    beyond = run("ls", "--limit", 2, "--page", 4, "--root", root)
    assert (beyond.returncode, beyond.stdout) == (0, "")
    assert is_one_sentence(beyond.stderr)


def test_a_cursor_goes_on_behind_a_page(root: Path, store: SessionStore) -> None:
    for number in range(5):
        store.create(f"s{number}")
    seen: list[str] = []
    after: list[str] = []
    while True:
        page = json.loads(run("ls", "--limit", 2, *after, "--json", "--root", root).stdout)
        seen += [item["id"] for item in page["sessions"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    assert "--after" in run("ls", "--limit", 2, *after[:1], _first_cursor(root), "--root", root).stderr


def _first_cursor(root: Path) -> str:
    found = json.loads(run("ls", "--limit", 2, "--json", "--root", root).stdout)["next"]
    assert isinstance(found, str)
    return found


def test_numbers_mean_the_last_listing(root: Path, store: SessionStore) -> None:
    store.create("a")
    store.create("b")
    _rows(root=root)
    store.create("c")
    assert run("show", "1", "--root", root).stdout.splitlines()[0] == "b"
    _rows("--order", "title", root=root)
    assert run("show", "1", "--root", root).stdout.splitlines()[0] == "a"


def test_json_has_the_facts_of_each_session_on_one_line(root: Path, store: SessionStore) -> None:
    _many(store)
    done = run("ls", "--kind", "delegate", "--json", "--root", root)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert found["next"] is None
    [helper] = found["sessions"]
    assert (helper["id"], helper["parent"], helper["messages"]) == ("helper", "lead", 1)
    assert helper["preview"] == "a preview of it"


def test_the_trash_is_listed_the_latest_deleted_first(root: Path, store: SessionStore) -> None:
    for name in ("a", "b"):
        store.create(name)
        store.delete(name)
    rows = _rows("--trash", root=root)
    assert [row[:2] for row in rows] == [["1", "b"], ["2", "a"]]
    assert int(rows[0][3]) > 0
    found = json.loads(run("ls", "--trash", "--json", "--root", root).stdout)["trash"]
    assert [item["id"] for item in found] == ["b", "a"]
    assert run("restore", "2", "--root", root).stdout == "a\n"
    assert _ids(root=root) == ["a"]


def test_an_empty_store_says_how_to_begin_and_a_filter_that_nothing_fits_says_so(
    root: Path, store: SessionStore
) -> None:
    done = run("ls", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hierstore new" in done.stderr
    store.create("old").update(archived=True)
    assert "--all" in run("ls", "--root", root).stderr
    assert run("ls", "--label", "x", "--root", root).stderr == "No such sessions.\n"
    assert run("ls", "--trash", "--root", root).stderr == "The trash is empty.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--archived", "--all"),
        ("--roots", "--parent", "a"),
        ("--after", "x", "--page", "2"),
        ("--limit", "0"),
        ("--limit", "10001"),
        ("--limit", "5000", "--page", "3"),
        ("--order", "size"),
        ("--trash", "--pinned"),
        ("--trash", "--label", "x"),
    ],
    ids=" ".join,
)
def test_what_contradicts_itself_is_wrong_usage(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    store.create("a")
    done = run("ls", *arguments, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_cursor_that_is_none_and_a_parent_that_is_none_are_sentences(root: Path, store: SessionStore) -> None:
    store.create("a")
    for arguments in (("--after", "nonsense"), ("--parent", "nobody")):
        done = run("ls", *arguments, "--root", root)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_columns_line_up_and_no_line_is_wider_than_the_terminal(columns: int, root: Path, store: SessionStore) -> None:
    for number, title in enumerate(["漢字かな" * 20, "x" * 300, "👩‍👩‍👧 family " * 9, "short", None]):
        session = store.create(f"session-with-a-long-id-{number}" * 3, title=title, labels=["label"] * (number == 1))
        session.append("user", "a preview, where there is no title " * 9)
    lines = shown("ls", "--root", root, columns=columns)
    assert len(lines) == 6
    assert max(map(cell_len, lines)) <= columns
    head = lines[0].index("MESSAGES")
    for line in lines[1:]:
        assert line[:1] != "\t"
        assert line[head + len("MESSAGES") - 1] == "1", "the numbers stand below their head"


def test_a_title_from_right_to_left_leaves_the_columns_before_it_in_place(root: Path, store: SessionStore) -> None:
    store.create("a", title="שלום עולם")
    store.create("שלום", title="b")
    written = "".join(plain(run_in_terminal("ls", "--root", root)[0]))
    assert "\u2068שלום\u2069" in written
    assert "\u2068שלום עולם\u2069" in written
    assert "\u2068" not in run("ls", "--root", root).stdout


def test_in_a_terminal_the_preview_stands_for_a_title_and_empty_columns_are_left_out(
    root: Path, store: SessionStore
) -> None:
    store.create("a").append("user", "the last words")
    head, row = shown("ls", "--root", root)
    assert head.split() == ["#", "ID", "MESSAGES", "UPDATED", "TITLE"]
    assert "“the last words”" in row
    assert "last words" not in run("ls", "--root", root).stdout


def test_control_characters_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\tx\nline"
    store.create(evil, title=evil, kind=evil, labels=[evil]).append("user", evil)
    store.create("gone" + evil)
    store.delete("gone" + evil)
    for arguments in (("ls",), ("ls", "--trash")):
        piped = run(*arguments, "--root", root).stdout
        assert piped.count("\n") == 1
        assert piped.replace("\n", "").replace("\t", "").isprintable()
        assert "".join(plain(run_in_terminal(*arguments, "--root", root)[0])).isprintable()
    assert run("ls", "--json", "--root", root).stdout.replace("\n", "").isprintable()


def test_no_colour_where_none_is_wanted(root: Path, store: SessionStore) -> None:
    store.create("a", title="t")
    assert "\x1b[" in run_in_terminal("ls", "--root", root)[0]
    assert "\x1b[3" not in run_in_terminal("ls", "--root", root, NO_COLOR="1")[0]
    assert "\x1b" not in run("ls", "--root", root).stdout


def test_listing_writes_nothing_but_the_index(root: Path, store: SessionStore) -> None:
    _many(store)
    before = contents(root)
    run("ls", "--root", root)
    after = {name: found for name, found in contents(root).items() if not name.startswith("index/")}
    assert after == {name: found for name, found in before.items() if not name.startswith("index/")}
