"""Redaction: what a hook takes out of an export is nowhere in it, and what stays still fits together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import InvalidRecord, Message, SessionStore
from tests.store.refusing import assert_refused
from tests.support import fill, texts
from tests.transfer.bundles import Bundle, events_of, family, rich, sent, text, use, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[..., SessionStore]


@pytest.fixture
def other(open_store: OpenStore, tmp_path: Path) -> SessionStore:
    """An empty store."""
    return open_store(tmp_path / "other")


def no_secrets(message: Message) -> Message | None:
    """Leaves out what begins with "out", and hides what begins with "hide"."""
    if isinstance(message.content, str):
        if message.content.startswith("out"):
            return None
        if message.content.startswith("hide"):
            return message.replace(content="hidden", metadata={}, fields={})
    return message


def shown(messages: Any) -> list[Any]:
    """What is left of some messages."""
    return [found.content for message in messages if (found := no_secrets(message)) is not None]


@pytest.fixture
def session(store: SessionStore) -> Any:
    """Messages to leave out and to hide: now, undone, behind snapshots, inherited, in one commit with others, reset."""
    session = store.create("s")
    fill(session, "a", "out 1", "hide 1", "b")
    session.snapshot("all four")
    session.extend([{"role": "user", "content": text} for text in ("c", "out 2", "hide 2", "d", "out 3")])
    session.snapshot("all nine")
    fill(session.fork("f"), "out 4", "e")
    fill(session.fork("at out", at=session.messages[1]), "f")
    session.revert(session.snapshots[0])
    fill(session, "out 5", "g", "hide 3")
    session.revert(session.messages[5])
    session.undo_revert()
    session.revert(session.messages[2])
    session.append("user", "hide 4", metadata={"secret": "out"}, secret="out")
    fill(store.get("f").fork("ff"), "out 6", "h")
    child = fill(session.spawn("child"), "out 7", "i")
    child.reset()
    fill(child, "j", "out 8")
    child.revert(child.messages[1])
    child.revert(3)
    fill(session, "out 9")
    return session


FORMS: dict[str, Callable[..., Any]] = {
    "document": lambda store, redact: store.export("s", redact=redact),
    "lines": lambda store, redact: list(store.export_lines("s", redact=redact)),
}


def taken(store: SessionStore, exported: Any) -> Any:
    """What comes of a document or of lines."""
    return store.import_lines(exported) if isinstance(exported, list) else store.import_bundle(sent(exported))


def data_of(exported: Any) -> str:
    return b"".join(exported).decode() if isinstance(exported, list) else text(exported)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_left_out_or_hidden_is_nowhere_in_the_bundle(store, session, form):
    everything = data_of(FORMS[form](store, None))
    assert everything.count('"out ') > 9
    assert everything.count('"hide ') > 4
    exported = data_of(FORMS[form](store, no_secrets))
    for secret in ("out", "hide ", "secret"):
        assert f'"{secret}' not in exported
    assert '"hidden"' in exported


@pytest.mark.parametrize("form", FORMS)
def test_each_revision_shows_what_it_did_without_what_was_left_out(store, session, other, form):
    made = taken(other, FORMS[form](store, no_secrets))
    originals = (session, *session.descendants())
    copies = (made, *made.descendants())
    assert [each.id for each in copies] == [each.id for each in originals]
    for ours, theirs in zip(copies, originals, strict=True):
        assert ours.revision == theirs.revision
        for revision in range(1, theirs.revision + 1):
            assert texts(ours.at(revision)) == shown(theirs.at(revision).messages), (ours.id, revision)
        assert texts(ours) == shown(theirs.messages)
        assert [snap.revision for snap in ours.snapshots] == [snap.revision for snap in theirs.snapshots]
    assert other.check().problems == ()


def test_messages_keep_their_ids_and_numbers(store, session, other):
    made = taken(other, store.export("s", redact=no_secrets))
    for ours, theirs in zip((made, *made.descendants()), (session, *session.descendants()), strict=True):
        numbers = [(m.id, m.seq, m.at) for m in theirs.messages if no_secrets(m) is not None]
        assert [(m.id, m.seq, m.at) for m in ours.messages] == numbers
        assert ours.append("user", "x").seq > max([0, *(seq for _, seq, _ in numbers)])


def test_reverts_can_still_be_undone_and_done(store, session, other):
    made = taken(other, store.export("s", redact=no_secrets))
    for each in (session, made):
        each.undo_revert()
    assert texts(made) == shown(session.messages)
    assert texts(made)[-1] == "hidden"
    for snap in session.snapshots:
        for each in (session, made):
            each.revert(snap.id)
        assert texts(made) == shown(session.messages)
    use(made)


def test_what_was_redacted_goes_on_from_store_to_store_as_it_is(store, session, other, open_store, tmp_path):
    made = taken(other, store.export("s", redact=no_secrets))
    third = open_store(tmp_path / "third")
    again = taken(third, other.export("s", redact=no_secrets))
    assert family(again) == family(made)
    assert text(third.export("s")) == text(other.export("s"))


def test_a_compacted_log_is_redacted_too(store, session, other):
    for each in (session, *session.descendants()):
        each.compact(keep="snapshots")
    exported = store.export("s", redact=no_secrets)
    assert '"out' not in text(exported)
    made = taken(other, exported)
    for ours, theirs in zip((made, *made.descendants()), (session, *session.descendants()), strict=True):
        assert texts(ours) == shown(theirs.messages)
        for snap in theirs.snapshots:
            assert texts(ours.at(snap.id)) == shown(theirs.at(snap).messages)
    use(made)


def test_everything_may_be_left_out(store, session, other):
    made = taken(other, store.export("s", redact=lambda _: None))
    for ours, theirs in zip((made, *made.descendants()), (session, *session.descendants()), strict=True):
        assert [len(ours.at(revision).messages) for revision in range(1, ours.revision + 1)] == [0] * ours.revision
        assert (ours.title, ours.revision, len(ours.messages)) == (theirs.title, theirs.revision, 0)
    use(made)


def test_a_hook_that_changes_nothing_makes_no_difference(store):
    rich(store)
    assert text(store.export("top", redact=lambda message: message)) == text(store.export("top"))
    assert list(store.export_lines("top", redact=lambda message: message)) == list(store.export_lines("top"))


def test_the_store_is_not_changed_by_a_redaction(store, session):
    before, exported = family(session), text(store.export("s"))
    store.export("s", redact=no_secrets)
    assert family(session) == before
    assert text(store.export("s")) == exported


def test_the_hook_sees_every_message_that_was_ever_stored_once_a_session(store, session):
    seen: list[tuple[str, Any]] = []

    def note(message: Message) -> Message:
        seen.append((message.id, message.content))
        return message

    store.export("s", subtree=False, redact=note)
    every = {event["id"] for event in events_of(store.export("s"), "s") if event["type"] == "message"}
    assert {message_id for message_id, _ in seen} == every
    assert len(seen) == len(every)
    assert {content for _, content in seen} >= {"d", "g", "out 3", "out 5"}, "also those that were undone"


def test_the_hook_sees_what_a_fork_inherited(store, session):
    seen: list[Any] = []

    def note(message: Message) -> Message:
        seen.append(message.content)
        return message

    store.export("ff", redact=note)
    assert sorted(seen) == sorted(texts(store.get("ff")))


class Mine(Exception):
    """A caller's own error."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["a", "d", "out 6", "i"])
