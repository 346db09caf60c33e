"""PraisonAI's hierarchical session store: a folder with one JSON file for each session.

A file is one object: ``session_id``, ``parent_id``, ``children_ids``, ``title``, ``created_at``, ``messages``,
``archived_messages``, ``snapshots`` and more. What becomes of it:

- The id is the file's own ``session_id``; the file's name only resembles it, so it stands in where there is none.
- A child's own ``parent_id`` says whose child it is; where a parent's ``children_ids`` disagree, that is reported.
- A session forked at a message has kind ``"branch"``. Other children have none: the files do not say why they exist.
- Turns that retention moved to ``archived_messages`` become a child session of kind ``"archive"``, named
  ``<id>/archived``: metadata could not hold many of them, and a reader finds messages where messages are.
- A snapshot is taken over where it is the beginning of the present history. One that is not (the history was compacted,
  or reverted past it) stays as it was found in the metadata, and is reported.
- Other keys of the file are in ``metadata["praisonai"]``, beside the session's own metadata; other keys of a message
  are its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hierstore.errors import InvalidRecord
from hierstore.transfer.foreign import (
    ForeignMessage,
    ForeignSession,
    ForeignSnapshot,
    Metadata,
    Problem,
    Report,
    arrange,
    checked_message,
    entries,
    left_out,
    maybe_id,
    read_object,
    silent,
    unix_seconds,
)
from hierstore.values import json_object, maybe_text

NOTHING: Final = "no file that ends in .json"
_KEY: Final = "praisonai"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the first pass keeps of a file: where it belongs, not what it holds."""

    path: Path
    id: str
    parent_id: str | None
    children_ids: tuple[str, ...]


def has_files(folder: Path) -> bool:
    """Whether the folder has files of the layout, by their names."""
    return any(path.suffix == ".json" for path in entries(folder, silent)[0])


def recognises(folder: Path) -> bool:
    """Whether one of the folder's files is a session of this layout. Reads files until one is."""
    files = (path for path in entries(folder, silent)[0] if path.suffix == ".json")
    return any(
        "session_id" in data and _is_session(data) for data in (read_object(path, silent) for path in files) if data
    )


def _is_session(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("messages"), list)


def read_folder(folder: Path, report: Report) -> Iterator[ForeignSession]:
    """Every session of the folder, parents first.

    Each file is read twice: once for its id and its parent's, once for what it holds. What another program changes in
    between may be of either moment.
    """
    found = {entry.id: entry for entry in _index(folder, report)}
    _compare(found, report)
    places = {entry.id: (entry.path, entry.parent_id) for entry in found.values()}
    for session_id, parent_id in arrange(places, report):
        entry = found[session_id]
        data = read_object(entry.path, report)
        if data is not None and _is_session(data):
            yield from _sessions(entry, parent_id, data, found, report)
        elif data is not None:
            report(Problem(str(entry.path), None, "The file changed while it was read, and is no session any more."))


def _index(folder: Path, report: Report) -> Iterator[_Entry]:
    files, folders = entries(folder, report)
    seen: set[str] = set()
    for path in folders:
        left_out(path, report)
    for path in files:
        # The program's lock files: empty, one beside each session.
        if path.suffix == ".lock":
            continue
        if path.suffix != ".json":
            left_out(path, report)
            continue
        entry = _maybe_entry(path, report)
        if entry is not None and entry.id in seen:
            report(Problem(str(path), None, f"The session {entry.id!r} is in another file too; the first one counts."))
        elif entry is not None:
            seen.add(entry.id)
            yield entry


def _maybe_entry(path: Path, report: Report) -> _Entry | None:
    data = read_object(path, report)
    if data is None:
        return None
    if not _is_session(data):
        report(Problem(str(path), None, "The file is no session: it has no list of messages."))
        return None
    session_id = maybe_id(data.get("session_id") or path.stem)
    if session_id is None:
        report(Problem(str(path), None, "The session's id is not a text of 1 to 512 characters."))
        return None
    parent_id = maybe_id(data.get("parent_id"))
    if parent_id is None and data.get("parent_id"):
        report(Problem(str(path), None, "The id of the session's parent is none, so it becomes a root."))
    listed = data.get("children_ids")
    children = tuple(filter(None, map(maybe_id, listed))) if isinstance(listed, list) else ()
    return _Entry(path, session_id, parent_id, children)


