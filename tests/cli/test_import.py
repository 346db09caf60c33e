from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, plain, run, run_in_terminal, start, write_json, write_lines

AIRLINE = Path(__file__).parents[3] / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json"

USER = {"role": "user", "content": "hello"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
ANSWER = {"role": "tool", "tool_call_id": "c", "name": "f", "content": "42"}


def _bytes(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every log of a store, with the time of its last change."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def _stored(store: SessionStore, session_id: str) -> list[dict[str, Any]]:
    return [message.as_dict() for message in store.get(session_id).messages]


def _imports(*arguments: object) -> str:
    done = run("import", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.skipif(not AIRLINE.exists(), reason="the tau-bench file is not beside this checkout")
def test_real_conversations_come_back_equal_and_a_second_import_changes_nothing(root: Path) -> None:
    assert "200 conversations (5,308 messages)" in _imports(AIRLINE, "--root", root, "--processes", 4)
    records = json.loads(AIRLINE.read_text())
    revisions = {}
    with SessionStore(root) as store:
        trees = store.tree()
        assert len(trees) == 50
        assert sum(len(tree.children) for tree in trees) == 200
        assert sum(tree.message_count for tree in trees) == 0
        assert sum(child.message_count for tree in trees for child in tree.children) == 5308
        for record in records:
            session = store.get(f"gpt-4o-airline/{record['task_id']}/{record['trial']}")
            assert session.parent_id == f"gpt-4o-airline/{record['task_id']}"
            assert [message.as_dict() for message in session.messages] == record["traj"]
            assert session.metadata == {key: value for key, value in record.items() if key != "traj"}
            revisions[session.id] = session.revision
        report = store.check()
        assert report.ok
        assert (report.sessions, report.messages) == (250, 5308)
    before = _bytes(root)
    assert "Nothing to do" in _imports(AIRLINE, "--root", root, "--processes", 4)
    assert _bytes(root) == before
    with SessionStore(root) as store:
        assert {name: store.get(name).revision for name in revisions} == revisions


def test_a_file_of_messages_is_one_session_named_by_the_file(tmp_path: Path, root: Path) -> None:
    for path in (
        write_json(tmp_path / "array.json", [USER, CALL, ANSWER]),
        write_lines(tmp_path / "lines.jsonl", [USER, CALL, ANSWER]),
    ):
        _imports(path, "--root", root)
        with SessionStore(root) as store:
            assert _stored(store, path.stem) == [USER, CALL, ANSWER]
            assert store.get(path.stem).title == "hello"
            assert store.get(path.stem).parent_id is None


@pytest.mark.parametrize("writer", [write_json, write_lines])
def test_records_of_one_task_become_children_of_one_session(writer: Any, tmp_path: Path, root: Path) -> None:
    records = [
        {"task_id": task, "trial": trial, "reward": 0.5, "info": {"n": [1]}, "traj": [USER, {**ANSWER, "n": task}]}
        for trial in range(2)
        for task in ("one", 2)
    ]
    _imports(writer(tmp_path / "runs.json", records), "--root", root)
    with SessionStore(root) as store:
        trees = store.tree()
        assert [(tree.id, [child.id for child in tree.children]) for tree in trees] == [
            ("runs/one", ["runs/one/0", "runs/one/1"]),
            ("runs/2", ["runs/2/0", "runs/2/1"]),
        ]
        assert store.get("runs/2").metadata == {"task_id": 2}
        child = store.get("runs/2/1")
        assert child.metadata == {"task_id": 2, "trial": 1, "reward": 0.5, "info": {"n": [1]}}
        assert child.kind == "trial"
        assert _stored(store, "runs/2/1") == [USER, {**ANSWER, "n": 2}]


def test_records_without_a_task_are_roots_of_their_own(tmp_path: Path, root: Path) -> None:
    _imports(
        write_lines(tmp_path / "chats.jsonl", [{"messages": [USER], "source": "a"}, {"messages": [ANSWER]}]),
        "--root",
        root,
    )
    with SessionStore(root) as store:
        assert [tree.id for tree in store.tree()] == ["chats#1", "chats#2"]
        assert store.get("chats#1").metadata == {"source": "a"}
        assert _stored(store, "chats#2") == [ANSWER]


def test_one_record_alone_in_a_file_is_found(tmp_path: Path, root: Path) -> None:
    _imports(write_json(tmp_path / "one.json", {"messages": [USER]}), "--root", root)
    with SessionStore(root) as store:
        assert _stored(store, "one#1") == [USER]


def test_the_messages_are_found_under_any_key_and_under_traj_or_messages_first(tmp_path: Path, root: Path) -> None:
    records = [
        {"notes": [{"a": 1}], "tags": [], "dialogue": [USER, ANSWER]},
        {"draft": [ANSWER], "messages": [USER]},
        {"messages": [ANSWER], "traj": [USER]},
    ]
    _imports(write_json(tmp_path / "f.json", records), "--root", root)
    with SessionStore(root) as store:
        assert _stored(store, "f#1") == [USER, ANSWER]
        assert store.get("f#1").metadata == {"notes": [{"a": 1}], "tags": []}
        assert _stored(store, "f#2") == _stored(store, "f#3") == [USER]
        assert store.get("f#2").metadata == {"draft": [ANSWER]}


def test_every_field_comes_back_also_one_named_like_an_argument_of_append(tmp_path: Path, root: Path) -> None:
    message = {
        "role": "user", "content": [{"type": "text", "text": "x"}], "metadata": {"a": 1}, "message_id": "mine", "id": 7, "seq": -1, "at": "noon",
        "fields": {"role": "no"}, "expected_revision": 99, "self": None, "": 0, "big": 2**64 - 1, "small": 5e-324, "é\u2028": "\u2028\x00",
    }  # fmt: skip
    _imports(write_lines(tmp_path / "f.jsonl", [message, message]), "--root", root)
    with SessionStore(root) as store:
        assert _stored(store, "f") == [message, message]
        assert [found.id for found in store.get("f").messages] == ["f:1", "f:2"]


def test_a_message_without_content_is_kept_apart_from_one_whose_content_is_null(tmp_path: Path, root: Path) -> None:
    _imports(write_json(tmp_path / "f.json", [{"role": "user"}, {"role": "user", "content": None}]), "--root", root)
    with SessionStore(root) as store:
        without, null = store.get("f").messages
        assert (without.content, null.content) == (None, None)
        assert (without.metadata, null.metadata) == ({"without_content": True}, {})
        assert without.fields == null.fields == {}


def test_each_conversation_is_one_commit(tmp_path: Path, root: Path) -> None:
    _imports(write_json(tmp_path / "f.json", [ANSWER] * 20), "--root", root)
    with SessionStore(root) as store:
        assert store.get("f").revision == 2  # its making, and its messages


def test_files_of_other_names_make_other_sessions_of_the_same_tasks(tmp_path: Path, root: Path) -> None:
    one = write_json(tmp_path / "one.json", [{"task_id": 1, "traj": [USER]}])
    two = write_json(tmp_path / "two.json", [{"task_id": 1, "traj": [ANSWER]}])
    _imports(one, two, "--root", root)
    with SessionStore(root) as store:
        assert [tree.id for tree in store.tree()] == ["one/1", "two/1"]
        assert _stored(store, "two/1/#1") == [ANSWER]


def test_texts_that_separate_the_parts_of_an_id_cannot_make_two_conversations_one(tmp_path: Path, root: Path) -> None:
    long = "a task that is named by its whole instruction, " * 20
    records = [
        {"task_id": task, "trial": trial, "messages": [{"role": "user", "content": f"{task!r} {trial!r}"}]}
        for task, trial in [
            ("a", "b/c"), ("a/b", "c"), ("a%2fb", "c"), ("a", "b"), ("a", "b"), ("a", "b#2"), ("a", None), ("a", ""), ("", "a"),
            ("\x1b[2J", 0), (long + "1", 0), (long + "2", 0), ("A", "b"), ({"k": 1}, [2]), (True, False), ("\ud800", 0),
        ][:-1]
    ]  # fmt: skip
    records.append({"messages": [{"role": "user", "content": "no task"}]})
    path = write_json(tmp_path / "f#1.json", records)
    other = write_json(tmp_path / "f.json", [{"messages": [{"role": "user", "content": "other"}]}])
    _imports(path, other, "--root", root)
    with SessionStore(root) as store:
        leaves = [child for tree in store.tree() for child in (tree.children or (tree,))]
        said = [store.get(leaf.id).messages[0].content for leaf in leaves]
        assert sorted(said) == sorted([*(record["messages"][0]["content"] for record in records), "other"])
        assert all(leaf.id.isprintable() for leaf in leaves)
    before = _bytes(root)
    _imports(path, other, "--root", root)
    assert _bytes(root) == before


def test_name_replaces_the_files(tmp_path: Path, root: Path) -> None:
    path = write_json(tmp_path / "f.json", [{"task_id": 1, "trial": 0, "traj": [USER]}])
    _imports(path, "--root", root, "--name", "march")
    with SessionStore(root) as store:
        assert [tree.id for tree in store.tree()] == ["march/1"]
    assert run("import", path, path, "--root", root, "--name", "x").returncode == 2


def test_a_session_that_went_on_after_its_import_stays_as_it_is(tmp_path: Path, root: Path) -> None:
    path = write_json(tmp_path / "f.json", [USER, CALL])
    _imports(path, "--root", root)
    with SessionStore(root) as store:
        store.get("f").append("user", "and one more thing")
        store.get("f").set_title("Mine")
        store.get("f").update(metadata={"mine": True})
    before = _bytes(root)
    assert "Nothing to do" in _imports(path, "--root", root)
    assert _bytes(root) == before


def test_a_file_that_has_grown_adds_what_is_new(tmp_path: Path, root: Path) -> None:
    path = write_lines(tmp_path / "f.jsonl", [{"messages": [USER]}])
    _imports(path, "--root", root)
    write_lines(path, [{"messages": [USER, CALL]}, {"messages": [ANSWER]}])
    _imports(path, "--root", root)
    with SessionStore(root) as store:
        assert _stored(store, "f#1") == [USER, CALL]
        assert _stored(store, "f#2") == [ANSWER]


@pytest.mark.parametrize(
    "other",
    [
        [{"task_id": 1, "trial": 0, "reward": 1.0, "traj": [USER, ANSWER]}],
        [{"task_id": 1, "trial": 0, "reward": 0.0, "traj": [USER, CALL]}],
        [{"task_id": 1, "trial": 0, "reward": 1.0, "traj": [{"role": "user"}, CALL]}],
    ],
    ids=["message", "metadata", "content"],
)
def test_another_file_of_the_same_name_is_refused_where_it_disagrees_and_nothing_is_mixed(
    other: Any, tmp_path: Path, root: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = write_json(tmp_path / "f.json", [{"task_id": 1, "trial": 0, "reward": 1.0, "traj": [USER, CALL]}])
    _imports(path, "--root", root)
    before = _bytes(root)
    unseen = {"task_id": 0, "traj": [USER]}
    done = run("import", write_json(tmp_path / "elsewhere" / "f.json", [unseen, *other]), "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "f/1/0" in done.stderr
    assert _bytes(root) == before


def test_two_files_that_disagree_about_a_session_are_refused_together(tmp_path: Path, root: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, two = write_json(tmp_path / "f.json", [USER]), write_json(tmp_path / "elsewhere" / "f.json", [ANSWER])
    done = run("import", one, two, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert not root.exists()
    assert "1 conversation " in _imports(one, one, "--root", root)


def _many(path: Path, tasks: int, trials: int) -> Path:
    return write_json(
        path,
        [
            {
                "task_id": task,
                "trial": trial,
                "messages": [{"role": "user", "content": f"{task} {trial} {n}"} for n in range(5)],
            }
            for trial in range(trials)
            for task in range(tasks)
        ],
    )


def test_several_processes_share_a_parent_and_keep_the_order(tmp_path: Path, root: Path) -> None:
    _imports(_many(tmp_path / "f.json", 3, 80), "--root", root, "--processes", 3)
    with SessionStore(root) as store:
        trees = store.tree()
        assert [tree.id for tree in trees] == ["f/0", "f/1", "f/2"]
        for task, tree in enumerate(trees):
            assert {child.id for child in tree.children} == {f"f/{task}/{trial}" for trial in range(80)}
            for trial in range(80):
                said = [message.content for message in store.get(f"f/{task}/{trial}").messages]
                assert said == [f"{task} {trial} {n}" for n in range(5)]
        assert store.check().ok


def test_several_processes_write_to_a_store_that_is_shared(tmp_path: Path, root: Path) -> None:
    with SessionStore(root, shared=True) as store:
        store.create("before")
    root.chmod(0o777)
    path = _many(tmp_path / "f.json", 3, 4)
    assert run("import", path, "--root", root, "--processes", "2").returncode == 1
    done = run("import", path, "--root", root, "--processes", "2", HIERSTORE_SHARED="1")
    assert done.returncode == 0, done.stderr
    with SessionStore(root, shared=True) as store:
        assert len(store.tree()) == 4


def test_two_imports_of_one_file_at_once_both_succeed_and_store_it_once(tmp_path: Path, root: Path) -> None:
    path = _many(tmp_path / "f.json", 20, 4)
    both = [start("import", path, "--root", root, "--processes", 2) for _ in range(2)]
    for process in both:
        process.communicate(timeout=120)
    assert [process.returncode for process in both] == [0, 0]
    with SessionStore(root) as store:
        assert (report := store.check()).ok
        assert (report.sessions, report.messages) == (100, 400)


def test_a_terminal_shows_progress_and_a_pipe_does_not(tmp_path: Path, root: Path) -> None:
    path = _many(tmp_path / "f.json", 10, 4)
    written, status = run_in_terminal("import", path, "--root", root)
    assert status == 0
    assert "Importing" in written
    assert "/40" in written
    assert any("Imported 40 conversations (200 messages)" in line for line in plain(written))
    assert "Importing" not in _imports(path, "--root", f"{root}-2")


def test_a_root_that_cannot_be_a_store_is_one_sentence(tmp_path: Path) -> None:
    path = write_json(tmp_path / "f.json", [USER])
    done = run("import", path, "--root", path)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


def test_a_byte_order_mark_is_no_content(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([USER]).encode())
    _imports(path, "--root", root)
    with SessionStore(root) as store:
        assert _stored(store, "f") == [USER]


def test_a_file_name_that_is_no_text_is_imported_all_the_same(tmp_path: Path, root: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.json")
    with open(path, "w") as file:
        json.dump([USER], file)
    assert run("import", os.fsdecode(path), "--root", root).returncode == 0
    with SessionStore(root) as store:
        assert len(store.tree()) == 1
