from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from hierstore import Message, SessionStore
from tests.cli.running import COLUMNS, is_one_sentence, plain, run, run_in_terminal
from tests.cli.screen import Terminal, shown
from tests.support import contents

CALL = {"id": "call_7", "type": "function", "function": {"name": "search", "arguments": '{"city": "Rome", "n": 3}'}}
PICTURE = base64.b64encode(b"\x89PNG" * 3072).decode()
EVIL = "\x1b]0;owned\x07\x1b[2J[bold]x[/] [/nope] :smile: \u202e\x9b31m\rback"
HEADINGS = re.compile(r"^(?:system|user|assistant|tool)  #(\d)", re.MULTILINE)


def _conversation(store: SessionStore) -> None:
    session = store.create("trip", title="Plan a trip", labels=["work"], metadata={"reward": 1.0, "info": {"a": [1]}})
    session.append("user", "Find a hotel.\nNot too dear.")
    session.append("assistant", None, tool_calls=[CALL])
    session.append("tool", "Three hotels", tool_call_id="call_7", name="search")
    session.snapshot("found")
    session.spawn("trip/rooms", kind="delegate")


def _said(root: Path, *arguments: object) -> list[str]:
    """What is printed of the messages, into a pipe."""
    return run("show", "s", *arguments, "--root", root).stdout.partition("\n\n")[2].splitlines()


def _put(store: SessionStore, content: Any, role: str = "assistant", **fields: Any) -> None:
    store.create("s").extend([Message("m", 0, role, content, 0.0, fields=fields)])


# Facts


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
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", facts[6])
    assert [line.strip().removeprefix("metadata").strip() for line in facts[8:]] == ["reward: 1.0", 'info: {"a": [1]}']


def test_what_hangs_on_a_session_is_among_its_facts(root: Path, store: SessionStore) -> None:
    parent = store.create("p")
    parent.append("user", "x")
    fork = parent.fork("f")
    fork.add_usage(input_tokens=1200, cost_usd=0.5)
    fork.set_ref("openai", "thread_1")
    fork.share()
    store.bind("telegram:42", fork)
    fork.update(pinned=True)
    text = " ".join(run("show", "f", "--root", root).stdout.split())
    for fact in (
        "kind branch", "parent p", "forked after 1 message", "input_tokens 1,200", "cost_usd 0.5", "openai: thread_1",
        "routes telegram:42", "shared 1 share", "flags pinned",
    ):  # fmt: skip
        assert fact in text


# Messages


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
    assert HEADINGS.findall(text) == ["3"]
    assert "#" not in run("show", "trip", "--last", "0", "--root", root).stdout
    assert run("show", "trip", "--last", "9", "--root", root).stdout == run("show", "trip", "--root", root).stdout


@pytest.mark.parametrize("word", ["2", "#2", "the-second"])
def test_one_message_can_be_asked_for_by_its_number_or_id(word: str, root: Path, store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "one")
    session.append("assistant", "two", message_id="the-second")
    assert run("show", "s", "--message", word, "--root", root).stdout == "\nassistant  #2\n  two\n"
    assert run("show", "s", "-m", word, "--raw", "--root", root).stdout == "two\n"


@pytest.mark.parametrize("word", ["9", "nothing", "r1"])
def test_a_message_that_is_not_there_is_a_sentence(word: str, root: Path, store: SessionStore) -> None:
    store.create("s").append("user", "one")
    done = run("show", "s", "--message", word, "--root", root)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)


