"""Mending the ties between sessions: parents that are not there, children that their parents do not note, cycles."""

from __future__ import annotations

from collections.abc import Callable

from hierstore.census import is_there, is_trashed
from hierstore.disk import journal
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.errors import SessionNotFound
from hierstore.log.events import event
from hierstore.repair.run import Run
from hierstore.tree import note_child

_Act = Callable[[Entry, Entry, Durable], bool]
"""Mends a tie between a session and another, both held, if it is still to be mended."""


def mend_ties(run: Run) -> None:
    """Let parents and children agree, as far as their logs can be written to."""
    for session_id, parent_id in run.census.missing_parents():
        _free(run, session_id, parent_id)
    for members in run.census.cycles():
        _break(run, members)
    for session_id, parent_id in run.census.unlisted():
        _list(run, session_id, parent_id)
    for session_id, child_id in run.census.dangling():
        _forget(run, session_id, child_id)


def _tie(run: Run, kind: str, session_id: str, other_id: str, detail: str, act: _Act) -> bool:
    """Mend one tie; whether it was, or would be."""
    engine = run.engine
    entry, other = engine.entry(session_id), engine.entry(other_id)
    is_done = False
    with run.guarding(kind, session_id, entry.path):
        if run.dry_run:
            is_done = not journal.pending(engine.layout)
        else:
            # Under the tree's lock nothing is moved, deleted, restored or imported.
            with engine.holding([entry, other], tree=True, about=entry) as durable:
                run.check_nothing_pending()
                is_done = act(entry, other, durable)
    if is_done:
        run.did(kind, session_id, entry.path, detail)
    return is_done


def _free(run: Run, session_id: str, parent_id: str) -> None:
    """Make a session whose parent does not exist a root."""

    def act(entry: Entry, parent: Entry, durable: Durable) -> bool:
        return not is_there(run.engine, parent.id) and _make_root(run, entry, parent.id, durable)

    if _is_absent(run, parent_id):
        detail = f"It is a root now: its parent {parent_id!r} does not exist."
        if _tie(run, "missing_parent", session_id, parent_id, detail, act):
            run.census.make_root(session_id)


def _is_absent(run: Run, session_id: str) -> bool:
    """Whether the system says that a session is not there, rather than nothing."""
    return run.engine.layout.log(session_id) in run.gone or not is_there(run.engine, session_id)


def _make_root(run: Run, entry: Entry, parent_id: str, durable: Durable) -> bool:
    if run.engine.current(entry).facts.parent_id != parent_id:
        return False
    run.engine.commit_held(entry, lambda _: [event("moved", parent=None)], durable)
    return True


def _break(run: Run, members: tuple[str, ...]) -> None:
    """Make one session of a cycle a root: the one that was made last."""
    seen = run.census.seen
    place = max(range(len(members)), key=lambda place: (seen[members[place]].created_at, members[place]))
    # In a cycle each is followed by its parent.
    session_id, parent_id = members[place], members[(place + 1) % len(members)]

    def act(entry: Entry, parent: Entry, durable: Durable) -> bool:
        return _hangs_below(run, parent.id, entry.id) and _make_root(run, entry, parent.id, durable)

    detail = f"It is a root now: it was its own ancestor, by way of {parent_id!r}."
    if _tie(run, "cycle", session_id, parent_id, detail, act):
        run.census.make_root(session_id)


def _hangs_below(run: Run, session_id: str, above_id: str) -> bool:
    """Whether a session hangs below another, or is it; the tree's lock is held."""
    at: str | None = session_id
    way = set()
    while at is not None and at not in way:
        if at == above_id:
            return True
        way.add(at)
        try:
            at = run.engine.peek(run.engine.entry(at)).facts.parent_id
        except SessionNotFound:
            return False
    return False


def _list(run: Run, session_id: str, parent_id: str) -> None:
    """Let a parent note its child."""
    engine = run.engine

    def act(entry: Entry, parent: Entry, durable: Durable) -> bool:
        if engine.current(entry).facts.parent_id != parent.id:
            return False
        if entry.id in engine.current(parent).facts.children:
            return False
        note_child(engine, parent, entry.id, durable)
        return True

    _tie(run, "unlisted_child", session_id, parent_id, f"Its parent {parent_id!r} lists it now.", act)


def _forget(run: Run, session_id: str, child_id: str) -> None:
    """Let a session no longer note a child that does not exist."""
    engine = run.engine

    def act(entry: Entry, child: Entry, durable: Durable) -> bool:
        # Whoever makes a child holds both stripes from the note until the child is there.
        if is_there(engine, child.id) or is_trashed(engine, child.id):
            return False
        if child.id not in engine.current(entry).facts.children:
            return False
        engine.commit_held(entry, lambda _: [event("forgotten", id=child.id)], durable)
        return True

    if _is_absent(run, child_id):
        detail = f"It no longer notes a child {child_id!r}, which does not exist."
        _tie(run, "missing_child", session_id, child_id, detail, act)
