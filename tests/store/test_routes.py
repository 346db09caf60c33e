"""Routes: a key leads to the session it is bound to now, is given to another, forgotten, and heals itself."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from hierstore import (
    InvalidSessionId,
    LockTimeout,
    ReadOnlyStore,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    StoreClosed,
)
from hierstore.disk import files
from hierstore.naming import stripe_of
from tests.store.refusing import assert_refused, order_of_writes
from tests.support import contents, fill, lines_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenStore = Callable[..., SessionStore]

KEYS = [
    "telegram:chat:42",
    "k",
    " ",
    "../../etc/passwd",
    "a/b",
    "A/B",
    "a_b",
    "\u00e9",
    "e\u0301",
    "\0",
    "\n",
    "x" * 4096,
    "\U0001f600",
]


def leads(store: SessionStore, key: str) -> str | None:
    found = store.resolve(key)
    return None if found is None else found.id


# Binding and resolving


def test_a_key_leads_to_the_session_it_was_bound_to_in_every_store(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "hello")
    assert store.resolve("k") is None
    store.bind("k", session)
    store.bind("by id", "s")
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.resolve("k") == view.resolve("by id") == view.get("s")
        assert texts(view.resolve("k")) == ["hello"]
        assert view.resolve("nobody's") is None
        assert view.get("s").routes == ("k", "by id")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key)[:12])
def test_any_text_is_a_key_and_never_a_path(open_store: OpenStore, key: str) -> None:
    store = open_store()
    for other in KEYS:
        store.bind(other, store.create())
    session = store.create("s")
    store.bind(key, session)
    assert leads(open_store(), key) == "s"
    assert session.routes == (key,)
    assert sum(leads(store, other) == "s" for other in KEYS) == 1
    assert {path.name for path in store.root.parent.iterdir()} == {"store"}


def test_a_key_given_to_another_session_leads_there_and_the_earlier_one_stays_and_knows(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    first = fill(store.create("first"), "1")
    second, third = store.create("second"), store.create("third")
    store.bind("k", first)
    assert first.succeeded_by is None
    other.bind("k", "second")
    assert (leads(store, "k"), first.routes, second.routes) == ("second", (), ("k",))
    assert (first.succeeded_by, second.succeeded_by) == (second, None)
    store.bind("k", third)
    for view in (store, other, open_store(), open_store(read_only=True)):
        assert view.get("first").succeeded_by == second
        assert view.get("second").succeeded_by == third
        assert view.get("third").succeeded_by is None
        assert texts(view.get("first")) == ["1"]


def test_a_key_that_comes_back_makes_its_first_session_nobodys_predecessor(store: SessionStore) -> None:
    first, second = store.create("first"), store.create("second")
    for session in (first, second, first):
        store.bind("k", session)
    assert (first.succeeded_by, second.succeeded_by) == (None, first)
    assert (first.routes, second.routes, leads(store, "k")) == (("k",), (), "first")


def test_of_several_keys_given_away_the_latest_tells_the_successor(store: SessionStore, monkeypatch) -> None:
    seconds = iter(range(1000, 2000))
    monkeypatch.setattr("hierstore.clock.now", lambda: float(next(seconds)))
    old, new, newer = store.create("old"), store.create("new"), store.create("newer")
    for key in ("a", "b", "c"):
        store.bind(key, old)
    store.bind("b", newer)
    store.bind("a", new)
    assert old.succeeded_by == new
    assert old.routes == ("c",)
    store.bind("c", newer)
    assert old.succeeded_by == newer


def test_binding_what_is_bound_writes_nothing(store: SessionStore) -> None:
    session = store.create("s")
    store.bind("k", session)
    before = contents(store.root)
    store.bind("k", session)
    store.bind("k", "s")
    assert contents(store.root) == before


def test_an_unbound_key_leads_nowhere_and_can_be_bound_again(open_store: OpenStore) -> None:
    store = open_store()
    session, other = store.create("s"), store.create("o")
    store.bind("k", session)
    assert open_store().unbind("k") is True
    before = contents(store.root)
    assert store.unbind("k") is False
    assert store.unbind("never") is False
    assert contents(store.root) == before
    assert (leads(store, "k"), session.routes, session.succeeded_by) == (None, (), None)
    store.bind("k", other)
    assert (leads(store, "k"), session.succeeded_by) == ("o", other)
    store.bind("k", session)
    assert (leads(open_store(), "k"), session.routes) == ("s", ("k",))


def test_a_binding_needs_a_session(open_store: OpenStore) -> None:
    """behaviours 13"""
    store = open_store()
    session = store.create("s")
    open_store().delete("s")
    before = contents(store.root)
    for target in (session, "s", "never"):
        with pytest.raises(SessionNotFound):
            store.bind("k", target)
    with pytest.raises(InvalidSessionId):
        store.bind("k", 5)  # type: ignore[arg-type]
    assert contents(store.root) == before
    assert store.resolve("k") is None


def test_a_binding_counts_only_if_session_and_registry_both_say_so(store: SessionStore) -> None:
    store.bind("k", store.create("s"))
    store.bind("k", store.create("t"))
    # t still notes the key when the registry gives it back to s; s was never told of "other".
    assert [line["events"][0]["type"] for line in lines_of(store, "t")[2:]] == ["bound"]
    store.delete("s")
    store.bind("k", "t")
    store.purge()
    store.create("s")
    assert store.get("s").routes == ()
    assert leads(store, "k") == "t"


# Route


def test_route_makes_a_session_once_with_all_that_was_asked_for(open_store: OpenStore) -> None:
    store = open_store()
    parent = store.create("p")
    asked = {"title": "T", "parent": parent, "kind": "chat", "metadata": {"m": 1}, "labels": ["l"]}
    made = store.route("k", session_id="s", **asked)
    assert (made.id, made.title, made.parent_id, made.kind, made.metadata, made.labels) == (
        "s", "T", "p", "chat", {"m": 1}, ("l",)
    )  # fmt: skip
    assert [child.id for child in parent.children] == ["s"]
    fill(made, "hello")
    before = contents(store.root)
    again = open_store().route("k", session_id="other", title="no", parent="p", metadata={"n": 2}, labels=["no"])
    assert again == made == store.route("k") == store.resolve("k")
    assert (again.title, again.metadata, texts(again)) == ("T", {"m": 1}, ["hello"])
    assert contents(store.root) == before
    assert made.routes == ("k",)


def test_route_goes_to_what_the_key_was_bound_to(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    store.bind("k", session)
    assert open_store().route("k") == session
    store.bind("k", store.create("t"))
    assert open_store().route("k").id == "t"
    store.unbind("k")
    assert store.route("k").id not in ("s", "t")


def test_each_key_gets_a_session_of_its_own(store: SessionStore) -> None:
    made = {key: store.route(key).id for key in KEYS}
    assert len(set(made.values())) == len(KEYS)
    assert {key: store.route(key).id for key in KEYS} == made


def test_route_with_an_id_that_is_taken_raises_and_changes_nothing(store: SessionStore) -> None:
    store.create("s", title="mine")
    before = contents(store.root)
    with pytest.raises(SessionExists):
        store.route("k", session_id="s", title="yours")
    assert contents(store.root) == before
    assert store.resolve("k") is None


def test_route_below_a_parent_that_is_not_there_raises_and_changes_nothing(store: SessionStore) -> None:
    store.create("s")
    before = contents(store.root)
    with pytest.raises(SessionNotFound):
        store.route("k", parent="nobody")
    assert contents(store.root) == before
    assert store.resolve("k") is None


@pytest.mark.parametrize("purged", [False, True])
def test_a_key_whose_session_was_deleted_heals_itself(open_store: OpenStore, purged: bool) -> None:
    store = open_store()
    first = fill(store.route("k", title="first"), "1")
    open_store().delete(first)
    if purged:
        open_store().purge()
    assert store.resolve("k") is None
    second = store.route("k", title="second")
    assert second.id != first.id
    assert (second.title, list(second.messages)) == ("second", [])
    assert open_store().route("k") == store.resolve("k") == second
    if not purged:
        back = store.restore(first.id)
        assert store.resolve("k") == second
        assert (back.routes, back.succeeded_by, second.succeeded_by) == ((), second, None)


def test_a_key_leads_again_to_a_session_that_was_restored_before_it_healed(open_store: OpenStore) -> None:
    store = open_store()
    session = store.route("k")
    store.delete(session)
    assert store.resolve("k") is None
    store.restore(session.id)
    assert open_store().route("k") == session
    assert session.routes == ("k",)


def test_a_key_never_leads_to_another_session_that_took_the_id(open_store: OpenStore) -> None:
    store = open_store()
    store.route("k", session_id="s")
    store.delete("s")
    store.purge()
    new = store.create("s", title="new")
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.resolve("k") is None
        assert view.get("s").routes == ()
    assert new.succeeded_by is None
    healed = store.route("k")
    assert healed.id != "s"
    assert (new.title, new.routes) == ("new", ())
    store.bind("k", new)
    assert leads(open_store(), "k") == "s"


# The reset policy


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that stands still; its time is the list's one item."""
    now = [time.time()]
    monkeypatch.setattr("hierstore.clock.now", lambda: now[0])
    return now


