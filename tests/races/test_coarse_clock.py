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
from tests.processes import replaced, store_at

ROUNDS = 200

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


def make_anew(root: Path, number: int) -> tuple[int, int, int]:
    """In a child: purge the session and make it again, with other content of the same size; its log's identity."""
    store = store_at(root)
    # Nothing but the content may differ: no time whose decimals are fewer.
    with replaced(clock, now=lambda: 1_000_000.25):
        if "s" in store:
            store.delete("s")
            store.purge("s")
        store.create("s").append("user", f"{number:08d}")
    found = next((root / "sessions").glob("*/s.jsonl")).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def replace_quickly(root: Path, first: int, count: int) -> None:
    """In a child: several in a row, which the reader may see any of."""
    for number in range(first, first + count):
        make_anew(root, number)


def read(root: Path) -> str | None:
    """In a child: the content, through a cache that knows what was there before."""
    try:
        messages = store_at(root).get("s").messages
    except SessionNotFound:
        return None
    return messages[0].content if len(messages) else None


def read_until(root: Path, last: str) -> list[str]:
    """In a child: read again and again until the last one is there; what was seen."""
    seen: list[str] = []
    while not seen or seen[-1] != last:
        content = read(root)
        if content is not None and content != (seen[-1] if seen else None):
            seen.append(content)
    return seen


def see_each(start, root: Path) -> list[tuple[int, int, int]]:
    """One process makes the session anew, two others read it after each time."""
    maker, readers = start(), [start(), start()]
    found = []
    for number in range(ROUNDS):
        found.append(maker.call(make_anew, root, number))
        for reader in readers:
            assert reader.call(read, root) == f"{number:08d}"
    return found


def check_at(root: Path) -> bool:
    """In a child."""
    return store_at(root).check().ok


def test_a_log_made_anew_is_never_taken_for_the_one_before(start, coarse_root):
    """behaviours 22, 23: on a file system that makes it hard"""
    found = see_each(start, coarse_root)
    assert len({size for _, size, _ in found}) == 1, "the sizes differ, so this shows nothing"
    assert len({inode for inode, _, _ in found}) < ROUNDS // 4, "inodes do not come back, so this shows nothing"
    assert all(mtime % 10**9 == 0 for _, _, mtime in found), "times are fine, so this shows nothing"
    assert start().call(check_at, coarse_root)


def test_a_log_made_anew_is_seen_at_once_on_any_file_system(start, root, open_store):
    """behaviours 23"""
    found = see_each(start, root)
    assert len({size for _, size, _ in found}) == 1
    assert open_store().get("s").revision == 2


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
