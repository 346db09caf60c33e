from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hierstore import SessionStore, StoreStatistics, UnreadableLog, clock
from hierstore.disk import files
from tests.seam import hooked
from tests.support import contents, fill, log_of

DAY_S = 86_400.0


def test_an_empty_store_has_nothing(store: SessionStore) -> None:
    found = store.statistics()
    assert (found.sessions, found.messages, found.usage, found.roles, found.kinds) == (0, 0, {}, {}, {})
    assert (found.disk.logs, found.disk.trash, store.sizes()) == (0, 0, ())


def test_sessions_are_counted_by_what_they_are(store: SessionStore) -> None:
    root = store.create("r", labels=["a", "b"])
    root.spawn("c", kind="delegate", labels=["a"]).update(archived=True)
    root.spawn("d", kind="delegate").update(pinned=True, suspended=True)
    store.create("gone")
    store.delete("gone")
    found = store.statistics()
    assert (found.sessions, found.roots, found.archived, found.pinned, found.suspended) == (3, 1, 1, 1, 1)
    assert found.kinds == {"delegate": 2, None: 1}
    assert found.labels == {"a": 2, "b": 1}
    assert next(iter(found.kinds)) == "delegate", "the most first"


def test_messages_are_those_of_the_present_histories_by_role(store: SessionStore) -> None:
    session = store.create("s")
    for role in ("user", "assistant", "user", "tool"):
        session.append(role, "x")
    session.revert(session.messages[2].id)
    found = store.statistics()
    assert (found.messages, found.roles) == (3, {"user": 2, "assistant": 1})