def test_without_a_policy_a_key_keeps_its_session_for_ever(store: SessionStore, clock: list[float]) -> None:
    session = store.route("k")
    clock[0] += 100 * 365 * 86400
    assert store.route("k") == session
    assert store.route("k", reset_idle_s=None, reset_hour=None) == session


@pytest.mark.parametrize("idle", [0.5, 60, 86400, 10**400])
def test_a_session_idle_for_longer_gives_way_to_a_new_one(store: SessionStore, clock: list[float], idle: float) -> None:
    first = fill(store.route("k", reset_idle_s=idle), "1")
    if idle > 1e300:
        clock[0] += 1e12
        assert store.route("k", reset_idle_s=idle) == first
        return
    clock[0] += idle
    assert store.route("k", reset_idle_s=idle) == first
    clock[0] += 0.25
    assert store.resolve("k") == first
    second = store.route("k", reset_idle_s=idle, title="second")
    assert second != first
    assert (second.title, len(second.messages)) == ("second", 0)
    assert first.succeeded_by == second
    assert store.resolve("k") == store.route("k", reset_idle_s=idle) == store.route("k") == second
    assert texts(first) == ["1"]


def test_age_counts_from_the_last_change_of_the_history(store: SessionStore, clock: list[float]) -> None:
    """behaviours 14"""
    session = store.route("k", reset_idle_s=60)
    clock[0] += 50
    fill(session, "1")
    clock[0] += 50
    assert store.route("k", reset_idle_s=60) == session
    session.set_title("T")
    session.set_ref("r", 1)
    session.add_usage(x=1)
    session.unshare(session.share())
    store.bind("other", session)
    session.update(labels=["l"], pinned=True)
    session.start_turn()
    clock[0] += 11
    assert store.route("k", reset_idle_s=60) != session