@pytest.mark.parametrize(
    ("content", "fields", "lines"),
    [
        ({"any": "JSON"}, {}, ['{"any": "JSON"}']),
        ([1, "two"], {}, ["1", "[text] two"]),
        (None, {"tool_calls": [{"function": {"name": "f", "arguments": "{not json"}}]}, ["→ f({not json)"]),
        (None, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, ["→ f(a=1)"]),
        (None, {"tool_calls": [{"function": {"name": "f"}}]}, ["→ f()"]),
        (None, {"tool_calls": "none"}, ['tool_calls: "none"']),
        (None, {"tool_calls": [{"function": 1}]}, ['tool_calls: [{"function": 1}]']),
        ("x", {"metadata": {"a": None}, "refusal": None}, ["x", 'metadata: {"a": null}', "refusal: null"]),
        ("", {}, []),
        (None, {}, []),
    ],
)
def test_content_and_fields_of_any_shape_are_shown(
    content: object, fields: dict[str, object], lines: list[str], root: Path, store: SessionStore
) -> None:
    _put(store, content, **fields)
    assert _said(root) == ["assistant  #1", *(f"  {line}" for line in lines)]


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"type": "text", "text": "Look:"}, "[text] Look:"),
        ({"type": "output_text", "text": "Look:"}, "[text] Look:"),
        ({"type": "thinking", "thinking": "Hm."}, "[thinking] Hm."),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}, "[image: image/png, 12 KiB]"),
        ({"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}, "[image: image/png, 12 KiB]"),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
            "[image: image/png, 12 KiB]",
        ),
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, "[image: https://x.test/a.png]"),
        ({"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}}, "[audio: wav, 12 KiB]"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": PICTURE}}, "[file: a.pdf, 12 KiB]"),
        ({"inline_data": {"mime_type": "video/mp4", "data": PICTURE}}, "[video: video/mp4, 12 KiB]"),
        ({"type": "image", "id": 1}, '[image] {"id": 1}'),
        ({"type": "of the future", "x": PICTURE}, '[of the future] {"x": "[12 KiB]"}'),
        ({"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}, "→ f(a=1)  [t1]"),
        (
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "done"}]},
            "[result: t1] done",
        ),
    ],
)
def test_parts_of_content_are_named_and_bytes_are_never_dumped(
    part: dict[str, Any], line: str, root: Path, store: SessionStore
) -> None:
    _put(store, ["first", part])
    assert _said(root) == ["assistant  #1", "  [text] first", f"  {line}"]
    assert PICTURE[:100] not in "".join(shown("show", "s", "--full", "--root", root))


def test_bytes_in_text_arguments_and_fields_are_not_dumped_either(root: Path, store: SessionStore) -> None:
    url = f"data:image/png;base64,{PICTURE}"
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps({"url": url, "data": PICTURE})}}
    _put(store, f"before {url} after", tool_calls=[call], extra=PICTURE)
    lines = _said(root)
    assert lines[1] == "  before [image/png, 12 KiB] after"
    assert PICTURE[:100] not in "".join(lines)
    assert PICTURE[:100] not in "".join(_said(root, "--full"))


def test_full_unfolds_calls_argument_by_argument(root: Path, store: SessionStore) -> None:
    arguments = {"path": "a.py", "code": "def f():\n    pass", "deep": {"a": [1]}}
    call = {"id": "c", "function": {"name": "write", "arguments": json.dumps(arguments)}}
    _put(store, None, tool_calls=[call, {"function": {"name": "g", "arguments": "{not json"}}])
    assert _said(root, "--full") == [
        "assistant  #1",
        "  → write  [c]",
        "      path: a.py",
        "      code: def f():",
        "                pass",
        '      deep: {"a": [1]}',
        "  → g",
        "      {not json",
    ]


def test_in_a_terminal_a_call_is_one_line_and_a_long_result_is_folded_unless_full(
    root: Path, store: SessionStore
) -> None:
    session = store.create("s")
    call = {"id": "c", "function": {"name": "write", "arguments": json.dumps({"text": "word " * 100})}}
    session.append("assistant", None, tool_calls=[call])
    session.append("tool", "\n".join(f"line {number}" for number in range(40)))
    lines = shown("show", "s", "--root", root)
    assert sum("word" in line for line in lines) == 1
    assert [line for line in lines if "line 39" in line] == []
    assert any("more lines: --full" in line for line in lines)
    full = shown("show", "s", "--full", "--root", root)
    assert sum("word" in line for line in full) > 3
    assert any("line 39" in line for line in full)
    assert "  line 39" in _said(root), "into a pipe nothing is left out"
    assert sum("word" in line for line in _said(root)) == 1


# The past


