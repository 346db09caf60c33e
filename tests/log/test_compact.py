"""Compaction as a function of bytes: what is kept is kept to the last bit, and what is not needed is gone."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hierstore.disk.logfile import Parsed, parse_log
from hierstore.errors import CorruptLog
from hierstore.history import History, Messages
from hierstore.log import frame
from hierstore.log.compact import compacted, differs
from hierstore.log.events import Draft, commit, event, header, message_commit
from hierstore.log.facts import Facts
from hierstore.log.frame import Tail, judge, scan, seal
from hierstore.log.state import State, apply, fold, initial
from tests.support import LogBuilder

PATH = b"/nowhere/s.jsonl"
NONCE = "0123456789abcdef"


def parsed(data: bytes, until: int | None = None) -> Parsed:
    found = parse_log(data, "s", PATH, until)
    assert until is not None or found.end == len(data), "not all of it is valid"
    return found


class New(NamedTuple):
    """A compacted log: its bytes, and how many messages are not in it."""

    data: bytes
    dropped: int


def compact(data: bytes, kept: tuple[int, ...] = (), *, snapshots: bool = True) -> New | None:
    """A log's bytes compacted and sealed anew, as the store does it; None when there is nothing to drop."""
    last = parsed(data).state
    bounds = sorted({*kept, *(snap.revision for snap in last.facts.snapshots if snapshots)})
    start = data.index(b"\n") + 1
    first = initial("s", History(), 0)
    shorter = compacted(data, start, first, last, bounds, keep_snapshots=snapshots)
    if shorter is None:
        return None
    return New(sealed(shorter.bodies, last.revision - len(shorter.bodies)), shorter.dropped)


def sealed(bodies: list[bytes], skipped: int) -> bytes:
    chain, lines = 0, []
    for body in (header("s", NONCE, 1.0, 0, skipped), *bodies):
        line, chain = seal(body, chain)
        lines.append(line)
    return b"".join(lines)


_HISTORY = ("epochs", "reverts", "through", "kept", "registry")


def without_history(facts: Facts) -> dict[str, Any]:
    """Facts as they are shown; without what says how the history came about."""
    return {name: value for name, value in facts._asdict().items() if name not in _HISTORY}


def seen(data: bytes, revision: int | None = None, *, snapshots: bool = True) -> dict[str, Any]:
    """Everything that a log says of a revision; of the present one when None."""
    state = parsed(data, revision).state
    facts = state.facts if snapshots else state.facts._replace(snapshots=())
    return {
        "info": state.info,
        "messages": [message._record() for message in state.messages],
        "facts": without_history(facts),
        "seq": state.seq,
        "updated": state.updated_at,
    }


class Writer:
    """Writes logs of every event, of unknown ones, and of known ones with keys that nobody knows."""

    def __init__(self, data: bytes | None = None) -> None:
        if data is None:
            log = LogBuilder()
            self.lines, self.chain = log.lines, log.chain
            self.state = fold(initial("s", History(), 0), log.lines[1])
        else:
            # Goes on behind a compacted log.
            found = parsed(data)
            self.lines, self.chain, self.state = [data], found.chain, found.state

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)

    def seal(self, body: bytes) -> None:
        line, self.chain = seal(body, self.chain)
        self.lines.append(line)

    def message(self, *contents: Any, **extras: Any) -> None:
        state = self.state
        first, revision = state.seq + 1, state.revision + 1
        drafts = [
            Draft(f"m{first + n}", "user", item, 100.0 + revision, extras or None, False)
            for n, item in enumerate(contents)
        ]
        self.seal(message_commit(drafts, first, revision))
        self.state = state.with_messages([draft.message(first + n) for n, draft in enumerate(drafts)])

    def commit(self, *events: dict[str, Any], **extras: Any) -> None:
        at, revision = 100.0 + self.state.revision + 1, self.state.revision + 1
        body = commit(list(events), revision, at)
        if extras:
            record = {"events": list(events), "at": at, **extras, "seq": revision}
            body = json.dumps(record, separators=(",", ":")).encode()[:-1]
        self.seal(body)
        self.state = apply(self.state, {"events": list(events), "at": at, **extras})

    def revert(self, revision: int, less: int = 0, **extras: Any) -> None:
        """To a revision, or up to some message of its history."""
        count = max(0, self.state.counts[revision - 1] - less)
        self.commit({**event("reverted", revision=revision, count=count), **extras})

    def step(self, name: str, number: int) -> None:
        state = self.state
        if name == "message":
            self.message(f"text {number}" if number % 3 else [{"n": number}])
        elif name == "rich message":
            self.message(f"\u00e9 {number}", metadata={"k": number}, fields={"name": "f"})
        elif name == "messages":
            self.message(*range(1 + number % 4))
        elif name == "revert":
            self.revert(1 + number % state.revision)
        elif name == "revert to message":
            self.revert(1 + number % state.revision, number % 3)
        elif name == "strange revert":
            self.revert(1 + number % state.revision, number % 3, from_the_future=number)
        elif name == "undo" and state.facts.reverts:
            revision = state.facts.reverts[-1]
            self.commit(event("unreverted", revision=revision, count=state.counts[revision - 1]))
        elif name == "mixed":
            # No version writes such a commit; a later one may.
            record = {"seq": state.seq + 1, "id": f"m{state.seq + 1}", "role": "user", "content": number, "at": 7.0}
            self.commit({"type": "message", **record}, event("title", title=f"mixed {number}", source="user"))
        elif name == "strange commit":
            self.commit(event("title", title=f"strange {number}", source="user"), from_the_future={"n": number})
        else:
            self.commit(*_events(name, number))


