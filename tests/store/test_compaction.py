"""Compaction of a session: what readers see stays, what nobody needs goes, and it is a smaller file."""

from __future__ import annotations

import gc
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierstore import (
    CompactReport,
    CorruptLog,
    HierstoreError,
    InvalidRecord,
    ReadOnlyStore,
    RevisionConflict,
    RevisionNotFound,
    Session,
    SessionNotFound,
    SessionStore,
    StoreClosed,
    UnreadableLog,
)
from hierstore.disk import files
from tests.compacting import (
    Life,
    add_line,
    during,
    everything,
    numbered,
    past,
    present,
    shared_view,
    whole_revisions,
    without_snapshots,
)
from tests.processes import replaced
from tests.seam import hooked
from tests.support import contents, fill, holding, lines_of, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

KEEPS = ("snapshots", "present")


@pytest.fixture
def session(store: SessionStore) -> Session:
    """A session with something of every kind, some of it undone or superseded."""
    parent = store.create("parent", title="above")
    made = parent.spawn("s", title="superseded", kind="delegate", metadata={"a": 1}, labels=["x"])
    fill(made, "one", "two")
    made.snapshot("early", {"n": 1})
    fill(made, "undone by the revert")
    made.extend([{"role": "tool", "content": [1], "name": "f"}, {"role": "user", "content": "undone too"}])
    made.revert(3)
    made.set_title("the title")
    fill(made, "three")
    made.set_ref("thread", "superseded ref")
    made.set_ref("thread", {"id": 7})
    made.add_usage(tokens=3, cost=0.1)
    made.add_usage(tokens=4, cost=0.2)
    made.update(metadata={"a": None, "b": [2]}, labels=["y"], pinned=True, derived={"summary": "so far"})
    made.start_turn("token")
    store.bind("key", made)
    made.spawn("child")
    made.fork("fork", at=made.messages[0])
    made.share(role="append")
    made.snapshot("late")
    fill(made, "four")
    return made


def fork_at(session: Session) -> Callable[[Any], Session]:
    return lambda target: session.fork(at=target)


# What stays, and what goes


@pytest.mark.parametrize("keep", KEEPS)
def test_nothing_that_is_seen_changes(session: Session, store: SessionStore, open_store: OpenStore, keep: Any) -> None:
    others = [open_store(), open_store(read_only=True)]
    before = everything(session)
    assert [everything(other.get("s")) for other in others] == [before, before]
    tree, routed = store.tree(), store.resolve("key")
    session.compact(keep=keep)
    wanted = before if keep == "snapshots" else without_snapshots(before)
    for place in (store, *others, open_store(), open_store(read_only=True)):
        assert everything(place.get("s")) == wanted
        assert place.tree() == tree
        assert place.resolve("key") == routed
    assert [found.id for found in store.interrupted()] == ["s"]


@pytest.mark.parametrize("keep", KEEPS)
def test_undone_messages_and_superseded_facts_are_gone_from_the_log(
    session: Session, store: SessionStore, keep: Any
) -> None:
    before = log_of(store, "s").stat().st_size
    store.delete("fork")
    store.purge()
    report = session.compact(keep=keep)
    log = log_of(store, "s")
    assert report == CompactReport("s", before, log.stat().st_size, 3)
    assert report.after_bytes < report.before_bytes
    assert not [name for text in ("undone", "superseded ref") for name in holding(store.root, text)]
    assert ("early" in log.read_text()) == (keep == "snapshots")
    assert log.stat().st_mode & 0o777 == 0o600


def test_snapshots_can_be_gone_back_to_and_other_revisions_cannot(session: Session) -> None:
    before = {snap.id: past(session.at(snap)) for snap in session.snapshots}
    early, late = session.snapshots
    revision = session.revision
    session.compact(keep="snapshots")
    assert whole_revisions(session) == [early.revision, late.revision, revision]
    for gone in (1, 2, early.revision + 1, late.revision - 1):
        for call in (session.at, session.revert, fork_at(session)):
            with pytest.raises(RevisionNotFound) as caught:
                call(gone)
            assert (caught.value.session_id, caught.value.target) == ("s", gone)
    with pytest.raises(RevisionNotFound):
        session.undo_revert()
    assert session.revision == revision
    for snap in (early, late, early):
        session.revert(snap)
        assert [message._record() for message in session.messages] == before[snap.id]["messages"]
        assert past(session.at(snap)) == before[snap.id]
    session.undo_revert()
    assert texts(session) == ["one", "two", "three"]


