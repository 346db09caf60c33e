from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from tests.cli.running import is_one_sentence, run

KEY = "telegram:chat:42"


@pytest.fixture
def chat(store: SessionStore) -> Session:
    session = store.create("chat")
    store.bind(KEY, session)
    return session


def test_it_is_printed_where_a_key_leads(root: Path, chat: Session) -> None:
    done = run("route", KEY, "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "chat\n", "")
    assert json.loads(run("route", KEY, "--json", "--root", root).stdout) == {"key": KEY, "session": "chat"}


def test_a_key_is_led_to_another_session(root: Path, store: SessionStore, chat: Session) -> None:
    store.create("next")
    assert run("route", KEY, "nex", "--root", root).stdout == "next\n"
    found = store.resolve(KEY)
    assert found is not None
    assert (found.id, chat.succeeded_by) == ("next", found)


def test_a_key_that_leads_nowhere_is_an_error_with_a_hint(root: Path, chat: Session) -> None:
    for _ in range(2):
        done = run("route", "other", "--root", root)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)
        assert "hierstore route KEY SESSION" in done.stderr


def test_a_key_is_cleared(root: Path, store: SessionStore, chat: Session) -> None:
    done = run("route", KEY, "--clear", "--root", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert store.resolve(KEY) is None
    again = run("route", KEY, "--clear", "--json", "--root", root)
    assert json.loads(again.stdout) == {"key": KEY, "session": None}
    assert is_one_sentence(again.stderr)


def test_a_session_is_made_for_a_key_once(root: Path) -> None:
    first = run("route", KEY, "--make", "--root", root)
    assert first.returncode == 0
    assert str(root) in first.stderr
    second = run("route", KEY, "--make", "--root", root)
    assert (second.stdout, second.stderr) == (first.stdout, "")
    with SessionStore(root) as store:
        found = store.resolve(KEY)
        assert found is not None
        assert first.stdout == f"{found.id}\n"


@pytest.mark.parametrize("wrong", [("chat", "--clear"), ("chat", "--make"), ("--make", "--clear")])
def test_two_things_at_once_are_wrong_usage(wrong: tuple[str, ...], root: Path, chat: Session) -> None:
    assert run("route", KEY, *wrong, "--root", root).returncode == 2
    assert chat.routes == (KEY,)


def test_a_key_names_its_session_in_other_commands(root: Path, chat: Session) -> None:
    assert run("title", KEY, "Named by its key", "--root", root).returncode == 0
    assert chat.title == "Named by its key"


def test_an_empty_key_is_one_sentence(root: Path, chat: Session) -> None:
    done = run("route", "", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
