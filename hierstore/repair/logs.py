"""Mending logs: each is cut to its sound beginning, and each is where its session's log belongs."""

from __future__ import annotations

import os
import stat

from hierstore import census
from hierstore.census import Place, seen_in
from hierstore.diagnosis import Verdict, judge, read_log
from hierstore.disk import files, refusals
from hierstore.disk.locks import TREE
from hierstore.disk.logfile import Parsed, past_path, replace_log
from hierstore.errors import HierstoreError, SessionNotFound, StoreClosed, UnreadableLog
from hierstore.naming import stripe_of
from hierstore.repair.run import Run
from hierstore.trash import past_numbers


def mend_logs(run: Run) -> None:
    """Mend every session's log, and take the census of what they say then."""
    places = list(census.walk(run.engine))
    for place in places:
        if place.kind is None:
            _mend(run, place, place.path)
    # Now: a place may have become free when what lay there was no log.
    for place in places:
        if place.kind in ("misplaced", "duplicate"):
            _put_in_place(run, place)
        elif place.kind == "unreadable":
            _leave_unreadable(run, place.session_id, place.path, place.detail)
        elif place.kind == "stray":
            _clear_stray(run, place)
    run.census.find_trashed(run.engine)


def _leave_unreadable(run: Run, session_id: str, path: bytes, detail: str) -> None:
    run.census.unreadable.add(session_id)
    detail += " Let this user read it, or restore it from a backup."
    # A hash in the name does not tell whose it is.
    run.leave("unreadable", None if not session_id or "~" in session_id else session_id, path, detail)


def _mend(run: Run, place: Place, where: bytes) -> None:
    """Mend one log, which lies, for the time being, at ``where``."""
    session_id = place.session_id
    try:
        data = read_log(run.engine, place.stripes, where, session_id)
        verdict = judge(data, session_id, where)
    except StoreClosed:
        raise
    except SessionNotFound:
        return
    except HierstoreError as error:
        run.census.unreadable.add(session_id)
        run.leave("unreadable", session_id, place.path, _of_unreadable(error, where))
        return
    if verdict.kind is not None and not run.dry_run:
        maybe_mended = None
        with run.guarding(verdict.kind, session_id, place.path):
            maybe_mended = _mend_held(run, place)
        if maybe_mended is None:
            run.census.unreadable.add(session_id)
            return
        data, verdict = maybe_mended
    if verdict.kind is not None:
        _report(run, place, verdict, data)
    if verdict.parsed is None:
        run.gone.add(place.path)
    elif verdict.parsed.fault is not None:
        run.census.unreadable.add(session_id)
        run.leave("corrupt", session_id, place.path, _of_past(verdict.parsed))
    else:
        run.owners[place.path] = session_id
        run.census.seen[session_id] = seen_in(verdict.parsed.state, data[: verdict.end])


def _of_unreadable(error: HierstoreError, path: bytes) -> str:
    if not isinstance(error, UnreadableLog):
        return str(error)
    own = "" if os.fsencode(error.path) == path else "; the session's own messages are in its log"
    return f"{error} Let this user read it, or restore it from a backup{own}."


def _of_past(parsed: Parsed) -> str:
    fault = str(parsed.fault)
    return (
        f"{fault[0].upper()}{fault[1:]}; restore that file from a backup. Until then the session shows the"
        f" {parsed.state.count} messages that are whole of it and takes no writes; its own messages are in its log."
    )


def _mend_held(run: Run, place: Place) -> tuple[bytes, Verdict]:
    """Look again, under the session's lock, and cut what is not sound.

    Returns:
        What was there then, and the verdict on it.
    """
    engine = run.engine
    entry = engine.entry(place.session_id)
    with engine.locks.holding(place.stripes):
        data = read_log(engine, (), place.path, place.session_id)
        verdict = judge(data, place.session_id, place.path)
        if verdict.kind is None:
            return data, verdict
        if entry.poisoned:
            raise refusals.not_durable(entry, 0, "an earlier sync failed")
        if entry.stripe.number == place.number:
            engine.logs.close(entry)
            engine.cache.forget(entry)
        if verdict.parsed is not None:
            cut(run, place.path, data, verdict.parsed)
        elif data:
            run.put_aside(place.path, place.stripes)
        else:
            files.remove(place.path)
    return data, verdict


