"""Looking at everything: every line of every log, every tie between logs, every stray file. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from hierstore.disk import files, journal
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import SUFFIX, parse_log, read_header
from hierstore.errors import HierstoreError, LockTimeout, SessionNotFound, StoreClosed, UnreadableLog
from hierstore.log import frame
from hierstore.log.events import parse
from hierstore.log.state import State
from hierstore.model import PLAIN_KEYS
from hierstore.reports import CheckReport, Finding


def check(engine: Engine) -> CheckReport:
    """Verify the whole store, session by session, each under its lock and from its bytes alone."""
    engine.check_open()
    run = _Check(engine)
    for path in _log_paths(engine):
        run.log(path)
    run.ties()
    run.strays()
    messages = sum(state.count for state in run.states.values())
    return CheckReport(run.logs, messages, tuple(run.problems), tuple(run.notes))


def _log_paths(engine: Engine) -> Iterator[bytes]:
    for folder in sorted(files.names(engine.layout.sessions)):
        path = os.path.join(engine.layout.sessions, folder)
        for name in sorted(files.names(path)):
            if name.endswith(SUFFIX):
                yield os.path.join(path, name)


class _Check:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.logs = 0
        self.states: dict[str, State] = {}
        self.problems: list[Finding] = []
        self.notes: list[Finding] = []
        self.unreadable: set[str] = set()

    def problem(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        self.problems.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def note(self, kind: str, session_id: str | None, path: bytes, detail: str) -> None:
        self.notes.append(Finding(kind, session_id, os.fsdecode(path), detail))

    def log(self, path: bytes) -> None:
        """Verify one log."""
        self.logs += 1
        try:
            maybe_id = read_header(path).get("session")
        except UnreadableLog as error:
            self.problem("unreadable", None, path, str(error))
            return
        stem = os.path.basename(path).removesuffix(SUFFIX).decode(errors="replace")
        session_id = maybe_id if isinstance(maybe_id, str) else stem
        if maybe_id is not None and path != self.engine.layout.log(session_id):
            self.problem("misplaced", session_id, path, f"It holds session {session_id!r}, whose place is elsewhere.")
            return
        try:
            data = self._bytes(session_id, path)
            parsed = parse_log(data, session_id, path)
        except SessionNotFound:
            if files.exists(path):
                self.note("empty_log", None, path, "A log that was being made when the power went; it is no session.")
            else:
                self.logs -= 1
            return
        except (LockTimeout, StoreClosed):
            raise
        except HierstoreError as error:
            self.unreadable.add(session_id)
            self.problem("corrupt" if maybe_id is None else "unreadable", session_id, path, str(error))
            return
        self.states[session_id] = parsed.state
        if parsed.fault is not None:
            self.problem("corrupt", session_id, path, parsed.fault)
        self._tail(session_id, path, data[parsed.end :], parsed.end)
        self._lines(session_id, path, data[: parsed.end])

    def _bytes(self, session_id: str, path: bytes) -> bytes:
        """The log's bytes, with no writer in the middle of a line."""
        entry = self.engine.entry(session_id)
        locked = not self.engine.read_only
        if locked:
            self.engine.lock(entry)
        try:
            fd = files.open_regular(path, files.READ)
            try:
                return files.read(fd, files.fstat(fd).st_size, 0)
            finally:
                files.close(fd)
        except FileNotFoundError:
            raise SessionNotFound("deleted meanwhile", session_id=session_id) from None
        except OSError as error:
            raise HierstoreError(f"The log cannot be read: {error.strerror}.") from error
        finally:
            if locked:
                entry.stripe.release()

    def _tail(self, session_id: str, path: bytes, tail: bytes, end: int) -> None:
        verdict = frame.judge(tail)
        if verdict is frame.Tail.TORN and b"\0\0\0\0" in tail:
            verdict = frame.Tail.HOLE
        if verdict is frame.Tail.TORN and b"\n" in tail:
            self.problem("corrupt", session_id, path, f"Its last line, at byte {end}, is damaged.")
        elif verdict is frame.Tail.TORN:
            self.note(
                "torn_tail", session_id, path, f"{len(tail)} bytes of an unfinished commit; the next write cuts them."
            )
        elif verdict is frame.Tail.HOLE:
            self.note(
                "hole", session_id, path, f"A hole of zeros at byte {end}; the next write moves it to quarantine."
            )
        elif verdict is frame.Tail.DAMAGED:
            self.problem("corrupt", session_id, path, f"Damaged at byte {end}, with valid lines behind it.")

    def _lines(self, session_id: str, path: bytes, lines: bytes) -> None:
        """See that each line is the JSON that readers will ask for one day."""
        numbers = frame.seqs(lines, 0, len(lines))
        for number, line in zip(numbers[1:], lines.split(b"\n")[1:], strict=False):
            try:
                record = parse(line)
                events = record["events"]
                good = record["seq"] == number and isinstance(events, list) and all(map(_is_event, events))
            except (ValueError, KeyError, TypeError, AttributeError):
                good = False
            if not good:
                self.problem("corrupt", session_id, path, f"Commit {number} is sealed and yet no valid commit.")
                return

    def ties(self) -> None:
        """See that parents and children agree."""
        for session_id, state in self.states.items():
            path = self.engine.layout.log(session_id)
            parent_id = state.facts.parent_id
            if parent_id is not None and parent_id not in self.unreadable:
                parent = self.states.get(parent_id)
                if parent is None:
                    self._recheck_parent(session_id, path, parent_id)
                elif session_id not in parent.facts.children:
                    self._recheck_note(session_id, path, parent_id)
            for child_id in state.facts.children:
                child = self.states.get(child_id)
                if child is None and child_id not in self.unreadable and not self.engine.exists(child_id):
                    self.note("missing_child", session_id, path, f"It notes a child {child_id!r} that does not exist.")
            self._cycle(session_id, path)

    def _now(self, session_id: str) -> State | None:
        """The session as it is by now: others write while the check runs."""
        try:
            return self.engine.read(self.engine.entry(session_id))
        except HierstoreError:
            return None

    def _recheck_parent(self, session_id: str, path: bytes, parent_id: str) -> None:
        now = self._now(session_id)
        if now is not None and now.facts.parent_id == parent_id and self._now(parent_id) is None:
            self.problem("missing_parent", session_id, path, f"Its parent {parent_id!r} does not exist.")

    def _recheck_note(self, session_id: str, path: bytes, parent_id: str) -> None:
        now, parent = self._now(session_id), self._now(parent_id)
        if now is None or parent is None or now.facts.parent_id != parent_id:
            return
        if session_id not in parent.facts.children:
            self.problem("unlisted_child", session_id, path, f"Its parent {parent_id!r} does not list it.")

    def _cycle(self, session_id: str, path: bytes) -> None:
        seen = {session_id}
        parent_id = self.states[session_id].facts.parent_id
        while parent_id is not None and parent_id in self.states:
            if parent_id == session_id:
                self.problem("cycle", session_id, path, "It is its own ancestor.")
            if parent_id in seen:
                return
            seen.add(parent_id)
            parent_id = self.states[parent_id].facts.parent_id

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
        for folder in files.names(layout.sessions):
            self._stray_pasts(os.path.join(layout.sessions, folder))

    def _stray_pasts(self, folder: bytes) -> None:
        logs = {name.removesuffix(SUFFIX) for name in files.names(folder) if name.endswith(SUFFIX)}
        for name in files.names(folder):
            stem = name.partition(b".past")[0]
            if b".past" in name and stem not in logs:
                self.note("stray", None, os.path.join(folder, name), "A past that no fork's log goes with.")


def _is_event(event: Mapping[str, Any]) -> bool:
    """Whether an event can be folded; of a message, also whether it can be shown."""
    return isinstance(event["type"], str) and (event["type"] != "message" or event.keys() >= PLAIN_KEYS)
