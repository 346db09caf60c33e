"""What is on disk: names, permissions, lines, and nothing else."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from hierstore import ReadOnlyStore, SessionNotFound, SessionStore
from tests.support import contents, fill, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    OpenStore = Callable[..., SessionStore]


def live(store: SessionStore) -> None:
    """Do everything once that makes a file."""
    session = fill(store.create("s", title="T"), "1", [{"type": "text", "text": "2\n\u2028"}])
    session.extend([{"role": "user", "content": number} for number in range(3)])
    with session.turn() as turn:
        turn.append("user", "in a turn")
    session.snapshot("n")
    session.revert(2)
    session.undo_revert()
    session.reset()
    fill(session, "after the reset").update(metadata={"a": 1}, labels=["l"], derived={"d": 1})
    fork = fill(session.fork("a/fork"), "own")
    fork.spawn("child").move("s")
    for session_id in ("gone", "restored"):
        fill(store.create(session_id), "x").fork(f"{session_id} fork")
        store.delete(session_id, children="cascade")
    store.restore("restored")
    store.delete("s", children="orphan")
    store.purge("s")
    damaged = log_of(store, "restored")
    damaged.write_bytes(damaged.read_bytes() + b"not a line\n")
    fill(store.get("restored"), "y")


def counted_pasts(store: SessionStore) -> dict[Path, int]:
    """The past files of all forks, and how much of each counts: what is behind is nobody's."""
    found = {}
    for session_id in ("a/fork", "restored fork"):
        log = log_of(store, session_id)
        for past in store._engine.read(store._engine.entry(session_id)).facts.past:
            found[log.with_suffix(f".past{past.file}")] = past.size
    assert found
    return found


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask 000", "umask 022", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_are_the_owners_alone_whatever_the_umask(umask: int, root: Path) -> None:
    with SessionStore(root) as store:
        live(store)
        found = [root, *root.rglob("*")]
        assert {path.relative_to(root).parts[0] for path in found[1:]} == {
            "hierstore.json", "sessions", "locks", "trash", "quarantine", "tmp", "index",
        }  # fmt: skip
        for path in found:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert any((root / "quarantine").iterdir())
        assert any((root / "trash").iterdir())
        assert not any((root / "tmp").iterdir())


def test_every_line_of_every_log_is_json_with_a_contiguous_seq(root: Path) -> None:
    with SessionStore(root) as store:
        live(store)
        parts = dict.fromkeys(root.rglob("*.jsonl")) | counted_pasts(store)
    assert len(parts) > 5
    for path, size in parts.items():
        data = path.read_bytes()[:size]
        assert data.endswith(b"\n")
        lines = [json.loads(line) for line in data.decode().split("\n")[:-1]]
        assert [line["seq"] for line in lines] == list(range(len(lines))), path
        assert all(isinstance(line["crc"], str) and len(line["crc"]) == 8 for line in lines)
        assert lines[0]["hierstore"] == 1


def test_logs_are_where_the_contract_says(store: SessionStore) -> None:
    store.create("plain")
    store.create("Not/Plain")
    logs = {path.relative_to(store.root).parts for path in store.root.rglob("*.jsonl")}
    assert all(len(parts) == 3 and parts[0] == "sessions" and len(parts[1]) == 2 for parts in logs)
    assert {name.partition("~")[0] for _, _, name in logs} == {"plain.jsonl", "not-plain"}


def test_the_marker_says_format_and_store_and_is_written_once(root: Path) -> None:
    with SessionStore(root):
        first = (root / "hierstore.json").read_bytes()
    with SessionStore(root):
        assert (root / "hierstore.json").read_bytes() == first
    marker = json.loads(first)
    assert marker["hierstore"] == 1
    assert len(marker["store"]) > 10


def test_lock_files_are_empty_and_stay_the_same_files(root: Path) -> None:
    def locks() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in (root / "locks").iterdir()}

    with SessionStore(root) as store:
        live(store)
        before = locks()
    with SessionStore(root) as store:
        store.delete("restored", children="cascade")
        store.purge()
        assert before.items() <= locks().items()
    assert {path.stat().st_size for path in (root / "locks").iterdir()} == {0}


