from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from hierstore.cli.outputs import write_file
from hierstore.cli.text import Refused
from tests.cli.pages import sound
from tests.cli.running import COMMAND, environment, is_one_sentence, run, run_in_terminal
from tests.support import log_of, texts


@pytest.fixture
def filled(root: Path) -> Path:
    """A store of two roots; one has a fork and a child."""
    with SessionStore(root) as store:
        chat = store.create("chat", title="A chat", labels=["one"])
        chat.append("user", "hello")
        chat.append("assistant", "hi\x1b[2J")
        chat.fork("branch").append("user", "own")
        chat.spawn("helper", kind="delegate").append("user", "help")
        store.create("Other/\u202e").append("user", "else")
    return root


def _export(root: Path, *arguments: object, **more: Any) -> str:
    done = run("export", *arguments, "--root", root, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _shape(root: Path) -> dict[str, list[Any]]:
    """The sessions of a store with what they say."""
    with SessionStore(root) as store:
        pending, found = list(store.tree()), {}
        while pending:
            node = pending.pop()
            found[node.id] = texts(store.get(node.id))
            pending += node.children
        assert store.check().problems == ()
        return found


@pytest.mark.parametrize("form", ["--bundle", "--lines"])
@pytest.mark.parametrize("way", ["pipe", "file"])
def test_a_bundle_becomes_the_same_sessions_elsewhere(form: str, way: str, filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    if way == "pipe":
        path.write_text(_export(filled, "chat", form))
    else:
        assert _export(filled, "chat", form, "-o", path) == ""
    done = run("import", path, "--root", tmp_path / "copy")
    assert (done.returncode, done.stdout) == (0, "chat\n")
    assert _shape(tmp_path / "copy") == {
        name: said for name, said in _shape(filled).items() if not name.startswith("Other")
    }


@pytest.mark.parametrize("form", ["--bundle", "--lines"])
def test_all_sessions_go_out_and_come_in_again(form: str, filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "all"
    _export(filled, "--all", form, "-o", path)
    assert run("import", path, "--root", tmp_path / "copy").returncode == 0
    assert _shape(tmp_path / "copy") == _shape(filled)


def test_without_its_subtree_a_session_goes_alone(filled: Path) -> None:
    assert [item["id"] for item in json.loads(_export(filled, "chat", "--no-subtree"))["sessions"]] == ["chat"]
    sessions = [
        line for line in _export(filled, "chat", "--no-subtree", "--lines").splitlines() if '"session"' in line[:12]
    ]
    assert len(sessions) == 1
    assert len(sound(_export(filled, "chat", "--no-subtree", "--html")).all("section")) == 1


@pytest.mark.parametrize(
    ("name", "beginning"), [("a.html", "<!doctype"), ("a.md", "# A chat"), ("a.jsonl", '{"format"'), ("a", '{"format"')]
)
def test_the_ending_of_the_file_decides_what_it_becomes(
    name: str, beginning: str, filled: Path, tmp_path: Path
) -> None:
    _export(filled, "chat", "-o", tmp_path / name)
    text = (tmp_path / name).read_text()
    assert text.startswith(beginning)
    assert (text.count("\n") == 1) == (name == "a")
    _export(filled, "chat", "--html", "-o", tmp_path / f"2{name}")
    assert (tmp_path / f"2{name}").read_text().startswith("<!doctype")


def test_the_page_is_sound_and_says_what_was_said(filled: Path) -> None:
    shown = sound(_export(filled, "chat", "--html"))
    assert shown.said("h1") == "A chat"
    for text in ("hello", r"hi\x1b[2J", "own", "help", "The first 2 messages are those of A chat"):
        assert text in shown.said("main")


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    path.write_text("mine")
    done = run("export", "chat", "-o", path, "--root", filled)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "--force" in done.stderr
    assert path.read_text() == "mine"
    _export(filled, "chat", "-o", path, "--force")
    sound(path.read_text())
    assert os.listdir(tmp_path) == [filled.name, "out.html"] or set(os.listdir(tmp_path)) == {filled.name, "out.html"}


def test_a_folder_gets_a_file_for_each_session(filled: Path, tmp_path: Path) -> None:
    said = json.loads(_export(filled, "--all", "--html", "-o", f"{tmp_path}/out/", "--json"))
    assert [item["format"] for item in said["files"]] == ["html", "html"]
    for item in said["files"]:
        path = Path(item["path"])
        assert path.parent == tmp_path / "out"
        assert path.name.isprintable()
        assert path.stat().st_size == item["bytes"]
        sound(path.read_text())
    done = run("export", "--all", "--html", "-o", f"{tmp_path}/out", "--root", filled)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


@pytest.mark.damages
def test_an_export_that_fails_leaves_no_file(filled: Path, tmp_path: Path) -> None:
    with SessionStore(filled) as store:
        log = log_of(store, "branch")
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "there.json").write_text("mine")
    for arguments in (
        ["-o", tmp_path / "out" / "new.json"],
        ["--lines", "--force", "-o", tmp_path / "out" / "there.json"],
    ):
        done = run("export", "chat", *arguments, "--root", filled)
        assert done.returncode == 1
        assert is_one_sentence(done.stderr)
    assert os.listdir(tmp_path / "out") == ["there.json"]
    assert (tmp_path / "out" / "there.json").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_appears_when_it_is_whole_whatever_ends_the_writing(force: bool, tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b"half"
        assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(str(tmp_path / "out"), pieces(), force=force)
    assert os.listdir(tmp_path) == []


def test_a_file_that_somebody_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def pieces() -> Any:
        yield b"ours"
        (tmp_path / "out").write_text("theirs")

    with pytest.raises(Refused, match="there already"):
        write_file(str(tmp_path / "out"), pieces(), force=False)
    assert (tmp_path / "out").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_has_the_permissions_that_the_user_gives_files(filled: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        _export(filled, "chat", "-o", tmp_path / "a.html")
    finally:
        os.umask(before)
    assert (tmp_path / "a.html").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("target", ["missing/out.json", "store", "x" * 300])
def test_a_file_that_cannot_be_written_is_one_sentence(target: str, filled: Path, tmp_path: Path) -> None:
    done = run("export", "chat", "--bundle", "-o", tmp_path / target, "--root", filled)
    if target == "store":
        # A folder: the session is written into it.
        assert (tmp_path / "store" / "chat.json").exists()
        return
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


def test_a_device_is_written_to_as_it_is(filled: Path) -> None:
    assert '"hierstore bundle"' in _export(filled, "chat", "-o", "/dev/stdout")
    assert run("export", "chat", "-o", "/dev/null", "--root", filled).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["chat", "--all"], ["--all", "--no-subtree"], ["chat", "--html", "--lines"], ["chat", "--json"],
        ["chat", "--bundle", "--markdown"], ["chat", "--unknown"],
    ],
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments: list[str], filled: Path) -> None:
    done = run("export", *arguments, "--root", filled)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_session_that_is_not_there_is_one_sentence(filled: Path) -> None:
    done = run("export", "nobody", "--root", filled)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr)


@pytest.mark.parametrize("form", ["--bundle", "--lines", "--html", "--markdown"])
def test_in_a_terminal_nothing_of_a_session_acts(form: str, filled: Path) -> None:
    written, status = run_in_terminal("export", "--all", form, "--root", filled)
    assert status == 0
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert "\x9b" not in written
    if form == "--bundle":
        assert [json.loads(line)["root"] for line in written.splitlines()] == ["chat", "Other/\u202e"]


def test_a_reader_that_has_enough_ends_it_in_silence(filled: Path) -> None:
    with SessionStore(filled) as store:
        store.create("long").extend([{"role": "user", "content": "x" * 1000}] * 2000)
    for form in ("--bundle", "--lines", "--html", "--markdown"):
        process = subprocess.Popen(
            [*COMMAND, "export", "long", form, "--root", str(filled)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), said) == (0, b"")


def test_a_session_named_twice_is_exported_once(filled: Path) -> None:
    assert len(_export(filled, "chat", "cha").splitlines()) == 1


def test_what_was_written_is_said_beside_it(filled: Path, tmp_path: Path) -> None:
    done = run("export", "chat", "-o", tmp_path / "a.html", "--root", filled)
    assert done.stdout == ""
    assert done.stderr.startswith(f"Wrote {tmp_path}/a.html (")


# Markdown


def test_markdown_quotes_what_was_said_and_heads_what_is_ours(filled: Path) -> None:
    with SessionStore(filled) as store:
        session = store.create("md", title="# <b>*T*</b>")
        session.append(
            "user", "# Not ours\n## 1. user\n<script>x</script> ![i](http://t.invalid/i.png)\n\n```html\n<b>\n```"
        )
        session.append(
            "assistant", None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": '{"a": "```"}'}}]
        )
        session.append("tool", "a\n```\nb\x1b[2J", tool_call_id="c")
        session.append("user", [{"type": "text", "text": "part"}, {"type": "image_url", "image_url": {"url": "x"}}])
    lines = _export(filled, "md", "--markdown").splitlines()
    assert lines[0] == r"\# \<b\>\*T\*\</b\>".replace(r"\#", r"# \#", 1)
    ours = [line for line in lines if not line.startswith(">")]
    assert [line.split(",")[0] for line in ours if line.startswith("#")][1:] == [
        "## 1. user", "## 2. assistant", "## 3. tool", "## 4. user",
    ]  # fmt: skip
    quoted = "\n".join(line for line in lines if line.startswith(">"))
    assert r"> \<script>x\</script> \![i](http://t.invalid/i.png)" in quoted
    assert "> <b>" in quoted  # in a block of code
    assert '> ````json\n> {"a": "```"}\n> ````' in quoted
    assert r"> b\x1b[2J" in quoted
    assert "> part" in quoted


def test_markdown_that_is_drawn_holds_no_html_of_the_content(filled: Path) -> None:
    from markdown_it import MarkdownIt

    from tests.cli.test_html import WORSE

    with SessionStore(filled) as store:
        session = store.create("worse", title=WORSE[0], labels=WORSE[:3], metadata={WORSE[1]: WORSE[2]})
        for text in [
            *WORSE,
            "~~~\nunclosed <script>",
            "```\n<script>\n``` x\n<script>",
            "> ```\n<script>",
            "- ```\n<script>",
        ]:
            session.append("user", text, name=text)
            session.append("tool", text)
            session.append(
                "assistant", None, tool_calls=[{"id": "c", "function": {"name": text, "arguments": text}}, text]
            )
    tokens = MarkdownIt("commonmark", {"html": True}).parse(_export(filled, "worse", "--markdown"))
    kinds = {token.type for outer in tokens for token in [outer, *(outer.children or ())]}
    assert not kinds & {"html_block", "html_inline", "image"}
