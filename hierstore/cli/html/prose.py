"""Content as HTML: nothing in it is markup, nothing in it acts, nothing is loaded, and what cannot be seen is shown.

Whatever goes to the page goes through ``escaped``, ``word`` or ``prose``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from hierstore.cli.parts import without_data
from hierstore.cli.text import one_line, safe

_MOST_MARKDOWN_CHARS = 50_000
"""Longer text is no prose, and a parser may take minutes for it: it is shown as it stands."""

# Controls, marks that turn the direction of what follows, tags that nobody sees, and what is no character at all. Marks that
# only say which way a neighbour is read (U+200E, U+200F, U+061C) stay: Arabic and Hebrew need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# What text must hold for Markdown to make anything of it but paragraphs.
_MARKED = re.compile(r"[\\`*_\[\]<>&|~#]|^(?: {0,3}(?:[-+=]|\d+[.)])|    |\t)", re.MULTILINE)
_LINKED = ("http://", "https://", "mailto:")
_ALIGNED = {"text-align:left": "left", "text-align:center": "center", "text-align:right": "right"}
_ONE_LINE_CHARS = 80
_LANGUAGE_CHARS = 40
_ALT_CHARS = 200


def visible(text: str) -> str:
    """The text, its line breaks all alike, with an escape for each character that would act or hide."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped(text: str) -> str:
    """Text of several lines for the page."""
    return html.escape(visible(text))


def word(text: str, limit: int | None = None) -> str:
    """A title, an id, a name: on one line, in a direction of its own, so that it turns nothing around it."""
    shown = safe(text) if limit is None else one_line(text, limit)
    return f"<bdi>{html.escape(shown)}</bdi>"


def plain_word(text: str, limit: int) -> str:
    """The same for an attribute or the page's title, where no element can be."""
    return html.escape(one_line(text, limit))


def moment(unix_s: float) -> str:
    """A time, the same wherever the page is read."""
    try:
        at = datetime.fromtimestamp(unix_s, UTC).replace(tzinfo=None, microsecond=0)
    except (ValueError, OverflowError, OSError):
        return f"{unix_s} s"
    return f'<time datetime="{at.isoformat()}Z">{at.isoformat(" ")} UTC</time>'


def prose(text: str) -> str:
    """What somebody said: Markdown, but for HTML and for what a page would load."""
    if not text.strip():
        return ""
    text = without_data(text)
    if len(text) > _MOST_MARKDOWN_CHARS:
        return f'<div class="plain">{escaped(text)}</div>'
    text = visible(text)
    if _MARKED.search(text) is None:
        return _paragraphs(text)
    # Once more: an entity may stand for any character.
    return visible(_markdown().render(text))


def _paragraphs(text: str) -> str:
    blocks = re.split(r"\n[ \t]*\n\s*", text.strip())
    return "".join(f"<p>{html.escape(block.strip()).replace(chr(10), '<br>')}</p>" for block in blocks)


def verbatim(text: str) -> str:
    """Text in which each character and line counts; lines that are too long go on below."""
    return f'<pre class="wrap" tabindex="0"><code>{escaped(without_data(text))}</code></pre>'


def data(value: Any) -> str:
    """A JSON value, laid out."""
    return verbatim(laid_out(value))


def laid_out(value: Any) -> str:
    """A JSON value as text: on one line if it is short, else on several."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > _ONE_LINE_CHARS and isinstance(value, dict | list):
            text = json.dumps(value, ensure_ascii=False, indent=2)
    except RecursionError:
        return "(nested too deep to be shown)"
    return without_data(text)


def maybe_data(text: str) -> Any:
    """What a text says if it is a JSON object or array; else None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
        json.dumps(value, indent=2)
    except (ValueError, RecursionError):
        return None
    return value


# Markdown


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "xhtmlOut": False})
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.push("tamed", _tame)
    for name, rule in (("fence", _code), ("code_block", _code), ("image", _image), ("table_open", _table)):
        parser.add_render_rule(name, rule)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _tame(state: StateCore) -> None:
    """Take from the tokens what the page's own parts must not be confused with, and what its policy would not allow."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            # No heading: the page's outline is its sessions and messages.
            token.attrs = {"class": f"head {token.tag}"} if token.nesting == 1 else {}
            token.tag = "p"
        elif token.type in ("td_open", "th_open"):
            side = _ALIGNED.get(str(token.attrs.get("style", "")))
            token.attrs = {"class": side} if side else {}
        _tame_links(token.children or ())


def _tame_links(tokens: Sequence[Token]) -> None:
    is_link = is_inside = False
    for token in tokens:
        if token.type == "link_open":
            is_link = str(token.attrs.get("href", "")).lower().startswith(_LINKED)
            token.attrs = {"href": token.attrs["href"], "rel": "noopener noreferrer nofollow"} if is_link else {}
            is_inside = True
        elif token.type == "image":
            # A link cannot hold another.
            token.meta["is_inside"] = is_inside
        if token.type in ("link_open", "link_close") and not is_link:
            token.tag = "span"
        if token.type == "link_close":
            is_inside = False


def _code(_: Any, tokens: Sequence[Token], place: int, *__: Any) -> str:
    token = tokens[place]
    language = token.info.split()[:1]
    named = f'<span class="language">{word(language[0], _LANGUAGE_CHARS)}</span>' if language else ""
    # Code keeps its lines: what is too wide scrolls.
    shown = escaped(token.content.removesuffix("\n"))
    return f'<div class="code">{named}<pre tabindex="0"><code>{shown}</code></pre></div>\n'


def _image(renderer: Any, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    """An image as a link to it: a page that loads it would tell somebody that it is read."""
    token = tokens[place]
    alt = renderer.renderInlineAsText(token.children, options, env)
    named = f"Image: {word(alt, _ALT_CHARS)}" if alt.strip() else "Image"
    source = str(token.attrs.get("src", ""))
    if token.meta.get("is_inside"):
        return f'<span class="part">{named}</span>'
    if not source.lower().startswith(_LINKED):
        return f'<span class="part">{named}, not shown</span>'
    return link(source, named)


def _table(*_: Any) -> str:
    return '<div class="wide" tabindex="0"><table>\n'


def link(address: str, shown: str) -> str:
    """A link to http, https or mailto; for any other address, what would be shown.

    Args:
        address: where to.
        shown: HTML.
    """
    if not address.lower().startswith(_LINKED):
        return shown
    return f'<a href="{html.escape(safe(address))}" rel="noopener noreferrer nofollow">{shown}</a>'
