"""Mending: each damage is mended as far as it can be, no byte is lost, and nobody else is hurt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import DurabilityError, HierstoreError, ReadOnlyStore, SessionNotFound, SessionStore
from hierstore.disk import files
from hierstore.log.events import event
from hierstore.naming import stripe_of
from tests.processes import Child, replaced, start, store_at, zygote
from tests.seam import _facts, hooked, list_calls
from tests.support import contents, fill, lines_of, log_of, texts
from tests.wrecks import WRECKS, bytes_of, family, flip, kinds, lost, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

__all__ = ["start", "zygote"]

FINISHED = {"a delete that a crash cut off"}
"""Where the bytes of a record go with the work that it stood for."""

pytestmark = pytest.mark.damages


def wrecked(root: Path, name: str) -> SessionStore:
    """A store with one damage, opened anew by somebody who leaves what is pending alone."""
    with SessionStore(root) as store:
        family(store)
    with SessionStore(root) as store:
        WRECKS[name].make(store)
    with replaced(SessionStore, _finish_pending=lambda self, layout: None):
        return SessionStore(root)


# Each damage


@pytest.mark.parametrize("name", WRECKS)
def test_each_damage_is_mended_and_the_next_repair_does_nothing(root: Path, name: str) -> None:
    wreck = WRECKS[name]
    with wrecked(root, name) as store:
        report = store.repair()
        assert (kinds(report.done), kinds(report.left)) == (list(wreck.done), list(wreck.left))
        assert report.ok == (not wreck.left)
        assert not report.dry_run
        after = contents(root)
        again = store.repair()
        assert (again.done, again.left) == ((), report.left)
        assert contents(root) == after
    with SessionStore(root) as cold:
        check = cold.check()
        assert set(kinds(check.problems)) <= {(kind, session) for kind, session in wreck.found if wreck.left}
        noted = {kind for kind, _ in kinds(check.notes)} - {kind for kind, _ in wreck.left}
        assert noted <= {"quarantined", "damaged_trash"}


@pytest.mark.parametrize("name", WRECKS)
def test_a_dry_run_says_the_same_and_writes_nothing(root: Path, name: str) -> None:
    with wrecked(root, name) as store:
        before = contents(root)
        dry = store.repair(dry_run=True)
        assert dry.dry_run
        assert contents(root) == before
        real = store.repair()
    # Whether work that a crash cut off can be finished shows only when it is tried.
    if name != "a record of a kind unknown":
        assert (dry.done, dry.left) == (real.done, real.left)


@pytest.mark.parametrize("name", sorted(WRECKS.keys() - FINISHED))
def test_no_byte_is_lost(root: Path, name: str) -> None:
    with wrecked(root, name) as store:
        before = bytes_of(root)
        store.repair()
        assert list(lost(before, root)) == []


@pytest.mark.parametrize("name", WRECKS)
def test_each_finding_is_a_sentence_and_names_its_file(root: Path, name: str) -> None:
    with wrecked(root, name) as store:
        report = store.repair()
    for finding in (*report.done, *report.left):
        assert finding.detail[0].isupper() or finding.detail.startswith(str(root))
        assert finding.detail.endswith(".")
        assert "  " not in finding.detail
        assert finding.path.startswith(str(root))


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("name", WRECKS)
def test_what_is_left_of_a_store_takes_writes_everywhere(root: Path, name: str, durability: Any) -> None:
    wreck = WRECKS[name]
    wrecked(root, name).close()
    with SessionStore(root, durability=durability) as store:
        store.repair()
        left = {session_id for _, session_id in wreck.left}
        ids = [entry.id for entry in ids_of(store) if entry.id not in left]
        assert ids
        for session_id in ids:
            session = store.get(session_id)
            count = len(session.messages)
            fill(session, "next")
            assert len(store.get(session_id).messages) == count + 1
            session.spawn()
    with SessionStore(root) as cold:
        assert {finding.session_id for finding in cold.check().problems} <= left | {None}


def ids_of(store: SessionStore) -> list[Any]:
    """Every node of the store's trees."""
    found = list(store.tree())
    for node in found:
        found.extend(node.children)
    return found


def test_a_repair_of_a_sound_store_does_nothing(root: Path) -> None:
    with SessionStore(root) as store:
        family(store)
        before = contents(root)
        report = store.repair()
        assert (report.done, report.left, report.ok) == ((), (), True)
        assert contents(root) == before


def test_a_store_that_only_reads_is_not_repaired(root: Path) -> None:
    SessionStore(root).close()
    with SessionStore(root, read_only=True) as reader, pytest.raises(ReadOnlyStore):
        reader.repair()


