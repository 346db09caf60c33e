"""Commits on their way in: what of them is taken, and the lines that they become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hierstore.errors import InvalidRecord
from hierstore.log.events import Past
from hierstore.transfer.rewriting import DROPPED, carried
from hierstore.values import check_json, check_text, encode, plain

DEEPER = 8
"""Levels of nesting that a commit puts around what a caller stored."""


@dataclass(slots=True)
class Arriving:
    """One session on its way in."""

    source_id: str
    source_parent: str | None
    path: bytes
    skipped: int | None
    keys: tuple[str, ...]
    past: Past | None = None
    nonce: str = ""
    floor_ns: int = 0
    noted: list[str] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)


def invalid(what: str) -> InvalidRecord:
    """A source that is not what it should be."""
    return InvalidRecord(f"Nothing was imported: {what}.", where="bundle")


class Rewrite:
    """What becomes of a session's commits on their way in.

    Args:
        item: the session; gets the ids of the children that its commits note.
        parent_id: below whom it goes.
        ids: new ids for those in the commits.
        refs: whether ids in other systems come along.
    """

    def __init__(self, item: Arriving, parent_id: str | None, ids: Mapping[str, str], *, refs: bool) -> None:
        self._item = item
        self._parent_id = parent_id
        self._ids = ids
        self._refs = refs
        self._is_first = True

    def commit(self, commit: Mapping[str, Any]) -> dict[str, Any]:
        """One commit, with the parent and the ids that the session has here."""
        if self._is_first and [item["type"] for item in commit["events"][:1]] != ["created"]:
            raise invalid(f"the commits of session {self._item.source_id!r} do not begin with its creation")
        if any(item["type"] == "created" for item in commit["events"][self._is_first :]):
            raise invalid(f"session {self._item.source_id!r} is created more than once")
        self._is_first = False
        events = [new for old in commit["events"] if (new := self._event(old)) is not None]
        return {**commit, "events": events}

    def _event(self, old: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = old["type"]
        if kind in DROPPED or (kind == "ref" and not self._refs):
            return None
        if kind == "bound":
            if old["key"] not in self._item.keys:
                return None
            self._item.bound.add(old["key"])
        new = dict(old)
        if kind == "created":
            new.pop("past", None)
            new["parent"] = self._parent_id
            return new | ({} if self._item.past is None else {"past": [list(self._item.past)]})
        if kind == "child":
            new["id"] = self._note(old["id"])
        elif kind == "compacted":
            new = carried(old, keys=self._item.keys, child=self._note, refs=self._refs)
            self._item.bound.update(row[0] for rows in (new, new.get("more", {})) for row in rows.get("bound", ()))
        return new

    def _note(self, child_id: str) -> str:
        self._item.noted.append(child_id)
        return self._ids.get(child_id, child_id)


def message_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A message's JSON object, its number first, as the short form of its line needs it."""
    content = plain(record["content"], "content")
    if isinstance(content, str):
        check_text(content, "content")
    else:
        check_json(encode(content, "content"), "content")
    rest = {key: plain(value, key, -DEEPER) for key, value in record.items() if key not in ("seq", "content")}
    return {"seq": record["seq"], "id": rest.pop("id"), "role": rest.pop("role"), "content": content, **rest}


def bodies(top: bytes, commits: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The lines of a log, still without seals: its header, and its commits, in the short form where that says it all."""
    yield top
    for commit in commits:
        events = commit["events"]
        if len(events) == 1 and events[0]["type"] == "message" and commit.keys() == {"seq", "at", "events"}:
            record = {key: value for key, value in events[0].items() if key != "type"}
            if record["at"] == commit["at"]:
                yield b'{"message":%b,"seq":%d' % (encode(record, "message"), commit["seq"])
                continue
        # In this order: readers tell lines by their first bytes, and find the number behind the last key.
        extras = {key: value for key, value in commit.items() if key not in ("events", "seq", "crc")}
        yield encode({"events": events, **extras, "seq": commit["seq"]}, "commit")[:-1]
