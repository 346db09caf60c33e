"""Forks: a child that starts with the history, and shares nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import RevisionNotFound, SessionExists, SessionNotFound, SessionStore
from hierstore.disk import files
from hierstore.history import History
from tests.support import contents, fill, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch) -> bool:
    """Whether the file system can link."""
    monkeypatch.setattr(files, "HAS_LINK", request.param)
    return request.param


def test_a_fork_is_a_child_that_starts_with_the_history(store: SessionStore, links: bool) -> None:
    """behaviours 30"""
    parent = fill(store.create("p", title="T", labels=["l"], metadata={"m": 1}), "1", [2], "3")
    fork = parent.fork("f")
    assert (fork.id, fork.parent_id, fork.title) == ("f", "p", None)
    assert list(fork.messages) == list(parent.messages)
    assert [message.id for message in fork.messages] == [message.id for message in parent.messages]
    assert [child.id for child in parent.children] == ["f"]
    with SessionStore(store.root) as cold:
        assert list(cold.get("f").messages) == list(parent.messages)


def test_a_fork_gets_a_title_and_an_id_of_its_own(store: SessionStore) -> None:
    parent = store.create("p", title="T")
    assert parent.fork(title="F").title == "F"
    assert parent.fork().id != parent.fork().id


@pytest.mark.parametrize("warm", [True, False])
def test_a_fork_starts_with_the_history_up_to_what_is_named(store: SessionStore, links: bool, warm: bool) -> None:
    parent = store.create("p")
    second = fill(parent, "1").append("user", "2")
    snap = parent.snapshot("here")
    revision = fill(parent, "3").revision
    fill(parent, "4")
    forks = {at: parent.fork(at=at) for at in (second.id, snap, snap.id, revision, 1, None)}
    expected = {second.id: "12", snap: "12", snap.id: "12", revision: "123", 1: "", None: "1234"}
    with SessionStore(store.root) as cold:
        for at, fork in forks.items():
            view = fork if warm else cold.get(fork.id)
            assert texts(view) == list(expected[at]), at


def test_a_fork_may_start_where_the_parent_no_longer_is(store: SessionStore) -> None:
    parent = store.create("p")
    message = parent.append("user", "1")
    fill(parent, "2")
    before = parent.revision
    parent.reset()
    fill(parent, "3")
    for at, expected in ((before, ["1", "2"]), (message.id, ["1"]), (None, ["3"])):
        assert texts(parent.fork(at=at)) == expected


def test_a_fork_and_its_parent_do_not_see_each_other(open_store: OpenStore, links: bool) -> None:
    """behaviours 30"""
    store, other = open_store(), open_store()
    parent = fill(store.create("p"), "shared")
    fork = parent.fork("f")
    fill(parent, "parent's")
    fill(fork, "fork's")
    parent.set_title("T")
    fork.reset()
    fill(fork, "anew")
    fill(other.get("f"), "from elsewhere")
    assert texts(parent) == texts(other.get("p")) == ["shared", "parent's"]
    assert texts(fork) == texts(other.get("f")) == ["anew", "from elsewhere"]
    assert fork.title is None
    fork.revert(1)
    assert texts(fork) == ["shared"]


def test_a_parent_and_its_fork_written_by_two_threads_at_once_do_not_mix(store: SessionStore, monkeypatch) -> None:
    parent = fill(store.create("p"), "shared")
    fork = parent.fork("f")
    assert parent._entry.stripe is not fork._entry.stripe
    real, both = History.append, threading.Barrier(2)

    def append(history: History, message: Any) -> None:
        # Both have decided which list to append to before either appends.
        both.wait(10)
        real(history, message)

    monkeypatch.setattr(History, "append", append)
    threads = [threading.Thread(target=session.append, args=("user", session.id)) for session in (parent, fork)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (texts(parent), texts(fork)) == (["shared", "p"], ["shared", "f"])


def test_forks_of_forks_show_the_history_of_all_times_before(store: SessionStore, links: bool) -> None:
    session = fill(store.create("g0"), "0")
    for generation in range(1, 13):
        session = fill(session.fork(f"g{generation}"), str(generation))
    with SessionStore(store.root) as cold:
        for generation in range(13):
            expected = [str(number) for number in range(generation + 1)]
            assert texts(cold.get(f"g{generation}")) == texts(store.get(f"g{generation}")) == expected
            assert [message.seq for message in cold.get(f"g{generation}").messages] == list(range(1, generation + 2))


def test_a_fork_of_a_fork_may_start_in_the_inherited_part(store: SessionStore, links: bool) -> None:
    first = fill(store.create("a"), "1").append("user", "2")
    fill(store.get("a"), "3")
    fork = fill(store.get("a").fork("b", at=first.id), "4")
    assert texts(fork) == ["1", "2", "4"]
    assert texts(fork.fork("c", at=first.id)) == ["1", "2"]
    assert texts(fork.fork("d", at=fork.messages[0].id)) == ["1"]
    with SessionStore(store.root) as cold:
        assert [texts(cold.get(name)) for name in "cd"] == [["1", "2"], ["1"]]


def test_the_cost_of_a_fork_does_not_grow_with_the_history(store: SessionStore) -> None:
    parent = fill(store.create("p"), "x" * 1_000_000)
    before = sum(path.stat().st_blocks for path in {p.stat().st_ino: p for p in store.root.rglob("*")}.values())
    for number in range(5):
        parent.fork(f"f{number}")
    after = sum(path.stat().st_blocks for path in {p.stat().st_ino: p for p in store.root.rglob("*")}.values())
    assert (after - before) * 512 < 500_000


@pytest.mark.parametrize("at", ["nope", 0, -1, 99, True, 1.5, ["1"]], ids=repr)
def test_a_fork_at_what_does_not_exist_raises_and_leaves_nothing(store: SessionStore, at: Any) -> None:
    parent = fill(store.create("p"), "1")
    before = contents(store.root)
    with pytest.raises(RevisionNotFound) as caught:
        parent.fork("f", at=at)
    assert (caught.value.session_id, caught.value.target) == ("p", at)
    assert contents(store.root) == before
    assert parent.children == ()


def test_a_fork_at_another_sessions_snapshot_or_message_raises(store: SessionStore) -> None:
    parent, other = fill(store.create("p"), "1"), fill(store.create("o"), "2", "3")
    snap = other.snapshot("theirs")
    for at in (snap, other.messages[0].id):
        with pytest.raises(RevisionNotFound):
            parent.fork(at=at)


def test_a_fork_onto_an_existing_id_raises_and_changes_nothing(store: SessionStore) -> None:
    """behaviours 26"""
    parent = fill(store.create("p"), "1")
    fill(store.create("o"), "kept")
    before = contents(store.root)
    for taken in ("o", "p"):
        with pytest.raises(SessionExists):
            parent.fork(taken)
    assert contents(store.root) == before


def test_a_fork_of_a_deleted_session_raises(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    open_store().delete("s")
    with pytest.raises(SessionNotFound):
        session.fork("f")
    assert "f" not in store


def test_a_deleted_parent_leaves_the_fork_whole(open_store: OpenStore, links: bool) -> None:
    """behaviours 30"""
    store = open_store()
    parent = fill(store.create("p"), "1", "2")
    fork = fill(parent.fork("f"), "3")
    store.delete("p", children="orphan")
    for view in (fork, open_store().get("f")):
        assert (texts(view), view.parent_id) == (["1", "2", "3"], None)
    store.purge()
    for view in (fork, open_store().get("f")):
        assert texts(view) == ["1", "2", "3"]
        assert texts(view.at(1)) == ["1", "2"]
    fill(fork, "4").revert(1)
    assert texts(open_store().get("f")) == ["1", "2"]


def test_what_happens_to_the_parent_after_the_fork_does_not_reach_it(store: SessionStore, links: bool) -> None:
    parent = fill(store.create("p"), "1", "2")
    fork = parent.fork("f")
    parent.reset()
    fill(parent, "3").revert(2)
    parent.undo_revert()
    with SessionStore(store.root) as cold:
        assert texts(cold.get("f")) == texts(fork) == ["1", "2"]
