"""Export: everything that a session's log says comes out, as JSON, and goes into an empty store as it was."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import CompactReport, CorruptLog, SessionNotFound, SessionStore, StoreClosed
from tests.compacting import Life, add_line
from tests.processes import start, store_at, zygote
from tests.support import contents, fill, log_of, texts
from tests.transfer.bundles import (
    LONG_ID,
    UNICODE,
    Bundle,
    all_ids,
    as_lines,
    events_of,
    family,
    files_in,
    rich,
    sent,
    session_of,
    text,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenStore = Callable[..., SessionStore]

__all__ = ["start", "zygote"]

AIRLINE = Path(__file__).parents[3] / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json"


@pytest.fixture
def other(open_store: OpenStore, tmp_path: Path) -> SessionStore:
    """An empty store."""
    return open_store(tmp_path / "other")


@pytest.fixture
def third(open_store: OpenStore, tmp_path: Path) -> SessionStore:
    """Another one."""
    return open_store(tmp_path / "third")


def assert_lossless(source: SessionStore, session_id: str, target: SessionStore) -> None:
    """See that a subtree comes out and goes in as it was, and comes out again as it did."""
    bundle = source.export(session_id)
    lines = list(source.export_lines(session_id))
    made = target.import_bundle(sent(bundle), on_conflict="refuse", routes=True)
    assert family(made) == {**family(source.get(session_id)), session_id: _as_root(source, session_id)}
    assert text(target.export(session_id)) == text(bundle)
    assert list(target.export_lines(session_id)) == lines
    assert target.check().problems == ()
    assert [finding for finding in target.check().notes if finding.kind != "torn_tail"] == []


def is_shorter(report: CompactReport) -> bool:
    """Whether there was something to compact."""
    return report.after_bytes < report.before_bytes


def _as_root(store: SessionStore, session_id: str) -> dict[str, Any]:
    return {**whole(store.get(session_id)), "parent": None}


# Shape


def test_a_bundle_is_one_json_document_that_says_what_it_is(store):
    rich(store)
    bundle = store.export("top")
    assert sent(bundle) == bundle
    assert json.loads(json.dumps(bundle, allow_nan=False)) == bundle
    assert {key: bundle[key] for key in ("format", "kind", "root")} == {
        "format": 1,
        "kind": "hierstore bundle",
        "root": "top",
    }


def test_lines_are_json_each_with_its_newline_and_say_the_same_as_the_document(store):
    rich(store)
    lines = list(store.export_lines("top"))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    items = [json.loads(line) for line in lines]
    bundle = store.export("top")
    by_kind: dict[str, list[Any]] = {}
    for item in items[1:]:
        (kind, value), *rest = item.items()
        assert rest == []
        by_kind.setdefault(kind, []).append(value)
    assert items[0] == {key: bundle[key] for key in ("format", "kind", "root")}
    assert items[-1] == {"end": {"sessions": len(bundle["sessions"])}}
    assert by_kind["past"] == bundle["pasts"]
    assert [{**item, "commits": []} for item in by_kind["session"]] == [
        {**item, "commits": []} for item in bundle["sessions"]
    ]
    assert by_kind["commit"] == [commit for item in bundle["sessions"] for commit in item["commits"]]
    assert [json.loads(line) for line in as_lines(bundle)][-1] == items[-1]


def test_what_is_done_to_a_bundle_does_not_reach_the_store(store):
    """behaviours 24"""
    rich(store)
    before, shown = text(store.export("top")), family(store.get("top"))
    bundle = store.export("top")
    for item in bundle["sessions"]:
        for commit in item["commits"]:
            for event in commit["events"]:
                event.clear()
    for past in bundle["pasts"]:
        for message in past["messages"]:
            message.clear()
    assert text(store.export("top")) == before
    assert family(store.get("top")) == shown


def test_an_export_writes_nothing(store, root, open_store):
    rich(store)
    before = contents(root)
    store.export("top")
    list(store.export_lines("top"))
    assert contents(root) == before
    reader = open_store(read_only=True)
    assert text(reader.export("top")) == text(store.export("top"))
    assert contents(root) == before


# Nothing is lost


def test_a_store_with_something_of_everything_comes_back_as_it_was(store, other):
    """behaviours 29"""
    rich(store)
    assert_lossless(store, "top", other)
    assert all_ids(other) == all_ids(store) - {"elsewhere"}


def test_lines_bring_back_what_the_document_does(store, other, third):
    rich(store)
    other.import_lines(store.export_lines("top"))
    third.import_bundle(store.export("top"))
    assert family(other.get("top")) == family(third.get("top"))
    assert text(other.export("top")) == text(third.export("top")) == text(store.export("top"))


@pytest.mark.parametrize("seed", range(25))
def test_random_lives_come_back_as_they_were(store, other, seed):
    life = Life(store, seed)
    store.create("s")
    dice = random.Random(seed)
    for number in range(60):
        life.step(number)
        if dice.random() < 0.04:
            for session in (store.get("s"), *store.get("s").descendants()):
                session.compact(keep="snapshots")
                life.through[session.id] = session.revision
    assert_lossless(store, "s", other)


def test_every_fact_of_a_message_comes_back(store, other):
    session = store.create("s")
    session.append("user", "x", message_id="given", metadata={"a": [1.5, None]}, name="n", extra={"deep": [{}]})
    session.append("odd role", {"any": ["json", 2**64 - 1, -(2**63), 1e-300, True]})
    session.append("assistant", None)
    session.append("assistant", "")
    session.append("user", "\u2028\u0000\U0010ffff")
    other.import_bundle(sent(store.export("s")))
    assert [message._record() for message in other.get("s").messages] == [m._record() for m in session.messages]


def test_one_can_go_back_to_a_snapshot_and_undo_a_revert_after_an_import(store, other):
    """behaviours 27"""
    rich(store)
    made = other.import_bundle(sent(store.export("top")))
    here = store.get("top")
    assert [snap.label for snap in made.snapshots] == ["early", None]
    for session in (here, made):
        session.undo_revert()
    assert made.messages == here.messages
    assert texts(made)[-1] == "second of two"
    for session in (here, made):
        session.revert(made.snapshots[0])
    assert made.messages == here.messages
    assert len(made.messages) == 3
    assert made.append("user", "next").seq == here.append("user", "next").seq


def test_counters_are_summed_exactly_before_and_after(store, other):
    session = store.create("s")
    for _ in range(1000):
        session.add_usage(cost=0.001, tokens=2**62)
    made = other.import_bundle(sent(store.export("s")))
    for _ in range(7000):
        made.add_usage(cost=0.001)
    assert made.usage == {"cost": 8.0, "tokens": 1000 * 2**62}


def test_counters_of_any_size_come_back(store, other):
    session = store.create("s")
    session.add_usage(large=2**64 - 1, small=-(2**63), huge=1e308, tiny=5e-324)
    session.set_usage(other=2**64 - 1)
    session.add_usage(large=2**64 - 1, huge=1e308, tiny=5e-324)
    assert_lossless(store, "s", other)
    for number in range(9):
        session.set_title("x" * 100 * number)
    assert is_shorter(session.compact(keep="present"))
    assert other.import_bundle(sent(store.export("s"))).usage == session.usage


def test_children_come_back_in_their_order_also_moved_ones(store, other):
    top = store.create("top")
    for name in "dacb":
        top.spawn(name)
    store.create("moved").move("top")
    store.get("a").move("d")
    store.get("a").move("top")
    bundle = store.export("top")
    assert [item["id"] for item in bundle["sessions"]] == ["top", *(below.id for below in top.descendants())]
    made = other.import_bundle(sent(bundle))
    assert [child.id for child in made.children] == [child.id for child in top.children]
    assert len(made.children) == 5


def test_what_a_later_version_wrote_comes_back(store, other):
    rich(store)
    made = other.import_bundle(sent(store.export("top")))
    assert made._state().facts.unknown == (b'{"type":"from_the_future","x":[1,null]}',)
    commits = session_of(other.export("top"), "top")["commits"]
    assert {"y": 1} in [commit.get("beside") for commit in commits]
    assert 1 in [event.get("tone") for event in events_of(other.export("top"), "top")]
    third = add_unknown_to_a_message(store)
    assert other.import_bundle(sent(store.export(third))).messages[0]._record()["mood"] == "new"


def add_unknown_to_a_message(store: SessionStore) -> str:
    store.create("s")
    message = {"seq": 1, "id": "m", "role": "user", "content": "x", "at": 7.5, "mood": "new"}
    add_line(store, "s", {"message": message})
    return "s"


@pytest.mark.parametrize(
    "session_id", [UNICODE, LONG_ID, "con", "A/b", "a\u0301", "\u00e1", " ", "\U0010ffff"], ids=repr
)
def test_ids_of_any_text_come_back(store, other, session_id):
    session = store.create(session_id)
    session.append("user", "x", message_id=session_id)
    session.spawn(session_id[:511] + "2").append("user", "y")
    session.fork(session_id[:511] + "3")
    assert_lossless(store, session_id, other)


def test_a_message_of_sixteen_mebibytes_comes_back(store, other):
    """behaviours 34"""
    large = "\u00e9" * (8 * 2**20)
    session = store.create("s")
    session.append("user", large)
    session.append("user", ["x" * (16 * 2**20 - 4)])
    session.fork("f")
    other.import_lines(store.export_lines("s"))
    assert texts(other.get("s")) == texts(session)
    assert texts(other.get("f")) == texts(session)


def test_two_hundred_levels_of_nesting_come_back(store, other):
    """behaviours 34"""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    session = store.create("s", metadata={"deep": deep[0]})
    session.append("user", deep, metadata={"deep": deep[0]}, field=deep)
    session.set_ref("deep", deep)
    session.snapshot("s", {"deep": deep[0]})
    session.update(derived={"deep": deep[0]})
    session.fork("f")
    assert_lossless(store, "s", other)
    assert other.get("f").messages[0].content == deep


# Forks


def test_a_hundred_forks_carry_the_shared_history_once(store, other):
    session = fill(store.create("s"), *(f"text number {number}" for number in range(50)))
    for number in range(100):
        fork = session.fork(f"f{number}", at=50 - number % 3)
        if number % 2:
            fork.append("user", "own")
    data = b"".join(store.export_lines("s"))
    assert len(store.export("s")["pasts"]) == 1
    assert data.count(b"text number 7") == 2, "once in the session's own commits, once for all forks"
    assert_lossless(store, "s", other)


def test_a_history_that_only_begins_alike_is_carried_from_where_it_differs(store, other):
    session = fill(store.create("s"), "one", "two", "three")
    fork = session.fork("f", at=session.messages[1])
    fill(fork, "of f").fork("g")
    bundle = store.export("s")
    assert [(past["base"], len(past["messages"])) for past in bundle["pasts"]] == [(None, 2), ([0, 2], 1)]
    assert_lossless(store, "s", other)
    assert texts(other.get("g")) == ["one", "two", "of f"]


def test_a_fork_alone_is_whole(store, other):
    """behaviours 30"""
    rich(store)
    bundle = store.export("twig")
    assert [item["id"] for item in bundle["sessions"]] == ["twig"]
    twig = other.import_bundle(sent(bundle))
    assert twig.messages == store.get("twig").messages
    assert twig.parent_id is None
    assert all_ids(other) == {"twig"}


def test_forks_of_many_generations_come_back(store, other):
    session = fill(store.create("g0"), "0")
    for number in range(1, 12):
        session = fill(session.fork(f"g{number}"), f"{number}")
    assert_lossless(store, "g0", other)
    assert texts(other.get("g11")) == [f"{number}" for number in range(12)]
    assert sum(len(past["messages"]) for past in store.export("g0")["pasts"]) == 11


def test_a_fork_of_a_compacted_session_comes_back_and_so_does_a_compacted_fork(store, other):
    session = fill(store.create("s"), *map(str, range(6)))
    session.revert(4)
    fork = fill(session.fork("before"), "x", "y")
    session.compact(keep="present")
    session.fork("after")
    fork.revert(2)
    fill(fork, "z")
    fork.compact(keep="present")
    assert_lossless(store, "s", other)
    assert texts(other.get("after")) == ["0", "1", "2"]
    assert texts(other.get("before")) == texts(fork) == ["0", "1", "2", "x", "z"]


def test_a_fork_whose_parent_was_purged_comes_back(store, other):
    session = fill(store.create("s"), "one", "two")
    session.fork("f").append("user", "own")
    store.delete("s", children="orphan")
    store.purge()
    assert_lossless(store, "f", other)


def test_a_compacted_log_keeps_the_numbers_of_its_revisions(store, other):
    rich(store)
    bundle = store.export("third")
    assert bundle["sessions"][0]["skipped"] > 0
    assert_lossless(store, "third", other)
    assert other.get("third").revision == store.get("third").revision
    assert other.get("third").compact(keep="present").session_id == "third"


# What is a store's own


def secrets_of(store: SessionStore) -> list[str]:
    """What nobody outside the store is to learn: digests of tokens, ids of grants, tokens of turns."""
    found = ["secret"]
    for session_id in all_ids(store):
        facts = store.get(session_id)._state().facts
        found += [grant.digest for grant in facts.grants] + [grant.id for grant in facts.grants]
        found += [] if facts.turn is None else [facts.turn[0]]
    assert len(found) > 1
    return found


def assert_tells_nothing(store: SessionStore, session_id: str, secrets: list[str]) -> None:
    for data in (text(store.export(session_id)), b"".join(store.export_lines(session_id)).decode()):
        assert [secret for secret in secrets if secret in data] == []
        assert "grants" not in data


def test_shares_turns_trash_and_other_sessions_stay_behind(store, other):
    rich(store)
    assert_tells_nothing(store, "top", secrets_of(store))
    made = other.import_bundle(store.export("top"))
    for session in (made, *made.descendants()):
        assert (session.shares, session.is_shared, session.turn_in_progress) == ((), False, None)
    assert other.trash() == ()
    assert other.interrupted() == ()


@pytest.mark.parametrize("keep", ["snapshots", "present"])
def test_a_compacted_log_tells_as_little(store, other, keep):
    top = store.create("top")
    secrets = ["secret"]
    for number in range(4):
        top.share()
        top.start_turn(f"secret {number}")
        top.spawn(f"secret child {number}")
        top.spawn(f"child {number}")
        store.bind(f"secret key {number}", top)
        top.snapshot(f"{number}")
        for _ in range(5):
            top.set_title(f"title {number}" * 20)
    secrets += secrets_of(store)
    store.create("elsewhere")
    for number in range(4):
        store.delete(f"secret child {number}")
        store.bind(f"secret key {number}", "elsewhere")
    assert is_shorter(top.compact(keep=keep))
    assert_tells_nothing(store, "top", secrets)
    made = other.import_bundle(sent(store.export("top")), routes=True)
    assert [child.id for child in made.children] == [f"child {number}" for number in range(4)]
    assert made.shares == ()
    assert made.routes == ()
    assert made.snapshots == top.snapshots
    assert other.check().notes == ()


def test_an_exported_child_does_not_tell_whose_it_was(store, other):
    parent = fill(store.create("secret parent", title="secret"), "a")
    store.create("secret second").append("user", "secret")
    parent.spawn("child").move("secret second")
    parent.fork("fork").append("user", "b")
    store.get("fork").move("secret second")
    for name in ("child", "fork"):
        for number in range(9):
            store.get(name).set_title("x" * 100 * number)
        assert is_shorter(store.get(name).compact(keep="present"))
        assert "secret" not in text(store.export(name))
        assert other.import_bundle(store.export(name)).parent_id is None


def test_only_the_keys_that_lead_to_it_now_go_with_a_session(store):
    session, later = store.create("s"), store.create("later")
    store.bind("old key", session)
    store.bind("key", session)
    store.bind("old key", later)
    bundle = store.export("s")
    assert bundle["sessions"][0]["routes"] == ["key"]
    assert "old key" not in text(bundle)


# What is exported


def test_without_the_subtree_only_the_session_goes(store, other):
    rich(store)
    bundle = store.export("top", subtree=False)
    lines = list(store.export_lines("top", subtree=False))
    assert [item["id"] for item in bundle["sessions"]] == ["top"]
    assert bundle["pasts"] == []
    assert all(other_id not in text(bundle) for other_id in ("branch", "twig", "third"))
    made = other.import_lines(lines)
    assert {**whole(made), "children": 0} == {**whole(store.get("top")), "children": 0}
    assert made.children == ()
    assert other.check().notes == ()


def test_a_session_object_does_as_well_as_an_id(store):
    session = store.create("s")
    assert store.export(session) == store.export("s")
    assert list(store.export_lines(session)) == list(store.export_lines("s"))


def test_a_session_that_is_not_there_cannot_be_exported_and_lines_say_so_at_once(store):
    with pytest.raises(SessionNotFound):
        store.export("nobody")
    with pytest.raises(SessionNotFound):
        store.export_lines("nobody")
    store.create("gone")
    store.delete("gone")
    with pytest.raises(SessionNotFound):
        store.export("gone")


def test_a_closed_store_exports_nothing(root):
    store = SessionStore(root)
    store.create("s")
    store.close()
    with pytest.raises(StoreClosed):
        store.export("s")
    with pytest.raises(StoreClosed):
        store.export_lines("s")


def test_an_export_that_was_begun_goes_on_without_a_child_that_was_deleted(store, other):
    top = store.create("top")
    for name in ("a", "b", "c"):
        fill(top.spawn(name), name)
    store.get("b").spawn("below b")
    lines = store.export_lines("top")
    taken = [next(lines) for _ in range(2)]
    store.delete("b", children="cascade")
    made = other.import_lines([*taken, *lines])
    assert [child.id for child in made.children] == ["a", "c"]


def until(lines: Iterator[bytes], session_id: str) -> list[bytes]:
    """The lines up to and with the first of a session."""
    taken = []
    for line in lines:
        taken.append(line)
        if json.loads(line).get("session", {}).get("id") == session_id:
            return taken
    raise AssertionError(f"there is no {session_id}")


@pytest.fixture
def pair(store) -> SessionStore:
    """top > (a > moved > below, b)"""
    top = store.create("top")
    a, _ = top.spawn("a"), top.spawn("b")
    fill(a.spawn("moved"), "text").spawn("below")
    return store


def test_a_session_that_moves_on_before_its_turn_comes_where_it_is_then(pair, other):
    lines = pair.export_lines("top")
    taken = until(lines, "a")
    pair.get("moved").move("b")
    made = other.import_lines([*taken, *lines])
    assert all_ids(other) == {"top", "a", "b", "moved", "below"}
    assert (other.get("moved").parent_id, texts(other.get("moved"))) == ("b", ["text"])
    assert len(made.descendants()) == 4


def test_a_session_that_moves_on_after_its_turn_is_there_once(pair, other):
    lines = pair.export_lines("top")
    taken = until(lines, "moved")
    pair.get("moved").move("b")
    other.import_lines([*taken, *lines])
    assert other.get("moved").parent_id == "a"
    assert all_ids(other) == {"top", "a", "b", "moved", "below"}


def test_what_another_process_wrote_is_exported(store, root, start):
    """behaviours 21"""
    session = fill(store.create("s"), "here")
    store.export("s")
    start().call(append_elsewhere, root)
    assert [event["content"] for event in events_of(store.export("s"), "s") if event["type"] == "message"] == [
        "here",
        "there",
    ]
    assert len(session.messages) == 2


def append_elsewhere(root: Path) -> None:
    """In a child."""
    store_at(root).get("s").append("user", "there")


@pytest.mark.damages
def test_a_commit_that_was_never_finished_is_no_part_of_it(store, root, other):
    fill(store.create("s"), "one")
    bundle = store.export("s")
    with log_of(store, "s").open("ab") as log:
        log.write(b'{"message":{"seq":2,"id":"x"')
    with SessionStore(root, read_only=True) as reader:
        assert reader.export("s") == bundle


@pytest.mark.damages
def test_a_last_commit_that_is_damaged_is_no_part_of_it(store, root, other):
    fill(store.create("s"), "one", "two")
    path = log_of(store, "s")
    data = bytearray(path.read_bytes())
    data[data.index(b'"two"') + 1] ^= 1
    path.write_bytes(data)
    with SessionStore(root, read_only=True) as reader:
        other.import_bundle(reader.export("s"))
    assert texts(other.get("s")) == ["one"]


@pytest.mark.damages
def test_a_fork_whose_history_is_damaged_is_not_exported_as_if_it_were_whole(store, root):
    fill(store.create("s"), "one", "two").fork("f").append("user", "own")
    past = next((root / "sessions").rglob("*.past0"))
    data = bytearray(past.read_bytes())
    data[data.index(b'"two"') + 1] ^= 1
    past.write_bytes(data)
    with SessionStore(root) as reader, pytest.raises(CorruptLog, match="'f' cannot be exported") as caught:
        reader.export("f")
    assert caught.value.session_id == "f"


# Real conversations


@pytest.mark.skipif(not AIRLINE.exists(), reason="the tau-bench file is not beside this checkout")
def test_every_real_conversation_comes_back_byte_for_byte(tmp_path, open_store, root):
    from tests.cli.running import run

    done = run("import", AIRLINE, "--root", root)
    assert done.returncode == 0, done.stderr
    store, documents, streams = open_store(), open_store(tmp_path / "other"), open_store(tmp_path / "third")
    trees = store.tree()
    assert sum(len(tree.children) for tree in trees) == 200
    for tree in trees:
        document, lines = text(store.export(tree.id)), list(store.export_lines(tree.id))
        documents.import_bundle(json.loads(document), on_conflict="refuse")
        streams.import_lines(lines, on_conflict="refuse")
        for copy in (documents, streams):
            assert text(copy.export(tree.id)) == document
            assert list(copy.export_lines(tree.id)) == lines
    record = json.loads(AIRLINE.read_text())[0]
    session = streams.get(f"gpt-4o-airline/{record['task_id']}/{record['trial']}")
    assert [message.as_dict() for message in session.messages] == record["traj"]
    for copy in (documents, streams):
        assert copy.tree() == trees
        report = copy.check()
        assert (report.problems, report.messages) == ((), 5308)


# Cost


def test_lines_hold_one_session_in_memory_at_a_time(root, open_store):
    with SessionStore(root) as store:
        top = store.create("top")
        for number in range(12):
            fill(top.spawn(f"s{number}"), *["x" * 1000] * 1000)
    size = sum(path.stat().st_size for path in root.rglob("*.jsonl"))
    one = size / 12
    store = open_store(cache_bytes=2**20)
    tracemalloc.start()
    try:
        written = sum(map(len, store.export_lines("top")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written > size * 0.9
    assert peak < 6 * one < size, f"{peak / one:.1f} sessions' worth of memory"


def test_the_files_of_an_import_are_gone_afterwards(store, other):
    rich(store)
    other.import_bundle(store.export("top"))
    assert files_in(other.root / "tmp") == []


def test_a_deep_chain_of_sessions_comes_back(store, other):
    parent: Any = None
    for number in range(400):
        parent = store.create(f"s{number}", parent=parent)
    bundle: Bundle = store.export("s0")
    other.import_bundle(sent(bundle))
    assert text(other.export("s0")) == text(bundle)
    assert len(other.get("s399").ancestors) == 399
