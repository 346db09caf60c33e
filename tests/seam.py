"""The seam in ``hierstore.disk.files``, and what sweeps over its calls do at each of them.

A sweep runs one public call again and again, on a store made anew, and lets the first, the second, the third … system
call kill the process or fail, until the call gets through.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hierstore import HierstoreError, PastSession, SessionStore, TreeNode
from hierstore.disk import files
from hierstore.naming import stripe_of
from hierstore.routes import read_registry
from tests.processes import replaced

CALLS = (
    "stat", "lstat", "fstat", "write", "close", "dup", "ftruncate", "unlink", "rename", "replace", "mkdir", "utime",
    "chmod", "scandir", "open_file", "link", "_read_some", "sync", "sync_directory",
)  # fmt: skip
"""Every function through which the store reaches the system."""

_LOOKS = frozenset(["stat", "lstat", "fstat", "_read_some", "scandir", "close", "dup", "sync", "sync_directory"])


def is_change(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call changes what is on disk: to die before any other leaves what dying before the next one leaves."""
    return name not in _LOOKS and (name != "open_file" or bool(args[1] & os.O_CREAT))


Hook = Callable[[int, str, Callable[..., Any], tuple[Any, ...]], Any]
"""Given a call's number, its name, the call itself and its arguments: makes the call, or does something else."""


@contextlib.contextmanager
def hooked(hook: Hook) -> Iterator[list[str]]:
    """Let every system call of the store go through a hook; the names of those made so far."""
    made: list[str] = []

    def through(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def hooked_call(*args: Any, **options: Any) -> Any:
            made.append(name)
            return hook(len(made), name, lambda *changed: call(*(changed or args), **options), args)

        return hooked_call

    with replaced(files, **{name: through(name, getattr(files, name)) for name in CALLS}):
        yield made


@dataclass(frozen=True)
class Call:
    """A system call that some work made."""

    number: int
    name: str
    changes: bool
    place: tuple[tuple[str, int], ...] = ()
    """The lines of the store's code that it was made from."""


def list_calls(work: Callable[[], Any]) -> list[Call]:
    """The system calls that some work makes."""
    calls: list[Call] = []

    def note(number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        calls.append(Call(number, name, is_change(name, args), _place()))
        return call()

    with hooked(note):
        work()
    return calls


def _place() -> tuple[tuple[str, int], ...]:
    frame: FrameType | None = sys._getframe(2)
    lines = []
    while frame is not None:
        if "hierstore" in frame.f_code.co_filename.split(os.sep)[-3:]:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)


def ends_of_loops(calls: list[Call]) -> list[Call]:
    """Of all calls made from the same lines, the first and the last: what a sweep over a long call may do with."""
    first = {(call.name, call.place): call for call in reversed(calls)}
    last = {(call.name, call.place): call for call in calls}
    return sorted({*first.values(), *last.values()}, key=lambda call: call.number)


# What a store shows


@dataclass(frozen=True)
class View:
    """What a store shows of itself: its sessions, the ids in its trash, and where the key that is tested leads."""

    sessions: dict[str, dict[str, Any]]
    trash: tuple[str, ...]
    lead: str | None


KEY = "key"


def view(store: SessionStore) -> View:
    """The store as its users see it; without what differs from run to run."""
    leads_to = store.resolve(KEY)
    return View(
        {name: _facts(store, name) for name in sorted(_ids(store.tree()))},
        _trash(store.root),
        None if leads_to is None else leads_to.id,
    )


def ever_led(store: SessionStore) -> set[str | None]:
    """Where the key that is tested may lead after a power cut in ``process``: nowhere, or wherever it led at any time.

    The registry is a log of its own, and loses its newest commits as any other; a session that the key led to before may have
    come back from the trash meanwhile.
    """
    part = store._engine.registry(stripe_of(KEY))
    leads = read_registry(store._engine, part).routes.get(KEY, ())
    return {None, *(lead.session_id for lead in leads)}


def _ids(nodes: tuple[TreeNode, ...]) -> Iterator[str]:
    for node in nodes:
        yield node.id
        yield from _ids(node.children)


def _trash(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name.split(".")[1] for path in (root / "trash").glob("*.jsonl")))


