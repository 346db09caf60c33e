"""The fold: pure, the same bytes always make the same state, and no state changes once it is made."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hierstore.history import History, Messages
from hierstore.log.events import Draft, commit, event, message_commit
from hierstore.log.frame import seal
from hierstore.log.state import State, apply, fold, initial
from tests.support import LogBuilder, sample_log


def shown(state: State) -> dict[str, Any]:
    """All that a state says, as values."""
    histories = []
    for revision in range(1, state.revision + 1):
        history, count = state.history_at(revision)
        histories.append([message.id for message in Messages(history, count)])
    return {
        "info": state.info,
        "messages": [message._record() for message in state.messages],
        "facts": state.facts._replace(epochs=()),
        "histories": histories,
        "seq": state.seq,
    }


def start(log: LogBuilder) -> State:
    return fold(initial("s", History(), 0), log.lines[1])


def test_folding_does_not_change_the_state_it_starts_from() -> None:
    log = sample_log()
    state = start(log)
    states, saw = [], []
    for line in log.lines[2:]:
        states.append(state)
        saw.append(shown(state))
        state = fold(state, line)
    assert [shown(state) for state in states] == saw


def test_folding_line_by_line_and_all_at_once_give_the_same_state() -> None:
    log = sample_log()
    state = start(log)
    for line in log.lines[2:]:
        state = fold(state, line)
    assert shown(state) == shown(fold(initial("s", History(), 0), log.data, log.ends[0]))


def test_two_states_may_continue_one_differently() -> None:
    log = LogBuilder()
    log.messages(("user", "shared"))
    base = fold(initial("s", History(), 0), log.data, log.ends[0])
    left, right = ([Draft(name, "user", name, 1.0, None, False).message(2)] for name in ("left", "right"))
    one, other = base.with_messages(left), base.with_messages(right)
    assert [message.content for message in one.messages] == ["shared", "left"]
    assert [message.content for message in other.messages] == ["shared", "right"]
    assert [message.content for message in base.messages] == ["shared"]


def test_appending_shares_the_list_of_messages_with_the_state_before() -> None:
    state = start(LogBuilder())
    after = state.with_messages([Draft("m", "user", "x", 1.0, None, False).message(1)])
    assert after.history is state.history
    assert len(state.messages) == 0


def test_the_time_of_the_last_change_is_that_of_the_last_message_and_not_of_housekeeping() -> None:
    log = LogBuilder()
    log.messages(("user", "x"))
    at = fold(initial("s", History(), 0), log.data, log.ends[0]).updated_at
    for item in (
        event("title", title="t", source="user"), event("updated", labels=["l"], pinned=True),
        event("child", id="c"), event("moved", parent="p"), event("snapshot", id="n", label=None, metadata={}),
    ):  # fmt: skip
        log.commit(item)
    state = fold(initial("s", History(), 0), log.data, log.ends[0])
    assert state.updated_at == at
    assert state.revision == 7


def test_message_numbers_are_never_used_twice() -> None:
    log = LogBuilder()
    log.messages(("user", "1"), ("user", "2"))
    log.commit(event("reset", reason=None))
    log.messages(("user", "3"))
    log.commit(event("reverted", revision=2, count=1))
    log.messages(("user", "4"))
    state = fold(initial("s", History(), 0), log.data, log.ends[0])
    assert [(message.seq, message.content) for message in state.messages] == [(1, "1"), (4, "4")]


# Random histories: each step is chosen from what the state allows, as the store would.

_STEPS = (
    "message",
    "message",
    "messages",
    "title",
    "update",
    "reset",
    "snapshot",
    "revert",
    "undo",
    "child",
    "unknown",
)


class Writer:
    """Writes a log and folds as it goes, the way the engine does."""

    def __init__(self) -> None:
        log = LogBuilder()
        self.lines, self.chain = log.lines, log.chain
        self.state = start(log)

    def seal(self, body: bytes) -> None:
        line, self.chain = seal(body, self.chain)
        self.lines.append(line)

    def messages(self, contents: list[Any]) -> None:
        state = self.state
        first, seq = state.seq + 1, state.revision + 1
        drafts = [Draft(f"m{first + n}", "user", item, 9.0 + seq, None, False) for n, item in enumerate(contents)]
        self.seal(message_commit(drafts, first, seq))
        self.state = state.with_messages([draft.message(first + n) for n, draft in enumerate(drafts)])

    def commit(self, *events: dict[str, Any]) -> None:
        at = 9.0 + self.state.revision + 1
        self.seal(commit(events, self.state.revision + 1, at))
        self.state = apply(self.state, {"events": list(events), "at": at})

    def step(self, name: str, number: int) -> None:
        state = self.state
        if name == "message":
            self.messages([f"text {number}" if number % 3 else [{"n": number}]])
        elif name == "messages":
            self.messages(list(range(1 + number % 3)))
        elif name == "revert":
            revision = 1 + number % state.revision
            self.commit(event("reverted", revision=revision, count=state.counts[revision - 1]))
        elif name == "undo" and state.facts.reverts:
            revision = state.facts.reverts[-1]
            self.commit(event("unreverted", revision=revision, count=state.counts[revision - 1]))
        else:
            self.commit(*_events(name, number))


def _events(name: str, number: int) -> list[dict[str, Any]]:
    table = {
        "title": [event("title", title=f"t{number}", source="user")],
        "update": [event("updated", metadata={"k": number, "gone": None}, derived={"d": 1}), event("child", id="c")],
        "reset": [event("reset", reason="r")],
        "snapshot": [event("snapshot", id=f"s{number}", label=None, metadata={})],
        "child": [event("child", id=f"c{number}"), event("moved", parent=f"p{number}")],
    }
    return table.get(name, [{"type": "unknown", "n": number}])


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(0, 50)), max_size=25), st.data())
def test_folding_the_bytes_is_what_the_writer_folded_as_it_went(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    writer = Writer()
    states = [writer.state]
    for name, number in steps:
        writer.step(name, number)
        states.append(writer.state)
    saw = [shown(state) for state in states]
    lines = b"".join(writer.lines[1:])
    assert shown(fold(initial("s", History(), 0), lines)) == saw[-1]
    cut = data.draw(st.integers(1, len(writer.lines) - 1))
    head, rest = b"".join(writer.lines[1 : cut + 1]), b"".join(writer.lines[cut + 1 :])
    part = fold(initial("s", History(), 0), head)
    assert shown(part) == saw[cut - 1]
    assert shown(fold(part, rest)) == saw[-1]
    assert shown(part) == saw[cut - 1]
    assert [shown(state) for state in states] == saw


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(0, 50)), max_size=20))
def test_every_revision_shows_the_history_that_was_current_at_it(steps: list[tuple[str, int]]) -> None:
    writer = Writer()
    histories = [[message.id for message in writer.state.messages]]
    for name, number in steps:
        writer.step(name, number)
        histories.append([message.id for message in writer.state.messages])
    assert shown(writer.state)["histories"] == histories
