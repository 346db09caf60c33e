"""Cursors: exactly what was told, here and in another process, and nothing for who has no right one."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from hierstore import InvalidRecord, clock
from hierstore.disk import places
from hierstore.log import cursor
from hierstore.log.cursor import Position, Told
from tests.feed.taking import rest, short, take, types
from tests.processes import store_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hierstore import SessionStore
    from tests.processes import Child


def test_from_now_on_tells_nothing_old_and_the_empty_cursor_everything(store: SessionStore) -> None:
    store.create("a").append("user", "old")
    store.create("gone")
    store.delete("gone")
    with store.watch(mode="off") as watcher:
        assert list(watcher) == []
        store.get("a").append("user", "new")
        store.create("b")
        store.restore("gone")
        assert sorted(short(watcher)) == [("appended", "a", 3), ("created", "b", 1), ("restored", "gone", 3)]
    assert sorted(short(rest(store, ""))) == [
        ("appended", "a", 2), ("appended", "a", 3), ("created", "a", 1), ("created", "b", 1), ("created", "gone", 1),
        ("deleted", "gone", 2), ("restored", "gone", 3),
    ]  # fmt: skip


def test_a_cursor_taken_behind_any_event_is_exact_also_within_a_commit(store: SessionStore) -> None:
    for name in ("a", "b"):
        session = store.route(f"key of {name}", session_id=name)  # one commit, two events
        session.append("user", "x")
        session.extend([{"role": "user", "content": "y"}] * 3)
    store.delete("b")
    everything = rest(store, "")
    assert len(everything) == 9
    for queue in (1, 2, 1000):
        after = ""
        for number, expected in enumerate(everything):
            with store.watch(after=after, mode="off", queue=queue) as watcher:
                assert watcher.next() == expected
                after = watcher.cursor
            left = rest(store, after, queue=queue)
            assert sorted(short(left)) == sorted(short(everything[number + 1 :]))
        assert rest(store, after) == []


def test_a_watcher_that_read_ahead_has_not_told_it(store: SessionStore) -> None:
    session = store.create("a")
    for number in range(10):
        session.append("user", str(number))
    with store.watch(after="", mode="off", queue=100) as watcher:
        take(watcher, 4)
        after = watcher.cursor
    assert [item.revision for item in rest(store, after)] == list(range(5, 12))


def begin(root: Path, name: str) -> str:
    """In a child: change something, tell of it, and say how far."""
    store = store_at(root)
    session = store.create(name)
    with store.watch(mode="off") as watcher:
        session.append("user", "told")
        assert types(watcher) == ["appended"]
        return watcher.cursor


def test_another_process_goes_on_after_everything_was_closed(
    start: Callable[[], Child], root: Path, open_store: Callable[..., SessionStore]
) -> None:
    first = start()
    after = first.call(begin, root, "a")
    first.kill()
    store = open_store()
    assert rest(store, after) == []
    store.get("a").append("user", "missed")
    store.create("b")
    store.close()
    assert sorted(short(rest(open_store(), after))) == [("appended", "a", 3), ("created", "b", 1)]


def test_a_watcher_of_one_session_tells_of_no_other(store: SessionStore) -> None:
    with store.watch(session="a", mode="off") as watcher, store.watch(session="a") as live:
        store.create("b").append("user", "x")
        session = store.create("a", parent="b")
        session.append("user", "y")
        store.delete("a")
        store.create("a")
        expected = [("created", "a", 1), ("appended", "a", 2), ("deleted", "a", 3), ("created", "a", 1)]
        assert short(watcher) == expected
        assert short(take(live, 4)) == expected
        assert live.next(timeout_s=0) is None
        after = watcher.cursor
    assert rest(store, after, session=session) == []
    with pytest.raises(InvalidRecord, match="of a watcher of session 'a'"):
        store.watch(after=after)


def test_what_is_no_cursor_of_this_store_is_refused(
    store: SessionStore, open_store: Callable[..., SessionStore], tmp_path: Path
) -> None:
    store.create("a")
    with store.watch(mode="off") as watcher:
        good = watcher.cursor
    other = open_store(tmp_path / "other")
    with pytest.raises(InvalidRecord, match="of another store"):
        other.watch(after=good)
    bad = ["x", "h1.", "h1.@@@@", good[:-8], good[:20] + ("A" if good[20] != "A" else "B") + good[21:], 7]
    bad.append("h1." + base64.urlsafe_b64encode(b"{}\n" + bytes(20)).decode())
    for text in bad:
        with pytest.raises(InvalidRecord) as caught:
            store.watch(after=text)  # type: ignore[arg-type]
        assert caught.value.where == "after"


def test_every_position_comes_back_from_a_cursor_as_it_was() -> None:
    positions = [
        Position("a", "0123456789abcdef", Told(3, 400, 7, 1)),
        Position("é" * 500, "f" * 16, Told(2**40, 2**41, 2**32 - 1, 300, True, True)),
        Position(clock.new_id(), "0" * 16, Told(1, 200, 0)),
        Position("ab", "", Told(is_unreadable=True)),
        Position("ABCD", "0" * 16, Told(1, 200, 5, 0, True)),
    ]
    text = cursor.pack("store", None, [cursor.pack_rows(positions)])
    back = cursor.unpack(text, "store", None)
    assert [(item.id, item.nonce, item.told) for item in back] == [
        (item.id, item.nonce, item.told) for item in positions
    ]


def test_a_cursor_packs_only_what_moved_since_the_last(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        store.create(f"s{number}")
    packed: list[int] = []

    def counting(positions: object) -> bytes:
        rows = list(positions)  # type: ignore[call-overload]
        packed.append(len(rows))
        return cursor.pack_rows(rows)

    monkeypatch.setattr(places, "pack_rows", counting)
    with store.watch(mode="off") as watcher:
        first = watcher.cursor
        assert sum(packed) == 40
        packed.clear()
        assert watcher.cursor == first
        assert packed == []
        store.get("s7").append("user", "x")
        take(watcher, 1)
        assert watcher.cursor != first
        assert len(packed) == 1
