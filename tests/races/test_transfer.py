"""Exports and imports while others write: one import wins or both are whole, and every export is of a moment that was."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hierstore import HasChildren, LockTimeout, Session, SessionExists, SessionNotFound, SessionStore, clock
from hierstore.disk.locks import TREE
from hierstore.naming import stripe_of
from tests.processes import hear, say, store_at
from tests.races.test_crowds import go_together, run_together
from tests.support import contents, fill, texts
from tests.transfer.bundles import Bundle, all_ids, as_lines, changed, files_in, sent
from tests.transfer.cases import NAMES, assert_tidy, bundle_of, use_all

PATIENT_S = 60.0
ROUNDS = 15
APPENDERS, APPENDS = 5, 400
EXPORTS = 60
MOVES = 300
"""Each makes the logs longer, and so the exports."""
OLD = 200
LIVE = [f"s{number}" for number in range(6)]
DAY_S = 86400.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Five sessions: "top" > ("a" > "aa", "branch" > "twig")."""
    return bundle_of(tmp_path_factory.mktemp("source"))


def shape(session: Session) -> Any:
    """A tree by what its sessions say."""
    return texts(session), sorted(shape(child) for child in session.children)


# Imports against each other


def renamed(bundle: Bundle, prefix: str) -> Bundle:
    """The same bundle of other sessions."""
    data = json.dumps(bundle)
    for name in NAMES:
        data = data.replace(f'"{name}"', f'"{prefix}{name}"')
    found: Bundle = json.loads(data)
    return found


def import_rounds(root: Path, bundles: list[Bundle], conflict: str, parent: str | None, name: str) -> list[Any]:
    """In a child: import one bundle after the other, each at the moment at which the others do; what came of it."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    outcomes: list[Any] = []
    for number, bundle in enumerate(bundles):
        go_together()
        try:
            if (number + int(name[1:])) % 2:
                made = store.import_bundle(bundle, on_conflict=conflict, parent=parent, routes=True)  # type: ignore[arg-type]
            else:
                made = store.import_lines(as_lines(bundle), on_conflict=conflict, parent=parent, routes=True)  # type: ignore[arg-type]
            outcomes.append(made.id)
        except SessionExists:
            outcomes.append(None)
    return outcomes


def race(start: Any, root: Path, bundles: list[Bundle], conflict: str, parent: str | None, count: int) -> list[Any]:
    """The same in several processes, let go together before each round; what each of them got, round by round."""
    children = [start() for _ in range(count)]
    for number, child in enumerate(children):
        child.begin(import_rounds, root, bundles, conflict, parent, f"p{number}")
    for _ in bundles:
        for child in children:
            assert child.hear() == "ready"
        for child in children:
            child.say("go")
    return list(zip(*(child.result() for child in children), strict=True))


@pytest.mark.parametrize("parent", [None, "parent"])
@pytest.mark.parametrize("count", [2, 4])
def test_of_several_that_refuse_exactly_one_wins(start, root, open_store, bundle, count, parent):
    store = open_store()
    store.create("parent")
    bundles = [renamed(bundle, f"{number}.") for number in range(ROUNDS)]
    for number, got in enumerate(race(start, root, bundles, "refuse", parent, count)):
        assert [made for made in got if made is not None] == [f"{number}.top"]
    assert all_ids(store) == {"parent", *(f"{number}.{name}" for number in range(ROUNDS) for name in NAMES)}
    wanted = shape(store.get("0.top"))
    assert wanted[0] == ["hello", "hi"]
    assert [shape(store.get(f"{number}.top")) for number in range(ROUNDS)] == [wanted] * ROUNDS
    assert len(store.get("parent").children) == (ROUNDS if parent else 0)
    assert files_in(root / "tmp") == []
    use_all(store)


@pytest.mark.parametrize("count", [2, 4])
def test_with_new_ids_all_are_whole(start, root, open_store, bundle, count):
    store = open_store()
    bundles = [renamed(bundle, f"{number}.") for number in range(ROUNDS)]
    outcomes = race(start, root, bundles, "new_ids", None, count)
    for number, got in enumerate(outcomes):
        assert len(set(got)) == count
        assert got.count(f"{number}.top") == 1, "one of them had the ids to itself"
        for made in got:
            session = store.get(made)
            assert shape(session) == shape(store.get("0.top"))
            ids = {made, *(below.id for below in session.descendants())}
            assert len(ids) == 5
            assert len(ids & {f"{number}.{name}" for name in NAMES}) in (0, 5), "half of it has other ids"
    assert len(all_ids(store)) == ROUNDS * count * 5
    assert {texts(store.resolve("key of " + key))[0] for key in ("0.top", "top") if store.resolve("key of " + key)} == {
        "hello"
    }
    assert files_in(root / "tmp") == []
    use_all(store)


@pytest.mark.parametrize("count", [2, 4])
def test_with_skip_there_is_one_set(start, root, open_store, bundle, count):
    store = open_store()
    bundles = [renamed(bundle, f"{number}.") for number in range(ROUNDS)]
    for number, got in enumerate(race(start, root, bundles, "skip", None, count)):
        assert set(got) == {f"{number}.top"}
    assert all_ids(store) == {f"{number}.{name}" for number in range(ROUNDS) for name in NAMES}
    assert [shape(store.get(f"{number}.top")) for number in range(ROUNDS)] == [shape(store.get("0.top"))] * ROUNDS
    assert files_in(root / "tmp") == []
    use_all(store)


def test_halves_of_one_tree_that_are_skipped_and_taken_at_once_make_one_tree(start, root, open_store, bundle):
    """One process has the upper sessions, the other all of them."""
    store = open_store()
    upper = changed(bundle, lambda item: item["sessions"].__delitem__(slice(1, None)))
    children = [start(), start()]
    for number in range(ROUNDS):
        for child, data in zip(children, (upper, bundle), strict=True):
            child.begin(import_rounds, root, [renamed(data, f"{number}.")], "skip", None, "p1")
        for child in children:
            assert child.hear() == "ready"
        for child in children:
            child.say("go")
        for child in children:
            child.result()
    assert [shape(store.get(f"{number}.top")) for number in range(ROUNDS)] == [shape(store.get("0.top"))] * ROUNDS
    assert len(store.get("0.top").descendants()) == 4
    assert store.check().problems == ()


def test_threads_import_the_same_bundle_at_once(store, bundle):
    made: list[Session] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        try:
            barrier.wait()
            made.extend([store.import_bundle(bundle) for _ in range(5)])
        except BaseException as error:  # noqa: BLE001  # raised again where the test sees it
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({session.id for session in made}) == 30
    assert len({repr(shape(session)) for session in made}) == 1
    assert len(all_ids(store)) == 150


# Imports against deletions


def import_below(root: Path, bundle: Bundle, name: str) -> int:
    """In a child: import below a session that comes and goes; how often it was there."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    done = 0
    go_together()
    for _ in range(40):
        try:
            made = store.import_bundle(bundle, parent="parent")
        except SessionNotFound:
            continue
        assert made.id
        done += 1
    return done