def _compare(found: Mapping[str, _Entry], report: Report) -> None:
    """Report where the parents' lists and the children's own word differ."""
    for entry in found.values():
        for child_id in dict.fromkeys(entry.children_ids):
            child = found.get(child_id)
            if child is None:
                detail = f"It lists {child_id[:80]!r} as its child, which is not in the folder."
                report(Problem(str(entry.path), None, detail))
            elif child.parent_id != entry.id:
                detail = f"It lists {child_id!r} as its child, which itself names {child.parent_id!r}; that counts."
                report(Problem(str(entry.path), None, detail))
        parent = found.get(entry.parent_id or "")
        if parent is not None and entry.id not in parent.children_ids:
            detail = f"It names {parent.id!r} as its parent, which does not list it; its own word counts."
            report(Problem(str(entry.path), None, detail))


def _sessions(
    entry: _Entry, parent_id: str | None, data: dict[str, Any], found: Mapping[str, _Entry], report: Report
) -> Iterator[ForeignSession]:
    """The session of a file and, below it, the one of its archived messages if it has some."""
    room = Metadata(entry.path, report)
    title = room.title(data.get("title"))
    created_at = unix_seconds(data.get("created_at"))
    forked = parent_id is not None and data.get("forked_from_message_id") is not None
    messages, kept = _messages(data["messages"], entry.path, "message", report)
    snapshots, unfit = _snapshots(data, kept, entry.path, report)
    metadata = _metadata(_rest(entry, parent_id, title, data, unfit), room)
    kind = "branch" if forked else None
    yield ForeignSession(entry.id, parent_id, title, kind, created_at, metadata, (), messages, snapshots)
    if _has_archive(data):
        archive_id = f"{entry.id}/archived"
        while archive_id in found:
            archive_id += "#"
        if maybe_id(archive_id) is None:
            report(Problem(str(entry.path), None, "Its archived messages are left out: the id is too long for them."))
        else:
            old, _ = _messages(data["archived_messages"], entry.path, "archived message", report)
            yield ForeignSession(archive_id, entry.id, None, "archive", created_at, {}, (), old, ())


def _has_archive(data: Mapping[str, Any]) -> bool:
    archived = data.get("archived_messages")
    return isinstance(archived, list) and bool(archived)


def _rest(
    entry: _Entry, parent_id: str | None, title: str | None, data: Mapping[str, Any], unfit: list[Any]
) -> dict[str, Any]:
    """What of the file has no place of its own in a session."""
    rest = {key: value for key, value in data.items() if key != "messages"}
    if _has_archive(data):
        del rest["archived_messages"]
    for key, placed in (("session_id", entry.id), ("parent_id", parent_id), ("title", title)):
        if rest.get(key) == placed:
            rest.pop(key, None)
    if isinstance(data.get("snapshots"), list):
        rest["snapshots"] = unfit
        if not unfit:
            # The pool of what the snapshots hold: each of them is the beginning of the history.
            del rest["snapshots"]
            rest.pop("snapshot_storage", None)
    return rest


def _metadata(rest: dict[str, Any], room: Metadata) -> dict[str, Any]:
    """The session's own metadata at the top, what else the file holds below one key."""
    own = rest.get("metadata")
    if not isinstance(own, dict) or _KEY in own:
        return {_KEY: room.fitting(rest, depth=2)}
    del rest["metadata"]
    return {**room.fitting(own, depth=1), _KEY: room.fitting(rest, depth=2)}


def _messages(
    raw: list[Any], path: Path, what: str, report: Report
) -> tuple[list[ForeignMessage], list[tuple[Any, bool]]]:
    """The messages that can be stored; and each as it stands in the file, with whether it is among them."""
    messages: list[ForeignMessage] = []
    kept: list[tuple[Any, bool]] = []
    ids: set[str] = set()
    for place, item in enumerate(raw, 1):
        try:
            if not isinstance(item, dict):
                raise InvalidRecord("It is no JSON object.", where="message")
            message = _message(item)
            if message.id in ids:
                raise InvalidRecord(f"The id {message.id!r} is taken; the first one counts.", where="message_id")
        except InvalidRecord as error:
            report(Problem(str(path), None, f"{what.capitalize()} {place:,} was skipped: {error}"))
            kept.append((item, False))
            continue
        if message.id is not None:
            ids.add(message.id)
        messages.append(message)
        kept.append((item, True))
    return messages, kept


