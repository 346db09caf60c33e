"""Shares between processes: a revocation holds from the moment it was answered, whoever is in the middle of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, SessionNotFound, SessionStore, ShareExpired, ShareGrant, ShareNotFound, clock
from hierstore.disk import files
from tests.processes import hear, replaced, say, store_at
from tests.races.test_crowds import PATIENT_S, PROCESSES, go_together, run_together

STALL_S = 0.4
"""How long a test looks whether a call that must wait comes back all the same."""

_held: dict[str, Any] = {}


def hold(root: Path, token: str, *, below: bool = False, **options: Any) -> list[Any]:
    """In a child: open a share and keep it; what it shows."""
    shared = store_at(root, **options).open_share(token)
    _held["shared"] = shared.children[0] if below else shared
    return look()


def look() -> list[Any]:
    """In a child: what the share that it holds shows."""
    return [message.content for message in _held["shared"].messages]


def use(name: str, *args: Any, **options: Any) -> Any:
    """In a child: a property or method of the share that it holds."""
    found = getattr(_held["shared"], name)
    return found(*args, **options) if callable(found) else found


def do(root: Path, session_id: str, method: str, *args: Any, **options: Any) -> Any:
    """In a child: call a session's method."""
    return getattr(store_at(root, lock_timeout_s=PATIENT_S).get(session_id), method)(*args, **options)


def ask(root: Path, method: str, *args: Any, **options: Any) -> None:
    """In a child: call a method of the store."""
    getattr(store_at(root, lock_timeout_s=PATIENT_S), method)(*args, **options)


def opens(root: Path, token: str) -> bool:
    """In a child: whether a token opens anything."""
    return is_open(store_at(root), token)


def is_open(store: SessionStore, token: str) -> bool:
    try:
        store.open_share(token)
    except ShareNotFound:
        return False
    return True


def texts(store: SessionStore, session_id: str) -> list[Any]:
    return [message.content for message in store.get(session_id).messages]


@pytest.fixture
def family(open_store):
    """s > c, each with a message of its own name, in a store that stays open."""
    store = open_store(lock_timeout_s=PATIENT_S)
    for name, parent in (("s", None), ("c", "s"), ("far", None)):
        store.create(name, parent=parent).append("user", name)
    return store


def shared_by(root: Path, **options: Any) -> tuple[str, str]:
    """In a child: share; the grant's id and token."""
    grant = store_at(root).get("s").share(**options)
    return grant.id, grant.token


# At once, in every process


def test_what_one_process_shares_opens_in_every_other_at_once(start, root, family):
    owner, holder, waiting = start(), start(), start()
    assert not waiting.call(opens, root, "x" * 43)
    for number in range(20):
        _, token = owner.call(shared_by, root)
        assert holder.call(opens, root, token)
        assert waiting.call(opens, root, token)
        if number == 10:
            owner.kill()
            owner = start()


