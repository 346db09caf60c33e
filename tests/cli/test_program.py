"""The program around the commands: its help, wrong usage, where the store comes from, failure, and output that ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hierstore
from hierstore import SessionStore
from hierstore.cli.app import COMMANDS
from tests.cli.running import COMMAND, environment, home, is_one_sentence, run, run_in_terminal, start
from tests.cli.screen import INTERRUPT, Terminal

LOOKING = [("ls",), ("tree",), ("show", "long"), ("log", "long"), ("search", "word"), ("stats",), ("du",), ("where",), ("check",),
           ("doctor",), ("export", "long")]  # fmt: skip
_COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|9[0-7])[;m]")


def by_name(value: tuple[str, ...]) -> str:
    return value[0]


# Help and usage


def test_help_names_every_command_and_says_what_it_does() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [command])
        assert len(line.split()) > 2


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_had_in_two_ways(option: str) -> None:
    assert run(option).stdout.startswith("Usage: hierstore")
    assert run("ls", option).stdout.startswith("Usage: hierstore ls")


def test_without_anything_the_help_is_shown() -> None:
    done = run()
    assert "Usage: hierstore" in done.stdout + done.stderr
    assert done.returncode in (0, 2)


def test_version_is_the_packages() -> None:
    assert run("--version").stdout == f"hierstore {hierstore.__version__}\n"


def test_the_installed_command_is_the_same_program() -> None:
    code = "import sys; sys.argv = ['hierstore', '--version']; from hierstore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (0, f"hierstore {hierstore.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",), ("tree", "--frobnicate"), ("show",), ("show", "a", "--last", "x"), ("--frobnicate",), ("--root",),
        ("ls", "--root"), ("ls", "too", "much"), ("--show-completion", "tcsh"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments: tuple[str, ...], root: Path) -> None:
    done = run(*arguments, HIERSTORE_ROOT=str(root))
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not root.exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("serch", "search"), ("lst", "ls"), ("snap", "snapshot"), ("rstore", "restore"), ("LS", "ls"), ("re", "reindex")],
)
def test_an_unknown_command_is_answered_with_those_that_it_may_have_been_meant_for(typed: str, meant: str) -> None:
    done = run(typed)
    assert done.returncode == 2
    assert re.search(rf"Did you mean .*\b{meant}\b", done.stderr)


def test_a_command_like_no_other_is_answered_without_a_guess_and_shown_harmlessly() -> None:
    done = run("\x1b[2Jqqqq")
    assert done.returncode == 2
    assert "Did you mean" not in done.stderr
    assert "\x1b" not in done.stderr


# Which store


def test_the_root_comes_from_the_environment_and_the_option_wins(root: Path, store: SessionStore) -> None:
    store.create("there")
    assert "there" in run("ls", HIERSTORE_ROOT=str(root)).stdout
    assert "there" in run("ls", "--root", root, HIERSTORE_ROOT=f"{root}-not").stdout


@pytest.mark.parametrize("written", ["--root {}", "--root={}"])
def test_the_root_may_stand_before_the_command_or_behind_it(root: Path, store: SessionStore, written: str) -> None:
    store.create("there", title="word")
    option = written.format(root).split(" ", 1)
    assert "there" in run(*option, "ls").stdout
    assert "there" in run("ls", *option).stdout
    assert "there" in run("--root", "/nowhere", "ls", *option).stdout, "the one behind the command counts"
    assert "there" in run(*option, "search", "word").stdout
    assert run(*option, "--version").stdout.startswith("hierstore ")


def test_without_a_word_it_is_the_nearest_project_and_else_the_users(tmp_path: Path) -> None:
    project = tmp_path / "project"
    below = project / "src" / "deep"
    below.mkdir(parents=True)
    with SessionStore(project / ".hierstore") as store:
        store.create("of-the-project")
    assert "of-the-project" in run("ls", cwd=below).stdout
    told = json.loads(run("where", "--json", cwd=below).stdout)
    assert told == {
        "root": str(project / ".hierstore"), "why": "project", "reason": f"{project} has a folder .hierstore", "exists": True,
    }  # fmt: skip
    told = json.loads(run("where", "--json", cwd=tmp_path).stdout)
    assert (told["why"], told["exists"]) == ("user", False)
    assert told["root"].startswith(home())


def test_where_prints_the_folder_alone_and_the_reason_beside(root: Path, store: SessionStore) -> None:
    done = run("where", "--root", root)
    assert done.stdout == f"{root}\n"
    assert "--root" in done.stderr
    assert json.loads(run("where", "--json", HIERSTORE_ROOT=str(root)).stdout)["why"] == "environment"


def test_an_empty_root_is_refused_and_does_not_lead_elsewhere(root: Path, store: SessionStore) -> None:
    for arguments in (("ls", "--root", ""), ("--root", "", "ls"), ("--root=", "ls")):
        done = run(*arguments, HIERSTORE_ROOT=str(root))
        assert done.returncode == 1
        assert is_one_sentence(done.stderr)


def test_in_a_folder_that_was_removed_the_users_store_is_meant(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'rmdir "{gone}" && exec "{sys.executable}" -m hierstore where --json'
    done = subprocess.run(["sh", "-c", line], cwd=gone, capture_output=True, text=True, env=environment(), check=False)
    assert json.loads(done.stdout)["why"] == "user", done.stderr


def test_a_root_for_several_users_is_used_when_the_environment_says_that_it_is_meant(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o777)
    with SessionStore(root, shared=True) as store:
        store.create("ours")
    assert run("ls", "--root", root).returncode == 1
    assert "ours" in run("ls", "--root", root, HIERSTORE_SHARED="1").stdout
    assert run("ls", "--root", root, HIERSTORE_SHARED="0").returncode == 1


@pytest.mark.parametrize("arguments", [("ls",), ("tree",), ("show", "a"), ("check",)], ids=by_name)
def test_looking_at_a_root_that_does_not_exist_is_an_error_and_does_not_make_it(
    arguments: tuple[str, ...], root: Path
) -> None:
    done = run(*arguments, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "--root says so" in done.stderr
    assert not root.exists()


def test_looking_at_a_folder_that_is_no_store_leaves_it_empty(root: Path) -> None:
    root.mkdir(mode=0o700)
    done = run("tree", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert list(root.iterdir()) == []


# Failure


def test_an_error_shows_control_characters_of_its_subject_escaped(root: Path, store: SessionStore) -> None:
    done = run("show", "no\x1b[2Jsuch", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_sentence_says_how_to_get_it(missing: str, root: Path) -> None:
    with SessionStore(root) as store:
        store.create("a")
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['hierstore', 'tree', '--root', {str(root)!r}];"
        "from hierstore.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 1
    assert 'pip install "hierstore[cli]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_module_missing_for_another_reason_is_not_blamed_on_the_extra() -> None:
    code = (
        "import sys; sys.modules['hierstore.cli.commands.tree'] = None; sys.argv = ['hierstore', 'tree'];"
        "from hierstore.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode != 0
    assert "hierstore[cli]" not in done.stderr


# Output that ends, or is of another kind


def _filled(store: SessionStore) -> None:
    session = store.create("long", title="word")
    session.extend([{"role": "user", "content": "word " * 200}] * 300)
    for number in range(200):
        store.create(f"session-{number}", title="word " * 16)


@pytest.mark.parametrize("arguments", LOOKING, ids=by_name)
def test_a_pipe_that_closes_early_is_silent(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    _filled(store)
    process = start(*arguments, "--root", root)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before it has written anything
    with process.stderr:
        said = process.stderr.read()
    process.wait(60)
    assert "Traceback" not in said
    assert "Broken" not in said
    assert "Exception" not in said


@pytest.mark.parametrize(
    "line", ["{} ls | head -1", "{} show long | true", "{} --help | true", "{} ls --json | head -c 1"]
)
def test_who_reads_may_stop_reading(line: str, root: Path, store: SessionStore) -> None:
    _filled(store)
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["sh", "-c", line.format(command)],
        capture_output=True,
        text=True,
        env=environment(HIERSTORE_ROOT=str(root)),
        check=False,
    )
    assert done.returncode == 0
    assert not re.search("Traceback|Broken|Exception|Error", done.stderr)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", [("ls",), ("ls", "--json"), ("show", "long"), ("where",)], ids=str)
def test_an_output_that_takes_no_more_is_a_failure_of_one_sentence(
    arguments: tuple[str, ...], root: Path, store: SessionStore
) -> None:
    _filled(store)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments, "--root", str(root)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert "could not be written: No space left on device." in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_any_output_at_all_it_works_too(root: Path, store: SessionStore) -> None:
    store.create("a")
    line = " ".join([*COMMAND, "ls", ">&-"])
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=environment(HIERSTORE_ROOT=str(root)), check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("ls",), ("tree",), ("show", "a"), ("doctor",)], ids=by_name)
def test_there_is_colour_in_a_terminal_and_none_elsewhere_or_where_it_is_not_wanted(
    arguments: tuple[str, ...], root: Path, store: SessionStore
) -> None:
    store.create("a", title="A title").append("user", "Hello")
    assert _COLOUR.search(run_in_terminal(*arguments, "--root", root)[0]) or arguments in (("ls",), ("tree",))
    assert "\x1b[" in run_in_terminal(*arguments, "--root", root)[0]
    assert "\x1b" not in run(*arguments, "--root", root).stdout
    assert not _COLOUR.search(run_in_terminal(*arguments, "--root", root, NO_COLOR="1")[0])
    assert "\x1b" not in run_in_terminal(*arguments, "--root", root, TERM="dumb")[0]


@pytest.mark.parametrize(
    "steering", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}]
)
def test_an_encoding_without_the_characters_needed_shows_them_escaped(
    steering: dict[str, str], root: Path, store: SessionStore
) -> None:
    store.create("a", title="Ünïcödé 漢字").append("user", "漢字")
    for arguments in (("ls",), ("tree",), ("show", "a"), ("ls", "--json"), ("tail", "a")):
        done = run(*arguments, "--root", root, **steering)
        assert done.returncode == 0, done.stderr
        assert "\\u6f22" in done.stdout or "漢" in done.stdout
    done = run("tree", "--root", root, PYTHONIOENCODING="ascii")
    assert "\\u6f22" in done.stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(columns: int, root: Path, store: SessionStore) -> None:
    store.create("a" * 60, title="word " * 60, labels=["l" * 30]).append("user", "word " * 80)
    store.create("漢字" * 20, title="عنوان طويل جدا " * 10)
    for arguments in (("ls",), ("tree",), ("show", "a" * 60), ("search", "word"), ("du",), ("stats",), ("doctor",)):
        # What is said beside the data are sentences, which the terminal breaks.
        program = ["sh", "-c", 'exec "$@" 2> /dev/null', "sh", *COMMAND]
        with Terminal(*arguments, "--root", root, columns=columns, program=program) as terminal:
            assert terminal.end() == 0, terminal.written
            written = terminal.written
        assert _widest(written) <= columns, arguments


def _widest(written: str) -> int:
    from rich.cells import cell_len

    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    return max(cell_len(piece) for line in shown.split("\n") for piece in line.split("\r"))


# Ctrl-C


def test_ctrl_c_ends_a_command_with_130_and_leaves_the_store_whole(root: Path, store: SessionStore) -> None:
    store.create("a").append("user", "Hello")
    with Terminal("tail", "-f", "a", "--root", root) as terminal:
        terminal.wait_for("Hello")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.written
    assert store.check().problems == ()


def test_an_interrupt_while_a_question_is_open_ends_with_130(root: Path, store: SessionStore) -> None:
    store.create("a", title="x")
    with Terminal("rm", "a", "--root", root) as terminal:
        store.delete("a")
        terminal.end()
    with Terminal("purge", "--root", root) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type(INTERRUPT)
        assert terminal.end() == 130
    assert [trashed.id for trashed in store.trash()] == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_in_the_very_beginning_is_130_too(number: int) -> None:
    code = (
        "import os, signal, sys; import hierstore.cli as cli\n"
        f"cli._run = lambda: os.kill(os.getpid(), {int(number)})\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (130, "")
