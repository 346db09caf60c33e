"""PraisonAI's session folders become neutral sessions: nothing lost, nothing followed, each problem told once."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hierstore.errors import InvalidRecord
from hierstore.transfer import foreign
from hierstore.transfer.foreign import ForeignSession, Problem, read


def said(role: str, content: Any, at: float = 1750000000.5, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, "timestamp": at, "metadata": {}, **more}


def session(session_id: str, messages: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A file's content, with every key that the program writes."""
    return {
        "session_id": session_id,
        "messages": messages or [],
        "created_at": "2025-06-15T15:06:40+00:00",
        "updated_at": "2025-06-15T15:07:00+00:00",
        "agent_name": "helper",
        "user_id": None,
        "metadata": {},
        "gateway_session_id": None,
        "agent_id": None,
        "runtime_state": {},
        "archived_messages": [],
        "parent_id": None,
        "forked_from_message_id": None,
        "children_ids": [],
        "snapshots": [],
        "is_shared": False,
        "title": None,
        **more,
    }


def write(folder: Path, *sessions: dict[str, Any]) -> None:
    for data in sessions:
        (folder / f"{data['session_id']}.json").write_text(json.dumps(data, indent=2), encoding="utf-8")


def taken(folder: Path, layout: str | None = "praisonai") -> tuple[dict[str, ForeignSession], list[Problem]]:
    problems: list[Problem] = []
    sessions = list(read(folder, layout, problems.append))
    ids = [each.id for each in sessions]
    assert len(set(ids)) == len(ids)
    for place, each in enumerate(sessions):
        assert each.parent_id is None or each.parent_id in ids[:place], "a parent comes first"
    return {each.id: each for each in sessions}, problems


def details(problems: list[Problem]) -> str:
    return "\n".join(f"{Path(problem.path).name}: {problem.detail}" for problem in problems)


def test_a_session_keeps_all_that_its_file_says(tmp_path: Path) -> None:
    call = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    messages = [
        said("user", "Where is it?", metadata={"channel": "web"}),
        said("assistant", "", 1750000001.25, tool_calls=call),
        said("tool", "paid", 1750000002, tool_call_id="c1", later_key=[1]),
    ]
    data = session("chat-1", messages, title="Refund", metadata={"model": "m1"}, total_tokens=12, new_key={"a": None})
    write(tmp_path, data)
    sessions, problems = taken(tmp_path)
    assert problems == []
    chat = sessions["chat-1"]
    assert (chat.title, chat.kind, chat.parent_id, chat.labels, chat.snapshots) == ("Refund", None, None, (), ())
    assert chat.created_at == 1750000000
    assert [(m.role, m.content, m.at, m.id) for m in chat.messages] == [
        ("user", "Where is it?", 1750000000.5, None),
        ("assistant", "", 1750000001.25, None),
        ("tool", "paid", 1750000002.0, None),
    ]
    assert chat.messages[0].metadata == {"channel": "web"}
    assert [m.fields for m in chat.messages] == [{}, {"tool_calls": call}, {"tool_call_id": "c1", "later_key": [1]}]
    placed = {"session_id", "messages", "title", "parent_id", "metadata", "snapshots"}
    rest = {key: value for key, value in data.items() if key not in placed}
    assert chat.metadata == {"model": "m1", "praisonai": rest}


def test_parents_come_before_children_whatever_their_files_are_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        session("a", parent_id="m"),
        session("m", parent_id="z", children_ids=["a"]),
        session("z", children_ids=["m"]),
    )
    sessions, problems = taken(tmp_path)
    assert list(sessions) == ["z", "m", "a"]
    assert [each.parent_id for each in sessions.values()] == [None, "z", "m"]
    assert problems == []


