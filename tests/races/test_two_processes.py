"""What one process does to a session that another one knows, or that nobody has read yet."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, Session, SessionExists, SessionNotFound
from tests.processes import hear, say, store_at

ROUNDS = 40


def do(root: Path, session_id: str, method: str, *args: Any, **options: Any) -> Any:
    """In a child: call a session's method."""
    answer = getattr(store_at(root).get(session_id), method)(*args, **options)
    return answer.id if isinstance(answer, Session) else answer


def peek(root: Path, session_id: str, name: str) -> Any:
    """In a child: a session's property."""
    return getattr(store_at(root).get(session_id), name)


def texts(root: Path, session_id: str) -> list[Any]:
    """In a child, or here: the history's contents, as this process sees them."""
    return [message.content for message in store_at(root).get(session_id).messages]


def make(root: Path, session_id: str, *contents: str, **options: Any) -> None:
    """In a child: a session with some messages."""
    session = store_at(root).create(session_id, **options)
    for content in contents:
        session.append("user", content)


def delete(root: Path, session_id: str, **options: Any) -> None:
    """In a child."""
    store_at(root).delete(session_id, **options)


# Reset


def test_a_reset_by_a_process_that_read_nothing_is_on_disk(start, root, open_store):
    """behaviours 1"""
    writer = start()
    writer.call(make, root, "s", "one", "two", title="kept")
    writer.call(do, root, "s", "update", derived={"summary": "so far"})
    writer.kill()
    resetter = start()
    resetter.call(do, root, "s", "reset")
    resetter.kill()
    for _ in range(2):
        reader = start()
        assert reader.call(texts, root, "s") == []
        assert reader.call(peek, root, "s", "derived") == {}
        assert reader.call(peek, root, "s", "title") == "kept"
        reader.kill()
    assert list(open_store().get("s").messages) == []


def test_a_reset_reaches_processes_that_have_the_session_cached(start, root, open_store):
    """behaviours 2"""
    first, second = start(), start()
    first.call(make, root, "s", "one", "two")
    assert first.call(texts, root, "s") == second.call(texts, root, "s") == ["one", "two"]
    here = open_store().get("s")
    assert len(here.messages) == 2
    first.call(do, root, "s", "reset")  # with a warm cache
    assert first.call(texts, root, "s") == second.call(texts, root, "s") == []
    assert len(here.messages) == 0
    second.call(do, root, "s", "append", "user", "three")
    assert first.call(texts, root, "s") == ["three"]
    here.reset()  # by a process that has it cached, while others do
    assert first.call(texts, root, "s") == second.call(texts, root, "s") == []
    first.kill()
    second.kill()
    assert start().call(texts, root, "s") == []


# Every mutator and getter on a session that this process never read

MUTATORS = {
    "append": (("user", "new"), {}, "messages", lambda found: found[-1].content == "new"),
    "extend": (([{"role": "user", "content": "new"}],), {}, "messages", lambda found: found[-1].content == "new"),
    "reset": ((), {}, "messages", lambda found: len(found) == 0),
    "set_title": (("new",), {}, "title", lambda found: found == "new"),
    "update": ((), {"labels": ["new"]}, "labels", lambda found: found == ("new",)),
    "spawn": (("child",), {}, "children", lambda found: [child.id for child in found] == ["below", "child"]),
    "fork": (("child",), {}, "children", lambda found: [child.id for child in found] == ["below", "child"]),
    "move": ((None,), {}, "parent_id", lambda found: found is None),
    "snapshot": (("new",), {}, "snapshots", lambda found: [snap.label for snap in found] == ["old", "new"]),
    "revert": ((2,), {}, "messages", lambda found: [message.content for message in found] == ["one"]),
    "undo_revert": ((), {}, "messages", lambda found: len(found) == 3),
}


@pytest.fixture
def family(start, root):
    """A session with a parent, a child, a snapshot and a revert, made by a process that is gone."""
    maker = start()
    maker.call(make, root, "above")
    maker.call(make, root, "s", "one", "two", "three", parent="above")
    maker.call(make, root, "below", parent="s")
    maker.call(do, root, "s", "snapshot", "old")
    maker.call(do, root, "s", "revert", 3)
    maker.kill()


@pytest.mark.parametrize("method", MUTATORS)
def test_every_mutator_works_on_a_session_that_its_process_never_read(start, root, open_store, family, method):
    """behaviours 5"""
    args, options, getter, is_there = MUTATORS[method]
    mutator = start()
    mutator.call(do, root, "s", method, *args, **options)
    mutator.kill()
    assert is_there(getattr(open_store().get("s"), getter))


GETTERS = {
    "parent_id": "above",
    "title": None,
    "kind": None,
    "labels": (),
    "pinned": False,
    "archived": False,
    "suspended": False,
    "metadata": {},
    "derived": {},
    "revision": 7,
}


