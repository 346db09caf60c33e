"""Sessions as other programs keep them, made neutral: the values, and how their files are read without trusting them.

What lies in a foreign folder may be torn, hostile, or still being written. So nothing is followed out of the folder,
nothing is read without a bound, each thing that is wrong becomes one ``Problem``, and none hides another. Whatever a
reader hands out, the store can hold: it was checked with the store's own rules.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from hierstore.errors import InvalidRecord, InvalidSessionId, quoted
from hierstore.naming import check_id
from hierstore.values import MAX_BYTES, check_json, encode, json_object, maybe_text, plain

MAX_LINE_BYTES: Final = 256 * 2**20
"""The longest line that is read. A value of 16 MiB may be escaped (six bytes a character) and be there twice."""

MAX_FILE_BYTES: Final = 1024 * 2**20
"""The largest file that is read in one piece."""

_BOM: Final = b"\xef\xbb\xbf"
_YEAR_10000: Final = 253_402_300_800
_WRAPPING_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """One message, which the store can hold as it is.

    Attributes:
        role: who speaks, at least one character.
        content: what it says, any JSON value.
        id: its own id, 1 to 512 characters and once in its session; None when it has none that can be used.
        at: Unix seconds, or None when that cannot be read.
        metadata: what the other program noted about it.
        fields: whatever else came with it.
    """

    role: str
    content: Any
    id: str | None
    at: float | None
    metadata: dict[str, Any]
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ForeignSnapshot:
    """A name for the beginning of a session's history.

    Attributes:
        id: its own id, or None.
        label: the name that people see, or None.
        count: how many of the session's messages it covers, from the first.
        created_at: Unix seconds, or None.
        metadata: what came with it.
    """

    id: str | None
    label: str | None
    count: int
    created_at: float | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ForeignSession:
    """One session with its history.

    Attributes:
        id: unique among the sessions of one reading, and the same at each reading of the same folder.
        parent_id: the session it hangs below, which was handed out before it; None for a root.
        title: what people call it, or None.
        kind: why it exists (``"branch"``, ``"delegate"``, ``"archive"``), or None.
        created_at: Unix seconds, or None.
        metadata: all that is neither of the others.
        labels: in the order given.
        messages: its history, the oldest first.
        snapshots: those of its history.
    """

    id: str
    parent_id: str | None
    title: str | None
    kind: str | None
    created_at: float | None
    metadata: dict[str, Any]
    labels: tuple[str, ...]
    messages: list[ForeignMessage]
    snapshots: tuple[ForeignSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be taken over as it stands.

    Attributes:
        path: the file or folder concerned.
        line: the line in it, from 1, where the file has lines that mean something; else None.
        detail: a sentence.
    """

    path: str
    line: int | None
    detail: str


Report = Callable[[Problem], None]


def read(folder: str | os.PathLike[str], layout: str | None, report: Report) -> Iterator[ForeignSession]:
    """The sessions of a folder that another program wrote, each after its parent.

    The folder is only read, and may be read while the other program writes: what is not finished is reported. One
    file's content is in memory at a time. Nothing promises that what is yielded late is of the same moment as what
    came early.

    Args:
        folder: where the sessions lie. It may be a symbolic link itself; links in it are not followed.
        layout: ``"praisonai"``, ``"claude-code"``, or None to recognise it by what the files hold.
        report: called with each problem, at the latest before the session that follows it is yielded.

    Raises:
        InvalidRecord: there is no such folder or layout, or nothing in the folder that the layout expects.
    """
    # Imported here: both take their values from this module.
    from hierstore.transfer import claude_code, praisonai

    layouts = {"praisonai": praisonai, "claude-code": claude_code}
    root = Path(folder)
    if layout is not None and layout not in layouts:
        raise _refusal(f"The layout {quoted(layout)} is not known; known are {', '.join(map(repr, layouts))}.")
    _check_folder(root)
    if layout is None:
        matching = [name for name, module in layouts.items() if module.recognises(root)]
        if len(matching) > 1:
            raise _refusal(f"{root} holds sessions of {' and '.join(matching)}; name the layout to be read.")
        if not matching:
            raise _refusal(f"{root} holds no sessions of a layout that is known ({', '.join(layouts)}).")
        layout = matching[0]
    elif not layouts[layout].has_files(root):
        raise _refusal(f"{root} holds {layouts[layout].NOTHING}.")
    return _in_order(layouts[layout].read_folder(root, report), str(root), report)


