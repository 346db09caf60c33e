"""A command line as bash reads it, up to the cursor: its words, and how a word is typed so that it stays one word."""

from __future__ import annotations

from typing import NamedTuple

_PLAIN = frozenset("_-./:=@%+,")
"""What needs no quoting anywhere in a word, beside letters and digits."""
_NOT_IN_DOUBLE = frozenset('"$`\\!')


class Last(NamedTuple):
    """The word that is not finished.

    Attributes:
        text: what it says.
        quote: the quotation mark that is open, or nothing.
        kept: the part of its text that bash leaves where it is; it takes the rest away before it puts a new one in.
        is_simple: whether it can be gone on with: a quotation mark stands only at its beginning.
    """

    text: str
    quote: str
    kept: str
    is_simple: bool


def parse(line: str, breaks: str) -> tuple[list[str], Last]:
    """The words of a line that are finished, and the last one, which is not.

    Args:
        line: up to the cursor.
        breaks: bash's COMP_WORDBREAKS.
    """
    words: list[str] = []
    text, kept, quote = "", "", ""
    began, is_simple, is_escaped = False, True, False
    for character in line:
        if is_escaped:
            text, is_escaped = text + character, False
        elif character == "\\" and quote != "'":
            is_escaped = began = True
        elif quote:
            if character != quote:
                text += character
            else:
                quote, is_simple = "", False
        elif character in "'\"":
            is_simple = is_simple and not began
            quote, began = character, True
        elif character.isspace():
            if began:
                words.append(text)
            text, kept, began, is_simple = "", "", False, True
        else:
            text, began = text + character, True
            if character in breaks:
                kept = text
    return words, Last(text, quote, kept, is_simple and not is_escaped)


def typed(word: str, last: Last) -> str | None:
    """What to type for a word in the place of the last one; None where it cannot be typed on from there."""
    if not last.is_simple:
        return None
    if last.quote == '"':
        return None if _NOT_IN_DOUBLE & set(word) else word
    if last.quote:
        return None if "'" in word else word
    return "".join([c if c.isalnum() or c in _PLAIN else f"\\{c}" for c in word[len(last.kept) :]])
