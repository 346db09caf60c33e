"""What is no conversation: bundles, as a document, as lines, from a pipe; PraisonAI's and Claude Code's folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, plain, run, run_in_terminal, write_json
from tests.support import contents, texts
from tests.transfer.test_claude_code_layout import S, assistant, user
from tests.transfer.test_claude_code_layout import write as write_transcript
from tests.transfer.test_praisonai_layout import said, session

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    """The same two sessions, and another, in each form of a bundle."""
    with SessionStore(tmp_path / "source") as store:
        top = store.create("top", title="The top")
        top.append("user", "one")
        top.spawn("below").append("user", "two")
        store.create("alone").append("user", "three")
        store.bind("key", top)
        top.set_ref("openai", "thread")
        top_document, other = store.export("top"), store.export("alone")
        top_lines, other_lines = [b"".join(store.export_lines(name)) for name in ("top", "alone")]
    texts = {
        "document": json.dumps(top_document),
        "pretty": json.dumps(top_document, indent=1, sort_keys=True),
        "lines": top_lines.decode(),
        "lines again": "\n".join(json.dumps(json.loads(line)) for line in top_lines.splitlines()),
        "blank lines": "\n\n" + top_lines.decode().replace("\n", "\n\n"),
        "documents": f"{json.dumps(top_document)}\n{json.dumps(other)}\n",
        "array": json.dumps([top_document, other]),
        "streams": (top_lines + other_lines).decode(),
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = tmp_path / f"{name}.data"
        paths[name].write_text(text)
    return paths


SEVERAL = ("documents", "array", "streams")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The same of other programs."""
    praisonai, claude = tmp_path / "praisonai", tmp_path / "claude"
    praisonai.mkdir()
    claude.mkdir()
    write_json(praisonai / "a.json", session("a", [said("user", "hello", 1.0)], title="A"))
    write_json(praisonai / "b.json", session("b", [said("user", "below", 2.0)], parent_id="a"))
    (praisonai / "c.json").write_text("{")
    write_transcript(claude, user("u1", None, "hi"), assistant("a1", "u1", "hello"))
    with (claude / f"{S}.jsonl").open("a") as file:
        file.write("oops\n")
    return {"praisonai": praisonai, "claude-code": claude}


def _imports(root: Path, *arguments: object, **more: Any) -> dict[str, Any]:
    done = run("import", *arguments, "--root", root, "--json", **more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["document", "pretty", "lines", "lines again", "blank lines", *SEVERAL])
def test_a_bundle_is_told_by_what_it_holds(name: str, bundles: dict[str, Path], root: Path) -> None:
    found = _imports(root, bundles[name])
    assert found["sources"] == [{"path": str(bundles[name]), "format": "bundle"}]
    assert found["roots"] == (["top", "alone"] if name in SEVERAL else ["top"])
    assert (found["sessions"], found["messages"]) == ((3, 3) if name in SEVERAL else (2, 2))
    assert (found["skipped"], found["problems"], found["dry_run"]) == ([], [], False)
    with SessionStore(root) as store:
        assert texts(store.get("below")) == ["two"]
        assert store.get("below").parent_id == "top"
        assert store.check().problems == ()


@pytest.mark.parametrize("name", ["document", "lines", "streams"])
def test_standard_input_is_read_where_a_dash_stands(name: str, bundles: dict[str, Path], root: Path) -> None:
    found = _imports(root, "-", typed=bundles[name].read_text())
    assert found["roots"][0] == "top"
    found = _imports(root, "-", typed=json.dumps(HELLO))
    assert found["roots"] == ["stdin"]
    found = _imports(root, "-", "--name", "mine", typed=json.dumps(HELLO))
    assert found["roots"] == ["mine"]


@pytest.mark.parametrize("name", ["document", "streams"])
def test_importing_again_changes_nothing_and_says_so(name: str, bundles: dict[str, Path], root: Path) -> None:
    _imports(root, bundles[name])
    before = contents(root / "sessions")
    done = run("import", bundles[name], "--root", root)
    assert done.returncode == 0
    assert done.stdout.split() == ["top", "alone"][: done.stdout.count("\n")]
    assert done.stderr.startswith("Nothing to do")
    assert "--on-conflict new-ids" in done.stderr
    assert contents(root / "sessions") == before


def test_a_copy_gets_new_ids(bundles: dict[str, Path], root: Path) -> None:
    _imports(root, bundles["lines"])
    found = _imports(root, bundles["lines"], "--on-conflict", "new-ids")
    assert (found["sessions"], found["messages"], found["skipped"]) == (2, 2, [])
    assert found["roots"] != ["top"]
    with SessionStore(root) as store:
        assert len(store.tree()) == 2
        assert store.get(found["roots"][0]).title == "The top"


def test_a_conflict_is_refused_where_that_is_wanted(bundles: dict[str, Path], root: Path) -> None:
    _imports(root, bundles["lines"])
    for dry in ([], ["--dry-run"]):
        done = run("import", bundles["document"], "--root", root, "--on-conflict", "refuse", *dry)
        assert done.returncode == 1
        assert is_one_sentence(done.stderr)
        assert "new-ids" in done.stderr


