"""What the tests of transfer share: a store with something of everything, and all that a session shows."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierstore import RevisionNotFound, SessionStore
from tests.compacting import add_line

if TYPE_CHECKING:
    from hierstore import Session, TreeNode

Bundle = dict[str, Any]

UNICODE = "Ünï/😀: \n\t\u202e../'\"\\\x00"
"""An id that no file system would take."""

LONG_ID = "é" * 512


def rich(store: SessionStore) -> Session:
    """Six sessions below "top" with something of everything, and beside them what is not exported."""
    top = store.create("top", title="made up", metadata={"k": [1, {"x": None}], "gone": 1}, labels=["b", "a"])
    top.append("user", "hello \u00e9\U0001f600", metadata={"app": {"n": 1}})
    top.append("assistant", None, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}])
    top.append("tool", [{"type": "text", "text": "42"}], tool_call_id="c", name="f", message_id="given")
    top.snapshot("early", {"why": ["x"]})
    top.set_title("a person's")
    top.set_title("auto", source="auto")
    top.update(metadata={"gone": None, "new": 2.5}, pinned=True, suspended=True, archived=True)
    with top.turn() as turn:
        turn.append("user", "first of two")
        turn.append("assistant", "second of two")
    top.set_ref("other", {"id": [1]})
    top.set_ref("cleared", "x")
    top.set_ref("cleared", None)
    for _ in range(10):
        top.add_usage(cost_usd=0.1, tokens=2**60)
    add_line(store, "top", {"events": [{"type": "from_the_future", "x": [1, None]}], "at": 5.5, "beside": {"y": 1}})
    add_line(store, "top", {"events": [{"type": "title", "title": "strange", "source": "user", "tone": 1}], "at": 6})
    top.revert(3)
    top.append("user", "after the revert")
    top.undo_revert()
    top.snapshot(None)
    top.revert("given")
    top.update(derived={"summary": "s"}, labels=["c"])

    first = top.spawn(UNICODE, kind="delegate", title="first")
    second = top.fork("branch", at=2, title="second")
    third = top.spawn("third", kind="continuation")
    first.append("user", "x")
    first.reset("why")
    first.append("user", "y", message_id="y")
    second.append("user", "own")
    second.revert(1)
    second.append("user", "own again")
    twig = second.fork("twig")
    twig.append("assistant", "of the twig")
    twig.snapshot("twig's")
    for number in range(4):
        third.append("user", f"third {number}")
        third.set_title(f"title {number} {'x' * 200}")
        third.set_ref("r", number)
        third.add_usage(cost_usd=0.001)
        if number != 2:
            third.snapshot(f"snap {number}")
    third.compact(keep="snapshots")
    third.fork(LONG_ID).append("user", "after a compaction")
    not_exported(store)
    return top


def not_exported(store: SessionStore) -> None:
    """What is a store's own: shares, a turn in progress, the trash, a session elsewhere."""
    top = store.get("top")
    top.share()
    store.get("third").share(role="append", subtree=True)
    top.start_turn("secret turn")
    top.spawn("secret child")
    store.delete("secret child")
    store.create("elsewhere").append("user", "secret")


def without_names(shown: Any) -> Any:
    """What two sessions have in common that differ only in whose they are."""
    return {key: value for key, value in shown.items() if key not in ("id", "parent")}


def whole(session: Session) -> dict[str, Any]:
    """Everything that a session shows and that an export promises to keep, each revision of it too."""
    facts = session._state().facts
    return {
        "id": session.id,
        "parent": session.parent_id,
        **_present(session),
        "children": [child.id for child in session.children],
        "unknown": facts.unknown,
        "usage exactly": facts.usage,
        "reverts": facts.reverts,
        "last number": session._state().seq,
        "at": dict(_revisions(session)),
    }


def _present(view: Any) -> dict[str, Any]:
    return {
        "info": replace(view.info, id="", parent_id=None),
        "messages": [message._record() for message in view.messages],
        "snapshots": view.snapshots,
        "refs": view.refs,
        "usage": view.usage,
    }


def _revisions(session: Session) -> Iterator[tuple[int, Any]]:
    for revision in range(1, session.revision + 1):
        try:
            past = session.at(revision)
        except RevisionNotFound:
            yield revision, None
        else:
            yield revision, _present(past)


def family(session: Session) -> dict[str, dict[str, Any]]:
    """The same of everything below, the session first, depth first."""
    return {each.id: whole(each) for each in (session, *session.descendants())}


def ids_of(nodes: tuple[TreeNode, ...]) -> Iterator[str]:
    """Every id of a tree."""
    for node in nodes:
        yield node.id
        yield from ids_of(node.children)


def all_ids(store: SessionStore) -> set[str]:
    """Every session of a store."""
    return set(ids_of(store.tree()))


def text(bundle: Bundle) -> str:
    """A bundle as JSON: what it is on its way; equal only if also its keys are in the same order."""
    return json.dumps(bundle)


def sent(bundle: Bundle) -> Bundle:
    """A bundle after its way as JSON."""
    received: Bundle = json.loads(text(bundle))
    return received


def changed(bundle: Bundle, change: Callable[[Bundle], Any]) -> Bundle:
    """A copy of a bundle with something done to it."""
    other = copy.deepcopy(bundle)
    change(other)
    return other


def session_of(bundle: Bundle, session_id: str) -> Bundle:
    """One session of a bundle."""
    found: Bundle = next(item for item in bundle["sessions"] if item["id"] == session_id)
    return found


def events_of(bundle: Bundle, session_id: str) -> list[Bundle]:
    """All events of a session in a bundle."""
    return [item for commit in session_of(bundle, session_id)["commits"] for item in commit["events"]]


def as_lines(bundle: Bundle) -> list[bytes]:
    """A document as the lines that stand for it."""
    items: list[Any] = [{key: value for key, value in bundle.items() if key not in ("pasts", "sessions")}]
    items += [{"past": past} for past in bundle["pasts"]]
    for session in bundle["sessions"]:
        items.append({"session": {key: value for key, value in session.items() if key != "commits"}})
        items += [{"commit": commit} for commit in session["commits"]]
    items.append({"end": {"sessions": len(bundle["sessions"])}})
    return [json.dumps(item).encode() + b"\n" for item in items]


def use(session: Session) -> None:
    """Read all that there is to read, and write: nothing of it may raise anything."""
    for each in (session, *session.descendants()):
        shown = whole(each)
        assert each.shares == ()
        assert not each.is_shared
        assert each.turn_in_progress is None
        assert each.succeeded_by is None or each.routes is not None
        numbers = [record["seq"] for record in shown["messages"]]
        assert numbers == sorted(set(numbers))
        repr(each), hash(each.messages), each.ancestors
        for snap in each.snapshots:
            each.at(snap)
        last = each.append("user", "next")
        assert type(last.seq) is int
        assert each.messages[-1] == last
        fork = each.fork()
        assert fork.messages == each.messages


def files_in(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())