def _events(name: str, number: int) -> list[dict[str, Any]]:
    table = {
        "title": [event("title", title=f"t{number}", source="user" if number % 2 else "auto")],
        "strange title": [{**event("title", title=f"s{number}", source="user"), "tone": number}],
        "update": [event("updated", metadata={f"k{number % 3}": number, "gone": None}, derived={"d": number})],
        "flags": [event("updated", pinned=bool(number % 2), archived=True, suspended=bool(number % 3), labels=["l"])],
        "reset": [event("reset", reason="r")],
        "snapshot": [event("snapshot", id=f"s{number}", label=f"l{number}", metadata={"m": number})],
        "child": [event("child", id=f"c{number}"), event("moved", parent=f"p{number}")],
        "forgotten": [event("forgotten", id=f"c{number % 5}")],
        "ref": [event("ref", name=f"r{number % 3}", value=None if number % 4 == 0 else {"id": number})],
        "usage": [event("usage", add={"tokens": number, "cost": 0.1 * number})],
        "set usage": [event("usage", set={"tokens": number})],
        "share": [
            event("shared", id=f"g{number}", digest=f"{number:064x}", role="read", expires_at=None, subtree=True,
                  frozen=None)
        ],
        "unshare": [event("unshared", ids=[f"g{number}"])],
        "turn": [event("turn", token=None if number % 2 else f"t{number}")],
        "bound": [event("bound", key=f"key {number % 3}")],
        "trash": [event("deleted", batch="b"), event("restored", batch="b")],
    }  # fmt: skip
    return table.get(name, [{"type": "from_the_future", "n": number}])


STEPS = (
    "message", "message", "message", "rich message", "messages", "messages", "revert", "revert", "revert to message",
    "strange revert", "undo", "undo", "reset", "snapshot", "snapshot", "mixed", "strange commit", "title",
    "strange title", "update", "flags", "child", "forgotten", "ref", "usage", "set usage", "share", "unshare", "turn",
    "bound", "trash", "unknown",
)  # fmt: skip

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), max_size=30)


def written(some: list[tuple[str, int]], writer: Writer | None = None) -> Writer:
    writer = writer or Writer()
    for name, number in some:
        writer.step(name, number)
    return writer


def undone_long(writer: Writer | None = None) -> Writer:
    """A log of which something can be dropped: an undone message, and titles that nobody sees any more."""
    writer = writer or Writer()
    writer.message("one")
    writer.commit(event("snapshot", id="snap", label="here", metadata={}))
    writer.commit(event("title", title="superseded", source="user"))
    writer.message("undone")
    writer.message("undone too", "and this")
    writer.revert(3)
    writer.message("two")
    writer.commit(event("title", title="last", source="user"))
    writer.message("three")
    return writer


# What stays