# Logs


def test_the_log_goes_on_from_the_sound_beginning_and_nothing_behind_it_comes_back(root: Path) -> None:
    with SessionStore(root) as store:
        session = fill(store.create("s"), "1", "2")
        session.revert(2)
        fill(session, "3", "4")
        log, data, ends = opened(store, "s")
        assert texts(session) == ["1", "3", "4"]
        # The revert is what is damaged: without it, what was said after it would follow on what it took back.
        flip(log, ends[3] + 20)
        damaged = log.read_bytes()
    with SessionStore(root) as store:
        [done] = store.repair().done
        assert texts(store.get("s")) == ["1", "2"]
        assert log.read_bytes() == data[: ends[3]]
        [aside] = (root / "quarantine").iterdir()
        assert aside.read_bytes() == damaged[ends[3] :]
        for fact in (aside.name, f"{len(data) - ends[3]} bytes", "3 whole lines", f"byte {ends[3]}"):
            assert fact in done.detail
        fill(store.get("s"), "5")
        assert texts(store.get("s")) == ["1", "2", "5"]
        assert [line["seq"] for line in lines_of(store, "s")] == list(range(5))


@pytest.mark.parametrize("name", [name for name in WRECKS if name.startswith("a sealed") or "no id" in name])
def test_what_stands_before_a_sealed_line_that_is_no_commit_stays(root: Path, name: str) -> None:
    with wrecked(root, name) as store:
        store.repair()
        assert texts(store.get("sealed")) == ["kept"]


def test_a_store_that_has_the_damaged_session_cached_shows_what_the_repair_left(root: Path) -> None:
    with SessionStore(root) as warm, SessionStore(root) as other:
        session = fill(warm.create("s"), "1", "2", "3")
        assert texts(other.get("s")) == ["1", "2", "3"]
        log, _, ends = opened(warm, "s")
        stamp = log.stat()
        flip(log, ends[2] + 20)
        # As a medium that goes bad: no stamp tells.
        os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        other.repair()
        assert texts(session) == texts(other.get("s")) == ["1"]
        assert log.stat().st_mtime_ns > stamp.st_mtime_ns
        fill(session, "after")
        assert texts(session) == texts(other.get("s")) == ["1", "after"]


def test_a_fork_of_a_mended_parent_never_shows_what_the_parent_says_next(root: Path) -> None:
    """The fork links the parent's log: were that cut, the next messages would be written over the fork's past."""
    with SessionStore(root) as store:
        fork = fill(store.create("p"), "1", "2", "3").fork("f")
        fill(fork, "own")
        log, _, ends = opened(store, "p")
        flip(log, ends[2] + 20)
    with SessionStore(root) as store:
        report = store.repair()
        assert kinds(report.left) == [("corrupt", "f")]
        assert "backup" in report.left[0].detail
        fill(store.get("p"), "new 2", "new 3", "new 4")
        assert texts(store.get("f")) == ["1"]
        # And when somebody brings the file back it is whole again.
        past = log_of(store, "f").with_suffix(".past0")
        data = bytearray(past.read_bytes())
        data[ends[2] + 20] ^= 1
        past.write_bytes(data)
        assert texts(store.get("f")) == ["1", "2", "3", "own"]
        assert store.repair().ok


def test_the_session_whose_log_was_put_aside_can_be_made_anew(root: Path) -> None:
    with SessionStore(root) as store:
        fill(store.create("s"), "old").spawn("c")
        flip(log_of(store, "s"), 12)
        late = log_of(store, "s").stat().st_mtime_ns + 10**9
        os.utime(log_of(store, "s"), ns=(late, late))
        store.repair()
        assert "s" not in store
        assert store.get("c").parent_id is None
        fill(store.create("s"), "new")
        assert texts(store.get("s")) == ["new"]
        # Its stamps never equal those of the one that is gone.
        assert log_of(store, "s").stat().st_mtime_ns > late
        assert store.check().ok


def test_a_misplaced_log_never_gets_a_stamp_that_one_of_its_name_had(root: Path) -> None:
    with SessionStore(root) as store:
        log = log_of(store, "s")
        fill(store.create("s"), "1")
        copy = log.parent.parent / "zz" / "s.jsonl"
        copy.parent.mkdir()
        copy.write_bytes(log.read_bytes())
        os.utime(copy, ns=(10**18, 10**18))
        fill(store.get("s"), "2")
        late = log.stat().st_mtime_ns + 10**9
        os.utime(log, ns=(late, late))
        store.delete("s")
        assert kinds(store.repair().done) == [("misplaced", "s")]
        assert log.stat().st_mtime_ns > late
        assert texts(store.get("s")) == ["1"]
        assert store.check().ok


