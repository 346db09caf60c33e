"""``hierstore import``: conversations, bundles and other programs' folders into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from hierstore.cli import completion
from hierstore.cli.common import AsJson, Root, complain, guarded, misused, opened
from hierstore.cli.text import Refused, count

if TYPE_CHECKING:
    from hierstore import SessionStore
    from hierstore.cli.conversations import Conversation
    from hierstore.cli.filing import Filed
    from hierstore.cli.progress import Progress
    from hierstore.cli.sources import Source
    from hierstore.cli.taking import Taken, Target
    from hierstore.keeping import OnConflict

Batch = tuple["Conversation", ...]
_MAX_PROCESSES = 64
_SHOWN = 10
_MOST_PROBLEMS = 100
_FORMATS = ("conversations", "bundle", "praisonai", "claude-code")
_CONFLICTS: dict[str, OnConflict] = {"skip": "skip", "new-ids": "new_ids", "refuse": "refuse"}


class _Wanted(NamedTuple):
    """What the options say."""

    root: str | None
    form: str | None
    name: str | None
    processes: int
    parent: str | None
    on_conflict: str | None
    routes: bool
    refs: bool
    is_dry: bool


_Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Files, folders, or - for standard input.", show_default=False),
]
_As = Annotated[
    str | None, typer.Option("--as", metavar="FORMAT", help=f"What it is: {', '.join(_FORMATS)}.", show_default=False)
]
_DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Write nothing; say what would be done.")]
_Below = Annotated[
    str | None,
    typer.Option(
        "--parent",
        metavar="SESSION",
        help="Hang what comes below this session.",
        show_default=False,
        autocompletion=completion.sessions,
    ),
]
_Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="Conversations: begin ids so, not with the file's name.", show_default=False
    ),
]
_Processes = Annotated[
    int,
    typer.Option(
        "--processes", metavar="N", min=1, max=_MAX_PROCESSES, help="Conversations: how many processes write."
    ),
]
_OnConflict = Annotated[
    str | None,
    typer.Option(
        "--on-conflict",
        metavar="WHAT",
        help="Bundles, folders: with an id that is taken, skip (the default), new-ids or refuse.",
        show_default=False,
    ),
]


@guarded
def command(
    paths: _Paths,
    root: Root = None,
    form: _As = None,
    dry_run: _DryRun = False,
    parent: _Below = None,
    name: _Name = None,
    processes: _Processes = 1,
    on_conflict: _OnConflict = None,
    routes: Annotated[bool, typer.Option("--routes", help="Bundles: with the route keys that are free.")] = False,
    no_refs: Annotated[bool, typer.Option("--no-refs", help="Bundles: without ids in other systems.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Take in conversations, bundles and other programs' folders.

    What a PATH is, is told by what it holds: OpenAI-style messages, or records that hold them ({"task_id", "trial",
    "messages": [...], ...}), as JSON or JSONL; what `hierstore export` wrote; a folder of PraisonAI's sessions; a project
    of Claude Code's, or the folder of all projects.

    Each is taken whole or not at all, and conversations only if all of them are sound. What is there already stays as it
    is: the same command again changes nothing, and after an interruption adds what is missing. Printed are the ids that
    the PATHs became; what was skipped, and why, is said on stderr. The store is made if there is none.

    \b
    Example:
      hierstore import chats.json bundle.jsonl
    """
    if form is not None and form not in _FORMATS:
        raise misused(f"--as takes one of {', '.join(_FORMATS)}.")
    if on_conflict is not None and on_conflict not in _CONFLICTS:
        raise misused(f"--on-conflict takes one of {', '.join(_CONFLICTS)}.")
    if name is not None and (not name or len(paths) > 1):
        raise misused("--name needs a name, and goes with one PATH.")
    wanted = _Wanted(root, form, name, processes, parent, on_conflict, routes, not no_refs, dry_run)
    try:
        _run(paths, wanted, as_json=as_json)
    except KeyboardInterrupt:
        complain("Interrupted; what is in the store is whole. The same command again adds the rest.")
        raise


