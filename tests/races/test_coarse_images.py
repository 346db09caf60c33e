"""Small file systems of our own: one whose times are whole seconds, under processes that replace, and one that is full.

On an ext4 with inodes of 128 bytes a log that was replaced twice has, within a second, the inode, the size and the time
that it had before. A tmpfs takes the pages and files that it is told to, and not one more.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hierstore import HierstoreError, Session, SessionStore, WriteFailed, clock
from hierstore.disk import journal
from tests.crashes import images
from tests.processes import Child, replaced, store_at
from tests.seam import OPERATIONS, Operation, View, family, finish, is_legal, view

SEED = 5
ROUNDS = 150
UPDATES = 120
KIB = 1024
NEAR = 40
"""How many bytes before the end of a page a log ends, about: fewer than any commit has."""

Start = Callable[[], Child]

# A file system that its processes see alone


@pytest.fixture
def coarse(start: Start, tmp_path: Path) -> Callable[[], Child]:
    """Starts processes that see a file system whose times are whole seconds, at ``tmp_path / "memory-coarse" / "mounted"``."""
    if reason := images.why_not_root():
        pytest.skip(reason)
    owner = start()
    if reason := owner.call(mount_coarse, tmp_path):
        pytest.skip(reason)

    def begin() -> Child:
        child = start()
        child.call(images.join, owner.pid)
        return child

    return begin


def mount_coarse(folder: Path) -> str | None:
    """In a child: mount one, until the child ends; or why it cannot."""
    try:
        images.go_private()
        images.Image(folder, "coarse").__enter__()
    except images.Unavailable as error:
        return str(error)
    return None


# Two processes replace a log, others have it cached

Identity = tuple[int, int, int]
"""What a log could be taken for: its inode, its size, the second it was written in."""


def act(root: Path, action: str, number: int) -> Identity:
    """In a child: replace the session's log, so that it has three messages as before, the last with a new content."""
    store = store_at(root)
    # Nothing but the content may differ: no time whose decimals are fewer.
    with replaced(clock, now=_now):
        _ACTIONS[action](store, f"{number:08d}")
    found = _log(root).stat()
    return found.st_ino, found.st_size, int(time.time())


def _now() -> float:
    return int(time.time()) + 0.25


def make_three(root: Path) -> None:
    """In a child."""
    with replaced(clock, now=_now):
        store_at(root).create("s").extend([{"role": "user", "content": f"{number:08d}"} for number in range(3)])


def _append_anew(session: Session, text: str) -> None:
    messages = session.messages
    session.revert(messages[-2])
    session.append("user", text)


def _compact(store: SessionStore, text: str) -> None:
    _append_anew(store.get("s"), text)
    store.get("s").compact(keep="present")


def _purge_and_import(store: SessionStore, text: str) -> None:
    _append_anew(store.get("s"), text)
    store.get("s").compact(keep="present")
    bundle = store.export("s")
    store.delete("s")
    store.purge("s")
    store.import_bundle(bundle, on_conflict="refuse")


def _damage_and_repair(store: SessionStore, text: str) -> None:
    _append_anew(store.get("s"), text)
    store.get("s").append("user", "to be damaged")
    with _log(store.root).open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"#")
    assert store.repair().ok
    # Else what was put aside keeps the inode.
    for path in (store.root / "quarantine").iterdir():
        path.unlink()
    assert len(store.get("s").messages) == 3
    store.get("s").compact(keep="present")


def _append_only(store: SessionStore, text: str) -> None:
    _append_anew(store.get("s"), text)


_ACTIONS = {
    "compact": _compact,
    "purge and import": _purge_and_import,
    "repair": _damage_and_repair,
    "append": _append_only,
}


def _log(root: Path) -> Path:
    return next((root / "sessions").glob("*/s.jsonl"))


def last_of(root: Path, *, read_only: bool = False) -> tuple[int, str]:
    """In a child: how many messages the session has, and the last one's content, through what is cached."""
    messages = store_at(root, read_only=read_only).get("s").messages
    return len(messages), messages[-1].content


def check_at(root: Path) -> None:
    """In a child."""
    assert store_at(root).check().problems == ()


