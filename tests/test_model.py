"""The values that the store hands out: frozen, compared by value, the same however they came to be."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierstore import Message, Messages, SessionStore, history
from hierstore.history import History
from hierstore.log.events import Draft, message_commit
from hierstore.log.frame import seal
from hierstore.log.state import fold, initial

PARTS = [{"type": "text", "text": "look"}, {"type": "image", "url": "x"}]


@pytest.fixture
def messages(store: SessionStore) -> Messages:
    session = store.create("s")
    session.append("user", "text", metadata={"a": [1]}, name="n", tool_calls=[{"id": "c"}])
    session.append("assistant", PARTS)
    session.append("user", "\N{SNOWMAN}\U0001f600")
    session.append("tool", None)
    return session.messages


def test_a_message_has_the_attributes_of_the_contract(messages: Messages) -> None:
    first = messages[0]
    assert (first.seq, first.role, first.content) == (1, "user", "text")
    assert (first.metadata, first.fields) == ({"a": [1]}, {"name": "n", "tool_calls": [{"id": "c"}]})
    assert isinstance(first.id, str)
    assert isinstance(first.at, float)


@pytest.mark.parametrize("name", ["id", "seq", "role", "content", "at", "metadata", "fields", "anything"])
def test_a_message_is_frozen(messages: Messages, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(messages[0], name, "x")


def test_what_a_caller_does_to_a_returned_value_never_shows_in_a_later_read(store: SessionStore) -> None:
    """behaviours 24"""
    session = store.create("s", metadata={"k": [1]}, labels=["l"])
    returned = session.append("user", [{"a": 1}], metadata={"m": [1]}, tool_calls=[{"x": {}}])
    session.snapshot("snap", metadata={"s": [1]})
    session.update(derived={"d": [1]})
    before = pickle.dumps([session.info, list(session.messages), session.snapshots])
    for message in (returned, session.messages[0], next(iter(session.messages)), session.messages[:1][0]):
        message.content[0]["a"] = 2
        message.content.append("more")
        message.metadata["m"].append(2)
        message.fields["tool_calls"][0]["x"]["y"] = 1
        message.as_dict()["content"].clear()
    session.metadata["k"].append(2)
    session.info.metadata.clear()
    session.info.derived["d"].append(2)
    session.derived.clear()
    session.snapshots[0].metadata["s"].append(2)
    assert pickle.dumps([session.info, list(session.messages), session.snapshots]) == before
    assert session.append("user", "next").content == "next"
    assert session.messages[0].content == [{"a": 1}]


def test_what_a_caller_does_to_what_it_passed_in_never_shows_in_a_later_read(store: SessionStore) -> None:
    """behaviours 24"""
    content, facts, labels, calls = [{"a": 1}], {"k": [1]}, ["l"], [{"x": 1}]
    session = store.create("s", metadata=facts, labels=labels)
    session.append("user", content, metadata=facts, tool_calls=calls)
    item = {"role": "user", "content": content, "extra": calls}
    session.extend([item])
    session.snapshot("snap", metadata=facts)
    with session.turn() as turn:
        turn.append("user", content)
        content[0]["a"] = 2
    for thing in (content, labels, calls):
        thing.clear()
    facts["k"].append(2)
    item.clear()
    assert (session.metadata, session.labels) == ({"k": [1]}, ("l",))
    assert [message.content for message in session.messages] == [[{"a": 1}]] * 3
    assert session.messages[0].metadata == session.snapshots[0].metadata == {"k": [1]}
    assert session.messages[0].fields == {"tool_calls": [{"x": 1}]}


def test_infos_and_snapshots_and_tree_nodes_are_frozen(store: SessionStore) -> None:
    session = store.create("s")
    for value in (session.info, session.snapshot("x"), store.tree("s"), store.check()):
        for field in dataclasses.fields(value):
            with pytest.raises(AttributeError):
                setattr(value, field.name, None)
        assert not hasattr(value, "__dict__")


def test_messages_are_a_sequence_that_cannot_be_changed(messages: Messages) -> None:
    assert isinstance(messages, Sequence)
    assert len(messages) == 4
    assert messages[-1] is messages[3]
    assert messages[1:3] == (messages[1], messages[2])
    assert messages[::-2] == (messages[3], messages[1])
    assert [message.seq for message in messages] == [1, 2, 3, 4]
    assert [message.seq for message in reversed(messages)] == [4, 3, 2, 1]
    assert messages[1] in messages
    assert messages.index(messages[2]) == 2
    for place in (4, -5):
        with pytest.raises(IndexError):
            messages[place]
    for attempt in (
        lambda: messages.append("x"),
        lambda: messages.__setitem__(0, "x"),
        lambda: messages.__delitem__(0),
    ):
        with pytest.raises(AttributeError):
            attempt()


@given(st.integers(0, 7), st.slices(7))
def test_a_slice_of_messages_is_the_slice_of_their_list(count: int, part: slice) -> None:
    history = History([Message(f"m{number}", number, "user", number, 0.0) for number in range(7)])
    view = Messages(history, count)
    assert view[part] == tuple(list(view)[part])


def test_messages_of_one_moment_do_not_grow(store: SessionStore) -> None:
    session = store.create("s")
    session.append("user", "1")
    then, walk = session.messages, iter(session.messages)
    session.append("user", "2")
    session.reset()
    assert [message.content for message in then] == ["1"]
    assert [message.content for message in walk] == ["1"]
    assert len(session.messages) == 0


def test_messages_are_equal_to_any_sequence_of_equal_messages(messages: Messages) -> None:
    assert messages == list(messages)
    assert messages == tuple(messages)
    assert messages != list(messages)[:-1]
    assert messages != "text"
    assert hash(messages) == hash(pickle.loads(pickle.dumps(messages)))


def test_messages_are_compared_by_value() -> None:
    one = Message("m", 1, "user", ["x"], 2.0, {"a": 1}, {"b": 2})
    same = Message("m", 1, "user", ["x"], 2.0, {"a": 1}, {"b": 2})
    assert one == same
    assert hash(one) == hash(same)
    assert one != "m"
    for other in (
        Message("n", 1, "user", ["x"], 2.0, {"a": 1}, {"b": 2}), Message("m", 2, "user", ["x"], 2.0, {"a": 1}, {"b": 2}),
        Message("m", 1, "tool", ["x"], 2.0, {"a": 1}, {"b": 2}), Message("m", 1, "user", ["y"], 2.0, {"a": 1}, {"b": 2}),
        Message("m", 1, "user", ["x"], 3.0, {"a": 1}, {"b": 2}), Message("m", 1, "user", ["x"], 2.0, {"a": 2}, {"b": 2}),
        Message("m", 1, "user", ["x"], 2.0, {"a": 1}, {"b": 3}), Message("m", 1, "user", ["x"], 2.0),
    ):  # fmt: skip
        assert one != other


def test_every_value_survives_pickling_and_copying(store: SessionStore, messages: Messages) -> None:
    session = store.get("s")
    session.snapshot("x", metadata={"a": 1})
    store.create("child", parent="s")
    for value in (*messages, session.info, *session.snapshots, store.tree("s"), store.check(), session.messages[1:]):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(messages)) == messages


def test_a_message_loaded_from_disk_equals_the_one_that_append_returned(
    store: SessionStore, messages: Messages
) -> None:
    with SessionStore(store.root) as cold:
        loaded = cold.get("s").messages
        assert loaded == messages
        assert [repr(message) for message in loaded] == [repr(message) for message in messages]
        assert pickle.loads(pickle.dumps(loaded)) == messages


contents = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.none(), st.integers(0, 9), st.lists(st.integers(0, 9))
)
extras = st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=2), max_size=2)
drafts = st.builds(
    lambda role, content, metadata, fields: (role, content, metadata, fields),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), contents, extras, extras,
)  # fmt: skip


def as_draft(number: int, item: tuple[str, Any, dict[str, Any], dict[str, Any]]) -> Draft:
    role, content, metadata, fields = item
    kept = {name: value for name, value in (("metadata", metadata), ("fields", fields)) if value}
    return Draft(f"m{number}", role, content, 1.5 + number, kept or None, False)


def folded(groups: list[list[Draft]]) -> Messages:
    """The messages as a cold store has them: lines, still to be decoded."""
    lines, first = [], 1
    for seq, group in enumerate(groups, 1):
        lines.append(seal(message_commit(group, first, seq), 0)[0])
        first += len(group)
    return fold(initial("s", History(), 0), b"".join(lines)).messages


# A hang is what goes wrong here: lines that never give way to their messages.
@pytest.mark.timeout(60)
@given(
    st.lists(drafts, min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from([1, 150, 400, 2**14]),
    st.lists(st.tuples(st.sampled_from(["index", "slice", "iterate", "find"]), st.integers(0, 11)), max_size=6),
)
def test_messages_are_the_same_in_whatever_order_they_are_decoded(
    items: list[Any], at_once: bool, block_bytes: int, order: list[tuple[str, int]]
) -> None:
    made = [as_draft(number, item) for number, item in enumerate(items, 1)]
    eager = [one.message(number) for number, one in enumerate(made, 1)]
    built = [
        Message(one.id, number, one.role, one.content, one.at, items[number - 1][2], items[number - 1][3])
        for number, one in enumerate(made, 1)
    ]
    assert eager == built
    with mock.patch.object(history, "_BLOCK_BYTES", block_bytes):
        view = folded([made] if at_once else [[one] for one in made])
        for how, number in order:
            place = number % len(made)
            if how == "index":
                assert view[place] == eager[place]
            elif how == "slice":
                assert list(view[place:]) == eager[place:]
            elif how == "find":
                assert view._history.find(f"m{place + 1}", len(view)) == place
            else:
                assert next(iter(view)) == eager[0]
        assert list(view) == eager
    for loaded, other in zip(view, eager, strict=True):
        for name in ("id", "seq", "role", "content", "at", "metadata", "fields"):
            assert getattr(loaded, name) == getattr(other, name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "sizes", [[100_000], [1, 100_000], [100_000, 1], [100_000, 100_000], [1, 100_000, 1], [20_000] * 9]
)
@pytest.mark.parametrize("place", [0, -1])
def test_messages_larger_than_a_block_are_decoded(sizes: list[int], place: int) -> None:
    texts = ["x" * size for size in sizes]
    view = folded([[Draft(f"m{number}", "user", text, 1.0, None, False)] for number, text in enumerate(texts)])
    assert view[place].content == texts[place]
    assert [message.content for message in view] == texts


def test_a_message_given_to_a_model_has_role_content_and_fields_alone(messages: Messages) -> None:
    assert messages[0].as_dict() == {"role": "user", "content": "text", "name": "n", "tool_calls": [{"id": "c"}]}
    assert messages[1].as_dict() == {"role": "assistant", "content": PARTS}