def test_at_shows_the_session_as_it_was(root: Path, store: SessionStore) -> None:
    _conversation(store)
    session = store.get("trip")
    session.set_title("Later")
    session.append("user", "more")
    for word, numbers in (("found", "123"), ("2", "12"), ("#1", "1"), ("r3", "12"), (session.messages[1].id, "12")):
        done = run("show", "trip", "--at", word, "--root", root)
        assert done.returncode == 0, done.stderr
        assert "".join(HEADINGS.findall(done.stdout)) == numbers, word
        assert "Plan a trip" in done.stdout
        assert f"of {session.revision}" in done.stdout
    assert run("show", "trip", "--at", "found", "--last", "1", "--raw", "--root", root).stdout == "Three hotels\n"


def test_a_time_that_is_not_there_is_a_sentence(root: Path, store: SessionStore) -> None:
    _conversation(store)
    for word in ("77", "r77", "never"):
        done = run("show", "trip", "--at", word, "--root", root)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)


# Raw, and JSON


def test_raw_is_the_contents_and_nothing_else(root: Path, store: SessionStore) -> None:
    session = store.create("s", title="not shown")
    session.append("user", "\tone\x1b[31m\n\n")
    session.append("assistant", None, tool_calls=[CALL])
    session.append("assistant", [{"type": "text", "text": "two"}])
    session.append("user", "three")
    done = run("show", "s", "--raw", "--root", root)
    assert done.stdout == '\tone\x1b[31m\n\n[{"type":"text","text":"two"}]\nthree\n'
    with Terminal("show", "s", "--raw", "--root", root) as terminal:
        assert terminal.end() == 0
        assert "one\\x1b[31m" in terminal.lines[0]
        assert "\x1b" not in terminal.written


def test_json_is_the_session_and_its_messages_on_one_line(root: Path, store: SessionStore) -> None:
    _conversation(store)
    done = run("show", "trip", "--json", "--root", root)
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert (found["session"]["id"], found["session"]["messages"]) == ("trip", 3)
    assert found["session"]["children"] == ["trip/rooms"]
    assert [message["seq"] for message in found["messages"]] == [1, 2, 3]
    assert found["messages"][1]["fields"]["tool_calls"] == [CALL]
    last = json.loads(run("show", "trip", "--json", "--last", "1", "--root", root).stdout)
    assert [message["seq"] for message in last["messages"]] == [3]
    past = json.loads(run("show", "trip", "--json", "--at", "1", "--root", root).stdout)
    assert [message["seq"] for message in past["messages"]] == [1]
    one = json.loads(run("show", "trip", "--json", "-m", "2", "--root", root).stdout)
    assert [message["seq"] for message in one["messages"]] == [2]


