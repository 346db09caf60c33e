"""The judge of histories, judged: by histories made by hand, and by trying every order of small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.races.calls import SESSIONS, Call
from tests.races.checker import (
    NEVER,
    Added,
    Read,
    ReadAll,
    ReadLength,
    Seen,
    Sum,
    Violation,
    Write,
    check_real_time,
    check_register,
    check_revisions,
    check_sequence,
    check_sums,
    digest,
)
from tests.races.histories import History, judge


def added(begun: int, ended: int, *things: str, at: int | None = None) -> Added:
    places = None if at is None else tuple(range(at, at + len(things)))
    return Added(begun, ended, things, places)


def read(begun: int, ended: int, things: str) -> ReadAll:
    return ReadAll(begun, ended, len(things), digest(things))


def swap(begun: int, ended: int, old: str | None, new: str, *, done: bool | None = True) -> Write:
    return Write(begun, ended, new, True, old, done)


def add(begun: int, ended: int, bits: int) -> Sum:
    return Sum(begun, ended, bits, is_read=False)


def total(begun: int, ended: int, bits: int) -> Sum:
    return Sum(begun, ended, bits, is_read=True)


# Sequences

GOOD_SEQUENCES: dict[str, tuple[str, list[Added], list[Any]]] = {
    "nothing": ("", [], [read(1, 2, "")]),
    "one after the other": ("ab", [added(1, 2, "a", at=0), added(3, 4, "b", at=1)], [read(5, 6, "ab")]),
    "at once, in either order": ("ba", [added(1, 4, "a"), added(2, 3, "b")], []),
    "a read at once, before": ("a", [added(1, 4, "a")], [read(2, 3, "")]),
    "a read at once, behind": ("a", [added(1, 4, "a")], [read(2, 3, "a")]),
    "cut off and there": ("a", [added(1, NEVER, "a")], [read(2, 3, ""), read(4, 5, "a")]),
    "cut off and not there": ("", [added(1, NEVER, "a")], [read(2, 3, "")]),
    "cut off, and tried again in vain": ("a", [added(1, NEVER, "a"), added(5, 6, "a", at=0)], [read(2, 3, "a")]),
    "several together": ("abc", [added(1, 2, "a", "b"), added(1, 2, "c")], [read(1, 3, "ab")]),
    "looked for": ("a", [added(2, 5, "a")], [ReadLength(1, 3, None, "a"), ReadLength(4, 6, None, "a", found=True)]),
}
BAD_SEQUENCES: dict[str, tuple[str, list[Added], list[Any]]] = {
    "lost": ("a", [added(1, 2, "a"), added(1, 2, "b")], []),
    "twice": ("aa", [added(1, 2, "a")], []),
    "from nowhere": ("a", [], []),
    "other than was said": ("ab", [added(1, 4, "a", at=1), added(2, 3, "b", at=0)], []),
    "out of order": ("ba", [added(1, 2, "a"), added(3, 4, "b")], []),
    "a part of what is one": ("a", [added(1, 2, "a", "b")], []),
    "something in between": ("acb", [added(1, 2, "a", "b"), added(1, 2, "c")], []),
    "a part of what is one, read": ("ab", [added(1, 4, "a", "b")], [read(2, 3, "a")]),
    "stale": ("a", [added(1, 2, "a")], [read(3, 4, "")]),
    "stale by a look": ("a", [added(1, 2, "a")], [ReadLength(3, 4, 0)]),
    "from the future": ("a", [added(3, 4, "a")], [read(1, 2, "a")]),
    "no beginning": ("ab", [added(1, 4, "a"), added(2, 3, "b")], [read(2, 3, "b")]),
    "too long": ("a", [added(1, 2, "a")], [read(2, 3, "ab")]),
    "back in time": ("a", [added(1, NEVER, "a")], [read(2, 3, "a"), read(4, 5, "")]),
    "not found": ("a", [added(1, 2, "a")], [ReadLength(3, 4, None, "a")]),
    "found and not there": ("", [added(1, NEVER, "a")], [ReadLength(3, 4, None, "a", found=True)]),
    "found before it was there": ("ab", [added(1, 2, "a"), added(6, 7, "b")], [ReadLength(3, 4, None, "b", found=True)]),
    "found, and then its like before it not": (
        "ab", [added(1, NEVER, "a"), added(1, NEVER, "b")],
        [ReadLength(2, 3, None, "b", found=True), ReadLength(4, 5, None, "a")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_SEQUENCES)
def test_a_good_sequence_passes(name):
    check_sequence(name, *GOOD_SEQUENCES[name])


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_a_bad_sequence_does_not(name):
    with pytest.raises(Violation):
        check_sequence(name, *BAD_SEQUENCES[name])


# Sums

GOOD_SUMS: dict[str, list[Sum]] = {
    "one after the other": [add(1, 2, 1), add(3, 4, 2), total(5, 6, 3)],
    "at once": [add(1, 4, 1), add(1, 4, 2), total(2, 3, 2), total(5, 6, 3)],
    "two between two reads": [total(0, 1, 0), add(2, 3, 1), add(4, 5, 2), total(6, 7, 3)],
    "cut off": [add(1, NEVER, 1), add(1, NEVER, 2), total(4, 5, 2)],
}
BAD_SUMS: dict[str, list[Sum]] = {
    "lost": [add(1, 2, 1), add(1, 2, 2), total(3, 4, 2)],
    "added twice": [add(1, 2, 1), total(3, 4, 2)],
    "from nowhere": [add(1, 2, 1), total(3, 4, 3)],
    "stale": [add(1, 2, 1), total(3, 4, 0), total(5, 6, 1)],
    "from the future": [total(1, 2, 1), add(3, 4, 1), total(5, 6, 1)],
    "out of order": [add(1, 2, 1), add(3, 9, 2), total(4, 5, 2), total(10, 11, 3)],
    "neither continues the other": [add(1, 9, 1), add(1, 9, 2), total(2, 3, 1), total(2, 3, 2), total(10, 11, 3)],
    "back in time": [add(1, NEVER, 1), total(2, 3, 1), total(4, 5, 0)],
}


@pytest.mark.parametrize("name", GOOD_SUMS)
def test_good_sums_pass(name):
    check_sums(name, GOOD_SUMS[name])


@pytest.mark.parametrize("name", BAD_SUMS)
def test_bad_sums_do_not(name):
    with pytest.raises(Violation):
        check_sums(name, BAD_SUMS[name])


# Registers

GOOD_REGISTERS: dict[str, list[Write | Read]] = {
    "never written": [Read(1, 2, None)],
    "one after the other": [Write(1, 2, "a"), Read(3, 4, "a"), Write(5, 6, "b"), Read(7, 8, "b")],
    "at once": [Write(1, 4, "a"), Write(2, 3, "b"), Read(5, 6, "a")],
    "overwritten unseen": [Write(1, 2, "a"), Write(3, 4, "b"), Read(5, 6, "b")],
    "swapped": [Write(1, 2, "a"), swap(3, 4, "a", "b"), swap(5, 6, "b", "c"), Read(7, 8, "c")],
    "one of two swaps": [swap(1, 4, None, "a"), swap(1, 4, None, "b", done=False), Read(5, 6, "a")],
    "cut off, and seen": [Write(1, NEVER, "a", done=None), Read(2, 3, None), Read(4, 5, "a")],
    "cut off, and never seen": [Write(1, NEVER, "a", done=None), Read(4, 5, None)],
    "a swap cut off, and seen by the next": [swap(1, NEVER, None, "a", done=None), swap(2, 3, "a", "b")],
    "a swap cut off that lost": [swap(1, NEVER, None, "a", done=None), swap(2, 3, None, "b"), Read(4, 5, "b")],
    "refused while another came": [Write(1, 5, "a"), swap(2, 3, None, "b", done=False), Read(6, 7, "a")],
}
BAD_REGISTERS: dict[str, list[Write | Read]] = {
    "lost": [Write(1, 2, "a"), Read(3, 4, None)],
    "stale": [Write(1, 2, "a"), Write(3, 4, "b"), Read(5, 6, "a")],
    "from nowhere": [Read(1, 2, "a")],
    "from the future": [Read(1, 2, "a"), Write(3, 4, "a")],
    "back in time": [Write(1, 9, "a"), Write(1, 9, "b"), Read(2, 3, "a"), Read(4, 5, "b"), Read(6, 7, "a")],
    "written, and gone at once": [Read(1, 2, None), Write(3, 4, "a"), Read(5, 6, None)],
    "two swaps of one": [swap(1, 4, None, "a"), swap(1, 4, None, "b")],
    "a swap of what was replaced": [Write(1, 2, "a"), Write(3, 4, "b"), swap(5, 6, "a", "c")],
    "a swap of what never was": [swap(1, 2, "x", "a")],
    "a swap of what was not there yet": [swap(1, 2, "a", "b"), Write(3, 4, "a")],
    "a swap with something in between": [Write(1, 2, "a"), Read(1, 9, "a"), swap(3, 6, "a", "b"), Write(4, 5, "c"),
                                         Read(4, 5, "a"), Read(7, 8, "b"), Read(9, 10, "a")],
    "a swap seen before what it replaced": [Write(1, 9, "a"), swap(2, 9, "a", "b"), Read(3, 4, "b"), Read(5, 6, "a")],
    "swaps in a circle": [swap(1, 9, "b", "a"), swap(1, 9, "a", "b")],
    "refused without a reason": [Write(1, 2, "a"), swap(3, 4, "a", "b", done=False), Read(5, 6, "a")],
    "refused, and done": [swap(1, 2, None, "a", done=False), Read(3, 4, "a")],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_REGISTERS)
def test_a_good_register_passes(name):
    check_register(name, None, GOOD_REGISTERS[name])


@pytest.mark.parametrize("name", BAD_REGISTERS)
def test_a_bad_register_does_not(name):
    with pytest.raises(Violation):
        check_register(name, None, BAD_REGISTERS[name])


def test_two_winners_are_called_so():
    with pytest.raises(Violation, match="'a' and 'b' both took the place of None"):
        check_register("r", None, [swap(1, 4, None, "a"), swap(1, 4, None, "b")])


# Several things at once


def test_one_revision_is_one_history_and_later_ones_are_no_shorter():
    check_revisions("good", [(1, 0), (2, 1), (3, 1), (2, 1)])
    for rows in ([(2, 1), (2, 2)], [(2, 2), (3, 1)]):
        with pytest.raises(Violation):
            check_revisions("bad", rows)


def test_what_had_ended_counts_and_what_ends_at_the_same_time_does_not():
    check_real_time([Seen(1, 5, 1, 1, "first"), Seen(5, 6, 0, 0, "at once")])
    with pytest.raises(Violation, match="second goes back behind first"):
        check_real_time([Seen(1, 5, 1, 1, "first"), Seen(6, 7, 0, 0, "second")])


# Whole histories

EMPTY = {"length": 0, "digest": digest([])}


def call(kind: str, target: str, args: Any, begun: int, answer: Any, ended: int | None = None) -> Call:
    return Call(begun, kind, target, args, begun, begun + 1 if ended is None else ended, answer)


def add_to_h0(begun: int, thing: str, answer: Any, expected: int | None = None) -> Call:
    return call("add", "h0", {"things": [thing], "expected": expected}, begun, answer)


def swap_ref(begun: int, old: str | None, new: str, *, done: bool, ended: int | None = None) -> Call:
    return call("replace ref", "h0", {"name": "run", "value": new, "old": old}, begun, done, ended)


def listing(begun: int, title: str | None = None, count: int = 0) -> Call:
    row = [1, count, title]
    return call("listing", "", None, begun, {"h0": row, "h1": [1, 0, None], "h2": [1, 0, None]})


GOOD_HISTORIES: dict[str, tuple[str, list[Call]]] = {
    "a route, and those that follow it": ("", [call("route", "key 0", "a", 1, "a"), call("route", "key 0", "b", 3, "a")]),
    "a message, and a fork that shows it": (
        "a", [add_to_h0(1, "a", {"places": [0]}), call("messages", "h0", None, 3, {"length": 1, "digest": digest("a")})],
    ),
    "one of two swaps": ("", [swap_ref(1, None, "a", done=True, ended=5), swap_ref(2, None, "b", done=False)]),
    "expected, and refused": ("a", [add_to_h0(1, "a", {"places": [0]}, 1), add_to_h0(3, "b", {"actual": 2}, 1)]),
    "made anew, and not there in between": (
        "", [call("remake", "again", "a", 1, True), call("look", "again", None, 2, None, 4),
             call("remake", "again", "b", 3, True), call("look", "again", None, 5, "b")],
    ),
}  # fmt: skip
BAD_HISTORIES: dict[str, tuple[str, list[Call]]] = {
    "two sessions for one key": ("", [call("route", "key 0", "a", 1, "a"), call("route", "key 0", "b", 1, "b")]),
    "a key that leads back": ("", [call("bind", "key 0", "a", 1, None), call("bind", "key 0", "b", 3, None),
                                   call("resolve", "key 0", None, 5, "a")]),
    "a message that is lost": ("", [add_to_h0(1, "a", {"places": [0]})]),
    "a message in another place": ("ab", [add_to_h0(1, "a", {"places": [1]}), add_to_h0(1, "b", {"places": [0]})]),
    "a stale read": ("a", [add_to_h0(1, "a", {"places": [0]}), call("messages", "h0", None, 3, EMPTY)]),
    "a fork that misses one": ("a", [add_to_h0(1, "a", {"places": [0]}), call("fork", "h0", "f", 3, EMPTY)]),
    "a child that is lost": ("", [call("fork", "h0", "f", 1, EMPTY)]),
    "a snapshot that is lost": ("", [call("snapshot", "h0", "s", 1, 2)]),
    "a stale title": ("", [call("title", "h0", "a", 1, None), call("info", "h0", None, 3, [2, 0, None])]),
    "a stale title in a listing": ("", [call("title", "h0", "a", 1, None), listing(3)]),
    "a stale count in a listing": ("a", [add_to_h0(1, "a", {"places": [0]}), listing(3)]),
    "a listing without a session": ("", [call("listing", "", None, 1, {"h0": [1, 0, None]})]),
    "a search that finds nothing": ("a", [add_to_h0(1, "a", {"places": [0]}), call("search", "h0", "a", 3, False)]),
    "two swaps of one ref": ("", [swap_ref(1, None, "a", done=True), swap_ref(1, None, "b", done=True)]),
    "usage that is lost": ("", [call("add usage", "h0", 0, 1, None), call("usage", "h0", None, 3, {})]),
    "a total that is lost": ("", [call("set usage", "h0", 7, 1, None), call("usage", "h0", None, 3, {})]),
    "two makers of one session": ("", [call("create", "c0", "a", 1, True), call("create", "c0", "b", 1, True)]),
    "two messages at one revision": (
        "ab", [add_to_h0(1, "a", {"places": [0]}, 1), add_to_h0(3, "b", {"places": [1]}, 1)],
    ),
    "refused for what was expected": ("", [add_to_h0(1, "a", {"actual": 1}, 1)]),
    "one revision, two histories": ("a", [add_to_h0(1, "a", {"places": [0]}), call("info", "h0", None, 1, [2, 0, None]),
                                          call("info", "h0", None, 3, [2, 1, None])]),
    "the life before this one": ("", [call("remake", "again", "a", 1, True), call("remake", "again", "b", 3, True),
                                      call("look", "again", None, 5, "a")]),
}  # fmt: skip


def history_of(final: str, calls: list[Call]) -> History:
    """In the end ``h0`` has the messages of ``final``; nothing else is anywhere."""
    nothing: dict[str, list[str]] = {session_id: [] for session_id in SESSIONS}
    return History(calls, {**nothing, "h0": list(final)}, nothing, nothing)


@pytest.mark.parametrize("name", GOOD_HISTORIES)
def test_a_good_history_passes(name):
    judge(history_of(*GOOD_HISTORIES[name]))


@pytest.mark.parametrize("name", BAD_HISTORIES)
def test_a_bad_history_does_not(name):
    with pytest.raises(Violation):
        judge(history_of(*BAD_HISTORIES[name]))


# Against trying every order

Step = Callable[[Any], Any]
IMPOSSIBLE = object()


def has_an_order(calls: Sequence[tuple[int, int, Step]], state: Any) -> bool:
    """Whether some order of the calls that respects time explains them; those cut off may be left out."""
    if all(ended == NEVER for _, ended, _ in calls):
        return True
    first_end = min(ended for _, ended, _ in calls)
    for place, (begun, _, step) in enumerate(calls):
        if begun <= first_end:
            after = step(state)
            if after is not IMPOSSIBLE and has_an_order([*calls[:place], *calls[place + 1 :]], after):
                return True
    return False


def step_of(call: Write | Read) -> Step:
    if isinstance(call, Read):
        return lambda state: state if state == call.value else IMPOSSIBLE
    if not call.is_conditional:
        return lambda _: call.value
    if call.done is False:
        return lambda state: IMPOSSIBLE if state == call.old else state
    return lambda state: call.value if state == call.old else IMPOSSIBLE


def is_accepted(check: Callable[[], None]) -> bool:
    try:
        check()
    except Violation:
        return False
    return True


spans = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
old_values = st.sampled_from([None, "a", "b", "c", "d"])
reads = st.builds(lambda span, value: Read(*span, value), spans, old_values)


@st.composite
def registers(draw: Any) -> list[Write | Read]:
    calls: list[Write | Read] = draw(st.lists(reads, max_size=4))
    for value in "abcd"[: draw(st.integers(0, 4))]:
        (begun, ended), is_conditional, is_cut_off = draw(spans), draw(st.booleans()), draw(st.integers(0, 3)) == 0
        old = draw(old_values) if is_conditional else None
        done = None if is_cut_off else True
        calls.append(Write(begun, NEVER if is_cut_off else ended, value, is_conditional and old != value, old, done))
    return calls


@settings(max_examples=1500)
@given(registers())
def test_a_register_is_judged_as_if_every_order_had_been_tried(calls):
    expected = has_an_order([(call.begun, call.ended, step_of(call)) for call in calls], None)
    assert is_accepted(lambda: check_register("r", None, calls)) == expected


@settings(max_examples=500)
@given(registers(), spans, old_values)
def test_a_refusal_that_has_a_reason_is_accepted(calls, span, old):
    refusal = Write(*span, "e", True, old, False)
    if has_an_order([(call.begun, call.ended, step_of(call)) for call in [*calls, refusal]], None):
        check_register("r", None, [*calls, refusal])


@st.composite
def sequences(draw: Any) -> tuple[str, list[Added], list[ReadAll]]:
    final = "abcd"[: draw(st.integers(0, 4))]
    calls = [
        added(begun, NEVER if draw(st.integers(0, 3)) == 0 else ended, thing)
        for thing in final
        for begun, ended in [draw(spans)]
    ]
    found = st.builds(lambda span, length: read(*span, final[:length]), spans, st.integers(0, len(final)))
    return final, calls, draw(st.lists(found, max_size=4))


@settings(max_examples=1500)
@given(sequences())
def test_a_sequence_is_judged_as_if_every_order_had_been_tried(sequence):
    final, calls, found = sequence

    def adding(call: Added) -> Step:
        return lambda state: state + call.things[0] if final.startswith(state + call.things[0]) else IMPOSSIBLE

    steps = [(call.begun, call.ended, adding(call)) for call in calls]
    steps += [(call.begun, call.ended, step_of(Read(0, 0, final[: call.length]))) for call in found]
    # What is there in the end was added at some time, cut off or not.
    steps.append((99, 100, step_of(Read(0, 0, final))))
    assert is_accepted(lambda: check_sequence("s", final, calls, found)) == has_an_order(steps, "")