def _run(paths: Sequence[str], wanted: _Wanted, *, as_json: bool) -> None:
    from hierstore.cli.conversations import gathered
    from hierstore.cli.progress import progress
    from hierstore.cli.taking import Taken, take

    taken = Taken()
    with ExitStack() as stack:
        with progress() as bar:
            bar.begin("Reading", None)
            sources = _sources(paths, wanted, stack, taken)
            conversations = gathered([source for source in sources if source.form == "conversations"], wanted.name)
            target = stack.enter_context(_target(wanted))
            told = list(_import(conversations, target, wanted, taken, bar)) if conversations else []
            for source in sources:
                if source.form == "conversations":
                    taken.sources.append((source.path, source.form))
                else:
                    told += _took(source, target, taken, lambda source: take(source, target, taken, bar))
        taken.roots = list(dict.fromkeys(taken.roots))
        _tell(taken, told, target, as_json=as_json)


def _sources(paths: Sequence[str], wanted: _Wanted, stack: ExitStack, taken: Taken) -> list[Source]:
    """What the paths lead to, closed at the end."""
    from hierstore.cli.sources import recognised

    sources: list[Source] = []
    for path in paths:
        sources += map(stack.enter_context, recognised(path, wanted.form, taken.problems.append))
    are_conversations = [source.form == "conversations" for source in sources]
    if wanted.name is not None and not all(are_conversations):
        raise misused("--name is for conversations: bundles and folders name their sessions themselves.")
    if wanted.on_conflict is not None and all(are_conversations):
        raise misused("--on-conflict is for bundles and folders; --name imports conversations beside what is there.")
    return sources


@contextmanager
def _target(wanted: _Wanted) -> Iterator[Target]:
    """The store; in a dry run one that is thrown away, and the store that is meant to be looked at."""
    from hierstore import SessionStore
    from hierstore.cli.naming import find
    from hierstore.cli.taking import Target
    from hierstore.cli.where import find as where

    on_conflict = _CONFLICTS[wanted.on_conflict or "skip"]
    with ExitStack() as stack:
        known, exists = None, where(wanted.root).exists
        if wanted.parent is not None and not exists:
            raise Refused("There is no store yet, and so no session to hang anything below.")
        if exists or not wanted.is_dry:
            known = stack.enter_context(opened(wanted.root, create=True, read_only=wanted.is_dry))
        parent_id = None if wanted.parent is None or known is None else find(known, wanted.parent).id
        store = known
        if wanted.is_dry or store is None:
            from tempfile import TemporaryDirectory

            store = stack.enter_context(SessionStore(stack.enter_context(TemporaryDirectory(prefix="hierstore-"))))
        yield Target(store, known, on_conflict, parent_id, wanted.refs, wanted.routes)


# Conversations


def _import(
    conversations: list[Conversation], target: Target, wanted: _Wanted, taken: Taken, bar: Progress
) -> Iterator[str]:
    """Write what is missing; gives what to say of it."""
    from time import monotonic

    from hierstore.cli.conversations import describe
    from hierstore.cli.filing import missing

    began = monotonic()
    bar.begin("Importing", len(conversations))
    known, total = target.known, len(conversations)
    todo = conversations if known is None else missing(known, conversations, bar.advance)
    _account(conversations, todo, target, taken)
    if known is not None and not target.is_dry:
        for filed in _write(known, todo, wanted.processes, target.parent_id):
            bar.advance(filed.conversations)
    if not todo:
        yield f"Nothing to do: the store has {describe(conversations)} already."
    elif target.is_dry:
        yield f"Would import {describe(todo)}; nothing was written."
    else:
        yield f"Imported {describe(todo)} in {monotonic() - began:.1f} s."
    if todo and len(todo) < total:
        yield f"{count(total - len(todo), 'conversation')} of the {total:,} were in the store already."


def _account(conversations: list[Conversation], todo: list[Conversation], target: Target, taken: Taken) -> None:
    parents = {one.parent.id for one in todo if one.parent is not None}
    missing = {one.id for one in todo}
    taken.sessions += len(todo) + sum(not target.has(parent_id) for parent_id in parents)
    taken.messages += sum(len(one.records) for one in todo)
    taken.skipped += [one.id for one in conversations if one.id not in missing]
    taken.roots += dict.fromkeys(one.id if one.parent is None else one.parent.id for one in conversations)


