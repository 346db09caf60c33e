"""What names a point in a session's history, and options that make no sense."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import InvalidRoot, RevisionNotFound, SessionStore
from tests.support import fill, texts

if TYPE_CHECKING:
    from pathlib import Path


def test_at_a_message_is_the_session_as_it_was_when_the_message_came(store: SessionStore) -> None:
    session = fill(store.create("a"), "1", "2", "3")
    session.set_title("later")
    past = session.at(session.messages[1].id)
    assert texts(past) == ["1", "2"]
    assert past.revision == 3
    assert past.title is None
    assert texts(session.at(past.revision)) == texts(past)


def test_at_a_message_in_the_middle_of_a_commit_ends_with_it(store: SessionStore) -> None:
    session = store.create("a")
    session.extend([{"role": "user", "content": str(number)} for number in range(5)])
    assert texts(session.at(session.messages[2].id)) == ["0", "1", "2"]


def test_a_message_that_a_revert_shows_again_is_found_where_it_is_shown(store: SessionStore) -> None:
    session = fill(store.create("a"), "1", "2", "3")
    second, third = session.messages[1], session.messages[2]
    session.revert(second)
    fill(session, "4")
    assert texts(session.at(second)) == ["1", "2"]
    session.revert(third)
    assert texts(session) == ["1", "2", "3"]


def test_a_message_itself_names_its_place(store: SessionStore) -> None:
    session = fill(store.create("a"), "1", "2", "3")
    assert texts(session.fork(at=session.messages[0])) == ["1"]
    session.revert(session.messages[1])
    assert texts(session) == ["1", "2"]


@pytest.mark.parametrize("target", [object(), 1.5, None, True, [1]])
def test_what_names_nothing_is_refused_with_an_error_that_pickles(store: SessionStore, target: Any) -> None:
    session = fill(store.create("a"), "1")
    with pytest.raises(RevisionNotFound) as caught:
        session.revert(target)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("timeout", [None, "x", float("nan"), -1])
def test_a_lock_timeout_that_is_none_is_refused_at_once(root: Path, timeout: Any) -> None:
    with pytest.raises(ValueError, match="lock_timeout_s"):
        SessionStore(root, lock_timeout_s=timeout)
    assert not root.exists()


@pytest.mark.parametrize("size", [None, "x", -1, 1.5])
def test_a_cache_size_that_is_none_is_refused_at_once(root: Path, size: Any) -> None:
    with pytest.raises(ValueError, match="cache_bytes"):
        SessionStore(root, cache_bytes=size)
    assert not root.exists()


def test_an_empty_root_is_not_the_working_directory() -> None:
    with pytest.raises(InvalidRoot, match="empty"):
        SessionStore("")
