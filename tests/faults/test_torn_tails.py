"""A log cut at every byte, and bytes of it changed: what is served, what is written, what is put aside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import CheckReport, CorruptLog, HierstoreError, Session, SessionNotFound, SessionStore, clock
from hierstore.disk import files
from tests.processes import replaced, store_at

COMMITS: tuple[Callable[[Session], Any], ...] = (
    lambda session: session.append("user", "one"),
    lambda session: session.extend([{"role": "user", "content": "two"}, {"role": "tool", "content": [1, {"x": "é"}]}]),
    lambda session: session.set_title("t"),
    lambda session: session.snapshot("snap"),
    lambda session: session.append("user", "three", metadata={"k": None}),
    lambda session: session.reset("anew"),
    lambda session: session.append("assistant", "four"),
)


def shown(session: Session) -> tuple[Any, ...]:
    """Everything a commit of the sample can change."""
    info = session.info
    contents = [message.content for message in session.messages]
    return info.revision, info.title, contents, [snap.label for snap in session.snapshots]


class Sample:
    """A log of several commits, and what it shows after each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with SessionStore(root) as store:
            session = store.create("s")
            store.create("bystander").append("user", "unharmed")
            self.path = next((root / "sessions").glob("*/s.jsonl"))
            self.ends = [self.path.stat().st_size]
            self.states = [shown(session)]
            for commit in COMMITS:
                commit(session)
                self.ends.append(self.path.stat().st_size)
                self.states.append(shown(session))
        self.data = self.path.read_bytes()

    def lay(self, data: bytes) -> None:
        """Let the log have these bytes; nothing is in quarantine."""
        self.path.write_bytes(data)
        for path in (self.root / "quarantine").iterdir():
            path.unlink()

    def at(self, size: int) -> int:
        """How many commits of the sample lie whole in the first bytes."""
        return sum(end <= size for end in self.ends) - 1

    def quarantined(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.root / "quarantine").iterdir()]


@pytest.fixture
def sample(root: Path) -> Sample:
    return Sample(root)


def problems_of(report: CheckReport) -> set[tuple[str, str | None]]:
    return {(finding.kind, finding.session_id) for finding in report.problems}


def check_writable_after(store: SessionStore, whole: int, sample: Sample) -> None:
    """The next append works, continues the whole commits, and leaves a clean store."""
    session = store.get("s")
    message = session.append("user", "next")
    revision, title, contents, snaps = sample.states[whole]
    assert shown(session) == (revision + 1, title, [*contents, "next"], snaps)
    assert message == session.messages[-1]
    report = store.check()
    assert report.problems == ()
    assert {finding.kind for finding in report.notes} <= {"quarantined"}


def test_a_log_cut_at_every_byte_loses_the_torn_commit_and_no_other(sample):
    """behaviours 35"""
    for size in range(sample.ends[0], len(sample.data)):
        sample.lay(sample.data[:size])
        whole = sample.at(size)
        with SessionStore(sample.root) as store:
            assert shown(store.get("s")) == sample.states[whole]
            assert store.check().problems == ()
            check_writable_after(store, whole, sample)
        with SessionStore(sample.root) as cold:
            assert len(cold.get("s").messages) == len(sample.states[whole][2]) + 1


def test_a_log_cut_in_its_first_lines_is_never_an_empty_session(sample):
    for size in range(sample.ends[0]):
        sample.lay(sample.data[:size])
        with SessionStore(sample.root) as store:
            with pytest.raises(SessionNotFound if size == 0 else CorruptLog) as caught:
                store.get("s")
            assert caught.value.session_id == "s"
            assert [message.content for message in store.get("bystander").messages] == ["unharmed"]


