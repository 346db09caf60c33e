"""The command page, ``hierstore/cli/COMMANDS.md``, made of the commands' own help and of what their examples print.

``python -m tests.cli.page --write`` makes it anew.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hierstore.cli.app import SECTIONS, Command
from tests.cli.running import SOURCE, run
from tests.cli.world import World, build, examples

PAGE = SOURCE / "hierstore" / "cli" / "COMMANDS.md"
MARK = "<!-- From here on made by: python -m tests.cli.page --write -->"
COLUMNS = "80"
_FOLDER = "/home/ada"


def help_of(*command: str) -> str:
    """What a command's ``--help`` prints at 80 columns; without a command the program's."""
    done = run(*command, "--help", COLUMNS=COLUMNS)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def entry(command: Command, help_text: str, world: World) -> Iterator[str]:
    """A command's part of the page."""
    yield f"### {command.name}"
    yield fenced(f"$ hierstore {command.name} --help\n{help_text}")
    for line in examples(help_text):
        done = world.run(line, COLUMNS=COLUMNS)
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        yield fenced(f"$ {line}\n{tidy(done.stdout, world)}".rstrip("\n"))


def tidy(written: str, world: World) -> str:
    """What an example printed, as in a folder that anybody might have."""
    return re.sub(r"[ \t]+$", "", written.replace(str(world.folder.parent), _FOLDER), flags=re.MULTILINE)


def fenced(text: str) -> str:
    """A block of code; longer fences than any in it."""
    fence = "`" * max(3, *(len(found) + 1 for found in re.findall("`{3,}", text)), 3)
    return f"{fence}text\n{text}\n{fence}"


def introduction() -> str:
    """What is written by hand: all before the mark, and the mark."""
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert mark, f"{PAGE.name} has lost the line {MARK}"
    return before + MARK


def page() -> Iterator[str]:
    """The page, part by part."""
    yield introduction()
    yield "## All commands"
    yield fenced(f"$ hierstore --help\n{help_of()}")
    for title, section in SECTIONS.items():
        yield f"## {title}"
        for command in section:
            with tempfile.TemporaryDirectory(prefix="hierstore-page-") as folder:
                yield from entry(command, help_of(command.name), build(Path(folder)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cli.page", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page; else it is printed")
    text = "\n\n".join(page()) + "\n"
    if parser.parse_args(arguments).write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
