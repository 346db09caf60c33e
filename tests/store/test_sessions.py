"""Making and finding sessions; their facts, titles and flags."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hierstore
from hierstore import InvalidRecord, Session, SessionExists, SessionNotFound, SessionStore, StoreClosed
from tests.support import contents, fill, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

SIGNATURES = {
    "SessionStore.__init__": "root *durability='process' *lock_timeout_s=10.0 *cache_bytes=67108864 *read_only=False *shared=False",
    "SessionStore.create": "session_id=None *title=None *parent=None *kind=None *metadata=None *labels=()",
    "SessionStore.get": "session_id",
    "SessionStore.get_or_create": "session_id *title=None *parent=None *kind=None *metadata=None *labels=()",
    "SessionStore.delete": "session_id *children='refuse'",
    "SessionStore.restore": "session_id",
    "SessionStore.tree": "session_id=None",
    "SessionStore.check": "",
    "SessionStore.close": "",
    "Session.append": "role content *message_id=None *metadata=None *expected_revision=None **fields",
    "Session.extend": "messages *expected_revision=None",
    "Session.turn": "",
    "Session.reset": "reason=None",
    "Session.set_title": "title *source='user'",
    "Session.update": "*metadata=None *labels=None *pinned=None *archived=None *suspended=None",
    "Session.spawn": "session_id=None *title=None *kind=None *metadata=None *labels=()",
    "Session.fork": "session_id=None *at=None *title=None",
    "Session.descendants": "",
    "Session.move": "new_parent",
    "Session.snapshot": "label=None metadata=None",
    "Session.revert": "to",
    "Session.undo_revert": "",
    "Session.at": "revision",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_call_takes_at_least_the_arguments_of_the_contract(name: str) -> None:
    owner, method = name.split(".")
    found = inspect.signature(getattr(getattr(hierstore, owner), method)).parameters
    for word in SIGNATURES[name].split():
        stars, plain = len(word) - len(word.lstrip("*")), word.lstrip("*")
        parameter = found[plain.partition("=")[0]]
        assert parameter.kind is [parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD][stars]
        if "=" in plain:
            assert repr(parameter.default) == plain.partition("=")[2]


def test_opening_a_store_makes_its_folder_and_the_folders_above_it(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "a" / "b") as store:
        assert store.root == tmp_path / "a" / "b"
        assert isinstance(store.root, Path)
        assert (store.root / "hierstore.json").is_file()
        assert store.check().ok


@pytest.mark.parametrize("kind", [str, Path], ids=["text", "path"])
def test_a_root_may_be_text_or_a_path(root: Path, kind: type) -> None:
    with SessionStore(kind(root)) as store:
        assert store.root == root


def test_a_relative_root_stays_the_same_folder_when_the_process_moves(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with SessionStore("store") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.create("s").append("user", "x")
        assert store.root == tmp_path / "store"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_name_that_is_no_text_holds_a_store(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/st\xf6re")
    with SessionStore(folder) as store:
        store.create("s").append("user", "x")
        assert store.check().ok
        assert "s" in store


def test_a_new_session_has_what_it_was_made_with(store: SessionStore) -> None:
    parent = store.create("p")
    made = store.create("s", title="T", parent=parent, kind="delegate", metadata={"a": [1]}, labels=["x", "y", "x"])
    assert isinstance(made, Session)
    assert (made.id, made.title, made.parent_id, made.kind) == ("s", "T", "p", "delegate")
    assert (made.metadata, made.labels) == ({"a": [1]}, ("x", "y"))
    assert (made.pinned, made.archived, made.suspended) == (False, False, False)
    assert made.revision == 1
    assert made.created_at == made.updated_at
    assert len(made.messages) == 0


def test_a_session_made_with_nothing_is_a_root_without_a_title(store: SessionStore) -> None:
    made = store.create()
    assert (made.title, made.parent_id, made.kind, made.metadata, made.labels) == (None, None, None, {}, ())
    assert 1 <= len(made.id) <= 512


def test_a_parent_may_be_a_session_or_its_id(store: SessionStore) -> None:
    store.create("p")
    assert store.create("a", parent="p").parent_id == store.create("b", parent=store.get("p")).parent_id == "p"


def test_creating_on_an_existing_id_raises_and_changes_nothing(store: SessionStore) -> None:
    """behaviours 26"""
    fill(store.create("s", title="T"), "kept")
    store.create("p")
    before = contents(store.root)
    with pytest.raises(SessionExists) as caught:
        store.create("s", title="other", parent="p")
    assert caught.value.session_id == "s"
    assert contents(store.root) == before
    assert texts(store.get("s")) == ["kept"]


def test_creating_on_an_id_that_another_store_made_meanwhile_changes_nothing(open_store: OpenStore) -> None:
    """behaviours 26"""
    one, other = open_store(), open_store()
    assert "s" not in one
    fill(other.create("s"), "kept")
    with pytest.raises(SessionExists):
        one.create("s")
    with pytest.raises(SessionExists):
        other.create("p").spawn("s")
    with pytest.raises(SessionExists):
        other.get("p").fork("s")
    assert texts(one.get("s")) == ["kept"]
    assert other.get("p").children == ()


def test_getting_a_session_that_does_not_exist_raises_and_makes_none(store: SessionStore) -> None:
    before = contents(store.root)
    with pytest.raises(SessionNotFound) as caught:
        store.get("nope")
    assert caught.value.session_id == "nope"
    assert "nope" not in store
    assert contents(store.root) == before


def test_get_or_create_makes_a_session_once_and_stores_it_at_once(open_store: OpenStore) -> None:
    """behaviours 6"""
    one, other = open_store(), open_store()
    made = one.get_or_create("s", title="first", labels=["a"])
    assert "s" in other
    again = other.get_or_create("s", title="second", labels=["b"])
    assert (again.title, again.labels, again.revision) == ("first", ("a",), 1)
    made.append("user", "from one")
    again.append("user", "from other")
    assert texts(made) == texts(again) == ["from one", "from other"]


def test_get_or_create_answers_with_the_session_that_came_between_its_look_and_its_attempt(
    open_store: OpenStore, monkeypatch
) -> None:
    """behaviours 6"""
    one, other = open_store(), open_store()
    real, calls = one._engine.exists, []

    def exists(session_id: str) -> bool:
        answer = real(session_id)
        if not calls:
            calls.append(session_id)
            fill(other.create("s", title="theirs"), "theirs")
        return answer

    monkeypatch.setattr(one._engine, "exists", exists)
    session = one.get_or_create("s", title="ours")
    assert (session.title, texts(session)) == ("theirs", ["theirs"])


def test_in_says_whether_a_session_exists(store: SessionStore) -> None:
    store.create("s")
    assert "s" in store
    assert "t" not in store
    assert "" not in store
    assert 5 not in store
    assert None not in store
    assert "x" * 513 not in store


def test_handles_of_one_session_are_equal_and_those_of_others_are_not(open_store: OpenStore, tmp_path: Path) -> None:
    one, other, elsewhere = open_store(), open_store(), open_store(tmp_path / "elsewhere")
    for store in (one, elsewhere):
        store.create("s")
    assert one.get("s") == other.get("s") == one.get("s")
    assert hash(one.get("s")) == hash(other.get("s"))
    assert one.get("s") != elsewhere.get("s")
    assert one.get("s") != one.create("t")
    assert one.get("s") != "s"


def test_a_store_is_a_context_manager_and_closing_it_twice_is_closing_it_once(root: Path) -> None:
    with SessionStore(root) as store:
        store.create("s")
    store.close()
    with pytest.raises(StoreClosed) as caught:
        store.create("t")
    assert caught.value.root == str(root)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.create("t"),
        lambda store: store.get("s"),
        lambda store: "s" in store,
        lambda store: store.get_or_create("s"),
        lambda store: store.delete("s"),
        lambda store: store.restore("gone"),
        lambda store: store.purge(),
        lambda store: store.tree(),
        lambda store: store.tree("s"),
        lambda store: store.check(),
    ],
    ids=["create", "get", "in", "get_or_create", "delete", "restore", "purge", "forest", "tree", "check"],
)
@pytest.mark.parametrize("read_only", [False, True], ids=["", "read only"])
def test_a_closed_store_answers_nothing(root: Path, call: Callable[[SessionStore], object], read_only: bool) -> None:
    with SessionStore(root) as store:
        store.create("s")
        store.create("gone")
        store.delete("gone")
    with SessionStore(root, read_only=read_only) as store:
        pass
    with pytest.raises((StoreClosed, hierstore.ReadOnlyStore) if read_only else StoreClosed):
        call(store)


@pytest.mark.parametrize("read_only", [False, True], ids=["", "read only"])
def test_a_session_of_a_closed_store_answers_nothing(root: Path, read_only: bool) -> None:
    with SessionStore(root) as store:
        fill(store.create("s"), "x")
    with SessionStore(root, read_only=read_only) as store:
        session = store.get("s")
        assert texts(session) == ["x"]
    with pytest.raises(StoreClosed):
        len(session.messages)
    if not read_only:
        with pytest.raises(StoreClosed):
            session.append("user", "y")


# Facts


def test_info_shows_every_fact_of_one_revision(store: SessionStore) -> None:
    session = store.create("s", title="T", kind="k", metadata={"a": 1}, labels=["l"])
    session.append("user", "x")
    session.update(pinned=True, archived=True, suspended=True)
    info = session.info
    for name in ("id", "title", "parent_id", "kind", "metadata", "labels", "pinned", "archived", "suspended", "created_at",
                 "updated_at", "revision"):  # fmt: skip
        assert getattr(info, name) == getattr(session, name), name
    assert (info.revision, info.message_count) == (3, 1)
    session.set_title("later")
    assert info.title == "T"


def test_metadata_merges_and_none_removes_its_key(store: SessionStore) -> None:
    session = store.create("s", metadata={"a": 1, "b": {"x": 1}, "c": 3})
    session.update(metadata={"b": {"y": 2}, "c": None, "d": [None]})
    assert session.metadata == {"a": 1, "b": {"y": 2}, "d": [None]}
    session.update(metadata={})
    assert session.metadata == {"a": 1, "b": {"y": 2}, "d": [None]}


def test_an_update_changes_what_it_names_and_leaves_the_rest(store: SessionStore) -> None:
    session = store.create("s", labels=["a"], metadata={"k": 1})
    session.update(pinned=True)
    session.update(archived=True, labels=["b", "c"])
    session.update(pinned=False, suspended=True)
    assert (session.pinned, session.archived, session.suspended) == (False, True, True)
    assert (session.labels, session.metadata) == (("b", "c"), {"k": 1})
    session.update(labels=())
    assert session.labels == ()


def test_an_update_that_changes_nothing_writes_nothing(store: SessionStore) -> None:
    session = store.create("s", labels=["a"], metadata={"k": 1}, title="T")
    before = contents(store.root)
    session.update()
    session.update(metadata={"k": 1, "gone": None}, labels=["a"], pinned=False)
    session.set_title("T")
    session.move(None)
    assert contents(store.root) == before


def test_housekeeping_does_not_move_the_time_of_the_last_change(store: SessionStore, monkeypatch) -> None:
    monkeypatch.setattr("hierstore.clock.now", lambda: 1000.0)
    session = fill(store.create("s"), "x")
    store.create("p")
    monkeypatch.setattr("hierstore.clock.now", lambda: 2000.0)
    session.set_title("t")
    session.update(labels=["l"], metadata={"a": 1}, pinned=True)
    session.snapshot("n")
    session.spawn("c")
    session.move("p")
    assert session.updated_at == 1000.0
    session.append("user", "y")
    assert (session.created_at, session.updated_at) == (1000.0, 2000.0)


# Titles


def test_an_automatic_title_never_replaces_a_persons(open_store: OpenStore) -> None:
    """behaviours 31"""
    one, other = open_store(), open_store()
    session, again = one.create("s"), other.get("s")
    session.set_title("guess", source="auto")
    again.set_title("better guess", source="auto")
    assert session.title == "better guess"
    again.set_title("mine")
    before = contents(one.root)
    session.set_title("guess", source="auto")
    assert (session.title, again.info.title_source) == ("mine", "user")
    assert contents(one.root) == before
    session.set_title("mine, changed")
    assert again.title == "mine, changed"


@pytest.mark.parametrize("title", ["given at the start", ""])
def test_a_title_given_at_the_start_is_a_persons(store: SessionStore, title: str) -> None:
    """behaviours 31"""
    made = [store.create("s", title=title)]
    made.append(made[0].spawn("child", title=title))
    made.append(made[0].fork("fork", title=title))
    made.append(store.get_or_create("t", title=title))
    for session in made:
        session.set_title("guess", source="auto")
        assert session.title == title


def test_a_title_that_a_person_confirms_is_theirs(store: SessionStore) -> None:
    """behaviours 31"""
    session = store.create("s")
    session.set_title("guess", source="auto")
    session.set_title("guess")
    session.set_title("another", source="auto")
    assert session.title == "guess"


def test_a_title_can_be_cleared_and_then_be_guessed_again(store: SessionStore) -> None:
    session = store.create("s", title="T")
    session.set_title(None)
    assert (session.title, session.info.title_source) == (None, None)
    session.set_title("guess", source="auto")
    assert session.title == "guess"


def test_labels_that_two_add_at_once_are_both_there(open_store: Callable[..., SessionStore]) -> None:
    ours, theirs = open_store(), open_store()
    session = ours.create("s", labels=["old"])
    other = theirs.get("s")
    assert (session.labels, other.labels) == (("old",), ("old",))
    session.update(add_labels=["one"])
    other.update(add_labels=["two", "one"], remove_labels=["old", "never"])
    assert session.labels == other.labels == ("one", "two")
    before = session.revision
    session.update(add_labels=["two"], remove_labels=["old"])
    assert session.revision == before, "no change is no commit"
    session.update(labels=["a", "b"], add_labels=["c"], remove_labels=["a"])
    assert other.labels == ("b", "c")


@pytest.mark.parametrize("wrong", ["text", [1], [None], 5])
@pytest.mark.parametrize("name", ["add_labels", "remove_labels"])
def test_labels_to_add_or_remove_are_texts(store: SessionStore, name: str, wrong: Any) -> None:
    session = store.create("s", labels=["old"])
    with pytest.raises(InvalidRecord) as caught:
        session.update(**{name: wrong})
    assert caught.value.where == name
    assert (session.labels, session.revision) == (("old",), 1)