def test_a_fork_at_a_message_is_a_branch_and_another_child_has_no_kind(tmp_path: Path) -> None:
    write(
        tmp_path,
        session("root", [said("user", "hi")], children_ids=["fork", "plain"]),
        session("fork", [said("user", "hi")], parent_id="root", forked_from_message_id="0"),
        session("plain", parent_id="root"),
    )
    sessions, problems = taken(tmp_path)
    assert (sessions["fork"].kind, sessions["plain"].kind, problems) == ("branch", None, [])
    assert sessions["fork"].metadata["praisonai"]["forked_from_message_id"] == "0"


def test_a_child_without_its_parents_file_becomes_a_root(tmp_path: Path) -> None:
    write(tmp_path, session("child", [said("user", "x")], parent_id="gone", forked_from_message_id="0"))
    sessions, problems = taken(tmp_path)
    assert sessions["child"].parent_id is None
    assert sessions["child"].kind is None
    assert len(sessions["child"].messages) == 1
    assert sessions["child"].metadata["praisonai"]["parent_id"] == "gone"
    assert details(problems) == "child.json: Its parent 'gone' is not in the folder, so 'child' becomes a root."


def test_a_cycle_of_parents_is_broken_once_and_told(tmp_path: Path) -> None:
    ring = {"a": "b", "b": "c", "c": "a", "tail": "a", "self": "self"}
    for each, parent in ring.items():
        below = [child for child, its_parent in ring.items() if its_parent == each]
        write(tmp_path, session(each, parent_id=parent, children_ids=below))
    sessions, problems = taken(tmp_path)
    assert {each.id: each.parent_id for each in sessions.values()} == {
        "a": "b",
        "b": "c",
        "c": None,
        "tail": "a",
        "self": None,
    }
    assert [Path(problem.path).name for problem in problems] == ["c.json", "self.json"]
    assert all("below itself" in problem.detail for problem in problems)


def test_a_childs_own_word_beats_its_parents_list_and_both_differences_are_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        session("p1", children_ids=["child", "ghost"]),
        session("p2"),
        session("child", parent_id="p2"),
    )
    sessions, problems = taken(tmp_path)
    assert sessions["child"].parent_id == "p2"
    told = details(problems)
    assert "p1.json: It lists 'child' as its child, which itself names 'p2'; that counts." in told
    assert "p1.json: It lists 'ghost' as its child, which is not in the folder." in told
    assert "child.json: It names 'p2' as its parent, which does not list it; its own word counts." in told
    assert len(problems) == 3


def test_older_snapshots_are_counted_by_their_position(tmp_path: Path) -> None:
    messages = [said("user", str(number)) for number in range(3)]
    snapshots = [
        {"id": "s0", "session_id": "x", "message_index": -1, "created_at": 1750000000.0, "label": None, "metadata": {}},
        {"id": "s2", "session_id": "x", "message_index": 1, "created_at": 1.5, "label": "two", "metadata": {"k": 1}},
        {"id": "out", "message_index": 3},
        {"id": "old", "message_index": 0, "invalidated": True},
        {"id": "true", "message_index": True},
        {"id": "s2", "message_index": 0},
        "no object",
    ]
    write(tmp_path, session("x", messages, snapshots=snapshots))
    sessions, problems = taken(tmp_path)
    assert [(s.id, s.label, s.count, s.created_at) for s in sessions["x"].snapshots] == [
        ("s0", None, 0, 1750000000.0),
        ("s2", "two", 2, 1.5),
    ]
    assert sessions["x"].snapshots[1].metadata == {"k": 1, "praisonai": {"session_id": "x", "message_index": 1}}
    assert sessions["x"].metadata["praisonai"]["snapshots"] == snapshots[2:]
    assert [problem.detail.split(" is kept")[0] for problem in problems] == [f"Snapshot {n}" for n in range(3, 8)]