def _write(store: SessionStore, todo: list[Conversation], processes: int, below: str | None) -> Iterator[Filed]:
    """Write what is missing; gives an account of each job as it ends."""
    from hierstore.cli.filing import batches, file, make_roots

    jobs = list(batches(todo))
    if min(processes, len(jobs)) < 2:
        for batch in jobs:
            make_roots(store, batch, below)
            yield file(store, batch, below)
    else:
        folder, number = str(store.root), min(processes, len(jobs))
        yield from _write_at_once(jobs, folder, number, below, lambda batch: make_roots(store, batch, below))


def _write_at_once(
    jobs: list[Batch], folder: str, processes: int, below: str | None, prepare: Callable[[Batch], None]
) -> Iterator[Filed]:
    """The same in several processes. Few jobs wait at any time: an interruption drops those, and no others."""
    from concurrent.futures import FIRST_COMPLETED, Future, wait

    from hierstore.cli.filing import file_batch
    from hierstore.cli.workers import working

    with working(processes) as workers:
        running: set[Future[Filed]] = set()
        for batch in jobs:
            prepare(batch)
            running.add(workers.submit(file_batch, folder, batch, below))
            if len(running) > 2 * processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from [future.result() for future in done]
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from [future.result() for future in done]


# Bundles and folders


def _took(source: Source, target: Target, taken: Taken, take: Callable[[Source], None]) -> Iterator[str]:
    """Take one source; gives what to say of it."""
    from time import monotonic

    began = monotonic()
    sessions, messages, skipped = taken.sessions, taken.messages, len(taken.skipped)
    try:
        take(source)
    except Refused as error:
        before = ("What came before it is in the store.",) if taken.sessions and not target.is_dry else ()
        raise Refused(str(error), (*error.details, *before)) from None
    sessions, messages, skipped = taken.sessions - sessions, taken.messages - messages, len(taken.skipped) - skipped
    what = f"{count(sessions, 'session')} ({count(messages, 'message')}) from {source.name}"
    if not sessions:
        there = f"the store has {count(skipped, 'session')} of {source.name} already"
        yield f"Nothing to do: {there}; --on-conflict new-ids imports copies."
    elif target.is_dry:
        yield f"Would import {what}; nothing was written."
    else:
        yield f"Imported {what} in {monotonic() - began:.1f} s."
    if sessions and skipped:
        yield f"Skipped: {count(skipped, 'session')} that the store has already; --on-conflict new-ids imports copies."


# What is said


def _tell(taken: Taken, told: Sequence[str], target: Target, *, as_json: bool) -> None:
    """Say on stderr what was done, and print the sessions that it became."""
    from hierstore.cli.shapes import print_json

    for sentence in told:
        complain(sentence)
    if as_json:
        print_json(_shape(taken, target))
        return
    for problem in taken.problems[:_MOST_PROBLEMS]:
        place = problem.path if problem.line is None else f"{problem.path}:{problem.line}"
        complain(f"{place}: {problem.detail}")
    if len(taken.problems) > _MOST_PROBLEMS:
        complain(f"… and {len(taken.problems) - _MOST_PROBLEMS:,} more problems; --json lists them all.")
    if not target.is_dry:
        _list(target.store, taken.roots)


def _shape(taken: Taken, target: Target) -> dict[str, object]:
    return {
        "dry_run": target.is_dry,
        "sources": [{"path": path, "format": form} for path, form in taken.sources],
        "roots": taken.roots,
        "sessions": taken.sessions,
        "messages": taken.messages,
        "skipped": taken.skipped,
        "problems": [{"path": found.path, "line": found.line, "detail": found.detail} for found in taken.problems],
    }


def _list(store: SessionStore, ids: list[str]) -> None:
    """Print what the sources became: ids into a pipe, the first few as a table in a terminal."""
    import sys

    from hierstore.cli.memory import Memory
    from hierstore.cli.table import Column, draw
    from hierstore.cli.text import safe

    memory = Memory(store.root)
    memory.list(ids)
    if len(ids) == 1:
        memory.use(ids[0])
    if not sys.stdout.isatty():
        for session_id in ids:
            typer.echo(safe(session_id))
        return
    columns = (Column("#", "dim", is_right=True), Column("ID", "bold", share=1), Column("TITLE", share=3))
    rows = [
        (str(number), session_id, store.get(session_id).title or "")
        for number, session_id in enumerate(ids[:_SHOWN], 1)
    ]
    draw(columns, rows)
    if len(ids) > _SHOWN:
        complain(f"… and {len(ids) - _SHOWN:,} more; `hierstore ls` and `hierstore tree` show all.")
