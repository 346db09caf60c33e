"""What ties a session to other systems: ids there, what it used there, and the turn that is under way there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from hierstore import clock
from hierstore.disk.cache import Entry
from hierstore.disk.engine import Engine
from hierstore.errors import InvalidRecord, SessionNotFound, quoted
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.tree import BAD_LOG, session_ids
from hierstore.values import canonical, check_json, encode, loads, maybe_text, plain

ANYTHING: Final[Any] = ...
"""The default of ``if_equals``: set it whatever it is now. None would mean: only if it is not set."""

_MAX_NAME = 512


def _checked_name(name: object, what: str) -> str:
    text = maybe_text(name, what)
    if not text or len(text) > _MAX_NAME:
        raise InvalidRecord(f"The {what} is a text of 1 to {_MAX_NAME} characters; nothing was written.", where=what)
    return text


# Ids in other systems


def set_ref(engine: Engine, entry: Entry, name: str, value: Any, if_equals: Any) -> bool:
    """Set, replace or (None) clear one id; False when ``if_equals`` was given and is not what is there."""
    name = _checked_name(name, "name of the ref")
    value = plain(value, "ref")
    wanted = check_json(canonical(value, "ref"), "ref")
    expected = None if if_equals is ANYTHING else canonical(plain(if_equals, "if_equals"), "if_equals")
    differed = False

    def decide(state: State) -> list[dict[str, Any]]:
        nonlocal differed
        # As JSON: to Python 1, 1.0 and True are equal.
        present = canonical(loads(state.facts.refs_json).get(name), "ref")
        differed = expected is not None and present != expected
        return [] if differed or present == wanted else [event("ref", name=name, value=value)]

    engine.commit(entry, decide)
    return not differed


# Usage


def add_usage(engine: Engine, entry: Entry, counters: Mapping[str, Any]) -> None:
    """Add to counters, as one commit."""
    _usage(engine, entry, "add", counters)


def set_usage(engine: Engine, entry: Entry, counters: Mapping[str, Any]) -> None:
    """Give counters another total, as one commit."""
    _usage(engine, entry, "set", counters)


def _usage(engine: Engine, entry: Entry, how: str, counters: Mapping[str, Any]) -> None:
    numbers = {_checked_name(name, "name of the counter"): _number(name, item) for name, item in counters.items()}
    check_json(encode(numbers, "usage"), "usage")
    payload = [event("usage", **{how: numbers})] if numbers else []
    engine.commit(entry, lambda _: payload)


def _number(name: str, item: object) -> int | float:
    if (
        isinstance(item, bool)
        or not isinstance(item, int | float)
        or (isinstance(item, float) and not math.isfinite(item))
    ):
        raise InvalidRecord(
            f"The counter {quoted(name)} is a finite number, not {quoted(item)}; nothing was written.", where="usage"
        )
    number: int | float = plain(item, f"counter {quoted(name)}")
    return number


# The turn in progress


def start_turn(engine: Engine, entry: Entry, token: str | None) -> str:
    """Note that a turn is in progress; one that was noted before is taken over."""
    token = clock.new_id() if token is None else _checked_name(token, "token of the turn")
    engine.commit(entry, lambda _: [event("turn", token=token)])
    return token


def end_turn(engine: Engine, entry: Entry, token: str) -> bool:
    """Note that it has ended; False when another one's token is there, or none."""
    _checked_name(token, "token of the turn")
    ended = False

    def decide(state: State) -> list[dict[str, Any]]:
        nonlocal ended
        ended = state.facts.turn is not None and state.facts.turn[0] == token
        return [event("turn", token=None)] if ended else []

    engine.commit(entry, decide)
    return ended


def interrupted(engine: Engine) -> list[Entry]:
    """The sessions with a turn in progress, the one begun first first; those that cannot be read are passed over."""
    found: list[tuple[float, str, Entry]] = []
    for session_id in session_ids(engine):
        entry = engine.entry(session_id)
        try:
            turn = engine.read(entry).facts.turn
        except (SessionNotFound, *BAD_LOG):
            continue
        if turn is not None:
            found.append((turn[1], session_id, entry))
    return [entry for _, _, entry in sorted(found, key=lambda row: row[:2])]
