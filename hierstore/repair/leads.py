"""Mending the registry: what its damaged parts have lost is told again by the sessions, which note it too."""

from __future__ import annotations

import os
from typing import Any

from hierstore import census, clock
from hierstore.census import Place, Wanted
from hierstore.diagnosis import Verdict, judge, read_log
from hierstore.disk import files, refusals
from hierstore.disk.cache import Entry
from hierstore.disk.durable import Durable
from hierstore.errors import HierstoreError, SessionNotFound, StoreClosed
from hierstore.log import frame
from hierstore.log.events import commit, event
from hierstore.log.registry import Registry
from hierstore.log.state import State
from hierstore.repair.logs import cut, cut_sentence
from hierstore.repair.run import Run

_Leads = list[tuple[str, str, str]]
"""``(kind, key or locator, session)``."""


def mend_registry(run: Run) -> None:
    """Mend every part, and note again what sessions say and no part has ever heard of."""
    engine = run.engine
    wanted = run.census.wanted()
    for place in census.parts(engine):
        if place.number is None:
            _clear_stray(run, place)
        else:
            wanted.setdefault(place.number, Wanted({}, {}))
    for number in sorted(wanted):
        _mend_part(run, engine.registry(number), number, wanted[number])


def _clear_stray(run: Run, place: Place) -> None:
    with run.guarding("stray", None, place.path):
        if not run.dry_run:
            run.put_aside(place.path)
        run.did("stray", None, place.path, f"{place.detail} It is in quarantine/.")


def _mend_part(run: Run, part: Entry, number: int, wanted: Wanted) -> None:
    """Mend one part; its stripe keeps keys of it from being bound, and shares from being made, meanwhile."""
    engine = run.engine
    try:
        data, verdict = _look(run, part, [number])
    except StoreClosed:
        raise
    except HierstoreError as error:
        run.leave("unreadable", None, part.path, str(error))
        return
    leads = _leads(verdict, wanted)
    if verdict.kind is None and not leads:
        return
    is_done = run.dry_run
    if not run.dry_run:
        with run.guarding(verdict.kind or leads[0][0], None, part.path):
            with engine.holding([part]) as durable:
                data, verdict = _look(run, part, [])
                leads = [lead for lead in _leads(verdict, wanted) if _still_says(run, lead)]
                if part.poisoned:
                    raise refusals.not_durable(part, 0, "an earlier sync failed")
                _write(run, part, number, data, verdict, leads, durable)
            is_done = True
    if is_done:
        _report(run, part, data, verdict, leads)


def _look(run: Run, part: Entry, stripes: list[int]) -> tuple[bytes, Verdict]:
    """A part's bytes and the verdict on them; of a part that is not there, that nothing is wrong."""
    try:
        data = read_log(run.engine, stripes, part.path, part.id)
    except SessionNotFound:
        return b"", Verdict(None, "", 0, None)
    return data, judge(data, part.id, part.path)


def _leads(verdict: Verdict, wanted: Wanted) -> _Leads:
    """What a part has to note again."""
    registry = (verdict.parsed.state.facts.registry if verdict.parsed else None) or Registry()
    routes = wanted.lost_routes(registry)
    if verdict.kind == "corrupt":
        # Lines were lost: where a session noted a key after the last line that is left, one of them said so.
        routes += wanted.older_routes(registry)
    return [
        *(("lost_route", key, session_id) for key, session_id in routes),
        *(("lost_share", locator, session_id) for locator, session_id in wanted.lost_locators(registry)),
    ]


def _still_says(run: Run, lead: tuple[str, str, str]) -> bool:
    """Whether the session still says so; whoever wants it to say otherwise needs the part's stripe, which is held."""
    kind, key, session_id = lead
    try:
        state: State = run.engine.peek(run.engine.entry(session_id))
    except SessionNotFound:
        return False
    if kind == "lost_route":
        return any(row[0] == key for row in state.facts.bound)
    return any(grant.digest.startswith(key) for grant in state.facts.grants)


def _events(leads: _Leads) -> list[dict[str, Any]]:
    return [
        event("route", key=key, session=session_id)
        if kind == "lost_route"
        else event("locator", locator=key, session=session_id)
        for kind, key, session_id in leads
    ]


def _write(run: Run, part: Entry, number: int, data: bytes, verdict: Verdict, leads: _Leads, durable: Durable) -> None:
    engine, events = run.engine, _events(leads)
    if verdict.kind is not None:
        engine.logs.close(part)
        engine.cache.forget(part)
        if verdict.parsed is not None:
            more = b""
            if events:
                # In one file with the cut: a crash in between would leave keys that lead to older sessions.
                revision = verdict.parsed.state.revision + 1
                more, _ = frame.seal(commit(events, revision, clock.now()), verdict.parsed.chain)
            cut(run, part.path, data, verdict.parsed, more)
            return
        if data:
            run.put_aside(part.path, [number])
        else:
            files.remove(part.path)
    if events and engine.exists_at(part.path, part.id):
        engine.commit_held(part, lambda _: events, durable)
    elif events:
        engine.create(part, {}, durable, more=events)


def _report(run: Run, part: Entry, data: bytes, verdict: Verdict, leads: _Leads) -> None:
    if verdict.kind is not None:
        if verdict.parsed is not None:
            detail = cut_sentence(run, part.path, data, verdict.parsed)
        else:
            detail = f"Nothing of it is sound: its {len(data)} bytes are in quarantine/, and it begins anew."
        run.did(verdict.kind, None, part.path, detail)
    name = os.fsdecode(os.path.basename(part.path))
    for kind, key, session_id in leads:
        if kind == "lost_route":
            detail = f"The registry's part {name} leads the key {key!r} to session {session_id!r} again."
        else:
            detail = f"The registry's part {name} leads a share's token to session {session_id!r} again."
        run.did(kind, session_id, part.path, detail)