def test_newer_snapshots_count_only_while_the_history_begins_with_them(tmp_path: Path) -> None:
    messages = [said("user", "a"), said("user", "b")]
    pool = {"0": messages[0], "1": said("user", "reverted"), "2": {"summary": "s"}, "3": None}

    def pooled(name: str, keys: list[str], checkpoint: str = "3") -> dict[str, Any]:
        refs = {
            "messages": {"items": keys},
            "archived_messages": {"items": []},
            "last_compaction": {"value": checkpoint},
        }
        return {"id": name, "message_index": 9, "invalidated": True, "transcript_refs": refs}

    snapshots = [
        pooled("fits", ["0"], "2"),
        {"id": "inline", "message_index": 7, "transcript": {"messages": messages, "archived_messages": []}},
        pooled("gone", ["0", "1"]),
        pooled("torn", ["99"]),
        {"id": "longer", "transcript": {"messages": [*messages, messages[0]]}},
    ]
    storage = {"version": 1, "records": pool}
    write(tmp_path, session("x", messages, snapshots=snapshots, snapshot_storage=storage))
    write(tmp_path, session("y", messages, snapshots=snapshots[:2], snapshot_storage=storage))
    sessions, problems = taken(tmp_path)
    for name in ("x", "y"):
        assert [(s.id, s.count) for s in sessions[name].snapshots] == [("fits", 1), ("inline", 2)]
    assert sessions["x"].snapshots[0].metadata["praisonai"]["transcript"]["last_compaction"] == {"summary": "s"}
    assert "transcript" not in sessions["x"].snapshots[1].metadata["praisonai"]
    kept = sessions["x"].metadata["praisonai"]
    assert (kept["snapshots"], kept["snapshot_storage"]) == (snapshots[2:], storage)
    assert "snapshot_storage" not in sessions["y"].metadata["praisonai"]
    assert len(problems) == 3


def test_a_snapshot_counts_only_the_messages_that_could_be_taken(tmp_path: Path) -> None:
    messages = [said("user", "a"), said("user", 2**64), said("user", "c"), said("user", "d")]
    write(tmp_path, session("x", messages, snapshots=[{"id": "s", "message_index": 2}]))
    sessions, problems = taken(tmp_path)
    assert [m.content for m in sessions["x"].messages] == ["a", "c", "d"]
    assert sessions["x"].snapshots[0].count == 2
    assert details(problems).startswith(
        "x.json: Message 2 was skipped: The content cannot be stored: it holds an integer"
    )


def test_archived_turns_become_a_session_of_their_own(tmp_path: Path) -> None:
    archived = [said("user", "old 1"), said("assistant", "old 2"), {"role": 7}, {"role": ""}]
    write(tmp_path, session("x", [said("system", "[Session Summary]")], archived_messages=archived))
    sessions, problems = taken(tmp_path)
    archive = sessions["x/archived"]
    assert (archive.parent_id, archive.kind) == ("x", "archive")
    assert [m.content for m in archive.messages] == ["old 1", "old 2"]
    assert "archived_messages" not in sessions["x"].metadata["praisonai"]
    assert "Archived message 3 was skipped: The role cannot be stored" in details(problems)
    assert "Archived message 4 was skipped: The role cannot be stored: it is empty." in details(problems)


def test_an_archive_takes_no_name_that_a_session_has(tmp_path: Path) -> None:
    write(tmp_path, session("x", archived_messages=[said("user", "old")]))
    (tmp_path / "other.json").write_text(json.dumps(session("x/archived", [said("user", "mine")])))
    sessions, problems = taken(tmp_path)
    assert sessions["x/archived"].messages[0].content == "mine"
    assert sessions["x/archived#"].messages[0].content == "old"
    assert problems == []


@pytest.mark.parametrize(
    "content",
    [
        "NaN",
        "18446744073709551616",
        '"\\ud800"',
        "[" * 300 + "]" * 300,
        '"' + "x" * (16 * 2**20 + 1) + '"',
        '["' + "x" * 2**24 + '"]',
    ],
    ids=["NaN", "beyond 64 bits", "lone surrogate", "300 levels", "text over 16 MiB", "a list over 16 MiB"],
)
def test_a_message_that_cannot_be_stored_is_told_and_hides_no_other(tmp_path: Path, content: str) -> None:
    good = json.dumps(said("user", "good"))
    bad = '{"role": "user", "content": %s}' % content
    (tmp_path / "x.json").write_text('{"session_id": "x", "messages": [%s, %s, %s]}' % (good, bad, good))
    sessions, problems = taken(tmp_path)
    assert [m.content for m in sessions["x"].messages] == ["good", "good"]
    assert "Message 2 was skipped" in details(problems)
    assert len(problems) == 1


