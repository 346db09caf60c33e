"""``kill -9`` of who compacts, at random moments, while others write and read: nothing is lost."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from tests.processes import hear, say, store_at, told
from tests.support import fill, texts

KILLS = 60
PATIENT_S = 60.0


def compact_until_killed(root: Path, durability: str) -> None:
    """In a child: undo something and compact, for ever."""
    store = store_at(root, durability=durability, lock_timeout_s=PATIENT_S)
    session = store.get("s")
    say("ready")
    while True:
        session.set_title("x" * 100)
        session.set_title("y")
        session.compact(keep="snapshots")


def append_until_told(root: Path) -> list[tuple[int, str]]:
    """In a child: append and say nothing until the test says so; what was acknowledged."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    acks = []
    say("ready")
    while not told():
        message = session.append("user", f"{os.getpid()}-{len(acks)}")
        acks.append((message.seq, message.content))
        assert session.messages[-1].seq >= message.seq
        time.sleep(0.001)
    hear()
    return acks


def test_nothing_is_lost_when_who_compacts_is_killed_again_and_again(start, root, open_store):
    dice = random.Random(5)
    store = open_store(lock_timeout_s=PATIENT_S)
    session = fill(store.create("s"), "first", "second")
    snap = session.snapshot("early")
    writers = [start() for _ in range(2)]
    for writer in writers:
        writer.begin(append_until_told, root)
        assert writer.hear() == "ready"
    seen: list[Any] = []
    for number in range(KILLS):
        victim = start()
        victim.begin(compact_until_killed, root, ["process", "power"][number % 2])
        assert victim.hear() == "ready"
        time.sleep(dice.random() * 0.02)
        victim.kill()
        victim.pipe.close()
        ids = [message.id for message in session.messages]
        assert ids[: len(seen)] == seen
        seen = ids
    for writer in writers:
        writer.say("stop")
    acks = sorted(ack for writer in writers for ack in writer.result())
    for place in (session, open_store().get("s"), open_store(read_only=True).get("s")):
        assert [(message.seq, message.content) for message in place.messages] == [(1, "first"), (2, "second"), *acks]
        assert texts(place.at(snap)) == ["first", "second"]
    session.compact(keep="present")
    assert [(message.seq, message.content) for message in session.messages][2:] == acks
    # What the dead were building is known for what it is.
    assert {finding.kind for finding in store.check().notes} <= {"stray"}
