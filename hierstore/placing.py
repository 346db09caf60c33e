"""Putting logs that were built in ``tmp/`` in their places: all of them or, also after a crash, none.

The record of a redo journal says what goes where (``disk/journal.py``); from the moment it is written the logs will be
placed, by us or by the next to open the store. Parents come first, and note their children before those appear.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hierstore.disk import files, journal
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import past_path, read_header
from hierstore.errors import SessionNotFound
from hierstore.log.events import event
from hierstore.naming import stripe_of
from hierstore.routes import note_lead, resolve
from hierstore.tree import note_child


@dataclass(frozen=True, slots=True)
class Built:
    """A log that is to be placed.

    Attributes:
        session_id: its id here.
        path: where it was built; the past of a fork is beside it.
        nonce: from its header.
        floor_ns: from its header.
        parent_id: below whom it goes.
        notes_needed: whether the parent is no log of the same batch, and has to note it.
        keys: route keys to bind to it.
    """

    session_id: str
    path: bytes
    nonce: str
    floor_ns: int
    parent_id: str | None
    notes_needed: bool
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """Why a batch was not placed: these ids are sessions' here, and nothing was changed.

    Attributes:
        ids: which.
        floor_ns: or, where there are none, a log of the same name that is gone was modified then, which is too lately.
    """

    ids: tuple[str, ...]
    floor_ns: int = 0


def place(engine: Engine, batch: Sequence[Built]) -> Taken | None:
    """Place logs, parents before their children.

    Returns:
        None when it is done; Taken when some of the ids exist, or when a log of the same name that is gone was modified
        too lately for this one's stamps (then there are no ids, and the logs are to be built again).

    Raises:
        SessionNotFound: a parent that is not among them does not exist.
    """
    engine.check_writable()
    entries = [engine.entry(item.session_id) for item in batch]
    outside = {item.parent_id: None for item in batch if item.notes_needed and item.parent_id is not None}
    parents = [engine.entry(parent_id) for parent_id in outside]
    parts = [engine.registry(stripe_of(key)) for item in batch for key in item.keys]
    with engine.holding([*entries, *parents, *parts], tree=True, about=entries[0]) as durable:
        taken = tuple(entry.id for entry in entries if engine.exists(entry.id))
        if taken:
            return Taken(taken)
        for parent in parents:
            engine.current(parent)
        floors = [files.fstat(entry.stripe.fd).st_mtime_ns for entry in entries]
        if any(floor_ns > item.floor_ns for floor_ns, item in zip(floors, batch, strict=True)):
            return Taken((), max(floors))
        record = {
            "do": "import",
            "sessions": [[item.session_id, engine.layout.relative(item.path), item.nonce] for item in batch],
            "notes": [[item.parent_id, item.session_id] for item in batch if item.notes_needed and item.parent_id],
            "routes": [[key, item.session_id] for item in batch for key in item.keys],
        }
        path = journal.begin(engine.layout, record)
        redo(engine, record, durable)
        durable.sync()
        journal.finish(path)
    return None


def redo(engine: Engine, record: dict[str, Any], durable: Durable) -> None:
    """Do what a record says, or what is left of it to do."""
    for parent_id, child_id in record["notes"]:
        try:
            note_child(engine, engine.entry(parent_id), child_id, durable)
        except SessionNotFound:
            # Deleted since a crash cut the import off: the child becomes one without a parent; repair() tells.
            continue
    for session_id, source, nonce in record["sessions"]:
        _place(engine, session_id, engine.layout.absolute(source), nonce, durable)
    for key, session_id in record["routes"]:
        # A key that leads to a living session stays with it.
        if engine.exists(session_id) and resolve(engine, key) is None:
            part = engine.registry(stripe_of(key))
            note_lead(engine, part, event("route", key=key, session=session_id), durable)


def _place(engine: Engine, session_id: str, source: bytes, nonce: str, durable: Durable) -> None:
    entry = engine.entry(session_id)
    if files.exists(source) and engine.exists(session_id):
        # Cut off between the log's new name and the end of the old one; or somebody made a session of that id since
        # the crash, which stays.
        if read_header(entry.path).get("nonce") != nonce:
            files.remove(past_path(source, 0))
        files.remove(source)
    if not files.exists(source):
        # Placed by the process that the crash cut off, who may not have come to the sync.
        durable.add_directory(os.path.dirname(entry.path))
        return
    engine.layout.make_folder(entry.path, power=True)
    if files.exists(past_path(source, 0)):
        files.rename(past_path(source, 0), past_path(entry.path, 0))
    engine.make_way(entry)
    # In one step: a power cut may leave an unlink without the link that came before it in another folder.
    files.move(source, entry.path)
    durable.add_directory(os.path.dirname(entry.path))
    engine.cache.forget(entry)
