"""Histories of eight processes are those of a correct store; and where the store is broken on purpose they are not."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from hierstore import clock, links
from hierstore.disk import files
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.disk.locks import LockTable
from hierstore.disk.reader import Reader
from hierstore.log.events import event
from hierstore.log.state import State
from tests.properties.dying import whole_seconds
from tests.races.calls import CALLS, Worker
from tests.races.histories import find, run_and_judge

_for_good = contextlib.ExitStack()
"""In a child: what it lives in until its end."""


@pytest.mark.parametrize(("seed", "each", "kills"), [(1, 60, 12), (2, 150, 6), (3, 250, 0), (4, 250, 8)])
def test_every_answer_is_one_that_a_correct_store_could_have_given(start, tmp_path, figures, seed, each, kills):
    """behaviours 1, 2, 3, 20, 22"""
    run_and_judge(start, tmp_path, seed, figures, each=each, kills=kills)


def test_a_log_made_anew_is_never_taken_for_the_one_before(start, tmp_path, figures):
    """behaviours 22, 23"""
    run_and_judge(start, tmp_path, 5, figures, each=200, kills=4, plant=let_nothing_tell_files_apart)


# Defects, each planted in every process before it opens a store


def _let_others_in() -> None:
    """Make a gap wide enough to be met in seconds."""
    time.sleep(0.0005)


def drop_the_lock() -> None:
    """Threads still exclude each other, processes do not; nor does the store see that its locks do nothing."""
    make = LockTable.__init__

    def make_without(self: LockTable, *args: Any) -> None:
        make(self, *args)
        self.try_lock = lambda fd, blocking: True
        self.unlock = lambda fd: None

    LockTable.__init__ = make_without  # type: ignore[method-assign]
    LockTable.probe = lambda self: None  # type: ignore[method-assign]


def take_the_stamp_after_unlocking() -> None:
    """What another wrote in between counts as known."""
    append = Engine.append

    def stamp_late(self: Engine, entry: Entry, *args: Any, **options: Any) -> Any:
        messages = append(self, entry, *args, **options)
        _let_others_in()
        head = entry.head
        if head is not None:
            entry.publish(files.stat(entry.path), head[4], entry.chain)
        return messages

    Engine.append = stamp_late  # type: ignore[method-assign]


def append_without_reading_again() -> None:
    """What others wrote since this process last looked does not count under the lock."""
    current = Engine.current

    def remembered(self: Engine, entry: Entry) -> State:
        return entry.head[4] if entry.head is not None else current(self, entry)

    Engine.current = remembered  # type: ignore[method-assign]


def read_past_the_stamp() -> None:
    """One read in five shows what is remembered, without looking at the file."""
    read = Reader.read

    def sometimes_stale(self: Reader, entry: Entry) -> State:
        head = entry.head
        return head[4] if head is not None and random.random() < 0.2 else read(self, entry)

    Reader.read = sometimes_stale  # type: ignore[method-assign]


def compare_before_the_lock() -> None:
    """A compare-and-set compares with what was there a moment ago."""

    def set_ref(engine: Engine, entry: Entry, name: str, value: Any, if_equals: Any) -> bool:
        present = links.loads(engine.read(entry).facts.refs_json).get(name)
        if if_equals not in (links.ANYTHING, present):
            return False
        _let_others_in()
        engine.commit(entry, lambda _: [event("ref", name=name, value=value)])
        return True

    links.set_ref = set_ref


def acknowledge_what_is_not_written() -> None:
    """Of a hundred messages one is answered and never written."""
    append_new = Engine._append_new

    def forgetful(self: Engine, entry: Entry, state: State, drafts: Any) -> Any:
        if not drafts[0].is_retry_safe and random.random() < 0.01:
            return tuple(draft.message(state.seq + 1 + place) for place, draft in enumerate(drafts))
        return append_new(self, entry, state, drafts)

    Engine._append_new = forgetful  # type: ignore[method-assign]


def let_nothing_tell_files_apart() -> None:
    """The stale-cache trap, and no defect: whole seconds, no inodes, and logs of one size that are made anew."""
    files.KEEPS_OPEN_FILES_MOVABLE = False
    _for_good.enter_context(whole_seconds(has_inodes=False))
    # Times of one width, so that logs differ in their content alone.
    clock.now = lambda: int(time.time()) + 0.25
    # Who links whose log is told by inodes.
    calls = {name: CALLS.pop(name) for name in list(CALLS) if name not in ("remake", "look_again", "messages", "title")}
    CALLS["append"] = (5, calls["append"][1])
    CALLS["remake"], CALLS["look_again"] = (10, Worker.remake), (60, Worker.look_again)


def leave_the_mtime() -> None:
    """In that trap, what raises a file's mtime does nothing."""
    let_nothing_tell_files_apart()
    files.raise_mtime = lambda *_: None
    files.set_mtime = lambda *_: None


def forget_message_ids() -> None:
    """A retry is stored once more."""

    def append_again(self: Engine, entry: Entry, state: State, drafts: Any, _: Any) -> Any:
        return self._append_new(entry, state, drafts)

    Engine._append_missing = append_again  # type: ignore[method-assign]


DEFECTS = [
    drop_the_lock, take_the_stamp_after_unlocking, append_without_reading_again, read_past_the_stamp,
    leave_the_mtime, compare_before_the_lock, acknowledge_what_is_not_written, forget_message_ids,
]  # fmt: skip


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_found_within_a_minute(start, tmp_path, figures, plant: Callable[[], None]) -> None:
    find(start, tmp_path, plant, figures)
