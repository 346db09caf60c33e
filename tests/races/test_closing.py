"""Closing a store while other threads are in the middle of calls: they finish, or are told that it is closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import SessionNotFound, SessionStore, StoreClosed
from hierstore.disk import files, locks

if TYPE_CHECKING:
    from pathlib import Path

STORES = 12
THREADS = 6


def _busy(store: SessionStore, number: int, stored: list[str], strange: list[Any]) -> None:
    try:
        session = store.get_or_create(f"s{number % 3}")
        for turn in range(10_000):
            stored.append(session.append("user", f"{number}-{turn}").content)
            assert len(session.messages) > 0
    except StoreClosed:
        pass
    except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
        strange.append(error)


@pytest.mark.parametrize("number", range(STORES))
def test_a_store_closed_under_busy_threads_tells_them_so_and_loses_nothing(root: Path, number: int) -> None:
    store = SessionStore(root)
    stored: list[list[str]] = [[] for _ in range(THREADS)]
    strange: list[Any] = []
    threads = [threading.Thread(target=_busy, args=(store, n, stored[n], strange)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    while sum(map(len, stored)) < 20 * (number + 1):
        assert any(thread.is_alive() for thread in threads)
    store.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not strange
    with SessionStore(root) as again:
        kept = {message.content for n in range(3) for message in again.get_or_create(f"s{n}").messages}
        assert {content for one in stored for content in one} <= kept
        assert again.check().ok


def test_a_log_is_not_closed_under_the_hands_of_a_writer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SessionStore(root)
    session = store.create("a")
    session.append("user", "before")
    writing, go_on = threading.Event(), threading.Event()
    write = files.write

    def stalling(fd: int, data: bytes) -> int:
        writing.set()
        assert go_on.wait(30)
        return write(fd, data)

    monkeypatch.setattr(files, "write", stalling)
    stored: list[Any] = []
    writer = threading.Thread(target=lambda: stored.append(session.append("user", "while closing")))
    writer.start()
    assert writing.wait(30)
    closer = threading.Thread(target=store.close)
    closer.start()
    # The descriptor's number may be another file's by the time the write is made, if it is closed before.
    probe = (root / "probe").open("wb")
    go_on.set()
    writer.join(30)
    closer.join(30)
    probe.close()
    assert [message.content for message in stored] == ["while closing"]
    assert (root / "probe").read_bytes() == b""
    with SessionStore(root) as again:
        assert [message.content for message in again.get("a").messages] == ["before", "while closing"]


def test_a_turn_is_not_stored_in_a_session_made_anew_under_the_id(root: Path) -> None:
    """behaviours 8: a late writer never reaches the session that took the id."""
    with SessionStore(root) as store, SessionStore(root) as other:
        session = store.create("a")

        def take_a_turn() -> None:
            with session.turn() as turn:
                turn.append("user", "of the old session")
                other.delete("a")
                other.create("a")

        with pytest.raises(SessionNotFound):
            take_a_turn()
        assert len(store.get("a").messages) == 0


def test_a_store_with_a_lock_that_never_comes_free_still_closes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "CLOSING_S", 0.05)
    store = SessionStore(root)
    session = store.create("a")
    mutex = session._entry.stripe.mutex
    # As a Ctrl-C may leave it, between taking the lock and noting that it is taken.
    assert mutex.acquire(False)
    store.close()
    mutex.release()
    store.close()
    with pytest.raises(StoreClosed):
        session.append("user", "x")
