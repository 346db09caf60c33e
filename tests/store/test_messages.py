"""Appending, extending, turns, resets, retries and expected revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hierstore import InvalidRecord, Message, RevisionConflict, Session, SessionNotFound, SessionStore
from tests.support import contents, fill, lines_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


@pytest.fixture
def session(store: SessionStore) -> Session:
    return store.create("s")


def test_append_returns_the_message_as_stored(session: Session, monkeypatch) -> None:
    monkeypatch.setattr("hierstore.clock.now", lambda: 1234.5)
    message = session.append("assistant", "hi", message_id="m", metadata={"a": 1}, tool_calls=[{"id": "x"}], name="n")
    assert isinstance(message, Message)
    assert (message.id, message.seq, message.role, message.content, message.at) == ("m", 1, "assistant", "hi", 1234.5)
    assert (message.metadata, message.fields) == ({"a": 1}, {"tool_calls": [{"id": "x"}], "name": "n"})
    assert session.messages[0] == message


def test_fields_of_any_name_come_back_as_they_were(session: Session) -> None:
    fields = {
        "id": "theirs",
        "seq": 99,
        "at": "noon",
        "type": "t",
        "fields": 1,
        "crc": "0",
        "events": [],
        "": 0,
        "a b": None,
    }
    message = session.append("user", "x", **fields)
    assert message.fields == fields
    assert (message.seq, message.id == "theirs") == (1, False)
    with SessionStore(session._engine.layout.root.decode()) as cold:
        assert cold.get("s").messages[0] == message


def test_every_append_is_one_commit_and_one_line(session: Session, store: SessionStore) -> None:
    fill(session, "1", "2")
    assert session.revision == 3
    assert [line["seq"] for line in lines_of(store, "s")] == [0, 1, 2, 3]


def test_messages_are_numbered_from_one_and_ids_are_made_unique_and_in_order(session: Session) -> None:
    fill(session, *"abcdef")
    assert [message.seq for message in session.messages] == [1, 2, 3, 4, 5, 6]
    ids = [message.id for message in session.messages]
    assert ids == sorted(set(ids))


# extend


def test_extend_takes_mappings_and_messages_in_one_commit(session: Session, store: SessionStore) -> None:
    other = store.create("other").append("tool", [1], message_id="theirs", metadata={"m": 1}, name="n")
    stored = session.extend([
        {"role": "user", "content": "x", "message_id": "mine", "metadata": {"a": 1}, "name": "joe", "extra": [2]},
        other,
        {"role": "user", "content": None},
    ])  # fmt: skip
    assert session.revision == 2
    assert stored == tuple(session.messages)
    assert isinstance(stored, tuple)
    assert (stored[0].id, stored[0].metadata, stored[0].fields) == ("mine", {"a": 1}, {"name": "joe", "extra": [2]})
    assert (stored[1].id, stored[1].content, stored[1].metadata, stored[1].fields) == (
        "theirs",
        [1],
        {"m": 1},
        {"name": "n"},
    )
    assert [message.seq for message in stored] == [1, 2, 3]


def test_extend_takes_any_iterable_once(session: Session) -> None:
    assert len(session.extend({"role": "user", "content": n} for n in range(3))) == 3
    assert texts(session) == [0, 1, 2]


def test_an_empty_extend_writes_nothing_and_still_looks_at_the_revision(session: Session, store: SessionStore) -> None:
    before = contents(store.root)
    assert session.extend([]) == ()
    assert session.extend([], expected_revision=1) == ()
    with pytest.raises(RevisionConflict):
        session.extend([], expected_revision=2)
    assert contents(store.root) == before


def test_one_bad_message_keeps_all_of_an_extend_out(session: Session, store: SessionStore) -> None:
    before = contents(store.root)
    with pytest.raises(InvalidRecord):
        session.extend([{"role": "user", "content": "good"}, {"role": "user", "content": {1}}])
    assert contents(store.root) == before


def test_an_iterable_that_fails_keeps_all_of_an_extend_out(session: Session, store: SessionStore) -> None:
    def failing() -> Any:
        yield {"role": "user", "content": "good"}
        raise KeyError("theirs")

    before = contents(store.root)
    with pytest.raises(KeyError, match="theirs"):
        session.extend(failing())
    assert contents(store.root) == before


def test_a_sessions_messages_can_be_given_to_another_and_to_itself(session: Session, store: SessionStore) -> None:
    fill(session, "a", "b")
    other = store.create("other")
    assert other.extend(session.messages) == tuple(other.messages)
    assert [message.id for message in other.messages] == [message.id for message in session.messages]
    before = contents(store.root)
    assert session.extend(session.messages) == tuple(session.messages)
    assert contents(store.root) == before


# Retries


def test_an_append_with_an_id_that_is_there_returns_the_stored_message_and_writes_nothing(
    session: Session, store: SessionStore
) -> None:
    first = session.append("user", "x", message_id="m")
    fill(session, "later")
    before = contents(store.root)
    assert session.append("user", "x", message_id="m") == first
    assert session.append("other", "altogether different", message_id="m", name="n") == first
    assert contents(store.root) == before


def test_a_retry_after_success_returns_the_stored_message_though_the_expected_revision_is_stale(
    session: Session,
) -> None:
    first = session.append("user", "x", message_id="m", expected_revision=1)
    assert session.append("user", "x", message_id="m", expected_revision=1) == first
    assert session.extend([{"role": "user", "content": "x", "message_id": "m"}], expected_revision=1) == (first,)
    assert session.revision == 2


def test_a_retry_from_another_store_finds_the_message(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    first = one.create("s").append("user", "x", message_id="m")
    assert other.get("s").append("user", "x", message_id="m") == first
    with SessionStore(one.root) as third:
        assert third.get("s").append("user", "x", message_id="m") == first


def test_an_extend_of_old_and_new_messages_stores_the_new_ones_and_answers_in_the_order_given(session: Session) -> None:
    old = session.append("user", "old", message_id="old")
    stored = session.extend([
        {"role": "user", "content": "new 1", "message_id": "n1"},
        {"role": "user", "content": "changed", "message_id": "old"},
        {"role": "user", "content": "no id"},
        {"role": "user", "content": "again", "message_id": "n1"},
    ])  # fmt: skip
    assert [message.content for message in stored] == ["new 1", "old", "no id", "new 1"]
    assert stored[1] == old
    assert stored[0] == stored[3]
    assert texts(session) == ["old", "new 1", "no id"]
    assert [message.seq for message in session.messages] == [1, 2, 3]
    assert session.revision == 3


def test_an_extend_with_new_messages_and_a_stale_expected_revision_writes_nothing(
    session: Session, store: SessionStore
) -> None:
    session.append("user", "old", message_id="old")
    before = contents(store.root)
    with pytest.raises(RevisionConflict):
        session.extend(
            [{"role": "user", "content": "o", "message_id": "old"}, {"role": "user", "content": "n"}],
            expected_revision=1,
        )
    assert contents(store.root) == before


def test_messages_without_an_id_of_the_callers_are_never_taken_for_another(session: Session) -> None:
    session.append("user", "same")
    session.append("user", "same")
    assert texts(session) == ["same", "same"]


def test_a_retried_id_is_found_in_the_inherited_part_of_a_fork(session: Session) -> None:
    first = session.append("user", "x", message_id="m")
    fork = session.fork("f")
    assert fork.append("user", "x", message_id="m") == first
    assert len(fork.messages) == 1


def test_an_id_that_the_history_no_longer_has_is_stored_anew(session: Session) -> None:
    session.append("user", "before", message_id="m")
    session.reset()
    assert session.append("user", "after", message_id="m").content == "after"
    assert texts(session) == ["after"]


# Expected revisions


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
def test_a_wrong_expected_revision_raises_and_writes_nothing(
    session: Session, store: SessionStore, expected: int
) -> None:
    session.append("user", "x")
    before = contents(store.root)
    with pytest.raises(RevisionConflict) as caught:
        session.append("user", "y", expected_revision=expected)
    assert (caught.value.session_id, caught.value.expected, caught.value.actual) == ("s", expected, 2)
    with pytest.raises(RevisionConflict):
        session.extend([{"role": "user", "content": "y"}], expected_revision=expected)
    assert contents(store.root) == before


def test_the_right_expected_revision_lets_one_of_two_stores_through(open_store: OpenStore) -> None:
    one, other = open_store().create("s"), open_store().get("s")
    seen = one.revision
    assert other.revision == seen
    other.append("user", "first", expected_revision=seen)
    with pytest.raises(RevisionConflict):
        one.append("user", "second", expected_revision=seen)
    assert texts(one) == ["first"]


# Turns


def test_a_turn_is_one_commit_at_the_end_of_the_block(open_store: OpenStore) -> None:
    """behaviours 7"""
    session, seen = open_store().create("s"), open_store().get("s")
    with session.turn() as turn:
        turn.append("user", "q", message_id="q")
        turn.append("assistant", "a", name="n")
        assert texts(session) == texts(seen) == []
    assert texts(seen) == ["q", "a"]
    assert session.revision == 2
    assert turn.messages == tuple(session.messages)


def test_a_turn_that_fails_leaves_nothing_and_the_retry_sees_what_the_first_attempt_saw(open_store: OpenStore) -> None:
    """behaviours 7"""
    store = open_store()
    session, elsewhere = fill(store.create("s"), "before"), open_store().get("s")
    saw, disk = session.info, contents(store.root)

    def attempt() -> None:
        with session.turn() as turn:
            turn.append("user", "q", message_id="q")
            turn.append("assistant", "half an answer")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        attempt()
    assert contents(store.root) == disk
    for view in (session, elsewhere, open_store().get("s")):
        assert view.info == saw
        assert texts(view) == ["before"]
    with elsewhere.turn() as turn:
        turn.append("user", "q", message_id="q")
        turn.append("assistant", "an answer")
    assert texts(session) == ["before", "q", "an answer"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_turn_that_is_interrupted_leaves_nothing(
    session: Session, store: SessionStore, error: type[BaseException]
) -> None:
    """behaviours 7"""
    before = contents(store.root)

    def attempt() -> None:
        with session.turn() as turn:
            turn.append("user", "q")
            raise error

    with pytest.raises(error):
        attempt()
    assert contents(store.root) == before


def test_an_empty_turn_writes_nothing(session: Session, store: SessionStore) -> None:
    before = contents(store.root)
    with session.turn():
        pass
    assert contents(store.root) == before


def test_a_turn_takes_messages_inside_its_block_only(session: Session) -> None:
    with session.turn() as turn:
        turn.append("user", "x")
    with pytest.raises(InvalidRecord):
        turn.append("user", "late")
    with pytest.raises(InvalidRecord):
        session.turn().append("user", "early")
    assert texts(session) == ["x"]


def test_a_turn_retried_after_success_stores_nothing_twice(session: Session) -> None:
    """behaviours 7"""
    for _ in range(2):
        with session.turn() as turn:
            turn.extend(
                [
                    {"role": "user", "content": "q", "message_id": "q"},
                    {"role": "user", "content": "a", "message_id": "a"},
                ]
            )
    assert texts(session) == ["q", "a"]
    assert session.revision == 2


def test_other_writers_do_not_disturb_a_turn(open_store: OpenStore) -> None:
    session, other = open_store().create("s"), open_store().get("s")
    with session.turn() as turn:
        turn.append("user", "q")
        other.append("user", "between")
    assert texts(session) == ["between", "q"]


# Reset


def test_a_reset_by_a_store_that_never_read_the_session_empties_it_on_disk(open_store: OpenStore) -> None:
    """behaviours 1"""
    first = open_store()
    fill(first.create("s", title="T"), "1", "2").update(derived={"summary": "1 and 2"})
    first.close()
    second = open_store()
    second.get("s").reset()
    second.close()
    for _ in range(2):
        session = open_store().get("s")
        assert (texts(session), session.derived, session.title) == ([], {}, "T")


@pytest.mark.parametrize("warm", [True, False])
def test_a_reset_shows_in_every_store_warm_or_cold(open_store: OpenStore, warm: bool) -> None:
    """behaviours 2"""
    one, other = open_store().create("s"), open_store().get("s")
    fill(one, "1", "2")
    if warm:
        assert texts(one) == texts(other) == ["1", "2"]
    other.reset("why not")
    assert texts(one) == texts(other) == texts(open_store().get("s")) == []
    one.append("user", "new")
    assert texts(other) == ["new"]


def test_a_reset_of_a_session_that_does_not_exist_raises_and_leaves_nothing(open_store: OpenStore) -> None:
    """behaviours 3"""
    store, other = open_store(), open_store()
    session = store.create("s")
    other.delete("s")
    before = contents(store.root)
    for _ in range(2):
        with pytest.raises(SessionNotFound) as caught:
            session.reset()
        assert caught.value.session_id == "s"
    assert contents(store.root) == before
    assert "s" not in store
    assert session._entry.head is None
    assert session._entry.cost == 0


def test_a_reset_is_complete(store: SessionStore) -> None:
    """behaviours 4"""
    store.create("p")
    session = store.create("s", title="T", parent="p", kind="k", metadata={"m": 1}, labels=["l"])
    session.spawn("child")
    fill(session, "1").update(derived={"summary": "x"}, pinned=True)
    snap = session.snapshot("n")
    facts = (session.title, session.parent_id, session.kind, session.metadata, session.labels, session.pinned)
    session.reset()
    assert (session.title, session.parent_id, session.kind, session.metadata, session.labels, session.pinned) == facts
    assert (texts(session), session.derived) == ([], {})
    assert session.snapshots == (snap,)
    assert [child.id for child in session.children] == ["child"]


def test_a_reset_ends_the_turns_that_are_under_way(open_store: OpenStore) -> None:
    """behaviours 4"""
    session, other = open_store().create("s"), open_store().get("s")
    turn = session.turn()
    turn.__enter__()
    turn.append("user", "q")
    other.reset()
    with pytest.raises(RevisionConflict):
        turn.__exit__(None, None, None)
    assert texts(session) == texts(other) == []


def test_what_a_reset_took_away_can_be_gone_back_to(session: Session) -> None:
    fill(session, "1", "2")
    before = session.revision
    session.reset()
    session.revert(before)
    assert texts(session) == ["1", "2"]