def test_without_snapshots_only_the_present_can_be_gone_back_to(session: Session) -> None:
    early, _ = session.snapshots
    revision = session.revision
    session.compact(keep="present")
    assert session.snapshots == ()
    assert whole_revisions(session) == [revision]
    for call in (session.at, session.revert, fork_at(session)):
        with pytest.raises(RevisionNotFound):
            call(early)
        with pytest.raises(RevisionNotFound):
            call(early.revision)


@pytest.mark.parametrize("keep", KEEPS)
def test_messages_are_targets_as_before(session: Session, store: SessionStore, keep: Any) -> None:
    messages = list(session.messages)
    session.compact(keep=keep)
    for number, message in enumerate(messages, 1):
        forked = session.fork(at=message)
        assert list(forked.messages) == messages[:number]
        session.revert(message.id)
        assert list(session.messages) == messages[:number]
        session.undo_revert()
        assert list(session.messages) == messages


def test_a_message_that_only_a_snapshot_shows_is_a_target_too(store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two")
    two = session.messages[1]
    session.snapshot()
    session.reset()
    fill(session, "anew")
    session.compact(keep="snapshots")
    session.revert(two)
    assert texts(session) == ["one", "two"]


@pytest.mark.parametrize("keep", KEEPS)
def test_numbers_of_messages_and_revisions_go_on(session: Session, open_store: OpenStore, keep: Any) -> None:
    fill(session, "undone last")
    session.revert(session.messages[-2])
    revision, undone = session.revision, session._state().seq
    session.compact(keep=keep)
    assert session.revision == revision
    for place in (session, open_store().get("s")):
        message = place.append("user", "next", expected_revision=revision)
        assert message.seq > undone
        undone, revision = message.seq, revision + 1
        assert place.revision == revision


def test_the_time_of_the_last_change_is_not_moved(session: Session) -> None:
    """behaviours 14"""
    session.set_title("later")
    before = session.updated_at, session.created_at
    session.compact(keep="present")
    assert (session.updated_at, session.created_at) == before
    session.set_title("later still")
    assert session.updated_at == before[0]


def test_what_a_reader_has_in_its_hands_stays(session: Session) -> None:
    messages, then, info = session.messages, session.at(session.snapshots[0]), session.info
    wanted = texts(session), texts(then), info.metadata
    session.compact(keep="present")
    fill(session, "later")
    gc.collect()
    assert ([message.content for message in messages], texts(then), info.metadata) == wanted


# From later versions


def test_what_a_later_version_wrote_is_kept(store: SessionStore) -> None:
    session = fill(store.create("s"), "one")
    add_line(store, "s", {"events": [{"type": "vote", "for": "x"}], "at": 5.0})
    add_line(store, "s", {"events": [{"type": "title", "title": "t", "source": "user", "tone": "glad"}], "at": 6.0})
    add_line(store, "s", {"events": [{"type": "title", "title": "u", "source": "user"}], "at": 7.0, "signed": [1]})
    add_line(store, "s", {"events": [{"type": "reverted", "revision": 2, "count": 1, "why": "because"}], "at": 8.0})
    session.set_title("superseded")
    fill(session, "undone")
    session.revert(session.messages[0])
    session.set_title("last")
    before = everything(session)
    for _ in range(2):
        assert session.compact(keep="snapshots").dropped_messages in (0, 1)
        assert everything(session) == before
        lines = lines_of(store, "s")
        events = [item for line in lines for item in line.get("events", ())]
        assert {"type": "vote", "for": "x"} in events
        assert {"type": "title", "title": "t", "source": "user", "tone": "glad"} in events
        assert {"type": "reverted", "revision": 2, "count": 1, "why": "because"} in events
        assert [line["at"] for line in lines if line.get("signed") == [1]] == [7.0]
        assert b"superseded" not in log_of(store, "s").read_bytes()


def test_a_message_with_keys_that_nobody_knows_is_kept_whole(store: SessionStore) -> None:
    session = store.create("s")
    message = {"seq": 1, "id": "m", "role": "user", "content": "x", "at": 2.0, "stars": 5}
    add_line(store, "s", {"message": message, "beside": 1})
    for title in ("a" * 500, "b"):
        session.set_title(title)
    before = everything(session)
    report = session.compact(keep="present")
    assert report.after_bytes < report.before_bytes
    assert everything(session) == before
    kept = lines_of(store, "s")[2]
    assert (kept["message"], kept["beside"]) == (message, 1)


# Forks


def test_forks_made_before_and_after_keep_their_history(
    session: Session, store: SessionStore, open_store: OpenStore
) -> None:
    first = session.messages[0]
    made = {"whole": session.fork("whole"), "early": session.fork("early", at=session.snapshots[0])}
    made["fork"] = store.get("fork")
    fill(made["whole"], "own")
    shown = {name: present(fork) for name, fork in made.items()}
    session.compact(keep="snapshots")
    made["after"] = session.fork("after")
    made["at message"] = session.fork("at message", at=first)
    made["at snapshot"] = session.fork("at snapshot", at=session.snapshots[0])
    assert [texts(made[name]) for name in ("after", "at message", "at snapshot")] == [
        ["one", "two", "three", "four"], ["one"], ["one", "two"],
    ]  # fmt: skip
    shown |= {name: present(made[name]) for name in ("after", "at message", "at snapshot")}
    fill(session, "not theirs")
    session.compact(keep="present")
    for place in (store, open_store()):
        assert {name: present(place.get(fork.id)) for name, fork in made.items()} == shown
    store.delete("s", children="orphan")
    store.purge()
    for place in (store, open_store()):
        for name, fork in made.items():
            assert present(place.get(fork.id))["messages"] == shown[name]["messages"]


@pytest.mark.parametrize("keep", KEEPS)
def test_a_fork_is_compacted_as_any_other(store: SessionStore, open_store: OpenStore, keep: Any) -> None:
    parent = fill(store.create("parent"), "inherited 1", "inherited 2", "inherited 3")
    fork = parent.fork("fork")
    assert fork.compact(keep=keep).dropped_messages == 0
    fork.revert(fork.messages[1])
    fill(fork, "own 1", "undone")
    snap = fork.snapshot()
    fork.revert(fork.messages[2])
    fork.set_title("superseded")
    fork.set_title("last")
    before = everything(fork)
    for _ in range(2):
        fork.compact(keep=keep)
        wanted = before if keep == "snapshots" else without_snapshots(before)
        for place in (fork, open_store().get("fork")):
            assert everything(place) == wanted
    # What it inherited is a target still: that costs nothing.
    fork.revert(parent.messages[2])
    assert texts(fork) == ["inherited 1", "inherited 2", "inherited 3"]
    fork.undo_revert()
    if keep == "snapshots":
        fork.revert(snap)
        assert texts(fork) == ["inherited 1", "inherited 2", "own 1", "undone"]
        fork.undo_revert()
    twig = fork.fork("twig")
    assert texts(twig) == ["inherited 1", "inherited 2", "own 1"]
    assert twig.append("user", "x").seq > fork.messages[-1].seq


@pytest.mark.parametrize("keep", KEEPS)
def test_a_fork_that_was_reset_is_compacted(store: SessionStore, open_store: OpenStore, keep: Any) -> None:
    fork = fill(store.create("parent"), "inherited").fork("fork")
    fork.reset()
    assert texts(fill(fork, "own", "undone")) == ["own", "undone"]
    fork.revert(fork.messages[0])
    before = everything(fork)
    assert fork.compact(keep=keep).dropped_messages == 1
    for place in (fork, open_store().get("fork")):
        assert everything(place) == before
    assert texts(fork.fork("twig")) == ["own"]


@pytest.mark.parametrize("keep", KEEPS)
def test_a_fork_whose_parent_was_purged_is_compacted(store: SessionStore, open_store: OpenStore, keep: Any) -> None:
    parent = fill(store.create("parent"), "inherited", "and this")
    parent.spawn("child")
    fork = parent.fork("fork", at=parent.messages[0])
    fill(fork, "own", "undone")
    fork.revert(fork.messages[1])
    assert fork.compact(keep=keep).dropped_messages == 1
    store.delete("parent", children="orphan")
    store.purge()
    fill(fork, "more", "undone again")
    fork.revert(fork.messages[2])
    before = everything(fork)
    assert fork.compact(keep=keep).dropped_messages == 1
    for place in (fork, open_store().get("fork")):
        assert everything(place) == before
        assert texts(place) == ["inherited", "own", "more"]
    assert len(list(log_of(store, "fork").parent.glob("fork.past*"))) == 1


def test_forks_of_forks_of_compacted_sessions(store: SessionStore, open_store: OpenStore) -> None:
    session = store.create("g0")
    wanted: list[str] = []
    for generation in range(12):
        fill(session, f"kept {generation}", "undone")
        wanted.append(f"kept {generation}")
        session.revert(session.messages[-2])
        assert session.compact(keep="present").dropped_messages == 1
        assert texts(session) == wanted
        session = session.fork(f"g{generation + 1}")
    for place in (session, open_store().get("g12")):
        assert texts(place) == wanted
    seqs = [message.seq for message in session.messages]
    assert seqs == sorted(set(seqs))


def test_after_a_purge_nothing_is_left_of_a_session_that_was_compacted_but_what_a_fork_shows(
    store: SessionStore,
) -> None:
    """A fork links the log as it was before: the file that the purge finds in the trash is another one."""
    session = fill(store.create("s"), "shown by the fork")
    fork = session.fork("fork")
    fill(session, "secret undone")
    session.revert(2)
    fill(session, "secret last")
    session.compact(keep="present")
    fill(session, "secret later")
    store.delete("s", children="orphan")
    store.purge("s")
    assert holding(store.root, "secret") == []
    assert texts(fork) == ["shown by the fork"]


# Shares


def test_a_frozen_share_shows_what_it_showed(store: SessionStore, open_store: OpenStore) -> None:
    top = store.create("top", title="then")
    middle = top.spawn("middle")
    bottom = fill(middle.spawn("bottom", title="then"), "one", "two")
    tokens = [
        session.share(frozen=True, subtree=subtree).token
        for session in (top, middle, bottom)
        for subtree in (False, True)
    ]
    open_now = bottom.share().token
    fill(bottom, "three")
    bottom.set_title("now")
    again = bottom.share(frozen=True).token
    bottom.revert(bottom.messages[0])
    fill(bottom, "four")
    shown = [shared_view(store, token) for token in (*tokens, again, open_now)]
    assert "two" in str(shown[1])
    report = bottom.compact(keep="present")
    assert report.dropped_messages == 0
    assert report.after_bytes <= report.before_bytes
    for place in (store, open_store(), open_store(read_only=True)):
        assert [shared_view(place, token) for token in (*tokens, again, open_now)] == shown
    bottom.unshare()
    middle.unshare()
    top.unshare()
    assert bottom.compact(keep="present").dropped_messages == 2
    assert texts(bottom) == ["one", "four"]


def test_a_frozen_share_of_a_subtree_never_shows_another_history(store: SessionStore) -> None:
    """The session was elsewhere when it was compacted, and came back."""
    top = store.create("top")
    child = fill(top.spawn("child"), "one", "two")
    token = top.share(frozen=True, subtree=True).token
    shown = shared_view(store, token)
    child.revert(child.messages[0])
    fill(child, "later")
    child.move(None)
    child.compact(keep="present")
    child.move(top)
    found = shared_view(store, token)
    assert found == shown or found == (*shown[:2], [])


def test_an_ancestor_that_cannot_be_read_keeps_what_it_shares(store: SessionStore) -> None:
    """behaviours 10: what cannot be read is not nothing"""
    top = store.create("top")
    child = fill(top.spawn("child"), "one", "two")
    token = top.share(frozen=True, subtree=True).token
    shown = shared_view(store, token)
    child.revert(child.messages[0])
    fill(child, "later")
    read = store._engine.read
    looks: list[str] = []

    def unreadable(entry: Any) -> Any:
        looks.append(entry.id)
        if entry.id == "top" and looks.count("top") % 2 == 0:
            raise UnreadableLog("Input/output error", session_id="top", path="", errno=5)
        return read(entry)

    store._engine.read = unreadable  # type: ignore[method-assign]
    try:
        with pytest.raises(UnreadableLog):
            child.compact(keep="present")
    finally:
        store._engine.read = read  # type: ignore[method-assign]
        assert shared_view(store, token) == shown


def test_a_share_of_a_session_that_was_compacted_meanwhile_goes_on(store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "undone")
    shared = store.open_share(session.share(role="append").token)
    assert [message.content for message in shared.messages] == ["one", "undone"]
    session.revert(2)
    assert session.compact(keep="present").dropped_messages == 1
    assert [message.content for message in shared.messages] == ["one"]
    shared.append("user", "two")
    assert texts(session) == ["one", "two"]


# Turns, expected revisions


@pytest.mark.parametrize("keep", KEEPS)
def test_a_turn_goes_on_across_a_compaction(session: Session, open_store: OpenStore, keep: Any) -> None:
    with session.turn() as turn, open_store().get("s").turn(expected_revision=session.revision + 1) as other:
        turn.append("user", "first")
        other.append("user", "second")
        open_store().get("s").compact(keep=keep)
        fill(session, "between")
    # The inner one ends first.
    assert texts(session)[-3:] == ["between", "second", "first"]
    assert session.turn_in_progress is not None
    assert session.end_turn("token")


def test_a_turn_that_a_reset_ended_stays_ended_across_a_compaction(session: Session) -> None:
    def interrupted() -> None:
        with session.turn() as turn:
            turn.append("user", "never stored")
            session.reset()
            fill(session, "anew")
            session.compact(keep="present")

    with pytest.raises(RevisionConflict):
        interrupted()
    assert texts(session) == ["anew"]


def test_an_expected_revision_holds_across_a_compaction(session: Session, open_store: OpenStore) -> None:
    revision = session.revision
    open_store().get("s").compact(keep="present")
    with pytest.raises(RevisionConflict) as caught:
        session.append("user", "x", expected_revision=revision - 1)
    assert caught.value.actual == revision
    session.append("user", "y", expected_revision=revision)


def test_a_retried_message_is_stored_once_across_a_compaction(session: Session, open_store: OpenStore) -> None:
    stored = session.append("user", "x", message_id="retry")
    session.compact(keep="present")
    for place in (session, open_store().get("s")):
        assert place.append("user", "x", message_id="retry") == stored
    assert texts(session).count("x") == 1


# The trash


@pytest.mark.parametrize("keep", KEEPS)
def test_a_compacted_session_is_deleted_restored_and_purged(session: Session, store: SessionStore, keep: Any) -> None:
    session.compact(keep=keep)
    before = everything(session)
    store.delete("s", children="orphan")
    with pytest.raises(SessionNotFound):
        session.compact(keep=keep)
    store.restore("s")
    revision = session.revision
    session.compact(keep=keep)
    assert session.revision == revision
    # Its shares do not come back, nor do the turn and the children that were orphaned.
    for name in ("messages", "refs", "usage", "routes", "unknown"):
        assert everything(session)[name] == before[name]
    assert session.shares == ()
    store.delete("s", children="cascade")
    store.purge("s")
    assert not log_of(store, "s").exists()


def test_a_session_made_anew_is_never_taken_for_the_compacted_one(store: SessionStore, open_store: OpenStore) -> None:
    other = open_store()
    for number in range(10):
        session = fill(store.create("s"), f"{number}", "undone")
        session.revert(2)
        session.compact(keep="present")
        assert texts(other.get("s")) == [f"{number}"]
        assert session.messages[0].seq == 1
        store.delete("s")
        store.purge("s")
        assert "s" not in other


# Again and again


def test_again_and_again_with_new_reverts(store: SessionStore, open_store: OpenStore) -> None:
    session = store.create("s")
    other = open_store()
    snaps = []
    for number in range(15):
        fill(session, f"kept {number}", f"undone {number}")
        if number % 5 == 0:
            snaps.append(session.snapshot(f"{number}"))
        session.revert(session.messages[-2])
        session.set_title(f"title {number}")
        before = everything(session)
        assert session.compact(keep="snapshots").dropped_messages == (0 if number % 5 == 0 else 1)
        assert everything(session) == before
        assert everything(other.get("s")) == before
    assert texts(session) == [f"kept {number}" for number in range(15)]
    for snap, number in zip(snaps, (0, 5, 10), strict=True):
        assert texts(session.at(snap))[-2:] == [f"kept {number}", f"undone {number}"]
    assert session.compact(keep="present").dropped_messages == 3


def test_a_second_compaction_finds_nothing_and_writes_nothing(session: Session, store: SessionStore) -> None:
    session.compact(keep="snapshots")
    before = contents(store.root), log_of(store, "s").stat()
    report = session.compact(keep="snapshots")
    assert report == CompactReport("s", before[1].st_size, before[1].st_size, 0)
    assert contents(store.root) == before[0]
    after = log_of(store, "s").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before[1].st_ino, before[1].st_mtime_ns)


