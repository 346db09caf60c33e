from __future__ import annotations

from collections.abc import Callable

import pytest

from hierstore import SessionStore, TreeNode
from hierstore.disk import files
from tests.support import fill, texts


def _node(store: SessionStore, session_id: str) -> TreeNode:
    return store.tree(session_id)


def test_a_fork_knows_how_many_messages_it_began_with(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    early, late = parent.fork("early", at=parent.messages[1].id), parent.fork("late")
    assert (early.forked_at, late.forked_at) == (2, 3)
    assert (_node(store, "early").forked_at, _node(store, "late").forked_at) == (2, 3)
    assert [node.forked_at for node in _node(store, "p").children] == [2, 3]


def test_what_is_no_fork_has_no_such_place(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1")
    child = parent.spawn("child", kind="branch")
    assert (parent.forked_at, child.forked_at, _node(store, "child").forked_at) == (None, None, None)


def test_a_fork_of_nothing_shares_nothing(store: SessionStore) -> None:
    assert store.create("p").fork("f").forked_at is None


def test_what_comes_later_does_not_change_it(store: SessionStore) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    fork = fill(parent.fork("f", at=parent.messages[1].id), "4")
    fill(parent, "5")
    parent.revert(parent.messages[0].id)
    assert fork.forked_at == 2
    fork.reset()
    fork.move(None)
    assert fork.forked_at == 2
    assert fork.at(1).forked_at == 2


def test_a_fork_of_a_fork_counts_from_the_beginning(store: SessionStore) -> None:
    fork = fill(fill(store.create("p"), "1", "2").fork("f"), "3")
    assert fork.fork("g").forked_at == 3
    assert fork.fork("h", at=fork.messages[0].id).forked_at == 1


def test_a_fork_of_many_generations_has_it_too(store: SessionStore) -> None:
    session = fill(store.create("g0"), "0")
    for generation in range(1, 12):
        session = fill(session.fork(f"g{generation}"), str(generation))
        assert session.forked_at == generation


def test_compacting_either_keeps_it(store: SessionStore, open_store: Callable[..., SessionStore]) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    fork = fill(parent.fork("f", at=parent.messages[1].id), "4", "5")
    fork.revert(fork.messages[0].id)
    parent.revert(parent.messages[0].id)
    for session in (fork, parent):
        session.compact(keep="present")
    assert open_store().get("f").forked_at == 2


def test_purging_the_parent_keeps_it(store: SessionStore, open_store: Callable[..., SessionStore]) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    fork = fill(parent.fork("f", at=parent.messages[1].id), "4")
    store.delete("p", children="orphan")
    store.purge()
    assert (fork.forked_at, texts(open_store().get("f"))) == (2, ["1", "2", "4"])
    assert _node(open_store(), "f").forked_at == 2


def test_where_links_do_not_work_it_is_the_same(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "HAS_LINK", False)
    assert fill(store.create("p"), "1", "2").fork("f").forked_at == 2


def test_an_imported_fork_has_it(
    store: SessionStore, open_store: Callable[..., SessionStore], tmp_path_factory: pytest.TempPathFactory
) -> None:
    parent = fill(store.create("p"), "1", "2", "3")
    parent.fork("f", at=parent.messages[1].id)
    with SessionStore(tmp_path_factory.mktemp("other") / "store") as other:
        copy = other.import_bundle(store.export("p"))
        assert [child.forked_at for child in copy.children] == [2]
