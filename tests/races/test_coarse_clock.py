"""The stale-cache trap: times of whole seconds, inodes that come back, files of one size, one id.

An ext4 with inodes of 128 bytes has no room for anything finer than seconds, and gives a purged log's inode to the
next one made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hierstore import SessionNotFound, clock
from hierstore.disk import files
from hierstore.naming import stripe_of
from tests.processes import replaced, store_at

ROUNDS = 100

Seen = tuple[str | None, tuple[int, int, int] | None]


@pytest.fixture
def coarse_root(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system whose times are whole seconds."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting a file system of our own takes root and mkfs.ext4")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", "-I", "128", image], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"mkfs.ext4: {made.stderr.decode()}")
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no loop devices: {mounted.stderr.decode()}")
    try:
        folder.chmod(0o700)
        yield folder / "store"
    finally:
        # Lazily: a process that is about to be reaped may still have a file open.
        subprocess.run(["umount", "-l", folder], check=True)


def make_anew(root: Path, number: int, *, appends: bool = True) -> tuple[int, int, int]:
    """In a child: purge the session and make it again, with other content of the same size; its log's identity."""
    store = store_at(root)
    # Nothing but the content may differ: no time whose decimals are fewer.
    with replaced(clock, now=lambda: 1_000_000.25):
        if "s" in store:
            store.delete("s")
            store.purge("s")
        session = store.create("s", title=f"{number:08d}")
        if appends:
            session.append("user", f"{number:08d}")
    found = next((root / "sessions").glob("*/s.jsonl")).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def replace_quickly(root: Path, first: int, count: int) -> None:
    """In a child: several in a row, which the reader may see any of."""
    for number in range(first, first + count):
        make_anew(root, number)


def read(root: Path, how: str = "open") -> str | None:
    """In a child: the content (or the title where there is none), through a cache that knows what was there before.

    Args:
        root: the store's.
        how: ``"open"``: the log stays open, so that its inode cannot come back; ``"closed"``: many others were read
            since, and its descriptor was given up, but not what is cached; ``"read only"``: none is kept anyway.
    """
    store = store_at(root, read_only=True) if how == "read only" else store_at(root)
    if how == "closed":
        files.MAX_OPEN_LOGS = 1
    try:
        session = store.get("s")
        messages = session.messages
        content = messages[0].content if len(messages) else session.title
    except SessionNotFound:
        return None
    if how == "closed":
        assert len(store.get("other").messages) == 0
        assert not [name for name in os.listdir("/dev/fd") if _target(name).endswith("/s.jsonl")]
        store._engine.cache.forget(store._engine.entry("other"))
    return content


def _target(name: str) -> str:
    try:
        return os.readlink(f"/dev/fd/{name}")
    except OSError:
        return ""


def read_until(root: Path, last: str) -> list[str]:
    """In a child: read again and again until the last one is there; what was seen."""
    seen: list[str] = []
    while not seen or seen[-1] != last:
        content = read(root)
        if content is not None and content != (seen[-1] if seen else None):
            seen.append(content)
    return seen


def see_each(start, root: Path, how: str, *, appends: bool) -> list[tuple[int, int, int]]:
    """One process makes the session anew, others read it: every time, every second time, every third time.

    Two inodes may take turns, and then the trap is for those who miss one.
    """
    maker, readers = start(), {every: start() for every in (1, 2, 3)}
    maker.call(make_other, root)
    found = []
    for number in range(ROUNDS):
        found.append(maker.call(make_anew, root, number, appends=appends))
        for every, reader in readers.items():
            if number % every == 0:
                assert reader.call(read, root, how) == f"{number:08d}"
    return found


def make_other(root: Path) -> None:
    """In a child: a session beside the one that is made anew; on another stripe, so that its descriptor is its own."""
    assert stripe_of("other") != stripe_of("s")
    store_at(root).create("other")


def check_at(root: Path) -> bool:
    """In a child."""
    return store_at(root).check().ok


HOWS = ["open", "closed", "read only"]


@pytest.mark.parametrize("appends", [False, True], ids=["made", "made and appended to"])
@pytest.mark.parametrize("how", HOWS)
def test_a_log_made_anew_is_never_taken_for_the_one_before(start, coarse_root, how, appends):
    """behaviours 22, 23: on a file system that makes it hard"""
    found = see_each(start, coarse_root, how, appends=appends)
    assert len({size for _, size, _ in found}) == 1, "the sizes differ, so this shows nothing"
    assert len({inode for inode, _, _ in found}) < ROUNDS // 4, "inodes do not come back, so this shows nothing"
    assert all(mtime % 10**9 == 0 for _, _, mtime in found), "times are fine, so this shows nothing"
    assert start().call(check_at, coarse_root)


@pytest.mark.parametrize("appends", [False, True], ids=["made", "made and appended to"])
@pytest.mark.parametrize("how", HOWS)
def test_a_log_made_anew_is_seen_at_once_on_any_file_system(start, root, open_store, how, appends):
    """behaviours 23"""
    found = see_each(start, root, how, appends=appends)
    assert len({size for _, size, _ in found}) == 1
    assert open_store().get("s").revision == 1 + appends


def test_readers_in_a_loop_never_go_back_in_time(start, coarse_root):
    """behaviours 22, 23"""
    maker, readers = start(), [start(), start()]
    make_last = f"{2 * ROUNDS - 1:08d}"
    maker.call(make_anew, coarse_root, 0)
    for reader in readers:
        reader.begin(read_until, coarse_root, make_last)
    maker.call(replace_quickly, coarse_root, 1, 2 * ROUNDS - 1)
    for reader in readers:
        seen = reader.result()
        assert seen == sorted(seen)
