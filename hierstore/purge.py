"""Purging: what lies in the trash is removed for good, and what living forks show of it stays with them."""

from __future__ import annotations

import math
import os

from hierstore import clock
from hierstore.disk import files, refusals
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import SUFFIX, past_path, read_header
from hierstore.errors import InvalidRecord, SessionNotFound, quoted
from hierstore.forks import detach, detach_trashed
from hierstore.trash import Trashed, finish_pending, past_numbers, trashed


def purge(engine: Engine, session_id: str | None, max_age_days: float | None = None) -> tuple[str, ...]:
    """Remove sessions in the trash for good; what living forks show of them stays with the forks.

    Args:
        engine: the store's.
        session_id: which one (every deleted session of that id), or None for all.
        max_age_days: only those deleted longer ago, or None; of 0 or less, none is.

    Returns:
        The ids, in the order of their deletion.

    Raises:
        SessionNotFound: the one named is not in the trash.
    """
    latest = latest_time(max_age_days, "max_age_days") if max_age_days is not None else math.inf
    engine.check_writable()
    finish_pending(engine)
    items = [item for item in trashed(engine) if session_id in (None, item.session_id)]
    if session_id is not None and not items:
        raise SessionNotFound(f"There is no session {session_id!r} in the trash.", session_id=session_id)
    items = [item for item in items if item.deleted_at < latest]
    # Forks of forks first: what goes anyway needs no copy of what it shows.
    for item in sorted(items, key=lambda item: -_pasts(engine, item)):
        with engine.translating(engine.entry(item.session_id)):
            _purge_one(engine, item)
    return tuple(item.session_id for item in items)


def latest_time(max_age_days: object, where: str) -> float:
    """Before which time something is older than so many days, Unix seconds; before all times when they are 0 or less.

    Raises:
        InvalidRecord: it is no number.
    """
    is_number = isinstance(max_age_days, int | float) and not isinstance(max_age_days, bool)
    # The second is for NaN; math.isnan takes no large int.
    if not is_number or max_age_days != max_age_days:
        raise InvalidRecord(f"{where} is a number of days, not {quoted(max_age_days)}.", where=where)
    days: float = min(max_age_days, 1e12)  # type: ignore[call-overload]
    return clock.now() - days * 86400 if days > 0 else -math.inf


def _pasts(engine: Engine, item: Trashed) -> int:
    with engine.translating(engine.entry(item.session_id)):
        return len(past_numbers(item.path))


def _purge_one(engine: Engine, item: Trashed) -> None:
    # Each fork is detached under its own lock, so that forks of it may appear in between; links are counted again
    # until none is left.
    _detach_forks(engine, item)
    with engine.holding([], tree=True, about=engine.entry(item.session_id)) as durable:
        nonce = read_header(item.path).get("nonce")
        numbers = past_numbers(item.path)
        # The log first: without it the rest is nobody's, and the next purge of anything that it links removes it.
        files.remove(item.path)
        for number in numbers:
            files.remove(past_path(item.path, number))
        _purge_quarantine(engine, item, nonce)
        durable.add_directory(engine.layout.trash)


def _purge_quarantine(engine: Engine, item: Trashed, nonce: object) -> None:
    stem = engine.layout.quarantine_stem(engine.layout.log(item.session_id), str(nonce))
    for name in files.names(engine.layout.quarantine):
        if name.startswith(stem):
            files.remove(os.path.join(engine.layout.quarantine, name))


def _detach_forks(engine: Engine, item: Trashed) -> None:
    """Give every fork that links a trashed log its own copy of what it shows."""
    while True:
        try:
            found = files.stat(item.path)
        except FileNotFoundError:
            return
        linking = _past_files(engine, item.path, found)
        if not linking:
            return
        for folder, path in linking:
            _detach_fork(engine, item, folder, path)


def _detach_fork(engine: Engine, item: Trashed, folder: bytes, path: bytes) -> None:
    """Let one past file of a fork go, once the fork does not need it."""
    log = path.rpartition(b".past")[0] + SUFFIX
    if not files.exists(log):
        # Left by a fork, or by a purge, that a crash cut off.
        files.remove(path)
        return
    maybe_id = read_header(log).get("session")
    owner = engine.entry(maybe_id if isinstance(maybe_id, str) else os.path.basename(log).decode())
    if not isinstance(maybe_id, str):
        raise refusals.corrupt(owner, 0, f"is damaged, and what it shows of session {item.session_id!r} cannot be kept")
    if folder == engine.layout.trash:
        with engine.holding([], tree=True, about=owner):
            if not detach_trashed(engine, log, maybe_id):
                raise refusals.corrupt(
                    owner, 0, f"in the trash is damaged; session {item.session_id!r} stays there too"
                )
            files.remove(path)
        return
    try:
        with engine.holding([owner], ordered=True) as durable:
            detach(engine, owner, durable)
            files.remove(path)
    except SessionNotFound:
        # Deleted meanwhile: the next look finds it in the trash.
        return


def _past_files(engine: Engine, log: bytes, found: os.stat_result) -> list[tuple[bytes, bytes]]:
    """Every past file, of sessions and in the trash, that is a link to a log, or to what it was before a compaction."""
    top = read_header(log)
    nonce = top.get("nonce") if "skipped" in top else None
    if found.st_nlink < 2 and nonce is None:
        return []
    layout = engine.layout
    folders = [layout.trash, *(os.path.join(layout.sessions, name) for name in files.names(layout.sessions))]
    linking = []
    for folder in folders:
        for name in files.names(folder):
            if b".past" in name:
                path = os.path.join(folder, name)
                try:
                    stat = files.lstat(path)
                except FileNotFoundError:
                    continue
                # A compaction keeps the nonce, which no other log has; the forks made before it link the old file.
                is_log = (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino)
                if is_log or (nonce is not None and read_header(path).get("nonce") == nonce):
                    linking.append((folder, path))
    return linking
