"""Several processes write, and one that watches is killed again and again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.feed.taking import PATIENCE_S
from tests.processes import hear, say, store_at, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import SessionStore
    from tests.processes import Child

SESSIONS = 8
APPENDS = 1250
LIVES = 10


def write(root: Path, turn: int, number: int) -> None:
    """In a child: append to every session in turn, as fast as it goes."""
    sessions = [store_at(root).get(f"s{place}") for place in range(SESSIONS)]
    say("ready")
    hear()
    for count in range(APPENDS):
        sessions[count % SESSIONS].append("user", f"{number} {count}")
        sessions[(count + number) % SESSIONS].update(metadata={"k": f"{turn} {number} {count}"})


def follow(root: Path, notes: Path) -> None:
    """In a child: watch, and note each event and how far it was told; to be killed.

    Both are noted as a program must do it that acts on each event once: in one step, here a line of a file.
    """
    lines = notes.read_bytes().split(b"\n")
    after = lines[-2].split()[-1].decode() if len(lines) > 1 else ""
    # A line that was not finished did not happen.
    os.truncate(notes, len(notes.read_bytes()) - len(lines[-1]))
    with store_at(root).watch(after=after, queue=4) as watcher, notes.open("ab", buffering=0) as file:
        say("watching")
        while (event := watcher.next(timeout_s=PATIENCE_S)) is not None:
            file.write(f"{event.type} {event.session_id} {event.revision} {watcher.cursor}\n".encode())


def test_twenty_thousand_events_of_two_writers_survive_ten_deaths_of_the_watcher(
    start: Callable[[], Child], open_store: Callable[..., SessionStore], root: Path, tmp_path: Path
) -> None:
    store = open_store()
    for place in range(SESSIONS):
        store.create(f"s{place}")
    notes = tmp_path / "notes"
    notes.touch()
    total = SESSIONS + 4 * 2 * APPENDS + 4 * 2 * APPENDS
    rounds = 4
    for turn in range(rounds):
        writers = [start() for _ in range(2)]
        for number, writer in enumerate(writers):
            writer.begin(write, root, turn, number)
            assert writer.hear() == "ready"
        for writer in writers:
            writer.say()
        for _ in range(LIVES // rounds + 1):
            watcher = start()
            watcher.begin(follow, root, notes)
            assert watcher.hear() == "watching"
            _wait_for(notes, _count(notes) + 700)
            watcher.kill()
        for writer in writers:
            writer.result()
            writer.kill()
    watcher = start()
    watcher.begin(follow, root, notes)
    assert watcher.hear() == "watching"
    _wait_for(notes, total)
    watcher.kill()
    told: dict[str, list[int]] = {}
    for line in notes.read_text().splitlines():
        _, name, revision, _ = line.split()
        told.setdefault(name, []).append(int(revision))
    assert sum(map(len, told.values())) == total >= 20_000
    for name, revisions in told.items():
        assert revisions == list(range(1, store.get(name).revision + 1)), f"{name}: missing, doubled or out of order"


def _count(notes: Path) -> int:
    return notes.read_bytes().count(b"\n")


def _wait_for(notes: Path, wanted: int) -> None:
    wait_until(lambda: _count(notes) >= wanted, "the watcher got stuck")