def cut(run: Run, path: bytes, data: bytes, parsed: Parsed, more: bytes = b"") -> None:
    """Let a log end where it is sound; its stripe is held.

    Args:
        run: the repair.
        path: the log.
        data: its bytes.
        parsed: what its sound beginning says.
        more: a commit to go on with.
    """
    run.engine.layout.quarantine_bytes(path, parsed.nonce, parsed.end, data[parsed.end :])
    replace_log(run.engine.layout, path, data[: parsed.end] + more, parsed.floor_ns)


def cut_sentence(run: Run, path: bytes, data: bytes, parsed: Parsed) -> str:
    """What becomes of the bytes behind the sound beginning."""
    tail = data[parsed.end :]
    lines = tail.count(b"\n")
    target = run.engine.layout.quarantine_target(path, parsed.nonce, parsed.end, tail)
    return (
        f"The log goes on from byte {parsed.end}; the {len(tail)} bytes behind it, with {lines} whole"
        f" {'line' if lines == 1 else 'lines'} among them, are in quarantine/{os.fsdecode(os.path.basename(target))}."
    )


def _report(run: Run, place: Place, verdict: Verdict, data: bytes) -> None:
    if verdict.parsed is not None:
        detail = cut_sentence(run, place.path, data, verdict.parsed)
    elif not data:
        detail = "An empty file, left by a power cut, is removed; it was no session."
    elif verdict.kind == "empty_log":
        detail = f"What a power cut left of a log's beginning, {len(data)} bytes, is in quarantine/; it was no session."
    else:
        detail = (
            f"Not even its beginning is sound: all of it, {len(data)} bytes, is in quarantine/, and there is no session"
            f" {place.session_id!r} any more."
        )
    run.did(str(verdict.kind), place.session_id, place.path, detail)


def _put_in_place(run: Run, place: Place) -> None:
    """Move a log to where its session's log belongs, if that is free; else it is put aside."""
    engine = run.engine
    right = engine.layout.log(place.session_id)
    is_free = run.census.seen.get(place.session_id) is None and (not files.exists(right) or right in run.gone)
    if not run.dry_run:
        maybe_free: bool | None = None
        numbers = [TREE, stripe_of(place.session_id), *place.stripes]
        with run.guarding(str(place.kind), place.session_id, place.path), engine.locks.holding(numbers):
            run.check_nothing_pending()
            maybe_free = not files.exists(right)
            if maybe_free:
                _move(run, place, right)
            else:
                run.put_aside(place.path)
        if maybe_free is None:
            return
        is_free = maybe_free
    if is_free:
        run.moved.add(place.path)
        run.did("misplaced", place.session_id, place.path, f"It is at {os.fsdecode(right)} now, where it belongs.")
        _mend(run, place._replace(path=right, number=stripe_of(place.session_id)), place.path if run.dry_run else right)
    else:
        run.gone.add(place.path)
        run.did(
            "duplicate", place.session_id, place.path,
            f"It is in quarantine/: what lies in the place of session {place.session_id!r} is the session.",
        )  # fmt: skip


def _move(run: Run, place: Place, right: bytes) -> None:
    engine = run.engine
    engine.layout.make_folder(right, power=True)
    stripe = engine.locks.stripes[stripe_of(place.session_id)]
    fd = files.open_regular(place.path, files.APPEND)
    try:
        # A log of this name that was deleted may have had any stamp up to the one that the lock's file keeps.
        files.raise_mtime(fd, place.path, files.fstat(stripe.fd).st_mtime_ns)
    finally:
        files.close(fd)
    # As for a fork: the log comes last, and is the session.
    for number in past_numbers(place.path):
        if files.exists(past_path(right, number)):
            # Left by a fork of that name that a crash cut off.
            run.put_aside(past_path(right, number))
        files.rename(past_path(place.path, number), past_path(right, number))
    files.move(place.path, right)
    files.sync_directory(os.path.dirname(right))
    files.sync_directory(os.path.dirname(place.path))
    engine.cache.forget(engine.entry(place.session_id))


def _clear_stray(run: Run, place: Place) -> None:
    """Put a file aside that lies where no log can be; whatever is no file stays."""
    with run.guarding("stray", None, place.path):
        if not stat.S_ISREG(files.lstat(place.path).st_mode):
            run.leave("stray", None, place.path, f"{place.detail} No repair touches what is no file; move it yourself.")
            return
        if not run.dry_run:
            with run.engine.locks.holding([TREE, *place.stripes]):
                run.put_aside(place.path)
        run.gone.add(place.path)
        run.did("stray", None, place.path, f"{place.detail} It is in quarantine/.")
