"""What the holder of a share sees and may do, and that nothing leads from there to anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hierstore import (
    HierstoreError,
    LockTimeout,
    Message,
    ReadOnlyStore,
    RevisionConflict,
    Session,
    SessionInfo,
    SessionStore,
    ShareExpired,
    ShareNotFound,
    compaction,
    sharing,
)
from hierstore.history import Messages
from hierstore.model import Snapshot
from tests.store.refusing import assert_refused
from tests.support import contents, fill, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

# What it is


def test_a_shared_session_has_these_names_and_no_other(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    session.spawn("c")
    shared = store.open_share(session.share(role="append", subtree=True).token)
    names = {name for name in dir(shared) if not name.startswith("_")}
    assert names == {"append", "children", "expires_at", "info", "messages", "role"}
    # A share that can do more than append is a new decision: it is to be made here, too.
    kinds = {name: type(getattr(shared, name)) for name in names - {"append"}}
    assert kinds == {
        "children": tuple, "expires_at": type(None), "info": SessionInfo, "messages": Messages, "role": str
    }  # fmt: skip
    assert {type(child) for child in shared.children} == {type(shared)}
    assert not isinstance(shared, Session)
    assert not hasattr(shared, "__dict__")
    with pytest.raises(AttributeError):
        shared.anything = 1


def test_nothing_that_is_handed_out_leads_to_the_store(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s", metadata={"m": 1}), "1", [{"type": "text"}])
    session.snapshot("n")
    shared = store.open_share(session.share(role="append").token)
    handed: list[Any] = [
        shared.info, shared.messages, *shared.messages, shared.messages[0:1], shared.append("user", "2"), shared.role,
    ]  # fmt: skip
    for item in handed:
        public = [getattr(item, name) for name in dir(item) if not name.startswith("_")]
        assert not any(isinstance(value, Session | SessionStore | Snapshot) for value in public)
        assert not any(type(value).__module__.startswith("hierstore.disk") for value in public)


def crowded(store: SessionStore) -> Session:
    """A session with something of everything that is nobody's business, and some that may be seen."""
    store.create("parent's id", title="the parent")
    session = store.create(
        "s", title="T", parent="parent's id", kind="k", labels=["l"],
        metadata={"public": 1, "_hidden": "SECRET", "private": {"x": "SECRET"}, "__": "SECRET", "_": "SECRET"},
    )  # fmt: skip
    fill(session, "1")
    session.append("user", "2", metadata={"seen": True, "_mine": "SECRET", "private": "SECRET"}, name="n")
    session.update(derived={"summary": "SECRET"})
    session.set_ref("ref", "SECRET")
    session.add_usage(SECRET=5)
    session.start_turn("SECRET")
    session.snapshot("SECRET", metadata={"a": "SECRET"})
    store.bind("SECRET", session)
    return session


def shown(shared: Any) -> str:
    """All that a holder can see, in text."""
    info = shared.info
    parts = [repr(info), repr(info.metadata), repr(info.derived), repr(info.metadata_json), repr(info.derived_json)]
    parts += [repr(shared), shared.role, repr(shared.messages), repr(list(shared.messages))]
    parts += [repr((m.metadata, m.fields, m.as_dict(), m._raw)) for m in shared.messages]
    return "\n".join([*parts, *map(shown, shared.children)])


@pytest.mark.parametrize("options", [{}, {"role": "append"}, {"frozen": True}, {"subtree": True}], ids=repr)
def test_what_is_private_is_not_shown(open_store: OpenStore, options: dict[str, Any]) -> None:
    store = open_store()
    session = crowded(store)
    session.share(role="append")
    token = session.share(**options).token
    child = store.create("c", parent=session, metadata={"_x": "SECRET", "y": 1})
    child.append("user", "below", metadata={"_x": "SECRET", "private": "SECRET"})
    child.update(derived={"d": "SECRET"})
    for view in (store, open_store(), open_store(read_only=True)):
        shared = view.open_share(token)
        text = shown(shared)
        assert "SECRET" not in text
        assert "parent's id" not in text
        info = shared.info
        assert (info.id, info.title, info.kind, info.labels, info.parent_id) == ("s", "T", "k", ("l",), None)
        assert (info.metadata, info.derived, info.message_count) == ({"public": 1}, {}, 2)
        assert [(m.content, m.metadata, m.fields) for m in shared.messages] == [
            ("1", {}, {}), ("2", {"seen": True}, {"name": "n"})
        ]  # fmt: skip
    assert session.metadata["_hidden"] == "SECRET"
    assert session.messages[1].metadata["private"] == "SECRET"


