"""Ids and file names: injective, safe on every file system, blind to case and Unicode form."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierstore import InvalidSessionId, SessionStore
from hierstore.naming import check_id, file_name, stripe_of

HOSTILE = [
    "a/b", "a_b", "a:b", "A_B", "A/B", "a.b", "a b", "a-b", "a~b", "a\\b", "ab", "AB", "aB", "../x", "/x", "x", "..", ".",
    "...", "x.", "x..", "x ", " x", "~", "~x", "-", "_", "con", "CON", "con.txt", "nul", "com1", "lpt9", "aux", "prn", "com0",
    "conin$", "x.jsonl", "x.past0", "*", "?", "<>|", '"', "'", "$HOME", "%00", "x\0y", "\0", "x\ny", "\n", "\r", "\t", "\x7f",
    unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"), "e", "ß", "ss", "SS", "ẞ", "İ", "i", "I", "ı", "ﬁ", "fi",
    "É", "\u212b", "\u00c5", unicodedata.normalize("NFC", "각"), unicodedata.normalize("NFD", "각"), "Ж", "ж", "😀", "😀😀", "中文", "\u200b", "\ufeff", "\u202e", "０", "0", "telegram:chat:42", "x" * 64, "x" * 65, "x" * 512,
    "X" * 512, "é" * 512, "😀" * 512, "a" * 63 + "/", "-rf", "--", "0" * 26, "b~" + "a" * 26,
]  # fmt: skip


@pytest.fixture(params=HOSTILE, ids=[f"{n}" for n in range(len(HOSTILE))])
def hostile(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_hostile_id_gets_a_name_of_safe_characters(hostile: str) -> None:
    """behaviours 26"""
    assert re.fullmatch(r"[a-z0-9_~-]{1,64}", file_name(hostile))
    assert file_name(hostile) not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert 0 <= stripe_of(hostile) < 256


def test_a_session_of_a_hostile_id_lives_below_sessions_and_nowhere_else(store: SessionStore, hostile: str) -> None:
    """behaviours 26"""
    store.create(hostile, title="t").append("user", hostile)
    logs = [path for path in store.root.parent.rglob("*") if path.is_file() and path.suffix == ".jsonl"]
    assert len(logs) == 1
    assert logs[0].parent.parent == store.root / "sessions"
    assert hostile in store
    with SessionStore(store.root) as cold:
        assert cold.get(hostile).id == hostile
        assert cold.get(hostile).messages[0].content == hostile
        assert [node.id for node in cold.tree()] == [hostile]


def test_ids_that_differ_in_anything_are_different_sessions(store: SessionStore) -> None:
    """behaviours 26"""
    for session_id in HOSTILE:
        store.create(session_id).append("user", session_id)
    with SessionStore(store.root) as cold:
        assert {node.id for node in cold.tree()} == set(HOSTILE)
        for session_id in HOSTILE:
            assert [message.content for message in cold.get(session_id).messages] == [session_id]


def folded(name: str) -> str:
    """What the most forgiving file system takes a name for."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def test_names_stay_different_where_case_and_unicode_form_are_not_told_apart() -> None:
    """behaviours 26"""
    assert len({folded(file_name(session_id)) for session_id in HOSTILE}) == len(set(HOSTILE)) == len(HOSTILE)


def test_an_id_that_is_safe_names_its_file() -> None:
    for session_id in ("a", "0", "a_b-c", "_", "x" * 64):
        assert file_name(session_id) == session_id


def test_no_id_can_be_made_to_have_another_ids_name() -> None:
    assert file_name(file_name("a/b")) != file_name("a/b")


def test_an_id_that_meets_another_in_its_name_is_not_taken_for_it(store: SessionStore, monkeypatch) -> None:
    """The true id stands in the header and is compared: even a broken mapping shows no session under another's id."""
    store.create("a/b").append("user", "secret")
    monkeypatch.setattr("hierstore.disk.layout.file_name", lambda _: file_name("a/b"))
    monkeypatch.setattr("hierstore.disk.layout.stripe_of", lambda _: stripe_of("a/b"))
    with SessionStore(store.root) as other:
        with pytest.raises(Exception, match="holds session 'a/b', not 'a_b'") as caught:
            len(other.get("a_b").messages)
        assert type(caught.value).__name__ == "CorruptLog"


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(ids)
def test_any_id_gets_a_safe_name(session_id: str) -> None:
    assert re.fullmatch(r"[a-z0-9_~-]{1,64}", file_name(session_id))


@given(ids, ids)
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


@given(ids)
def test_case_forms_and_unicode_forms_of_an_id_have_names_of_their_own(session_id: str) -> None:
    forms = {session_id, session_id.upper(), session_id.lower(), session_id.casefold()}
    forms |= {unicodedata.normalize(form, session_id) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert len({folded(file_name(form)) for form in forms}) == len(forms)


@pytest.mark.parametrize("bad", [None, 1, 1.5, b"bytes", ["a"], ("a",), True], ids=repr)
def test_what_is_no_string_is_no_id(bad: object) -> None:
    with pytest.raises(InvalidSessionId, match="is a string"):
        check_id(bad)


def test_an_id_has_1_to_512_characters() -> None:
    assert check_id("é" * 512) == "é" * 512
    for bad in ("", "x" * 513):
        with pytest.raises(InvalidSessionId, match="1 to 512"):
            check_id(bad)


def test_an_id_with_a_lone_surrogate_is_refused_and_the_error_can_be_printed() -> None:
    with pytest.raises(InvalidSessionId, match="surrogate") as caught:
        check_id("a\ud800")
    str(caught.value).encode()


def test_an_id_of_a_string_subclass_becomes_a_plain_string() -> None:
    class Name(str):
        __slots__ = ()

    assert type(check_id(Name("a"))) is str
