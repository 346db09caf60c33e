"""Text for people: made harmless, cut, counted. Nothing heavy is imported, so that worker processes may use it too."""

from __future__ import annotations

import re

# Not printable by Python's measure, and harmless: spaces of other widths, and the joiners that scripts and emoji need.
_HARMLESS = frozenset(map(chr, [0xA0, 0x1680, *range(0x2000, 0x200B), 0x200C, 0x200D, 0x202F, 0x205F, 0x3000]))


# A joiner before an emoji or a sign that can be one, and what asks for the coloured form of the sign before it.
_JOINED = re.compile("\u200d(?=[\u2190-\u2bff\U0001f000-\U0001faff])|\ufe0f")


class Refused(Exception):  # it says what happened, as the store's errors do
    """Something that a person has to put right; the message is the sentence that they read.

    Attributes:
        details: lines to be shown below it.
    """

    def __init__(self, sentence: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.details = details

    def __reduce__(self) -> tuple[type[Refused], tuple[str, tuple[str, ...]]]:
        return Refused, (str(self), self.details)


def safe(text: str) -> str:
    """The text with everything that could act on a terminal shown as an escape: controls, and marks that turn lines."""
    if text.isprintable():
        return text
    return "".join([c if is_harmless(c) else c.encode("unicode_escape").decode() for c in text])


def steady(text: str) -> str:
    """The text without what joins signs to one emoji, or makes a wide one of it: terminals differ on how wide those are."""
    if text.isascii():
        return text
    return _JOINED.sub("", text)


def is_harmless(character: str) -> bool:
    """Whether a terminal shows a character, or leaves room for it, and does nothing else."""
    return character.isprintable() or character in _HARMLESS


def one_line(text: str, limit: int) -> str:
    """The text on one line, harmless, of at most ``limit`` characters, the last one an ellipsis if it was cut."""
    # Only the beginning is looked at: the text may be a whole document.
    line = steady(safe(" ".join(text[: limit * 4].split())))
    cut = len(line) > limit or len(text) > limit * 4
    return line[: limit - 1] + "…" if cut else line


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 message``, ``5,308 messages``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
