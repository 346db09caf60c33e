"""The watchdog listener: entries are dropped when their files change, and nothing runs that nobody asked for."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hierstore import StoreClosed
from hierstore.disk import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import Session, SessionStore


def _until(condition: Callable[[], bool]) -> bool:
    """Wait for something that another thread does; True as soon as it is so."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _edit_unseen(session: Session) -> None:
    """Change a log in place, and put its size and mtime back: no stamp shows it."""
    path = session._entry.path
    before = os.stat(path)
    text = Path(path.decode()).read_bytes()
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, text.replace(b"original", b"replaced"), 0)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)


def test_a_store_that_nobody_listens_to_starts_no_thread(store: SessionStore) -> None:
    before = threading.active_count()
    store.create("a").append("user", "x")
    assert threading.active_count() == before


@pytest.mark.damages
def test_an_edit_that_restores_size_and_mtime_is_noticed_only_by_a_listener(store: SessionStore) -> None:
    session = store.create("a")
    session.append("user", "original")
    _edit_unseen(session)
    assert session.messages[0].content == "original", "no stamp can show this edit"
    with store.listen():
        _edit_unseen(session)
        # The edit breaks the checksum: what is dropped is read again, and the line is no longer shown.
        assert _until(lambda: session._entry.head is None)
        assert len(session.messages) == 0


def test_the_stores_own_writes_and_reads_drop_nothing(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    session = store.create("a")
    with store.listen() as listener:
        heard = []
        drop = listener._drop_changed
        monkeypatch.setattr(listener, "_drop_changed", lambda prefix: (drop(prefix), heard.append(prefix)))
        for number in range(20):
            session.append("user", str(number))
            assert len(session.messages) == number + 1
        assert _until(lambda: len(heard) > 0)
        # Whatever was heard by now came from our own writes.
        assert session._entry.head is not None
        reads = []
        monkeypatch.setattr(files, "read", lambda *args: reads.append(args))
        assert len(session.messages) == 20
        assert reads == []


def test_reading_makes_no_events(open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = open_store(), open_store()
    ours.create("a").append("user", "x")
    with theirs.listen() as listener:
        heard: list[bytes] = []
        monkeypatch.setattr(listener, "_drop_changed", heard.append)
        for _ in range(10):
            theirs._engine.cache.clear()
            assert len(theirs.get("a").messages) == 1
        marker = ours.create("marker")
        assert _until(lambda: any(b"marker" in path or path.endswith(b"/") for path in heard))
        assert not [path for path in heard if path.endswith(b"/a.jsonl")]
        assert marker.revision == 1


def test_another_stores_append_drops_the_entry_before_it_is_read(open_store: Callable[..., SessionStore]) -> None:
    ours, theirs = open_store(), open_store()
    session = theirs.create("a")
    mine = ours.get("a")
    assert len(mine.messages) == 0
    with ours.listen():
        session.append("user", "x")
        assert _until(lambda: mine._entry.head is None)
        assert mine.messages[0].content == "x"


def test_a_session_in_a_new_folder_is_listened_to(open_store: Callable[..., SessionStore]) -> None:
    ours, theirs = open_store(), open_store()
    with ours.listen():
        session = theirs.create("made-later")
        mine = ours.get("made-later")
        assert len(mine.messages) == 0

        def noticed() -> bool:
            # Again and again: the folder's watch comes a moment after the folder.
            session.append("user", "x")
            return _until_brief(lambda: mine._entry.head is None) or len(mine.messages) == 0

        assert _until(noticed)


def _until_brief(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 0.2
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def test_listening_twice_is_listening_once_and_closing_ends_the_threads(store: SessionStore) -> None:
    before = set(threading.enumerate())
    listener = store.listen()
    assert store.listen() is listener
    assert set(threading.enumerate()) - before
    listener.close()
    listener.close()
    assert listener.closed
    assert set(threading.enumerate()) == before
    again = store.listen()
    assert again is not listener
    store.close()
    assert again.closed
    assert set(threading.enumerate()) == before


def test_a_closed_store_does_not_listen(store: SessionStore) -> None:
    store.close()
    with pytest.raises(StoreClosed):
        store.listen()


def test_a_deleted_session_is_dropped(open_store: Callable[..., SessionStore]) -> None:
    ours, theirs = open_store(), open_store()
    theirs.create("a")
    mine = ours.get("a")
    with ours.listen():
        theirs.delete("a")
        assert _until(lambda: mine._entry.head is None)
