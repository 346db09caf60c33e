from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hierstore import Session, SessionStore
from tests.cli.running import COMMAND, environment, is_one_sentence, run
from tests.cli.screen import END_OF_INPUT, INTERRUPT, Terminal
from tests.support import texts

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.fixture
def chat(store: SessionStore) -> Session:
    return store.create("chat")


def test_text_is_stored_and_its_number_and_id_are_printed(root: Path, chat: Session) -> None:
    done = run("append", "chat", "Hello", "--root", root)
    (message,) = chat.messages
    assert (done.returncode, done.stdout, done.stderr) == (0, f"#1 {message.id}\n", "")
    assert (message.role, message.content, message.fields) == ("user", "Hello", {})


def test_role_name_and_metadata_come_with_it(root: Path, chat: Session) -> None:
    options = ["--role", "tool", "--name", "look", "--metadata", "by=hand"]
    assert run("append", "chat", "found", *options, "--root", root).returncode == 0
    (message,) = chat.messages
    assert (message.role, message.fields, message.metadata) == ("tool", {"name": "look"}, {"by": "hand"})


@pytest.mark.parametrize("word", [(), ("-",)])
def test_text_comes_from_standard_input_without_its_last_line_break(
    word: tuple[str, ...], root: Path, chat: Session
) -> None:
    assert run("append", "chat", *word, "--root", root, typed="one\n\ntwo ü\n\n").returncode == 0
    assert texts(chat) == ["one\n\ntwo ü\n"]


def test_nothing_in_standard_input_is_refused_and_an_empty_argument_is_not(root: Path, chat: Session) -> None:
    for typed in (None, "", "\n"):
        done = run("append", "chat", "--root", root, typed=typed)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)
    assert run("append", "chat", "", "--root", root).returncode == 0
    assert texts(chat) == [""]


def test_bytes_that_are_no_text_are_refused(root: Path, chat: Session) -> None:
    done = subprocess.run(
        [*COMMAND, "append", "chat", "--root", str(root)],
        input=b"abc\xff",
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    assert is_one_sentence(done.stderr.decode())
    assert texts(chat) == []


def test_text_is_utf_8_whatever_the_locale_is(root: Path, chat: Session) -> None:
    assert run("append", "chat", "--root", root, typed="漢字", LC_ALL="C", PYTHONUTF8="0").returncode == 0
    assert texts(chat) == ["漢字"]


def test_a_retry_under_the_same_id_stores_once(root: Path, chat: Session) -> None:
    first = run("append", "chat", "Hello", "--id", "m1", "--root", root)
    chat.append("assistant", "Yes?")
    again = run("append", "chat", "Hello", "--id", "m1", "--root", root)
    assert first.stdout == again.stdout == "#1 m1\n"
    assert (again.returncode, again.stderr) == (0, "")
    assert texts(chat) == ["Hello", "Yes?"]


def test_another_text_under_an_id_that_is_taken_is_not_lost_in_silence(root: Path, chat: Session) -> None:
    run("append", "chat", "Hello", "--id", "m1", "--root", root)
    as_json = json.dumps({"role": "user", "content": "Goodbye", "message_id": "m1"})
    for other in (["Goodbye", "--id", "m1"], ["--json", as_json]):
        done = run("append", "chat", *other, "--root", root)
        assert (done.returncode, done.stdout) == (1, "#1 m1\n")
        assert is_one_sentence(done.stderr)
    assert texts(chat) == ["Hello"]


def test_an_expected_revision_that_is_over_stores_nothing(root: Path, chat: Session) -> None:
    revision = chat.revision
    assert run("append", "chat", "first", "--expected-revision", revision, "--root", root).returncode == 0
    done = run("append", "chat", "second", "--expected-revision", revision, "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert texts(chat) == ["first"]


# JSON


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        ("one", lambda items: json.dumps(items[0])),
        ("indented", lambda items: json.dumps(items[0], indent=2)),
        ("list", json.dumps),
        ("lines", lambda items: "".join(json.dumps(item) + "\n" for item in items)),
    ],
)
def test_messages_come_as_json_in_one_commit(shape: str, given: Any, root: Path, chat: Session) -> None:
    items = [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": [{"type": "text", "text": "ü"}], "tool_call_id": "c1"},
    ]
    expected = items[:1] if shape in ("one", "indented") else items
    done = run("append", "chat", "--json", "-", "--root", root, typed=given(items))
    assert [message.as_dict() for message in chat.messages] == expected
    assert done.stdout == "".join(f"#{message.seq} {message.id}\n" for message in chat.messages)
    assert chat.revision == 2