def test_what_is_in_the_right_place_wins_over_a_longer_copy(root: Path) -> None:
    with SessionStore(root) as store:
        log = log_of(store, "s")
        fill(store.create("s"), "1")
        short = log.read_bytes()
        fill(store.get("s"), "2", "3")
        (log.parent / "longer.jsonl").write_bytes(log.read_bytes())
        log.write_bytes(short)
    with SessionStore(root) as store:
        assert kinds(store.repair().done) == [("duplicate", "s")]
        assert texts(store.get("s")) == ["1"]


def test_a_moved_fork_takes_its_past_along_also_over_one_that_a_crash_left(root: Path) -> None:
    with SessionStore(root) as store:
        fill(fill(store.create("p"), "1", "2").fork("f"), "own")
        log = log_of(store, "f")
        folder = root / "sessions" / "zz"
        folder.mkdir()
        for path in log.parent.glob("f.*"):
            path.rename(folder / path.name)
        log.with_suffix(".past0").write_bytes(b"of another fork")
        before = bytes_of(root)
        assert kinds(store.repair().done) == [("misplaced", "f")]
        assert texts(store.get("f")) == ["1", "2", "own"]
        assert list(lost(before, root)) == []
        assert store.check().ok


def test_of_two_pasts_without_a_log_that_are_links_to_each_other_one_is_kept(root: Path) -> None:
    with SessionStore(root) as store:
        folder = log_of(store, "s").parent
        store.create("s")
        (folder / "a.past0").write_bytes(b"the only bytes")
        os.link(folder / "a.past0", folder / "b.past0")
        dry = store.repair(dry_run=True)
        before = bytes_of(root)
        report = store.repair()
        assert dry.done == report.done
        assert kinds(report.done) == [("stray", None)] * 2
        assert list(lost(before, root)) == []
        assert not list(folder.glob("*.past0"))


@pytest.mark.parametrize("name", ["m", "M/m"])
def test_an_unreadable_session_takes_no_children_from_their_parent(root: Path, name: str) -> None:
    """What cannot be read is not missing: its children stay below it, and its parent goes on noting it."""
    with SessionStore(root) as store:
        store.create("p").spawn(name).spawn("c")
        log = log_of(store, name)
        log.rename(log.with_name("aside"))
        log.symlink_to("elsewhere")
        dry = store.repair(dry_run=True)
        report = store.repair()
        assert dry.done == report.done
        assert kinds(report.left) == [("unreadable", None if "/" in name else name)]
        assert kinds(store.check().problems) == [("unreadable", None)]
        assert ("missing_parent", "c") not in kinds(report.done)
        assert ("missing_child", "p") not in kinds(report.done)
        log.unlink()
        [kept] = (root / "quarantine").iterdir()
        kept.rename(log)
        assert [child.id for child in store.get(name).children] == ["c"]
        assert store.check().ok


# Ties


def test_the_session_made_last_is_the_one_that_leaves_a_cycle(root: Path) -> None:
    from hierstore.disk.logfile import append_offline

    with SessionStore(root) as store:
        store.create("b").spawn("c").spawn("a")
        path = store._engine.layout.log("b")
        append_offline(path, "b", lambda _: [event("moved", parent="a")])
        report = store.repair()
        # "a" does not list "b" yet: that is mended too.
        assert kinds(report.done) == [("cycle", "a"), ("unlisted_child", "b")]
        assert [node.id for node in store.tree()] == ["a"]
        assert store.check().ok


def test_a_note_whose_child_hangs_elsewhere_stays(root: Path) -> None:
    with SessionStore(root) as store:
        store.create("p").spawn("c").move(store.create("q"))
        before = contents(root)
        assert store.repair().done == ()
        assert contents(root) == before


def test_a_note_of_a_deleted_child_stays_until_it_is_purged(root: Path) -> None:
    with SessionStore(root) as store:
        for name in ("a", "b"):
            fill(store.get_or_create("p").spawn(name), "x")
        store.delete("a")
        assert store.repair(dry_run=True).done == store.repair().done == ()
        store.restore("a")
        assert [child.id for child in store.get("p").children] == ["a", "b"]
        store.delete("a")
        store.purge("a")
        assert kinds(store.repair().done) == [("missing_child", "p")]
        assert [child.id for child in store.get("p").children] == ["b"]


# The registry


