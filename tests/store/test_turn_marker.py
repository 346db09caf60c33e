"""The turn in progress: told of after a crash, ended by its own token alone; and the three flags beside it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import ReadOnlyStore, SessionNotFound, SessionStore
from tests.store.refusing import assert_refused
from tests.support import contents, fill, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


def cut_off(store: SessionStore) -> list[str]:
    return [session.id for session in store.interrupted()]


def token_of(session: Any) -> str | None:
    turn = session.turn_in_progress
    return None if turn is None else turn.token


# The marker


def test_a_turn_that_was_begun_shows_everywhere_until_it_is_ended(open_store: OpenStore, monkeypatch) -> None:
    store = open_store()
    session = store.create("s")
    assert session.turn_in_progress is None
    monkeypatch.setattr("hierstore.clock.now", lambda: 1234.5)
    assert session.start_turn("mine") == "mine"
    for view in (store, open_store(), open_store(read_only=True)):
        turn = view.get("s").turn_in_progress
        assert (turn.token, turn.started_at) == ("mine", 1234.5)
        assert cut_off(view) == ["s"]
    assert open_store().get("s").end_turn("mine") is True
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.get("s").turn_in_progress is None
        assert cut_off(view) == []


def test_a_token_is_made_where_none_is_given_and_never_twice(store: SessionStore) -> None:
    session = store.create("s")
    tokens = {session.start_turn() for _ in range(100)}
    assert len(tokens) == 100
    assert token_of(session) in tokens
    assert sum(session.end_turn(token) for token in tokens) == 1


def test_only_the_token_of_the_turn_ends_it(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    session = store.create("s")
    token = session.start_turn()
    before = contents(store.root)
    for wrong in ("x", token[:-1], token + "x", token.upper() + "!", " " + token):
        assert session.end_turn(wrong) is False
        assert other.get("s").end_turn(wrong) is False
    assert contents(store.root) == before
    assert token_of(session) == token
    assert other.get("s").end_turn(token) is True
    before = contents(store.root)
    assert session.end_turn(token) is False
    assert contents(store.root) == before


def test_a_turn_taken_over_is_not_ended_by_the_token_of_the_one_before(open_store: OpenStore) -> None:
    """behaviours 12"""
    old, new = open_store().create("s"), open_store().get("s")
    first = old.start_turn("first")
    assert token_of(new) == "first"
    second = new.start_turn("second")
    assert old.end_turn(first) is False
    assert token_of(old) == token_of(new) == "second"
    assert old.end_turn(second) is True
    assert old.end_turn(first) is False


def test_the_turn_begun_first_is_told_of_first(open_store: OpenStore, monkeypatch) -> None:
    store = open_store()
    for name in ("a", "b", "c", "d", "calm"):
        store.create(name)
    times = {"c": 10.0, "a": 20.0, "d": 30.0, "b": 20.0}
    for name, at in times.items():
        monkeypatch.setattr("hierstore.clock.now", lambda at=at: at)
        store.get(name).start_turn()
    assert cut_off(store) == cut_off(open_store()) == ["c", "a", "b", "d"]
    monkeypatch.setattr("hierstore.clock.now", lambda: 40.0)
    store.get("c").start_turn("again")
    assert cut_off(open_store()) == ["a", "b", "d", "c"]


def test_the_marker_moves_neither_history_nor_age_and_messages_leave_it(open_store: OpenStore) -> None:
    session = fill(open_store().create("s"), "1")
    at = session.updated_at
    token = session.start_turn()
    assert session.updated_at == at
    fill(session, "2")
    with session.turn() as turn:
        turn.append("user", "3")
    open_store().get("s").set_title("T")
    session.revert(2)
    assert (texts(session), token_of(session)) == (["1"], token)


@pytest.mark.parametrize("cold", [True, False])
def test_a_reset_ends_the_turn_and_its_token_ends_nothing_more(open_store: OpenStore, cold: bool) -> None:
    """behaviours 4"""
    store = open_store()
    session = fill(store.create("s", title="T"), "1")
    session.update(derived={"summary": "so far"})
    token = session.start_turn()
    assert (session.derived, token_of(session)) == ({"summary": "so far"}, token)
    if cold:
        store._engine.cache.clear()
    open_store().get("s").reset()
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.get("s").turn_in_progress is None
        assert view.get("s").derived == {}
        assert view.get("s").title == "T"
        assert cut_off(view) == []
    assert session.end_turn(token) is False


def test_a_reset_clears_what_is_derived_and_keeps_all_that_ties_the_session(open_store: OpenStore) -> None:
    """behaviours 4"""
    store = open_store()
    store.create("p")
    session = fill(store.create("s", title="T", parent="p"), "1", "2")
    session.update(derived={"d": 1}, pinned=True, metadata={"m": 1}, labels=["l"])
    session.set_ref("r", "id")
    session.add_usage(tokens=5, cost_usd=0.1)
    store.bind("k", session)
    grant = session.share()
    session.start_turn()
    open_store().get("s").reset("done")
    for view in (store, open_store(), open_store(read_only=True)):
        shown = view.get("s")
        assert (list(shown.messages), shown.derived, shown.turn_in_progress) == ([], {}, None)
        assert (shown.title, shown.parent_id, shown.metadata, shown.labels) == ("T", "p", {"m": 1}, ("l",))
        assert (shown.refs, shown.usage) == ({"r": "id"}, {"tokens": 5, "cost_usd": 0.1})
        assert (shown.routes, shown.pinned, shown.is_shared) == (("k",), True, True)
        assert view.resolve("k") == shown
        assert list(view.open_share(grant.token).messages) == []


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("keep", ["present", "snapshots"])
def test_the_marker_survives_compaction(open_store: OpenStore, keep: Any, cold: bool) -> None:
    store = open_store()
    session = fill(store.create("s"), "1", "2")
    session.start_turn("old")
    session.start_turn("mine")
    turn = session.turn_in_progress
    session.snapshot("n")
    session.revert(2)
    if cold:
        store._engine.cache.clear()
    assert session.compact(keep=keep).after_bytes
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.get("s").turn_in_progress == turn
        assert cut_off(view) == ["s"]
    assert session.end_turn("old") is False
    assert open_store().get("s").end_turn("mine") is True
    session.compact(keep=keep)
    assert open_store().get("s").turn_in_progress is None


def test_a_deleted_session_is_not_told_of_and_comes_back_without_its_turn(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    token = session.start_turn()
    open_store().delete("s")
    assert cut_off(store) == []
    store.restore("s")
    assert cut_off(store) == cut_off(open_store()) == []
    assert session.end_turn(token) is False


def test_a_fork_and_a_child_begin_without_a_turn(store: SessionStore) -> None:
    session = fill(store.create("s"), "1")
    session.start_turn()
    assert session.fork("f").turn_in_progress is session.spawn("c").turn_in_progress is None
    assert cut_off(store) == ["s"]


def test_the_marker_over_a_stale_cache_leaves_what_another_store_wrote(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    assert (texts(session), token_of(session)) == (["first"], None)
    fill(b.get("s"), "B's")
    b.get("s").start_turn("B's turn")
    assert session.end_turn("A's") is False
    session.start_turn("A's")
    for view in (session, b.get("s"), open_store().get("s")):
        assert (texts(view), token_of(view)) == (["first", "B's"], "A's")


@pytest.mark.damages
def test_one_session_that_cannot_be_read_hides_no_other_turn(open_store: OpenStore) -> None:
    store = open_store()
    for name in ("a", "b", "c"):
        store.create(name).start_turn()
    log_of(store, "b").write_bytes(b"{}\n{}\n")
    assert cut_off(open_store()) == ["a", "c"]


BAD_TOKENS: list[Any] = ["", "x" * 513, 5, b"t", ["t"], "\ud800"]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=lambda token: ascii(token)[:12])
def test_what_is_no_token_is_refused(store: SessionStore, token: Any) -> None:
    session = store.create("s")
    session.start_turn("kept")
    assert_refused(store, lambda: session.start_turn(token))
    assert_refused(store, lambda: session.end_turn(token))
    assert_refused(store, lambda: session.end_turn(None))
    assert token_of(session) == "kept"


def test_a_turn_of_a_missing_session_raises_and_leaves_no_file(open_store: OpenStore) -> None:
    """behaviours 13"""
    store = open_store()
    session = store.create("s")
    token = session.start_turn()
    open_store().delete("s")
    before = contents(store.root)
    for call in (session.start_turn, lambda: session.end_turn(token), lambda: session.turn_in_progress):
        with pytest.raises(SessionNotFound):
            call()
    assert contents(store.root) == before


def test_a_store_that_only_reads_tells_of_turns_and_begins_and_ends_none(open_store: OpenStore) -> None:
    token = open_store().create("s").start_turn()
    reader = open_store(read_only=True)
    session = reader.get("s")
    for call in (session.start_turn, lambda: session.end_turn(token), lambda: session.end_turn("wrong")):
        with pytest.raises(ReadOnlyStore):
            call()
    assert (token_of(session), cut_off(reader)) == (token, ["s"])


# Flags

FLAGS = ("pinned", "archived", "suspended")


@pytest.mark.parametrize("wanted", list(itertools.product([True, False], repeat=3)), ids=repr)
def test_the_flags_are_independent_of_each_other_and_of_the_turn(
    open_store: OpenStore, wanted: tuple[bool, ...]
) -> None:
    store = open_store()
    session = store.create("s")
    token = session.start_turn()
    session.update(**dict.fromkeys(FLAGS, True))
    for flag, value in zip(FLAGS, wanted, strict=True):
        open_store().get("s").update(**{flag: value})
    session.compact(keep="present")
    for view in (store, open_store(), open_store(read_only=True)):
        shown = view.get("s")
        assert tuple(getattr(shown, flag) for flag in FLAGS) == wanted
        assert tuple(getattr(shown.info, flag) for flag in FLAGS) == wanted
        assert token_of(shown) == token
    session.reset()
    assert tuple(getattr(session, flag) for flag in FLAGS) == wanted


@pytest.mark.parametrize("flag", FLAGS)
def test_one_flag_changes_no_other(store: SessionStore, flag: str) -> None:
    session = store.create("s")
    session.update(**{flag: True})
    assert [name for name in FLAGS if getattr(session, name)] == [flag]
    before = contents(store.root)
    session.update(**{flag: True})
    session.update()
    assert contents(store.root) == before
    for bad in (1, "yes", [True]):
        assert_refused(store, lambda bad=bad: session.update(**{flag: bad}), flag)
    session.update(**{flag: False})
    assert not any(getattr(session, name) for name in FLAGS)
