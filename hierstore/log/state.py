"""State = fold(commits): what a session is after its commits. Pure; what each event does stands in ``handlers.py``.

A state is a value: folding makes a new one and leaves the old one as it was. Two things are shared between states
because copying them would make an append cost more in a long session: the list of messages and the list of counts.
Both only grow, and a state counts how much of them is its own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from hierstore.history import History, Messages
from hierstore.log.events import parse
from hierstore.log.facts import Facts
from hierstore.log.frame import EVENTS_START, MESSAGE_START, seqs
from hierstore.log.grammar import maybe_fault
from hierstore.log.handlers import HANDLERS, Step, unknown
from hierstore.model import Message, SessionInfo
from hierstore.values import count_lines, loads


class State:
    """A session after some commit.

    Attributes:
        facts: what appending does not change.
        revision: the number of the last commit; 0 before the first.
        history: the list that holds the current messages.
        count: how many of it are this state's.
        counts: for each revision, from 1, how many messages its history had.
        seq: the number of the last message ever stored.
    """

    __slots__ = ("_info", "_messages", "_updated_at", "count", "counts", "facts", "history", "revision", "seq")

    def __init__(
        self,
        facts: Facts,
        revision: int,
        history: History,
        count: int,
        counts: array[int],
        seq: int,
        updated_at: float | None,
    ) -> None:
        self.facts = facts
        self.revision = revision
        self.history = history
        self.count = count
        self.counts = counts
        self.seq = seq
        # None stands for the time of the last message: finding that out would decode it.
        self._updated_at = updated_at
        self._messages: Messages | None = None
        self._info: SessionInfo | None = None

    @property
    def updated_at(self) -> float:
        """When the history last changed, Unix seconds."""
        if self._updated_at is None:
            self._updated_at = self.history.message(self.count - 1).at if self.count else self.facts.created_at
        return self._updated_at

    @property
    def messages(self) -> Messages:
        """The history of this state."""
        view = self._messages
        if view is None:
            view = self._messages = Messages(self.history, self.count)
        return view

    @property
    def info(self) -> SessionInfo:
        """The facts of this state, for users."""
        if self._info is None:
            facts = self.facts
            self._info = SessionInfo(
                id=facts.id,
                title=facts.title,
                title_source=facts.title_source,
                parent_id=facts.parent_id,
                kind=facts.kind,
                labels=facts.labels,
                pinned=facts.pinned,
                archived=facts.archived,
                suspended=facts.suspended,
                created_at=facts.created_at,
                updated_at=self.updated_at,
                revision=self.revision,
                message_count=self.count,
                metadata_json=facts.metadata_json,
                derived_json=facts.derived_json,
            )
        return self._info

    def history_at(self, revision: int) -> tuple[History, int]:
        """The list and the count that were the history at a revision from 1 to this state's."""
        epochs = self.facts.epochs
        place = bisect_right(epochs, revision, key=lambda epoch: epoch[0]) - 1
        return epochs[place][1], self.counts[revision - 1]

    def is_whole(self, revision: int) -> bool:
        """Whether everything is known of a revision that there was: no compaction dropped it."""
        return revision >= self.facts.through or revision in self.facts.kept

    def find_revision(self, message_id: str) -> tuple[int, int] | None:
        """The revision that brought a message, and how many messages of its history reach up to and with it.

        Of several (a revert shows a message again) the one that brought it into the latest history that has it.
        """
        epochs = self.facts.epochs
        for place in range(len(epochs) - 1, -1, -1):
            history = epochs[place][1]
            last = epochs[place + 1][0] - 1 if place + 1 < len(epochs) else self.revision
            if last >= epochs[place][0]:
                found = history.find(message_id, self.counts[last - 1])
                if found is not None:
                    brought = bisect_left(self.counts, found + 1, epochs[place][0] - 1, last) + 1
                    return brought, found + 1
        return None

    def with_messages(self, messages: Sequence[Message]) -> State:
        """The state after one commit of messages: what ``fold`` would make of it, without the bytes."""
        base = self if self._is_own else self._own()
        for message in messages:
            base.history.append(message)
        count = base.count + len(messages)
        base.counts.append(count)
        last = messages[-1]
        return State(base.facts, base.revision + 1, base.history, count, base.counts, last._seq, last._at)

    def with_lines(self, lines: bytes, begin: int, end: int, *, skips: bool = False) -> State:
        """The state after commits of one message each: the lines from ``begin`` to before ``end``, left undecoded.

        Args:
            lines: the lines, among others.
            begin: where they begin.
            end: where they end.
            skips: whether revisions may be missing between them.
        """
        base = self._own()
        revision, seq = _last_numbers(lines, begin, end)
        count = revision - base.revision
        # The last run needs no count: a scan has seen that there are as many lines as the number of the last one says.
        if not skips and (count < 1 or (end < len(lines) and count_lines(lines, begin, end) != count)):
            raise ValueError("not a message a line")
        if skips:
            count = base._count_each(seqs(lines, begin, end))
        else:
            base.counts.extend(range(base.count + 1, base.count + count + 1))
        base.history.append_lines(lines, begin, end, count)
        return State(base.facts, revision, base.history, base.count + count, base.counts, seq, None)

    def _count_each(self, revisions: list[int]) -> int:
        """Count one message more at each of these revisions, and none more at those missing between them."""
        total = self.count
        for revision in revisions:
            self.counts.extend([total] * (revision - len(self.counts) - 1))
            total += 1
            self.counts.append(total)
        return len(revisions)

    @property
    def _is_own(self) -> bool:
        """Whether nobody has grown the shared lists past this state."""
        return self.history.total == self.count and len(self.counts) == self.revision

    def _own(self) -> State:
        """This state over lists that nobody has grown past it, so that they can be grown."""
        if self._is_own:
            return self
        history = self.history.prefix(self.count)
        epochs = (*self.facts.epochs[:-1], (self.facts.epochs[-1][0], history))
        facts = self.facts._replace(epochs=epochs)
        return State(
            facts, self.revision, history, self.count, self.counts[: self.revision], self.seq, self._updated_at
        )


