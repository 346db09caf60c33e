"""Words: what a text is cut into, what a query asks for, and where it stands in the text."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hierstore import words
from hierstore.words import Phrase, Query, marked, normal, parse

anything = st.text(
    st.sampled_from("abAB é日本ท้👍🏽-_.,\n\u0301\u200d\ufb01") | st.characters(exclude_categories=["Cs"]), max_size=60
)


@given(anything)
@example("İstanbul ǅ ẞ ﬁ")
def test_the_index_cuts_a_text_into_the_same_words(text):
    sql = sqlite3.connect(":memory:")
    sql.execute("CREATE VIRTUAL TABLE t USING fts5 (body, content='', tokenize='ascii')")
    sql.execute("CREATE VIRTUAL TABLE v USING fts5vocab (t, instance)")
    sql.execute("INSERT INTO t (rowid, body) VALUES (1, ?)", (normal(text),))
    found = [term for (term,) in sql.execute("SELECT term FROM v ORDER BY offset")]
    sql.close()
    assert found == words.words(text)


@given(anything)
def test_what_is_normal_stays_so(text):
    assert words.words(normal(text)) == words.words(text)


@given(anything, st.booleans())
def test_a_snippet_holds_what_its_marks_say(text, operators):
    query = parse(text, operators=operators)
    snippet, marks = marked(text + " and more " + text, query, 40)
    assert "\n" not in snippet
    ends = [place for mark in marks for place in mark]
    assert ends == sorted(ends)
    assert all(0 <= place <= len(snippet) for place in ends)


@given(st.text("ab ,-AB9", max_size=40), st.sampled_from([("a",), ("ab",), ("a", "b"), ("9",)]), st.booleans())
def test_both_ways_to_find_words_in_ascii_find_the_same(text, wanted, is_prefix):
    phrase = Phrase(wanted, is_prefix)
    slow = list(words._matches(words._joined(words._places(text)), phrase))
    quick = list(words._ascii_matches(text, phrase))
    # A phrase of a word twice may begin within one that was found; both are right, and what is shown is the same.
    assert list(words._apart(sorted(quick))) == list(words._apart(sorted(slow)))


@pytest.mark.parametrize(
    ("text", "operators", "expected"),
    [
        ("foo bar foo", False, Query((Phrase(("foo",)), Phrase(("bar",))))),
        ("foo-bar", False, Query((Phrase(("foo", "bar")),))),
        ('"a b"', False, Query((Phrase(("a",)), Phrase(("b",))))),
        ('"a b" c*', True, Query((Phrase(("a", "b")), Phrase(("c",), True)))),
        ("-a b", True, Query((Phrase(("b",)),), (Phrase(("a",)),))),
        ("+ - * ! \"", True, Query(())),
        ("北京 x", False, Query((Phrase(("北", "京")), Phrase(("x",))))),
        ("", False, Query(())),
    ],
)  # fmt: skip
def test_what_a_query_asks_for(text, operators, expected):
    assert parse(text, operators=operators) == expected


def test_a_picture_is_no_text():
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "hi"},
    ]
    assert words.text_of(content, None) == "hi"


def test_a_snippet_begins_and_ends_with_whole_words():
    text = " ".join(f"word{number}" for number in range(200))
    snippet, marks = marked(text, parse("word100", operators=False), 80)
    assert snippet.startswith("…word")
    assert [snippet[begin:end] for begin, end in marks] == ["word100"]
