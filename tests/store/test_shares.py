"""Grants and their tokens: what opens a session, for how long, and what nobody can learn from a refusal."""

from __future__ import annotations

import base64
import errno
import hmac
import logging
import os
import pickle
import re
import secrets
import shutil
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import (
    HierstoreError,
    ReadOnlyStore,
    SessionNotFound,
    SessionStore,
    ShareExpired,
    ShareNotFound,
    StoreClosed,
    sharing,
)
from hierstore.disk import files
from hierstore.log.events import event
from tests.effort import lines_run
from tests.seam import hooked
from tests.store.refusing import assert_refused, order_of_writes
from tests.support import contents, fill, holding, lines_of, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    OpenStore = Callable[..., SessionStore]

WORDS = "No share answers to this token."


def raised(call: Callable[[], Any]) -> BaseException | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
        return error
    return None


def opens(store: SessionStore, token: str) -> bool:
    """Whether a token opens anything; if not, the refusal is the one that all get."""
    error = raised(lambda: store.open_share(token))
    if error is None:
        return True
    assert type(error) is ShareNotFound
    assert (str(error), error.args, vars(error)) == (WORDS, (WORDS,), {})
    assert error.__context__ is error.__cause__ is None
    return False


def digests(store: SessionStore, session_id: str = "s") -> list[str]:
    """The hashes in a session's log."""
    items = [item for line in lines_of(store, session_id)[1:] for item in line.get("events", ())]
    return [item["digest"] for item in items if item["type"] == "shared"]


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that stands still; its time is the list's one item."""
    now = [time.time()]
    monkeypatch.setattr("hierstore.clock.now", lambda: now[0])
    return now


# Grants


