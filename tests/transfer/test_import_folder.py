"""Other systems' folders: their sessions become sessions of the store, all of them or none, and the folder stays as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import (
    HierstoreError,
    ImportReport,
    InvalidRecord,
    ReadOnlyStore,
    SessionExists,
    SessionNotFound,
    SessionStore,
    SourceProblem,
)
from tests.store.refusing import assert_refused
from tests.support import contents, fill, texts
from tests.transfer.bundles import all_ids, family, files_in, use
from tests.transfer.test_claude_code_layout import S, assistant, call, result, user
from tests.transfer.test_claude_code_layout import write as write_transcript
from tests.transfer.test_praisonai_layout import said, session
from tests.transfer.test_praisonai_layout import write as write_sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]

UNKNOWN = {"type": "from-the-future", "value": [1, None]}


@pytest.fixture
def praisonai(tmp_path: Path) -> Path:
    """root > child (a fork, with two snapshots) > grandchild, and root/archived; one bad message, one bad file."""
    folder = tmp_path / "praisonai"
    folder.mkdir()
    messages = [
        said("user", "one", 10.5, id="m1", metadata={"channel": "web"}),
        said("assistant", "", 11.5, tool_calls=[{"id": "c"}]),
        {"role": 7, "content": "no message"},
        said("tool", ["part"], 9.5, tool_call_id="c"),
    ]
    snapshots = [
        {"id": "s1", "label": "early", "message_index": 0, "created_at": 20.0, "metadata": {"why": "x"}},
        {"id": "s2", "label": "late", "message_index": 3, "created_at": 21.0},
        {"id": "s3", "label": "lost", "message_index": 77, "created_at": 22.0},
    ]
    write_sessions(
        folder,
        session(
            "root", [said("user", "hello", 5.0)], title="The root", children_ids=["child"], surprise={"a": None},
            archived_messages=[said("user", "old", 1.0)],
        ),
        session(
            "child", messages, parent_id="root", forked_from_message_id="0", children_ids=["grandchild"],
            snapshots=snapshots,
        ),
        session("grandchild", [said("user", "deep", 7.0)], parent_id="child"),
    )  # fmt: skip
    (folder / "broken.json").write_text('{"session_id": "broken", "mess')
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.fixture
def claude_code(tmp_path: Path) -> Path:
    """A transcript with a branch, a subagent and a record of no known type; two bad lines."""
    folder = tmp_path / "claude-code"
    write_transcript(
        folder,
        UNKNOWN,
        user("u1", None, "start", timestamp="2026-01-05T10:00:01Z"),
        assistant("a1", "u1", "ok", call("t1"), timestamp="2026-01-05T10:00:02Z"),
        b"not json",
        user("r1", "a1", result("t1"), timestamp="2026-01-05T10:00:03Z"),
        user("w1", "r1", "the wrong way", timestamp="2026-01-05T10:00:30Z"),
        user("u2", "r1", "the right way", timestamp="2026-01-05T10:01:00Z"),
        {"type": "custom-title", "customTitle": "My title", "sessionId": S},
        b'{"type":"user","uuid":"torn"',
    )
    helper = [user("p1", None, "helper", isSidechain=True), assistant("p2", "p1", "helps", isSidechain=True)]
    write_transcript(folder / S / "subagents", *helper, name="agent-x")
    return folder


def stamps(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Every name below a folder with all that a change would leave a trace in."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, data)
    return found


def assert_folder_refused(store: SessionStore, folder: Any, layout: Any = None) -> None:
    """See that a folder is refused in one sentence, which may begin with its name, and that nothing is written."""
    before = contents(store.root)
    with pytest.raises(InvalidRecord) as caught:
        store.import_folder(folder, layout=layout)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert ". " not in sentence
    assert caught.value.where in ("folder", "bundle")
    assert contents(store.root) == before


@pytest.mark.parametrize("layout", ["praisonai", None])
def test_a_praisonai_folder_becomes_sessions(store, praisonai, layout):
    report = store.import_folder(praisonai, layout=layout)
    assert isinstance(report, ImportReport)
    assert report.roots == ("root",)
    assert report.ids == {name: name for name in ("root", "root/archived", "child", "grandchild")}
    assert report.skipped == ()
    root, child = store.get("root"), store.get("child")
    assert (root.title, root.parent_id, root.kind, root.created_at) == ("The root", None, None, 1750000000.0)
    assert root.info.title_source == "user"
    assert root.metadata["praisonai"]["surprise"] == {"a": None}
    assert {each.id: each.kind for each in root.children} == {"child": "branch", "root/archived": "archive"}
    assert [each.id for each in child.children] == ["grandchild"]
    assert texts(store.get("root/archived")) == ["old"]
    assert [(m.seq, m.role, m.content, m.at) for m in child.messages] == [
        (1, "user", "one", 10.5),
        (2, "assistant", "", 11.5),
        (3, "tool", ["part"], 9.5),
    ]
    assert child.messages[0].id == "m1"
    assert child.messages[0].metadata == {"channel": "web"}
    assert child.messages[1].fields == {"tool_calls": [{"id": "c"}]}
    assert store.check().problems == ()


def test_snapshots_of_a_folder_can_be_gone_back_to(store, praisonai):
    store.import_folder(praisonai)
    child = store.get("child")
    assert [(snap.id, snap.label, snap.created_at) for snap in child.snapshots] == [
        ("s1", "early", 20.0),
        ("s2", "late", 21.0),
    ]
    assert child.snapshots[0].metadata["why"] == "x"
    assert texts(child.at("s1")) == ["one"]
    assert texts(child.at("s2")) == ["one", "", ["part"]]
    child.revert("s1")
    assert texts(child) == ["one"]
    child.undo_revert()
    assert len(child.messages) == 3
    assert child.metadata["praisonai"]["snapshots"][0]["id"] == "s3", "what is no beginning of the history is kept"


@pytest.mark.parametrize("layout", ["claude-code", None])
def test_a_claude_code_folder_becomes_sessions(store, claude_code, layout):
    report = store.import_folder(claude_code, layout=layout)
    assert report.roots == (S,)
    main = store.get(S)
    assert main.title == "My title"
    assert [message.id for message in main.messages] == ["u1", "a1", "r1", "u2"]
    assert [message.seq for message in main.messages] == [1, 2, 3, 4]
    assert [message.at - main.messages[0].at for message in main.messages] == [0, 1, 2, 59]
    assert main.messages[1].fields["usage"] == {"input_tokens": 3, "output_tokens": 5}
    assert main.messages[1].metadata["claude_code"]["requestId"] == "req_1"
    assert {"line": 1, "record": UNKNOWN} in main.metadata["claude_code"]["records"]
    kinds = {each.id: each.kind for each in main.children}
    assert kinds == {f"{S}/branch-w1": "branch", f"{S}/agent-x": "delegate"}
    assert texts(store.get(f"{S}/branch-w1")) == ["the wrong way"]
    assert len(store.get(f"{S}/agent-x").messages) == 2
    assert set(report.ids) == {S, *kinds}
    assert store.check().problems == ()


def test_what_cannot_be_taken_is_told_with_its_file_and_line(store, praisonai, claude_code):
    found = store.import_folder(claude_code).problems
    assert all(isinstance(problem, SourceProblem) for problem in found)
    assert [problem.line for problem in found] == [4, 9]
    assert {problem.path for problem in found} == {str(claude_code / f"{S}.jsonl")}
    by_file: dict[str, list[str]] = {}
    for problem in store.import_folder(praisonai).problems:
        by_file.setdefault(Path(problem.path).name, []).append(problem.detail)
    assert set(by_file) == {"broken.json", "notes.txt", "child.json"}
    assert any("Message 3" in detail for detail in by_file["child.json"])
    assert any("Snapshot 3" in detail for detail in by_file["child.json"])
    assert all(detail.endswith(".") for details in by_file.values() for detail in details)


@pytest.mark.parametrize("name", ["praisonai", "claude_code"])
def test_the_folder_stays_as_it_was(store, request, name):
    folder = request.getfixturevalue(name)
    before = stamps(folder)
    store.import_folder(folder)
    store.import_folder(folder, on_conflict="new_ids")
    assert stamps(folder) == before


@pytest.mark.parametrize("name", ["praisonai", "claude_code"])
def test_a_second_run_skips_all_and_writes_nothing(store, root, request, name):
    folder = request.getfixturevalue(name)
    first = store.import_folder(folder)
    fill(store.get(first.roots[0]), "since then")
    before = contents(root)
    second = store.import_folder(folder)
    assert contents(root) == before
    assert (second.ids, set(second.skipped), second.roots) == ({}, set(first.ids), first.roots)
    assert second.problems == first.problems


def test_a_later_run_takes_what_is_new_and_hangs_it_where_it_belongs(store, praisonai):
    store.import_folder(praisonai)
    write_sessions(praisonai, session("late", [said("user", "new", 30.0)], parent_id="child"))
    report = store.import_folder(praisonai)
    assert report.ids == {"late": "late"}
    assert {each.id for each in store.get("child").children} == {"grandchild", "late"}
    assert store.check().problems == ()


def test_a_conflict_is_met_as_asked(store, root, praisonai):
    mine = fill(store.create("child"), "mine")
    before = contents(root)
    with pytest.raises(SessionExists):
        store.import_folder(praisonai, on_conflict="refuse")
    assert contents(root) == before
    report = store.import_folder(praisonai, on_conflict="new_ids")
    assert set(report.ids) == {"root", "root/archived", "child", "grandchild"}
    assert not set(report.ids.values()) & set(report.ids)
    assert report.roots == (report.ids["root"],)
    assert store.get(report.ids["grandchild"]).parent_id == report.ids["child"]
    assert [snap.id for snap in store.get(report.ids["child"]).snapshots] == ["s1", "s2"]
    report = store.import_folder(praisonai)
    assert report.skipped == ("child",)
    assert [each.id for each in mine.children] == ["grandchild"]
    assert texts(mine) == ["mine"]


def test_roots_hang_below_the_parent_given(store, root, praisonai):
    parent = store.create("parent")
    report = store.import_folder(praisonai, parent=parent)
    assert report.roots == ("root",)
    assert [each.id for each in parent.children] == ["root"]
    assert {each.id for each in parent.descendants()} == set(report.ids)
    before = contents(root)
    with pytest.raises(SessionNotFound):
        store.import_folder(praisonai, parent="nobody", on_conflict="new_ids")
    assert contents(root) == before


def test_several_roots_are_all_taken(store, tmp_path):
    write_sessions(tmp_path, *(session(f"r{number}", [said("user", f"{number}", 1.0)]) for number in range(5)))
    report = store.import_folder(tmp_path, parent=store.create("parent"))
    assert sorted(report.roots) == [f"r{number}" for number in range(5)]
    assert len(store.get("parent").children) == 5


def test_sessions_of_a_folder_are_sessions_as_any_other(store, praisonai, claude_code, tmp_path, open_store):
    other = open_store(tmp_path / "other")
    for folder in (praisonai, claude_code):
        for session_id in store.import_folder(folder).roots:
            shown = family(store.get(session_id))
            assert family(other.import_bundle(store.export(session_id))) == shown
            use(store.get(session_id))
    assert other.check().problems == ()


def test_times_that_cannot_be_read_do_not_change_the_order(store, tmp_path):
    messages = [said("user", "a", 50.0), said("user", "b", "never"), said("user", "c", 10.0), said("user", "d", None)]
    write_sessions(tmp_path, session("s", messages, created_at="never"))
    store.import_folder(tmp_path)
    found = store.get("s")
    assert texts(found) == ["a", "b", "c", "d"]
    assert [message.at for message in found.messages] == [50.0, 50.0, 10.0, 10.0]
    assert [message.seq for message in found.messages] == [1, 2, 3, 4]
    assert found.created_at == 50.0


def test_a_session_without_messages_is_one_too(store, tmp_path):
    write_sessions(tmp_path, session("s", []))
    assert store.import_folder(tmp_path).ids == {"s": "s"}
    assert store.get("s").revision == 1
    assert len(store.get("s").messages) == 0


# All or nothing


@pytest.mark.parametrize("layout", ["praisonai", "claude-code", None])
def test_a_folder_that_is_not_what_is_expected_is_refused(store, tmp_path, layout):
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.md").write_text("hello")
    for folder in (empty, file, tmp_path / "nowhere", tmp_path / "other", "\0", tmp_path / ("x" * 300)):
        before = contents(tmp_path / "other")
        assert_folder_refused(store, folder, layout)
        assert contents(tmp_path / "other") == before


def test_an_unknown_layout_is_refused(store, praisonai):
    error = assert_refused(store, lambda: store.import_folder(praisonai, layout="nobody's"), "folder")  # type: ignore[arg-type]
    assert "praisonai" in str(error)


def test_the_other_systems_folder_is_refused(store, praisonai, claude_code):
    assert_folder_refused(store, claude_code, "praisonai")
    assert_folder_refused(store, praisonai, "claude-code")


def test_a_folder_in_which_nothing_can_be_read_is_refused(store, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text("{")
    assert_folder_refused(store, tmp_path, "praisonai")


def test_a_store_folder_is_none_of_theirs(store, root, tmp_path, open_store):
    fill(open_store(tmp_path / "other").create("s"), "x")
    assert_folder_refused(store, tmp_path / "other")


@pytest.mark.parametrize("name", ["praisonai", "claude_code"])
def test_a_folder_that_fails_in_the_middle_leaves_nothing(store, root, request, monkeypatch, name):
    from hierstore.transfer import foreign

    folder = request.getfixturevalue(name)
    before = contents(root)
    read = foreign.read

    def failing(*args: Any) -> Any:
        for number, found in enumerate(read(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(foreign, "read", failing)
    with pytest.raises(KeyboardInterrupt):
        store.import_folder(folder)
    assert contents(root) == before
    monkeypatch.undo()
    assert len(store.import_folder(folder).ids) >= 3


def test_a_folder_that_names_what_no_store_can_hold_leaves_those_out_and_takes_the_rest(store, tmp_path):
    write_sessions(tmp_path, session("good", [said("user", "x", 1.0), said("user", "\ud800", 2.0)]))
    (tmp_path / "a.json").write_text(json.dumps(session("x" * 600, [said("user", "x", 1.0)])))
    (tmp_path / "b.json").write_text(
        json.dumps(session("deep", [said("user", "%")])).replace('"%"', "[" * 300 + "]" * 300)
    )
    (tmp_path / "c.json").write_text(json.dumps(session("big", [said("user", 2**70, 1.0)])))
    report = store.import_folder(tmp_path)
    assert set(report.ids) == {"good", "deep", "big"}
    assert texts(store.get("good")) == ["x"]
    assert texts(store.get("deep")) == texts(store.get("big")) == []
    assert len(report.problems) >= 4
    assert files_in(store.root / "tmp") == []


def test_a_store_that_only_reads_takes_nothing(store, root, open_store, praisonai):
    store.create("s")
    before = contents(root)
    with pytest.raises(ReadOnlyStore):
        open_store(read_only=True).import_folder(praisonai)
    assert contents(root) == before


def test_a_store_in_the_folder_itself_is_not_taken_for_sessions(praisonai, open_store, root):
    store = open_store(praisonai / "store")
    report = store.import_folder(praisonai)
    assert set(report.ids) == {"root", "root/archived", "child", "grandchild"}
    assert all_ids(store) == set(report.ids)
    assert store.check().problems == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told_and_the_rest_is_taken(store, praisonai):
    (praisonai / "grandchild.json").chmod(0)
    report = store.import_folder(praisonai)
    assert "grandchild" not in report.ids
    assert any(problem.path.endswith("grandchild.json") for problem in report.problems)


def test_an_import_that_is_refused_is_one_error_of_the_stores(store, tmp_path):
    with pytest.raises(HierstoreError) as caught:
        store.import_folder(tmp_path / "nowhere")
    assert isinstance(caught.value, InvalidRecord)