@settings(max_examples=400)
@given(steps, st.booleans(), st.sets(st.integers(0, 40), max_size=4))
def test_what_is_kept_says_the_same_to_the_last_fact(
    some: list[tuple[str, int]], snapshots: bool, frozen: set[int]
) -> None:
    old = written(some).data
    last = parsed(old).state
    kept = tuple(sorted({1 + number % last.revision for number in frozen}))
    new = compact(old, kept, snapshots=snapshots)
    if new is None:
        return
    assert seen(new.data) == seen(old, snapshots=snapshots)
    if snapshots:
        kept = tuple(sorted({*kept, *(snap.revision for snap in last.facts.snapshots)}))
    for revision in kept:
        assert seen(new.data, revision, snapshots=snapshots) == seen(old, revision, snapshots=snapshots)
        ours, theirs = parsed(new.data).state.history_at(revision), last.history_at(revision)
        assert Messages(*ours) == Messages(*theirs)
    state = parsed(new.data).state
    assert differs(state, last, kept, keep_snapshots=snapshots) is None
    assert (state.facts.through, state.facts.kept, state.facts.reverts) == (
        last.revision, tuple(revision for revision in kept if revision != last.revision), (),
    )  # fmt: skip


@settings(max_examples=150)
@given(steps, steps, st.booleans())
def test_what_happens_afterwards_is_what_would_have_happened_without(
    before: list[tuple[str, int]], after: list[tuple[str, int]], snapshots: bool
) -> None:
    """All but going back to what was not kept, which the store refuses."""
    writer = written(before)
    new = compact(writer.data, snapshots=snapshots)
    if new is None:
        return
    other = Writer(new.data)
    through = writer.state.revision
    reverts = len(writer.state.facts.reverts)
    for name, number in after:
        if name in ("revert", "revert to message", "strange revert"):
            target = 1 + number % writer.state.revision
            if target < through and target not in other.state.facts.kept:
                continue
        if name == "undo" and len(writer.state.facts.reverts) <= reverts:
            # The reverts from before cannot be undone any more.
            continue
        if name == "reset":
            reverts = 0
        writer.step(name, number)
        other.step(name, number)
    assert seen(other.data, snapshots=False) == seen(writer.data, snapshots=False)
    for revision in range(through, writer.state.revision + 1):
        assert seen(other.data, revision, snapshots=False) == seen(writer.data, revision, snapshots=False)


@settings(max_examples=150)
@given(steps, steps, st.booleans())
def test_a_second_compaction_keeps_what_a_first_one_would(
    before: list[tuple[str, int]], after: list[tuple[str, int]], snapshots: bool
) -> None:
    first = compact(written(before).data, snapshots=snapshots)
    if first is None:
        return
    writer = Writer(first.data)
    for name, number in after:
        through, kept = writer.state.facts.through, writer.state.facts.kept
        target = 1 + number % writer.state.revision
        if "revert" not in name or target >= through or target in kept:
            writer.step(name, number)
    for both in (True, False):
        second = compact(writer.data, snapshots=both)
        if second is not None:
            assert seen(second.data, snapshots=both) == seen(writer.data, snapshots=both)
            for snap in writer.state.facts.snapshots if both else ():
                assert seen(second.data, snap.revision) == seen(writer.data, snap.revision)


@settings(max_examples=100)
@given(steps, st.booleans())
def test_compacting_what_was_just_compacted_changes_nothing(some: list[tuple[str, int]], snapshots: bool) -> None:
    new = compact(written(some).data, snapshots=snapshots)
    again = compact(new.data, snapshots=snapshots) if new is not None else None
    if new is not None and again is not None:
        assert again.dropped == 0
        assert [line.partition(b',"crc"')[0] for line in again.data.split(b"\n")[1:]] == [
            line.partition(b',"crc"')[0] for line in new.data.split(b"\n")[1:]
        ]


@settings(max_examples=200)
@given(steps, st.booleans())
def test_a_message_stays_if_some_kept_revision_shows_it_and_else_it_goes(
    some: list[tuple[str, int]], snapshots: bool
) -> None:
    old = written(some).data
    new = compact(old, snapshots=snapshots)
    last = parsed(old).state
    stored = [record for line in old.splitlines() for record in _messages_of(line)]
    needed = {message.seq for message in last.messages}
    for snap in last.facts.snapshots if snapshots else ():
        needed |= {message.seq for message in Messages(*last.history_at(snap.revision))}
    if new is None:
        assert len(stored) == len(needed)
        return
    left = [record for line in new.data.splitlines() for record in _messages_of(line)]
    assert left == [record for record in stored if record["seq"] in needed]
    assert new.dropped == len(stored) - len(left)