def test_a_bad_file_is_told_and_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, session("good", [said("user", "hi")]), session("z", [said("user", "ho")]))
    bad = {
        "array.json": b"[]",
        "binary.json": b'{"session_id": "\xff"}',
        "deep.json": b"[" * 100_000,
        "digits.json": b'{"messages": [' + b"9" * 5000 + b"]}",
        "empty.json": b"",
        "no_messages.json": b'{"session_id": "n"}',
        "odd_id.json": b'{"session_id": 5, "messages": []}',
        "torn.json": b'{"session_id": "t", "messages": [{"role": "us',
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    sessions, problems = taken(tmp_path)
    assert list(sessions) == ["good", "z"]
    assert [Path(problem.path).name for problem in problems] == sorted(bad)


def test_a_session_whose_metadata_cannot_be_stored_loses_only_what_cannot(tmp_path: Path) -> None:
    text = '{"session_id":"x","title":"\\ud800","messages":[],"metadata":{"a":NaN,"b":1},"big":%s,"c":2}'
    (tmp_path / "x.json").write_text(text % json.dumps("x" * 2**24))
    sessions, problems = taken(tmp_path)
    assert sessions["x"].title is None
    assert sessions["x"].metadata == {"b": 1, "praisonai": {"c": 2}}
    told = details(problems)
    assert "The title cannot be stored" in told
    assert "The a cannot be stored" in told
    assert "The big is left out: the session's metadata would be too large." in told


def test_two_files_of_one_session_leave_the_first(tmp_path: Path) -> None:
    write(tmp_path, session("x", [said("user", "first")]))
    (tmp_path / "y.json").write_text(json.dumps(session("x", [said("user", "second")])))
    sessions, problems = taken(tmp_path)
    assert [m.content for m in sessions["x"].messages] == ["first"]
    assert details(problems) == "y.json: The session 'x' is in another file too; the first one counts."


def test_the_id_is_the_files_own_word_and_its_name_only_stands_in(tmp_path: Path) -> None:
    (tmp_path / "user_1_chat.json").write_text(json.dumps(session("user:1/chat")))
    (tmp_path / "nameless.json").write_text('{"session_id": "", "messages": []}')
    assert list(taken(tmp_path)[0]) == ["nameless", "user:1/chat"]


def test_message_ids_count_once_and_only_if_they_are_ids(tmp_path: Path) -> None:
    messages = [said("user", 1, id="m"), said("user", 2, id="m"), said("user", 3, id=""), said("user", 4, id="n" * 513)]
    write(tmp_path, session("x", messages))
    sessions, problems = taken(tmp_path)
    assert [(m.content, m.id) for m in sessions["x"].messages] == [(1, "m"), (3, None), (4, None)]
    assert sessions["x"].messages[1].fields == {"id": ""}
    assert "Message 2 was skipped: The id 'm' is taken; the first one counts." in details(problems)


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        (1750000000, 1750000000.0),
        ("2025-06-15T15:06:40Z", 1750000000.0),
        ("2025-06-15T15:06:40", 1750000000.0),
        ("2025-06-15T17:06:40+02:00", 1750000000.0),
        (1750000000000, None),
        (-1, None),
        (True, None),
        (10**400, None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        (None, None),
        ([], None),
    ],
)
def test_a_timestamp_that_cannot_be_read_is_none(timestamp: object, at: float | None) -> None:
    assert foreign.unix_seconds(timestamp) == at


