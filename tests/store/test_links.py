"""Ids in other systems: set, replaced, cleared, compared and set, and kept by whatever else happens to the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hierstore import ReadOnlyStore, SessionNotFound, SessionStore
from tests.store.refusing import assert_refused
from tests.support import contents, fill, lines_of, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

VALUES: list[Any] = [
    "id",
    "",
    0,
    7,
    -1,
    1.5,
    True,
    False,
    [],
    [1, [None]],
    {},
    {"thread": "t", "none": None},
    "\u00e9\U0001f600",
]


def is_everywhere(open_store: OpenStore, refs: dict[str, Any]) -> bool:
    """Whether a cold store, and one that only reads, show these refs."""
    return all(open_store(**options).get("s").refs == refs for options in ({}, {"read_only": True}))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_ref_is_given_back_as_it_was_set(open_store: OpenStore, value: Any) -> None:
    session = open_store().create("s")
    assert session.set_ref("other", value) is True
    assert session.refs == {"other": value}
    assert type(session.refs["other"]) is type(value)
    assert is_everywhere(open_store, {"other": value})


def test_refs_are_independent_of_each_other(open_store: OpenStore) -> None:
    session = open_store().create("s")
    for name, value in (("a", 1), ("b", 2), ("c", 3), ("b", "two")):
        session.set_ref(name, value)
    session.set_ref("a", None)
    assert session.refs == {"b": "two", "c": 3}
    assert is_everywhere(open_store, {"b": "two", "c": 3})


def test_a_cleared_ref_stays_cleared_after_a_restart_and_no_message_was_touched(open_store: OpenStore) -> None:
    """behaviours 11"""
    store = open_store()
    session = fill(store.create("s"), "1", "2")
    before, at = list(session.messages), session.updated_at
    session.set_ref("other", "id")
    assert session.set_ref("other", None) is True
    assert session.refs == {}
    store.close()
    fresh = open_store().get("s")
    assert fresh.refs == {}
    assert list(fresh.messages) == before
    assert fresh.updated_at == at
    assert fresh.set_ref("other", "new", if_equals=None) is True
    assert fresh.refs == {"other": "new"}


def test_clearing_what_is_not_set_and_setting_what_is_set_write_nothing(store: SessionStore) -> None:
    session = store.create("s")
    assert session.set_ref("other", None) is True
    session.set_ref("other", {"a": 1, "b": [2]})
    before = contents(store.root)
    assert session.set_ref("other", {"a": 1, "b": [2]}) is True
    assert session.set_ref("other", {"b": [2], "a": 1}) is True
    assert session.set_ref("nothing", None) is True
    assert contents(store.root) == before


# Compare and set


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_compare_and_set_takes_what_is_there_and_refuses_all_else(store: SessionStore, value: Any) -> None:
    session = store.create("s")
    session.set_ref("other", value)
    before = contents(store.root)
    for wrong in ("wrong", None, 99, {"thread": "t"}, [1]):
        assert session.set_ref("other", "new", if_equals=wrong) is False
    assert contents(store.root) == before
    assert session.refs == {"other": value}
    assert session.set_ref("other", "new", if_equals=value) is True
    assert session.refs == {"other": "new"}


@pytest.mark.parametrize(
    ("present", "wrong"), [(1, True), (True, 1), (0, False), (1, 1.0), (1.0, 1), ("1", 1), ([], {})]
)
def test_compare_and_set_compares_as_json_does(store: SessionStore, present: Any, wrong: Any) -> None:
    session = store.create("s")
    session.set_ref("other", present)
    assert session.set_ref("other", "new", if_equals=wrong) is False
    assert session.set_ref("other", wrong) is True
    assert type(session.refs["other"]) is type(wrong)


def test_compare_and_set_does_not_mind_the_order_of_an_objects_keys(store: SessionStore) -> None:
    session = store.create("s")
    session.set_ref("other", {"a": 1, "b": {"c": 2, "d": 3}})
    assert session.set_ref("other", "new", if_equals={"b": {"d": 3, "c": 2}, "a": 1}) is True
    assert session.refs == {"other": "new"}


def test_only_if_it_is_not_set_sets_once(open_store: OpenStore) -> None:
    one, other = open_store().create("s"), open_store().get("s")
    assert one.refs == other.refs == {}
    assert one.set_ref("run", "first", if_equals=None) is True
    assert other.set_ref("run", "second", if_equals=None) is False
    assert one.refs == other.refs == {"run": "first"}


def test_a_late_failure_of_an_old_run_does_not_clear_the_id_of_a_newer_one(open_store: OpenStore) -> None:
    """behaviours 12"""
    old, new = open_store().create("s"), open_store().get("s")
    old.set_ref("run", "run-1")
    assert old.refs == new.refs
    new.set_ref("run", "run-2")
    assert old.set_ref("run", None, if_equals="run-1") is False
    assert old.refs == new.refs == {"run": "run-2"}
    assert is_everywhere(open_store, {"run": "run-2"})
    assert new.set_ref("run", None, if_equals="run-2") is True
    assert old.refs == {}


# Sessions that are not there


@pytest.mark.parametrize("value", ["id", None])
@pytest.mark.parametrize("options", [{}, {"if_equals": None}, {"if_equals": "x"}], ids=repr)
@pytest.mark.parametrize("cached", [True, False])
def test_a_ref_of_a_missing_session_raises_and_leaves_no_file(
    open_store: OpenStore, value: Any, options: dict[str, Any], cached: bool
) -> None:
    """behaviours 13"""
    store, other = open_store(), open_store()
    session = store.create("s")
    if not cached:
        store._engine.cache.clear()
    other.delete("s")
    other.purge()
    before = contents(store.root)
    with pytest.raises(SessionNotFound) as caught:
        session.set_ref("other", value, **options)
    assert caught.value.session_id == "s"
    assert contents(store.root) == before
    assert not log_of(store, "s").exists()
    assert "s" not in store


# Bad input


BAD_NAMES: list[Any] = ["", "x" * 513, None, 5, b"b", ["a"], "\ud800", {"a": 1}]
BAD_VALUES: list[Any] = [float("nan"), float("inf"), 2**64, -(2**63) - 1, object(), {1: 2}, "\ud800", b"b", {"a": {1}}]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:12])
def test_what_is_no_name_of_a_ref_is_refused(store: SessionStore, name: Any) -> None:
    session = store.create("s")
    session.set_ref("kept", 1)
    assert_refused(store, lambda: session.set_ref(name, "x"))
    assert_refused(store, lambda: session.set_ref(name, None))
    assert session.refs == {"kept": 1}


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: ascii(value)[:12])
def test_what_json_cannot_hold_is_no_ref_and_is_not_compared_with(store: SessionStore, value: Any) -> None:
    session = store.create("s")
    assert_refused(store, lambda: session.set_ref("other", value), "ref")
    assert_refused(store, lambda: session.set_ref("other", "x", if_equals=value), "if_equals")
    assert session.refs == {}


def test_a_ref_is_as_large_as_any_value_and_no_larger(store: SessionStore) -> None:
    session = store.create("s")
    mib = 2**20
    assert_refused(store, lambda: session.set_ref("other", "x" * (16 * mib)), "ref")
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    session.set_ref("n" * 512, deep)
    assert session.refs == {"n" * 512: deep}
    assert_refused(store, lambda: session.set_ref("deep", [deep]), "ref")


def test_what_a_caller_does_to_refs_he_got_or_gave_shows_up_nowhere(open_store: OpenStore) -> None:
    """behaviours 24"""
    session = open_store().create("s")
    given = {"list": [1]}
    session.set_ref("other", given)
    given["list"].append(2)
    got = session.refs
    got["other"]["list"].append(3)
    got["more"] = 4
    assert session.refs == open_store().get("s").refs == {"other": {"list": [1]}}


# What else happens to the session


def everything_set(store: SessionStore) -> Any:
    session = fill(store.create("s", title="T", metadata={"m": 1}), "1", "2")
    session.set_ref("a", "gone")
    session.set_ref("a", "id")
    session.set_ref("b", {"x": [1, None]})
    session.set_ref("c", "cleared")
    session.set_ref("c", None)
    return session


KEPT = {"a": "id", "b": {"x": [1, None]}}
LIVES: dict[str, Callable[[SessionStore, Any], Any]] = {
    "reset": lambda _, s: s.reset(),
    "revert": lambda _, s: s.revert(1),
    "append": lambda _, s: fill(s, "3"),
    "title": lambda _, s: s.set_title("new"),
    "delete and restore": lambda store, _: (store.delete("s"), store.restore("s")),
    "compact to the present": lambda _, s: s.compact(keep="present"),
    "compact to the snapshots": lambda _, s: (s.snapshot("n"), fill(s, "3"), s.compact(keep="snapshots")),
    "compact all": lambda store, _: store.compact(keep="present"),
}


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("name", LIVES)
def test_refs_stay_whatever_happens_to_the_history(open_store: OpenStore, name: str, cold: bool) -> None:
    """behaviours 4"""
    store = open_store()
    session = everything_set(store)
    assert session.refs == KEPT
    if cold:
        store._engine.cache.clear()
    LIVES[name](store, session)
    assert session.refs == store.get("s").refs == KEPT
    assert is_everywhere(open_store, KEPT)
    session.set_ref("a", None)
    assert is_everywhere(open_store, {"b": KEPT["b"]})


def test_compaction_drops_the_lines_of_superseded_refs(store: SessionStore) -> None:
    session = store.create("s")
    for number in range(50):
        session.set_ref("cursor", number)
    report = session.compact(keep="present")
    assert report.after_bytes < report.before_bytes
    assert len(lines_of(store, "s")) < 10
    assert session.refs == {"cursor": 49}


def test_a_fork_and_a_child_begin_without_refs(open_store: OpenStore) -> None:
    store = open_store()
    session = everything_set(store)
    fork, child = session.fork("f"), session.spawn("c")
    assert fork.refs == child.refs == open_store().get("f").refs == {}
    fork.set_ref("a", "the fork's")
    assert session.refs == KEPT


def test_the_past_of_a_session_shows_the_refs_of_its_time(store: SessionStore) -> None:
    session = store.create("s")
    session.set_ref("a", 1)
    revision = session.revision
    session.set_ref("a", 2)
    assert session.at(revision).refs == {"a": 1}
    assert session.refs == {"a": 2}


def test_setting_a_ref_over_a_stale_cache_leaves_what_another_store_wrote(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    assert (texts(session), session.refs) == (["first"], {})
    fill(b.get("s"), "B's")
    b.get("s").set_ref("b", 2)
    session.set_ref("a", 1)
    for view in (session, b.get("s"), open_store().get("s")):
        assert texts(view) == ["first", "B's"]
        assert view.refs == {"b": 2, "a": 1}


def test_a_store_that_only_reads_shows_refs_and_refuses_to_set_one(open_store: OpenStore) -> None:
    open_store().create("s").set_ref("a", 1)
    reader = open_store(read_only=True).get("s")
    before = contents(open_store().root)
    for call in (lambda: reader.set_ref("a", 2), lambda: reader.set_ref("a", None), lambda: reader.set_ref("a", 1)):
        with pytest.raises(ReadOnlyStore):
            call()
    assert reader.refs == {"a": 1}
    assert contents(open_store().root) == before
