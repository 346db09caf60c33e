"""Running the real command: in a process of its own, over pipes or in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
COLUMNS = 80
COMMAND = [sys.executable, "-m", "hierstore"]

_STEERING = ("HIERSTORE_ROOT", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def environment(**more: str) -> dict[str, str]:
    """The test's environment without what steers the command; a warning in the command is an error."""
    kept = {name: value for name, value in os.environ.items() if name not in _STEERING}
    return {**kept, "PYTHONWARNINGS": "error", "TERM": "xterm-256color", **more}


def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command over pipes, to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        env=environment(**more),
        timeout=PATIENCE_S,
        check=False,
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command over pipes, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def run_in_terminal(*arguments: object) -> tuple[str, int]:
    """Run the command in a terminal of 80 columns: what it wrote there, and its status."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    try:
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
