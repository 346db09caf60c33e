"""The registry's content: what leads to sessions from outside. Route keys, and where a share's token is to be looked up.

As the list of messages, its tables only grow and are shared between states: a state counts what was noted up to its
revision. So a state costs the same however many keys there are.
"""

from __future__ import annotations

from typing import NamedTuple


class Lead(NamedTuple):
    """Where a key leads from a revision of the registry on.

    Attributes:
        revision: the registry's.
        session_id: the session, or None for nowhere.
        at: Unix seconds.
    """

    revision: int
    session_id: str | None
    at: float


class Registry:
    """One part of the registry.

    Attributes:
        routes: for each key, where it has led, the latest last.
        locators: the same for the locators of shares.
    """

    __slots__ = ("locators", "routes")

    def __init__(self) -> None:
        self.routes: dict[str, tuple[Lead, ...]] = {}
        self.locators: dict[str, tuple[Lead, ...]] = {}

    @staticmethod
    def note(table: dict[str, tuple[Lead, ...]], key: str, lead: Lead) -> None:
        """Note where a key leads from now on."""
        before = table.get(key, ())
        # Folding the same commits once more, after a read that came to nothing, must not note them twice.
        table[key] = (*(old for old in before if old.revision < lead.revision), lead)
