"""Counters: exact whoever adds in whatever order, set apart from added to, and counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hierstore import ReadOnlyStore, SessionNotFound, SessionStore
from tests.store.refusing import assert_refused
from tests.support import contents, fill, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


def usages(open_store: OpenStore, session_id: str = "s") -> list[dict[str, Any]]:
    """The usage as two cold stores show it."""
    return [open_store(**options).get(session_id).usage for options in ({}, {"read_only": True})]


def test_counters_add_up(open_store: OpenStore) -> None:
    session = open_store().create("s")
    assert session.usage == {}
    session.add_usage(input_tokens=10, output_tokens=3, cost_usd=0.1)
    session.add_usage(input_tokens=5, cost_usd=0.2)
    session.add_usage(cached=0)
    wanted = {"input_tokens": 15, "output_tokens": 3, "cost_usd": 0.3, "cached": 0}
    assert session.usage == wanted
    assert usages(open_store) == [wanted, wanted]


def test_a_total_that_is_set_replaces_and_a_total_that_is_added_to_grows(open_store: OpenStore) -> None:
    one, other = open_store().create("s"), open_store().get("s")
    one.add_usage(tokens=10, calls=1)
    other.set_usage(tokens=100)
    assert one.usage == {"tokens": 100, "calls": 1}
    one.add_usage(tokens=1)
    other.set_usage(tokens=7)
    other.add_usage(tokens=-2)
    assert one.usage == other.usage == {"tokens": 5, "calls": 1}
    assert usages(open_store)[0] == {"tokens": 5, "calls": 1}
    one.set_usage(tokens=0)
    assert one.usage["tokens"] == 0


def test_an_int_stays_an_int_until_a_float_is_added(open_store: OpenStore) -> None:
    session = open_store().create("s")
    session.add_usage(whole=2, mixed=2)
    session.add_usage(whole=3, mixed=0.0)
    assert [type(session.usage[name]) for name in ("whole", "mixed")] == [int, float]
    assert repr(usages(open_store)[0]) == "{'whole': 5, 'mixed': 2.0}"
    session.set_usage(mixed=1)
    assert type(session.usage["mixed"]) is int


def test_decimal_fractions_add_up_exactly(open_store: OpenStore) -> None:
    session = open_store().create("s")
    total = 0.0
    for _ in range(1000):
        session.add_usage(cost_usd=0.001)
        total += 0.001
    assert total != 1.0
    assert session.usage == {"cost_usd": 1.0}
    assert usages(open_store) == [{"cost_usd": 1.0}] * 2


def test_what_is_lost_beside_a_large_float_comes_back_when_that_goes(store: SessionStore) -> None:
    session = store.create("s")
    session.add_usage(x=1e300)
    session.add_usage(x=1e-300)
    session.add_usage(x=-1e300)
    assert session.usage == {"x": 1e-300}


def test_a_sum_of_ints_goes_beyond_64_bits(open_store: OpenStore) -> None:
    session = open_store().create("s")
    for _ in range(3):
        session.add_usage(x=2**64 - 1)
    assert session.usage == {"x": 3 * (2**64 - 1)}
    session.compact(keep="present")
    assert usages(open_store) == [{"x": 3 * (2**64 - 1)}] * 2


def test_one_call_is_one_commit(store: SessionStore) -> None:
    session = store.create("s")
    revision = session.revision
    session.add_usage(a=1, b=2, c=3)
    session.set_usage(a=1, b=2)
    assert session.revision == revision + 2
    before = contents(store.root)
    session.add_usage()
    session.set_usage()
    assert contents(store.root) == before


def test_counters_may_have_any_name_an_argument_may_have(store: SessionStore) -> None:
    session = store.create("s")
    names = ["self", "engine", "counters", "a b", "\u00e9", "x" * 512]
    session.add_usage(**dict.fromkeys(names, 1))
    session.set_usage(self=5)
    assert session.usage == dict.fromkeys(names, 1) | {"self": 5}


def test_usage_moves_neither_the_history_nor_its_age(store: SessionStore) -> None:
    session = fill(store.create("s"), "x")
    at = session.updated_at
    session.add_usage(x=1)
    session.set_usage(x=2)
    assert session.updated_at == at
    assert texts(session) == ["x"]


# Bad input

NO_NUMBERS: list[Any] = ["1", None, True, False, [], {}, 1j, float("nan"), float("inf"), float("-inf"), b"1", object()]
TOO_LARGE: list[Any] = [2**64, -(2**63) - 1, 10**400, -(10**400)]


@pytest.mark.parametrize("item", [*NO_NUMBERS, *TOO_LARGE], ids=lambda item: ascii(item)[:10])
def test_a_counter_that_is_not_a_number_is_refused_with_all_that_came_with_it(store: SessionStore, item: Any) -> None:
    session = store.create("s")
    session.add_usage(good=1)
    for call in (session.add_usage, session.set_usage):
        assert_refused(store, lambda call=call: call(good=1, bad=item))
        assert_refused(store, lambda call=call: call(bad=item, good=1))
    assert session.usage == {"good": 1}


@pytest.mark.parametrize("name", ["", "x" * 513, "\ud800"], ids=ascii)
def test_what_is_no_name_of_a_counter_is_refused(store: SessionStore, name: str) -> None:
    session = store.create("s")
    assert_refused(store, lambda: session.add_usage(**{name: 1}))
    assert_refused(store, lambda: session.set_usage(**{name: 1}))
    assert session.usage == {}


@pytest.mark.parametrize("counters", [{}, {"x": 1}], ids=repr)
def test_counting_on_a_missing_session_raises_and_leaves_no_file(open_store: OpenStore, counters: Any) -> None:
    """behaviours 13"""
    store = open_store()
    session = store.create("s")
    open_store().delete("s")
    before = contents(store.root)
    for call in (session.add_usage, session.set_usage):
        with pytest.raises(SessionNotFound):
            call(**counters)
    assert contents(store.root) == before
    assert "s" not in store


def test_a_store_that_only_reads_shows_usage_and_counts_nothing(open_store: OpenStore) -> None:
    open_store().create("s").add_usage(x=1)
    reader = open_store(read_only=True).get("s")
    for call in (reader.add_usage, reader.set_usage):
        with pytest.raises(ReadOnlyStore):
            call(x=1)
        with pytest.raises(ReadOnlyStore):
            call()
    assert reader.usage == {"x": 1}


# Forks, and what else happens


def test_a_fork_does_not_count_what_it_inherited(open_store: OpenStore) -> None:
    """behaviours 30"""
    store = open_store()
    parent = fill(store.create("s"), "1", "2")
    parent.add_usage(tokens=100, cost_usd=0.5)
    fork = parent.fork("f")
    assert [message.id for message in fork.messages] == [message.id for message in parent.messages]
    assert fork.usage == {}
    fork.add_usage(tokens=1)
    parent.add_usage(tokens=10)
    twig = fork.fork("t")
    assert (parent.usage["tokens"], fork.usage, twig.usage) == (110, {"tokens": 1}, {})
    cold = open_store()
    everyone = [cold.get(name).usage.get("tokens", 0) for name in ("s", "f", "t")]
    assert everyone == [110, 1, 0]


def test_deleting_and_purging_the_parent_leaves_a_fork_whole_with_its_own_usage(open_store: OpenStore) -> None:
    """behaviours 30"""
    store = open_store()
    parent = fill(store.create("s"), "1", "2")
    parent.add_usage(tokens=100)
    fork = fill(parent.fork("f"), "3")
    fork.add_usage(tokens=5, cost_usd=0.001)
    fork.set_ref("run", "r")
    ids = [message.id for message in fork.messages]
    store.delete("s", children="orphan")
    store.purge()
    for view in (fork, open_store().get("f")):
        assert [message.id for message in view.messages] == ids
        assert texts(view) == ["1", "2", "3"]
        assert view.usage == {"tokens": 5, "cost_usd": 0.001}
        assert view.refs == {"run": "r"}


LIVES: dict[str, Callable[[SessionStore, Any], Any]] = {
    "reset": lambda _, s: s.reset(),
    "revert": lambda _, s: s.revert(1),
    "delete and restore": lambda store, _: (store.delete("s"), store.restore("s")),
    "compact to the present": lambda _, s: s.compact(keep="present"),
    "compact to the snapshots": lambda _, s: (s.snapshot("n"), fill(s, "3"), s.compact(keep="snapshots")),
    "compact all": lambda store, _: store.compact(keep="present"),
    "compact twice": lambda _, s: (s.compact(keep="present"), s.set_title("t"), s.compact(keep="present")),
}


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("name", LIVES)
def test_usage_stays_exact_whatever_happens_to_the_history(open_store: OpenStore, name: str, cold: bool) -> None:
    """behaviours 4"""
    store = open_store()
    session = fill(store.create("s"), "1", "2")
    for number in (1e16, 0.1, 0.2):
        session.add_usage(x=number, calls=1)
    session.set_usage(calls=7)
    wanted = {"x": session.usage["x"], "calls": 7}
    if cold:
        store._engine.cache.clear()
    LIVES[name](store, session)
    assert session.usage == wanted
    assert usages(open_store) == [wanted, wanted]
    # What was rounded away when it was read is still in the sum.
    open_store().get("s").add_usage(x=-1e16)
    assert session.usage == {"x": 0.3, "calls": 7}
    assert usages(open_store)[1] == {"x": 0.3, "calls": 7}


def test_the_past_of_a_session_shows_the_usage_of_its_time(store: SessionStore) -> None:
    session = store.create("s")
    session.add_usage(x=1)
    revision = session.revision
    session.add_usage(x=1)
    assert (session.at(revision).usage, session.usage) == ({"x": 1}, {"x": 2})


def test_counting_over_a_stale_cache_loses_nothing(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    session.add_usage(x=1)
    assert session.usage == {"x": 1}
    theirs = fill(b.get("s"), "B's")
    theirs.add_usage(x=10, y=0.1)
    session.add_usage(x=100)
    session.set_usage(z=3)
    for view in (session, theirs, open_store().get("s")):
        assert view.usage == {"x": 111, "y": 0.1, "z": 3}
        assert texts(view) == ["first", "B's"]


def test_what_a_caller_does_to_the_usage_he_got_shows_up_nowhere(store: SessionStore) -> None:
    """behaviours 24"""
    session = store.create("s")
    session.add_usage(x=1)
    session.usage["x"] = 5
    assert session.usage == {"x": 1}
