"""Children, ancestors, descendants, moving and the tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hierstore import HierarchyCycle, SessionNotFound, SessionStore, TreeNode
from hierstore.disk.logfile import append_offline
from hierstore.log.events import event
from tests.support import contents, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hierstore import Session

    OpenStore = Callable[..., SessionStore]


def ids(sessions: Iterable[Session]) -> list[str]:
    return [session.id for session in sessions]


def shape(node: TreeNode) -> object:
    """A tree as nested pairs of ids."""
    return (node.id, [shape(child) for child in node.children]) if node.children else node.id


@pytest.fixture
def family(store: SessionStore) -> SessionStore:
    """a > (b > (d, e), c > f); g alone."""
    for session_id, parent in (("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", "c"), ("g", None)):
        store.create(session_id, parent=parent)
    return store


def test_a_spawned_child_is_empty_and_hangs_below_its_parent(store: SessionStore) -> None:
    parent = fill(store.create("p"), "x")
    child = parent.spawn("c", title="T", kind="delegate", metadata={"a": 1}, labels=["l"])
    assert (child.id, child.parent_id, child.kind, child.title, child.metadata, child.labels) == (
        "c", "p", "delegate", "T", {"a": 1}, ("l",),
    )  # fmt: skip
    assert len(child.messages) == 0
    assert ids(parent.children) == ["c"]
    assert parent.spawn().parent_id == "p"


def test_kind_is_stored_and_never_inferred(store: SessionStore) -> None:
    parent = store.create("p")
    assert parent.spawn().kind is None
    assert store.create(parent=parent).kind is None
    assert parent.spawn(kind="a word of my own").kind == "a word of my own"


def test_children_come_in_the_order_in_which_they_were_made(family: SessionStore) -> None:
    assert ids(family.get("a").children) == ["b", "c"]
    assert ids(family.get("b").children) == ["d", "e"]
    assert family.get("g").children == ()


def test_ancestors_go_up_to_the_root(family: SessionStore) -> None:
    assert ids(family.get("d").ancestors) == ["b", "a"]
    assert family.get("a").ancestors == ()


def test_descendants_are_everything_below_depth_first(family: SessionStore) -> None:
    assert ids(family.get("a").descendants()) == ["b", "d", "e", "c", "f"]
    assert family.get("g").descendants() == ()


def test_the_tree_shows_titles_kinds_counts_and_children(store: SessionStore) -> None:
    parent = fill(store.create("p", title="T"), "1", "2")
    fill(parent.spawn("c", kind="delegate"), "1")
    assert store.tree("p") == TreeNode("p", "T", None, 2, (TreeNode("c", None, "delegate", 1, ()),))
    assert store.tree(parent) == store.tree("p")


def test_the_forest_shows_every_root_in_the_order_of_making(family: SessionStore) -> None:
    assert [shape(node) for node in family.tree()] == [("a", [("b", ["d", "e"]), ("c", ["f"])]), "g"]


def test_an_empty_store_has_no_trees(store: SessionStore) -> None:
    assert store.tree() == ()


def test_the_tree_of_a_session_that_does_not_exist_raises(store: SessionStore) -> None:
    with pytest.raises(SessionNotFound):
        store.tree("nope")


def test_a_hierarchy_may_be_deeper_than_pythons_stack(store: SessionStore) -> None:
    parent = None
    for number in range(1100):
        parent = store.create(f"s{number}", parent=parent)
    node, depth = store.tree("s0"), 1
    while node.children:
        node, depth = node.children[0], depth + 1
    assert depth == 1100
    assert len(store.get("s0").descendants()) == len(store.get("s1099").ancestors) == 1099


def test_moving_a_session_moves_what_hangs_below_it(family: SessionStore) -> None:
    family.get("b").move("g")
    assert [shape(node) for node in family.tree()] == [("a", [("c", ["f"])]), ("g", [("b", ["d", "e"])])]
    family.get("b").move(family.get("f"))
    assert ids(family.get("d").ancestors) == ["b", "f", "c", "a"]
    family.get("b").move(None)
    assert family.get("b").parent_id is None
    assert [shape(node) for node in family.tree()] == [("a", [("c", ["f"])]), ("b", ["d", "e"]), "g"]


def test_moving_back_restores_the_hierarchy(family: SessionStore) -> None:
    before = family.tree("a")
    family.get("c").move("g")
    family.get("c").move("a")
    assert family.tree("a") == before


@pytest.mark.parametrize(("child", "parent"), [("a", "a"), ("a", "b"), ("a", "d"), ("b", "e"), ("g", "g")])
def test_a_move_that_would_make_a_cycle_raises_and_writes_nothing(
    family: SessionStore, child: str, parent: str
) -> None:
    """behaviours 28"""
    before = contents(family.root)
    with pytest.raises(HierarchyCycle) as caught:
        family.get(child).move(parent)
    assert (caught.value.session_id, caught.value.parent_id) == (child, parent)
    assert contents(family.root) == before


def test_a_cycle_that_another_store_would_complete_is_seen(open_store: OpenStore) -> None:
    """behaviours 28"""
    one, other = open_store(), open_store()
    one.create("a")
    one.create("b")
    assert other.get("a").parent_id is other.get("b").parent_id is None
    one.get("a").move("b")
    with pytest.raises(HierarchyCycle):
        other.get("b").move("a")


def test_moving_below_a_session_that_does_not_exist_raises_and_writes_nothing(family: SessionStore) -> None:
    before = contents(family.root)
    with pytest.raises(SessionNotFound) as caught:
        family.get("b").move("nope")
    assert caught.value.session_id == "nope"
    assert contents(family.root) == before


def test_creating_below_a_session_that_does_not_exist_raises_and_writes_nothing(store: SessionStore) -> None:
    before = contents(store.root)
    for make in (store.create, store.get_or_create):
        with pytest.raises(SessionNotFound) as caught:
            make("s", parent="nope")
        assert caught.value.session_id == "nope"
    assert contents(store.root) == before


def test_a_session_cannot_be_made_below_itself(store: SessionStore) -> None:
    """behaviours 28"""
    with pytest.raises(SessionNotFound):
        store.create("s", parent="s")
    assert "s" not in store


@pytest.mark.damages
@pytest.mark.parametrize("members", ["a", "ab", "abc"])
def test_in_a_store_damaged_to_have_a_cycle_every_walk_ends(store: SessionStore, members: str) -> None:
    """behaviours 28"""
    for session_id in members:
        store.create(session_id)
    store.create("tail", parent=members[0])
    cycle = dict(zip(members, members[1:] + members[0], strict=True))
    for child, parent in cycle.items():
        path = store._engine.layout.log(child)
        append_offline(path, child, lambda _, parent=parent: [event("moved", parent=parent)])
        path = store._engine.layout.log(parent)
        append_offline(path, parent, lambda _, child=child: [event("child", id=child)])
    with SessionStore(store.root) as cold:
        for session_id in members:
            assert len(cold.get(session_id).ancestors) <= len(members)
            assert set(ids(cold.get(session_id).descendants())) == {*members, "tail"} - {session_id}
        assert set(ids(cold.get("tail").ancestors)) == set(members)
        assert cold.get("tail").descendants() == ()
        found: list[str] = []
        stack = list(cold.tree())
        while stack:
            found.append(stack[-1].id)
            stack.extend(stack.pop().children)
        assert sorted(found) == sorted([*members, "tail"])
        assert {finding.kind for finding in cold.check().problems} == {"cycle"}
        with pytest.raises(HierarchyCycle):
            cold.get(members[0]).move("tail")
        cold.get(members[0]).move(None)
        assert cold.check().ok
        cold.delete(members[0], children="cascade")
        assert cold.tree() == ()


@pytest.mark.damages
def test_a_child_whose_parents_log_is_gone_is_shown_as_a_root(family: SessionStore) -> None:
    os.unlink(family._engine.layout.log("b"))
    assert [shape(node) for node in family.tree()] == [("a", [("c", ["f"])]), "d", "e", "g"]
    assert family.get("d").ancestors == ()
    assert ids(family.get("a").descendants()) == ["c", "f"]
    assert {finding.kind for finding in family.check().problems} == {"missing_parent"}


@pytest.mark.damages
def test_one_bad_session_hides_no_other(family: SessionStore) -> None:
    with open(family._engine.layout.log("b"), "wb") as log:
        log.write(b"not a log at all\n")
    with SessionStore(family.root) as cold:
        assert ids(cold.get("a").children) == ["b", "c"]
        # What hangs below b is found by its own log, as b cannot be asked any more.
        assert ids(cold.get("a").descendants()) == ["b", "d", "e", "c", "f"]
        assert [shape(node) for node in cold.tree()] == [("a", [("b", ["d", "e"]), ("c", ["f"])]), "g"]
        assert shape(cold.tree("a")) == ("a", [("b", ["d", "e"]), ("c", ["f"])])
        assert "damaged" in str(cold.tree("a").children[0].error)
        assert cold.tree("c").error is None
        assert {finding.session_id for finding in cold.check().problems} == {"b"}
