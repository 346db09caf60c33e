"""The vocabulary: one table, nothing beside it, and what it does not know is kept."""

from __future__ import annotations

import json

import pytest

from hierstore.errors import InvalidRecord
from hierstore.history import History
from hierstore.log.events import EVENTS, Draft, commit, event, header, message_commit, parse
from hierstore.log.frame import seal
from hierstore.log.handlers import HANDLERS
from hierstore.log.state import fold, initial
from tests.support import LogBuilder


def folded(log: LogBuilder):
    return fold(initial("s", History(), 0), log.data, log.ends[0])


def test_every_event_has_a_handler_and_every_handler_an_event() -> None:
    assert set(EVENTS) == set(HANDLERS)


def test_an_event_that_is_not_in_the_table_is_not_made() -> None:
    with pytest.raises(KeyError):
        event("nonsense")


def test_a_key_that_is_not_in_the_table_is_not_made() -> None:
    with pytest.raises(KeyError, match="color"):
        event("title", title="x", color="red")


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_says_its_type_first(name: str) -> None:
    assert next(iter(event(name).items())) == ("type", name)


def test_the_header_is_one_json_object_with_format_id_nonce_and_seq_zero() -> None:
    line, _ = seal(header("an \N{SNOWMAN} id", "00ff", 3.5), 0)
    top = json.loads(line)
    assert {key: top[key] for key in ("hierstore", "session", "nonce", "at", "seq")} == {
        "hierstore": 1, "session": "an \N{SNOWMAN} id", "nonce": "00ff", "at": 3.5, "seq": 0,
    }  # fmt: skip


def test_one_message_and_a_commit_of_one_message_event_are_the_same_commit() -> None:
    draft = Draft("m", "user", "hello", 5.0, {"metadata": {"a": 1}, "fields": {"name": "n"}}, False)
    short, _ = seal(message_commit([draft], 7, 3), 0)
    long, _ = seal(
        commit([{"type": "message", "seq": 7, "id": "m", "role": "user", "content": "hello", "at": 5.0,
                 "metadata": {"a": 1}, "fields": {"name": "n"}}], 3, 5.0), 0,
    )  # fmt: skip
    assert short.startswith(b'{"message":')
    keys = ("events", "at", "seq")
    assert [parse(short)[key] for key in keys] == [parse(long)[key] for key in keys]


def test_several_messages_are_one_line() -> None:
    drafts = [Draft(f"m{n}", "user", n, 5.0, None, False) for n in range(3)]
    line, _ = seal(message_commit(drafts, 1, 2), 0)
    assert line.count(b"\n") == 1
    assert [(item["seq"], item["content"]) for item in parse(line)["events"]] == [(1, 0), (2, 1), (3, 2)]


def test_a_draft_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="surrogate"):
        Draft("m", "user", "\ud800", 1.0, None, False)


def test_events_of_unknown_types_are_kept_in_the_state_in_their_order() -> None:
    log = LogBuilder()
    log.commit({"type": "color", "value": {"deep": [1, None]}})
    log.commit({"type": "title", "title": "t", "source": "user"}, {"type": "sound", "x": "\N{SNOWMAN}"})
    state = folded(log)
    assert [json.loads(item) for item in state.facts.unknown] == [
        {"type": "color", "value": {"deep": [1, None]}}, {"type": "sound", "x": "\N{SNOWMAN}"},
    ]  # fmt: skip
    assert state.facts.title == "t"
    assert state.revision == 3


def test_an_event_without_a_type_is_kept_as_unknown() -> None:
    log = LogBuilder()
    log.commit({"what": "is this"})
    assert [json.loads(item) for item in folded(log).facts.unknown] == [{"what": "is this"}]


def test_unknown_fields_of_known_events_do_no_harm() -> None:
    log = LogBuilder()
    log.commit({"type": "title", "title": "t", "source": "auto", "language": "la"})
    log.commit({"type": "snapshot", "id": "x", "label": None, "metadata": {}, "color": 1})
    log.commit({"type": "reset", "reason": None, "by": "someone"})
    state = folded(log)
    assert (state.facts.title, state.facts.snapshots[0].id, state.count) == ("t", "x", 0)


def test_unknown_keys_of_a_message_stay_with_it() -> None:
    log = LogBuilder()
    log.seal(b'{"message":{"seq":1,"id":"m","role":"user","content":"c","at":1.0,"mood":"good"},"seq":2')
    message = folded(log).messages[0]
    assert message.content == "c"
    assert message._record()["mood"] == "good"


def test_unknown_keys_of_a_commit_do_no_harm() -> None:
    log = LogBuilder()
    log.seal(b'{"events":[{"type":"title","title":"t","source":"user"}],"at":1.0,"by":"me","seq":2')
    assert folded(log).facts.title == "t"
