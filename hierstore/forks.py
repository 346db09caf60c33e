"""Forking: a child that starts with its parent's history and shares the bytes.

The fork gets a hard link to the parent's log and notes up to where it counts. The log only grows, so that prefix
never changes; deleting the parent moves its name away, not its bytes. A fork of a fork links the logs of all times
before. Where links do not work, the fork gets a file with the messages that it shows: a copy of the parent's bytes
would keep what the fork does not show when the parent is purged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from hierstore import clock
from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import append_offline, first_lines, past_path
from hierstore.errors import HierstoreError
from hierstore.log import frame
from hierstore.log.events import Past, commit, event
from hierstore.log.state import State
from hierstore.model import Message
from hierstore.snapshots import Target, resolve
from hierstore.tree import note_child
from hierstore.values import encode

_MAX_PASTS = 8
"""A fork of more generations than this gets the messages in one file of its own: opening it reads them all."""


def fork(
    engine: Engine, parent: Entry, session_id: str, at: Target | None, *, title: str | None, kind: str | None
) -> Entry:
    """Make a child that starts with the parent's history up to a point.

    Raises:
        SessionExists, SessionNotFound, RevisionNotFound, WriteFailed: nothing is left behind but, perhaps, a note.
    """
    engine.check_writable()
    child = engine.entry(session_id)
    if parent.head is None:
        # Not under the lock: what is not cached may be long.
        engine.read(parent)
    with engine.holding([child, parent]) as durable:
        state = engine.current(parent)
        revision, count = (state.revision, state.count) if at is None else resolve(state, at)
        if engine.exists(session_id):
            raise refusals.already_there(session_id)
        history, _ = state.history_at(revision)
        facts = {"parent": parent.id, "kind": kind, "title": title, "title_source": None if title is None else "user"}
        try:
            past = _share_past(engine, parent, state, child, revision, count) if count else ()
            # In either durability the parent's log is on the medium, up to here, before the fork can be: a power cut must
            # not take the beginning of a history from under the rest of it.
            note_child(engine, parent, session_id, durable)
            engine.create(child, facts, durable, (history, count), past, is_new=True, owner=parent)
        except (OSError, HierstoreError):
            # Links to the parent's bytes, which nobody would know of when the parent is purged.
            if not files.exists(child.path):
                _remove(child.path, range(_MAX_PASTS))
            raise
    return child


def _share_past(
    engine: Engine, parent: Entry, state: State, child: Entry, revision: int, count: int
) -> tuple[Past, ...]:
    """Put the logs of the time before beside the child's log-to-be; both stripes are held."""
    engine.layout.make_folder(child.path, power=engine.power)
    pasts = []
    if len(state.facts.past) < _MAX_PASTS:
        head = parent.head
        # Another thread may have had it dropped since; what else it may hold, it was seen to hold in this hold.
        size = head[1] if head is not None else files.stat(parent.path).st_size
        number = len(state.facts.past)
        sources = [past_path(parent.path, past.file) for past in state.facts.past]
        pasts = [past._replace(file=place) for place, past in enumerate(state.facts.past)]
        pasts.append(Past(number, size, parent.chain, revision, count, parent.nonce))
        if all(_link(source, past_path(child.path, place)) for place, source in enumerate([*sources, parent.path])):
            if engine.power:
                # The links before the log that needs them: that one comes last, and is the fork.
                files.sync_directory(os.path.dirname(child.path))
            return tuple(pasts)
    _remove(child.path, (past.file for past in pasts))
    messages = state.history_at(revision)[0].part(0, count)
    return (write_past(engine, child.id, child.path, 0, messages),)


def _remove(path: bytes, numbers: Iterable[int]) -> None:
    for number in numbers:
        files.remove(past_path(path, number))


def _link(source: bytes, target: bytes) -> bool:
    # Left by a fork that a crash cut off: the child's stripe is held and the child does not exist.
    files.remove(target)
    return files.maybe_link(source, target)


def write_past(
    engine: Engine,
    session_id: str,
    path: bytes,
    number: int,
    messages: Sequence[Message],
    scratch: bytes | None = None,
) -> Past:
    """Write the beginning of a fork's history into a file of its own: what it shows, and nothing else.

    Args:
        engine: the store's.
        session_id: the fork.
        path: its log, beside which the file goes.
        number: the file's number.
        messages: what it shows.
        scratch: where to build it; a new name of no special kind when None.

    The file is in place and synced when this returns; it counts once an event in the owner's log says so.
    """
    at = clock.now()
    nonce = os.urandom(8).hex()
    lines, chain = first_lines(session_id, nonce, at, commit([event("created")], 1, at))
    parts = [lines]
    for revision, message in enumerate(messages, 2):
        record = encode(message._record(), "message")
        line, chain = frame.seal(b'{"message":%b,"seq":%d' % (record, revision), chain)
        parts.append(line)
    data = b"".join(parts)
    scratch = scratch or engine.layout.scratch(b".past")
    target = past_path(path, number)
    fd = files.create(scratch, engine.layout.file_mode)
    try:
        try:
            files.write_all(fd, data)
            files.sync(fd)
        finally:
            files.close(fd)
        files.remove(target)
        files.place(scratch, target)
    except BaseException:
        files.remove(scratch)
        raise
    files.sync_directory(os.path.dirname(target))
    return Past(number, len(data), chain, len(messages) + 1, len(messages), nonce)


def detach(engine: Engine, owner: Entry, durable: Durable) -> None:
    """Give a living fork its own copy of the history it shares, so that it holds no link to others' logs.

    The stripe is held, ``ordered``: what the fork shows is on the medium, and stays there. A crash in between leaves the links as they were, and perhaps a file that nobody names.
    """
    state = engine.current(owner)
    if not state.facts.past:
        return
    number = max(past.file for past in state.facts.past) + 1
    past = write_past(engine, owner.id, owner.path, number, _inherited(state))
    engine.commit_held(owner, lambda _: [event("past", past=[list(past)])], durable)
    durable.sync()
    _remove(owner.path, (old.file for old in state.facts.past))


def detach_trashed(engine: Engine, path: bytes, session_id: str) -> bool:
    """The same for a fork that lies in the trash; the tree's lock is held. False when its log is damaged."""
    replaced: list[Past] = []

    def decide(state: State) -> list[dict[str, Any]]:
        if not state.facts.past:
            return []
        replaced.extend(state.facts.past)
        number = max(past.file for past in replaced) + 1
        past = write_past(engine, session_id, path, number, _inherited(state))
        return [event("past", past=[list(past)])]

    # Synced: what was on the medium goes next.
    if not append_offline(path, session_id, decide, sync=True):
        return False
    _remove(path, (old.file for old in replaced))
    return True


def _inherited(state: State) -> list[Message]:
    """What a fork started with."""
    return state.facts.epochs[0][1].part(0, state.counts[0])
