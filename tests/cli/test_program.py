from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hierstore
from hierstore import SessionStore
from tests.cli.running import COMMAND, environment, is_one_sentence, run

COMMANDS = ("demo", "import", "tree", "show")


def test_help_names_every_command_and_says_what_it_does() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [command])
        assert len(line.split()) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_its_root_in_its_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "--root DIR" in done.stdout
    assert "HIERSTORE_ROOT" in done.stdout


def test_version_is_the_packages() -> None:
    assert run("--version").stdout == f"hierstore {hierstore.__version__}\n"


def test_the_installed_command_is_the_same_program() -> None:
    code = "import sys; sys.argv = ['hierstore', '--version']; from hierstore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (0, f"hierstore {hierstore.__version__}\n")


@pytest.mark.parametrize("arguments", [("tree",), ("show", "a"), ("import", "a.json")], ids=lambda value: value[0])
def test_without_a_root_one_sentence_says_so_and_the_status_is_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "HIERSTORE_ROOT" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("frobnicate",), ("tree", "--frobnicate"), ("import",), ("show",), ("import", "a", "--processes", "0")],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], root: Path) -> None:
    done = run(*arguments, HIERSTORE_ROOT=str(root))
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not root.exists()


def test_the_root_comes_from_the_environment_and_the_option_wins(root: Path, store: SessionStore) -> None:
    store.create("there")
    assert "there" in run("tree", HIERSTORE_ROOT=str(root)).stdout
    assert "there" in run("tree", "--root", root, HIERSTORE_ROOT=f"{root}-not").stdout
    assert run("tree", HIERSTORE_ROOT="").returncode == 2


@pytest.mark.parametrize("arguments", [("tree",), ("show", "a")], ids=lambda value: value[0])
def test_looking_at_a_root_that_does_not_exist_is_an_error_and_does_not_make_it(
    arguments: tuple[str, ...], root: Path
) -> None:
    done = run(*arguments, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert not root.exists()


def test_looking_at_a_folder_that_is_no_store_leaves_it_empty(root: Path) -> None:
    root.mkdir(mode=0o700)
    done = run("tree", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert list(root.iterdir()) == []


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
    code = "import sys; sys.modules['hierstore.cli.tree'] = None; from hierstore.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode != 0
    assert "hierstore[cli]" not in done.stderr


def test_importing_the_command_imports_none_of_its_extra() -> None:
    code = "import sys, hierstore.cli, hierstore.cli.filing; print([m for m in ('typer', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "[]\n"


def test_help_loads_nothing_that_only_commands_use() -> None:
    code = (
        "import sys, atexit; sys.argv = ['hierstore', '--help'];"
        "atexit.register(lambda: print([m for m in ('rich', 'multiprocessing', 'concurrent.futures') if m in sys.modules]));"
        "from hierstore.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [("tree",), ("show", "long")], ids=lambda value: value[0])
def test_a_pipe_that_closes_early_is_silent(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    session = store.create("long")
    session.extend([{"role": "user", "content": "x" * 1000}] * 300)
    for number in range(200):
        store.create(f"session-{number}", title="t" * 80)
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--root", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before it has written anything
    with process.stderr:
        assert process.stderr.read() == ""
    process.wait(60)


def test_an_encoding_without_the_characters_needed_shows_them_escaped(root: Path, store: SessionStore) -> None:
    store.create("a", title="Ünïcödé 漢字").append("user", "漢字")
    for arguments in (("tree",), ("show", "a")):
        done = run(*arguments, "--root", root, PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert "\\u6f22" in done.stdout
