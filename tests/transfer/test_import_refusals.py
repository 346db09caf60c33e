"""Bundles that are none, damaged or hostile: one sentence and nothing written, or a clean import; never anything else."""

from __future__ import annotations

import copy
import json
import math
import pickle
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hierstore import (
    FormatTooNew,
    HierarchyCycle,
    HierstoreError,
    InvalidRecord,
    InvalidSessionId,
    SessionExists,
    SessionStore,
)
from tests.store.refusing import assert_refused
from tests.support import contents, fill, log_of, texts
from tests.transfer.bundles import (
    Bundle,
    all_ids,
    as_lines,
    changed,
    events_of,
    family,
    files_in,
    rich,
    sent,
    session_of,
    text,
    use,
)

if TYPE_CHECKING:
    OpenStore = Callable[..., SessionStore]
    Change = Callable[[Bundle], Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A valid bundle with something of everything."""
    with SessionStore(tmp_path_factory.mktemp("source")) as store:
        rich(store)
        store.bind("key", "top")
        return sent(store.export("top"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A valid bundle: "s", revisions 2 to 5 are messages, and "f", which inherited two of them and said one more."""
    with SessionStore(tmp_path_factory.mktemp("small")) as store:
        session = fill(store.create("s"), *"abcd")
        fill(session.fork("f", at=3), "own")
        return sent(store.export("s"))


def commit_of(bundle: Bundle, number: int, session_id: str = "s") -> Bundle:
    found: Bundle = session_of(bundle, session_id)["commits"][number - 1]
    return found


def message_of(bundle: Bundle, number: int, session_id: str = "s") -> Bundle:
    found: Bundle = commit_of(bundle, number, session_id)["events"][0]
    assert found["type"] == "message"
    return found


def add(bundle: Bundle, event: Any, number: int = 5, session_id: str = "s") -> None:
    commit_of(bundle, number, session_id)["events"].append(event)


def assert_both_refused(store: SessionStore, bundle: Bundle, **options: Any) -> None:
    """See that a document is refused, and the lines that stand for it too."""
    assert_refused(store, lambda: store.import_bundle(bundle, **options))
    try:
        lines = as_lines(bundle)
    except (KeyError, TypeError, AttributeError):
        return
    if all(map(is_json, lines)):
        assert_refused(store, lambda: store.import_lines(lines, **options))


def is_json(line: bytes) -> bool:
    try:
        json.loads(line, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return False
    return True


# No bundle, or another version's


@pytest.mark.parametrize(
    "data",
    [None, 1, "x", [], {}, {"kind": "other", "format": 1}, {"kind": "hierstore bundle"}, b"", object()],
    ids=lambda value: type(value).__name__ if type(value) is object else repr(value),
)
def test_what_is_no_bundle_is_refused(store, data):
    assert_refused(store, lambda: store.import_bundle(data), "bundle")


@pytest.mark.parametrize("kind", [None, "other", ["hierstore bundle"], 1], ids=repr)
def test_a_document_of_another_kind_is_refused(store, small, kind):
    assert_both_refused(store, {**small, "kind": kind})


@pytest.mark.parametrize("version", [None, "1", 0, -1, 1.0, True, 1.5, [1]], ids=repr)
def test_a_format_that_is_no_version_is_refused(store, small, version):
    assert_both_refused(store, {**small, "format": version})


@pytest.mark.parametrize("version", [2, 10**9])
def test_a_bundle_of_a_later_version_is_refused_as_such(store, root, small, version):
    before = contents(root)
    bundle = {**small, "format": version, "pasts": "of a later version", "sessions": 7}
    for call in (
        lambda: store.import_bundle(bundle),
        lambda: store.import_lines(as_lines({**small, "format": version})),
    ):
        with pytest.raises(FormatTooNew, match="upgrade hierstore") as caught:
            call()
        assert (caught.value.format, caught.value.supported) == (version, 1)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert contents(root) == before


def test_what_a_later_version_added_beside_is_no_reason_to_refuse(store, small):
    def change(bundle: Bundle) -> None:
        bundle["later"] = bundle["sessions"][0]["later"] = commit_of(bundle, 2)["later"] = [1]
        bundle["pasts"][0]["later"] = message_of(bundle, 2)["later"] = [1]

    assert texts(store.import_bundle(changed(small, change))) == [*"abcd"]


@pytest.mark.parametrize("source", [None, 5, "text", b"bytes", {}, [1, 2], [None], [b"", 3.5], [[]]], ids=repr)
def test_what_are_no_lines_is_refused(store, source):
    assert_refused(store, lambda: store.import_lines(source), "bundle")


@pytest.mark.parametrize(
    "options",
    [
        {"on_conflict": "overwrite"},
        {"on_conflict": None},
        {"on_conflict": ["skip"]},
        {"refs": 1},
        {"refs": None},
        {"routes": "yes"},
        {"routes": 0},
    ],
    ids=repr,
)
def test_options_that_are_none_are_refused(store, small, tmp_path, options):
    where = next(iter(options))
    assert_refused(store, lambda: store.import_bundle(small, **options), where)
    assert_refused(store, lambda: store.import_lines(as_lines(small), **options), where)
    if where == "on_conflict":
        assert_refused(store, lambda: store.import_folder(tmp_path, **options), where)


@pytest.mark.parametrize("parent", ["", "x" * 600, 5, "\ud800"], ids=lambda value: repr(value)[:20])
def test_a_parent_that_is_no_id_is_refused(store, root, small, parent):
    before = contents(root)
    with pytest.raises(InvalidSessionId):
        store.import_bundle(small, parent=parent)
    assert contents(root) == before


# The hierarchy


def test_a_cycle_is_refused(store, root, small):
    def turn_round(bundle: Bundle) -> None:
        bundle["sessions"] += [
            {"id": f"c{number}", "parent_id": f"c{(number + 1) % 3}", "commits": commits(small)} for number in range(3)
        ]

    before = contents(root)
    for bundle in (
        changed(small, turn_round),
        changed(small, lambda item: session_of(item, "s").update(parent_id="f")),
        changed(small, lambda item: session_of(item, "f").update(parent_id="f")),
    ):
        for call in (store.import_bundle, lambda data: store.import_lines(as_lines(data))):
            with pytest.raises(HierarchyCycle, match="hangs below itself") as caught:
                call(bundle)
            assert caught.value.session_id in {"c0", "c1", "c2", "s", "f"}
            assert contents(root) == before


def commits(bundle: Bundle) -> list[Bundle]:
    """Those of an empty session."""
    return [copy.deepcopy(session_of(bundle, "s")["commits"][0])]


HIERARCHIES: dict[str, Change] = {
    "a missing parent": lambda item: session_of(item, "f").update(parent_id="nobody"),
    "a missing parent of the root": lambda item: session_of(item, "s").update(parent_id="nobody"),
    "an id twice": lambda item: item["sessions"].append(copy.deepcopy(session_of(item, "f"))),
    "no session": lambda item: item["sessions"].clear(),
    "no root": lambda item: item.pop("root"),
    "another root": lambda item: item.update(root="f"),
    "a root that is not there": lambda item: item.update(root="nobody"),
    "a root that is no id": lambda item: item.update(root=["s"]),
    "two roots": lambda item: session_of(item, "f").update(parent_id=None),
    "a parent that is no id": lambda item: session_of(item, "f").update(parent_id=["s"]),
    "an empty parent": lambda item: session_of(item, "f").update(parent_id=""),
    "no id": lambda item: session_of(item, "f").pop("id"),
    "an id that is none": lambda item: session_of(item, "f").update(id=7),
    "a session that is none": lambda item: item["sessions"].append("x"),
    "sessions that are none": lambda item: item.update(sessions={"f": 1}),
    "no sessions": lambda item: item.pop("sessions"),
    "pasts that are none": lambda item: item.update(pasts={}),
    "commits that are none": lambda item: session_of(item, "f").update(commits={}),
    "no commits": lambda item: session_of(item, "f")["commits"].clear(),
}


@pytest.mark.parametrize("name", HIERARCHIES)
def test_sessions_that_make_no_tree_are_refused(store, small, name):
    assert_both_refused(store, changed(small, HIERARCHIES[name]))


@pytest.mark.parametrize("session_id", ["", "x" * 513, "x" * 600, "\ud800"], ids=lambda value: repr(value)[:20])
def test_ids_that_no_session_can_have_are_refused(store, root, small, session_id):
    before = contents(root)
    with pytest.raises(InvalidSessionId):
        store.import_bundle(changed(small, lambda item: session_of(item, "f").update(id=session_id)))
    assert contents(root) == before


# Streams


def test_a_stream_that_is_cut_off_anywhere_is_refused(store, small):
    lines = as_lines(small)
    for count in range(len(lines)):
        assert_refused(store, lambda count=count: store.import_lines(lines[:count]), "bundle")
    data = b"".join(lines)
    for end in range(0, len(data) - 2, 97):
        assert_refused(store, lambda end=end: store.import_lines(data[:end].splitlines(keepends=True)), "bundle")


@pytest.mark.parametrize("line", [b"{", b"nothing\n", b"[1]\n", b"7", "\ud800", b"\xff", b'{"a":1}{"b":2}'], ids=repr)
def test_a_line_that_is_no_object_is_refused_with_its_number(store, small, line):
    lines = as_lines(small)
    for place in (0, 1, 5, len(lines) - 1):
        error = assert_refused(
            store, lambda place=place: store.import_lines([*lines[:place], line, *lines[place + 1 :]]), "bundle"
        )
        assert place == 0 or f"line {place + 1}" in str(error)


STREAMS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the top twice": lambda lines: [lines[0], *lines],
    "no top": lambda lines: lines[1:],
    "something unknown": lambda lines: [*lines[:3], b'{"surprise":1}', *lines[3:]],
    "an empty object": lambda lines: [*lines[:3], b"{}", *lines[3:]],
    "a commit before its session": lambda lines: [
        lines[0],
        *[x for x in lines if x.startswith(b'{"commit')],
        *lines[1:],
    ],
    "the number of sessions": lambda lines: [*lines[:-1], b'{"end":{"sessions":3}}'],
    "an end that says nothing": lambda lines: [*lines[:-1], b'{"end":null}'],
    "an end that says something else": lambda lines: [*lines[:-1], b'{"end":{}}'],
    "a session left out": lambda lines: lines[: next(n for n, x in enumerate(lines) if b'"id": "f"' in x)] + lines[-1:],
    "a commit left out": lambda lines: lines[:5] + lines[6:],
    "a past left out": lambda lines: [x for x in lines if not x.startswith(b'{"past')],
    "a past that is none": lambda lines: [lines[0], b'{"past":7}', *lines[1:]],
    "a session that is none": lambda lines: [lines[0], b'{"session":[]}', *lines[1:]],
    "a commit that is none": lambda lines: [*lines[:4], b'{"commit":"x"}', *lines[4:]],
    "commits in another order": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_whose_lines_do_not_fit_is_refused(store, small, name):
    assert_refused(store, lambda: store.import_lines(STREAMS[name](as_lines(small))), "bundle")


def test_what_a_source_raises_is_raised_and_nothing_is_written(store, root, small):
    class Mine(Exception):
        pass

    def lines() -> Iterator[bytes]:
        yield from as_lines(small)[:-2]
        raise Mine

    before = contents(root)
    with pytest.raises(Mine):
        store.import_lines(lines())
    assert contents(root) == before


# Values


VALUES: dict[str, Any] = {
    "NaN": math.nan, "infinity": math.inf, "a huge int": 10**400, "65 bits": 2**64, "a surrogate": "\ud800",
    "bytes": b"x", "a set": {1}, "an object": object(), "a key that is no text": {1: 2},
}  # fmt: skip


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


PLACES: dict[str, Callable[[Bundle, Any], Any]] = {
    "content": lambda item, value: message_of(item, 2).update(content=value),
    "content of a past": lambda item, value: item["pasts"][0]["messages"][0].update(content=value),
    "metadata of a message": lambda item, value: message_of(item, 2).update(metadata={"k": value}),
    "field": lambda item, value: message_of(item, 2).update(fields={"k": value}),
    "what a message has beside": lambda item, value: message_of(item, 2).update(later=value),
    "metadata": lambda item, value: commit_of(item, 1)["events"][0].update(metadata={"k": value}),
    "ref": lambda item, value: add(item, {"type": "ref", "name": "n", "value": value}),
    "snapshot": lambda item, value: add(item, {"type": "snapshot", "id": "i", "label": None, "metadata": {"k": value}}),
    "derived": lambda item, value: add(item, {"type": "updated", "derived": {"k": value}}),
    "unknown event": lambda item, value: add(item, {"type": "later", "k": value}),
    "unknown key": lambda item, value: add(item, {"type": "reset", "k": value}),
    "beside the events": lambda item, value: commit_of(item, 2).update(k=value),
}


@pytest.mark.parametrize("value", [*VALUES, "too deep", "far too deep"])
@pytest.mark.parametrize("place", PLACES)
def test_values_that_are_not_json_are_refused_wherever_they_are(store, small, place, value):
    """behaviours 34"""
    found = VALUES[value] if value in VALUES else nested({"too deep": 230, "far too deep": 50_000}[value])
    assert_refused(store, lambda: store.import_bundle(changed_deeply(small, PLACES[place], found)))
    assert files_in(store.root / "tmp") == []


def changed_deeply(bundle: Bundle, change: Callable[[Bundle, Any], Any], value: Any) -> Bundle:
    # The copy is made before: deepcopy gives up on what is nested far too deep.
    other = copy.deepcopy(bundle)
    change(other, value)
    return other


def test_content_past_the_cap_is_refused(store, small):
    """behaviours 34"""
    for large in ("x" * (16 * 2**20 + 1), ["\u00e9" * (8 * 2**20)]):
        bundle = changed_deeply(small, PLACES["content"], large)
        error = assert_refused(store, lambda bundle=bundle: store.import_bundle(bundle))
        assert "16 MiB" in str(error)


NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 2**64, "1", None, True, [1], {}]
TIMES: dict[str, Callable[[Bundle, Any], Any]] = {
    "a commit's time": lambda item, value: commit_of(item, 2).update(at=value),
    "the first commit's time": lambda item, value: commit_of(item, 1).update(at=value),
    "a message's time": lambda item, value: message_of(item, 2).update(at=value),
    "a past message's time": lambda item, value: item["pasts"][0]["messages"][0].update(at=value),
    "a counter": lambda item, value: add(item, {"type": "usage", "add": {"tokens": value}}),
    "a total": lambda item, value: add(item, {"type": "usage", "set": {"tokens": value}}),
    "when it was made": lambda item, value: add(item, dump(created_at=value)),
    "when it was changed": lambda item, value: add(item, dump(updated_at=value)),
    "when a key was bound": lambda item, value: add(item, dump(bound=[["key", value]])),
    "when a snapshot was made": lambda item, value: add(item, dump(snapshots=[["i", None, 1, value, {}]])),
}


def dump(**facts: Any) -> dict[str, Any]:
    """What a compaction writes."""
    return {"type": "compacted", "last_seq": 4, "updated_at": 1.0, **facts}


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("place", TIMES)
def test_times_and_counters_that_are_no_numbers_are_refused(store, small, place, value):
    assert_refused(store, lambda: store.import_bundle(changed_deeply(small, TIMES[place], value)))


COUNTS: dict[str, Callable[[Bundle, Any], Any]] = {
    "a commit's number": lambda item, value: commit_of(item, 2).update(seq=value),
    "a message's number": lambda item, value: message_of(item, 2).update(seq=value),
    "a past message's number": lambda item, value: item["pasts"][0]["messages"][0].update(seq=value),
    "the revisions that are missing": lambda item, value: session_of(item, "s").update(skipped=value),
    "the revision of a revert": lambda item, value: add(item, {"type": "reverted", "revision": value, "count": 1}),
    "the count of a revert": lambda item, value: add(item, {"type": "reverted", "revision": 3, "count": value}),
    "the count of an undo": lambda item, value: add(item, {"type": "unreverted", "revision": 3, "count": value}),
    "the last number": lambda item, value: add(item, dump(last_seq=value)),
    "the revision of a snapshot": lambda item, value: add(item, dump(snapshots=[["i", None, value, 1.0, {}]])),
    "the revision of a reset": lambda item, value: add(item, dump(reset_at=value)),
    "the revisions that were kept": lambda item, value: add(item, dump(kept=[value], through=4)),
    "the revision of the compaction": lambda item, value: add(item, dump(through=value)),
    "the number of a past": lambda item, value: session_of(item, "f").update(past=[value, 1]),
    "the count of a past": lambda item, value: session_of(item, "f").update(past=[0, value]),
    "the base of a past": lambda item, value: item["pasts"][0].update(base=[value, 0]),
    "the count of a base": lambda item, value: item["pasts"].append({"base": [0, value], "messages": []}),
}


@pytest.mark.parametrize("value", [-1, 1.5, "1", True, [1], -(2**70), math.nan], ids=repr)
@pytest.mark.parametrize("place", COUNTS)
def test_counts_that_are_none_are_refused(store, small, place, value):
    assert_refused(store, lambda: store.import_bundle(changed_deeply(small, COUNTS[place], value)))


@pytest.mark.parametrize("value", [99, 2**31, 2**53, 2**63, 2**64 - 1, 2**64, 10**30])
@pytest.mark.parametrize("place", COUNTS)
def test_counts_beyond_what_is_there_are_refused_or_do_no_harm(tmp_path, small, place, value):
    """Not all of them are wrong: a message's number may be larger than there are messages."""
    refused_or_clean(tmp_path, changed_deeply(small, COUNTS[place], value))


# Commits and messages


SEQUENCES = {
    "out of order": [1, 3, 2, 4, 5, 6],
    "one twice": [1, 2, 2, 4, 5, 6],
    "a gap": [1, 2, 3, 4, 5, 7],
    "a gap that evens out": [1, 2, 4, 4, 5, 6],
    "from 2": [2, 3, 4, 5, 6, 7],
    "from 0": [0, 1, 2, 3, 4, 5],
    "backwards": [6, 5, 4, 3, 2, 1],
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("skipped", [None, 0, 1, 3])
def test_commits_that_are_not_numbered_as_they_should_be_are_refused(store, small, name, skipped):
    def change(bundle: Bundle) -> None:
        session_of(bundle, "s")["skipped"] = skipped
        for commit, number in zip(session_of(bundle, "s")["commits"], SEQUENCES[name], strict=True):
            commit["seq"] = number

    if (name, skipped) == ("a gap", 1):
        store.import_bundle(changed(small, change))
        return
    assert_both_refused(store, changed(small, change))


def test_gaps_that_are_said_to_be_there_are_taken_and_no_other_number(store, small):
    def leave_out(bundle: Bundle, skipped: Any) -> None:
        commits = session_of(bundle, "s")["commits"]
        del commits[2:4]
        session_of(bundle, "s")["skipped"] = skipped

    for skipped in (None, 0, 1, 3, 100):
        assert_both_refused(store, changed(small, lambda item, skipped=skipped: leave_out(item, skipped)))
    made = store.import_bundle(changed(small, lambda item: leave_out(item, 2)))
    assert texts(made) == ["a", "d"]
    assert made.revision == 6


def test_a_bundle_cannot_make_the_store_run_out_of_memory(store, small):
    def change(bundle: Bundle) -> None:
        session_of(bundle, "s")["skipped"] = 10**15 - 6
        session_of(bundle, "s")["commits"][-1]["seq"] = 10**15

    assert_both_refused(store, changed(small, change))


def revert(revision: int, count: int) -> dict[str, Any]:
    return {"type": "reverted", "revision": revision, "count": count}


def _without_past(bundle: Bundle) -> None:
    session_of(bundle, "f")["past"] = None
    add(bundle, revert(1, 2), 2, "f")


MESSAGES: dict[str, Change] = {
    "numbers out of order": lambda item: (message_of(item, 2).update(seq=2), message_of(item, 3).update(seq=1)),
    "a number twice": lambda item: message_of(item, 3).update(seq=1),
    "a number that a past has": lambda item: message_of(item, 2, "f").update(seq=2),
    "a past out of order": lambda item: item["pasts"][0]["messages"].reverse(),
    "a message twice in a past": lambda item: item["pasts"][0]["messages"].append(item["pasts"][0]["messages"][0]),
    "a base that has more": lambda item: item["pasts"].append({"base": [0, 3], "messages": []}),
    "a base that comes later": lambda item: item["pasts"].insert(0, {"base": [1, 1], "messages": []}),
    "a base that is itself": lambda item: item["pasts"].append({"base": [1, 0], "messages": []}),
    "a base that is none": lambda item: item["pasts"].append({"base": "x", "messages": []}),
    "a past without messages": lambda item: item["pasts"].append({"base": None}),
    "a past of no messages": lambda item: item["pasts"].append({"base": None, "messages": ["x"]}),
    "no past of that number": lambda item: session_of(item, "f").update(past=[1, 1]),
    "a past that is a file": lambda item: session_of(item, "f").update(past=[[0, 100, 7, 2, 2]]),
    "a past that is a path": lambda item: session_of(item, "f").update(past="../../etc/passwd"),
    "no role": lambda item: message_of(item, 2).pop("role"),
    "an empty role": lambda item: message_of(item, 2).update(role=""),
    "a role that is none": lambda item: message_of(item, 2).update(role=7),
    "no content": lambda item: message_of(item, 2).pop("content"),
    "no id": lambda item: message_of(item, 2).pop("id"),
    "an id that is none": lambda item: message_of(item, 2).update(id=7),
    "an empty id": lambda item: message_of(item, 2).update(id=""),
    "an id of 600 characters": lambda item: message_of(item, 2).update(id="x" * 600),
    "no number": lambda item: message_of(item, 2).pop("seq"),
    "metadata that is none": lambda item: message_of(item, 2).update(metadata=["x"]),
    "fields that are none": lambda item: message_of(item, 2).update(fields="x"),
    "no content in a past": lambda item: item["pasts"][0]["messages"][0].pop("content"),
    "no role in a past": lambda item: item["pasts"][0]["messages"][0].pop("role"),
    "another type in a past": lambda item: item["pasts"][0]["messages"][0].update(type="x", seq="a"),
    "a known type in a past": lambda item: item["pasts"][0]["messages"][0].update(type="reset", role=7),
    "a message beside the events": lambda item: commit_of(item, 2).update(message={"seq": "x"}),
    "a whole message beside the events": lambda item: commit_of(item, 2).update(message=message_of(item, 3)),
    "a good message beside other events": lambda item: commit_of(item, 6).update(
        message={"seq": 5, "id": "smuggled", "role": "user", "content": "x", "at": 1.0}
    ),
    "a message beside no events": lambda item: commit_of(item, 6).update(
        events=[], message={"seq": 5, "id": "smuggled", "role": "user", "content": "x", "at": "when"}
    ),
    "a type that is none of a message in a past": lambda item: item["pasts"][0]["messages"][0].update(type="x"),
    "an event that is none": lambda item: add(item, "x"),
    "an event without a type": lambda item: add(item, {"x": 1}),
    "an event with a type that is none": lambda item: add(item, {"type": ["x"]}),
    "events that are none": lambda item: commit_of(item, 2).update(events={"type": "message"}),
    "no events": lambda item: commit_of(item, 2).pop("events"),
    "no time": lambda item: commit_of(item, 2).pop("at"),
    "no commit number": lambda item: commit_of(item, 2).pop("seq"),
    "no creation": lambda item: commit_of(item, 1)["events"].clear(),
    "another first event": lambda item: commit_of(item, 1).update(events=[{"type": "reset"}]),
    "a creation that is not first": lambda item: commit_of(item, 1)["events"].insert(0, {"type": "reset"}),
    "a revert to more than there was": lambda item: add(item, revert(3, 3)),
    "a revert to more than there is": lambda item: add(item, revert(4, 99)),
    "an undo to more than there was": lambda item: add(item, {**revert(3, 3), "type": "unreverted"}),
    "a revert to what its past should hold": _without_past,
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_commits_and_messages_that_are_none_are_refused(store, small, name):
    assert_both_refused(store, changed(small, MESSAGES[name]))


WRONG_EVENTS: list[dict[str, Any]] = [
    {"type": "created", "title": 5},
    {"type": "created", "labels": "abc"},
    {"type": "created", "labels": [1]},
    {"type": "created", "metadata": []},
    {"type": "title"},
    {"type": "title", "title": ["x"], "source": "user"},
    {"type": "updated", "pinned": "yes"},
    {"type": "updated", "labels": {"a": 1}},
    {"type": "updated", "metadata": "x"},
    {"type": "updated", "derived": None},
    {"type": "child"},
    {"type": "child", "id": 5},
    {"type": "child", "id": "x" * 600},
    {"type": "reset", "reason": 5},
    {"type": "snapshot", "id": None},
    {"type": "snapshot", "id": "i", "label": 5},
    {"type": "snapshot", "id": "i", "metadata": [1]},
    {"type": "reverted", "revision": 3},
    {"type": "reverted", "count": 1},
    {"type": "reverted", "revision": 99, "count": 1},
    {"type": "reverted", "revision": 5, "count": 1},
    {"type": "ref", "name": "n"},
    {"type": "ref", "name": "", "value": 1},
    {"type": "ref", "name": ["n"], "value": 1},
    {"type": "usage", "add": [1]},
    {"type": "usage", "add": {"n": "1"}},
    {"type": "bound", "key": ""},
    {"type": "bound", "key": ["k"]},
    {"type": "compacted"},
    dump(last_seq=2),
    dump(labels="abc"),
    dump(children=[5]),
    dump(turn=[1]),
    dump(bound=[["k"]]),
    dump(usage=[["n", "x", 0, False]]),
    dump(usage=[["n", "1", 10**9, False]]),
    dump(usage=[["n", "1" * 5000, 0, False]]),
    dump(usage=[["n", 1, 0, False]]),
    dump(snapshots=[["i", None, 1, 1.0]]),
    dump(snapshots=[["i", None, 99, 1.0, {}]]),
    dump(more={"labels": "abc"}),
    dump(more={"nonsense": []}),
    dump(more={"snapshots": [["i", None, 99, 1.0, {}]]}),
    dump(more=[]),
    dump(kept=5),
    dump(metadata=[]),
    dump(created_at="x"),
    dump(title=7),
    dump(pinned=1),
]


@pytest.mark.parametrize("event", WRONG_EVENTS, ids=lambda event: json.dumps(event)[:60])
def test_events_of_known_types_that_are_wrong_are_refused(store, small, event):
    assert_both_refused(store, changed(small, lambda item: add(item, event)))


# What a bundle must not do


GRANT = ["grant", "0" * 64, "append", 1.0, None, True, None]
HOSTILE_EVENTS: dict[str, list[dict[str, Any]]] = {
    "a share": [
        {"type": "shared", "id": "g", "digest": "0" * 64, "role": "append", "expires_at": None, "subtree": True}
    ],
    "a share that a compaction tells of": [dump(grants=[GRANT])],
    "a share that was added": [dump(more={"grants": [GRANT]})],
    "a share that is none": [{"type": "shared"}, {"type": "unshared"}],
    "a turn": [{"type": "turn", "token": "t"}, {"type": "turn", "token": ["t"]}],
    "a turn that a compaction tells of": [dump(turn=["t", 1.0])],
    "a key": [{"type": "bound", "key": "victim's key"}],
    "a key that a compaction tells of": [dump(bound=[["victim's key", 1.0]])],
    "a key that was added": [{"type": "bound", "key": "x"}, dump(more={"bound": [["victim's key", 1.0]]})],
    "a route": [{"type": "route", "key": "victim's key", "session": "s"}],
    "a locator": [{"type": "locator", "locator": "x", "session": "s"}],
    "a deletion": [{"type": "deleted", "batch": "b"}],
    "a deletion that a compaction tells of": [dump(deleted=True)],
    "another parent": [{"type": "moved", "parent": "victim"}],
    "another parent that a compaction tells of": [dump(parent_id="victim")],
    "another parent that was added": [dump(more={"parent_id": "victim"})],
    "another time of creation": [dump(created_at=5.0)],
    "a second creation": [{"type": "created", "parent": "victim", "past": [[0, 10**6, 5, 1, 1]]}],
    "a past": [{"type": "past", "past": [[0, 10**6, 5, 1, 1]]}],
    "a child": [{"type": "child", "id": "victim"}],
    "a child that a compaction tells of": [dump(children=["victim"])],
    "a child that was added": [dump(more={"children": ["victim"]})],
    "a child forgotten": [{"type": "forgotten", "id": "f"}],
    "a compaction that says that nothing is whole": [dump(through=10**6)],
    "a compaction that says that all is whole": [dump(kept=[1, 2, 3, 4, 5, 99])],
}


@pytest.mark.parametrize("first", [True, False], ids=["at its creation", "later"])
@pytest.mark.parametrize("routes", [True, False])
@pytest.mark.parametrize("name", HOSTILE_EVENTS)
def test_a_bundle_cannot_share_bind_move_or_delete(store, root, tmp_path, small, name, routes, first):
    victim = fill(store.create("victim"), "mine")
    store.bind("victim's key", victim)
    revision = victim.revision
    bundle = changed(small, lambda item: [add(item, event, 1 if first else 5) for event in HOSTILE_EVENTS[name]])
    try:
        made = store.import_bundle(bundle, routes=routes)
    except InvalidRecord:
        assert all_ids(store) == {"victim"}
        return
    assert (made.shares, made.is_shared, made.turn_in_progress, made.routes) == ((), False, None, ())
    assert store.resolve("victim's key") == victim
    assert made.parent_id is None
    assert [child.id for child in made.children] == ["f"]
    assert (victim.children, victim.parent_id, victim.revision) == ((), None, revision)
    assert store.interrupted() == ()
    if not routes:
        assert "victim's key" not in log_of(store, made.id).read_text() or name == "a route"
    assert store.check().problems == ()
    use(made)
    store.delete(made, children="cascade")
    assert store.restore(made.id).messages == made.messages
    assert texts(victim) == ["mine"]


@pytest.mark.parametrize("name", ["s", "f"])
def test_a_creation_cannot_name_a_file_as_its_past_or_another_parent(store, root, small, name):
    def change(bundle: Bundle) -> None:
        commit_of(bundle, 1, name)["events"][0].update(past=[[0, 10**6, 5, 1, 1]], parent="victim")

    fill(store.create("victim"), "mine")
    made = store.import_bundle(changed(small, change))
    assert texts(made) == [*"abcd"]
    assert texts(store.get("f")) == ["a", "b", "own"]
    assert (made.parent_id, store.get("f").parent_id, store.get("victim").children) == (None, "s", ())
    use(made)


def test_keys_that_no_key_can_be_are_refused(store, small):
    for keys in ("key", [""], [7], ["x" * 5000], ["\ud800"], {"k": 1}, None):
        bundle = changed(small, lambda item, keys=keys: session_of(item, "s").update(routes=keys))
        assert_refused(store, lambda bundle=bundle: store.import_bundle(bundle, routes=True))


def test_a_key_that_no_commit_binds_leads_nowhere_or_is_refused(store, small):
    bundle = changed(small, lambda item: session_of(item, "s").update(routes=["key", "key"]))
    try:
        made = store.import_bundle(bundle, routes=True)
    except InvalidRecord:
        return
    assert made.routes == ("key",) if store.resolve("key") == made else made.routes == ()


def test_one_key_of_two_sessions_leads_to_one_of_them(store, small):
    def change(bundle: Bundle) -> None:
        for name in ("s", "f"):
            session_of(bundle, name)["routes"] = ["key"]
            commit_of(bundle, 1, name)["events"].append({"type": "bound", "key": "key"})

    try:
        made = store.import_bundle(changed(small, change), routes=True)
    except InvalidRecord:
        return
    found = store.resolve("key")
    assert found is not None
    assert [session.id for session in (made, *made.descendants()) if session.routes] == [found.id]


# Anything at all


ANYTHING = [
    None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, math.nan, math.inf, 10**400, 2**53, 2**63, 2**64 - 1, "", "x", "s",
    "top", "message", "created", "compacted", "reverted", "\ud800", "x" * 600, "\x00", [], {}, [None], [1, 2], {"x": 1},
    {"type": "x"}, {"": None}, [[]], {1: 2}, b"x", "-5", "9" * 4000,
]  # fmt: skip
KEYS = ["message", "type", "crc", "seq", "events", "at", "past", "id", "more", "grants", "hierstore", "x", "", "batch"]


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: a container and a key."""
    for key, item in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from nodes(item)


def mutate(bundle: Bundle, dice: random.Random) -> None:
    """Do something to a bundle at a random place."""
    places = list(nodes(bundle))
    holder, key = dice.choice(places)
    work = dice.randrange(8)
    if work <= 2:
        holder[key] = copy.deepcopy(dice.choice(ANYTHING))
    elif work == 3:
        del holder[key]
    elif work == 4:
        other, other_key = dice.choice(places)
        holder[key] = copy.deepcopy(other[other_key])
    elif work == 5 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[dice.randrange(len(holder))]))
    elif work == 6 and isinstance(holder, list):
        dice.shuffle(holder)
    elif isinstance(holder, dict):
        holder[dice.choice(KEYS)] = copy.deepcopy(dice.choice([*ANYTHING, holder[key]]))
    elif isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] += dice.choice([-2, -1, 1, 2])


def refused_or_clean(folder: Path, bundle: Any, take: Callable[[SessionStore, Any], Any] | None = None) -> bool:
    """See that a bundle is refused and nothing written, or that what it makes is whole; whether it was taken."""
    root = Path(tempfile.mkdtemp(dir=folder))
    try:
        with SessionStore(root / "store") as store:
            fill(store.create("bystander"), "x")
            before = contents(store.root)
            try:
                made = store.import_bundle(bundle, routes=True) if take is None else take(store, bundle)
            except HierstoreError as error:
                assert_is_one_sentence(error)
                assert contents(store.root) == before
                return False
            assert files_in(store.root / "tmp") == []
            assert store.check().problems == ()
            exported, shown = store.export(made), family(made)
            with SessionStore(root / "other") as other:
                again = other.import_bundle(sent(exported), on_conflict="refuse", routes=True)
                assert family(again) == shown
                assert text(other.export(again)) == text(exported)
                assert other.import_lines(store.export_lines(made)).messages == made.messages
                assert other.check().problems == ()
            use(made)
            for session in (made, *made.descendants()):
                before_compaction = session.messages
                session.compact(keep="present")
                assert session.messages == before_compaction
            assert store.check().problems == ()
            with SessionStore(root / "store", cache_bytes=0) as cold:
                assert family(cold.get(made.id)) == family(made)
            return True
    finally:
        shutil.rmtree(root)


def assert_is_one_sentence(error: HierstoreError) -> None:
    sentence = str(error)
    assert sentence.endswith("."), sentence
    assert "\n" not in sentence
    assert isinstance(error, InvalidRecord | InvalidSessionId | HierarchyCycle | FormatTooNew | SessionExists), repr(
        error
    )
    str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize("name", ["small", "good"])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 3))
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@example(seed=0, count=1)
def test_a_bundle_that_was_changed_anywhere_is_refused_or_makes_whole_sessions(request, tmp_path, name, seed, count):
    bundle = copy.deepcopy(request.getfixturevalue(name))
    dice = random.Random(seed)
    for _ in range(count):
        mutate(bundle, dice)
    refused_or_clean(tmp_path, bundle)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_a_stream_whose_bytes_were_changed_anywhere_is_refused_or_makes_whole_sessions(small, tmp_path, seed):
    dice = random.Random(seed)
    lines = as_lines(small)
    for _ in range(dice.randint(1, 3)):
        number = dice.randrange(len(lines))
        line = bytearray(lines[number])
        place = dice.randrange(len(line))
        work = dice.randrange(5)
        if work == 0:
            line[place] = dice.randrange(256)
        elif work == 1:
            del line[place : place + dice.randint(1, 9)]
        elif work == 2:
            line[place:place] = dice.choice(
                [b"\n", b"1", b"9" * 400, b"null,", b"[" * 1000, b'"\\ud800"', b"\x00", b"{}"]
            )
        elif work == 3:
            lines[number : number + 1] = []
            continue
        else:
            lines.insert(dice.randrange(len(lines)), bytes(line))
            continue
        lines[number : number + 1] = bytes(line).splitlines(keepends=True)
    refused_or_clean(tmp_path, lines, lambda store, data: store.import_lines(data, routes=True))


def test_a_bundle_that_was_not_changed_is_taken(tmp_path, small, good):
    assert refused_or_clean(tmp_path, small)
    assert refused_or_clean(tmp_path, good)
    assert refused_or_clean(tmp_path, as_lines(good), lambda store, data: store.import_lines(data))
    assert events_of(good, "top")
