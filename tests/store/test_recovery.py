"""What a store makes of logs that a crash or something worse has left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hierstore import CorruptLog, SessionNotFound, SessionStore
from tests.support import LogBuilder, contents, fill, lines_of, log_of, sample_log, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenStore = Callable[..., SessionStore]


@pytest.fixture
def log(store: SessionStore) -> Path:
    """The log of session ``s``, which holds what a test puts there."""
    store.create("s")
    return log_of(store, "s")


def whole(ends: list[int], size: int) -> int:
    """The revision that the first ``size`` bytes of a log hold."""
    return sum(end <= size for end in ends) - 1


def histories(builder: LogBuilder, store: SessionStore, log: Path) -> list[list[object]]:
    """What each revision shows; of a whole log, read once."""
    log.write_bytes(builder.data)
    session = store.get("s")
    return [texts(session.at(revision)) for revision in range(1, session.revision + 1)]


def test_a_commit_torn_at_any_byte_is_gone_whole_and_the_ones_before_it_are_whole(
    store: SessionStore, log: Path
) -> None:
    """behaviours 35"""
    builder = sample_log()
    expected = histories(builder, store, log)
    for cut in range(builder.ends[1], len(builder.data)):
        log.write_bytes(builder.data[:cut])
        with SessionStore(store.root) as cold:
            session = cold.get("s")
            assert session.revision == whole(builder.ends, cut), cut
            assert texts(session) == expected[session.revision - 1], cut


def test_a_write_cuts_a_torn_commit_off_at_whatever_byte_it_ends(store: SessionStore, log: Path) -> None:
    """behaviours 35"""
    builder = sample_log()
    expected = histories(builder, store, log)
    for cut in range(builder.ends[1], len(builder.data), 5):
        log.write_bytes(builder.data[:cut])
        with SessionStore(store.root) as cold:
            fill(cold.get("s"), "new")
        revision = whole(builder.ends, cut)
        assert log.read_bytes()[: builder.ends[revision]] == builder.data[: builder.ends[revision]]
        assert [line["seq"] for line in lines_of(store, "s")] == list(range(revision + 2))
        for view in (store.get("s"), SessionStore(store.root, read_only=True).get("s")):
            assert texts(view) == [*expected[revision - 1], "new"], cut
    assert store.check().notes == ()


def test_a_store_that_has_the_session_cached_recovers_from_a_torn_commit_too(open_store: OpenStore) -> None:
    """behaviours 35"""
    store = open_store()
    session, log = fill(store.create("s"), "1", "2"), log_of(store, "s")
    assert texts(session) == ["1", "2"]
    with log.open("ab") as file:
        file.write(b'{"message":{"seq":3,"id":"torn","role":"user"')
    assert texts(session) == ["1", "2"]
    fill(session, "3")
    assert texts(session) == texts(open_store().get("s")) == ["1", "2", "3"]


def test_a_torn_commit_whose_length_the_next_write_restores_is_not_taken_for_it(open_store: OpenStore) -> None:
    """No stamp over a dirty tail: truncating and appending can bring back a size under an equal time."""
    store, other = open_store(), open_store()
    session, log = fill(store.create("s"), "1"), log_of(store, "s")
    line = log.read_bytes().splitlines(keepends=True)[-1]
    with log.open("ab") as file:
        file.write(b"x" * len(line))
    found = log.stat()
    assert texts(session) == texts(other.get("s")) == ["1"]
    other.get("s").append("user", "2")
    if log.stat().st_size == found.st_size:
        os.utime(log, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert texts(session) == ["1", "2"]


def test_a_torn_commit_is_noted_and_is_no_problem(store: SessionStore, log: Path) -> None:
    log.write_bytes(sample_log().data[:-5])
    before = contents(store.root)
    report = store.check()
    assert report.ok
    assert [note.kind for note in report.notes] == ["torn_tail"]
    assert contents(store.root) == before


@pytest.mark.damages
@pytest.mark.parametrize("line", range(2, 8))
def test_damage_with_valid_lines_behind_it_is_served_up_to_there_and_takes_no_writes(
    store: SessionStore, log: Path, line: int
) -> None:
    builder = sample_log()
    expected = histories(builder, store, log)
    data = bytearray(builder.data)
    data[builder.ends[line - 1] + 20] ^= 4
    log.write_bytes(data)
    with SessionStore(store.root) as cold:
        session = cold.get("s")
        assert texts(session) == expected[line - 2]
        calls = (lambda: session.append("user", "x"), session.reset, session.snapshot, lambda: session.set_title("x"),
                 session.fork, session.spawn, lambda: session.update(pinned=True))  # fmt: skip
        for call in calls:
            with pytest.raises(CorruptLog) as caught:
                call()
            assert (caught.value.session_id, caught.value.path) == ("s", str(log))
            assert caught.value.offset == builder.ends[line - 1]
        assert log.read_bytes() == data
        assert texts(session) == expected[line - 2]
        assert [file.read_bytes() for file in (store.root / "quarantine").iterdir()] == [data[builder.ends[line - 1] :]]
        assert [(finding.kind, finding.session_id) for finding in cold.check().problems] == [("corrupt", "s")]
        assert texts(fill(cold.create("other"), "x")) == ["x"]


@pytest.mark.parametrize("place", [10, -10])
def test_damage_in_the_last_line_alone_is_cut_off_and_kept_in_quarantine(
    store: SessionStore, log: Path, place: int
) -> None:
    builder = sample_log()
    expected = histories(builder, store, log)
    data = bytearray(builder.data)
    data[(builder.ends[-2] if place > 0 else len(data)) + place] ^= 4
    log.write_bytes(data)
    with SessionStore(store.root) as cold:
        fill(cold.get("s"), "new")
        assert texts(cold.get("s")) == [*expected[-2], "new"]
    assert [file.read_bytes() for file in (store.root / "quarantine").iterdir()] == [data[builder.ends[-2] :]]
    assert [note.kind for note in store.check().notes] == ["quarantined"]


def test_a_hole_of_zeros_ends_the_log_and_what_follows_is_put_aside(store: SessionStore, log: Path) -> None:
    builder = sample_log()
    expected = histories(builder, store, log)
    start = builder.ends[3]
    data = builder.data[:start] + b"\0" * 60 + builder.data[start + 60 :]
    log.write_bytes(data)
    with SessionStore(store.root) as cold:
        report = cold.check()
        assert (report.ok, [note.kind for note in report.notes]) == (True, ["hole"])
        assert texts(cold.get("s")) == expected[2]
        assert log.read_bytes() == data
        fill(cold.get("s"), "new")
        assert texts(cold.get("s")) == [*expected[2], "new"]
        assert [note.kind for note in cold.check().notes] == ["quarantined"]
    assert [file.read_bytes() for file in (store.root / "quarantine").iterdir()] == [data[start:]]


@pytest.mark.parametrize("data", [b"", b"\0" * 4096], ids=["empty", "zeros"])
def test_a_log_that_was_never_synced_is_no_session_and_its_id_is_free(
    store: SessionStore, log: Path, data: bytes
) -> None:
    log.write_bytes(data)
    with SessionStore(store.root) as cold:
        assert "s" not in cold
        with pytest.raises(SessionNotFound):
            cold.get("s")
        assert cold.tree() == ()
        report = cold.check()
        assert (report.ok, report.notes[0].kind) == (True, "empty_log")
        assert texts(fill(cold.create("s"), "new")) == ["new"]


@pytest.mark.damages
@pytest.mark.parametrize("cut", [1, 30, 95, 120])
def test_a_log_damaged_at_its_beginning_is_corrupt_and_neither_missing_nor_empty(
    store: SessionStore, log: Path, cut: int
) -> None:
    log.write_bytes(sample_log().data[:cut])
    before = contents(store.root)
    with SessionStore(store.root) as cold:
        for attempt in (
            lambda: len(cold.get("s").messages),
            lambda: cold.get("s").append("user", "x"),
            lambda: cold.get_or_create("s").info,
        ):
            with pytest.raises(CorruptLog) as caught:
                attempt()
            assert caught.value.session_id == "s"
        assert [finding.kind for finding in cold.check().problems] != []
    assert contents(store.root) == before


@pytest.mark.damages
@pytest.mark.parametrize("writer", ["fork", "parent"])
def test_a_fork_whose_inherited_history_is_damaged_shows_no_mixture(store: SessionStore, writer: str) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    fill(parent.fork("f"), "own")
    log = log_of(store, "p")
    data = bytearray(log.read_bytes())
    data[data.index(b'"content":"2"') + 12] ^= 1
    log.write_bytes(data)
    with SessionStore(store.root) as cold:
        assert texts(cold.get("f")) == ["1"]
        with pytest.raises(CorruptLog):
            cold.get("f" if writer == "fork" else "p").append("user", "x")
        assert {finding.session_id for finding in cold.check().problems} == {"p", "f"}


# check()


def test_check_counts_sessions_and_messages(store: SessionStore) -> None:
    fill(fill(store.create("a"), "1", "2").fork("b"), "3")
    store.create("c")
    store.delete("c")
    report = store.check()
    assert (report.ok, report.sessions, report.messages) == (True, 2, 5)
    assert report.problems == report.notes == ()


def test_check_of_an_empty_store_finds_nothing(store: SessionStore) -> None:
    report = store.check()
    assert (report.ok, report.sessions, report.messages, report.problems, report.notes) == (True, 0, 0, (), ())


def test_check_changes_nothing(store: SessionStore) -> None:
    fill(fill(store.create("a"), "1").fork("b"), "2")
    before = contents(store.root)
    store.check()
    assert contents(store.root) == before


@pytest.mark.damages
def test_check_finds_a_bit_flipped_anywhere_in_any_log(store: SessionStore, log: Path) -> None:
    builder = sample_log()
    data = bytearray(builder.data)
    for place in range(0, builder.ends[-2] - 40, 7):
        data[place] ^= 1
        log.write_bytes(data)
        assert not store.check().ok, place
        data[place] ^= 1


@pytest.mark.damages
def test_check_finds_a_log_in_the_wrong_place(store: SessionStore) -> None:
    store.create("a")
    log = log_of(store, "a")
    (log.parent / "b.jsonl").write_bytes(log.read_bytes())
    log.unlink()
    assert [finding.kind for finding in store.check().problems] == ["misplaced"]
    assert "b" not in [node.id for node in store.tree()]


NO_COMMITS = [
    b'{"nothing":1,"seq":2', b'{"events":7,"at":1.0,"seq":2', b'not json,"seq":2', b'{"events":[7],"at":1.0,"seq":2',
    b'{"events":[{"type":"title"}],"at":1.0,"seq":2',
]  # fmt: skip


@pytest.mark.damages
@pytest.mark.parametrize("body", NO_COMMITS)
def test_a_line_that_is_sealed_and_yet_no_commit_is_damage_and_hides_no_other_session(
    store: SessionStore, log: Path, body: bytes
) -> None:
    builder = LogBuilder()
    builder.seal(body)
    log.write_bytes(builder.data)
    fill(store.create("other"), "x")
    with SessionStore(store.root) as cold:
        assert {finding.session_id for finding in cold.check().problems} == {"s"}
        with pytest.raises(CorruptLog):
            texts(cold.get("s"))
        assert "other" in {node.id for node in cold.tree()}
        assert texts(cold.get("other")) == ["x"]


@pytest.mark.damages
def test_check_finds_a_sealed_message_that_is_none(store: SessionStore, log: Path) -> None:
    builder = LogBuilder()
    builder.seal(b'{"message":{"seq":1,"id":"m"},"seq":2')
    log.write_bytes(builder.data)
    fill(store.create("other"), "x")
    with SessionStore(store.root) as cold:
        assert {finding.session_id for finding in cold.check().problems} == {"s"}
        assert {node.id for node in cold.tree()} == {"s", "other"}


def test_a_line_whose_seq_jumps_is_not_part_of_the_log(store: SessionStore, log: Path) -> None:
    builder = LogBuilder()
    builder.messages(("user", "1"))
    end = len(builder.data)
    builder.seal(b'{"events":[{"type":"reset"}],"at":1.0,"seq":4')
    log.write_bytes(builder.data)
    with SessionStore(store.root) as cold:
        assert texts(cold.get("s")) == ["1"]
        fill(cold.get("s"), "2")
    assert log.read_bytes()[:end] == builder.data[:end]
    assert [line["seq"] for line in lines_of(store, "s")] == [0, 1, 2, 3]


def test_check_notes_strays_and_calls_them_harmless(store: SessionStore) -> None:
    (store.root / "tmp" / "half.log").write_bytes(b"x")
    (store.root / "quarantine" / "s.1.bytes").write_bytes(b"x")
    report = store.check()
    assert report.ok
    assert sorted(note.kind for note in report.notes) == ["quarantined", "stray"]