def _messages_of(line: bytes) -> list[dict[str, Any]]:
    record = json.loads(line)
    found = [record["message"]] if "message" in record else record.get("events", ())
    return [
        {key: value for key, value in item.items() if key != "type"}
        for item in found
        if item.get("type", "message") == "message"
    ]


@settings(max_examples=100)
@given(steps, st.sets(st.integers(0, 40), max_size=4))
@example([("snapshot", 2), ("snapshot", 3), ("title", 1)], {1, 2, 3})
def test_without_snapshots_no_name_of_one_is_left_whatever_else_is_kept(
    some: list[tuple[str, int]], frozen: set[int]
) -> None:
    old = written([("snapshot", 1), *some]).data
    last = parsed(old).state.revision
    new = compact(old, tuple(sorted({1 + number % last for number in frozen})), snapshots=False)
    assert new is not None
    assert b"snapshot" not in new.data


@settings(max_examples=200)
@given(steps, st.booleans())
def test_nothing_from_the_future_is_dropped(some: list[tuple[str, int]], snapshots: bool) -> None:
    """Unknown events, unknown keys of known events, unknown keys of commits; but for those of undone messages."""
    old = written(some).data
    new = compact(old, snapshots=snapshots)
    if new is not None:
        assert _strange(new.data) == _strange(old)


def _strange(data: bytes) -> list[Any]:
    found: list[Any] = []
    for line in data.splitlines()[1:]:
        record = json.loads(line)
        if "from_the_future" in record:
            found.append((record["seq"], record["from_the_future"], record["at"]))
        # A revert may have become shorter.
        found += [
            (record["seq"], {key: value for key, value in item.items() if key != "count"})
            for item in record.get("events", ())
            if item["type"] == "from_the_future" or item.keys() & {"from_the_future", "tone"}
        ]
    return found


def test_a_later_versions_reset_stays_even_where_it_changes_nothing() -> None:
    writer = Writer()
    writer.message("undone")
    writer.commit({**event("reset", reason="r"), "from_the_future": 1})
    writer.commit(event("reset", reason="again"))
    new = compact(writer.data)
    assert new is not None
    assert [line["events"][0] for line in map(json.loads, new.data.splitlines()[2:3])] == [
        {"type": "reset", "reason": "r", "from_the_future": 1}
    ]
    assert seen(new.data) == seen(writer.data)


def test_numbers_go_on() -> None:
    writer = undone_long()
    new = compact(writer.data)
    assert new is not None
    other = Writer(new.data)
    other.message("next")
    assert (other.state.revision, other.state.seq) == (writer.state.revision + 1, writer.state.seq + 1)
    assert [message.seq for message in other.state.messages] == [1, 5, 6, 7]


def test_the_number_of_an_undone_message_is_not_used_again_when_it_was_the_last() -> None:
    writer = Writer()
    writer.message("one")
    writer.message("undone")
    writer.revert(2)
    new = compact(writer.data)
    assert new is not None
    other = Writer(new.data)
    other.message("next")
    assert [message.seq for message in other.state.messages] == [1, 3]


# What goes


def test_undone_messages_and_superseded_facts_are_gone_and_the_log_is_shorter() -> None:
    writer = undone_long()
    new = compact(writer.data)
    assert new is not None
    assert new.dropped == 3
    for gone in (b"undone", b"and this", b"superseded", b"a title", b"reverted"):
        assert (gone in new.data) == (gone == b"a title"), gone  # the first commit stays as it is
    assert b'"three"' in new.data


def test_without_snapshots_their_names_go_too() -> None:
    writer = undone_long()
    new = compact(writer.data, snapshots=False)
    assert new is not None
    assert b"snap" not in new.data
    assert parsed(new.data).state.facts.snapshots == ()


def test_a_log_of_messages_alone_is_left_as_it_is() -> None:
    writer = Writer()
    writer.message("one")
    writer.message("two", "three")
    assert compact(writer.data) is None


