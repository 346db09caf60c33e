"""The registry's tables: where each key has led, noted once, and shared between states."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hierstore.history import History
from hierstore.log.events import event
from hierstore.log.registry import Lead, Registry
from hierstore.log.state import State, fold, initial
from tests.support import LogBuilder


def part(*events: dict[str, Any]) -> LogBuilder:
    """A part of the registry whose commits hold one event each."""
    log = LogBuilder("registry 00")
    for item in events:
        log.commit(item)
    return log


def folded(log: LogBuilder, lines: int | None = None) -> State:
    return fold(initial("registry 00", History(), 0), b"".join(log.lines[1:lines]))


def route(key: str, session: str | None) -> dict[str, Any]:
    return event("route", key=key, session=session)


def locator(key: str, session: str | None) -> dict[str, Any]:
    return event("locator", locator=key, session=session)


def registry_of(state: State) -> Registry:
    assert state.facts.registry is not None
    return state.facts.registry


def led(table: dict[str, tuple[Lead, ...]]) -> dict[str, list[str | None]]:
    return {key: [lead.session_id for lead in leads] for key, leads in table.items()}


def test_a_session_has_no_registry() -> None:
    assert folded(part(event("bound", key="k"))).facts.registry is None


def test_a_key_leads_to_what_was_noted_last_and_what_was_before_is_kept_in_order() -> None:
    registry = registry_of(folded(part(route("k", "a"), route("l", "x"), route("k", "b"), route("k", None))))
    assert led(registry.routes) == {"k": ["a", "b", None], "l": ["x"]}
    assert registry.locators == {}
    assert [lead.revision for lead in registry.routes["k"]] == [2, 4, 5]
    assert [lead.at for lead in registry.routes["k"]] == [4.0, 6.0, 7.0]


def test_routes_and_locators_of_one_name_are_two_things() -> None:
    registry = registry_of(folded(part(route("k", "a"), locator("k", "b"), locator("k", None))))
    assert led(registry.routes) == {"k": ["a"]}
    assert led(registry.locators) == {"k": ["b", None]}


def test_what_a_name_holds_makes_no_difference() -> None:
    names = ["__class__", "", "\u00e9", "\0", "a" * 4096]
    registry = registry_of(folded(part(*[route(name, str(place)) for place, name in enumerate(names)])))
    assert led(registry.routes) == {name: [str(place)] for place, name in enumerate(names)}


def test_folding_commits_once_more_notes_nothing_twice() -> None:
    log = part(route("k", "a"), route("k", "b"), locator("l", "s"), locator("l", None))
    state = folded(log, 3)
    tail = b"".join(log.lines[3:])
    once, again = fold(state, tail), fold(state, tail)
    for after in (once, again):
        assert led(registry_of(after).routes) == {"k": ["a", "b"]}
        assert led(registry_of(after).locators) == {"l": ["s", None]}


def test_noting_a_lead_again_drops_what_was_noted_of_the_same_or_later_revisions() -> None:
    table: dict[str, tuple[Lead, ...]] = {}
    for revision, session_id in ((2, "a"), (5, "b"), (9, "c"), (5, "B")):
        Registry.note(table, "k", Lead(revision, session_id, 1.0))
    assert led(table) == {"k": ["a", "B"]}


def test_a_state_shares_its_table_with_the_one_before() -> None:
    log = part(route("k", "a"), route("l", "b"))
    before = folded(log, 3)
    after = fold(before, log.lines[3])
    assert registry_of(after) is registry_of(before)
    assert registry_of(after).routes["k"] is registry_of(before).routes["k"]


def test_two_folds_of_one_log_share_nothing() -> None:
    log = part(route("k", "a"))
    one, other = folded(log), folded(log)
    Registry.note(registry_of(one).routes, "k", Lead(9, "z", 1.0))
    assert led(registry_of(other).routes) == {"k": ["a"]}


def test_a_route_in_a_later_version_with_more_in_it_still_leads() -> None:
    registry = registry_of(folded(part({**route("k", "a"), "weight": 3}, {"type": "from_the_future", "key": "k"})))
    assert led(registry.routes) == {"k": ["a"]}


_NOTES = st.lists(
    st.tuples(st.sampled_from(["route", "locator"]), st.sampled_from("abc"), st.sampled_from(["x", "y", None])),
    max_size=12,
)


@given(_NOTES, st.data())
def test_a_fold_in_parts_knows_what_a_fold_of_the_whole_knows(
    notes: list[tuple[str, str, str | None]], data: st.DataObject
) -> None:
    log = part(*[{"route": route, "locator": locator}[kind](key, session) for kind, key, session in notes])
    cut = data.draw(st.integers(2, len(log.lines)))
    state = folded(log, cut)
    if cut < len(log.lines):
        state = fold(state, b"".join(log.lines[cut:]))
    whole = folded(log).facts.registry or Registry()
    parts = state.facts.registry or Registry()
    assert (parts.routes, parts.locators) == (whole.routes, whole.locators)
    for kind, table in (("route", whole.routes), ("locator", whole.locators)):
        wanted: dict[str, list[str | None]] = {}
        for noted, key, session in notes:
            if noted == kind:
                wanted.setdefault(key, []).append(session)
        assert led(table) == wanted
