"""The hierarchy: who hangs below whom, and moving.

A session's parent is what its own log says. The parent's log notes the child before the child appears, so a parent
finds its children without looking at every session; a note whose child does not exist, or says otherwise, is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from hierstore.disk import files
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Durable, Engine
from hierstore.disk.logfile import SUFFIX, read_header
from hierstore.errors import (
    CorruptLog,
    FormatTooNew,
    HierarchyCycle,
    SessionExists,
    SessionNotFound,
    UnreadableLog,
)
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.model import TreeNode
from hierstore.naming import file_name, stripe_of

BAD_LOG = (CorruptLog, UnreadableLog, FormatTooNew)
"""What is wrong with one session and must not hide others; ``check()`` tells of it."""

UNSHOWN = (*BAD_LOG, SessionNotFound)


def create(engine: Engine, session_id: str, facts: Mapping[str, Any]) -> Entry:
    """Make a session, below ``facts["parent"]`` if that is an id.

    Raises:
        SessionExists: nothing was changed.
        SessionNotFound: there is no such parent.
    """
    engine.check_writable()
    entry = engine.entry(session_id)
    parent_id = facts.get("parent")
    parent = None if parent_id is None else engine.entry(parent_id)
    if parent is not None:
        engine.read(parent)
    with engine.holding([entry] if parent is None else [entry, parent]) as durable:
        if engine.exists(session_id):
            raise SessionExists(f"There is a session {session_id!r} already.", session_id=session_id)
        if parent is not None:
            note_child(engine, parent, session_id, durable)
        engine.create(entry, facts, durable)
    return entry


def note_child(engine: Engine, parent: Entry, child_id: str, durable: Durable) -> State:
    """Note a child in its parent's log, before it appears; both stripes are held.

    In power mode the note is on the medium when this returns: every existing child is listed by its parent.
    """
    state = engine.commit_held(
        parent, lambda state: [] if child_id in state.facts.children else [event("child", id=child_id)], durable
    )
    durable.sync()
    return state


def children(engine: Engine, entry: Entry) -> list[Entry]:
    """The session's children, in the order in which they were noted."""
    found = []
    for child_id in engine.read(entry).facts.children:
        child = engine.entry(child_id)
        try:
            state = engine.read(child)
        except SessionNotFound:
            continue
        except BAD_LOG:
            # It exists, and cannot be read: one bad session hides no other, and is not hidden itself.
            found.append(child)
            continue
        if state.facts.parent_id == entry.id:
            found.append(child)
    return found


def ancestors(engine: Engine, entry: Entry) -> list[Entry]:
    """The parent, its parent, and so on; ends at a root, a missing parent, or where a damaged store has a cycle."""
    found: list[Entry] = []
    seen = {entry.id}
    parent_id = engine.read(entry).facts.parent_id
    while parent_id is not None and parent_id not in seen:
        seen.add(parent_id)
        parent = engine.entry(parent_id)
        try:
            parent_id = engine.read(parent).facts.parent_id
        except SessionNotFound:
            break
        found.append(parent)
    return found


def descendants(engine: Engine, entry: Entry) -> list[Entry]:
    """Everything below the session, depth first, each once."""
    found: list[Entry] = []
    seen = {entry.id}
    stack = [iter(children(engine, entry))]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif child.id not in seen:
            seen.add(child.id)
            found.append(child)
            stack.append(iter(_children_if_readable(engine, child)))
    return found


def _children_if_readable(engine: Engine, entry: Entry) -> list[Entry]:
    try:
        return children(engine, entry)
    except UNSHOWN:
        return []


def move(engine: Engine, entry: Entry, parent_id: str | None) -> None:
    """Hang a session, with all below it, under another parent, or make it a root.

    One commit in its own log is the whole move, so it cannot be half done. The tree's lock keeps two moves from
    making a cycle together.

    Raises:
        HierarchyCycle: the new parent is the session or below it.
        SessionNotFound: there is no such session or parent.
    """
    engine.read(entry)
    parent = None if parent_id is None else engine.entry(parent_id)
    with engine.holding([entry] if parent is None else [entry, parent], tree=True) as durable:
        if engine.current(entry).facts.parent_id == parent_id:
            return
        if parent is not None:
            engine.current(parent)
            if entry.id in (parent.id, *(ancestor.id for ancestor in ancestors(engine, parent))):
                raise HierarchyCycle(
                    f"Session {entry.id!r} cannot be moved below {parent.id!r}, which is itself or below it.",
                    session_id=entry.id,
                    parent_id=parent.id,
                )
            note_child(engine, parent, entry.id, durable)
        engine.commit_held(entry, lambda _: [event("moved", parent=parent_id)], durable)


def session_ids(engine: Engine) -> Iterator[str]:
    """The ids of all sessions, in no order; logs without a readable header are passed over."""
    engine.check_open()
    layout = engine.layout
    for folder in sorted(files.names(layout.sessions)):
        for name in files.names(os.path.join(layout.sessions, folder)):
            if not name.endswith(SUFFIX):
                continue
            session_id = name.removesuffix(SUFFIX).decode()
            if b"~" in name:
                maybe_id = read_header(os.path.join(layout.sessions, folder, name)).get("session")
                if not isinstance(maybe_id, str) or file_name(maybe_id).encode() + SUFFIX != name:
                    continue
                session_id = maybe_id
            if b"%02x" % stripe_of(session_id) == folder:
                yield session_id


def tree(engine: Engine, session_id: str | None) -> TreeNode | tuple[TreeNode, ...]:
    """The session's tree, or the trees of all roots in the order of their making.

    A session whose parent does not exist counts as a root, and so does one of each cycle that a damaged store has:
    every session is somewhere in the forest, once.
    """
    if session_id is not None:
        entry = engine.entry(session_id)
        engine.read(entry)
        return _node(engine, entry, set())
    states: dict[str, State] = {}
    for found_id in session_ids(engine):
        try:
            states[found_id] = engine.read(engine.entry(found_id))
        except UNSHOWN:
            continue
    seen: set[str] = set()
    in_order = sorted(states, key=lambda found_id: (states[found_id].facts.created_at, found_id))
    roots = [found_id for found_id in in_order if states[found_id].facts.parent_id not in states]
    nodes = [_node(engine, engine.entry(found_id), seen) for found_id in roots if found_id not in seen]
    nodes += [_node(engine, engine.entry(found_id), seen) for found_id in in_order if found_id not in seen]
    return tuple(nodes)


def _node(engine: Engine, entry: Entry, seen: set[str]) -> TreeNode:
    """The tree below an entry, without recursion: a hierarchy may be deeper than Python's stack."""
    seen.add(entry.id)
    stack: list[tuple[Entry, Iterator[Entry], list[TreeNode]]] = []
    done: list[TreeNode] = []
    stack.append((entry, iter(_children_if_readable(engine, entry)), done))
    while True:
        current, below, nodes = stack[-1]
        child = next(below, None)
        if child is not None:
            if child.id not in seen:
                seen.add(child.id)
                stack.append((child, iter(_children_if_readable(engine, child)), []))
            continue
        stack.pop()
        node = _leaf(engine, current, tuple(nodes))
        if not stack:
            return node
        stack[-1][2].append(node)


def _leaf(engine: Engine, entry: Entry, below: tuple[TreeNode, ...]) -> TreeNode:
    try:
        state = engine.read(entry)
    except UNSHOWN:
        return TreeNode(entry.id, None, None, 0, below)
    return TreeNode(entry.id, state.facts.title, state.facts.kind, state.count, below)
