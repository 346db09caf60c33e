"""What search takes for words, in any script: of messages, of queries, and where they stand in a text. Pure.

One function, ``normal``, makes what the index is given and what a query is turned into, so the two cannot differ; the
index itself only splits at what is left that is neither letter nor digit. Text in ASCII passes as it is.

Scripts that put no spaces between words (Han, Kana, Thai, Lao, Khmer, Myanmar, …), Hangul, whose words end in particles,
and emoji are cut into single characters, and a run of them in a query is a phrase: so any part of a text is found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from hierstore.values import loads

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_SPACE = re.compile(r"\s")
_PIECE = re.compile(r"[A-Za-z0-9]+|[^\x00-\x7f]+")
# Accents, signs that only say how something is to be drawn, and joiners: who searches leaves them out.
_DROPPED = re.compile(
    "[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u2060"
    "\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\U0001f3fb-\U0001f3ff\U000e0000-\U000e01ef]+"
)
_CUT = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF),
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x309F), (0x30A1, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA4CF),
    (0xA960, 0xA97F), (0xA980, 0xA9DF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF),
    (0x1F000, 0x1FBFF), (0x20000, 0x3FFFF),
)  # fmt: skip

_DATA = re.compile(r"data:[^,\s]{0,100};base64,")
PREVIEW_CHARS = 160
_MAX_CHARS = 200_000
"""How far into a text a snippet is looked for."""


class _Table(dict[int, str]):
    """For ``str.translate``: what becomes of each character, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        is_cut = kind == "So" or any(first <= code <= last for first, last in _CUT)
        is_word = kind[0] in "LNM" or kind in ("So", "Co", "Cn")
        found = " " if not is_word else f" {character} " if is_cut else character
        self[code] = found
        return found


_TABLE = _Table()


def normal(text: str) -> str:
    """The text as the index is given it: its words are the runs of ASCII letters and digits, and of all beyond ASCII."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFC", _DROPPED.sub("", unicodedata.normalize("NFD", text)))
    return text.translate(_TABLE)


def words(text: str) -> list[str]:
    """The words of a text, in its order."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return normal(text).split()


# What of a message is searched


def text_of(content: Any, fields: Mapping[str, Any] | None) -> str:
    """Everything in a message that a person would search for: its text, also in parts and in the arguments of calls."""
    if not fields and type(content) is str:
        return content
    parts: list[str] = []
    _collect(content, parts)
    _collect(fields, parts)
    return "\n".join(parts)


def _collect(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        # A picture in a message is no text, however many letters it has.
        if not _DATA.match(value):
            parts.append(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "arguments" and isinstance(item, str):
                _collect(_arguments(item), parts)
            elif key != "type":
                _collect(item, parts)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, parts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        parts.append(str(value))


def _arguments(text: str) -> Any:
    """The arguments of a call, which are mostly JSON in a string, with letters beyond ASCII escaped."""
    try:
        return loads(text)
    except ValueError:
        return text


def preview(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * PREVIEW_CHARS].split())
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1].rstrip() + "…"


# Queries


class Phrase(NamedTuple):
    """Words that follow each other.

    Attributes:
        words: at least one.
        is_prefix: whether the last one may go on.
    """

    words: tuple[str, ...]
    is_prefix: bool = False


class Query(NamedTuple):
    """What to look for: all of some phrases and none of others."""

    wanted: tuple[Phrase, ...]
    unwanted: tuple[Phrase, ...] = ()


_MAX_PHRASES = 64
_TERM = re.compile(r'(?P<minus>-?)(?:"(?P<quoted>[^"]*)"?|(?P<bare>[^\s"]+))')


def parse(text: str, *, operators: bool) -> Query:
    """A query from what a person typed; whatever that is, it is one.

    Args:
        text: the words. Beyond the first 64 they do not count.
        operators: whether quotes, a trailing star and a leading minus mean something; else they are no words.
    """
    if not operators:
        found = (tuple(words(word)) for word in text.split())
        return Query(_distinct(Phrase(phrase) for phrase in found if phrase))
    wanted: list[Phrase] = []
    unwanted: list[Phrase] = []
    for term in _TERM.finditer(text):
        quoted, bare = term["quoted"], term["bare"]
        phrase = tuple(words(bare if quoted is None else quoted))
        if phrase:
            is_prefix = bare is not None and bare.endswith("*")
            (unwanted if term["minus"] else wanted).append(Phrase(phrase, is_prefix))
    return Query(_distinct(wanted), _distinct(unwanted))


def _distinct(phrases: Any) -> tuple[Phrase, ...]:
    return tuple(dict.fromkeys(phrases))[:_MAX_PHRASES]


def expression(query: Query) -> str | None:
    """The query in the index's own language; None when it asks for nothing."""
    if not query.wanted:
        return None
    wanted = " AND ".join(map(_quoted, query.wanted))
    if not query.unwanted:
        return wanted
    return f"({wanted}) NOT ({' OR '.join(map(_quoted, query.unwanted))})"


