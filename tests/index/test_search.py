"""Search: what is found, where, and how it is shown."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hierstore import InvalidRecord, SessionStore
from hierstore.disk.index import freshness
from tests.index.plain import everything, names
from tests.processes import replaced
from tests.support import fill


def texts(hits):
    return [hit.message.content if hit.message else hit.snippet for hit in hits]


def test_all_words_must_be_there_in_any_order_and_case(store):
    fill(store.create("s"), "Where is my refund?", "My REFUND", "refunds", "my dog")
    assert set(texts(store.search("refund my"))) == {"Where is my refund?", "My REFUND"}


def test_a_shorter_message_fits_better(store):
    fill(store.create("s"), "refund " + "word " * 100, "refund")
    assert texts(store.search("refund"))[0] == "refund"
    first, second = store.search("refund")
    assert first.score > second.score > 0


def test_of_two_that_fit_alike_the_later_comes_first(store):
    fill(store.create("s"), "refund a", "refund b", "refund c")
    assert texts(store.search("refund")) == ["refund c", "refund b", "refund a"]


def test_a_hit_says_where_it_is(store):
    session = fill(store.create("s"), "one", "two refund here", "three")
    (hit,) = store.search("refund")
    message = session.messages[1]
    assert (hit.session_id, hit.message_id, hit.seq, hit.role, hit.at) == ("s", message.id, 2, "user", message.at)
    assert hit.message == message
    assert (hit.before, hit.after) == ((session.messages[0],), (session.messages[2],))
    assert hit.snippet == "two refund here"
    assert hit.marked("[", "]") == "two [refund] here"
    assert not hit.reverted
    assert not hit.deleted


def test_so_many_messages_around_a_hit_are_shown_as_asked(store):
    session = fill(store.create("s"), *"abc", "refund", *"def")
    (hit,) = store.search("refund", context=2)
    assert (hit.before, hit.after) == (session.messages[1:3], session.messages[4:6])
    (hit,) = store.search("refund", context=0)
    assert (hit.before, hit.after) == ((), ())


def test_a_snippet_is_the_part_with_the_words(store):
    fill(store.create("s"), "filler " * 300 + "the needle and\nthe thread " + "filler " * 300)
    (hit,) = store.search("needle thread")
    assert hit.marked() == hit.snippet.replace("needle", "**needle**").replace("thread", "**thread**")
    assert "needle and the thread" in hit.snippet
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) < 250


def test_titles_are_found(store):
    session = store.create("s", title="Refund for order 42")
    (hit,) = store.search("order 42")
    assert (hit.session_id, hit.message_id, hit.role, hit.message) == ("s", None, None, None)
    assert hit.marked() == "Refund for **order** **42**"
    session.set_title("Another")
    assert store.search("order").items == ()
    assert len(store.search("another")) == 1
    session.set_title(None)
    assert store.search("another").items == ()


def test_words_joined_without_a_space_stand_side_by_side(store):
    fill(store.create("s"), "see foo-bar.txt", "foo and bar")
    assert texts(store.search("foo-bar")) == ["see foo-bar.txt"]
    assert len(store.search("foo bar")) == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"quick brown"', {"the quick brown fox"}),
        ('"fox brown"', set()),
        ("quick*", {"the quick brown fox", "quickly brown", "brown quick"}),
        ("quick* -fox", {"quickly brown", "brown quick"}),
        ('brown -"quick brown"', {"quickly brown", "brown quick"}),
        ("-fox", set()),
        ('"quick brown', {"the quick brown fox"}),
        ("quick OR nothing", set()),
        ("*", set()),
        ('""', set()),
        ("- -", set()),
    ],
)
def test_operators_count_when_asked_for(store, query, expected):
    fill(store.create("s"), "the quick brown fox", "quickly brown", "brown quick", "else")
    assert set(texts(store.search(query, operators=True))) == expected


def test_without_being_asked_nothing_is_an_operator(store):
    fill(store.create("s"), "foo bar", "foobar", "foo or baz", "not foo near title")
    assert texts(store.search("foo*")) == texts(store.search("foo"))
    assert set(texts(store.search("-foo bar"))) == {"foo bar"}
    assert set(texts(store.search("foo OR baz"))) == {"foo or baz"}
    assert set(texts(store.search('"foo" "bar"'))) == {"foo bar"}
    assert set(texts(store.search("NOT foo NEAR title"))) == {"not foo near title"}
    assert texts(store.search("body:foo")) == []


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store that tests share; its queue of changes, if it has one, is there before the first of them."""
    with SessionStore(tmp_path_factory.mktemp("filled") / "store") as made, replaced(freshness, MANY=0):
        made.sessions()
        fill(made.create("s", title='a "title" (x)'), 'foo "bar" (baz) AND * ^ - + : {x} \\ %_', "日本語 😀 é")
        yield made


