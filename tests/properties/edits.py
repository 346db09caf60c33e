"""Edits of a log's bytes: what a bad disk, a bad tool or somebody's hand makes of a file.

An edit is a name and four numbers, from which all its choices follow: a failing run prints it, and it does the same again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from hierstore.log import frame

T = TypeVar("T")
MOST = 2**32


class Edit(NamedTuple):
    """One change of a file's bytes, to be made by ``edited``."""

    name: str
    numbers: tuple[int, ...]


class Choices:
    """Choices by numbers that are given: the same numbers, the same choices."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = list(numbers)
        self._random = random.Random(repr(numbers))

    def below(self, most: int) -> int:
        """A number from 0 to below ``most``."""
        number = self._numbers.pop(0) if self._numbers else self._random.randrange(MOST)
        return number % max(1, most)

    def of(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def span(self, data: bytes) -> tuple[int, int]:
        """A part of some bytes: mostly short."""
        begin = self.below(len(data) + 1)
        return begin, min(len(data), begin + 1 + self.below(self.of([1, 4, 40, 400, 4000])))

    def junk(self, size: int) -> bytes:
        return self._random.randbytes(size)


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True) or [b""]


# Edits that know nothing of the format


def _flip(data: bytes, by: Choices, _: bytes) -> bytes:
    place = by.below(len(data))
    return data[:place] + bytes([data[place] ^ 1 << by.below(8)]) + data[place + 1 :] if data else data


def _set(data: bytes, by: Choices, _: bytes) -> bytes:
    place = by.below(len(data))
    return data[:place] + bytes([by.of(b'\0\n"{}[],:\\0 9a\xff\r')]) + data[place + 1 :]


def _zero(data: bytes, by: Choices, _: bytes) -> bytes:
    begin, end = by.span(data)
    return data[:begin] + bytes(end - begin) + data[end:]


def _junk(data: bytes, by: Choices, _: bytes) -> bytes:
    begin, end = by.span(data)
    return data[:begin] + by.junk(end - begin) + data[end:]


def _cut_end(data: bytes, by: Choices, _: bytes) -> bytes:
    return data[: by.below(len(data) + 1)]


def _cut_out(data: bytes, by: Choices, _: bytes) -> bytes:
    begin, end = by.span(data)
    return data[:begin] + data[end:]


def _insert(data: bytes, by: Choices, _: bytes) -> bytes:
    place = by.below(len(data) + 1)
    more = by.of([b"\n", b"\0", bytes(600), b"\r", b"}", b"\xef\xbb\xbf", b" ", by.junk(30), b"{}\n", b"\n\n\n"])
    return data[:place] + more + data[place:]


def _double(data: bytes, by: Choices, _: bytes) -> bytes:
    begin, end = by.span(data)
    return data[:end] + data[begin:end] + data[end:]


def _swap_blocks(data: bytes, by: Choices, _: bytes) -> bytes:
    begin, middle = by.span(data)
    end = min(len(data), 2 * middle - begin)
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def _lose_block(data: bytes, by: Choices, _: bytes) -> bytes:
    """A sector of 512 bytes that comes back as zeros, or as another one."""
    begin = 512 * by.below(len(data) // 512 + 1)
    lost = data[begin : begin + 512]
    other = 512 * by.below(len(data) // 512 + 1)
    fill = by.of([bytes(len(lost)), (data[other : other + 512] + bytes(512))[: len(lost)]])
    return data[:begin] + fill + data[begin + 512 :]


# Edits that know lines


def _line(change: Callable[[list[bytes], Choices, bytes], None]) -> Callable[[bytes, Choices, bytes], bytes]:
    def edit(data: bytes, by: Choices, other: bytes) -> bytes:
        lines = lines_of(data)
        change(lines, by, other)
        return b"".join(lines)

    return edit


def _drop_line(lines: list[bytes], by: Choices, _: bytes) -> None:
    del lines[by.below(len(lines))]


def _double_line(lines: list[bytes], by: Choices, _: bytes) -> None:
    lines.insert(by.below(len(lines) + 1), by.of(lines))


def _swap_lines(lines: list[bytes], by: Choices, _: bytes) -> None:
    one, two = by.below(len(lines)), by.below(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def _splice(lines: list[bytes], by: Choices, other: bytes) -> None:
    """Another session's lines among these."""
    theirs = lines_of(other)
    begin = by.below(len(theirs))
    place = by.below(len(lines) + 1)
    lines[place : place + by.below(3)] = theirs[begin : begin + 1 + by.below(3)]