def test_what_a_hook_raises_is_raised(store, session, form, where):
    def hook(message: Message) -> Message:
        if message.content == where:
            raise Mine
        return message

    with pytest.raises(Mine):
        FORMS[form](store, hook)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nonsense", ["text", 0, False, {}, {"content": "x"}, [], Message], ids=repr)
def test_a_hook_that_returns_no_message_is_refused_and_nothing_is_shown(store, session, form, nonsense):
    error = assert_refused(store, lambda: FORMS[form](store, lambda _: nonsense), "redact")
    assert type(nonsense).__name__ in str(error)


def test_a_hook_that_changes_numbers_changes_no_order(store, session, other):
    made = taken(other, store.export("s", redact=lambda message: message.replace(seq=1000 - message.seq)))
    assert [message._record() for message in made.messages] == [message._record() for message in session.messages]
    assert family(made) == family(session)


def test_a_hook_may_change_ids_roles_contents_times_metadata_and_fields(store, session, other):
    def hook(message: Message) -> Message:
        return message.replace(
            id=f"new {message.id}", role="someone", content=[1], at=5.0, metadata={"m": 1}, fields={"f": 2}
        )

    made = taken(other, store.export("s", redact=hook))
    for message in made.messages:
        record = message._record()
        assert record == {
            "seq": message.seq, "id": message.id, "role": "someone", "content": [1], "at": 5.0,
            "metadata": {"m": 1}, "fields": {"f": 2},
        }  # fmt: skip
        assert message.id.startswith("new ")
    assert whole(made)["info"].message_count == len(session.messages)


def test_forks_still_share_what_they_inherited(store):
    session = fill(store.create("s"), *(f"text {number}" for number in range(20)))
    for number in range(20):
        session.fork(f"f{number}")
    bundle: Bundle = store.export("s", redact=no_secrets)
    assert len(bundle["pasts"]) == 1
    assert [item["past"] for item in bundle["sessions"][1:]] == [[0, 20]] * 20


def test_a_hook_that_decides_differently_for_each_fork_gets_what_it_asks_for(store, other):
    """Two forks inherited the same; the hook leaves another message out each time it is asked."""
    session = fill(store.create("s"), "a", "b", "c", "d")
    for number in range(3):
        session.fork(f"f{number}")
    calls = 0

    def hook(message: Message) -> Message | None:
        nonlocal calls
        calls += 1
        return None if calls % 3 == 0 else message

    made = taken(other, store.export("s", redact=hook))
    assert texts(made) == ["a", "b", "d"]
    assert [texts(child) for child in made.children] == [["a", "c", "d"], ["b", "c"], ["a", "b", "d"]]
    assert other.check().problems == ()


def test_a_hook_cannot_make_a_bundle_that_an_import_then_breaks_on(store, session, other):
    """Whatever a hook makes of a message: the export is refused, or the import is, or all is well."""
    for changes in ({"role": ""}, {"id": ""}, {"id": "x" * 600}, {"at": float("nan")}, {"at": "x"}, {"id": "same"}):
        try:
            made = taken(other, store.export("s", redact=lambda message, changes=changes: message.replace(**changes)))
        except InvalidRecord:
            continue
        use(made)