def come_and_go(root: Path, how: str, name: str) -> int:
    """In a child: delete that session and make it again."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    deleted = 0
    go_together()
    for number in range(60):
        store.get_or_create("parent")
        try:
            store.delete("parent", children=how)  # type: ignore[arg-type]
            deleted += 1
        except HasChildren:
            pass
        if number % 5 == 0:
            store.purge()
    return deleted


@pytest.mark.parametrize("how", ["cascade", "orphan"])
def test_an_import_below_a_session_that_is_being_deleted_is_whole_or_refused(start, root, open_store, bundle, how):
    store = open_store()
    children = [start() for _ in range(3)]
    children[0].begin(come_and_go, root, how, "p0")
    for child in children[1:]:
        child.begin(import_below, root, bundle, "p")
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    done = [child.result() for child in children]
    for node in store.tree():
        session = store.get(node.id)
        if session.title == "the top":
            assert len(session.descendants()) == 4
    assert store.check().problems == ()
    assert_tidy(store)
    if how == "orphan":
        tops = [each for each in all_ids(store) if store.get(each).title == "the top"]
        assert len(tops) == sum(done[1:])


# Exports while everything else goes on


def append_all(root: Path, count: int, name: str) -> list[tuple[str, int, str]]:
    """In a child: append to the living sessions, and to old ones while they are there; what was acknowledged."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(name)
    acks = []
    go_together()
    for number in range(count):
        session_id = dice.choice(LIVE)
        if dice.random() < 0.05:
            session_id = f"old{dice.randrange(OLD)}"
        try:
            session = store.get(session_id)
            message = session.append("user", f"{name}-{number}", message_id=f"{name}-{number}")
        except SessionNotFound:
            assert session_id.startswith("old")
            continue
        acks.append((session_id, message.seq, message.content))
        if dice.random() < 0.1:
            session.set_title(f"{name} {number} " + "x" * 200)
        if dice.random() < 0.03:
            session.fork(f"{name}-{number}")
    return acks