def _quoted(phrase: Phrase) -> str:
    # Words hold no quotes: they are letters and digits.
    return f'"{" ".join(phrase.words)}"{"*" if phrase.is_prefix else ""}'


# Snippets


class _Word(NamedTuple):
    begin: int
    end: int
    word: str


def _places(text: str) -> Iterator[_Word]:
    """The words of a text and where they stand."""
    for piece in _PIECE.finditer(text, 0, min(len(text), _MAX_CHARS)):
        if piece[0].isascii():
            yield _Word(piece.start(), piece.end(), piece[0].lower())
        else:
            yield from _foreign(text, piece.start(), piece.end())


def _foreign(text: str, begin: int, end: int) -> Iterator[_Word]:
    # Character by character, so that each word's place is known.
    start, word = begin, ""
    for place in range(begin, end):
        made = normal(text[place])
        if not made:
            continue
        if made.strip() == made:
            start, word = (start, word + made) if word else (place, made)
            continue
        if word:
            yield _Word(start, place, word)
            word = ""
        for single in made.split():
            yield _Word(place, place + 1, single)
    if word:
        yield _Word(start, end, word)


def _joined(places: Iterator[_Word]) -> list[_Word]:
    """The words, with those put together that only a change of script within them had parted."""
    found: list[_Word] = []
    for word in places:
        last = found[-1] if found else None
        if last is not None and last.end == word.begin and not (_is_single(last.word) or _is_single(word.word)):
            found[-1] = _Word(last.begin, word.end, last.word + word.word)
        else:
            found.append(word)
    return found


def _is_single(word: str) -> bool:
    return len(word) == 1 and not word.isascii() and _TABLE[ord(word)] != word


def marked(text: str, query: Query, size_chars: int) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The part of a text that shows most of what was looked for, on one line, and where that stands in it.

    Args:
        text: the text.
        query: what was looked for.
        size_chars: how long the part should be, about.
    """
    if text.isascii():
        spans = [span for phrase in query.wanted for span in _ascii_matches(text, phrase)]
    else:
        places = _joined(_places(text))
        spans = [span for phrase in query.wanted for span in _matches(places, phrase)]
    spans.sort()
    begin, end = _window(text, spans, size_chars)
    lead = "…" if begin else ""
    # One space for each character that it stands for, so that nothing moves.
    shown = lead + _SPACE.sub(" ", text[begin:end]) + ("…" if end < len(text) else "")
    moved = len(lead) - begin
    marks = [(first + moved, last + moved) for first, last, _ in _apart(spans) if begin <= first and last <= end]
    return shown, tuple(marks)


_Span = tuple[int, int, Phrase]


def _ascii_matches(text: str, phrase: Phrase) -> Iterator[_Span]:
    """The same as ``_matches`` finds, without a step in Python for each word: nearly all text of many programs."""
    # Small letters, and letters first in the pattern: then its first word is looked for as a string.
    for found in _ascii_pattern(phrase).finditer(text[:_MAX_CHARS].lower()):
        yield found.start(), found.end(), phrase


@lru_cache(64)
def _ascii_pattern(phrase: Phrase) -> re.Pattern[str]:
    end = "[a-z0-9]*" if phrase.is_prefix else "(?![a-z0-9])"
    # Its words are letters and digits, or they are not found here.
    first, *others = map(re.escape, phrase.words)
    return re.compile("[^a-z0-9]+".join([f"{first}(?<![a-z0-9]{first})", *others]) + end, re.ASCII)


def _matches(places: list[_Word], phrase: Phrase) -> Iterator[_Span]:
    *front, last = phrase.words
    size = len(phrase.words)
    for start in range(len(places) - size + 1):
        final = places[start + size - 1].word
        if (final.startswith(last) if phrase.is_prefix else final == last) and all(
            places[start + number].word == word for number, word in enumerate(front)
        ):
            yield places[start].begin, places[start + size - 1].end, phrase


def _apart(spans: list[_Span]) -> Iterator[_Span]:
    """The spans without those that overlap one before."""
    done = -1
    for span in spans:
        if span[0] >= done:
            done = span[1]
            yield span


def _window(text: str, spans: list[_Span], size_chars: int) -> tuple[int, int]:
    """From where to where to show: the first stretch that holds the most of the phrases."""
    if not spans:
        return 0, min(len(text), size_chars)
    lead = size_chars // 4
    best, most = spans[0][0], 0
    for number, (first, _, _) in enumerate(spans[:200]):
        seen = set()
        for _, last, phrase in spans[number : number + 50]:
            if last > first + size_chars - lead:
                break
            seen.add(phrase)
        if len(seen) > most:
            best, most = first, len(seen)
    begin = max(0, best - lead)
    if begin:
        # Not in the middle of a word, where there are spaces.
        space = text.find(" ", begin, best)
        begin = space + 1 if space >= 0 else begin
    longest = max(last for first, last, _ in spans if first == best)
    return begin, min(len(text), max(begin + size_chars, longest))