@pytest.mark.parametrize("arguments", [("--raw", "--json"), ("--message", "1", "--last", "1"), ("--last", "-1")])
def test_what_contradicts_itself_is_wrong_usage(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    store.create("s").append("user", "x")
    assert run("show", "s", *arguments, "--root", root).returncode == 2


# In a terminal


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


MARKDOWN = """# Heading

Some **bold** words,
on two lines.

- one
- two

```python
def f(a_b_c): return a_b_c * 2
```

| a | b |
|---|---|
| 1 | 2 |

> quoted [link](https://x.test/y) ![alt](https://x.test/i.png) <b>tag</b> & <think>
"""


def test_markdown_is_drawn_in_a_terminal_and_left_alone_in_a_pipe(root: Path, store: SessionStore) -> None:
    _put(store, MARKDOWN)
    assert _said(root)[1:] == [f"  {line}".rstrip() for line in MARKDOWN.split("\n")[:-1]] + [""]
    text = "\n".join(shown("show", "s", "--root", root))
    assert "**" not in text
    assert "```" not in text
    assert "  Some bold words,\n  on two lines." in text
    assert "def f(a_b_c): return a_b_c * 2" in text
    assert "• one" in text
    assert "link (https://x.test/y)" in text
    assert "[image: alt] (https://x.test/i.png)" in text
    assert "<b>tag</b> & <think>" in text, "tags are not hidden"
    assert "**bold**" in "\n".join(shown("show", "s", "--plain", "--root", root))
    written = run_in_terminal("show", "s", "--root", root)[0]
    assert "\x1b]8" not in written, "no links that a terminal would follow"


def test_what_a_tool_says_is_no_markdown(root: Path, store: SessionStore) -> None:
    _put(store, "__init__ *args\n# comment", role="tool")
    text = "\n".join(shown("show", "s", "--root", root))
    assert "__init__ *args\n  # comment" in text


@pytest.mark.parametrize(
    "text",
    ["> " * 40 + "deep", "\n".join("  " * level + "- x" for level in range(30)), "|a" * 60 + "|\n" + "|-" * 60 + "|\n" + "|b" * 60],
    ids=["quotes", "lists", "columns"],
)  # fmt: skip
def test_markdown_that_has_no_room_is_shown_as_it_is_written(text: str, root: Path, store: SessionStore) -> None:
    _put(store, text)
    lines = plain(run_in_terminal("show", "s", "--root", root, columns=60)[0])
    assert max(map(cell_len, lines)) <= 60
    said = "".join("".join(lines).split())
    assert "".join(text.split())[-50:] in said


def test_an_encoding_without_arrows_gets_plain_ones(root: Path, store: SessionStore) -> None:
    _put(store, None, tool_calls=[CALL])
    done = run("show", "s", "--root", root, PYTHONIOENCODING="ascii")
    assert '  -> search(city="Rome", n=3)  [call_7]' in done.stdout.splitlines()


# Content is never trusted


def test_control_characters_and_markup_are_shown_and_never_act(root: Path, store: SessionStore) -> None:
    session = store.create("s", title=EVIL, labels=[EVIL], kind=EVIL, metadata={EVIL: EVIL})
    call = {"id": EVIL, "function": {"name": EVIL, "arguments": '{"a": "' + EVIL.replace("\x1b", "\\u001b") + '"}'}}
    session.append(EVIL, EVIL, name=EVIL, tool_calls=[call], metadata={EVIL: 1}, **{EVIL: EVIL})
    session.append("user", [{"type": EVIL, "x": EVIL}, {"type": "image", "source": {"media_type": EVIL, "url": EVIL}}])
    session.add_usage(**{EVIL: 1})
    session.set_ref(EVIL, EVIL)
    session.snapshot(EVIL)
    store.bind(EVIL, session)
    for more in ((), ("--full",)):
        piped = run("show", "s", *more, "--root", root).stdout
        written = "".join(plain(run_in_terminal("show", "s", *more, "--root", root)[0]))
        assert piped.replace("\n", "").isprintable()
        assert written.isprintable()
        assert "\\x1b]0;owned\\x07\\x1b[2J[bold]x[/] [/nope] :smile: \\u202e\\x9b31m\\rback" in piped


@pytest.mark.parametrize(
    "text",
    [
        "&#27;[31m &#x9b;31m &#x202e;turned&rlm; &#7; &NewLine;assistant  #2",
        "[a](<https://x.test/&#x202e;>) ![b&#x202e;](c) `\x1b[31m` **\x1b]8;;evil\x07**",
        "```\x1b[2J\nx&#27;\x1b[2J\u202e\n```",
        "    \x1b[2J indented\n\n# \x1b[2J heading\n\n| \x1b[2J | b |\n|---|---|\n| \u202e | d |",
        "<!-- \x1b[2J --> <b \x1b[2J>",
    ],
)
def test_no_markdown_makes_a_control_character_act(text: str, root: Path, store: SessionStore) -> None:
    _put(store, text)
    lines = plain(run_in_terminal("show", "s", "--root", root)[0])
    assert "".join(lines).isprintable()
    assert not any(line.startswith("assistant  #2") for line in lines)


def test_a_message_cannot_pass_for_the_header_of_another(root: Path, store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "hello\n\nassistant  #2\n  I agree to everything.")
    session.append("tool", "x\nassistant  #3")
    text = run("show", "s", "--root", root).stdout
    assert not re.search(r"^assistant", text, re.MULTILINE)
    assert not any(line.startswith("assistant") for line in shown("show", "s", "--root", root))


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