def prune_all(root: Path, stop: Path, name: str) -> list[str]:
    """In a child: prune what is old, again and again; the ids of what went."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    pruned: list[str] = []
    go_together()
    while not stop.exists():
        report = store.prune(max_age_days=1)
        assert report.errors == ()
        pruned.extend(report.pruned)
    return pruned


def compact_all(root: Path, stop: Path, name: str) -> int:
    """In a child: compact everything, again and again; how often a log became shorter."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    shorter = 0
    go_together()
    while not stop.exists():
        report = store.compact(keep="present")
        assert [error for error in report.errors if "busily" not in error.error] == []
        shorter += len(report.sessions)
    return shorter


def export_all(root: Path, folder: Path, stop: Path, name: str) -> int:
    """In a child: export everything below "top", again and again, as documents and as lines in turn."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    folder.mkdir()
    number = 0
    go_together()
    while not stop.exists():
        number += 1
        data = json.dumps(store.export("top")).encode() if number % 2 else b"".join(store.export_lines("top"))
        # All of the first, then ever fewer: they are all to be imported.
        if number <= EXPORTS // 2 or number % 7 == 0:
            (folder / f"{number:05}").write_bytes(data)
    return number


def test_what_is_exported_while_others_append_compact_and_prune_is_of_a_moment_that_was(
    start, root, open_store, tmp_path, monkeypatch
):
    """behaviours 19, 21, 29: eight processes; nothing is lost, and each export is a prefix of what was written"""
    store = open_store()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: time.time() - 30 * DAY_S)
        top = store.create("top")
        for number in range(OLD):
            fill(store.create(f"old{number}", parent=top), f"I am old{number}")
    store.get("top").update(pinned=True)
    for session_id in LIVE:
        top.spawn(session_id)
    stop, folder = tmp_path / "stop", tmp_path / "exports"
    appenders = [start() for _ in range(APPENDERS)]
    others = {"prune": start(), "compact": start(), "export": start()}
    others["prune"].begin(prune_all, root, stop, "prune")
    others["compact"].begin(compact_all, root, stop, "compact")
    others["export"].begin(export_all, root, folder, stop, "export")
    for child in others.values():
        assert child.hear() == "ready"
    for child in others.values():
        child.say("go")
    acks = run_together(appenders, append_all, root, APPENDS)
    stop.touch()
    done = {name: child.result() for name, child in others.items()}
    exports = sorted(folder.iterdir())
    print(f"{len(exports)} of {done['export']} exports, {len(done['prune'])} pruned, {done['compact']} compactions")
    assert len(exports) > 1
    assert done["prune"]
    assert done["compact"] > 0

    final = judge_acks(store, acks, set(done["prune"]))
    for path in exports:
        judge_export(path, tmp_path / "fresh" / path.name, final)
    assert store.check().problems == ()


def judge_acks(store: SessionStore, acks: list[Any], pruned: set[str]) -> dict[str, list[Any]]:
    """See that everything acknowledged is there once and nothing else is; the messages of every session."""
    acknowledged: dict[str, dict[int, str]] = defaultdict(dict)
    for session_id, seq, content in (ack for of_one in acks for ack in of_one):
        assert seq not in acknowledged[session_id], "one number for two messages"
        acknowledged[session_id][seq] = content
    assert not pruned & acknowledged.keys(), "what was written to was pruned"
    for session_id, by_seq in acknowledged.items():
        messages = list(store.get(session_id).messages)
        first = 2 if session_id.startswith("old") else 1
        assert {message.seq: message.content for message in messages[first - 1 :]} == by_seq
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    return {session_id: [m._record() for m in store.get(session_id).messages] for session_id in all_ids(store)}


def judge_export(path: Path, root: Path, final: dict[str, list[Any]]) -> None:
    """See that an export can be imported, and that each session is the beginning of what it became."""
    data = path.read_bytes()
    with SessionStore(root) as fresh:
        if data.count(b"\n"):
            made = fresh.import_lines(data.splitlines(keepends=True), on_conflict="refuse")
        else:
            made = fresh.import_bundle(json.loads(data), on_conflict="refuse")
        assert fresh.check().problems == ()
        for session in (made, *made.descendants()):
            found = [message._record() for message in session.messages]
            wanted = final.get(session.id)
            if wanted is None:
                # Pruned since: nobody wrote to it.
                assert [record["content"] for record in found] == [f"I am {session.id}"]
            else:
                assert found == wanted[: len(found)], f"{session.id} in {path.name}"
        assert {each.id for each in made.children} >= set(LIVE)


def move_about(root: Path, stop: Path, name: str) -> int:
    """In a child: move sessions from one parent to another."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    dice = random.Random(7)
    moves = 0
    go_together()
    while not stop.exists() and moves < MOVES:
        store.get(f"m{dice.randrange(6)}").move(dice.choice(["left", "right", "top"]))
        moves += 1
    return moves


