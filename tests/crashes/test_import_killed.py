"""``kill -9`` at every system call of an import: afterwards all sessions are there, or none."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.processes import say, store_at
from tests.seam import Call, ends_of_loops, hooked, list_calls
from tests.support import contents
from tests.transfer.bundles import Bundle, as_lines
from tests.transfer.cases import (
    CASES,
    NAMES,
    Glance,
    assert_tidy,
    before_and_after,
    bundle_of,
    foreign_folder,
    glance,
    prepared,
    use_all,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What is imported."""
    return bundle_of(tmp_path_factory.mktemp("source"))


def die() -> None:
    """In a child: as ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(root: Path, name: str, bundle: Bundle, at: int, *, torn: bool, durability: str) -> None:
    """In a child: run an import, and die before the system call of that number, or in the middle of a write."""
    store = prepared(root, name, durability=durability)

    def hook(number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        if number == at:
            if torn and called == "write":
                fd, data = args
                call(fd, bytes(data)[: len(data) // 2])
            die()
        return call()

    with hooked(hook):
        CASES[name].run(store, bundle)
    die()


def calls_of(root: Path, name: str, bundle: Bundle, durability: str) -> list[Call]:
    """In a child: the system calls that an import makes."""
    store = prepared(root, name, durability=durability)
    foreign_folder(root.parent / f"{root.name} foreign")
    return list_calls(lambda: CASES[name].run(store, bundle))


def reopen(root: Path, name: str, bundle: Bundle, before: Glance, after: Glance) -> Glance:
    """Open what a dead process left: all or nothing is there, nothing is amiss, and every call works."""
    with SessionStore(root) as store:
        found = glance(store)
        assert found in (before, after), "half of it is there"
        assert store.check().problems == ()
        assert_tidy(store)
        assert glance(store) == found
        if found == before:
            CASES[name].run(store, bundle)
            assert glance(store) == after
        else:
            CASES[name].again(store, bundle)
        use_all(store)
    return found


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("name", CASES)
def test_an_import_killed_at_any_system_call_is_done_or_not_begun(start, tmp_path, bundle, name, durability):
    """behaviours 29"""
    before, after = before_and_after(tmp_path, name, bundle)
    calls = start().call(calls_of, tmp_path / "calls", name, bundle, durability)
    # One past the last: everything was done, and the acknowledgment never came.
    end = Call(10**6, "the end", changes=True)
    points = [(call, False) for call in [*ends_of_loops(calls), end] if call.changes]
    points += [(call, True) for call in ends_of_loops(calls) if call.name == "write"]
    states = {}
    for call, torn in points:
        child = start()
        root = tmp_path / f"{call.number}{'-torn' * torn}"
        child.begin(run_and_die, root, name, bundle, call.number, torn=torn, durability=durability)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        try:
            states[call, torn] = reopen(root, name, bundle, before, after)
        except BaseException as error:
            what = f"{call.number} of {len(calls)}: {call.name} {call.place}"
            error.add_note(f"killed {'in' if torn else 'before'} system call {what}")
            raise
        shutil.rmtree(root)
    assert states[points[0]] == before
    assert states[end, False] == after, "it was done, and is gone"


# The recovery is cut off too


def leave_half_done(root: Path, name: str, bundle: Bundle, moves: int) -> None:
    """In a child: die where that many logs have their places, and the others not yet."""
    store = prepared(root, name)
    left = moves

    def hook(_number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        nonlocal left
        answer = call()
        if called == "rename" and b"/sessions/" in args[1] and args[1].endswith(b".jsonl"):
            left -= 1
            if not left:
                die()
        return answer

    with hooked(hook):
        CASES[name].run(store, bundle)


def recover_and_die(root: Path, at: int) -> None:
    """In a child: open a store, which finishes what another left, and die before that system call."""

    def hook(number: int, _called: str, call: Any, _args: tuple[Any, ...]) -> Any:
        if number == at:
            die()
        return call()

    with hooked(hook):
        SessionStore(root)


def recovery_calls_of(root: Path) -> list[Call]:
    """In a child: the system calls that opening a store makes."""
    return list_calls(lambda: store_at(root))


@pytest.mark.parametrize(("name", "moves"), [("refuse", 1), ("refuse", 4), ("new ids", 3), ("skip", 1)])
def test_an_import_whose_recovery_is_killed_at_any_system_call_is_still_finished(start, tmp_path, bundle, name, moves):
    before, after = before_and_after(tmp_path, name, bundle)

    def crashed(root: Path) -> Path:
        child = start()
        child.begin(leave_half_done, root, name, bundle, moves)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        return root

    calls = start().call(recovery_calls_of, crashed(tmp_path / "calls"))
    changing = [call for call in ends_of_loops(calls) if call.changes]
    assert len(changing) > 4, "there was nothing to recover"
    for call in changing:
        child = start()
        root = crashed(tmp_path / f"{call.number}")
        child.begin(recover_and_die, root, call.number)
        assert child.wait() == -signal.SIGKILL
        child.pipe.close()
        try:
            assert reopen(root, name, bundle, before, after) == after
        except BaseException as error:
            error.add_note(f"killed before system call {call.number} of the recovery: {call.name}")
            raise
        shutil.rmtree(root)


def join_and_die(root: Path, bundle: Bundle) -> None:
    """In a child: import into a store that is there, and die after the second log has its place."""
    store = store_at(root)
    left = 2

    def hook(_number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        nonlocal left
        answer = call()
        if called == "rename" and b"/sessions/" in args[1] and args[1].endswith(b".jsonl"):
            left -= 1
            if not left:
                die()
        return answer

    with hooked(hook):
        store.import_bundle(bundle, on_conflict="refuse")


def test_what_another_made_since_the_crash_stays(start, root, bundle):
    """A process that had the store open all along takes one of the ids before the import is finished."""
    with SessionStore(root) as beside:
        victim = start()
        victim.begin(join_and_die, root, bundle)
        assert victim.wait() == -signal.SIGKILL
        mine = beside.create("twig", title="mine")
        mine.append("user", "mine")
        with SessionStore(root) as store:
            assert [message.content for message in store.get("twig").messages] == ["mine"]
            assert {name for name in NAMES if name in store} == set(NAMES)
            assert store.check().problems == ()
            assert_tidy(store)
        assert mine.title == "mine"


def test_a_parent_that_was_deleted_since_the_crash_leaves_roots(start, root, bundle):
    with SessionStore(root) as beside:
        beside.create("parent")
        victim = start()
        victim.begin(join_below_and_die, root, bundle)
        assert victim.wait() == -signal.SIGKILL
        # As another version would that knows no pending work: from outside.
        for path in (root / "sessions").rglob("parent.jsonl"):
            path.unlink()
    with SessionStore(root) as store:
        assert {name for name in NAMES if name in store} == set(NAMES)
        store.repair()
        assert store.get("top").parent_id is None
        assert store.check().problems == ()
        use_all(store)


def join_below_and_die(root: Path, bundle: Bundle) -> None:
    """In a child: import below "parent", and die when the record is written and nothing else is."""
    store = store_at(root)

    def hook(_number: int, called: str, call: Any, args: tuple[Any, ...]) -> Any:
        answer = call()
        if called == "rename" and args[1].endswith(b".json"):
            die()
        return answer

    with hooked(hook):
        store.import_bundle(bundle, on_conflict="refuse", parent="parent")


# Ctrl-C


def import_slowly(root: Path, bundle: Bundle) -> str:
    """In a child: import lines, and wait in the middle until a signal comes."""
    store = store_at(root)
    lines = as_lines(bundle)

    def source() -> Any:
        yield from lines[: len(lines) // 2]
        say(len(list((root / "tmp").iterdir())))
        signal.pause()
        yield from lines[len(lines) // 2 :]

    try:
        store.import_lines(source(), on_conflict="refuse")
    except KeyboardInterrupt:
        assert "top" not in store
        store.import_lines(lines, on_conflict="refuse")
        return "interrupted"
    return "done"


def test_ctrl_c_in_the_middle_leaves_nothing_and_the_next_import_works(start, root, bundle, open_store):
    store = open_store()
    store.create("s")
    before = contents(root)
    child = start()
    child.begin(import_slowly, root, bundle)
    assert child.hear() > 1, "there is nothing in tmp/ yet"
    child.signal(signal.SIGINT)
    assert child.result() == "interrupted"
    assert {name for name in NAMES if name in store} == set(NAMES)
    assert list((root / "tmp").iterdir()) == []
    store.delete("top", children="cascade")
    store.purge()
    assert {name for name, (_, data) in contents(root).items() if data} == {
        name for name, (_, data) in before.items() if data
    }


def test_a_process_killed_in_the_middle_leaves_nothing_but_what_a_repair_clears(start, root, bundle, open_store):
    store = open_store()
    store.create("s")
    before = contents(root)
    child = start()
    child.begin(import_slowly, root, bundle)
    assert child.hear() > 1
    # As long as it lives nobody takes its files away.
    there = sorted(path.name for path in (root / "tmp").iterdir())
    store.repair()
    assert sorted(path.name for path in (root / "tmp").iterdir()) == there
    assert child.kill() == -signal.SIGKILL
    assert "top" not in store
    assert store.check().problems == ()
    assert_tidy(store)
    after = contents(root)
    assert {name for name in after if not name.startswith(("tmp/", "quarantine/"))} == set(before)
    store.import_bundle(bundle, on_conflict="refuse")
