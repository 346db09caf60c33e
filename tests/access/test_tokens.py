"""What can be learned of share tokens without having one: nothing from disk, from an error, or from what a call does.

Time is not measured: a wrong token's calls, and what it is compared with, are the same however much of it is right.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from hierstore import HierstoreError, SessionStore, ShareNotFound
from hierstore.naming import STRIPES
from tests.seam import hooked
from tests.support import fill

SHARES = 40


@pytest.fixture
def shared(store: SessionStore) -> tuple[SessionStore, list[str]]:
    """A store with shares in many parts of its registry, and their tokens."""
    session = fill(store.create("s"), "shared")
    return store, [session.share().token for _ in range(SHARES)]


def variants(token: str, seed: int) -> list[str]:
    """Wrong tokens of which the first 0, 1, 2 … characters are right, and one that is right but for its length."""
    chance = random.Random(seed)
    alphabet = string.ascii_letters + string.digits + "-_"
    made = []
    for right in range(len(token)):
        other = chance.choice([char for char in alphabet if char != token[right]])
        made.append(token[:right] + other + "".join(chance.choices(alphabet, k=len(token) - right - 1)))
    return [*made, token[:-1], token + "A", token.swapcase(), ""]


def refused(store: SessionStore, token: Any) -> tuple[ShareNotFound, list[tuple[str, bytes]]]:
    """The error, and the calls that were made until it came."""
    calls: list[tuple[str, bytes]] = []

    def note(_number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        calls.append((name, args[0] if isinstance(args[0], bytes) else b""))
        return call()

    with hooked(note), pytest.raises(ShareNotFound) as caught:
        store.open_share(token)
    return caught.value, calls


def test_a_wrong_token_takes_the_same_calls_however_much_of_it_is_right(shared, figures):
    store, tokens = shared
    for number, token in enumerate(tokens[:10]):
        for wrong in variants(token, number):
            refused(store, wrong)
            # Each looks where its own digest says: one look at one part of the registry, and at no session.
            _, calls = refused(store, wrong)
            assert [name for name, _ in calls] == ["stat"], calls
            assert b"/registry/" in calls[0][1]
            figures.add("wrong tokens")


def test_the_place_that_a_wrong_token_is_looked_up_at_says_nothing_of_the_right_one(shared):
    store, tokens = shared
    places = {refused(store, wrong)[1][0][1] for token in tokens[:10] for wrong in variants(token, 1)}
    # As good as random: 470 draws of 256 parts miss each part with a chance of one in six.
    assert len(places) > STRIPES // 2


def test_a_first_look_of_a_new_process_is_the_same_for_all_tokens_of_one_part(shared, open_store):
    store, tokens = shared
    by_part: dict[bytes, set[tuple[str, ...]]] = {}
    for token in tokens[:4]:
        for wrong in variants(token, 2):
            with SessionStore(store.root) as cold:
                _, calls = refused(cold, wrong)
            by_part.setdefault(calls[0][1], set()).add(tuple(name for name, _ in calls))
    assert all(len(ways) == 1 for ways in by_part.values()), by_part


def test_a_token_of_which_even_the_locator_is_right_is_compared_whole(shared, monkeypatch):
    """Nobody can make one: but that is what would be asked of the comparison."""
    store, tokens = shared
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)) or real(one, other))
    digest = _digest(store, tokens[0])
    for right in (16, 17, 40, 61):
        # The part's number is its last two digits, and stays.
        wrong = digest[:right] + "".join("0" if char != "0" else "1" for char in digest[right:-2]) + digest[-2:]
        compared.clear()
        with _hashing_to(monkeypatch, wrong), pytest.raises(ShareNotFound):
            store.open_share("whatever")
        # Every grant of the session, in the same order, with what was asked for: none is left out after a match.
        assert len(compared) == SHARES
        assert {other for _, other in compared} == {wrong}
        assert {len(one) for one, _ in compared} == {64}
    compared.clear()
    store.open_share(tokens[3])
    assert len(compared) % SHARES == 0
    assert not [pair for pair in compared for value in pair if value in tokens], "a token itself was compared"


def _hashing_to(monkeypatch: pytest.MonkeyPatch, digest: str) -> Any:
    from hierstore import sharing

    context = monkeypatch.context()
    patched = context.__enter__()
    patched.setattr(sharing, "digest_of", lambda engine, token: digest)
    return _Closing(context)


class _Closing:
    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def _digest(store: SessionStore, token: str) -> str:
    return hashlib.sha256(f"hierstore share\0{store._engine.layout.store_id}\0{token}".encode()).hexdigest()


def test_no_token_and_no_part_of_one_is_on_disk(shared):
    store, tokens = shared
    store.search("shared")
    store.check()
    guest = store.open_share(tokens[0])
    assert [message.content for message in guest.messages] == ["shared"]
    files = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    names = "\n".join(str(path) for path in files).encode()
    for token in tokens:
        for begin in range(0, len(token) - 12, 4):
            piece = token[begin : begin + 12].encode()
            assert piece not in names
            assert not [path for path, data in files.items() if piece in data]
        # What is there of it: the digest, which is no way back.
        assert [path for path, data in files.items() if _digest(store, token).encode() in data]


def test_every_wrong_token_is_refused_in_the_same_words_and_none_is_repeated(shared):
    store, tokens = shared
    revoked = tokens[-1]
    session = store.get("s")
    session.unshare(session.shares[-1])
    elsewhere = "x" * 43
    told = [refused(store, token)[0] for token in (revoked, elsewhere, *variants(tokens[0], 3), 5, None, "\ud800")]
    assert len({(type(error), str(error), tuple(error.__dict__)) for error in told}) == 1
    assert not any(token in f"{error!r} {error.__dict__}" for error in told for token in (revoked, elsewhere))
    assert told[0].__cause__ is None


@pytest.mark.damages
def test_an_error_of_a_store_that_cannot_be_read_repeats_no_token(shared, open_store):
    """An error goes to a log; a token in it would open the session to whoever reads that."""
    store, tokens = shared
    for path in (store.root / "registry").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"garbage" + path.read_bytes())
    with SessionStore(store.root) as cold:
        for token in tokens:
            with pytest.raises(HierstoreError) as caught:
                cold.open_share(token)
            assert token not in f"{caught.value!r} {caught.value.__dict__}"
            assert token not in repr(caught.value.__cause__)