@pytest.mark.parametrize("action", [*_ACTIONS, "any"])
def test_a_replaced_log_is_never_taken_for_an_earlier_one(coarse, tmp_path, figures, action):
    """behaviours 22, 23: inode, size and time come back, what is cached must not"""
    root, dice = tmp_path / "memory-coarse" / "mounted" / "store", random.Random(f"{SEED} {action}")
    writers, readers = [coarse(), coarse()], {every: coarse() for every in (1, 2, 3)}
    writers[0].call(make_three, root)
    seen: set[Identity] = set()
    trapped = 0
    for number in range(ROUNDS):
        chosen = dice.choice([*_ACTIONS]) if action == "any" else action
        found = dice.choice(writers).call(act, root, chosen, number)
        trapped += found in seen
        seen.add(found)
        for every, reader in readers.items():
            if number % every == 0:
                told = reader.call(last_of, root, read_only=every == 3)
                assert told == (3, f"{number:08d}"), f"{told} in round {number} ({chosen}) of seed {SEED}"
    if action not in ("append", "any"):
        assert trapped > ROUNDS // 4, f"only {trapped} could be taken for another, so this shows nothing"
    writers[1].call(check_at, root)
    figures.add("logs replaced by one of the same inode, size and second", trapped)


# … and all at once

_COUNTS = struct.Struct("=4q")


