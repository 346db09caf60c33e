"""Sessions that are deleted, come back, are made anew or are gone for good: each told once and in order."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from hierstore import HierstoreError, telling, trash
from hierstore.disk import files
from hierstore.disk.hints import TRASH
from tests.feed.taking import Account, by_session, change_anything, rest, short, take, types
from tests.processes import replaced
from tests.support import log_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hierstore import SessionStore
    from hierstore.log.feed import Event


def test_what_was_written_before_a_deletion_is_told_from_the_trash(store: SessionStore) -> None:
    session = store.create("a")
    with store.watch(mode="off") as watcher:
        session.append("user", "last words")
        store.delete("a")
        assert short(watcher) == [("appended", "a", 2), ("deleted", "a", 3)]
        assert list(watcher) == []


def test_a_session_that_came_and_went_unseen_is_told_from_the_trash(store: SessionStore) -> None:
    with store.watch(mode="off") as watcher:
        store.create("a").append("user", "x")
        store.delete("a")
        assert short(watcher) == [("created", "a", 1), ("appended", "a", 2), ("deleted", "a", 3)]


def test_a_restored_session_goes_on_where_it_was_told(store: SessionStore) -> None:
    store.create("a").append("user", "x")
    with store.watch(mode="off") as watcher:
        store.delete("a")
        assert types(watcher) == ["deleted"]
        after = watcher.cursor
        store.restore("a").append("user", "y")
        assert short(watcher) == [("restored", "a", 4), ("appended", "a", 5)]
    assert short(rest(store, after)) == [("restored", "a", 4), ("appended", "a", 5)]


def test_deleted_and_restored_between_two_looks_both_are_told(store: SessionStore) -> None:
    store.create("a")
    with store.watch(mode="off") as watcher:
        store.delete("a")
        store.restore("a")
        assert types(watcher) == ["deleted", "restored"]


def test_of_a_session_made_anew_the_old_one_is_told_to_its_end_first(store: SessionStore) -> None:
    store.create("a").append("user", "1")
    with store.watch(mode="off", queue=1) as watcher:
        for number in range(3):
            store.get("a").append("user", f"{number}")
            store.delete("a")
            store.create("a").append("user", "new")
        one = ["appended", "deleted", "created", "appended"]
        assert types(watcher) == one * 3


def test_a_purged_session_is_told_as_deleted_once_and_says_what_is_missed(store: SessionStore) -> None:
    session = store.create("a")
    with store.watch(mode="off") as watcher:
        after = watcher.cursor
        session.append("user", "never to be told")
        store.delete("a")
        store.purge()
        (told,) = list(watcher)
        assert (told.type, told.revision, told.missed) == ("deleted", 1, "purged")
        assert list(watcher) == []
        assert rest(store, watcher.cursor) == []
        store.create("a")
        assert types(watcher) == ["created"]
    assert types(rest(store, after)) == ["deleted", "created"]


def test_a_deletion_that_was_told_is_not_told_again_when_the_trash_is_emptied(store: SessionStore) -> None:
    store.create("a")
    with store.watch(mode="off") as watcher:
        store.delete("a")
        assert types(watcher) == ["deleted"]
        size = len(watcher.cursor)
        store.purge()
        assert list(watcher) == []
        assert len(watcher.cursor) < size, "nothing is kept of what is gone for good"


def test_a_deleter_that_died_before_its_last_word_is_spoken_for_once(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.create("a")
    session.append("user", "x")
    with store.watch(poll_s=0.05) as watcher:
        path = log_of(store, "a")
        path.rename(store.root / "trash" / f"{'0' * 30}.a.jsonl")
        assert watcher.next(timeout_s=0.2) is None, "its deleter may be about to say so"
        (told,) = take(watcher, 1)
        assert (told.type, told.revision, told.missed) == ("deleted", 2, None)
        after = watcher.cursor
        store.restore("a")
        # Its log never said that it was deleted, so it does not say that it came back either.
        assert types(take(watcher, 1)) == ["restored"]
        assert watcher.next(timeout_s=0.2) is None
    assert types(rest(store, after)) == ["restored"]


def test_a_deleters_last_word_that_comes_late_is_not_told_again(store: SessionStore) -> None:
    store.create("a")
    batch = "0" * 30
    path = store.root / "trash" / f"{batch}.a.jsonl"
    with store.watch(poll_s=0.05) as watcher:
        log_of(store, "a").rename(path)
        assert types(take(watcher, 1)) == ["deleted"]
        trash._mark(os.fsencode(path), "a", "deleted", batch)
        assert watcher.next(timeout_s=0.2) is None
        store.restore("a")
        assert short(take(watcher, 1)) == [("restored", "a", 3)]


def test_a_later_life_waits_in_the_trash_for_the_end_of_the_one_before(store: SessionStore) -> None:
    store.create("a").append("user", "first")
    log_of(store, "a").rename(store.root / "trash" / f"{'0' * 30}.a.jsonl")
    store.create("a").append("user", "second")
    store.delete("a")
    with store.watch(after="", poll_s=0.05) as watcher:
        told = take(watcher, 6)
        assert types(told) == ["created", "appended", "deleted"] * 2
        assert told[1].messages[0].content == "first"


def test_the_trash_is_told_in_its_order_whichever_log_is_heard_of_first(store: SessionStore) -> None:
    with store.watch(mode="off") as watcher:
        for content in ("first", "second"):
            store.create("a").append("user", content)
            store.delete("a")
        latest = max(path.name for path in (store.root / "trash").iterdir())
        watcher._hints.add((TRASH, latest.encode()))
        told = list(watcher)
        assert types(told) == ["created", "appended", "deleted"] * 2
        assert told[1].messages[0].content == "first"


def test_a_log_that_has_two_names_for_a_moment_is_not_deleted(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_PATIENCE_S", 0.0)
    store.create("a")
    store.delete("a")
    with store.watch(mode="off") as watcher:
        told: list[Event] = []

        def unlink(path: bytes) -> None:
            if b"/trash/" in path and path.endswith(b".jsonl"):
                # Linked under its own name, and still in the trash.
                told.extend(watcher)
            os.unlink(path)

        with replaced(files, unlink=unlink):
            store.restore("a")
        assert types([*told, *watcher]) == ["restored"]


def test_a_session_that_is_looked_for_while_the_store_is_away_is_not_deleted(store: SessionStore) -> None:
    store.create("a").append("user", "x")
    away = store.root.with_name("away")
    stat = files.stat
    with store.watch(mode="off") as watcher:
        after = watcher.cursor

        def leave_first(*args: object, **options: object) -> object:
            if args[0] == b"%b" % os.fsencode(log_of(store, "a").relative_to(store.root / "sessions")):
                store.root.rename(away)
            return stat(*args, **options)  # type: ignore[call-overload]

        log_of(store, "a").rename(store.root / "tmp" / "kept")
        with replaced(files, stat=leave_first):
            assert list(watcher) == [], "its name was empty, and then nothing was there to look in"
        away.rename(store.root)
        (store.root / "tmp" / "kept").rename(log_of(store, "a"))
        assert list(watcher) == []
        store.get("a").append("user", "y")
        assert short(watcher) == [("appended", "a", 3)]
    assert short(rest(store, after)) == [("appended", "a", 3)]


def test_a_session_is_not_judged_while_the_folder_of_all_is_away(store: SessionStore) -> None:
    store.create("a")
    sessions, away = store.root / "sessions", store.root / "away"
    scandir = files.scandir

    def leave_first(path: bytes) -> object:
        if path.endswith(b"/trash") and sessions.exists() and not log_of(store, "a").exists():
            sessions.rename(away)
        return scandir(path)

    with store.watch(mode="off") as watcher:
        kept = log_of(store, "a").rename(store.root / "tmp" / "kept")
        with replaced(files, scandir=leave_first):
            assert list(watcher) == [], "it was missed, and then there was nowhere to look for it again"
        assert away.exists()
        away.rename(sessions)
        kept.rename(log_of(store, "a"))
        assert list(watcher) == []
        store.get("a").append("user", "x")
        assert short(watcher) == [("appended", "a", 2)]


@pytest.mark.parametrize("mode", ["off", "polling", "native"])
@pytest.mark.parametrize("seed", range(12))
def test_random_lives_are_told_exactly_whenever_the_watcher_dies(
    open_store: Callable[..., SessionStore], root: Path, mode: str, seed: int
) -> None:
    chance = random.Random(f"{mode}{seed}")
    store, other = open_store(), open_store()
    queue, poll_s = chance.choice([1, 2, 5, 1000]), None if mode == "off" else 0.05
    account = Account(root)
    watcher = other.watch(after="", mode=mode, queue=queue, poll_s=poll_s)  # type: ignore[arg-type]
    told: list[Event] = []
    for number in range(80):
        try:
            change_anything(store, chance, number)
        except HierstoreError:
            pass
        total = account.update()
        what = chance.randrange(12)
        if what == 0:
            after = watcher.cursor
            watcher.close()
            watcher = other.watch(after=after, mode=mode, queue=queue, poll_s=poll_s)  # type: ignore[arg-type]
        elif what == 1:
            for _ in range(chance.choice([1, 2, 5, 1000])):
                event = watcher.next(timeout_s=0)
                if event is not None:
                    told.append(event)
    told += take(watcher, total - len(told))
    assert watcher.next(timeout_s=0) is None
    watcher.close()
    assert by_session(told) == account.events


@pytest.mark.damages
def test_a_store_copied_back_from_a_backup_tells_what_it_lost(store: SessionStore, tmp_path: Path) -> None:
    session = store.create("a")
    session.append("user", "kept")
    shutil.copytree(store.root / "sessions", tmp_path / "backup")
    session.append("user", "lost")
    store.create("b")
    with store.watch(mode="off") as watcher:
        shutil.rmtree(store.root / "sessions")
        (tmp_path / "backup").rename(store.root / "sessions")
        told = sorted(watcher, key=lambda item: item.session_id)
        assert short(told) == [("reset", "a", 2), ("deleted", "b", 1)]
        assert [item.missed for item in told] == ["replaced", "purged"]
        assert list(watcher) == []
