"""Damaged files and hostile values, in their short form: ``python -m tests.soak --only fuzz`` goes on for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierstore import HierstoreError
from hierstore.diagnosis import judge
from hierstore.disk.logfile import parse_log
from hierstore.log import frame
from tests.figures import Figures
from tests.properties import edits, fuzz, hostile
from tests.properties.asking import message_of
from tests.properties.edits import Edit
from tests.support import LogBuilder, sample_log

CASES = 128
"""How many files are damaged here, in groups that workers share: every second is a forgery, with right checksums."""

GROUPS = 8


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> fuzz.Known:
    return fuzz.build(tmp_path_factory.mktemp("template") / "store")


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_damaged_or_forged_file_hides_nothing_else_and_is_mended(
    known: fuzz.Known, tmp_path: Path, figures: Figures, group: int
) -> None:
    for seed in range(group * CASES // GROUPS, (group + 1) * CASES // GROUPS):
        fuzz.go_through(known, tmp_path, fuzz.case_of(seed), figures)


@pytest.mark.parametrize("call", hostile.CALLS)
def test_a_hostile_value_is_given_back_equal_or_refused_with_nothing_done(
    tmp_path: Path, figures: Figures, call: str
) -> None:
    hostile.pass_all(figures, tmp_path / "store", [(call, value) for value in hostile.VALUES])


@pytest.mark.parametrize("value", hostile.LARGE)
def test_what_is_as_large_as_may_be_is_given_back_equal_and_what_is_larger_is_refused(
    tmp_path: Path, figures: Figures, value: str
) -> None:
    hostile.pass_all(figures, tmp_path / "store", [(call, value) for call in ("content", "ref", "title")])


# Bytes alone: thousands of edits a second, and Hypothesis makes those that fail small.

SAMPLE = sample_log()
OTHER = LogBuilder("other", "f" * 16)
OTHER.messages(("user", "not mine"), ("user", "nor this"))


def _edits(names: list[str]) -> st.SearchStrategy[Edit]:
    numbers = st.lists(st.integers(0, edits.MOST - 1), min_size=6, max_size=6).map(tuple)
    return st.builds(Edit, st.sampled_from(names), numbers)


def _histories() -> list[list[bytes]]:
    found = []
    for end in SAMPLE.ends[1:]:
        state = parse_log(SAMPLE.data[:end], "s", b"/nowhere/s.jsonl").state
        found.append([message_of(message) for message in state.messages])
    return found


HISTORIES = _histories()


@settings(max_examples=1000)
@given(done=st.lists(_edits(list(edits.PLAIN)), min_size=1, max_size=4))
def test_of_bytes_that_were_damaged_only_a_beginning_is_shown(done: list[Edit]) -> None:
    data = edits.edited(done, SAMPLE.data, OTHER.data)
    try:
        parsed = parse_log(data, "s", b"/nowhere/s.jsonl")
    except HierstoreError:
        assert fuzz.sound_end(data) <= SAMPLE.ends[0] or not SAMPLE.data.startswith(data[: SAMPLE.ends[1]])
        return
    assert parsed.end == fuzz.sound_end(data)
    assert SAMPLE.data.startswith(data[: parsed.end])
    assert [message_of(message) for message in parsed.state.messages] in HISTORIES
    assert (frame.judge(data[parsed.end :], parsed.end) is frame.Tail.CLEAN) == (parsed.end == len(data))
    assert judge(data, "s", b"/nowhere/s.jsonl").end == parsed.end


@settings(max_examples=1000)
@given(done=_edits(list(edits.SEALED)))
def test_of_lines_that_were_forged_the_verdict_says_how_far_they_can_be_shown(done: Edit) -> None:
    data = edits.edited([done], SAMPLE.data, OTHER.data)
    try:
        verdict = judge(data, "s", b"/nowhere/s.jsonl")
    except HierstoreError:
        return
    if verdict.parsed is None:
        return
    sound = data[: verdict.end]
    state = parse_log(sound, "s", b"/nowhere/s.jsonl").state
    _ = [message_of(message) for message in state.messages], state.info, state.info.metadata, state.updated_at
    # A forger may say that there were a hundred million.
    for revision in {*range(1, min(state.revision, 50) + 1), state.revision}:
        if state.is_whole(revision):
            history, count = state.history_at(revision)
            _ = [message_of(history.message(place)) for place in range(count)]
    again = judge(sound, "s", b"/nowhere/s.jsonl")
    assert (again.kind, again.end) == (None, verdict.end), "what a repair leaves is to be repaired again"
