"""The model of a power cut finds what is weak in protocols that are known to be weak, and nothing in those that are sound."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from hierstore.disk import files
from tests.crashes.filesystem import SECTOR, FileSystem
from tests.crashes.recorder import SEES_SYNCS, Recorder

pytestmark = pytest.mark.skipif(not SEES_SYNCS, reason="the recorder sees the syncs of Linux alone")

Tree = dict[str, bytes | None]
"""What a folder holds: of each path the bytes of a file, or None for a directory."""

OLD, NEW = b"o" * 1000, b"n" * 1500


class Folder:
    """A folder with protocols to try on it: each method is a step of one."""

    def __init__(self, root: bytes) -> None:
        self.root = root

    def _at(self, name: str) -> bytes:
        return os.path.join(self.root, os.fsencode(name)) if name else self.root

    def make(self, name: str, data: bytes, *, syncs: bool) -> None:
        fd = files.create(self._at(name), 0o600)
        files.write_all(fd, data)
        if syncs:
            files.sync(fd)
        files.close(fd)

    def append(self, name: str, data: bytes, *, syncs: bool) -> None:
        fd = files.open_regular(self._at(name), files.APPEND)
        files.write_all(fd, data)
        if syncs:
            files.sync(fd)
        files.close(fd)

    def truncate(self, name: str, size: int) -> None:
        fd = files.open_regular(self._at(name), files.APPEND)
        files.ftruncate(fd, size)
        files.close(fd)

    def mkdir(self, name: str) -> None:
        files.mkdir(self._at(name), 0o700)

    def rename(self, source: str, target: str) -> None:
        files.replace(self._at(source), self._at(target))

    def link(self, source: str, target: str) -> None:
        files.maybe_link(self._at(source), self._at(target))

    def unlink(self, name: str) -> None:
        files.unlink(self._at(name))

    def sync(self, name: str) -> None:
        files.sync_directory(self._at(name))


Protocol = Callable[[Folder], None]


@pytest.fixture
def left(tmp_path):
    """What a power cut at the end of a protocol may leave, when ``old`` and two folders were on the medium."""

    def left_by(protocol: Protocol, *, limit: int = 10_000, seed: int = 0) -> list[Tree]:
        root = tmp_path / "root"
        root.mkdir()
        (root / "here").mkdir()
        (root / "there").mkdir()
        (root / "old").write_bytes(OLD)
        recorder = Recorder(root)
        with recorder.recording():
            protocol(Folder(os.fsencode(root)))
        disk = FileSystem(recorder)
        for record in recorder.records:
            disk.apply(record)
        return [
            {**dict.fromkeys(state.folders), **{path: state.data[file] for path, file in state.files}}
            for state in disk.states(random.Random(seed), limit)
        ]

    return left_by


def distinct(trees: list[Tree]) -> set[frozenset[tuple[str, bytes | None]]]:
    return {frozenset(tree.items()) for tree in trees}


def contents(trees: list[Tree], name: str) -> set[bytes | None]:
    """What may be in a file; None where it is not there."""
    return {tree.get(name) for tree in trees}


# Known protocols


def replace(*, file: bool, folder: bool) -> Protocol:
    def protocol(at: Folder) -> None:
        at.make("new", NEW, syncs=file)
        at.rename("new", "old")
        if folder:
            at.sync("")

    return protocol


def place(*, file: bool, folder: bool) -> Protocol:
    """A file made under one name gets the other by a link."""

    def protocol(at: Folder) -> None:
        at.make("here/scratch", NEW, syncs=file)
        at.link("here/scratch", "there/placed")
        if folder:
            at.sync("there")
        at.unlink("here/scratch")

    return protocol


def test_a_file_replaced_with_all_syncs_is_there_and_whole(left):
    assert contents(left(replace(file=True, folder=True)), "old") == {NEW}


def test_a_rename_whose_folder_was_not_synced_may_not_have_happened(left):
    assert contents(left(replace(file=True, folder=False)), "old") == {OLD, NEW}


@pytest.mark.parametrize("folder", [False, True])
def test_a_rename_may_come_before_the_bytes_that_were_not_synced(left, folder):
    found = contents(left(replace(file=False, folder=folder)), "old")
    assert {b"", NEW, bytes(len(NEW)), NEW[:SECTOR]} <= found
    assert (OLD in found) is not folder


def test_a_file_linked_with_all_syncs_is_there_and_whole(left):
    assert contents(left(place(file=True, folder=True)), "there/placed") == {NEW}


def test_a_link_whose_folder_was_not_synced_may_be_lost_and_the_old_name_gone(left):
    trees = left(place(file=True, folder=False))
    assert contents(trees, "there/placed") == {None, NEW}
    assert any(tree.keys() == {"here", "there", "old"} for tree in trees)


def test_a_link_may_name_a_file_without_bytes(left):
    assert {b"", bytes(SECTOR)} < contents(left(place(file=False, folder=True)), "there/placed")


def test_a_rename_between_two_folders_is_in_both_or_in_neither(left):
    trees = left(lambda at: at.rename("old", "there/moved"))
    assert distinct(trees) == distinct(
        [{"here": None, "there": None, "old": OLD}, {"here": None, "there": None, "there/moved": OLD}]
    )


@pytest.mark.parametrize("synced", ["", "there"])
def test_to_sync_one_of_its_two_folders_is_to_keep_a_rename(left, synced):
    def protocol(at: Folder) -> None:
        at.rename("old", "there/moved")
        at.sync(synced)

    assert contents(left(protocol), "there/moved") == {OLD}


def test_what_came_before_a_kept_rename_in_its_other_folder_is_kept_with_it(left):
    def protocol(at: Folder) -> None:
        at.make("earlier", b"", syncs=False)
        at.rename("old", "there/moved")
        at.make("later", b"", syncs=False)
        at.sync("there")

    trees = left(protocol)
    assert contents(trees, "earlier") == {b""}
    assert contents(trees, "later") == {None, b""}


@pytest.mark.parametrize(("parent", "expected"), [(False, {None, NEW}), (True, {NEW})])
def test_a_new_folder_is_lost_with_all_in_it_unless_its_parent_was_synced(left, parent, expected):
    def protocol(at: Folder) -> None:
        at.mkdir("made")
        at.make("made/file", NEW, syncs=True)
        at.sync("made")
        if parent:
            at.sync("")

    assert contents(left(protocol), "made/file") == expected


@pytest.mark.parametrize("syncs", [False, True])
def test_of_two_files_the_later_may_be_there_alone_unless_the_earlier_was_synced(left, syncs):
    def protocol(at: Folder) -> None:
        at.append("old", b"1", syncs=syncs)
        at.make("second", b"2", syncs=True)
        at.sync("")

    trees = left(protocol)
    assert contents(trees, "second") == {b"2"}
    assert contents(trees, "old") == ({OLD + b"1"} if syncs else {OLD, OLD + b"1", OLD + b"\0"})


@pytest.mark.parametrize("syncs", [False, True])
def test_names_in_one_folder_keep_their_order_and_in_two_they_do_not(left, syncs):
    def protocol(at: Folder) -> None:
        at.make("here/first", b"", syncs=False)
        if syncs:
            at.sync("here")
        at.make("here/second", b"", syncs=False)
        at.make("there/third", b"", syncs=False)

    trees = left(protocol)
    assert not any("here/second" in tree and "here/first" not in tree for tree in trees)
    assert any("there/third" in tree and "here/second" not in tree for tree in trees)
    assert any("there/third" in tree and "here/first" not in tree for tree in trees) is not syncs


# Sectors


def test_of_an_append_each_sector_is_kept_or_not(left):
    more = b"a" * (3 * SECTOR - len(OLD))
    trees = left(lambda at: at.append("old", more, syncs=False))
    # Cut at 1000, 1024 or 1536 bytes; of the second sector its end, of the third all of it, as written or zeros.
    first = {OLD, OLD + more[:24], OLD + bytes(24)}
    second, third = {more[:24], bytes(24)}, {more[24:], bytes(SECTOR)}
    assert contents(trees, "old") == first | {OLD + start + end for start in second for end in third}


def test_a_new_file_of_two_sectors_has_seven_contents(left):
    data = b"a" * SECTOR + b"b" * SECTOR
    found = contents(left(lambda at: at.make("new", data, syncs=False)), "new")
    empty, first, second = bytes(SECTOR), data[:SECTOR], data[SECTOR:]
    assert found == {None, b"", empty, first, empty + empty, first + empty, empty + second, first + second}


def test_a_later_append_may_be_there_behind_a_hole(left):
    def protocol(at: Folder) -> None:
        at.append("old", b"a" * (2 * SECTOR - len(OLD)), syncs=False)
        at.append("old", b"b" * SECTOR, syncs=False)

    assert OLD + bytes(2 * SECTOR - len(OLD)) + b"b" * SECTOR in contents(left(protocol), "old")


def test_a_sync_keeps_every_write_before_it_and_none_after_it_for_certain(left):
    def protocol(at: Folder) -> None:
        at.append("old", b"a", syncs=True)
        at.append("old", b"b", syncs=False)

    assert contents(left(protocol), "old") == {OLD + b"a", OLD + b"ab", OLD + b"a\0"}


def test_a_file_that_was_cut_may_be_as_long_as_before_or_cut_in_between(left):
    assert contents(left(lambda at: at.truncate("old", 10)), "old") == {OLD[:10], OLD[:SECTOR], OLD} | {
        OLD[:10].ljust(SECTOR, b"\0"),
        OLD[:10].ljust(SECTOR, b"\0") + OLD[SECTOR:],
        OLD[:SECTOR].ljust(len(OLD), b"\0"),
        OLD[:10].ljust(len(OLD), b"\0"),
    }


# Samples


def busy(at: Folder) -> None:
    at.make("here/scratch", NEW, syncs=False)
    at.append("old", b"more", syncs=False)
    at.link("here/scratch", "there/placed")
    at.unlink("here/scratch")
    at.rename("old", "here/moved")
    at.append("here/moved", b"still more", syncs=False)


def test_what_is_drawn_at_random_is_one_of_all_states_and_repeats_by_its_seed(left, tmp_path, figures):
    every = left(busy)
    figures.add("crash states of a file system without a store", len(distinct(every)))
    assert len(distinct(every)) > 300
    drawn = []
    for seed in (1, 1, 2):
        (tmp_path / "root").rename(tmp_path / f"root{len(drawn)}")
        drawn.append(left(busy, limit=50, seed=seed))
        assert distinct(drawn[-1]) <= distinct(every)
    assert drawn[0] == drawn[1] != drawn[2]


def test_everything_kept_is_what_is_there(left, tmp_path):
    last = {**dict.fromkeys(["here", "there"]), "there/placed": NEW, "here/moved": OLD + b"morestill more"}
    trees = left(busy)
    assert last in trees
    assert trees[0] == {"here": None, "there": None, "old": OLD}, "the plainest is that nothing was kept"
    there = {path.relative_to(tmp_path / "root").as_posix(): path for path in (tmp_path / "root").rglob("*")}
    assert last == {name: path.read_bytes() if path.is_file() else None for name, path in there.items()}
