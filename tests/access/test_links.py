"""A symbolic link at any path that the store opens leads nowhere: it is refused, and nothing outside the root is touched.

Such a link is somebody's way to have the store read, write or make what that somebody could not: so it is no matter
whether it leads to a file of another store, to a precious one, to a folder, or to nothing yet.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, InvalidRoot, SessionStore
from hierstore.naming import stripe_of
from tests.access.work import NAMES, WORK, Witness, filled, judged
from tests.seam import KEY
from tests.support import contents, log_of, texts

pytestmark = [
    pytest.mark.damages,
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks /proc what was opened (Linux)"),
]

FOLDERS = ("sessions", "locks", "registry", "trash", "quarantine", "tmp")
"""A store whose folder is a link is no store: it is refused when it is opened."""


def _log(root: Path, name: str) -> Path:
    with SessionStore(root, read_only=True) as store:
        return log_of(store, name)


def _only(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


FILES: dict[str, Callable[[Path], Path]] = {
    "a log": lambda root: _log(root, "p"),
    "a log that does not exist yet": lambda root: _log(root, "late"),
    "a past": lambda root: _only(root, "sessions/*/*.past*"),
    "a lock": lambda root: root / "locks" / f"{stripe_of('p'):02x}.lock",
    "the tree's lock": lambda root: root / "locks" / "tree.lock",
    "the lock that is tried first": lambda root: root / "locks" / "probe.lock",
    "the marker": lambda root: root / "hierstore.json",
    "the registry of a key": lambda root: root / "registry" / f"{stripe_of(KEY):02x}.jsonl",
    "the registry of another key": lambda root: root / "registry" / f"{stripe_of('another key'):02x}.jsonl",
    "a redo journal": lambda root: root / "tmp" / "01a1f80000000000000000000000aa.json",
    "a file being built": lambda root: _only(root, "tmp/*.log"),
    "one that is being built next": lambda root: root / "tmp" / "next.log",
    "a log in the trash": lambda root: _only(root, "trash/*.jsonl"),
    "damaged bytes": lambda root: _only(root, "quarantine/*"),
    "the index": lambda root: _only(root, "index/*.sqlite"),
    "the index's log of writes": lambda root: Path(f"{_only(root, 'index/*.sqlite')}-wal"),
    "the index's shared memory": lambda root: Path(f"{_only(root, 'index/*.sqlite')}-shm"),
    "the index's journal": lambda root: Path(f"{_only(root, 'index/*.sqlite')}-journal"),
}
DEEP: dict[str, Callable[[Path], Path]] = {
    "the folder of a log": lambda root: _log(root, "p").parent,
    "the folder of a log that does not exist yet": lambda root: _log(root, "late").parent,
    "the index's folder": lambda root: root / "index",
}
TARGETS = ("what it was", "another file", "nowhere")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something everywhere, to be copied."""
    made = tmp_path_factory.mktemp("stores") / "store"
    filled(made)
    return made


