"""What a store consists of: every log by its place, and what each session says of the others. Changes nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple, TypeGuard

from hierstore.diagnosis import last_events, read_whole
from hierstore.disk import files
from hierstore.disk.engine import Engine
from hierstore.disk.layout import Layout
from hierstore.disk.logfile import SUFFIX, parse_log, read_header
from hierstore.errors import CorruptLog, HierstoreError, InvalidSessionId, SessionNotFound, UnreadableLog
from hierstore.log.facts import Grant
from hierstore.log.registry import Registry
from hierstore.log.state import State
from hierstore.naming import check_id, file_name, stripe_of
from hierstore.sharing import locator_of

_FOLDER = re.compile(rb"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAST = re.compile(rb"(.+)\.past([0-9]+)")


class Place(NamedTuple):
    """A file below ``sessions/``, or a part of the registry.

    Attributes:
        path: where it is.
        number: the stripe that guards that place, or None where no session can be.
        session_id: whose log it is by its header, else by its name.
        kind: None where it is in its place; else ``"misplaced"``, ``"duplicate"``, ``"stray"``, ``"unreadable"``.
        detail: a sentence that says so.
    """

    path: bytes
    number: int | None
    session_id: str
    kind: str | None
    detail: str

    @property
    def stripes(self) -> tuple[int, ...]:
        """The number, if there is one, as what locks are asked for."""
        return () if self.number is None else (self.number,)


def walk(engine: Engine) -> Iterator[Place]:
    """Every file below ``sessions/`` but the pasts of forks, in a fixed order."""
    sessions = engine.layout.sessions
    claimed: set[str] = set()
    for folder in sorted(files.names(sessions)):
        path = os.path.join(sessions, folder)
        number = int(folder, 16) if _FOLDER.fullmatch(folder) else None
        try:
            names = sorted(files.names(path))
        except NotADirectoryError:
            yield Place(path, None, "", "stray", "It is no folder of logs.")
            continue
        except OSError as error:
            yield Place(path, number, "", "unreadable", f"The folder cannot be read: {error.strerror}.")
            continue
        for name in names:
            if name.endswith(SUFFIX):
                yield _place(engine.layout, os.path.join(path, name), number, claimed)
            elif maybe_past(name) is None:
                yield Place(os.path.join(path, name), number, "", "stray", "It is no log.")


def maybe_past(name: bytes) -> tuple[bytes, int] | None:
    """The name of the log, without its ending, that a past file goes with, and its number; None for any other name."""
    found = _PAST.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def _place(layout: Layout, path: bytes, number: int | None, claimed: set[str]) -> Place:
    name = os.path.basename(path).removesuffix(SUFFIX).decode(errors="replace")
    try:
        maybe_id = read_header(path).get("session")
    except UnreadableLog as error:
        return Place(path, number, name, "unreadable", str(error))
    if _is_id(maybe_id):
        if layout.log(maybe_id) == path:
            return Place(path, number, maybe_id, None, "")
        if _begins_well(path, maybe_id):
            if maybe_id in claimed or files.exists(layout.log(maybe_id)):
                return Place(path, number, maybe_id, "duplicate", f"Another log is session {maybe_id!r} already.")
            claimed.add(maybe_id)
            detail = f"It holds session {maybe_id!r}, whose place is elsewhere."
            return Place(path, number, maybe_id, "misplaced", detail)
    # The name of an id that is not safe has a hash in it, which does not tell the stripe.
    if number is None or ("~" not in name and (not _is_own_name(name) or stripe_of(name) != number)):
        return Place(path, number, name, "stray", "It is no log, and no session's log can be there.")
    return Place(path, number, name, None, "")


def _is_own_name(name: str) -> bool:
    return _is_id(name) and file_name(name) == name


def _is_id(maybe_id: object) -> TypeGuard[str]:
    try:
        return check_id(maybe_id) == maybe_id
    except InvalidSessionId:
        return False


def _begins_well(path: bytes, session_id: str) -> bool:
    """Whether a log, at least in its first commit, is what its header says."""
    try:
        parse_log(read_whole(path), session_id, path)
    except (CorruptLog, SessionNotFound, OSError):
        return False
    except HierstoreError:
        # A later version's, or a fork whose past is not there.
        return True
    return True


def parts(engine: Engine) -> Iterator[Place]:
    """Every file among the parts of the registry."""
    folder = os.path.dirname(engine.layout.registry(0))
    for name in sorted(files.names(folder)):
        stem = name.removesuffix(SUFFIX)
        path = os.path.join(folder, name)
        if _FOLDER.fullmatch(stem) and name.endswith(SUFFIX):
            number = int(stem, 16)
            yield Place(path, number, engine.registry(number).id, None, "")
        else:
            yield Place(path, None, "", "stray", "It is no part of the registry.")


class Seen(NamedTuple):
    """What a session says of itself and of others: not its state, or a walk would hold all histories.

    Attributes:
        parent_id: its parent.
        children: the children that it notes.
        created_at: Unix seconds.
        messages: how many it shows.
        bound: the route keys that it notes, each with the time.
        fresh: those among them that its very last commit noted.
        grants: its shares.
        pasts: the numbers of the files that a fork's history begins in.
    """

    parent_id: str | None
    children: tuple[str, ...]
    created_at: float
    messages: int
    bound: tuple[tuple[str, float], ...]
    fresh: frozenset[str]
    grants: tuple[Grant, ...]
    pasts: frozenset[int]


def seen_in(state: State, lines: bytes) -> Seen:
    """What a session says, given its state and the sound lines of its log."""
    facts = state.facts
    fresh = frozenset(item["key"] for item in last_events(lines) if item.get("type") == "bound") if facts.bound else ()
    return Seen(
        parent_id=facts.parent_id,
        children=facts.children,
        created_at=facts.created_at,
        messages=state.count,
        bound=facts.bound,
        fresh=frozenset(fresh),
        grants=facts.grants,
        pasts=frozenset(past.file for past in facts.past),
    )


class Wanted(NamedTuple):
    """What a part of the registry should lead to, as the sessions say.

    Attributes:
        routes: for each key, the session that noted it last, and when.
        locators: for each share's locator, the session.
    """

    routes: dict[str, tuple[str, float]]
    locators: dict[str, str]

    def lost_locators(self, registry: Registry) -> list[tuple[str, str]]:
        """The locators that do not lead where they should, each with the session."""
        return [
            (locator, session_id)
            for locator, session_id in self.locators.items()
            if locator not in registry.locators or registry.locators[locator][-1].session_id != session_id
        ]

    def lost_routes(self, registry: Registry) -> list[tuple[str, str]]:
        """The keys that the registry has never heard of, each with the session that noted it last."""
        return [(key, session_id) for key, (session_id, _) in self.routes.items() if key not in registry.routes]

    def older_routes(self, registry: Registry) -> list[tuple[str, str]]:
        """The keys that a session noted after they were led elsewhere; where lines were lost, these say so."""
        found = []
        for key, (session_id, at) in self.routes.items():
            leads = registry.routes.get(key)
            if leads and leads[-1].session_id != session_id and leads[-1].at < at:
                found.append((key, session_id))
        return found


def is_there(engine: Engine, session_id: str) -> bool:
    """Whether anything is in the place of a session's log by now; what cannot be read is, and an empty file is not."""
    try:
        found = files.lstat(engine.layout.log(session_id))
        return not stat.S_ISREG(found.st_mode) or engine.exists(session_id)
    except FileNotFoundError:
        return False
    except (UnreadableLog, OSError):
        return True


