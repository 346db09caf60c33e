"""Imports that sweeps cut off or let fail at each system call, and what a store shows of them: all or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hierstore import HierstoreError, SessionStore, TreeNode
from tests.support import fill, texts
from tests.transfer.bundles import Bundle, as_lines, sent, session_of
from tests.transfer.test_praisonai_layout import said, session

NAMES = ("top", "a", "aa", "branch", "twig")
KEYS = ("key of top", "key of twig")


def populate(store: SessionStore) -> None:
    """Five sessions: a tree of three levels, with a fork and a fork of the fork, a snapshot, keys."""
    top = fill(store.create("top", title="the top", labels=["one"]), "hello", "hi")
    a = fill(top.spawn("a", kind="delegate"), "I am a")
    a.snapshot("here")
    fill(a.spawn("aa"), "leaf")
    branch = fill(top.fork("branch"), "own")
    branch.fork("twig")
    store.bind("key of top", top)
    store.bind("key of twig", "twig")


def bundle_of(folder: Path) -> Bundle:
    """What that exports."""
    with SessionStore(folder) as store:
        populate(store)
        return sent(store.export("top"))


def foreign_folder(folder: Path) -> Path:
    """The sessions of another system, with the ids of some of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in (
        session("top", [said("user", "from elsewhere", 1.0)], title="T", children_ids=["a"]),
        session("a", [said("user", "below", 2.0)], parent_id="top"),
    ):
        (folder / f"{data['session_id']}.json").write_text(json.dumps(data))
    return folder


@dataclass(frozen=True)
class Case:
    """An import.

    Attributes:
        prepare: makes what is there before.
        run: the import; given the store and the bundle.
    """

    prepare: Callable[[SessionStore], Any]
    run: Callable[[SessionStore, Bundle], Any]

    def again(self, store: SessionStore, bundle: Bundle) -> None:
        """Make the call again, as a program would; it may say that it is done already."""
        try:
            self.run(store, bundle)
        except HierstoreError as error:
            if type(error).__name__ != "SessionExists":
                raise


def _parent(store: SessionStore) -> None:
    fill(store.create("parent"), "p").spawn("elder")


def _half(store: SessionStore) -> None:
    populate(store)
    store.delete("branch", children="cascade")
    store.delete("aa")
    store.purge()


def _taken(store: SessionStore) -> None:
    fill(store.create("twig"), "mine")


CASES: dict[str, Case] = {
    "refuse": Case(
        _parent, lambda store, data: store.import_bundle(data, on_conflict="refuse", parent="parent", routes=True)
    ),
    "new ids": Case(_taken, lambda store, data: store.import_lines(as_lines(data), routes=True)),
    "skip": Case(_half, lambda store, data: store.import_bundle(data, on_conflict="skip")),
    "one": Case(
        _parent,
        lambda store, data: store.import_bundle(
            {**data, "root": "aa", "sessions": [{**session_of(data, "aa"), "parent_id": None}]}, on_conflict="refuse"
        ),
    ),
    "folder": Case(
        _parent,
        lambda store, _: store.import_folder(
            foreign_folder(store.root.parent / f"{store.root.name} foreign"), parent="parent", on_conflict="refuse"
        ),
    ),
}


def prepared(root: Path, name: str, **options: Any) -> SessionStore:
    """A store made anew for an import."""
    store = SessionStore(root, **options)
    CASES[name].prepare(store)
    return store


Glance = tuple[Any, ...]


def glance(store: SessionStore) -> Glance:
    """All that a store shows, but for made ids."""
    known = {*NAMES, "parent", "elder"}

    def show(node: TreeNode) -> Any:
        found = store.get(node.id)
        return (
            node.id if node.id in known else "new",
            found.title, found.kind, found.parent_id if found.parent_id in known else found.parent_id is not None,
            found.labels, texts(found), [snap.label for snap in found.snapshots], sorted(found.routes),
            sorted(map(show, node.children), key=repr),
        )  # fmt: skip

    keys = [None if (found := store.resolve(key)) is None else texts(found) for key in KEYS]
    return tuple(sorted(map(show, store.tree()), key=repr)), tuple(map(repr, keys))


def before_and_after(folder: Path, name: str, bundle: Bundle) -> tuple[Glance, Glance]:
    """What the store shows before an import, and after it went well."""
    with prepared(folder / "model", name) as store:
        before = glance(store)
        CASES[name].run(store, bundle)
        after = glance(store)
    assert before != after
    return before, after


def use_all(store: SessionStore) -> None:
    """Write to each session."""

    def walk(node: TreeNode) -> None:
        last = store.get(node.id).append("user", "next")
        assert store.get(node.id).messages[-1] == last
        for child in node.children:
            walk(child)

    for node in store.tree():
        walk(node)
    assert store.check().problems == ()


def assert_tidy(store: SessionStore) -> None:
    """See that what an import left in ``tmp/`` is known to a repair, and nothing is amiss afterwards."""
    report = store.repair()
    assert report.left == ()
    assert list((store.root / "tmp").iterdir()) == []
    assert not list((store.root / "sessions").rglob("*.part"))
    assert store.check().problems == ()
