"""Listings: what they show, in which order, and page by page."""

from __future__ import annotations

import pytest

from hierstore import InvalidRecord, InvalidSessionId
from tests.index.plain import walk
from tests.support import fill


def ids(page):
    return [info.id for info in page]


def test_a_new_store_lists_nothing(store):
    page = store.sessions()
    assert page.items == ()
    assert page.next is None
    assert len(page) == 0


def test_the_latest_written_to_comes_first(store):
    for name in "abc":
        store.create(name)
    fill(store.get("a"), "x")
    assert ids(store.sessions()) == ["a", "c", "b"]


def test_an_info_is_the_sessions_own_with_a_preview_of_the_last_message(store):
    session = store.create("s", title="T", kind="chat", metadata={"k": [1]}, labels=["x", "y"])
    fill(session, "first", "the  last\none")
    (info,) = store.sessions()
    assert info == session.info
    assert info.message_count == 2
    assert info.preview == "the last one"
    assert info.metadata == {"k": [1]}


def test_a_long_message_is_cut_in_the_preview(store):
    fill(store.create("s"), "word " * 1000)
    (info,) = store.sessions()
    assert info.preview.endswith("…")
    assert len(info.preview) <= 160


def test_the_preview_of_a_call_is_what_it_calls(store):
    calls = [{"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"city": "Paris"}'}}]
    store.create("s").append("assistant", None, tool_calls=calls)
    (info,) = store.sessions()
    assert "lookup" in info.preview
    assert "Paris" in info.preview


def test_an_empty_history_has_no_preview(store):
    session = fill(store.create("s"), "x")
    assert store.sessions().items[0].preview == "x"
    session.reset()
    (info,) = store.sessions()
    assert (info.preview, info.message_count) == (None, 0)


def test_a_revert_takes_the_preview_back(store):
    session = fill(store.create("s"), "one", "two", "three")
    store.sessions()
    session.revert(session.messages[0])
    (info,) = store.sessions()
    assert (info.preview, info.message_count) == ("one", 1)
    fill(session, "new")
    (info,) = store.sessions()
    assert (info.preview, info.message_count) == ("new", 2)


def test_derived_facts_go_with_the_history_also_in_a_listing(store):
    session = fill(store.create("s"), "x")
    session.update(derived={"summary": "so far"}, metadata={"a": 1})
    assert store.sessions().items[0].derived == {"summary": "so far"}
    session.reset()
    assert store.sessions().items[0].derived == {}
    assert store.sessions().items[0] == session.info


def test_each_filter_leaves_the_others_out(store):
    for number, name in enumerate(("plain", "pinned", "suspended", "archived", "labelled", "kind")):
        session = store.create(name, kind="job" if name == "kind" else None, labels=["red", "x"] if number == 4 else ())
        session.update(**{flag: True for flag in ("pinned", "suspended", "archived") if flag == name})
    assert ids(store.sessions(pinned=True)) == ["pinned"]
    assert "pinned" not in ids(store.sessions(pinned=False))
    assert ids(store.sessions(suspended=True)) == ["suspended"]
    assert ids(store.sessions(archived=True)) == ["archived"]
    assert "archived" not in ids(store.sessions())
    assert "archived" in ids(store.sessions(archived=None))
    assert ids(store.sessions(label="red")) == ["labelled"]
    assert ids(store.sessions(label=["red", "x"])) == ["labelled"]
    assert ids(store.sessions(label=["red", "y"])) == []
    assert ids(store.sessions(kind="job")) == ["kind"]
    store.get("labelled").update(labels=[])
    assert ids(store.sessions(label="red")) == []


def test_a_parent_lists_its_children_and_none_lists_the_roots(store):
    parent = store.create("parent")
    child = parent.spawn("child")
    child.spawn("grandchild")
    assert ids(store.sessions(parent="parent")) == ["child"]
    assert ids(store.sessions(parent=parent)) == ["child"]
    assert ids(store.sessions(parent=None)) == ids(store.sessions(roots=True)) == ["parent"]
    child.move(None)
    assert ids(store.sessions(parent=parent)) == []
    assert set(ids(store.sessions(roots=True))) == {"parent", "child"}


def test_titles_are_ordered_without_regard_to_capitals_and_those_without_come_last(store):
    for name, title in (("1", "beta"), ("2", "Alpha"), ("3", None), ("4", "alpha"), ("5", "Émile")):
        store.create(name, title=title)
    assert ids(store.sessions(order="title")) == ["2", "4", "1", "5", "3"]


def test_the_latest_created_comes_first_if_asked(store):
    for name in "abc":
        store.create(name)
    fill(store.get("a"), "x")
    assert ids(store.sessions(order="created")) == ["c", "b", "a"]


@pytest.mark.parametrize("order", ["updated", "created", "title"])
def test_pages_make_up_the_whole_listing(store, order):
    for number in range(23):
        fill(store.create(f"s{number}", title=f"t{number % 5}" if number % 4 else None), "x")
    whole = ids(store.sessions(order=order))
    for limit in (1, 4, 22, 23, 24):
        assert ids(walk(store, order=order, limit=limit)) == whole


def test_a_last_page_that_is_full_has_no_next(store):
    for name in "abcd":
        store.create(name)
    page = store.sessions(limit=2)
    assert page.next is not None
    assert store.sessions(limit=2, after=page.next).next is None


@pytest.mark.parametrize("order", ["updated", "created", "title"])
def test_a_walk_shows_each_session_once_while_others_are_written_to(store, open_store, order):
    other = open_store()
    names = [f"s{number:02d}" for number in range(30)]
    for number, name in enumerate(names):
        fill(store.create(name, title=f"t{number % 7}"), "x")
    seen, after, turn = [], None, 0
    while True:
        page = store.sessions(limit=4, order=order, after=after)
        seen += ids(page)
        after = page.next
        if after is None:
            break
        # One that was shown and one that was not go elsewhere, and a new one comes.
        for name in (seen[-1], next(name for name in names if name not in seen)):
            fill(other.get(name), "more")
            other.get(name).set_title(f"t{turn % 7} {turn}")
        other.create(f"new{turn}", title="t3")
        turn += 1
    assert sorted(name for name in seen if not name.startswith("new")) == names
    assert len(seen) == len(set(seen))


def test_a_walk_goes_on_through_another_store_over_the_folder(store, open_store):
    for name in "abcdef":
        store.create(name)
    page = store.sessions(limit=2)
    fill(store.get("a"), "x")
    rest = open_store().sessions(limit=10, after=page.next)
    assert ids(rest) == ["d", "c", "b", "a"]


def test_a_walk_goes_on_after_the_index_was_deleted(store, open_store, root):
    from tests.index.plain import without_index

    for name in "abcdef":
        store.create(name)
    page = store.sessions(limit=2)
    without_index(root)
    assert ids(store.sessions(limit=10, after=page.next)) == ["d", "c", "b", "a"]


def test_a_deleted_session_is_not_listed_until_it_is_restored(store):
    store.create("a")
    store.create("b")
    store.delete("a")
    assert ids(store.sessions()) == ["b"]
    store.restore("a")
    assert set(ids(store.sessions())) == {"a", "b"}


def test_ids_of_any_script_are_listed(store):
    names = {"a/b", "A B", "日本", "x" * 500, "con", "é"}
    for name in names:
        store.create(name)
    assert set(ids(store.sessions())) == names


@pytest.mark.parametrize(
    "options",
    [
        {"order": "size"}, {"order": None}, {"limit": 0}, {"limit": -1}, {"limit": True}, {"limit": "5"}, {"limit": 10**9},
        {"after": "nonsense"}, {"after": ""}, {"after": "AAAA"}, {"after": 5}, {"label": [None]},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(store, options):
    store.create("a")
    with pytest.raises(InvalidRecord):
        store.sessions(**options)


def test_a_cursor_of_another_order_is_refused(store):
    store.create("a")
    store.create("b")
    page = store.sessions(limit=1, order="title")
    for order in ("updated", "created"):
        with pytest.raises(InvalidRecord):
            store.sessions(limit=1, order=order, after=page.next)
    with pytest.raises(InvalidRecord):
        store.search("a", after=page.next)


def test_a_parent_that_is_no_id_is_refused_and_one_that_does_not_exist_has_no_children(store):
    with pytest.raises(InvalidSessionId):
        store.sessions(parent="")
    assert ids(store.sessions(parent="nobody")) == []


def test_a_hundred_labels_can_be_asked_for_and_more_are_refused(store) -> None:
    labels = [f"label {number}" for number in range(101)]
    store.create("some", labels=labels[:99])
    store.create("all", labels=labels)
    assert [info.id for info in store.sessions(label=labels[:100]).items] == ["all"]
    with pytest.raises(InvalidRecord, match="at most 100"):
        store.sessions(label=labels)
