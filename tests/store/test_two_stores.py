"""Two stores over one folder, as two processes have them: nothing is stale, whoever wrote what in between."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import CorruptLog, Session, SessionNotFound, SessionStore, UnreadableLog
from hierstore.disk import files
from tests.support import LogBuilder, contents, fill, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    OpenStore = Callable[..., SessionStore]


# Stale caches


def revert_and_undo(session: Session) -> None:
    session.revert(1)
    session.undo_revert()


def delete_and_restore(store: SessionStore) -> None:
    store.delete("s", children="cascade")
    store.restore("s")


def one_turn(session: Session) -> None:
    with session.turn() as turn:
        turn.append("user", "A's")


MUTATORS: dict[str, Callable[[SessionStore, Session], Any]] = {
    "append": lambda _, s: s.append("user", "A's"),
    "append with an id": lambda _, s: s.append("user", "A's", message_id="m"),
    "extend": lambda _, s: s.extend([{"role": "user", "content": "A's"}]),
    "turn": lambda _, s: one_turn(s),
    "set_title": lambda _, s: s.set_title("A's"),
    "an automatic title": lambda _, s: s.set_title("A's", source="auto"),
    "labels": lambda _, s: s.update(labels=["A's"]),
    "metadata": lambda _, s: s.update(metadata={"A's": 1}),
    "flags": lambda _, s: s.update(pinned=True, archived=True, suspended=True),
    "snapshot": lambda _, s: s.snapshot("A's"),
    "revert": lambda _, s: s.revert("B's id"),
    "undo_revert": lambda _, s: revert_and_undo(s),
    "spawn": lambda _, s: s.spawn("A's"),
    "fork": lambda _, s: s.fork("A's"),
    "move": lambda _, s: s.move("other"),
    "move a child": lambda store, s: store.get("other").move(s),
    "delete and restore": lambda store, _: delete_and_restore(store),
    "get_or_create": lambda store, _: store.get_or_create("s", title="A's"),
    "an empty update": lambda _, s: s.update(),
    "check": lambda store, _: store.check(),
}


@pytest.mark.parametrize("name", MUTATORS)
def test_what_another_store_appended_is_there_after_any_change_made_over_a_stale_cache(
    open_store: OpenStore, name: str
) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    a.create("other")
    session = fill(a.create("s"), "first")
    assert texts(session) == ["first"]
    b.get("s").append("user", "B's", message_id="B's id")
    b.get("s").extend([{"role": "user", "content": "B's too"}])
    MUTATORS[name](a, session)
    views = [session, a.get("s"), b.get("s"), open_store().get("s")]
    expected = ["first", "B's"] if name == "revert" else ["first", "B's", "B's too"]
    for view in views:
        assert [text for text in texts(view) if text != "A's"] == expected
        assert list(view.messages) == list(session.messages)
        assert view.info == session.info
    if name == "fork":
        assert texts(a.get("A's")) == texts(b.get("A's")) == ["first", "B's", "B's too"]


def test_what_another_store_reset_is_not_brought_back_by_a_stale_cache(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    b.get("s").reset()
    session.set_title("A's")
    assert texts(session) == texts(b.get("s")) == texts(open_store().get("s")) == []


@pytest.mark.parametrize(
    "name", ["title", "metadata", "labels", "pinned", "parent_id", "snapshots", "children", "revision", "info"]
)
def test_every_property_shows_what_another_store_wrote(open_store: OpenStore, name: str) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    a.create("other")
    session, theirs = a.create("s"), b.get("s")
    before = getattr(session, name)
    theirs.set_title("T")
    theirs.update(metadata={"a": 1}, labels=["l"], pinned=True)
    theirs.move("other")
    theirs.snapshot("n")
    theirs.spawn("c")
    after = getattr(session, name)
    assert after != before
    assert after == getattr(theirs, name)


# Sessions that this store never read

FACTS = [
    "title", "parent_id", "kind", "metadata", "labels", "pinned", "archived", "suspended", "created_at", "updated_at",
    "revision", "snapshots", "derived",
]  # fmt: skip

READS = {
    "messages": texts,
    "info": lambda s: s.info,
    **{name: operator.attrgetter(name) for name in FACTS},
    "children": lambda s: [child.id for child in s.children],
    "ancestors": lambda s: [other.id for other in s.ancestors],
    "descendants": lambda s: [other.id for other in s.descendants()],
    "at": lambda s: texts(s.at(3)),
}

WRITES = {
    "append": lambda s: s.append("user", "new"),
    "append with an id": lambda s: s.append("user", "new", message_id="new"),
    "extend": lambda s: s.extend([{"role": "user", "content": "new"}]),
    "turn": one_turn,
    "reset": lambda s: s.reset(),
    "set_title": lambda s: s.set_title("new"),
    "update": lambda s: s.update(labels=["new"], metadata={"new": 1}, pinned=True),
    "snapshot": lambda s: s.snapshot("new"),
    "revert": lambda s: s.revert(1),
    "undo_revert": lambda s: s.undo_revert(),
    "spawn": lambda s: s.spawn("new"),
    "fork": lambda s: s.fork("new"),
    "move": lambda s: s.move("other"),
}


@pytest.fixture
def lived(open_store: OpenStore) -> Session:
    """A session with some of everything, whose store stays open."""
    store = open_store()
    store.create("other")
    store.create("p")
    session = fill(store.create("s", title="T", parent="p", kind="k", metadata={"m": 1}, labels=["l"]), "1", "2")
    session.update(pinned=True, archived=True, suspended=True, derived={"d": 1})
    session.snapshot("n")
    session.spawn("c")
    session.revert(2)
    return session


def unread(store: SessionStore) -> Session:
    """A handle on a session of which the store knows nothing."""
    session = store.get("s")
    store._engine.cache.clear()
    assert session._entry.head is None
    return session


@pytest.mark.parametrize("name", READS)
def test_every_getter_works_on_a_session_that_this_store_never_read(
    open_store: OpenStore, lived: Session, name: str
) -> None:
    """behaviours 5"""
    for options in ({}, {"read_only": True}):
        assert READS[name](open_store(**options).get("s")) == READS[name](lived)


@pytest.mark.parametrize("name", WRITES)
def test_every_mutator_works_on_a_session_that_this_store_never_read_and_stores_at_once(
    open_store: OpenStore, lived: Session, name: str
) -> None:
    """behaviours 5"""
    before = contents(open_store().root)
    writer = unread(open_store())
    WRITES[name](writer)
    assert contents(open_store().root) != before
    fresh = open_store().get("s")
    for read in READS.values():
        assert read(fresh) == read(lived) == read(writer)


# One cache


def test_handles_of_one_store_share_one_entry(store: SessionStore) -> None:
    """behaviours 25"""
    made = store.create("s")
    assert made._entry is store.get("s")._entry is store.get_or_create("s")._entry


@pytest.mark.parametrize("how", ["delete", "clear", "forget", "evict", "close"])
def test_what_drops_a_cached_session_drops_value_and_stamp_together(open_store: OpenStore, how: str) -> None:
    """behaviours 25"""
    store = open_store(cache_bytes=1)
    session = fill(store.create("s"), "x")
    entry, cache = session._entry, store._engine.cache
    assert texts(session) == ["x"]
    assert entry.head is not None
    assert cache.size_bytes == entry.cost > 0
    if how == "delete":
        store.delete("s")
    elif how == "evict":
        assert [texts(fill(store.create(name), name)) for name in "abc"] == [["a"], ["b"], ["c"]]
    elif how == "close":
        store.close()
    else:
        cache.clear() if how == "clear" else cache.forget(entry)
    assert entry.head is None
    if how in ("clear", "forget", "evict"):
        assert texts(session) == ["x"]


def test_a_read_of_an_unchanged_session_does_not_read_its_file_again(store: SessionStore, monkeypatch) -> None:
    """behaviours 25"""
    session = fill(store.create("s"), "x")
    first = session.messages
    reads: list[int] = []
    real = files.read
    monkeypatch.setattr(files, "read", lambda *arguments: reads.append(1) or real(*arguments))
    assert session.messages is first
    assert reads == []


def test_reading_what_is_new_reads_only_that(open_store: OpenStore, monkeypatch) -> None:
    one, other = open_store().create("s"), open_store().get("s")
    fill(one, "x" * 10_000)
    assert texts(other) == ["x" * 10_000]
    fill(one, "new")
    sizes: list[int] = []
    real = files.read
    monkeypatch.setattr(files, "read", lambda fd, size, offset: sizes.append(size) or real(fd, size, offset))
    assert texts(other)[1:] == ["new"]
    assert sum(sizes) < 1000


def test_the_cache_stays_below_its_limit_and_nothing_is_lost_by_it(open_store: OpenStore) -> None:
    store = open_store(cache_bytes=50_000)
    sessions = [fill(store.create(f"s{number}"), "x" * 5_000, number) for number in range(20)]
    for session in sessions * 2:
        assert len(session.messages) == 2
        assert store._engine.cache.size_bytes <= 50_000
    assert [session.messages[1].content for session in sessions] == list(range(20))


# Files replaced from outside


def log_saying(*words: str) -> bytes:
    log = LogBuilder("s")
    for word in words:
        log.messages(("user", word))
    return log.data


def put(path: Path, data: bytes, how: str, mtime_ns: int) -> None:
    """Let a file be changed by something that is not this library."""
    if how == "in place":
        path.write_bytes(data)
        os.utime(path, ns=(mtime_ns, mtime_ns))
    else:
        new = path.with_name("new")
        new.write_bytes(data)
        os.utime(new, ns=(mtime_ns, mtime_ns))
        new.replace(path)


SECOND = 10**9


CHANGES = [("replaced", 0), ("replaced", -SECOND), ("replaced", SECOND), ("in place", -SECOND), ("in place", 1000)]
WORDS = {"same size": ["new"], "smaller": ["n"], "larger": ["newer"], "more": ["new", "more"], "fewer": []}


@pytest.fixture
def old(open_store: OpenStore) -> Session:
    """A session that says ``old``, as a store has it cached."""
    store = open_store()
    store.create("s")
    put(log_of(store, "s"), log_saying("old"), "in place", 1_000 * SECOND)
    session = store.get("s")
    assert texts(session) == ["old"]
    return session


@pytest.mark.parametrize(("how", "shift_ns"), CHANGES)
@pytest.mark.parametrize("name", WORDS)
def test_a_file_replaced_from_outside_is_noticed(
    open_store: OpenStore, old: Session, how: str, shift_ns: int, name: str
) -> None:
    """behaviours 23"""
    reader = open_store(read_only=True).get("s")
    assert texts(reader) == ["old"]
    put(log_of(open_store(), "s"), log_saying(*WORDS[name]), how, 1_000 * SECOND + shift_ns)
    assert texts(reader) == texts(old) == WORDS[name]


@pytest.mark.parametrize(("how", "shift_ns"), CHANGES)
@pytest.mark.parametrize("name", WORDS)
def test_a_writer_goes_on_from_a_file_replaced_from_outside(
    open_store: OpenStore, old: Session, how: str, shift_ns: int, name: str
) -> None:
    """behaviours 23"""
    put(log_of(open_store(), "s"), log_saying(*WORDS[name]), how, 1_000 * SECOND + shift_ns)
    fill(old, "next")
    assert texts(old) == texts(open_store().get("s")) == [*WORDS[name], "next"]


@pytest.mark.parametrize("name", sorted(WORDS.keys() - {"same size"}))
@pytest.mark.parametrize("first", ["read", "write"])
def test_a_file_changed_in_place_whose_time_was_put_back_is_noticed_by_its_size(
    open_store: OpenStore, old: Session, name: str, first: str
) -> None:
    """behaviours 23"""
    put(log_of(open_store(), "s"), log_saying(*WORDS[name]), "in place", 1_000 * SECOND)
    if first == "read":
        assert texts(old) == WORDS[name]
    fill(old, "next")
    assert texts(old) == texts(open_store().get("s")) == [*WORDS[name], "next"]


def test_an_older_state_put_back_from_a_backup_is_noticed(open_store: OpenStore) -> None:
    """behaviours 23"""
    store = open_store()
    session = fill(store.create("s"), "1")
    path = log_of(store, "s")
    backup, found = path.read_bytes(), path.stat()
    fill(session, "2", "3")
    put(path, backup, "replaced", found.st_mtime_ns)
    assert texts(session) == ["1"]
    put(path, path.read_bytes(), "in place", found.st_mtime_ns - SECOND)
    fill(session, "4")
    assert texts(session) == texts(open_store().get("s")) == ["1", "4"]


def test_a_file_removed_from_outside_is_no_session(open_store: OpenStore) -> None:
    """behaviours 23"""
    store = open_store()
    session = fill(store.create("s"), "1")
    log_of(store, "s").unlink()
    with pytest.raises(SessionNotFound):
        len(session.messages)
    with pytest.raises(SessionNotFound):
        session.append("user", "2")
    assert not log_of(store, "s").exists()
    assert session._entry.fd == -1


@pytest.mark.damages
def test_a_prefix_changed_from_outside_shows_no_message_of_the_old_cache(open_store: OpenStore) -> None:
    """behaviours 23"""
    store = open_store()
    session = fill(store.create("s"), "old")
    path = log_of(store, "s")
    changed = path.read_bytes().replace(b'"old"', b'"new"')
    path.write_bytes(changed + changed.splitlines(keepends=True)[-1])
    assert texts(session) == []
    with pytest.raises(CorruptLog):
        session.append("user", "x")


@pytest.mark.damages
def test_a_log_replaced_by_a_folder_is_unreadable_and_not_missing(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "old")
    path = log_of(store, "s")
    path.unlink()
    path.mkdir()
    with pytest.raises(UnreadableLog):
        len(session.messages)
    with pytest.raises(UnreadableLog):
        session.append("user", "x")


# Order


def test_order_is_by_seq_whatever_the_clocks_say(open_store: OpenStore, monkeypatch) -> None:
    """behaviours 33"""
    a, b = open_store().create("s"), open_store().get("s")
    for number, second in enumerate([5e9, 4e9, 1.0, 4e9, 0.0, 5e9]):
        monkeypatch.setattr("hierstore.clock.now", lambda second=second: second)
        fill([a, b][number % 2], number)
    for view in (a, b, open_store().get("s")):
        assert texts(view) == [0, 1, 2, 3, 4, 5]
        assert [message.seq for message in view.messages] == [1, 2, 3, 4, 5, 6]
        assert [message.at for message in view.messages] == [5e9, 4e9, 1.0, 4e9, 0.0, 5e9]
        assert [view.at(revision).revision for revision in range(1, 8)] == list(range(1, 8))


def test_snapshots_reverts_and_trash_do_not_mind_a_clock_that_steps_back(store: SessionStore, monkeypatch) -> None:
    """behaviours 33"""
    seconds = iter(range(10_000, 0, -1))
    monkeypatch.setattr("hierstore.clock.now", lambda: float(next(seconds)))
    session = fill(store.create("s"), "1")
    first = session.snapshot("first")
    fill(session, "2")
    second = session.snapshot("second")
    assert session.snapshots == (first, second)
    session.revert(first)
    session.undo_revert()
    assert texts(session) == ["1", "2"]
    for text in ("old", "new"):
        fill(store.create("t"), text)
        store.delete("t")
    assert texts(store.restore("t")) == ["new"]