def _facts(store: SessionStore, name: str) -> dict[str, Any]:
    session = store.get(name)
    info = session.info
    return {
        "title": info.title,
        "kind": info.kind,
        "parent": info.parent_id,
        "labels": info.labels,
        "pinned": info.pinned,
        "metadata": info.metadata,
        "derived": info.derived,
        "messages": [(message.seq, message.role, message.content) for message in session.messages],
        "children": sorted(child.id for child in session.children),
        "snapshots": [(snap.label, *_texts(session.at(snap))) for snap in session.snapshots],
        "refs": session.refs,
        "usage": session.usage,
        "turn": session.turn_in_progress and session.turn_in_progress.token,
        "shares": [(grant.role, grant.subtree, grant.frozen) for grant in session.shares],
    }


def _texts(past: PastSession) -> list[str]:
    return [message.content for message in past.messages]


# What is swept


@dataclass(frozen=True)
class Operation:
    """A public call that changes something.

    Attributes:
        prepare: makes the store that it starts from, after ``family``.
        run: the call.
        ids: the sessions that an error of it may name.
        is_stepwise: it does independent steps, each of which is done or not.
        again: what calling it again says when it is done already.
        adds: calling it again adds once more.
    """

    prepare: Callable[[SessionStore], Any]
    run: Callable[[SessionStore], Any]
    ids: frozenset[str]
    is_stepwise: bool = False
    again: str | None = None
    adds: bool = False

    def run_or_be_refused(self, store: SessionStore) -> None:
        """Make the call; it may say that it is done already."""
        try:
            self.run(store)
        except HierstoreError as error:
            if type(error).__name__ != self.again:
                raise


LONG = "x" * 5000
FAMILY = ("top", "a", "aa", "ab", "b", "ba", "bb", "bba", "branch", "twig")


def family(store: SessionStore) -> None:
    """Ten sessions: a tree of three levels, with a fork and a fork of the fork, titles, snapshots, a revert."""
    top = store.create("top", title="the top", labels=["one"], metadata={"k": 1})
    top.append("user", "hello")
    top.append("assistant", "hi")
    a, b = top.spawn("a", kind="delegate"), top.spawn("b")
    a.extend([{"role": "user", "content": f"{number}"} for number in range(3)])
    a.snapshot("early")
    a.append("user", "late")
    a.revert(3)
    a.spawn("aa").append("user", "leaf")
    a.spawn("ab")
    b.spawn("ba")
    b.spawn("bb").spawn("bba")
    top.fork("branch", at=2).append("user", "own")
    store.get("branch").fork("twig")


def _op(
    run: Callable[[SessionStore], Any],
    *ids: str,
    prepare: Callable[[SessionStore], Any] = lambda store: None,
    stepwise: bool = False,
    again: str | None = None,
    adds: bool = False,
) -> Operation:
    return Operation(prepare, run, frozenset(ids), stepwise, again, adds)


def _turn(store: SessionStore) -> None:
    with store.get("a").turn() as turn:
        turn.append("user", "first of turn")
        turn.append("assistant", LONG)


def _delete(name: str, how: str) -> Callable[[SessionStore], Any]:
    return lambda store: store.delete(name, children=how)  # type: ignore[arg-type]


def _undo_something(store: SessionStore, name: str) -> None:
    """Give a session something to compact, a snapshot from before and a superseded title."""
    session = store.get(name)
    session.append("user", "kept")
    session.snapshot("before")
    session.set_title("superseded")
    session.append("user", "undone")
    session.append("user", LONG)
    session.revert(session.messages[-2])
    session.set_title("last")


def _compact_all(store: SessionStore) -> None:
    report = store.compact(keep="present")
    if report.errors:
        # What went wrong with one is in the report; here it is to be found as any other error.
        raise HierstoreError(report.errors[0].error, session_id=report.errors[0].session_id)


_EXTENSION = [
    {"role": "user", "content": "x1", "message_id": "x1"},
    {"role": "tool", "content": [{"text": LONG}], "name": "f", "message_id": "x2"},
]

PART = f"registry {stripe_of(KEY):02x}"
PARTS = [f"registry {number:02x}" for number in range(256)]

