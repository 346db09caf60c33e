"""The list of guards fits the code; and guards that no other test missed when they were taken out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from hierstore import CorruptLog, SessionStore, clock
from hierstore.disk import files
from hierstore.disk.locks import TREE, Stripe
from hierstore.log import frame
from tests.mutations import gate
from tests.mutations.removals import REMOVALS, Removal
from tests.seam import OPERATIONS, before_and_after, hooked, is_change, is_legal, list_calls, prepared, view
from tests.support import fill, log_of, texts


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_what_the_gate_takes_out_is_there_once_and_what_is_left_is_python(removal: Removal) -> None:
    assert gate.old_text_count(removal) == 1
    source = (gate.TREE / "hierstore" / removal.file).read_text()
    compile(source.replace(removal.old, removal.new), removal.file, "exec")
    for test in removal.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (gate.TREE / path).read_text()


def test_each_guard_has_a_name_of_its_own() -> None:
    assert len({removal.name for removal in REMOVALS}) == len(REMOVALS) >= 25


def test_what_is_written_as_soon_as_the_lock_is_free_is_not_taken_for_read(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stamp of the second message's bytes, had it been taken now, would be that of the third's."""
    reading, writing = open_store(), open_store()
    session = fill(writing.create("s"), "one")
    assert texts(reading.get("s")) == ["one"]
    session.append("user", "two")
    real = reading._engine.locks.unlock

    def unlock_and_let_in(fd: int) -> Any:
        done = real(fd)
        monkeypatch.setattr(reading._engine.locks, "unlock", real)
        session.append("user", "three")
        return done

    monkeypatch.setattr(reading._engine.locks, "unlock", unlock_and_let_in)
    reading.get("s")
    assert texts(session) == ["one", "two", "three"]
    assert texts(reading.get("s")) == ["one", "two", "three"]


def test_a_new_log_is_on_the_medium_before_it_has_its_name_and_the_name_before_the_answer(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that comes before its bytes is an empty session after a power cut."""
    store = open_store(durability="power")
    folder = os.path.dirname(os.fsencode(log_of(store, "s")))
    calls: list[Any] = []
    for name in ("sync", "place", "sync_directory"):
        monkeypatch.setattr(files, name, _noting(calls, name, getattr(files, name)))
    store.create("s")
    placed = next(place for place, call in enumerate(calls) if call[0] == "place")
    assert "sync" in [name for name, _ in calls[:placed]]
    assert ("sync_directory", folder) in calls[placed:]


def _noting(calls: list[Any], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        calls.append((name, arguments[0]))
        return real(*arguments)

    return call


def test_stripes_are_taken_in_one_order_whatever_the_order_in_which_they_are_named(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = store._engine.locks
    taken: list[int] = []
    real = Stripe.acquire

    def acquire(stripe: Stripe) -> None:
        taken.append(stripe.number)
        real(stripe)

    monkeypatch.setattr(Stripe, "acquire", acquire)
    for numbers in permutations([200, TREE, 3, 64]):
        taken.clear()
        with table.holding(numbers):
            assert taken == [TREE, 3, 64, 200]


@pytest.mark.timeout(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.open_regular(os.fsencode(tmp_path / "pipe"), files.READ)


def test_a_name_taken_by_somebody_is_not_taken_from_him(tmp_path: Path) -> None:
    """Two that make one session at once: the second must not put an empty log in the place of the first's."""
    ours, theirs = os.fsencode(tmp_path / "ours"), os.fsencode(tmp_path / "theirs")
    for path, text in ((ours, b"ours"), (theirs, b"theirs")):
        Path(os.fsdecode(path)).write_bytes(text)
    with pytest.raises(FileExistsError):
        files.place(ours, theirs)
    assert Path(os.fsdecode(theirs)).read_bytes() == b"theirs"


def test_a_session_made_anew_is_newer_than_the_one_before_whatever_the_clock_says(store: SessionStore) -> None:
    fill(store.create("s"), "old")
    path = log_of(store, "s")
    ahead_ns = path.stat().st_mtime_ns + 3600 * 10**9
    os.utime(path, ns=(ahead_ns, ahead_ns))
    store.delete("s")
    store.purge("s")
    store.create("s")
    assert path.stat().st_mtime_ns > ahead_ns


@pytest.mark.damages
def test_a_past_that_says_something_else_in_as_many_bytes_is_damaged(open_store: Callable[..., SessionStore]) -> None:
    """Each of its lines has a right checksum: only what the fork knows of the last one tells."""
    with open_store() as store:
        fill(store.create("s"), "said").fork("f")
    past = log_of(store, "f").with_name("f.past0")
    said = past.read_bytes()
    past.unlink()
    lines, chain = [], 0
    for old in said.replace(b"said", b"sued").splitlines(keepends=True):
        line, chain = frame.seal(old[: -frame.SEAL_BYTES], chain)
        lines.append(line)
    past.write_bytes(b"".join(lines))
    assert len(past.read_bytes()) == len(said)
    with pytest.raises(CorruptLog):
        open_store().get("f").append("user", "on top of it")


def test_a_delete_that_was_cut_off_is_not_finished_on_another_session_of_that_id(
    open_store: Callable[..., SessionStore],
) -> None:
    with open_store() as store:
        fill(store.create("s"), "kept")
    record = {"do": "delete", "batch": clock.new_id(), "root": "s", "sessions": [["s", "f" * 16]], "orphans": []}
    (store.root / "tmp" / f"{clock.new_id()}.json").write_text(json.dumps(record))
    assert texts(open_store().get("s")) == ["kept"]


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_is_to_be_done_is_on_the_medium_before_any_of_it_is_done(
    open_store: Callable[..., SessionStore], monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    """Without its record a power cut would leave half of a delete: the logs get to the medium in any order."""
    store = open_store(durability=durability)
    for name in ("a", "b"):
        store.create(name, parent=None if name == "a" else "a")
    calls: list[Any] = []
    for name in ("sync", "sync_directory", "rename", "move", "place"):
        monkeypatch.setattr(files, name, _noting(calls, name, getattr(files, name)))
    store.delete("a", children="cascade")
    done = [place for place, (name, path) in enumerate(calls) if name != "sync" and b".jsonl" in os.path.basename(path)]
    assert ("sync_directory", store._engine.layout.tmp) in calls[: done[0]]
    assert calls[0][0] == "sync"


class _Dead(BaseException):
    """What is raised from where a process would have been killed on: nothing that it would have done is done."""


@pytest.mark.parametrize("name", ["create child", "delete, orphan", "delete, cascade", "restore below", "move"])
def test_a_call_cut_off_at_any_change_is_whole_or_absent_for_the_next_to_open(tmp_path: Path, name: str) -> None:
    """In this process, so in a second: the sweeps of tests/crashes do it with real ones."""
    before, after = before_and_after(tmp_path, name)
    with prepared(tmp_path / "calls", name) as store:
        points = [call.number for call in list_calls(lambda: OPERATIONS[name].run(store)) if call.changes]
    for point in points:
        root = tmp_path / f"{point}"
        # Where the clock's grain made it take one call less, it came to its end.
        with prepared(root, name) as store, suppress(_Dead), hooked(_dying(point)):
            OPERATIONS[name].run(store)
        with SessionStore(root) as found:
            assert is_legal(OPERATIONS[name], view(found), before, after), f"cut off before system call {point}"
            assert found.check().problems == ()


def _dying(at: int) -> Callable[..., Any]:
    def hook(number: int, called: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if number >= at and is_change(called, args):
            raise _Dead
        return call()

    return hook
