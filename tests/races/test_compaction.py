"""Compaction while others read and write: whatever comes in whatever moment, it is as if there had been none."""

from __future__ import annotations

import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hierstore import (
    CompactReport,
    LockTimeout,
    RevisionNotFound,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
    clock,
    compaction,
    sharing,
)
from hierstore.disk import files
from hierstore.naming import stripe_of
from tests.compacting import during, everything, numbered, past, present, shared_view, without_snapshots
from tests.processes import hear, replaced, say, store_at, wait_until
from tests.races.test_coarse_clock import coarse_root  # noqa: F401  # a fixture
from tests.support import fill, log_of, texts

PATIENT_S = 60.0
DEADLOCK_S = 5.0
"""How long what should take milliseconds may take on a busy machine."""


def prepare(store: SessionStore) -> None:
    """A tree and a fork; of ``s`` something was undone, and is no longer to be had after a compaction."""
    with numbered(0):
        top = store.create("top")
        parent = fill(top.spawn("parent"), "inherited", "not inherited")
        session = parent.fork("s", at=parent.messages[0], title="superseded")
        fill(session, "one", "two")
    with numbered(1):
        session.snapshot("early")
        fill(session, "three", "undone", "undone too")
        session.revert(session.messages[3])
    with numbered(2):
        session.set_title("the title")
        fill(session, "four")
        fill(top.spawn("other"), "another session")
        top.share(frozen=True, subtree=True)


Action = Callable[[SessionStore], Any]


def of_s(what: Callable[[Session], Any]) -> Action:
    return lambda store: what(store.get("s"))


def in_a_turn(session: Session) -> None:
    with session.turn(expected_revision=session.revision) as turn:
        turn.append("user", "in a turn")
        turn.append("assistant", "as well")


def delete_and_restore(store: SessionStore) -> None:
    store.delete("s")
    store.restore("s")


def purge_the_parent(store: SessionStore) -> None:
    store.delete("parent", children="orphan")
    store.purge("parent")


ACTIONS: dict[str, Action] = {
    "append": of_s(lambda session: session.append("user", "meanwhile")),
    "append twice": of_s(lambda session: fill(session, "meanwhile", "and again")),
    "retry": of_s(lambda session: session.append("user", "x", message_id=session.messages[0].id)),
    "extend": of_s(lambda session: session.extend([{"role": "user", "content": [n]} for n in range(3)])),
    "turn": of_s(in_a_turn),
    "reset": of_s(lambda session: session.reset()),
    "title": of_s(lambda session: session.set_title("meanwhile")),
    "facts": of_s(lambda session: session.update(metadata={"k": 1}, labels=["l"], derived={"d": 2}, pinned=True)),
    "usage": of_s(lambda session: session.add_usage(tokens=3)),
    "ref": of_s(lambda session: session.set_ref("r", 1)),
    "start turn": of_s(lambda session: session.start_turn("token")),
    "bind": lambda store: store.bind("key", "s"),
    "revert to a message": of_s(lambda session: session.revert(session.messages[1])),
    "revert to a revision that goes": of_s(lambda session: session.revert(7)),
    "revert to an undone message": of_s(lambda session: session.revert(_undone(session))),
    "revert to a snapshot": of_s(lambda session: session.revert(session.snapshots[0])),
    "undo the revert": of_s(lambda session: session.undo_revert()),
    "reset and undo": of_s(lambda session: (session.reset(), session.revert(session.revision - 1))),
    "revert and append": of_s(lambda session: (session.revert(6), fill(session, "behind"))),
    "snapshot": of_s(lambda session: session.snapshot("meanwhile")),
    "snapshot and append": of_s(lambda session: (session.snapshot("meanwhile"), fill(session, "behind"))),
    "fork": of_s(lambda session: session.fork("forked")),
    "fork of what goes": of_s(lambda session: session.fork("forked", at=7)),
    "spawn": of_s(lambda session: session.spawn("spawned")),
    "share": of_s(lambda session: session.share(frozen=True)),
    "share above": lambda store: store.get("top").share(frozen=True, subtree=True),
    "move": of_s(lambda session: session.move("other")),
    "move and share": lambda store: (store.get("s").move("other"), store.get("other").share(frozen=True, subtree=True)),
    "delete and restore": delete_and_restore,
    "delete the parent": lambda store: store.delete("parent", children="orphan"),
    "purge the parent": purge_the_parent,
    "compact the parent": lambda store: store.get("parent").compact(keep="present"),
    "write elsewhere": lambda store: store.get("other").append("user", "elsewhere"),
}


def _undone(session: Session) -> str:
    history, count = session._state().history_at(7)
    found: str = history.message(count - 1).id
    return found


