"""Redo records: work on several sessions that must happen whole or not at all, written down before it begins.

A record is a file ``tmp/<id>.json``, complete from the moment it has that name. It is written and removed under the
tree's lock, so whoever holds that lock and finds one knows that its writer is dead, and finishes the work.
"""

from __future__ import annotations

import os
from typing import Any

from hierstore.disk import files
from hierstore.disk.layout import Layout
from hierstore.values import encode, loads

SUFFIX = b".json"


def begin(layout: Layout, record: dict[str, Any]) -> bytes:
    """Write a record down; from here on the work will be done, by us or by the next to open the store.

    It is on the medium when this returns, in either durability: the files that the work touches get there in any order,
    and without the record a power cut would leave half of it.
    """
    scratch = layout.scratch(b".part")
    path = scratch.removesuffix(b".part") + SUFFIX
    try:
        fd = files.create(scratch, layout.file_mode)
        try:
            files.write_all(fd, encode(record, "journal") + b"\n")
            files.sync(fd)
        finally:
            files.close(fd)
        files.rename(scratch, path)
    except OSError:
        files.remove(scratch)
        raise
    files.sync_directory(layout.tmp)
    return path


def finish(path: bytes) -> None:
    """The work is done, and on the medium.

    So is the record's end when this returns: if it came back after a power cut, what was done since would be undone.
    """
    files.remove(path)
    files.sync_directory(os.path.dirname(path))


def pending(layout: Layout) -> list[bytes]:
    """The records that are there, the oldest first."""
    return sorted(os.path.join(layout.tmp, name) for name in files.names(layout.tmp) if name.endswith(SUFFIX))


def load(path: bytes) -> dict[str, Any] | None:
    """A record's content; None when it is gone."""
    try:
        fd = files.open_regular(path, files.READ)
    except FileNotFoundError:
        return None
    try:
        record: dict[str, Any] = loads(files.read(fd, files.fstat(fd).st_size, 0))
    finally:
        files.close(fd)
    return record
