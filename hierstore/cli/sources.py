"""What an import is given: a file, standard input or a folder; and what that is, by what it holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

from hierstore.cli.jsonfile import items_of, maybe_object
from hierstore.cli.text import Refused
from hierstore.reports import SourceProblem

STDIN = "-"
FORMATS = ("conversations", "bundle", "praisonai", "claude-code")

Layout = Literal["praisonai", "claude-code"]
Report = Callable[[SourceProblem], object]
_LAYOUTS: dict[str, Layout] = {"praisonai": "praisonai", "claude-code": "claude-code"}

_HEAD_BYTES = 2**20
_TRANSCRIPT_MARKS = frozenset(["sessionId", "uuid", "leafUuid", "messageId"])


@dataclass(frozen=True, slots=True)
class Source:
    """Something to be imported; a context manager that closes what is open.

    Attributes:
        path: as it was given.
        name: what sentences call it.
        form: ``"conversations"``, ``"bundle"``, ``"lines"`` (a bundle as lines) or ``"folder"``.
        layout: of a folder, if it was said.
        items: the values that a file holds; none of lines and folders.
        head: the first of the lines.
        rest: those that follow.
    """

    path: str
    name: str
    form: str
    layout: Layout | None = None
    items: list[Any] = field(default_factory=list, repr=False)
    head: bytes = field(default=b"", repr=False)
    rest: BinaryIO | None = field(default=None, repr=False)

    def lines(self) -> Generator[bytes, None, None]:
        """The lines of a bundle, once: it may be a pipe that they come from."""
        yield self.head
        yield from self.rest or ()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self.rest is not None and self.path != STDIN:
            self.rest.close()


def recognised(path: str, wanted: str | None = None, report: Report = lambda _: None) -> list[Source]:
    """What a path leads to. A file is read, unless it is lines that can be taken one by one.

    Args:
        path: a file, a folder, or ``-``: standard input. A folder may also be one of folders that are taken.
        wanted: which of ``FORMATS`` it is; None: found out.
        report: called for each folder in a folder that is left out.

    Raises:
        Refused: it cannot be read, or is not what it should be.
    """
    if path != STDIN and os.path.isdir(path):
        if wanted is not None and wanted not in _LAYOUTS:
            raise Refused(f"{path} is a folder, and --as {wanted} takes files.")
        return _folders(path, None if wanted is None else _LAYOUTS[wanted], report)
    if wanted in _LAYOUTS:
        raise Refused(f"{path} is no folder, and --as {wanted} takes the folder that another program keeps.")
    name = "standard input" if path == STDIN else path
    try:
        with ExitStack() as stack:
            stream = sys.stdin.buffer if path == STDIN else stack.enter_context(open(path, "rb"))
            source = _file(path, name, stream, wanted)
            if source.rest is not None:
                stack.pop_all()
            return [source]
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise Refused(f"{name} cannot be read: {error}.") from None


def _folders(path: str, layout: Layout | None, report: Report) -> list[Source]:
    """A folder, if it holds what it should, else those in it that do: seen before a store is made for them."""
    fault = _fault(path, layout)
    if fault is None:
        return [Source(path, path, "folder", layout)]
    sources = []
    for inner in _inner(path):
        inner_fault = _fault(inner, layout)
        if inner_fault is None:
            sources.append(Source(inner, inner, "folder", layout))
        else:
            report(SourceProblem(inner, None, inner_fault))
    if not sources:
        raise Refused(fault)
    return sources


def _fault(path: str, layout: Layout | None) -> str | None:
    """Why a folder cannot be taken, a sentence; None if it can."""
    from hierstore.errors import InvalidRecord
    from hierstore.transfer import foreign

    try:
        foreign.read(path, layout, foreign.silent)
    except InvalidRecord as error:
        return str(error)
    return None


def _inner(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _file(path: str, name: str, stream: BinaryIO, wanted: str | None) -> Source:
    head = stream.readline(_HEAD_BYTES)
    while not head.strip() and len(head) < _HEAD_BYTES and (line := stream.readline(_HEAD_BYTES)):
        head += line
    if wanted != "conversations" and _begins_lines(head):
        return Source(path, name, "lines", head=head, rest=stream)
    items = items_of(head + stream.read(), name)
    bundles = [_is_bundle(item) for item in items]
    if wanted == "bundle" and not (items and all(bundles)):
        raise Refused(f"{name} is no bundle: `hierstore export` writes such files.")
    if wanted != "conversations" and any(bundles):
        if not all(bundles):
            raise Refused(f"{name} holds bundles and other things; divide it.")
        return Source(path, name, "bundle", items=items)
    if wanted is None and _is_transcript(items):
        raise Refused(f"{name} is a transcript of Claude Code's; import the folder that it is in.")
    return Source(path, name, "conversations", items=items)


def _begins_lines(head: bytes) -> bool:
    top = maybe_object(head)
    return top is not None and _is_bundle(top) and "sessions" not in top


def _is_bundle(item: Any) -> bool:
    from hierstore.transfer.exporting import KIND

    return isinstance(item, dict) and item.get("kind") == KIND


def _is_transcript(items: list[Any]) -> bool:
    records = [item for item in items[:20] if isinstance(item, dict)]
    return not any("role" in record for record in records) and any(
        "type" in record and _TRANSCRIPT_MARKS & record.keys() for record in records
    )
