"""Taking bundles and other programs' folders into a store, and an account of what became of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeGuard

from hierstore.cli.jsonfile import maybe_object
from hierstore.cli.text import Refused
from hierstore.errors import HierstoreError, SessionExists

if TYPE_CHECKING:
    from hierstore import SessionStore, SourceProblem
    from hierstore.cli.progress import Progress
    from hierstore.cli.sources import Source
    from hierstore.keeping import OnConflict

_SESSION_LINE = re.compile(rb'\s*\{\s*"session"\s*:')


@dataclass(slots=True)
class Taken:
    """What became of what was to be imported.

    Attributes:
        sources: of each its path and what it was.
        roots: what the sources became, by their ids here: also what was here already.
        sessions: how many were taken.
        messages: how many those hold.
        skipped: the ids of those that were here already, and stayed as they are.
        problems: what could not be taken.
    """

    sources: list[tuple[str, str]] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    sessions: int = 0
    messages: int = 0
    skipped: list[str] = field(default_factory=list)
    problems: list[SourceProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """Where sessions go.

    Attributes:
        store: what takes them; of a dry run, a store that is thrown away.
        known: the store that they are meant for, to see what it has; None: there is none yet.
        on_conflict: what becomes of ids that are taken there.
        parent_id: below whom, or None.
        refs: whether ids in other systems come along.
        routes: whether route keys come along.
    """

    store: SessionStore
    known: SessionStore | None
    on_conflict: OnConflict
    parent_id: str | None = None
    refs: bool = True
    routes: bool = False

    @property
    def is_dry(self) -> bool:
        """Whether nothing is kept."""
        return self.store is not self.known

    def has(self, session_id: str) -> bool:
        """Whether there is a session of that id; in a dry run also, whether there would be one by now."""
        return session_id in self.store or (self.known is not None and session_id in self.known)


def take(source: Source, target: Target, taken: Taken, bar: Progress) -> None:
    """Take in a bundle, several in one file, or a folder: each whole or not at all.

    Raises:
        Refused: it cannot be taken.
    """
    taken.sources.append((source.path, "bundle" if source.form == "lines" else source.layout or source.form))
    try:
        if source.form == "folder":
            _take_folder(source, target, taken)
        elif source.form == "lines":
            _take_lines(source, target, taken, bar)
        else:
            for document in source.items:
                _take_bundle(document, target, taken, bar)
    except SessionExists as error:
        raise Refused(
            f"{source.name}: there is a session {error.session_id!r} already, and nothing was imported;"
            " --on-conflict skip leaves it as it is, --on-conflict new-ids imports a copy."
        ) from None
    except HierstoreError as error:
        raise Refused(f"{source.name}: {error}") from None


def _take_bundle(document: dict[str, Any], target: Target, taken: Taken, bar: Progress) -> None:
    listed = document.get("sessions")
    ids = [item["id"] for item in listed if _is_named(item)] if isinstance(listed, list) else []
    known = {session_id for session_id in ids if target.has(session_id)}
    bar.begin("Importing", None)
    found = target.store.import_bundle(document, **_options(target))
    bar.advance(len(ids))
    _account(target, taken, document["root"], found.id, ids, known)


def _take_lines(source: Source, target: Target, taken: Taken, bar: Progress) -> None:
    """One bundle after the other, as they stand in the file."""
    with closing(source.lines()) as lines:
        while (head := next((line for line in lines if line.strip()), None)) is not None:
            bar.begin("Importing", None)
            ids: list[str] = []
            known: set[str] = set()
            watched = _watched(chain([head], lines), target, ids, known, bar)
            found = target.store.import_lines(watched, **_options(target))
            top = maybe_object(head)
            _account(target, taken, top["root"] if top else found.id, found.id, ids, known)


def _watched(lines: Iterable[bytes], target: Target, ids: list[str], known: set[str], bar: Progress) -> Iterator[bytes]:
    """The lines, while it is noted which sessions they bring, and which of those are here."""
    for line in lines:
        if _SESSION_LINE.match(line):
            item = (maybe_object(line) or {}).get("session")
            if _is_named(item):
                ids.append(item["id"])
                bar.advance()
                if target.has(item["id"]):
                    known.add(item["id"])
        yield line


def _is_named(item: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(item, dict) and isinstance(item.get("id"), str)


def _options(target: Target) -> dict[str, Any]:
    # What is thrown away holds nothing that could be in the way, nor the parent.
    parent = None if target.is_dry else target.parent_id
    return {"on_conflict": target.on_conflict, "parent": parent, "refs": target.refs, "routes": target.routes}


def _account(target: Target, taken: Taken, source_root: str, root: str, ids: list[str], known: set[str]) -> None:
    """Add what became of a bundle."""
    _refuse_known(target, known)
    skipped = sorted(known) if target.on_conflict == "skip" else []
    taken.roots.append(root)
    taken.skipped += skipped
    taken.sessions += len(ids) - len(skipped)
    if root == source_root:
        new = [session_id for session_id in ids if session_id not in skipped]
        taken.messages += sum(_messages(target.store, session_id) for session_id in new)
    else:
        taken.messages += sum(len(session.messages) for session in _all_below(target.store, root))


def _refuse_known(target: Target, known: Iterable[str]) -> None:
    """In a dry run, refuse as the store would."""
    first = min(known, default=None)
    if target.is_dry and target.on_conflict == "refuse" and first is not None:
        raise SessionExists("", session_id=first)


def _messages(store: SessionStore, session_id: str) -> int:
    return len(store.get(session_id).messages) if session_id in store else 0


def _all_below(store: SessionStore, root: str) -> list[Any]:
    session = store.get(root)
    return [session, *session.descendants()]


def _take_folder(source: Source, target: Target, taken: Taken) -> None:
    report = target.store.import_folder(
        source.path,
        layout=source.layout,
        on_conflict=target.on_conflict,
        parent=None if target.is_dry else target.parent_id,
    )
    # The report knows of the store that was written to: in a dry run, of another than the one that is meant.
    meant = target.known if target.is_dry else None
    known = {session_id for session_id in report.ids if meant is not None and session_id in meant}
    _refuse_known(target, known)
    skipped = [*report.skipped, *(sorted(known) if target.on_conflict == "skip" else ())]
    new = [here for source_id, here in report.ids.items() if source_id not in skipped]
    taken.roots += report.roots
    taken.skipped += skipped
    taken.sessions += len(new)
    taken.messages += sum(_messages(target.store, session_id) for session_id in new)
    taken.problems += report.problems
