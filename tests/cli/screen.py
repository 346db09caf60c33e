"""A terminal that is looked at: the command runs in a pseudo-terminal of its own, and what stands on the screen is read.

It is the command's controlling terminal, so that a typed Ctrl-C is the terminal's own.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pyte

from tests.cli.running import COLUMNS, COMMAND, PATIENCE_S, environment

# A terminal gives these no cell; pyte drops with them what is written behind them.
_FORMATS = re.compile("[\u200b-\u200f\u2066-\u2069\ufe0e\ufe0f]")
INTERRUPT = "\x03"
END_OF_INPUT = "\x04"


class Terminal:
    """A command in a terminal; a context manager, whose end kills what still runs.

    Args:
        arguments: the command's; ``program`` before them instead of ``hierstore``.
        columns, rows: the terminal's size.
        program: what to run.
        cwd: the folder to run it in.
        more: further environment.

    Attributes:
        written: everything that was written to the terminal, escape sequences too.
        screen: pyte's: a cell for each column, with its colour.
    """

    def __init__(
        self,
        *arguments: object,
        columns: int = COLUMNS,
        rows: int = 50,
        program: list[str] | None = None,
        cwd: Path | None = None,
        **more: str,
    ) -> None:
        self.written = ""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        # A character may come in two pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._has_ended = False
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [*(COMMAND if program is None else program), *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=environment(**more),
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # one system call, in which no thread has a say
        )
        os.close(theirs)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without the empty lines below."""
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def type(self, text: str) -> None:
        """Type something; ``INTERRUPT`` is Ctrl-C."""
        os.write(self._ours, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, as a user does who pulls at the window."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str) -> None:
        """Read until something stands on the screen.

        Raises:
            AssertionError: the command ended, or much time passed, without it.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not any(text in line for line in self.lines):
            assert time.monotonic() < deadline, f"{text!r} did not come; on the screen is:\n" + "\n".join(self.lines)
            assert self._read(), f"it ended without {text!r}; on the screen is:\n" + "\n".join(self.lines)

    def end(self) -> int:
        """Read until the command ends; its status."""
        while self._read():
            pass
        return self.process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Take what comes next; False when nothing will."""
        if self._has_ended or not select.select([self._ours], [], [], PATIENCE_S)[0]:
            return False
        try:
            piece = os.read(self._ours, 2**16)
        except OSError:  # the last process that had the terminal is gone
            piece = b""
        self._has_ended = not piece
        text = self._decoder.decode(piece)
        self.written += text
        self._stream.feed(_FORMATS.sub("", text))
        return bool(piece)

    def close(self) -> None:
        """Kill the command, if it still runs, and close the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def shown(*arguments: object, columns: int = COLUMNS, rows: int = 300, **more: str) -> list[str]:
    """Run the command in a terminal to its end: the lines that then stand on the screen. It must succeed."""
    with Terminal(*arguments, columns=columns, rows=rows, **more) as terminal:
        status = terminal.end()
        assert status == 0, "\n".join(terminal.lines)
        return terminal.lines
