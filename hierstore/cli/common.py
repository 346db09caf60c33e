"""What the commands share: their common options, the store that they open, and how they fail."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from hierstore.cli import completion
from hierstore.cli.text import Refused, safe
from hierstore.errors import HierstoreError

if TYPE_CHECKING:
    from hierstore import SessionStore

P = ParamSpec("P")

_NO_ROOM = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])

Root = Annotated[
    str | None,
    typer.Option("--root", metavar="DIR", help="The store's folder; see `hierstore where`.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the command page describes it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
SessionName = Annotated[
    str,
    typer.Argument(metavar="SESSION", help="Which session.", show_default=False, autocompletion=completion.sessions),
]
SessionNames = Annotated[
    list[str],
    typer.Argument(metavar="SESSION", help="Which sessions.", show_default=False, autocompletion=completion.sessions),
]
MaybeSessionName = Annotated[
    str | None,
    typer.Argument(metavar="SESSION", help="Which session.", show_default=False, autocompletion=completion.sessions),
]

_HINTS: dict[str, str] = {
    "SessionNotFound": "`hierstore ls` lists the sessions, `hierstore ls --trash` the deleted ones",
    "SessionExists": "choose another id, or go on with that session",
    "HasChildren": "--cascade deletes them too, --orphan makes them roots",
    "CorruptLog": "`hierstore check` tells more, `hierstore repair` mends what can be mended",
    "UnreadableLog": "`hierstore doctor` looks at the permissions",
    "LockTimeout": "try again when the other process has finished",
    "ReadOnlyStore": "`hierstore doctor` looks at the permissions",
    "InvalidRoot": "`hierstore where` says which folder is meant and why, `hierstore doctor` what is wrong with it",
    "FormatTooNew": "a newer version of hierstore can open it",
    "WriteFailed": "`hierstore doctor` looks at the room and the permissions",
    "DurabilityError": "`hierstore doctor` looks at the disk",
    "RevisionConflict": "`hierstore tail SESSION` shows what came meanwhile",
    "HierarchyCycle": "`hierstore tree` shows what hangs below what",
    "RevisionNotFound": "`hierstore log SESSION` lists the revisions",
    "ShareNotFound": "`hierstore share SESSION --list` lists the shares",
}


def complain(sentence: str) -> None:
    """One sentence on stderr, whatever is in it."""
    typer.echo(safe(sentence), err=True)


def misused(sentence: str) -> typer.Exit:
    """Say how the command was used wrongly; raise what this returns."""
    complain(sentence)
    return typer.Exit(2)


def hinted(error: BaseException) -> str:
    """An error's sentence with what to do about it, still one sentence."""
    sentence = str(error)
    hint = _HINTS.get(type(error).__name__)
    return sentence if hint is None else f"{sentence.removesuffix('.')}; {hint}."


@contextmanager
def opened(root: str | None, *, create: bool = False, **options: Any) -> Iterator[SessionStore]:
    """The store that the command is about, for the length of the block.

    Where the user may not write it is opened to be read, and a change raises ReadOnlyStore.

    Args:
        root: what ``--root`` says.
        create: make the store if it is not there; else that is refused.
        options: SessionStore's.

    Raises:
        Refused: there is no store.
    """
    from hierstore import SessionStore
    from hierstore.cli.where import find, is_shared

    where = find(root)
    if not (where.exists or create):
        raise Refused(
            f"There is no store in {where.path}, which is meant because {where.reason};"
            " `hierstore new` makes one, --root DIR names another."
        )
    with SessionStore(where.path, **{"shared": is_shared(), **options}) as store:
        yield store


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end with one sentence and a status instead of a traceback.

    Only what a person can put right is caught: the store's own errors, refused input, an output that takes no more and
    Ctrl-C. Anything else is a defect, and its traceback is wanted.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            # Who reads has enough: no failure, and nothing to say.
            _print_no_more()
        except (HierstoreError, Refused) as error:
            complain(hinted(error))
            for line in error.details if isinstance(error, Refused) else ():
                complain(line)
            raise typer.Exit(1) from None
        except OSError as error:
            if error.filename is not None or error.errno not in _NO_ROOM:
                raise
            _print_no_more()
            complain(f"What was to be printed could not be written: {error.strerror}.")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


def _print_no_more() -> None:
    """Let go of what is not printed yet: at its end Python would try again, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
