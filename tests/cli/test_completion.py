"""Completion: what is offered, and that no shell runs or mistakes any of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from hierstore import SessionStore
from hierstore.cli.app import COMMANDS
from hierstore.cli.bashline import parse, typed
from hierstore.cli.memory import Memory
from tests.cli.running import environment, run
from tests.cli.screen import Terminal
from tests.cli.world import World, build
from tests.support import contents

BREAKS = " \t\n\"'@><=;|&(:"
HOSTILE = ["a $(touch ran)", "b`touch ran`", "c; touch ran", 'd"$(touch ran)"', "e'$(touch ran)'", "f\\$(touch ran)", "g * ? [x]",
           "h#~{a,b}", "i:j:k", "j!!", "k&l|m>ran<n", "-l --help", "m=n@o", "n漢字 é"]  # fmt: skip
BROKEN = ["o\nline", "p\ttab", "q\x1b[2J"]

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build(tmp_path)


@pytest.fixture
def hostile(world: World) -> World:
    with SessionStore(world.store) as store:
        for name in (*HOSTILE, *BROKEN):
            store.create(name, title=f"{name} $(touch ran) `touch ran` '\"")
    return world


def offered(world: World, *words: str, **more: str) -> list[tuple[str, str]]:
    """What zsh and fish are told for the last of some words: the kind first, then each word with what is said of it."""
    done = run(*words, cwd=world.folder, **world.environment(_HIERSTORE_COMPLETE="zsh", **more))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.partition("\t") for line in done.stdout.splitlines()]
    return [(word, told) for word, _, told in lines]


def words_of(world: World, *words: str, **more: str) -> list[str]:
    (kind, _), *rest = offered(world, *words, **more)
    assert kind == "words"
    return [word for word, _ in rest]


# What is offered


def test_commands_are_offered_with_their_summaries(world: World) -> None:
    assert offered(world, "")[1:] == [(command.name, command.summary) for command in COMMANDS.values()]
    assert words_of(world, "re") == [name for name in COMMANDS if name.startswith("re")]
    assert words_of(world, "frob") == []


def test_options_are_offered_of_the_program_and_of_each_command(world: World) -> None:
    assert {"--root", "--version", "--help"} <= set(words_of(world, "--"))
    assert words_of(world, "repair", "--dr") == ["--dry-run"]
    assert "--root" in words_of(world, "show", "support-42", "--")


@pytest.mark.parametrize(
    "before", [["show"], ["fork", "--at", "2"], ["show", "--"], ["--root", "{root}", "show"], ["rm", "notes"]]
)
def test_sessions_are_offered_with_their_titles(world: World, before: list[str]) -> None:
    words = [word.format(root=world.store) for word in before]
    found = offered(world, *words, "supp")
    assert set(found[1:]) == {("support-42", "Refund for order 42"), ("support-42-branch", "What if we ask the bank?")}


def test_the_session_used_last_is_offered(world: World) -> None:
    assert words_of(world, "show", "@") == ["@last"]


def test_labels_that_are_in_use_are_offered(world: World) -> None:
    assert words_of(world, "ls", "--label", "re") == ["refunds"]
    assert words_of(world, "ls", "--label=re") == ["--label=refunds"]
    assert words_of(world, "ls", "--label", "") == ["howto", "refunds"]


def test_files_and_folders_are_left_to_the_shell(world: World) -> None:
    assert offered(world, "import", "ch") == [("files", "")]
    assert offered(world, "ls", "--root", "") == [("folders", "")]
    assert offered(world, "--root", "") == [("folders", "")]


@pytest.mark.parametrize(
    "words", [["frobnicate", ""], ["show", "--frobnicate", ""], ["show", "a", "b", "c", ""], [], ["\udcff"]]
)
def test_whatever_stands_before_nothing_is_said_on_an_error(world: World, words: list[str]) -> None:
    done = run(*words, **world.environment(_HIERSTORE_COMPLETE="fish"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["", "tcsh", "bash", "complete_zsh"])
def test_a_shell_that_asks_otherwise_is_not_told_an_error(world: World, shell: str) -> None:
    done = run("show", **world.environment(_HIERSTORE_COMPLETE=shell))
    assert (done.returncode, done.stderr) == (0, "")


# What it leaves alone


def test_asking_writes_nothing_to_the_store(world: World) -> None:
    before = contents(world.store)
    locks = sorted(os.listdir(world.store / "locks"))
    assert words_of(world, "show", "supp")
    assert words_of(world, "ls", "--label", "")
    assert contents(world.store) == before
    assert sorted(os.listdir(world.store / "locks")) == locks


def test_asking_makes_no_store(world: World, tmp_path: Path) -> None:
    root = tmp_path / "none"
    assert words_of(world, "show", "--root", str(root), "") == []
    assert not root.exists()


@pytest.mark.damages
def test_a_store_that_cannot_be_opened_offers_nothing_and_says_nothing(world: World) -> None:
    (world.store / "hierstore.json").write_text("{")
    assert words_of(world, "show", "supp") == []


def test_what_takes_too_long_is_given_up_and_gets_further_the_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hierstore.cli import completion

    asked = SimpleNamespace(params={"root": str(world.store)})

    monkeypatch.setenv("XDG_STATE_HOME", str(world.folder.parent / "remembered"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.folder.parent / "indexed"))
    monkeypatch.setattr(completion, "_TIME_S", 1e-6)
    assert completion.sessions(asked, "supp") == []
    Memory(world.store).list(["notes", "support-42"])
    assert completion.sessions(asked, "supp") == [("support-42", "")], "what was listed last is there at once"
    monkeypatch.setattr(completion, "_TIME_S", 60.0)
    assert len(completion.sessions(asked, "supp")) == 2


# Hostile words


def test_a_word_that_no_line_can_hold_is_left_out(hostile: World) -> None:
    found = words_of(hostile, "show", "")
    assert set(HOSTILE) <= set(found)
    assert not set(BROKEN) & set(found)


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        ("hierstore show ab", ["hierstore", "show"], ("ab", "", "", True)),
        ("hierstore show ", ["hierstore", "show"], ("", "", "", True)),
        ("hierstore show a\\ b", ["hierstore", "show"], ("a b", "", "", True)),
        ("hierstore show tele:ch", ["hierstore", "show"], ("tele:ch", "", "tele:", True)),
        ("hierstore show tele\\:ch", ["hierstore", "show"], ("tele:ch", "", "", True)),
        ("hierstore show @l", ["hierstore", "show"], ("@l", "", "@", True)),
        ("hierstore show 'a b", ["hierstore", "show"], ("a b", "'", "", True)),
        ('hierstore title "x y" "a', ["hierstore", "title", "x y"], ("a", '"', "", True)),
        ("hierstore show 'a'b", ["hierstore", "show"], ("ab", "", "", False)),
        ("hierstore show a'b", ["hierstore", "show"], ("ab", "'", "", False)),
        ("hierstore show ab\\", ["hierstore", "show"], ("ab", "", "", False)),
        ("hierstore title '' x", ["hierstore", "title", ""], ("x", "", "", True)),
        ("", [], ("", "", "", True)),
    ],
)
def test_a_line_is_read_as_bash_reads_it(line: str, words: list[str], last: tuple[str, str, str, bool]) -> None:
    assert parse(line, BREAKS) == (words, last)


@needs_bash
@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("begin", ["", '"', "'"])
def test_what_bash_is_told_to_type_is_that_one_word(word: str, begin: str, tmp_path: Path) -> None:
    piece = typed(word, parse(f"hierstore show {begin}", BREAKS)[1])
    if piece is None:
        assert begin
        return
    done = subprocess.run(
        ["bash", "--norc", "-c", f"printf '%s' {begin}{piece}{begin}"],
        capture_output=True, text=True, cwd=tmp_path, env=environment(), check=True,
    )  # fmt: skip
    assert done.stdout == word
    assert list(tmp_path.iterdir()) == []


# The shells


def asked_of_bash(world: World, line: str) -> list[str]:
    """COMPREPLY for a line."""
    script = world.folder.parent / "completion.bash"
    script.write_text(run("--show-completion", "bash").stdout)
    code = f"""
        source {script}
        COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDBREAKS=$2
        _hierstore hierstore
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", line, BREAKS],
        capture_output=True, text=True, cwd=world.folder, env=world.environment(), check=True,
    )  # fmt: skip
    return [reply for reply in done.stdout.splitlines() if reply]


