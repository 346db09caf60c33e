"""Pruning: what is no longer needed goes to the trash, and what somebody may still need stays."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import (
    HierstoreError,
    InvalidRecord,
    ReadOnlyStore,
    Session,
    SessionNotFound,
    SessionStore,
    StoreClosed,
    clock,
    retention,
    trash,
)
from hierstore.disk import files
from tests.support import LogBuilder, contents, fill, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hierstore.reports import PruneReport

    OpenStore = Callable[..., SessionStore]
    DaysAgo = Callable[[float], None]

NOW = 1_800_000_000.0
DAY_S = 86400.0


@pytest.fixture(autouse=True)
def days_ago(monkeypatch) -> DaysAgo:
    """Sets the clock so many days back, and has ids follow it."""
    monkeypatch.setattr(clock, "_prefix", "")

    def go(days: float) -> None:
        monkeypatch.setattr(clock, "_last_ms", 0)
        monkeypatch.setattr(clock, "now", lambda: NOW - days * DAY_S)

    go(0)
    return go


@pytest.fixture
def family(store: SessionStore, days_ago: DaysAgo) -> SessionStore:
    """a > (b > (d, e), c) and f, all of them thirty days old; each says its own id."""
    days_ago(30)
    for session_id, parent in (("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", None)):
        fill(store.create(session_id, parent=parent), f"I am {session_id}")
    days_ago(0)
    return store


@pytest.fixture
def row(store: SessionStore, days_ago: DaysAgo) -> SessionStore:
    """Roots named s1 to s9, so many days old."""
    for days in range(9, 0, -1):
        days_ago(days)
        fill(store.create(f"s{days}"), f"{days} days")
    days_ago(0)
    return store


def ids(store: SessionStore) -> set[str]:
    found, stack = set(), list(store.tree())
    while stack:
        node = stack.pop()
        found.add(node.id)
        stack.extend(node.children)
    return found


def trash_ids(store: SessionStore) -> list[str]:
    return sorted(item.id for item in store.trash())


def failed(report: PruneReport) -> list[str]:
    return [error.session_id for error in report.errors]


def check_report(store: SessionStore, report: PruneReport, pruned: Iterable[str], kept: Iterable[str]) -> None:
    """What was pruned is in the trash, what was kept is there, and the report says so."""
    assert sorted(report.pruned) == trash_ids(store) == sorted(pruned)
    assert list(report.kept) == sorted(kept)
    assert ids(store) == set(report.kept)
    assert not report.dry_run


def footprint(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every name below a folder, ``locks/`` too, with its permissions, size, modification time and bytes."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, data)
    return found


# Age


def test_age_counts_from_the_last_change_of_the_history(store: SessionStore, days_ago: DaysAgo) -> None:
    """behaviours 14"""
    days_ago(30)
    for session_id in ("untouched", "written", "reset"):
        store.create(session_id)
    days_ago(20)
    fill(store.get("written"), "x")
    store.get("reset").reset()
    days_ago(0)
    assert store.prune(max_age_days=31).pruned == ()
    assert store.prune(max_age_days=25).pruned == ("untouched",)
    report = store.prune(max_age_days=19.999)
    assert sorted(report.pruned) == ["reset", "written"]
    assert (report.kept, report.errors) == ((), ())


HOUSEKEEPING: dict[str, Callable[[SessionStore, Session], object]] = {
    "title": lambda _, s: s.set_title("new"),
    "labels": lambda _, s: s.update(labels=["new"], metadata={"k": 1}, derived={"k": 1}),
    "flags": lambda _, s: (s.update(pinned=True), s.update(pinned=False)),
    "refs": lambda _, s: s.set_ref("there", "1"),
    "usage": lambda _, s: s.add_usage(tokens=1),
    "shares": lambda _, s: (s.share(), s.unshare()),
    "routes": lambda store, s: store.bind("key", s),
    "snapshot": lambda _, s: s.snapshot("now"),
    "move": lambda store, s: s.move(store.create("other", title="new")),
    "a child that went": lambda store, s: (s.spawn("child"), store.delete("child"), store.purge()),
    "compaction": lambda _, s: (s.set_title("1"), s.set_title("2"), s.compact(keep="present")),
    "delete and restore": lambda store, s: (store.delete(s), store.restore(s.id)),
}


@pytest.mark.parametrize("name", HOUSEKEEPING)
def test_housekeeping_makes_no_session_younger(store: SessionStore, days_ago: DaysAgo, name: str) -> None:
    """behaviours 14"""
    days_ago(30)
    session = fill(store.create("s"), "x")
    before = session.updated_at
    days_ago(0)
    HOUSEKEEPING[name](store, session)
    assert session.updated_at == before
    assert store.prune(max_age_days=29).pruned == ("s",)


@pytest.mark.parametrize("days", [None, 0, 0.0, -1, -0.5, -math.inf, math.inf, 10**400, -(10**400), 1e300])
def test_no_age_or_one_of_zero_and_less_prunes_nothing(family: SessionStore, days: Any) -> None:
    """behaviours 15"""
    before = footprint(family.root)
    report = family.prune(max_age_days=days)
    assert (report.pruned, report.errors) == ((), ())
    assert report.kept == ("a", "b", "c", "d", "e", "f")
    assert footprint(family.root) == before


def test_a_prune_without_limits_prunes_nothing(family: SessionStore) -> None:
    """behaviours 15"""
    assert family.prune().pruned == ()
    assert len(ids(family)) == 6


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *[("max_age_days", value) for value in (True, False, "30", math.nan, b"1", [], {}, 1j, object())],
        *[
            (where, value)
            for where in ("max_sessions", "max_bytes")
            for value in (True, False, "30", math.nan, math.inf, -1, 1.5, 2.0, b"1", [], -(10**400))
        ],
    ],
)
def test_what_is_no_limit_is_refused_before_anything_is_done(family: SessionStore, where: str, value: Any) -> None:
    before = contents(family.root)
    with pytest.raises(InvalidRecord) as caught:
        family.prune(**{"max_age_days": 1, where: value})
    assert caught.value.where == where
    assert str(caught.value).count(".") <= 2
    assert contents(family.root) == before


# Who is kept


FLAGS = ["suspended", "pinned", "archived"]


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("limit", [{"max_age_days": 1}, {"max_sessions": 0}, {"max_bytes": 0}], ids=str)
def test_suspended_pinned_and_archived_are_kept_with_every_ancestor(
    family: SessionStore, flag: str, limit: dict[str, Any]
) -> None:
    """behaviours 16"""
    family.get("d").update(**{flag: True})
    report = family.prune(**limit)
    check_report(family, report, ["c", "e", "f"], ["a", "b", "d"])
    family.get("d").update(**{flag: False})
    assert family.prune(**limit).pruned == ("a", "b", "d")


def test_every_ancestor_of_a_young_session_is_kept(family: SessionStore) -> None:
    """behaviours 16"""
    fill(family.get("e"), "still here")
    check_report(family, family.prune(max_age_days=1), ["c", "d", "f"], ["a", "b", "e"])


@pytest.mark.parametrize("kept", [(), ("a",), ("b",), ("c",), ("d", "c"), ("e",), ("b", "f"), ("a", "d", "e")], ids=str)
@pytest.mark.parametrize("why", [*FLAGS, "young", "keep"])
def test_what_stands_below_a_kept_session_goes_and_what_stands_above_stays(
    family: SessionStore, kept: tuple[str, ...], why: str
) -> None:
    """behaviours 16"""
    above = {"b": "a", "c": "a", "d": "ba", "e": "ba"}
    for session_id in kept:
        if why == "young":
            fill(family.get(session_id), "x")
        elif why != "keep":
            family.get(session_id).update(**{why: True})
    wanted = {*kept, *"".join(above.get(session_id, "") for session_id in kept)}
    report = family.prune(max_age_days=1, keep=lambda _, session: why == "keep" and session.id in kept)
    check_report(family, report, set("abcdef") - wanted, wanted)
    for parent_id, child_id in (("a", "b"), ("a", "c"), ("b", "d"), ("b", "e")):
        if {parent_id, child_id} <= set(report.pruned):
            assert report.pruned.index(parent_id) < report.pruned.index(child_id)
    assert all(family.get(session_id).parent_id in {None, *report.kept} for session_id in report.kept)


def test_a_hierarchy_deeper_than_pythons_stack_is_pruned(store: SessionStore, days_ago: DaysAgo) -> None:
    days_ago(30)
    parent = None
    for number in range(1200):
        parent = store.create(f"s{number:04}", parent=parent)
    days_ago(0)
    report = store.prune(max_age_days=1)
    assert report.pruned == tuple(f"s{number:04}" for number in range(1200))
    assert store.restore("s0000").descendants()[-1].id == "s1199"


# The keep callback


def test_keep_is_given_the_bound_keys_and_the_session(family: SessionStore) -> None:
    """behaviours 17"""
    family.bind("telegram:1", "d")
    family.bind("mail:1", "d")
    family.bind("moved on", "e")
    family.bind("moved on", "c")
    family.bind("nowhere", "f")
    family.unbind("nowhere")
    asked: dict[str, tuple[str, ...]] = {}

    def keep(keys: tuple[str, ...], session: Session) -> bool:
        assert isinstance(session, Session)
        assert texts(session) == [f"I am {session.id}"]
        assert session.routes == keys
        asked[session.id] = keys
        return "mail:1" in keys

    check_report(family, family.prune(max_age_days=1, keep=keep), ["c", "e", "f"], ["a", "b", "d"])
    assert asked == {"d": ("telegram:1", "mail:1"), "e": (), "c": ("moved on",), "f": ()}
    assert family.resolve("telegram:1") == family.get("d")


def test_keep_is_asked_once_and_only_about_what_would_be_pruned(row: SessionStore) -> None:
    """behaviours 17"""
    row.get("s9").update(pinned=True)
    asked: list[str] = []

    def keep(_: tuple[str, ...], session: Session) -> bool:
        asked.append(session.id)
        return session.id == "s8"

    report = row.prune(max_age_days=6.5, keep=keep)
    assert (asked, report.pruned) == (["s8", "s7"], ("s7",))
    asked.clear()
    report = row.prune(max_sessions=6, keep=keep)
    assert (asked, report.pruned) == (["s8", "s6", "s5"], ("s6", "s5"))


def test_anything_true_keeps(row: SessionStore) -> None:
    """behaviours 17"""
    answers = {"s1": 1, "s2": "yes", "s3": [0], "s4": None, "s5": "", "s6": 0}
    report = row.prune(max_sessions=0, keep=lambda _, session: answers.get(session.id, False))
    assert report.kept == ("s1", "s2", "s3")


class Untrue:
    def __bool__(self) -> bool:
        raise OSError("no answer")


@pytest.mark.parametrize("fault", ["raises", "answers nonsense"])
def test_a_session_whose_keep_raises_is_kept_and_the_error_reported(family: SessionStore, fault: str) -> None:
    """behaviours 17"""

    def keep(_: tuple[str, ...], session: Session) -> Any:
        if session.id != "d":
            return False
        if fault == "raises":
            raise ValueError("the other system is down")
        return Untrue()

    for dry_run in (True, False):
        report = family.prune(max_age_days=1, keep=keep, dry_run=dry_run)
        assert failed(report) == ["d"]
        assert ("the other system is down" if fault == "raises" else "no answer") in report.errors[0].error
    check_report(family, report, ["c", "e", "f"], ["a", "b", "d"])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_keep_ends_the_prune_with_nothing_done(family: SessionStore, kind: type[BaseException]) -> None:
    """behaviours 17"""
    before = contents(family.root)

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "b":
            raise kind
        return False

    with pytest.raises(kind):
        family.prune(max_age_days=1, keep=keep)
    assert contents(family.root) == before


def test_what_cannot_be_called_is_no_keep(family: SessionStore) -> None:
    with pytest.raises(InvalidRecord) as caught:
        family.prune(max_age_days=1, keep="d")  # type: ignore[arg-type]
    assert caught.value.where == "keep"
    assert len(ids(family)) == 6


def test_no_lock_is_held_while_keep_is_called(family: SessionStore, open_store: OpenStore) -> None:
    """behaviours 9, 17"""
    other = open_store(lock_timeout_s=0.2)
    told: list[BaseException | None] = []

    def write_everywhere() -> None:
        try:
            for session_id in "abcdef":
                other.get(session_id).set_title("while it runs")
            other.get("a").move(other.create())
        except BaseException as error:  # noqa: BLE001  # asserted below
            told.append(error)
        else:
            told.append(None)

    def keep(_keys: tuple[str, ...], _session: Session) -> bool:
        thread = threading.Thread(target=write_everywhere)
        thread.start()
        thread.join()
        return True

    family.prune(max_age_days=1, keep=keep)
    assert told == [None] * len(told)
    assert len(told) == 4


@pytest.mark.damages
def test_a_session_whose_keys_cannot_be_found_out_is_kept_and_the_error_reported(
    family: SessionStore, open_store: OpenStore
) -> None:
    """behaviours 17"""
    family.bind("key", "f")
    for part in (family.root / "registry").iterdir():
        part.write_bytes(b"\xff" + part.read_bytes()[1:])
    report = open_store().prune(max_age_days=1, keep=lambda *_: False)
    assert (failed(report), report.kept) == (["f"], ("f",))


# Nothing is written for nothing


def test_where_nothing_is_to_be_pruned_not_one_byte_is_written(family: SessionStore, open_store: OpenStore) -> None:
    """behaviours 18"""
    family.bind("key", "d")
    fill(family.get("a"), "warm")
    cold = open_store()
    before = footprint(family.root)
    for store in (family, cold):
        for options in ({"max_age_days": 31}, {"max_sessions": 6}, {"max_bytes": 2**40}, {}):
            assert store.prune(**options).pruned == ()
        assert store.prune(max_age_days=1, keep=lambda *_: True).pruned == ()
    assert footprint(family.root) == before


@pytest.mark.parametrize("limit", [{"max_age_days": 1}, {"max_sessions": 2}, {"max_bytes": 900}], ids=str)
def test_a_dry_run_writes_nothing_and_reports_what_a_prune_does(
    family: SessionStore, open_store: OpenStore, limit: dict[str, Any]
) -> None:
    """behaviours 18"""
    family.get("c").update(pinned=True)
    family.bind("key", "e")

    def keep(keys: tuple[str, ...], session: Session) -> bool:
        if session.id == "d":
            raise ValueError("no")
        return "key" in keys

    cold = open_store()
    before = footprint(family.root)
    for options in ({}, {"keep": keep}):
        expected = [store.prune(**limit, **options, dry_run=True) for store in (family, cold)]
        assert expected[0] == expected[1]
        assert expected[0].dry_run
    assert footprint(family.root) == before
    done = family.prune(**limit, keep=keep)
    assert dataclasses.replace(expected[0], dry_run=False) == done
    assert done.pruned
    assert failed(done) == ["d"]


def test_a_dry_run_reports_a_whole_prune_in_its_order(family: SessionStore) -> None:
    """behaviours 18"""
    expected = family.prune(max_age_days=1, dry_run=True)
    assert expected.pruned == ("a", "b", "d", "e", "c", "f")
    assert dataclasses.replace(expected, dry_run=False) == family.prune(max_age_days=1)


def test_a_prune_drives_nothing_out_of_the_cache(row: SessionStore, open_store: OpenStore) -> None:
    small = open_store(cache_bytes=1)
    assert texts(small.get("s1")) == ["1 days"]
    small.prune(max_age_days=100)
    assert small.get("s1")._entry.head is not None


def test_a_store_that_only_reads_prunes_nothing_and_tells_what_would_go(
    family: SessionStore, open_store: OpenStore
) -> None:
    before = footprint(family.root)
    reader = open_store(read_only=True)
    for days in (1, 100):
        with pytest.raises(ReadOnlyStore):
            reader.prune(max_age_days=days)
    expected = family.prune(max_age_days=1, dry_run=True)
    assert reader.prune(max_age_days=1, keep=lambda *_: False, dry_run=True) == expected
    assert footprint(family.root) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_closed_store_prunes_nothing(row: SessionStore, dry_run: bool) -> None:
    row.close()
    with pytest.raises(StoreClosed):
        row.prune(max_age_days=1, dry_run=dry_run)


# By number and by size


@pytest.mark.parametrize("number", [0, 1, 5, 8, 9, 10, 10**400])
def test_the_longest_unchanged_go_until_no_more_than_so_many_are_left(row: SessionStore, number: int) -> None:
    fill(row.get("s4"), "again")
    order = ["s9", "s8", "s7", "s6", "s5", "s3", "s2", "s1", "s4"]
    report = row.prune(max_sessions=number)
    gone = order[: max(0, 9 - number)]
    check_report(row, report, gone, set(order) - set(gone))
    assert report.pruned == tuple(gone)


def test_those_that_are_kept_count_and_others_go_in_their_place(row: SessionStore) -> None:
    row.get("s9").update(pinned=True)
    row.get("s7").update(archived=True)
    report = row.prune(max_sessions=6, keep=lambda _, session: session.id == "s8")
    check_report(row, report, ["s6", "s5", "s4"], ["s1", "s2", "s3", "s7", "s8", "s9"])
    report = row.prune(max_sessions=2, keep=lambda _, session: session.id == "s8")
    assert report.kept == ("s7", "s8", "s9")


def test_by_number_a_parent_goes_only_after_all_that_is_below_it(store: SessionStore, days_ago: DaysAgo) -> None:
    for session_id, parent, days in (
        ("old", None, 50), ("root", None, 30), ("new", "old", 10), ("newer", "old", 5), ("last", None, 1),
    ):  # fmt: skip
        days_ago(days)
        store.create(session_id, parent=parent)
    days_ago(0)
    plans = {number: store.prune(max_sessions=number, dry_run=True).pruned for number in range(6)}
    assert plans == {
        5: (),
        4: ("root",),
        3: ("root", "new"),
        2: ("root", "new", "newer"),
        1: ("root", "old", "new", "newer"),
        0: ("root", "old", "new", "newer", "last"),
    }
    for number in range(5, -1, -1):
        store.prune(max_sessions=number)
        assert len(ids(store)) == number


def bytes_of(store: SessionStore) -> int:
    """What the files below ``sessions/`` have, each once however many names it has."""
    stats = [path.stat() for path in (store.root / "sessions").rglob("*") if path.is_file()]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())


def test_the_longest_unchanged_go_until_the_logs_fit(row: SessionStore) -> None:
    fill(row.get("s9"), "x" * 5000)
    size = {days: log_of(row, f"s{days}").stat().st_size for days in range(1, 10)}
    total = sum(size.values())
    assert total == bytes_of(row)
    assert row.prune(max_bytes=total).pruned == ()
    assert row.prune(max_bytes=total - 1).pruned == ("s8",)
    assert row.prune(max_bytes=total - size[8] - size[7]).pruned == ("s7",)
    assert row.prune(max_bytes=size[9]).kept == ("s9",)
    assert row.prune(max_bytes=size[9] - 1).pruned == ("s9",)


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_bytes_that_forks_share_count_once_and_go_with_the_last(
    store: SessionStore, days_ago: DaysAgo, monkeypatch, has_links: bool
) -> None:
    monkeypatch.setattr(files, "HAS_LINK", has_links)
    days_ago(30)
    parent = fill(store.create("p"), "x" * 10_000)
    for days, session_id in ((20, "one"), (10, "two")):
        days_ago(days)
        parent.fork(session_id).move(None)
    days_ago(0)
    total = bytes_of(store)
    assert total // 10_000 == (1 if has_links else 3)
    assert store.prune(max_bytes=total).pruned == ()
    # With links the parent alone gives nothing back: the forks still hold its bytes.
    plans = {size: store.prune(max_bytes=size, dry_run=True).pruned for size in (total - 1, 9_999)}
    assert plans == {total - 1: ("p", "one") if has_links else ("p",), 9_999: ("p", "one", "two")}
    for size, expected in plans.items():
        store.prune(max_bytes=size)
        assert bytes_of(store) <= size
        assert trash_ids(store) == sorted(expected)


# Pruned sessions are in the trash


def test_restoring_the_top_brings_a_pruned_subtree_back(family: SessionStore) -> None:
    """behaviours 20"""
    before = {
        session_id: (family.get(session_id).info.updated_at, texts(family.get(session_id))) for session_id in "abcdef"
    }
    shape = family.tree()
    assert set(family.prune(max_age_days=1).pruned) == set("abcdef")
    assert family.tree() == ()
    family.restore("a")
    assert ids(family) == set("abcde")
    family.restore("f")
    assert {node.id: node for node in family.tree()} == {node.id: node for node in shape}
    for session_id, (updated_at, said) in before.items():
        assert (family.get(session_id).updated_at, texts(family.get(session_id))) == (updated_at, said)


def test_what_is_below_a_kept_session_comes_back_below_it(family: SessionStore) -> None:
    """behaviours 20"""
    family.get("a").update(pinned=True)
    assert set(family.prune(max_age_days=1).pruned) == set("bcdef")
    family.restore("b")
    assert [child.id for child in family.get("a").children] == ["b"]
    assert [child.id for child in family.get("b").children] == ["d", "e"]
    with pytest.raises(SessionNotFound):
        family.restore("d")


def test_the_trash_tells_when_what_was_deleted_and_gives_it_up_by_age(row: SessionStore, days_ago: DaysAgo) -> None:
    """behaviours 20"""
    for days, left in ((20, 5), (10, 3)):
        days_ago(days)
        row.prune(max_sessions=left)
    days_ago(0)
    listed = row.trash()
    assert [item.id for item in listed] == ["s9", "s8", "s7", "s6", "s5", "s4"]
    assert [round((NOW - item.deleted_at) / DAY_S) for item in listed] == [20, 20, 20, 20, 10, 10]
    assert all(item.size_bytes > 100 for item in listed)
    for days in (0, -1, 21):
        assert row.purge(max_age_days=days) == ()
    assert row.purge(max_age_days=15) == ("s9", "s8", "s7", "s6")
    assert [item.id for item in row.trash()] == ["s5", "s4"]
    assert texts(row.restore("s5")) == ["5 days"]
    with pytest.raises(SessionNotFound):
        row.restore("s9")
    for bad in (True, "1", math.nan):
        with pytest.raises(InvalidRecord):
            row.purge(max_age_days=bad)  # type: ignore[arg-type]
    assert row.purge() == ("s4",)
    assert row.trash() == ()


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_a_fork_whose_parent_is_pruned_and_purged_stays_whole(
    store: SessionStore, days_ago: DaysAgo, monkeypatch, open_store: OpenStore, has_links: bool
) -> None:
    """behaviours 20"""
    monkeypatch.setattr(files, "HAS_LINK", has_links)
    days_ago(30)
    parent = fill(store.create("p"), "shown", "hidden")
    fork = parent.fork("f", at=parent.messages[0].id)
    fork.move(None)
    days_ago(0)
    fill(fork, "own")
    assert store.prune(max_age_days=1).pruned == ("p",)
    assert texts(fork) == texts(open_store().get("f")) == ["shown", "own"]
    store.purge()
    assert texts(fork) == texts(open_store().get("f")) == ["shown", "own"]
    # Now it alone has those bytes.
    assert store.prune(max_bytes=bytes_of(store)).pruned == ()
    assert store.prune(max_bytes=bytes_of(store) - 1).pruned == ("f",)
    assert texts(store.restore("f")) == ["shown", "own"]


def test_a_pruned_id_is_free_again(row: SessionStore) -> None:
    row.prune(max_age_days=8.5)
    fill(row.create("s9"), "new")
    report = row.prune(max_age_days=8.5)
    assert (report.pruned, len(report.kept)) == ((), 9)
    assert texts(row.get("s9")) == ["new"]


# What cannot be parsed is never pruned


def flip(log: Path, line: int) -> None:
    """Change one byte in the middle of a line."""
    lines = log.read_bytes().splitlines(keepends=True)
    damaged = bytearray(lines[line])
    damaged[len(damaged) // 2] ^= 1
    lines[line] = bytes(damaged)
    log.write_bytes(b"".join(lines))


def too_new(log: Path) -> None:
    builder = LogBuilder("d")
    top = json.loads(builder.lines[0])
    builder.lines, builder.chain = [], 0
    top["hierstore"] = 10**6
    top.pop("crc")
    builder.seal(json.dumps(top, separators=(",", ":")).encode()[:-1])
    log.write_bytes(builder.data)


def no_commit(log: Path) -> None:
    """A line that is sealed, and of which nobody can tell when it was."""
    builder = LogBuilder("d")
    builder.seal(b'{"message":{"seq":1,"id":"m"},"seq":2')
    log.write_bytes(builder.data)


def symbolic(log: Path) -> None:
    log.rename(log.with_suffix(".aside"))
    log.symlink_to(log.with_suffix(".aside"))


def folder(log: Path) -> None:
    log.unlink()
    log.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "in its header": lambda log: flip(log, 0),
    "in its first commit": lambda log: flip(log, 1),
    "behind a valid prefix": lambda log: flip(log, 2),
    "in its last line": lambda log: flip(log, -1),
    "no log at all": lambda log: log.write_bytes(b"something else\n"),
    "a later version's": too_new,
    "sealed and no commit": no_commit,
    "a symbolic link": symbolic,
    "a folder": folder,
}


@pytest.mark.damages
@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_what_cannot_be_parsed_is_kept_with_its_ancestors_and_reported(
    family: SessionStore, open_store: OpenStore, what: str, is_warm: bool
) -> None:
    """behaviours 20"""
    fill(family.get("d").spawn("below"), "x")
    fill(family.get("d"), "one", "two")
    DAMAGE[what](log_of(family, "d"))
    store = family if is_warm else open_store()
    before = footprint(family.root)
    for limit in ({"max_age_days": 0.001}, {"max_sessions": 0}, {"max_bytes": 0}):
        report = store.prune(**limit, dry_run=True)
        assert failed(report) == ["d"]
        assert {"a", "b", "d"} <= set(report.kept)
        assert report.errors[0].error.endswith(".")
    assert footprint(family.root) == before
    report = store.prune(max_sessions=0)
    assert (set(report.pruned), report.kept, failed(report)) == ({"below", "c", "e", "f"}, ("a", "b", "d"), ["d"])
    left = log_of(family, "d")
    assert footprint(left) == {name: row for name, row in before.items() if name.startswith(str(left))}


@pytest.mark.damages
def test_an_id_that_only_its_parent_tells_is_kept_and_reported(store: SessionStore, days_ago: DaysAgo) -> None:
    """behaviours 20"""
    days_ago(30)
    fill(store.create("p").spawn("A / B"), "x")
    store.create("q")
    days_ago(0)
    log_of(store, "A / B").write_bytes(b"no header\n")
    report = store.prune(max_age_days=1)
    assert (report.pruned, report.kept, failed(report)) == (("q",), ("A / B", "p"), ["A / B"])


@pytest.mark.damages
def test_what_may_have_been_moved_in_damaged_bytes_keeps_both_parents(
    family: SessionStore, open_store: OpenStore
) -> None:
    """behaviours 20"""
    family.get("d").move("f")
    fill(family.get("d"), "x")
    flip(log_of(family, "d"), 3)
    report = open_store().prune(max_sessions=0)
    assert (set(report.pruned), report.kept) == ({"c", "e"}, ("a", "b", "d", "f"))


@pytest.mark.damages
@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_fork_whose_past_is_damaged_or_missing_is_kept(
    store: SessionStore, days_ago: DaysAgo, open_store: OpenStore, how: str
) -> None:
    """behaviours 20"""
    days_ago(30)
    fork = fill(store.create("p"), "1", "2").fork("f")
    fork.move(None)
    days_ago(0)
    past = log_of(store, "f").with_suffix(".past0")
    if how == "missing":
        past.unlink()
    else:
        data = past.read_bytes()
        past.unlink()
        past.write_bytes(data.replace(b'"2"', b'"3"'))
    report = open_store().prune(max_age_days=1)
    assert (failed(report), report.kept) == (["f"], ("f", "p"))


@pytest.mark.damages
def test_a_child_that_its_parent_does_not_list_keeps_its_parent(store: SessionStore, days_ago: DaysAgo) -> None:
    """behaviours 16: such a child would stay when its parent goes"""
    days_ago(30)
    parent = store.create("p")
    lines = log_of(store, "p").read_bytes()
    parent.spawn("c")
    log_of(store, "p").write_bytes(lines)
    days_ago(0)
    assert store.prune(max_age_days=1, keep=lambda _, session: session.id == "c").kept == ("c", "p")
    report = store.prune(max_age_days=1)
    assert (report.pruned, report.kept) == (("c",), ("p",))
    assert store.prune(max_age_days=1).pruned == ("p",)


@pytest.mark.damages
def test_a_cycle_in_a_damaged_store_is_kept(store: SessionStore, days_ago: DaysAgo) -> None:
    days_ago(30)
    one, two = store.create("one"), store.create("two", parent="one")
    saved = log_of(store, "two").read_bytes()
    two.move(None)
    one.move("two")
    log_of(store, "two").write_bytes(saved)
    store.create("three", parent="two")
    days_ago(0)
    report = store.prune(max_age_days=1)
    assert (report.pruned, report.kept) == (("three",), ("one", "two"))


def test_an_unfinished_commit_at_its_end_keeps_no_session(row: SessionStore) -> None:
    with log_of(row, "s9").open("ab") as log:
        log.write(b'{"message":{"seq":2,"id":')
    report = row.prune(max_age_days=8.5)
    assert (report.pruned, report.errors) == (("s9",), ())
    assert texts(row.restore("s9")) == ["9 days"]


# What happens between the decision and the deletion


MEANWHILE: dict[str, Callable[[SessionStore], object]] = {
    "a message": lambda store: fill(store.get("d"), "not yet done"),
    "a child": lambda store: store.get("e").spawn("young"),
    "a grandchild": lambda store: store.get("e").spawn("young").spawn("younger"),
    "a fork": lambda store: store.get("d").fork("young"),
    "pinned": lambda store: store.get("b").update(pinned=True),
    "suspended": lambda store: store.get("e").update(suspended=True),
    "archived": lambda store: store.get("d").update(archived=True),
    "a title": lambda store: store.get("a").set_title("still of use"),
    "a young one moved in": lambda store: store.get("young").move("e"),
    "an old one moved in": lambda store: store.get("old").move("e"),
    "a former child moved back": lambda store: store.get("former").move("e"),
    "deleted and made again": lambda store: (store.delete("d"), fill(store.create("d", parent="b"), "I am d")),
    "bound": lambda store: store.bind("key", "c"),
}


WHEN = ["while keep is asked", "before the locks are taken", "after the top's lock was taken alone"]


@pytest.mark.parametrize("name", MEANWHILE)
@pytest.mark.parametrize("when", WHEN)
def test_what_changes_between_decision_and_deletion_stays_with_its_subtree(
    family: SessionStore, open_store: OpenStore, days_ago: DaysAgo, monkeypatch, name: str, when: str
) -> None:
    """behaviours 19: kept whole or deleted whole"""
    other = open_store()
    days_ago(30)
    family.create("old")
    family.create("former", parent="e")
    family.get("former").move(None)
    days_ago(0)
    if "moved" in name:
        for session_id in ("old", "former"):
            family.get(session_id).update(pinned=True)
    if name == "a young one moved in":
        family.create("young")
    todo = [lambda: MEANWHILE[name](other)]
    holds: list[str] = []

    def keep(_keys: tuple[str, ...], session: Session) -> bool:
        if when == WHEN[0] and session.id == "a":
            todo.pop()()
        return False

    def holding(entries: Any, **options: Any) -> Any:
        # Once for the top, to learn what is below it, then for all of them, as often as more have come.
        if options["about"].id == "a":
            holds.append("a")
            if [when] == WHEN[len(holds) :][:1]:
                todo.pop()()
        return hold(entries, **options)

    hold = family._engine.holding
    monkeypatch.setattr(family._engine, "holding", holding)
    report = family.prune(max_age_days=1, keep=keep)
    assert todo == []
    assert len(holds) >= 2
    assert set("abcde") <= ids(family)
    assert set(report.pruned) == {"f"} | ({"old", "former"} if "moved" not in name else set())
    assert set(report.kept) == ids(family)
    assert report.errors == ()
    assert trash_ids(family) == sorted([*report.pruned, *(["d"] if name == "deleted and made again" else [])])


def test_a_key_that_comes_back_after_keep_was_asked_keeps_its_session(row: SessionStore, open_store: OpenStore) -> None:
    """behaviours 17"""
    other = open_store()
    row.bind("key", "s9")
    row.bind("key", "s1")

    def keep(keys: tuple[str, ...], session: Session) -> bool:
        if session.id == "s9":
            assert keys == ()
            other.bind("key", "s9")
        return bool(keys)

    assert row.prune(max_age_days=7.5, keep=keep).pruned == ("s8",)
    assert row.resolve("key") == row.get("s9")


def test_keep_may_write_to_the_session_it_is_asked_about(row: SessionStore) -> None:
    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "s9":
            session.append("system", "archived elsewhere")
        return False

    report = row.prune(max_age_days=7.5, keep=keep)
    assert report.pruned == ("s8",)
    assert texts(row.get("s9"))[-1] == "archived elsewhere"


def test_what_others_delete_meanwhile_is_neither_pruned_nor_kept(family: SessionStore, open_store: OpenStore) -> None:
    """behaviours 19"""
    other = open_store()

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "a":
            other.delete("d")
            other.delete("f")
            other.create("made meanwhile")
        return False

    report = family.prune(max_age_days=1, keep=keep)
    assert (set(report.pruned), report.kept, report.errors) == ({"a", "b", "c", "e"}, ("made meanwhile",), ())
    assert trash_ids(family) == ["a", "b", "c", "d", "e", "f"]


def test_keep_that_finds_its_session_deleted_reports_nothing(row: SessionStore, open_store: OpenStore) -> None:
    other = open_store()

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "s9":
            other.delete("s9")
            len(session.messages)
        return False

    report = row.prune(max_age_days=7.5, keep=keep)
    assert (report.pruned, report.errors, "s9" in report.kept) == (("s8",), (), False)


def test_what_is_orphaned_meanwhile_is_kept(family: SessionStore, open_store: OpenStore) -> None:
    other = open_store()

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "a":
            other.delete("a", children="orphan")
        return False

    report = family.prune(max_age_days=1, keep=keep)
    assert (report.pruned, set(report.kept)) == (("f",), set("bcde"))


@pytest.mark.damages
def test_a_log_that_turns_out_damaged_under_the_lock_is_kept_and_reported(family: SessionStore, monkeypatch) -> None:
    """behaviours 20"""
    fill(family.get("d"), "1")
    monkeypatch.setattr(clock, "now", lambda: NOW + 30 * DAY_S)

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "a":
            flip(log_of(family, "d"), 2)
        return False

    report = family.prune(max_age_days=1, keep=keep)
    assert (report.pruned, failed(report), set(report.kept)) == (("f",), ["d"], set("abcde"))


@pytest.mark.damages
def test_a_top_that_turns_out_unreadable_is_kept_and_reported(family: SessionStore) -> None:
    """behaviours 20"""

    def keep(_: tuple[str, ...], session: Session) -> bool:
        if session.id == "f":
            flip(log_of(family, "a"), 0)
        return False

    family.get("f").set_title("asked last, if at all")
    report = family.prune(max_age_days=1, keep=keep)
    assert (report.pruned, failed(report)) == (("f",), ["a"])


def test_files_that_are_replaced_in_the_middle_of_a_look_are_no_damage(
    store: SessionStore, days_ago: DaysAgo, open_store: OpenStore, monkeypatch
) -> None:
    days_ago(30)
    fork = fill(store.create("p"), "shown", "hidden").fork("f")
    fork.move(None)
    store.delete("p")
    days_ago(0)
    pruner = open_store()
    read, todo = pruner._engine.log_bytes, [store.purge]

    def log_bytes(entry: Any) -> bytes:
        data = read(entry)
        if todo:
            # The fork gets its own copy of what it shows, and the link is gone that its log spoke of.
            todo.pop()()
        return data

    monkeypatch.setattr(pruner._engine, "log_bytes", log_bytes)
    report = pruner.prune(max_age_days=1)
    assert (report.pruned, report.errors, todo) == (("f",), (), [])


def test_a_failed_write_ends_the_prune_and_leaves_the_subtree_whole(family: SessionStore, monkeypatch) -> None:
    """behaviours 10"""

    def refuse(*_: Any, **__: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hierstore.disk.journal.begin", refuse)
    with pytest.raises(HierstoreError) as caught:
        family.prune(max_age_days=1)
    assert caught.value.session_id == "a"  # type: ignore[attr-defined]
    assert ids(family) == set("abcdef")


def test_a_lock_that_stays_taken_keeps_its_subtrees_and_is_waited_for_once(
    family: SessionStore, open_store: OpenStore, days_ago: DaysAgo
) -> None:
    busy, pruner = open_store(), open_store(lock_timeout_s=0.2)
    entry = busy._engine.entry("d")
    days_ago(30)
    same = next(f"x{n}" for n in range(10_000) if busy._engine.entry(f"x{n}").stripe is entry.stripe)
    busy.create(same)
    days_ago(0)
    waits: list[Any] = []
    wait = pruner._engine.locks.wait_for_process
    pruner._engine.locks.wait_for_process = lambda stripe: (waits.append(stripe), wait(stripe))  # type: ignore[assignment,method-assign]
    with busy._engine.holding([entry]):
        report = pruner.prune(max_age_days=1)
    assert report.pruned == ("f",)
    assert failed(report) == ["a", same]
    assert len(waits) == 1
    assert set(pruner.prune(max_age_days=1).pruned) == {*"abcde", same}


def test_a_prune_finishes_what_a_crash_cut_off(family: SessionStore, open_store: OpenStore, monkeypatch) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(trash, "_mark", die)
        with pytest.raises(Died):
            family.prune(max_age_days=1)
    other = open_store()
    assert other.prune(max_age_days=1).pruned == ("f",)
    assert trash_ids(other) == list("abcdef")
    assert set(texts(other.restore("a"))) == {"I am a"}
    assert ids(other) == set("abcde")


def test_memory_holds_no_histories(store: SessionStore, days_ago: DaysAgo, open_store: OpenStore) -> None:
    import tracemalloc

    days_ago(30)
    for number in range(60):
        fill(store.create(f"s{number}"), "x" * 100_000)
    days_ago(0)
    cold = open_store()
    tracemalloc.start()
    try:
        cold.prune(max_age_days=1, dry_run=True)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_limits_are_a_frozen_value() -> None:
    value = retention.limits(1, 2, 3)
    assert value == retention.limits(1.0, 2, 3)
    assert (value.before, value.max_sessions, value.max_bytes) == (NOW - DAY_S, 2, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.before = 0.0  # type: ignore[misc]
    assert retention.limits(None, None, None) == retention.Limits(-math.inf, math.inf, math.inf)
