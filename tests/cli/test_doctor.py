"""doctor, and what it prints: ``hierstore.examine``."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import hierstore
from hierstore import SessionStore, Verdict, examine
from hierstore.disk import files, mounts, probing
from tests.cli.running import run
from tests.cli.screen import Terminal
from tests.support import contents, log_of

NAMES = ["folder", "store", "file system", "space", "locks", "events", "clock", "links", "limits", "versions", "pending",
         "quarantine", "index"]  # fmt: skip


def verdict(root: Path, name: str, **options: Any) -> Verdict:
    return next(one for one in examine(root, **options).verdicts if one.name == name)


@pytest.fixture
def sound(root: Path) -> Path:
    with SessionStore(root) as store:
        store.create("a").append("user", "Hello")
        store.sessions()
    return root


# A sound store


def test_a_sound_store_is_well_and_nothing_is_left_behind(sound: Path) -> None:
    before = contents(sound)
    report = examine(sound)
    assert [one.name for one in report.verdicts] == NAMES
    assert report.ok
    assert report.root == str(sound)
    assert not [one for one in report.verdicts if one.grade == "bad"]
    assert contents(sound) == before


def test_each_verdict_is_a_sentence_and_what_is_not_good_says_what_to_do_or_that_nothing_is(sound: Path) -> None:
    for one in examine(sound).verdicts:
        assert one.found.endswith(".")
        assert one.advice is None or one.advice.endswith(".")
        assert one.grade != "good" or one.advice is None


def test_here_locks_keep_out_events_arrive_and_times_move(sound: Path) -> None:
    assert verdict(sound, "locks") == Verdict(
        "locks", "good", "They keep out a second descriptor, and a second process."
    )
    assert verdict(sound, "events").grade == "good"
    assert "steps of" in verdict(sound, "clock").found
    assert verdict(sound, "store").found.endswith("with 1 session.")
    assert verdict(sound, "index").found.startswith("It knows 1 session")
    found = verdict(sound, "versions").found
    for word in (hierstore.__version__, sqlite3.sqlite_version, "filelock", "orjson", "watchdog", "FTS5"):
        assert word in found


def test_it_may_be_asked_while_the_store_is_in_use(sound: Path) -> None:
    with SessionStore(sound) as store, store.watch() as watcher:
        store.sessions()
        assert examine(sound).ok
        store.get("a").append("user", "More")
        assert watcher.next(timeout_s=30).type == "appended"
        assert store.check().notes == ()


# Where there is no store


def test_where_there_is_no_folder_the_place_where_it_would_be_is_tried(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    report = examine(root)
    assert report.ok
    assert (verdict(root, "folder").grade, verdict(root, "store").grade) == ("note", "note")
    assert verdict(root, "locks").grade == "good"
    assert list(tmp_path.iterdir()) == []


def test_what_a_folder_holds_that_is_no_store_is_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o777)
    (tmp_path / "sessions").write_text("")
    assert verdict(tmp_path, "folder").grade == "good"
    assert examine(tmp_path).ok


def test_a_file_in_the_place_of_the_folder_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert verdict(tmp_path / "file", "folder").grade == "bad"


def test_an_empty_name_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="root"):
        examine("")


# The folder


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_write_to_is_bad_unless_it_is_meant(sound: Path, mode: int) -> None:
    sound.chmod(mode)
    found = verdict(sound, "folder")
    assert found.grade == "bad"
    assert f"{mode:04o}" in found.found
    assert "HIERSTORE_SHARED" in (found.advice or "")
    assert verdict(sound, "folder", shared=True).grade == "good"
    sound.chmod(0o700)
    assert verdict(sound, "folder").grade == "good"


def test_a_folder_inside_that_others_write_to_is_bad(sound: Path) -> None:
    (sound / "trash").chmod(0o733)
    assert verdict(sound, "folder").grade == "bad"
    assert "trash" in verdict(sound, "folder").found


@pytest.mark.damages
def test_a_link_in_the_place_of_a_folder_is_bad(sound: Path, tmp_path: Path) -> None:
    (sound / "quarantine").rmdir()
    (sound / "quarantine").symlink_to(tmp_path)
    assert "quarantine" in verdict(sound, "folder").found
    assert verdict(sound, "folder").grade == "bad"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_logs_of_another_user_are_bad(sound: Path) -> None:
    with SessionStore(sound) as store:
        os.chown(log_of(store, "a"), 12345, -1)
    assert "another user" in verdict(sound, "folder").found
    assert verdict(sound, "folder").grade == "bad"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_folder_that_we_may_only_read_is_a_note_and_trials_are_left_out(sound: Path) -> None:
    sound.chmod(0o500)
    (sound / "tmp").chmod(0o500)
    try:
        assert verdict(sound, "folder").grade == "note"
        assert "not tried" in verdict(sound, "locks").found
    finally:
        (sound / "tmp").chmod(0o700)
        sound.chmod(0o700)


@pytest.mark.damages
@pytest.mark.parametrize(("content", "word"), [("{", "damaged"), ('{"hierstore": 999}', "format"), ("[]", "damaged")])
def test_a_marker_that_says_nothing_or_too_much_is_bad(sound: Path, content: str, word: str) -> None:
    (sound / "hierstore.json").write_text(content)
    found = verdict(sound, "store")
    assert found.grade == "bad"
    assert word in found.found


# The system, as others have it


def test_locks_that_keep_nobody_out_are_bad(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filelock.lock_descriptor", lambda *_args, **_options: True)
    assert verdict(sound, "locks").grade == "bad"


@pytest.mark.parametrize(
    ("answers", "grade"),
    [
        (["kept out", "let in"], "good"),
        (["let in", "let in"], "bad"),
        (["kept out", "kept out"], "bad"),
        ([None, None], "note"),
    ],
)
def test_a_second_process_is_asked_twice(
    sound: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str | None], grade: str
) -> None:
    left = list(answers)
    monkeypatch.setattr(probing, "_ask_process", lambda _path: left.pop(0))
    assert verdict(sound, "locks").grade == grade


def test_a_system_that_refuses_locks_is_bad(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    found = verdict(sound, "locks")
    assert (found.grade, found.found) == ("bad", "It could not be tried: Function not implemented.")


def test_events_that_do_not_come_or_are_refused_are_a_note(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "try_events", lambda _folder: False)
    assert verdict(sound, "events").grade == "note"

    def refuse(_folder: bytes) -> bool:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(probing, "try_events", refuse)
    assert "limit reached" in verdict(sound, "events").found
    assert verdict(sound, "events").grade == "note"


@pytest.mark.parametrize(
    ("times", "grade", "word"),
    [
        (probing.Times(4_000_000, 0.0), "good", "4 ms"),
        (probing.Times(2_000_000_000, 0.0), "note", "2.0 s"),
        (probing.Times(1_000, 3_600.0), "note", "ahead"),
        (probing.Times(1_000, -60.0), "note", "behind"),
        (probing.Times(None, 0.0), "bad", "does not change"),
    ],
)
def test_times_are_judged_by_their_steps(
    sound: Path, monkeypatch: pytest.MonkeyPatch, times: probing.Times, grade: str, word: str
) -> None:
    monkeypatch.setattr(probing, "try_times", lambda _folder: times)
    found = verdict(sound, "clock")
    assert found.grade == grade
    assert word in found.found


def test_steps_are_measured_and_not_taken_from_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = namedtuple("stamp", ["st_mtime_ns", "st_mode"])  # of os.stat_result, what is read
    calls = iter(range(10_000_000))
    monkeypatch.setattr(files, "fstat", lambda _fd: stamp(10**18 + 5_000_000 * (next(calls) // 3), 0o600))
    assert probing.try_times(os.fsencode(tmp_path)).step_ns == 5_000_000


def test_a_file_system_without_links_is_a_note(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "maybe_link", lambda _source, _target: False)
    assert verdict(sound, "links").grade == "note"


@pytest.mark.parametrize(
    ("kind", "grade"), [("nfs4", "note"), ("ext4", "good"), ("", "note"), ("fuse.something", "note")]
)
def test_the_kind_of_file_system_is_told(sound: Path, monkeypatch: pytest.MonkeyPatch, kind: str, grade: str) -> None:
    monkeypatch.setattr(files, "mounts", lambda: [(b"/", kind)] if kind else [])
    assert mounts.kind(os.fsencode(sound)) == kind
    found = verdict(sound, "file system")
    assert found.grade == grade
    assert kind in found.found


@pytest.mark.parametrize(
    ("room", "grade"),
    [(probing.Room(2**40, 10**6), "good"), (probing.Room(2**27, 10**6), "note"), (probing.Room(2**20, 10**6), "bad"),
     (probing.Room(2**40, 5_000), "note"), (probing.Room(2**40, 3), "bad"), (probing.Room(2**40, None), "good"), (None, "note")],
)  # fmt: skip
def test_little_room_is_a_note_and_hardly_any_is_bad(
    sound: Path, monkeypatch: pytest.MonkeyPatch, room: probing.Room | None, grade: str
) -> None:
    monkeypatch.setattr(probing, "maybe_room", lambda _folder: room)
    assert verdict(sound, "space").grade == grade


@pytest.mark.parametrize(
    ("limits", "grade"),
    [((65_536, 128), "good"), ((1_000, 128), "note"), ((65_536, 8), "note"), ((None, None), "note")],
)
def test_low_limits_are_a_note(
    sound: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int | None, int | None], grade: str
) -> None:
    found = dict(zip(("max_user_watches", "max_user_instances"), limits, strict=True))
    monkeypatch.setattr(probing, "maybe_limit", found.__getitem__)
    assert verdict(sound, "limits").grade == grade


def test_a_python_without_full_text_search_is_bad(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "has_full_text", lambda: False)
    assert verdict(sound, "versions").grade == "bad"


# What lies about


def test_work_that_was_cut_off_is_a_note(sound: Path) -> None:
    (sound / "tmp" / "0.json").write_text("{}")
    assert "cut off" in verdict(sound, "pending").found
    (sound / "tmp" / "0.json").unlink()


def test_files_of_dead_processes_are_a_note_when_they_are_old(sound: Path) -> None:
    left = sound / "tmp" / "0.log"
    left.write_text("")
    assert verdict(sound, "pending").grade == "good"
    os.utime(left, (1, 1))
    assert verdict(sound, "pending").grade == "note"


def test_what_was_put_aside_is_a_note(sound: Path) -> None:
    (sound / "quarantine" / "x.bytes").write_text("")
    assert verdict(sound, "quarantine").grade == "note"


def test_a_damaged_index_is_a_note_and_is_left_as_it_is(sound: Path) -> None:
    (index,) = (sound / "index").glob("*.sqlite")
    index.write_bytes(b"nonsense" * 1000)
    found = verdict(sound, "index")
    assert found.grade == "note"
    assert "reindex" in (found.advice or "")
    assert index.read_bytes() == b"nonsense" * 1000


def test_without_an_index_none_is_made(sound: Path) -> None:
    for path in (sound / "index").iterdir():
        path.unlink()
    assert verdict(sound, "index").grade == "good"
    assert list((sound / "index").iterdir()) == []


# The command


def test_the_command_prints_a_line_for_each_and_which_folder_it_is_about(sound: Path) -> None:
    done = run("doctor", "--root", sound)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [row[1] for row in rows] == NAMES
    assert {row[0] for row in rows} <= {"good", "note"}
    assert str(sound) in done.stderr


def test_the_command_tells_programs_the_same(sound: Path) -> None:
    told = json.loads(run("doctor", "--json", "--root", sound).stdout)
    assert (told["root"], told["ok"]) == (str(sound), True)
    assert [one["name"] for one in told["verdicts"]] == NAMES
    assert all(one.keys() == {"name", "grade", "found", "advice"} for one in told["verdicts"])


def test_what_is_bad_is_the_status_1(sound: Path) -> None:
    sound.chmod(0o777)
    done = run("doctor", "--root", sound)
    assert done.returncode == 1
    assert "bad\tfolder\t" in done.stdout
    assert json.loads(run("doctor", "--json", "--root", sound).stdout)["ok"] is False
    assert run("doctor", "--root", sound, HIERSTORE_SHARED="1").returncode == 0
    sound.chmod(0o700)


def test_it_works_where_no_store_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("doctor", "--root", tmp_path / "file")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert run("doctor", "--root", tmp_path / "not-yet").returncode == 0


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_in_a_terminal_it_fits_and_grades_have_colours(sound: Path, columns: int) -> None:
    with Terminal("doctor", "--root", sound, columns=columns) as terminal:
        assert terminal.end() == 0
        assert any(line.startswith("good") for line in terminal.lines)
        assert max(map(len, terminal.lines)) <= columns
        place = next(number for number, line in enumerate(terminal.lines) if line.startswith("good"))
        assert terminal.screen.buffer[place][0].fg == "green"


def test_the_index_is_files_own(sound: Path) -> None:
    examine(sound)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (sound / "index").iterdir())
