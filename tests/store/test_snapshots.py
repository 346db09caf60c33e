"""Snapshots name revisions; reverting moves the head and takes nothing away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hierstore import RevisionNotFound, Session, SessionStore
from tests.support import contents, fill, lines_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


@pytest.fixture
def session(store: SessionStore) -> Session:
    return store.create("s", title="T")


def test_a_snapshot_has_what_the_contract_says(session: Session, monkeypatch) -> None:
    fill(session, "1")
    monkeypatch.setattr("hierstore.clock.now", lambda: 99.5)
    snap = session.snapshot("here", metadata={"a": [1]})
    assert (snap.label, snap.metadata, snap.created_at) == ("here", {"a": [1]}, 99.5)
    assert texts(session.at(snap.revision)) == ["1"]
    bare = session.snapshot()
    assert (bare.label, bare.metadata) == (None, {})
    assert bare.id != snap.id
    assert session.snapshots == (snap, bare)


def test_snapshots_may_have_the_same_label(session: Session) -> None:
    one, other = session.snapshot("x"), fill(session, "1").snapshot("x")
    session.revert(one)
    assert texts(session) == []
    session.revert(other)
    assert texts(session) == ["1"]


def test_a_snapshot_names_a_revision_and_not_a_place_in_the_list(session: Session) -> None:
    """behaviours 27"""
    messages = [session.append("user", text) for text in "abcde"]
    snap = session.snapshot("five")
    session.revert(messages[1].id)
    assert texts(session) == ["a", "b"]
    fill(session, *"vwxyz")
    session.revert(snap)
    assert list(session.messages) == messages
    with SessionStore(session._engine.layout.root.decode()) as cold:
        assert list(cold.get("s").messages) == messages


def test_a_snapshot_taken_after_a_revert_names_that_history(session: Session) -> None:
    """behaviours 27"""
    first = session.append("user", "a")
    fill(session, "b", "c")
    session.revert(first.id)
    fill(session, "x")
    snap = session.snapshot()
    session.undo_revert()
    assert texts(session) == ["a", "b", "c"]
    fill(session, "d").revert(snap.id)
    assert texts(session) == ["a", "x"]


@pytest.mark.parametrize("how", ["snapshot", "snapshot id", "revision", "message id", "snapshot from elsewhere"])
def test_a_revert_goes_to_whatever_names_a_revision(session: Session, store: SessionStore, how: str) -> None:
    message = fill(session, "1").append("user", "2")
    snap = session.snapshot()
    fill(session, "3")
    with SessionStore(store.root) as other:
        elsewhere = other.get("s").snapshots[0]
    session.revert({
        "snapshot": snap, "snapshot id": snap.id, "revision": snap.revision, "message id": message.id,
        "snapshot from elsewhere": elsewhere,
    }[how])  # fmt: skip
    assert texts(session) == ["1", "2"]


def test_a_revert_adds_a_commit_and_takes_nothing_away(session: Session, store: SessionStore) -> None:
    fill(session, "1", "2", "3")
    log = store._engine.layout.log("s")
    with open(log, "rb") as file:
        before = file.read()
    session.revert(2)
    with open(log, "rb") as file:
        assert file.read().startswith(before)
    assert session.revision == 5
    assert len(lines_of(store, "s")) == 6


def test_a_revert_clears_what_was_derived_from_the_history_and_keeps_the_rest(session: Session) -> None:
    """behaviours 4"""
    fill(session, "1", "2")
    session.update(derived={"summary": "x"}, metadata={"m": 1}, labels=["l"])
    session.revert(2)
    assert (session.derived, session.metadata, session.labels, session.title) == ({}, {"m": 1}, ("l",), "T")


def test_messages_after_a_revert_continue_the_old_history_with_new_numbers(session: Session) -> None:
    first = session.append("user", "1")
    second = session.append("user", "2")
    session.revert(first.id)
    third = session.append("user", "3")
    assert list(session.messages) == [first, third]
    assert third.seq > second.seq
    assert third.id != second.id


def test_undoing_a_revert_brings_back_what_was_before_it(session: Session) -> None:
    fill(session, "1", "2")
    session.revert(2)
    after = session.append("user", "3")
    session.undo_revert()
    assert texts(session) == ["1", "2"]
    session.revert(after.id)
    assert texts(session) == ["1", "3"]


def test_reverts_are_undone_one_by_one_the_last_first(session: Session) -> None:
    fill(session, "1", "2", "3")
    session.revert(3)
    session.revert(2)
    session.revert(1)
    for expected in (["1"], ["1", "2"], ["1", "2", "3"]):
        session.undo_revert()
        assert texts(session) == expected
    with pytest.raises(RevisionNotFound):
        session.undo_revert()


def test_there_is_nothing_to_undo_without_a_revert_nor_after_a_reset(session: Session, store: SessionStore) -> None:
    fill(session, "1")
    with pytest.raises(RevisionNotFound) as caught:
        session.undo_revert()
    assert caught.value.session_id == "s"
    session.revert(1)
    session.reset()
    before = contents(store.root)
    with pytest.raises(RevisionNotFound):
        session.undo_revert()
    assert contents(store.root) == before


def test_a_revert_by_another_store_can_be_undone_here(open_store: OpenStore) -> None:
    one, other = open_store().create("s"), open_store().get("s")
    fill(one, "1", "2")
    other.revert(2)
    assert texts(one) == ["1"]
    one.undo_revert()
    assert texts(other) == ["1", "2"]


@pytest.mark.parametrize("target", ["nope", "", 0, -1, 99, True, None, 1.5, b"x", ["1"]], ids=repr)
@pytest.mark.parametrize("call", ["revert", "at"])
def test_what_does_not_exist_cannot_be_gone_to_and_nothing_is_written(
    session: Session, store: SessionStore, target: Any, call: str
) -> None:
    fill(session, "1")
    session.snapshot("nope")
    before = contents(store.root)
    with pytest.raises(RevisionNotFound) as caught:
        getattr(session, call)(target)
    assert caught.value.session_id == "s"
    assert caught.value.target == target
    assert contents(store.root) == before


def test_another_sessions_snapshot_or_message_is_not_this_ones(session: Session, store: SessionStore) -> None:
    other = fill(store.create("o"), "x")
    for target in (other.snapshot(), other.messages[0].id):
        with pytest.raises(RevisionNotFound):
            session.revert(target)


# at


def test_a_session_can_be_seen_as_it_was_at_every_revision(session: Session, store: SessionStore) -> None:
    saw = {1: (session.info, [])}

    def note() -> None:
        saw[session.revision] = (session.info, texts(session))

    for step in (
        lambda: session.append("user", "1"),
        lambda: session.extend([{"role": "user", "content": text} for text in "23"]),
        lambda: session.set_title("other"),
        lambda: session.update(metadata={"a": 1}, pinned=True),
        lambda: session.revert(2),
        lambda: session.append("user", "4"),
        session.undo_revert,
        session.reset,
        lambda: session.append("user", "5"),
        lambda: session.spawn("child"),
        lambda: session.revert(3),
    ):
        step()
        note()
    for view in (session, SessionStore(store.root, read_only=True).get("s")):
        for revision, (info, history) in saw.items():
            past = view.at(revision)
            assert (past.info, texts(past)) == (info, history)
            assert (past.id, past.revision, past.title, past.metadata) == ("s", revision, info.title, info.metadata)


def test_a_past_session_takes_no_writes_and_stays_as_it_is(session: Session) -> None:
    fill(session, "1")
    snap = session.snapshot("x")
    past = session.at(snap)
    fill(session, "2").set_title("new")
    assert (texts(past), past.title, past.snapshots) == (["1"], "T", (snap,))
    for name in ("append", "extend", "reset", "update", "revert", "turn", "set_title"):
        assert not hasattr(past, name)
    with pytest.raises(AttributeError):
        past.title = "x"


def test_a_session_can_be_seen_as_it_was_at_a_message(session: Session) -> None:
    first = session.append("user", "1")
    session.extend([{"role": "user", "content": "2", "message_id": "two"}, {"role": "user", "content": "3"}])
    assert texts(session.at(first.id)) == ["1"]
    assert texts(session.at("two")) == ["1", "2"]


def test_a_fork_can_be_seen_at_its_beginning(session: Session) -> None:
    fork = fill(fill(session, "1", "2").fork("f"), "3")
    assert texts(fork.at(1)) == ["1", "2"]
    assert texts(fork.at(fork.messages[0].id)) == ["1"]
