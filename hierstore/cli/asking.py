"""What is said to a person at the terminal, and what they are asked."""

from __future__ import annotations

import sys
from typing import IO

import typer

from hierstore.cli.common import complain
from hierstore.cli.text import Refused, safe


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person is at the other end; a stream may be closed from the beginning."""
    return stream is not None and stream.isatty()


def tell(sentence: str) -> None:
    """Say more than what was printed, where somebody looks."""
    if is_terminal(sys.stderr):
        complain(sentence)


def agree(question: str, *, yes: bool) -> None:
    """Go on only if the person agrees.

    Args:
        question: without its question mark, as ``Move 3 sessions to the trash``.
        yes: whether they said so already, with ``--yes``.

    Raises:
        Refused: there is nobody to be asked.
        Exit: they do not agree; the status is 1.
    """
    if yes:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise Refused("Nothing was done, as there is no terminal to ask in; --yes does it without asking.")
    typer.echo(f"{safe(question)}? [y/N] ", nl=False, err=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise
    if not answer.endswith("\n"):
        typer.echo(err=True)
    if answer.strip().casefold() not in ("y", "yes"):
        complain("Nothing was done.")
        raise typer.Exit(1)