def test_private_is_what_begins_with_an_underscore_or_is_called_private_and_nothing_else(store: SessionStore) -> None:
    hidden = {"_": 1, "_a": 1, "__a__": 1, "private": 1}
    seen = {
        "": 1,
        "a_": 1,
        "a_b": 1,
        "Private": 1,
        "privately": 1,
        "not private": 1,
        "\uff3f": 1,
        "-": 1,
        "a": {"_b": 1},
    }
    session = store.create("s", metadata=hidden | seen)
    session.append("user", "x", metadata=hidden | seen)
    shared = store.open_share(session.share(role="append").token)
    assert shared.info.metadata == shared.messages[0].metadata == seen
    stored = shared.append("user", "y", message_id="m", metadata=hidden | seen)
    assert stored.metadata == seen
    assert shared.append("user", "y", message_id="m").metadata == seen
    session.append("user", "z", message_id="z", metadata=hidden)
    assert shared.append("user", "other", message_id="z").metadata == {}


def test_a_message_is_shown_as_it_was_stored_but_for_what_is_private(store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "plain")
    session.append("assistant", [{"type": "text", "text": "\u00e9\U0001f600"}], tool_calls=[{"id": "c"}], name="n")
    session.append("tool", {"a": [1, 2.5, None]}, metadata={"_x": 1, "y": 2}, tool_call_id="c")
    given = list(session.messages)
    seen = list(store.open_share(session.share().token).messages)
    assert seen[:2] == given[:2]
    assert seen[2] == given[2].replace(metadata={"y": 2})
    assert [(m.id, m.seq, m.at) for m in seen] == [(m.id, m.seq, m.at) for m in given]


def test_what_a_holder_does_to_what_he_got_shows_up_nowhere(store: SessionStore) -> None:
    """behaviours 24"""
    session = store.create("s", metadata={"a": [1]})
    session.append("user", [{"text": "x"}], metadata={"m": [1]}, f=[1])
    shared = store.open_share(session.share().token)
    shared.info.metadata["a"].append(2)
    message = shared.messages[0]
    message.content[0]["text"] = "changed"
    message.metadata["m"].append(2)
    message.fields["f"].append(2)
    for view in (session, shared):
        found = view.messages[0]
        assert (found.content, found.metadata, found.fields) == ([{"text": "x"}], {"m": [1]}, {"f": [1]})
        assert view.info.metadata == {"a": [1]}


# Roles


