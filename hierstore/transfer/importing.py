"""Import: bundles and other systems' folders, read item by item into an intake."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hierstore import clock
from hierstore.disk import refusals
from hierstore.disk.engine import Engine
from hierstore.errors import FormatTooNew, InvalidRecord, quoted
from hierstore.log.events import event
from hierstore.reports import ImportReport, SourceProblem
from hierstore.routes import check_key
from hierstore.transfer import foreign
from hierstore.transfer.commits import invalid
from hierstore.transfer.exporting import FORMAT, KIND
from hierstore.transfer.intake import Intake, Options, Outcome
from hierstore.values import json_object, loads

ON_CONFLICT = ("new_ids", "refuse", "skip")


def options(on_conflict: object, parent_id: str | None, *, refs: object, routes: object) -> Options:
    """Check how to take sessions in.

    Raises:
        InvalidRecord: there is no such way.
    """
    if on_conflict not in ON_CONFLICT:
        raise InvalidRecord(
            f"on_conflict is one of {', '.join(ON_CONFLICT)}, not {quoted(on_conflict)}.", where="on_conflict"
        )
    for name, flag in (("refs", refs), ("routes", routes)):
        if not isinstance(flag, bool):
            raise InvalidRecord(f"{name} is True or False, not {quoted(flag)}.", where=name)
    return Options(str(on_conflict), parent_id, bool(refs), bool(routes))


# Bundles


def document(engine: Engine, data: object, how: Options) -> ImportReport:
    """Take in a bundle that is one document."""
    top = _top(data)
    pasts, sessions = top.get("pasts", []), top.get("sessions")
    if not isinstance(pasts, list) or not isinstance(sessions, list):
        raise invalid("it has no list of sessions")
    with _translating(engine), Intake(engine, how) as intake:
        for past in pasts:
            _add_past(intake, past)
        for session in sessions:
            commits = session.get("commits") if isinstance(session, Mapping) else None
            if not isinstance(commits, list):
                raise invalid("a session has no list of commits")
            _add_session(intake, session, commits)
        return _report(intake.finish([top["root"]]), [top["root"]], [])


def lines(engine: Engine, source: Iterable[bytes | str], how: Options) -> ImportReport:
    """Take in a bundle that is lines of JSON."""
    items = _Lines(source)
    top = _top(items.next())
    with _translating(engine), Intake(engine, how) as intake:
        sessions = 0
        while "end" not in (item := items.next()):
            if "past" in item:
                _add_past(intake, item["past"])
            elif "session" in item:
                _add_session(intake, item["session"], items.commits())
                sessions += 1
            else:
                raise invalid(f"line {items.number} is not what should come there")
        if not isinstance(item["end"], Mapping) or item["end"].get("sessions") != sessions:
            raise invalid("its end says that there should be another number of sessions")
        return _report(intake.finish([top["root"]]), [top["root"]], [])


class _Lines:
    """The lines of a bundle, one after the other, with one look ahead."""

    def __init__(self, source: Iterable[bytes | str]) -> None:
        if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
            raise invalid("it takes the lines of a bundle, as an open file or a list gives them")
        self._source = iter(source)
        self._ahead: dict[str, Any] | None = None
        self.number = 0

    def next(self) -> dict[str, Any]:
        """The next line's object."""
        item, self._ahead = self._ahead, None
        return self._read() if item is None else item

    def commits(self) -> Iterator[dict[str, Any]]:
        """The commits that come next."""
        while "commit" in (item := self.next()):
            yield item["commit"]
        self._ahead = item

    def _read(self) -> dict[str, Any]:
        for line in self._source:
            self.number += 1
            if not isinstance(line, str | bytes):
                raise invalid(f"line {self.number} is no text")
            if line.strip():
                try:
                    item = loads(line)
                except ValueError:
                    raise invalid(f"line {self.number} is no JSON") from None
                if not isinstance(item, dict):
                    raise invalid(f"line {self.number} is no object")
                return item
        raise invalid(f"it ends after {self.number} lines, before its end")


def _top(data: object) -> dict[str, Any]:
    """The top of a bundle, if it is one that this version reads."""
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise invalid("it is no hierstore bundle")
    version = data.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise invalid("it does not say which format it has")
    if version > FORMAT:
        raise FormatTooNew(
            f"The bundle has format {version}, and this version of hierstore reads up to {FORMAT}; upgrade hierstore.",
            path="", format=version, supported=FORMAT,
        )  # fmt: skip
    if not isinstance(data.get("root"), str):
        raise invalid("it does not say which session is its root")
    return dict(data)


