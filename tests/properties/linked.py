"""The model of ``test_model``, and what leads to its sessions: keys, shares, words that are searched for, bundles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from hierstore import SessionStore, ShareNotFound, TreeNode
from tests.properties.test_model import Expected, TwoStores, contents, place, which

keys = st.sampled_from(["key 0", "key 1"])


class Grant(NamedTuple):
    """A share: what it opens, and its id."""

    session_id: str
    id: str


class LinkedStores(TwoStores):
    """Further rules. What listings, searches, keys and tokens show is compared by ``compare_listing``, ``compare_links``."""

    @initialize()
    def open(self) -> None:
        super().open()
        self.leads: dict[str, str] = {}
        self.bound: dict[str, set[str]] = {}
        self.grants: dict[str, Grant] = {}
        self.revoked: list[str] = []
        self.words: list[tuple[str, str]] = []

    has_sessions = precondition(lambda self: self.living)

    # Messages whose ids are known before they are stored

    @has_sessions
    @rule(store=which, at=place, items=st.lists(contents, min_size=1, max_size=3))
    def add_named(self, store: int, at: int, items: list[Any]) -> None:
        session_id, expected = self.pick(at)
        named = [(f"{self.new_id()} {place}", item) for place, item in enumerate(items)]
        messages = [{"role": "user", "content": item, "message_id": name} for name, item in named]
        self.handle(store, session_id).extend(messages)
        expected.commit([*expected.history, *named])

    @has_sessions
    @rule(store=which, at=place)
    def add_word(self, store: int, at: int) -> None:
        """One that a search will be asked for."""
        session_id, expected = self.pick(at)
        word = f"word{len(self.words):03d}"
        message = self.handle(store, session_id).append("user", f"{word} and more")
        expected.commit([*expected.history, (message.id, f"{word} and more")])
        self.words.append((word, message.id))

    # Links

    @has_sessions
    @rule(store=which, at=place, key=keys)
    def bind(self, store: int, at: int, key: str) -> None:
        session_id, _ = self.pick(at)
        self.stores[store].bind(key, session_id)
        self.note_key(session_id, key)

    def note_key(self, session_id: str, key: str) -> None:
        if key not in self.bound.setdefault(session_id, set()):
            self.bound[session_id].add(key)
            self.living[session_id].commit()
        self.leads[key] = session_id

    @rule(store=which, key=keys)
    def route(self, store: int, key: str) -> None:
        session_id = self.new_id()
        led = self.lead(key)
        found = self.stores[store].route(key, session_id=session_id, title="routed")
        assert found.id == (led or session_id)
        if led is None:
            self.living[session_id] = Expected([[]], title="routed", title_by="user")
            self.bound[session_id] = {key}
            self.leads[key] = session_id
            self.touched.add(session_id)

    @rule(store=which, key=keys)
    def unbind(self, store: int, key: str) -> None:
        assert self.stores[store].unbind(key) == (self.leads.pop(key, None) is not None)

    def lead(self, key: str) -> str | None:
        """Where a key leads."""
        session_id = self.leads.get(key)
        return session_id if session_id in self.living else None

    @has_sessions
    @rule(store=which, at=place, subtree=st.booleans())
    def share(self, store: int, at: int, subtree: bool) -> None:
        session_id, expected = self.pick(at)
        grant = self.handle(store, session_id).share(subtree=subtree)
        assert grant.token is not None
        self.grants[grant.token] = Grant(session_id, grant.id)
        expected.commit()

    @precondition(lambda self: self.grants)
    @rule(store=which, at=place)
    def unshare(self, store: int, at: int) -> None:
        token, grant = list(self.grants.items())[at % len(self.grants)]
        self.handle(store, grant.session_id).unshare(grant.id)
        self.revoke([token])
        self.living[grant.session_id].commit()
        self.touched.add(grant.session_id)

    def revoke(self, tokens: list[str]) -> None:
        """They open nothing any more, whatever comes."""
        for token in tokens:
            del self.grants[token]
        self.revoked += tokens

    @has_sessions
    @rule(store=which, at=place, how=st.sampled_from(["refuse", "cascade", "orphan"]))
    def delete(self, store: int, at: int, how: str) -> None:
        super().delete(store, at, how)
        self.revoke([token for token, grant in self.grants.items() if grant.session_id not in self.living])

    # Out and in again

    @has_sessions
    @rule(store=which, at=place, by=st.sampled_from(["bundle", "lines"]))
    def export_and_import(self, store: int, at: int, by: str) -> None:
        """What comes in is what went out; then it is purged."""
        session_id, expected = self.pick(at)
        chosen = self.stores[store]
        if by == "bundle":
            copied = chosen.import_bundle(chosen.export(session_id, subtree=False))
        else:
            copied = chosen.import_lines(chosen.export_lines(session_id, subtree=False))
        for shown in self.stores:
            session = shown.get(copied.id)
            info = session.info
            assert texts_of(shown, copied.id) == expected.history
            assert (info.title, info.labels, info.metadata) == (expected.title, expected.labels, expected.metadata)
            assert (session.refs, session.usage) == (expected.refs, expected.usage)
            assert [snap.id for snap in session.snapshots] == [snap for snap, _ in expected.snapshots]
        chosen.delete(copied.id)
        assert chosen.purge(copied.id) == (copied.id,)

    # Comparing

    def compare_listing(self, store: SessionStore) -> None:
        found = {info.id: info for info in store.sessions(limit=10_000).items}
        assert {name: (info.revision, info.title, info.parent_id, info.message_count) for name, info in found.items()} == {
            name: (len(expected.shown), expected.title, expected.parent, len(expected.history))
            for name, expected in self.living.items()
        }  # fmt: skip
        assert dict(edges(store.tree())) == {name: expected.parent for name, expected in self.living.items()}
        gone = [session_id for batch in self.trash for session_id in batch.sessions]
        assert sorted(deleted.id for deleted in store.trash()) == sorted(gone)
        for word, message_id in self.words[-3:]:
            showing = {name for name, kept in self.living.items() if message_id in dict(kept.history)}
            hits = store.search(word).items
            assert [hit.message_id for hit in hits] == [message_id] * bool(showing)
            assert {hit.session_id for hit in hits} <= showing

    def compare_links(self, store: SessionStore) -> None:
        for key in ("key 0", "key 1"):
            found = store.resolve(key)
            assert (found and found.id) == self.lead(key)
        for token, grant in self.grants.items():
            shown = [(message.id, message.content) for message in store.open_share(token).messages]
            assert shown == self.living[grant.session_id].history
        for token in self.revoked[-3:]:
            with pytest.raises(ShareNotFound):
                store.open_share(token)


def edges(nodes: tuple[TreeNode, ...], parent: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Each session of a tree with its parent."""
    for node in nodes:
        yield node.id, parent
        yield from edges(node.children, node.id)


def texts_of(store: SessionStore, session_id: str) -> list[tuple[str, Any]]:
    """A session's messages as the model has them."""
    return [(message.id, message.content) for message in store.get(session_id).messages]
