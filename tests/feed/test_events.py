"""What is told of each change, and what is not."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING

import pytest

from hierstore.log import frame
from hierstore.log.events import EVENTS, commit, event
from hierstore.log.feed import Event, events_of, maybe_through
from tests.feed.taking import rest, types
from tests.support import LogBuilder, log_of, sample_log

if TYPE_CHECKING:
    from hierstore import SessionStore


def test_each_change_is_told_by_its_name_in_the_order_of_the_revisions(store: SessionStore) -> None:
    session = store.create("a", title="t", metadata={"k": 1}, labels=["l"])
    session.append("user", "one")
    session.set_title("u", source="user")
    session.update(metadata={"k": None, "m": 2}, pinned=True)
    session.snapshot("here")
    session.revert(2)
    session.undo_revert()
    session.reset("over")
    session.set_ref("other", "1")
    session.add_usage(tokens=3)
    turn = session.start_turn("t1")
    session.end_turn(turn)
    store.bind("key", session)
    session.unshare(session.share())
    store.create("b")
    session.move("b")
    store.delete("a")
    store.restore("a")
    told = [item for item in rest(store, "") if item.session_id == "a"]
    assert types(told) == [
        "created", "appended", "titled", "updated", "snapshot", "reverted", "unreverted", "reset", "ref", "usage", "turn",
        "turn", "routed", "shared", "unshared", "moved", "deleted", "restored",
    ]  # fmt: skip
    assert [item.revision for item in told] == list(range(1, 19))
    data = {item.type: item.data for item in told}
    assert data["created"] == {
        "title": "t", "title_source": "user", "parent_id": None, "kind": None, "metadata": {"k": 1}, "labels": ["l"],
        "forked": False,
    }  # fmt: skip
    assert data["titled"] == {"title": "u", "source": "user"}
    assert data["updated"] == {"metadata": {"k": None, "m": 2}, "pinned": True}
    assert data["reverted"] == {"revision": 2, "count": 1}
    assert data["reset"] == {"reason": "over"}
    assert data["ref"] == {"name": "other", "value": "1"}
    assert data["usage"] == {"add": {"tokens": 3}}
    assert [item.data["token"] for item in told if item.type == "turn"] == ["t1", None]
    assert data["routed"] == {"key": "key"}
    assert data["moved"] == {"parent_id": "b"}
    assert data["deleted"] == data["restored"] == {}
    assert all(item.missed is None for item in told)


def test_the_messages_of_one_commit_are_one_event_and_equal_the_sessions(store: SessionStore) -> None:
    session = store.create("a")
    session.append("user", "text")
    with session.turn() as turn:
        turn.append("assistant", [{"type": "text", "text": "é"}], tool_calls=[{"id": "c"}])
        turn.append("tool", "3", metadata={"k": 1})
    told = rest(store, "")[1:]
    assert [len(item.messages) for item in told] == [1, 2]
    assert [message for item in told for message in item.messages] == list(session.messages)
    assert [item.at for item in told] == [session.messages[0].at, session.messages[2].at]


def test_of_a_fork_what_it_inherited_is_not_told_again(store: SessionStore) -> None:
    session = store.create("a")
    session.append("user", "inherited")
    session.fork("f").append("user", "own")
    told = [item for item in rest(store, "") if item.session_id == "f"]
    assert types(told) == ["created", "appended"]
    assert told[0].data["forked"] is True
    assert [message.content for message in told[1].messages] == ["own"]


def test_a_shares_event_holds_nothing_that_opens_it(store: SessionStore) -> None:
    session = store.create("a")
    grant = session.share(role="read", expires_in_s=60, frozen=True)
    told = rest(store, "")[-1]
    assert told.data == {
        "id": grant.id, "role": "read", "expires_at": grant.expires_at, "subtree": False, "frozen": True,
    }  # fmt: skip
    digest = next(item["digest"] for item in _events(store, "a") if item["type"] == "shared")
    assert grant.token is not None
    assert digest not in repr(told) + str(told.data_json)
    assert grant.token not in repr(told) + str(told.data_json)


def _events(store: SessionStore, name: str) -> list[dict[str, str]]:
    import json

    lines = [json.loads(line) for line in log_of(store, name).read_bytes().splitlines()[1:]]
    return [item for line in lines for item in line.get("events", [])]


def test_what_the_store_notes_for_itself_is_not_told(store: SessionStore) -> None:
    session = store.create("a")
    session.append("user", "x")
    session.spawn("child")
    session.fork("f")
    store.delete("a", children="orphan")
    store.purge()
    kinds = {item["type"] for name in ("child", "f") for item in _events(store, name)}
    assert "past" in kinds, "the purge gave the fork a history of its own"
    assert set(types(rest(store, ""))) == {"created", "moved"}


def test_every_event_of_the_vocabulary_is_told_or_left_out_on_purpose() -> None:
    silent = {"child", "forgotten", "past", "compacted", "route", "locator"}
    for kind in EVENTS.keys() - silent - {"message"}:
        line, _ = frame.seal(commit([{"type": kind}], 1, 1.0), 0)
        (told,) = events_of(line, "s")
        assert told.type != "unknown", kind
    for kind in silent:
        line, _ = frame.seal(commit([{"type": kind}], 1, 1.0), 0)
        assert events_of(line, "s") == []


def test_an_event_of_a_later_version_is_passed_on_as_it_is() -> None:
    told = [item for line in sample_log().lines[1:] for item in events_of(line, "s")]
    unknown = next(item for item in told if item.type == "unknown")
    assert unknown.data == {"type": "from_the_future", "x": 1}


def test_an_event_cannot_be_changed_and_survives_pickling() -> None:
    log = LogBuilder()
    log.messages(("user", "x"), ("user", [1]))
    (told,) = events_of(log.lines[-1], "s")
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.type = "other"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(told)) == told
    created = Event("created", "s", 1, 1.0, data_json=b'{"labels":["x"]}')
    created.data["labels"].append("y")
    assert created.data == {"labels": ["x"]}


def test_a_compacted_log_says_from_where_on_it_is_whole_whatever_its_messages_say() -> None:
    log = LogBuilder()
    log.messages(("user", [{"type": "compacted", "through": 99}]))
    assert maybe_through(log.data) is None
    log.commit({"type": "message", "seq": 2, "id": "m", "role": "user", "content": {"type": "compacted"}, "at": 1.0})
    log.commit(event("compacted", last_seq=1, updated_at=1.0))
    assert maybe_through(log.data) is None
    log.commit(event("compacted", last_seq=1, updated_at=1.0, through=5, kept=[]))
    assert maybe_through(log.data) == 5
