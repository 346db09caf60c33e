"""Deleting, restoring and purging.

A deleted session's log moves to ``trash/<batch>.<name>.jsonl``; the batch ties together what one call deleted. The
move is what deletes: a late writer finds no log under the session's name, and cannot bring it back. What touches
several sessions is written down first (``disk/journal.py``), and finished by the next to open the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hierstore import clock, placing
from hierstore.disk import files, journal, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.disk.locks import TREE
from hierstore.disk.logfile import NO_COMMIT, SUFFIX, append_offline, parse_log, past_path, read_header
from hierstore.errors import HasChildren, HierstoreError, SessionNotFound, quoted
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.naming import file_name, stripe_of
from hierstore.reports import TrashedSession
from hierstore.tree import children, descendants, note_child

_CHILDREN = ("refuse", "cascade", "orphan")


@dataclass(frozen=True, slots=True)
class Trashed:
    """A log in the trash."""

    path: bytes
    batch: str
    session_id: str

    @property
    def deleted_at(self) -> float:
        """When it was deleted, Unix seconds: a batch's id begins with its time."""
        return clock.time_of(self.batch)


def trashed(engine: Engine) -> Iterator[Trashed]:
    """The logs in the trash, the oldest batch first."""
    folder = engine.layout.trash
    for name in sorted(files.names(folder)):
        if name.endswith(SUFFIX):
            path = os.path.join(folder, name)
            batch, _, stem = name.removesuffix(SUFFIX).decode().partition(".")
            maybe_id = read_header(path).get("session")
            yield Trashed(path, batch, maybe_id if isinstance(maybe_id, str) else stem)


def listed(engine: Engine) -> tuple[TrashedSession, ...]:
    """The same for users."""
    engine.check_open()
    found = []
    for item in trashed(engine):
        try:
            size = files.stat(item.path).st_size
        except FileNotFoundError:
            # Restored or purged meanwhile.
            continue
        found.append(TrashedSession(item.session_id, item.deleted_at, size))
    return tuple(found)


# Deleting


def delete(engine: Engine, entry: Entry, how: str, guard: Callable[[Sequence[Entry]], None] | None = None) -> None:
    """Move a session to the trash.

    Args:
        engine: the store's.
        entry: the session.
        how: what becomes of its children: ``"refuse"`` to delete, ``"cascade"`` to them, ``"orphan"`` them: they
            become roots.
        guard: called, with all locks held, with those that are about to be deleted, parents before children; what it
            raises keeps every one of them.

    Raises:
        HasChildren: it has some, and ``how`` is ``"refuse"``.
        ValueError: ``how`` is none of the three.
    """
    if how not in _CHILDREN:
        raise ValueError(f"children is one of {', '.join(_CHILDREN)}, not {quoted(how)}")
    engine.check_writable()
    finish_pending(engine)
    engine.read(entry)
    touched = {entry.id: entry}
    while True:
        with engine.holding(touched.values(), tree=True, about=entry) as durable:
            victims, orphans = _affected(engine, entry, how)
            # Children may have come while the locks were being taken: take theirs too, and look again. Under their
            # parents' locks no more can come.
            missing = [other for other in (*victims, *orphans) if other.id not in touched]
            if not missing:
                if guard is not None:
                    guard(victims)
                _delete_held(engine, entry, victims, orphans, durable)
                return
        touched.update({other.id: other for other in missing})


def _affected(engine: Engine, entry: Entry, how: str) -> tuple[list[Entry], list[Entry]]:
    """Who is deleted, and who loses a parent."""
    if how == "cascade":
        return [entry, *descendants(engine, entry)], []
    below = children(engine, entry)
    if below and how == "refuse":
        raise HasChildren(
            f"Session {entry.id!r} has children; say children='cascade' to delete them too, or 'orphan' to keep them.",
            session_id=entry.id,
            children=tuple(child.id for child in below),
        )
    return [entry], below


def _delete_held(engine: Engine, entry: Entry, victims: list[Entry], orphans: list[Entry], durable: Durable) -> None:
    record = {
        "do": "delete",
        "batch": clock.new_id(),
        "root": entry.id,
        "sessions": [[victim.id, read_header(victim.path).get("nonce")] for victim in victims],
        "orphans": [orphan.id for orphan in orphans],
    }
    _journaled(engine, record, durable, _apply_delete)