def test_a_session_with_nothing_to_drop_is_left_as_it_is(store: SessionStore) -> None:
    fill(store.create("plain"), "one", "two")
    titled = fill(store.create("titled"), "one")
    titled.set_title("t")
    empty = store.create("empty")
    before = contents(store.root)
    for name in ("plain", "titled", "empty"):
        size = log_of(store, name).stat().st_size
        assert store.get(name).compact(keep="present") == CompactReport(name, size, size, 0)
    assert contents(store.root) == before
    assert empty.revision == 1


def test_what_a_compaction_has_no_use_for_can_still_be_gone_back_to(store: SessionStore) -> None:
    """Nothing was dropped, so every revision is as before."""
    session = fill(store.create("s"), "one", "two")
    session.compact(keep="present")
    assert whole_revisions(session) == [1, 2, 3]


def test_the_log_never_becomes_larger(store: SessionStore) -> None:
    session = store.create("s", title="t")
    for number in range(60):
        fill(session, f"text {number}")
        snap = session.snapshot()
        fill(session, "undone")
        session.revert(snap)
    report = session.compact(keep="snapshots")
    assert report.after_bytes <= report.before_bytes
    assert report.dropped_messages == 60


# Refusals


def test_what_is_refused(session: Session, store: SessionStore, open_store: OpenStore) -> None:
    before = contents(store.root)
    for wrong in ("all", "", None, 1):
        for call in (session.compact, store.compact):
            with pytest.raises(InvalidRecord):
                call(keep=wrong)
    reader = open_store(read_only=True)
    # Also where there is nothing to do.
    for call in (reader.get("s").compact, reader.get("child").compact, reader.compact):
        with pytest.raises(ReadOnlyStore):
            call(keep="present")
    closed = open_store()
    handle = closed.get("s")
    closed.close()
    for call in (handle.compact, closed.compact):
        with pytest.raises(StoreClosed):
            call(keep="present")
    assert contents(store.root) == before


