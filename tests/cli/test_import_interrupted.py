from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hierstore import SessionStore
from tests.cli.running import COMMAND, PATIENCE_S, environment, is_one_sentence, run, start, write_json
from tests.processes import state_of, wait_until

CONVERSATIONS = 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """More than an import can do before it is told to stop."""
    return write_json(
        tmp_path / "f.json",
        [
            {"task_id": task, "messages": [{"role": "user", "content": f"{task} {n}"} for n in range(10)]}
            for task in range(CONVERSATIONS)
        ],
    )


def _wait_for_sessions(root: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(root.glob("sessions/*/*.jsonl")):
        assert time.monotonic() < deadline, "the import did not begin"
        time.sleep(0.005)


def _check_part_and_complete(file: Path, root: Path) -> None:
    with SessionStore(root) as store:
        assert (report := store.check()).ok
        assert 0 < report.sessions < 2 * CONVERSATIONS
        counts = {child.message_count for tree in store.tree() for child in tree.children}
        assert counts <= {0, 10}, "a conversation is there whole or not at all"
    assert run("import", file, "--root", root, "--processes", "2").returncode == 0
    with SessionStore(root) as store:
        assert (report := store.check()).ok
        assert (report.sessions, report.messages) == (2 * CONVERSATIONS, 10 * CONVERSATIONS)
        said = [message.content for message in store.get(f"f/{CONVERSATIONS - 1}/#1").messages]
        assert said == [f"{CONVERSATIONS - 1} {n}" for n in range(10)]


@pytest.mark.parametrize("processes", [1, 3])
def test_ctrl_c_ends_with_130_leaves_a_whole_store_and_a_second_run_completes_it(
    processes: int, file: Path, root: Path
) -> None:
    command = start("import", file, "--root", root, "--processes", processes)
    _wait_for_sessions(root)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    stdout, stderr = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130
    assert stdout == ""
    assert is_one_sentence(stderr), stderr[-2000:]
    assert stderr.startswith("Interrupted")
    _check_part_and_complete(file, root)


def test_killed_it_leaves_a_whole_store_and_no_worker_behind(file: Path, root: Path) -> None:
    command = start("import", file, "--root", root, "--processes", "2")
    _wait_for_sessions(root)
    command.kill()
    # Ends when the last process that has the pipes is gone.
    command.communicate(timeout=PATIENCE_S)
    assert command.returncode == -signal.SIGKILL
    _check_part_and_complete(file, root)


def test_ctrl_c_in_the_middle_of_a_bundle_leaves_nothing_of_it(tmp_path: Path, root: Path) -> None:
    with SessionStore(tmp_path / "source") as source:
        source.create("top").append("user", "hello")
        lines = list(source.export_lines("top"))
    with SessionStore(root) as store:
        store.create("before")
    command = subprocess.Popen(
        [*COMMAND, "import", "-", "--root", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert command.stdin is not None
    command.stdin.write(b"".join(lines[:-1]).decode())
    command.stdin.flush()
    deadline = time.monotonic() + PATIENCE_S
    while not any((root / "tmp").iterdir()):
        assert time.monotonic() < deadline, "the import did not begin"
        time.sleep(0.005)
    # It has begun, and waits for the rest: an interruption between making a file and being ready to remove it is
    # another matter, of which a leftover in tmp/ is all that may stay.
    wait_until(lambda: state_of(command.pid) == "S", "it did not wait for more")
    command.send_signal(signal.SIGINT)
    stdout, stderr = command.communicate(timeout=PATIENCE_S)
    assert (command.returncode, stdout) == (130, "")
    assert is_one_sentence(stderr), stderr
    assert not any((root / "tmp").iterdir())
    with SessionStore(root) as store:
        assert [tree.id for tree in store.tree()] == ["before"]
        assert store.check().problems == ()
