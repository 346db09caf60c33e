"""What a commit's events become on their way out of a store or into one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

DROPPED = frozenset(["shared", "unshared", "past", "deleted", "restored", "turn", "moved", "forgotten"])
"""Events that say something of one store, or of the hierarchy, which a bundle has in another place."""


def carried(
    event: Mapping[str, Any], *, keys: Collection[str], child: Callable[[str], str | None], refs: bool = True
) -> dict[str, Any]:
    """A ``compacted`` event without what stays behind: shares, the turn, the parent, and what the arguments do not let by.

    When the session was made its creation says.

    Args:
        event: the event.
        keys: the route keys that come along.
        child: what becomes of a child's id; None when it does not come along.
        refs: whether ids in other systems come along.
    """

    def part(record: Mapping[str, Any]) -> dict[str, Any]:
        gone = {"grants", "turn", "parent_id", "created_at"} | (set() if refs else {"refs"})
        new = {name: value for name, value in record.items() if name not in gone}
        if "bound" in new:
            new["bound"] = [row for row in new["bound"] if row[0] in keys]
        if "children" in new:
            new["children"] = [new_id for old_id in new["children"] if (new_id := child(old_id)) is not None]
        return new

    new = part(event)
    if "more" in event:
        new["more"] = {name: rows for name, rows in part(event["more"]).items() if rows}
        if not new["more"]:
            del new["more"]
    return new