awkward = st.text(st.sampled_from("ab\"*-()^:+{}\\ \0\n'%_,.;日😀é\ud800") | st.characters(), max_size=20)


@given(query=awkward, operators=st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_refused(filled, query, operators):
    page = filled.search(query, operators=operators)
    for hit in page:
        assert all(0 <= begin < end <= len(hit.snippet) for begin, end in hit.marks)


def test_a_very_long_query_is_a_query(store):
    fill(store.create("s"), "a b c")
    assert store.search("a " * 50_000).items != ()
    assert store.search(" ".join(f"w{n}" for n in range(10_000))).items == ()
    assert store.search("w" * 1_000_000).items == ()


@pytest.mark.parametrize(
    ("content", "queries"),
    [
        ("我喜欢北京烤鸭", ["北京", "烤鸭", "我喜欢", "鸭"]),
        ("東京タワーへ行きました。", ["東京", "タワー", "行きました"]),
        ("ฉันชอบภาษาไทยมาก", ["ภาษาไทย", "ชอบ", "มาก"]),
        ("서울에서 만나요", ["서울", "만나"]),
        ("ສະບາຍດີ", ["ສະບາຍ"]),
        ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", ["ភាសា"]),
        ("မြန်မာစာ", ["မြန်မာ"]),
        ("done 👍🏽 and 🫠!", ["👍", "👍🏽", "🫠", "done 🫠"]),
        ("👨‍👩‍👧 family", ["👨‍👩‍👧", "family"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Привет, мир", ["привет", "МИР"]),
        ("Straße Ünïcödé café", ["strasse", "unicode", "CAFÉ", "cafe"]),
        ("cafe\u0301", ["café"]),
        ("مَرحبا بالعالم", ["مرحبا"]),
        ("שלום עולם", ["שלום"]),
        ("ｆｕｌｌ　ｗｉｄｔｈ ﾊﾝｶｸ", ["full width", "ハンカク"]),
        ("𠀋 rare", ["𠀋"]),
    ],
)
def test_text_in_any_script_is_found_and_marked(store, content, queries):
    fill(store.create("s"), content, "something else")
    for query in queries:
        (hit,) = store.search(query)
        assert hit.message.content == content, query
        assert hit.marks, query


def test_characters_that_stand_apart_are_not_taken_for_a_word(store):
    fill(store.create("s"), "北大和南京")
    assert store.search("北京").items == ()


def test_arguments_of_calls_and_parts_of_content_are_found(store):
    session = store.create("s")
    arguments = '{"city": "Par\\u00eds", "order": 4242}'
    calls = [{"id": "c1", "type": "function", "function": {"name": "lookup_weather", "arguments": arguments}}]
    session.append("assistant", None, tool_calls=calls)
    parts = [
        {"type": "text", "text": "look at this picture"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,zebra/zebra+AAAA"}},
        {"type": "tool_result", "content": [{"type": "text", "text": "nested deeply"}]},
    ]
    session.append("user", parts)
    for query in ("paris", "4242", "lookup weather"):
        assert [hit.seq for hit in store.search(query)] == [1], query
    for query in ("picture", "nested deeply"):
        assert [hit.seq for hit in store.search(query)] == [2], query
    for query in ("zebra", "image_url", "tool_result"):
        assert store.search(query).items == (), query


def test_a_role_leaves_the_others_and_the_titles_out(store):
    session = store.create("s", title="refund")
    for role in ("user", "assistant", "tool"):
        session.append(role, "refund")
    assert [hit.role for hit in store.search("refund", role="tool")] == ["tool"]
    assert {hit.role for hit in store.search("refund", role=["user", "tool"])} == {"user", "tool"}
    assert len(store.search("refund")) == 4
    assert store.search("refund", role="nobody").items == ()


def test_a_session_or_what_hangs_below_it(store):
    for name in ("a", "b"):
        fill(store.create(name), "refund")
        fill(store.get(name).spawn(f"{name}1"), "refund")
        fill(store.get(f"{name}1").spawn(f"{name}2"), "refund")
    assert [hit.session_id for hit in store.search("refund", session="a")] == ["a"]
    assert {hit.session_id for hit in store.search("refund", session=store.get("a"), subtree=True)} == {"a", "a1", "a2"}
    store.get("b1").move("a2")
    assert len(store.search("refund", session="a", subtree=True)) == 5
    assert store.search("refund", session="nobody").items == ()


def test_what_was_reverted_or_reset_is_found_only_when_asked_for(store):
    session = fill(store.create("s"), "alpha one", "alpha two", "alpha three")
    store.search("alpha")
    session.revert(session.messages[0])
    assert texts(store.search("alpha")) == ["alpha one"]
    found = store.search("alpha", reverted=True)
    assert {(hit.message.content, hit.reverted) for hit in found} == {
        ("alpha one", False), ("alpha two", True), ("alpha three", True),
    }  # fmt: skip
    session.undo_revert()
    assert len(store.search("alpha")) == 3
    session.reset()
    assert store.search("alpha").items == ()
    assert [hit.reverted for hit in store.search("alpha", reverted=True)] == [True] * 3
    fill(session, "alpha new")
    assert texts(store.search("alpha")) == ["alpha new"]


def test_a_revert_and_the_same_search_without_one_in_between(store):
    session = fill(store.create("s"), "alpha one", "alpha two")
    store.search("alpha")
    session.reset()
    fill(session, "alpha three")
    assert texts(store.search("alpha")) == ["alpha three"]
    session.revert(2)
    assert texts(store.search("alpha")) == ["alpha one"]


def test_what_is_in_the_trash_is_found_only_when_asked_for(store):
    fill(store.create("s", title="alpha"), "alpha one")
    store.search("alpha")
    store.delete("s")
    assert store.search("alpha").items == ()
    found = store.search("alpha", deleted=True)
    assert [(hit.session_id, hit.deleted, hit.message is None) for hit in found] == [
        ("s", True, True),
        ("s", True, False),
    ]
    store.restore("s")
    assert [hit.deleted for hit in store.search("alpha")] == [False, False]


def test_a_message_that_forks_share_is_found_once_and_in_each_of_them(store):
    parent = fill(store.create("parent"), "alpha one", "alpha two")
    forks = [parent.fork(f"fork{number}") for number in range(3)]
    fill(forks[0], "alpha three")
    assert len(store.search("alpha")) == 3
    assert {hit.session_id for hit in store.search("alpha one")} == {"parent"}
    for fork in forks:
        (hit,) = store.search("alpha one", session=fork)
        assert (hit.session_id, hit.message_id) == (fork.id, parent.messages[0].id)


def test_what_only_a_fork_shows_is_the_forks(store):
    parent = fill(store.create("parent"), "alpha one", "alpha two")
    parent.fork("fork")
    parent.revert(parent.messages[0])
    assert {(hit.session_id, hit.seq) for hit in store.search("alpha")} == {("parent", 1), ("fork", 2)}
    store.delete("parent", children="orphan")
    assert {(hit.session_id, hit.seq) for hit in store.search("alpha")} == {("fork", 1), ("fork", 2)}
    store.purge()
    assert {(hit.session_id, hit.seq) for hit in store.search("alpha")} == {("fork", 1), ("fork", 2)}


def test_forks_whose_past_was_copied_for_each_show_a_message_once(store):
    parent = fill(store.create("parent"), "alpha one", "alpha two")
    for number in range(3):
        parent.fork(f"fork{number}")
    store.search("alpha")
    store.delete("parent", children="orphan")
    store.purge()
    for _ in range(2):
        assert len(store.search("alpha")) == 2
        assert len(everything(store, "alpha", limit=1)) == 2
        store._close_index()


def test_pages_of_hits_make_up_the_whole_answer(store):
    for number in range(7):
        fill(store.create(f"s{number}", title="alpha"), *[f"alpha {word}" for word in "abcd"])
    whole = names(everything(store, "alpha", limit=1000))
    assert len(whole) == 35
    for limit in (1, 4, 34, 35, 36):
        assert names(everything(store, "alpha", limit=limit)) == whole
        assert names(everything(store, "alpha", limit=limit, role="user")) == [n for n in whole if "title" not in n]


def test_a_page_is_full_although_most_of_what_matches_is_not_shown(store):
    for number in range(40):
        session = fill(store.create(f"s{number}"), "alpha", "keep alpha " + "x " * 30)
        session.revert(1)
        if number % 10 == 0:
            session.undo_revert()
    for limit in (1, 5):
        assert len(store.search("alpha", limit=limit)) == limit
        assert len(everything(store, "alpha", limit=limit)) == 8


@pytest.mark.parametrize(
    ("query", "options"),
    [
        (5, {}), (None, {}), (b"x", {}), ("x", {"limit": 0}), ("x", {"limit": None}), ("x", {"context": -1}),
        ("x", {"context": "1"}), ("x", {"after": "x"}), ("x", {"role": [1]}),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(store, query, options):
    with pytest.raises(InvalidRecord):
        store.search(query, **options)


def test_a_compaction_takes_what_was_undone_out_of_reach(store):
    session = fill(store.create("s"), "alpha one", "alpha two")
    session.revert(session.messages[0])
    assert len(store.search("alpha", reverted=True)) == 2
    fill(session, "alpha three")
    session.compact(keep="present")
    assert {hit.message.content for hit in store.search("alpha", reverted=True)} == {"alpha one", "alpha three"}
    assert len(store.search("alpha")) == 2