@pytest.mark.parametrize("below", [False, True], ids=["the session", "a child"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_revocation_holds_at_once_in_a_process_that_has_the_share_open(start, root, family, below, read_only):
    owner, holder = start(), start()
    name = "c" if below else "s"
    for number in range(10):
        grant_id, token = owner.call(shared_by, root, role="append", subtree=True)
        before = holder.call(hold, root, token, below=below, **({"read_only": True} if read_only else {}))
        assert before == texts(family, name)
        if not read_only:
            assert holder.call(use, "append", "user", number).content == number
        assert owner.call(do, root, "s", "unshare", grant_id) is None
        owner.call(do, root, name, "append", "user", f"after {number}")
        if number % 2:
            with pytest.raises(ShareNotFound):
                holder.call(use, "append", "user", "too late")
        for getter in ("messages", "info", "children", "role", "expires_at"):
            with pytest.raises(ShareNotFound):
                holder.call(use, getter)
        with pytest.raises(ShareNotFound):
            holder.call(use, "append", "user", "too late")
        assert not holder.call(opens, root, token)
        assert "too late" not in texts(family, name)


def test_a_deletion_by_another_process_ends_a_share_that_is_open_also_after_a_restore(start, root, family):
    owner, holder, below = start(), start(), start()
    _, token = owner.call(shared_by, root, role="append", subtree=True)
    assert (holder.call(hold, root, token), below.call(hold, root, token, below=True)) == (["s"], ["c"])
    for method, name, options in (("delete", "s", {"children": "cascade"}), ("restore", "s", {})):
        owner.call(ask, root, method, name, **options)
        for child in (holder, below):
            for call in (("messages",), ("append", "user", "too late")):
                with pytest.raises(ShareNotFound):
                    child.call(use, *call)
            assert not child.call(opens, root, token)
    assert (texts(family, "s"), texts(family, "c")) == (["s"], ["c"])


def test_a_share_that_expires_ends_in_a_process_that_has_it_open(start, root, family):
    owner, holder = start(), start()
    _, token = owner.call(shared_by, root, role="append", expires_in_s=3600)
    assert holder.call(hold, root, token) == ["s"]
    holder.call(pass_time, 3600.5)
    for call in (("messages",), ("append", "user", "too late"), ("role",)):
        with pytest.raises(ShareExpired):
            holder.call(use, *call)
    assert start().call(hold, root, token) == ["s"]


def pass_time(seconds: float) -> None:
    """In a child: from here on it is so much later."""
    real = clock.now
    clock.now = lambda: real() + seconds


# In the middle of an append


def append_and_stall(content: str) -> str:
    """In a child: append through the share, and stop right before the bytes are written."""
    real = files.write

    def write(fd: int, data: Any) -> int:
        if content.encode() in bytes(data):
            say("about to write")
            hear()
        return real(fd, data)

    with replaced(files, write=write):
        return _held["shared"].append("user", content).content


ENDS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "unshare one": (do, ("s", "unshare", "the grant")),
    "unshare all": (do, ("s", "unshare")),
    "delete": (ask, ("delete", "s")),
    "move": (do, ("c", "move", "far")),
    "move to the roots": (do, ("c", "move", None)),
}


@pytest.mark.parametrize(
    ("name", "below"), [(name, below) for name in ENDS for below in (False, True) if below or "move" not in name]
)
def test_an_append_that_is_under_way_is_stored_before_the_share_is_said_to_be_over_or_not_at_all(
    start, root, family, name, below
):
    function, args = ENDS[name]
    owner, holder = start(), start()
    grant_id, token = owner.call(shared_by, root, role="append", subtree=True)
    options = {"children": "cascade"} if name == "delete" else {}
    holder.call(hold, root, token, below=below)
    holder.begin(append_and_stall, "under way")
    assert holder.hear() == "about to write"
    owner.begin(function, root, *[grant_id if item == "the grant" else item for item in args], **options)
    was_answered = owner.pipe.poll(STALL_S)
    holder.say()
    try:
        stored = holder.result() == "under way"
    except ShareNotFound:
        stored = False
    owner.result()
    assert not (stored and was_answered), "stored after the share was over"
    if name == "delete":
        family.restore("s")
    assert ("under way" in texts(family, "c" if below else "s")) == stored
    with pytest.raises(ShareNotFound):
        holder.call(use, "append", "user", "too late")
    assert "too late" not in texts(family, "c" if below else "s")


def append_until_refused(name: str) -> tuple[int, str]:
    """In a child: append through the share until that is over; how often it went well, and how it ended."""
    shared = _held["shared"]
    say("ready")
    hear()
    done = 0
    while True:
        try:
            shared.append("user", f"{name}-{done}")
        except HierstoreError as error:
            return done, type(error).__name__
        done += 1


@pytest.mark.parametrize("below", [False, True], ids=["the session", "a child"])
def test_once_a_revocation_was_answered_no_append_is_stored_any_more(start, root, family, below):
    holders = [start() for _ in range(3)]
    session, target = family.get("s"), family.get("c" if below else "s")
    for number in range(12):
        grant = session.share(role="append", subtree=True)
        for holder in holders:
            holder.call(hold, root, grant.token, below=below, lock_timeout_s=PATIENT_S)
        before = len(target.messages)
        for place, holder in enumerate(holders):
            holder.begin(append_until_refused, f"{number}-{place}")
            holder.hear()
        for holder in holders:
            holder.say()
        while len(target.messages) < before + 1 + number % 4:
            pass
        session.unshare(grant)
        at_that_time = len(target.messages)
        answers = [holder.result() for holder in holders]
        assert {kind for _, kind in answers} == {"ShareNotFound"}
        assert len(target.messages) == at_that_time == before + sum(done for done, _ in answers)


# Crowds


def share_and_revoke(root: Path, name: str) -> tuple[list[ShareGrant], list[ShareGrant]]:
    """In a child: make grants and end every other one; those that live, and those that do not."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    session = store.get("s")
    go_together()
    kept, ended = [], []
    for number in range(20):
        grant = session.share(role="append" if number % 3 else "read")
        if number % 2:
            session.unshare(grant)
        (ended if number % 2 else kept).append(grant)
        session.append("user", f"{name}-{number}")
    return kept, ended


def test_grants_that_many_processes_make_and_end_are_each_what_they_were_said_to_be(start, root, family, open_store):
    results = run_together([start() for _ in range(PROCESSES)], share_and_revoke, root)
    kept = [grant for grants, _ in results for grant in grants]
    ended = [grant for _, grants in results for grant in grants]
    assert len({grant.token for grant in (*kept, *ended)}) == len(kept) + len(ended) == 20 * PROCESSES
    assert {grant.id for grant in family.get("s").shares} == {grant.id for grant in kept}
    for view in (family, open_store(), open_store(read_only=True)):
        for grant in kept:
            assert view.open_share(grant.token).role == grant.role
        for grant in ended:
            with pytest.raises(ShareNotFound):
                view.open_share(grant.token)
    assert len(family.get("s").messages) == 1 + 20 * PROCESSES


def end_all(root: Path, grant_ids: list[str], name: str) -> list[str]:
    """In a child: the grants of which this process was the one to end them."""
    session = store_at(root, lock_timeout_s=PATIENT_S).get("s")
    go_together()
    ended = []
    for grant_id in grant_ids:
        try:
            session.unshare(grant_id)
        except ShareNotFound:
            continue
        ended.append(grant_id)
    return ended


def test_of_many_processes_that_end_one_grant_one_does(start, root, family):
    grants = [family.get("s").share() for _ in range(20)]
    results = run_together([start() for _ in range(4)], end_all, root, [grant.id for grant in grants])
    assert sorted(grant_id for ended in results for grant_id in ended) == sorted(grant.id for grant in grants)
    assert family.get("s").shares == ()


def freeze_or_write(root: Path, name: str) -> list[tuple[str, int, int]]:
    """In a child: one freezes the tree again and again, the others append to it, revert and compact."""
    store = store_at(root, lock_timeout_s=PATIENT_S)
    s, c = store.get("s"), store.get("c")
    go_together()
    frozen = []
    for number in range(15 if name == "p0" else 100):
        if name == "p0":
            before = len(c.messages)
            token = s.share(frozen=True, subtree=True).token
            frozen.append((token, before, len(c.messages)))
        else:
            c.append("user", f"{name}-{number}")
            s.append("user", f"{name}-{number}")
            if number % 25 == 24:
                (s if number % 2 else c).compact(keep="present")
    return frozen


def test_what_is_frozen_while_others_write_is_a_moment_of_the_history_and_stays_so(start, root, family, open_store):
    results = run_together([start() for _ in range(4)], freeze_or_write, root)
    history = {name: texts(family, name) for name in ("s", "c")}
    seen: dict[str, list[list[Any]]] = {}
    for token, at_least, at_most in results[0]:
        shared = open_store().open_share(token)
        found = [[message.content for message in item.messages] for item in (shared, shared.children[0])]
        assert found == [history[name][: len(found[place])] for place, name in enumerate(("s", "c"))]
        assert at_least <= len(found[1]) <= at_most
        seen[token] = found
    for name in ("s", "c"):
        family.get(name).reset()
        family.get(name).append("user", "later")
        family.get(name).compact(keep="present")
    for token, found in seen.items():
        shared = start().call(walk, root, token)
        assert shared == found


def walk(root: Path, token: str) -> list[list[Any]]:
    """In a child: what a share of ``s`` shows of it and its child."""
    shared = store_at(root).open_share(token)
    return [[message.content for message in item.messages] for item in (shared, shared.children[0])]


# kill -9


def share_until_killed(root: Path) -> None:
    """In a child: share and revoke, and tell of each when it was answered."""
    session = store_at(root).get("s")
    while True:
        grant = session.share()
        say(("shared", grant.id, grant.token))
        session.unshare(grant.id)
        say(("ended", grant.id, grant.token))


def test_after_kill_9_every_answer_holds(start, root, family, open_store):
    for number in range(12):
        child = start()
        child.begin(share_until_killed, root)
        answered = [child.hear() for _ in range(3 + number)]
        child.kill()
        while child.pipe.poll(0):
            try:
                answered.append(child.pipe.recv()[1])
            except EOFError:
                break
        store = open_store()
        ended = {token for kind, _, token in answered if kind == "ended"}
        for kind, grant_id, token in answered[-4:]:
            if kind == "shared" and token not in ended:
                # It may have been ended by the call that was cut off: then wholly.
                listed = grant_id in {grant.id for grant in store.get("s").shares}
                assert is_open(store, token) == listed
        assert not any(is_open(store, token) for token in ended)
        store.get("s").unshare()
        assert not any(is_open(view, token) for view in (store, family) for _, _, token in answered)


# The id taken by another


def test_another_session_that_took_the_id_is_never_written_to_through_an_old_share(start, root, family):
    holders = [start() for _ in range(2)]
    for _ in range(6):
        grant = family.get("s").share(role="append", subtree=True)
        for place, holder in enumerate(holders):
            holder.call(hold, root, grant.token, below=bool(place), lock_timeout_s=PATIENT_S)
            holder.begin(append_until_refused, "intruder")
            holder.hear()
        for holder in holders:
            holder.say()
        family.delete("s", children="cascade")
        for name, parent in (("s", None), ("c", None)):
            family.create(name, parent=parent)
        for holder in holders:
            assert holder.result()[1] == "ShareNotFound"
        assert texts(family, "s") == texts(family, "c") == []
        family.get("c").move("s")


def test_a_process_that_never_opened_a_session_refuses_as_one_that_did(start, root, family):
    fresh, warm = start(), start()
    grant = family.get("s").share()
    assert warm.call(hold, root, grant.token) == ["s"]
    family.get("s").unshare()
    errors = []
    for child in (fresh, warm):
        with pytest.raises(ShareNotFound) as caught:
            child.call(hold, root, grant.token)
        errors.append(
            (str(caught.value), caught.value.args, {k: v for k, v in vars(caught.value).items() if k != "__notes__"})
        )
    assert errors[0] == errors[1]
    with pytest.raises(SessionNotFound):
        fresh.call(do, root, "nobody", "unshare")
