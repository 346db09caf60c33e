"""Which session a word means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import SessionStore
from hierstore.cli.memory import Memory
from tests.cli.running import is_one_sentence, run


def meant(root: Path, word: str, **more: str) -> str:
    """The session that ``show`` shows for a word."""
    done = run("show", word, "--json", "--root", root, **more)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    return str(first.get("session", first)["id"] if isinstance(first.get("session"), dict) else first["id"])


@pytest.fixture
def filled(store: SessionStore) -> SessionStore:
    for name in ("alpha-1", "alpha-2", "beta", "beta-long", "7"):
        store.create(name, title=f"Title of {name}")
    store.bind("telegram:chat:42", "alpha-2")
    return store


@pytest.mark.parametrize(
    ("word", "session_id"),
    [("alpha-1", "alpha-1"), ("telegram:chat:42", "alpha-2"), ("beta-", "beta-long"), ("beta", "beta"), ("7", "7")],
)
def test_a_session_is_named_by_id_route_key_or_unique_beginning(
    word: str, session_id: str, root: Path, filled: SessionStore
) -> None:
    assert meant(root, word) == session_id


def test_an_ambiguous_beginning_lists_the_candidates_and_changes_nothing(root: Path, filled: SessionStore) -> None:
    done = run("title", "alpha", "Another", "--root", root)
    assert done.returncode == 1
    assert done.stdout == ""
    first, *candidates = done.stderr.splitlines()
    assert is_one_sentence(first)
    assert {line.split()[0] for line in candidates} == {"alpha-1", "alpha-2"}
    assert all("Title of" in line for line in candidates)
    assert filled.get("alpha-1").title == "Title of alpha-1"


def test_of_many_candidates_a_few_are_listed_and_more_are_hinted_at(root: Path, store: SessionStore) -> None:
    for number in range(30):
        store.create(f"many-{number}", title="x" * 200)
    done = run("show", "many", "--root", root)
    assert 5 < len(done.stderr.splitlines()) < 20
    assert done.stderr.splitlines()[-1].strip() == "…"
    assert max(map(len, done.stderr.splitlines())) < 140


def test_candidates_are_shown_harmlessly(root: Path, store: SessionStore) -> None:
    for number in range(2):
        store.create(f"many-\x1b[2J{number}", title="a\nb\x1b]0;c\x07")
    done = run("show", "many", "--root", root)
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_a_number_is_that_of_the_last_listing(root: Path, filled: SessionStore) -> None:
    listed = [line.split("\t")[1] for line in run("ls", "--root", root).stdout.splitlines()]
    assert meant(root, "2") == listed[1]
    assert meant(root, str(len(listed))) == listed[-1]
    filled.create("newer")
    assert meant(root, "2") == listed[1], "what has come since changes no number"


def test_an_id_that_is_a_number_is_an_id(root: Path, filled: SessionStore) -> None:
    for number in range(10):
        filled.create(f"more-{number}")
    run("ls", "--root", root)
    assert meant(root, "7") == "7"


@pytest.mark.parametrize("word", ["0", "99", "١", "9" * 400])
def test_a_number_that_the_listing_did_not_have_means_nothing(word: str, root: Path, filled: SessionStore) -> None:
    run("ls", "--root", root)
    done = run("show", word, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "hierstore ls" in done.stderr


def test_last_is_the_session_that_was_named_or_made_last(root: Path, filled: SessionStore) -> None:
    run("show", "beta", "--root", root)
    assert meant(root, "@last") == "beta"
    run("new", "made-now", "--root", root)
    assert meant(root, "@last") == "made-now"
    run("show", "nobody", "--root", root)
    assert meant(root, "@last") == "made-now"


def test_last_is_the_latest_changed_where_none_was_used_or_it_is_gone(root: Path, filled: SessionStore) -> None:
    filled.get("alpha-1").append("user", "Hello")
    assert meant(root, "@last") == "alpha-1"
    filled.delete("alpha-1")
    filled.get("beta").append("user", "Hello")
    assert meant(root, "@last") == "beta"


def test_in_an_empty_store_last_is_nothing(root: Path, store: SessionStore) -> None:
    done = run("show", "@last", "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


@pytest.mark.parametrize("word", ["", "x" * 600, "é" * 5000, "\udcff"])
def test_a_word_that_no_id_could_be_is_one_sentence(word: str, root: Path, filled: SessionStore) -> None:
    done = run("show", "--root", root, "--", word)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


def test_a_long_route_key_names_its_session_though_no_id_is_that_long(root: Path, filled: SessionStore) -> None:
    filled.bind("k" * 2000, "beta")
    assert meant(root, "k" * 2000) == "beta"


def test_stores_have_listings_of_their_own(root: Path, filled: SessionStore, tmp_path: Path) -> None:
    run("ls", "--root", root)
    with SessionStore(tmp_path / "other") as other:
        other.create("only")
    run("ls", "--root", tmp_path / "other")
    assert meant(tmp_path / "other", "1") == "only"
    assert meant(root, "1") != "only"


# The memory


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Memory(tmp_path / "root")


def test_what_is_remembered_is_the_users_alone_and_leaves_no_other_file(memory: Memory, tmp_path: Path) -> None:
    memory.list(["a", "b"])
    memory.use("b")
    (file,) = (tmp_path / "state").rglob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    assert [path for path in file.parent.iterdir() if path != file] == []
    assert (memory.listed, memory.used) == (["a", "b"], "b")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b'{"listed": 3, "used": []}', b"\xff", b"[" * 100_000])
def test_a_damaged_memory_is_none(memory: Memory, tmp_path: Path, content: bytes) -> None:
    memory.list(["a"])
    (file,) = (tmp_path / "state").rglob("*.json")
    file.write_bytes(content)
    assert (memory.listed, memory.used) == ([], None)
    memory.use("c")
    assert memory.used == "c"


def test_where_nothing_can_be_remembered_the_command_works(root: Path, filled: SessionStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = str(tmp_path / "file" / "below")
    assert run("ls", "--root", root, XDG_STATE_HOME=state).returncode == 0
    assert meant(root, "beta", XDG_STATE_HOME=state) == "beta"


def test_what_a_dead_process_left_of_its_memory_is_in_nobodys_way(memory: Memory, tmp_path: Path) -> None:
    import os

    memory.list(["a"])
    (file,) = (tmp_path / "state").rglob("*.json")
    file.with_name(f"{file.name}.{os.getpid()}").write_text("half")
    memory.use("b")
    assert memory.used == "b"
