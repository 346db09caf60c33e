"""Input that cannot be imported: one sentence, status 1, and nothing written, not even the store's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.cli.running import is_one_sentence, run, run_in_terminal, write_json
from tests.support import contents

GOOD = [{"role": "user", "content": "hello"}]
RECORDS = json.dumps([{"task_id": number, "traj": GOOD} for number in range(20)])
LINES = "".join(json.dumps({"task_id": number, "traj": GOOD}) + "\n" for number in range(20))

BAD = {
    "empty": ("", "empty"),
    "blank": (" \n\n", "empty"),
    "not JSON": ("hello", "not JSON"),
    "cut off": (RECORDS[:-40], "cut off"),
    "cut off in a text": (RECORDS[: RECORDS.rindex("hello") + 2], "cut off"),
    "cut off between records": (RECORDS[: RECORDS.rindex("{")], "cut off"),
    "lines, cut off": (LINES[:-10], "cut off"),
    "a bad line": (LINES + "oops\n" + LINES, "line 21"),
    "an empty array": ("[]", "no messages"),
    "records without messages": ('[{"task_id": 1, "traj": []}]', "no messages"),
    "an object without messages": ('{"a": 1}', "no messages"),
    "numbers": ("[1, 2]", "neither"),
    "a text": ('"text"', "neither"),
    "messages among records": (json.dumps([{"traj": GOOD}, *GOOD]), "record 2"),
    "a message without a role": (json.dumps({"traj": [*GOOD, {"content": "x"}]}), "item 2"),
    "a role that is no text": ('[{"role": 7, "content": "x"}]', "role"),
    "an empty role": ('[{"role": "", "content": "x"}]', "role"),
    "not a number": (f'[{{"traj": {json.dumps(GOOD)}}}, {{"traj": [{{"role": "user", "content": NaN}}]}}]', "record 2"),
    "an integer beyond 64 bits": ('[{"role": "user", "content": 18446744073709551616}]', "64 bits"),
    "an integer of 5,000 digits": (f'[{{"role": "user", "content": {"1" * 5000}}}]', "digits"),
    "half a character": ('[{"role": "user", "content": "\\ud800"}]', "surrogate"),
    "half a character in a field": ('[{"role": "user", "content": "", "name": "\\ud800"}]', "surrogate"),
    "half a character in metadata": ('{"traj": [{"role": "user"}], "info": "\\ud800"}', "surrogate"),
    "too deep for a parser": ("[" * 100_000, "deep"),
    "too deep for the store": (f'[{{"role": "user", "content": {"[" * 300}{"]" * 300}}}]', "deep"),
    "too large": (f'[{{"role": "user", "content": "{"x" * (16 * 2**20 + 1)}"}}]', "16 MiB"),
    "a field too large": (f'[{{"role": "user", "content": "", "f": "{"x" * (16 * 2**20 + 1)}"}}]', "16 MiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_imported_is_one_sentence_and_nothing_is_written(
    name: str, tmp_path: Path, root: Path
) -> None:
    text, reason = BAD[name]
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    good = write_json(tmp_path / "good.json", GOOD)
    done = run("import", good, bad, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr), done.stderr[:500]
    assert str(bad) in done.stderr
    assert reason in done.stderr
    assert done.stdout == ""
    assert not root.exists()


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, root: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(b'[{"role": "user", "content": "\xff"}]')
    done = run("import", bad, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert not root.exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "unnameable"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path, root: Path) -> None:
    path = tmp_path / ("x" * 300 if kind == "unnameable" else "x\x1b[2J.json")
    if kind == "folder":
        path.mkdir()
    done = run("import", path, "--root", root)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "\x1b" not in done.stderr
    assert not root.exists()


def test_a_store_that_is_there_stays_as_it_is(tmp_path: Path, root: Path) -> None:
    with SessionStore(root) as store:
        store.create("before").append("user", "x")
    before = contents(root)
    bad = tmp_path / "bad.json"
    bad.write_text(RECORDS[:-40])
    assert run("import", bad, "--root", root).returncode == 1
    assert contents(root) == before


def test_a_file_name_with_escape_sequences_does_not_act_on_the_terminal(tmp_path: Path, root: Path) -> None:
    written, status = run_in_terminal("import", tmp_path / "x\x1b[2J.json", "--root", root)
    assert status == 1
    assert "x\\x1b[2J.json cannot be read" in written
    assert "\x1b[2J" not in written
