"""Counters, ids in other systems, route keys and turns in progress, used by several processes at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import Session, SessionNotFound, SessionStore, clock
from hierstore.disk.locks import Stripe
from tests.processes import hear, replaced, say, store_at
from tests.races.test_crowds import PATIENT_S, PROCESSES, go_together, run_together
from tests.support import log_of

INCREMENTS = 1000
KEYS = [f"telegram:chat:{number}" for number in range(100)]


def do(root: Path, method: str, *args: Any, **options: Any) -> Any:
    """In a child: call a method of the session ``s``."""
    answer = getattr(store_at(root).get("s"), method)(*args, **options)
    return answer.id if isinstance(answer, Session) else answer


def ask(root: Path, method: str, *args: Any, **options: Any) -> Any:
    """In a child: call a method of the store."""
    answer = getattr(store_at(root), method)(*args, **options)
    if isinstance(answer, tuple):
        return [session.id for session in answer]
    return answer.id if isinstance(answer, Session) else answer


def peek(root: Path, name: str, session_id: str = "s") -> Any:
    """In a child: a session's property."""
    found = getattr(store_at(root).get(session_id), name)
    return found.id if isinstance(found, Session) else found


def texts(root: Path) -> list[Any]:
    """In a child: the history's contents, as this process sees them."""
    return [message.content for message in store_at(root).get("s").messages]


# Counters


def count(root: Path, name: str) -> None:
    """In a child: add to the counters that all add to, and to one's own."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    for _ in range(INCREMENTS):
        session.add_usage(input_tokens=3, cost_usd=0.001, **{name: 0.1})


def test_eight_processes_add_to_the_same_counters_and_nothing_is_lost_or_rounded(start, root, open_store):
    store = open_store()
    session = store.create("s")
    session.add_usage(input_tokens=5, cost_usd=0.5)
    began = time.monotonic()
    run_together([start() for _ in range(PROCESSES)], count, root)
    print(f"{PROCESSES} x {INCREMENTS} increments in {time.monotonic() - began:.2f} s")
    wanted = {"input_tokens": 3 * PROCESSES * INCREMENTS + 5, "cost_usd": PROCESSES * INCREMENTS / 1000 + 0.5}
    wanted |= {f"p{number}": INCREMENTS / 10 for number in range(PROCESSES)}
    assert session.usage == open_store().get("s").usage == wanted
    assert session.revision == PROCESSES * INCREMENTS + 2
    session.compact(keep="present")
    assert open_store().get("s").usage == wanted


def count_and_compact(root: Path, name: str) -> None:
    """In a child: one compacts, again and again, what the others add to."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    for _ in range(20 if name == "p0" else 200):
        if name == "p0":
            session.compact(keep="present")
        else:
            session.add_usage(x=1, y=0.001)
            session.set_ref(name, session.usage["x"])


def test_counters_and_refs_stay_exact_while_another_process_compacts(start, root, open_store):
    session = open_store().create("s")
    run_together([start() for _ in range(4)], count_and_compact, root)
    assert session.usage == open_store().get("s").usage == {"x": 600, "y": 0.6}
    assert set(session.refs) == {"p1", "p2", "p3"}
    assert max(session.refs.values()) == 600


# Ids in other systems


def claim(root: Path, name: str) -> list[int]:
    """In a child: the rounds in which this process was the one to set the ref."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    return [number for number in range(50) if session.set_ref(f"run-{number}", name, if_equals=None)]


def test_of_many_processes_that_claim_a_ref_one_gets_it(start, root, open_store):
    session = open_store().create("s")
    claimed = run_together([start() for _ in range(PROCESSES)], claim, root)
    winners = {f"run-{number}": f"p{place}" for place, numbers in enumerate(claimed) for number in numbers}
    assert sorted(number for numbers in claimed for number in numbers) == list(range(50))
    assert session.refs == open_store().get("s").refs == winners


def count_by_compare_and_set(root: Path, name: str) -> None:
    """In a child: what a counter is when there is only compare-and-set."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    for _ in range(60):
        while not session.set_ref("n", (now := session.refs["n"]) + 1, if_equals=now):
            pass


def test_compare_and_set_loses_no_update(start, root, open_store):
    session = open_store().create("s")
    session.set_ref("n", 0)
    run_together([start() for _ in range(4)], count_by_compare_and_set, root)
    assert session.refs == {"n": 4 * 60}