def test_keys_and_shares_work_again_after_their_parts_were_damaged(root: Path) -> None:
    with SessionStore(root) as store:
        sessions = [fill(store.create(f"s{number}"), f"{number}") for number in range(3)]
        keys = [f"key {number}" for number in range(40)]
        for number, key in enumerate(keys):
            store.bind(key, sessions[number % 3])
        for key in keys[:10]:
            store.bind(key, sessions[2])
        store.unbind(keys[11])
        tokens = [(session.share(subtree=False).token, session.id) for session in sessions for _ in range(5)]
        grant = sessions[0].share()
        sessions[0].unshare(grant.id)
        leads = {key: store.resolve(key) for key in keys}
        before = {key: found and found.id for key, found in leads.items()}
        for number, path in enumerate(sorted((root / "registry").iterdir())):
            if number % 3 == 0:
                path.unlink()
            elif number % 3 == 1:
                flip(path, 9)
    with SessionStore(root) as store:
        report = store.repair()
        assert report.ok
        after = {key: (found := store.resolve(key)) and found.id for key in keys}
        # That a key was unbound stood in the registry alone.
        assert {key for key in keys if after[key] != before[key]} <= {keys[11]}
        for token, session_id in tokens:
            assert store.open_share(token).info.id == session_id
        with pytest.raises(HierstoreError):
            store.open_share(grant.token)
        assert store.check().ok
        assert store.repair().done == ()


def test_a_binding_that_was_cut_away_is_told_by_the_session_that_noted_the_key_last(root: Path) -> None:
    with SessionStore(root) as store:
        for name in ("old", "new"):
            store.bind("k", store.create(name))
        path = root / "registry" / f"{stripe_of('k'):02x}.jsonl"
        data = path.read_bytes()
        flip(path, data.index(b'"session":"new"') + 12)
    with SessionStore(root) as store:
        assert kinds(store.repair().done) == [("corrupt", None), ("lost_route", "new")]
        found = store.resolve("k")
        assert found is not None
        assert found.id == "new"


def test_a_torn_binding_leaves_the_key_where_it_was(root: Path) -> None:
    with SessionStore(root) as store:
        for name in ("old", "new"):
            store.bind("k", store.create(name))
        path = root / "registry" / f"{stripe_of('k'):02x}.jsonl"
        path.write_bytes(path.read_bytes()[:-10])
    with SessionStore(root) as store:
        assert kinds(store.repair().done) == [("torn_tail", None)]
        found = store.resolve("k")
        assert found is not None
        assert found.id == "old"


# What cannot be done


