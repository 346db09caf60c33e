from __future__ import annotations

from typing import Any

import pytest

from hierstore import SessionStore
from hierstore.cli import filing
from hierstore.cli.conversations import Conversation
from hierstore.cli.text import Refused

HELLO = {"role": "user", "content": "hello"}


def _conversation(*records: dict[str, Any]) -> Conversation:
    return Conversation("a", "a.json", None, {}, records)


def test_another_process_that_writes_in_between_is_noticed(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = filing._stored

    def compare_then_lose_the_race(session: Any, conversation: Conversation) -> int:
        have = stored(session, conversation)
        session.append("user", "first")
        return have

    monkeypatch.setattr(filing, "_stored", compare_then_lose_the_race)
    with pytest.raises(Refused, match="message 1"):
        filing.file(store, [_conversation(HELLO)])
    assert "hello" not in [message.content for message in store.get("a").messages]


def test_a_title_that_the_session_got_since_stays(store: SessionStore) -> None:
    filing.file(store, [_conversation(HELLO)])
    assert store.get("a").info.title_source == "auto"
    store.get("a").set_title("Better", source="auto")
    filing.file(store, [_conversation(HELLO, HELLO)])
    assert store.get("a").title == "Better"
    assert len(store.get("a").messages) == 2


def test_what_is_all_there_is_not_missing(store: SessionStore) -> None:
    seen: list[bool] = []
    conversation = _conversation(HELLO)
    assert filing.missing(store, [conversation], lambda: seen.append(True)) == [conversation]
    assert "a" not in store
    filing.file(store, [conversation])
    assert filing.missing(store, [conversation], lambda: seen.append(True)) == []
    assert seen == [True]
