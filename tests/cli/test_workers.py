from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

from hierstore.cli.workers import START_TIMEOUT_S
from tests.cli.running import PATIENCE_S, environment

BEGIN = """
import os, signal
from hierstore.cli.workers import results, working
"""


def _run(code: str) -> tuple[int, str, str]:
    """Run a program in a process group of its own, until every process that has its pipes is gone."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, stdout, stderr


def test_idle_workers_end_when_the_command_is_killed() -> None:
    code, stdout, _ = _run("""
        with working(2, together=True) as workers:
            results([workers.submit(os.getpid) for _ in range(2)])
            print("idle", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert (code, stdout) == (-signal.SIGKILL, "idle\n")


def test_ctrl_c_reaches_the_command_and_not_its_workers() -> None:
    code, stdout, stderr = _run("""
        with working(2, together=True) as workers:
            results([workers.submit(os.getpid) for _ in range(2)])
            try:
                os.killpg(0, signal.SIGINT)
                signal.pause()
            except KeyboardInterrupt:
                print("interrupted")
            print(len(results([workers.submit(os.getpid) for _ in range(20)])))
    """)
    assert (code, stdout, stderr) == (0, "interrupted\n20\n", "")


def test_a_worker_that_dies_is_a_sentence_and_not_a_hang() -> None:
    code, stdout, stderr = _run("""
        from hierstore.cli.text import Refused
        try:
            with working(2, together=True) as workers:
                results([workers.submit(os._exit, 1), workers.submit(os.getpid)])
        except Refused as error:
            print(error)
    """)
    assert code == 0, stderr
    assert stdout.startswith("A worker process died;")


def test_workers_that_wait_for_one_that_failed_give_way_to_its_error(tmp_path: object) -> None:
    began = time.monotonic()
    code, stdout, stderr = _run(f"""
        from hierstore import SessionNotFound, SessionStore
        from hierstore.cli.playing import play
        with SessionStore({str(tmp_path)!r}) as store:
            store.create("lead")
        try:
            with working(2, together=True) as workers:
                # The second finds no session, so the first waits for it in vain.
                results([workers.submit(play, {str(tmp_path)!r}, name, 1) for name in ("lead", "nobody")])
        except SessionNotFound as error:
            print(error.session_id)
    """)
    assert (code, stdout) == (0, "nobody\n"), stderr
    assert time.monotonic() - began < START_TIMEOUT_S, "it was waited for"
