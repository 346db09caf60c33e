"""What listings and searches should say, found by reading every session: slow, and simple enough to be believed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hierstore import Message, SearchHit, SessionInfo, SessionNotFound, SessionStore


def infos(store: SessionStore) -> list[SessionInfo]:
    """The facts of every session there is, in no order."""
    paths = (store.root / "sessions").glob("*/*.jsonl")
    ids = [json.loads(path.read_bytes().split(b"\n", 1)[0])["session"] for path in paths]
    return [store.get(session_id).info for session_id in ids]


def infos_there(store: SessionStore) -> list[SessionInfo]:
    """The facts of the sessions that are there, while others delete some."""
    found = []
    for path in (store.root / "sessions").glob("*/*.jsonl"):
        try:
            found.append(store.get(json.loads(path.read_bytes().split(b"\n", 1)[0])["session"]).info)
        except (SessionNotFound, FileNotFoundError):
            continue
    return found


def words(text: str) -> set[str]:
    """The words of a text in ASCII."""
    return set(re.findall("[a-z0-9]+", text.lower()))


def text(message: Message) -> str:
    """The text of a message whose content is text, or a list of texts."""
    return message.content if isinstance(message.content, str) else " ".join(message.content)


def shown(store: SessionStore) -> Iterator[tuple[str, str | None, set[str]]]:
    """Of each session each message that it shows, and its title: (session, message or None, words)."""
    for info in infos(store):
        for message in store.get(info.id).messages:
            yield info.id, message.id, words(text(message))
        if info.title is not None:
            yield info.id, None, words(info.title)


def found(store: SessionStore, *wanted: str) -> set[str]:
    """What a search for words should find: ids of messages, and ``title of …``."""
    return {message or f"title of {name}" for name, message, has in shown(store) if set(wanted) <= has}


def names(hits: Any) -> list[str]:
    """The same of hits."""
    return [hit.message_id or f"title of {hit.session_id}" for hit in hits]


def everything(store: SessionStore, query: str, **options: Any) -> list[SearchHit]:
    """The hits of all pages."""
    found: list[SearchHit] = []
    after = None
    while True:
        page = store.search(query, after=after, **options)
        found += page.items
        after = page.next
        if after is None:
            return found


def walk(store: SessionStore, **options: Any) -> list[SessionInfo]:
    """The infos of all pages."""
    found: list[SessionInfo] = []
    after = None
    while True:
        page = store.sessions(after=after, **options)
        found += page.items
        after = page.next
        if after is None:
            return found


def without_index(root: Path) -> None:
    """Delete the index."""
    shutil.rmtree(root / "index")


def index_files(root: Path) -> list[Path]:
    """The files of the index, without what SQLite keeps beside them."""
    return sorted(path for path in (root / "index").glob("*.sqlite"))


def open_files(folder: Path) -> list[str]:
    """What this process has open below a folder."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.append(os.readlink(link))
        except OSError:
            continue
    return [target for target in targets if target.startswith(f"{folder}/")]
