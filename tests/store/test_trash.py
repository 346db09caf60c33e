"""Deleting, restoring and purging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hierstore import HasChildren, SessionExists, SessionNotFound, SessionStore
from hierstore.disk import files
from tests.support import contents, fill, holding, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


def all_ids(store: SessionStore) -> set[str]:
    found, stack = set(), list(store.tree())
    while stack:
        node = stack.pop()
        found.add(node.id)
        stack.extend(node.children)
    return found


@pytest.fixture
def family(store: SessionStore) -> SessionStore:
    """a > (b > (d, e), c); each says its own id."""
    for session_id, parent in (("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b")):
        fill(store.create(session_id, parent=parent), f"I am {session_id}")
    return store


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch) -> bool:
    """Whether the file system can link."""
    monkeypatch.setattr(files, "HAS_LINK", request.param)
    return request.param


# Deleting


def test_a_deleted_session_is_gone_everywhere(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    session, seen = fill(one.create("s"), "x"), other.get("s")
    assert texts(seen) == ["x"]
    one.delete("s")
    for store in (one, other, open_store()):
        assert "s" not in store
        assert store.tree() == ()
        with pytest.raises(SessionNotFound):
            store.get("s")
    for handle in (session, seen):
        with pytest.raises(SessionNotFound) as caught:
            len(handle.messages)
        assert caught.value.session_id == "s"


def test_a_session_can_be_deleted_by_its_handle(store: SessionStore) -> None:
    store.delete(store.create("s"))
    assert "s" not in store


def test_deleting_what_does_not_exist_raises_and_writes_nothing(store: SessionStore) -> None:
    before = contents(store.root)
    with pytest.raises(SessionNotFound):
        store.delete("nope")
    assert contents(store.root) == before


def test_a_session_with_children_is_not_deleted_unless_told_what_becomes_of_them(family: SessionStore) -> None:
    before = contents(family.root)
    for extra in ({}, {"children": "refuse"}):
        with pytest.raises(HasChildren) as caught:
            family.delete("b", **extra)
        assert (caught.value.session_id, caught.value.children) == ("b", ("d", "e"))
    with pytest.raises(ValueError, match="children"):
        family.delete("b", children="eat")
    assert contents(family.root) == before


def test_a_session_whose_children_are_gone_has_none(family: SessionStore) -> None:
    family.delete("d")
    family.get("e").move("a")
    family.delete("b")
    assert all_ids(family) == {"a", "c", "e"}


def test_cascade_deletes_everything_below(family: SessionStore) -> None:
    """behaviours 28"""
    family.delete("b", children="cascade")
    assert all_ids(family) == {"a", "c"}
    assert [child.id for child in family.get("a").children] == ["c"]
    assert [child.id for child in family.get("a").descendants()] == ["c"]


def test_orphan_makes_the_children_roots_that_keep_what_is_below_them(family: SessionStore) -> None:
    """behaviours 28"""
    fill(family.get("d").spawn("below"), "x")
    family.delete("b", children="orphan")
    assert {node.id for node in family.tree()} == {"a", "d", "e"}
    assert family.get("d").parent_id is None
    assert [child.id for child in family.get("d").children] == ["below"]
    assert family.get("below").ancestors == (family.get("d"),)
    assert all_ids(family) == {"a", "c", "d", "e", "below"}
    assert texts(family.get("e")) == ["I am e"]


@pytest.mark.parametrize("how", ["cascade", "orphan"])
def test_no_phantom_is_left_of_a_deleted_middle(family: SessionStore, how: str) -> None:
    """behaviours 28"""
    family.delete("b", children=how)
    with SessionStore(family.root) as cold:
        assert "b" not in all_ids(cold)
        assert all(session_id in cold for session_id in all_ids(cold))
        # Every session is reachable from some root.
        assert all_ids(cold) == ({"a", "c"} if how == "cascade" else {"a", "c", "d", "e"})
        report = cold.check()
        assert report.ok
        assert report.sessions == len(all_ids(cold))


def test_a_deleted_id_is_free_again_and_the_new_session_has_nothing_of_the_old(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    old = fill(one.create("s", title="old", labels=["l"]), "1", "2")
    old.spawn("child")
    assert texts(other.get("s")) == ["1", "2"]
    one.delete("s", children="orphan")
    new = other.create("s")
    assert (texts(new), new.title, new.labels, new.revision, new.children) == ([], None, (), 1, ())
    assert texts(old) == []
    fill(old, "new")
    assert texts(open_store().get("s")) == ["new"]


# A late writer

LATE = {
    "append": lambda s: s.append("user", "late"),
    "append with an id": lambda s: s.append("user", "late", message_id="m"),
    "extend": lambda s: s.extend([{"role": "user", "content": "late"}]),
    "reset": lambda s: s.reset(),
    "set_title": lambda s: s.set_title("late"),
    "update": lambda s: s.update(pinned=True),
    "snapshot": lambda s: s.snapshot(),
    "revert": lambda s: s.revert(1),
    "undo_revert": lambda s: s.undo_revert(),
    "spawn": lambda s: s.spawn("late"),
    "fork": lambda s: s.fork("late"),
    "move": lambda s: s.move(None),
    "move below": lambda s: s.move("other"),
    "turn": lambda s: s.turn().__enter__(),
    "an empty extend": lambda s: s.extend([]),
    "an update of nothing": lambda s: s.update(),
    "at": lambda s: s.at(1),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("purged", [False, True], ids=["", "purged"])
def test_a_late_writer_never_brings_a_deleted_session_back(open_store: OpenStore, name: str, purged: bool) -> None:
    """behaviours 8"""
    one, other = open_store(), open_store()
    one.create("other")
    late = fill(one.create("s"), "x")
    other.delete("s")
    if purged:
        other.purge()
    before = contents(one.root)
    with pytest.raises(SessionNotFound) as caught:
        LATE[name](late)
    assert caught.value.session_id == "s"
    assert contents(one.root) == before
    assert "s" not in one
    assert "late" not in other


def test_a_turn_that_ends_after_the_deletion_does_not_bring_the_session_back(open_store: OpenStore) -> None:
    """behaviours 8"""
    one, other = open_store(), open_store()
    turn = one.create("s").turn()
    turn.__enter__()
    turn.append("user", "late")
    other.delete("s")
    before = contents(one.root)
    with pytest.raises(SessionNotFound):
        turn.__exit__(None, None, None)
    assert contents(one.root) == before


def test_a_child_cannot_be_made_below_a_deleted_session(open_store: OpenStore) -> None:
    """behaviours 8"""
    one, other = open_store(), open_store()
    one.create("p")
    mover = one.create("s")
    other.delete("p")
    for attempt in (
        lambda: one.create("c", parent="p"),
        lambda: one.get_or_create("c", parent="p"),
        lambda: mover.move("p"),
    ):
        with pytest.raises(SessionNotFound) as caught:
            attempt()
        assert caught.value.session_id == "p"
    assert all_ids(one) == {"s"}


# Restoring


def test_a_restored_session_is_as_it_was(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    session = fill(store.create("s", title="T", metadata={"m": 1}, labels=["l"]), "1", "2")
    session.snapshot("n")
    saw, history = session.info, list(session.messages)
    store.delete("s")
    restored = other.restore("s")
    for view in (restored, session, open_store().get("s")):
        assert list(view.messages) == history
        assert (view.title, view.metadata, view.labels, view.updated_at) == ("T", {"m": 1}, ("l",), saw.updated_at)
        assert [snap.label for snap in view.snapshots] == ["n"]
    fill(session, "3")
    assert texts(restored) == ["1", "2", "3"]


def test_restoring_a_cascade_brings_all_of_it_back(family: SessionStore) -> None:
    before = family.tree()
    family.delete("b", children="cascade")
    family.restore("b")
    assert {node.id for node in family.tree("a").children} == {"b", "c"}
    assert family.tree("b") == next(node for node in before[0].children if node.id == "b")
    assert texts(family.get("d")) == ["I am d"]


def test_restoring_from_the_middle_of_a_cascade_brings_back_what_hangs_below_it(family: SessionStore) -> None:
    family.delete("a", children="cascade")
    assert family.tree() == ()
    family.restore("b")
    assert all_ids(family) == {"b", "d", "e"}
    assert family.get("b").parent_id is None
    family.restore("a")
    assert all_ids(family) == {"a", "b", "c", "d", "e"}


def test_restoring_brings_back_only_what_the_same_call_deleted(family: SessionStore) -> None:
    family.delete("d")
    family.delete("b", children="cascade")
    family.restore("b")
    assert all_ids(family) == {"a", "b", "c", "e"}
    family.restore("d")
    assert family.get("d").parent_id == "b"
    assert [child.id for child in family.get("b").children] == ["d", "e"]


def test_a_session_restored_without_its_parent_is_a_root(family: SessionStore) -> None:
    family.delete("d")
    family.delete("b", children="cascade")
    assert family.restore("d").parent_id is None
    family.restore("b")
    assert family.get("d").parent_id is None


def test_restoring_over_a_living_session_raises_and_changes_nothing(store: SessionStore) -> None:
    fill(store.create("s"), "old")
    store.delete("s")
    fill(store.create("s"), "new")
    before = contents(store.root)
    with pytest.raises(SessionExists) as caught:
        store.restore("s")
    assert caught.value.session_id == "s"
    assert contents(store.root) == before
    store.delete("s")
    assert texts(store.restore("s")) == ["new"]


def test_a_cascade_of_which_one_id_is_taken_again_is_restored_not_at_all(family: SessionStore) -> None:
    family.delete("b", children="cascade")
    fill(family.create("e"), "new")
    before = contents(family.root)
    with pytest.raises(SessionExists) as caught:
        family.restore("b")
    assert caught.value.session_id == "e"
    assert contents(family.root) == before


@pytest.mark.parametrize("call", ["restore", "purge"])
def test_what_is_not_in_the_trash_cannot_be_restored_or_purged(store: SessionStore, call: str) -> None:
    store.create("living")
    before = contents(store.root)
    for session_id in ("nope", "living"):
        with pytest.raises(SessionNotFound) as caught:
            getattr(store, call)(session_id)
        assert caught.value.session_id == session_id
    assert contents(store.root) == before


def test_of_several_deleted_sessions_of_one_id_the_latest_comes_back(store: SessionStore) -> None:
    for text in ("first", "second"):
        fill(store.create("s"), text)
        store.delete("s")
    assert texts(store.restore("s")) == ["second"]
    store.delete("s")
    assert store.purge("s") == ("s", "s")


def test_a_restored_fork_has_its_inherited_history(store: SessionStore, links: bool) -> None:
    fork = fill(fill(store.create("p"), "1").fork("f"), "2")
    store.delete("f")
    store.restore("f")
    assert texts(fork) == ["1", "2"]
    store.delete("p", children="cascade")
    store.restore("p")
    assert texts(fork) == ["1", "2"]
    with SessionStore(store.root) as cold:
        assert texts(cold.get("f")) == ["1", "2"]


# Purging


def test_purging_leaves_none_of_a_sessions_bytes(store: SessionStore, links: bool) -> None:
    store.create("p", title="stays")
    session = store.create(
        "p/secret id", parent="p", title="SECRET title", metadata={"k": "SECRET fact"}, labels=["SECRET label"]
    )
    fill(session, "SECRET text", [{"text": "SECRET part"}])
    session.snapshot("SECRET snap")
    session.reset("SECRET reason")
    store.delete(session)
    assert holding(store.root, "SECRET")
    assert store.purge("p/secret id") == ("p/secret id",)
    assert holding(store.root, "SECRET") == []
    assert list((store.root / "trash").iterdir()) == list((store.root / "tmp").iterdir()) == []


def test_purging_one_leaves_the_others_in_the_trash(family: SessionStore) -> None:
    for session_id in ("d", "e"):
        family.delete(session_id)
    assert family.purge("d") == ("d",)
    assert texts(family.restore("e")) == ["I am e"]
    with pytest.raises(SessionNotFound):
        family.restore("d")


def test_purging_everything_empties_the_trash(family: SessionStore) -> None:
    family.delete("c")
    family.delete("b", children="cascade")
    assert sorted(family.purge()) == ["b", "c", "d", "e"]
    assert family.purge() == ()
    assert holding(family.root, "I am") == [str(log_of(family, "a").relative_to(family.root))]


def test_purging_a_parent_leaves_of_it_only_what_the_living_fork_shows(store: SessionStore, links: bool) -> None:
    """behaviours 30"""
    parent = store.create("p", title="SECRET title")
    fill(parent, "SECRET reverted away").revert(1)
    fill(parent, "shown 1", "shown 2")
    fork = parent.fork("f")
    early = parent.fork("early", at=parent.messages[0].id)
    fill(parent, "SECRET after the fork")
    fill(fork, "private")
    store.delete("p", children="orphan")
    store.purge()
    assert holding(store.root, "SECRET") == []
    with SessionStore(store.root) as cold:
        for view in (store, cold):
            assert texts(view.get("f")) == ["shown 1", "shown 2", "private"]
            assert texts(view.get("early")) == ["shown 1"]
    store.delete("f")
    store.purge()
    assert holding(store.root, "shown 2") == holding(store.root, "private") == []
    assert texts(early) == ["shown 1"]


def test_purging_in_a_chain_of_forks_leaves_each_whole(store: SessionStore, links: bool) -> None:
    """behaviours 30"""
    a = fill(store.create("a"), "a", "SECRET 1")
    b = fill(a.fork("b", at=a.messages[0].id), "b", "SECRET 2")
    c = fill(b.fork("c", at=b.messages[1].id), "c", "SECRET 3")
    d = fill(c.fork("d", at=c.messages[2].id), "d")
    store.delete("a", children="orphan")
    store.purge()
    assert holding(store.root, "SECRET 1") == []
    store.delete("b", children="orphan")
    store.delete("c", children="orphan")
    store.purge()
    assert holding(store.root, "SECRET") == []
    with SessionStore(store.root) as cold:
        assert texts(d) == texts(cold.get("d")) == ["a", "b", "c", "d"]
        assert texts(cold.get("d").fork("e")) == ["a", "b", "c", "d"]
    fill(d, "more").revert(1)
    assert texts(d) == ["a", "b", "c"]


def test_a_fork_in_the_trash_outlives_the_purge_of_its_parent(store: SessionStore, links: bool) -> None:
    """behaviours 30"""
    parent = fill(store.create("p"), "shown", "SECRET")
    fill(parent.fork("f", at=parent.messages[0].id), "own")
    store.delete("f")
    store.delete("p")
    store.purge("p")
    assert holding(store.root, "SECRET") == []
    assert texts(store.restore("f")) == ["shown", "own"]
    with SessionStore(store.root) as cold:
        assert texts(cold.get("f")) == ["shown", "own"]


def test_a_parent_and_its_forks_purged_together_leave_nothing(store: SessionStore, links: bool) -> None:
    parent = fill(store.create("p"), "SECRET 1")
    fill(fill(parent.fork("f"), "SECRET 2").fork("g"), "SECRET 3")
    store.delete("p", children="cascade")
    assert sorted(store.purge()) == ["f", "g", "p"]
    assert holding(store.root, "SECRET") == []


def test_purging_a_fork_leaves_its_parent_whole(store: SessionStore, links: bool) -> None:
    parent = fill(store.create("p"), "1")
    fill(parent.fork("f"), "SECRET")
    store.delete("f")
    store.purge()
    assert holding(store.root, "SECRET") == []
    assert texts(fill(parent, "2")) == ["1", "2"]


@pytest.mark.parametrize("id_is_taken_again", [False, True])
def test_purging_takes_the_quarantined_bytes_too(store: SessionStore, id_is_taken_again: bool) -> None:
    log = log_of(store, "s")
    fill(store.create("s"), "x", "SECRET")
    data = bytearray(log.read_bytes())
    data[-30] ^= 1
    log.write_bytes(data)
    fill(store.get("s"), "y")
    assert [name.partition("/")[0] for name in holding(store.root, "SECRET")] == ["quarantine"]
    store.delete("s")
    if id_is_taken_again:
        store.create("s")
    store.purge()
    assert holding(store.root, "SECRET") == []


def test_a_stale_reader_of_a_purged_parents_fork_reads_on(open_store: OpenStore, links: bool) -> None:
    """behaviours 30"""
    one, other = open_store(), open_store()
    parent = fill(one.create("p"), "1")
    parent.fork("f")
    seen = other.get("f")
    assert texts(seen) == ["1"]
    one.delete("p", children="orphan")
    one.purge()
    assert texts(seen) == ["1"]
    assert texts(fill(seen, "2")) == ["1", "2"]
    assert texts(one.get("f")) == ["1", "2"]