def test_a_message_as_json_may_be_an_argument(root: Path, chat: Session) -> None:
    given = json.dumps({"role": "assistant", "tool_calls": [CALL], "message_id": "m1", "metadata": {"a": 1}})
    assert run("append", "chat", "--json", given, "--root", root).stdout == "#1 m1\n"
    (message,) = chat.messages
    assert (message.content, message.fields, message.metadata) == (None, {"tool_calls": [CALL]}, {"a": 1})


@pytest.mark.parametrize("command", [("show", "chat"), ("tail", "chat")], ids=lambda command: command[0])
def test_messages_as_other_commands_print_them_are_taken_as_they_were(
    command: tuple[str, ...], root: Path, store: SessionStore, chat: Session
) -> None:
    chat.append("assistant", "Hm", metadata={"a": 1}, session="a field", at="another", message_id="m1")
    chat.append("user", [{"type": "text", "text": "ü"}])
    store.create("other")
    printed = run(*command, "--json", "--root", root).stdout
    assert run("append", "other", "--json", "-", "--root", root, typed=printed).returncode == 0
    kept = [(message.id, message.as_dict(), message.metadata) for message in store.get("other").messages]
    assert kept == [(message.id, message.as_dict(), message.metadata) for message in chat.messages]


@pytest.mark.parametrize(
    "bad",
    [
        "", "  \n", "{", "[1]", '"text"', '{"content": "x"}', '{"role": 1, "content": "x"}', '{"role": "user"}',
        '{"role": "user", "text": "hi"}', '{"role": "user", "content": "a"}\n{"role": "us', "[" * 100_000,
        '{"role": "user", "content": ' + "9" * 5000 + "}", '{"role": "user", "content": NaN}',
        '{"role": "user", "content": "ok"}\n{"role": "", "content": "x"}',
    ],
)  # fmt: skip
def test_what_are_no_messages_is_refused_in_one_sentence_and_nothing_is_stored(
    bad: str, root: Path, chat: Session
) -> None:
    done = run("append", "chat", "--json", "-", "--root", root, typed=bad)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)
    assert texts(chat) == []


@pytest.mark.parametrize("more", [("text",), ("--role", "user"), ("--id", "m"), ("--name", "n"), ("--metadata", "a=b")])
def test_json_and_parts_of_a_message_are_wrong_usage_together(more: tuple[str, ...], root: Path, chat: Session) -> None:
    done = run("append", "chat", *more, "--json", '{"role": "user", "content": "x"}', "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert is_one_sentence(done.stderr)
    assert texts(chat) == []


# In a terminal


def test_in_a_terminal_it_is_said_how_typing_ends(root: Path, chat: Session) -> None:
    with Terminal("append", "chat", "--root", root) as terminal:
        terminal.wait_for("Ctrl-D")
        terminal.type("Hello\nthere\n" + END_OF_INPUT)
        assert terminal.end() == 0
    assert texts(chat) == ["Hello\nthere"]


def test_ctrl_c_while_typing_ends_with_130_and_stores_nothing(root: Path, chat: Session) -> None:
    with Terminal("append", "chat", "--root", root) as terminal:
        terminal.wait_for("Ctrl-D")
        terminal.type("Hello\n")
        terminal.wait_for("Hello")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
        assert not any("Traceback" in line for line in terminal.lines)
    assert texts(chat) == []


def test_a_session_that_is_not_there_is_said_before_anything_is_typed(root: Path, chat: Session) -> None:
    with Terminal("append", "nobody", "--root", root) as terminal:
        assert terminal.end() == 1
        assert not any("Ctrl-D" in line for line in terminal.lines)