def test_a_clock_that_steps_back_resets_nothing(store: SessionStore, clock: list[float]) -> None:
    """behaviours 33"""
    session = store.route("k")
    clock[0] -= 10 * 86400
    assert store.route("k", reset_idle_s=1) == session


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def zone(request, monkeypatch) -> Iterator[ZoneInfo]:
    """This machine's local time is that of the zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield ZoneInfo(request.param)
    monkeypatch.undo()
    time.tzset()


def routed_at(store: SessionStore, clock: list[float], when: datetime, hour: int) -> Session:
    clock[0] = when.timestamp()
    return store.route("k", reset_hour=hour)


def test_at_the_hour_of_the_day_a_key_gets_a_new_session(
    store: SessionStore, clock: list[float], zone: ZoneInfo
) -> None:
    evening = datetime(2026, 3, 10, 23, 30, tzinfo=zone)
    first = routed_at(store, clock, evening, 4)
    night = evening + timedelta(hours=4, minutes=29)
    assert routed_at(store, clock, night, 4) == first, "at 3:59 today's hour has not come yet"
    clock[0] += 59.5
    assert store.route("k", reset_hour=4) == first
    second = routed_at(store, clock, night + timedelta(minutes=1), 4)
    assert second != first
    assert first.succeeded_by == second
    assert routed_at(store, clock, night + timedelta(hours=19), 4) == second
    third = routed_at(store, clock, night + timedelta(days=1, minutes=1), 4)
    assert third not in (first, second)
    assert len(store.tree()) == 3


def test_a_session_of_yesterday_after_the_hour_lives_until_the_hour_today(
    store: SessionStore, clock: list[float], zone: ZoneInfo
) -> None:
    made = datetime(2026, 3, 10, 4, 0, 1, tzinfo=zone)
    first = routed_at(store, clock, made, 4)
    assert routed_at(store, clock, datetime(2026, 3, 11, 3, 59, 59, tzinfo=zone), 4) == first
    assert routed_at(store, clock, datetime(2026, 3, 11, 4, 0, 0, tzinfo=zone), 4) != first


@pytest.mark.parametrize(
    "day", [datetime(2026, 1, 1), datetime(2026, 3, 1), datetime(2028, 3, 1), datetime(2026, 5, 1)]
)
def test_before_the_hour_yesterdays_counts_also_over_the_end_of_a_month_or_year(
    store: SessionStore, clock: list[float], zone: ZoneInfo, day: datetime
) -> None:
    morning = day.replace(hour=1, tzinfo=zone)
    yesterday = morning - timedelta(days=1)
    first = routed_at(store, clock, yesterday.replace(hour=21), 22)
    second = routed_at(store, clock, morning, 22)
    assert second != first, "yesterday's hour lies between"
    assert routed_at(store, clock, morning.replace(hour=21), 22) == second


@pytest.mark.parametrize("hour", [0, 23])
def test_the_first_and_the_last_hour_are_hours(
    store: SessionStore, clock: list[float], zone: ZoneInfo, hour: int
) -> None:
    moment = datetime(2026, 6, 15, hour, tzinfo=zone)
    first = routed_at(store, clock, moment - timedelta(seconds=1), hour)
    assert routed_at(store, clock, moment, hour) != first


@pytest.fixture
def berlin(monkeypatch) -> Iterator[ZoneInfo]:
    """This machine's local time is Berlin's, whose clocks change on 29 March and 25 October 2026."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield ZoneInfo("Europe/Berlin")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("month", "day"), [(3, 29), (10, 25)])
