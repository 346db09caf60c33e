"""Markdown drawn in a terminal. What is in it is shown, and never acts: no links, no markup, no control characters.

A parser turns ``&#8238;`` into a mark that turns lines, so the text that it makes of lines is made harmless too, not only
what it is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.markdown import Heading, Markdown, MarkdownElement, TextElement
from rich.segment import Segment
from rich.text import Text

from hierstore.cli.text import safe

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult

_MOST_CHARS = 100_000
_LEAST_CELLS = 24
_CELLS_A_LEVEL = 4
_CELLS_A_COLUMN = 8


def drawn(text: str, screen: Console, width: int) -> list[Text] | None:
    """The lines of a text that is Markdown.

    Args:
        text: harmless but for its line breaks.
        screen: where it will be printed.
        width: the room, in cells.

    Returns:
        The lines, none wider than the room. None where drawing would hide something: it is too long, or too deep or has too
        many columns for the room.
    """
    if len(text) > _MOST_CHARS:
        return None
    tokens = _parser().parse(text)
    deepest = max((token.level for token in tokens), default=0)
    if width - _CELLS_A_LEVEL * deepest < _LEAST_CELLS or width < _CELLS_A_COLUMN * _most_columns(tokens):
        return None
    for token in tokens:
        token.children = None if token.children is None else list(_inline(token.children))
    rows = screen.render_lines(_page(tokens), screen.options.update(width=width), pad=False)
    lines = [Text.assemble(*[(piece.text, piece.style or "") for piece in row if not piece.control]) for row in rows]
    for line in lines:
        line.rstrip()
    while lines and not lines[-1]:
        lines.pop()
    return lines


@cache
def _parser() -> MarkdownIt:
    # Nothing is hidden: neither tags, which models write to be read, nor where a reference leads.
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")


def _most_columns(tokens: list[Token]) -> int:
    most = columns = 0
    for token in tokens:
        columns = 0 if token.type == "tr_open" else columns + (token.type in ("th_open", "td_open"))
        most = max(most, columns)
    return most


def _inline(tokens: list[Token]) -> Iterator[Token]:
    """What stands in a line: line breaks kept, and links and images as text with where they lead."""
    open_links: list[tuple[str, list[str]]] = []
    for token in tokens:
        if token.type == "link_open":
            open_links.append((str(token.attrs.get("href", "")), []))
        elif token.type == "link_close":
            href, said = open_links.pop()
            if href not in ("".join(said), f"mailto:{''.join(said)}"):
                yield _text(f" ({href})")
        elif token.type == "image":
            yield _text(f"[image: {token.content}] ({token.attrs.get('src', '')})")
        else:
            for _, said in open_links:
                said.append(token.content)
            token.content = safe(token.content)
            token.type = "hardbreak" if token.type == "softbreak" else token.type
            yield token


def _text(text: str) -> Token:
    return Token("text", "", 0, content=safe(text))


class _Code(TextElement):
    """Code, as it stands: no colours, which would take a lexer that the text chooses."""

    info = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:  # noqa: ARG003  # the signature is rich's
        made = cls()
        made.info = token.info.strip()
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = options.update(width=options.max_width - 2)
        code = Text(self.text.plain.rstrip("\n"), "cyan", overflow="fold")
        for text in (Text(self.info, "dim"), code) if self.info else (code,):
            for line in console.render_lines(text, inner, pad=False):
                yield Segment("  ")
                yield from line
                yield Segment.line()


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {f"h{level}": "left" for level in range(1, 7)}


class _Page(Markdown):
    """Tokens that were parsed already."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }


@cache
def _empty_page() -> _Page:
    return _Page("", hyperlinks=False)


def _page(tokens: list[Token]) -> _Page:
    # One for all texts: making one makes a parser, which takes as long as drawing a message.
    page = _empty_page()
    page.parsed = tokens
    return page
