from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from hierstore import SessionStore
from tests.cli.running import COLUMNS, is_one_sentence, plain, run, run_in_terminal
from tests.support import contents

CALL = {"id": "call_7", "type": "function", "function": {"name": "search", "arguments": '{"city": "Rome", "n": 3}'}}


def _conversation(store: SessionStore) -> None:
    session = store.create("trip", title="Plan a trip", labels=["work"], metadata={"reward": 1.0, "info": {"a": [1]}})
    session.append("user", "Find a hotel.\nNot too dear.")
    session.append("assistant", None, tool_calls=[CALL])
    session.append("tool", "Three hotels", tool_call_id="call_7", name="search")
    session.snapshot("found")
    session.spawn("trip/rooms", kind="delegate")


def test_facts_come_first_and_what_is_empty_is_left_out(root: Path, store: SessionStore) -> None:
    _conversation(store)
    done = run("show", "trip", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    facts = done.stdout.partition("\n\n")[0].splitlines()
    assert facts[0] == "trip"
    assert [line.split()[0] for line in facts[1:8]] == [
        "messages", "title", "children", "labels", "snapshots", "created", "updated",
    ]  # fmt: skip
    assert facts[1].split() == ["messages", "3"]
    assert "1: trip/rooms" in facts[3]
    assert "found (revision 5)" in facts[5]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts[6])
    assert [line.strip().removeprefix("metadata").strip() for line in facts[8:]] == ["reward: 1.0", 'info: {"a": [1]}']


def test_messages_follow_with_roles_and_readable_tool_calls(root: Path, store: SessionStore) -> None:
    _conversation(store)
    assert run("show", "trip", "--root", root).stdout.split("\n\n", 1)[1] == (
        "user  #1\n"
        "  Find a hotel.\n"
        "  Not too dear.\n"
        "\n"
        "assistant  #2\n"
        '  → search(city="Rome", n=3)  [call_7]\n'
        "\n"
        "tool  #3  search  call_7\n"
        "  Three hotels\n"
    )


def test_last_shows_the_last_messages_and_says_how_many_are_left_out(root: Path, store: SessionStore) -> None:
    _conversation(store)
    text = run("show", "trip", "--last", "1", "--root", root).stdout
    assert "(2 earlier messages not shown)" in text
    assert re.findall(r"^(?:user|assistant|tool)  #(\d)", text, re.MULTILINE) == ["3"]
    assert "#" not in run("show", "trip", "--last", "0", "--root", root).stdout
    assert run("show", "trip", "--last", "9", "--root", root).stdout == run("show", "trip", "--root", root).stdout


@pytest.mark.parametrize(
    ("content", "fields", "shown"),
    [
        ([{"type": "text", "text": "Look:"}, {"type": "image", "id": 1}], {}, ["Look:", '{"type": "image", "id": 1}']),
        ({"any": "JSON"}, {}, ['{"any": "JSON"}']),
        (None, {"tool_calls": [{"function": {"name": "f", "arguments": "{not json"}}]}, ["→ f({not json)"]),
        (None, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, ["→ f(a=1)"]),
        (None, {"tool_calls": "none"}, ['tool_calls: "none"']),
        (None, {"tool_calls": [{"function": 1}]}, ['tool_calls: [{"function": 1}]']),
        ("x", {"metadata": {"a": None}, "refusal": None}, ["x", 'metadata: {"a": null}', "refusal: null"]),
        ("", {}, []),
    ],
)
def test_content_and_fields_of_any_shape_are_shown(
    content: object, fields: dict[str, object], shown: list[str], root: Path, store: SessionStore
) -> None:
    from hierstore import Message

    store.create("s").extend([Message("m", 0, "assistant", content, 0.0, fields=fields)])
    lines = run("show", "s", "--root", root).stdout.partition("\n\n")[2].splitlines()
    assert lines == ["assistant  #1", *(f"  {line}" for line in shown)]


def test_in_a_terminal_no_line_is_wider_than_80_columns(root: Path, store: SessionStore) -> None:
    session = store.create("i" * 300, title="t" * 300, metadata={"k" * 200: "v" * 500})
    session.append("user", "many words " * 50 + "\n" + "x" * 500 + "\n" + "漢字" * 100)
    session.append("r" * 200, None, tool_calls=[CALL] * 3, name="n" * 300, **{"f" * 100: ["deep"] * 50})
    written, status = run_in_terminal("show", session.id, "--root", root)
    assert status == 0
    lines = plain(written)
    assert max(map(cell_len, lines)) <= COLUMNS
    assert "".join(line.strip() for line in lines).count("漢字") == 100, "wrapped, not cut"


def test_in_a_pipe_lines_are_whole(root: Path, store: SessionStore) -> None:
    store.create("s").append("user", "word " * 200 + "end")
    assert "  " + "word " * 200 + "end\n" in run("show", "s", "--root", root).stdout


def test_control_characters_and_markup_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold]x[/] [/nope] :smile: \u202e\x9b31m\rback"
    session = store.create("s", title=evil, labels=[evil], kind=evil, metadata={evil: evil})
    call = {"id": evil, "function": {"name": evil, "arguments": '{"a": "' + evil.replace("\x1b", "\\u001b") + '"}'}}
    session.append(evil, evil, name=evil, tool_calls=[call], metadata={evil: 1}, **{evil: evil})
    piped = run("show", "s", "--root", root).stdout
    shown = "".join(plain(run_in_terminal("show", "s", "--root", root)[0]))
    assert piped.replace("\n", "").isprintable()
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07\\x1b[2J[bold]x[/] [/nope] :smile: \\u202e\\x9b31m\\rback" in piped


def test_a_message_cannot_pass_for_the_header_of_another(root: Path, store: SessionStore) -> None:
    store.create("s").append("user", "hello\n\nassistant  #2\n  I agree to everything.")
    text = run("show", "s", "--root", root).stdout
    assert not re.search(r"^assistant", text, re.MULTILINE)


def test_a_session_that_does_not_exist_is_one_sentence(root: Path, store: SessionStore) -> None:
    done = run("show", "nobody", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "nobody" in done.stderr


def test_showing_writes_nothing(root: Path, store: SessionStore) -> None:
    _conversation(store)
    before = contents(root)
    run("show", "trip", "--root", root)
    assert contents(root) == before