def _refusal(sentence: str) -> InvalidRecord:
    return InvalidRecord(sentence, where="folder")


def _check_folder(root: Path) -> None:
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            raise _refusal(f"{root} is not a folder.")
        next(root.iterdir(), None)
    except FileNotFoundError:
        raise _refusal(f"There is no folder {root}.") from None
    except (OSError, ValueError) as error:
        raise _refusal(f"The folder {str(root)!a} cannot be read: {_reason(error)}.") from None


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _in_order(sessions: Iterable[ForeignSession], path: str, report: Report) -> Iterator[ForeignSession]:
    """Hold the readers to their promise: ids once, parents first, also when a file vanished while it was read."""
    seen: set[str] = set()
    for session in sessions:
        if session.id in seen:
            report(Problem(path, None, f"There is a second session {session.id!r}; the first one counts."))
            continue
        if session.parent_id is not None and session.parent_id not in seen:
            report(Problem(path, None, f"The parent of {session.id!r} could not be read, so it becomes a root."))
            session = replace(session, parent_id=None)  # noqa: PLW2901  # the same session, without what is not there
        seen.add(session.id)
        yield session


def arrange(places: Mapping[str, tuple[Path, str | None]], report: Report) -> list[tuple[str, str | None]]:
    """Every id with its parent, parents first, otherwise in the order given; what has no such parent is a root.

    Args:
        places: where each id was found, and the parent that it names.
        report: called where a parent is missing, or a cycle was broken.
    """
    arranged: dict[str, str | None] = {}
    for start in places:
        path: dict[str, str | None] = {}
        at: str | None = start
        while at is not None and at not in arranged:
            file, parent = places[at]
            problem = None
            if parent is not None and parent not in places:
                problem = f"Its parent {parent[:80]!r} is not in the folder"
            elif parent == at or parent in path:
                problem = f"It is below itself by way of its parent {parent!r}"
            if problem is not None:
                report(Problem(str(file), None, f"{problem}, so {at!r} becomes a root."))
                parent = None
            path[at] = parent
            at = parent
        arranged.update(reversed(path.items()))
    return list(arranged.items())


def entries(folder: Path, report: Report) -> tuple[list[Path], list[Path]]:
    """The regular files and the folders in a folder, sorted by name; anything else is reported and left out."""
    files, folders = [], []
    try:
        for path in sorted(folder.iterdir()):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                files.append(path)
            elif stat.S_ISDIR(mode):
                folders.append(path)
            else:
                what = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
                report(Problem(str(path), None, f"It is {what}, and was not followed."))
    except OSError as error:
        report(Problem(str(folder), None, f"The folder cannot be read to its end: {_reason(error)}."))
    return files, folders


def silent(problem: Problem) -> None:
    """A report that nobody reads: for a look at what a folder may be."""


def left_out(path: Path, report: Report) -> None:
    """Say that something in the folder is no part of the layout."""
    report(Problem(str(path), None, "It is no part of the layout that is known, and was left out."))


def read_object(path: Path, report: Report) -> dict[str, Any] | None:
    """The JSON object that is a file; None, and a report, where there is none."""
    try:
        size = path.lstat().st_size
        if size > MAX_FILE_BYTES:
            report(Problem(str(path), None, f"The file is larger than {MAX_FILE_BYTES // 2**20:,} MiB."))
            return None
        return parse_object(path.read_bytes())
    except OSError as error:
        report(Problem(str(path), None, f"The file cannot be read: {_reason(error)}."))
    except ValueError as error:
        report(Problem(str(path), None, f"The file {error}."))
    return None


