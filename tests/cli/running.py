"""Running the real command: in a process of its own, over pipes or in a terminal.

No run knows the user: home, data and what the command remembers are in a temporary folder of this test process.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from functools import cache
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
COLUMNS = 80
COMMAND = [sys.executable, "-m", "hierstore"]
SOURCE = Path(__file__).parents[2]

_STEERING = frozenset(
    ["HIERSTORE_ROOT", "HIERSTORE_SHARED", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
     "COLORTERM", "LC_ALL", "LC_CTYPE", "LANG", "LANGUAGE", "EDITOR", "VISUAL", "PAGER", "_HIERSTORE_COMPLETE"]
)  # fmt: skip
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@cache
def home() -> str:
    """A home for the commands of this test process; gone when it ends."""
    folder = tempfile.mkdtemp(prefix="hierstore-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """The test's environment without what steers the command; a warning in the command is an error."""
    kept = {name: value for name, value in os.environ.items() if name not in _STEERING}
    folder = home()
    return {
        **kept,
        "HOME": folder,
        **{f"XDG_{name}_HOME": f"{folder}/{name.lower()}" for name in ("STATE", "DATA", "CACHE", "CONFIG")},
        # The checkout that is tested, whatever folder the command is run in.
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, [kept.get("PYTHONPATH")])]),
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color",
        "TZ": "UTC",
        **more,
    }


def run(
    *arguments: object, typed: str | None = None, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command over pipes, to its end.

    Args:
        arguments: the command's.
        typed: what stands in its standard input; none is there without it.
        cwd: the folder to run it in.
        more: further environment.
    """
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if typed is None else {"input": typed}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(**more),
        cwd=cwd,
        timeout=PATIENCE_S,
        check=False,
        **given,
    )


def start(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """Start the command over pipes, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(**more),
        start_new_session=True,
    )


def run_in_terminal(
    *arguments: object, columns: int = COLUMNS, typed: str = "", cwd: Path | None = None, **more: str
) -> tuple[str, int]:
    """Run the command in a terminal, to its end: what it wrote there, and its status.

    Args:
        arguments: the command's.
        columns: the terminal's width.
        typed: what is typed beforehand; the terminal echoes it.
        cwd: the folder to run it in.
        more: further environment.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment(**more)
    )
    os.close(theirs)
    try:
        if typed:
            os.write(ours, typed.encode())
        written = _drain(ours)
        return written.decode().replace("\r\n", "\n"), process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _drain(descriptor: int) -> bytes:
    written = bytearray()
    while select.select([descriptor], [], [], PATIENCE_S)[0]:
        try:
            piece = os.read(descriptor, 2**16)
        except OSError:  # the last process that had the terminal is gone
            break
        if not piece:
            break
        written += piece
    return bytes(written)


def plain(written: str) -> list[str]:
    """The lines without their colours."""
    return _STYLE.sub("", written).split("\n")


def is_one_sentence(text: str) -> bool:
    """Whether this is one line that a person can read, and no traceback."""
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].endswith(".") and " " in lines[0] and "Traceback" not in text


def write_json(path: Path, value: Any) -> Path:
    """A file of one JSON value."""
    path.write_text(json.dumps(value))
    return path


def write_lines(path: Path, values: list[Any]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path
