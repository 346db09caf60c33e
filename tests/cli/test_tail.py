"""``hierstore tail``: the last messages, and those that come. The tests wait for lines, never for time."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import IO

import pytest

from hierstore import SessionStore
from hierstore.cli.following import Following
from tests.cli.running import PATIENCE_S, run, start
from tests.support import fill


class Tail:
    """A ``tail`` under way: its lines as they come.

    Attributes:
        process: the command.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: Queue[str] = Queue()
        self.err: Queue[str] = Queue()
        self._readers = [self._read(process.stdout, self.out), self._read(process.stderr, self.err)]

    @staticmethod
    def _read(stream: IO[str] | None, lines: Queue[str]) -> threading.Thread:
        assert stream is not None

        def read() -> None:
            with stream:
                for line in stream:
                    lines.put(line.rstrip("\n"))

        thread = threading.Thread(target=read)
        thread.start()
        return thread

    def until(self, text: str, lines: Queue[str] | None = None) -> list[str]:
        """The lines up to one that holds a text."""
        found: list[str] = []
        while not found or text not in found[-1]:
            found.append((self.out if lines is None else lines).get(timeout=PATIENCE_S))
        return found

    def interrupt(self) -> int:
        """Send what Ctrl-C sends; the status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()


@contextmanager
def tailing(*arguments: object) -> Iterator[Tail]:
    tail = Tail(start(*arguments))
    try:
        yield tail
    finally:
        tail.close()


def test_the_last_messages_are_printed_and_it_ends(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), "one", "two", "three\nlines")
    done = run("tail", "s", "--last", "2", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [lines[0][:7], *lines[1:2], lines[2][:7], *lines[3:]] == [
        "#2 user",
        "  two",
        "#3 user",
        "  three",
        "  lines",
    ]
    assert run("tail", "s", "--last", "0", "--root", root).stdout == ""
    assert len(run("tail", "s", "-n", "1", "--root", root).stdout.splitlines()) == 3


def test_ten_messages_are_the_default(root: Path, store: SessionStore) -> None:
    fill(store.create("s"), *map(str, range(15)))
    printed = run("tail", "s", "--root", root).stdout.splitlines()
    assert [line.strip() for line in printed[1::2]] == [str(number) for number in range(5, 15)]


def test_several_sessions_have_their_names_above(root: Path, store: SessionStore) -> None:
    fill(store.create("a"), "one", "two")
    fill(store.create("b"), "three")
    lines = run("tail", "a", "b", "a", "--root", root).stdout.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "==> a <==",
        "  one",
        "  two",
        "==> b <==",
        "  three",
    ]


def test_json_prints_a_line_for_each_message(root: Path, store: SessionStore) -> None:
    fill(store.create("a"), "one")
    fill(store.create("b"), {"any": "JSON"})
    found = [json.loads(line) for line in run("tail", "a", "b", "--json", "--root", root).stdout.splitlines()]
    assert [(row["session"], row["seq"], row["content"]) for row in found] == [
        ("a", 1, "one"),
        ("b", 1, {"any": "JSON"}),
    ]


def test_what_another_process_appends_is_printed_as_it_comes(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one")
    with tailing("tail", "-f", "s", "--root", root) as tail:
        tail.until("one")
        fill(session, "two")
        tail.until("two")
        with session.turn() as turn:
            turn.append("assistant", "three")
            turn.append("tool", "four")
        lines = tail.until("four")
    assert [lines[0][:12], lines[1], lines[2][:7], lines[3]] == ["#3 assistant", "  three", "#4 tool", "  four"]


def test_following_ends_with_130_at_ctrl_c_and_the_store_is_whole(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one")
    with tailing("tail", "-f", "s", "--root", root) as tail:
        tail.until("one")
        assert tail.interrupt() == 130
        tail.close()
        assert tail.err.empty()
    fill(session, "two")


def test_nothing_is_missed_or_told_twice_however_fast_it_comes(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "0")
    stop = threading.Event()

    def write() -> None:
        number = 1
        while not stop.is_set():
            fill(session, str(number))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with tailing("tail", "-f", "s", "--last", "1", "--json", "--root", root) as tail:
            first = json.loads(tail.until("content")[0])["seq"]
            seqs = [json.loads(tail.until("content")[0])["seq"] for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert seqs == list(range(first + 1, first + 301))


def test_several_sessions_are_followed_at_once_and_others_are_not(root: Path, store: SessionStore) -> None:
    a, b, other = (fill(store.create(name), f"{name}1") for name in ("a", "b", "other"))
    with tailing("tail", "-f", "a", "b", "--root", root) as tail:
        tail.until("b1")
        fill(other, "other2")
        fill(a, "a2")
        lines = tail.until("a2")
        fill(b, "b2")
        lines += tail.until("b2")
    assert [line for line in lines if not line.startswith("#")] == ["==> a <==", "  a2", "==> b <==", "  b2"]


def test_reverts_resets_and_deletion_are_said_on_stderr_and_it_goes_on(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two")
    with tailing("tail", "-f", "s", "--root", root) as tail:
        tail.until("two")
        session.revert(session.messages[0])
        assert "reverted" in tail.until("s:", tail.err)[-1]
        session.undo_revert()
        assert "undone" in tail.until("s:", tail.err)[-1]
        session.reset("why")
        assert "why" in tail.until("s:", tail.err)[-1]
        fill(session, "three")
        tail.until("three")
        store.delete("s")
        assert "trash" in tail.until("s:", tail.err)[-1]
        fill(store.restore("s"), "four")
        assert "restored" in tail.until("s:", tail.err)[-1]
        tail.until("four")


def test_a_session_made_anew_under_the_same_id_is_followed_from_its_first_message(
    root: Path, store: SessionStore
) -> None:
    fill(store.create("s"), "one", "two", "three")
    with tailing("tail", "-f", "s", "--root", root) as tail:
        tail.until("three")
        store.delete("s")
        fill(store.create("s"), "of the new one")
        tail.until("of the new one")
        assert tail.process.poll() is None


def test_a_compaction_hides_no_message_from_who_follows(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "one", "two")
    with store.watch(session=session, mode="off") as watcher:
        following = Following(store, [session], watcher)
        assert [said.message.content for said in following.last(9) if said.message] == ["one", "two"]
        fill(session, "undone")
        session.revert(session.messages[1])
        fill(session, "kept")
        session.compact(keep="present")
        coming = [said.message.content for said in following.coming() if said.message]
        assert coming == ["kept"]


def test_what_comes_between_listing_and_following_is_told_once(root: Path, store: SessionStore) -> None:
    session = fill(store.create("s"), "before")
    with store.watch(session=session, mode="off") as watcher:
        fill(session, "between")
        following = Following(store, [session], watcher)
        listed = [said.message.content for said in following.last(9) if said.message]
        fill(session, "after")
        coming = [said.message.content for said in following.coming() if said.message]
        assert (listed, coming) == (["before", "between"], ["after"])


@pytest.mark.parametrize("arguments", [("tail",), ("tail", "s", "--last", "-1")])
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], root: Path, store: SessionStore) -> None:
    store.create("s")
    assert run(*arguments, "--root", root).returncode == 2
