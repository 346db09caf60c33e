"""What the commands share: the root, and how they fail."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

from hierstore.cli.text import Refused, safe
from hierstore.errors import HierstoreError

P = ParamSpec("P")

Root = Annotated[
    str | None,
    typer.Option("--root", envvar="HIERSTORE_ROOT", metavar="DIR", help="The store's folder.", show_default=False),
]


def complain(sentence: str) -> None:
    """One sentence on stderr, whatever is in it."""
    typer.echo(safe(sentence), err=True)


def required_root(root: str | None) -> str:
    """The store's folder; without one the command ends as wrong usage."""
    if not root:
        complain("Which store? Give its folder with --root DIR, or set HIERSTORE_ROOT.")
        raise typer.Exit(2)
    return root


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end with one sentence and a status instead of a traceback.

    Only what a person can put right is caught: the store's own errors, refused input and Ctrl-C. Anything else is a
    defect, and its traceback is wanted.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (HierstoreError, Refused) as error:
            complain(str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run