def test_a_reader_that_had_more_cached_sees_the_cut(sample):
    """The tail goes while the session is cached: a torn tail is shorter than the stamp says."""
    with SessionStore(sample.root) as store:
        session = store.get("s")
        for size in (len(sample.data) - 3, sample.ends[4] + 7, sample.ends[2], sample.ends[1] + 1):
            sample.lay(sample.data)
            assert shown(session) == sample.states[-1]
            sample.lay(sample.data[:size])
            assert shown(session) == sample.states[sample.at(size)]
        session.append("user", "next")
        assert session.messages[-1].content == "next"


def open_cut(root: Path) -> tuple[tuple[Any, ...], str]:
    """In a child: what a cut log shows, and that it takes the next message."""
    session = store_at(root).get("s")
    before = shown(session)
    return before, session.append("user", "next").content


def test_a_log_cut_at_some_bytes_is_the_same_in_other_processes(start, sample):
    """behaviours 35"""
    reader = start()
    for size in range(sample.ends[0], len(sample.data), 41):
        sample.lay(sample.data[:size])
        other = start()
        expected = sample.states[sample.at(size)]
        assert other.call(open_cut, sample.root) == (expected, "next")
        other.kill()
        contents = [message.content for message in SessionStore(sample.root).get("s").messages]
        assert contents == [*expected[2], "next"]
        assert reader.call(open_cut, sample.root)[0][2] == contents


def test_a_stamp_is_never_stored_over_a_torn_tail(sample, root):
    """Cutting the tail off and appending may bring size and time back: a state cached for them would be a stale one.

    The clock stands still, as a coarse one does.
    """
    still = 10**18
    with SessionStore(root) as reader, SessionStore(root) as writer, replaced(clock, now=lambda: 1.5):
        for _ in range(2):
            writer.get("s").append("user", "")
        grown = sample.path.stat().st_size - len(sample.data)
        # As many bytes of a commit that was cut off as the commits of two messages will have.
        sample.lay(sample.data + b'{"message":{"seq":'.ljust(grown, b"7"))
        os.utime(sample.path, ns=(still, still))
        assert shown(reader.get("s")) == sample.states[-1]
        stamped = sample.path.stat()
        writer.get("s").append("user", "")
        writer.get("s").append("user", "")
        os.utime(sample.path, ns=(still, still))
        now = sample.path.stat()
        same = [(found.st_ino, found.st_size, found.st_mtime_ns) for found in (stamped, now)]
        assert same[0] == same[1], "the stamp did not come back, so this shows nothing"
        assert len(reader.get("s").messages) == len(sample.states[-1][2]) + 2


# Damage in the middle


def damaged(sample: Sample, place: int, change: Callable[[int], int] = lambda byte: byte ^ 1) -> bytes:
    data = bytearray(sample.data)
    data[place] = change(data[place])
    return bytes(data)


def check_damage(sample: Sample, whole: int, data: bytes) -> None:
    """The valid prefix is served, nothing is written, what is damaged is put aside, and nobody else is harmed."""
    with SessionStore(sample.root) as store:
        session = store.get("s")
        assert shown(session) == sample.states[whole]
        assert ("corrupt", "s") in problems_of(store.check())
        for _ in range(2):
            with pytest.raises(CorruptLog) as caught:
                session.append("user", "refused")
            assert (caught.value.session_id, Path(caught.value.path)) == ("s", sample.path)
            assert caught.value.offset == sample.ends[whole]
        with pytest.raises(CorruptLog):
            session.set_title("refused")
        assert sample.path.read_bytes() == data, "a damaged log was written to"
        assert sample.quarantined() == [data[sample.ends[whole] :]]
        assert shown(session) == sample.states[whole]
        bystander = store.get("bystander")
        bystander.append("user", "more")
        assert bystander.messages[-1].content == "more"
        assert [node.id for node in store.tree()] == ["s", "bystander"]


def test_a_changed_byte_anywhere_in_the_middle_stops_writes_and_loses_nothing(sample):
    # Up to the line before the last one: damage needs a valid line behind it to be told from a torn tail.
    for place in range(sample.ends[0], sample.ends[-3]):
        data = damaged(sample, place)
        sample.lay(data)
        check_damage(sample, sample.at(place), data)