def initial(session_id: str, history: History, count: int) -> State:
    """The state before the first commit.

    Args:
        session_id: the session's id.
        history: what a fork starts with; empty for any other session.
        count: how many of its messages are this session's.
    """
    seq = history.message(count - 1).seq if count else 0
    facts = Facts(session_id, epochs=((1, history),))
    return State(facts, 0, history, count, array("Q"), seq, None)


def fold(state: State, lines: bytes, start: int = 0, *, skips: bool = False) -> State:
    """The state after more commits.

    Args:
        state: the state before.
        lines: from ``start`` on valid commit lines, each with its newline, that follow on ``state.revision``.
        start: where they start.
        skips: whether revisions may be missing among them, as in a log that was compacted.
    """
    size = len(lines)
    if start == 0 and not skips and lines.startswith(MESSAGE_START) and lines.find(b"\n") == size - 1:
        # What is read after another's append, mostly: it is asked for next, and leaving it undecoded costs as much.
        return state.with_messages((_only_message(lines, state.revision + 1),))
    while start < size:
        if lines.startswith(MESSAGE_START, start):
            end = lines.find(b"\n" + EVENTS_START, start) + 1 or size
            state = state.with_lines(lines, start, end, skips=skips)
        else:
            end = lines.index(b"\n", start) + 1
            state = apply(state, _verified(parse(lines[start:end]), state.revision + 1, skips=skips))
        start = end
    return state


def _only_message(line: bytes, revision: int) -> Message:
    """The message of a line, the commit of that revision.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is none: not this library wrote it.
    """
    commit = loads(line)
    message = Message._of_record(commit["message"])
    if commit["seq"] != revision or type(message._seq) is not int:
        raise ValueError("commits and messages are numbered")
    return message


def _verified(commit: Mapping[str, Any], revision: int, *, skips: bool) -> Mapping[str, Any]:
    """The commit itself, if what it says is of the kind that it should be: whoever sealed it, not we did, perhaps.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(commit["at"], int | float | None):
        raise TypeError("a commit's time is a number")
    if commit["seq"] < revision or (commit["seq"] > revision and not skips):
        raise ValueError("commits are numbered from 1 on")
    for event in commit["events"]:
        fault = maybe_fault(event) if "type" in event else None
        if fault is not None:
            raise ValueError(fault)
    return commit


def _last_numbers(lines: bytes, begin: int, end: int) -> tuple[int, int]:
    """The commit's and the message's number in the last of some message lines."""
    last = lines[max(begin, lines.rfind(b"\n", begin, end - 1) + 1) : end]
    message = len(MESSAGE_START) + len(b'{"seq":')
    commit = last.rindex(b',"seq":') + len(b',"seq":')
    return int(last[commit : last.index(b",", commit)]), int(last[message : last.index(b",", message)])


def apply(state: State, commit: Mapping[str, Any]) -> State:
    """The state after one commit, given as its JSON object in the long form; without ``seq`` it is the next."""
    state = state._own()
    step = Step(state, commit["at"] or 0.0, commit.get("seq", state.revision + 1))
    counts = state.counts
    # Before the events: one may go back to a revision that has no line of its own.
    counts.extend([state.count] * (step.revision - len(counts) - 1))
    for event in commit["events"]:
        HANDLERS.get(event.get("type"), unknown)(step, event)
    counts.append(step.count)
    return State(step.facts, step.revision, step.history, step.count, counts, step.seq, step.updated_at)