def look(root: Path, name: str) -> Any:
    """In a child: one property, of a session that nothing else has touched here."""
    session = store_at(root).get("s")
    if name == "messages":
        return [message.content for message in session.messages]
    if name in ("children", "ancestors"):
        return [other.id for other in getattr(session, name)]
    if name == "descendants":
        return [other.id for other in session.descendants()]
    return getattr(session, name)


def test_every_getter_works_on_a_session_that_its_process_never_read(start, root, open_store, family):
    """behaviours 5"""
    wanted = GETTERS | {"messages": ["one", "two"], "children": ["below"], "ancestors": ["above"]}
    for name, value in (wanted | {"descendants": ["below"]}).items():
        assert start().call(look, root, name) == value, name
    here = open_store().get("s")
    assert start().call(look, root, "info") == here.info
    assert start().call(look, root, "snapshots") == here.snapshots


# First writes, turns


def make_and_append(root: Path, session_id: str, content: str) -> None:
    """In a child, when told."""
    store = store_at(root)
    say("ready")
    hear()
    store.get_or_create(session_id).append("user", content)


def test_two_processes_that_make_one_session_at_once_end_with_both_messages(start, root, open_store):
    """behaviours 6"""
    pair = start(), start()
    for number in range(ROUNDS):
        for child in pair:
            child.begin(make_and_append, root, f"s{number}", f"from {child.pid}")
        for child in pair:
            assert child.hear() == "ready"
        for child in pair:
            child.say("go")
        for child in pair:
            child.result()
        found = [message.content for message in open_store().get(f"s{number}").messages]
        assert sorted(found) == sorted(f"from {child.pid}" for child in pair)


def test_what_get_or_create_made_is_stored_at_once(start, root, open_store):
    """behaviours 6"""
    maker = start()
    maker.begin(make_and_append, root, "s", "x")
    maker.hear()
    maker.say("go")
    maker.result()
    maker.kill()
    assert [message.content for message in open_store().get("s").messages] == ["x"]


def fail_a_turn(root: Path, *, hang: bool) -> None:
    """In a child: a turn of two messages that never gets to its end."""
    session = store_at(root).get("s")
    with session.turn() as turn:
        turn.append("user", "lost")
        turn.append("assistant", "lost")
        say(len(session.messages))
        if hang:
            hear()
        raise KeyError("the model said no")


@pytest.mark.parametrize("killed", [False, True], ids=["raised", "killed"])
def test_a_failed_turn_leaves_nothing_in_any_process(start, root, open_store, killed):
    """behaviours 7"""
    here = open_store().create("s")
    here.append("user", "before")
    log = next((root / "sessions").glob("*/s.jsonl"))
    before = log.read_bytes()
    trier, bystander = start(), start()
    assert bystander.call(texts, root, "s") == ["before"]
    trier.begin(fail_a_turn, root, hang=killed)
    assert trier.hear() == 1  # the attempt saw this, and nothing of itself
    if killed:
        trier.kill()
    else:
        with pytest.raises(KeyError):
            trier.result()
        assert trier.call(texts, root, "s") == ["before"]
    assert log.read_bytes() == before
    assert bystander.call(texts, root, "s") == ["before"]
    assert start().call(texts, root, "s") == ["before"]  # after a restart
    assert [message.content for message in here.messages] == ["before"]


# Deleted sessions

LATE_WRITES = {name: args for name, args in MUTATORS.items() if name != "undo_revert"}