OPERATIONS: dict[str, Operation] = {
    "create": _op(lambda s: s.create("new", title="t", labels=["l"]), "new", again="SessionExists"),
    "create over one": _op(lambda s: s.create("a", title="t"), "a", again="SessionExists"),
    "create child": _op(lambda s: s.create("new", parent="aa"), "new", "aa", again="SessionExists"),
    "get_or_create": _op(lambda s: s.get_or_create("new", parent="aa"), "new", "aa"),
    "spawn": _op(lambda s: s.get("a").spawn("new"), "a", "new", again="SessionExists"),
    "append": _op(lambda s: s.get("a").append("user", "m", message_id="m"), "a"),
    "append long": _op(lambda s: s.get("a").append("user", LONG, message_id="m"), "a"),
    "extend": _op(lambda s: s.get("a").extend(_EXTENSION), "a"),
    "turn": _op(_turn, "a", adds=True),
    "reset": _op(lambda s: s.get("a").reset(), "a"),
    "set_title": _op(lambda s: s.get("a").set_title("new"), "a"),
    "update": _op(lambda s: s.get("a").update(labels=["x"], metadata={"y": 1}, pinned=True, derived={"z": 2}), "a"),
    "snapshot": _op(lambda s: s.get("a").snapshot("new"), "a"),
    "revert": _op(lambda s: s.get("a").revert(2), "a"),
    "undo_revert": _op(lambda s: s.get("a").undo_revert(), "a", again="RevisionNotFound"),
    "fork": _op(lambda s: s.get("a").fork("new", title="f"), "a", "new", again="SessionExists"),
    "fork of a fork": _op(lambda s: s.get("twig").fork("new"), "twig", "new", again="SessionExists"),
    "set_ref": _op(lambda s: s.get("a").set_ref("thread", {"id": LONG}, if_equals=None), "a"),
    "set_ref to nothing": _op(
        lambda s: s.get("a").set_ref("thread", None), "a", prepare=lambda s: s.get("a").set_ref("thread", 1)
    ),
    "add_usage": _op(lambda s: s.get("a").add_usage(tokens=3, cost=0.1), "a", adds=True),
    "set_usage": _op(lambda s: s.get("a").set_usage(tokens=3), "a"),
    "start_turn": _op(lambda s: s.get("a").start_turn("token"), "a"),
    "end_turn": _op(
        lambda s: s.get("a").end_turn("token"), "a", prepare=lambda s: s.get("a").start_turn("token")
    ),
    "bind": _op(lambda s: s.bind(KEY, "a"), "a", PART),
    "bind to another": _op(lambda s: s.bind(KEY, "a"), "a", PART, prepare=lambda s: s.bind(KEY, "b")),
    "unbind": _op(lambda s: s.unbind(KEY), PART, prepare=lambda s: s.bind(KEY, "b")),
    "route": _op(lambda s: s.route(KEY, session_id="new", title="t"), "new", PART),
    "route to a child": _op(lambda s: s.route(KEY, session_id="new", parent="aa"), "new", "aa", PART),
    "route anew": _op(
        lambda s: s.route(KEY, session_id="new", reset_idle_s=1e-9), "new", "b", PART,
        prepare=lambda s: s.bind(KEY, "b"), stepwise=True, again="SessionExists",
    ),
    "share": _op(lambda s: s.get("a").share(), "a", *PARTS),
    "share a subtree as it is": _op(lambda s: s.get("top").share(subtree=True, frozen=True), *FAMILY, *PARTS),
    "unshare": _op(lambda s: s.get("a").unshare(), "a", *PARTS, prepare=lambda s: (s.get("a").share(), s.get("a").share())),
    "compact": _op(lambda s: s.get("a").compact(keep="snapshots"), "a", "top"),
    "compact to the present": _op(lambda s: s.get("a").compact(keep="present"), "a", "top"),
    "compact a fork": _op(
        lambda s: s.get("branch").compact(keep="present"), "branch", "top",
        prepare=lambda s: _undo_something(s, "branch"),
    ),
    "compact what is shared": _op(
        lambda s: s.get("bb").compact(keep="present"), "bb", "b", "top",
        prepare=lambda s: (
            s.get("bb").append("user", "frozen"), s.get("top").share(subtree=True, frozen=True), _undo_something(s, "bb")
        ),
    ),
    "compact all": _op(
        _compact_all, *FAMILY, "", stepwise=True,  # the folder itself is nobody's
        prepare=lambda s: [_undo_something(s, name) for name in ("top", "bb", "branch")],
    ),
    "move": _op(lambda s: s.get("b").move("aa"), "a", "aa", "b", "top"),
    "move to the roots": _op(lambda s: s.get("b").move(None), "b"),
    "delete": _op(_delete("aa", "refuse"), "aa", again="SessionNotFound"),
    "delete a fork": _op(_delete("twig", "refuse"), "twig", again="SessionNotFound"),
    "delete, orphan": _op(_delete("a", "orphan"), "a", "aa", "ab", again="SessionNotFound"),
    "delete, cascade": _op(_delete("top", "cascade"), *FAMILY, again="SessionNotFound"),
    "restore": _op(lambda s: s.restore("top"), *FAMILY, prepare=_delete("top", "cascade"), again="SessionNotFound"),
    "restore below": _op(
        lambda s: s.restore("b"), "top", "b", "ba", "bb", "bba", prepare=_delete("b", "cascade"), again="SessionNotFound"
    ),
    "restore without parent": _op(
        lambda s: s.restore("aa"), "aa", "a",
        prepare=lambda s: (s.delete("aa"), s.delete("a", children="orphan")), again="SessionNotFound",
    ),
    "purge": _op(lambda s: s.purge("aa"), "aa", prepare=_delete("aa", "refuse"), again="SessionNotFound"),
    "purge what forks show": _op(
        lambda s: s.purge("top"), "top", "branch", "twig", prepare=_delete("top", "orphan"), again="SessionNotFound"
    ),
    "purge all": _op(
        lambda s: s.purge(), *FAMILY, "",  # the trash itself is nobody's

        prepare=lambda s: (s.delete("bb", children="cascade"), s.delete("branch", children="orphan"), s.delete("aa")),
        stepwise=True,
    ),
}  # fmt: skip


