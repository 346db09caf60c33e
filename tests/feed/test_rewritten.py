"""Logs that change other than by growing: compacted, torn, damaged, put back, and not to be read."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from hierstore import telling
from hierstore.disk import files
from hierstore.log import frame
from tests.feed.taking import rest, short, take, types
from tests.processes import replaced
from tests.support import fill, log_of

if TYPE_CHECKING:
    from pathlib import Path

    from hierstore import SessionStore, Watcher
    from hierstore.log.feed import Event


def _undone(store: SessionStore) -> None:
    """A session of which a compaction drops something: revision 8."""
    session = fill(store.create("a"), "1", "2", "3", "4", "5")
    session.revert(2)
    session.append("user", "6")


def test_a_watcher_that_was_told_all_goes_on_behind_a_compaction(store: SessionStore) -> None:
    _undone(store)
    with store.watch(mode="off") as watcher:
        after = watcher.cursor
        assert store.get("a").compact(keep="present").dropped_messages > 0
        assert list(watcher) == []
        store.get("a").append("user", "7")
        assert short(watcher) == [("appended", "a", 9)]
    assert short(rest(store, after)) == [("appended", "a", 9)]


def test_what_was_written_before_a_compaction_is_told_if_it_comes_after_what_was_dropped(store: SessionStore) -> None:
    _undone(store)
    store.get("a").compact(keep="present")
    with store.watch(mode="off") as watcher:
        store.get("a").append("user", "7")
        assert store.get("a").compact(keep="present").dropped_messages == 0
        assert short(watcher) in ([("appended", "a", 9)], [("reset", "a", 9)])


def test_a_session_compacted_past_its_watcher_is_told_as_reset_once(store: SessionStore) -> None:
    _undone(store)
    with store.watch(after="", mode="off") as watcher:
        assert short(take(watcher, 2)) == [("created", "a", 1), ("appended", "a", 2)]
        after = watcher.cursor
    store.get("a").compact(keep="present")
    store.create("b")
    with store.watch(after=after, mode="off") as watcher:
        told = sorted(watcher, key=lambda item: item.session_id)
        assert short(told) == [("reset", "a", 8), ("created", "b", 1)]
        assert [item.missed for item in told] == ["compacted", None]
        store.get("a").append("user", "7")
        assert short(watcher) == [("appended", "a", 9)]
        assert rest(store, watcher.cursor) == []


def test_of_a_compacted_session_that_nobody_knew_its_making_is_told_and_then_a_reset(store: SessionStore) -> None:
    _undone(store)
    store.get("a").compact(keep="present")
    told = rest(store, "")
    assert short(told) == [("created", "a", 1), ("reset", "a", 8)]
    assert told[1].missed == "compacted"


def test_a_compaction_at_the_same_time_changes_nothing_for_a_watcher_in_the_middle_of_a_commit(
    store: SessionStore,
) -> None:
    _undone(store)
    with store.watch(mode="off") as watcher:
        with store._engine.holding([store._engine.entry("a")]) as durable:
            store._engine.commit_held(
                store._engine.entry("a"),
                lambda _: [{"type": "title", "title": "t"}, {"type": "moved", "parent": None}],
                durable,
            )
        assert types(take(watcher, 1)) == ["titled"]
        after = watcher.cursor
        store.get("a").append("user", "7")
    assert short(rest(store, after)) == [("moved", "a", 9), ("appended", "a", 10)]


def test_an_unfinished_commit_is_not_told_at_whatever_byte_it_ends(store: SessionStore) -> None:
    session = fill(store.create("a"), "1")
    path = log_of(store, "a")
    with store.watch(mode="off") as watcher:
        before = path.stat().st_size
        session.append("user", "2")
        line = path.read_bytes()[before:]
        for size in range(len(line)):
            path.write_bytes(path.read_bytes()[:before] + line[:size])
            assert list(watcher) == []
        session.append("user", "3")  # cuts the tail off
        assert [event.messages[0].content for event in watcher] == ["3"]


def test_a_tail_that_was_cut_off_and_written_anew_in_the_same_tick_is_told(store: SessionStore) -> None:
    session = fill(store.create("a"), "1")
    path = log_of(store, "a")
    stat = path.stat()
    with store.watch(mode="off") as watcher:
        session.append("user", "2")
        found, whole = path.stat(), path.read_bytes()
        # As many bytes, at the same time, of a commit that its writer did not finish.
        path.write_bytes(whole[: stat.st_size] + b"x" * (len(whole) - stat.st_size))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert list(watcher) == []
        path.write_bytes(whole)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert short(watcher) == [("appended", "a", 3)]


@pytest.mark.damages
def test_damage_is_told_once_and_what_follows_when_it_is_mended(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = fill(store.create("a"), "1")
    path = log_of(store, "a")
    with store.watch(mode="off") as watcher:
        fill(session, "2", "3", "4")
        whole = path.read_bytes()
        bad = whole.index(b'"content":"3"')
        path.write_bytes(whole[:bad] + b"X" + whole[bad + 1 :])
        assert short(watcher) == [("appended", "a", 3)], "a reader may have seen half of a write"
        monkeypatch.setattr(telling, "_PATIENCE_S", 0.0)
        (told,) = list(watcher)
        assert (told.type, told.revision) == ("unreadable", 3)
        assert "damaged at byte" in told.data["why"]
        assert list(watcher) == []
        after = watcher.cursor
        assert rest(store, after) == []
        path.write_bytes(whole)
        assert short(watcher) == [("appended", "a", 4), ("appended", "a", 5)]
    assert short(rest(store, after)) == [("appended", "a", 4), ("appended", "a", 5)]


def test_a_log_put_back_shorter_is_told_as_reset_and_goes_on_from_there(store: SessionStore, tmp_path: Path) -> None:
    session = fill(store.create("a"), "1")
    path = log_of(store, "a")
    shutil.copy(path, tmp_path / "older")
    fill(session, "2", "3")
    with store.watch(mode="off") as watcher:
        after = watcher.cursor
        shutil.copy(tmp_path / "older", path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)
        # As many revisions again, and others: the number alone would not tell.
        fill(store.get("a"), "4", "5", "6")
        (told,) = list(watcher)
        assert (told.type, told.revision, told.missed) == ("reset", 5, "replaced")
        assert list(watcher) == []
        store.get("a").append("user", "7")
        assert short(watcher) == [("appended", "a", 6)]
    assert short(rest(store, after)) == [("reset", "a", 6)]


def test_a_log_that_was_copied_to_another_file_goes_on(store: SessionStore) -> None:
    session = fill(store.create("a"), "1")
    path = log_of(store, "a")
    with store.watch(mode="off") as watcher:
        session.append("user", "2")
        shutil.copy(path, path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)
        assert short(watcher) == [("appended", "a", 3)]


@pytest.mark.damages
def test_a_log_that_cannot_be_read_is_told_once_and_goes_on_when_it_can(store: SessionStore) -> None:
    session = fill(store.create("a"), "1")
    store.create("b")
    path = log_of(store, "a")
    with store.watch(mode="off") as watcher:
        session.append("user", "2")
        path.rename(store.root / "tmp" / "kept")
        path.symlink_to(store.root / "tmp" / "kept")
        store.get("b").append("user", "x")
        told = sorted(watcher, key=lambda item: item.session_id)
        assert short(told) == [("unreadable", "a", 2), ("appended", "b", 2)], "one bad session hides no other"
        assert list(watcher) == []
        after = watcher.cursor
        assert rest(store, after) == []
        path.unlink()
        (store.root / "tmp" / "kept").rename(path)
        assert short(watcher) == [("appended", "a", 3)]
    assert short(rest(store, after)) == [("appended", "a", 3)]


@pytest.mark.damages
def test_a_log_that_never_could_be_read_is_told_as_reset_when_it_can(store: SessionStore) -> None:
    fill(store.create("a"), "1")
    path = log_of(store, "a")
    whole = path.read_bytes()
    path.write_bytes(b"not a log\n")
    with store.watch(mode="off") as old, store.watch(after="", mode="off") as new:
        assert types(old) == []
        assert short(new) == [("unreadable", "a", 0)]
        path.write_bytes(whole)
        for watcher in (old, new):
            (told,) = list(watcher)
            assert (told.type, told.revision, told.missed) == ("reset", 2, "unreadable")
            assert list(watcher) == []


@pytest.mark.damages
def test_a_sealed_line_that_is_no_commit_is_told_and_passed(store: SessionStore) -> None:
    fill(store.create("a"), "1")
    path = log_of(store, "a")
    with store.watch(mode="off") as watcher:
        chain = frame.scan(path.read_bytes(), 0, -1).chain
        bad, chain = frame.seal(b'{"events":[7],"at":1.0,"seq":3', chain)
        good, _ = frame.seal(b'{"events":[{"type":"title","title":"t"}],"at":1.0,"seq":4', chain)
        with path.open("ab") as file:
            file.write(bad + good)
        assert short(watcher) == [("unreadable", "a", 3), ("titled", "a", 4)]


@pytest.mark.damages
def test_a_log_of_a_later_version_and_a_stray_file_end_nothing(store: SessionStore) -> None:
    with store.watch(mode="off") as watcher:
        session = store.create("a")
        folder = log_of(store, "a").parent
        header = b'{"hierstore":99,"session":"z","nonce":"0123456789abcdef","seq":0,"crc":"00000000"}\n'
        (folder / "z.jsonl").write_bytes(header)
        shutil.copy(log_of(store, "a"), folder / "stray.jsonl")
        (folder / "empty.jsonl").touch()
        (store.root / "sessions" / "file").touch()
        told = sorted(watcher, key=lambda item: item.session_id)
        assert short(told) == [("created", "a", 1), ("unreadable", "z", 0)]
        assert "format 99" in told[1].data["why"]
        session.append("user", "x")
        assert types(watcher) == ["appended"]


def test_running_out_of_descriptors_is_not_the_logs_fault(store: SessionStore) -> None:
    session = store.create("a")
    with store.watch(poll_s=0.05) as watcher:
        session.append("user", "x")
        tries = []
        open_file = files.open_file

        def failing(path: bytes, *args: int) -> int:
            if path.endswith(b"/a.jsonl") and len(tries) < 3:
                tries.append(path)
                raise OSError(errno.EMFILE, "too many open files")
            return open_file(path, *args)

        with replaced(files, open_file=failing):
            assert types(take(watcher, 1)) == ["appended"]
        assert len(tries) == 3


def test_a_commit_far_larger_than_what_is_read_at_a_time_is_told_whole(store: SessionStore) -> None:
    with store.watch(mode="off", queue=1) as watcher:
        session = store.create("a")
        session.append("user", "x" * 3_000_000)
        session.append("user", "y")
        told = list(watcher)
        assert [len(item.messages[0].content) for item in told[1:]] == [3_000_000, 1]


def test_a_slow_consumer_costs_no_memory_and_loses_nothing(store: SessionStore) -> None:
    sizes: list[int] = []

    def read(fd: int, size: int, offset: int, read: object = files.read) -> bytes:
        sizes.append(size)
        return read(fd, size, offset)  # type: ignore[operator]

    with store.watch(queue=8) as watcher:
        session = store.create("a")
        for number in range(3000):
            session.append("user", f"{number} {'x' * 300}")
        assert len(watcher._hints._logs) <= 1
        with replaced(files, read=read):
            told = take(watcher, 3001)
        assert _contents(told[1:]) == list(range(3000))
        assert max(sizes) < 2**15, "a few lines at a time, though the log has a megabyte"


def _contents(events: list[Event]) -> list[int]:
    return [int(message.content.split()[0]) for event in events for message in event.messages]


def test_of_many_busy_sessions_each_has_its_turn(store: SessionStore) -> None:
    with store.watch(mode="off", queue=10) as watcher:
        for name in ("a", "b", "c"):
            fill(store.create(name), *range(100))
        first = {event.session_id for event in _some(watcher, 60)}
        assert first == {"a", "b", "c"}


def _some(watcher: Watcher, count: int) -> list[Event]:
    return take(watcher, count)