def test_a_poisoned_session_is_left_and_others_are_mended(root: Path) -> None:
    def refuse(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    with SessionStore(root, durability="power") as store:
        session, other = fill(store.create("s"), "1"), fill(store.create("t"), "1")
        with replaced(files, sync=refuse), pytest.raises(DurabilityError):
            fill(session, "2")
        for name in ("s", "t"):
            log, data, _ = opened(store, name)
            log.write_bytes(data + b'{"torn')
        report = store.repair()
        assert (kinds(report.done), kinds(report.left)) == ([("torn_tail", "t")], [("torn_tail", "s")])
        assert texts(other) == ["1"]
    with SessionStore(root) as fresh:
        assert kinds(fresh.repair().done) == [("torn_tail", "s")]


@pytest.mark.parametrize("call", ["rename", "write", "sync", "replace"])
def test_a_full_or_broken_disk_leaves_each_log_as_it_was_and_says_so(root: Path, call: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with SessionStore(root) as store:
        for name in ("s", "t"):
            fill(store.create(name), "1", "2", "3")
            log, _, ends = opened(store, name)
            flip(log, ends[2] + 20)
        before = {name: log_of(store, name).read_bytes() for name in ("s", "t")}
        with replaced(files, **{call: refuse}):
            report = store.repair()
        assert (report.done, kinds(report.left)) == ((), [("corrupt", "s"), ("corrupt", "t")])
        assert "No space left" in report.left[0].detail
        assert {name: log_of(store, name).read_bytes() for name in ("s", "t")} == before
        assert kinds(store.repair().done) == [("corrupt", "s"), ("corrupt", "t")]
        assert store.check().ok


def test_a_lock_that_stays_taken_leaves_its_sessions_and_what_may_be_built_under_it(
    start: Callable[[], Child], root: Path
) -> None:
    with SessionStore(root) as store:
        names = ["a", next(f"b{n}" for n in range(100) if stripe_of(f"b{n}") != stripe_of("a"))]
        for name in names:
            fill(store.create(name), "1")
            log, data, _ = opened(store, name)
            log.write_bytes(data + b'{"torn')
        (root / "tmp" / "x.log").write_bytes(b"half built")
    holder = start()
    holder.begin(hold_stripe, root, stripe_of("a"))
    assert holder.hear() == "holding"
    with SessionStore(root, lock_timeout_s=0.1) as store:
        report = store.repair()
        assert kinds(report.done) == [("torn_tail", names[1])]
        assert [finding.session_id for finding in report.left] == ["a", None]
        assert all("stayed taken" in finding.detail for finding in report.left)
        assert (root / "tmp" / "x.log").exists()
    holder.say()
    holder.result()
    with SessionStore(root) as store:
        assert kinds(store.repair().done) == [("torn_tail", "a"), ("stray", None)]


def hold_stripe(root: Path, number: int) -> None:
    """In a child."""
    from tests.processes import hear, say

    with store_at(root)._engine.locks.holding([number]):
        say("holding")
        hear()


# Living builders


def paused(root: Path, at: str, needle: str, work: str) -> Any:
    """In a child: do some work, and wait for a word before the first such system call."""
    from tests.processes import hear, say

    store = store_at(root)
    stopped = False

    def hook(_number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal stopped
        if name == at and not stopped and needle.encode() in b" ".join(a for a in args if isinstance(a, bytes)):
            stopped = True
            say("paused")
            hear()
        return call()

    with hooked(hook):
        WORKS[work](store)
    assert stopped, "it never came there"


WORKS: dict[str, Callable[[SessionStore], Any]] = {
    "create": lambda store: store.create("new", parent="top"),
    "fork": lambda store: store.get("top").fork("new"),
    "delete": lambda store: store.delete("child", children="cascade"),
    "compact": lambda store: store.get("top").compact(keep="present"),
    "import": lambda store: store.import_lines(slowly(list(store.export_lines("top"))), on_conflict="new_ids"),
}


def slowly(lines: list[bytes]) -> Any:
    """Lines, with a call between them that a hook sees."""
    for line in lines:
        files.stat(b".")
        yield line


def repair_here(root: Path) -> tuple[list[Any], list[Any]]:
    """In a child."""
    report = store_at(root).repair()
    return kinds(report.done), kinds(report.left)


@pytest.mark.parametrize(
    ("work", "at", "needle"),
    [("create", "link", ".log"), ("fork", "open_file", ".log"), ("delete", "rename", "trash")],
)
def test_what_is_built_under_a_lock_is_waited_for(
    start: Callable[[], Child], root: Path, work: str, at: str, needle: str
) -> None:
    with SessionStore(root) as store:
        family(store)
    builder, mender = start(), start()
    builder.begin(paused, root, at, needle, work)
    assert builder.hear() == "paused"
    mender.begin(repair_here, root)
    # It must be waiting: whoever would not wait is done long before this.
    assert not mender.pipe.poll(0.5)
    builder.say()
    builder.result()
    assert mender.result() == ([], [])
    with SessionStore(root) as store:
        assert ("new" in store) == (work != "delete")
        assert (store.check().problems, store.check().notes) == ((), ())
        assert store.repair().done == ()


@pytest.mark.parametrize(("work", "at", "needle"), [("compact", "stat", "top.jsonl"), ("import", "stat", ".")])
def test_what_is_built_without_a_lock_is_left_alone(
    start: Callable[[], Child], root: Path, work: str, at: str, needle: str
) -> None:
    with SessionStore(root) as store:
        family(store)
        top = store.get("top")
        for _ in range(3):
            fill(top, "dropped " * 50)
            top.revert(4)
    builder = start()
    builder.begin(paused_when_built, root, work)
    names = builder.hear()
    assert names
    with SessionStore(root) as store:
        report = store.repair()
        assert (report.done, report.left) == ((), ())
        assert sorted(path.name for path in (root / "tmp").iterdir()) == names
        builder.say()
        builder.result()
        assert list((root / "tmp").iterdir()) == []
        assert store.check().ok


@pytest.mark.parametrize("work", ["compact", "import"])
def test_what_a_dead_builder_left_is_cleared(start: Callable[[], Child], root: Path, work: str) -> None:
    with SessionStore(root) as store:
        family(store)
        top = store.get("top")
        for _ in range(3):
            fill(top, "dropped " * 50)
            top.revert(4)
    builder = start()
    builder.begin(paused_when_built, root, work)
    names = builder.hear()
    builder.kill()
    with SessionStore(root) as store:
        before = bytes_of(root)
        assert kinds(store.repair().done) == [("stray", None)] * len(names)
        assert list((root / "tmp").iterdir()) == []
        assert list(lost(before, root)) == []


def paused_when_built(root: Path, work: str) -> None:
    """In a child: wait for a word when there is something in tmp and no lock of the store is held."""
    from tests.processes import hear, say

    store = store_at(root)
    engine = store._engine
    stopped = False

    def hook(_number: int, name: str, call: Callable[..., Any], _args: tuple[Any, ...]) -> Any:
        nonlocal stopped
        answer = call()
        names = sorted(path.name for path in (root / "tmp").iterdir())
        sizes = sum(path.stat().st_size for path in (root / "tmp").iterdir())
        if name != "close" and not stopped and sizes and not any(stripe.owner for stripe in engine.locks.stripes):
            stopped = True
            say(names)
            hear()
        return answer

    with hooked(hook):
        WORKS[work](store)
    assert stopped, "it never came there"


# Many at once


def be_busy(root: Path, name: str) -> list[str]:
    """In a child: append to a session, make children, forks, keys and shares, delete and restore."""
    from tests.processes import say

    store = store_at(root)
    done: list[str] = []
    say("ready")
    for number in range(250):
        session = store.get(name)
        done.append(f"{name} {number}")
        session.append("user", done[-1])
        if number % 10 == 0:
            child = session.spawn(f"{name}-{number}")
            child.append("user", "x")
            store.bind(f"key {name} {number}", child)
            child.share()
        if number % 10 == 4:
            session.fork(f"{name}-fork-{number}").append("user", "y")
        if number % 10 == 8:
            store.delete(f"{name}-{number - 8}")
            if number % 20 == 8:
                store.restore(f"{name}-{number - 8}")
    return done


def crowd_on(root: Path, start: Callable[[], Child]) -> dict[str, Child]:
    """Two processes at work, each on its own session."""
    crowd = {name: start() for name in ("a", "b")}
    for name, child in crowd.items():
        child.begin(be_busy, root, name)
    for child in crowd.values():
        assert child.hear() == "ready"
    return crowd


def test_a_repair_beside_busy_processes_finds_nothing_to_do_and_disturbs_nobody(
    start: Callable[[], Child], root: Path
) -> None:
    with SessionStore(root) as store:
        for name in ("a", "b"):
            store.create(name)
        crowd = crowd_on(root, start)
        repairs = 0
        while not all(child.pipe.poll() for child in crowd.values()):
            report = store.repair()
            assert (report.done, report.left) == ((), ())
            repairs += 1
        assert repairs
        for name, child in crowd.items():
            assert texts(store.get(name)) == child.result()
        assert store.check().ok


def test_damage_is_mended_beside_busy_processes_and_nothing_sound_is_lost(
    start: Callable[[], Child], root: Path
) -> None:
    with SessionStore(root) as store:
        for name in ("a", "b", "victim"):
            store.create(name)
        fill(store.get("victim"), "1", "2", "3")
        crowd = crowd_on(root, start)
        repairs = 0
        while not all(child.pipe.poll() for child in crowd.values()):
            log, _, ends = opened(store, "victim")
            flip(log, ends[-3] + 20)
            (root / "tmp" / f"{repairs}.log").write_bytes(b"left")
            report = store.repair()
            assert (kinds(report.done), report.left) == ([("corrupt", "victim"), ("stray", None)], ())
            fill(store.get("victim"), f"{repairs} a", f"{repairs} b")
            repairs += 1
        assert repairs
        for name, child in crowd.items():
            assert texts(store.get(name)) == child.result()
        assert store.check().ok


def test_two_repairs_at_once_mend_everything_once_and_lose_nothing(start: Callable[[], Child], root: Path) -> None:
    with all_wrecked(root):
        pass
    before = {name: data for name, data in bytes_of(root).items() if not name.endswith(".json")}
    menders = [start(), start()]
    for mender in menders:
        mender.begin(repair_here, root)
    reports = [mender.result() for mender in menders]
    assert list(lost(before, root)) == []
    with SessionStore(root) as store:
        assert store.repair().done == ()
        assert set(kinds(store.check().problems)) <= {("unreadable", "twig"), ("unreadable", None)}
    assert any(done for done, _ in reports)


ALL = ("a torn tail", "damage in the middle", "a past without a log, of which there is another link",
       "a log that is there twice", "a misplaced log", "a delete that a crash cut off of its own",
       "a note without a child", "a damaged part of the registry", "a part with a share that is gone",
       "a file in tmp", "a past without a log", "a fork whose past is gone", "an empty log")  # fmt: skip


def all_wrecked(root: Path) -> SessionStore:
    """A store with many damages."""
    with SessionStore(root) as store:
        family(store)
    with SessionStore(root) as store:
        for name in ALL:
            if name == "a delete that a crash cut off of its own":
                victim = fill(store.create("victim"), "x")
                nonce = lines_of(store, victim.id)[0]["nonce"]
                record = {"do": "delete", "batch": "0" * 30, "root": "victim", "orphans": []}
                record["sessions"] = [["victim", nonce]]
                (root / "tmp" / "1.json").write_text(json.dumps(record))
            else:
                WRECKS[name].make(store)
        # Whoever hangs below what is put aside, and round in a circle.
        for name, parent in (("low", "top"), ("ring", None)):
            store.create(name, parent=parent)
        flip(log_of(store, "low"), 20)
        store._engine.commit(store.get("ring")._entry, lambda _: [event("moved", parent="ring")])
    with replaced(SessionStore, _finish_pending=lambda self, layout: None):
        return SessionStore(root)


# What changes between the look and the act


def appear(store: SessionStore) -> None:
    store.create("never", parent="top")


def appear_and_be_deleted(store: SessionStore) -> None:
    appear(store)
    store.delete("never")


def come_back(store: SessionStore) -> None:
    store.create("child")


MEANWHILE: dict[str, tuple[str, str, str, Callable[[SessionStore], Any]]] = {
    # what is wrong, what of the repair waits, and what another process does before that
    "the log is mended": ("a torn tail", "logs", "_mend_held", lambda store: fill(store.get("child"), "next")),
    "the parent comes back": ("a missing parent", "ties", "_tie", come_back),
    "the child is moved": ("a missing parent", "ties", "_tie", lambda store: store.get("leaf").move("top")),
    "the child is listed": ("an unlisted child", "ties", "_tie", lambda store: (
        store.get("Other/Id").move(None), store.get("Other/Id").move("top"))),
    "the child moves away": ("an unlisted child", "ties", "_tie", lambda store: store.get("Other/Id").move(None)),
    "the child appears": ("a note without a child", "ties", "_tie", appear),
    "the child is deleted": ("a note without a child", "ties", "_tie", appear_and_be_deleted),
    "the cycle is broken": ("a cycle", "ties", "_tie", lambda store: store.get("child").move(None)),
    "the share is revoked": (
        "a part with a share that is gone", "leads", "_mend_part", lambda store: store.get("child").unshare()),
    "the key is bound": (
        "a part of the registry that is gone", "leads", "_mend_part", lambda store: store.bind("key two", "leaf")),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANWHILE)
def test_what_another_process_does_between_the_look_and_the_act_counts(root: Path, name: str) -> None:
    import importlib

    wreck, module_name, waiting, act = MEANWHILE[name]
    module = importlib.import_module(f"hierstore.repair.{module_name}")
    wait = getattr(module, waiting)
    acted = False

    def act_first(*args: Any) -> Any:
        nonlocal acted
        if not acted:
            acted = True
            act(other)
        return wait(*args)

    with wrecked(root, wreck) as store, SessionStore(root) as other:
        with replaced(module, **{waiting: act_first}):
            report = store.repair()
        assert acted
        allowed = {
            "the parent comes back": [("missing_child", "top")],
            "the child is moved": [("missing_child", "top")],
        }
        assert kinds(report.done) in ([], allowed.get(name))
        assert report.left == ()
        assert {path.suffix for path in (root / "quarantine").iterdir()} == set()
        # Of a missing parent that came back the child is not yet listed, and so on: the next one mends the rest.
        store.repair()
        assert store.check().ok
        if name == "the share is revoked":
            assert store.get("child").shares == ()


def test_a_fork_that_is_being_made_while_strays_are_cleared_keeps_its_past(
    start: Callable[[], Child], root: Path
) -> None:
    import hierstore.repair as package

    builder, clear = start(), package.clear_strays

    def clear_meanwhile(run: Any) -> None:
        builder.begin(paused, root, "open_file", ".log", "fork")
        assert builder.hear() == "paused"
        clear(run)

    with SessionStore(root, lock_timeout_s=0.2) as store:
        family(store)
        with replaced(package, clear_strays=clear_meanwhile):
            report = store.repair()
        assert (report.done, kinds(report.left)) == ((), [("stray", None)])
        builder.say()
        builder.result()
        assert texts(store.get("new")) == ["1", "2", "3"]
        assert store.repair().left == ()


def test_the_past_of_a_fork_whose_delete_is_half_done_is_no_stray(root: Path) -> None:
    with SessionStore(root) as store:
        family(store)
        log = log_of(store, "twig")
        nonce = lines_of(store, "twig")[0]["nonce"]
        bad = log_of(store, "Other/Id")
        bad.rename(root / "aside")
        bad.mkdir()
        record = {
            "do": "delete",
            "batch": "0" * 30,
            "root": "x",
            "sessions": [["twig", nonce]],
            "orphans": ["Other/Id"],
        }
        (root / "tmp" / "1.json").write_text(json.dumps(record))
        (root / "tmp" / "2.jsonl").write_bytes(b"perhaps it names this one")
        log.rename(root / "trash" / f"{'0' * 30}.twig.jsonl")
        pasts = sorted(path.name for path in log.parent.glob("twig.past*"))
        report = store.repair()
        assert report.done == ()
        assert {kind for kind, _ in kinds(report.left)} >= {"pending", "unreadable", "stray"}
        assert sorted(path.name for path in log.parent.glob("twig.past*")) == pasts
        assert (root / "tmp" / "2.jsonl").exists()
        bad.rmdir()
        (root / "aside").rename(bad)
        assert kinds(store.repair().done) == [("pending", None), ("stray", None)]
        store.restore("twig")
        assert texts(store.get("twig")) == ["1", "2", "own"]


# Killed in the middle


def repair_and_die(root: Path, at: int) -> None:
    """In a child: repair, and die before the system call of that number."""

    def hook(number: int, _name: str, call: Callable[..., Any], _args: tuple[Any, ...]) -> Any:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call()

    with replaced(SessionStore, _finish_pending=lambda self, layout: None):
        store = store_at(root)
    with hooked(hook):
        store.repair()


def repair_calls(root: Path) -> list[Any]:
    """In a child: the system calls that a repair makes."""
    with replaced(SessionStore, _finish_pending=lambda self, layout: None):
        store = store_at(root)
    return [call for call in list_calls(store.repair) if call.changes and call.name != "open_file"]


def copy_of(root: Path, target: Path) -> Path:
    """A store with its links and times."""
    subprocess.run(["cp", "-a", root, target], check=True)
    return target


def seen_of(store: SessionStore) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What a store shows of the sessions that it can show."""
    found = {node.id: _facts(store, node.id) for node in ids_of(store) if node.error is None}
    keys = {key: (at := store.resolve(key)) and at.id for key in ("key one", "key two")}
    return found, keys


def test_killed_at_every_system_call_it_leaves_a_store_that_the_next_repair_finishes(
    start: Callable[[], Child], tmp_path: Path, root: Path
) -> None:
    all_wrecked(root).close()
    store_bytes = {name: data for name, data in bytes_of(root).items() if not name.endswith(".json")}
    with SessionStore(copy_of(root, tmp_path / "whole")) as store:
        report = store.repair()
        expected = seen_of(store)
        problems = kinds(store.check().problems)
    calls = start().call(repair_calls, copy_of(root, tmp_path / "calls"))
    assert len(calls) > 25
    for call in calls:
        beside = copy_of(root, tmp_path / f"{call.number}")
        child = start()
        child.begin(repair_and_die, beside, call.number)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        try:
            assert list(lost(store_bytes, beside)) == []
            with SessionStore(beside) as store:
                again = store.repair()
                assert kinds(again.left) == kinds(report.left)
                assert seen_of(store) == expected
                assert kinds(store.check().problems) == problems
                assert store.repair().done == ()
            assert list(lost(store_bytes, beside)) == []
        except BaseException as error:
            error.add_note(f"killed before system call {call.number}: {call.name}, made from {call.place[:3]}")
            raise
        subprocess.run(["rm", "-r", beside], check=True)


def test_a_session_that_was_deleted_while_the_repair_looked_is_passed_over(root: Path) -> None:
    with SessionStore(root) as store, SessionStore(root) as other:
        fill(store.create("s"), "1")
        log, data, _ = opened(store, "s")
        log.write_bytes(data + b'{"torn')
        stat = files.stat

        def delete_first(path: bytes, *args: Any) -> Any:
            if path == os.fsencode(log) and "s" in [node.id for node in other.tree()]:
                with replaced(files, stat=stat):
                    other.delete("s")
            return stat(path, *args)

        opening = files.open_regular
        opens = 0

        def open_regular(path: bytes, flags: int) -> int:
            nonlocal opens
            opens += path == os.fsencode(log)
            if opens == 3:
                opens += 1
                log.rename(root / "trash" / "x.s.jsonl")
            return opening(path, flags)

        with replaced(files, open_regular=open_regular):
            report = store.repair()
        assert (report.done, report.left) == ((), ())
        with pytest.raises(SessionNotFound):
            store.get("s")
