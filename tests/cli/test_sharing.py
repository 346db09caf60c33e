from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from hierstore import Session, SessionStore, ShareNotFound
from tests.cli.running import is_one_sentence, run, run_in_terminal
from tests.support import texts


@pytest.fixture
def chat(store: SessionStore) -> Session:
    session = store.create("chat")
    session.append("user", "Hello")
    return session


def test_the_token_stands_alone_on_standard_output_and_opens_the_session(
    root: Path, store: SessionStore, chat: Session
) -> None:
    done = run("share", "chat", "--root", root)
    assert done.returncode == 0
    assert is_one_sentence(done.stderr)
    assert done.stdout.count("\n") == 1
    assert texts(store.open_share(done.stdout.strip())) == ["Hello"]


def test_a_share_is_what_was_asked_for(root: Path, store: SessionStore, chat: Session) -> None:
    chat.spawn("below")
    before = time.time()
    done = run("share", "chat", "--role", "append", "--subtree", "--expires", "7d", "--root", root)
    (grant,) = chat.shares
    assert (grant.role, grant.subtree, grant.frozen) == ("append", True, False)
    assert grant.expires_at is not None
    assert before + 7 * 86400 <= grant.expires_at <= time.time() + 7 * 86400
    store.open_share(done.stdout.strip()).append("user", "And me")
    assert texts(chat) == ["Hello", "And me"]
    run("share", "chat", "--frozen", "--root", root)
    assert [grant.frozen for grant in chat.shares] == [False, True]


def test_as_json_the_token_is_in_it_once(root: Path, store: SessionStore, chat: Session) -> None:
    made = json.loads(run("share", "chat", "--json", "--root", root).stdout)
    assert texts(store.open_share(made["token"])) == ["Hello"]
    listed = json.loads(run("share", "chat", "--list", "--json", "--root", root).stdout)["shares"]
    assert [item["id"] for item in listed] == [made["id"]]
    assert "token" not in listed[0]


def test_shares_are_listed_without_their_tokens(root: Path, chat: Session) -> None:
    token = run("share", "chat", "--frozen", "--expires", "30min", "--root", root).stdout.strip()
    done = run("share", "chat", "--list", "--root", root)
    (grant,) = chat.shares
    fields = done.stdout.rstrip("\n").split("\t")
    assert fields[:3] == [grant.id, "read", "session, frozen"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", fields[4])
    assert token not in done.stdout + done.stderr
    assert len(chat.shares) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("--expires", "7"), ("--expires", "soon"), ("--expires", "-7d"), ("--expires", "5m"), ("--role", "write"),
        ("--frozen", "--role", "append"), ("--list", "--frozen"), ("--list", "--role", "append"),
    ],
)  # fmt: skip
def test_wrong_usage_makes_no_share(wrong: tuple[str, ...], root: Path, chat: Session) -> None:
    done = run("share", "chat", *wrong, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert chat.shares == ()


def test_one_share_is_revoked_and_the_other_holds(root: Path, store: SessionStore, chat: Session) -> None:
    one, two = chat.share(), chat.share()
    assert one.token is not None
    assert two.token is not None
    assert run("unshare", "chat", one.id, "--root", root).returncode == 0
    with pytest.raises(ShareNotFound):
        store.open_share(one.token)
    assert texts(store.open_share(two.token)) == ["Hello"]


def test_the_beginning_of_a_shares_id_will_do_unless_it_is_that_of_several(root: Path, chat: Session) -> None:
    ids = [chat.share().id, chat.share().id]
    done = run("unshare", "chat", ids[0][:10], "--root", root)
    assert done.returncode == 1
    assert [line.strip() for line in done.stderr.splitlines()[1:]] == ids
    chat.unshare(ids[0])
    assert run("unshare", "chat", ids[1][:10], "--root", root).returncode == 0
    assert chat.shares == ()


def test_all_shares_are_revoked_at_once(root: Path, chat: Session) -> None:
    chat.share()
    chat.share()
    written, status = run_in_terminal("unshare", "chat", "--root", root)
    assert (status, written) == (0, "2 shares revoked.\n")
    assert chat.shares == ()
    done = run("unshare", "chat", "--root", root)
    assert done.returncode == 0
    assert is_one_sentence(done.stderr)


def test_a_share_that_is_not_there_is_an_error(root: Path, chat: Session) -> None:
    chat.share()
    done = run("unshare", "chat", "nothing", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "--list" in done.stderr
    assert len(chat.shares) == 1