def _journaled(
    engine: Engine,
    record: dict[str, Any],
    durable: Durable,
    apply: Callable[[Engine, dict[str, Any], Durable], None],
) -> None:
    path = journal.begin(engine.layout, record)
    apply(engine, record, durable)
    # What the record stands for is on the medium before the record goes.
    durable.sync()
    journal.finish(path)


def _apply_delete(engine: Engine, record: dict[str, Any], durable: Durable) -> None:
    """Do what a record says, or what is left of it to do."""
    for orphan_id in record["orphans"]:
        try:
            engine.commit_held(
                engine.entry(orphan_id),
                lambda state: [event("moved", parent=None)] if state.facts.parent_id == record["root"] else [],
                durable,
            )
        except SessionNotFound:
            continue
    # From the leaves up: were the root first, a reader in between would take its children for roots.
    for session_id, nonce in reversed(record["sessions"]):
        _move_to_trash(engine, engine.entry(session_id), nonce, record["batch"], durable)


def _move_to_trash(engine: Engine, entry: Entry, nonce: str | None, batch: str, durable: Durable) -> None:
    name = file_name(entry.id).encode()
    target = b"%b/%b.%b.jsonl" % (engine.layout.trash, batch.encode(), name)
    # Another nonce: a new session took the id after a crash cut the delete off. That one stays.
    if files.exists(entry.path) and read_header(entry.path).get("nonce") == nonce:
        # The next log of this name must not have an mtime that this one had.
        _raise_floor(entry)
        engine.logs.close(entry)
        files.rename(entry.path, target)
        durable.add_directory(engine.layout.trash)
        durable.add_directory(os.path.dirname(entry.path))
    engine.cache.forget(entry)
    if not files.exists(target):
        return
    for number in past_numbers(entry.path):
        if not files.exists(entry.path):
            files.rename(past_path(entry.path, number), past_path(target, number))
    _mark(target, entry.id, "deleted", batch)


def _raise_floor(entry: Entry) -> None:
    """Keep in the stripe's lock file the largest mtime that a log deleted from it had."""
    found = files.stat(entry.path)
    floor = files.fstat(entry.stripe.fd)
    if found.st_mtime_ns > floor.st_mtime_ns:
        files.set_mtime(entry.stripe.fd, entry.stripe.path, found.st_mtime_ns)


def past_numbers(path: bytes) -> list[int]:
    """The numbers of the past files beside a log."""
    stem = os.path.basename(past_path(path, 0)).removesuffix(b"0")
    return [
        int(name.removeprefix(stem))
        for name in files.names(os.path.dirname(path))
        if name.startswith(stem) and name.removeprefix(stem).isdigit()
    ]


def _mark(path: bytes, session_id: str, kind: str, batch: str) -> None:
    """Note in a log that lies in the trash what befell it. On the medium when this returns: the record's end will be."""
    is_deleted = kind == "deleted"

    def decide(state: State) -> list[dict[str, Any]]:
        return [] if state.facts.deleted == is_deleted else [event(kind, batch=batch)]

    append_offline(path, session_id, decide, sync=True)


# Restoring


def restore(engine: Engine, session_id: str) -> None:
    """Bring a session back from the trash, with those below it that the same call deleted.

    Of several deleted sessions of one id the latest comes back. If its parent is gone it becomes a root.

    Raises:
        SessionNotFound: it is not in the trash.
        SessionExists: it, or one that would come with it, exists.
    """
    engine.check_writable()
    finish_pending(engine)
    root = engine.entry(session_id)
    with engine.holding([], tree=True, about=root):
        returning = _returning(engine, session_id)
    parent_id = returning[session_id][1]
    entries = [engine.entry(found_id) for found_id in returning]
    parent = None if parent_id is None else engine.entry(parent_id)
    with engine.holding(entries if parent is None else [*entries, parent], tree=True, about=root) as durable:
        if _returning(engine, session_id) != returning:
            raise SessionNotFound(f"Session {session_id!r} is no longer in the trash.", session_id=session_id)
        for found_id in returning:
            if engine.exists(found_id):
                raise refusals.already_there(found_id)
        record = {
            "do": "restore",
            "root": session_id,
            "parent": parent_id,
            "sessions": [
                [found_id, engine.layout.relative(item.path), item.batch] for found_id, (item, _) in returning.items()
            ],
        }
        _journaled(engine, record, durable, _apply_restore)