def export_some(root: Path, count: int, name: str) -> list[Bundle]:
    """In a child: so many exports, as documents."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    go_together()
    return [store.export("top") for _ in range(count)]


def test_an_export_while_sessions_are_moved_has_none_twice_and_is_a_tree(start, root, open_store, tmp_path):
    store = open_store()
    top = store.create("top")
    for name in ("left", "right"):
        top.spawn(name)
    for number in range(6):
        fill(store.create(f"m{number}", parent="left"), f"{number}").spawn(f"below m{number}")
    stop = tmp_path / "stop"
    mover, exporter = start(), start()
    mover.begin(move_about, root, stop, "mover")
    exporter.begin(export_some, root, 40, "exporter")
    for child in (mover, exporter):
        assert child.hear() == "ready"
    for child in (mover, exporter):
        child.say("go")
    bundles = exporter.result()
    stop.touch()
    assert mover.result() > 0
    for number, bundle in enumerate(bundles):
        ids = [item["id"] for item in bundle["sessions"]]
        assert len(set(ids)) == len(ids)
        with SessionStore(tmp_path / "fresh" / f"{number}") as fresh:
            made = fresh.import_bundle(sent(bundle), on_conflict="refuse")
            assert fresh.check().problems == ()
            for below in made.descendants():
                if below.id.startswith("m"):
                    assert [child.id for child in below.children] == [f"below {below.id}"]


# An import on its way, and others


def import_in_steps(root: Path, bundle: Bundle) -> list[str]:
    """In a child: import lines, one step for each word of the test's."""
    store = store_at(root)

    def source() -> Any:
        for line in as_lines(bundle):
            say("next")
            hear()
            yield line

    made = store.import_lines(source(), on_conflict="refuse")
    return [made.id, *(below.id for below in made.descendants())]


def test_an_import_on_its_way_keeps_nobody_waiting_and_nobody_takes_its_files(start, root, open_store, bundle):
    """No lock is held while the lines come: behaviours 9."""
    store = open_store(lock_timeout_s=0.5)
    session = store.create("s")
    child = start()
    child.begin(import_in_steps, root, bundle)
    for number in range(len(as_lines(bundle))):
        assert child.hear() == "next"
        session.append("user", f"{number}")
        store.create(f"beside {number}")
        store.delete(f"beside {number}")
        assert "top" not in store
        assert store.check().problems == ()
        if number % 4 == 0:
            assert store.repair().done == ()
            with SessionStore(root) as opened:
                assert "top" not in opened
        child.say()
    assert set(child.result()) == set(NAMES)
    assert set(NAMES) <= all_ids(store)
    assert files_in(root / "tmp") == []


@pytest.mark.parametrize("what", ["the tree", "an id", "the parent", "a key"])
def test_an_import_that_cannot_have_a_lock_is_refused_and_leaves_nothing(root, open_store, bundle, what):
    """Somebody takes the lock while the lines come, and does not give it back."""
    holder, store = open_store(), open_store(lock_timeout_s=0.2)
    store.create("parent")
    engine = holder._engine
    number = {
        "the tree": TREE,
        "an id": engine.entry("twig").stripe.number,
        "the parent": engine.entry("parent").stripe.number,
        "a key": engine.registry(stripe_of("key of twig")).stripe.number,
    }[what]
    before = contents(root)
    with contextlib.ExitStack() as held:

        def lines() -> Iterator[bytes]:
            yield from as_lines(bundle)[:-1]
            held.enter_context(engine.locks.holding([number]))
            yield as_lines(bundle)[-1]

        with pytest.raises(LockTimeout):
            store.import_lines(lines(), parent="parent", routes=True)
        assert contents(root) == before
    assert store.import_bundle(bundle, parent="parent", routes=True).id == "top"