def counts_at(path: Path) -> mmap.mmap:
    """In a child: for each of two writers the last number that it began to write, and the last it was answered for."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _COUNTS.size)


def write_and_replace(root: Path, path: Path, which: int, first: int) -> None:
    """In a child: set a title, or a ref, to one number after the other; and replace the log each time."""
    session, counts = store_at(root).get("s"), counts_at(path)
    numbers = memoryview(counts).cast("q")
    for number in range(first, first + UPDATES):
        numbers[2 * which] = number
        if which:
            session.set_ref("number", f"{number:08d}")
        else:
            session.set_title(f"{number:08d}")
        numbers[2 * which + 1] = number
        session.compact(keep="present")
    numbers.release()
    counts.close()


def read_all_along(root: Path, path: Path, last: int, seed: str) -> int:
    """In a child: read until the last was written; each time it is a number answered before, or begun by now.

    Between two reads it misses a random number of them, so that an inode can come back.
    """
    store, dice, counts, reads = store_at(root), random.Random(seed), counts_at(path), 0
    numbers = memoryview(counts).cast("q")
    missed = 0
    while True:
        until = min(last, numbers[1] + dice.randrange(4))
        while numbers[1] < until:
            missed += 1
        least = (numbers[1], numbers[3])
        session = store.get("s")
        info, refs = session.info, session.refs
        found = int(info.title or "0"), int(refs.get("number", "0"))
        most = (numbers[0], numbers[2])
        for low, number, high in zip(least, found, most, strict=True):
            assert low <= number <= high, f"{number} was read, which is not of {low} … {high}"
        reads += 1
        if least == (last, last):
            break
    numbers.release()
    counts.close()
    return reads


def test_what_two_processes_write_and_replace_all_along_is_never_read_stale(coarse, tmp_path, figures):
    """behaviours 22, 23"""
    root, path = tmp_path / "memory-coarse" / "mounted" / "store", tmp_path / "counts"
    path.write_bytes(_COUNTS.pack(0, 0, 0, 0))
    writers, readers = [coarse(), coarse()], [coarse(), coarse()]
    writers[0].call(make_three, root)
    for number, reader in enumerate(readers):
        reader.begin(read_all_along, root, path, UPDATES, f"{SEED} {number}")
    for which, writer in enumerate(writers):
        writer.begin(write_and_replace, root, path, which, 1)
    for writer in writers:
        writer.result()
    figures.add("reads beside two who replace, checked by number", sum(reader.result() for reader in readers))
    writers[0].call(check_at, root)


# A full disk


def fill_at_every_moment(folder: Path, name: str) -> int | str:
    """In a child: make a call with room for no page, for one, for two …, and for no file, for one …, until it is done.

    Returns:
        How often the disk was full; or why this cannot be done here.
    """
    try:
        images.go_private()
    except images.Unavailable as error:
        return str(error)
    mounted = folder / "mounted"
    mounted.mkdir()
    images.mount_tmpfs(mounted, 64 * KIB)
    operation = OPERATIONS[name]
    pads: dict[str, int] = {}
    with _made(folder / "model", operation, pads) as store:
        before = view(store)
        operation.run_or_be_refused(store)
        after = view(store)
    fails = 0
    for what in ("pages", "files"):
        for room in itertools.count():
            images.limit_tmpfs(mounted)
            root = mounted / f"{what}{room}"
            try:
                with _made(root, operation, pads) as store:
                    is_done = _run_with_room(store, operation, {what: room}, before, after)
            except BaseException as error:
                error.add_note(f"{name!r} with room for {room} {what}")
                raise
            shutil.rmtree(root)
            if is_done:
                break
            fails += 1
    images.unmount(mounted)
    return fails


def _made(root: Path, operation: Operation, pads: dict[str, int]) -> SessionStore:
    """A store made anew for an operation, in which every log ends near the end of a page, so that any commit needs one.

    Args:
        root: where.
        operation: for which.
        pads: how long a message does that, by session; what is not there yet is added.
    """
    with replaced(clock, now=lambda: 1_000_000.25):
        store = SessionStore(root, lock_timeout_s=1.0)
        family(store)
        operation.prepare(store)
        for path in sorted((root / "sessions").glob("*/*.jsonl")):
            session = store.get(path.name.removesuffix(".jsonl"))
            if session.id not in pads:
                sizes = [path.stat().st_size, (session.append("user", ""), path.stat().st_size)[1]]
                pads[session.id] = (sizes[0] - 2 * sizes[1] - NEAR) % mmap.PAGESIZE
            else:
                session.append("user", "")
            session.append("user", "p" * pads[session.id])
    return store


def _run_with_room(store: SessionStore, operation: Operation, room: dict[str, int], before: View, after: View) -> bool:
    """Make the call on a disk with that much room; whether there was enough of it."""
    assert view(store) == before
    images.limit_tmpfs(store.root.parent, **room)
    error = _run(store, operation)
    is_cut_off = bool(journal.pending(store._engine.layout))
    during = view(store)
    images.limit_tmpfs(store.root.parent)
    # Opening it finishes what was cut off.
    with SessionStore(store.root, lock_timeout_s=1.0) as fresh:
        found = view(fresh)
        assert is_legal(operation, found, before, after), f"neither the old state nor the new one, after {error!r}"
        assert error is not None or found == after, "it was answered, and is not there"
        assert is_cut_off or found == during, f"another store shows another state, after {error!r}"
        assert fresh.check().problems == ()
    assert view(store) == found
    finish(store, operation, after)
    assert store.repair().ok
    left = [note for note in store.check().notes if note.kind != "missing_child"]
    assert left == [], f"{left} is left behind, after {error!r}"
    return error is None


def _run(store: SessionStore, operation: Operation) -> HierstoreError | None:
    """Make the call; its error, which says that the disk is full and whose call it was."""
    caught = None
    try:
        operation.run(store)
    except HierstoreError as error:
        caught = error
    if caught is None or type(caught).__name__ == operation.again:
        return None
    assert getattr(caught, "session_id", None) in operation.ids, f"{caught!r} names no session of this call"
    assert os.strerror(errno.ENOSPC) in str(caught), f"{caught!r} does not say that the disk is full"
    return caught


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_is_full_at_any_moment_leaves_the_old_state_or_the_new_one(start, tmp_path, figures, name):
    """behaviours 10"""
    if reason := images.why_not_root():
        pytest.skip(reason)
    answer = start().call(fill_at_every_moment, tmp_path, name)
    if isinstance(answer, str):
        pytest.skip(answer)
    figures.add("calls on a full disk (tmpfs)", answer)


def fill_up(folder: Path) -> tuple[int, int] | str:
    """In a child: append to several sessions until 64 KiB are full, make room, and go on; how often each happened."""
    try:
        images.go_private()
    except images.Unavailable as error:
        return str(error)
    mounted = folder / "mounted"
    mounted.mkdir()
    images.mount_tmpfs(mounted, 64 * KIB)
    wanted: dict[str, list[str]] = {f"s{number}": [] for number in range(4)}
    done = refused = 0
    with SessionStore(mounted / "store") as store:
        for name in wanted:
            store.create(name)
        store.create("large").append("user", "x" * 16 * KIB)
        store.delete("large")
        for number in range(200):
            name, text = f"s{number % 4}", f"{number} " * (1 + 100 * (number % 7))
            try:
                store.get(name).append("user", text)
            except WriteFailed as error:
                assert (error.errno, error.session_id) == (errno.ENOSPC, name)  # noqa: PT017  # its facts are the point
                refused += 1
                # What is in the trash can go; a delete would be one more commit.
                store.purge()
            else:
                wanted[name].append(text)
                done += 1
            assert [message.content for message in store.get(name).messages] == wanted[name]
        assert store.check().problems == ()
    with SessionStore(mounted / "store", read_only=True) as fresh:
        assert {name: [message.content for message in fresh.get(name).messages] for name in wanted} == wanted
    images.unmount(mounted)
    return done, refused


def test_when_64_kib_are_full_only_what_does_not_fit_is_refused(start, tmp_path):
    """behaviours 10: also what makes room needs none"""
    if reason := images.why_not_root():
        pytest.skip(reason)
    answer = start().call(fill_up, tmp_path)
    if isinstance(answer, str):
        pytest.skip(answer)
    done, refused = answer
    assert done > 20
    assert refused > 20