def test_a_late_failure_of_an_old_run_in_another_process_does_not_clear_the_id_of_a_newer_one(start, root, open_store):
    """behaviours 12"""
    open_store().create("s")
    old, new = start(), start()
    assert old.call(do, root, "set_ref", "run", "run-1", if_equals=None)
    assert old.call(peek, root, "refs") == new.call(peek, root, "refs") == {"run": "run-1"}
    assert new.call(do, root, "set_ref", "run", "run-2")
    assert old.call(do, root, "set_ref", "run", None, if_equals="run-1") is False
    old.kill()
    assert new.call(peek, root, "refs") == start().call(peek, root, "refs") == {"run": "run-2"}
    assert new.call(do, root, "set_ref", "run", None, if_equals="run-2") is True
    new.kill()
    assert start().call(peek, root, "refs") == open_store().get("s").refs == {}


def set_ref_of_a_held_session(root: Path) -> None:
    """In a child: hold a session, and set its ref when told."""
    session = store_at(root).get("s")
    assert session.refs == {}
    say("ready")
    hear()
    for value in ("id", None):
        for options in ({}, {"if_equals": None}):
            with pytest.raises(SessionNotFound):
                session.set_ref("run", value, **options)


def test_a_ref_of_a_session_that_another_process_deleted_brings_nothing_back(start, root, open_store):
    """behaviours 13"""
    store = open_store()
    store.create("s")
    child = start()
    child.begin(set_ref_of_a_held_session, root)
    child.hear()
    store.delete("s")
    child.say()
    child.result()
    assert "s" not in store
    assert not log_of(store, "s").exists()


# Routes


def route_all(root: Path, keys: list[str], options: dict[str, Any], name: str) -> dict[str, str]:
    """In a child: where each key leads, asked for in an order of this process's own."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    shuffled = random.Random(name).sample(keys, len(keys))
    go_together()
    made = {}
    for key in shuffled:
        session = store.route(key, **options)
        session.append("user", name)
        made[key] = session.id
        assert store.resolve(key).id == session.id
    return made


@pytest.mark.parametrize("options", [{}, {"parent": "p"}], ids=repr)
def test_eight_processes_that_route_the_same_new_keys_get_one_session_for_each(start, root, open_store, options):
    """behaviours 32"""
    store = open_store()
    store.create("p")
    results = run_together([start() for _ in range(PROCESSES)], route_all, root, KEYS, options)
    assert all(result == results[0] for result in results)
    made = results[0]
    assert set(made) == set(KEYS)
    assert len(set(made.values())) == len(KEYS)
    assert store.check().sessions >= len(KEYS) + 1
    assert len(list((root / "sessions").glob("*/*.jsonl"))) == len(KEYS) + 1
    names = sorted(f"p{number}" for number in range(PROCESSES))
    for key, session_id in made.items():
        session = store.resolve(key)
        assert session.id == session_id == open_store().route(key).id
        assert sorted(message.content for message in session.messages) == names
        assert (session.routes, session.succeeded_by) == ((key,), None)
        assert session.parent_id == options.get("parent")
    assert len(store.get("p").children) == (len(KEYS) if options else 0)


def test_a_key_that_two_processes_route_in_turns_is_found_by_each_at_the_first_attempt(start, root):
    """behaviours 6"""
    first, second = start(), start()
    for number in range(20):
        made = (first, second)[number % 2].call(ask, root, "route", f"k{number}")
        assert (second, first)[number % 2].call(ask, root, "resolve", f"k{number}") == made
        assert (second, first)[number % 2].call(ask, root, "route", f"k{number}") == made


@pytest.mark.parametrize("why", ["deleted", "purged", "idle"])
def test_of_many_processes_that_find_a_key_without_its_session_one_makes_the_new_one(start, root, open_store, why):
    store = open_store()
    keys = KEYS[:20]
    old = {key: store.route(key).id for key in keys}
    if why != "idle":
        for session_id in old.values():
            store.delete(session_id)
    if why == "purged":
        store.purge()
    children = [start() for _ in range(PROCESSES)]
    function = route_much_later if why == "idle" else route_all
    options = {"reset_idle_s": 3600} if why == "idle" else {}
    results = run_together(children, function, root, keys, options)
    assert all(result == results[0] for result in results)
    assert set(results[0].values()).isdisjoint(old.values())
    assert len(list((root / "sessions").glob("*/*.jsonl"))) == (40 if why == "idle" else 20)
    if why == "idle":
        for key, session_id in old.items():
            assert store.get(session_id).succeeded_by.id == results[0][key]
            assert list(store.get(session_id).messages) == []


def route_much_later(root: Path, keys: list[str], options: dict[str, Any], name: str) -> dict[str, str]:
    """In a child: the same two hours later."""
    real = clock.now
    with replaced(clock, now=lambda: real() + 7200):
        return route_all(root, keys, options, name)


def bind_own(root: Path, name: str) -> None:
    """In a child: give all keys to a session of one's own, again and again."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    own = store.create(name)
    go_together()
    for number in range(60):
        store.bind(KEYS[number % 3], own)
        found = store.resolve(KEYS[number % 3])
        assert found is not None
        assert found.id.startswith("p")