def test_what_forks_share_counts_once(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    fork = fill(parent.fork("f", at=parent.messages[1].id), "4")
    fill(fork.fork("g"), "5")
    parent.fork("h")
    assert store.statistics().messages == 5


def test_what_only_a_fork_still_shows_counts(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    parent.fork("f")
    parent.fork("g")
    parent.revert(parent.messages[0].id)
    assert store.statistics().messages == 3
    store.delete("p", children="orphan")
    assert store.statistics().messages == 3


def test_messages_of_one_id_in_sessions_that_share_nothing_are_two(store: SessionStore) -> None:
    first = store.create("a")
    first.append("user", "x", message_id="m1")
    first.fork("f")
    store.create("b").append("user", "y", message_id="m1")
    assert store.statistics().messages == 2


def test_usage_adds_up_exactly(store: SessionStore) -> None:
    for number in range(10):
        session = store.create(f"s{number}")
        session.add_usage(input_tokens=3, cost_usd=0.1)
    store.get("s0").fork("f")
    assert store.statistics().usage == {"cost_usd": 1.0, "input_tokens": 30}
    assert isinstance(store.statistics().usage["input_tokens"], int)


def test_days_are_those_of_this_machine(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime

    noon = datetime(2026, 1, 5, 12, 0).timestamp()  # in the local time zone
    monkeypatch.setattr(clock, "now", lambda: noon)
    session = fill(store.create("s"), "1", "2")
    monkeypatch.setattr(clock, "now", lambda: noon + 2 * DAY_S)
    fill(session, "3")
    monkeypatch.setattr(clock, "now", lambda: 1e18)
    fill(store.create("t"), "4")
    found = store.statistics()
    assert found.sessions_by_day == {"2026-01-05": 1}
    assert found.messages_by_day == {"2026-01-05": 2, "2026-01-07": 1}
    assert (found.sessions, found.messages) == (2, 4), "a time out of the calendar is on no day"


@pytest.mark.damages
def test_a_session_that_cannot_be_read_is_counted_as_such_and_hides_no_other(store: SessionStore) -> None:
    fill(store.create("good"), "x")
    store.create("bad")
    log_of(store, "bad").write_bytes(b"no log\n" * 3)
    with SessionStore(store.root) as cold:
        found = cold.statistics()
        assert (found.sessions, found.unreadable, found.messages) == (1, 1, 1)
        assert {item.id: item.own_bytes for item in cold.sizes()}["bad"] == 21


def test_counting_changes_nothing_and_needs_no_writable_store(
    store: SessionStore, open_store: Callable[..., SessionStore]
) -> None:
    fill(store.create("p"), "1").fork("f")
    before = contents(store.root)
    reader = open_store(read_only=True)
    assert reader.statistics().messages == 1
    assert (len(reader.sizes()), reader.disk_usage()) == (2, store.disk_usage())
    assert contents(store.root) == before


# Bytes


def _on_disk(folder: Path) -> int:
    """The bytes of all files below a folder, each file once, by another way than the store's."""
    found = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(found.values())


def test_the_folders_add_up_to_what_is_on_disk(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1", "2")
    fill(parent.fork("f"), "3")
    fill(store.create("gone"), "4")
    store.bind("key", parent)
    store.delete("gone")
    (store.root / "quarantine" / "x.bytes").write_bytes(b"12345")
    usage = store.disk_usage()
    assert usage.total == _on_disk(store.root)
    assert usage.logs == _on_disk(store.root / "sessions")
    assert usage.trash == _on_disk(store.root / "trash") > 0
    assert (usage.quarantine, usage.index) == (5, 0)
    assert usage.other > 0
    store.sessions()
    assert store.disk_usage().index > 0
    assert store.statistics().disk.logs == usage.logs


def test_no_link_out_of_the_store_is_followed(store: SessionStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(b"x" * 100_000)
    (store.root / "quarantine" / "link").symlink_to(tmp_path / "elsewhere")
    assert store.disk_usage().quarantine == 0
    (store.root / "quarantine" / "link").unlink()


def test_a_session_that_shares_nothing_has_its_bytes_for_itself(store: SessionStore) -> None:
    fill(store.create("small"), "x")
    fill(store.create("large"), "x" * 10_000)
    sizes = store.sizes()
    assert [item.id for item in sizes] == ["large", "small"], "the largest first"
    for item in sizes:
        assert item.size_bytes == item.own_bytes == log_of(store, item.id).stat().st_size


def test_what_a_fork_shares_is_shown_by_both_and_owned_by_none(store: SessionStore) -> None:
    parent = fill(store.create("p"), "x" * 5000)
    shared = log_of(store, "p").stat().st_size
    fork = parent.fork("f")
    fill(parent, "y" * 3000)
    sizes = {item.id: item for item in store.sizes()}
    own = log_of(store, "f").stat().st_size
    assert (sizes["f"].size_bytes, sizes["f"].own_bytes) == (shared + own, own)
    assert sizes["p"].size_bytes == log_of(store, "p").stat().st_size
    assert 3000 < sizes["p"].own_bytes < sizes["p"].size_bytes - 5000
    assert sum(item.own_bytes for item in sizes.values()) < store.disk_usage().logs
    store.delete(fork)
    assert {item.id: item.own_bytes for item in store.sizes()} == {"p": 0}, "the trash may need it"
    store.purge()
    assert {item.id: item.own_bytes for item in store.sizes()} == {"p": store.disk_usage().logs}


def test_a_past_that_only_the_fork_still_has_is_its_own(store: SessionStore) -> None:
    parent = fill(store.create("p"), "x" * 5000, "y")
    parent.fork("f")
    parent.reset()
    parent.compact(keep="present")
    sizes = {item.id: item for item in store.sizes()}
    assert sizes["f"].own_bytes == sizes["f"].size_bytes > 5000


def test_purging_a_session_alone_frees_about_what_it_owns(store: SessionStore) -> None:
    parent = fill(store.create("p"), "x" * 5000)
    parent.fork("f")
    fill(parent, "y" * 3000)
    fill(store.create("s"), "z" * 2000)
    for session_id, children in (("s", "refuse"), ("p", "orphan")):
        owned = {item.id: item.own_bytes for item in store.sizes()}[session_id]
        before = store.disk_usage().total
        store.delete(session_id, children=children)  # type: ignore[arg-type]
        store.purge()
        assert abs(before - store.disk_usage().total - owned) < 700


# Failures


@pytest.mark.parametrize("method", ["statistics", "disk_usage", "sizes"])
def test_a_folder_that_cannot_be_read_is_said_to_be(method: str, store: SessionStore) -> None:
    fill(store.create("s"), "x")
    sessions = os.fsencode(store.root / "sessions")

    def refuse(_count: int, name: str, call: Callable[[], object], args: tuple[object, ...]) -> object:
        if name == "scandir" and args[0] == sessions:
            raise PermissionError(13, "Permission denied")
        return call()

    with hooked(refuse), pytest.raises(UnreadableLog):
        getattr(store, method)()


def test_files_that_go_while_they_are_counted_are_passed_over(store: SessionStore) -> None:
    fill(store.create("a"), "x")
    fill(store.create("b"), "x")
    victim = os.fsencode(log_of(store, "a"))

    def vanish(_count: int, name: str, call: Callable[[], object], args: tuple[object, ...]) -> object:
        if name == "lstat" and args[0] == victim:
            raise FileNotFoundError(2, "No such file")
        return call()

    with hooked(vanish):
        assert [item.id for item in store.sizes()] == ["b"]
        assert store.disk_usage().logs == log_of(store, "b").stat().st_size
    assert files.lstat is os.lstat


@pytest.mark.parametrize("method", ["statistics", "disk_usage", "sizes"])
def test_whatever_call_fails_the_answer_is_right_or_says_what_could_not_be_read(
    method: str, store: SessionStore, open_store: Callable[..., SessionStore]
) -> None:
    fill(fill(store.create("p"), "x").fork("f"), "y")
    wanted = getattr(store, method)()
    failed = 0
    for number in range(1, 1000):

        def fail(
            count: int, name: str, call: Callable[[], object], args: tuple[object, ...], at: int = number
        ) -> object:
            if count == at and name != "close":
                raise OSError(errno.EIO, "Input/output error")
            return call()

        cold = open_store()
        with hooked(fail) as made:
            try:
                found = getattr(cold, method)()
            except UnreadableLog:
                failed += 1
                continue
        if isinstance(found, StoreStatistics) and found.unreadable:
            failed += 1
        elif method == "sizes" and found != wanted:
            # A fork that cannot be read is told with what its own log has.
            assert [item.id for item in found] == [item.id for item in sorted(found, key=lambda item: -item.size_bytes)]
            failed += 1
        else:
            assert found == wanted
        if len(made) < number:
            break
    assert failed > 5