def test_the_hour_is_that_of_the_wall_on_days_when_the_clocks_change(
    store: SessionStore, clock: list[float], berlin: ZoneInfo, month: int, day: int
) -> None:
    first = routed_at(store, clock, datetime(2026, month, day - 1, 12, tzinfo=berlin), 6)
    assert routed_at(store, clock, datetime(2026, month, day, 5, 59, 59, tzinfo=berlin), 6) == first
    second = routed_at(store, clock, datetime(2026, month, day, 6, tzinfo=berlin), 6)
    assert second != first
    assert routed_at(store, clock, datetime(2026, month, day + 1, 5, 59, 59, tzinfo=berlin), 6) == second
    assert routed_at(store, clock, datetime(2026, month, day + 1, 6, tzinfo=berlin), 6) != second


@pytest.mark.parametrize(
    ("made", "asked", "hour", "is_new"),
    [
        ((3, 28, 5, 30), (3, 29, 5, 30), 6, True),  # yesterday's 6:00 was 23 hours before today's
        ((10, 24, 6, 30), (10, 25, 5, 30), 6, False),  # yesterday's 6:00 was 25 hours before today's
        ((3, 29, 0, 30), (3, 29, 12, 0), 1, True),  # 1:00 was still winter, now it is summer
        ((10, 25, 1, 30), (10, 25, 12, 0), 1, False),  # 1:00 was still summer, now it is winter
    ],
)
def test_the_hour_that_passed_last_is_found_across_a_change_of_the_clocks(
    store: SessionStore, clock: list[float], berlin: ZoneInfo, made: Any, asked: Any, hour: int, is_new: bool
) -> None:
    first = routed_at(store, clock, datetime(2026, *made, tzinfo=berlin), hour)
    assert (routed_at(store, clock, datetime(2026, *asked, tzinfo=berlin), hour) != first) == is_new


