"""What may be stored and what is refused, with a sentence that says which, before anything is written."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierstore import InvalidRecord, SessionStore
from hierstore.values import MAX_BYTES, MAX_DEPTH, encode, loads, plain
from tests.support import contents, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import Session


def nested(levels: int, shape: str = "list") -> Any:
    """A value of so many levels of nesting."""
    value: Any = []
    for level in range(levels - 1):
        value = {"k": value} if shape == "dict" or (shape == "mixed" and level % 2) else [value]
    return value


BAD = {
    "nan": (math.nan, "nan"),
    "infinity": (math.inf, "inf"),
    "minus infinity": ([-math.inf], "inf"),
    "2**64": (2**64, "integer beyond 64 bits"),
    "-2**63-1": ({"n": -(2**63) - 1}, "integer beyond 64 bits"),
    "surrogate in text": ("a\ud800b", "lone surrogate"),
    "surrogate inside": ([{"text": "\udfff"}], "lone surrogate"),
    "surrogate in a key": ({"\ud800": 1}, "lone surrogate"),
    "201 levels": (nested(201), "nested deeper than 200 levels"),
    "201 levels of objects": (nested(201, "dict"), "nested deeper than 200 levels"),
    "a key that is no string": ({1: "x"}, "keys are strings"),
    "a None key": ({None: "x"}, "keys are strings"),
    "bytes": (b"x", "bytes"),
    "a set": ({1}, "set"),
    "an object": ([object()], "object"),
    "a function": (print, "function"),
    "complex": (1j, "complex"),
}

WAYS: dict[str, Callable[[Session, Any], object]] = {
    "append": lambda session, bad: session.append("user", bad),
    "extend": lambda session, bad: session.extend(
        [{"role": "user", "content": "good"}, {"role": "user", "content": bad}]
    ),
    "a field": lambda session, bad: session.append("user", "good", extra=bad),
    "a message's metadata": lambda session, bad: session.append("user", "good", metadata={"k": bad}),
    "metadata": lambda session, bad: session.update(metadata={"k": bad}),
    "derived": lambda session, bad: session.update(derived={"k": bad}),
    "a snapshot's metadata": lambda session, bad: session.snapshot("s", metadata={"k": bad}),
    "a child's metadata": lambda session, bad: session.spawn("child", metadata={"k": bad}),
}


@pytest.fixture
def session(store: SessionStore) -> Session:
    made = store.create("s", title="t", metadata={"m": 1})
    made.append("user", "before")
    return made


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BAD)
def test_what_json_cannot_hold_is_refused_with_the_reason_and_nothing_is_written(
    session: Session, store: SessionStore, name: str, way: str
) -> None:
    """behaviours 34"""
    bad, why = BAD[name]
    before = contents(store.root)
    with pytest.raises(InvalidRecord) as caught:
        WAYS[way](session, bad)
    assert contents(store.root) == before
    sentence = str(caught.value)
    sentence.encode()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    if "levels" in why:
        why = "nested deeper than 200"  # metadata counts its own object as a level
    assert why in sentence
    assert isinstance(caught.value.where, str)


def test_a_refused_message_leaves_no_trace_in_its_turn(session: Session, store: SessionStore) -> None:
    """behaviours 34"""
    before = contents(store.root)
    with session.turn() as turn:
        turn.append("user", "good")
        with pytest.raises(InvalidRecord, match="nan"):
            turn.append("user", math.nan)
        with pytest.raises(InvalidRecord, match="nan"):
            turn.extend([{"role": "user", "content": "good"}, {"role": "user", "content": math.nan}])
        assert contents(store.root) == before
    assert texts(session) == ["before", "good"]


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda s, text: s.append(text, "x"), "message"),
        (lambda s, text: s.append("user", "x", message_id=text), "message"),
        (lambda s, text: s.append("user", "x", **{text: 1}), None),
        (lambda s, text: s.set_title(text), "title"),
        (lambda s, text: s.update(labels=[text]), "labels"),
        (lambda s, text: s.snapshot(text), "label"),
        (lambda s, text: s.spawn("c", title=text), "title"),
        (lambda s, text: s.spawn("c", kind=text), "kind"),
        (lambda s, text: s.fork("c", title=text), "title"),
        (lambda s, text: s.reset(text), "reason"),
    ],
)
def test_a_lone_surrogate_in_a_role_a_name_or_a_title_is_refused(
    session: Session, store: SessionStore, call, where
) -> None:
    """behaviours 34"""
    before = contents(store.root)
    with pytest.raises(InvalidRecord, match="surrogate") as caught:
        call(session, "x\udc80")
    assert where in (None, caught.value.where)
    assert contents(store.root) == before


@pytest.mark.parametrize("shape", ["list", "dict", "mixed"])
def test_200_levels_are_stored_and_come_back(session: Session, store: SessionStore, shape: str) -> None:
    """behaviours 34"""
    value = nested(200, shape)
    session.append("user", value, tool=value)
    session.extend([{"role": "user", "content": value}, {"role": "user", "content": "x"}])
    with SessionStore(store.root) as cold:
        messages = cold.get("s").messages
        assert messages[1].content == messages[1].fields["tool"] == messages[2].content == value


def test_deep_metadata_that_is_accepted_comes_back(session: Session, store: SessionStore) -> None:
    value = nested(199)
    session.append("user", "x", metadata={"k": value})
    session.update(metadata={"k": value})
    with SessionStore(store.root) as cold:
        assert cold.get("s").metadata["k"] == cold.get("s").messages[-1].metadata["k"] == value


def test_nesting_deeper_than_python_can_recurse_is_refused_like_any_other() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidRecord, match="nested"):
        plain(value, "content")


def test_a_value_that_holds_itself_is_refused(session: Session) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidRecord, match="nested"):
        session.append("user", loop)


@pytest.mark.parametrize(
    ("largest", "too_large"),
    [
        ("x" * MAX_BYTES, "x" * (MAX_BYTES + 1)),
        ("\u00e9" * (MAX_BYTES // 2), "\u00e9" * (MAX_BYTES // 2) + "x"),
        (["x" * (MAX_BYTES - 4)], ["x" * (MAX_BYTES - 3)]),
    ],
    ids=["text", "two-byte text", "json"],
)
def test_16_mib_are_stored_and_one_byte_more_is_refused(
    session: Session, store: SessionStore, largest: Any, too_large: Any
) -> None:
    """behaviours 34"""
    before = contents(store.root)
    with pytest.raises(InvalidRecord, match="larger than 16 MiB"):
        session.append("user", too_large)
    assert contents(store.root) == before
    session.append("user", largest)
    with SessionStore(store.root) as cold:
        assert cold.get("s").messages[1].content == largest


@pytest.mark.parametrize(
    "call",
    [
        lambda s, text: s.append("user", "x", extra=text),
        lambda s, text: s.append("user", "x", metadata={"k": text}),
        lambda s, text: s.append(text, "x"),
        lambda s, text: s.set_title(text),
        lambda s, text: s.update(metadata={"k": text}),
        lambda s, text: s.update(labels=[text]),
        lambda s, text: s.snapshot(text),
    ],
    ids=["field", "message metadata", "role", "title", "metadata", "label", "snapshot"],
)
def test_nothing_else_may_be_larger_than_16_mib_either(session: Session, store: SessionStore, call) -> None:
    """behaviours 34"""
    before = contents(store.root)
    with pytest.raises(InvalidRecord, match="larger than 16 MiB"):
        call(session, "x" * (MAX_BYTES + 1))
    assert contents(store.root) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.append("", "x"),
        lambda s: s.append(None, "x"),
        lambda s: s.append(1, "x"),
        lambda s: s.append("user", "x", message_id=""),
        lambda s: s.append("user", "x", message_id="x" * 513),
        lambda s: s.append("user", "x", message_id=7),
        lambda s: s.append("user", "x", metadata=[1]),
        lambda s: s.extend("text"),
        lambda s: s.extend({"role": "user", "content": "x"}),
        lambda s: s.extend([{"role": "user"}]),
        lambda s: s.extend([{"content": "x"}]),
        lambda s: s.extend([("user", "x")]),
        lambda s: s.extend([{"role": "user", "content": "x", 5: 1}]),
        lambda s: s.set_title(5),
        lambda s: s.set_title("x", source="machine"),
        lambda s: s.update(metadata=[1]),
        lambda s: s.update(metadata={1: 1}),
        lambda s: s.update(labels="abc"),
        lambda s: s.update(labels=[None]),
        lambda s: s.update(labels=[1]),
        lambda s: s.update(labels=7),
        lambda s: s.update(pinned=1),
        lambda s: s.update(archived="yes"),
        lambda s: s.update(suspended=0),
        lambda s: s.snapshot(5),
        lambda s: s.snapshot(metadata=5),
        lambda s: s.reset(5),
        lambda s: s.spawn("c", title=5),
        lambda s: s.spawn("c", kind=5),
        lambda s: s.spawn("c", labels="abc"),
        lambda s: s.spawn("c", metadata=5),
        lambda s: s.fork("c", title=5),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_and_nothing_is_written(
    session: Session, store: SessionStore, call
) -> None:
    before = contents(store.root)
    with pytest.raises(InvalidRecord) as caught:
        call(session)
    assert str(caught.value).endswith(".")
    assert caught.value.where
    assert contents(store.root) == before
    assert session.revision == 2


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def test_subclasses_of_json_types_are_stored_as_their_base(session: Session) -> None:
    message = session.append(Colour.RED, {Colour.RED: (Level.HIGH, Colour.RED, True)})
    assert (message.role, message.content) == ("red", {"red": [3, "red", True]})
    assert type(message.role) is str
    session.append("user", Colour.RED)
    assert type(session.messages[-1].content) is str


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(2**63),
        2**64 - 1,
        0.1,
        -0.0,
        1e308,
        5e-324,
        "",
        "\0",
        "\u2028",
        "😀",
        [],
        {},
        [[], {}, None],
        {"": ""},
    ],
    ids=repr,
)
def test_every_json_value_comes_back_as_it_was(session: Session, store: SessionStore, value: Any) -> None:
    session.append("user", value, field=value, metadata={"k": value})
    with SessionStore(store.root) as cold:
        message = cold.get("s").messages[-1]
    for found in (message.content, message.fields["field"], message.metadata["k"]):
        assert (repr(found), type(found)) == (repr(value), type(value))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_is_copied_and_encoded_without_loss(value: Any) -> None:
    copy = plain(value, "content")
    assert copy == value
    assert loads(encode(copy, "content")) == value


@given(json_values)
def test_a_copy_shares_nothing_that_can_change(value: Any) -> None:
    before = orjson.dumps(value)
    copy = plain(value, "content")
    if isinstance(copy, list):
        copy.append("more")
    elif isinstance(copy, dict):
        copy["more"] = 1
    assert orjson.dumps(value) == before


def test_the_limits_are_those_of_the_contract() -> None:
    assert (MAX_BYTES, MAX_DEPTH) == (16 * 2**20, 200)