def _returning(engine: Engine, session_id: str) -> dict[str, tuple[Trashed, str | None]]:
    """The sessions that a restore brings back, the named one first, each with its parent."""
    items = list(trashed(engine))
    latest = next((item for item in reversed(items) if item.session_id == session_id), None)
    if latest is None:
        raise SessionNotFound(f"There is no session {session_id!r} in the trash.", session_id=session_id)
    batch = {item.session_id: (item, _parent_of(item)) for item in items if item.batch == latest.batch}
    found = {session_id: batch[session_id]}
    while more := {k: v for k, v in batch.items() if k not in found and v[1] in found}:
        found.update(more)
    return found


def _parent_of(item: Trashed) -> str | None:
    data = files.read_all(item.path)
    try:
        return parse_log(data, item.session_id, item.path).state.facts.parent_id
    except HierstoreError:
        # Damaged: it comes back as it is, and those below it that name it.
        return None


def _apply_restore(engine: Engine, record: dict[str, Any], durable: Durable) -> None:
    root = engine.entry(record["root"])
    for session_id, source, batch in record["sessions"]:
        _move_from_trash(engine, engine.entry(session_id), engine.layout.absolute(source), batch, durable)
    parent_id = record["parent"]
    if parent_id is None or not engine.exists(root.id):
        return
    if engine.exists(parent_id):
        note_child(engine, engine.entry(parent_id), root.id, durable)
    else:
        engine.commit_held(
            root, lambda state: [event("moved", parent=None)] if state.facts.parent_id == parent_id else [], durable
        )


def _move_from_trash(engine: Engine, entry: Entry, source: bytes, batch: str, durable: Durable) -> None:
    if not files.exists(source):
        return
    if engine.exists(entry.id):
        if os.path.samestat(files.stat(source), files.stat(entry.path)):
            # Cut off between the log's new name and the end of the old one.
            files.remove(source)
        return
    engine.layout.make_folder(entry.path, power=True)
    # Said in the log before it gets its name back: a log under a session's name never says that it is deleted.
    _mark(source, entry.id, "restored", batch)
    for number in past_numbers(source):
        files.rename(past_path(source, number), past_path(entry.path, number))
    engine.make_way(entry)
    files.move(source, entry.path)
    durable.add_directory(os.path.dirname(entry.path))
    durable.add_directory(engine.layout.trash)
    engine.cache.forget(entry)


# Finishing what a crash cut off


_APPLY = {"delete": _apply_delete, "restore": _apply_restore, "import": placing.redo}


def finish_pending(engine: Engine, *, wait: bool = True) -> None:
    """Finish the work of processes that died in the middle of it.

    Args:
        engine: the store's.
        wait: whether to wait for the tree's lock; opening a store does not, as its holder is alive.
    """
    if not journal.pending(engine.layout):
        return
    tree = engine.locks.stripes[TREE]
    if not wait:
        if not engine.locks.maybe_take(tree):
            return
        tree.release()
    failure: Exception | None = None
    for path in journal.pending(engine.layout):
        try:
            record = journal.load(path)
            if record is not None and record.get("do") in _APPLY:
                _redo(engine, path, record)
        except (HierstoreError, OSError, *NO_COMMIT) as error:
            # What cannot be finished keeps nobody from finishing the rest.
            failure = failure or error
    if isinstance(failure, HierstoreError | OSError):
        raise failure


def _redo(engine: Engine, path: bytes, record: dict[str, Any]) -> None:
    ids = [item[0] for item in record["sessions"]] + record.get("orphans", [])
    ids += [parent_id for parent_id, _ in record.get("notes", [])]
    if record.get("parent") is not None:
        ids.append(record["parent"])
    parts = [engine.registry(stripe_of(key)) for key, _ in record.get("routes", [])]
    with engine.holding([*map(engine.entry, ids), *parts], tree=True) as durable:
        if files.exists(path):
            _APPLY[record["do"]](engine, record, durable)
            durable.sync()
            journal.finish(path)
