"""A compaction that fails leaves the log as it was, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hierstore import CorruptLog, DurabilityError, HierstoreError, SessionStore, UnreadableLog, compaction
from hierstore.disk import files
from hierstore.log.compact import Shorter
from tests.compacting import during, everything
from tests.processes import replaced
from tests.seam import descriptors, hooked, list_calls
from tests.support import contents, fill, log_of, texts


def prepare(store: SessionStore) -> None:
    """A session below another, of which something was undone."""
    session = fill(store.create("parent").spawn("s"), "one", "two")
    session.snapshot("early")
    session.set_title("superseded")
    fill(session, "undone")
    session.revert(session.messages[1])
    session.set_title("last")


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_whatever_system_call_fails_no_file_and_no_descriptor_is_left(tmp_path, durability, number):
    """behaviours 10"""
    with SessionStore(tmp_path / "calls", durability=durability) as store:
        prepare(store)
        calls = list_calls(lambda: store.get("s").compact(keep="snapshots"))
    replaced_at = next(call.number for call in calls if call.name == "replace")
    assert replaced_at
    for call in calls:
        if call.name in ("close", "unlink"):
            # Nothing is left that could clean up.
            continue
        root = tmp_path / f"{call.number}"
        opened = descriptors()
        with SessionStore(root, durability=durability, lock_timeout_s=1.0) as store:
            prepare(store)
            before, files_before = everything(store.get("s")), contents(root)

            def hook(count: int, name: str, real: Any, args: tuple[Any, ...], point: Any = call) -> Any:
                if count == point.number:
                    raise OSError(number, os.strerror(number))
                return real()

            error = None
            with hooked(hook):
                try:
                    store.get("s").compact(keep="snapshots")
                except HierstoreError as caught:
                    error = caught
            place = f"{call.number} {call.name}"
            assert not list((root / "tmp").iterdir()), place
            # At the directory's sync the new log is in place already.
            if error is not None and not isinstance(error, DurabilityError) and call.number <= replaced_at:
                assert contents(root) == files_before, place
            assert everything(store.get("s")) == before, place
            with SessionStore(root) as other:
                assert everything(other.get("s")) == before, place
                assert texts(fill(other.get("s"), "next")) == ["one", "two", "next"], place
                assert other.get("s").compact(keep="present").session_id == "s"
        assert descriptors() <= opened, place


@pytest.mark.parametrize(
    "mistake",
    [
        lambda bodies: bodies[:1] + bodies[2:],
        lambda bodies: [body.replace(b'"one"', b'"One"') for body in bodies],
        lambda bodies: [body.replace(b'"title":"last"', b'"title":"lost"') for body in bodies],
        lambda bodies: [body.replace(b'"early"', b'"later"') for body in bodies],
        lambda bodies: [body.replace(b'"last_seq":3', b'"last_seq":2') for body in bodies],
        lambda bodies: [bodies[0], bodies[2], bodies[1], *bodies[3:]],
        lambda bodies: bodies[:-1],
        lambda bodies: [bodies[0], b'{"events":[{"type":"message"}],"at":1.0,"seq":2', *bodies[2:]],
        lambda bodies: [bodies[0], b'{"events":[{"type":"reverted","revision":99,"count":1}],"at":1.0,"seq":2'],
    ],
)
def test_a_new_log_that_would_say_something_else_never_takes_the_old_ones_place(root, open_store, mistake):
    """A mistake in the choice of what stays costs the compaction, not a message."""
    store = open_store()
    prepare(store)
    before, files_before = everything(store.get("s")), contents(root)
    compacted = compaction.compacted

    def mistaken(*args: Any, **options: Any) -> Any:
        right = compacted(*args, **options)
        assert right is not None
        wrong = mistake(right.bodies)
        assert wrong != right.bodies, "this mistake is none"
        return Shorter(wrong, right.dropped)

    with replaced(compaction, compacted=mistaken), pytest.raises(CorruptLog) as caught:
        store.get("s").compact(keep="snapshots")
    assert caught.value.session_id == "s"
    assert contents(root) == files_before
    assert everything(store.get("s")) == before
    assert store.compact(keep="snapshots").errors == ()


@pytest.mark.damages
def test_a_past_that_is_missing_or_damaged_is_told_and_nothing_is_dropped(store):
    parent = fill(store.create("parent"), "inherited")
    fork = parent.fork("fork")
    fill(fork, "own", "undone")
    fork.revert(fork.messages[1])
    path = log_of(store, "fork")
    past = path.with_name("fork.past0")
    saved, log = past.read_bytes(), path.read_bytes()
    past.unlink()
    for keep in ("snapshots", "present"):
        with pytest.raises(UnreadableLog):
            fork.compact(keep=keep)  # type: ignore[arg-type]
    past.write_bytes(saved.replace(b"inherited", b"Inherited"))
    with pytest.raises(CorruptLog):
        fork.compact(keep="present")
    assert path.read_bytes() == log
    past.write_bytes(saved)
    assert fork.compact(keep="present").dropped_messages == 1
    assert texts(fork) == ["inherited", "own"]


def test_after_a_sync_that_failed_this_store_compacts_no_more(root, open_store):
    """The log's last bytes may be only in memory: they are not to be taken for the truth."""
    store = open_store(durability="power")
    prepare(store)

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with replaced(files, sync=refuse), pytest.raises(DurabilityError):
        store.get("s").append("user", "may not survive")
    with pytest.raises(DurabilityError):
        store.get("s").compact(keep="present")
    assert not list((root / "tmp").iterdir())
    assert open_store().get("s").compact(keep="present").dropped_messages == 1


def test_a_ctrl_c_at_any_moment_leaves_a_whole_log_and_no_lock(tmp_path: Path):
    with SessionStore(tmp_path / "calls") as store:
        prepare(store)
        calls = list_calls(lambda: store.get("s").compact(keep="present"))
    for call in calls:
        if call.name == "open_file":
            # What was opened and never given out is nobody's to close.
            continue
        root = tmp_path / f"{call.number}"
        with SessionStore(root, lock_timeout_s=1.0) as store:
            prepare(store)
            wanted = texts(store.get("s"))

            def interrupt() -> None:
                raise KeyboardInterrupt

            def hook(count: int, name: str, real: Any, args: tuple[Any, ...], point: Any = call) -> Any:
                answer = real()
                if count == point.number:
                    interrupt()
                return answer

            with hooked(hook), pytest.raises(KeyboardInterrupt):
                store.get("s").compact(keep="present")
            with SessionStore(root, lock_timeout_s=1.0) as other:
                assert texts(other.get("s")) == wanted
                fill(other.get("s"), "next")
            assert texts(store.get("s")) == [*wanted, "next"]
            store.get("s").compact(keep="present")
            assert store.check().problems == ()


@pytest.mark.parametrize("name", ["open_regular", "fstat", "_read_some"])
def test_what_is_swapped_under_a_reader_without_locks_gives_no_error(open_store, name):
    """The log is another file between the look at its stamp and its opening, or between its opening and its reading."""
    store = open_store()
    prepare(store)
    reader = open_store(read_only=True)
    for number in range(3):
        fill(store.get("s"), f"{number}", "undone")
        store.get("s").revert(store.get("s").messages[-2])
        call = during(getattr(files, name), lambda: store.get("s").compact(keep="present"))
        with replaced(files, **{name: call}):
            shown = texts(reader.get("s"))
        assert shown == texts(reader.get("s")) == texts(store.get("s"))