def test_keys_that_many_processes_bind_lead_to_one_session_each_and_the_others_know(start, root, open_store):
    store = open_store()
    run_together([start() for _ in range(PROCESSES)], bind_own, root)
    sessions = [store.get(f"p{number}") for number in range(PROCESSES)]
    bound = [key for session in sessions for key in session.routes]
    assert sorted(bound) == sorted(KEYS[:3])
    for key in KEYS[:3]:
        assert key in store.resolve(key).routes
        assert open_store().resolve(key) == store.resolve(key)
    for session in sessions:
        assert (session.succeeded_by is None) == (len(session.routes) == 3)


def route_and_delete(root: Path, name: str) -> None:
    """In a child: half of them delete where a key leads, the others go on asking for it."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    go_together()
    for _ in range(60):
        if int(name[1:]) % 2:
            found = store.resolve("k")
            if found is not None:
                try:
                    store.delete(found)
                except SessionNotFound:
                    continue
        else:
            assert store.route("k").id


def test_a_key_heals_itself_while_other_processes_delete_its_sessions(start, root, open_store):
    run_together([start() for _ in range(4)], route_and_delete, root)
    store = open_store()
    last = store.route("k")
    assert store.resolve("k") == last
    assert last.routes == ("k",)
    # Every session that is left was the key's at its time, and knows it.
    for node in store.tree():
        session = store.get(node.id)
        assert session == last or session.succeeded_by is not None


# The turn in progress


def work(root: Path, session_ids: list[str], *, finish: bool) -> None:
    """In a child: a turn in each session, which ends, or is cut off in the middle."""
    store = store_at(root)
    tokens = {}
    for session_id in session_ids:
        tokens[session_id] = store.get(session_id).start_turn(f"{session_id}'s turn")
        store.get(session_id).append("user", "question")
    if finish:
        for session_id, token in tokens.items():
            assert store.get(session_id).end_turn(token)
    say("working")
    hear()


def test_after_kill_9_an_app_finds_which_turns_were_cut_off(start, root, open_store):
    store = open_store()
    for name in ("a", "b", "c", "d", "calm"):
        store.create(name)
    cut, done, alive = start(), start(), start()
    for child, names, finish in ((cut, ["b", "a"], False), (done, ["c"], True), (alive, ["d"], False)):
        child.begin(work, root, names, finish=finish)
        assert child.hear() == "working"
    cut.kill()
    done.kill()
    found = start().call(ask, root, "interrupted")
    assert found == [session.id for session in store.interrupted()] == ["b", "a", "d"]
    with SessionStore(root, read_only=True) as reader:
        assert [session.id for session in reader.interrupted()] == found
    for name in ("a", "b"):
        session = store.get(name)
        assert session.turn_in_progress.token == f"{name}'s turn"
        assert [message.content for message in session.messages] == ["question"]
        assert session.end_turn(session.turn_in_progress.token)
    alive.say()
    alive.result()
    assert start().call(ask, root, "interrupted") == ["d"]


def test_a_turn_taken_over_after_a_crash_is_not_ended_by_one_who_was_only_slow(start, root, open_store):
    """behaviours 12"""
    open_store().create("s")
    slow, other = start(), start()
    token = slow.call(do, root, "start_turn")
    taken = other.call(do, root, "start_turn")
    assert slow.call(do, root, "end_turn", token) is False
    assert [child.call(peek, root, "turn_in_progress").token for child in (slow, other)] == [taken] * 2
    assert other.call(do, root, "end_turn", taken) is True
    assert slow.call(ask, root, "interrupted") == []


def turn_after_turn(root: Path, name: str) -> int:
    """In a child: begin turns and end them; how many were not taken over."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    return sum(session.end_turn(session.start_turn()) for _ in range(100))