def test_a_holder_who_may_read_cannot_append(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    session.append("user", "2", message_id="m")
    session.spawn("c")
    reads = [session.share(), session.share(frozen=True), session.share(subtree=True, expires_in_s=60)]
    session.share(role="append")
    shares = [open_store().open_share(grant.token) for grant in reads]
    before = contents(store.root)
    for shared in (*shares, shares[2].children[0]):
        for options in ({}, {"message_id": "m"}, {"message_id": "new"}, {"expected_revision": 3}):
            with pytest.raises(ReadOnlyStore) as caught:
                shared.append("user", "x", **options)
            assert str(caught.value).endswith(".")
    assert contents(store.root) == before


def test_a_holder_who_may_append_adds_messages_that_everyone_sees(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    session = fill(store.create("s"), "1")
    shared = other.open_share(session.share(role="append").token)
    assert texts(shared) == ["1"]
    fill(session, "2")
    stored = shared.append("user", "3", metadata={"m": 1}, name="guest")
    assert (stored.seq, stored.content, stored.metadata, stored.fields) == (3, "3", {"m": 1}, {"name": "guest"})
    assert shared.role == "append"
    assert texts(shared) == texts(session) == texts(open_store().get("s")) == ["1", "2", "3"]
    assert list(session.messages)[2] == stored


def test_appending_to_a_share_retries_and_refuses_as_appending_to_the_session_does(store: SessionStore) -> None:
    session = fill(store.create("s"), "1")
    shared = store.open_share(session.share(role="append").token)
    first = shared.append("user", "x", message_id="m")
    before = contents(store.root)
    assert shared.append("user", "again", message_id="m") == first
    with pytest.raises(RevisionConflict):
        shared.append("user", "x", expected_revision=1)
    for bad in ({"content": float("nan")}, {"role": ""}, {"message_id": ""}, {"metadata": [1]}):
        arguments = {"role": "user", "content": "x"} | bad
        assert_refused(store, lambda arguments=arguments: shared.append(**arguments))
    assert contents(store.root) == before
    assert shared.append("user", "y", expected_revision=session.revision).seq == 3
    assert texts(session) == ["1", "x", "y"]


# The subtree


def grown(store: SessionStore) -> Session:
    """outside; s > (a > deep, b); each with a message of its own name."""
    for name, parent in (("outside", None), ("s", "outside"), ("a", "s"), ("b", "s"), ("deep", "a")):
        fill(store.create(name, parent=parent), name)
    return store.get("s")


def walk(shared: Any) -> list[tuple[str, list[Any]]]:
    """Ids and texts of a shared session and all below it."""
    return [(shared.info.id, texts(shared)), *(row for child in shared.children for row in walk(child))]


def test_a_share_of_one_session_shows_no_children(store: SessionStore) -> None:
    session = grown(store)
    for options in ({}, {"role": "append"}, {"frozen": True}):
        shared = store.open_share(session.share(**options).token)
        assert (shared.children, texts(shared)) == ((), ["s"])


@pytest.mark.parametrize("frozen", [False, True])
def test_a_share_of_the_subtree_shows_what_hangs_below_and_nothing_beside_or_above(
    open_store: OpenStore, frozen: bool
) -> None:
    store = open_store()
    token = grown(store).share(subtree=True, frozen=frozen).token
    for view in (store, open_store(), open_store(read_only=True)):
        shared = view.open_share(token)
        assert walk(shared) == [("s", ["s"]), ("a", ["a"]), ("deep", ["deep"]), ("b", ["b"])]
        assert [child.info.parent_id for child in shared.children] == ["s", "s"]
        assert shared.info.parent_id is None
        assert "outside" not in shown(shared)


def test_what_is_moved_in_is_shown_and_what_is_moved_away_is_not(open_store: OpenStore) -> None:
    store = open_store()
    session = grown(store)
    shared = open_store().open_share(session.share(subtree=True, role="append").token)
    a, b = shared.children
    deep = a.children[0]
    fill(store.create("new"), "new").move("b")
    assert [row[0] for row in walk(shared)] == ["s", "a", "deep", "b", "new"]
    store.get("a").move("outside")
    assert [row[0] for row in walk(shared)] == ["s", "b", "new"]
    for gone in (a, deep):
        for call in (lambda gone=gone: gone.messages, lambda gone=gone: gone.info, lambda gone=gone: gone.children):
            with pytest.raises(ShareNotFound) as caught:
                call()
            assert str(caught.value) == "No share answers to this token."
            assert caught.value.__context__ is None
    assert texts(b) == ["b"]
    store.get("deep").move("b")
    assert texts(deep) == ["deep"]
    assert [row[0] for row in walk(shared)] == ["s", "b", "new", "deep"]


def test_nothing_is_appended_to_or_read_from_a_session_that_left_the_subtree(open_store: OpenStore) -> None:
    store = open_store()
    session = grown(store)
    store.get("deep").append("user", "SECRET", message_id="m")
    shared = open_store().open_share(session.share(subtree=True, role="append").token)
    a = shared.children[0]
    deep = a.children[0]
    assert deep.append("user", "below").content == "below"
    store.get("a").move(None)
    before = contents(store.root)
    for gone in (a, deep):
        for options in ({}, {"message_id": "m"}, {"message_id": "new"}, {"expected_revision": 99}):
            with pytest.raises(ShareNotFound):
                gone.append("user", "x", **options)
    assert contents(store.root) == before
    store.get("a").move("s")
    assert deep.append("user", "back").content == "back"
    assert texts(store.get("deep")) == ["deep", "SECRET", "below", "back"]


@pytest.mark.parametrize("purged", [False, True])
def test_nothing_is_appended_to_or_read_from_another_session_that_took_a_childs_id(
    open_store: OpenStore, purged: bool
) -> None:
    store = open_store()
    session = grown(store)
    shared = open_store().open_share(session.share(subtree=True, role="append").token)
    b = shared.children[1]
    assert texts(b) == ["b"]
    store.delete("b")
    if purged:
        store.purge()
    for call in (lambda: b.messages, lambda: b.append("user", "x"), lambda: b.info, lambda: b.children):
        with pytest.raises(ShareNotFound):
            call()
    assert "b" not in store
    new = fill(store.create("b"), "SECRET")
    for call in (lambda: b.messages, lambda: b.append("user", "x"), lambda: b.info, lambda: b.children):
        with pytest.raises(ShareNotFound):
            call()
    assert texts(new) == ["SECRET"]
    assert [row[0] for row in walk(shared)] == ["s", "a", "deep"]


def test_an_orphan_leaves_the_share_of_its_former_parents_subtree(open_store: OpenStore) -> None:
    store = open_store()
    session = grown(store)
    shared = open_store().open_share(session.share(subtree=True, role="append").token)
    deep = shared.children[0].children[0]
    store.delete("a", children="orphan")
    assert [row[0] for row in walk(shared)] == ["s", "b"]
    with pytest.raises(ShareNotFound):
        deep.append("user", "x")
    assert texts(store.get("deep")) == ["deep"]


def test_a_revocation_ends_every_handle_of_the_subtree(open_store: OpenStore) -> None:
    store = open_store()
    session = grown(store)
    grant = session.share(subtree=True, role="append")
    shared = open_store().open_share(grant.token)
    below = [shared, *shared.children, shared.children[0].children[0]]
    assert [texts(item)[0] for item in below] == ["s", "a", "b", "deep"]
    session.unshare(grant)
    before = contents(store.root)
    for item in below:
        calls: list[Callable[[], Any]] = [
            lambda item=item: item.messages, lambda item=item: item.info, lambda item=item: item.children,
            lambda item=item: item.role, lambda item=item: item.append("user", "x"),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(ShareNotFound):
                call()
    assert contents(store.root) == before


def test_an_expiry_ends_every_handle_of_the_subtree(store: SessionStore, monkeypatch) -> None:
    now = [1e9]
    monkeypatch.setattr("hierstore.clock.now", lambda: now[0])
    session = grown(store)
    shared = store.open_share(session.share(subtree=True, role="append", expires_in_s=5).token)
    below = [shared, shared.children[0]]
    now[0] += 5
    before = contents(store.root)
    for item in below:
        for call in (lambda item=item: item.messages, lambda item=item: item.append("user", "x")):
            with pytest.raises(ShareExpired):
                call()
    assert contents(store.root) == before


# While a call is under way


def interrupting(store: SessionStore, patch: pytest.MonkeyPatch, work: Callable[[], object], reads: int = 0) -> None:
    """Let something happen right after one of the store's next reads of a session, once."""
    real, done = store._engine.read, [0]

    def read(entry: Any) -> Any:
        state = real(entry)
        done[0] += 1
        if done[0] == reads + 1:
            work()
        return state

    patch.setattr(store._engine, "read", read)


@pytest.mark.parametrize("place", ["root", "child"])
@pytest.mark.parametrize("what", ["messages", "info"])
@pytest.mark.parametrize("reads", range(5))
def test_a_read_that_a_revocation_overtakes_shows_nothing_that_was_written_after_it(
    open_store: OpenStore, monkeypatch, place: str, what: str, reads: int
) -> None:
    owner, store = open_store(), open_store()
    session = grown(owner)
    shared = store.open_share(session.share(subtree=True).token)
    subject = shared if place == "root" else shared.children[0]
    assert len(subject.messages) == 1

    def revoke() -> None:
        session.unshare()
        target = owner.get(subject._entry.id)
        fill(target, "SECRET")
        target.set_title("SECRET")

    interrupting(store, monkeypatch, revoke, reads)
    try:
        assert "SECRET" not in repr(list(subject.messages) if what == "messages" else subject.info)
    except ShareNotFound:
        pass


@pytest.mark.parametrize("what", ["messages", "info"])
@pytest.mark.parametrize("reads", range(6))
def test_a_read_that_a_move_overtakes_shows_nothing_that_was_written_after_it(
    open_store: OpenStore, monkeypatch, reads: int, what: str
) -> None:
    owner, store = open_store(), open_store()
    a = store.open_share(grown(owner).share(subtree=True).token).children[0]
    assert texts(a) == ["a"]

    def move() -> None:
        owner.get("a").move(None)
        fill(owner.get("a"), "SECRET")
        owner.get("a").set_title("SECRET")
        owner.get("a").move("outside")

    interrupting(store, monkeypatch, move, reads)
    try:
        assert "SECRET" not in repr(list(a.messages) if what == "messages" else a.info)
    except ShareNotFound:
        pass


def test_a_read_that_a_move_into_the_subtree_overtakes_shows_nothing_that_was_gone_by_then(
    open_store: OpenStore, monkeypatch
) -> None:
    owner, store = open_store(), open_store()
    a = store.open_share(grown(owner).share(subtree=True).token).children[0]
    owner.get("a").move(None)
    fill(owner.get("a"), "SECRET")

    def clean_and_move_in() -> None:
        owner.get("a").reset()
        owner.get("a").move("s")

    interrupting(store, monkeypatch, clean_and_move_in)
    with pytest.raises(ShareNotFound):
        texts(a)
    assert texts(a) == []


# Frozen


def revert_and_go_on(session: Session) -> None:
    session.revert(2)
    fill(session, "later")


def reset_and_go_on(session: Session) -> None:
    session.reset()
    fill(session, "later", "later too")


def back_and_forth(session: Session) -> None:
    revert_and_go_on(session)
    session.undo_revert()
    session.revert(3)
    fill(session, "later")


def compacted(session: Session, how: Callable[[Session], None], keep: Any) -> None:
    how(session)
    session.snapshot("later")
    fill(session, "more")
    session.compact(keep=keep)
    fill(session, "after")
    session.revert(session.messages[0].id if len(session.messages) else 1)
    session.compact(keep=keep)


LATER: dict[str, Callable[[Session], None]] = {
    "append": lambda s: fill(s, "later") and None,
    "revert": revert_and_go_on,
    "reset": reset_and_go_on,
    "undo": back_and_forth,
    "reset, compact to the present": lambda s: compacted(s, reset_and_go_on, "present"),
    "reset, compact to the snapshots": lambda s: compacted(s, reset_and_go_on, "snapshots"),
    "revert, compact to the present": lambda s: compacted(s, revert_and_go_on, "present"),
    "revert, compact to the snapshots": lambda s: compacted(s, revert_and_go_on, "snapshots"),
    "append, compact to the present": lambda s: compacted(s, lambda s: fill(s, "later") and None, "present"),
}


def frozen_family(store: SessionStore) -> Session:
    session = fill(store.create("s", title="then", metadata={"then": 1}), "1", "2", "3")
    child = fill(store.create("c", parent="s", title="then"), "c1", "c2", "c3")
    child.revert(3)
    session.revert(3)
    fill(session, "4")
    fill(store.create("grandchild", parent="c"), "g1", "g2", "g3")
    return session


THEN = [("s", ["1", "2", "4"]), ("c", ["c1", "c2"]), ("grandchild", ["g1", "g2", "g3"])]


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("name", LATER)
def test_a_frozen_share_shows_what_was_there_whatever_comes_later(open_store: OpenStore, name: str, cold: bool) -> None:
    store = open_store()
    session = frozen_family(store)
    alone, tree = session.share(frozen=True), session.share(frozen=True, subtree=True)
    held = [open_store().open_share(grant.token) for grant in (alone, tree)]
    assert (walk(held[0]), walk(held[1])) == (THEN[:1], THEN)
    for session_id in ("s", "c", "grandchild"):
        changed = store.get(session_id)
        if cold:
            store._engine.cache.clear()
        LATER[name](changed)
        changed.set_title("later")
        changed.update(metadata={"later": 1}, labels=["later"], pinned=True)
        changed.append("user", "last", metadata={"later": 1})
    views = [
        view.open_share(grant.token)
        for view in (store, open_store(), open_store(read_only=True))
        for grant in (alone, tree)
    ]
    for place, shared in enumerate([*held, *views]):
        assert walk(shared) == (THEN if place % 2 else THEN[:1])
        assert (shared.info.title, shared.info.message_count) == ("then", 3)
        assert shared.info.metadata == {"then": 1}
        assert "later" not in shown(shared)
        assert (shared.info.pinned, shared.info.labels) == (False, ())


def test_a_frozen_share_shows_no_session_that_came_later(open_store: OpenStore) -> None:
    store = open_store()
    session = frozen_family(store)
    shared = open_store().open_share(session.share(frozen=True, subtree=True).token)
    session.fork("fork")
    fill(session.spawn("new"), "SECRET")
    fill(store.create("moved in"), "SECRET").move("c")
    assert walk(shared) == THEN
    store.delete("grandchild")
    assert walk(shared) == THEN[:2]
    fill(store.create("grandchild", parent="c"), "SECRET")
    assert walk(shared) == THEN[:2]
    store.delete("grandchild")
    store.purge()
    fill(store.create("grandchild", parent="c"), "SECRET", "SECRET", "SECRET", "SECRET")
    assert walk(shared) == THEN[:2]


def test_a_frozen_session_that_was_moved_away_is_not_shown_until_it_is_back(open_store: OpenStore) -> None:
    store = open_store()
    session = frozen_family(store)
    shared = open_store().open_share(session.share(frozen=True, subtree=True).token)
    child = shared.children[0]
    store.get("c").move(None)
    fill(store.get("c"), "SECRET")
    assert walk(shared) == THEN[:1]
    with pytest.raises(ShareNotFound):
        texts(child)
    store.get("c").move("s")
    assert walk(shared) == THEN
    assert texts(child) == ["c1", "c2"]


def test_a_frozen_session_compacted_outside_the_subtree_is_not_shown_as_what_it_never_was(
    open_store: OpenStore,
) -> None:
    store = open_store()
    session = frozen_family(store)
    token = session.share(frozen=True, subtree=True).token
    child = store.get("c")
    child.revert(2)
    fill(child, "later")
    child.move(None)
    child.compact(keep="present")
    child.move("s")
    for view in (store, open_store()):
        assert walk(view.open_share(token)) in (THEN, THEN[:1])


@pytest.mark.parametrize("keep", ["present", "snapshots"])
@pytest.mark.parametrize("name", ["c", "s"])
def test_a_share_frozen_while_a_session_is_compacted_shows_what_was_there(
    open_store: OpenStore, monkeypatch, name: str, keep: Any
) -> None:
    store, other = open_store(), open_store()
    frozen_family(store)
    tokens: list[str] = []
    real = compaction.ancestors

    def ancestors_later(*args: Any) -> Any:
        if not tokens:
            # After the log was read that is being compacted.
            fill(other.get(name), "new")
            tokens.append(other.get("s").share(frozen=True, subtree=True).token)
            other.get(name).reset()
            fill(other.get(name), "later")
        return real(*args)

    monkeypatch.setattr(compaction, "ancestors", ancestors_later)
    store.get(name).compact(keep=keep)
    store.get(name).compact(keep=keep)
    wanted = [(row[0], [*row[1], "new"] if row[0] == name else row[1]) for row in THEN]
    for view in (store, open_store()):
        assert walk(view.open_share(tokens[0])) == wanted
        assert texts(view.get(name)) == ["later"]


@pytest.mark.parametrize("name", ["c", "s"])
def test_nothing_is_compacted_or_moved_while_a_subtree_is_being_frozen(
    open_store: OpenStore, monkeypatch, name: str
) -> None:
    store, other = open_store(), open_store(lock_timeout_s=0.05)
    session = frozen_family(store)
    # Read before: what is locked cannot be read for the first time.
    handles = {session_id: other.get(session_id) for session_id in ("s", "c", "grandchild")}
    changed, grandchild = handles[name], handles["grandchild"]
    refused: list[str] = []
    real = sharing.note_lead

    def note_lead_later(*args: Any) -> None:
        monkeypatch.setattr(sharing, "note_lead", real)
        # The revisions are written down, and the grant that names them is not there yet.
        calls: list[Callable[[], Any]] = [
            changed.reset,
            lambda: fill(changed, "later"),
            lambda: changed.compact(keep="present"),
            lambda: grandchild.move(None),
            lambda: other.delete(grandchild),
        ]
        for call in calls:
            try:
                call()
            except LockTimeout as error:
                refused.append(error.path.rpartition("/")[2])
        real(*args)

    monkeypatch.setattr(sharing, "note_lead", note_lead_later)
    token = session.share(frozen=True, subtree=True).token
    assert refused[-3:] == ["tree.lock"] * 3
    for view in (store, open_store()):
        assert walk(view.open_share(token)) == THEN


def test_a_frozen_share_of_a_fork_outlives_the_parent_whose_history_it_shows(open_store: OpenStore) -> None:
    store = open_store()
    parent = fill(store.create("p"), "1", "2")
    fork = fill(parent.fork("f"), "3")
    token = fork.share(frozen=True).token
    fill(fork, "later")
    fork.reset()
    store.delete("p", children="orphan")
    store.purge()
    fork.compact(keep="present")
    for view in (store, open_store(), open_store(read_only=True)):
        assert texts(view.open_share(token)) == ["1", "2", "3"]


def test_an_empty_session_can_be_frozen(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    token = session.share(frozen=True).token
    fill(session, "later")
    session.compact(keep="present")
    for view in (store, open_store()):
        assert texts(view.open_share(token)) == []
        assert view.open_share(token).info.message_count == 0


# Redaction


def hush(message: Message) -> Message | None:
    if message.content == "drop":
        return None
    return message.replace(content=str(message.content).replace("SECRET", "***"))


def test_what_a_share_hands_out_goes_through_the_hook(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "a SECRET", "drop", "plain")
    fill(session.spawn("c"), "SECRET below", "drop")
    for options in ({"role": "append"}, {"frozen": True}):
        token = session.share(subtree=True, **options).token
        for view in (store, open_store(), open_store(read_only=True)):
            shared = view.open_share(token, redact=hush)
            assert texts(shared) == ["a ***", "plain"]
            assert [message.seq for message in shared.messages] == [1, 3]
            assert shared.info.message_count == len(shared.messages) == 2
            assert texts(shared.children[0]) == ["*** below"]
            assert "SECRET" not in shown(shared)
            assert texts(view.open_share(token)) == ["a SECRET", "drop", "plain"]
    assert texts(session) == ["a SECRET", "drop", "plain"]


def test_what_is_added_later_goes_through_the_hook_too_and_each_message_once(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1", "drop")
    asked: list[Any] = []
    shared = store.open_share(
        session.share().token, redact=lambda message: asked.append(message.content) or hush(message)
    )
    first = shared.messages
    assert texts(shared) == ["1"]
    fill(session, "SECRET", "drop", "2")
    assert texts(shared) == texts(shared) == ["1", "***", "2"]
    assert asked == ["1", "drop", "SECRET", "drop", "2"]
    assert [message.content for message in first] == ["1"]
    session.revert(2)
    fill(session, "SECRET 2")
    assert texts(shared) == ["1", "*** 2"]
    session.reset()
    assert texts(shared) == []
    fill(session, "again")
    assert texts(shared) == ["again"]


def test_the_hook_gets_no_private_metadata_and_can_add_nothing_that_is_stored(store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "x", metadata={"_p": "SECRET", "q": 1})
    got: list[dict[str, Any]] = []

    def hook(message: Message) -> Message:
        got.append(message.metadata)
        return message.replace(metadata={"added": 1}, role="changed")

    before = contents(store.root)
    shared = store.open_share(session.share().token, redact=hook)
    assert (shared.messages[0].metadata, shared.messages[0].role) == ({"added": 1}, "changed")
    assert got == [{"q": 1}]
    assert (session.messages[0].role, session.messages[0].metadata) == ("user", {"_p": "SECRET", "q": 1})
    assert before != contents(store.root)


def test_what_the_holder_appends_is_stored_whole_and_answered_through_the_hook(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    session.append("user", "drop", message_id="hidden")
    shared = store.open_share(session.share(role="append").token, redact=hush)
    assert shared.append("user", "my SECRET", message_id="mine").content == "my ***"
    assert shared.append("user", "again", message_id="mine").content == "my ***"
    before = contents(store.root)
    error = assert_refused(store, lambda: shared.append("user", "guess", message_id="hidden"), "message_id")
    assert "drop" not in repr((str(error), vars(error)))
    assert contents(store.root) == before
    assert texts(session) == ["drop", "my SECRET"]


@pytest.mark.parametrize("answer", ["text", 5, {}, [], False], ids=repr)
def test_a_hook_that_answers_with_no_message_shows_nothing(store: SessionStore, answer: Any) -> None:
    session = fill(store.create("s"), "SECRET")
    shared = store.open_share(session.share().token, redact=lambda _: answer)
    for call in (lambda: shared.messages, lambda: shared.info):
        error = assert_refused(store, call, "redact")
        assert "SECRET" not in str(error)


@pytest.mark.timeout(30)
def test_a_hook_may_look_at_the_share_itself(store: SessionStore) -> None:
    session = fill(store.create("s"), "1", "2")
    depth: list[int] = []

    def hook(message: Message) -> Message:
        depth.append(1)
        if len(depth) == 1:
            assert [other.content for other in shared.messages] == ["1", "2"]
        return message

    shared = store.open_share(session.share().token, redact=hook)
    assert texts(shared) == ["1", "2"]


def test_a_hook_that_fails_shows_nothing_and_is_asked_again(store: SessionStore) -> None:
    session = fill(store.create("s"), "1", "2", "3")
    failing = [True]

    def hook(message: Message) -> Message:
        if message.content == "2" and failing:
            raise LookupError("the hook's own")
        return message

    shared = store.open_share(session.share().token, redact=hook)
    for call in (lambda: shared.messages, lambda: shared.info):
        with pytest.raises(LookupError, match="the hook's own"):
            call()
    failing.clear()
    assert texts(shared) == ["1", "2", "3"]
    failing.append(True)
    fill(session, "4", "2")
    with pytest.raises(LookupError):
        len(shared.messages)
    failing.clear()
    assert texts(shared) == ["1", "2", "3", "4", "2"]


# Open handles


def test_an_open_share_is_never_stale(open_store: OpenStore) -> None:
    """behaviours 21"""
    store = open_store()
    session = fill(store.create("s"), "1")
    shared = open_store().open_share(session.share().token)
    seen = shared.messages
    assert texts(shared) == ["1"]
    fill(session, "2")
    session.set_title("T")
    assert (texts(shared), shared.info.title) == (["1", "2"], "T")
    assert [message.content for message in seen] == ["1"]
    session.compact(keep="present")
    session.reset()
    assert texts(shared) == []


def test_another_grant_of_the_same_session_keeps_no_revoked_share_open(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    gone, kept = session.share(role="append"), session.share(role="append", subtree=True)
    shares = [open_store().open_share(grant.token) for grant in (gone, kept)]
    session.unshare(gone)
    with pytest.raises(ShareNotFound):
        shares[0].append("user", "x")
    with pytest.raises(ShareNotFound):
        texts(shares[0])
    shares[1].append("user", "2")
    assert texts(shares[1]) == ["1", "2"]


def test_the_role_is_that_of_the_token_and_not_the_best_there_is(store: SessionStore) -> None:
    session = store.create("s")
    session.share(role="append")
    token = session.share(role="read").token
    session.share(role="append")
    shared = store.open_share(token)
    assert shared.role == "read"
    with pytest.raises(ReadOnlyStore):
        shared.append("user", "x")


def test_every_refusal_of_a_shared_session_is_an_error_of_the_store(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    shared = store.open_share(session.share(role="append").token)
    store.delete("s")
    for call in (lambda: shared.messages, lambda: shared.append("user", "x"), lambda: shared.role, lambda: shared.info):
        with pytest.raises(HierstoreError) as caught:
            call()
        assert type(caught.value) is ShareNotFound
        assert str(caught.value) == str(sharing.not_found())
        assert caught.value.__context__ is caught.value.__cause__ is None
    assert "s" not in store
