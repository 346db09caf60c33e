"""Import: whose ids the sessions get, where they hang, what comes along, and that they are sessions as any other."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import ReadOnlyStore, Session, SessionExists, SessionNotFound, SessionStore, StoreClosed
from tests.processes import start, store_at, zygote
from tests.support import contents, fill, log_of, texts
from tests.transfer.bundles import (
    UNICODE,
    Bundle,
    all_ids,
    as_lines,
    changed,
    family,
    files_in,
    rich,
    sent,
    session_of,
    text,
    use,
    whole,
    without_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

__all__ = ["start", "zygote"]


@pytest.fixture
def source(open_store: OpenStore, tmp_path: Path) -> SessionStore:
    """A store to export from: "top" > ("a" > "aa", "b" > "fork"), with keys and refs."""
    store = open_store(tmp_path / "source")
    top = fill(store.create("top", title="the top"), "hello")
    a, b = fill(top.spawn("a"), "I am a"), fill(top.spawn("b"), "I am b")
    fill(a.spawn("aa"), "I am aa").snapshot("snap")
    fill(b.fork("fork"), "own")
    for session_id in ("top", "aa"):
        store.bind(f"key of {session_id}", session_id)
        store.get(session_id).set_ref("outside", session_id)
    return store


@pytest.fixture
def bundle(source: SessionStore) -> Bundle:
    """The whole of it."""
    return sent(source.export("top"))


ALL = {"top", "a", "aa", "b", "fork"}


def shape(session: Session) -> Any:
    """A tree by what its sessions say."""
    return texts(session), [shape(child) for child in session.children]


SHAPE = (["hello"], [(["I am a"], [(["I am aa"], [])]), (["I am b"], [(["I am b", "own"], [])])])


# Ids


def test_ids_that_are_free_stay(store, bundle):
    made = store.import_bundle(bundle)
    assert isinstance(made, Session)
    assert (made.id, shape(made), all_ids(store)) == ("top", SHAPE, ALL)


def test_when_one_id_is_taken_all_are_new_throughout(store, source, bundle):
    """behaviours 29"""
    mine = fill(store.create("aa", title="mine"), "mine")
    before = log_of(store, "aa").read_bytes()
    made = store.import_bundle(bundle)
    new = {made.id, *(session.id for session in made.descendants())}
    assert len(new) == 5
    assert not new & ALL
    assert all_ids(store) == new | {"aa"}
    assert shape(made) == SHAPE
    assert made.parent_id is None
    assert all(child.parent_id == parent.id for parent in (made, *made.descendants()) for child in parent.children)
    for ours, theirs in zip(family(made).values(), family(source.get("top")).values(), strict=True):
        assert {**without_names(ours), "children": 0} == {**without_names(theirs), "children": 0}
    assert log_of(store, "aa").read_bytes() == before
    assert texts(mine) == ["mine"]
    report = store.check()
    assert (report.problems, report.notes) == ((), ())


def test_new_ids_leave_no_trace_of_the_old_ones(store):
    rich(store)
    old = {session.id for session in store.get("top").descendants()} - {"branch"}  # also a kind
    made = store.import_bundle(store.export("top"))
    for session in (made, *made.descendants()):
        data = log_of(store, session.id).read_text()
        assert [old_id for old_id in old if json.dumps(old_id) in data] == []
        assert all(note in all_ids(store) for note in session._state().facts.children)
        assert len(session.children) == len(session._state().facts.children)
    assert store.check().notes == ()


def test_messages_and_snapshots_keep_their_ids_when_sessions_get_new_ones(store, bundle):
    first, second = store.import_bundle(bundle), store.import_bundle(bundle)
    assert first.id != second.id
    for ours, theirs in zip(first.descendants(), second.descendants(), strict=True):
        assert [message.id for message in ours.messages] == [message.id for message in theirs.messages]
        assert ours.snapshots == theirs.snapshots


def test_a_compacted_session_gets_new_ids_for_the_children_that_it_notes(store):
    top = store.create("top")
    for number in range(4):
        top.spawn(f"c{number}").spawn(f"d{number}")
        top.snapshot(f"{number}")
        for _ in range(5):
            top.set_title(f"{number}" * 100)
    top.compact(keep="snapshots")
    made = store.import_bundle(store.export("top"))
    assert len(made.children) == 4
    assert set(made._state().facts.children) == {child.id for child in made.children}
    assert made.revision == top.revision
    assert store.check().notes == ()


def test_refused_when_one_id_is_taken_and_nothing_is_written(store, root, bundle):
    store.create("fork")
    before = contents(root)
    for call in (store.import_bundle, lambda data, **how: store.import_lines(as_lines(data), **how)):
        with pytest.raises(SessionExists, match="nothing was imported") as caught:
            call(bundle, on_conflict="refuse", routes=True)
        assert caught.value.session_id == "fork"
        assert contents(root) == before


def test_a_deleted_session_does_not_take_an_id(store, bundle):
    fill(store.create("top"), "old")
    store.delete("top")
    assert shape(store.import_bundle(bundle, on_conflict="refuse")) == SHAPE
    with pytest.raises(SessionExists):
        store.restore("top")
    store.delete("top", children="cascade")
    assert shape(store.restore("top")) == SHAPE


def test_a_purged_session_does_not_take_an_id_and_is_not_served_for_the_new_one(open_store, store, bundle):
    beside = open_store()
    old = fill(store.create("top"), "old")
    assert texts(beside.get("top")) == ["old"]
    kept = beside.get("top")
    store.delete("top")
    store.purge()
    store.import_bundle(bundle, on_conflict="refuse")
    assert texts(kept) == texts(old) == ["hello"]


# Skipping


def test_skipping_takes_only_what_is_missing_and_hangs_it_where_it_belongs(store, bundle):
    mine = fill(store.create("a", title="mine"), "mine")
    revision = mine.revision
    made = store.import_bundle(bundle, on_conflict="skip")
    assert (made.id, all_ids(store)) == ("top", ALL)
    assert texts(store.get("a")) == ["mine"]
    assert store.get("a").parent_id is None
    assert [child.id for child in store.get("a").children] == ["aa"]
    assert mine.revision == revision + 1, "it notes its child, and nothing else was done to it"
    assert [child.id for child in made.children] == ["b"]
    assert store.check().problems == ()


def test_skipping_all_writes_nothing_and_gives_the_session_that_is_there(store, root, bundle):
    store.import_bundle(bundle, routes=True)
    fill(store.get("top"), "since then")
    before = contents(root)
    made = store.import_bundle(bundle, on_conflict="skip", routes=True)
    assert texts(made) == ["hello", "since then"]
    assert contents(root) == before


def test_skipping_brings_back_what_was_deleted(store, bundle):
    store.import_bundle(bundle)
    store.delete("a", children="cascade")
    store.purge()
    store.import_bundle(bundle, on_conflict="skip")
    assert (all_ids(store), shape(store.get("top"))[0]) == (ALL, ["hello"])
    assert {child.id for child in store.get("top").children} == {"a", "b"}


# A parent


@pytest.mark.parametrize("as_session", [True, False])
@pytest.mark.parametrize("conflict", ["new_ids", "refuse", "skip"])
def test_the_root_hangs_below_the_parent_given(store, bundle, as_session, conflict):
    parent = fill(store.create("parent"), "p")
    parent.spawn("elder")
    made = store.import_bundle(bundle, parent=parent if as_session else "parent", on_conflict=conflict)
    assert (made.id, made.parent_id) == ("top", "parent")
    assert [child.id for child in parent.children] == ["elder", "top"]
    assert shape(made) == SHAPE
    assert store.export("parent")["sessions"][2]["id"] == "top"


def test_new_ids_hang_below_the_parent_too_also_in_what_was_exported(store, source, bundle):
    made = source.import_bundle(bundle, parent="aa")
    assert made.parent_id == "aa"
    assert [child.id for child in source.get("aa").children] == [made.id]
    assert [session.id for session in made.ancestors] == ["aa", "a", "top"]
    again = source.import_bundle(sent(source.export("top")), parent=made)
    assert again.parent_id == made.id
    assert len(source.get("top").descendants()) == 4 + 5 + 10


def test_a_compacted_root_hangs_below_the_parent_too(store):
    top = store.create("top", parent=store.create("old parent"))
    top.move(store.create("other parent"))
    for number in range(9):
        top.set_title("x" * 100 * number)
    report = top.compact(keep="present")
    assert report.after_bytes < report.before_bytes
    made = store.import_bundle(store.export("top"), parent=store.create("parent"))
    assert made.parent_id == "parent"
    assert [child.id for child in store.get("parent").children] == [made.id]
    assert store.import_bundle(store.export("top")).parent_id is None


def test_a_parent_that_is_not_there_is_told_and_nothing_is_written(store, root, bundle):
    store.create("deleted")
    store.delete("deleted")
    before = contents(root)
    for parent in ("nobody", "deleted", "top"):
        with pytest.raises(SessionNotFound) as caught:
            store.import_bundle(bundle, parent=parent)
        assert caught.value.session_id == parent
        assert contents(root) == before


# Refs and routes


def test_ids_in_other_systems_come_along_unless_they_are_not_wanted(store, bundle):
    assert store.import_bundle(bundle).refs == {"outside": "top"}
    assert store.get("aa").refs == {"outside": "aa"}
    without = store.import_bundle(bundle, refs=False)
    assert [session.refs for session in (without, *without.descendants())] == [{}] * 5
    assert '"ref"' not in log_of(store, without.id).read_text()


def test_refs_of_a_compacted_session_come_along_unless_they_are_not_wanted(store):
    session = store.create("s")
    for number in range(9):
        session.set_ref("outside", number)
        session.set_ref("secret", f"secret {number}")
        if number in (3, 5):
            session.snapshot()
    session.compact(keep="snapshots")
    with_refs, without = store.import_bundle(store.export("s")), store.import_bundle(store.export("s"), refs=False)
    assert with_refs.refs == {"outside": 8, "secret": "secret 8"}
    assert without.refs == {}
    assert without.at(without.snapshots[0]).refs == {}
    assert "secret" not in log_of(store, without.id).read_text()


def test_route_keys_come_along_only_when_they_are_wanted(store, root, bundle):
    without = store.import_bundle(bundle)
    assert store.resolve("key of top") is None
    assert without.routes == ()
    assert not any((root / "registry").glob("*.jsonl"))
    assert "key of" not in log_of(store, "top").read_text()
    made = store.import_bundle(bundle, routes=True)
    assert store.resolve("key of top") == made
    assert made.routes == ("key of top",)
    assert store.resolve("key of aa") == made.descendants()[1]
    assert store.route("key of top") == made


def test_a_key_that_leads_to_a_living_session_stays_with_it(store, bundle):
    mine = store.create("mine")
    store.bind("key of top", mine)
    made = store.import_bundle(bundle, routes=True)
    assert store.resolve("key of top") == mine
    assert made.routes == ()
    assert store.resolve("key of aa").id == "aa"
    again = store.import_bundle(bundle, routes=True)
    assert store.resolve("key of aa").id == "aa"
    assert again.routes == ()


def test_a_key_that_led_to_a_session_that_is_gone_comes_along(store, bundle):
    mine = store.create("mine")
    store.bind("key of top", mine)
    store.unbind("key of top")
    store.bind("key of aa", mine)
    store.delete("mine")
    made = store.import_bundle(bundle, routes=True)
    assert store.resolve("key of top") == made
    assert store.resolve("key of aa").id == "aa"


def test_keys_of_a_compacted_session_come_along_only_when_they_are_wanted(store):
    session = store.create("s")
    for number in range(4):
        store.bind(f"key {number}", session)
        session.snapshot()
        session.set_title("x" * 300)
        session.set_title("y" * 300)
    session.compact(keep="snapshots")
    bundle = sent(store.export("s"))
    store.delete("s")
    store.purge()
    without = store.import_bundle(bundle)
    assert without.routes == ()
    assert "key " not in log_of(store, without.id).read_text()
    store.bind("key 2", without)
    store.unbind("key 2")
    made = store.import_bundle(bundle, routes=True)
    assert made.routes == tuple(f"key {number}" for number in range(4))


def test_a_skipped_session_gets_no_keys(store, bundle):
    store.create("top")
    store.import_bundle(bundle, on_conflict="skip", routes=True)
    assert store.resolve("key of top") is None
    assert store.resolve("key of aa").id == "aa"


# Sources


def test_lines_may_come_from_an_open_file_as_bytes_or_as_text_or_from_anything_else(store, tmp_path, bundle):
    lines = as_lines(bundle)
    path = tmp_path / "bundle.jsonl"
    path.write_bytes(b"\n".join([*lines, b"", b"  "]))
    with path.open("rb") as as_bytes, path.open(encoding="utf-8") as as_text:
        sources = [as_bytes, as_text, iter(lines), tuple(lines), io.BytesIO(b"".join(lines)), [b"\n", *lines]]
        assert [shape(store.import_lines(source)) for source in sources] == [SHAPE] * len(sources)


def test_lines_behind_the_end_are_not_read(store, bundle):
    def lines() -> Any:
        yield from as_lines(bundle)
        raise AssertionError("read on behind the end")

    assert shape(store.import_lines(lines())) == SHAPE


@pytest.mark.parametrize("seed", range(5))
def test_sessions_may_come_in_any_order(store, bundle, seed):
    random.Random(seed).shuffle(bundle["sessions"])
    parents = [[item["id"] for item in bundle["sessions"]].index(name) for name in ("top", "a", "b")]
    made = store.import_bundle(bundle)
    assert {child.id for child in made.children} == {"a", "b"}, parents
    assert all_ids(store) == ALL


def test_children_that_no_commit_notes_are_noted(store, bundle):
    for item in bundle["sessions"]:
        for commit in item["commits"]:
            commit["events"] = [event for event in commit["events"] if event["type"] != "child"]
    made = store.import_bundle(bundle)
    assert shape(made) == SHAPE
    assert made._state().facts.children == ("a", "b")


def test_a_mapping_does_as_well_as_a_dict(store, bundle):
    from types import MappingProxyType

    assert shape(store.import_bundle(MappingProxyType(bundle))) == SHAPE


def test_what_is_done_to_a_bundle_afterwards_does_not_reach_the_store(store):
    """behaviours 24"""
    session = store.create("s", metadata={"k": ["x"]})
    session.append("user", [["x"]], metadata={"k": ["x"]})
    bundle = sent(store.export("s"))
    before = text(bundle)
    made = store.import_bundle(bundle)
    assert text(bundle) == before, "the caller's document was changed"
    shown = whole(made)
    session_of(bundle, "s")["commits"][1]["events"][0]["content"][0].append("y")
    session_of(bundle, "s")["commits"][0]["events"][0]["metadata"]["k"].append("y")
    assert whole(made) == shown


# What was imported is a session as any other


def test_what_was_imported_can_be_written_to_forked_reverted_compacted_deleted_and_restored(
    store, tmp_path, open_store
):
    other = open_store(tmp_path / "other")
    rich(store)
    made = other.import_bundle(store.export("top"))
    use(made)
    for session in (made, *made.descendants()):
        before = session.messages
        session.compact(keep="present")
        assert session.messages == before
    other.delete("top", children="cascade")
    assert all_ids(other) == set()
    assert other.restore("top") == made
    assert other.check().problems == ()
    other.delete("branch", children="orphan")
    other.purge()
    assert other.get("twig").messages[0].content == "hello \u00e9\U0001f600"


def test_forks_that_inherited_the_same_keep_it_when_one_of_them_is_purged(store, bundle):
    made = store.import_bundle(changed(bundle, _fork_twice))
    twins = store.get("fork"), store.get("twin")
    assert texts(twins[0]) == texts(twins[1]) == ["I am b", "own"]
    store.delete("fork")
    store.purge()
    assert texts(twins[1]) == ["I am b", "own"]
    fill(twins[1], "more").fork("grandchild")
    assert texts(store.get("grandchild")) == ["I am b", "own", "more"]
    assert len(made.descendants()) == 5


def _fork_twice(bundle: Bundle) -> None:
    twin = json.loads(text(session_of(bundle, "fork")))
    bundle["sessions"].append({**twin, "id": "twin"})


def test_another_process_and_another_store_see_all_of_it_at_once(store, open_store, root, bundle, start):
    """behaviours 21"""
    parent = store.create("parent")
    beside, child = open_store(), start()
    assert beside.get("parent").children == ()
    assert child.call(see, root) == {"parent"}
    store.import_bundle(bundle, parent=parent)
    assert shape(beside.get("parent").children[0]) == SHAPE
    assert child.call(see, root) == {"parent", *ALL}
    fill(beside.get("top"), "more")
    assert texts(store.get("top")) == ["hello", "more"]


def see(root: Path) -> set[str]:
    """In a child."""
    return all_ids(store_at(root))


def test_a_store_that_syncs_each_commit_takes_bundles_too(open_store, bundle):
    store = open_store(durability="power")
    fill(store.create("parent"), "p")
    made = store.import_bundle(bundle, parent="parent", routes=True)
    assert shape(made) == SHAPE
    assert shape(store.import_bundle(bundle)) == SHAPE
    use(made)


def test_a_store_that_cannot_link_takes_forks_too(store, bundle, monkeypatch):
    monkeypatch.setattr("hierstore.disk.files.HAS_LINK", False)
    assert shape(store.import_bundle(changed(bundle, _fork_twice)))[0] == ["hello"]
    assert texts(store.get("twin")) == ["I am b", "own"]
    assert files_in(store.root / "tmp") == []


def test_files_have_the_permissions_of_any_other(store, root, bundle):
    store.import_bundle(bundle, routes=True)
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_dir()} == {0o700}


def test_a_store_that_only_reads_takes_nothing(store, root, open_store, bundle):
    store.create("s")
    before = contents(root)
    reader = open_store(read_only=True)
    for call in (lambda: reader.import_bundle(bundle), lambda: reader.import_lines(as_lines(bundle))):
        with pytest.raises(ReadOnlyStore):
            call()
    assert contents(root) == before


def test_a_closed_store_takes_nothing(root, bundle):
    store = SessionStore(root)
    store.close()
    with pytest.raises(StoreClosed):
        store.import_bundle(bundle)


def test_a_log_of_a_name_that_was_there_before_never_has_its_stamp(store, bundle, monkeypatch):
    """A cache that holds the purged session must not take the new one for it: same size, inode and a coarse clock."""
    fill(store.create("top"), "old")
    path = log_of(store, "top")
    before = path.stat().st_mtime_ns
    store.delete("top")
    store.purge()
    store.import_bundle(bundle)
    assert path.stat().st_mtime_ns > before
    assert json.loads(path.read_text().partition("\n")[0])["floor_ns"] >= before


def test_an_id_that_was_used_far_in_the_future_is_taken_all_the_same(store, bundle):
    """The stamps of what is gone are found only when the logs are placed; they are built again above those."""
    import os

    fill(store.create("top"), "old")
    path = log_of(store, "top")
    later = path.stat().st_mtime_ns + 5 * 10**9
    os.utime(path, ns=(later, later))
    assert texts(store.get("top")) == ["old"]
    store.delete("top")
    store.purge()
    with pytest.MonkeyPatch.context() as patch:
        from hierstore import clock

        now = clock.now()
        times = iter(range(100))
        patch.setattr(clock, "now", lambda: now + next(times))
        made = store.import_bundle(bundle, on_conflict="refuse")
    assert shape(made) == SHAPE
    assert path.stat().st_mtime_ns > later


def test_an_import_with_ids_of_any_text_leaves_the_files_where_they_belong(store, source):
    fill(source.create(UNICODE), "x")
    made = source.import_bundle(source.export(UNICODE))
    assert made.id != UNICODE
    assert store.import_bundle(source.export(UNICODE)).id == UNICODE
    assert log_of(store, UNICODE).exists()
