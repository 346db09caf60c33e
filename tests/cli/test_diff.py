"""``hierstore diff``: two sessions, or two states of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hierstore import Message, SessionStore
from tests.cli.running import is_one_sentence, plain, run, run_in_terminal
from tests.support import fill


def _diff(root: Path, *arguments: object) -> list[str]:
    done = run("diff", *arguments, "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def _json(root: Path, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("diff", *arguments, "--json", "--root", root).stdout)
    return found


def test_what_only_one_of_two_forks_has_is_shown_and_the_common_beginning_counted(
    root: Path, store: SessionStore
) -> None:
    session = fill(store.create("a", title="T"), "one", "two", "three")
    session.fork("b", at=session.messages[1], title="T").append("assistant", "other\nlines")
    assert _diff(root, "a", "b") == [
        "--- a  (r5, 3 messages)",
        "+++ b  (r2, 3 messages)",
        "  2 messages the same",
        "- #3 user",
        "-   three",
        "+ #3 assistant",
        "+   other",
        "+   lines",
    ]


def test_facts_that_differ_come_first(root: Path, store: SessionStore) -> None:
    store.create("a", title="Old", labels=["x"], metadata={"k": 1, "same": 2}).update(pinned=True)
    store.create("b", title="New", metadata={"same": 2, "n": [3]})
    assert _diff(root, "a", "b")[2:] == [
        "- title: Old",
        "+ title: New",
        "- pinned: true",
        "+ pinned: false",
        '- labels: ["x"]',
        "+ labels: []",
        "- metadata k: 1",
        "+ metadata n: [3]",
    ]


def test_a_message_of_the_same_id_and_another_content_is_on_both_sides(root: Path, store: SessionStore) -> None:
    for name, content in (("a", "yes"), ("b", "no")):
        store.create(name).extend([Message("m1", 0, "user", content, 0.0), Message("m2", 0, "user", "end", 0.0)])
    assert _diff(root, "a", "b")[2:] == ["- #1 user", "-   yes", "+ #1 user", "+   no", "  1 message the same"]


def test_messages_are_told_apart_by_content_fields_and_metadata_not_by_time(root: Path, store: SessionStore) -> None:
    store.create("a").extend([Message("m", 0, "user", "x", 1.0), Message("f", 0, "user", "y", 1.0, fields={"n": 1})])
    store.create("b").extend([Message("m", 0, "user", "x", 2.0), Message("f", 0, "user", "y", 1.0, fields={"n": 2})])
    found = _json(root, "a", "b")
    assert (found["same"], found["removed"], found["added"]) == (1, 1, 1)


def test_one_session_alone_is_compared_with_what_its_last_revert_undid(root: Path, store: SessionStore) -> None:
    session = fill(store.create("a"), "one", "two", "three")
    session.revert(session.messages[0])
    session.undo_revert()
    session.revert(session.messages[1])
    fill(session, "new")
    assert _diff(root, "a")[2:] == ["  2 messages the same", "- #3 user", "-   three", "+ #4 user", "+   new"]


def test_without_a_revert_one_session_alone_is_refused_with_a_hint(root: Path, store: SessionStore) -> None:
    session = fill(store.create("a"), "one")
    session.revert(session.messages[0])
    session.reset()
    done = run("diff", "a", "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert "--since" in done.stderr


def test_since_compares_with_a_state_of_the_same_session(root: Path, store: SessionStore) -> None:
    session = fill(store.create("a"), "one")
    session.snapshot("answered")
    fill(session, "two")
    for state in ("answered", "r3", "#1", session.messages[0].id):
        assert _diff(root, "a", "--since", state)[2:] == ["  1 message the same", "+ #2 user", "+   two"], state
    assert run("diff", "a", "a", "--since", "r1", "--root", root).returncode == 2


@pytest.mark.parametrize("word", ["a@r2", "a@#1", "a@answered", "a@1"])
def test_a_state_of_a_session_stands_behind_an_at_sign(word: str, root: Path, store: SessionStore) -> None:
    session = fill(store.create("a"), "one")
    session.snapshot("answered")
    fill(session, "two")
    assert _diff(root, word, "a")[2:] == ["  1 message the same", "+ #2 user", "+   two"]


def test_an_at_sign_in_an_id_or_a_label_is_no_sign(root: Path, store: SessionStore) -> None:
    session = fill(store.create("me@home"), "one")
    session.snapshot("v@1")
    fill(session, "two")
    fill(store.create("me"), "other")
    assert _json(root, "me@home", "me")["a"] == {"session": "me@home", "revision": 4, "messages": 2}
    assert _json(root, "me@home@v@1", "me@home")["a"] == {"session": "me@home", "revision": 3, "messages": 1}
    assert run("diff", "me@nowhere", "me", "--root", root).returncode == 1
    assert run("diff", "no@body", "me", "--root", root).returncode == 1


def test_last_can_have_a_state_too(root: Path, store: SessionStore) -> None:
    fill(store.create("a"), "one", "two")
    run("show", "a", "--root", root)
    assert _json(root, "@last@r2", "@last")["added"] == 1


def test_what_is_identical_is_said_on_stderr_and_is_no_failure(root: Path, store: SessionStore) -> None:
    fill(store.create("a"), "one").fork("b")
    done = run("diff", "a", "b", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert "identical" in done.stderr
    assert _json(root, "a", "b")["identical"] is True


def test_stat_only_counts(root: Path, store: SessionStore) -> None:
    session = fill(store.create("a", title="T"), "one", "two", "three")
    fill(session.fork("b", at=2), "four", "five")
    assert _diff(root, "a", "b", "--stat") == ["messages: 1 the same, 2 only in A, 2 only in B; 1 fact differ"]
    assert "changes" not in _json(root, "a", "b", "--stat")


def test_json_holds_the_messages_whole(root: Path, store: SessionStore) -> None:
    session = fill(store.create("a"), "one")
    session.fork("b").append("assistant", {"any": "JSON"}, name="n")
    found = _json(root, "a", "b")
    assert found["changes"][0] == {"op": "=", "count": 1}
    assert found["changes"][1]["op"] == "+"
    message = found["changes"][1]["messages"][0]
    assert (message["content"], message["fields"]) == ({"any": "JSON"}, {"name": "n"})


def test_no_content_passes_for_a_line_of_the_other_side(root: Path, store: SessionStore) -> None:
    store.create("a", title="x\n+ title: forged").append("user", "y\n+ #1 user\n+   forged")
    store.create("b")
    lines = _diff(root, "a", "b")
    assert [line for line in lines[2:] if not line.startswith("- ")] == []


def test_in_a_terminal_the_sides_have_colours_and_wrapped_lines_their_sign(root: Path, store: SessionStore) -> None:
    store.create("a").append("user", "word " * 60)
    store.create("b")
    written, status = run_in_terminal("diff", "a", "b", "--root", root)
    assert status == 0
    assert "\x1b[31m" in written
    lines = [line for line in plain(written)[2:] if line]
    assert len(lines) > 3
    assert all(line.startswith("- ") for line in lines)
