"""Looking at everything: every line of every log, every tie between logs, every stray file. Changes nothing."""

from __future__ import annotations

import os

from hierstore import census
from hierstore.census import Census, Place, Wanted, is_there, is_trashed, maybe_past, seen_in
from hierstore.diagnosis import Verdict, judge, read_log
from hierstore.disk import files, journal
from hierstore.disk.engine import Engine
from hierstore.disk.locks import TREE
from hierstore.disk.logfile import SUFFIX, read_header
from hierstore.errors import HierstoreError, LockTimeout, SessionNotFound, StoreClosed
from hierstore.log.registry import Registry
from hierstore.log.state import State
from hierstore.reports import CheckReport, Finding
from hierstore.routes import read_registry

_NOTES = frozenset(["torn_tail", "hole", "empty_log", "stray"])
"""What a crash may leave of a log, or beside one, and what harms nothing."""


def check(engine: Engine) -> CheckReport:
    """Verify the whole store, session by session, each under its lock and from its bytes alone."""
    engine.check_open()
    run = _Check(engine)
    for place in census.walk(engine):
        run.log(place)
    run.census.find_trashed(engine)
    run.ties()
    run.registry()
    run.trash()
    run.strays()
    messages = sum(seen.messages for seen in run.census.seen.values()) + run.damaged_messages
    return CheckReport(run.logs, messages, tuple(run.problems), tuple(run.notes))