def test_a_token_opens_the_session_it_was_made_for_in_every_store(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s", title="T"), "1", "2")
    fill(store.create("other"), "secret")
    grant = session.share()
    for view in (store, open_store(), open_store(read_only=True)):
        shared = view.open_share(grant.token)
        assert (texts(shared), shared.info.title, shared.info.id) == (["1", "2"], "T", "s")
        assert (shared.role, shared.expires_at) == ("read", None)


def test_a_grant_says_what_was_granted_and_is_listed_without_its_token(
    open_store: OpenStore, clock: list[float]
) -> None:
    store = open_store()
    session = store.create("s")
    assert (session.shares, session.is_shared) == ((), False)
    made = [
        session.share(), session.share(role="append", expires_in_s=60),
        session.share(subtree=True), session.share(subtree=True, frozen=True, expires_in_s=0.5),
    ]  # fmt: skip
    wanted = [
        ("read", None, False, False), ("append", clock[0] + 60, False, False),
        ("read", None, True, False), ("read", clock[0] + 0.5, True, True),
    ]  # fmt: skip
    assert [(grant.role, grant.expires_at, grant.subtree, grant.frozen) for grant in made] == wanted
    assert {grant.created_at for grant in made} == {clock[0]}
    assert len({grant.id for grant in made}) == len({grant.token for grant in made}) == 4
    for view in (session, open_store().get("s"), open_store(read_only=True).get("s")):
        assert [grant.token for grant in view.shares] == [None] * 4
        assert [grant.id for grant in view.shares] == [grant.id for grant in made]
        assert [(g.role, g.expires_at, g.subtree, g.frozen) for g in view.shares] == wanted
        assert view.is_shared


def test_a_token_is_256_random_bits(store: SessionStore, monkeypatch) -> None:
    asked: list[int] = []
    real = secrets.token_bytes
    monkeypatch.setattr(secrets, "token_bytes", lambda size: asked.append(size) or real(size))
    session = store.create("s")
    tokens = [session.share().token for _ in range(60)]
    assert len(set(tokens)) == 60
    raw = [base64.urlsafe_b64decode(f"{token}=") for token in tokens]
    assert {len(item) for item in raw} == {32}
    numbers = [int.from_bytes(item, "big") for item in raw]
    for bit in range(256):
        # Each bit is now 0 and now 1: of 60 fair coins all alike come once in 10**17.
        assert 0 < sum(number >> bit & 1 for number in numbers) < 60
    assert asked == [32] * 60, "they come from the system's own source of randomness"


def test_several_grants_live_and_end_independently(open_store: OpenStore, clock: list[float]) -> None:
    store = open_store()
    session = store.create("s")
    first, second, third = session.share(), session.share(expires_in_s=10), session.share(role="append")
    other = open_store()
    other.get("s").unshare(first)
    assert [opens(store, grant.token) for grant in (first, second, third)] == [False, True, True]
    clock[0] += 10
    with pytest.raises(ShareExpired):
        store.open_share(second.token)
    assert opens(store, third.token)
    assert [grant.id for grant in session.shares] == [second.id, third.id]
    session.unshare(third.id)
    assert (session.is_shared, len(session.shares)) == (False, 1)
    session.unshare(second.id)
    assert [opens(other, grant.token) for grant in (first, second, third)] == [False] * 3
    assert session.shares == ()


def test_unshare_without_a_name_ends_all_of_this_session_and_none_of_another(open_store: OpenStore) -> None:
    store = open_store()
    session, other = store.create("s"), store.create("o")
    tokens = [session.share(role=role).token for role in ("read", "append", "read")]
    kept = other.share()
    open_store().get("s").unshare()
    for view in (store, open_store(), open_store(read_only=True)):
        assert [opens(view, token) for token in tokens] == [False] * 3
        assert opens(view, kept.token)
    before = contents(store.root)
    session.unshare()
    assert contents(store.root) == before
    assert opens(store, session.share().token)


def test_unshare_of_what_is_no_grant_of_the_session_raises_and_changes_nothing(store: SessionStore) -> None:
    session, other = store.create("s"), store.create("o")
    grant, foreign = session.share(), other.share()
    ended = session.share()
    session.unshare(ended)
    before = contents(store.root)
    for name in (foreign, foreign.id, "x", "", ended.id, grant.token, grant.id[:-1], 5, b"x"):
        with pytest.raises(ShareNotFound):
            session.unshare(name)  # type: ignore[arg-type]
    assert contents(store.root) == before
    assert opens(store, grant.token)
    assert opens(store, foreign.token)


def test_a_share_expires_to_the_moment(open_store: OpenStore, clock: list[float]) -> None:
    store = open_store()
    session = store.create("s")
    grant, at_once = session.share(expires_in_s=10), session.share(expires_in_s=0)
    ends = clock[0] + 10
    for view in (store, open_store(), open_store(read_only=True)):
        with pytest.raises(ShareExpired) as caught:
            view.open_share(at_once.token)
        assert caught.value.expires_at == ends - 10
    shared = store.open_share(grant.token)
    clock[0] = ends - 0.001
    assert (shared.expires_at, texts(shared), session.is_shared) == (ends, [], True)
    clock[0] = ends
    calls: list[Callable[[], Any]] = [
        lambda: store.open_share(grant.token), lambda: shared.messages, lambda: shared.info, lambda: shared.children,
        lambda: shared.role, lambda: shared.expires_at,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ShareExpired) as caught:
            call()
        assert caught.value.expires_at == ends
        assert not isinstance(caught.value, ShareNotFound)
        assert pickle.loads(pickle.dumps(caught.value)).expires_at == ends
    assert not session.is_shared
    assert len(session.shares) == 2
    session.unshare(grant)
    assert not opens(store, grant.token)
    with pytest.raises(ShareNotFound):
        texts(shared)


def test_sharing_moves_neither_the_history_nor_its_age(store: SessionStore) -> None:
    """behaviours 14"""
    session = fill(store.create("s"), "x")
    at = session.updated_at
    session.unshare(session.share())
    assert (session.updated_at, texts(session)) == (at, ["x"])


# Tokens that open nothing


def wrong_tokens(store: SessionStore, elsewhere: SessionStore) -> dict[str, Any]:
    """Tokens that were never made, or that open nothing any more."""
    session = store.get("s")
    good, revoked = session.share().token, session.share()
    session.unshare(revoked)
    dead = store.create("dead").share().token
    store.delete("dead")
    purged = store.create("purged").share().token
    store.delete("purged")
    store.purge("purged")
    reborn = store.create("reborn").share().token
    store.delete("reborn")
    store.create("reborn").share()
    return {
        "never": secrets.token_urlsafe(32), "empty": "", "truncated": good[:-1], "one letter off": "!" + good[1:],
        "in capitals": good.swapcase(), "with a space": good + " ", "twice": good + good, "long": "x" * 10**6,
        "surrogate": "\ud800", "null": good + "\0", "path": "../../hierstore.json", "none": None, "number": 5,
        "bytes": good.encode(), "list": [good], "id": session.shares[0].id, "digest": digests(store)[0],
        "locator": digests(store)[0][:16], "revoked": revoked.token, "of a deleted session": dead,
        "of a purged session": purged, "of a session whose id another took": reborn,
        "of another store": elsewhere.create("s").share().token,
    }  # fmt: skip


def test_every_wrong_token_is_refused_in_the_same_words(open_store: OpenStore, tmp_path: Path) -> None:
    store, elsewhere = open_store(), open_store(tmp_path / "elsewhere")
    store.create("s")
    tokens = wrong_tokens(store, elsewhere)
    before = contents(store.root)
    for view in (store, open_store(), open_store(read_only=True)):
        for token in tokens.values():
            assert not opens(view, token)
    assert contents(store.root) == before


def test_a_token_opens_nothing_in_another_store_even_over_the_same_files(open_store: OpenStore, tmp_path: Path) -> None:
    store, other = open_store(), open_store(tmp_path / "other")
    token = store.create("s").share().token
    for folder in ("sessions", "registry"):
        shutil.rmtree(other.root / folder, ignore_errors=True)
        shutil.copytree(store.root / folder, other.root / folder)
    assert "s" in other
    assert len(other.get("s").shares) == 1
    assert not opens(other, token)
    assert opens(store, token)


def test_a_deleted_session_takes_its_shares_with_it_for_good(open_store: OpenStore) -> None:
    store = open_store()
    parent, child = store.create("s"), store.create("c", parent="s")
    tokens = [parent.share().token, child.share(role="append").token, parent.share(subtree=True, frozen=True).token]
    held = [store.open_share(token) for token in tokens]
    open_store().delete("s", children="cascade")
    views = (store, open_store(), open_store(read_only=True))
    assert not any(opens(view, token) for view in views for token in tokens)
    store.restore("s")
    assert not any(opens(view, token) for view in (*views, open_store()) for token in tokens)
    assert (parent.shares, child.shares, parent.is_shared) == ((), (), False)
    for shared in held:
        with pytest.raises(ShareNotFound):
            texts(shared)
    with pytest.raises(ShareNotFound):
        held[1].append("user", "x")
    assert texts(child) == []
    assert opens(store, store.get("s").share().token)


def test_a_share_does_not_open_another_session_that_took_the_id(open_store: OpenStore) -> None:
    store = open_store()
    token = store.create("s").share(role="append").token
    held = store.open_share(token)
    for purged in (False, True):
        store.delete("s")
        if purged:
            store.purge()
        new = fill(store.create("s"), "secret")
        assert not any(opens(view, token) for view in (store, open_store(), open_store(read_only=True)))
        for call in (lambda: held.messages, lambda: held.append("user", "x")):
            with pytest.raises(ShareNotFound):
                call()
        assert (texts(new), new.shares) == (["secret"], ())


@pytest.mark.parametrize("how", ["log", "call"])
def test_a_locator_left_by_a_crash_opens_nothing(open_store: OpenStore, monkeypatch, how: str) -> None:
    store = open_store()
    session = store.create("s")
    made: list[str] = []
    real = secrets.token_urlsafe
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: made.append(real(size)) or made[-1])
    if how == "log":
        session.share()
        log = log_of(store, "s")
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    else:
        with monkeypatch.context() as patch:
            patch.setattr(
                "hierstore.sharing.event", lambda name, **rest: 1 / 0 if name == "shared" else event(name, **rest)
            )
            with pytest.raises(ZeroDivisionError):
                session.share()
    assert [path.parent.name for path in store.root.rglob("registry/*.jsonl")] == ["registry"]
    assert not opens(open_store(), made[0])
    assert open_store().get("s").shares == ()


