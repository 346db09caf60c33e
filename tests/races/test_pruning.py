"""Pruning while others read and write: nothing that is in use goes, and each session is pruned once.

The old sessions are made with the test's clock set back; the processes have the true time, so that whatever they write
makes a session young.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import SessionNotFound, SessionStore, clock
from hierstore.disk import files
from tests.processes import hear, replaced, say, store_at
from tests.races.test_crowds import go_together
from tests.support import fill, texts

if TYPE_CHECKING:
    from pathlib import Path

PATIENT_S = 60.0
IMPATIENT_S = 0.3
TREES = 40
WRITERS, READERS = 5, 3
ROUNDS = 150
PRUNES = 20
DAY_S = 86400.0


@pytest.fixture
def forest(open_store, monkeypatch) -> SessionStore:
    """Trees of sessions that are thirty days old: ``t0`` > ``t0-0`` > ``t0-0-0`` and so on."""
    store = open_store()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: time.time() - 30 * DAY_S)
        for tree in range(TREES):
            make_tree(store, f"t{tree}")
    return store


def make_tree(store: SessionStore, name: str) -> None:
    fill(store.create(name), f"I am {name}")
    for child in (f"{name}-0", f"{name}-1"):
        fill(store.create(child, parent=name), f"I am {child}")
        for below in (f"{child}-0", f"{child}-1"):
            fill(store.create(below, parent=child), f"I am {below}")


def names() -> list[str]:
    return [f"t{tree}{below}" for tree in range(TREES) for below in ("", "-0", "-1", "-0-0", "-0-1", "-1-0", "-1-1")]


def existing(store: SessionStore) -> set[str]:
    found, stack = set(), list(store.tree())
    while stack:
        node = stack.pop()
        found.add(node.id)
        stack.extend(node.children)
    return found


# The parts that processes play


def write(root: Path, seed: int, name: str) -> dict[str, Any]:
    """In a child: write to old sessions, as long as they are there; what was acknowledged."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(f"{seed} {name}")
    old = names()
    random.Random(seed).shuffle(old)
    acks: dict[str, Any] = {"messages": [], "children": [], "pinned": [], "refused": 0}
    go_together()
    for number in range(ROUNDS):
        # All over the forest, and more and more of it: what was written to once is pruned no more.
        session_id = dice.choice(old[: 20 + len(old) * number // ROUNDS])
        try:
            session = store.get(session_id)
            what = dice.random()
            if what < 0.5:
                acks["messages"].append((session_id, session.append("user", f"{name}-{number}").content))
            elif what < 0.7:
                acks["children"].append((session_id, session.spawn(f"{name}-{number}").id))
            elif what < 0.8:
                acks["children"].append((session_id, session.fork(f"{name}-{number}").id))
            elif what < 0.9:
                session.update(pinned=True)
                acks["pinned"].append(session_id)
            else:
                session.set_title(f"{name}-{number}")
        except SessionNotFound:
            acks["refused"] += 1
    return acks


def read(root: Path, seed: int, name: str) -> int:
    """In a child: read old sessions; what is there is whole."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(f"{seed} {name}")
    found = 0
    go_together()
    for number in range(ROUNDS):
        session_id = dice.choice(names())
        try:
            assert texts(store.get(session_id))[0] == f"I am {session_id}"
            found += 1
            if number % 25 == 0:
                store.tree(session_id)
        except SessionNotFound:
            continue
    return found


def prune(root: Path, seed: int, name: str) -> list[tuple[str, ...]]:
    """In a child: prune again and again, a part each time, so that there is something to prune till the end."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(f"{seed} {name}")
    pruned = []
    go_together()
    for _ in range(PRUNES):
        report = store.prune(max_age_days=1, keep=lambda keys, _: bool(keys) or dice.random() < 0.8)
        assert not set(report.pruned) & set(report.kept)
        assert len(set(report.kept)) == len(report.kept)
        # A session may go under keep's hands, by another prune; nothing else goes wrong.
        assert report.errors == ()
        pruned.append(report.pruned)
    return pruned


PARTS = {"write": write, "read": read, "prune": prune}


def play(root: Path, part: str, seed: int, name: str) -> Any:
    """In a child."""
    return PARTS[part](root, seed, name)


def run_parts(start, root: Path, parts: list[str], seed: int) -> dict[str, list[Any]]:
    """Play several parts at once, each in a process of its own; the answers by part."""
    children = [start() for _ in parts]
    for number, (part, child) in enumerate(zip(parts, children, strict=True)):
        child.begin(play, root, part, seed, f"p{number}")
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    answers: dict[str, list[Any]] = {part: [] for part in PARTS}
    for part, child in zip(parts, children, strict=True):
        answers[part].append(child.result())
    return answers


def ancestors_of(session_id: str) -> list[str]:
    """Those of an old session, by its name."""
    parts = session_id.split("-")
    return ["-".join(parts[:count]) for count in range(1, len(parts))]


def check_everything(store: SessionStore, answers: dict[str, list[Any]]) -> None:
    """Each session is there or was pruned once, and what was acknowledged is there, with all that it hangs below."""
    pruned = [session_id for runs in answers["prune"] for run in runs for session_id in run]
    assert len(pruned) == len(set(pruned)), "one session in two reports"
    made = {child_id for acks in answers["write"] for _, child_id in acks["children"]}
    there = existing(store)
    assert there | set(pruned) == {*names(), *made}
    assert not there & set(pruned)
    assert sorted(item.id for item in store.trash()) == sorted(pruned)
    for acks in answers["write"]:
        for session_id, content in acks["messages"]:
            assert content in texts(store.get(session_id))
        for session_id, child_id in acks["children"]:
            assert store.get(child_id).parent_id == session_id
            assert child_id in {child.id for child in store.get(session_id).children}
        in_use = {session_id for session_id, _ in (*acks["messages"], *acks["children"])} | set(acks["pinned"])
        for session_id in in_use:
            assert {session_id, *ancestors_of(session_id)} <= there
    for session_id in there:
        assert not set(ancestors_of(session_id) if session_id.startswith("t") else ()) & set(pruned)
    assert store.check().problems == ()


@pytest.mark.parametrize("seed", range(3))
def test_one_prunes_and_eight_read_and_write(start, root, forest, seed):
    """behaviours 19"""
    answers = run_parts(start, root, ["prune", *["write"] * WRITERS, *["read"] * READERS], seed)
    check_everything(forest, answers)
    pruned = sum(map(len, answers["prune"][0]))
    refused = sum(acks["refused"] for acks in answers["write"])
    print(f"{pruned} of {len(names())} pruned, {refused} writes came too late")
    assert pruned
    # What is left over and old goes now, and only that.
    before = existing(forest)
    report = forest.prune(max_age_days=1)
    assert set(report.kept) == before - set(report.pruned) == existing(forest)
    for session_id in report.pruned:
        assert texts(forest.restore(session_id))[0] == f"I am {session_id}"
        forest.delete(session_id, children="cascade")


@pytest.mark.parametrize("seed", range(2))
def test_of_several_prunes_at_once_one_prunes_each_session(start, root, forest, seed):
    """behaviours 19"""
    answers = run_parts(start, root, ["prune", "prune", "prune", "write", "write"], seed)
    check_everything(forest, answers)
    assert any(any(runs) for runs in answers["prune"])


def prune_all(root: Path, name: str) -> tuple[str, ...]:
    """In a child: one prune, begun when all begin."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    go_together()
    report = store.prune(max_age_days=1)
    assert report.errors == ()
    return report.pruned


def test_four_prunes_of_everything_prune_everything_once(start, root, forest):
    """behaviours 19"""
    children = [start() for _ in range(4)]
    for number, child in enumerate(children):
        child.begin(prune_all, root, f"p{number}")
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    pruned = [session_id for child in children for session_id in child.result()]
    assert sorted(pruned) == sorted(names())
    assert forest.tree() == ()
    assert sorted(item.id for item in forest.trash()) == sorted(names())


# One after the other, in an order that loses something if anything does


def prune_and_stop_in_keep(root: Path, at: str) -> tuple[Any, ...]:
    """In a child: prune, standing still while keep is asked about one session."""
    store = store_at(root, lock_timeout_s=IMPATIENT_S)

    def keep(_keys: tuple[str, ...], session: Any) -> bool:
        if session.id == at:
            say("asked")
            hear()
        return False

    report = store.prune(max_age_days=1, keep=keep)
    return report.pruned, report.kept, report.errors


def append_at(root: Path, session_id: str, content: str) -> None:
    """In a child."""
    store_at(root, lock_timeout_s=IMPATIENT_S).get(session_id).append("user", content)


def test_a_message_that_comes_while_keep_is_asked_keeps_its_tree(start, root, forest):
    """behaviours 17, 19"""
    pruner, writer = start(), start()
    pruner.begin(prune_and_stop_in_keep, root, "t3")
    assert pruner.hear() == "asked"
    # No lock is held: every session can be read and written, within IMPATIENT_S.
    writer.call(append_at, root, "t3-0-1", "not yet done")
    writer.call(append_at, root, "t4", "nor here")
    pruner.say()
    pruned, kept, errors = pruner.result()
    assert errors == ()
    assert set(kept) == {name for name in names() if name.partition("-")[0] == "t3"} | {"t4", *names_below("t4")}
    assert set(pruned) == set(names()) - set(kept)
    assert texts(forest.get("t3-0-1")) == ["I am t3-0-1", "not yet done"]
    assert existing(forest) == set(kept)
    # Nobody uses the rest of those trees.
    report = forest.prune(max_age_days=1)
    assert set(report.kept) == {"t3", "t3-0", "t3-0-1", "t4"}


def names_below(root: str) -> set[str]:
    return {name for name in names() if name.startswith(f"{root}-")}


def prune_and_stop_at_rename(root: Path, number: int) -> None:
    """In a child: prune, standing still before the move of a log."""
    store = store_at(root)
    store.tree()
    rename = files.rename
    moved = 0

    def stopping(source: bytes, target: bytes) -> None:
        nonlocal moved
        if b"/sessions/" in source:
            moved += 1
            if moved == number:
                say("moving")
                hear()
        rename(source, target)

    with replaced(files, rename=stopping):
        store.prune(max_age_days=1)


@pytest.mark.parametrize("number", [1, 2, 7, 8, 11])
def test_a_prune_that_is_killed_leaves_each_tree_whole_or_wholly_in_the_trash(start, root, forest, open_store, number):
    """behaviours 20"""
    pruner = start()
    pruner.begin(prune_and_stop_at_rename, root, number)
    assert pruner.hear() == "moving"
    pruner.kill()
    store = open_store()
    there = existing(store)
    gone = set(names()) - there
    assert len(gone) == 7 * ((number + 6) // 7)
    for tree in range(TREES):
        assert len({f"t{tree}", *names_below(f"t{tree}")} & gone) in (0, 7)
    assert sorted(item.id for item in store.trash()) == sorted(gone)
    for name in gone:
        if "-" not in name:
            store.restore(name)
    assert existing(store) == set(names())
    assert all(texts(store.get(name)) == [f"I am {name}"] for name in names())


def test_a_writer_that_waits_for_a_session_that_is_being_pruned_is_told_that_it_is_gone(start, root, forest):
    """behaviours 8"""
    pruner, writer = start(), start()
    pruner.begin(prune_and_stop_at_rename, root, 7)
    assert pruner.hear() == "moving"
    # Of the first tree the root is left: it goes last, and its lock is held.
    writer.begin(append_late, root, "t0")
    assert writer.hear() == "there"
    pruner.say()
    pruner.result()
    with pytest.raises(SessionNotFound):
        writer.result()
    assert existing(forest) == set()


def append_late(root: Path, session_id: str) -> None:
    """In a child."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    assert session_id in store
    say("there")
    store.get(session_id).append("user", "late")


def prune_beside_threads(root: Path) -> tuple[int, int]:
    """In a child: threads write, read and prune through one store."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    failures: list[BaseException] = []
    pruned: list[str] = []
    written: set[str] = set()

    def work(number: int) -> None:
        dice = random.Random(number)
        try:
            for _ in range(40):
                if number < 2:
                    pruned.extend(store.prune(max_age_days=1, keep=lambda *_: dice.random() < 0.9).pruned)
                else:
                    write_one(dice.choice(names()))
        except BaseException as error:  # noqa: BLE001  # raised again where the test sees it
            failures.append(error)

    def write_one(session_id: str) -> None:
        try:
            fill(store.get(session_id), "in use")
            written.add(session_id)
        except SessionNotFound:
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert len(pruned) == len(set(pruned))
    assert not set(pruned) & written
    assert existing(store) == set(names()) - set(pruned)
    return len(pruned), len(written)


def test_threads_of_one_store_prune_and_write(start, root, forest):
    """behaviours 19"""
    pruned, written = start().call(prune_beside_threads, root)
    assert pruned
    assert written
    assert len(existing(forest)) == len(names()) - pruned