def test_text_without_a_zone_is_utc_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert foreign.unix_seconds("2025-06-15T15:06:40") == 1750000000.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_time_that_is_no_number_stays_a_field(tmp_path: Path) -> None:
    times = ["soon", "2025-06-15T15:06:40Z"]
    write(tmp_path, session("x", [said("user", "a") | {"timestamp": each} for each in times]))
    messages = taken(tmp_path)[0]["x"].messages
    assert [(m.at, m.fields) for m in messages] == [
        (None, {"timestamp": "soon"}),
        (1750000000.0, {"timestamp": "2025-06-15T15:06:40Z"}),
    ]


def test_nothing_is_followed_out_of_the_folder_and_what_is_no_session_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(session("secret", [said("user", "mine")])))
    folder = tmp_path / "sessions"
    folder.mkdir()
    write(folder, session("x"))
    (folder / "link.json").symlink_to(secret)
    os.mkfifo(folder / "pipe.json")
    (folder / "sub").mkdir()
    (folder / "x.json.lock").touch()
    (folder / "x.json.corrupt").write_text("{")
    sessions, problems = taken(folder)
    assert list(sessions) == ["x"]
    assert {Path(problem.path).name: problem.detail for problem in problems} == {
        "link.json": "It is a symbolic link, and was not followed.",
        "pipe.json": "It is no regular file, and was not followed.",
        "sub": "It is no part of the layout that is known, and was left out.",
        "x.json.corrupt": "It is no part of the layout that is known, and was left out.",
    }


def test_the_source_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path, session("x", [said("user", "hi")], parent_id="y"), session("y"))
    (tmp_path / "bad.json").write_text("{")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    taken(tmp_path)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(
        b"\xef\xbb\xbf" + json.dumps(session("x"), indent=1).replace("\n", "\r\n").encode()
    )
    assert list(taken(tmp_path)[0]) == ["x"]


def test_a_file_that_vanishes_between_the_passes_leaves_its_children(tmp_path: Path) -> None:
    write(tmp_path, session("a"), session("p", children_ids=["q"]), session("q", parent_id="p"))
    problems: list[Problem] = []
    reading = read(tmp_path, "praisonai", problems.append)
    assert next(reading).id == "a"
    (tmp_path / "p.json").unlink()
    assert [(each.id, each.parent_id) for each in reading] == [("q", None)]
    assert "The parent of 'q' could not be read, so it becomes a root." in details(problems)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, session("x"), session("y", [said("user", "long" * 1000)]))
    monkeypatch.setattr(foreign, "MAX_FILE_BYTES", 2000)
    sessions, problems = taken(tmp_path)
    assert list(sessions) == ["x"]
    assert "y.json: The file is larger than" in details(problems)


def test_a_deep_chain_of_parents_needs_no_deep_stack(tmp_path: Path) -> None:
    places = {str(n): (tmp_path, str(n + 1)) for n in range(20_000)}
    problems: list[Problem] = []
    order = foreign.arrange(places, problems.append)
    assert [order[0], order[-1]] == [("19999", None), ("0", "1")]
    assert len(problems) == 1


def test_the_layout_is_recognised_by_what_the_files_hold(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"other": true}')
    write(tmp_path, session("x", [said("user", "hi")]))
    assert list(taken(tmp_path, None)[0]) == ["x"]


def test_a_folder_that_cannot_be_read_as_sessions_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "package.json").write_text('{"messages": []}')
    cases = [
        ("nowhere", "praisonai", "There is no folder"),
        ("file", "praisonai", "is not a folder."),
        ("empty", "praisonai", "holds no file that ends in .json."),
        ("empty", None, "holds no sessions of a layout that is known (praisonai, claude-code)."),
        ("other", None, "holds no sessions of a layout that is known"),
        ("empty", "zip", "The layout 'zip' is not known; known are 'praisonai', 'claude-code'."),
        ("a\0b", "praisonai", "cannot be read"),
    ]
    for name, layout, sentence in cases:
        with pytest.raises(InvalidRecord) as caught:
            read(tmp_path / name, layout, lambda problem: None)
        assert sentence in str(caught.value), name
        assert caught.value.where == "folder"
