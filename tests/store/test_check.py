"""What a check finds, and what it takes for harmless. What it makes of logs alone is in ``test_recovery.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hierstore import SessionStore
from tests.support import contents, fill, log_of
from tests.wrecks import WRECKS, family, kinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenStore = Callable[..., SessionStore]


def test_a_store_in_which_everything_was_done_is_found_sound(store: SessionStore) -> None:
    family(store)
    report = store.check()
    assert (report.problems, report.notes) == ((), ())


@pytest.mark.damages
@pytest.mark.parametrize("read_only", [False, True], ids=["", "read only"])
@pytest.mark.parametrize("name", WRECKS)
def test_each_damage_is_found_and_nothing_else_and_nothing_is_changed(root: Path, name: str, read_only: bool) -> None:
    wreck = WRECKS[name]
    with SessionStore(root) as store:
        family(store)
        wreck.make(store)
        before = contents(root)
        # Not opened anew: that would finish what is pending.
        report = store.check()
    assert sorted(kinds(report.problems), key=str) == sorted(wreck.found, key=str)
    assert sorted(kinds(report.notes), key=str) == sorted(wreck.noted, key=str)
    if read_only:
        with SessionStore(root, read_only=True) as reader:
            again = reader.check()
            assert (again.problems, again.notes) == (report.problems, report.notes)
    for finding in (*report.problems, *report.notes):
        assert finding.detail.endswith(".")
        assert finding.path.startswith(str(root))
    assert contents(root) == before


@pytest.mark.damages
def test_all_damages_at_once_hide_none_of_each_other(root: Path) -> None:
    at_once = ("a torn tail", "damage in the middle", "a file in tmp", "an unlisted child", "a fork whose past is gone",
               "a file of somebody else's", "a log of a later version", "a part with a share that is gone")  # fmt: skip
    with SessionStore(root) as store:
        family(store)
        for name in at_once:
            if name != "an unlisted child":
                WRECKS[name].make(store)
        report = store.check()
        for name in at_once:
            if name != "an unlisted child":
                assert set(WRECKS[name].found) <= set(kinds(report.problems)), name
                assert set(WRECKS[name].noted) <= set(kinds(report.notes)), name


def test_a_child_in_the_trash_is_not_said_to_be_missing(store: SessionStore) -> None:
    fill(store.create("p").spawn("c"), "x")
    store.delete("c")
    assert store.check().notes == ()
    store.purge("c")
    assert kinds(store.check().notes) == [("missing_child", "p")]


def test_a_key_of_which_only_the_last_commit_of_a_session_knows_is_what_a_crash_leaves(store: SessionStore) -> None:
    from hierstore.log.events import event

    session = store.create("s")
    store._engine.commit(session._entry, lambda _: [event("bound", key="k")])
    report = store.check()
    assert (kinds(report.problems), kinds(report.notes)) == ([], [("lost_route", "s")])


@pytest.mark.damages
def test_a_key_that_older_commits_know_of_is_lost(store: SessionStore) -> None:
    from hierstore.log.events import event

    session = store.create("s")
    store._engine.commit(session._entry, lambda _: [event("bound", key="k")])
    fill(session, "more")
    assert kinds(store.check().problems) == [("lost_route", "s")]


def test_a_revoked_share_and_an_unbound_key_are_not_missed(store: SessionStore) -> None:
    session = store.create("s")
    session.share()
    session.unshare()
    store.bind("k", session)
    store.unbind("k")
    store.bind("l", session)
    store.bind("l", store.create("t"))
    assert (store.check().problems, store.check().notes) == ((), ())


@pytest.mark.damages
def test_a_header_that_was_changed_to_another_id_is_damage_and_no_misplaced_log(store: SessionStore) -> None:
    fill(store.create("s"), "x")
    log = log_of(store, "s")
    log.write_bytes(log.read_bytes().replace(b'"session":"s"', b'"session":"t"', 1))
    assert kinds(store.check().problems) == [("corrupt", "s")]
