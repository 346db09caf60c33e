"""The command page says what the commands say, and its examples work."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import pytest

from hierstore import Finding, SessionStore, Verdict, cli
from hierstore.cli import commands, shapes
from hierstore.cli.app import COMMANDS, SECTIONS
from tests.cli.page import MARK, PAGE, fenced, help_of, tidy
from tests.cli.world import build, examples

_SILENT: frozenset[str] = frozenset()
"""Commands whose example prints nothing, neither data nor anything about it."""


def _docstring(name: str) -> str:
    module = importlib.import_module(f"hierstore.cli.commands.{COMMANDS[name].module}")
    return inspect.getdoc(module.command) or ""


def _part(name: str) -> str:
    """What the page has of a command."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n### {name}\n" in text, f"{name} is not on the page"
    return text.split(f"\n### {name}\n")[1].split("\n### ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_programs_help_is_the_commands_own(name: str) -> None:
    assert _docstring(name).splitlines()[0] == COMMANDS[name].summary


def test_every_module_of_a_command_is_listed_and_every_listed_one_is_there() -> None:
    there = {found.name for found in pkgutil.iter_modules(commands.__path__)}
    assert there == {command.module for command in COMMANDS.values()}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_the_help_that_the_command_prints(name: str) -> None:
    said = help_of(name)
    assert fenced(f"$ hierstore {name} --help\n{said}") in _part(name), "python -m tests.cli.page --write mends it"
    assert max(map(len, said.splitlines())) <= 80
    assert "--root DIR" in said


def test_the_page_has_the_programs_help() -> None:
    assert fenced(f"$ hierstore --help\n{help_of()}") in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_works_and_shows_something(name: str, tmp_path: Path) -> None:
    lines = examples(_docstring(name))
    assert lines, f"{name} has no example"
    world = build(tmp_path)
    for line in lines:
        assert f"$ {line}\n" in _part(name) or f"$ {line}\n```" in _part(name)
        done = world.run(line, COLUMNS="80")
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        assert "Traceback" not in done.stdout
        if name not in _SILENT:
            assert done.stdout.strip(), f"{line} shows nothing"


def test_an_example_that_fails_would_be_seen(tmp_path: Path) -> None:
    world = build(tmp_path)
    assert world.run("hierstore show nobody").returncode == 1
    assert world.run("hierstore frobnicate").returncode == 2


def test_the_world_is_what_the_examples_are_told(tmp_path: Path) -> None:
    world = build(tmp_path)
    listed = world.run("hierstore ls").stdout
    assert {line.split("\t")[1] for line in listed.splitlines()} == {
        "support-42", "support-42-branch", "helper-1", "notes",
    }  # fmt: skip
    assert "old-chat" in world.run("hierstore restore old-chat").stdout
    assert world.run("hierstore show telegram:chat:42").returncode == 0
    assert {path.name for path in world.folder.iterdir()} == {"chats.json", "bundle.jsonl"}


def test_the_page_names_no_folder_of_the_machine_that_it_was_made_on(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "/tmp/" not in text
    world = build(tmp_path)
    assert str(tmp_path) not in tidy(world.run("hierstore where").stdout, world)


def test_the_page_has_the_sections_of_the_help_in_their_order() -> None:
    made = PAGE.read_text(encoding="utf-8").split(MARK)[1]
    heads = [line.removeprefix("## ") for line in made.splitlines() if line.startswith("## ")]
    assert heads == ["All commands", *SECTIONS]
    names = [line.removeprefix("### ") for line in made.splitlines() if line.startswith("### ")]
    assert names == list(COMMANDS)


# The shapes of --json


def _documented(head: str) -> dict[str, list[str]]:
    """A table of the page: for each row's name the words in backticks, up to the first that another shape brings."""
    table = PAGE.read_text(encoding="utf-8").split(head)[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("|")]
    return {name: re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", keys)) for name, keys in rows[1:]}


def test_the_page_documents_each_common_shape_as_it_is_printed(tmp_path: Path) -> None:
    world = build(tmp_path)
    with SessionStore(world.store) as store:
        chat = store.get("support-42")
        grant = chat.share()
        facts = shapes.of_info(store.sessions().items[0])
        printed = {
            "facts": facts,
            "session": {key: value for key, value in shapes.of_session(chat).items() if key not in facts},
            "message": shapes.of_message(chat.messages[0]),
            "snapshot": shapes.of_snapshot(chat.snapshots[0]),
            "share": shapes.of_grant(grant),
            "node": json.loads(shapes.dump_node(store.tree(chat))),
            "change": shapes.of_event(next(iter(store.watch(after="", mode="off")))),
            "hit": json.loads(world.run("hierstore search refund --json").stdout)["hits"][0],
            "deleted": shapes.of_trashed(store.trash()[0]),
            "finding": shapes.of_finding(Finding("stray", None, "path", "A sentence.")),
            "verdict": shapes.of_verdict(Verdict("locks", "good", "A sentence.")),
        }
    assert {name: sorted(keys) for name, keys in _documented("| shape | keys |").items()} == {
        name: sorted(value) for name, value in printed.items()
    }


_ASKED = {
    "where": "where", "ls": "ls", "tree": "tree", "show": "show support-42", "log": "log support-42",
    "diff": "diff support-42 support-42-branch", "search": "search refund", "stats": "stats", "du": "du",
    "route": "route telegram:chat:42", "prune": "prune --older-than 1d --dry-run", "compact": "compact support-42 --yes",
    "purge": "purge --yes", "import": "import chats.json", "check": "check", "repair": "repair --dry-run",
    "reindex": "reindex", "doctor": "doctor", "rm": "rm helper-1", "archive": "archive notes",
}  # fmt: skip


@pytest.mark.parametrize("name", _ASKED)
def test_the_page_documents_what_each_command_prints_as_json(name: str, tmp_path: Path) -> None:
    documented = {
        word: keys
        for names, keys in _documented("| command | JSON |").items()
        for word in re.findall(r"`(\w+)`", names)
    }
    done = build(tmp_path).run(f"hierstore {_ASKED[name]} --json 2> /dev/null")
    assert done.returncode == 0
    printed = json.loads(done.stdout.splitlines()[0])
    wanted = [key for key in documented[name] if key != "trash"] if name == "ls" else documented[name]
    assert sorted(printed) == sorted(wanted)


def test_every_command_that_prints_data_is_in_the_table() -> None:
    documented = {word for names in _documented("| command | JSON |") for word in re.findall(r"`(\w+)`", names)}
    takes_json = {name for name in COMMANDS if "--json " in help_of(name)}
    assert takes_json - documented <= {"append", "unshare", "export"}


# What the commands say of each other


def _hints() -> set[tuple[str, str]]:
    """Every ``hierstore COMMAND …`` in backticks, in the commands' sources and on the page."""
    texts = [path.read_text(encoding="utf-8") for path in (*Path(cli.__path__[0]).rglob("*.py"), PAGE)]
    found = {hint for text in texts for hint in re.findall(r"(?<!`)`(?:hierstore )?((?:\w+)(?: [^`\n]*)?)`", text)}
    return {(hint.split()[0], hint) for hint in found if hint.split()[0] in COMMANDS and (" " in hint or len(hint) > 4)}


def test_every_hint_names_options_that_there_are() -> None:
    hints = _hints()
    assert len(hints) > 10
    for name, hint in hints:
        said = help_of(name)
        for option in re.findall(r"--[a-z-]+", hint):
            assert f"{option} " in said or f"{option}\n" in said, f"{hint!r}: {name} has no {option}"