def _add_past(intake: Intake, past: object) -> None:
    if not isinstance(past, Mapping) or not isinstance(past.get("messages"), list):
        raise invalid("an inherited history has no list of messages")
    if not all(isinstance(message, Mapping) for message in past["messages"]):
        raise invalid("a message of an inherited history is no object")
    intake.add_past(_place(past.get("base")), past["messages"])


def _place(value: object) -> tuple[int, int] | None:
    """Which history, and how many messages of it."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(type(item) is int for item in value):
        raise invalid("an inherited history is not named by its number and a count")
    return value[0], value[1]


def _add_session(intake: Intake, session: object, commits: Iterable[Mapping[str, Any]]) -> None:
    if not isinstance(session, Mapping) or not isinstance(session.get("id"), str):
        raise invalid("a session has no id")
    parent_id, skipped, keys = session.get("parent_id"), session.get("skipped"), session.get("routes", [])
    if parent_id is not None and not isinstance(parent_id, str):
        raise invalid(f"the parent of session {session['id']!r} is no id")
    if skipped is not None and (type(skipped) is not int or not 0 <= skipped < 2**53):
        raise invalid(f"session {session['id']!r} does not say how many revisions it lacks")
    if not isinstance(keys, list):
        raise invalid(f"the routes of session {session['id']!r} are no list of keys")
    keys = [check_key(key) for key in keys]
    intake.add(session["id"], parent_id, commits, past=_place(session.get("past")), skipped=skipped, keys=keys)


# Other systems' folders


def folder(engine: Engine, path: str | os.PathLike[str], layout: str | None, how: Options) -> ImportReport:
    """Take in another system's sessions."""
    problems: list[SourceProblem] = []

    def report(problem: foreign.Problem) -> None:
        problems.append(SourceProblem(problem.path, problem.line, problem.detail))

    roots: list[str] = []
    with _translating(engine), Intake(engine, how) as intake:
        for session in foreign.read(path, layout, report):
            if session.parent_id is None:
                roots.append(session.id)
            intake.add(session.id, session.parent_id, _commits(session))
        return _report(intake.finish(roots), roots, problems)


def _commits(session: foreign.ForeignSession) -> Iterator[dict[str, Any]]:
    """A foreign session as commits: its creation, its messages, and its snapshots where they were taken."""
    at = session.created_at
    if at is None:
        at = next((message.at for message in session.messages if message.at is not None), clock.now())
    source = None if session.title is None else "user"
    metadata = json_object(session.metadata, "metadata")
    facts = {"title": session.title, "title_source": source, "kind": session.kind, "metadata": metadata}
    yield {"seq": 1, "at": at, "events": [event("created", **facts, labels=list(session.labels))]}
    seq = 1
    snapshots = sorted(session.snapshots, key=lambda snapshot: snapshot.count)
    for count in range(len(session.messages) + 1):
        if count:
            seq += 1
            message = session.messages[count - 1]
            at = message.at if message.at is not None else at
            yield {"seq": seq, "at": at, "events": [_message_event(message, count, at)]}
        while snapshots and snapshots[0].count <= count:
            snapshot = snapshots.pop(0)
            seq += 1
            named = {"id": snapshot.id or clock.new_id(), "label": snapshot.label, "metadata": dict(snapshot.metadata)}
            when = snapshot.created_at if snapshot.created_at is not None else at
            yield {"seq": seq, "at": when, "events": [event("snapshot", **named)]}


def _message_event(message: foreign.ForeignMessage, number: int, at: float) -> dict[str, Any]:
    extras = {name: value for name in ("metadata", "fields") if (value := getattr(message, name))}
    made = event("message", seq=number, id=message.id or clock.new_id(), role=message.role, content=message.content)
    return {**made, "at": at, **extras}


# Both


def _report(outcome: Outcome, roots: list[str], problems: list[SourceProblem]) -> ImportReport:
    # A root that was skipped is the one that is there.
    here = tuple(outcome.ids.get(root, root) for root in roots)
    return ImportReport(here, outcome.ids, outcome.skipped, tuple(problems))


@contextmanager
def _translating(engine: Engine) -> Iterator[None]:
    """Turn what the system refuses into an error of the store's."""
    try:
        yield
    except OSError as error:
        raise refusals.import_failed(error, engine.layout.tmp) from error