def _other_end(lines: list[bytes], by: Choices, other: bytes) -> None:
    place = by.below(len(lines) + 1)
    lines[place:] = lines_of(other)[place:]


def _windows_ends(lines: list[bytes], by: Choices, _: bytes) -> None:
    """As an editor leaves them."""
    begin = by.below(len(lines))
    lines[begin:] = [line.replace(b"\n", b"\r\n") for line in lines[begin:]]


def _no_seal(lines: list[bytes], by: Choices, _: bytes) -> None:
    place = by.below(len(lines))
    lines[place] = lines[place][: -frame.SEAL_BYTES] + by.of([b"}\n", b',"crc":"00000000"}\n', b',"crc":""}\n', b"\n"])


def _other_content(lines: list[bytes], by: Choices, _: bytes) -> None:
    """What a person would do: change a word, and leave the rest of the line."""
    place = by.below(len(lines))
    words = by.of([(b'"user"', b'"root"'), (b'"content":"', b'"content":"x'), (b'"seq":', b'"seq":1'), (b"1", b"2")])
    lines[place] = lines[place].replace(*words)


# Edits that keep the checksums valid


DEEP = [b"[" * levels + b"]" * levels for levels in (199, 201, 254, 255, 1023, 1025, 5000)]
# No number of about a gigabyte's size: what is not refused would be tried, and take the machine's memory.
HOSTILE = [
    b"null", b"true", b"false", b"0", b"-1", b"1", b"2", b"1.5", b"1e308", b"1e999", b"-1e999", b"NaN", b"9007199254740993",
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"1" + b"0" * 400, b'""', b'"x"',
    b'"\\ud800"', b'"\\u0000"', b'"\xed\xa0\x80"', b'"\xff"', b'"' + b"x" * 600 + b'"', b'"top"', b'"child"', b'"leaf"',
    b'"Other/Id"', b"[]", b"{}", b"[null]", b'["x"]', b'[["x",1]]', b"[[]]", b'{"a":null}', b'{"a":1,"a":2}', b'{"":{}}',
    b'{"id":{}}', b"[[0,1,2,3,4]]", b"[[0,-1,0,0,0]]", b"[[7,99999999,1,1,1]]", b'[{"type":"reset"}]', b"1.7976931348623157e308",
    b"2024", b"-9223372036854775809", *DEEP,
]  # fmt: skip

EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message", "seq": 1, "id": "doubled", "role": "user", "content": "words", "at": 1.0},
    {"type": "message", "seq": 99, "id": "m", "role": "tool", "content": [{"type": "text", "text": "words"}], "at": 1.0,
     "metadata": {"k": 1}, "fields": {"tool_calls": [{"function": {"arguments": "{}"}}]}},
    {"type": "created", "title": "t", "title_source": "user", "parent": "top", "kind": "k", "metadata": {}, "labels": ["l"],
     "past": [[0, 10, 1, 1, 1]]},
    {"type": "title", "title": "t", "source": "auto"},
    {"type": "updated", "metadata": {"k": 1}, "labels": ["l"], "pinned": True, "archived": True, "suspended": False,
     "derived": {"d": 1}},
    {"type": "child", "id": "leaf"}, {"type": "child", "id": "top"}, {"type": "forgotten", "id": "child"},
    {"type": "moved", "parent": "leaf"}, {"type": "moved", "parent": "top"}, {"type": "moved", "parent": None},
    {"type": "reset", "reason": "r"}, {"type": "snapshot", "id": "snap", "label": "l", "metadata": {}},
    {"type": "reverted", "revision": 2, "count": 1}, {"type": "unreverted", "revision": 1, "count": 0},
    {"type": "past", "past": [[0, 100, 5, 2, 1]]}, {"type": "ref", "name": "openai", "value": "x"},
    {"type": "usage", "add": {"tokens": 1}, "set": {"cost": 0.5}}, {"type": "turn", "token": "t"},
    {"type": "bound", "key": "key one"}, {"type": "unshared", "ids": ["x"]}, {"type": "deleted", "batch": "b"},
    {"type": "shared", "id": "g", "digest": "0" * 64, "role": "read", "expires_at": 5.0, "subtree": True,
     "frozen": [["top", "0", 1]]},
    {"type": "restored", "batch": "b"}, {"type": "unknown", "x": {"y": [1]}},
    {"type": "compacted", "parent_id": "top", "title": "t", "labels": ["l"], "turn": ["t", 1.0], "metadata": {"a": 1},
     "usage": [["u", "12", -1, True]], "grants": [["g", "0", "read", 1.0, None, False, None]], "bound": [["k", 1.0]],
     "snapshots": [["s", "l", 1, 1.0, {}]], "children": ["leaf"], "more": {"labels": ["m"]}, "last_seq": 3,
     "updated_at": 1.0, "through": 2, "kept": [1]},
    {"type": "route", "key": "key one", "session": "top"}, {"type": "locator", "locator": "0" * 8, "session": "top"},
)  # fmt: skip

_PLACE = "@@here@@"


def hostile_body(seq: int, by: Choices) -> bytes:
    """A commit's JSON, without its seal, with something in it that this library would not write."""
    event = json.loads(json.dumps(by.of(EVENTS)))
    message = {key: value for key, value in event.items() if key != "type"} if event["type"] == "message" else None
    record = {"message": message} if message and by.below(2) else {"events": [event], "at": 1.0}
    raw = by.of(HOSTILE)
    change = by.below(6)
    if change < 4:
        owners = _containers(record)
        owner, key = by.of(owners)
        if change == 0:
            owner.pop(key)
        else:
            owner[key] = _PLACE
    text = json.dumps(record, separators=(",", ":")).encode().replace(b'"%b"' % _PLACE.encode(), raw)
    if change == 4:
        # A key that is there twice: the last one counts for one reader, the first for another.
        text = text[:-1] + b"," + text[1:]
    return text[:-1] + b',"seq":%d' % seq