def test_each_turn_ends_by_its_own_token_or_was_taken_over(start, root, open_store):
    session = open_store().create("s")
    own = run_together([start() for _ in range(4)], turn_after_turn, root)
    assert session.turn_in_progress is None
    # One commit for each beginning, one for each end.
    assert session.revision == 1 + 4 * 100 + sum(own)


# At the last moment


def just_before_its_lock(monkeypatch: pytest.MonkeyPatch, store: SessionStore, work: Callable[[], object]) -> None:
    """Let something happen right before the store next takes a lock to write: the last moment at which it can."""
    real, pending = Stripe.acquire, [work]

    def acquire(stripe: Stripe) -> None:
        if pending and stripe in store._engine.locks.stripes:
            pending.pop()()
        real(stripe)

    monkeypatch.setattr(Stripe, "acquire", acquire)


LAST_MOMENT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any, dict[str, Any]]] = {
    # what the other does, what is called then, its answer, what is there afterwards
    "compare and set": (
        lambda b: b.set_ref("r", "B's"), lambda a: a.set_ref("r", "A's", if_equals="r"), False, {"refs": {"r": "B's"}}
    ),
    "clear": (
        lambda b: b.set_ref("r", "B's"), lambda a: a.set_ref("r", None, if_equals="r"), False, {"refs": {"r": "B's"}}
    ),
    "set if not set": (
        lambda b: b.set_ref("n", 1), lambda a: a.set_ref("n", 2, if_equals=None), False, {"refs": {"r": "r", "n": 1}}
    ),
    "set what was there": (lambda b: b.set_ref("r", None), lambda a: a.set_ref("r", "r"), True, {"refs": {"r": "r"}}),
    "end a turn": (lambda b: b.start_turn("B's"), lambda a: a.end_turn("A's"), False, {"turn": "B's"}),
    "end an ended turn": (lambda b: b.end_turn("A's"), lambda a: a.end_turn("A's"), False, {"turn": None}),
    "add": (lambda b: b.add_usage(x=10), lambda a: a.add_usage(x=1), None, {"usage": {"x": 12}}),
    "set a total": (lambda b: b.add_usage(x=10), lambda a: a.set_usage(x=1), None, {"usage": {"x": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAST_MOMENT)
def test_what_another_did_right_before_the_lock_was_taken_counts(open_store, monkeypatch, name):
    """behaviours 12, 21"""
    work, call, answer, wanted = LAST_MOMENT[name]
    store, other = open_store(), open_store()
    session, theirs = store.create("s"), other.get("s")
    session.set_ref("r", "r")
    session.add_usage(x=1)
    session.start_turn("A's")
    just_before_its_lock(monkeypatch, store, lambda: work(theirs))
    assert call(session) is answer
    for view in (session, theirs, open_store().get("s")):
        turn = view.turn_in_progress
        seen = {"refs": view.refs, "usage": view.usage, "turn": None if turn is None else turn.token}
        assert {key: seen[key] for key in wanted} == wanted


ROUTED_THEN: dict[str, tuple[str | None, Callable[[SessionStore], Any], Callable[[SessionStore], Any], Any, str | None]] = {
    # where the key led, what the other does, what is called then, its answer, where the key leads afterwards
    "route": (None, lambda b: b.bind("k", "B's"), lambda a: a.route("k", session_id="new").id, "B's", "B's"),
    "heal": ("gone", lambda b: b.bind("k", "B's"), lambda a: a.route("k", session_id="new").id, "B's", "B's"),
    "bind": (None, lambda b: b.bind("k", "B's"), lambda a: a.bind("k", "A's"), None, "A's"),
    "bind again": ("A's", lambda b: b.bind("k", "B's"), lambda a: a.bind("k", "A's"), None, "A's"),
    "unbind": (None, lambda b: b.bind("k", "B's"), lambda a: a.unbind("k"), True, None),
    "unbind again": ("A's", lambda b: b.unbind("k"), lambda a: a.unbind("k"), False, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUTED_THEN)
def test_where_another_led_a_key_right_before_the_lock_was_taken_counts(open_store, monkeypatch, name):
    """behaviours 32"""
    before, work, call, answer, after = ROUTED_THEN[name]
    store, other = open_store(), open_store()
    for session_id in ("A's", "B's", "gone"):
        store.create(session_id)
    if before is not None:
        store.bind("k", before)
    store.delete("gone")
    just_before_its_lock(monkeypatch, store, lambda: work(other))
    assert call(store) == answer
    assert "new" not in store
    for view in (store, other, open_store()):
        found = view.resolve("k")
        assert (None if found is None else found.id) == after


# Stale caches, and sessions that a process never read

MUTATORS: dict[str, tuple[Any, str, tuple[Any, ...], dict[str, Any], str, Any]] = {
    "set_ref": (do, "set_ref", ("a", 1), {}, "refs", {"a": 1, "kept": 0}),
    "clear a ref": (do, "set_ref", ("kept", None), {}, "refs", {}),
    "add_usage": (do, "add_usage", (), {"x": 2}, "usage", {"x": 3}),
    "set_usage": (do, "set_usage", (), {"x": 2}, "usage", {"x": 2}),
    "share": (do, "share", (), {}, "shares", 2),
    "unshare": (do, "unshare", (), {}, "shares", 0),
    "start_turn": (do, "start_turn", ("mine",), {}, "turn_in_progress", "mine"),
    "end_turn": (do, "end_turn", ("kept",), {}, "turn_in_progress", None),
    "compact": (do, "compact", (), {"keep": "present"}, "refs", {"kept": 0}),
    "bind": (ask, "bind", ("k", "s"), {}, "routes", ("kept", "k")),
    "unbind": (ask, "unbind", ("kept",), {}, "routes", ()),
    "route": (ask, "route", ("kept",), {}, "routes", ("kept",)),
    "route to a child": (ask, "route", ("new",), {"parent": "s"}, "routes", ("kept",)),
}


def shown(found: Any) -> Any:
    if isinstance(found, tuple) and found and hasattr(found[0], "role"):
        return len(found)
    return getattr(found, "token", len(found) if found == () else found) if found is not None else None


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("name", MUTATORS)
def test_what_another_process_appended_is_there_whether_or_not_the_caller_had_read_the_session(
    start, root, open_store, name, warm
):
    """behaviours 5, 21"""
    function, method, args, options, getter, wanted = MUTATORS[name]
    store = open_store()
    session = store.create("s")
    session.append("user", "first")
    session.set_ref("kept", 0)
    session.add_usage(x=1)
    session.share()
    session.start_turn("kept")
    store.bind("kept", "s")
    a, b = start(), start()
    if warm:
        assert a.call(texts, root) == ["first"]
        assert a.call(peek, root, getter) is not None
        assert a.call(ask, root, "resolve", "kept") == "s"
    b.call(do, root, "append", "user", "B's")
    a.call(function, root, method, *args, **options)
    b.call(do, root, "append", "user", "B's too")
    a.call(do, root, "set_title", "A's")
    found = [a.call(peek, root, getter), b.call(peek, root, getter), getattr(session, getter)]
    assert [item == wanted or shown(item) == wanted for item in found] == [True] * 3, found
    assert a.call(texts, root) == b.call(texts, root) == start().call(texts, root) == ["first", "B's", "B's too"]


def test_usage_of_a_fork_is_its_own_in_every_process_and_outlives_the_parent(start, root, open_store):
    """behaviours 30"""
    store = open_store()
    parent = store.create("s")
    ids = [parent.append("user", text).id for text in ("1", "2")]
    parent.add_usage(tokens=100)
    child = start()
    fork_id = child.call(do, root, "fork")
    assert child.call(peek, root, "usage", fork_id) == start().call(peek, root, "usage", fork_id) == {}
    store.get(fork_id).add_usage(tokens=1)
    store.delete("s", children="orphan")
    store.purge()
    messages, usage = (start().call(peek, root, name, fork_id) for name in ("messages", "usage"))
    assert ([message.id for message in messages], usage) == (ids, {"tokens": 1})
    assert [message.id for message in child.call(peek, root, "messages", fork_id)] == ids
