"""Shares: a token that opens one session, and no more of it than was granted.

The token is 256 random bits, handed out once. Stored is its SHA-256 over the store's id and the token: random input
needs no slow hash, and a token of another store opens nothing here. A quarter of the digest is its locator, under which
the registry says whose session it is, so that no session but that one is looked at; the session's own log holds
the digest, and is the authority. A revoked token's locator is gone from the registry, so it is looked up in vain
exactly as one that never was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hierstore import clock
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.disk.logfile import read_header
from hierstore.errors import InvalidRecord, SessionNotFound, ShareNotFound, quoted
from hierstore.log.events import event
from hierstore.log.facts import Grant
from hierstore.model import ShareGrant
from hierstore.routes import note_lead, read_registry
from hierstore.tree import descendants

if TYPE_CHECKING:
    from hierstore.log.state import State

ROLES = ("read", "append")
_LONGEST_S = 1e12


def share(
    engine: Engine, entry: Entry, *, role: object, expires_in_s: object, subtree: object, frozen: object
) -> ShareGrant:
    """Make a grant, and the token that opens it.

    Raises:
        InvalidRecord: nothing was written.
    """
    payload = _checked(role, expires_in_s, subtree, frozen)
    engine.check_writable()
    # Loaded when first needed: secrets and hashlib cost a third of the package's import.
    import secrets

    token = secrets.token_urlsafe(32)
    digest = digest_of(engine, token)
    part = part_of(engine, digest)
    engine.read(entry)
    # Under the tree's lock nothing is moved or deleted while the subtree is written down.
    with engine.holding([entry, part], tree=bool(subtree and frozen), about=entry) as durable:
        engine.current(entry)
        payload |= {"id": clock.new_id(), "digest": digest}
        payload["frozen"] = _revisions(engine, entry, subtree=bool(subtree)) if frozen else None
        # Where to look first, then what is there: a crash in between leaves a locator that leads to no grant.
        note_lead(engine, part, event("locator", locator=locator_of(digest), session=entry.id), durable)
        durable.sync()
        state = engine.commit_held(entry, lambda _: [event("shared", **payload)], durable)
    return _public(state.facts.grants[-1], token)


def _checked(role: object, expires_in_s: object, subtree: object, frozen: object) -> dict[str, Any]:
    if role not in ROLES:
        raise InvalidRecord(f"A share's role is 'read' or 'append', not {quoted(role)}.", where="role")
    for name, flag in (("subtree", subtree), ("frozen", frozen)):
        if not isinstance(flag, bool):
            raise InvalidRecord(f"{name} is True or False, not {quoted(flag)}.", where=name)
    if frozen and role == "append":
        raise InvalidRecord(
            "A frozen share cannot have the role 'append': it would not show what it adds.", where="role"
        )
    expires_at = None
    if expires_in_s is not None:
        is_number = isinstance(expires_in_s, int | float) and not isinstance(expires_in_s, bool)
        # Also no NaN, and nothing that is no number any more when it is added to the time.
        if not is_number or not 0 <= expires_in_s <= _LONGEST_S:  # type: ignore[operator]
            raise InvalidRecord(
                f"expires_in_s is a number of seconds, 0 to {_LONGEST_S:.0e}, not {quoted(expires_in_s)}.",
                where="expires_in_s",
            )
        expires_at = clock.now() + expires_in_s  # type: ignore[operator]
    return {"role": role, "expires_at": expires_at, "subtree": subtree}


def _revisions(engine: Engine, entry: Entry, *, subtree: bool) -> list[list[Any]]:
    """What a frozen share shows: each session, which one of that id, and its revision."""
    shown = [entry, *descendants(engine, entry)] if subtree else [entry]
    return [[item.id, read_header(item.path).get("nonce", ""), engine.read(item).revision] for item in shown]


def unshare(engine: Engine, entry: Entry, grant_id: str | None) -> None:
    """Revoke one grant, or all.

    Raises:
        ShareNotFound: the session has no such grant.
    """
    gone = [grant for grant in engine.read(entry).facts.grants if grant_id in (None, grant.id)]
    parts = {part_of(engine, grant.digest): None for grant in gone}
    with engine.holding([entry, *parts], about=entry) as durable:
        ids = [grant.id for grant in engine.current(entry).facts.grants if grant_id in (None, grant.id)]
        if not ids and grant_id is not None:
            raise ShareNotFound(f"Session {entry.id!r} has no such share.", session_id=entry.id)
        # Also those that came since the look: they are revoked, and only their locators stay, which lead to nothing.
        engine.commit_held(entry, lambda _: [event("unshared", ids=ids)] if ids else [], durable)
        # The session is the authority: while it grants, the locator stays.
        durable.sync()
        for grant in gone:
            forget(engine, grant, durable)


def forget(engine: Engine, grant: Grant, durable: Any) -> None:
    """Take a revoked grant's locator out of the registry; its part's stripe is held."""
    note_lead(
        engine,
        part_of(engine, grant.digest),
        event("locator", locator=locator_of(grant.digest), session=None),
        durable,
    )


def grants(state: State) -> tuple[ShareGrant, ...]:
    """The grants that were not revoked, without their tokens."""
    return tuple(_public(grant) for grant in state.facts.grants)


def is_shared(state: State) -> bool:
    """Whether some token opens the session now."""
    return any(not is_expired(grant) for grant in state.facts.grants)


def is_expired(grant: Grant) -> bool:
    """Whether a grant's time is over."""
    return grant.expires_at is not None and clock.now() >= grant.expires_at


def _public(grant: Grant, token: str | None = None) -> ShareGrant:
    return ShareGrant(
        grant.id, grant.role, grant.created_at, grant.expires_at, grant.subtree, grant.frozen is not None, token
    )


# Tokens


def digest_of(engine: Engine, token: str) -> str:
    """What is stored of a token."""
    import hashlib

    text = f"hierstore share\0{engine.layout.store_id}\0{token}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def locator_of(digest: str) -> str:
    """Under what the registry is asked for a token's digest."""
    return digest[:16]


def part_of(engine: Engine, digest: str) -> Entry:
    """The part of the registry that is asked."""
    return engine.registry(int(digest[-2:], 16))


def find(engine: Engine, token: object) -> tuple[Entry, str]:
    """The session that a token opens, and the token's digest.

    Raises:
        ShareNotFound: none; in the same words whatever the reason.
    """
    digest = digest_of(engine, token if isinstance(token, str) else "")
    leads = read_registry(engine, part_of(engine, digest)).locators.get(locator_of(digest))
    session_id = leads[-1].session_id if leads else None
    if session_id is not None:
        entry = engine.entry(session_id)
        if maybe_grant(_maybe_state(engine, entry), digest) is not None:
            return entry, digest
    raise not_found()


def _maybe_state(engine: Engine, entry: Entry) -> State | None:
    try:
        return engine.read(entry)
    except SessionNotFound:
        return None


def maybe_grant(state: State | None, digest: str) -> Grant | None:
    """The grant of a session that a digest belongs to, if any; the comparison takes the same time for all."""
    import hmac

    found = None
    for grant in state.facts.grants if state is not None else ():
        if hmac.compare_digest(grant.digest, digest):
            found = grant
    return found


def not_found() -> ShareNotFound:
    """The one answer to every token that opens nothing."""
    return ShareNotFound("No share answers to this token.")
