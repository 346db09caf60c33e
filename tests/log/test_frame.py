"""The frame at every byte: what is sealed is found whole, and nothing else is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierstore.disk.logfile import parse_log
from hierstore.errors import CorruptLog, SessionNotFound
from hierstore.log import frame
from hierstore.log.frame import Tail, judge, scan, seal
from tests.support import LogBuilder, sample_log

PATH = b"/nowhere/s.jsonl"


def whole_lines(ends: list[int], size: int) -> int:
    """How many lines are whole in the first ``size`` bytes."""
    return sum(end <= size for end in ends)


def test_a_sealed_line_is_json_and_ends_with_the_checksum_of_all_before_it() -> None:
    line, chain = seal(b'{"a":1,"seq":0', 0)
    assert re.fullmatch(rb'\{"a":1,"seq":0,"crc":"[0-9a-f]{8}"\}\n', line)
    assert len(line) - len(b'{"a":1,"seq":0') == frame.SEAL_BYTES
    assert seal(b'{"a":1,"seq":1', chain)[0] != seal(b'{"a":1,"seq":1', chain ^ 1)[0]


def test_a_whole_log_is_scanned_to_its_end() -> None:
    log = sample_log()
    assert scan(log.data, 0, -1) == (len(log.data), log.chain, len(log.lines) - 1)


def test_no_bytes_scan_to_what_was_before() -> None:
    assert scan(b"", 7, 3) == (0, 7, 3)


def test_a_log_cut_at_any_byte_keeps_exactly_the_whole_commits_before() -> None:
    """behaviours 35"""
    log = sample_log()
    data, ends = log.data, log.ends
    chains = [scan(data[:end], 0, -1).chain for end in ends]
    for cut in range(len(data)):
        whole = whole_lines(ends, cut)
        expected = (ends[whole - 1], chains[whole - 1], whole - 1) if whole else (0, 0, -1)
        assert scan(data[:cut], 0, -1) == expected, cut


def test_what_a_cut_leaves_behind_the_whole_commits_is_torn() -> None:
    """behaviours 35"""
    log = sample_log()
    data, ends = log.data, log.ends
    for cut in range(len(data)):
        whole = whole_lines(ends, cut)
        end = ends[whole - 1] if whole else 0
        tail = data[end:cut]
        assert judge(tail, end) is (Tail.TORN if tail else Tail.CLEAN), cut


def test_the_messages_of_a_log_cut_at_any_byte_are_a_prefix() -> None:
    """behaviours 35"""
    log = sample_log()
    states = [parse_log(log.data[:end], "s", PATH).state for end in log.ends[1:]]
    expected = [[message.content for message in state.messages] for state in states]
    for cut in range(log.ends[1], len(log.data)):
        state = parse_log(log.data[:cut], "s", PATH).state
        assert state.revision == whole_lines(log.ends, cut) - 1
        assert [message.content for message in state.messages] == expected[state.revision - 1], cut


def test_a_log_cut_before_its_first_commit_is_damaged_and_an_empty_one_is_no_session() -> None:
    log = sample_log()
    with pytest.raises(SessionNotFound):
        parse_log(b"", "s", PATH)
    with pytest.raises(SessionNotFound):
        parse_log(b"\0" * 4096, "s", PATH)
    for cut in range(1, log.ends[1]):
        with pytest.raises(CorruptLog):
            parse_log(log.data[:cut], "s", PATH)


@pytest.mark.parametrize("bit", range(8))
def test_a_bit_flipped_anywhere_ends_the_log_before_its_line(bit: int) -> None:
    log = sample_log()
    data, ends = bytearray(log.data), log.ends
    for place in range(len(data)):
        data[place] ^= 1 << bit
        assert scan(bytes(data), 0, -1).end == ([0, *ends])[whole_lines(ends, place)], place
        data[place] ^= 1 << bit


def test_a_byte_replaced_anywhere_never_shows_a_wrong_message() -> None:
    log = sample_log()
    expected = [parse_log(log.data[:end], "s", PATH).state.messages for end in log.ends[1:]]
    data = bytearray(log.data)
    for place in range(log.ends[1], len(data)):
        for value in (0, 10, 34, 48, 125, 255):
            before, data[place] = data[place], value
            state = parse_log(bytes(data), "s", PATH).state
            assert state.messages == expected[state.revision - 1]
            data[place] = before


def test_a_flip_with_valid_lines_behind_it_is_damage_and_not_a_torn_end() -> None:
    log = sample_log()
    data, ends = bytearray(log.data), log.ends
    # Without the last line but one's newline: the two are one bad line then.
    for place in range(ends[1], ends[-2] - 1):
        data[place] ^= 1
        end = scan(bytes(data), 0, -1).end
        assert judge(bytes(data[end:]), end) is Tail.DAMAGED, place
        data[place] ^= 1


@pytest.mark.parametrize("number", range(2, 9))
def test_swapped_lines_end_the_log_where_they_begin(number: int) -> None:
    log = sample_log()
    lines = list(log.lines)
    lines[number], lines[number + 1] = lines[number + 1], lines[number]
    assert scan(b"".join(lines), 0, -1).end == log.ends[number - 1]


@pytest.mark.parametrize("number", range(1, 9))
def test_a_line_that_was_taken_out_ends_the_log_there(number: int) -> None:
    log = sample_log()
    assert scan(b"".join(log.lines[:number] + log.lines[number + 1 :]), 0, -1).end == log.ends[number - 1]


@pytest.mark.parametrize("number", range(10))
def test_a_line_that_stands_twice_counts_once(number: int) -> None:
    log = sample_log()
    found = scan(b"".join([*log.lines[: number + 1], *log.lines[number:]]), 0, -1)
    assert (found.end, found.seq) == (log.ends[number], number)


def test_a_line_of_another_log_does_not_continue_this_one() -> None:
    ours, theirs = LogBuilder(nonce="a" * 16), LogBuilder(nonce="b" * 16)
    for log in (ours, theirs):
        log.messages(("user", "the same"))
        log.messages(("user", "the same again"))
    data = b"".join([*ours.lines[:3], theirs.lines[3]])
    assert scan(data, 0, -1).end == ours.ends[2]


def test_a_seq_that_jumps_ends_the_log_even_under_a_right_checksum() -> None:
    log = LogBuilder()
    end = log.ends[-1]
    log.seal(b'{"events":[],"at":1.0,"seq":3')
    assert scan(log.data, 0, -1).end == end


@pytest.mark.parametrize("length", [4, 100])
def test_zeros_with_valid_lines_behind_them_are_a_hole(length: int) -> None:
    log = sample_log()
    start = log.ends[3]
    data = log.data[:start] + b"\0" * length + log.data[start + length :]
    found = scan(data, 0, -1)
    assert found.end == start
    assert judge(data[start:], start) is Tail.HOLE


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_few_zeros_are_a_hole_only_where_they_end_with_a_sector(length: int) -> None:
    log = sample_log()
    start = log.ends[3]
    tail = b"\0" * length + log.data[start + length :]
    assert judge(tail, 512 - length) is Tail.HOLE
    assert judge(tail, 5 * 512 - length) is Tail.HOLE
    assert judge(tail, 511 - length) is Tail.DAMAGED
    assert judge(tail, 513 - length) is (Tail.HOLE if length > 1 else Tail.DAMAGED)


def test_zeros_at_the_end_are_torn() -> None:
    log = sample_log()
    assert judge(b"\0" * 4096, 0) is Tail.TORN
    assert judge(log.lines[-1][:50] + b"\0" * 4096, 0) is Tail.TORN


bodies = st.lists(st.binary(max_size=60).filter(lambda data: b"\n" not in data), min_size=1, max_size=8)


def sealed(bodies: list[bytes], first: int = 0) -> list[bytes]:
    chain, lines = 0, []
    for seq, body in enumerate(bodies, first):
        line, chain = seal(b'{"b":"%b","seq":%d' % (body.hex().encode(), seq), chain)
        lines.append(line)
    return lines


@given(bodies, st.data())
def test_scanning_in_two_parts_is_scanning_at_once(bodies: list[bytes], data: st.DataObject) -> None:
    lines = sealed(bodies)
    cut = data.draw(st.integers(0, len(lines)))
    head, rest = b"".join(lines[:cut]), b"".join(lines[cut:])
    first = scan(head, 0, -1)
    second = scan(rest, first.chain, first.seq)
    assert (first.end + second.end, *second[1:]) == scan(head + rest, 0, -1)


@given(bodies, st.binary(max_size=100))
def test_bytes_behind_the_last_line_never_become_lines(bodies: list[bytes], junk: bytes) -> None:
    data = b"".join(sealed(bodies))
    assert scan(data + junk, 0, -1).end == len(data)


@settings(max_examples=300)
@given(bodies, st.data())
def test_a_stretch_of_bytes_overwritten_keeps_exactly_the_lines_before_it(
    bodies: list[bytes], data: st.DataObject
) -> None:
    lines = sealed(bodies)
    whole = b"".join(lines)
    start = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=40))
    damaged = (whole[:start] + patch + whole[start + len(patch) :])[: len(whole)]
    if damaged == whole:
        return
    first = next(place for place in range(len(whole)) if damaged[place] != whole[place])
    end = 0
    for line in lines:
        if end + len(line) > first:
            break
        end += len(line)
    assert scan(damaged, 0, -1).end == end
