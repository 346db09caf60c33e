"""``hierstore import``: conversations out of files into the store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hierstore.cli.common import Root, complain, guarded, required_root
from hierstore.cli.text import count

if TYPE_CHECKING:
    from hierstore import SessionStore
    from hierstore.cli.conversations import Conversation
    from hierstore.cli.filing import Filed

Batch = tuple["Conversation", ...]
_MAX_PROCESSES = 64


@guarded
def command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="JSON or JSONL: messages, or records that hold them.", show_default=False),
    ],
    root: Root = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, max=_MAX_PROCESSES, help="How many processes write.")
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Begin ids with NAME, not with the file's.", show_default=False),
    ] = None,
) -> None:
    """Import OpenAI-style conversations.

    A file of messages becomes one session; of a file of records ({"task_id", "trial", "messages": [...], ...}) each
    becomes one, below a session for its task. Nothing is written unless every file is sound. Importing again what is
    there changes nothing; after an interruption it adds what is missing.
    """
    folder = required_root(root)
    if name is not None and (not name or len(files) > 1):
        complain("--name needs a name, and goes with one FILE.")
        raise typer.Exit(2)
    try:
        with _progress() as progress:
            lines = _import(files, folder, processes, name, progress)
    except KeyboardInterrupt:
        complain("Interrupted; what is in the store is whole. The same command again adds the rest.")
        raise
    for line in lines:
        typer.echo(line)


def _import(files: list[str], folder: str, processes: int, name: str | None, progress: _Progress) -> Iterator[str]:
    """Read everything, then write what is missing.

    Returns:
        What to say at the end.
    """
    from time import monotonic

    from hierstore import SessionStore
    from hierstore.cli.conversations import describe, read_files
    from hierstore.cli.filing import missing

    progress.begin("Reading", None)
    conversations = read_files(files, name)
    began = monotonic()
    progress.begin("Importing", len(conversations))
    with SessionStore(folder) as store:
        todo = missing(store, conversations, lambda: progress.advance(1))
        for filed in _write(store, folder, todo, processes):
            progress.advance(filed.conversations)
    return _summary(describe(conversations), len(conversations), describe(todo), len(todo), monotonic() - began)


def _summary(everything: str, total: int, written: str, number: int, elapsed_s: float) -> Iterator[str]:
    if number:
        yield f"Imported {written} in {elapsed_s:.1f} s."
    if number == 0:
        yield f"Nothing to do: the store has {everything} already."
    elif number < total:
        yield f"{count(total - number, 'conversation')} of the {total:,} were in the store already."


def _write(store: SessionStore, folder: str, todo: list[Conversation], processes: int) -> Iterator[Filed]:
    """Write what is missing; gives an account of each job as it ends."""
    from hierstore.cli.filing import batches, file, make_roots

    jobs = list(batches(todo))
    if min(processes, len(jobs)) < 2:
        for batch in jobs:
            make_roots(store, batch)
            yield file(store, batch)
    else:
        yield from _write_at_once(jobs, folder, min(processes, len(jobs)), lambda batch: make_roots(store, batch))


def _write_at_once(jobs: list[Batch], folder: str, processes: int, prepare: Callable[[Batch], None]) -> Iterator[Filed]:
    """The same in several processes. Few jobs wait at any time: an interruption drops those, and no others."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait

    from hierstore.cli.filing import file_batch
    from hierstore.cli.workers import working

    with working(processes) as workers:
        running: set[Future[Filed]] = set()
        for batch in jobs:
            prepare(batch)
            running.add(workers.submit(file_batch, folder, batch))
            if len(running) > 2 * processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from [future.result() for future in done]
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from [future.result() for future in done]


class _Progress:
    """Where the import is; shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        """Begin a step of so many parts, or of nobody knows how many."""

    def advance(self, number: int) -> None:
        """So many parts more are done."""


@contextmanager
def _progress() -> Iterator[_Progress]:
    """A bar on stderr for the length of the block; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _Progress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hierstore.cli.terminal import console

    class Bar(_Progress):
        def begin(self, what: str, total: int | None) -> None:
            bar.reset(task, description=what, total=total)
            bar.refresh()

        def advance(self, number: int) -> None:
            bar.advance(task, number)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield Bar()
