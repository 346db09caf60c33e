"""Random calls on two stores over one folder, against a plain model in memory."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hierstore import (
    HasChildren,
    HierarchyCycle,
    RevisionNotFound,
    Session,
    SessionExists,
    SessionNotFound,
    SessionStore,
)

Text = tuple[str, Any]
"""A message: its id and its content."""


@dataclass
class Expected:
    """A session as it should be.

    Attributes:
        shown: for each revision, from 1, the history that it shows.
        undo: for each revert that can be undone, the revision before it.
        noted: the ids that it has ever had for children.
        refs: its ids in other systems.
        usage: its counters.
        through: the revision up to which it was compacted, 0 if it was not.
        kept: the revisions before that can be gone back to.
    """

    shown: list[list[Text]]
    parent: str | None = None
    title: str | None = None
    title_by: str | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    snapshots: list[tuple[str, int]] = field(default_factory=list)
    undo: list[int] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    refs: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    through: int = 0
    kept: tuple[int, ...] = ()

    def is_whole(self, revision: int) -> bool:
        return revision >= self.through or revision in self.kept

    @property
    def history(self) -> list[Text]:
        return self.shown[-1]

    def commit(self, history: list[Text] | None = None) -> None:
        self.shown.append(self.history if history is None else history)


@dataclass
class Deleted:
    """What one call of delete put in the trash."""

    sessions: dict[str, Expected]


contents = st.one_of(
    st.text("ab\u00e9\U0001f600", max_size=5), st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2)
)
which = st.integers(0, 1)
place = st.integers(0, 10**6)


class TwoStores(RuleBasedStateMachine):
    """Every rule works through one of two stores, chosen at random; both must show the model after each."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hierstore-test-"))
        self.stores = [SessionStore(self.folder / "store"), SessionStore(self.folder / "store", cache_bytes=1)]
        self.living: dict[str, Expected] = {}
        self.trash: list[Deleted] = []
        self.number = 0
        self.touched: set[str] = set()

    def teardown(self) -> None:
        try:
            with SessionStore(self.folder / "store") as cold:
                self.compare(cold, set(self.living))
                assert cold.check().problems == ()
            with SessionStore(self.folder / "store", read_only=True) as reader:
                self.compare(reader, set(self.living))
        finally:
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder)

    # Choosing

    def new_id(self) -> str:
        self.number += 1
        return f"s{self.number}" if self.number % 3 else f"S/{self.number}"

    def pick(self, at: int) -> tuple[str, Expected]:
        session_id = sorted(self.living)[at % len(self.living)]
        self.touched.add(session_id)
        return session_id, self.living[session_id]

    def handle(self, store: int, session_id: str) -> Session:
        return self.stores[store].get(session_id)

    def note(self, parent: str, child: str) -> None:
        if child not in self.living[parent].noted:
            self.living[parent].noted.append(child)
            self.living[parent].commit()
            self.touched.add(parent)

    def below(self, session_id: str) -> list[str]:
        children = [other for other, expected in self.living.items() if expected.parent == session_id]
        return children + [deeper for child in children for deeper in self.below(child)]

    has_sessions = precondition(lambda self: self.living)

    # Making

    @rule(store=which, by=st.sampled_from(["create", "get_or_create"]), title=st.none() | st.just("T"))
    def create(self, store: int, by: str, title: str | None) -> None:
        session_id = self.new_id()
        getattr(self.stores[store], by)(session_id, title=title, labels=["new"])
        self.living[session_id] = Expected([[]], title=title, title_by=title and "user", labels=("new",))
        self.touched.add(session_id)

    @has_sessions
    @rule(store=which, at=place)
    def spawn(self, store: int, at: int) -> None:
        parent, _ = self.pick(at)
        child = self.new_id()
        self.handle(store, parent).spawn(child)
        self.note(parent, child)
        self.living[child] = Expected([[]], parent=parent)
        self.touched.add(child)

    @has_sessions
    @rule(store=which, at=place, revision=st.none() | place)
    def fork(self, store: int, at: int, revision: int | None) -> None:
        parent, expected = self.pick(at)
        child = self.new_id()
        if revision is not None:
            revision = 1 + revision % len(expected.shown)
        history = expected.history if revision is None else expected.shown[revision - 1]
        if revision is not None and not expected.is_whole(revision):
            with pytest.raises(RevisionNotFound):
                self.handle(store, parent).fork(child, at=revision)
            return
        self.handle(store, parent).fork(child, at=revision)
        self.note(parent, child)
        self.living[child] = Expected([history], parent=parent)
        self.touched.add(child)

    @has_sessions
    @rule(store=which, at=place)
    def create_again(self, store: int, at: int) -> None:
        session_id, expected = self.pick(at)
        with pytest.raises(SessionExists):
            self.stores[store].create(session_id, title="other")
        assert self.stores[store].get_or_create(session_id, title="other").title == expected.title

    # Messages

    @has_sessions
    @rule(store=which, at=place, content=contents)
    def append(self, store: int, at: int, content: Any) -> None:
        session_id, expected = self.pick(at)
        message = self.handle(store, session_id).append("user", content)
        expected.commit([*expected.history, (message.id, content)])

    @has_sessions
    @rule(
        store=which, at=place, items=st.lists(contents, min_size=1, max_size=4), by=st.sampled_from(["extend", "turn"])
    )
    def extend(self, store: int, at: int, items: list[Any], by: str) -> None:
        session_id, expected = self.pick(at)
        session = self.handle(store, session_id)
        messages = [{"role": "user", "content": item} for item in items]
        if by == "extend":
            stored = session.extend(messages)
        else:
            with session.turn() as turn:
                turn.extend(messages)
            stored = turn.messages
        expected.commit(expected.history + [(message.id, item) for message, item in zip(stored, items, strict=True)])

    @has_sessions
    @rule(store=which, at=place, retried=place, content=contents)
    def retry(self, store: int, at: int, retried: int, content: Any) -> None:
        session_id, expected = self.pick(at)
        if expected.history:
            message_id, stored = expected.history[retried % len(expected.history)]
            assert self.handle(store, session_id).append("user", content, message_id=message_id).content == stored

    @has_sessions
    @rule(store=which, at=place)
    def reset(self, store: int, at: int) -> None:
        session_id, expected = self.pick(at)
        self.handle(store, session_id).reset()
        expected.commit([])
        expected.undo.clear()

    # Going back

    @has_sessions
    @rule(store=which, at=place)
    def snapshot(self, store: int, at: int) -> None:
        session_id, expected = self.pick(at)
        snap = self.handle(store, session_id).snapshot()
        expected.commit()
        expected.snapshots.append((snap.id, len(expected.shown)))
        assert snap.revision == len(expected.shown)

    @has_sessions
    @rule(store=which, at=place, goal=place, by=st.sampled_from(["revision", "snapshot", "message"]))
    def revert(self, store: int, at: int, goal: int, by: str) -> None:
        session_id, expected = self.pick(at)
        session, before = self.handle(store, session_id), len(expected.shown)
        if by == "message" and expected.history:
            count = goal % len(expected.history)
            session.revert(expected.history[count][0])
            expected.commit(expected.history[: count + 1])
        elif by == "snapshot" and expected.snapshots:
            snap, revision = expected.snapshots[goal % len(expected.snapshots)]
            session.revert(snap)
            expected.commit(expected.shown[revision - 1])
        else:
            revision = 1 + goal % before
            if not expected.is_whole(revision):
                with pytest.raises(RevisionNotFound):
                    session.revert(revision)
                return
            session.revert(revision)
            expected.commit(expected.shown[revision - 1])
        expected.undo.append(before)

    @has_sessions
    @rule(store=which, at=place)
    def undo_revert(self, store: int, at: int) -> None:
        session_id, expected = self.pick(at)
        session = self.handle(store, session_id)
        if not expected.undo:
            with pytest.raises(RevisionNotFound):
                session.undo_revert()
            return
        session.undo_revert()
        expected.commit(expected.shown[expected.undo.pop() - 1])

    @has_sessions
    @rule(store=which, at=place, revision=place)
    def look_back(self, store: int, at: int, revision: int) -> None:
        session_id, expected = self.pick(at)
        revision = 1 + revision % len(expected.shown)
        session = self.handle(store, session_id)
        if not expected.is_whole(revision):
            with pytest.raises(RevisionNotFound):
                session.at(revision)
            return
        past = session.at(revision)
        assert [(message.id, message.content) for message in past.messages] == expected.shown[revision - 1]

    # Facts

    @has_sessions
    @rule(store=which, at=place, title=st.sampled_from(["one", "two", None]), source=st.sampled_from(["user", "auto"]))
    def set_title(self, store: int, at: int, title: str | None, source: str) -> None:
        session_id, expected = self.pick(at)
        self.handle(store, session_id).set_title(title, source=source)  # type: ignore[arg-type]
        by = title and source
        if (source == "auto" and expected.title_by == "user") or (expected.title, expected.title_by) == (title, by):
            return
        expected.title, expected.title_by = title, by
        expected.commit()

    @has_sessions
    @rule(store=which, at=place, labels=st.none() | st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
          key=st.sampled_from("kl"), value=st.none() | st.integers(0, 1))  # fmt: skip
    def update(self, store: int, at: int, labels: list[str] | None, key: str, value: int | None) -> None:
        session_id, expected = self.pick(at)
        self.handle(store, session_id).update(labels=labels, metadata={key: value})
        before = (expected.labels, dict(expected.metadata))
        if labels is not None:
            expected.labels = tuple(labels)
        expected.metadata = {k: v for k, v in {**expected.metadata, key: value}.items() if v is not None}
        if before != (expected.labels, expected.metadata):
            expected.commit()

    @has_sessions
    @rule(store=which, at=place, name=st.sampled_from("rs"), value=st.none() | st.integers(0, 1))
    def set_ref(self, store: int, at: int, name: str, value: int | None) -> None:
        session_id, expected = self.pick(at)
        assert self.handle(store, session_id).set_ref(name, value)
        if expected.refs.get(name) != value:
            expected.refs = {k: v for k, v in {**expected.refs, name: value}.items() if v is not None}
            expected.commit()

    @has_sessions
    @rule(store=which, at=place, tokens=st.integers(0, 9))
    def add_usage(self, store: int, at: int, tokens: int) -> None:
        session_id, expected = self.pick(at)
        self.handle(store, session_id).add_usage(tokens=tokens)
        expected.usage = {"tokens": expected.usage.get("tokens", 0) + tokens}
        expected.commit()

    # Compacting

    @has_sessions
    @rule(
        store=which, at=place, keep=st.sampled_from(["snapshots", "present"]), by=st.sampled_from(["session", "store"])
    )
    def compact(self, store: int, at: int, keep: str, by: str) -> None:
        session_id, _ = self.pick(at)
        before = {name: self.stores[store].get(name)._state() for name in self.living}
        if by == "session":
            self.handle(store, session_id).compact(keep=keep)  # type: ignore[arg-type]
        else:
            assert self.stores[store].compact(keep=keep).errors == ()  # type: ignore[arg-type]
        for name in [session_id] if by == "session" else list(self.living):
            self.note_compaction(store, name, before[name], keep)
        self.touched.update(self.living)

    def note_compaction(self, store: int, session_id: str, before: Any, keep: str) -> None:
        """Where nothing can be gained nothing changes; where anything was dropped, only what is kept is left."""
        expected, after = self.living[session_id], self.stores[store].get(session_id)._state()
        if after.facts.through == before.facts.through and after.facts.snapshots == before.facts.snapshots:
            return
        if keep == "present":
            expected.snapshots.clear()
        expected.undo.clear()
        expected.through = len(expected.shown)
        expected.kept = tuple(sorted({revision for _, revision in expected.snapshots} - {expected.through}))
        assert (after.facts.through, after.facts.kept) == (expected.through, expected.kept)

    # Hierarchy and trash

    @has_sessions
    @rule(store=which, at=place, to=st.none() | place)
    def move(self, store: int, at: int, to: int | None) -> None:
        session_id, expected = self.pick(at)
        parent = None if to is None else self.pick(to)[0]
        session = self.handle(store, session_id)
        if parent == expected.parent:
            session.move(parent)
        elif parent is not None and parent in (session_id, *self.below(session_id)):
            with pytest.raises(HierarchyCycle):
                session.move(parent)
        else:
            session.move(parent)
            if parent is not None:
                self.note(parent, session_id)
            expected.parent = parent
            expected.commit()

    @has_sessions
    @rule(store=which, at=place, how=st.sampled_from(["refuse", "cascade", "orphan"]))
    def delete(self, store: int, at: int, how: str) -> None:
        session_id, _ = self.pick(at)
        below = self.below(session_id)
        if below and how == "refuse":
            with pytest.raises(HasChildren):
                self.stores[store].delete(session_id)
            return
        self.stores[store].delete(session_id, children=how)  # type: ignore[arg-type]
        if how == "orphan":
            for child in below:
                if self.living[child].parent == session_id:
                    self.living[child].parent = None
                    self.living[child].commit()
            below = []
        gone = {victim: self.living.pop(victim) for victim in (session_id, *below)}
        for expected in gone.values():
            expected.commit()
        self.trash.append(Deleted(gone))
        self.touched.update(self.living)

    @precondition(lambda self: self.trash)
    @rule(store=which, at=place, member=place)
    def restore(self, store: int, at: int, member: int) -> None:
        batch = self.trash[at % len(self.trash)]
        session_id = sorted(batch.sessions)[member % len(batch.sessions)]
        restored = self.stores[store].restore(session_id)
        returning = {session_id}
        while more := {k for k, v in batch.sessions.items() if v.parent in returning} - returning:
            returning |= more
        for found in returning:
            self.living[found] = batch.sessions.pop(found)
            self.living[found].commit()
        self.trash = [batch for batch in self.trash if batch.sessions]
        expected = self.living[session_id]
        if expected.parent is not None and expected.parent not in self.living:
            expected.parent = None
            expected.commit()
        elif expected.parent is not None:
            self.note(expected.parent, session_id)
        self.touched.update(self.living)
        assert restored.id == session_id

    @precondition(lambda self: self.trash)
    @rule(store=which)
    def purge(self, store: int) -> None:
        gone = [session_id for batch in self.trash for session_id in batch.sessions]
        assert sorted(self.stores[store].purge()) == sorted(gone)
        self.trash.clear()
        for session_id in gone:
            with pytest.raises(SessionNotFound):
                self.stores[store].restore(session_id)
        self.touched.update(self.living)
        self.resync()

    def resync(self) -> None:
        """Purging may add a commit to a fork, to say where its history is kept now: the history stays."""
        for session_id, expected in self.living.items():
            extra = self.stores[0].get(session_id).revision - len(expected.shown)
            assert 0 <= extra <= 8
            for _ in range(extra):
                expected.commit()

    @rule(store=which)
    def reopen(self, store: int) -> None:
        cache_bytes = [2**20, 1][store]
        self.stores[store].close()
        self.stores[store] = SessionStore(self.folder / "store", cache_bytes=cache_bytes)
        self.touched.update(self.living)

    # Comparing

    @invariant()
    def both_stores_show_the_model(self) -> None:
        touched, self.touched = getattr(self, "touched", set()), set()
        for store in getattr(self, "stores", ()):
            self.compare(store, touched & set(self.living))

    def compare(self, store: SessionStore, session_ids: set[str]) -> None:
        for session_id in session_ids:
            self.compare_session(store.get(session_id), self.living[session_id])
        for batch in self.trash:
            assert not [session_id for session_id in batch.sessions if session_id in store]

    def compare_session(self, session: Session, expected: Expected) -> None:
        info = session.info
        found = replace(
            expected,
            shown=[*expected.shown[:-1], [(message.id, message.content) for message in session.messages]],
            parent=info.parent_id, title=info.title, title_by=info.title_source, labels=info.labels, metadata=info.metadata,
            snapshots=[(snap.id, snap.revision) for snap in session.snapshots], refs=session.refs, usage=session.usage,
        )  # fmt: skip
        assert found == expected
        assert (info.revision, info.message_count) == (len(expected.shown), len(expected.history))
        children = [
            child for child in expected.noted if child in self.living and self.living[child].parent == session.id
        ]
        assert [child.id for child in session.children] == children
        seqs = [message.seq for message in session.messages]
        assert seqs == sorted(set(seqs))


def test_two_stores_over_one_folder_behave_like_the_model() -> None:
    run_state_machine_as_test(TwoStores, settings=settings(max_examples=120, stateful_step_count=40))


@pytest.mark.parametrize("steps", [150])
def test_a_long_life_of_a_store_behaves_like_the_model(steps: int) -> None:
    run_state_machine_as_test(TwoStores, settings=settings(max_examples=15, stateful_step_count=steps))