def test_the_hour_follows_the_machine_into_another_time_zone(
    store: SessionStore, clock: list[float], monkeypatch
) -> None:
    try:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        first = routed_at(store, clock, datetime(2026, 6, 15, 1, tzinfo=ZoneInfo("UTC")), 4)
        clock[0] += 2 * 3600
        assert store.route("k", reset_hour=4) == first
        os.environ["TZ"] = "Europe/Berlin"  # 3:00 UTC is 5:00 there
        time.tzset()
        assert store.route("k", reset_hour=4) != first
    finally:
        monkeypatch.undo()
        time.tzset()


def test_of_two_policies_either_is_enough(store: SessionStore, clock: list[float], zone: ZoneInfo) -> None:
    first = routed_at(store, clock, datetime(2026, 6, 15, 12, tzinfo=zone), 4)
    clock[0] += 100
    assert store.route("k", reset_idle_s=200, reset_hour=4) == first
    second = store.route("k", reset_idle_s=50, reset_hour=4)
    assert second != first
    clock[0] += 86400
    assert store.route("k", reset_idle_s=10**9, reset_hour=4) != second


def test_a_policy_changes_nothing_where_the_new_session_cannot_be_made(store: SessionStore, clock: list[float]) -> None:
    first = store.route("k", session_id="s")
    clock[0] += 100
    before = contents(store.root)
    with pytest.raises(SessionExists):
        store.route("k", session_id="s", reset_idle_s=1)
    with pytest.raises(SessionNotFound):
        store.route("k", parent="nobody", reset_idle_s=1)
    assert contents(store.root) == before
    assert store.resolve("k") == first


# Bad input

BAD_KEYS: list[Any] = ["", "x" * 4097, None, 5, b"k", ["k"], "\ud800"]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: ascii(key)[:12])
def test_what_is_no_key_is_refused(store: SessionStore, key: Any) -> None:
    session = store.create("s")
    for call in (
        lambda: store.bind(key, session), lambda: store.unbind(key), lambda: store.resolve(key),
        lambda: store.route(key), lambda: store.route(key, session_id="new"),
    ):  # fmt: skip
        assert_refused(store, call)
    assert [node.id for node in store.tree()] == ["s"]


BAD_POLICIES: list[dict[str, Any]] = [
    {"reset_idle_s": 0}, {"reset_idle_s": -1}, {"reset_idle_s": float("nan")}, {"reset_idle_s": "60"},
    {"reset_idle_s": True}, {"reset_hour": -1}, {"reset_hour": 24}, {"reset_hour": 4.0}, {"reset_hour": "4"},
    {"reset_hour": True},
]  # fmt: skip


@pytest.mark.parametrize("policy", BAD_POLICIES, ids=repr)
@pytest.mark.parametrize("bound", [False, True])
def test_what_is_no_policy_is_refused_bound_or_not(store: SessionStore, policy: dict[str, Any], bound: bool) -> None:
    if bound:
        store.route("k")
    assert_refused(store, lambda: store.route("k", **policy), next(iter(policy)))
    assert (store.resolve("k") is not None) == bound