def prepared(root: Path, name: str, **options: Any) -> SessionStore:
    """A store made anew for an operation."""
    store = SessionStore(root, **options)
    family(store)
    OPERATIONS[name].prepare(store)
    return store


def before_and_after(folder: Path, name: str) -> tuple[View, View]:
    """What the store shows before an operation, and after it went well."""
    with prepared(folder / "model", name) as store:
        before = view(store)
        OPERATIONS[name].run_or_be_refused(store)
        return before, view(store)


def is_legal(operation: Operation, found: View, before: View, after: View) -> bool:
    """Whether a store shows all of an operation or nothing of it."""
    if not operation.is_stepwise:
        return found in (before, after)
    steps = all(
        facts in (before.sessions.get(name), after.sessions.get(name)) for name, facts in found.sessions.items()
    )
    return (
        steps
        and before.sessions.keys() <= found.sessions.keys() <= after.sessions.keys()
        and set(after.trash) <= set(found.trash) <= set(before.trash)
        and found.lead in (before.lead, after.lead)
    )


def finish(store: SessionStore, operation: Operation, after: View) -> None:
    """Call the operation again, as a program would; then the store shows it done, and takes writes everywhere."""
    operation.run_or_be_refused(store)
    if not operation.adds:
        found = view(store)
        assert _without_repeats(found) == _without_repeats(after)
    for name in list(view(store).sessions):
        last = store.get(name).append("user", "next")
        assert store.get(name).messages[-1] == last
    assert store.check().problems == ()


def _without_repeats(shown: View) -> View:
    """A view in which a second snapshot of one label, or a second share, does not count: a retry may make one."""
    sessions = {
        name: {**facts, **{many: sorted(set(facts[many])) for many in ("snapshots", "shares")}}
        for name, facts in shown.sessions.items()
    }
    return View(sessions, shown.trash, shown.lead)


def descriptors() -> set[tuple[str, str]]:
    """This process's open descriptors, and what they are of."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            found.add((name, os.readlink(f"/dev/fd/{name}")))
    return found
