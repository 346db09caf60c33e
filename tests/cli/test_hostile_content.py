"""Content is never trusted: whatever stands in a store, nothing in it acts on a terminal, or breaks a column of it."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.cells import cell_len

from hierstore import HierstoreError, SessionStore
from tests.cli.running import COMMAND, run, run_in_terminal
from tests.cli.screen import Terminal

EVIL = (
    "evil\x1b]0;owned\x07\x1b[2J\x1b[3A\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\\x1b]52;c;b3duZWQ=\x07\x1bP1;1|x\x1b\\"
    "\x9b31m\x9d0;owned\x9c\x90x\x9c\x85\u2028\u2029\u202e\u202d\u2066\u2067\u2069\u200e\u200f\u061c\ufeff\u00ad"
    "\r\n\x00\x08\x7f\x0b\x0c\t[bold]x[/] [/nope] :smile: [link=http://evil.example]y[/link] \U000e0001"
)
"""What a terminal may act on: titles and the clipboard set, the screen cleared, links, C1 controls, marks that turn lines,
line breaks of all kinds, NUL, rich's markup, invisible tags."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROGRESS = re.compile(r"\x1b\[\?25[lh]|\r(?:\x1b\[1A|\x1b\[2K)+")
_HARMLESS = frozenset("\n\u200c\u200d\u00a0\u2000\u2001\u2002\u2003\u2009\u200a\u202f\u205f\u3000\u2800")
_ISOLATES = "\u2068\u2069"


def _fill(root: Path, text: str = EVIL) -> None:
    """A store in which every field that there is holds a text."""
    with SessionStore(root) as store:
        session = store.create(text, title=text, kind=text, labels=[text, "plain"], metadata={text: {text: text}})
        store.bind(f"route {text}", session)
        call = {"id": text, "type": "function", "function": {"name": text, "arguments": json.dumps({text: text})}}
        parts = [
            {"type": "text", "text": text},
            {"type": text, text: text},
            {"type": "image_url", "image_url": {"url": text}},
        ]
        session.append(text, text, message_id=f"m{text}", metadata={text: text}, name=text, **{f"f{text}": text})
        session.append("assistant", None, tool_calls=[call])
        session.append("assistant", parts, tool_calls=text)
        session.append("user", {"any": {text: text}})
        session.append(
            "user",
            f"# {text}\n```{text}\n{text}\n```\n[{text}](http://{text})\n<b>{text}</b>\n| {text} |\n|-|\n| {text} |",
        )
        snapshot = session.snapshot(text, metadata={text: text})
        session.update(derived={text: text})
        session.set_ref(f"r{text}", text)
        session.add_usage(**{f"u{text}": 1})
        session.append("user", "undone")
        session.revert(snapshot)
        session.undo_revert()
        session.revert(snapshot)
        session.share()
        session.start_turn(text)
        session.fork(f"fork {text}", title=text)
        session.spawn(f"child {text}", title=text, kind=text).reset(text)
        store.create(f"deleted {text}", title=text).append(text, text)
        store.delete(f"deleted {text}")


LOOKING = [
    ("ls",), ("ls", "--trash"), ("ls", "--all"), ("tree",), ("show", "evil"), ("show", "evil", "--full"),
    ("show", "evil", "--last", "2"), ("log", "evil"), ("log", "evil", "--full"), ("log", "evil", "--graph", "--reverse"),
    ("diff", "evil", "child"), ("diff", "evil", "child", "--stat"), ("diff", "evil"), ("tail", "evil"), ("tail", "evil", "child"),
    ("search", "evil"), ("search", "2J-3A"), ("search", "evil", "-C", "3", "--mark", "--deleted", "--reverted"), ("search", "undone", "--reverted"),
    ("stats",), ("du",), ("watch", "--once"), ("watch", "--once", "--session", "evil"), ("title", "evil"), ("label", "evil"),
    ("snapshot", "evil", "--list"), ("share", "evil", "--list"), ("check",), ("doctor",), ("where",),
]  # fmt: skip
CHANGING = [
    ("append", "evil", "text"), ("fork", "evil"), ("snapshot", "evil"), ("revert", "evil", "#1"), ("undo", "evil"),
    ("mv", "child", "fork"), ("archive", "evil"), ("pin", "evil"), ("rm", "child", "--yes"), ("rm", "evil", "--cascade", "--yes"),
    ("rm", "evil"), ("restore", "deleted"), ("unshare", "evil"), ("prune", "--max-sessions", "1", "--dry-run"),
    ("prune", "--max-sessions", "1", "--yes"), ("compact", "evil", "--yes"), ("purge", "--yes"), ("repair", "--yes"), ("reindex",),
]  # fmt: skip
JSON = [
    ("ls",), ("tree",), ("show", "evil"), ("log", "evil"), ("diff", "evil", "child"), ("tail", "evil"), ("search", "evil"),
    ("stats",), ("du",), ("watch", "--once"), ("check",),
]  # fmt: skip