def test_what_is_derived_can_be_deleted_at_any_time(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    (store.root / "index").rmdir()
    fill(session, "2")
    assert texts(open_store().get("s")) == ["1", "2"]


def test_a_log_that_is_only_appended_to_keeps_its_beginning(store: SessionStore) -> None:
    session = store.create("s")
    before = b""
    for step in (
        lambda: fill(session, "1"), lambda: session.extend([{"role": "user", "content": "2"}]), lambda: session.revert(1),
        session.undo_revert, session.reset, session.snapshot, lambda: session.fork("f"), lambda: session.set_title("t"),
        lambda: session.update(labels=["l"]), lambda: session.move("f2"),
    ):  # fmt: skip
        if "f2" not in store:
            store.create("f2")
        step()
        data = log_of(store, "s").read_bytes()
        assert data.startswith(before)
        assert data.count(b"\n") > before.count(b"\n")
        before = data


# Read-only stores


def state_of(root: Path) -> dict[str, tuple[int, ...]]:
    """Every name below a folder with size, times and inode: even a touch shows, in locks/ too."""
    return {
        str(path): (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode)
        for path in [root, *root.rglob("*")]
        if (found := path.lstat())
    }


def test_a_read_only_store_reads_everything_and_touches_nothing(root: Path) -> None:
    with SessionStore(root) as store:
        live(store)
        expected = {name: texts(store.get(name)) for name in ("a/fork", "restored", "restored fork", "child")}
        forest = store.tree()
    (root / "locks" / "00.lock").unlink(missing_ok=True)
    before, bytes_before = state_of(root), contents(root)
    with SessionStore(root, read_only=True) as reader:
        for name, shown in expected.items():
            session = reader.get(name)
            assert texts(session) == shown
            assert session.info.id == name
            assert len(session.ancestors) + len(session.descendants()) + len(session.children) >= 0
            assert len(session.at(1).messages) <= len(shown)
        assert reader.tree() == forest
        assert reader.check().ok
        assert "gone" not in reader
        with pytest.raises(SessionNotFound):
            reader.get("gone")
    assert state_of(root) == before
    assert contents(root) == bytes_before


READ_ONLY_CALLS: dict[str, Callable[[SessionStore], object]] = {
    "create": lambda store: store.create("new"),
    "create anew": lambda store: store.create(),
    "get_or_create": lambda store: store.get_or_create("new"),
    "delete": lambda store: store.delete("s"),
    "restore": lambda store: store.restore("gone"),
    "purge": lambda store: store.purge(),
    "append": lambda store: store.get("s").append("user", "x"),
    "append again": lambda store: store.get("s").append("user", "1", message_id="m"),
    "extend": lambda store: store.get("s").extend([{"role": "user", "content": "x"}]),
    "extend by nothing": lambda store: store.get("s").extend([]),
    "turn": lambda store: store.get("s").turn().__enter__(),
    "reset": lambda store: store.get("s").reset(),
    "set_title": lambda store: store.get("s").set_title("x"),
    "update": lambda store: store.get("s").update(pinned=True),
    "update nothing": lambda store: store.get("s").update(),
    "spawn": lambda store: store.get("s").spawn(),
    "fork": lambda store: store.get("s").fork(),
    "move": lambda store: store.get("s").move(None),
    "snapshot": lambda store: store.get("s").snapshot(),
    "revert": lambda store: store.get("s").revert(1),
    "undo_revert": lambda store: store.get("s").undo_revert(),
}


@pytest.mark.parametrize("name", READ_ONLY_CALLS)
def test_a_read_only_store_refuses_every_write_and_touches_nothing(root: Path, name: str) -> None:
    with SessionStore(root) as store:
        store.create("s").append("user", "1", message_id="m")
        store.create("gone")
        store.delete("gone")
    before = state_of(root)
    with SessionStore(root, read_only=True) as reader:
        with pytest.raises(ReadOnlyStore) as caught:
            READ_ONLY_CALLS[name](reader)
        assert caught.value.root == str(root)
    assert state_of(root) == before


def test_a_read_only_store_follows_a_writer_and_ignores_what_is_unfinished(open_store: OpenStore) -> None:
    writer = open_store().create("s")
    reader = open_store(read_only=True).get("s")
    log = log_of(open_store(), "s")
    for number in range(5):
        fill(writer, number)
        assert texts(reader) == list(range(number + 1))
    whole = log.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(1, len(last)):
        unfinished = whole[: -len(last) + cut]
        log.write_bytes(unfinished)
        assert texts(reader) == [0, 1, 2, 3]
        assert log.read_bytes() == unfinished
    log.write_bytes(whole)
    assert texts(reader) == [0, 1, 2, 3, 4]


def test_a_read_only_store_takes_no_lock(open_store: OpenStore) -> None:
    writer = open_store()
    fill(writer.create("s"), "x")
    reader = open_store(read_only=True, lock_timeout_s=0.0)
    with writer._engine.locks.holding(range(257)):
        assert texts(reader.get("s")) == ["x"]
        assert len(reader.tree()) == 1
        assert reader.check().ok
