from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hierstore import SessionStore
from hierstore.cli import playing, story
from hierstore.cli.commands import demo
from hierstore.cli.text import Refused
from tests.cli.running import is_one_sentence, run


def test_the_demo_needs_nothing_draws_a_tree_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run("demo", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo-1  9 messages, 4 children  Repair the nightly build" in done.stdout
    assert re.search(r"4 processes wrote this at once, in \d+ ms", done.stdout)
    assert "no problems" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_run_twice_in_one_folder_each_run_has_its_own_session_and_what_it_says_is_true(root: Path) -> None:
    first, second = run("demo", "--root", root), run("demo", "--root", root)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    with SessionStore(root) as store:
        trees = store.tree()
        assert [tree.id for tree in trees] == ["demo-1", "demo-2"]
        assert store.check().ok
        for tree in trees:
            session = store.get(tree.id)
            assert session.title == story.TITLE
            assert {child.kind for child in session.children} == {"delegate", "branch"}
            repair = store.get(f"{tree.id}/repair")
            assert [snap.label for snap in repair.snapshots] == ["before the attempt"]
            said = [message.content for message in repair.messages]
            assert story.FAILED_ATTEMPT[0].content not in said
            assert story.SECOND_ATTEMPT[0].content in said
            assert store.get(f"{tree.id}/branch").messages[:2] == session.messages[:2]
    assert "All 29 messages that were acknowledged are there, in order: 26 above" in first.stdout


def test_the_demo_leaves_the_store_alone_that_the_environment_names(root: Path, store: SessionStore) -> None:
    store.create("mine")
    done = run("demo", HIERSTORE_ROOT=str(root))
    assert done.returncode == 0
    assert "temporary folder is removed" in done.stdout
    assert [info.id for info in store.sessions()] == ["mine"]


def test_where_it_is_kept_is_told_as_a_shell_takes_it(tmp_path: Path) -> None:
    done = run("demo", "--root", tmp_path / "my store")
    told = done.stdout.splitlines()[-1].removeprefix("It is kept: hierstore ")
    assert run(*shlex.split(told)).returncode == 0


def test_a_root_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = run("demo", "--root", file)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


def _played(store: SessionStore) -> tuple[Any, playing.Account]:
    lead = store.create("lead")
    account = playing.Account(began=1.0, ended=2.0)
    account.say(lead, [story.TASK, story.PLAN])
    lead.set_title(story.TITLE)
    return lead, account


def test_the_demo_says_so_if_an_acknowledged_message_is_missing(store: SessionStore) -> None:
    lead, account = _played(store)
    list(demo._verified(store, lead, [account], 0.1))
    account.stored["lead"].append("acknowledged-and-lost")
    with pytest.raises(Refused, match="acknowledged message"):
        list(demo._verified(store, lead, [account], 0.1))


def test_the_demo_says_so_if_messages_are_out_of_order(store: SessionStore) -> None:
    lead, account = _played(store)
    account.stored["lead"].reverse()
    with pytest.raises(Refused, match="acknowledged message"):
        list(demo._verified(store, lead, [account], 0.1))


def test_the_demo_says_so_if_the_title_is_another(store: SessionStore) -> None:
    lead, account = _played(store)
    lead.set_title("Other")
    with pytest.raises(Refused, match="title"):
        list(demo._verified(store, lead, [account], 0.1))
