"""A session's title, labels, metadata and flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.errors import InvalidRecord, quoted
from hierstore.log.events import event
from hierstore.log.handlers import merged
from hierstore.log.state import State
from hierstore.values import json_object, maybe_text, text_set

_FLAGS = ("pinned", "archived", "suspended")


def set_title(engine: Engine, entry: Entry, title: str | None, source: str) -> None:
    """Set or clear the title; a program's never replaces a person's."""
    if source not in ("user", "auto"):
        raise InvalidRecord(f"A title's source is 'user' or 'auto', not {quoted(source)}.", where="source")
    title = maybe_text(title, "title")
    wanted = (title, None if title is None else source)

    def decide(state: State) -> list[dict[str, Any]]:
        facts = state.facts
        if (facts.title, facts.title_source) == wanted or (source == "auto" and facts.title_source == "user"):
            return []
        return [event("title", title=title, source=wanted[1])]

    engine.commit(entry, decide)


def update(
    engine: Engine,
    entry: Entry,
    *,
    metadata: Mapping[str, Any] | None,
    labels: Iterable[str] | None,
    add_labels: Iterable[str],
    remove_labels: Iterable[str],
    derived: Mapping[str, Any] | None,
    flags: Mapping[str, bool | None],
) -> None:
    """Change facts in one commit; what is None stays as it is, and no change is no commit."""
    change: dict[str, Any] = {}
    for name, flag in flags.items():
        if flag is not None:
            if not isinstance(flag, bool):
                raise InvalidRecord(f"{name} is True or False, not {quoted(flag)}.", where=name)
            change[name] = flag
    if labels is not None:
        change["labels"] = list(text_set(labels, "labels"))
    if metadata is not None:
        change["metadata"] = json_object(metadata, "metadata")
    if derived is not None:
        change["derived"] = json_object(derived, "derived")
    added, removed = text_set(add_labels, "add_labels"), frozenset(text_set(remove_labels, "remove_labels"))

    def decide(state: State) -> list[dict[str, Any]]:
        wanted = dict(change)
        if added or removed:
            # Of the labels that it has at this moment: two who add one each both have theirs.
            present = wanted.get("labels", state.facts.labels)
            wanted["labels"] = [label for label in dict.fromkeys((*present, *added)) if label not in removed]
        return [event("updated", **wanted)] if _changes(state, wanted) else []

    engine.commit(entry, decide)


def _changes(state: State, change: Mapping[str, Any]) -> bool:
    """Whether an update would change anything."""
    facts = state.facts
    return (
        any(name in change and change[name] != getattr(facts, name) for name in _FLAGS)
        or ("labels" in change and tuple(change["labels"]) != facts.labels)
        or ("metadata" in change and merged(facts.metadata_json, change["metadata"]) != facts.metadata_json)
        or ("derived" in change and merged(facts.derived_json, change["derived"]) != facts.derived_json)
    )