def test_a_log_with_nothing_superseded_does_not_grow() -> None:
    writer = Writer()
    writer.message("one")
    writer.commit(event("snapshot", id="snap", label=None, metadata={}))
    writer.message("two")
    writer.commit(event("title", title="t", source="user"))
    new = compact(writer.data)
    assert new is not None
    assert new.dropped == 0
    # A summary at the end is all that it may add: it says what was kept.
    assert len(new.data) < len(writer.data) + 600


def test_many_snapshots_do_not_make_a_log_larger() -> None:
    """Each kept revision needs its facts; the names of all snapshots are not to be told at each of them again."""
    writer = Writer()
    for number in range(100):
        writer.message(f"text {number}")
        writer.commit(event("snapshot", id=f"s{number}", label=None, metadata={}))
        snap = writer.state.revision
        writer.message("undone")
        writer.revert(snap)
    new = compact(writer.data)
    assert new is not None
    assert new.dropped == 100
    assert len(new.data) <= len(writer.data) + 100


@settings(max_examples=200)
@given(steps, st.booleans())
def test_a_revert_that_changes_nothing_any_more_is_dropped(some: list[tuple[str, int]], snapshots: bool) -> None:
    new = compact(written(some).data, snapshots=snapshots)
    if new is None:
        return
    state = initial("s", History(), 0)
    for line in new.data.splitlines(keepends=True)[1:]:
        record = json.loads(line)
        before = [message.seq for message in state.messages]
        state = fold(state, line, skips=True)
        kinds = [item["type"] for item in record.get("events", ())]
        strange = any("from_the_future" in item for item in [record, *record.get("events", ())])
        if not strange and set(kinds) & {"reset", "reverted", "unreverted"}:
            assert [message.seq for message in state.messages] != before, line


# The bytes


@pytest.fixture(scope="module")
def both() -> tuple[bytes, list[bytes]]:
    """A compacted log that goes on for some lines, and its lines."""
    new = compact(undone_long().data)
    assert new is not None
    writer = Writer(new.data)
    writer.message("after")
    writer.commit(event("title", title="after", source="user"))
    writer.message("last but one")
    writer.message("last")
    return writer.data, writer.data.splitlines(keepends=True)


def ends_of(lines: list[bytes]) -> list[int]:
    return [sum(map(len, lines[: number + 1])) for number in range(len(lines))]


def test_a_compacted_log_has_gaps_and_is_valid_to_its_end(both: tuple[bytes, list[bytes]]) -> None:
    data, lines = both
    numbers = [json.loads(line)["seq"] for line in lines]
    skipped = json.loads(lines[0])["skipped"]
    assert numbers == sorted(set(numbers))
    assert skipped == numbers[-1] + 1 - len(numbers) > 2
    assert scan(data, 0, -1, skipped)[::2] == (len(data), numbers[-1])
    assert frame.seqs(data, 0, len(data)) == numbers


def test_its_gaps_are_accepted_only_as_many_as_its_header_says(both: tuple[bytes, list[bytes]]) -> None:
    data, lines = both
    skipped = json.loads(lines[0])["skipped"]
    for wrong in (0, skipped - 1):
        assert scan(data, 0, -1, wrong).end < len(data)
    # A line that is missing, under a right checksum, is one more gap than there may be.
    bodies = [line[: -frame.SEAL_BYTES] for line in lines[1:]]
    for number in range(1, len(bodies) - 1):
        short = sealed([*bodies[:number], *bodies[number + 1 :]], skipped)
        assert scan(short, 0, -1, skipped).end < len(short), number


def test_a_compacted_log_cut_at_any_byte_keeps_exactly_the_whole_lines_before(both: tuple[bytes, list[bytes]]) -> None:
    """behaviours 35"""
    data, lines = both
    ends = ends_of(lines)
    whole_state = {end: seen_prefix(data[:end]) for end in ends[1:]}
    for cut in range(len(data)):
        if cut < ends[1]:
            with pytest.raises((CorruptLog, Exception)):
                parse_log(data[:cut], "s", PATH)
            continue
        found = parse_log(data[:cut], "s", PATH)
        end = max(end for end in ends if end <= cut)
        assert found.end == end, cut
        assert seen_prefix(data[:cut]) == whole_state[end], cut
        assert judge(data[end:cut], end) is (Tail.TORN if cut > end else Tail.CLEAN), cut


def seen_prefix(data: bytes) -> Any:
    state = parse_log(data, "s", PATH).state
    return state.revision, state.info, [message._record() for message in state.messages]