@pytest.mark.damages
def test_a_damaged_log_is_not_compacted(session: Session, store: SessionStore) -> None:
    log = log_of(store, "s")
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    with pytest.raises(CorruptLog):
        session.compact(keep="present")
    assert log.read_bytes() == data
    assert not list((store.root / "tmp").iterdir())
    report = store.compact(keep="present")
    # The fork shows what is damaged too.
    assert [error.session_id for error in report.errors] == ["s", "fork"]


@pytest.mark.parametrize("tail", [b'{"message":{"seq":', b'{"message":{"seq":7}\n', bytes(100)])
def test_a_torn_tail_is_cut_off_and_the_rest_compacted(session: Session, store: SessionStore, tail: bytes) -> None:
    before = everything(session)
    with log_of(store, "s").open("ab") as log:
        log.write(tail)
    assert session.compact(keep="snapshots").dropped_messages == 3
    assert everything(session) == before
    session.append("user", "next")
    assert [line["seq"] for line in lines_of(store, "s")][-2:] == [before["info"].revision, before["info"].revision + 1]


# All sessions at once


def test_all_sessions_are_compacted(session: Session, store: SessionStore, open_store: OpenStore) -> None:
    fill(store.create("plain"), "one")
    other = fill(store.create("other"), "one", "undone")
    other.revert(2)
    before = {name: everything(store.get(name)) for name in ("s", "plain", "other", "parent", "fork")}
    report = open_store().compact(keep="snapshots")
    assert sorted(done.session_id for done in report.sessions) == ["other", "s"]
    assert report.errors == ()
    assert report.freed_bytes == sum(done.before_bytes - done.after_bytes for done in report.sessions) > 0
    assert {name: everything(store.get(name)) for name in before} == before
    assert store.compact(keep="snapshots").sessions == ()


