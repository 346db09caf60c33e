"""``hierstore search``: messages and titles, with the words that fit marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.cli.running import plain, run, run_in_terminal
from tests.support import fill


def _rows(root: Path, *arguments: object, **more: str) -> list[list[str]]:
    done = run("search", *arguments, "--root", root, **more)
    assert done.returncode == 0
    return [line.split("\t") for line in done.stdout.splitlines()]


def _json(root: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("search", *arguments, "--json", "--root", root).stdout)
    return found


def test_a_hit_is_a_line_with_its_session_its_message_and_a_snippet(root: Path, store: SessionStore) -> None:
    fill(store.create("support", title="Money back"), "Where is my refund?", "And now?")
    (row,) = _rows(root, "refund")
    assert row[5] == "Money back"
    assert (row[0], row[1], row[2], row[4]) == ("1", "support", "#1 user", "Where is my refund?")
    (title,) = _rows(root, "money", "back")
    assert (title[2], title[4]) == ("title", "Money back")


def test_the_number_before_a_hit_names_its_session_afterwards(root: Path, store: SessionStore) -> None:
    for name in ("one", "two", "three"):
        fill(store.create(name), "plum", "apple and plum")
    rows = _rows(root, "plum")
    assert {row[0] for row in rows} == {"1", "2", "3"}
    for number, session_id in {(row[0], row[1]) for row in rows}:
        assert run("show", number, "--root", root).stdout.splitlines()[0] == session_id


def test_words_that_fit_are_underlined_in_a_terminal_and_marked_when_asked(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "the Refund came")
    written, status = run_in_terminal("search", "refund", "--root", root)
    assert status == 0
    assert "\x1b[1;4mRefund\x1b[0m" in written
    assert "**" not in written
    assert _rows(root, "refund")[0][4] == "the Refund came"
    assert _rows(root, "refund", "--mark")[0][4] == "the **Refund** came"


def test_colour_is_left_out_where_nobody_wants_it(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "the Refund came")
    written, _ = run_in_terminal("search", "refund", "--root", root, NO_COLOR="1")
    assert "\x1b[3" not in written


def test_a_search_can_be_narrowed(root: Path, store: SessionStore) -> None:
    top = fill(store.create("top"), "plum by user")
    top.append("assistant", "plum by assistant")
    fill(top.spawn("below"), "plum below")
    fill(store.create("other"), "plum other")
    assert {row[1] for row in _rows(root, "plum", "--session", "top")} == {"top"}
    assert {row[1] for row in _rows(root, "plum", "--session", "top", "--subtree")} == {"top", "below"}
    assert [row[2] for row in _rows(root, "plum", "--role", "assistant")] == ["#2 assistant"]
    assert len(_rows(root, "plum", "--role", "assistant", "--role", "user")) == 4
    assert run("search", "plum", "--subtree", "--root", root).returncode == 2


def test_what_is_typed_is_words_unless_operators_are_asked_for(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "plums and pears", "pears and plums")
    assert _rows(root, "plum*") == []
    assert len(_rows(root, "plum*", "--operators")) == 2
    assert len(_rows(root, '"pears and"', "--operators")) == 1
    assert len(_rows(root, '"pears and"')) == 2


def test_what_was_undone_or_deleted_is_found_when_asked_for_and_said_to_be_so(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "plum undone")
    session.revert(session.messages[0])
    fill(store.create("gone"), "plum gone")
    store.delete("gone")
    done = run("search", "plum", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert "--reverted" in done.stderr
    rows = {row[1]: row for row in _rows(root, "plum", "--reverted", "--deleted")}
    assert rows["s"][2] == "#2 user (undone)"
    assert rows["gone"][2] == "#1 user (in the trash)"
    assert (rows["s"][0], rows["gone"][0]) == ("1", "-"), "what is in the trash has no number to name it by"


def test_context_shows_the_messages_around(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "before", "the plum", "after", "later")
    rows = _rows(root, "plum", "--context", "1")
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("1", "s", "the plum"), ("", "-", "before"), ("", "+", "after"),
    ]  # fmt: skip
    drawn = [line.strip() for line in plain(run_in_terminal("search", "plum", "-C", "1", "--root", root)[0])]
    assert [line for line in drawn[1:] if line] == ["- #1 user  before", "the plum", "+ #3 user  after"]
    assert [message["content"] for message in _json(root, "plum", "-C", "2")["hits"][0]["after"]] == ["after", "later"]


def test_there_is_a_way_to_the_next_page(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), *[f"plum {number}" for number in range(5)])
    done = run("search", "plum", "--limit", "2", "--root", root)
    cursor = done.stderr.split("--after ")[1].rstrip(")\n")
    texts = [line.split("\t")[4] for line in done.stdout.splitlines()]
    texts += [row[4] for row in _rows(root, "plum", "--limit", "9", "--after", cursor)]
    assert sorted(texts) == [message.content for message in session.messages]
    assert _json(root, "plum", "--limit", "5")["next"] is None
    assert run("search", "plum", "--after", "nonsense", "--root", root).returncode == 1


def test_json_says_where_the_words_stand(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "a refund")
    (hit,) = _json(root, "refund")["hits"]
    assert (hit["session"], hit["seq"], hit["role"], hit["snippet"], hit["marks"]) == (
        "s", 1, "user", "a refund", [[2, 8]],
    )  # fmt: skip


@pytest.mark.parametrize("width", [60, 200])
def test_in_a_terminal_the_snippet_is_whole_and_no_line_too_long(width: int, root: Path, store: SessionStore) -> None:
    fill(store.create("s" * 300), "long " * 20 + "plum 漢字漢字 " + "words " * 20)
    written, _ = run_in_terminal("search", "plum", "--root", root, columns=width)
    lines = [line for line in plain(written) if line]
    assert max(map(len, lines)) <= width
    assert "plum 漢字漢字" in " ".join(line.strip() for line in lines)
    assert "#1 user" in lines[0]


@pytest.mark.parametrize("arguments", [(), ("x", "--limit", "0"), ("x", "--context", "51")])
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    store.create("s")
    assert run("search", *arguments, "--root", root).returncode == 2