@pytest.mark.parametrize(
    "asked", [{"title": 5}, {"labels": "l"}, {"metadata": {1: 2}}, {"metadata": [1]}, {"kind": b"k"}], ids=repr
)
def test_route_refuses_what_create_refuses(store: SessionStore, asked: dict[str, Any]) -> None:
    assert_refused(store, lambda: store.route("k", **asked))
    for bad_id in ("", "x" * 513, 5):
        with pytest.raises(InvalidSessionId):
            store.route("k", session_id=bad_id)
    assert store.tree() == ()
    assert store.resolve("k") is None


# Stale caches, cold caches, readers, compaction, crashes


def test_routes_over_a_stale_cache_lose_nothing(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    a.bind("k", session)
    assert (texts(session), leads(a, "k"), session.routes) == (["first"], "s", ("k",))
    fill(b.get("s"), "B's")
    b.bind("b", "s")
    a.bind("a", session)
    a.route("a")
    a.unbind("k")
    assert a.route("new", parent=session).id
    for view in (session, b.get("s"), open_store().get("s")):
        assert texts(view) == ["first", "B's"]
        assert view.routes == ("b", "a")


def test_keys_of_one_part_of_the_registry_do_not_meet(open_store: OpenStore) -> None:
    store = open_store()
    part = stripe_of("key 0")
    keys = [key for key in (f"key {number}" for number in range(5000)) if stripe_of(key) == part][:8]
    ids = [store.route(key).id for key in keys]
    store.unbind(keys[0])
    assert [leads(open_store(), key) for key in keys] == [None, *ids[1:]]
    assert [path.name for path in (store.root / "registry").iterdir()] == [f"{part:02x}.jsonl"]


def test_route_works_where_key_and_session_share_a_lock(open_store: OpenStore) -> None:
    store = open_store()
    for number in range(600):
        session_id = f"s{number}"
        if stripe_of(session_id) == stripe_of("k"):
            break
    assert stripe_of(session_id) == stripe_of("k")
    assert store.route("k", session_id=session_id).id == session_id
    store.bind("k", store.create())
    store.bind("k", session_id)
    assert leads(open_store(), "k") == session_id


def test_a_store_that_only_reads_resolves_and_routes_what_is_bound_and_binds_nothing(open_store: OpenStore) -> None:
    store = open_store()
    session = store.route("k")
    reader = open_store(read_only=True)
    before = contents(store.root)
    assert reader.resolve("k") == reader.route("k") == session
    assert reader.resolve("other") is None
    for call in (
        lambda: reader.bind("k", session.id), lambda: reader.bind("other", session.id), lambda: reader.unbind("k"),
        lambda: reader.unbind("other"), lambda: reader.route("other"),
    ):  # fmt: skip
        with pytest.raises(ReadOnlyStore):
            call()
    assert contents(store.root) == before
    store.bind("late", session)
    assert reader.resolve("late") == session


@pytest.mark.parametrize("bound", [True, False])
def test_a_closed_store_resolves_routes_and_binds_nothing(open_store: OpenStore, bound: bool) -> None:
    store = open_store()
    session = store.create("s")
    if bound:
        store.bind("k", session)
    store.close()
    for call in (
        lambda: store.resolve("k"), lambda: store.route("k"), lambda: store.bind("k", "s"), lambda: store.unbind("k"),
        lambda: session.routes, lambda: session.succeeded_by,
    ):  # fmt: skip
        with pytest.raises(StoreClosed):
            call()


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("keep", ["present", "snapshots"])
def test_routes_survive_compaction(open_store: OpenStore, keep: Any, cold: bool) -> None:
    store = open_store()
    first = fill(store.route("k"), "1", "2")
    store.bind("also", first)
    second = store.create("second")
    store.bind("k", second)
    store.bind("k", first)
    store.bind("k", second)
    for session in (first, second):
        session.snapshot("n")
        session.revert(1)
        if cold:
            store._engine.cache.clear()
        session.compact(keep=keep)
    for view in (store, open_store(), open_store(read_only=True)):
        assert (leads(view, "k"), leads(view, "also")) == ("second", first.id)
        assert (view.get(first.id).routes, view.get("second").routes) == (("also",), ("k",))
        assert view.get(first.id).succeeded_by == second
    store.bind("k", first)
    assert leads(open_store(), "k") == first.id


def test_a_reset_keeps_the_routes(open_store: OpenStore) -> None:
    """behaviours 4"""
    store = open_store()
    session = fill(store.route("k"), "1")
    open_store().get(session.id).reset()
    assert store.resolve("k") == session
    assert session.routes == ("k",)


def test_a_fork_and_a_child_do_not_take_the_keys(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.route("k"), "1")
    fork, child = session.fork(), session.spawn()
    assert fork.routes == child.routes == ()
    assert fork.succeeded_by is child.succeeded_by is None
    store.delete(session, children="orphan")
    assert open_store().resolve("k") is None


@pytest.mark.parametrize("locked", ["the parent", "the new session", "the key"])
def test_route_waits_for_all_that_it_writes_to_and_writes_nothing_without(open_store: OpenStore, locked: str) -> None:
    store, other = open_store(lock_timeout_s=0.05), open_store()
    parent = store.create("p")
    assert len({stripe_of("p"), stripe_of("new"), stripe_of("k")}) == 3
    engine = other._engine
    held = {
        "the parent": engine.entry("p"),
        "the new session": engine.entry("new"),
        "the key": engine.registry(stripe_of("k")),
    }
    before = contents(store.root)
    with engine.holding([held[locked]]), pytest.raises(LockTimeout):
        store.route("k", session_id="new", parent="p")
    assert contents(store.root) == before
    assert (store.resolve("k"), parent.children) == (None, ())
    assert store.route("k", session_id="new", parent="p").id == "new"


def test_in_power_mode_a_session_notes_its_key_on_the_medium_before_the_key_leads_there(open_store: OpenStore) -> None:
    store = open_store(durability="power")
    session, other = store.create("s"), store.create("o")
    store.bind("k", other)
    assert order_of_writes(lambda: store.bind("k", session)) == [
        "write sessions", "sync sessions", "write registry", "sync registry"
    ]  # fmt: skip


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(1, 17))
@pytest.mark.parametrize("case", ["new", "policy", "healing", "bind", "rebind"])
def test_a_route_that_a_crash_cuts_off_leads_to_the_old_session_or_the_new_or_nowhere(
    open_store: OpenStore, monkeypatch, clock: list[float], case: str, step: int
) -> None:
    store = open_store()
    old = None
    if case not in ("new", "bind"):
        old = store.route("k", session_id="old")
    if case == "healing":
        store.delete("old")
    store.create("target")
    clock[0] += 100
    done = 0

    def count(*args: Any, real: Any = None, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done == step:
            raise Crash
        return real(*args, **options)

    with monkeypatch.context() as patch:
        for name in ("write", "open_file", "link", "unlink", "utime", "mkdir"):
            patch.setattr(files, name, partial(count, real=getattr(files, name)))
        crashed = True
        try:
            store.bind("k", "target") if "bind" in case else store.route("k", session_id="new", reset_idle_s=1)
            crashed = False
        except Crash:
            pass
    fresh = open_store()
    found = leads(fresh, "k")
    target = "target" if "bind" in case else "new"
    if not crashed:
        assert found == target
    elif old is None or case == "healing":
        assert found in (None, target)
    else:
        assert found in ("old", target)
    if case in ("new", "healing"):
        assert ("new" in fresh) == (found == "new"), "a session that nobody knows of was left"
    again = fresh.route("k")
    assert again == fresh.resolve("k")
    assert found is None or again.id == found
    assert fresh.get(again.id).routes == ("k",)
