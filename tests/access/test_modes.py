"""Files are the owner's alone, 0600, and folders 0700: whoever makes them, whatever the umask, from the first moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.access.work import WORK, Witness, filled, judged, umask
from tests.seam import OPERATIONS, prepared
from tests.support import log_of

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks /proc what was opened (Linux)")

MASKS = [0o000, 0o002, 0o022, 0o027, 0o077, 0o177, 0o277, 0o777]
EVERYWHERE = {"sessions", "locks", "registry", "trash", "quarantine", "tmp", "index"}


def wrong_below(root: Path, folder_mode: int = 0o700, file_mode: int = 0o600) -> list[str]:
    """What has other permissions than it should."""
    return [
        f"{oct(mode)} {path}"
        for path in (root, *sorted(root.rglob("*")))
        if (mode := stat.S_IMODE(path.lstat().st_mode)) != (folder_mode if path.is_dir() else file_mode)
    ]


def ask_all(store: SessionStore) -> None:
    """Every kind of work, whatever becomes of it: not all of it goes together."""
    for work in WORK.values():
        judged(lambda work=work: work(store))  # type: ignore[misc]


@pytest.mark.damages
@pytest.mark.parametrize("mask", MASKS, ids=[f"umask {mask:03o}" for mask in MASKS])
def test_whatever_is_made_is_the_owners_alone_under_any_umask(tmp_path, cache, figures, mask):
    root = tmp_path / "above" / "store"
    witness = Witness(root, cache)
    with umask(mask), witness.watching():
        filled(root)
        with SessionStore(root) as store:
            ask_all(store)
            # Also while SQLite keeps its own files beside the index.
            assert wrong_below(tmp_path / "above") == []
    assert wrong_below(tmp_path / "above") == []
    assert witness.outside == []
    assert {name.split("/")[0] for name in witness.made} >= EVERYWHERE
    # A file that lived for a moment, as in tmp/, was nobody else's in that moment.
    assert {name: oct(mode) for name, mode in witness.made.items() if mode & 0o077} == {}
    figures.add("files and folders whose permissions were looked at", len(witness.made))


@pytest.mark.parametrize("mask", [0o000, 0o177])
def test_what_each_call_makes_is_the_owners_alone(tmp_path, cache, figures, mask):
    for number, name in enumerate(OPERATIONS):
        root = tmp_path / f"{number}"
        witness = Witness(root, cache)
        with umask(mask), prepared(root, name) as store, witness.watching():
            OPERATIONS[name].run_or_be_refused(store)
        assert wrong_below(root) == [], name
        assert not [made for made, mode in witness.made.items() if mode & 0o077], name
        figures.add("files and folders whose permissions were looked at", len(witness.made))


@pytest.mark.damages
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177, 0o777])
@pytest.mark.parametrize("mode", [0o770, 0o2770, 0o777, 0o750])
def test_a_shared_root_gives_its_own_permissions_to_whatever_is_made(root, mode, mask):
    root.mkdir()
    root.chmod(mode)
    with umask(mask):
        filled(root, shared=True)
        with SessionStore(root, shared=True) as store:
            ask_all(store)
    # A folder in one whose group is inherited has that bit by itself.
    assert wrong_below(root, mode, mode & 0o666) == []


@pytest.mark.parametrize("mode", [0o722, 0o702, 0o720, 0o777, 0o770, 0o1777, 0o2770])
def test_a_root_that_others_may_write_to_is_refused_before_anything_is_made(root, mode):
    root.mkdir()
    root.chmod(mode)
    for options in ({}, {"read_only": True}):
        refusal = judged(lambda options=options: SessionStore(root, **options))
        assert type(refusal).__name__ == "InvalidRoot"
        assert "chmod go-w" in str(refusal)
        assert "shared=True" in str(refusal)
    assert list(root.iterdir()) == []
    assert stat.S_IMODE(root.stat().st_mode) == mode, "nobody asked for another"
    SessionStore(root, shared=True).close()


@pytest.mark.parametrize("mode", [0o722, 0o777])
def test_a_root_that_others_may_write_to_later_is_refused_then(root, mode):
    filled(root)
    root.chmod(mode)
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    assert type(judged(lambda: SessionStore(root))).__name__ == "InvalidRoot"
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before


def test_rights_that_were_given_on_purpose_are_not_taken_back(root):
    """A log that somebody opened to a group stays so: the store looks after what it makes, not after what was done."""
    with SessionStore(root) as store:
        store.create("s").append("user", "one")
        log = log_of(store, "s")
        log.chmod(0o640)
        store.get("s").append("user", "two")
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
