"""Clearing away what dead processes left lying about, and nothing that a living one is at work on."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hierstore.census import maybe_past
from hierstore.disk import files, journal
from hierstore.disk.engine import Engine
from hierstore.disk.locks import TREE
from hierstore.disk.logfile import SUFFIX
from hierstore.errors import HierstoreError
from hierstore.log.state import State
from hierstore.repair.run import Run

_BUILDING = b".building"


def clear_strays(run: Run) -> None:
    """Clear ``tmp/``, the pasts of forks that are not there, and what is no log in the trash."""
    _clear_tmp(run)
    _clear_trash(run)
    _clear_pasts(run)


# Files being built


def _clear_tmp(run: Run) -> None:
    layout = run.engine.layout
    names = sorted(name for name in files.names(layout.tmp) if not name.endswith(journal.SUFFIX))
    if not names:
        return
    with run.guarding("stray", None, layout.tmp):
        _outlive_builders(run.engine)
        # One repair at a time: two of them would find each other's locks, and take them for a builder's.
        with run.engine.locks.holding([TREE]):
            if not run.dry_run:
                run.check_nothing_pending()
            elif journal.pending(layout):
                return
            for name in names:
                if not _is_covered(run.engine, name):
                    with run.guarding("stray", None, os.path.join(layout.tmp, name)):
                        _clear_file(run, os.path.join(layout.tmp, name))


def _outlive_builders(engine: Engine) -> None:
    """Wait for each lock once: who was building something under one when this began has ended, or is dead.

    Not all of them at once: while the holder of one is slow, all sessions would wait.

    Raises:
        LockTimeout: a holder does not end.
    """
    for stripe in engine.locks.stripes:
        with engine.locks.holding([stripe.number]):
            pass


@contextmanager
def _locked(engine: Engine, path: bytes) -> Iterator[bool]:
    """Whether the lock on a file could be had; it is held meanwhile, so that a builder that comes now sees it."""
    fd = files.open_regular(path, files.APPEND)
    try:
        yield bool(engine.locks.try_lock(fd, blocking=False))
    finally:
        files.close(fd)


def _is_covered(engine: Engine, name: bytes) -> bool:
    """Whether a file is one of those that a living import builds: one lock is for all of them."""
    try:
        with _locked(engine, os.path.join(engine.layout.tmp, name.partition(b".")[0] + _BUILDING)) as is_ours:
            return not is_ours
    except FileNotFoundError:
        return False


def _clear_file(run: Run, path: bytes) -> None:
    try:
        found = files.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        if not run.dry_run:
            run.put_aside(path)
        run.did("stray", None, path, "What lay in tmp/ and is no file is in quarantine/.")
        return
    with _locked(run.engine, path) as is_ours:
        if not is_ours:
            return
    # The tree's lock is held: whoever builds takes it to begin.
    if not run.dry_run and found.st_size:
        run.put_aside(path)
    elif not run.dry_run:
        files.remove(path)
    where = f"all of it, {found.st_size} bytes, is in quarantine/" if found.st_size else "it was empty, and is removed"
    run.did("stray", None, path, f"Its builder is dead: {where}.")


# The trash


def _clear_trash(run: Run) -> None:
    """Put aside what is neither a log nor a past."""
    trash = run.engine.layout.trash
    for name in sorted(files.names(trash)):
        if name.endswith(SUFFIX) or maybe_past(name) is not None:
            continue
        path = os.path.join(trash, name)
        with run.guarding("stray", None, path):
            if not run.dry_run:
                with run.engine.locks.holding([TREE]):
                    run.put_aside(path)
            run.did("stray", None, path, "It is no deleted session, and is in quarantine/.")


# The pasts of forks


def _clear_pasts(run: Run) -> None:
    """Clear the past files that no fork needs; a fork places its pasts first and then its log, under its stripe."""
    layout = run.engine.layout
    unlinked: Counter[tuple[int, int]] = Counter()
    folders = [(os.path.join(layout.sessions, name), name) for name in sorted(files.names(layout.sessions))]
    for folder, name in [*folders, (layout.trash, b"")]:
        try:
            number = [int(name, 16)] if name else []
            found = sorted(files.names(folder))
        except (ValueError, OSError):
            # No folder of sessions, or one that was reported already.
            continue
        logs = {each.removesuffix(SUFFIX) for each in found if each.endswith(SUFFIX)}
        for each in found:
            past = maybe_past(each)
            path = os.path.join(folder, each)
            log = os.path.join(folder, past[0] + SUFFIX) if past else b""
            if past is None or log in run.moved:
                continue
            if past[0] in logs and log not in run.gone and not _is_unnamed(run, log, past[1]):
                continue
            with run.guarding("stray", None, path), run.engine.locks.holding([TREE, *number]):
                _clear_past(run, path, log, past[1], unlinked)


def _is_unnamed(run: Run, log: bytes, number: int) -> bool:
    """Whether a session that can be read says that its history begins elsewhere; asked again under its stripe."""
    session_id = run.owners.get(log)
    return session_id is not None and number not in run.census.seen[session_id].pasts


def _clear_past(run: Run, path: bytes, log: bytes, number: int, unlinked: Counter[tuple[int, int]]) -> None:
    if journal.pending(run.engine.layout):
        # A delete or a restore that is half done: the log is where the past will be. It is reported itself.
        return
    if not files.exists(path) or (files.exists(log) and log not in run.gone and _is_needed(run, log, number)):
        return
    found = files.lstat(path)
    inode = (found.st_dev, found.st_ino)
    if found.st_nlink - (unlinked[inode] if run.dry_run else 0) > 1:
        unlinked[inode] += 1
        if not run.dry_run:
            files.remove(path)
        run.did("stray", None, path, "No fork needs it: it is removed, as its bytes have another name too.")
        return
    if not run.dry_run:
        run.put_aside(path)
    run.did("stray", None, path, f"No fork needs it: all of it, {found.st_size} bytes, is in quarantine/.")


def _is_needed(run: Run, log: bytes, number: int) -> bool:
    """Whether the fork whose stripe is held names a past file."""
    session_id = run.owners.get(log)
    if session_id is None:
        return True
    try:
        state: State = run.engine.read(run.engine.entry(session_id))
    except HierstoreError:
        return True
    return number in {past.file for past in state.facts.past}