def keep_handle(root: Path, session_id: str, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """In a child: read, wait for the deletion, then write through the old handle."""
    session = store_at(root).get(session_id)
    say(len(session.messages))
    hear()
    getattr(session, method)(*args, **options)


@pytest.mark.parametrize("method", LATE_WRITES)
def test_a_late_writer_in_another_process_never_brings_a_session_back(start, root, open_store, family, method):
    """behaviours 8"""
    args, options, _, _ = LATE_WRITES[method]
    late = start()
    late.begin(keep_handle, root, "s", method, args, options)
    late.hear()
    store = open_store()
    store.delete("s", children="cascade")
    late.say()
    with pytest.raises(SessionNotFound) as caught:
        late.result()
    assert caught.value.session_id == "s"
    assert "s" not in store
    assert not list((root / "sessions").glob("*/s.*"))
    assert "child" not in store
    with pytest.raises(SessionNotFound):
        late.call(texts, root, "s")


def append_until_deleted(root: Path) -> int:
    """In a child: append until the session is gone; how many were acknowledged."""
    session = store_at(root).get("s")
    count = 0
    while True:
        try:
            session.append("user", "x")
        except SessionNotFound:
            return count
        count += 1
        if count == 20:
            say("going")


def test_writers_that_race_a_deletion_end_and_what_they_were_told_is_kept(start, root, open_store):
    """behaviours 8"""
    store = open_store()
    for _ in range(10):
        store.create("s")
        writers = [start() for _ in range(3)]
        for writer in writers:
            writer.begin(append_until_deleted, root)
        for writer in writers:
            writer.hear()
        store.delete("s")
        counts = [writer.result() for writer in writers]
        assert "s" not in store
        assert len(store.restore("s").messages) == sum(counts)
        store.delete("s")
        store.purge("s")


# Another process wrote meanwhile

AFTER_ANOTHER = {
    "append": lambda store, session: session.append("user", "mine"),
    "set_title": lambda store, session: session.set_title("new"),
    "update": lambda store, session: session.update(labels=["new"], pinned=True),
    "spawn": lambda store, session: session.spawn("child"),
    "snapshot": lambda store, session: session.snapshot(),
    "move": lambda store, session: session.move("other"),
    "delete": lambda store, session: (store.delete("s"), store.restore("s")),
    "turn": lambda store, session: _turn(session),
}


def _turn(session: Session) -> None:
    with session.turn() as turn:
        turn.append("user", "mine")


@pytest.mark.parametrize("action", AFTER_ANOTHER)
def test_an_action_on_a_cached_session_keeps_what_another_process_appended(start, root, open_store, action):
    """behaviours 21"""
    store = open_store()
    store.create("other")
    session = store.create("s")
    session.append("user", "one")
    assert len(session.messages) == 1
    other = start()
    other.call(do, root, "s", "append", "user", "two")
    AFTER_ANOTHER[action](store, session)
    wanted = ["one", "two", "mine"] if action in ("append", "turn") else ["one", "two"]
    assert [message.content for message in session.messages] == wanted
    assert other.call(texts, root, "s") == wanted
    assert start().call(texts, root, "s") == wanted


def test_a_fork_and_a_snapshot_hold_what_another_process_appended(start, root, open_store):
    """behaviours 21"""
    session = open_store().create("s")
    session.append("user", "one")
    assert len(session.messages) == 1
    other = start()
    other.call(do, root, "s", "append", "user", "two")
    fork = session.fork("fork")
    assert [message.content for message in fork.messages] == ["one", "two"]
    other.call(do, root, "s", "append", "user", "three")
    snap = session.snapshot()
    session.append("user", "four")
    session.revert(snap)
    assert [message.content for message in session.messages] == ["one", "two", "three"]
    other.call(do, root, "s", "append", "user", "five")
    session.revert(snap)
    assert other.call(texts, root, "s") == ["one", "two", "three"]
    session.undo_revert()
    assert other.call(texts, root, "s") == ["one", "two", "three", "five"]


# Identity


def try_to_create(root: Path, session_id: str, title: str) -> bool:
    """In a child, when told: whether it was the one that made the session."""
    store = store_at(root)
    say("ready")
    hear()
    try:
        store.create(session_id, title=title)
    except SessionExists:
        return False
    return True


def test_of_many_processes_that_create_one_id_one_wins(start, root, open_store):
    """behaviours 26"""
    store = open_store()
    children = [start() for _ in range(4)]
    for number in range(ROUNDS // 2):
        for child in children:
            child.begin(try_to_create, root, f"s{number}", str(child.pid))
        for child in children:
            child.hear()
        for child in children:
            child.say()
        winners = [child.pid for child in children if child.result()]
        assert [store.get(f"s{number}").title] == [str(pid) for pid in winners]


def test_create_in_another_process_never_wipes_a_session(start, root, open_store):
    """behaviours 26"""
    session = open_store().create("s", title="first")
    session.append("user", "one")
    with pytest.raises(SessionExists):
        start().call(make, root, "s", title="second")
    assert (session.title, len(session.messages)) == ("first", 1)


ALIKE = [
    "a/b",
    "a_b",
    "a:b",
    "A_B",
    "a.b",
    "a b",
    "A/b",
    "a-b",
    "é",
    unicodedata.normalize("NFD", "é"),
    "É",
    "a_b.jsonl",
]


def test_ids_that_look_alike_are_different_sessions_in_every_process(start, root, open_store):
    """behaviours 26"""
    assert len(set(ALIKE)) == len(ALIKE)
    writers = [start() for _ in range(3)]
    for number, session_id in enumerate(ALIKE):
        writers[number % 3].call(make, root, session_id, f"of {session_id!a}")
    for number, session_id in enumerate(ALIKE):
        assert writers[(number + 1) % 3].call(texts, root, session_id) == [f"of {session_id!a}"]
        assert [message.content for message in open_store().get(session_id).messages] == [f"of {session_id!a}"]
    assert len({os.path.realpath(path) for path in (root / "sessions").glob("*/*.jsonl")}) == len(ALIKE)


def test_an_error_comes_from_another_process_whole(start, root, open_store):
    open_store().create("s")
    with pytest.raises(HierstoreError) as caught:
        start().call(do, root, "s", "append", "user", "x", expected_revision=7)
    assert (caught.value.session_id, caught.value.expected, caught.value.actual) == ("s", 7, 1)
