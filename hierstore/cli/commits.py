"""A session's log as commits: what each brought, which one it goes on from, and whether that still shows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hierstore.errors import HierstoreError

if TYPE_CHECKING:
    from hierstore import Event, Message, Session, SessionStore, Snapshot

_GOES_BACK = ("reverted", "unreverted")


@dataclass(slots=True)
class Commit:
    """One commit of a log.

    Attributes:
        revision: its number; None for a message of a compacted log, of which the feed tells no more.
        at: when, Unix seconds.
        events: what it says; those that the store writes for itself are not among them.
        parent: the place of the commit that it goes on from, among all; None where a history begins.
        length: how many messages the history has after it.
        is_undone: whether what it brought to the history, or did to it, is out of the present one.
        snapshots: labels or ids of snapshots that name what it made, where no commit of their own is told.
        forks: the children that began with the history up to its messages.
    """

    revision: int | None
    at: float
    events: list[Event]
    parent: int | None = None
    length: int = 0
    is_undone: bool = False
    snapshots: list[str] = field(default_factory=list)
    forks: list[str] = field(default_factory=list)

    @property
    def brought(self) -> int:
        """How many messages it added."""
        return sum(len(event.messages) for event in self.events)

    @property
    def maybe_back(self) -> Event | None:
        """The event by which it went back to an earlier history, or None."""
        return next((event for event in self.events if event.type in _GOES_BACK), None)

    @property
    def is_anew(self) -> bool:
        """Whether the history is empty after it, whatever it was."""
        return any(event.type == "reset" and event.missed is None for event in self.events)


def read(store: SessionStore, session: Session) -> list[Commit]:
    """A session's commits, the oldest first; linked, but without forks."""
    commits: list[Commit] = []
    with store.watch(session=session, after="", mode="off") as watcher:
        for event in watcher:
            if event.type == "created":
                # Before it were sessions of the same id that were deleted.
                commits.clear()
            if event.missed is not None:
                commits += _untold(session, {message.id for commit in commits for message in _messages(commit)})
            if commits and commits[-1].revision == event.revision and event.missed is None:
                commits[-1].events.append(event)
            else:
                commits.append(Commit(event.revision, event.at, [event]))
    _link(commits, session.forked_at or 0)
    _mark(commits)
    return commits


def _messages(commit: Commit) -> Iterator[Message]:
    return (message for event in commit.events for message in event.messages)


def _untold(session: Session, told: set[str]) -> Iterator[Commit]:
    """What a compacted log still shows, though the feed does not tell how it came."""
    from hierstore import Event

    inherited = session.forked_at or 0
    for message in session.messages[inherited:]:
        if message.id not in told:
            yield Commit(None, message.at, [Event("appended", session.id, 0, message.at, (message,))])


def _link(commits: list[Commit], inherited: int) -> None:
    revisions: list[int] = []
    for place, commit in enumerate(commits):
        commit.parent = place - 1 if place else None
        commit.length = commits[place - 1].length if place else inherited
        back = commit.maybe_back
        if back is not None:
            # The revision itself may be one that the store wrote for itself: then it shows what the one before did.
            found = bisect_right(revisions, back.data["revision"]) - 1
            commit.parent = found if found >= 0 else None
            commit.length = back.data["count"]
        elif commit.is_anew:
            commit.parent, commit.length = None, 0
        commit.length += commit.brought
        revisions.append(commit.revision or (revisions[-1] if revisions else 0))


def _mark(commits: list[Commit]) -> None:
    """Find out what of it the present history shows, from the last commit back."""
    for commit in commits:
        commit.is_undone = bool(commit.brought or commit.maybe_back or commit.is_anew)
    place = len(commits) - 1 if commits else None
    shown = commits[-1].length if commits else 0
    while place is not None:
        commit = commits[place]
        before = commit.length - commit.brought
        commit.is_undone = bool(commit.brought) and before >= shown
        shown = min(shown, before)
        place = commit.parent


def note_forks(commits: list[Commit], session: Session) -> None:
    """Note in the commits which forks began with them, and, in a compacted log, which snapshots name them."""
    if not commits:
        return
    places = {message.id: commit for commit in commits for message in _messages(commit)}
    told = {commit.revision for commit in commits}
    for child in session.children:
        if child_begin := _maybe_begin(child):
            places.get(child_begin, commits[0]).forks.append(child.id)
    for snapshot in session.snapshots:
        if snapshot.revision not in told:
            places.get(_last_id(session, snapshot), commits[0]).snapshots.append(snapshot.label or snapshot.id)


def _maybe_begin(child: Session) -> str | None:
    """The id of the message that a fork begins with last; None for what is no fork, or cannot say so."""
    try:
        count = child.forked_at
        if not count:
            return None
        messages = child.messages
        if len(messages) >= count:
            return messages[count - 1].id
        return child.at(1).messages[-1].id
    except HierstoreError:
        return None


def _last_id(session: Session, snapshot: Snapshot) -> str:
    try:
        messages = session.at(snapshot.id).messages
    except HierstoreError:
        return ""
    return messages[-1].id if messages else ""