def _containers(value: Any) -> list[tuple[Any, Any]]:
    """Every place in some JSON, as what holds it and its key."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [pair for key, item in items for pair in [(value, key), *_containers(item)]]


def sealed(bodies: Sequence[bytes]) -> bytes:
    """Lines with valid checksums."""
    lines, chain = [], 0
    for body in bodies:
        line, chain = frame.seal(body, chain)
        lines.append(line)
    return b"".join(lines)


def _bodies(data: bytes) -> list[bytes]:
    return [line[: -frame.SEAL_BYTES] for line in lines_of(data)]


def _seq_of(bodies: list[bytes], place: int) -> int:
    return int(bodies[place].rpartition(b":")[2]) if place < len(bodies) else _seq_of(bodies, len(bodies) - 1) + 1


def _resealed(data: bytes, by: Choices, other: bytes) -> bytes:
    """One commit is another, and everything is sealed anew."""
    bodies = _bodies(data)
    place = 1 + by.below(len(bodies))
    bodies[place : place + 1] = [hostile_body(_seq_of(bodies, place), by)]
    return sealed(bodies)


def _resealed_more(data: bytes, by: Choices, other: bytes) -> bytes:
    """Some hostile commits at the end."""
    bodies = _bodies(data)
    for _ in range(1 + by.below(3)):
        bodies.append(hostile_body(_seq_of(bodies, len(bodies)), by))
    return sealed(bodies)


def _resealed_header(data: bytes, by: Choices, other: bytes) -> bytes:
    bodies = _bodies(data)
    record = {**json.loads(bodies[0] + b"}"), **by.of([{}, {"skipped": 0}])}
    key = by.of(list(record))
    text = json.dumps({**record, key: _PLACE}, separators=(",", ":"))
    raw = by.of([*HOSTILE, *(b"%d" % number for number in (1, 2, 5, 1000))])
    text_bytes = text.encode().replace(b'"%b"' % _PLACE.encode(), raw)
    return sealed([text_bytes[:-1], *bodies[1:]])


def _resealed_order(data: bytes, by: Choices, other: bytes) -> bytes:
    """Commits dropped, doubled or in another order, each with the seq that it had or the one that fits."""
    bodies = _bodies(data)
    count = 1 + by.below(4)
    for _ in range(count):
        place = by.below(len(bodies))
        change = by.below(3)
        if change == 0 and len(bodies) > 1:
            del bodies[place]
        elif change == 1:
            bodies.insert(place, by.of(bodies))
        else:
            bodies.insert(by.below(len(bodies)), bodies.pop(place))
    if by.below(2):
        bodies = [body.rpartition(b":")[0] + b":%d" % number for number, body in enumerate(bodies)]
    return sealed(bodies)


def _resealed_word(data: bytes, by: Choices, other: bytes) -> bytes:
    """Some value anywhere becomes another."""
    bodies = _bodies(data)
    place = by.below(len(bodies))
    record = json.loads(bodies[place] + b"}")
    seq = record.pop("seq", 0)
    owner, key = by.of(_containers(record))
    owner[key] = _PLACE
    text = json.dumps(record, separators=(",", ":")).encode().replace(b'"%b"' % _PLACE.encode(), by.of(HOSTILE))
    bodies[place] = text[:-1] + b',"seq":%d' % seq
    return sealed(bodies)


PLAIN: dict[str, Callable[[bytes, Choices, bytes], bytes]] = {
    "flip a bit": _flip, "set a byte": _set, "zero": _zero, "overwrite": _junk, "cut the end": _cut_end,
    "cut out": _cut_out, "insert": _insert, "double a block": _double, "swap blocks": _swap_blocks,
    "lose a block": _lose_block, "drop a line": _line(_drop_line), "double a line": _line(_double_line),
    "swap lines": _line(_swap_lines), "splice": _line(_splice), "another's end": _line(_other_end),
    "windows": _line(_windows_ends), "no seal": _line(_no_seal), "a word": _line(_other_content),
    "empty": lambda _data, _by, _other: b"", "all zero": lambda data, _by, _other: bytes(len(data)),
}  # fmt: skip
SEALED: dict[str, Callable[[bytes, Choices, bytes], bytes]] = {
    "hostile commit": _resealed, "hostile end": _resealed_more, "hostile header": _resealed_header,
    "hostile order": _resealed_order, "hostile word": _resealed_word,
}  # fmt: skip


def edited(edits: Sequence[Edit], data: bytes, other: bytes) -> bytes:
    """The bytes after some edits.

    Args:
        edits: what to do, in order; a sealed one is made of what is whole lines by then.
        data: a file's bytes.
        other: another log's, of which lines may be taken.
    """
    for edit in edits:
        by = Choices(edit.numbers)
        if edit.name in PLAIN:
            data = PLAIN[edit.name](data, by, other) if data else data
        elif data:
            data = SEALED[edit.name](data, by, other)
    return data


def is_sealed(edits: Sequence[Edit]) -> bool:
    """Whether the bytes may say, with a right checksum, what nobody wrote."""
    return any(edit.name in SEALED for edit in edits)


def drawn(source: random.Random, *, forged: bool) -> tuple[Edit, ...]:
    """Some edits; if forged, the first keeps the checksums: it needs whole lines."""
    numbers = lambda: tuple(source.randrange(MOST) for _ in range(6))  # noqa: E731
    first = [Edit(source.choice(list(SEALED)), numbers())] if forged else []
    count = source.choice([1, 1, 1, 2, 3]) - len(first)
    return (*first, *(Edit(source.choice(list(PLAIN)), numbers()) for _ in range(count)))
