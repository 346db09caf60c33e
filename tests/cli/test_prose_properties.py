"""Any text at all, put together of what Markdown and HTML are made of: on a page and in a Markdown document it stays text."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hierstore.cli.html.prose import escaped, prose, verbatim, word
from hierstore.cli.quotation import code, fenced, plain, quoted, tamed
from tests.cli.pages import ATTRIBUTES, TAGS, UNSEEN, Page

PIECES = [
    "<", ">", "<b>", "<script>", "</script>", "<!--", "-->", "<a href='x'>", "&", "&lt;", "&#x202e;", "&#0;", "&colon;", "\"", "'",
    "[", "]", "(", ")", "![", "](", "javascript:x", "http://a.invalid/b", "https://a.invalid", "data:image/png;base64,AA", "mailto:a@b",
    "[a]: ", " \"t\"", "*", "**", "_", "~~", "`", "``", "```", "~~~", "\n", "\n\n", "\r", "\t", "    ", "> ", "- ", "1. ", "# ", "===", "---",
    "|", "|-|", "\\", "\\\\", "\x00", "\x1b", "\u202e", "\u2028", "\ud800", "x", "é", "א", "\U0001f600", "onclick=", "style=",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


@settings(max_examples=1500)
@given(texts)
def test_on_a_page_no_text_is_more_than_what_a_page_may_hold(text: str) -> None:
    for shown in (prose(text), escaped(text), word(text), verbatim(text)):
        assert UNSEEN.search(shown) is None
        shown.encode()
        for element in Page(shown).elements:
            assert element.tag in TAGS
            assert element.attributes.keys() <= ATTRIBUTES - {"id", "name", "content", "http-equiv"}
            assert re.match("https?://|mailto:", element.attributes.get("href", "mailto:"), re.IGNORECASE)
            assert not (element.tag == "a" and "a" in element.within)
            assert not re.fullmatch("h[1-6]", element.tag)


@settings(max_examples=1500)
@given(texts)
def test_in_a_markdown_document_no_text_is_html_an_image_or_a_heading_of_ours(text: str) -> None:
    document = f"# {plain(' '.join(text.split()))}\n\n- {code(' '.join(text.split()))}\n\n"
    document += f"{quoted(tamed(text))}\n## ours\n\n{quoted(fenced(text, 'json'))}\n## ours\n"
    tokens = MarkdownIt("commonmark", {"html": True}).parse(document.encode(errors="replace").decode())
    kinds = {token.type for outer in tokens for token in [outer, *(outer.children or ())]}
    assert not kinds & {"html_block", "html_inline", "image"}
    headings = [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and not token.level
    ]
    assert headings[1:] == ["ours", "ours"]
