"""The world that the examples of the commands' help stand in: a store with a few sessions, and a folder with two files.

In the store: ``support-42`` (five messages, a snapshot ``answered``, the route key ``telegram:chat:42``), its fork
``support-42-branch``, its child ``helper-1``, ``notes`` (pinned), and ``old-chat`` in the trash. In the folder:
``chats.json`` and ``bundle.jsonl``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hierstore import SessionStore, clock
from tests.cli.running import PATIENCE_S, environment, write_json

_EXAMPLE = re.compile(r"^ *Example:\n((?: +hierstore .*\n?)+)", re.MULTILINE)

_ASKED = "Where is my refund for order 42?"
_CALL = {"id": "call_1", "type": "function", "function": {"name": "find_order", "arguments": '{"order": 42}'}}
_CHATS: list[dict[str, Any]] = [
    {"role": "user", "content": "Which plan has the most storage?"},
    {"role": "assistant", "content": "The **team** plan: 2 TB for each member."},
]


@dataclass(frozen=True, slots=True)
class World:
    """Where the examples are run.

    Attributes:
        folder: the folder that they are run in.
        store: the store's folder.
    """

    folder: Path
    store: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What the examples are run with; ``hierstore`` is this checkout's, and remembers nothing of other worlds."""
        own = {f"XDG_{name}_HOME": str(self.folder.parent / name.lower()) for name in ("STATE", "DATA", "CACHE")}
        path = os.pathsep.join([str(self.folder.parent / "bin"), os.environ.get("PATH", os.defpath)])
        return environment(HIERSTORE_ROOT=str(self.store), PATH=path, **{**own, **more})

    def run(self, line: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in the folder; what it says on stderr stands in ``stdout`` too, in its place."""
        return subprocess.run(
            ["sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env=self.environment(**more),
            timeout=PATIENCE_S,
            check=False,
        )


def examples(help_text: str) -> list[str]:
    """The lines of a command's example, as its help has them."""
    found = _EXAMPLE.search(help_text)
    return [] if found is None else [line.strip() for line in found[1].splitlines()]


def build(place: Path) -> World:
    """Make the world in an empty folder."""
    world = World(place / "project", place / "store")
    world.folder.mkdir()
    _install(place / "bin")
    with SessionStore(world.store) as store:
        with mock.patch.object(clock, "now", _Past().now):
            _fill(store)
        lines = b"".join(store.export_lines("support-42"))
    write_json(world.folder / "chats.json", _CHATS)
    (world.folder / "bundle.jsonl").write_bytes(lines)
    return world


class _Past:
    """A clock that starts three days ago and goes on by a minute whenever it is looked at."""

    def __init__(self) -> None:
        self._now_s = time.time() - 3 * 86_400

    def now(self) -> float:
        self._now_s += 60
        return self._now_s


def _install(folder: Path) -> None:
    """A ``hierstore`` on the PATH that is this checkout's."""
    folder.mkdir()
    command = folder / "hierstore"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hierstore "$@"\n')
    command.chmod(0o755)


def _fill(store: SessionStore) -> None:
    old = store.create("old-chat", title="A chat that is over")
    old.append("user", "Thank you, that is all.")
    store.delete("old-chat")
    notes = store.create("notes", title="Notes on refunds", labels=["howto"])
    notes.append("user", "A refund takes three working days.")
    notes.update(pinned=True)
    chat = store.create("support-42", title="Refund for order 42", labels=["refunds"], metadata={"channel": "telegram"})
    store.bind("telegram:chat:42", chat)
    chat.append("user", _ASKED)
    chat.append("assistant", None, tool_calls=[_CALL])
    chat.append("tool", '{"refunded": "friday"}', tool_call_id="call_1")
    chat.append("assistant", "It was paid on Friday; your bank shows it within **two days**.")
    chat.snapshot("answered")
    chat.append("user", "And for order 43?")
    chat.add_usage(input_tokens=812, output_tokens=96, cost_usd=0.004)
    branch = chat.fork("support-42-branch", at=chat.messages[1].id, title="What if we ask the bank?")
    branch.append("assistant", "I ask the bank first.")
    helper = chat.spawn("helper-1", kind="delegate", title="Look up the bank's answer")
    helper.append("system", "You look things up.")
