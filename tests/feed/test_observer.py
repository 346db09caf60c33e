"""How a watcher hears of changes, and that it misses nothing where the system loses, refuses or says nothing."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import watchdog.observers.inotify_c as inotify
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from hierstore import UnreadableLog
from hierstore.disk import observer
from hierstore.disk.places import Places
from tests.feed.taking import PATIENCE_S, short, take, types, watched_descriptors
from tests.processes import replaced, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import SessionStore, Watcher


def test_where_the_system_tells_of_changes_it_is_relied_on(store: SessionStore) -> None:
    with store.watch() as watcher:
        assert watcher.mode == "native"
        assert not list((store.root / "trash").iterdir()), "the probe is gone"
        store.create("a").append("user", "x")
        store.create("b")
        assert sorted(short(take(watcher, 3))) == [("appended", "a", 2), ("created", "a", 1), ("created", "b", 1)]
        assert watcher.next(timeout_s=0) is None


def test_a_deletion_holds_nothing_up(store: SessionStore, monkeypatch) -> None:
    # watchdog holds a move out of a folder, and all that is behind it: half a second, here longer than we wait.
    monkeypatch.setattr(InotifyMoveEventGrouper, "delay", 10 * PATIENCE_S)
    store.create("a")
    session = store.create("b")
    with store.watch(poll_s=10 * PATIENCE_S) as watcher:
        for number in range(5):
            store.delete("a")
            session.append("user", str(number))
            store.create("a")
            take(watcher, 3)


def test_reading_the_store_gives_no_hint(open_store: Callable[..., SessionStore]) -> None:
    ours, theirs = open_store(), open_store()
    ours.create("a").append("user", "x")
    with ours.watch() as watcher:
        for _ in range(10):
            theirs._engine.cache.clear()
            assert len(theirs.get("a").messages) == 1
            assert theirs.tree()
        theirs.close()  # closes logs that were open for writing
        heard: list[Any] = []
        add = watcher._hints.add
        watcher._hints.add = lambda key, **options: (heard.append(key), add(key, **options))  # type: ignore[assignment]
        ours.create("b")
        take(watcher, 1)
        assert {name for _, name in heard} == {b"b.jsonl"}


def test_a_real_overflow_of_the_kernels_queue_loses_nothing(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    if limit > 50_000:
        pytest.skip("this system's queue is too long to fill")
    names = ("a", "b")
    sessions = [store.create(name) for name in names]
    with store.watch() as watcher:
        handle = _inotify(watcher).handle_event
        held = threading.Event()
        _inotify(watcher).handle_event = lambda event: (held.wait(60), handle(event))
        # In turns: equal events in a row are one to the kernel.
        for number in range(limit // 2 + 500):
            for session in sessions:
                session.append("user", str(number))
        held.set()
        count = 2 * (limit // 2 + 500)
        told = take(watcher, count)
        for name in names:
            assert [item.revision for item in told if item.session_id == name] == list(range(2, count // 2 + 2))
        wait_until(lambda: "lost events" in caplog.text, "the overflow was not noticed")
        sessions[0].append("user", "after")
        store.create("c").append("user", "after")
        assert sorted(types(take(watcher, 3))) == ["appended", "appended", "created"]
        assert watcher.mode == "native"
    assert len([record for record in caplog.records if record.name == "hierstore"]) == 1


def _inotify(watcher: Watcher) -> Any:
    assert watcher._observer is not None
    return watcher._observer._observer._inotify_fd  # type: ignore[attr-defined]


def test_what_an_overflow_dropped_is_found_at_once_and_logged_once(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    session = store.create("a")
    with store.watch(poll_s=600) as watcher:
        handle = _inotify(watcher).handle_event
        for number in range(3):
            _inotify(watcher).handle_event = lambda event: None  # the kernel drops what comes
            session.append("user", "dropped")
            store.create(f"new{number}")
            assert watcher.next(timeout_s=0.05) is None
            handle(InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b""))
            assert sorted(types(take(watcher, 2))) == ["appended", "created"]
        _inotify(watcher).handle_event = handle
        session.append("user", "heard")
        store.get("new1").append("user", "heard, in a folder that was made unheard")
        take(watcher, 2)
    assert [record.message.split(";")[0] for record in caplog.records if record.name == "hierstore"] == [
        f"The system lost events of changes in {store.root}/sessions"
    ]


def test_lost_hints_are_made_up_for_by_a_look_now_and_then(store: SessionStore) -> None:
    session = store.create("a")
    with store.watch(poll_s=0.1) as watcher:
        _inotify(watcher).handle_event = lambda event: None
        session.append("user", "x")
        assert types(take(watcher, 1)) == ["appended"]


def test_at_the_limit_of_watches_the_rest_is_found_by_looking(
    store: SessionStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = inotify.InotifyFD._add_callback

    def add_callback(self: Any, path: bytes, *args: Any) -> Any:
        if path.rpartition(b"/")[0].endswith(b"/sessions"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return add(self, path, *args)

    monkeypatch.setattr(inotify.InotifyFD, "_add_callback", add_callback)
    session = store.create("a")
    with store.watch() as watcher:
        assert watcher.mode == "native"
        assert watcher._pause_s() == 1.0, "as often as where the system says nothing"
        for number in range(3):
            session.append("user", "x")
            store.create(f"b{number}")
            assert sorted(types(take(watcher, 2))) == ["appended", "created"]
    assert len([record for record in caplog.records if "watches no more folders" in record.message]) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
def test_where_nothing_can_be_watched_it_polls_or_says_so(
    store: SessionStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: Any) -> Any:
        raise OSError(number, "inotify limit reached")

    before, threads = watched_descriptors(), threading.active_count()
    name = "_create_inotify_fd" if number == errno.EMFILE else "_add_callback"
    monkeypatch.setattr(inotify.InotifyFD, name, refuse)
    with store.watch(poll_s=0.05) as watcher:
        assert watcher.mode == "polling"
        store.create("a")
        assert types(take(watcher, 1)) == ["created"]
    with pytest.raises(UnreadableLog, match="limit reached"):
        store.watch(mode="native")
    assert (watched_descriptors(), threading.active_count()) == (before, threads)
    assert len([record for record in caplog.records if record.name == "hierstore"]) == 1


def test_where_the_file_system_says_nothing_it_polls_or_says_so(
    store: SessionStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hierstore.watching._PROBE_S", 0.05)
    monkeypatch.setattr(observer._Handler, "on_any_event", lambda self, event: None)
    session = store.create("a")
    with store.watch(poll_s=0.05) as watcher:
        assert watcher.mode == "polling"
        assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "Inotify" in repr(t)]
        for _ in range(3):
            session.append("user", "x")
            assert types(take(watcher, 1)) == ["appended"]
        store.delete("a")
        assert types(take(watcher, 1)) == ["deleted"]
    assert [record.levelno for record in caplog.records if record.name == "hierstore"] == [logging.WARNING]
    with pytest.raises(UnreadableLog, match="does not tell of changes"):
        store.watch(mode="native")


@pytest.mark.parametrize("mode", ["native", "polling", "off"])
def test_a_store_renamed_away_and_back_misses_nothing(
    open_store: Callable[..., SessionStore], caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    store = open_store()
    store.create("a").append("user", "x")
    away = store.root.with_name("away")
    with store.watch(mode=mode, poll_s=0.05) as watcher:
        store.root.rename(away)
        for _ in range(5):
            assert watcher.next(timeout_s=0.1) is None
        assert watcher._following._places.at(Places.key_of("a")) is not None, "nothing is moved while it is away"
        with open_store(away) as there:
            there.get("a").append("user", "while it was away")
            there.create("b")
            there.create("c")
            there.delete("c")
        assert watcher.next(timeout_s=0.1) is None
        away.rename(store.root)
        assert sorted(short(take(watcher, 4))) == [
            ("appended", "a", 3), ("created", "b", 1), ("created", "c", 1), ("deleted", "c", 2),
        ]  # fmt: skip
        store.get("a").append("user", "y")
        assert short(take(watcher, 1)) == [("appended", "a", 4)]
    assert len([record for record in caplog.records if "is not there" in record.message]) == 1


def test_sessions_renamed_away_alone_and_back_misses_nothing(store: SessionStore) -> None:
    store.create("a")
    sessions, away = store.root / "sessions", store.root / "away"
    with store.watch(poll_s=0.05) as watcher:
        sessions.rename(away)
        assert watcher.next(timeout_s=0.3) is None, "nothing was deleted"
        away.rename(sessions)
        store.get("a").append("user", "x")
        assert short(take(watcher, 1)) == [("appended", "a", 2)]


def test_another_folder_in_the_place_of_the_old_one_is_listened_to(store: SessionStore) -> None:
    store.create("a").append("user", "x")
    sessions, copy = store.root / "sessions", store.root / "copy"
    with store.watch(poll_s=0.05) as watcher:
        first = watcher._observer
        shutil.copytree(sessions, copy)
        sessions.rename(store.root / "old")
        copy.rename(sessions)
        store.get("a").append("user", "y")
        assert short(take(watcher, 1)) == [("appended", "a", 3)]
        deadline = time.monotonic() + 20
        while watcher._observer is first and time.monotonic() < deadline:
            assert watcher.next(timeout_s=0.05) is None
        assert watcher.mode == "native"
        assert watcher._observer is not first
        watcher._poll_s, watcher._due = 600, time.monotonic() + 600
        store.get("a").append("user", "z")
        assert short(take(watcher, 1)) == [("appended", "a", 4)]


def test_off_looks_when_it_is_asked_and_never_waits(store: SessionStore) -> None:
    threads = threading.active_count()
    with store.watch(mode="off") as watcher:
        assert watcher.mode == "off"
        assert threading.active_count() == threads
        began = time.monotonic()
        assert watcher.next(timeout_s=60) is None
        assert time.monotonic() - began < 30
        store.create("a")
        event = watcher.next(timeout_s=0)
        assert event is not None
        assert event.type == "created"


def test_polling_starts_no_thread_and_waits_no_longer_than_its_interval(store: SessionStore) -> None:
    threads = threading.active_count()
    with store.watch(mode="polling", poll_s=0.2) as watcher:
        assert threading.active_count() == threads
        session = store.create("a")
        take(watcher, 1)
        waits: list[float] = []
        wait = watcher._hints.wait
        watcher._hints.wait = lambda timeout_s: (waits.append(timeout_s), wait(timeout_s))  # type: ignore[assignment]
        for _ in range(3):
            session.append("user", "x")
            take(watcher, 1)
            # As asked for: a wait that ends a moment early is followed by one for the rest.
            assert sum(waits) < 0.2 + 0.01
            waits.clear()


def test_a_store_that_can_only_be_read_can_be_watched(open_store: Callable[..., SessionStore]) -> None:
    writer = open_store()
    session = writer.create("a")
    reader = open_store(read_only=True)
    with reader.watch() as watcher:
        assert watcher.mode == "native"
        assert watcher._pause_s() == 1.0, "nobody proved that the system tells of changes"
        session.append("user", "x")
        assert types(take(watcher, 1)) == ["appended"]
    with reader.watch(mode="polling", poll_s=0.05, after="") as watcher:
        assert types(take(watcher, 2)) == ["created", "appended"]


@pytest.mark.parametrize(
    "options",
    [{"mode": "fast"}, {"poll_s": 0}, {"poll_s": float("nan")}, {"poll_s": True}, {"queue": 0}, {"queue": 1.5}],
)
def test_what_is_no_option_is_refused(store: SessionStore, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mode|poll_s|queue"):
        store.watch(**options)


def test_watching_is_not_imported_by_who_does_not_watch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, hierstore, tempfile\n"
        "with hierstore.SessionStore(tempfile.mkdtemp()) as store: store.create('a').append('user', 'x')\n"
        "bad = [m for m in sys.modules if m.startswith('watchdog') or m == 'hierstore.watching']\n"
        "with hierstore.SessionStore(tempfile.mkdtemp()) as store: store.watch(mode='polling').close()\n"
        "bad += [m for m in sys.modules if m.startswith('watchdog')]\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_poll_is_slower_where_a_look_takes_long(store: SessionStore) -> None:
    with store.watch() as watcher:
        assert watcher._pause_s() == 5.0
        watcher._following.scan_s = 2.0
        assert watcher._pause_s() == 40.0


def test_the_notice_names_each_hint_with_its_folder(store: SessionStore) -> None:
    with store.watch() as watcher:
        hear = watcher._observer._handler._changed  # type: ignore[union-attr]
        with replaced(watcher._hints, add=lambda key, **_: keys.append(key), add_folder=keys_of_folders.append):
            keys: list[Any] = []
            hear(b"%b/ab/x.jsonl" % store._engine.layout.sessions, False)
            hear(b"%b/ab/x.past0" % store._engine.layout.sessions, False)
            hear(b"%b/ab" % store._engine.layout.sessions, True)
            hear(b"%b/0.x.jsonl" % store._engine.layout.trash, False)
            hear(b"%b/0.probe" % store._engine.layout.trash, False)
            assert keys == [(b"ab", b"x.jsonl"), (b"trash", b"0.x.jsonl")]
            assert keys_of_folders == [b"ab"]


keys_of_folders: list[bytes] = []