def _assert_harmless(text: str, *, more: str = "") -> None:
    """Nothing in it does anything but show itself, or end a line."""
    active = {
        f"U+{ord(character):04X}"
        for character in text
        if not (character.isprintable() or character in _HARMLESS or character in more)
    }
    assert not active, (active, text)


@pytest.mark.parametrize("arguments", [*LOOKING, *CHANGING], ids=" ".join)
def test_into_a_pipe_nothing_comes_that_acts(arguments: tuple[str, ...], root: Path) -> None:
    _fill(root)
    done = run(*arguments, "--root", root)
    assert done.returncode == (1 if arguments == ("rm", "evil") else 0), done.stderr
    _assert_harmless(done.stdout, more="\t")
    _assert_harmless(done.stderr)


@pytest.mark.parametrize("arguments", LOOKING, ids=" ".join)
def test_in_a_terminal_nothing_comes_that_acts_but_our_colours_and_progress(
    arguments: tuple[str, ...], root: Path
) -> None:
    _fill(root)
    written, status = run_in_terminal(*arguments, "--root", root)
    assert status == 0, written
    _assert_harmless(_COLOUR.sub("", _PROGRESS.sub("", written)), more=_ISOLATES)


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_json_is_whole_and_yet_acts_on_nothing(arguments: tuple[str, ...], root: Path) -> None:
    _fill(root)
    done = run(*arguments, "--json", "--root", root)
    assert done.stderr == "" or arguments[0] == "watch"
    _assert_harmless(done.stdout)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found
    if arguments[0] in ("ls", "tree", "show", "log", "tail", "diff", "watch"):
        assert any(EVIL in text for text in _texts(found)), "what is printed is what was stored"


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in _texts(item))]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    "arguments", [("show", "no\x1b[2Jsuch"), ("show", "e\u202e"), ("route", "\x1b[2J"), ("restore", "\x9b2J")]
)
def test_what_is_typed_comes_back_escaped_in_the_sentence(arguments: tuple[str, ...], root: Path) -> None:
    _fill(root)
    done = run(*arguments, "--root", root)
    _assert_harmless(done.stdout + done.stderr)


def test_an_ambiguous_name_lists_hostile_candidates_harmlessly(root: Path) -> None:
    _fill(root)
    with SessionStore(root) as store:
        store.create("evil twin")
    done = run("show", "evil", "--root", root)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    _assert_harmless(done.stderr)


def test_bytes_that_are_no_text_on_the_command_line_are_one_sentence(root: Path) -> None:
    _fill(root)
    done = run("show", "\udcff\udc9b2J", "--root", root)
    assert done.returncode == 1
    _assert_harmless(done.stderr)


def test_a_file_of_a_hostile_name_is_imported_and_named_harmlessly(root: Path, tmp_path: Path) -> None:
    name = EVIL.replace("/", "").replace("\x00", "")[:100]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps([{"role": EVIL, "content": EVIL}]))
    for arguments in (("import", path), ("import", tmp_path / f"no{name}.json")):
        done = run(*arguments, "--root", root)
        assert "Traceback" not in done.stderr
        _assert_harmless(done.stdout + done.stderr)


def test_the_store_takes_no_lone_surrogate_anywhere(root: Path) -> None:
    with SessionStore(root) as store:
        session = store.create("s")
        for attempt in (
            lambda: store.create("\ud800"),
            lambda: session.set_title("\ud800"),
            lambda: session.append("\ud800", "x"),
            lambda: session.append("user", {"x": "\udfff"}),
            lambda: session.update(labels=["\ud800"], metadata={"\ud800": 1}),
            lambda: session.snapshot("\ud800"),
            lambda: store.bind("\ud800", session),
        ):
            with pytest.raises(HierstoreError):
                attempt()


# Widths and columns

SCRIPTS = {
    "latin": "Refund for order",
    "han": "退款訂單四十二號的狀態",
    "kana": "返金はいつですか",
    "hangul": "환불은언제입니까",
    "emoji": "🎉🚀🍎 party 😀",
    "arabic": "أين استرداد أموالي",
    "hebrew": "איפה ההחזר שלי",
    "accents": "e\u0301a\u0308n\u0303o\u0302 cafe\u0301",
    "thai": "เงินคืนของฉันอยู่ที่ไหน",
    "mixed": "注文 42 של عربي 🎉 e\u0301",
}
WIDTHS = [60, 80, 120, 200]
DRAWN = [
    ("ls",), ("tree",), ("log", "latin"), ("log", "mixed", "--full"), ("diff", "arabic", "han "), ("tail", "latin", "mixed"),
    ("search", "42"), ("watch", "--once"), ("du",), ("stats",), ("show", "mixed"), ("show", "arabic"), ("ls", "--trash"),
]  # fmt: skip