# The same time, the same calls


def calls_of(call: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """The system calls that a call makes, with what files they are about."""
    made: list[tuple[Any, ...]] = []

    def note(_: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        path = args[0] if isinstance(args[0], bytes) else os.readlink(f"/proc/self/fd/{args[0]}").encode()
        made.append((name, path))
        return real()

    with hooked(note):
        try:
            call()
        except HierstoreError:
            pass
    return made


def revoked_and_never(store: SessionStore) -> tuple[list[str], list[str]]:
    session = store.create("s")
    grants = [session.share() for _ in range(30)]
    for grant in grants:
        session.unshare(grant)
    return [grant.token for grant in grants], [secrets.token_urlsafe(32) for _ in range(30)]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_revoked_token_and_one_that_never_was_make_the_same_system_calls(
    open_store: OpenStore, read_only: bool
) -> None:
    revoked, never = revoked_and_never(open_store())
    store = open_store(read_only=read_only)
    # Twice: what is read for the first time is read by whoever comes first.
    for _ in range(2):
        warm = {token: calls_of(lambda token=token: opens(store, token)) for token in (*revoked, *never)}
    shapes = {tuple(name for name, _ in calls) for calls in warm.values()}
    assert shapes == {("stat",)}
    folders = {os.path.dirname(path) for calls in warm.values() for _, path in calls}
    assert folders == {os.fsencode(store.root / "registry")}


def test_a_revoked_token_is_refused_with_the_same_work_as_one_that_never_was(open_store: OpenStore) -> None:
    def work(token: str) -> int:
        with pytest.raises(ShareNotFound):
            store.open_share(token)
        return lines_run(lambda: opens(store, token))

    revoked, _ = revoked_and_never(open_store())
    store = open_store()

    def part_of(token: str) -> Any:
        return sharing.part_of(store._engine, sharing.digest_of(store._engine, token))

    # Where there is no part of the registry there never was a share; one that was revoked leaves its part.
    parts = {part_of(token) for token in revoked}
    never: list[str] = []
    while len(never) < 30:
        token = secrets.token_urlsafe(32)
        if part_of(token) in parts:
            never.append(token)
    counts = {work(token) for token in (*revoked, *never)}
    assert len(counts) == 1, "who counts or times learns which it was"
    assert counts.pop() > 5


def test_every_grant_of_the_session_is_compared_and_in_constant_time(store: SessionStore, monkeypatch) -> None:
    session = store.create("s")
    grants = [session.share() for _ in range(5)]
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    known = digests(store)
    for place in (0, 2, 4):
        compared.clear()
        store.open_share(grants[place].token)
        assert {len(row) for row in compared} == {2}
        assert [next(item for item in row) for row in compared[:5]] == known
        assert {row[1] for row in compared} == {known[place]}
        assert len(compared) % 5 == 0


def test_a_token_is_found_without_looking_at_any_other_session(open_store: OpenStore) -> None:
    store = open_store()
    for number in range(40):
        fill(store.create(f"other-{number}", parent=None if number < 20 else "other-0"), "x")
    session = fill(store.create("s"), "1")
    others = [store.get(f"other-{number}").share().token for number in range(10)]
    token = session.share().token
    cold = open_store()
    touched = {path for _, path in calls_of(lambda: texts(cold.open_share(token)))}
    log, part = os.fsencode(log_of(store, "s")), os.path.join(os.fsencode(store.root), b"registry")
    # A file's folder is looked at before it is opened: whether it is one, and no link to elsewhere.
    looked_at = {path for path in touched if not path.startswith(os.fsencode(store.root / "locks"))}
    assert looked_at - {log, os.path.dirname(log), part} == {path for path in looked_at if path.startswith(part + b"/")}
    assert log in touched
    assert len([path for path in touched if path.startswith(part + b"/")]) == 1
    assert not any(name == "scandir" for name, _ in calls_of(lambda: cold.open_share(others[0])))


@pytest.mark.damages
@pytest.mark.parametrize("read_only", [False, True])
def test_a_token_opens_its_session_among_300_that_cannot_be_read(open_store: OpenStore, read_only: bool) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    token = session.share(role="append").token
    for number in range(300):
        path = log_of(store, store.create(f"o{number}").id)
        if number % 3 == 0:
            path.unlink()
            path.mkdir()
        elif number % 3 == 1:
            path.unlink()
            path.symlink_to("/nowhere")
        else:
            path.write_bytes(b"\xff\xff\n" * 3)
    view = open_store(read_only=read_only)
    shared = view.open_share(token)
    assert texts(shared) == ["1"]
    assert not opens(view, "x")
    if not read_only:
        shared.append("user", "2")
        assert texts(open_store().open_share(token)) == ["1", "2"]


# Secrets


def chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        found = todo.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            todo += [found.__context__, found.__cause__]


def said_by(error: BaseException) -> str:
    """All that an exception says: its text, arguments, attributes, notes, those it came from, and the printed trace."""
    parts = [
        repr(item)
        for found in chain(error)
        for item in (found, str(found), found.args, vars(found), getattr(found, "__notes__", ()))
    ]
    return "\n".join([*parts, *traceback.format_exception(error)])


def errors_of_sharing(open_store: OpenStore, clock: list[float], tokens: list[str]) -> list[BaseException]:
    """Let sharing go wrong in every way; the tokens used are added to a list."""
    store, reader = open_store(), open_store(read_only=True)
    session = fill(store.create("s"), "1")
    made = {name: session.share(**options) for name, options in {
        "read": {}, "append": {"role": "append"}, "short": {"expires_in_s": 1}, "frozen": {"frozen": True, "subtree": True},
        "revoked": {},
    }.items()}  # fmt: skip
    dead = store.create("dead").share(role="append")
    held = {name: store.open_share(grant.token) for name, grant in (made | {"dead": dead}).items()}
    below = store.create("below", parent="s")
    deep = store.open_share(made["frozen"].token)
    tokens += [grant.token for grant in (*made.values(), dead)]
    session.unshare(made["revoked"])
    store.delete("dead")
    clock[0] += 2

    def refuse(_: Any) -> None:
        raise RuntimeError("the hook fails")

    calls: list[Callable[[], Any]] = [
        *[partial(view.open_share, token) for token in tokens for view in (store, reader, open_store())],
        *[lambda shared=shared: shared.append("user", "x") for shared in held.values()],
        *[lambda shared=shared: shared.messages for shared in held.values()],
        *[lambda shared=shared: shared.append("user", float("nan")) for shared in held.values()],
        lambda: held["append"].append("user", "x", expected_revision=99),
        lambda: store.open_share(made["read"].token, redact=refuse).messages,
        lambda: store.open_share(made["read"].token, redact=lambda _: 5).messages,
        lambda: reader.open_share(made["append"].token).append("user", "x"),
        lambda: session.unshare(made["read"].token),
        lambda: session.unshare(made["revoked"]),
        lambda: session.share(role=made["read"]),
        lambda: reader.get("s").share(),
        lambda: reader.get("s").unshare(),
        lambda: below.unshare(made["read"].id),
        lambda: [child.messages for child in deep.children],
        lambda: store.resolve(None),
    ]
    errors = [caught for call in calls if (caught := raised(call)) is not None]
    log = log_of(store, "s")
    data = log.read_bytes()
    log.write_bytes(data[:60] + b"!!" + data[60:])
    errors += [caught for call in calls if (caught := raised(call)) is not None]
    cold = open_store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "stat", partial(fail, errno.EIO))
        of_disk = [*calls, *[partial(cold.open_share, token) for token in tokens]]
        errors += [caught for call in of_disk if (caught := raised(call)) is not None]
    log.write_bytes(data)
    store.close()
    return errors + [caught for call in calls if (caught := raised(call)) is not None]


def fail(number: int, *_: Any, **__: Any) -> Any:
    raise OSError(number, os.strerror(number))


@pytest.mark.damages
def test_no_token_and_no_hash_is_in_any_error_or_log_line_or_file_name_and_no_token_in_any_file(
    open_store: OpenStore, clock: list[float], caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens: list[str] = []
    errors = errors_of_sharing(open_store, clock, tokens)
    store = open_store()
    hashes = digests(store)
    assert len(tokens) == 6
    assert len(hashes) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", item) for item in hashes)
    own = [error for error in errors if isinstance(error, HierstoreError)]
    assert {str(error) for error in errors} - {str(error) for error in own} == {"the hook fails"}
    kinds = {type(error).__name__ for error in own}
    assert {
        "ShareNotFound",
        "ShareExpired",
        "ReadOnlyStore",
        "InvalidRecord",
        "RevisionConflict",
        "StoreClosed",
    } <= kinds
    assert len(errors) > 60
    secret = [*tokens, *(token[:12] for token in tokens), *hashes, *(item[:16] for item in hashes)]
    said = "\n".join(
        [*map(said_by, errors), *(repr(pickle.dumps(error)) for error in errors), caplog.text, *capfd.readouterr()]
    )
    names = "\n".join(map(str, store.root.rglob("*")))
    for item in secret:
        assert item not in said
        assert item not in names
    for token in tokens:
        assert holding(store.root, token) == holding(store.root, token[:12]) == []
        assert holding(store.root, base64.urlsafe_b64decode(f"{token}=").hex()) == []
    # That the search finds what is there: the hashes are in the session's log, as they should be.
    assert holding(store.root, hashes[0]) == [str(log_of(store, "s").relative_to(store.root))]


def test_nothing_that_is_handed_out_shows_a_token_or_hash_when_printed(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    store.create("c", parent="s")
    grant = session.share(subtree=True)
    shared = store.open_share(grant.token)
    handed = [
        grant, session, session.shares, shared, shared.info, shared.messages, list(shared.messages), shared.children,
        session.info, store, store.check(), session.at(1), store.tree(), shared._hold, session.metadata,
    ]  # fmt: skip
    printed = "\n".join(map(repr, handed))
    for secret in (grant.token, grant.token[:12], digests(store)[0], digests(store)[0][:16]):
        assert secret not in printed
    assert grant.token not in repr([pickle.dumps(item) for item in (session.shares, session.info, shared.info)])


# Bad input

BAD: list[tuple[str, dict[str, Any]]] = [
    *[("role", {"role": role}) for role in ("write", "", "READ", None, 5, ["read"], b"read", "admin", {"read": 1})],
    *[
        ("expires_in_s", {"expires_in_s": value})
        for value in (-1, -0.001, float("nan"), float("inf"), "60", True, False, 10**400, -(10**400), [], 1e308)
    ],
    *[("subtree", {"subtree": value}) for value in (1, 0, "yes", None)],
    *[("frozen", {"frozen": value}) for value in (1, 0, "yes", None)],
    ("role", {"frozen": True, "role": "append"}),
    ("role", {"frozen": True, "subtree": True, "role": "append"}),
]


@pytest.mark.parametrize(("where", "options"), BAD, ids=lambda item: ascii(item)[:40])
def test_a_share_that_cannot_be_is_refused(store: SessionStore, where: str, options: dict[str, Any]) -> None:
    session = store.create("s")
    assert_refused(store, lambda: session.share(**options), where)
    assert not session.is_shared


def test_sharing_a_missing_session_raises_and_leaves_no_file(open_store: OpenStore) -> None:
    """behaviours 13"""
    store = open_store()
    session = store.create("s")
    grant = session.share()
    open_store().delete("s")
    before = contents(store.root)
    calls: list[Callable[[], Any]] = [
        session.share, lambda: session.share(frozen=True, subtree=True), session.unshare,
        lambda: session.unshare(grant), lambda: session.shares, lambda: session.is_shared,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(SessionNotFound):
            call()
    assert contents(store.root) == before


# Stale and cold caches, readers, compaction, crashes


def test_sharing_over_a_stale_cache_loses_nothing(open_store: OpenStore) -> None:
    """behaviours 21"""
    a, b = open_store(), open_store()
    session = fill(a.create("s"), "first")
    first = session.share()
    assert (texts(session), len(session.shares)) == (["first"], 1)
    theirs = fill(b.get("s"), "B's")
    second = theirs.share(role="append")
    third = session.share()
    fill(theirs, "B's too")
    session.unshare(first)
    for view in (session, theirs, open_store().get("s")):
        assert texts(view) == ["first", "B's", "B's too"]
        assert [grant.id for grant in view.shares] == [second.id, third.id]
    fill(theirs, "more")
    assert texts(a.open_share(third.token)) == ["first", "B's", "B's too", "more"]
    fourth = theirs.share()
    session.unshare()
    assert not any(opens(view, grant.token) for view in (a, b) for grant in (first, second, third, fourth))


def test_a_store_that_only_reads_opens_shares_and_makes_and_ends_none(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    grant = session.share(role="append")
    reader = open_store(read_only=True)
    shared, theirs = reader.open_share(grant.token), reader.get("s")
    before = contents(store.root)
    calls: list[Callable[[], Any]] = [
        theirs.share, theirs.unshare, lambda: theirs.unshare(grant), lambda: shared.append("user", "x"),
        lambda: theirs.share(frozen=True, subtree=True),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ReadOnlyStore):
            call()
    assert contents(store.root) == before
    assert (texts(shared), theirs.is_shared, len(theirs.shares)) == (["1"], True, 1)
    fill(session, "2")
    assert texts(shared) == ["1", "2"]
    session.unshare()
    with pytest.raises(ShareNotFound):
        texts(shared)
    assert not opens(reader, grant.token)


def test_a_closed_store_opens_and_makes_no_share(open_store: OpenStore) -> None:
    store = open_store()
    session = store.create("s")
    grant = session.share(role="append")
    shared = store.open_share(grant.token)
    store.close()
    calls: list[Callable[[], Any]] = [
        lambda: store.open_share(grant.token), lambda: store.open_share(secrets.token_urlsafe(32)), session.share,
        session.unshare, lambda: session.shares, lambda: shared.messages, lambda: shared.append("user", "x"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreClosed):
            call()


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("keep", ["present", "snapshots"])
def test_shares_survive_compaction(open_store: OpenStore, clock: list[float], keep: Any, cold: bool) -> None:
    store = open_store()
    session = fill(store.create("s"), "1", "2", "3")
    made = [
        session.share(), session.share(role="append", expires_in_s=100), session.share(subtree=True, frozen=True),
        session.share(expires_in_s=1), session.share(),
    ]  # fmt: skip
    session.unshare(made[-1])
    session.snapshot("n")
    session.revert(2)
    fill(session, "4")
    listed = session.shares
    if cold:
        store._engine.cache.clear()
    session.compact(keep=keep)
    store.compact(keep=keep)
    clock[0] += 2
    for view in (store, open_store(), open_store(read_only=True)):
        assert view.get("s").shares == listed
        assert texts(view.open_share(made[0].token)) == ["1", "4"]
        assert texts(view.open_share(made[2].token)) == ["1", "2", "3"]
        assert view.open_share(made[1].token).expires_at == made[1].expires_at
        with pytest.raises(ShareExpired):
            view.open_share(made[3].token)
        assert not opens(view, made[4].token)
    store.open_share(made[1].token).append("user", "5")
    session.unshare(made[0])
    session.compact(keep=keep)
    assert not opens(open_store(), made[0].token)
    assert texts(open_store().open_share(made[1].token)) == ["1", "4", "5"]


def test_a_fork_and_a_child_are_not_shared(open_store: OpenStore) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    token = session.share(role="append").token
    fork, child = session.fork("f"), session.spawn("c")
    assert (fork.shares, child.shares, fork.is_shared) == ((), (), False)
    store.delete("s", children="orphan")
    store.purge()
    assert not opens(store, token)
    assert (open_store().get("f").shares, texts(fork)) == ((), ["1"])


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_locator_is_on_the_medium_before_the_grant_and_a_revocation_before_the_locator_goes(
    open_store: OpenStore, monkeypatch, durability
) -> None:
    # All in one part of the registry, which is there already: a new one is synced under its first name.
    monkeypatch.setattr(sharing, "part_of", lambda engine, _: engine.registry(7))
    store = open_store(durability=durability)
    session = store.create("s")
    session.share()
    # What is answered in power mode is on the medium before it is.
    last = 1 if durability == "power" else 0
    made = order_of_writes(session.share)
    assert made == ["write registry", "sync registry", "write sessions", *["sync sessions"] * last]
    session.share()
    ended = order_of_writes(lambda: session.unshare(session.shares[0].id))
    assert ended == ["write sessions", "sync sessions", "write registry", *["sync registry"] * last]
    session.unshare()


class Crash(BaseException):
    """The process ends here."""


def crash_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the given change of the disk, counted from now on, be the one before which the process dies."""
    left = [step]

    def count(*args: Any, real: Any = None, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Crash
        return real(*args, **options)

    for name in ("write", "open_file", "link", "unlink", "utime", "mkdir"):
        patch.setattr(files, name, partial(count, real=getattr(files, name)))


@pytest.mark.parametrize("step", range(1, 15))
def test_a_share_that_a_crash_cuts_off_is_made_whole_or_not_at_all(
    open_store: OpenStore, monkeypatch, step: int
) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    made: list[str] = []
    real = secrets.token_urlsafe
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: made.append(real(size)) or made[-1])
    grant = None
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        try:
            grant = session.share()
        except Crash:
            pass
    fresh = open_store()
    assert bool(fresh.get("s").shares) == fresh.get("s").is_shared == (bool(made) and opens(fresh, made[0]))
    assert grant is None or opens(fresh, grant.token)
    assert opens(fresh, fresh.get("s").share().token)


@pytest.mark.parametrize("step", range(1, 6))
@pytest.mark.parametrize("cold", [True, False])
def test_a_revocation_that_a_crash_cuts_off_holds_or_can_be_made_again(
    open_store: OpenStore, monkeypatch, step: int, cold: bool
) -> None:
    store = open_store()
    session = fill(store.create("s"), "1")
    grant, kept = session.share(), session.share()
    if cold:
        store._engine.cache.clear()
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        try:
            session.unshare(grant)
        except Crash:
            pass
    fresh = open_store()
    is_listed = grant.id in [other.id for other in fresh.get("s").shares]
    assert opens(fresh, grant.token) == is_listed
    if is_listed:
        fresh.get("s").unshare(grant)
    assert not opens(store, grant.token)
    assert opens(store, kept.token)
