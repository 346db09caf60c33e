"""check, repair and reindex: what is wrong is found, shown and mended, after a question."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, plain, run
from tests.cli.screen import Terminal, shown
from tests.support import contents, log_of

pytestmark = pytest.mark.damages


@pytest.fixture
def sound(root: Path) -> Path:
    with SessionStore(root) as store:
        for name in ("a", "b"):
            store.create(name, title=f"Title {name}").append("user", "Hello")
    return root


@pytest.fixture
def damaged(sound: Path) -> Path:
    """A flipped byte in the middle of one log, and damage in the name of another."""
    with SessionStore(sound) as store:
        path = log_of(store, "a")
        store.get("a").append("user", "Later")
    data = bytearray(path.read_bytes())
    data[data.index(b"Hello")] ^= 1
    path.write_bytes(data)
    return sound


@pytest.fixture
def stray(sound: Path) -> Path:
    (sound / "sessions" / "no\x1b[2Jlog").write_text("x")
    return sound


# check


def test_a_sound_store_has_nothing_to_show_and_says_how_much_was_verified(sound: Path) -> None:
    done = run("check", "--root", sound)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "2 sessions and 2 messages verified: no problems.\n"


def test_damage_is_shown_with_the_session_and_what_to_do_next_and_the_status_is_1(damaged: Path) -> None:
    done = run("check", "--root", damaged)
    assert done.returncode == 1
    (row,) = (line.split("\t") for line in done.stdout.splitlines())
    assert row[:3] == ["problem", "corrupt", "a"]
    assert row[3].endswith(".")
    assert "hierstore repair" in done.stderr


def test_what_harms_nothing_is_a_note_and_no_failure(stray: Path) -> None:
    done = run("check", "--root", stray)
    assert done.returncode == 0
    assert done.stdout.startswith("note\tstray\tsessions/no\\x1b[2Jlog\t")
    assert "\x1b" not in done.stdout


def test_check_tells_programs_the_same(damaged: Path) -> None:
    done = run("check", "--json", "--root", damaged)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["ok"], told["sessions"], told["messages"], told["notes"]) == (False, 2, 1, [])
    assert {"kind", "session", "path", "detail"} == told["problems"][0].keys()
    assert json.loads(run("check", "--json", "--root", damaged.parent / "store").stdout) == told


def test_in_a_terminal_sentences_are_whole_at_any_width(damaged: Path) -> None:
    sentence = run("check", "--root", damaged).stdout.rstrip("\n").split("\t")[-1]
    for columns in (60, 80, 200):
        with Terminal("check", "--root", damaged, columns=columns) as terminal:
            assert terminal.end() == 1
            text = " ".join(" ".join(line.split()) for line in terminal.lines)
        assert all(word in text for word in sentence.split())
        assert "KIND" in text


def test_check_changes_nothing(damaged: Path) -> None:
    before = contents(damaged)
    run("check", "--root", damaged)
    assert contents(damaged) == before


# repair


def test_there_is_nothing_to_mend_in_a_sound_store_and_nobody_is_asked(sound: Path) -> None:
    done = run("repair", "--root", sound)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "There is nothing to mend.\n")


def test_a_dry_run_shows_and_changes_nothing(damaged: Path) -> None:
    before = contents(damaged)
    done = run("repair", "--dry-run", "--root", damaged)
    assert done.returncode == 0
    assert done.stdout.startswith("to mend\tcorrupt\ta\t")
    assert "can be mended" in done.stderr
    assert contents(damaged) == before


def test_without_a_terminal_and_without_yes_nothing_is_done(damaged: Path) -> None:
    before = contents(damaged)
    done = run("repair", "--root", damaged)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "--yes" in done.stderr
    assert contents(damaged) == before


def test_with_yes_it_is_mended_and_then_sound(damaged: Path) -> None:
    done = run("repair", "--yes", "--root", damaged)
    assert done.returncode == 0
    assert done.stdout.startswith("mended\tcorrupt\ta\t")
    assert run("check", "--root", damaged).returncode == 0
    assert os.listdir(damaged / "quarantine")


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("yes", 0), ("n", 1), ("", 1), ("what", 1)])
def test_in_a_terminal_it_shows_asks_and_does_what_is_answered(damaged: Path, answer: str, status: int) -> None:
    with Terminal("repair", "--root", damaged) as terminal:
        terminal.wait_for("[y/N]")
        assert any("to mend" in line for line in terminal.lines)
        terminal.type(f"{answer}\n")
        assert terminal.end() == status
    assert run("check", "--root", damaged).returncode == status


def test_repair_tells_programs_what_it_did(damaged: Path) -> None:
    planned = json.loads(run("repair", "--dry-run", "--json", "--root", damaged).stdout)
    done = json.loads(run("repair", "--yes", "--json", "--root", damaged).stdout)
    assert (planned["dry_run"], done["dry_run"], planned["ok"], done["ok"]) == (True, False, True, True)
    assert [one["kind"] for one in planned["done"]] == [one["kind"] for one in done["done"]] == ["corrupt"]


def test_what_cannot_be_mended_is_left_and_the_status_is_1(sound: Path) -> None:
    with SessionStore(sound) as store:
        path = log_of(store, "a")
    path.unlink()
    path.mkdir()
    done = run("repair", "--yes", "--root", sound)
    assert done.returncode == 1
    assert done.stdout.startswith("left\t")
    assert "cannot be" in done.stderr


# reindex


def test_reindex_makes_the_index_anew_whatever_it_was(sound: Path) -> None:
    run("ls", "--root", sound)
    (index,) = (sound / "index").glob("*.sqlite")
    index.write_bytes(b"nonsense" * 1000)
    done = run("reindex", "--root", sound)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "The index is new, and knows 2 sessions.\n"
    assert not index.exists()
    assert len(run("search", "hello", "--root", sound).stdout.splitlines()) >= 2


def test_reindex_tells_programs_how_many_sessions(sound: Path) -> None:
    assert json.loads(run("reindex", "--json", "--root", sound).stdout) == {"sessions": 2}


def test_an_index_that_cannot_be_removed_is_one_sentence(sound: Path) -> None:
    (sound / "index" / "v1-15.0.0-x.sqlite").mkdir()
    done = run("reindex", "--root", sound)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)


# All three


@pytest.mark.parametrize("command", ["check", "repair", "reindex"])
def test_a_store_that_is_not_there_is_one_sentence(command: str, root: Path) -> None:
    done = run(command, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert not root.exists()


def test_no_progress_is_shown_into_a_pipe_and_none_is_left_on_a_terminal(sound: Path) -> None:
    assert "\x1b" not in run("check", "--root", sound).stderr
    assert shown("check", "--root", sound) == ["2 sessions and 2 messages verified: no problems."]
    assert plain("\x1b[1mx\x1b[0m") == ["x"]