def test_one_that_is_deleted_meanwhile_is_no_error(store: SessionStore, open_store: OpenStore, monkeypatch) -> None:
    from hierstore import compaction

    for name in ("a", "b", "c"):
        fill(store.create(name), "one", "undone").revert(2)
    other = open_store()

    def deleting(*args: Any, **options: Any) -> Any:
        answer = compacted(*args, **options)
        if not done:
            done.append(args[2].facts.id)
            other.delete(done[0])
        return answer

    done: list[str] = []
    compacted = compaction.compacted
    monkeypatch.setattr(compaction, "compacted", deleting)
    report = store.compact(keep="present")
    assert report.errors == ()
    assert sorted([*done, *(found.session_id for found in report.sessions)]) == ["a", "b", "c"]
    assert not list((store.root / "tmp").iterdir())


@pytest.mark.damages
def test_one_that_is_damaged_hides_no_other(store: SessionStore) -> None:
    for name in ("a", "b", "c"):
        fill(store.create(name), "one", "undone").revert(2)
    log = log_of(store, "b")
    log.write_bytes(log.read_bytes().replace(b"undone", b"Undone"))
    report = store.compact(keep="present")
    assert [done.session_id for done in report.sessions] == ["a", "c"]
    assert [error.session_id for error in report.errors] == ["b"]