class _Check:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.logs = 0
        self.damaged_messages = 0
        self.census = Census()
        self.owners: dict[bytes, str] = {}
        self.problems: list[Finding] = []
        self.notes: list[Finding] = []

    def problem(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        self.problems.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def note(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        self.notes.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def tell(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        (self.note if kind in _NOTES else self.problem)(kind, session_id, path, detail)

    # Logs

    def log(self, place: Place) -> None:
        """Verify one log."""
        if place.kind is not None:
            self.logs += place.kind != "stray"
            if place.kind == "unreadable":
                self.census.unreadable.add(place.session_id)
            # What a header says is told; of what cannot be read only the name is known.
            maybe_id = place.session_id if place.kind in ("misplaced", "duplicate") else None
            self.tell(place.kind, maybe_id, place.path, place.detail)
            return
        found = self._verdict(place, place.session_id)
        if found is None:
            return
        data, verdict = found
        self.logs += 1
        if verdict.parsed is None:
            if verdict.kind == "corrupt":
                self.census.unreadable.add(place.session_id)
        elif verdict.parsed.fault is not None:
            # Of what it says of others only the first commit is known.
            self.census.unreadable.add(place.session_id)
            self.damaged_messages += verdict.parsed.state.count
            fault = verdict.parsed.fault
            self.problem("corrupt", place.session_id, place.path, f"{fault[0].upper()}{fault[1:]}.")
        else:
            self.owners[place.path] = place.session_id
            self.census.seen[place.session_id] = seen_in(verdict.parsed.state, data[: verdict.end])

    def _verdict(self, place: Place, maybe_id: str | None) -> tuple[bytes, Verdict] | None:
        """A log's bytes, and the verdict on them, which is told; None when there is no log, or it cannot be read."""
        try:
            data = read_log(self.engine, place.stripes, place.path, place.session_id)
            verdict = judge(data, place.session_id, place.path)
        except SessionNotFound:
            # Deleted meanwhile.
            return None
        except (LockTimeout, StoreClosed):
            raise
        except HierstoreError as error:
            self.logs += maybe_id is not None
            self.census.unreadable.add(place.session_id)
            self.problem("unreadable", maybe_id, place.path, str(error))
            return None
        if verdict.kind is not None:
            self.tell(verdict.kind, None if verdict.kind == "empty_log" else maybe_id, place.path, verdict.detail)
        return data, verdict

    # Ties

    def ties(self) -> None:
        """See that parents and children agree, also by now: others write while the check runs."""
        log = self.engine.layout.log
        for session_id, parent_id in self.census.missing_parents():
            now = self._now(session_id)
            if now is not None and now.facts.parent_id == parent_id and not is_there(self.engine, parent_id):
                detail = f"Its parent {parent_id!r} does not exist."
                self.problem("missing_parent", session_id, log(session_id), detail)
        for session_id, parent_id in self.census.unlisted():
            now, parent = self._now(session_id), self._now(parent_id)
            if now is None or parent is None or now.facts.parent_id != parent_id:
                continue
            if session_id not in parent.facts.children:
                self.problem(
                    "unlisted_child", session_id, log(session_id), f"Its parent {parent_id!r} does not list it."
                )
        for session_id, child_id in self.census.dangling():
            if not is_there(self.engine, child_id) and not is_trashed(self.engine, child_id):
                detail = f"It notes a child {child_id!r} that does not exist."
                self.note("missing_child", session_id, log(session_id), detail)
        for members in self.census.cycles():
            for session_id in members:
                self.problem("cycle", session_id, log(session_id), "It is its own ancestor.")

    def _now(self, session_id: str) -> State | None:
        """The session as it is by now, if it can be read."""
        try:
            return self.engine.read(self.engine.entry(session_id))
        except HierstoreError:
            return None

    # The registry

    def registry(self) -> None:
        """Verify the registry, and that it leads where the sessions say."""
        wanted = self.census.wanted()
        for place in census.parts(self.engine):
            if place.number is None:
                self.tell("stray", None, place.path, place.detail)
                continue
            found = self._verdict(place, None)
            asked = wanted.pop(place.number, None)
            if found is not None and asked is not None:
                registry = found[1].parsed.state.facts.registry if found[1].parsed else None
                self._leads(place.number, registry or Registry(), asked)
        for number, asked in wanted.items():
            self._leads(number, Registry(), asked)

    def _leads(self, number: int, registry: Registry, wanted: Wanted) -> None:
        part = self.engine.registry(number)
        for key, session_id in wanted.lost_routes(registry):
            now = self._now(session_id)
            if now is not None and key not in self._part_now(number).routes:
                # Binding notes the key in the session first, so of the very last commit a crash may have left no more.
                tell = self.note if key in self.census.seen[session_id].fresh else self.problem
                tell("lost_route", session_id, part.path, f"The registry has never heard of its route key {key!r}.")
        for locator, session_id in wanted.lost_locators(registry):
            now = self._now(session_id)
            if now is None or not any(grant.digest.startswith(locator) for grant in now.facts.grants):
                continue
            if Wanted({}, {locator: session_id}).lost_locators(self._part_now(number)):
                detail = "The registry does not lead a share's token to it, so nobody can open the share."
                self.problem("lost_share", session_id, part.path, detail)

    def _part_now(self, number: int) -> Registry:
        """A part as it is by now."""
        try:
            return read_registry(self.engine, self.engine.registry(number))
        except HierstoreError:
            return Registry()

    # What lies about

    def trash(self) -> None:
        """See that what was deleted could come back whole; it hurts nobody if not."""
        trash = self.engine.layout.trash
        for name in sorted(files.names(trash)):
            path = os.path.join(trash, name)
            if maybe_past(name) is not None:
                continue
            if not name.endswith(SUFFIX):
                self.note("stray", None, path, "It is no deleted session.")
                continue
            try:
                maybe_id = read_header(path).get("session")
                session_id = maybe_id if isinstance(maybe_id, str) else name.decode(errors="replace")
                verdict = judge(read_log(self.engine, [TREE], path, session_id), session_id, path)
            except SessionNotFound:
                # Restored or purged meanwhile.
                continue
            except (LockTimeout, StoreClosed):
                raise
            except HierstoreError as error:
                self.note("damaged_trash", None, path, str(error))
                continue
            if verdict.kind not in (None, "torn_tail"):
                self.note("damaged_trash", session_id, path, f"In the trash: {verdict.detail}")

    def strays(self) -> None:
        """See what lies where nothing should lie for long."""
        layout = self.engine.layout
        pending = set(journal.pending(layout))
        for name in files.names(layout.tmp):
            path = os.path.join(layout.tmp, name)
            if path in pending:
                self.note("pending", None, path, "Work that a crash cut off; opening the store finishes it.")
            else:
                self.note("stray", None, path, "A file that was being built, or is.")
        for name in files.names(layout.quarantine):
            self.note("quarantined", None, os.path.join(layout.quarantine, name), "Damaged bytes that were put aside.")
        self._stray_pasts(layout.trash)
        for name in files.names(layout.sessions):
            self._stray_pasts(os.path.join(layout.sessions, name))

    def _stray_pasts(self, folder: bytes) -> None:
        try:
            names = sorted(files.names(folder))
        except OSError:
            # No folder; told of already.
            return
        logs = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
        for name in names:
            past = maybe_past(name)
            path = os.path.join(folder, name)
            if past is not None and past[0] not in logs:
                self.note("stray", None, path, "A past that no fork's log goes with.")
            elif past is not None and self._is_unnamed(os.path.join(folder, past[0] + SUFFIX), past[1]):
                self.note("stray", None, path, "A past that its fork's log does not name.")

    def _is_unnamed(self, log: bytes, number: int) -> bool:
        session_id = self.owners.get(log)
        if session_id is None or number in self.census.seen[session_id].pasts:
            return False
        now = self._now(session_id)
        return now is not None and number not in {past.file for past in now.facts.past}
