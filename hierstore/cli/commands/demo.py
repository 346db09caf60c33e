"""``hierstore demo``: four processes play a small agent run at once, and what they stored is drawn and verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING

import typer

from hierstore.cli.common import Root, guarded
from hierstore.cli.text import Refused, count, safe

if TYPE_CHECKING:
    from hierstore import CheckReport, Session, SessionStore
    from hierstore.cli.playing import Account


@guarded
def command(root: Root = None) -> None:
    r"""Play a small agent run with four processes, and verify what comes out.

    In the folder that --root names, below a session of its own; else in a temporary folder, which is removed. The store
    that other commands use without --root is left alone.

    \b
    Example:
      hierstore demo
    """
    from hierstore import SessionStore
    from hierstore.cli.commands.tree import draw
    from hierstore.cli.terminal import console

    with _folder(root) as folder, SessionStore(folder) as store:
        lead, accounts, elapsed_s = _run(store, folder)
        draw(console(), [store.tree(lead)])
        typer.echo()
        for line in _verified(store, lead, accounts, elapsed_s):
            typer.echo(line)
    if root:
        typer.echo(f"It is kept: hierstore show {lead.id}/repair --root {safe(quote(root))}")
    else:
        typer.echo("The temporary folder is removed again; keep one with: hierstore demo --root DIR")


@contextmanager
def _folder(root: str | None) -> Iterator[str]:
    if root:
        yield root
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="hierstore-demo-") as folder:
        yield folder


def _run(store: SessionStore, folder: str) -> tuple[Session, list[Account], float]:
    """Play the run below a new session.

    Returns:
        That session, each process's account, and how long it took, seconds, the start of the processes included.
    """
    from time import monotonic

    from hierstore.cli import playing, story
    from hierstore.cli.workers import results, working

    began = monotonic()
    lead = _new_lead(store)
    opening = playing.Account()
    opening.say(lead, [story.TASK, story.PLAN])
    with working(playing.PROCESSES, together=True) as workers:
        jobs = [workers.submit(playing.play, folder, lead.id, part) for part in range(playing.PROCESSES)]
        accounts = results(jobs)
    return lead, [opening, *accounts], monotonic() - began


def _new_lead(store: SessionStore) -> Session:
    """The first ``demo-N`` that is free, also if another demo looks for one now."""
    from itertools import count as numbers

    from hierstore import SessionExists

    for number in numbers(1):
        try:
            return store.create(f"demo-{number}")
        except SessionExists:
            continue
    raise AssertionError("numbers end")


def _verified(store: SessionStore, lead: Session, accounts: list[Account], elapsed_s: float) -> Iterator[str]:
    """Hold the store to what the processes were told, and say what was seen.

    Raises:
        Refused: something acknowledged is not there, or the store's check finds damage.
    """
    from hierstore.cli import story

    acknowledged = [(name, ids) for account in accounts for name, ids in account.stored.items()]
    for session_id, ids in acknowledged:
        _find(store, session_id, ids, accounts)
    for session_id, (_, ids) in _undone(accounts).items():
        _must(not {message.id for message in store.get(session_id).messages} & set(ids), session_id, "reverted")
    _must(lead.title == story.TITLE, lead.id, "the title")
    _check_branch(store, lead, accounts)
    report = store.check()
    if not report.ok:
        raise Refused(f"The check found damage: {report.problems[0].detail} ({report.problems[0].path})")
    return _sentences(accounts, elapsed_s, report)


def _sentences(accounts: list[Account], elapsed_s: float, report: CheckReport) -> Iterator[str]:
    played = [account for account in accounts if account.ended]
    took_s = max(account.ended for account in played) - min(account.began for account in played)
    total = sum(len(ids) for account in accounts for ids in account.stored.values())
    undone = sum(len(ids) for _, ids in _undone(accounts).values())
    yield f"{len(played)} processes wrote this at once, in {took_s * 1000:.0f} ms ({elapsed_s:.1f} s with their start)."
    yield f"All {total} messages that were acknowledged are there, in order: {total - undone} above"
    yield f"(the branch shares its first 2), and {undone} that a revert took out of the history."
    yield "One process set the title while the three others appended to that session."
    yield f"check: {count(report.sessions, 'session')} verified line by line, no problems."


def _undone(accounts: list[Account]) -> dict[str, tuple[int, list[str]]]:
    return {name: undone for account in accounts for name, undone in account.undone.items()}


def _find(store: SessionStore, session_id: str, ids: list[str], accounts: list[Account]) -> None:
    """See that the messages are in the session, each once and in this order: those undone as of before the revert."""
    session = store.get(session_id)
    revision, undone = _undone(accounts).get(session_id, (0, []))
    found = [message.id for message in session.messages]
    if undone:
        past = [message.id for message in session.at(revision).messages]
        _must([one for one in past if one in undone] == undone, session_id, "what was undone")
    expected = [one for one in ids if one not in undone]
    _must([one for one in found if one in set(expected)] == expected, session_id, "an acknowledged message")


def _check_branch(store: SessionStore, lead: Session, accounts: list[Account]) -> None:
    for branch_id, last_shared in (account.branch for account in accounts if account.branch):
        shared = [message.id for message in lead.messages]
        shared = shared[: shared.index(last_shared) + 1]
        start = [message.id for message in store.get(branch_id).messages[: len(shared)]]
        _must(start == shared, branch_id, "the history before the fork")


def _must(holds: bool, session_id: str, what: str) -> None:
    if not holds:
        raise Refused(f"This should not happen: in session {session_id!r}, {what} is not as it was acknowledged.")