# The disk


def test_no_descriptor_and_no_file_is_left(session: Session, store: SessionStore) -> None:
    def opened() -> int:
        return len([name for name in os.listdir("/dev/fd") if _target(name).startswith(f"{store.root}/")])

    texts(session)
    before = opened()
    for number in range(20):
        fill(session, f"undone {number}")
        session.revert(session.messages[-2])
        session.compact(keep="present")
    assert opened() <= before + 1  # the tree's lock
    assert not list((store.root / "tmp").iterdir())
    assert not [name for name in os.listdir("/dev/fd") if re.match(f"{store.root}/.*deleted", _target(name))]


def _target(name: str) -> str:
    try:
        return os.readlink(f"/dev/fd/{name}")
    except OSError:
        return ""


def test_the_new_file_is_synced_before_it_has_its_name(session: Session, store: SessionStore) -> None:
    """Else a power cut leaves the name without the bytes."""
    calls: list[str] = []

    def noting(name: str) -> Any:
        real = getattr(files, name)

        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*args, **options)

        return call

    with replaced(files, **{name: noting(name) for name in ("write", "sync", "utime", "replace", "sync_directory")}):
        session.compact(keep="present")
    assert "sync_directory" in calls[calls.index("replace") :], "who appends to it next in power mode needs its name"
    assert "sync" in calls[calls.index("write") : calls.index("replace")]
    assert calls.index("utime") < calls.index("replace"), "for a moment it has a stamp that another had"
    other = SessionStore(store.root, durability="power")
    with other:
        calls.clear()
        fill(other.get("s"), "undone").revert(other.get("s").messages[-2])
        with replaced(files, **{name: noting(name) for name in ("write", "sync", "replace", "sync_directory")}):
            other.get("s").compact(keep="present")
        assert "sync_directory" in calls[calls.index("replace") :]