@needs_bash
def test_bash_is_told_of_commands_options_sessions_and_labels(world: World) -> None:
    assert asked_of_bash(world, "hierstore tre") == ["tree"]
    assert set(asked_of_bash(world, "hierstore show supp")) == {"support-42", "support-42-branch"}
    assert asked_of_bash(world, "hierstore ls --label re") == ["refunds"]
    assert asked_of_bash(world, "hierstore ls --label=re") == ["refunds"], "bash breaks words at ="
    assert asked_of_bash(world, "hierstore show @l") == ["last"], "and at @"
    assert asked_of_bash(world, "hierstore repair --dr") == ["--dry-run"]


@needs_bash
def test_bash_is_told_of_hostile_words_in_quotes_and_runs_none(hostile: World) -> None:
    replies = asked_of_bash(hostile, "hierstore show ")
    assert len(replies) == len(HOSTILE) + 4
    assert "a\\ \\$\\(touch\\ ran\\)" in replies
    assert asked_of_bash(hostile, "hierstore show i:j:") == ["k"]
    assert asked_of_bash(hostile, "hierstore show a\\ \\$") == ["a\\ \\$\\(touch\\ ran\\)"]
    assert not (hostile.folder / "ran").exists()


def pressed(world: World, program: list[str], setup: str, line: str, wanted: str) -> None:
    """Type a line in a real shell, press Tab and Return; wait for what must then stand on the screen."""
    more = world.environment()
    with Terminal(columns=120, program=program, cwd=world.folder, **more) as terminal:
        terminal.type(f"{setup}; printf 'ready-%s\\n' now\n")
        terminal.wait_for("ready-now")
        terminal.type(f"{line}\t")
        # The shell is at it until it shows what came of the key.
        terminal.wait_for(wanted)
        terminal.type("\n")
        terminal.wait_for("shown-well")
    assert not (world.folder / "ran").exists()


