from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import Session, SessionStore
from hierstore.cli.durations import seconds, size_bytes
from tests.cli.ageing import days_ago, deleted, living
from tests.cli.running import is_one_sentence, run
from tests.cli.screen import Terminal
from tests.support import texts

# prune


@pytest.fixture
def aged(store: SessionStore) -> SessionStore:
    """Sessions of 100, 50 and 0 days, and one of 100 days that a key leads to."""
    with days_ago(100):
        store.create("older", title="Older").append("user", "x")
        store.bind("key", store.create("routed"))
        store.create("pinned").update(pinned=True)
    with days_ago(50):
        store.create("old")
    store.create("new")
    return store


def test_prune_shows_what_would_go_and_does_nothing_unasked(root: Path, aged: SessionStore) -> None:
    done = run("prune", "--older-than", "30d", "--root", root)
    assert done.returncode == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], row[1], row[2], row[5]) for row in rows] == [
        ("1", "older", "1", "Older"), ("2", "routed", "0", ""), ("3", "old", "0", ""),
    ]  # fmt: skip
    total, refused = done.stderr.splitlines()
    assert total.startswith("To go to the trash: 3 of 5 sessions, with 1 message ")
    assert "--yes" in refused
    assert len(living(aged)) == 5


def test_a_dry_run_only_shows(root: Path, aged: SessionStore) -> None:
    done = run("prune", "--older-than", "30d", "--dry-run", "--yes", "--root", root)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert len(living(aged)) == 5
    found = json.loads(run("prune", "--older-than", "30d", "--dry-run", "--json", "--root", root).stdout)
    assert ([item["id"] for item in found["pruned"]], found["kept"], found["dry_run"]) == (
        ["older", "routed", "old"], 2, True,
    )  # fmt: skip


def test_prune_does_it_when_told(root: Path, aged: SessionStore) -> None:
    done = run("prune", "--older-than", "60d", "--keep-routed", "--yes", "--json", "--root", root)
    found = json.loads(done.stdout)
    assert ([item["id"] for item in found["pruned"]], found["kept"], found["dry_run"]) == (["older"], 4, False)
    assert deleted(aged) == {"older"}


def test_prune_by_number_and_by_size(root: Path, aged: SessionStore) -> None:
    assert run("prune", "--max-sessions", "3", "--yes", "--root", root).returncode == 0
    assert living(aged) == {"pinned", "old", "new"}
    assert run("prune", "--max-bytes", "0.001MiB", "--yes", "--root", root).returncode == 0
    assert "pinned" in living(aged)
    assert run("prune", "--max-bytes", "0B", "--yes", "--root", root).returncode == 0
    assert living(aged) == {"pinned"}


def test_nothing_to_prune_is_said_and_not_asked(root: Path, aged: SessionStore) -> None:
    done = run("prune", "--older-than", "2y", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)


def test_nothing_goes_that_was_not_shown(root: Path, aged: SessionStore) -> None:
    with Terminal("prune", "--max-sessions", "4", "--root", root) as terminal:
        terminal.wait_for("1 session to the trash? [y/N]")
        for number in range(3):
            aged.create(f"more-{number}")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert deleted(aged) == {"older"}


def test_what_changes_while_the_question_stands_stays(root: Path, aged: SessionStore) -> None:
    with Terminal("prune", "--older-than", "60d", "--root", root) as terminal:
        terminal.wait_for("2 sessions to the trash? [y/N]")
        aged.get("older").append("user", "still here")
        terminal.type("y\n")
        assert terminal.end() == 0
        assert any("1 session changed meanwhile" in line for line in terminal.lines)
    assert deleted(aged) == {"routed"}


@pytest.mark.parametrize(
    "wrong",
    [
        (), ("--keep-routed",), ("--older-than", "0d"), ("--older-than", "90"), ("--older-than", "5m"),
        ("--max-sessions", "-1"), ("--max-bytes", "much"), ("--max-bytes", "2 GiB more"),
    ],
)  # fmt: skip
def test_a_prune_without_a_limit_or_with_none_that_is_one_is_wrong_usage(
    wrong: tuple[str, ...], root: Path, aged: SessionStore
) -> None:
    done = run("prune", *wrong, "--yes", "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert len(living(aged)) == 5


def test_lengths_of_time_and_sizes_are_what_people_mean() -> None:
    times = {
        "90d": 7_776_000,
        "12h": 43_200,
        "30min": 1800,
        "45 s": 45,
        "1.5h": 5400,
        "2w": 1_209_600,
        "1Y": 31_536_000,
    }
    assert {word: seconds(word, "--x") for word in times} == times
    sizes = {
        "12": 12,
        "12B": 12,
        "1K": 1024,
        "1KiB": 1024,
        "1kB": 1000,
        "500MB": 500_000_000,
        "2GiB": 2**31,
        "1.5 k": 1536,
    }
    assert {word: size_bytes(word, "--x") for word in sizes} == sizes


# compact


@pytest.fixture
def undone(store: SessionStore) -> Session:
    """A session with messages that are out of its history, some of them in a snapshot."""
    session = store.create("undone")
    session.append("user", "kept", message_id="m-1")
    session.append("user", "in a snapshot")
    session.snapshot("named")
    session.append("user", "gone " * 200)
    session.revert("m-1")
    return session


def test_compact_drops_what_was_undone_but_for_snapshots(root: Path, store: SessionStore, undone: Session) -> None:
    done = run("compact", "undone", "--yes", "--root", root)
    assert done.returncode == 0
    session_id, _, _, dropped = done.stdout.rstrip("\n").split("\t")
    assert (session_id, dropped) == ("undone", "1")
    assert "freed" in done.stderr
    assert texts(undone) == ["kept"]
    assert run("revert", "undone", "named", "--root", root).returncode == 0
    assert texts(undone) == ["kept", "in a snapshot"]


def test_compact_asks_because_what_goes_cannot_be_brought_back(root: Path, undone: Session) -> None:
    for keep in ("snapshots", "present"):
        done = run("compact", "--keep", keep, "--root", root)
        assert (done.returncode, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)
    with Terminal("compact", "undone", "--keep", "present", "--root", root) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert run("undo", "undone", "--root", root).returncode == 0
    assert len(texts(undone)) == 3


def test_compact_of_the_whole_store_reports_what_became_smaller(
    root: Path, store: SessionStore, undone: Session
) -> None:
    store.create("other").append("user", "x")
    found = json.loads(run("compact", "--keep", "present", "--yes", "--json", "--root", root).stdout)
    assert [item["id"] for item in found["sessions"]] == ["undone"]
    assert found["sessions"][0]["dropped_messages"] == 2
    assert found["freed_bytes"] > 0
    assert found["errors"] == []
    assert undone.snapshots == ()


def test_compact_with_nothing_to_drop_says_so(root: Path, store: SessionStore) -> None:
    store.create("plain").append("user", "x")
    done = run("compact", "--yes", "--root", root)
    assert (done.returncode, done.stdout) == (0, "")
    assert is_one_sentence(done.stderr)


def test_what_can_be_kept_is_one_of_two(root: Path, undone: Session) -> None:
    assert run("compact", "--keep", "nothing", "--yes", "--root", root).returncode == 2
