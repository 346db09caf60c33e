"""Text for people: made harmless, cut, counted. No imports, so that worker processes may use it too."""

from __future__ import annotations

# Not printable by Python's measure, and harmless: spaces of other widths, and the joiners that scripts and emoji need.
_HARMLESS = frozenset(map(chr, [0xA0, 0x1680, *range(0x2000, 0x200B), 0x200C, 0x200D, 0x202F, 0x205F, 0x3000]))


class Refused(Exception):  # it says what happened, as the store's errors do
    """Something that a person has to put right; the message is the sentence that they read."""


def safe(text: str) -> str:
    """The text with everything that could act on a terminal shown as an escape: controls, and marks that turn lines."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode() for c in text])


def one_line(text: str, limit: int) -> str:
    """The text on one line, harmless, of at most ``limit`` characters, the last one an ellipsis if it was cut."""
    # Only the beginning is looked at: the text may be a whole document.
    line = safe(" ".join(text[: limit * 4].split()))
    cut = len(line) > limit or len(text) > limit * 4
    return line[: limit - 1] + "…" if cut else line


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 message``, ``5,308 messages``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