@pytest.mark.parametrize("bit", range(8))
def test_a_bit_flipped_anywhere_ends_a_compacted_log_before_its_line(both: tuple[bytes, list[bytes]], bit: int) -> None:
    data, lines = both
    ends = ends_of(lines)
    skipped = json.loads(lines[0])["skipped"]
    flipped = bytearray(data)
    for place in range(len(data)):
        flipped[place] ^= 1 << bit
        assert scan(bytes(flipped), 0, -1, skipped).end == max([0, *(end for end in ends if end <= place)]), place
        flipped[place] ^= 1 << bit


def test_a_flip_in_the_middle_of_a_compacted_log_is_damage(both: tuple[bytes, list[bytes]]) -> None:
    data, lines = both
    ends = ends_of(lines)
    skipped = json.loads(lines[0])["skipped"]
    flipped = bytearray(data)
    for place in range(ends[1], ends[-2] - 1):
        flipped[place] ^= 1
        end = scan(bytes(flipped), 0, -1, skipped).end
        assert judge(bytes(flipped[end:]), end) is Tail.DAMAGED, place
        flipped[place] ^= 1


def test_lines_of_the_old_log_do_not_continue_the_new_one() -> None:
    writer = undone_long()
    new = compact(writer.data)
    assert new is not None
    behind = len(writer.data)
    writer.message("later")
    added = writer.data[behind:]
    skipped = json.loads(new.data.splitlines()[0])["skipped"]
    assert scan(new.data + added, 0, -1, skipped).end == len(new.data)


@settings(max_examples=60)
@given(steps, st.data())
def test_a_compacted_log_folds_the_same_in_one_part_or_two(some: list[tuple[str, int]], data: st.DataObject) -> None:
    new = compact(written(some).data)
    if new is None:
        return
    lines = new.data.splitlines(keepends=True)[1:]
    cut = data.draw(st.integers(1, len(lines)))
    start = initial("s", History(), 0)
    half: State = fold(start, b"".join(lines[:cut]), skips=True)
    whole = fold(half, b"".join(lines[cut:]), skips=True)
    assert (whole.info, whole.messages, list(whole.counts)) == (
        parsed(new.data).state.info, parsed(new.data).state.messages, list(parsed(new.data).state.counts),
    )  # fmt: skip


# The guard


def test_the_guard_sees_each_thing_that_a_compaction_could_change() -> None:
    """``differs`` is what stands between a mistake in here and a lost message."""
    writer = undone_long()
    state = writer.state
    assert differs(state, state, [3], keep_snapshots=True) is None

    def other(*extra: tuple[str, int], less: int = 0) -> State:
        made = Writer()
        made.lines = made.lines[:2]
        for line in writer.lines[2 : len(writer.lines) - less]:
            made.state = fold(made.state, line)
        for name, number in extra:
            made.step(name, number)
        return made.state

    assert differs(other(), state, [3], keep_snapshots=True) is None
    assert differs(other(less=1), state, [3], keep_snapshots=True) == "revision"
    longer = writer.state
    writer.step("title", 5)
    assert differs(other(), longer, (), keep_snapshots=True) == "revision"
    pairs = [("title", "info"), ("ref", "facts"), ("unknown", "unknown events"), ("bound", "facts")]
    for name, what in pairs:
        one, two = Writer(), Writer()
        one.step(name, 7)
        two.commit()
        assert differs(two.state, one.state, (), keep_snapshots=True) == what, name
    one, two = Writer(), Writer()
    one.message("a")
    one.revert(2)
    two.message("b")
    two.revert(2)
    assert differs(two.state, one.state, (), keep_snapshots=True) == "messages"
    for made in (one, two):
        made.revert(1)
    assert differs(two.state, one.state, (), keep_snapshots=True) is None
    assert differs(two.state, one.state, [2], keep_snapshots=True) == "history of 1 messages"
    one.message("c")
    assert differs(two.state, one.state, (), keep_snapshots=True) == "revision"
    two.commit()
    three = Writer()
    three.message("a")
    three.revert(1)
    three.revert(1)
    four = Writer()
    four.commit()
    four.revert(1)
    four.revert(1)
    assert differs(four.state, three.state, [2], keep_snapshots=True) == "revision 2"
    assert differs(four.state, three.state, (), keep_snapshots=True) == "last message number"