def test_what_came_meanwhile_is_synced_too(session: Session, open_store: OpenStore) -> None:
    other = open_store().get("s")
    calls: list[str] = []
    sync = during(files.sync, lambda: other.append("user", "meanwhile"), after=True)

    def noting(name: str, real: Any) -> Any:
        def call(*args: Any) -> Any:
            calls.append(name)
            return real(*args)

        return call

    with replaced(files, sync=noting("sync", sync), replace=noting("replace", files.replace)):
        session.compact(keep="present")
    assert calls == ["sync", "sync", "replace"]
    assert texts(session)[-1] == "meanwhile"


def test_times_of_files_only_ever_grow(session: Session, store: SessionStore, open_store: OpenStore) -> None:
    """behaviours 23"""
    other = open_store()
    path = log_of(store, "s")
    last = path.stat().st_mtime_ns
    for number in range(6):
        fill(session, f"undone {number}")
        assert path.stat().st_mtime_ns >= last
        session.revert(session.messages[-2])
        last = path.stat().st_mtime_ns
        session.compact(keep="present")
        assert path.stat().st_mtime_ns > last
        last = path.stat().st_mtime_ns
        assert everything(other.get("s")) == everything(session)
        if number % 2:
            # A stamp of the new file is stored as any other: the next read is a cached one.
            assert other._engine.entry("s").head is not None


def test_a_line_under_too_old_a_time_is_shown_and_not_cached(store: SessionStore, open_store: OpenStore) -> None:
    """A writer died behind a compaction, before it could raise the time above that of the logs before."""
    session = fill(store.create("s"), "one", "undone")
    session.revert(2)
    session.compact(keep="present")
    add_line(store, "s", {"events": [{"type": "title", "title": "t", "source": "user"}], "at": 5.0})
    log = log_of(store, "s")
    assert log.stat().st_mtime_ns <= lines_of(store, "s")[0]["floor_ns"], "it is new enough, so this shows nothing"
    for other in (open_store(), open_store(read_only=True), store):
        assert other.get("s").title == "t"
        assert other._engine.entry("s").head is None
    session.set_title("u")
    assert log.stat().st_mtime_ns > lines_of(store, "s")[0]["floor_ns"]
    for other in (open_store(), open_store(read_only=True), store):
        assert other.get("s").title == "u"
        assert other._engine.entry("s").head is not None
    assert not store.check().notes, "it was not damage, and nothing of it is in quarantine"