MOMENTS: dict[str, tuple[Any, str, bool]] = {
    # what is called, and whether the other one comes in after it
    "when it was read": (compaction, "first_state", False),
    "before it is looked at": (compaction, "compacted", False),
    "before it is written": (compaction, "differs", True),
    "when it is written": (files, "sync", True),
    "before the lock": (compaction, "_swap", False),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("keep", ["snapshots", "present"])
def test_what_happens_meanwhile_happens_as_if_nobody_compacted(root, open_store, tmp_path, keep, name, moment):
    """behaviours 21"""
    with SessionStore(tmp_path / "without") as without:
        prepare(without)
        with numbered(3):
            ACTIONS[name](without)
        wanted = {found: everything(without.get(found)) for found in _names(without)}
    store, other = open_store(), open_store()
    prepare(store)
    present(other.get("s"))

    def act() -> None:
        with numbered(3):
            ACTIONS[name](other)

    module, called, after = MOMENTS[moment]
    through = store.get("s").revision
    with replaced(module, **{called: during(getattr(module, called), act, after=after)}):
        report = store.get("s").compact(keep=keep)
    assert report.dropped_messages <= 2
    for place in (store, other, open_store(), open_store(read_only=True)):
        found = {found: everything(place.get(found)) for found in _names(place)}
        if keep == "present":
            # A snapshot made meanwhile may go or stay, as if it had been made before or after.
            last = max(through, store.get("s").revision)
            found, expected = ({**some, "s": without_snapshots(some["s"], last)} for some in (found, wanted))
        else:
            expected = wanted
        assert found == expected
    assert not list((root / "tmp").iterdir())
    for place in (other, store):
        fill(place.get("s"), "next")
        assert texts(store.get("s"))[-1] == texts(other.get("s"))[-1] == "next"


def _names(store: SessionStore) -> list[str]:
    return [name for name in ("top", "parent", "s", "other", "forked", "spawned") if name in store]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_session_deleted_meanwhile_is_not_found_and_not_brought_back(root, open_store, moment):
    """behaviours 8"""
    store, other = open_store(), open_store()
    prepare(store)
    module, called, after = MOMENTS[moment]
    call = during(getattr(module, called), lambda: other.delete("s"), after=after)
    with replaced(module, **{called: call}), pytest.raises(SessionNotFound) as caught:
        store.get("s").compact(keep="present")
    assert caught.value.session_id == "s"
    assert "s" not in store
    assert not list((root / "tmp").iterdir())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_session_made_anew_meanwhile_is_not_replaced_by_the_old_one(root, open_store, moment):
    """behaviours 8"""
    store, other = open_store(), open_store()
    prepare(store)

    def anew() -> None:
        other.delete("s")
        other.purge("s")
        fill(other.create("s", title="another"), "new", "undone").revert(2)

    module, called, after = MOMENTS[moment]
    with replaced(module, **{called: during(getattr(module, called), anew, after=after)}):
        store.get("s").compact(keep="present")
    assert (texts(store.get("s")), store.get("s").title, store.get("s").revision) == (["new"], "another", 4)
    assert texts(other.get("s")) == ["new"]
    assert not list((root / "tmp").iterdir())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("keep", ["snapshots", "present"])
def test_two_compactions_at_once_leave_what_one_leaves(root, open_store, moment, keep):
    store, other = open_store(), open_store()
    prepare(store)
    before = everything(store.get("s"))
    module, called, after = MOMENTS[moment]
    call = during(getattr(module, called), lambda: other.get("s").compact(keep=keep), after=after)
    with replaced(module, **{called: call}):
        store.get("s").compact(keep="snapshots")
    for place in (store, other, open_store()):
        assert everything(place.get("s")) == (before if keep == "snapshots" else without_snapshots(before))
    assert not list((root / "tmp").iterdir())


def test_a_slow_disk_keeps_no_busy_session_from_being_compacted(open_store):
    """Its time is told beforehand in the new file's header: it may turn out to have been too early."""
    store, other = open_store(), open_store()
    prepare(store)
    sync = files.sync
    syncs = []

    def slow(fd: int) -> None:
        sync(fd)
        syncs.append(fd)
        # Not the sync of what was added: that is under the lock.
        if len(syncs) < 4 and not store._engine.locks.is_holding():
            # As if the sync had taken ten seconds, and somebody wrote at its end.
            fill(other.get("s"), "meanwhile")
            path = log_of(store, "s")
            later = path.stat().st_mtime_ns + 10**10
            with path.open("rb+") as log:
                files.utime(log.fileno(), ns=(later, later))

    with replaced(files, sync=slow):
        assert store.get("s").compact(keep="present").dropped_messages == 2
    assert texts(other.get("s"))[-2:] == ["meanwhile"] * 2


def test_a_session_that_is_always_reverted_in_between_is_compacted_in_the_end(root, open_store):
    """Its lock is held throughout, at last."""
    store, other = open_store(), open_store()
    prepare(store)
    compacted = compaction.compacted
    attempts = []

    def reverting(*args: Any, **options: Any) -> Any:
        answer = compacted(*args, **options)
        attempts.append(store._engine.locks.is_holding())
        if not attempts[-1]:
            other.get("s").revert(7)
        return answer

    with replaced(compaction, compacted=reverting):
        report = store.get("s").compact(keep="present")
    assert attempts == [False] * (len(attempts) - 1) + [True]
    assert report.after_bytes < report.before_bytes
    assert (
        texts(store.get("s")) == texts(other.get("s")) == ["inherited", "one", "two", "three", "undone", "undone too"]
    )
    assert not list((root / "tmp").iterdir())


def test_a_share_that_is_being_made_keeps_what_it_is_about_to_show(open_store):
    """It has looked which revision each session of the subtree is at, and not yet said so."""
    store, other = open_store(), open_store()
    top = store.create("top")
    child = fill(top.spawn("child"), "one", "two")
    assert other.get("top").shares == ()
    reached, go_on, read = threading.Event(), threading.Event(), threading.Event()
    tokens: list[str | None] = []

    def stopped() -> None:
        reached.set()
        assert go_on.wait(PATIENT_S)

    threads = [
        threading.Thread(target=lambda: tokens.append(top.share(frozen=True, subtree=True).token)),
        threading.Thread(target=lambda: other.get("child").compact(keep="present")),
    ]
    with (
        replaced(sharing, note_lead=during(sharing.note_lead, stopped)),
        replaced(compaction, compacted=during(compaction.compacted, read.set)),
    ):
        threads[0].start()
        assert reached.wait(PATIENT_S)
        other.get("child").revert(child.messages[0])
        fill(other.get("child"), "three")
        # As it has the parent cached, the compaction need not wait for it yet.
        threads[1].start()
        assert read.wait(PATIENT_S)
        go_on.set()
        for thread in threads:
            thread.join(PATIENT_S)
    for place in (store, other):
        assert [texts(shared) for shared in place.open_share(str(tokens[0])).children] == [["one", "two"]]
        assert texts(place.get("child")) == ["one", "three"]


def test_a_log_that_was_compacted_and_grew_to_its_old_size_is_not_taken_for_the_old_one(open_store):
    store, other = open_store(), open_store()
    prepare(store)
    path = log_of(store, "s")
    size = path.stat().st_size

    def compact_and_grow() -> None:
        other.get("s").compact(keep="present")
        fill(other.get("s"), "")
        empty = len(path.read_bytes().splitlines(keepends=True)[-1])
        fill(other.get("s"), "x" * (size - path.stat().st_size - empty))
        grown.append(path.stat().st_size)

    grown: list[int] = []
    # The first one takes itself for slow: its file's time is ahead of that of the other one's.
    times = iter([0.0])
    slow = SimpleNamespace(monotonic=lambda: next(times, 1000.0))
    # Else the decimals of the time differ in length.
    swap = during(compaction._swap, compact_and_grow)
    with replaced(clock, now=lambda: 1_000_000.25), replaced(compaction, _swap=swap, time=slow):
        store.get("s").compact(keep="present")
    for place in (store, other):
        assert texts(place.get("s"))[:-1] == ["inherited", "one", "two", "three", "four", ""]
        assert texts(place.get("s"))[-1].strip("x") == ""
    assert grown == [size], "the size is another one, so this shows nothing"


# Reading


@pytest.mark.parametrize("keep", ["snapshots", "present"])
@pytest.mark.parametrize("target", ["early", 7, "undone"])
def test_looking_back_while_it_is_compacted_shows_that_revision_or_none(open_store, keep, target):
    """The compaction comes between the look at what is there and the reading of it."""
    store, other = open_store(), open_store()
    prepare(store)
    session = store.get("s")
    wanted_at = {"early": session.snapshots[0], "undone": _undone(session)}.get(target, target)
    wanted = past(session.at(wanted_at))
    call = during(files.open_regular, lambda: other.get("s").compact(keep=keep))
    found = None
    with replaced(files, open_regular=call):
        try:
            found = past(session.at(wanted_at))
        except RevisionNotFound:
            pass
    assert found == wanted or (found is None and (keep, target) != ("snapshots", "early"))


def test_looking_back_while_it_is_made_anew_shows_that_revision_or_none(open_store):
    store, other = open_store(), open_store()
    session = fill(store.create("s"), *"abcdef")

    def anew() -> None:
        other.delete("s")
        other.purge("s")
        fill(other.create("s"), "x")
        for number in range(20):
            other.get("s").set_title(f"{number}")

    found = None
    with replaced(files, open_regular=during(files.open_regular, anew)):
        try:
            found = texts(session.at(6))
        except (SessionNotFound, RevisionNotFound):
            pass
    assert found in (None, list("abcde"))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_share_that_is_looked_at_while_its_session_is_compacted(open_store, frozen):
    store, other = open_store(), open_store()
    session = fill(store.create("s"), "one", "two")
    token = session.share(frozen=frozen).token
    shown = shared_view(store, token)
    if frozen:
        session.revert(session.messages[0])
        fill(session, "three")
    else:
        fill(session, "undone")
        session.revert(session.messages[1])
        shown = shared_view(other, token)
    call = during(files.open_regular, lambda: other.get("s").compact(keep="present"))
    with replaced(files, open_regular=call):
        assert shared_view(store, token) == shown
    assert shared_view(other, token) == shown


def test_a_fork_and_its_parent_are_compacted_while_the_parent_is_purged(open_store):
    """What a fork inherited moves to another file while it is read."""
    store, other = open_store(), open_store()
    prepare(store)
    before = present(store.get("s"))["messages"]
    other.delete("parent", children="orphan")
    open_regular = files.open_regular

    def purging(path: bytes, flags: int) -> int:
        if b".past" in path and not done:
            done.append(True)
            other.purge("parent")
        return open_regular(path, flags)

    done: list[bool] = []
    with replaced(files, open_regular=purging):
        store.get("s").compact(keep="snapshots")
    assert done
    assert present(store.get("s"))["messages"] == before


# Locks: who holds several never waits for one more


def _in_order(low: str, high: str) -> tuple[str, str]:
    """Two ids, the first one's stripe below the second one's."""
    first = next(f"{low}{n}" for n in range(100) if stripe_of(f"{low}{n}") < 100)
    second = next(f"{high}{n}" for n in range(100) if stripe_of(f"{high}{n}") > 150)
    return first, second


def _stopping(store: SessionStore, entry_id: str, reached: threading.Event, go_on: threading.Event) -> Any:
    """The engine's ``current``, but that its first use for a session, under its lock, stops."""
    current = store._engine.current
    done: list[bool] = []

    def stopped(entry: Any) -> Any:
        if entry.id == entry_id and not done:
            done.append(True)
            reached.set()
            assert go_on.wait(PATIENT_S)
        return current(entry)

    return stopped


@pytest.mark.parametrize("same_process", [True, False])
def test_a_compaction_reads_its_ancestors_without_waiting_for_who_waits_for_it(root, open_store, same_process):
    parent_id, child_id = _in_order("parent", "child")
    store = open_store()
    other = store if same_process else open_store()
    child = fill(store.create(parent_id).spawn(child_id), "one", "undone")
    child.revert(2)
    third = open_store()
    reached, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def compact() -> None:
        try:
            store.get(child_id).compact(keep="present")
        except BaseException as error:  # noqa: BLE001  # it goes to the test
            errors.append(error)

    def create() -> None:
        try:
            # Takes the parent's lock, and waits for the child's.
            other.create(child_id, parent=parent_id)
        except BaseException as error:  # noqa: BLE001  # it goes to the test
            errors.append(error)

    threads = [threading.Thread(target=compact), threading.Thread(target=create)]
    store._engine.current = _stopping(store, child_id, reached, go_on)  # type: ignore[method-assign]
    threads[0].start()
    assert reached.wait(PATIENT_S)
    # What the compaction has cached of the parent is no longer so.
    third.get(parent_id).set_title("changed")
    threads[1].start()
    stripe = third._engine.locks.stripes[stripe_of(parent_id)]

    def is_taken() -> bool:
        if third._engine.locks.maybe_take(stripe):
            stripe.release()
            return False
        return True

    wait_until(is_taken, "nobody took the parent's lock")
    began = time.monotonic()
    go_on.set()
    for thread in threads:
        thread.join(PATIENT_S)
    del store._engine.current
    assert time.monotonic() - began < DEADLOCK_S, "they waited for each other"
    assert [type(error) for error in errors] == [SessionExists]
    assert texts(third.get(child_id)) == ["one"]


@pytest.mark.parametrize("same_process", [True, False])
def test_a_route_reads_its_session_without_waiting_for_who_waits_for_it(open_store, same_process):
    """Who routes holds the key's part of the registry, and looks at the session; who binds holds them the other way."""
    session_id = next(f"s{n}" for n in range(100) if stripe_of(f"s{n}") < 100)
    key = next(f"key{n}" for n in range(500) if stripe_of(f"key{n}") > 150)
    new_id = next(f"new{n}" for n in range(500) if stripe_of(f"new{n}") > 200)
    store = open_store()
    other = store if same_process else open_store()
    third = open_store()
    store.create(session_id)
    store.bind(key, session_id)
    reached, go_on = threading.Event(), threading.Event()
    found: list[Any] = []
    exists = store._engine.exists
    leads: list[int] = []

    def route() -> None:
        found.append(store.route(key, session_id=new_id, reset_idle_s=1e-9).id)

    def bind() -> None:
        other.bind(key, session_id)
        found.append("bound")

    def stopped(looked_id: str) -> bool:
        # Under the locks of the key's part and of the new session.
        leads.append(1)
        if len(leads) == 1:
            reached.set()
            assert go_on.wait(PATIENT_S)
        return exists(looked_id)

    store._engine.exists = stopped  # type: ignore[method-assign]
    threads = [threading.Thread(target=route), threading.Thread(target=bind)]
    threads[0].start()
    assert reached.wait(PATIENT_S)
    third.get(session_id).set_title("changed")
    threads[1].start()
    stripe = third._engine.locks.stripes[stripe_of(session_id)]

    def is_taken() -> bool:
        if third._engine.locks.maybe_take(stripe):
            stripe.release()
            return False
        return True

    wait_until(is_taken, "nobody took the session's lock")
    began = time.monotonic()
    go_on.set()
    for thread in threads:
        thread.join(PATIENT_S)
    store._engine.exists = exists  # type: ignore[method-assign]
    assert time.monotonic() - began < DEADLOCK_S, "they waited for each other"
    assert sorted(found) == sorted(["bound", new_id])


def test_a_compaction_that_does_not_get_its_lock_leaves_nothing(start, root, open_store):
    store = open_store(lock_timeout_s=0.3)
    prepare(store)
    before = everything(store.get("s"))
    holder = start()
    holder.begin(hold, root, "s")
    holder.hear()
    with pytest.raises(LockTimeout):
        store.get("s").compact(keep="present")
    holder.say()
    holder.result()
    assert everything(store.get("s")) == before
    assert not list((root / "tmp").iterdir())
    store.get("s").compact(keep="present")


def hold(root: Path, session_id: str) -> None:
    """In a child: hold a session's lock until told otherwise."""
    engine = store_at(root)._engine
    with engine.holding([engine.entry(session_id)]):
        say("held")
        hear()


def test_others_are_not_kept_waiting_while_the_new_file_is_built(open_store):
    """behaviours 9: with a lock_timeout_s of nothing, every wait would be an error"""
    store = open_store()
    prepare(store)
    other = open_store(lock_timeout_s=0.0)
    seen = []

    def use() -> None:
        for name in ("s", "parent", "top", "other"):
            fill(other.get(name), "meanwhile")
            seen.append(texts(other.get(name))[-1])
        other.get("other").move("parent")
        other.get("s").fork("forked")

    for module, called, after in MOMENTS.values():
        if called != "_swap":
            fill(store.get("s"), "undone")
            store.get("s").revert(store.get("s").messages[-2])
            with replaced(module, **{called: during(getattr(module, called), use, after=after)}):
                store.get("s").compact(keep="present")
            other.get("other").move(None)
            other.delete("forked")
    assert seen == ["meanwhile"] * 16


# Processes


def append_many(root: Path, session_id: str, name: str, count: int) -> list[tuple[int, str, str]]:
    """In a child: append, and see that each message is there once it was acknowledged."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get(session_id)
    acks = []
    say("ready")
    hear()
    for number in range(count):
        message = session.append("user", f"{name}-{number}")
        acks.append((message.seq, message.id, message.content))
        if number % 13 == 0:
            assert session.messages[-1].seq >= message.seq
            assert message in session.messages
    return acks


def compact_again_and_again(root: Path, session_ids: list[str], keep: str, rounds: int) -> list[tuple[int, int]]:
    """In a child: compact until told to stop, and at least so often; sizes before and after."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(keep)
    sizes = []
    say("ready")
    hear()
    for _ in range(rounds):
        for session_id in session_ids:
            report = store.get(session_id).compact(keep=keep)  # type: ignore[arg-type]
            sizes.append((report.before_bytes, report.after_bytes))
        time.sleep(dice.random() / 100)
    return sizes


def read_until(root: Path, session_id: str, last: int, options: dict[str, Any]) -> int:
    """In a child: read until there are so many messages; each reading continues the one before."""
    session = store_at(root, **options).get(session_id)
    say("ready")
    hear()
    seen: list[str] = []
    times = 0
    while len(seen) < last:
        messages = session.messages
        ids = [message.id for message in messages]
        assert len(ids) == len(set(ids))
        assert ids[: len(seen)] == seen, "what was shown is gone"
        seqs = [message.seq for message in messages]
        assert seqs == sorted(seqs)
        seen = ids
        times += 1
    return times


def go(children: list[Any]) -> None:
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")


def test_ten_thousand_messages_of_which_nine_thousand_were_undone(start, root, open_store, record_property):
    """behaviours 19, 22: readers and writers in other processes go on throughout"""
    store = open_store(lock_timeout_s=PATIENT_S)
    session = store.create("s")
    text = "x" * 300
    kept = [session.append("user", f"{number} {text}") for number in range(1000)]
    for _ in range(90):
        session.extend([{"role": "user", "content": text} for _ in range(100)])
    session.revert(kept[-1])
    assert len(session.messages) == 1000
    each = 400
    writers, readers, compactors = [start() for _ in range(2)], [start() for _ in range(3)], [start() for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.begin(append_many, root, "s", f"w{number}", each)
    for reader, options in zip(readers, ({}, {"cache_bytes": 0}, {"read_only": True}), strict=True):
        reader.begin(read_until, root, "s", 1000 + 2 * each, options)
    for compactor, keep in zip(compactors, ("snapshots", "present"), strict=True):
        compactor.begin(compact_again_and_again, root, ["s"], keep, 4)
    go([*writers, *readers, *compactors])
    acks = [ack for writer in writers for ack in writer.result()]
    sizes = [size for compactor in compactors for size in compactor.result()]
    reads = [reader.result() for reader in readers]
    before, after = max(before for before, _ in sizes), log_of(store, "s").stat().st_size
    record_property("sizes", f"{before} -> {after} with {len(acks)} appends meanwhile; reads {reads}")
    print(f"\n10,000 messages, 9,000 undone: {before} -> {after} bytes; {len(acks)} appends, {reads} reads meanwhile")
    for place in (store, open_store(), open_store(read_only=True)):
        messages = list(place.get("s").messages)
        assert messages[:1000] == kept
        assert sorted((message.seq, message.id, message.content) for message in messages[1000:]) == sorted(acks)
        assert [message.seq for message in messages] == sorted({message.seq for message in messages})
    assert after < before / 4
    assert not list((root / "tmp").iterdir())


def delete_and_restore_again(root: Path, session_ids: list[str], rounds: int) -> int:
    """In a child: as a pruner does, and somebody who wants it back; the store's own prune where there is one."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    say("ready")
    hear()
    for number in range(rounds):
        session_id = session_ids[number % len(session_ids)]
        pruned = prune(store, session_id)
        assert pruned == (session_id,)
        store.restore(session_id)
    return rounds


def prune(store: SessionStore, session_id: str) -> tuple[str, ...]:
    """Move one session to the trash."""
    try:
        import hierstore.retention  # noqa: F401
    except ImportError:
        store.delete(session_id)
        return (session_id,)
    report = store.prune(max_age_days=1e-9, keep=lambda _, session: session.id != session_id)
    return report.pruned


def export_again(root: Path, session_ids: list[str], rounds: int) -> int:
    """In a child: export everything, or read it where there is no export; what was there stays there."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    seen: dict[str, list[str]] = {session_id: [] for session_id in session_ids}
    say("ready")
    hear()
    for _ in range(rounds):
        for session_id, before in seen.items():
            ids = exported(store, session_id)
            assert ids[: len(before)] == before, "what was exported is gone"
            seen[session_id] = ids
    return rounds


def exported(store: SessionStore, session_id: str) -> list[str]:
    """The ids of a session's messages, by way of an export."""
    try:
        from hierstore.transfer import exporting  # noqa: F401
    except ImportError:
        return [message.id for message in store.get(session_id).messages]
    document = store.export(session_id, subtree=False)
    with SessionStore(store.root.parent / f"import-{clock.new_id()}") as other:
        messages = [message.id for message in other.import_bundle(document).messages]
    shutil.rmtree(other.root)
    return messages


def append_and_undo(root: Path, session_ids: list[str], name: str, count: int) -> dict[str, list[tuple[int, str]]]:
    """In a child: append to several sessions."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    acks: dict[str, list[tuple[int, str]]] = {session_id: [] for session_id in session_ids}
    dice = random.Random(name)
    say("ready")
    hear()
    for number in range(count):
        session_id = dice.choice(session_ids)
        session = store.get(session_id)
        message = session.append("user", f"{name}-{number}")
        acks[session_id].append((message.seq, message.content))
        if number % 7 == 0:
            session.set_title(f"{name}-{number}")
    return acks


def test_one_prunes_one_compacts_one_exports_and_five_append(start, root, open_store):
    """behaviours 19"""
    store = open_store(lock_timeout_s=PATIENT_S)
    busy, idle = ["a", "b", "c"], ["x", "y"]
    for name in busy + idle:
        session = fill(store.create(name), "first", "undone")
        session.revert(session.messages[0])
    for name in busy:
        # A prune that looks at its age must leave it.
        store.get(name).update(pinned=True)
    pruner, compactor, exporter, *writers = [start() for _ in range(8)]
    pruner.begin(delete_and_restore_again, root, idle, 25)
    compactor.begin(compact_again_and_again, root, busy, "present", 25)
    exporter.begin(export_again, root, busy, 15)
    for number, writer in enumerate(writers):
        writer.begin(append_and_undo, root, busy, f"w{number}", 200)
    go([pruner, compactor, exporter, *writers])
    acks = [writer.result() for writer in writers]
    assert [pruner.result(), exporter.result()] == [25, 15]
    compactor.result()
    for place in (store, open_store()):
        for name in busy:
            messages = [(message.seq, message.content) for message in place.get(name).messages]
            wanted = sorted(ack for writer in acks for ack in writer[name])
            assert messages == [(1, "first"), *wanted]
        for name in idle:
            assert texts(place.get(name)) == ["first"]
    assert not list((root / "tmp").iterdir())


def go_back_and_forth(root: Path, session_id: str, seed: int, count: int) -> list[tuple[str, list[str]]]:
    """In a child: the only one who writes: appends, snapshots, reverts; what each snapshot has to show."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get(session_id)
    dice = random.Random(seed)
    snaps: list[tuple[str, list[str]]] = []
    say("ready")
    hear()
    for number in range(count):
        now = texts(session)
        what = dice.random()
        if what < 0.6 or not now:
            fill(session, f"{number}")
            now = [*now, f"{number}"]
        elif what < 0.75:
            snaps.append((session.snapshot(f"{number}").id, now))
        elif what < 0.85 and snaps:
            snap, now = dice.choice(snaps)
            session.revert(snap)
        elif what < 0.97:
            count = dice.randrange(len(now))
            session.revert(session.messages[count])
            now = now[: count + 1]
        else:
            session.reset()
            now = []
        assert texts(session) == now, "this one shows what another wrote last"
        if snaps and number % 5 == 0:
            snap, then = dice.choice(snaps)
            assert texts(session.at(snap)) == then
    return snaps


def look_at_snapshots(root: Path, session_id: str, rounds: int) -> int:
    """In a child: every snapshot shows what it showed before."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    session = store.get(session_id)
    seen: dict[str, list[str]] = {}
    say("ready")
    hear()
    for _ in range(rounds):
        for snap in session.snapshots:
            found = texts(session.at(snap))
            assert seen.setdefault(snap.id, found) == found
    return len(seen)


def test_reverts_and_snapshots_while_two_compact_and_two_look_back(start, root, open_store):
    """behaviours 27"""
    store = open_store(lock_timeout_s=PATIENT_S)
    store.create("s")
    writer, *others = [start() for _ in range(5)]
    writer.begin(go_back_and_forth, root, "s", 7, 250)
    for other in others[:2]:
        other.begin(compact_again_and_again, root, ["s"], "snapshots", 12)
    for other in others[2:]:
        other.begin(look_at_snapshots, root, "s", 30)
    go([writer, *others])
    snaps = writer.result()
    for other in others:
        other.result()
    session = open_store().get("s")
    assert [snap.id for snap in session.snapshots] == [snap for snap, _ in snaps]
    for snap, then in snaps:
        assert texts(session.at(snap)) == then


def fork_and_purge(root: Path, name: str, rounds: int) -> None:
    """In a child: fork a session that others compact, compact the fork, purge forks of forks."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    session = store.get("s")
    say("ready")
    hear()
    for number in range(rounds):
        fork = session.fork(f"{name}-{number}")
        inherited = texts(fork)
        fill(fork, "own", "undone")
        twig = fork.fork(f"{name}-{number}-twig")
        fork.revert(fork.messages[-2])
        fork.compact(keep="present")
        assert texts(fork) == [*inherited, "own"]
        store.delete(fork, children="orphan")
        store.purge(fork.id)
        assert texts(twig) == [*inherited, "own", "undone"]
        twig.compact(keep="present")
        twig.revert(twig.messages[0])
        twig.compact(keep="present")
        assert texts(twig) == inherited[:1]
        store.delete(twig)


def test_forks_are_made_compacted_and_purged_while_their_parent_is_compacted(start, root, open_store):
    store = open_store(lock_timeout_s=PATIENT_S)
    fill(store.create("s"), "first")
    compactor, writer, *forkers = [start() for _ in range(5)]
    compactor.begin(compact_again_and_again, root, ["s"], "present", 40)
    writer.begin(append_many, root, "s", "w", 150)
    for number, forker in enumerate(forkers):
        forker.begin(fork_and_purge, root, f"f{number}", 12)
    go([compactor, writer, *forkers])
    acks = writer.result()
    for child in (compactor, *forkers):
        child.result()
    assert texts(store.get("s")) == ["first", *(content for _, _, content in acks)]
    assert not list((root / "tmp").iterdir())


def run_threads(writers: list[Callable[[], None]], others: list[Callable[[], None]]) -> None:
    """Run the writers to their end, and the others again and again until then; any error is the test's."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], None], *, again: bool) -> None:
        try:
            work()
            while again and not stop.is_set():
                work()
        except BaseException as error:  # noqa: BLE001  # it goes to the test
            failures.append(error)

    waited = [threading.Thread(target=guarded, args=(work,), kwargs={"again": False}) for work in writers]
    looping = [threading.Thread(target=guarded, args=(work,), kwargs={"again": True}) for work in others]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in (*waited, *looping):
            thread.start()
        for thread in waited:
            thread.join()
        stop.set()
        for thread in looping:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert failures == []


def test_threads_of_one_store_read_write_and_compact(open_store):
    store = open_store(lock_timeout_s=PATIENT_S, cache_bytes=0)
    session = fill(store.create("s"), "first")
    acks: list[str] = []
    done: list[CompactReport] = []
    counts = [0]

    def append() -> None:
        for number in range(150):
            message = session.append("user", f"{threading.get_ident()}-{number}")
            acks.append(message.id)
            assert message in session.messages
            session.set_title(f"{number}")

    def compact() -> None:
        try:
            done.append(session.compact(keep="present"))
        except LockTimeout:
            # The other one was faster, ten times in a row.
            return

    def read() -> None:
        count = len(session.messages)
        assert count >= counts[-1]
        counts.append(count)

    run_threads([append] * 3, [compact, compact, read])
    assert len([report for report in done if report.after_bytes < report.before_bytes]) > 3
    assert sorted(message.id for message in session.messages[1:]) == sorted(acks)
    assert len(session.messages) == 451


# Times of whole seconds, inodes that come back, files of one size


ROUNDS = 60


def lay_out(root: Path) -> None:
    """In a child: a session whose numbers have four digits for the rest of the test, and another one."""
    store = store_at(root)
    with replaced(clock, now=lambda: 1_000_000.25):
        session = store.create("s")
        for _ in range(5):
            session.extend([{"role": "user", "content": "x"} for _ in range(300)])
        for number in range(1100):
            session.set_title(f"{number}")
        session.reset()
        store.create("other")


def compact_once(root: Path, number: int) -> tuple[int, int, int]:
    """In a child: write something else of the same size, and compact; the log's identity."""
    store = store_at(root)
    # Nothing but the content may differ: no time whose decimals are fewer.
    with replaced(clock, now=lambda: 1_000_000.25):
        session = store.get("s")
        session.append("user", "undone")
        session.reset()
        session.set_title(f"{number:08d}")
        session.compact(keep="present")
    found = next((root / "sessions").glob("*/s.jsonl")).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_title(root: Path, how: str) -> str | None:
    """In a child: through a cache that knows what was there before; see ``test_coarse_clock``."""
    store = store_at(root, read_only=True) if how == "read only" else store_at(root)
    if how == "closed":
        files.MAX_OPEN_LOGS = 1
    session = store.get("s")
    title = session.title
    assert len(session.messages) == 0
    if how == "closed":
        assert len(store.get("other").messages) == 0
        store._engine.cache.forget(store._engine.entry("other"))
    return title


HOWS = ["open", "closed", "read only"]


def see_each(start, root: Path, how: str) -> list[tuple[int, int, int]]:
    """One process compacts, others read: every time, every second time, every third time."""
    maker, readers = start(), {every: start() for every in (1, 2, 3)}
    maker.call(lay_out, root)
    found = []
    for number in range(ROUNDS):
        found.append(maker.call(compact_once, root, number))
        for every, reader in readers.items():
            if number % every == 0:
                assert reader.call(read_title, root, how) == f"{number:08d}"
    return found


def check_at(root: Path) -> bool:
    """In a child."""
    return store_at(root).check().ok


@pytest.mark.parametrize("how", HOWS)
def test_a_compacted_log_is_never_taken_for_the_one_before(start, coarse_root, how):  # noqa: F811
    """behaviours 22, 23: on a file system that makes it hard"""
    found = see_each(start, coarse_root, how)
    assert len({size for _, size, _ in found}) == 1, "the sizes differ, so this shows nothing"
    assert len({inode for inode, _, _ in found}) < ROUNDS // 4, "inodes do not come back, so this shows nothing"
    assert all(mtime % 10**9 == 0 for _, _, mtime in found), "times are fine, so this shows nothing"
    mtimes = [mtime for _, _, mtime in found]
    assert mtimes == sorted(set(mtimes))
    assert start().call(check_at, coarse_root)


@pytest.mark.parametrize("how", HOWS)
def test_a_compacted_log_is_seen_at_once_on_any_file_system(start, root, open_store, how):
    """behaviours 23"""
    found = see_each(start, root, how)
    assert len({size for _, size, _ in found}) == 1
    assert open_store().get("s").title == f"{ROUNDS - 1:08d}"


def compact_and_purge(root: Path, number: int) -> None:
    """In a child: what was compacted is purged, and made anew with the same size."""
    store = store_at(root)
    with replaced(clock, now=lambda: 1_000_000.25):
        if "s" in store:
            store.delete("s")
            store.purge("s")
        session = store.create("s", title=f"{number:08d}")
        if number % 2:
            session.append("user", "undone")
            session.revert(1)
            session.compact(keep="present")


@pytest.mark.parametrize("how", HOWS)
def test_a_log_made_anew_is_never_taken_for_one_that_was_compacted(start, coarse_root, how):  # noqa: F811
    """behaviours 22, 23"""
    maker, readers = start(), {every: start() for every in (1, 2)}
    maker.call(lay_out, coarse_root)
    for number in range(ROUNDS):
        maker.call(compact_and_purge, coarse_root, number)
        for every, reader in readers.items():
            if number % every == 0:
                assert reader.call(read_title, coarse_root, how) == f"{number:08d}"


def test_writes_behind_a_compaction_are_seen_by_who_cached_it(start, coarse_root):  # noqa: F811
    """behaviours 22: the new file's time is ahead of the clock for a while"""
    maker, reader = start(), start()
    maker.call(lay_out, coarse_root)
    for number in range(ROUNDS):
        maker.call(compact_once, coarse_root, number)
        assert reader.call(read_title, coarse_root, "open") == f"{number:08d}"
        for later in ("a", "b"):
            maker.call(set_title, coarse_root, later)
            assert reader.call(read_title, coarse_root, "open") == later


def set_title(root: Path, title: str) -> None:
    """In a child."""
    store_at(root).get("s").set_title(title)
