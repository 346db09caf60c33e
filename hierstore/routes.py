"""Routes: a stable key leads to the session that it is bound to now.

Bindings are kept in the registry (``registry/<xx>.jsonl``, logs like a session's, one for each stripe of keys). The
session notes the key in its own log too; a binding counts only if both say so. So whichever of the two commits a crash
cuts off, nothing half-bound shows, and a key never leads to a new session that took the id of a purged one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hierstore import clock
from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.disk.engine import Engine
from hierstore.errors import InvalidRecord, SessionNotFound, quoted
from hierstore.log.events import event
from hierstore.log.registry import Lead, Registry
from hierstore.log.state import State
from hierstore.naming import check_id, stripe_of
from hierstore.tree import note_child
from hierstore.values import maybe_text

MAX_KEY_CHARS = 4096
_NOWHERE: tuple[Lead, ...] = (Lead(0, None, 0.0),)


# The registry


def read_registry(engine: Engine, part: Entry) -> Registry:
    """What a part of the registry holds; nothing where it has no log yet."""
    engine.check_open()
    try:
        if part.head is None:
            # One call, as where it is cached: a token that never was is refused as fast as one that is no more.
            files.stat(part.path)
        return engine.read(part).facts.registry or Registry()
    except (FileNotFoundError, SessionNotFound):
        return Registry()
    except OSError as error:
        raise refusals.unreadable(error, part.id, part.path) from error


def note_lead(engine: Engine, part: Entry, payload: dict[str, Any], durable: Durable) -> None:
    """Commit an event to a part of the registry, whose stripe is held."""
    if engine.exists_at(part.path, part.id):
        engine.commit_held(part, lambda _: [payload], durable)
    else:
        engine.create(part, {}, durable, more=[payload])


# Routes


def check_key(key: object) -> str:
    """The key itself, if it is one.

    Raises:
        InvalidRecord: it is empty, too long, or no text.
    """
    text = maybe_text(key, "route key")
    if not text or len(text) > MAX_KEY_CHARS:
        raise InvalidRecord(
            f"A route key is a text of 1 to {MAX_KEY_CHARS} characters; nothing was written.", where="key"
        )
    return text


def _part(engine: Engine, key: str) -> Entry:
    return engine.registry(stripe_of(key))


def _leads(engine: Engine, key: str) -> tuple[Lead, ...]:
    return read_registry(engine, _part(engine, key)).routes.get(key, _NOWHERE)


def resolve(engine: Engine, key: str) -> tuple[Entry, State] | None:
    """The session that a key is bound to, with its state; None when it is bound to none that exists."""
    session_id = _leads(engine, key)[-1].session_id
    if session_id is None:
        return None
    entry = engine.entry(session_id)
    try:
        state = engine.read(entry)
    except SessionNotFound:
        return None
    return (entry, state) if any(row[0] == key for row in state.facts.bound) else None


def bind(engine: Engine, key: str, entry: Entry) -> None:
    """Let a key lead to a session from now on."""
    part = _part(engine, key)
    engine.check_writable()
    engine.read(entry)
    with engine.holding([entry, part], about=entry) as durable:
        lead = event("route", key=key, session=entry.id)
        leads = _leads(engine, key)
        if leads is _NOWHERE:
            # A key that the registry has never heard of comes first, as it does for a new session: a session that
            # names one is a sign that the registry has lost something.
            engine.current(entry)
            note_lead(engine, part, lead, durable)
            durable.sync()
        _note_key(engine, entry, key, durable)
        # Any other goes where the session's own log already says it may: until then it leads where it led.
        durable.sync()
        if leads is not _NOWHERE and leads[-1].session_id != entry.id:
            note_lead(engine, part, lead, durable)


def _note_key(engine: Engine, entry: Entry, key: str, durable: Durable) -> None:
    engine.commit_held(
        entry,
        lambda state: [] if any(row[0] == key for row in state.facts.bound) else [event("bound", key=key)],
        durable,
    )


def unbind(engine: Engine, key: str) -> bool:
    """Let a key lead nowhere; False when it did already."""
    part = _part(engine, key)
    with engine.holding([part]) as durable:
        if _leads(engine, key)[-1].session_id is None:
            return False
        note_lead(engine, part, event("route", key=key, session=None), durable)
    return True


def route(
    engine: Engine,
    key: str,
    session_id: str | None,
    facts: Mapping[str, Any],
    *,
    reset_idle_s: float | None,
    reset_hour: int | None,
) -> Entry:
    """The session that a key is bound to, or a new one that it is bound to from now on: one, however many ask at once."""

    def maybe_current() -> Entry | None:
        found = resolve(engine, key)
        return found[0] if found and not _is_over(found[1].updated_at, reset_idle_s, reset_hour) else None

    entry = maybe_current()
    if entry is not None:
        return entry
    engine.check_writable()
    part, new = _part(engine, key), engine.entry(session_id or clock.new_id())
    parent_id = facts.get("parent")
    parent = None if parent_id is None else engine.entry(parent_id)
    if parent is not None:
        engine.read(parent)
    with engine.holding([new, part] if parent is None else [new, part, parent], about=new) as durable:
        entry = maybe_current()
        if entry is not None:
            return entry
        lead = event("route", key=key, session=new.id)
        if engine.exists(new.id):
            if not _is_cut_off(engine, new, key):
                raise refusals.already_there(new.id)
            note_lead(engine, part, lead, durable)
            return new
        # Where the key leads to a session now it goes on leading there until there is the new one. Elsewhere the key
        # comes first, so that a crash leaves no session that nobody knows of.
        is_bound = resolve(engine, key) is not None
        if not is_bound:
            note_lead(engine, part, lead, durable)
            durable.sync()
        if parent is not None:
            note_child(engine, parent, new.id, durable)
        engine.create(new, facts, durable, more=[event("bound", key=key)])
        if is_bound:
            durable.sync()
            note_lead(engine, part, lead, durable)
    return new


def _is_cut_off(engine: Engine, entry: Entry, key: str) -> bool:
    """Whether a session was made for a key by an attempt that ended before the key led to it."""
    is_noted = any(row[0] == key for row in engine.current(entry).facts.bound)
    return is_noted and all(lead.session_id != entry.id for lead in _leads(engine, key))


def check_policy(reset_idle_s: object, reset_hour: object) -> None:
    """Refuse what is no reset policy."""
    if reset_idle_s is not None and (
        isinstance(reset_idle_s, bool) or not isinstance(reset_idle_s, int | float) or not reset_idle_s > 0
    ):
        raise InvalidRecord(
            f"reset_idle_s is a positive number of seconds, not {quoted(reset_idle_s)}.", where="reset_idle_s"
        )
    if reset_hour is not None and (
        isinstance(reset_hour, bool) or not isinstance(reset_hour, int) or not 0 <= reset_hour <= 23
    ):
        raise InvalidRecord(
            f"reset_hour is an hour of the day from 0 to 23, not {quoted(reset_hour)}.", where="reset_hour"
        )


def _is_over(updated_at: float, reset_idle_s: float | None, reset_hour: int | None) -> bool:
    """Whether a policy gives the key a new session."""
    now = clock.now()
    if reset_idle_s is not None and now - updated_at > reset_idle_s:
        return True
    if reset_hour is None:
        return False
    today = time.localtime(now)
    latest = time.mktime((*today[:3], reset_hour, 0, 0, 0, 0, -1))
    if latest > now:
        latest = time.mktime((*today[:2], today.tm_mday - 1, reset_hour, 0, 0, 0, 0, -1))
    return updated_at < latest


# What a session knows of its keys


def keys_of(engine: Engine, state: State) -> tuple[str, ...]:
    """The keys bound to a session now, in the order of binding."""
    return tuple(key for key, _ in state.facts.bound if _leads(engine, key)[-1].session_id == state.facts.id)


def successor_of(engine: Engine, state: State) -> str | None:
    """The session that one of this one's keys was given to after it, the latest such; None while it has all of them."""
    found: list[Lead] = []
    for key, _ in state.facts.bound:
        leads = _leads(engine, key)
        places = [place for place, lead in enumerate(leads) if lead.session_id == state.facts.id]
        after = [lead for lead in leads[places[-1] + 1 :] if lead.session_id is not None] if places else []
        found.extend(after[:1])
    return max(found, key=lambda lead: lead.at).session_id if found else None


def entry_of(engine: Engine, session_id: object) -> Entry:
    """The entry of a session given by its id."""
    return engine.entry(check_id(session_id))
