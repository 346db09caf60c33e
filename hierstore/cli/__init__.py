"""The command ``hierstore``: one file per command, and this way in.

It needs the extra ``cli`` (typer, rich and a little more). Nothing of it is imported before ``main`` is called: worker
processes come through here too, and need none of it.
"""

from __future__ import annotations

import os
import sys

_EXTRA = ("typer", "rich", "platformdirs", "markdown_it")


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
        sys.stderr.write('The command hierstore needs its extra: pip install "hierstore[cli]"\n')
        sys.exit(1)


def _run() -> None:
    # What the terminal's encoding does not have is shown escaped: a title must not end a command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if "_HIERSTORE_COMPLETE" in os.environ:
        from hierstore.cli.completion import answer

        sys.stdout.write(answer())
        sys.exit(0)
    from hierstore.cli.app import app

    app(prog_name="hierstore")