@pytest.fixture
def store_root(stores: Path, tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "store"
    # Modification times too: a stamp tells the store what it has seen.
    shutil.copytree(stores, root, symlinks=True, copy_function=shutil.copy2)
    yield root
    if root.exists():
        shutil.rmtree(root)


def plant(place: Path, outside: Path, target: str) -> Path:
    """Put a link in the place of a file or a folder; what it leads to."""
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    aim = outside / {"what it was": place.name, "another file": "precious", "nowhere": "nowhere"}[target]
    if place.exists() or place.is_symlink():
        if target == "what it was":
            place.rename(aim)
        elif place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
    place.parent.mkdir(exist_ok=True, mode=0o700)
    place.symlink_to(aim)
    return aim


def states(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every name below a folder, with what any change would change."""
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {
        str(path): (of.st_mode, of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino, of.st_nlink, of.st_uid)
        for path, of in found.items()
    }


def ask_all(root: Path, outside: Path, place: Path) -> tuple[dict[str, HierstoreError], HierstoreError | None]:
    """Every call, each on a store of its own; what they were refused with, or what opening the store was."""
    before, held = states(outside), contents(outside)
    witness = Witness(root, outside.parent / "cache")
    refused: dict[str, HierstoreError] = {}
    opening: HierstoreError | None = None

    def ask(name: str) -> Any:
        nonlocal opening
        try:
            store = SessionStore(root)
        except HierstoreError as error:
            opening = error
            raise
        with store:
            return WORK[name](store)

    for name in WORK:
        with witness.watching():
            error = judged(lambda name=name: ask(name))  # type: ignore[misc]
        if error is not None:
            refused[name] = error
        assert states(outside) == before, f"{name} changed what is outside, by {place}"
        assert witness.outside == [], f"{name} by {place}"
    assert contents(outside) == held
    return refused, opening


@pytest.mark.parametrize("target", ["what it was", "nowhere"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_store_of_which_a_folder_is_a_link_is_refused(store_root, tmp_path, figures, name, target):
    plant(store_root / name, tmp_path / "outside", target)
    before = contents(store_root)
    refused, opening = ask_all(store_root, tmp_path / "outside", store_root / name)
    assert isinstance(opening, InvalidRoot), f"it was opened; refused was {refused}"
    assert "link" in str(opening)
    assert name in str(opening)
    assert type(judged(lambda: SessionStore(store_root, read_only=True))) is InvalidRoot
    assert contents(store_root) == before
    figures.add("links planted")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*FILES, *DEEP])
def test_a_link_is_never_followed(store_root, tmp_path, figures, name, target):
    place = (FILES | DEEP)[name](store_root)
    plant(place, tmp_path / "outside", target)
    refused, opening = ask_all(store_root, tmp_path / "outside", place)
    figures.add("links planted")
    if opening is not None:
        assert name in ("the marker", "the lock that is tried first")
        assert "link" in str(opening) or "damaged" in str(opening)
        return
    others_go_on(store_root, name, refused)


def others_go_on(root: Path, name: str, refused: dict[str, HierstoreError]) -> None:
    """Sessions that the link has nothing to do with are read and written as ever, whatever was refused."""
    mine = {stripe_of(other) for other in NAMES if name in ("a lock", "a log", "a past") or "folder" in name}
    with SessionStore(root) as store:
        for number in range(1000):
            other = f"other-{number}"
            if stripe_of(other) not in mine:
                break
        if name != "the tree's lock":
            store.get_or_create(other).append("user", "goes on")
            assert texts(store.get(other)) == ["goes on"]
    for what in ("sessions", "search"):
        if what in refused:
            # A listing may say that it cannot see all; it never shows what the link leads to.
            assert "index" not in name, refused[what]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["a log", "the folder of a log", "a past"])
def test_the_session_of_a_linked_log_says_so_and_is_no_empty_one(store_root, tmp_path, name, target):
    place = (FILES | DEEP)[name](store_root)
    plant(place, tmp_path / "outside", target)
    session = "f" if name == "a past" else "p"
    with SessionStore(store_root) as store:
        for work in (
            lambda: len(store.get(session).messages),
            lambda: store.get(session).append("user", "x"),
            lambda: store.get_or_create(session).append("user", "x"),
        ):
            refusal = judged(work)
            if target == "nowhere" and refusal is None:
                # A log whose link leads nowhere may pass for one that is gone; then the link is moved aside.
                continue
            assert refusal is not None, "it was read or written"
            assert session in str(refusal)
            # A link that leads nowhere may be told of as missing: a log of it there is not. It is made by nobody.
            if target != "nowhere":
                assert type(refusal).__name__ == "UnreadableLog", repr(refusal)
                assert "link" in str(refusal), repr(refusal)
        report = store.check()
        assert [found for found in report.problems if found.kind == "unreadable"] or target == "nowhere", report
        store.repair()
    assert place.is_symlink() or target == "nowhere"


def test_a_link_where_damaged_bytes_are_to_be_kept_does_not_pass_for_them(tmp_path):
    """What is cut off a log is kept; who knows the log can tell under which name, and put a link there before."""
    root = tmp_path / "store"

    def damage() -> bytes:
        with SessionStore(root) as store:
            store.create("s").append("user", "one")
            log = log_of(store, "s")
        tail = b'{"half\nof a line\n'
        log.write_bytes(log.read_bytes() + tail)
        return tail

    tail = damage()
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copy2)
    with SessionStore(copy) as store:
        judged(lambda: store.get("s").append("user", "two"))
        judged(store.repair)
    for kept in (copy / "quarantine").iterdir():
        (root / "quarantine" / kept.name).symlink_to(tmp_path / "nowhere")
    with SessionStore(root) as store:
        judged(lambda: store.get("s").append("user", "two"))
        judged(store.repair)
    assert not (tmp_path / "nowhere").exists()
    held = [path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(tail in data for data in held), "the bytes that were cut off are nowhere"


def test_a_root_may_be_named_by_a_link_and_is_one_store_then(tmp_path):
    """The one link that is the caller's own: where /var is one, or a folder was moved to a larger disk."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir(mode=0o700)
    with SessionStore(tmp_path / "link") as one, SessionStore(tmp_path / "real") as other:
        one.create("s").append("user", "by the link")
        assert texts(other.get("s")) == ["by the link"]
        other.get("s").append("user", "by the folder")
        assert texts(one.get("s")) == ["by the link", "by the folder"]
        assert one.check().problems == other.check().problems == ()


def test_a_root_that_is_a_link_to_nothing_is_refused_or_made_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refusal = judged(lambda: SessionStore(tmp_path / "link"))
    assert isinstance(refusal, InvalidRoot)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_nothing_else_that_is_planted_is_opened_either(store_root, kind):
    """A pipe would keep its reader waiting for ever; a test that hangs is one that failed."""
    for name, place_of in FILES.items():
        root = store_root.parent / "one"
        shutil.copytree(store_root, root, copy_function=shutil.copy2)
        place = place_of(root)
        if place.exists():
            place.unlink()
        place.parent.mkdir(exist_ok=True, mode=0o700)
        os.mkfifo(place, 0o600) if kind == "pipe" else place.mkdir(mode=0o700)
        for what in WORK:

            def ask(what: str = what, root: Path = root) -> None:
                with SessionStore(root, lock_timeout_s=0.2) as store:
                    WORK[what](store)

            judged(ask)
        if place.exists():
            assert stat.S_ISFIFO(place.lstat().st_mode) or place.is_dir() or place.is_file(), name
        shutil.rmtree(root)