def read_lines(path: Path, report: Report) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """The JSON objects of a file's lines with the lines' numbers; a bad line is reported, and hides no other."""
    try:
        with path.open("rb") as file:
            for number, line in _lines(file):
                try:
                    if len(line) > MAX_LINE_BYTES:
                        raise ValueError(f"is longer than {MAX_LINE_BYTES // 2**20} MiB")
                    if line.strip():
                        yield number, parse_object(line)
                except ValueError as error:
                    report(Problem(str(path), number, f"The line {error}."))
    except OSError as error:
        report(Problem(str(path), None, f"The file cannot be read to its end: {_reason(error)}."))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; of one that is too long, the first ``MAX_LINE_BYTES`` + 1 bytes."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        yield number, line
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are, after a byte order mark if there is one.

    Parsed by the standard library: it keeps integers that are too large for the store as what they are, so that they
    are refused and do not silently become floats.

    Raises:
        ValueError: what is wrong, as the rest of a sentence.
    """
    try:
        value = json.loads(data.removeprefix(_BOM).decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"is not JSON: byte {error.start:,} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON, or is cut off: {error.msg}") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError:
        raise ValueError("holds a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise ValueError(f"is JSON, but a {type(value).__name__} and no object")  # noqa: TRY004  # the bytes are wrong
    return value


def unix_seconds(value: object) -> float | None:
    """Unix seconds or ISO 8601 text (UTC where it names no zone) as Unix seconds; None for what cannot be read."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            return None
    # NaN compares as false. Milliseconds, taken for seconds, are beyond the calendar.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _YEAR_10000:
        return None
    return float(value)


def maybe_id(value: object) -> str | None:
    """The value as an id, or None when it is none."""
    try:
        return check_id(value)
    except InvalidSessionId:
        return None


def checked_message(
    role: object,
    content: Any,
    *,
    id: str | None,
    at: float | None,
    metadata: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> ForeignMessage:
    """A message that the store can hold.

    Raises:
        InvalidRecord: it cannot.
    """
    text = maybe_text(role, "role")
    if not text:
        raise InvalidRecord("The role cannot be stored: it is empty.", where="role")
    said = plain(content, "content")
    if isinstance(said, str):
        maybe_text(said, "content")
    else:
        check_json(encode(said, "content"), "content")
    return ForeignMessage(text, said, id, at, json_object(metadata, "metadata"), json_object(fields, "fields"))


class Metadata:
    """Decides what a session's metadata can hold: what can be stored, as long as all of it together can.

    Args:
        path: the file it comes from, for reports.
        report: called for each thing that is left out.
    """

    __slots__ = ("_left", "_path", "_report")

    def __init__(self, path: Path, report: Report) -> None:
        self._path = str(path)
        self._report = report
        self._left = MAX_BYTES - 2**12

    def fits(self, value: Any, what: str, *, depth: int = 0, line: int | None = None) -> bool:
        """Whether the value, below so many levels, is to be kept; if so, its room is taken.

        Args:
            value: what is to be kept.
            what: its name, for the sentence of a report.
            depth: how many levels will be above it.
            line: where it comes from.
        """
        try:
            size = len(encode(plain(value, what, depth), what)) + _WRAPPING_BYTES
            if size > self._left:
                raise InvalidRecord(f"The {what} is left out: the session's metadata would be too large.", where=what)
        except InvalidRecord as error:
            self._report(Problem(self._path, line, str(error)))
            return False
        self._left -= size
        return True

    def fitting(self, values: Mapping[str, Any], *, depth: int) -> dict[str, Any]:
        """Those of the values that fit, by their keys."""
        return {key: value for key, value in values.items() if self.fits({key: value}, key[:80], depth=depth - 1)}

    def title(self, value: object) -> str | None:
        """The value as a title; what is no text, or cannot be stored, is reported."""
        try:
            return maybe_text(value, "title") or None
        except InvalidRecord as error:
            self._report(Problem(self._path, None, str(error)))
            return None