def _script(world: World, shell: str) -> Path:
    path = world.folder.parent / f"completion.{shell}"
    path.write_text(run("--show-completion", shell).stdout)
    return path


def _one_hostile(world: World) -> None:
    with SessionStore(world.store) as store:
        store.create("z $(touch ran) `touch ran` \\$(touch ran)", title="shown-well")


@needs_bash
def test_in_bash_a_key_completes_a_hostile_id_and_the_line_then_shows_it(world: World) -> None:
    _one_hostile(world)
    setup = f"PS1='> '; bind 'set enable-bracketed-paste off'; source {_script(world, 'bash')}"
    pressed(world, ["bash", "--norc", "-i"], setup, "hierstore show z", "touch\\ ran")


@needs_zsh
def test_in_zsh_a_key_completes_a_hostile_id_and_the_line_then_shows_it(world: World) -> None:
    _one_hostile(world)
    setup = f"PS1='> '; autoload -Uz compinit; compinit -D -u; source {_script(world, 'zsh')}"
    pressed(world, ["zsh", "-f", "-i"], setup, "hierstore show z", "touch\\ ran")


@needs_zsh
def test_zsh_shows_sessions_with_their_titles_and_runs_none_of_them(hostile: World) -> None:
    setup = f"PS1='> '; autoload -Uz compinit; compinit -D -u; source {_script(hostile, 'zsh')}; LISTMAX=1000"
    with Terminal(columns=120, program=["zsh", "-f", "-i"], cwd=hostile.folder, **hostile.environment()) as terminal:
        terminal.type(f"{setup}; printf 'ready-%s\\n' now\n")
        terminal.wait_for("ready-now")
        terminal.type("hierstore show supp\t\t")
        terminal.wait_for("Refund for order 42")
        terminal.type("\x15hierstore show \t\t")
        terminal.wait_for("c; touch ran")
    assert not (hostile.folder / "ran").exists()


def asked_of_fish(world: World, line: str) -> list[str]:
    code = f"source {_script(world, 'fish')}; complete --do-complete $argv[1]"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code, line],
        capture_output=True, text=True, cwd=world.folder, env=world.environment(), check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@needs_fish
def test_fish_is_told_of_commands_options_sessions_and_labels(world: World) -> None:
    assert asked_of_fish(world, "hierstore tre") == [f"tree\t{COMMANDS['tree'].summary}"]
    assert "support-42\tRefund for order 42" in asked_of_fish(world, "hierstore show supp")
    assert asked_of_fish(world, "hierstore ls --label re") == ["refunds"]
    assert any(line.startswith("--dry-run") for line in asked_of_fish(world, "hierstore repair --dr"))
    assert "chats.json" in asked_of_fish(world, "hierstore import ch")


@needs_fish
def test_fish_is_told_of_hostile_words_as_they_are_and_runs_none(hostile: World) -> None:
    found = [line.split("\t")[0] for line in asked_of_fish(hostile, "hierstore show ")]
    assert set(HOSTILE) - {"-l --help"} <= set(found)
    assert not (hostile.folder / "ran").exists()


# Installing


@pytest.mark.parametrize(("shell", "start"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_writes_a_script_and_one_line_once(shell: str, start: str, tmp_path: Path) -> None:
    (tmp_path / start).write_text("alias ll='ls -l'")
    more = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "my config")}
    for _ in range(2):
        done = run("--install-completion", shell, **more)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    script = tmp_path / "my config" / "hierstore" / f"completion.{shell}"
    assert script.read_text() == run("--show-completion", shell).stdout
    assert (tmp_path / start).read_text() == f"alias ll='ls -l'\nsource '{script}'\n"


def test_installing_for_fish_writes_where_fish_looks(tmp_path: Path) -> None:
    done = run("--install-completion", "fish", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 0
    script = tmp_path / "fish" / "completions" / "hierstore.fish"
    assert script.read_text() == run("--show-completion", "fish").stdout


def test_where_nothing_can_be_installed_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--install-completion", "fish", XDG_CONFIG_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@needs_bash
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_sound(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = tmp_path / "script"
    script.write_text(run("--show-completion", shell).stdout)
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