def is_trashed(engine: Engine, session_id: str) -> bool:
    """Whether a session lies in the trash by now."""
    return file_name(session_id) in _trashed(engine)


def _trashed(engine: Engine) -> set[str]:
    logs = (name for name in files.names(engine.layout.trash) if name.endswith(SUFFIX))
    return {name.removesuffix(SUFFIX).partition(b".")[2].decode(errors="replace") for name in logs}


class Census:
    """All sessions, by what they say.

    Attributes:
        seen: those that can be read.
        unreadable: those that exist and cannot be relied on.
        trashed: the names, without batch and ending, of the logs in the trash.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.unreadable: set[str] = set()
        self.trashed: set[str] = set()

    def find_trashed(self, engine: Engine) -> None:
        """Note who lies in the trash."""
        self.trashed = _trashed(engine)

    def exists(self, session_id: str) -> bool:
        """Whether there is such a session, readable or not."""
        return session_id in self.seen or session_id in self.unreadable

    def make_root(self, session_id: str) -> None:
        """Take a session out of the hierarchy."""
        self.seen[session_id] = self.seen[session_id]._replace(parent_id=None)

    def missing_parents(self) -> list[tuple[str, str]]:
        """Sessions whose parent does not exist, each with that parent."""
        links = ((session_id, seen.parent_id) for session_id, seen in self.seen.items())
        return [(child_id, parent_id) for child_id, parent_id in links if parent_id and not self.exists(parent_id)]

    def unlisted(self) -> list[tuple[str, str]]:
        """Sessions that their parent does not note, each with that parent."""
        noted = {session_id: frozenset(seen.children) for session_id, seen in self.seen.items()}
        links = ((session_id, seen.parent_id) for session_id, seen in self.seen.items())
        return [
            (child_id, parent_id)
            for child_id, parent_id in links
            if parent_id and child_id not in noted.get(parent_id, (child_id,))
        ]

    def dangling(self) -> list[tuple[str, str]]:
        """Sessions that note a child which does not exist, each with that child.

        One that lies in the trash is not meant: it is noted again when it comes back, or purged.
        """
        return [
            (session_id, child_id)
            for session_id, seen in self.seen.items()
            for child_id in seen.children
            if not self.exists(child_id) and file_name(child_id) not in self.trashed
        ]

    def cycles(self) -> list[tuple[str, ...]]:
        """Sessions that are their own ancestors, each cycle once."""
        done: set[str] = set()
        found = []
        for start in self.seen:
            way: dict[str, None] = {}
            at: str | None = start
            while at is not None and at in self.seen and at not in done and at not in way:
                way[at] = None
                at = self.seen[at].parent_id
            if at is not None and at in way:
                members = list(way)
                found.append(tuple(members[members.index(at) :]))
            done.update(way)
        return found

    def wanted(self) -> dict[int, Wanted]:
        """What each part of the registry should lead to."""
        found: dict[int, Wanted] = {}
        for session_id, seen in self.seen.items():
            for key, at in seen.bound:
                routes = found.setdefault(stripe_of(key), Wanted({}, {})).routes
                if key not in routes or routes[key][1] < at:
                    routes[key] = (session_id, at)
            for grant in seen.grants:
                if not _DIGEST.fullmatch(grant.digest):
                    # No token has it.
                    continue
                number = int(grant.digest[-2:], 16)
                locators = found.setdefault(number, Wanted({}, {})).locators
                locators[locator_of(grant.digest)] = session_id
        return found
