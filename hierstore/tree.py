"""The hierarchy: who hangs below whom, and moving.

A session's parent is what its own log says. The parent's log notes the child before the child appears, so a parent
finds its children without looking at every session; a note whose child does not exist, or says otherwise, is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import SUFFIX, read_header
from hierstore.errors import (
    CorruptLog,
    FormatTooNew,
    HierarchyCycle,
    SessionNotFound,
    UnreadableLog,
)
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.model import TreeNode
from hierstore.naming import file_name, stripe_of

BAD_LOG = (CorruptLog, UnreadableLog, FormatTooNew)
"""What is wrong with one session and must not hide others; ``check()`` tells of it."""


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
    if parent is not None and parent.head is None:
        # Not under the lock: what is not cached may be long.
        engine.read(parent)
    with engine.holding([entry] if parent is None else [entry, parent]) as durable:
        if engine.exists(session_id):
            raise refusals.already_there(session_id)
        if parent is not None:
            note_child(engine, parent, session_id, durable)
        engine.create(entry, facts, durable, is_new=True)
    return entry


def note_child(engine: Engine, parent: Entry, child_id: str, durable: Durable) -> State:
    """Note a child in its parent's log, before it appears; both stripes are held.

    The note is on the medium when this returns, in either durability: every existing child is listed by its parent.
    """
    state = engine.commit_held(
        parent, lambda state: [] if child_id in state.facts.children else [event("child", id=child_id)], durable
    )
    # Also when it was noted before: by whom a crash cut off, perhaps, before the sync.
    durable.add(parent)
    if parent.named != parent.nonce:
        # Nor may the child be there without its parent, whose name nobody may have synced yet.
        folder = os.path.dirname(parent.path)
        durable.add_directory(os.path.dirname(folder))
        durable.add_directory(folder)
    durable.sync()
    parent.named = parent.nonce
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
            stack.append(iter(_children_anyway(engine, child)))
    return found


def _children_anyway(engine: Engine, entry: Entry) -> list[Entry]:
    """The children, also of a session that cannot be read: then by looking at every session for those that name it."""
    try:
        return children(engine, entry)
    except SessionNotFound:
        return []
    except BAD_LOG:
        return [engine.entry(found_id) for found_id in _Looks(engine).naming(entry.id)]


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
        # In either durability: the old parent may be deleted next, which is synced, and must not be named any more then.
        durable.sync()


def session_ids(engine: Engine) -> Iterator[str]:
    """The ids of all sessions, in no order; logs without a readable header are passed over."""
    engine.check_open()
    sessions = engine.layout.sessions
    try:
        for folder in sorted(files.names(sessions)):
            for name in files.names(os.path.join(sessions, folder)):
                maybe_id = _maybe_id(os.path.join(sessions, folder, name)) if name.endswith(SUFFIX) else None
                if maybe_id is not None and b"%02x" % stripe_of(maybe_id) == folder:
                    yield maybe_id
    except OSError as error:
        raise refusals.folder_unreadable(error, sessions) from error


def _maybe_id(path: bytes) -> str | None:
    """The id of a log by its name, or, where the name is a hash, by its header."""
    name = os.path.basename(path).removesuffix(SUFFIX).decode(errors="replace")
    if "~" not in name:
        return name
    try:
        maybe_id = read_header(path).get("session")
    except UnreadableLog:
        return None
    return maybe_id if isinstance(maybe_id, str) and file_name(maybe_id) == name else None


class _Seen(NamedTuple):
    """What the tree shows of a session, and needs to know of it: not its state, or a walk would hold all histories."""

    parent_id: str | None
    children: tuple[str, ...]
    title: str | None
    kind: str | None
    messages: int
    created_at: float
    error: str | None
    forked_at: int | None = None


def _look(engine: Engine, session_id: str) -> _Seen | None:
    """The session as the tree shows it; None when there is none."""
    try:
        state = engine.read(engine.entry(session_id))
    except SessionNotFound:
        return None
    except BAD_LOG as error:
        return _Seen(None, (), None, None, 0, 0.0, str(error))
    facts = state.facts
    return _Seen(
        facts.parent_id, facts.children, facts.title, facts.kind, state.count, facts.created_at, None, facts.forked_at
    )  # fmt: skip


def tree(engine: Engine, session_id: str | None) -> TreeNode | tuple[TreeNode, ...]:
    """The session's tree, or the trees of all roots in the order of their making.

    A session whose parent does not exist counts as a root, and so does one of each cycle that a damaged store has:
    every session is somewhere in the forest, once.
    """
    if session_id is not None:
        engine.read(engine.entry(session_id))
        return _node(_Looks(engine), session_id, set())
    looks = _Looks(engine)
    seen = looks.all()
    # Those that cannot be read last: what notes one of them as its child shows it there.
    in_order = sorted(seen, key=lambda found_id: (bool(seen[found_id].error), seen[found_id].created_at, found_id))
    roots = [found_id for found_id in in_order if seen[found_id].parent_id not in seen]
    done: set[str] = set()
    # Those that are left over when all roots are drawn stand in a cycle.
    return tuple([_node(looks, found_id, done) for found_id in (*roots, *in_order) if found_id not in done])


class _Looks:
    """One look at each session of a walk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: dict[str, _Seen | None] = {}
        self._all: dict[str, _Seen] | None = None

    def at(self, session_id: str) -> _Seen | None:
        """What the tree shows of a session; None when there is none."""
        if session_id not in self._seen:
            self._seen[session_id] = _look(self._engine, session_id)
        return self._seen[session_id]

    def all(self) -> dict[str, _Seen]:
        """The same of every session there is."""
        if self._all is None:
            looked = ((found_id, self.at(found_id)) for found_id in session_ids(self._engine))
            self._all = {found_id: seen for found_id, seen in looked if seen is not None}
        return self._all

    def below(self, session_id: str) -> Iterator[str]:
        """The children of a session, in the order in which it noted them."""
        seen = self.at(session_id)
        if seen is None:
            return
        # What a session that cannot be read noted is lost; its children's own logs still name it.
        if seen.error is not None:
            yield from self.naming(session_id)
        for child_id in seen.children:
            child = self.at(child_id)
            # A child that cannot be read does not say whose it is: shown where it was noted.
            if child is not None and (child.parent_id == session_id or child.error is not None):
                yield child_id

    def naming(self, session_id: str) -> list[str]:
        """The sessions whose own logs say that this one is their parent, in the order of their making."""
        found = [found_id for found_id, seen in self.all().items() if seen.parent_id == session_id]
        return sorted(found, key=lambda found_id: (self.all()[found_id].created_at, found_id))


def _node(looks: _Looks, root_id: str, done: set[str]) -> TreeNode:
    """The tree below a session, without recursion: a hierarchy may be deeper than Python's stack."""
    done.add(root_id)
    stack: list[tuple[str, Iterator[str], list[TreeNode]]] = [(root_id, looks.below(root_id), [])]
    while True:
        session_id, below, nodes = stack[-1]
        child_id = next((found_id for found_id in below if found_id not in done), None)
        if child_id is not None:
            done.add(child_id)
            stack.append((child_id, looks.below(child_id), []))
            continue
        stack.pop()
        seen = looks.at(session_id)
        node = _drawn(session_id, seen, tuple(nodes))
        if not stack:
            return node
        stack[-1][2].append(node)


def _drawn(session_id: str, seen: _Seen | None, children: tuple[TreeNode, ...]) -> TreeNode:
    if seen is None:
        return TreeNode(session_id, None, None, 0, children)
    return TreeNode(session_id, seen.title, seen.kind, seen.messages, children, seen.error, seen.forked_at)
