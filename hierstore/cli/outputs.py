"""Where an export goes: standard output, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from hierstore.cli.text import Refused


def print_pieces(pieces: Iterable[bytes]) -> None:
    """Write to standard output, as it is, whatever the terminal's encoding."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def check_target(path: str, *, force: bool) -> None:
    """Refuse a file that cannot be written, before the work is done.

    Raises:
        Refused: it is there already and not to be replaced.
    """
    is_dangling = os.path.islink(path) and not os.path.exists(path)
    if not force and (os.path.isfile(path) or is_dangling):
        raise _taken(path)


def write_file(path: str, pieces: Iterable[bytes], *, force: bool) -> int:
    """Write a file, which gets its name when it is whole: an error or Ctrl-C on the way leaves what was there.

    What is no regular file (a pipe, a device) is written to as it is.

    Returns:
        How many bytes.

    Raises:
        Refused: it cannot be written, or is there already and not to be replaced.
    """
    check_target(path, force=force)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                return _write(file, pieces)
        return _write_beside(path, pieces, force=force)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}.") from None


def _write_beside(path: str, pieces: Iterable[bytes], *, force: bool) -> int:
    # Not a name made of the file's: that may be as long as a name can be.
    scratch = os.path.join(os.path.dirname(path), f".hierstore-{secrets.token_hex(8)}.part")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            written = _write(file, pieces)
            os.fsync(file.fileno())
        _name(scratch, path, force=force)
        return written
    finally:
        with suppress(FileNotFoundError):
            os.unlink(scratch)


def _write(file: BinaryIO, pieces: Iterable[bytes]) -> int:
    written = 0
    for piece in pieces:
        file.write(piece)
        written += len(piece)
    file.flush()
    return written


def _name(scratch: str, path: str, *, force: bool) -> None:
    if not force:
        try:
            # Fails where somebody made such a file meanwhile; a rename would replace it.
            os.link(scratch, path)
            return
        except FileExistsError:
            raise _taken(path) from None
        except OSError:
            # The file system has no hard links.
            if os.path.lexists(path):
                raise _taken(path) from None
    os.replace(scratch, path)


def _taken(path: str) -> Refused:
    return Refused(f"{path} is there already; --force replaces it.")