def test_a_changed_byte_in_the_line_before_the_last_stops_writes(sample):
    for place in range(sample.ends[-3], sample.ends[-2] - 1):
        data = damaged(sample, place)
        sample.lay(data)
        try:
            check_damage(sample, sample.at(place), data)
        except BaseException as error:
            error.add_note(
                f"byte {place - sample.ends[-3]} of {sample.ends[-2] - sample.ends[-3]}: {chr(sample.data[place])!r}"
            )
            raise


def test_a_changed_byte_in_the_last_line_never_shows(sample):
    """As a torn commit: nothing tells them apart, and what was there is kept."""
    for place in range(sample.ends[-2], sample.ends[-1] - 1):
        data = damaged(sample, place)
        sample.lay(data)
        with SessionStore(sample.root) as store:
            assert shown(store.get("s")) == sample.states[-2]
            check_writable_after(store, len(sample.states) - 2, sample)
        assert sample.quarantined() == [data[sample.ends[-2] :]]


def test_a_commit_that_is_missing_in_the_middle_stops_writes(sample):
    for number in range(1, len(sample.ends) - 2):
        data = sample.data[: sample.ends[number - 1]] + sample.data[sample.ends[number] :]
        sample.lay(data)
        with SessionStore(sample.root) as store:
            assert shown(store.get("s")) == sample.states[number - 1]
            with pytest.raises(CorruptLog):
                store.get("s").append("user", "refused")
        assert sample.path.read_bytes() == data


def test_damage_in_the_first_lines_is_told_and_served_as_nothing_else(sample):
    for place in range(sample.ends[0] - 1):
        data = damaged(sample, place)
        sample.lay(data)
        with SessionStore(sample.root) as store:
            with pytest.raises(CorruptLog) as caught:
                store.get("s")
            assert caught.value.session_id == "s"
            with pytest.raises(HierstoreError):
                store.create("s")
            assert len(store.get("bystander").messages) >= 1
            assert problems_of(store.check())
        assert sample.path.read_bytes() == data


# Holes


@pytest.mark.parametrize("size", [16, 100, 4096])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_hole_of_zeros_is_what_a_power_cut_left(sample, number, size):
    data = bytearray(sample.data)
    begin = sample.ends[number - 1] + 5
    end = min(begin + size, sample.ends[-2])
    data[begin:end] = bytes(end - begin)
    sample.lay(bytes(data))
    with SessionStore(sample.root) as store:
        session = store.get("s")
        assert shown(session) == sample.states[number - 1]
        report = store.check()
        assert report.problems == ()
        # Without a valid line before the one behind it, a hole is like any other end that was never finished.
        assert {"hole", "torn_tail"} & {finding.kind for finding in report.notes}
        check_writable_after(store, number - 1, sample)
        assert sample.quarantined() == [bytes(data[sample.ends[number - 1] :])]
        assert "quarantined" in {finding.kind for finding in store.check().notes}
    with SessionStore(sample.root) as cold:
        assert cold.get("s").messages[-1].content == "next"


@pytest.mark.parametrize("size", [1, 16, 4096])
def test_zeros_at_the_end_are_a_torn_tail(sample, size):
    sample.lay(sample.data + bytes(size))
    with SessionStore(sample.root) as store:
        assert shown(store.get("s")) == sample.states[-1]
        check_writable_after(store, len(sample.states) - 1, sample)


# The recovery itself fails


def test_a_tail_that_cannot_be_cut_off_is_not_written_behind(sample):
    """behaviours 10"""

    def refuse(_fd: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    sample.lay(sample.data + b'{"mess')
    with SessionStore(sample.root) as store:
        session = store.get("s")
        with replaced(files, ftruncate=refuse), pytest.raises(HierstoreError) as caught:
            session.append("user", "refused")
        assert caught.value.session_id == "s"
        assert shown(session) == sample.states[-1]
        check_writable_after(store, len(sample.states) - 1, sample)