def test_what_comes_can_hang_below_a_session(
    bundles: dict[str, Path], folders: dict[str, Path], tmp_path: Path, root: Path
) -> None:
    chats = write_json(tmp_path / "chats.json", [{"task_id": 1, "trial": 1, "messages": HELLO}])
    plain_chat = write_json(tmp_path / "chat.json", HELLO)
    with SessionStore(root) as store:
        store.create("box", title="Box")
    _imports(root, bundles["lines"], folders["praisonai"], chats, plain_chat, "--parent", "bo")
    with SessionStore(root) as store:
        assert {child.id for child in store.get("box").children} == {"top", "a", "chats/1", "chat"}
        assert len(store.tree()) == 1
        assert store.check().problems == ()


def test_routes_come_along_when_they_are_wanted_and_refs_unless_they_are_not(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    for number, (options, route, refs) in enumerate(
        [([], False, {"openai": "thread"}), (["--routes"], True, {"openai": "thread"}), (["--no-refs"], False, {})]
    ):
        root = tmp_path / f"store-{number}"
        _imports(root, bundles["lines"], *options)
        with SessionStore(root) as store:
            assert (store.resolve("key") is not None) == route
            assert store.get("top").refs == refs


@pytest.mark.parametrize("name", ["praisonai", "claude-code"])
@pytest.mark.parametrize("forced", [False, True])
def test_another_programs_folder_is_told_by_what_it_holds_and_each_bad_line_is_named(
    name: str, forced: bool, folders: dict[str, Path], root: Path
) -> None:
    arguments = [folders[name], *(["--as", name] if forced else [])]
    before = contents(folders[name])
    found = _imports(root, *arguments)
    assert found["sources"][0]["format"] == (name if forced else "folder")
    assert found["roots"] == [{"praisonai": "a", "claude-code": S}[name]]
    problem = found["problems"][0]
    assert problem["line"] == {"praisonai": None, "claude-code": 3}[name]
    assert contents(folders[name]) == before
    done = run("import", *arguments, "--root", root)
    assert done.stderr.startswith("Nothing to do")
    place = {"praisonai": "c.json: ", "claude-code": f"{S}.jsonl:3: "}[name]
    assert f"{folders[name]}/{place}" in done.stderr


def test_of_a_folder_of_folders_those_that_can_be_taken_are_and_the_others_are_named(
    folders: dict[str, Path], tmp_path: Path, root: Path
) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    folders["claude-code"].rename(projects / "-home-me-app")
    (projects / "-home-me-nothing").mkdir()
    (projects / "linked").symlink_to(folders["praisonai"])
    for arguments in ([], ["--as", "claude-code"]):
        found = _imports(root, projects, *arguments)
        assert [item["path"] for item in found["sources"]] == [str(projects / "-home-me-app")]
        assert found["roots"] == [S]
        assert found["problems"][0]["path"] == str(projects / "-home-me-nothing")


def test_of_a_flood_of_problems_the_first_are_printed_and_all_are_in_the_json(
    folders: dict[str, Path], root: Path
) -> None:
    with (folders["claude-code"] / f"{S}.jsonl").open("a") as file:
        file.write("oops\n" * 500)
    done = run("import", folders["claude-code"], "--root", root, "--dry-run")
    assert len(done.stderr.splitlines()) == 102
    assert done.stderr.splitlines()[-1].startswith("… and 401 more problems")
    assert len(_imports(root, folders["claude-code"])["problems"]) == 501


def test_several_kinds_go_in_at_once_and_are_printed_in_a_terminal_with_numbers(
    bundles: dict[str, Path], folders: dict[str, Path], tmp_path: Path, root: Path
) -> None:
    chat = write_json(tmp_path / "chat.json", HELLO)
    arguments = (bundles["streams"], folders["praisonai"], chat)
    written, status = run_in_terminal("import", *arguments, "--root", root)
    assert status == 0
    lines = plain(written)
    assert [line.split()[:2] for line in lines if line.strip()[:1].isdigit()] == [
        ["1", "chat"], ["2", "top"], ["3", "alone"], ["4", "a"],
    ]  # fmt: skip
    assert any("Imported 1 conversation (1 message)" in line for line in lines)
    assert any("Imported 3 sessions (3 messages) from" in line for line in lines)
    shown = run("show", "2", "--root", root)
    assert shown.returncode == 0
    assert "The top" in shown.stdout


def test_a_dry_run_says_the_same_and_writes_nothing(
    bundles: dict[str, Path], folders: dict[str, Path], tmp_path: Path, root: Path
) -> None:
    chat = write_json(tmp_path / "chat.json", HELLO)
    arguments = (bundles["streams"], *folders.values(), bundles["document"], folders["praisonai"], chat)
    would = _imports(root, *arguments, "--dry-run")
    assert not root.exists()
    did = _imports(root, *arguments)
    assert would == did | {"dry_run": True}
    before = contents(root)
    would = _imports(root, *arguments, "--dry-run")
    assert contents(root) == before
    assert (would["sessions"], would["messages"]) == (0, 0)
    assert _imports(root, *arguments) == would | {"dry_run": False}
    with SessionStore(root) as store:
        store.delete("alone")
        store.delete("chat")
        store.purge()
    before = contents(root / "sessions")
    done = run("import", bundles["streams"], chat, "--root", root, "--dry-run")
    assert contents(root / "sessions") == before
    assert (done.returncode, done.stdout) == (0, "")
    assert "Would import 1 conversation (1 message)" in done.stderr
    assert "Would import 1 session (1 message)" in done.stderr
    assert "Skipped: 2 sessions" in done.stderr


BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "cut off": (lambda text: text[: len(text) // 2], "cut off|no JSON|before its end"),
    "without its end": (lambda text: text[: text.rstrip().rindex("\n") + 1], "before its end"),
    "of a later version": (lambda text: text.replace('"format":1', '"format":99'), "upgrade"),
    "with a bad line": (lambda text: text.replace('{"commit"', '{"commix"', 1), "not a session's"),
    "of nobody": (lambda text: text.replace('"root":"top"', '"root":"nobody"'), "roots"),
}


@pytest.mark.parametrize("name", BAD)
def test_lines_that_are_no_bundle_are_one_sentence_and_nothing_is_taken(
    name: str, bundles: dict[str, Path], root: Path
) -> None:
    change, reason = BAD[name]
    path = bundles["lines"]
    path.write_text(change(path.read_text()))
    done = run("import", path, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr), done.stderr
    assert str(path) in done.stderr
    assert any(word in done.stderr for word in reason.split("|"))
    with SessionStore(root) as store:
        assert store.tree() == ()
        assert store.check().problems == ()


def test_what_came_before_a_bad_one_is_said_to_be_there(bundles: dict[str, Path], root: Path) -> None:
    bad = bundles["document"]
    bad.write_text(bad.read_text().replace('"sessions"', '"session"'))
    done = run("import", bundles["lines"], bad, "--root", root)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["What came before it is in the store."]
    with SessionStore(root) as store:
        assert "top" in store


def test_what_is_something_else_is_refused_with_a_hint(
    bundles: dict[str, Path], folders: dict[str, Path], tmp_path: Path, root: Path
) -> None:
    (tmp_path / "empty").mkdir()
    mixed = tmp_path / "mixed.json"
    mixed.write_text(bundles["document"].read_text() + "\n" + json.dumps(HELLO[0]))
    for arguments, hint in (
        ([folders["claude-code"] / f"{S}.jsonl"], "not JSON"),
        ([mixed], "bundles and other things"),
        ([tmp_path / "empty"], "holds no sessions"),
        ([tmp_path / "empty", "--as", "praisonai"], ".json"),
        ([folders["praisonai"], "--as", "bundle"], "takes files"),
        ([bundles["lines"], "--as", "praisonai"], "takes the folder"),
        ([folders["praisonai"] / "a.json", "--as", "bundle"], "no bundle"),
        ([tmp_path / "nothing"], "cannot be read"),
        ([bundles["lines"], "--parent", "box"], "no store yet"),
        ([bundles["lines"], "--parent", "box", "--dry-run"], "no store yet"),
    ):
        done = run("import", *arguments, "--root", root)
        assert done.returncode == 1, arguments
        assert is_one_sentence(done.stderr), done.stderr
        assert hint in done.stderr
        assert not root.exists()


def test_a_transcript_alone_is_refused_with_a_hint(folders: dict[str, Path], root: Path) -> None:
    path = folders["claude-code"] / f"{S}.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    done = run("import", path, "--root", root)
    assert done.returncode == 1
    assert "import the folder" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["{chat}", "--as", "xml"], ["{lines}", "--on-conflict", "panic"], ["{chat}", "--on-conflict", "skip"],
        ["{lines}", "--name", "x"], ["{chat}", "{lines}", "--name", "x"], ["{chat}", "--name", ""], ["{chat}", "--processes", "0"],
        [],
    ],
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments: list[str], bundles: dict[str, Path], tmp_path: Path, root: Path) -> None:
    chat = write_json(tmp_path / "chat.json", HELLO)
    done = run("import", *[word.format(chat=chat, lines=bundles["lines"]) for word in arguments], "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert not root.exists()


def test_a_bundle_can_be_forced_to_be_conversations_and_is_then_refused(bundles: dict[str, Path], root: Path) -> None:
    done = run("import", bundles["document"], "--as", "conversations", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


def test_ids_with_escape_sequences_are_printed_harmless(tmp_path: Path, root: Path) -> None:
    with SessionStore(tmp_path / "source") as store:
        store.create("\x1b[2J\u202e").append("user", "x")
        path = write_json(tmp_path / "b.json", store.export("\x1b[2J\u202e"))
    for written in (run("import", path, "--root", root).stdout, run_in_terminal("import", path, "--root", root)[0]):
        assert r"\x1b[2J\u202e" in written
        assert "\x1b[2J" not in written