def test_a_log_put_back_from_a_backup_is_noticed(
    session: Session, store: SessionStore, open_store: OpenStore, tmp_path: Path
) -> None:
    """behaviours 23: the backup is from before the compaction"""
    other = open_store()
    shutil.copy2(log_of(store, "s"), tmp_path / "backup")
    before = everything(session)
    session.compact(keep="present")
    fill(session, "later")
    assert texts(other.get("s"))[-1] == "later"
    os.replace(tmp_path / "backup", log_of(store, "s"))
    assert everything(session) == everything(other.get("s")) == before
    fill(session, "next")
    assert texts(other.get("s"))[-1] == "next"


# Random lives


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(5, 40), st.sampled_from(KEEPS))
def test_a_compacted_copy_behaves_as_the_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int, keep: Any
) -> None:
    folder = tmp_path_factory.mktemp("life")
    with SessionStore(folder / "one") as one:
        first = live(one, seed, steps)
        names = sorted(node.id for root in one.tree() for node in flat(root))
        shutil.copytree(folder / "one", folder / "two")
        with SessionStore(folder / "two") as two:
            with numbered(900):
                report = two.compact(keep=keep)
            assert report.errors == ()
            through = {name: one.get(name).revision for name in names}
            compare(one, two, names, first.tokens, through, keep)
            lives = [Life(place, seed + 1, dict(through), snapshots=keep == "snapshots") for place in (one, two)]
            for number in range(500, 500 + steps // 2):
                for life in lives:
                    life.step(number)
            compare(one, two, names, first.tokens, through, keep)
            with numbered(901):
                two.compact(keep="snapshots")
            compare(one, two, names, first.tokens, through, keep)
            assert two.check().problems == ()
            with SessionStore(folder / "two") as cold, SessionStore(folder / "two", read_only=True) as reader:
                compare(one, cold, names, first.tokens, through, keep)
                compare(one, reader, names, first.tokens, through, keep)
    shutil.rmtree(folder)


def live(store: SessionStore, seed: int, steps: int) -> Life:
    with numbered(0):
        store.create("s", title="T", metadata={"m": 1})
    life = Life(store, seed)
    for number in range(1, steps + 1):
        life.step(number)
    return life


def flat(node: Any) -> list[Any]:
    return [node, *(deeper for child in node.children for deeper in flat(child))]


def compare(
    one: SessionStore, two: SessionStore, names: list[str], tokens: list[str], through: dict[str, int], keep: str
) -> None:
    for name in names:
        wanted, found = everything(one.get(name)), everything(two.get(name))
        if keep == "present":
            # Where there was nothing to drop at all they are still there.
            wanted, found = (without_snapshots(shown, through[name]) for shown in (wanted, found))
        assert found == wanted, name
        for message in one.get(name).messages:
            forked = [place.get(name)._state().find_revision(message.id) for place in (one, two)]
            assert forked[0] is not None
            assert forked[1] is not None
            assert forked[0][1] == forked[1][1]
    for token in tokens:
        assert shared_view(two, token) == shared_view(one, token)


def test_work_under_the_lock_does_not_grow_with_the_session(store: SessionStore) -> None:
    """Building is done beside; under the lock are a rename and what came meanwhile."""

    def under_the_lock(count: int) -> list[tuple[str, int]]:
        session = store.create(f"s{count}")
        for _ in range(count // 500):
            session.extend([{"role": "user", "content": "x" * 300} for _ in range(500)])
        session.revert(1)
        stripe = session._entry.stripe
        made: list[tuple[str, int]] = []

        def note(_: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            found = real()
            if stripe.owner:
                moved = {"_read_some": found, "write": args[-1]}.get(name, b"")
                made.append((name, len(moved)))
            return found

        texts(session)
        with hooked(note):
            session.compact(keep="present")
        return made

    few, many = under_the_lock(1000), under_the_lock(5000)
    assert {"replace"} < {name for name, _ in few}
    assert [name for name, _ in few] == [name for name, _ in many]
    # Digits of positions, and times.
    assert all(abs(one - other) < 64 for (_, one), (_, other) in zip(few, many, strict=True))


def test_errors_name_the_session(session: Session, store: SessionStore) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    before = contents(store.root)
    for name in ("write", "replace", "sync"):
        with replaced(files, **{name: refuse}), pytest.raises(HierstoreError) as caught:
            session.compact(keep="present")
        assert caught.value.session_id == "s"
        assert contents(store.root) == before, "something was left"
