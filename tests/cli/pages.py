"""What a page of HTML says, for tests: its elements, taken apart by the standard library's parser and held to some rules."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import NamedTuple

VOID = frozenset(["meta", "br", "hr"])
TAGS = VOID | {
    "html", "head", "title", "style", "body", "header", "footer", "main", "nav", "section", "article", "h1", "h2", "h3",
    "p", "a", "span", "bdi", "time", "dl", "dt", "dd", "div", "ol", "ul", "li", "details", "summary", "pre", "code",
    "blockquote", "em", "strong", "s", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = frozenset(
    ["lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-labelledby", "aria-label", "dir",
     "datetime", "tabindex", "rel", "start"]
)  # fmt: skip
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]")


class Element(NamedTuple):
    """An element's beginning."""

    tag: str
    attributes: dict[str, str]
    within: tuple[str, ...]


class Page(HTMLParser):
    """A page taken apart; raises AssertionError where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.text: list[tuple[tuple[str, ...], str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute is there twice: {attrs}"
        self.elements.append(Element(tag, {key: value or "" for key, value in attrs}, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append((tuple(self.open), data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def all(self, tag: str) -> list[Element]:
        """The elements of a kind."""
        return [element for element in self.elements if element.tag == tag]

    def said(self, within: str | None = None) -> str:
        """What is to be read, of all or within some kind of element."""
        return "".join(
            text for where, text in self.text if "style" not in where and (within is None or within in where)
        )

    def headings(self) -> list[int]:
        """The levels of the headings, in order."""
        return [int(element.tag[1]) for element in self.elements if re.fullmatch("h[1-6]", element.tag)]


def sound(text: str) -> Page:
    """The page, after it was held to what every page must be: complete, inert, closed to the network."""
    assert text.startswith("<!doctype html>")
    assert UNSEEN.search(text) is None, repr(UNSEEN.search(text))
    page = Page(text)
    for element in page.elements:
        assert element.tag in TAGS, element
        assert element.attributes.keys() <= ATTRIBUTES, element
        if element.tag == "a":
            assert re.match(r"#|https?://|mailto:", element.attributes["href"], re.IGNORECASE), element
            assert element.attributes["href"].startswith("#") or "noopener" in element.attributes["rel"]
            assert "a" not in element.within, "a link in a link"
        elif element.tag == "meta":
            assert element.attributes.get("http-equiv", "Content-Security-Policy") == "Content-Security-Policy"
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids)), "an id is there twice"
    assert all(re.fullmatch("s[0-9]+(-m[0-9]+)?(-h)?|main|contents", name) for name in ids)
    targets = [
        element.attributes["href"][1:] for element in page.all("a") if element.attributes["href"].startswith("#")
    ]
    assert set(targets) <= set(ids), set(targets) - set(ids)
    _check_outline(page)
    _check_policy(text, page)
    return page


def _check_outline(page: Page) -> None:
    levels = page.headings()
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "a level is left out"
    assert [len(page.all(tag)) for tag in ("main", "title", "style")] == [1, 1, 1]


def _check_policy(text: str, page: Page) -> None:
    policies = [one.attributes["content"] for one in page.all("meta") if "http-equiv" in one.attributes]
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in style
    assert "@import" not in style