def _message(item: dict[str, Any]) -> ForeignMessage:
    rest = {key: value for key, value in item.items() if key not in ("role", "content")}
    message_id = maybe_id(rest.get("id"))
    if message_id is not None:
        del rest["id"]
    at = unix_seconds(rest.get("timestamp"))
    # Kept as it is where a float would lose something: text, or what cannot be read.
    if at is not None and not isinstance(rest["timestamp"], str):
        del rest["timestamp"]
    metadata = rest.pop("metadata") if isinstance(rest.get("metadata"), dict) else {}
    # Without a role or content PraisonAI takes these too.
    return checked_message(
        item.get("role", "user"), item.get("content", ""), id=message_id, at=at, metadata=metadata, fields=rest
    )


def _snapshots(
    data: Mapping[str, Any], kept: list[tuple[Any, bool]], path: Path, report: Report
) -> tuple[tuple[ForeignSnapshot, ...], list[Any]]:
    """The snapshots that are a beginning of the history; and the others, as they stand in the file."""
    listed = data.get("snapshots")
    snapshots: list[ForeignSnapshot] = []
    unfit: list[Any] = []
    ids: set[str | None] = set()
    for place, item in enumerate(listed if isinstance(listed, list) else (), 1):
        try:
            snapshot = _snapshot(item, data, kept)
            if snapshot.id is not None and snapshot.id in ids:
                raise InvalidRecord(f"The id {snapshot.id!r} is taken; the first one counts.", where="snapshot")
        except InvalidRecord as error:
            report(Problem(str(path), None, f"Snapshot {place:,} is kept as metadata only: {error}"))
            unfit.append(item)
        else:
            ids.add(snapshot.id)
            snapshots.append(snapshot)
    return tuple(snapshots), unfit


def _snapshot(item: Any, data: Mapping[str, Any], kept: list[tuple[Any, bool]]) -> ForeignSnapshot:
    if not isinstance(item, dict):
        raise InvalidRecord("It is no JSON object.", where="snapshot")
    transcript = _transcript(item, data)
    length = _place(item, kept) if transcript is None else _shared(transcript.pop("messages"), kept)
    own = item.get("metadata")
    snapshot_id, created_at = maybe_id(item.get("id")), unix_seconds(item.get("created_at"))
    placed = {"label", "transcript", "transcript_refs"}
    placed |= {key for key, value in (("id", snapshot_id), ("created_at", created_at)) if item.get(key) == value}
    rest = {key: value for key, value in item.items() if key not in placed}
    if transcript and any(transcript.values()):
        rest["transcript"] = transcript
    if isinstance(own, dict) and _KEY not in own:
        del rest["metadata"]
    else:
        own = {}
    label = maybe_text(item.get("label"), "label")
    metadata = json_object({**own, _KEY: rest}, "metadata")
    count = sum(stored for _, stored in kept[:length])
    return ForeignSnapshot(snapshot_id, label, count, created_at, metadata)


def _place(item: Mapping[str, Any], kept: list[tuple[Any, bool]]) -> int:
    """How many messages an older snapshot covers: it holds its last one's position, worthless once invalidated."""
    index = item.get("message_index")
    if item.get("invalidated") or type(index) is not int or not -1 <= index < len(kept):
        raise InvalidRecord("Its position is no place in the present history.", where="snapshot")
    return index + 1


def _shared(messages: list[Any], kept: list[tuple[Any, bool]]) -> int:
    """How many messages a newer snapshot covers: all that it holds, if the history begins with them."""
    try:
        if len(messages) <= len(kept) and all(old == new for old, (new, _) in zip(messages, kept, strict=False)):
            return len(messages)
    except RecursionError:
        # Nested about as deep as the parser goes: no message that can be stored.
        pass
    raise InvalidRecord("It is no beginning of the present history.", where="snapshot")


def _transcript(item: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a newer snapshot holds, ``messages`` in any case: in itself, or in a pool that it refers to."""
    try:
        if "transcript_refs" not in item:
            inline = item.get("transcript")
            return None if inline is None else {**inline, "messages": list(inline["messages"])}
        records = data["snapshot_storage"]["records"]
        return {
            name: [records[key] for key in ref["items"]]
            if name == "messages" or "items" in ref
            else records[ref["value"]]
            for name, ref in {"messages": None, **item["transcript_refs"]}.items()
        }
    except (KeyError, TypeError):
        raise InvalidRecord("What it refers to is not in the file.", where="snapshot") from None
