"""What work on a whole store answers: frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found, or that a repair did.

    Attributes:
        kind: a fixed word (``"corrupt"``, ``"torn_tail"``, ``"missing_parent"``, …).
        session_id: the session concerned, or None.
        path: the file concerned.
        detail: a sentence.
    """

    kind: str
    session_id: str | None
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of the whole store found.

    Attributes:
        sessions: how many logs were verified.
        messages: how many messages their histories hold.
        problems: damage, or promises broken.
        notes: traces that a crash may leave and that harm nothing (an unfinished tail, a file in ``tmp/``).
    """

    sessions: int
    messages: int
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when there are no problems."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or would do.

    Attributes:
        done: what was mended (or, in a dry run, would be), one by one, in the order of doing.
        left: what could not be mended, and why.
        dry_run: whether nothing was changed.
    """

    done: tuple[Finding, ...]
    left: tuple[Finding, ...]
    dry_run: bool

    @property
    def ok(self) -> bool:
        """True when nothing is left."""
        return not self.left


class SessionError(NamedTuple):
    """What went wrong with one session, while the others went on.

    Attributes:
        session_id: the session.
        error: a sentence.
    """

    session_id: str
    error: str


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune did, or would do.

    Attributes:
        pruned: the ids of the sessions moved to the trash, parents before children.
        kept: the ids of all others.
        errors: those whose ``keep`` raised, that cannot be read, or whose locks stayed taken, each with a sentence; they
            were kept, and of a subtree all.
        dry_run: whether nothing was changed.
    """

    pruned: tuple[str, ...]
    kept: tuple[str, ...]
    errors: tuple[SessionError, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did to one session's log.

    Attributes:
        session_id: the session.
        before_bytes: the log's size before.
        after_bytes: its size now; the same where there was nothing to gain.
        dropped_messages: how many messages went that no revision kept shows.
    """

    session_id: str
    before_bytes: int
    after_bytes: int
    dropped_messages: int


@dataclass(frozen=True, slots=True)
class CompactAllReport:
    """What a compaction of all sessions did.

    Attributes:
        sessions: one report for each session whose log became smaller.
        errors: those that could not be compacted, each with a sentence; they are as they were.
    """

    sessions: tuple[CompactReport, ...]
    errors: tuple[SessionError, ...]

    @property
    def freed_bytes(self) -> int:
        """How much smaller all logs together became. A fork that shares an old log keeps its bytes on disk."""
        return sum(report.before_bytes - report.after_bytes for report in self.sessions)


@dataclass(frozen=True, slots=True)
class TrashedSession:
    """A deleted session that can still be restored.

    Attributes:
        id: the session's id.
        deleted_at: Unix seconds.
        size_bytes: of its log.
    """

    id: str
    deleted_at: float
    size_bytes: int


class SourceProblem(NamedTuple):
    """Something in a source that was not taken.

    Attributes:
        path: the file.
        line: its line, from 1, or None where it is the whole file.
        detail: a sentence.
    """

    path: str
    line: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import took.

    Attributes:
        roots: the ids of the imported sessions that have no parent among them, in the source's order.
        ids: for each session taken, its id in the source and its id here.
        skipped: the ids in the source of sessions that exist here already and were left as they are.
        problems: what in the source could not be taken, each with its file and line.
    """

    roots: tuple[str, ...]
    ids: dict[str, str]
    skipped: tuple[str, ...]
    problems: tuple[SourceProblem, ...]


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """How many bytes a store's files have. One of several names counts once, in the first of these that has it.

    Attributes:
        logs: the sessions, with what forks keep of the time before them.
        trash: deleted sessions, as far as no living fork shares them.
        quarantine: damaged bytes, kept aside.
        index: derived; not counted where it is kept outside the store.
        other: what leads to sessions, locks, and files being built.
    """

    logs: int
    trash: int
    quarantine: int
    index: int
    other: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.logs + self.trash + self.quarantine + self.index + self.other


@dataclass(frozen=True, slots=True)
class SessionSize:
    """How many bytes one session has on disk.

    Attributes:
        id: the session's id.
        size_bytes: its log and, of a fork, what counts of the logs before it.
        own_bytes: those of them that no other session needs: about what purging it alone would free. What lies in the
            trash and shares a log with it counts as needing all of that.
    """

    id: str
    size_bytes: int
    own_bytes: int


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What a store holds, counted session by session while others may write: not all as of one moment.

    Attributes:
        sessions: how many there are, without the trash.
        roots: how many of them have no parent.
        archived, pinned, suspended: how many of them are.
        unreadable: how many more cannot be read; they are counted in nothing else but the bytes.
        messages: those that some session shows. What forks share counts once.
        usage: the sums of the sessions' counters, by name, exact.
        roles: messages by role, the most first.
        kinds: sessions by kind, the most first; None: those without one.
        labels: sessions by label, the most first.
        sessions_by_day: how many were made on each day (``"2026-01-05"``, by this machine's time zone), in order;
            days without any are left out.
        messages_by_day: how many messages were stored, likewise. A time out of the calendar is on no day.
        disk: the bytes.
    """

    sessions: int
    roots: int
    archived: int
    pinned: int
    suspended: int
    unreadable: int
    messages: int
    usage: dict[str, int | float]
    roles: dict[str, int]
    kinds: dict[str | None, int]
    labels: dict[str, int]
    sessions_by_day: dict[str, int]
    messages_by_day: dict[str, int]
    disk: DiskUsage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an examination says of one thing that a store relies on.

    Attributes:
        name: a fixed word (``"folder"``, ``"locks"``, ``"events"``, …).
        grade: ``"good"``; ``"note"``: the store copes, and it is worth knowing; ``"bad"``: it cannot be relied on.
        found: a sentence.
        advice: what to do, a sentence; None where there is nothing to be done.
    """

    name: str
    grade: Literal["good", "note", "bad"]
    found: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether a folder and this machine keep what a store promises.

    Attributes:
        root: the folder.
        verdicts: one for each thing that was examined, in a fixed order.
    """

    root: str
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is bad."""
        return all(verdict.grade != "bad" for verdict in self.verdicts)
