"""The page of HTML: what is in a session is on it, and nothing in a session does anything there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import hierstore.cli.html as package
from hierstore import CorruptLog, Session, SessionStore
from hierstore.cli.html.page import page
from hierstore.cli.html.prose import laid_out, moment
from tests.cli.pages import Page, sound
from tests.support import log_of

SCRIPT = "<script>document.title='owned'</script>"
WORSE = [
    SCRIPT,
    "</style></title></textarea><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "]]><!-- --><?php",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[x](javascript:alert(1)) <javascript:alert(1)> [y]( JaVaScRiPt&colon;alert(1)) [z](data:text/html,<script>1</script>)",
    "![i](http://tracker.invalid/x.png) ![j](javascript:alert(1)) ![k](data:image/png;base64,AAAA)",
    '[a][b]\n\n[b]: vbscript:x "t\\" onmouseover=alert(1)"',
    "nul\x00 escape\x1b[2J bell\x07 c1\x9b2J del\x7f",
    "bidi \u202ereversed\u202c \u2066isolated\u2069 \u2028line\u2029paragraph \ufeffbom \U000e0041tag",
    "&#x202e;entity&#0;&#27;",
    "``` <b onclick=alert(1)>\n<script>\n",
    r"\<script>alert(1)</script> \![i](http://tracker.invalid/x.png) \\<b> \\![j](http://tracker.invalid/y.png) \\\<i>",
    "# heading\n\n<h1>raw</h1>\n\n| a | b |\n|--:|:-:|\n| <i>c</i> | `d` |\n",
    "emoji \U0001f469\u200d\U0001f4bb, עברית, العربية, 中文",
]
HOSTILE = "\n\n".join(WORSE)


def _page(store: SessionStore, *ids: str) -> str:
    return "".join(page(store, [store.tree(name) for name in ids], 1_700_000_000.0))


def _of(store: SessionStore, *messages: Any, role: str = "assistant") -> Page:
    """The page of a session with messages of one role."""
    session = store.create()
    for content in messages:
        session.append(role, content)
    return sound(_page(store, session.id))


def _hostile(store: SessionStore, text: str) -> Session:
    """A session with a text in every place that takes one, and with its child and its fork."""
    session = store.create(text[:400], title=text, labels=[text, "plain"], metadata={text: [text, {text: text}]})
    call = {"id": text, "type": "function", "function": {"name": text, "arguments": text}}
    nested = {"id": "c", "function": {"name": "f", "arguments": '{"a": "\\ud800\\u202e </script>", "b": "x\\ny"}'}}
    session.append(text, text, name=text, metadata={text: text}, weird=text)
    session.append("assistant", None, tool_calls=[call, nested], refusal=text)
    session.append(
        "assistant", None, tool_calls=[text, {"function": text}], function_call={"name": text, "arguments": {}}
    )
    session.append("tool", text, tool_call_id=text, name=text)
    session.append("tool", [{"type": "text", "text": text}, {"type": text, "x": text}], tool_call_id="c")
    session.append("system", text * 3)
    for part in (
        {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": text}}, {"type": text, text: text},
        {"type": "image", "source": {"type": "base64", "media_type": text, "data": text}}, {"type": "thinking", "thinking": text},
        {"type": "tool_use", "id": text, "name": text, "input": {text: text}}, {"type": "tool_result", "content": [text]},
        {"type": "file", "file": {"filename": text, "file_data": text}}, {"type": "refusal", "refusal": text}, text, 7, None,
    ):  # fmt: skip
        session.append("user", [part])
    session.snapshot(text)
    session.fork(title=text).append("user", text)
    session.spawn(kind=text).append("user", text)
    return session


@pytest.mark.parametrize("text", [*WORSE, HOSTILE], ids=range(len(WORSE) + 1))
def test_nothing_in_any_field_is_markup_or_acts(text: str, store: SessionStore) -> None:
    session = _hostile(store, text)
    shown = sound(_page(store, session.id))
    assert len(shown.all("section")) == 3
    assert len(shown.all("article")) == len(session.messages) + 2


def test_what_was_said_is_there_to_be_read(store: SessionStore) -> None:
    shown = _of(store, SCRIPT, "1 < 2 & 3 > 2", "*strong* and `code`", "first\nsecond\n\nthird").said("main")
    for text in (SCRIPT, "1 < 2 & 3 > 2", "strong and code", "third"):
        assert text in shown


def test_what_cannot_be_seen_is_shown_as_an_escape(store: SessionStore) -> None:
    shown = _of(store, "a\x00b\x1b[2Jc", "x\u202ey", "*m*\x9b", "&#x202e;").said("main")
    for text in (r"a\x00b\x1b[2Jc", r"x\u202ey", r"m\x9b", r"\u202e"):
        assert text in shown


def test_markdown_is_drawn(store: SessionStore) -> None:
    text = "# Head\n\n- one\n- two\n\n> said\n\n```python\nx = 1\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n~~gone~~ **bold**"
    shown = _of(store, text)
    within_main = [element.tag for element in shown.elements if "article" in element.within]
    for tag in ("ul", "li", "blockquote", "pre", "code", "table", "th", "td", "s", "strong"):
        assert tag in within_main, tag
    assert [one.attributes["class"] for one in shown.all("td")[1:2]] == ["right"]
    assert "python" in shown.said("article")


def test_headings_in_content_are_no_headings_of_the_page(store: SessionStore) -> None:
    shown = _of(store, "# One\n\n###### Six\n\nsetext\n======", "## Two")
    assert shown.headings() == [1, 2, 3, 3]
    assert "setext" in shown.said("p")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[x](https://example.org/a?b=1&c=%22)", "https://example.org/a?b=1&c=%22"),
        ("<http://example.org>", "http://example.org"),
        ("[x](mailto:a@example.org)", "mailto:a@example.org"),
        ("![alt](https://example.org/i.png)", "https://example.org/i.png"),
        ("[![alt](https://example.org/i.png)](https://example.org)", "https://example.org"),
        ("[x](javascript:alert(1))", None),
        ("[x](&#106;avascript:alert(1))", None),
        ("[x](data:image/png;base64,AAAA)", None),
        ("[x](data:text/html,x)", None),
        ("[x](file:///etc/passwd)", None),
        ("[x](//example.org)", None),
        ("[x](other.html)", None),
        ("![x](data:image/svg+xml,<svg>)", None),
        ("<vbscript:x>", None),
    ],
)
def test_links_lead_to_the_web_or_to_a_mailbox_and_nothing_is_loaded(
    text: str, address: str | None, store: SessionStore
) -> None:
    shown = _of(store, text)
    outward = [one.attributes["href"] for one in shown.all("a") if not one.attributes["href"].startswith("#")]
    assert outward == ([] if address is None else [address])


def test_calls_and_results_are_folded_and_the_result_says_what_it_answers(store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "go")
    session.append(
        "assistant", "Wait.", tool_calls=[{"id": "c1", "function": {"name": "look", "arguments": '{"n": 4}'}}]
    )
    session.append("tool", '{"found":[1,2],"more":"%s"}' % ("x" * 80), tool_call_id="c1")
    text = _page(store, "s")
    shown = sound(text)
    assert [one.attributes["class"] for one in shown.all("details")] == ["call", "result"]
    summaries = shown.said("summary")
    assert "Calls look" in summaries
    assert "Result of look" in summaries
    assert '{\n  "found": [\n    1,\n' in shown.said("pre")
    assert '<a class="number" href="#s1-m2">answers #2</a>' in text


def test_an_image_is_a_place_and_not_its_bytes(store: SessionStore) -> None:
    data = "QUJD" * 3000
    shown = _of(
        store,
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}],
        [{"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}],
        f"![cat](data:image/png;base64,{data})",
    )
    assert "image/png" in shown.said("article")
    assert "8.8 KiB" in shown.said("article")
    assert data[:100] not in shown.said()
    assert "https://example.org/cat.png" in [one.attributes["href"] for one in shown.all("a")]


def test_long_instructions_are_folded(store: SessionStore) -> None:
    assert _of(store, "Be kind.", role="system").all("details") == []
    assert len(_of(store, "Be kind. " * 100, role="system").all("details")) == 1


def test_the_table_of_sessions_is_nested_as_they_are(store: SessionStore) -> None:
    top = store.create("top", title="The top")
    first = top.spawn("first", kind="delegate")
    first.spawn("deep").append("user", "x")
    top.spawn("second")
    shown = sound(_page(store, "top"))
    inner = [(one.within.count("ol"), one.attributes["href"]) for one in shown.all("a") if "nav" in one.within]
    assert inner == [(1, "#s1"), (2, "#s2"), (3, "#s3"), (2, "#s4")]
    assert "delegate" in shown.said("nav")
    assert shown.headings() == [1, 2, 2, 2, 2, 3, 2]


def test_a_session_alone_has_no_table(store: SessionStore) -> None:
    assert _of(store, "x").all("nav") == []


def test_several_sessions_are_one_page(store: SessionStore) -> None:
    for name in ("a", "b"):
        store.create(name).append("user", f"in {name}")
    shown = sound(_page(store, "a", "b"))
    assert len(shown.all("section")) == 2
    assert shown.said("h1") == "2 sessions"


def test_a_hierarchy_deeper_than_browsers_nest_is_drawn(store: SessionStore) -> None:
    at = store.create("level-0")
    for number in range(1, 80):
        at = at.spawn(f"level-{number}")
    shown = sound(_page(store, "level-0"))
    assert len(shown.all("section")) == 80
    assert max(len(element.within) for element in shown.elements) < 60


def test_what_a_fork_inherits_is_shown_once(store: SessionStore) -> None:
    chat = store.create("chat")
    for number in range(4):
        chat.append("user", f"number {number}")
    branch = chat.fork("branch", at=chat.messages[2].id)
    branch.append("user", "own")
    branch.fork("twig").append("user", "last")
    branch.fork("early", at=branch.messages[1].id)
    text = _page(store, "chat")
    shown = sound(text)
    assert [text.count(f"number {number}") for number in range(4)] == [1, 1, 1, 1]
    assert text.count("<p>own</p>") == text.count("<p>last</p>") == 1
    assert "The first 3 messages are those of chat, up to #3." in shown.said("section")
    assert "The first 4 messages are those of branch, up to #4." in shown.said("section")
    assert '<a href="#s1-m2">up to #2</a>' in text  # which branch itself has from chat
    # Alone, it is whole.
    assert "number 0" in sound(_page(store, "branch")).said("main")


def test_private_metadata_routes_usage_refs_and_shares_are_not_on_the_page(store: SessionStore) -> None:
    session = store.create("s", metadata={"_hidden": "secret-1", "private": "secret-2", "shown": "public-1"})
    session.append("user", "x", metadata={"_m": "secret-3", "n": "public-2"})
    store.bind("secret-4", session)
    session.set_ref("openai", "secret-5")
    session.add_usage(**{"secret-6": 1})
    grant = session.share()
    text = _page(store, "s")
    assert "secret" not in text
    assert grant.id not in text
    assert "public-1" in text
    assert "public-2" in text


@pytest.mark.parametrize("at", [float("1e300"), -1e15, 1e12, 0.0])
def test_a_time_out_of_the_calendar_is_no_error(at: float) -> None:
    assert re.fullmatch(r'<time datetime="[0-9-]{10}T[0-9:]{8}Z">.*</time>|[0-9.e+-]+ s', moment(at))


def test_the_page_is_made_piece_by_piece(store: SessionStore) -> None:
    session = store.create("s")
    session.extend([{"role": "user", "content": f"message {number}"} for number in range(500)])
    seen: list[bool] = []
    pieces = page(store, [store.tree("s")], 0.0, lambda: seen.append(True))
    for piece in pieces:
        if "message 9<" in piece:
            break
    assert len(seen) == 9
    assert max(map(len, pieces)) < 2000


@pytest.mark.damages
def test_a_session_that_cannot_be_read_is_said_to_be_so_below_and_refused_at_the_top(store: SessionStore) -> None:
    store.create("top").append("user", "kept")
    store.get("top").spawn("child").append("user", "x")
    top, log = store.tree("top"), log_of(store, "child")
    data = log.read_bytes()
    log.write_bytes(b"x" * len(data))
    with SessionStore(store.root) as cold:
        shown = sound("".join(page(cold, [top], 0.0)))
        assert "kept" in shown.said("main")
        assert "child" in shown.said("nav")
        assert 'class="note"' in "".join(page(cold, [top], 0.0))
        with pytest.raises(CorruptLog):
            "".join(page(cold, [top.children[0]], 0.0))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 30_000, "*a " * 20_000, "> " * 20_000 + "x", "`" * 30_000, "![" * 20_000, "<" * 50_000, "- " * 20_000,
        "a\n" * 40_000, "|" * 40_000, "_*" * 30_000, "[a](" * 15_000, "&" * 50_000, "\\" * 50_000, "*" * 50_000 + "a",
        "[a]: b\n" * 10_000, "[" * 4_000_000, "# " * 100_000, "|a" * 2000 + "|\n" + "|-" * 2000 + "|\n" + "|b" * 2000,
    ],
    ids=range(18),
)  # fmt: skip
def test_text_that_is_meant_to_keep_a_parser_busy_does_not(text: str, store: SessionStore) -> None:
    _of(store, text)


def test_json_nested_as_deep_as_it_goes_is_shown_somehow(store: SessionStore) -> None:
    deep: Any = 1
    for _ in range(190):
        deep = [deep]
    session = store.create("s")
    session.append("user", {"a": deep})
    for depth in (*range(100, 1100, 50), 5000, 100_000):
        arguments = '{"a":' * depth + "1" + "}" * depth
        session.append("assistant", None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": arguments}}])
        session.append("tool", arguments)
    sound(_page(store, "s"))
    # What the parser reads, and its counterpart does not write.
    for _ in range(5000):
        deep = [deep]
    assert "nested too deep" in laid_out(deep)


# Colours


def _colours(style: str, part: str) -> dict[str, tuple[int, ...]]:
    block = re.search(part + r"[^{]*\{(.*?)\}", style, re.DOTALL)
    assert block is not None
    found = re.findall(r"--([\w-]+):\s*#([0-9a-f]{6})", block[1])
    return {name: tuple(int(value[at : at + 2], 16) for at in (0, 2, 4)) for name, value in found}


def _luminance(colour: tuple[int, ...]) -> float:
    parts = [value / 255 for value in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    lighter, darker = sorted([_luminance(first), _luminance(second)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("part", ["^:root ", r"prefers-color-scheme: dark\) \{\s*:root ", r"@media print \{\s*:root "])
def test_text_stands_out_from_every_ground_that_it_is_on(part: str) -> None:
    style = (Path(package.__file__).parent / "page.css").read_text()
    colours = _colours(style, part)
    assert len(colours) >= 10
    for ground in ("page", "raised", "user-ground"):
        for text in ("text", "quiet", "link", "user", "assistant", "tool", "system"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
