"""The command ``hierstore``: one file per command, and this way in.

It needs the extra ``cli`` (typer and rich). Nothing of it is imported before ``main`` is called: worker processes come
through here too, and need neither.
"""

from __future__ import annotations

import sys

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command with the process's arguments; always ends in SystemExit.

    The status is 0, or 1 after one sentence on stderr, 2 for wrong usage, 130 after Ctrl-C.
    """
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write('The command hierstore needs typer and rich: pip install "hierstore[cli]"\n')
        sys.exit(1)


def _run() -> None:
    # What the terminal's encoding does not have is shown escaped: a title must not end a command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from hierstore.cli.app import app

    app(prog_name="hierstore")
