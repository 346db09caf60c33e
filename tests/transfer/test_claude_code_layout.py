"""Claude Code's project folders become neutral sessions: the tree of each transcript, its branches and its delegates."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hierstore.errors import InvalidRecord
from hierstore.transfer import foreign
from hierstore.transfer.foreign import ForeignSession, Problem, read
from tests.effort import lines_run

S = "3f2c040e-1111-4111-8111-111111111111"


def user(uuid: str, parent: str | None, content: Any, **more: Any) -> dict[str, Any]:
    return {
        "parentUuid": parent,
        "isSidechain": False,
        "userType": "external",
        "cwd": "/home/me/app",
        "sessionId": S,
        "version": "2.1.37",
        "gitBranch": "main",
        "type": "user",
        "message": {"role": "user", "content": content},
        "uuid": uuid,
        "timestamp": "2026-01-05T10:00:01.250Z",
        **more,
    }


def assistant(uuid: str, parent: str | None, *parts: Any, answer: str | None = None, **more: Any) -> dict[str, Any]:
    said = {
        "id": answer or f"msg_{uuid}",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts],
        "stop_reason": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    return {**user(uuid, parent, None), "type": "assistant", "message": said, "requestId": "req_1", **more}


def call(tool: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool, "name": "Bash", "input": {"command": "ls"}}


def result(tool: str) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": tool, "content": "ok"}]


def write(folder: Path, *lines: Any, name: str = S) -> Path:
    path = folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def taken(folder: Path, layout: str | None = "claude-code") -> tuple[dict[str, ForeignSession], list[Problem]]:
    problems: list[Problem] = []
    sessions = list(read(folder, layout, problems.append))
    ids = [each.id for each in sessions]
    assert len(set(ids)) == len(ids)
    for place, each in enumerate(sessions):
        assert each.parent_id is None or each.parent_id in ids[:place], "a parent comes first"
    return {each.id: each for each in sessions}, problems


def ids_of(session: ForeignSession) -> list[str | None]:
    return [message.id for message in session.messages]


def details(problems: list[Problem]) -> str:
    return "\n".join(f"{Path(problem.path).name}:{problem.line}: {problem.detail}" for problem in problems)


def test_a_transcript_keeps_all_that_its_records_say(tmp_path: Path) -> None:
    snapshot = {
        "type": "file-history-snapshot",
        "messageId": "u1",
        "snapshot": {"files": {}},
        "isSnapshotUpdate": False,
    }
    hook = {"type": "system", "subtype": "stop_hook_summary", "uuid": "h1", "parentUuid": "a1", "content": "done"}
    queue = {"type": "queue-operation", "operation": "enqueue", "sessionId": S}
    never_seen = {"type": "from-the-future", "value": [1, None]}
    asked = user("u1", None, "list", todos=[], thinkingMetadata={"level": "high"})
    answered = assistant("a1", "u1", {"type": "thinking", "thinking": "…", "signature": "s"}, "here")
    thanked = user("u2", "h1", [{"type": "text", "text": "thanks"}], timestamp="2026-01-05T10:00:09Z")
    write(tmp_path, snapshot, asked, answered, hook, queue, never_seen, thanked)
    sessions, problems = taken(tmp_path)
    assert problems == []
    assert list(sessions) == [S]
    session = sessions[S]
    assert (session.parent_id, session.kind, session.title, session.labels) == (None, None, None, ())
    assert session.created_at == 1767607201.25
    assert [(m.id, m.role, m.content, m.at) for m in session.messages] == [
        ("u1", "user", "list", 1767607201.25),
        ("a1", "assistant", answered["message"]["content"], 1767607201.25),
        ("u2", "user", [{"type": "text", "text": "thanks"}], 1767607209.0),
    ]
    for message, record in zip(session.messages, (asked, answered, thanked), strict=True):
        assert message.metadata == {"claude_code": {key: record[key] for key in record if key != "message"}}
        assert {"role": message.role, "content": message.content, **message.fields} == record["message"]
    assert session.messages[1].fields["usage"] == {"input_tokens": 3, "output_tokens": 5}
    assert session.metadata["claude_code"]["records"] == [
        {"line": 1, "record": snapshot},
        {"line": 4, "record": hook},
        {"line": 5, "record": queue},
        {"line": 6, "record": never_seen},
    ]


def test_an_edited_prompt_leaves_a_branch_below_the_present_history(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "start"),
        assistant("a1", "u1", "ok"),
        user("u2", "a1", "wrong way", timestamp="2026-01-05T10:00:30Z"),
        assistant("a2", "u2", "going there"),
        user("u3", "a1", "right way"),
        assistant("a3", "u3", "there"),
    )
    sessions, problems = taken(tmp_path)
    assert problems == []
    assert ids_of(sessions[S]) == ["u1", "a1", "u3", "a3"]
    branch = sessions[f"{S}/branch-u2"]
    assert (branch.parent_id, branch.kind, branch.created_at) == (S, "branch", 1767607230.0)
    assert ids_of(branch) == ["u2", "a2"]
    assert branch.metadata == {"claude_code": {"branched_from": "a1"}}


def test_a_branch_of_a_branch_hangs_below_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "start"),
        user("b1", "u1", "branch"),
        user("c1", "b1", "its branch"),
        user("b2", "b1", "branch goes on"),
        user("u2", "u1", "the present"),
        user("b1-again", None, "began anew"),
        user("u3", "u2", "and last"),
    )
    sessions, _ = taken(tmp_path)
    assert {each.id: (each.parent_id, ids_of(each)) for each in sessions.values()} == {
        S: (None, ["u1", "u2", "u3"]),
        f"{S}/branch-b1-again": (S, ["b1-again"]),
        f"{S}/branch-b1": (S, ["b1", "b2"]),
        f"{S}/branch-c1": (f"{S}/branch-b1", ["c1"]),
    }
    assert sessions[f"{S}/branch-c1"].metadata["claude_code"]["branched_from"] == "b1"
    assert sessions[f"{S}/branch-b1-again"].metadata["claude_code"]["branched_from"] is None


def test_results_of_parallel_calls_are_no_branches(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "write two files"),
        assistant("a1", "u1", "thinking", answer="msg_1"),
        assistant("a2", "a1", call("t1"), answer="msg_1"),
        assistant("a3", "a2", call("t2"), answer="msg_1"),
        user("r1", "a2", result("t1")),
        user("r2", "a3", result("t2")),
        assistant("a4", "r2", "done", answer="msg_2"),
    )
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "a1", "a2", "a3", "r1", "r2", "a4"]
    assert (list(sessions), problems) == ([S], [])


def test_lines_of_one_answer_beside_the_chain_and_their_results_are_no_branches(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "go"),
        assistant("a1", "u1", call("t1"), answer="msg_1"),
        assistant("a2", "a1", call("t2"), answer="msg_1"),
        user("r2", "a2", result("t2")),
        user("r1", "a1", result("t1")),
        assistant("a3", "r1", "done", answer="msg_2"),
    )
    sessions, _ = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "a1", "a2", "r2", "r1", "a3"]
    assert list(sessions) == [S]
    assert [m.fields["id"] for m in sessions[S].messages if m.role == "assistant"] == ["msg_1", "msg_1", "msg_2"]


def test_a_record_that_comes_before_its_parent_keeps_the_chains_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "1"),
        user("u3", "u2", "3"),
        user("u2", "u1", "2"),
        user("u4", "u3", "4"),
    )
    assert ids_of(taken(tmp_path)[0][S]) == ["u1", "u2", "u3", "u4"]


def test_a_compaction_does_not_end_the_history(tmp_path: Path) -> None:
    boundary = {
        "type": "system",
        "subtype": "compact_boundary",
        "parentUuid": None,
        "logicalParentUuid": "a1",
        "uuid": "cb",
        "compactMetadata": {"trigger": "auto", "preTokens": 150000},
    }
    write(
        tmp_path,
        user("u1", None, "long"),
        assistant("a1", "u1", "story"),
        boundary,
        user("s1", "cb", "This session is continued…", isCompactSummary=True),
        user("u2", "s1", "and then"),
    )
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "a1", "s1", "u2"]
    assert sessions[S].metadata["claude_code"]["records"] == [{"line": 3, "record": boundary}]
    assert (list(sessions), problems) == ([S], [])


def test_a_compactions_summary_beside_the_chain_stays_in_the_history_where_it_was_written(tmp_path: Path) -> None:
    boundary = {"type": "system", "parentUuid": None, "logicalParentUuid": "a1", "uuid": "cb"}
    hook = {"type": "attachment", "parentUuid": "cb", "uuid": "hook"}
    write(
        tmp_path,
        user("u1", None, "long"),
        assistant("a1", "u1", "story"),
        boundary,
        hook,
        user("s1", "hook", "Summary", isCompactSummary=True),
        user("u2", "a1", "and then"),
        user("old", "u1", "abandoned"),
        user("s2", "old", "Summary of what was abandoned", isCompactSummary=True),
        user("u3", "u2", "end"),
    )
    sessions, _ = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "a1", "s1", "u2", "u3"]
    assert ids_of(sessions[f"{S}/branch-old"]) == ["old", "s2"]
    assert len(sessions) == 2


def test_a_torn_line_does_not_cut_the_history_off(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "1"),
        user("u2", "u1", "2"),
        b'{"type":"assistant","uuid":"lost","parentUuid":"u2","mess',
        user("u3", "lost", "3"),
    )
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2", "u3"]
    assert [problem.line for problem in problems] == [3, 4]
    assert "The line is not JSON, or is cut off" in problems[0].detail
    assert problems[1].detail == "Its parent is missing; it is taken to follow line 2."


def test_after_a_torn_line_the_history_goes_on_with_itself_and_no_helper(tmp_path: Path) -> None:
    helper = [user("p1", None, "helper", isSidechain=True), user("p2", "lost too", "goes on", isSidechain=True)]
    write(tmp_path, user("u1", None, "1"), helper[0], user("u2", "lost", "2"), helper[1])
    sessions, _ = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2"]
    assert ids_of(sessions[f"{S}/sidechain-p1"]) == ["p1", "p2"]


def test_bad_lines_are_told_by_number_and_hide_no_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        b"",
        b"not json",
        user("u1", None, "1"),
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"\0" * 100,
        b"   ",
        user("u2", "u1", "2"),
        b'{"type":"user","uuid":"u3"',
    )
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2"]
    assert [problem.line for problem in problems] == [2, 4, 5, 6, 7, 8, 11]
    assert {problem.path for problem in problems} == {str(tmp_path / f"{S}.jsonl")}


def test_a_message_that_cannot_be_stored_is_told_and_keeps_its_place_in_the_chain(tmp_path: Path) -> None:
    huge = user("huge", "deep", "x" * (16 * 2**20 + 1))
    deep = json.dumps(user("deep", "int", "%")).replace('"%"', "[" * 250 + "]" * 250).encode()
    write(
        tmp_path,
        user("u1", None, "1"),
        user("nan", "u1", float("nan")),
        user("int", "nan", [2**64]),
        deep,
        huge,
        user("half", "huge", "\ud800"),
        user("role", "half", "x") | {"message": {"role": 7, "content": "x"}},
        user("extra", "role", "x", toolUseResult=-(2**63) - 1),
        user("u2", "extra", "2"),
    )
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2"]
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6, 7, 8]
    assert all(problem.detail.startswith("The message was skipped: The ") for problem in problems)
    assert list(sessions) == [S]


def test_a_record_that_cannot_be_stored_is_told_and_hides_no_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "1"),
        {"type": "progress", "data": float("inf")},
        {"type": "progress", "data": "x" * (9 * 2**20)},
        {"type": "progress", "data": "y" * (9 * 2**20)},
        {"type": "mode", "mode": "plan"},
    )
    sessions, problems = taken(tmp_path)
    assert [each["line"] for each in sessions[S].metadata["claude_code"]["records"]] == [3, 5]
    assert [problem.line for problem in problems] == [2, 4]
    assert problems[1].detail == "The record is left out: the session's metadata would be too large."


def test_a_record_as_deep_as_metadata_can_hold_is_kept(tmp_path: Path) -> None:
    def nested(levels: int) -> bytes:
        return b'{"type":"x","d":' + b"[" * levels + b"]" * levels + b"}"

    write(tmp_path, nested(195), nested(196))
    sessions, problems = taken(tmp_path)
    assert [problem.line for problem in problems] == [2]
    foreign.json_object(sessions[S].metadata, "metadata")


def test_of_two_messages_with_one_id_the_first_counts_and_the_other_stays_readable(tmp_path: Path) -> None:
    again = user("u1", None, "something else")
    write(tmp_path, user("u1", None, "1"), user("u2", "u1", "2"), user("u2", "u1", "2"), again, user("u3", "u2", "3"))
    sessions, problems = taken(tmp_path)
    assert [m.content for m in sessions[S].messages] == ["1", "2", "3"]
    assert [(problem.line, "was there before" in problem.detail) for problem in problems] == [(3, True), (4, True)]
    assert sessions[S].metadata["claude_code"]["records"] == [{"line": 4, "record": again}]


def test_an_id_that_is_none_is_left_off_and_the_chain_still_holds(tmp_path: Path) -> None:
    long = "u" * 513
    write(tmp_path, user(long, None, "1"), user("", long, "2"), user("u3", "", "3"), user("b" * 500, long, "branch"))
    (tmp_path / "other.jsonl").write_text(json.dumps(user("x", None, "y")))
    sessions, _ = taken(tmp_path)
    assert ids_of(sessions[S]) == [None, "b" * 500]
    assert sessions[S].messages[0].metadata["claude_code"]["uuid"] == long
    assert ids_of(sessions[f"{S}/branch-line-2"]) == [None, "u3"]


def test_a_branch_whose_id_would_be_too_long_is_named_by_its_line(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "1"), user("b" * 500, "u1", "branch"), user("u2", "u1", "2"))
    assert list(taken(tmp_path)[0]) == [S, f"{S}/branch-line-2"]


def test_of_two_branches_with_one_name_the_later_is_told(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "1"), user("b" * 500, "u1", "x"), user("line-2", "u1", "y"), user("u2", "u1", "2"))
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[f"{S}/branch-line-2"]) == ["line-2"]
    assert "There is a second session" in details(problems)
    assert len(problems) == 1


def test_a_branch_after_a_record_that_is_no_message_begins_at_the_message_above(tmp_path: Path) -> None:
    hook = {"type": "system", "uuid": "hook", "parentUuid": "u1"}
    write(tmp_path, user("u1", None, "1"), hook, user("b1", "hook", "branch"), user("u2", "hook", "2"))
    sessions, _ = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2"]
    assert sessions[f"{S}/branch-b1"].metadata["claude_code"]["branched_from"] == "u1"


def test_a_result_that_was_written_before_its_call_comes_after_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "go"),
        user("r1", "a1", result("t1")),
        assistant("a1", "u1", call("t1")),
        assistant("a2", "a1", "done"),
    )
    assert ids_of(taken(tmp_path)[0][S]) == ["u1", "a1", "r1", "a2"]


def test_a_cycle_of_parents_is_broken_and_told(tmp_path: Path) -> None:
    write(tmp_path, user("u1", "u3", "1"), user("u2", "u1", "2"), user("u3", "u2", "3"))
    write(tmp_path, user("self", "self", "me"), name="selfish")
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2", "u3"]
    assert ids_of(sessions["selfish"]) == ["self"]
    assert [problem.line for problem in problems] == [1, 1]
    assert all("below itself" in problem.detail for problem in problems)


def test_messages_without_a_tree_follow_each_other(tmp_path: Path) -> None:
    lines = [{"type": "user", "message": {"role": "user", "content": str(number)}} for number in range(3)]
    write(tmp_path, *lines)
    sessions, problems = taken(tmp_path)
    assert [(m.id, m.content) for m in sessions[S].messages] == [(None, "0"), (None, "1"), (None, "2")]
    assert (list(sessions), problems) == ([S], [])


def test_a_resumed_transcript_whose_first_parent_is_in_another_file_is_no_problem(tmp_path: Path) -> None:
    write(tmp_path, user("u1", "elsewhere", "on we go"), assistant("a1", "u1", "yes"))
    sessions, problems = taken(tmp_path)
    assert (ids_of(sessions[S]), problems) == (["u1", "a1"], [])


def test_the_users_title_beats_a_made_up_one_and_that_beats_a_summary(tmp_path: Path) -> None:
    summary = {"type": "summary", "summary": "Summed up", "leafUuid": "u1"}
    made_up = [{"type": "ai-title", "aiTitle": text, "sessionId": S} for text in ("First idea", "Second idea")]
    given = [{"type": "custom-title", "customTitle": text, "sessionId": S} for text in ("Mine", "Mine, again", None)]
    base = [summary, user("u1", None, "1")]
    for name, lines in {"a": base, "b": [*base, *made_up], "c": [*base, *given, *made_up]}.items():
        write(tmp_path, *lines, name=name)
    sessions, _ = taken(tmp_path)
    assert [each.title for each in sessions.values()] == ["Summed up", "Second idea", "Mine, again"]
    assert sessions["c"].metadata["claude_code"]["records"][1] == {"line": 3, "record": given[0]}


def test_a_summary_names_the_branch_that_it_is_of_and_none_of_another_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"type": "summary", "summary": "Another session", "leafUuid": "elsewhere"},
        {"type": "summary", "summary": "No leaf at all", "leafUuid": []},
        {"type": "summary", "summary": "The branch", "leafUuid": "b1"},
        user("u1", None, "1"),
        user("b1", "u1", "branch"),
        user("u2", "u1", "2"),
    )
    write(tmp_path, {"type": "summary", "summary": "All there is", "leafUuid": "elsewhere"}, name="only-a-summary")
    sessions, _ = taken(tmp_path)
    assert sessions[S].title is None
    assert sessions[f"{S}/branch-b1"].title == "The branch"
    assert sessions["only-a-summary"].title == "All there is"
    assert sessions["only-a-summary"].messages == []


def test_a_title_that_cannot_be_stored_is_told(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "1"), {"type": "ai-title", "aiTitle": {"no": "text"}})
    sessions, problems = taken(tmp_path)
    assert sessions[S].title is None
    assert "The title cannot be stored" in details(problems)


def test_subagents_are_delegates_below_their_session_or_the_agent_that_started_them(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "delegate"), assistant("a1", "u1", call("t1")))
    facts = {
        "a": {"agentType": "Explore", "description": "Look around", "toolUseId": "t1", "spawnDepth": 1},
        "b": {"agentType": "general-purpose", "parentAgentId": "c", "spawnDepth": 2},
    }
    for agent in ("a", "b", "c"):
        prompt = user("p", None, f"You are {agent}", isSidechain=True, agentId=agent)
        answer = assistant("q", "p", "done", isSidechain=True, agentId=agent)
        path = write(tmp_path, prompt, answer, name=f"{S}/subagents/agent-{agent}")
        if agent in facts:
            path.with_name(f"agent-{agent}.meta.json").write_text(json.dumps(facts[agent]))
    nested = user("p", None, "deeper", isSidechain=True)
    write(tmp_path, nested, name=f"{S}/subagents/workflows/w1/agent-d")
    sessions, problems = taken(tmp_path)
    assert problems == []
    assert {each.id: (each.parent_id, each.kind, each.title) for each in sessions.values()} == {
        S: (None, None, None),
        f"{S}/agent-a": (S, "delegate", "Look around"),
        f"{S}/agent-c": (S, "delegate", None),
        f"{S}/agent-b": (f"{S}/agent-c", "delegate", None),
        f"{S}/workflows/w1/agent-d": (S, "delegate", None),
    }
    assert sessions[f"{S}/agent-b"].messages[0].content == "You are b"
    assert ids_of(sessions[f"{S}/agent-b"]) == ["p", "q"]
    assert sessions[f"{S}/agent-a"].metadata == {"claude_code": {"agent": facts["a"]}}


def test_the_same_agent_id_in_two_sessions_is_two_sessions(tmp_path: Path) -> None:
    for session in ("s1", "s2"):
        write(tmp_path, user("u1", None, "go"), name=session)
        write(tmp_path, user("p", None, f"in {session}"), name=f"{session}/subagents/agent-x")
    sessions, problems = taken(tmp_path)
    assert [(each.parent_id, each.messages[0].content) for each in sessions.values() if each.kind] == [
        ("s1", "in s1"),
        ("s2", "in s2"),
    ]
    assert problems == []


def test_older_agents_beside_their_session_are_delegates_too(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "go"))
    write(tmp_path, user("p", None, "look", isSidechain=True, agentId="old"), name="agent-old")
    write(tmp_path, user("p", None, "look", isSidechain=True, sessionId="gone"), name="agent-orphan")
    sessions, problems = taken(tmp_path)
    assert sessions[f"{S}/agent-old"].parent_id == S
    assert ids_of(sessions[f"{S}/agent-old"]) == ["p"]
    assert sessions["gone/agent-orphan"].parent_id is None
    assert "agent-orphan.jsonl:None: Its parent 'gone' is not in the folder" in details(problems)
    assert len(problems) == 1


def test_sidechains_in_the_sessions_own_file_are_delegates_and_never_its_history(tmp_path: Path) -> None:
    write(
        tmp_path,
        user("u1", None, "go"),
        assistant("a1", "u1", call("t1")),
        user("p1", None, "first helper", isSidechain=True),
        user("p2", None, "second helper", isSidechain=True),
        assistant("q1", "p1", "done", isSidechain=True),
        user("retry", "p1", "otherwise", isSidechain=True),
        user("r1", "a1", result("t1")),
        assistant("q2", "p2", "done too", isSidechain=True),
    )
    sessions, problems = taken(tmp_path)
    assert problems == []
    assert {each.id: (each.parent_id, each.kind, ids_of(each)) for each in sessions.values()} == {
        S: (None, None, ["u1", "a1", "r1"]),
        f"{S}/sidechain-p2": (S, "delegate", ["p2", "q2"]),
        f"{S}/sidechain-p1": (S, "delegate", ["p1", "retry"]),
        f"{S}/branch-q1": (f"{S}/sidechain-p1", "branch", ["q1"]),
    }


def test_a_file_of_sidechains_alone_is_a_history_with_branches(tmp_path: Path) -> None:
    write(tmp_path, *(user(uuid, None, "go", isSidechain=True) for uuid in ("p1", "p2")))
    sessions, _ = taken(tmp_path)
    assert {each.id: (each.kind, ids_of(each)) for each in sessions.values()} == {
        S: (None, ["p2"]),
        f"{S}/branch-p1": ("branch", ["p1"]),
    }


def test_a_subagents_transcript_is_its_history_whatever_its_records_are_marked(tmp_path: Path) -> None:
    lines = [user("p", None, "look"), assistant("q", "p", "done", isSidechain=True)]
    write(tmp_path, *lines, name=f"{S}/subagents/agent-x")
    sessions, _ = taken(tmp_path)
    assert {each.id: ids_of(each) for each in sessions.values()} == {f"{S}/agent-x": ["p", "q"]}


def test_a_forked_file_is_a_branch_of_the_session_that_it_was_copied_from(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "go"), name="z-origin")
    write(tmp_path, user("u1", None, "go", forkedFrom={"sessionId": "z-origin", "messageUuid": "u1"}), name="a-fork")
    write(tmp_path, user("u1", None, "go", forkedFrom={"sessionId": "gone", "messageUuid": "u1"}), name="lost-fork")
    sessions, problems = taken(tmp_path)
    assert list(sessions) == ["z-origin", "a-fork", "lost-fork"]
    assert (sessions["a-fork"].parent_id, sessions["a-fork"].kind) == ("z-origin", "branch")
    assert (sessions["lost-fork"].parent_id, sessions["lost-fork"].kind) == (None, None)
    assert len(problems) == 1


def test_subagents_of_a_session_without_a_file_become_roots(tmp_path: Path) -> None:
    write(tmp_path, user("p", None, "look"), name="gone/subagents/agent-x")
    write(tmp_path, b"torn", name="bad")
    write(tmp_path, user("p", None, "look"), name="bad/subagents/agent-y")
    sessions, problems = taken(tmp_path)
    assert {each.id: each.parent_id for each in sessions.values()} == {"bad/agent-y": None, "gone/agent-x": None}
    told = details(problems)
    assert "agent-x.jsonl:None: Its parent 'gone' is not in the folder" in told
    assert "bad.jsonl:1: The line is not JSON" in told
    assert "bad.jsonl:None: The file holds no record that can be read." in told
    assert "The parent of 'bad/agent-y' could not be read, so it becomes a root." in told
    assert len(problems) == 4


def test_nothing_is_followed_out_of_the_folder_and_what_is_not_read_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    outside = write(tmp_path, user("u1", None, "mine"), name="outside/subagents/agent-x")
    write(folder, user("u1", None, "go"))
    (folder / "link.jsonl").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent.parent)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "memory").mkdir()
    (folder / "memory" / "note.md").touch()
    (folder / "sessions-index.json").write_text("{}")
    (folder / S / "tool-results").mkdir(parents=True)
    (folder / S / "subagents").symlink_to(outside.parent)
    sessions, problems = taken(folder)
    assert list(sessions) == [S]
    not_followed = [Path(p.path).name for p in problems if "was not followed" in p.detail]
    left_out = [Path(p.path).name for p in problems if "was left out" in p.detail]
    assert sorted(not_followed) == ["link.jsonl", "linked", "pipe.jsonl", "subagents"]
    assert sorted(left_out) == ["memory", "sessions-index.json", "tool-results"]


def test_a_bad_sidecar_costs_only_its_facts(tmp_path: Path) -> None:
    for agent, data in {"a": "{", "b": '{"description": NaN, "name": "b"}'}.items():
        path = write(tmp_path, user("p", None, "look"), name=f"{S}/subagents/agent-{agent}")
        path.with_name(f"agent-{agent}.meta.json").write_text(data)
    write(tmp_path, user("u1", None, "go"))
    sessions, problems = taken(tmp_path)
    assert len(sessions) == 3
    assert len(problems) == 2
    assert "agent-a.meta.json:None: The file is not JSON" in details(problems)
    assert "The sidecar cannot be stored: it holds nan" in details(problems)


def test_the_source_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "go"), b"torn")
    write(tmp_path, user("p", None, "look"), name=f"{S}/subagents/agent-x")

    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in tmp_path.rglob("*")
        }

    before = state()
    taken(tmp_path)
    assert state() == before


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    lines = [json.dumps(user("u1", None, "1")), json.dumps(user("u2", "u1", "2"))]
    (tmp_path / f"{S}.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    sessions, problems = taken(tmp_path)
    assert (ids_of(sessions[S]), problems) == (["u1", "u2"], [])


def test_a_line_that_is_too_long_is_told_and_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MAX_LINE_BYTES", 1000)
    exact = json.dumps(user("u2", "u1", "")).encode()
    exact = json.dumps(user("u2", "u1", "x" * (999 - len(exact)))).encode()
    assert len(exact) == 999
    write(tmp_path, user("u1", None, "1"), exact, user("long", "u2", "x" * 5000), user("u3", "u2", "3"))
    sessions, problems = taken(tmp_path)
    assert ids_of(sessions[S]) == ["u1", "u2", "u3"]
    assert [problem.line for problem in problems] == [3]
    assert "The line is longer than" in problems[0].detail


def test_one_session_is_read_at_a_time(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "1"), name="a")
    path = write(tmp_path, user("u1", None, "2"), name="b")
    problems: list[Problem] = []
    reading = read(tmp_path, "claude-code", problems.append)
    assert next(reading).id == "a"
    path.unlink()
    assert list(reading) == []
    assert "b.jsonl:None: The file cannot be read to its end" in details(problems)


def test_a_file_name_that_is_no_text_is_told_and_skipped(tmp_path: Path) -> None:
    write(tmp_path, user("u1", None, "1"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")).write_bytes(b'{"type":"user","uuid":"x"}')
    sessions, problems = taken(tmp_path)
    assert list(sessions) == [S]
    assert "would be too long or no text" in problems[0].detail


def test_hostile_trees_take_work_in_proportion_to_their_size(tmp_path: Path) -> None:
    def lines(count: int) -> int:
        links = [{"type": "system", "uuid": f"n{n}", "parentUuid": f"n{n - 1}"} for n in range(count)]
        leaves = [user(f"l{n}", f"n{count - 1}", "x") for n in range(count)]
        calls = assistant("many", "l0", *(call(f"t{n}") for n in range(count)))
        answers = [user(f"r{n}", "many", result(f"t{n}")) for n in range(count)]
        loose = [{"type": "system", "uuid": f"m{n}", "parentUuid": f"m{n - 1}"} for n in range(1, count)]
        loose.insert(0, {"type": "system", "uuid": "m0", "parentUuid": None})
        summaries = [user(f"s{n}", f"m{n}", "x", isCompactSummary=True) for n in range(count)]
        folder = tmp_path / str(count)
        write(folder, *links, *loose, *summaries, *leaves, calls, *answers)
        sessions: list[ForeignSession] = []
        run = lines_run(lambda: sessions.extend(read(folder, "claude-code", [].append)))
        assert sum(len(each.messages) for each in sessions) == 3 * count + 1
        return run

    # In proportion is 8; where each meets each other, it tends to 64.
    assert 7 < lines(2000) / lines(250) < 9


def test_the_layout_is_recognised_and_two_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    write(
        tmp_path,
        b"torn",
        {"type": "mode", "mode": "plan"},
        {"type": "summary", "summary": "x", "leafUuid": "y"},
        user("u1", None, "1"),
    )
    assert list(taken(tmp_path, None)[0]) == [S]
    agents = tmp_path / "agents"
    write(agents, user("p", None, "look"), name=f"{S}/subagents/agent-x")
    assert list(taken(agents, None)[0]) == [f"{S}/agent-x"]
    (tmp_path / "p.json").write_text('{"session_id": "p", "messages": []}')
    with pytest.raises(InvalidRecord, match="holds sessions of praisonai and claude-code; name the layout"):
        read(tmp_path, None, lambda problem: None)
    assert list(taken(tmp_path, "praisonai")[0]) == ["p"]


def test_a_folder_without_transcripts_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "-home-me-app").mkdir()
    write(tmp_path / "-home-me-app", user("u1", None, "1"))
    with pytest.raises(InvalidRecord, match="holds no transcript") as caught:
        read(tmp_path, "claude-code", lambda problem: None)
    assert caught.value.where == "folder"
    (tmp_path / "rows.jsonl").write_text('{"type": "row", "prompt": "x"}\n')
    with pytest.raises(InvalidRecord, match="holds no sessions of a layout that is known"):
        read(tmp_path, None, lambda problem: None)