class _Screen(pyte.Screen):
    """A terminal that leaves out what has no width: pyte's would leave out the rest of the line too, or break it."""

    def draw(self, data: str) -> None:
        super().draw("".join([c for c in data if cell_len(c)]))


def _drawn(*arguments: object, width: int) -> str:
    """What a command writes to a terminal, without what it says on stderr."""
    silent = ["sh", "-c", 'exec "$@" 2>/dev/null', "sh", *COMMAND]
    with Terminal(*arguments, program=silent, columns=width) as terminal:
        assert terminal.end() == 0
        return _COLOUR.sub("", terminal.written.replace("\r\n", "\n"))


def _seen(written: str, width: int) -> list[str]:
    """The rows of a terminal: each cell a character, the second half of a wide one a space."""
    count = written.count("\n")
    screen = _Screen(width, count + 5)
    pyte.Stream(screen).feed(written.replace("\n", "\r\n"))
    assert screen.cursor.y == count, "a line was longer than the screen"
    rows = [[screen.buffer[y][x].data or " " for x in range(width)] for y in range(count)]
    return ["".join([cell[0] for cell in row]).rstrip() for row in rows]


def _scripts(root: Path) -> None:
    with SessionStore(root) as store:
        for name, text in SCRIPTS.items():
            long = f"{text} 42 " * 8
            session = store.create(f"{name} {text}", title=long, labels=[text], metadata={text: text})
            session.append("user", long)
            session.append(text, f"{long}\n{text * 20}", name=text)
            session.snapshot(text)
            session.revert(2)
            session.append("assistant", text)
            session.fork(f"fork of {name} {text}", title=text)
            store.create(f"gone {text}")
            store.delete(f"gone {text}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arguments", DRAWN, ids=" ".join)
def test_no_line_is_longer_than_the_screen_in_any_script(arguments: tuple[str, ...], width: int, root: Path) -> None:
    _scripts(root)
    assert max(map(len, _seen(_drawn(*arguments, "--root", root, width=width), width))) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_columns_of_a_listing_line_up_in_any_script(width: int, root: Path) -> None:
    _scripts(root)
    head, *rows = _seen(_drawn("ls", "--root", root, width=width), width)
    title = head.index("TITLE")
    assert len(rows) >= len(SCRIPTS) * 2
    for row in rows:
        assert row[title - 2 : title].strip() == "", row
        assert row[title : title + 1].strip(), row


@pytest.mark.parametrize("width", WIDTHS)
def test_the_columns_of_the_change_feed_line_up_in_any_script(width: int, root: Path) -> None:
    _scripts(root)
    rows = _seen(_drawn("watch", "--once", "--root", root, width=width), width)
    assert len(rows) >= len(SCRIPTS) * 7
    assert len({re.search(r"  r\d+ ", row).start() for row in rows}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_columns_of_a_log_line_up_in_any_script(width: int, root: Path) -> None:
    _scripts(root)
    rows = _seen(_drawn("log", "mixed", "--root", root, width=width), width)
    assert [row[:8].rstrip() for row in rows] == [
        "●    r6", "●    r5", "│ ●  r4", "│ ○  r3", "├─╯", "●    r2", "●    r1",
    ]  # fmt: skip
    assert len({row.index("now") if "now" in row else row.index("ago") for row in rows if "r" in row}) == 1


@pytest.mark.parametrize("arguments", [("tree",), ("log", "arabic"), ("ls",)], ids=" ".join)
def test_what_runs_from_right_to_left_is_isolated_and_closed_on_its_line(
    arguments: tuple[str, ...], root: Path
) -> None:
    _scripts(root)
    written, _ = run_in_terminal(*arguments, "--root", root)
    lines = _COLOUR.sub("", written).split("\n")
    assert any(_ISOLATES[0] in line for line in lines)
    for line in lines:
        assert line.count(_ISOLATES[0]) == line.count(_ISOLATES[1])
        outside = re.sub(f"{_ISOLATES[0]}[^{_ISOLATES}]*{_ISOLATES[1]}", "", line)
        assert not [c for c in outside if unicodedata.bidirectional(c) in ("R", "AL", "AN")], line
