"""Facts: what a session is beside its messages. Values only; ``handlers.py`` says what each event does to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hierstore.model import Snapshot
from hierstore.sums import Sum
from hierstore.values import encode, loads

if TYPE_CHECKING:
    from hierstore.history import History
    from hierstore.log.events import Past
    from hierstore.log.registry import Registry


class Grant(NamedTuple):
    """A share of a session that was not revoked.

    Attributes:
        id: names it.
        digest: the token's SHA-256, bound to the store, in hexadecimal digits.
        role: what its holder may do.
        created_at: Unix seconds.
        expires_at: Unix seconds, or None.
        subtree: whether it reaches what hangs below the session.
        frozen: ``(session id, log's nonce, revision)`` of what it shows, or None where it shows the present.
    """

    id: str
    digest: str
    role: str
    created_at: float
    expires_at: float | None
    subtree: bool
    frozen: tuple[tuple[str, str, int], ...] | None


class Facts(NamedTuple):
    """What appending a message leaves as it is."""

    id: str
    parent_id: str | None = None
    kind: str | None = None
    title: str | None = None
    title_source: str | None = None
    metadata_json: bytes = b"{}"
    derived_json: bytes = b"{}"
    labels: tuple[str, ...] = ()
    pinned: bool = False
    archived: bool = False
    suspended: bool = False
    created_at: float = 0.0
    children: tuple[str, ...] = ()
    """Ids noted by this session; who its children are, the children's own logs say."""
    snapshots: tuple[Snapshot, ...] = ()
    epochs: tuple[tuple[int, History], ...] = ()
    """(first revision, list of messages): a new epoch begins where the history changes other than by growing."""
    reverts: tuple[int, ...] = ()
    """For each revert that can be undone, the revision before it."""
    reset_at: int = 0
    """The revision of the last reset, 0 without one."""
    past: tuple[Past, ...] = ()
    deleted: bool = False
    refs_json: bytes = b"{}"
    usage: tuple[tuple[str, Sum], ...] = ()
    grants: tuple[Grant, ...] = ()
    turn: tuple[str, float] | None = None
    """(token, Unix seconds) of the turn in progress."""
    bound: tuple[tuple[str, float], ...] = ()
    """(route key, Unix seconds), noted before the registry binds the key; which are bound now, the registry says."""
    through: int = 0
    """The revision up to which the log was compacted, 0 if it was not."""
    kept: tuple[int, ...] = ()
    """The revisions before ``through`` that are still whole."""
    registry: Registry | None = None
    """In a part of the registry, what it holds; None in a session."""
    unknown: tuple[bytes, ...] = ()
    """Events of types that this version does not know, as JSON."""

    @property
    def forked_at(self) -> int | None:
        """How many messages of another history a fork began with; None for what is no fork."""
        # The last log of the time before says how far it counts, and whatever takes its place says the same.
        return self.past[-1].kept if self.past else None


_PLAIN = (
    "parent_id", "kind", "title", "title_source", "pinned", "archived", "suspended", "created_at", "reset_at", "deleted",
)  # fmt: skip
_JSON = ("metadata_json", "derived_json", "refs_json")


def _maybe_list(turn: tuple[str, float] | None) -> list[Any] | None:
    return None if turn is None else list(turn)


def _snapshot_row(snapshot: Snapshot) -> list[Any]:
    return [snapshot.id, snapshot.label, snapshot.revision, snapshot.created_at, snapshot.metadata]


def _snapshot_of(row: Sequence[Any]) -> Snapshot:
    name, label, revision, at, metadata = row
    return Snapshot(name, label, revision, at, encode(metadata, "metadata"))


def _usage_of(row: Sequence[Any]) -> tuple[str, Sum]:
    name, digits, exponent, is_float = row
    return name, (digits, exponent, is_float)


def _bound_of(row: Sequence[Any]) -> tuple[str, float]:
    key, at = row
    return key, at


def grant_of(row: Sequence[Any]) -> Grant:
    """A grant from its JSON array."""
    name, digest, role, at, expires_at, subtree, frozen = row
    rows = None if frozen is None else tuple((owner, nonce, revision) for owner, nonce, revision in frozen)
    return Grant(name, digest, role, at, expires_at, subtree, rows)


_LISTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    # name: (an item as JSON, and back)
    "labels": (str, str),
    "children": (str, str),
    "bound": (list, _bound_of),
    "usage": (lambda row: [row[0], *row[1]], _usage_of),
    "grants": (list, grant_of),
    "snapshots": (_snapshot_row, _snapshot_of),
}


def change(before: Facts, after: Facts) -> dict[str, Any]:
    """What turns one session's facts into others, as a JSON object: what differs, and of a list that grew what is new.

    Left out is what other lines of a compacted log say: the history, the past of a fork, and unknown events; and the
    reverts, which cannot be undone any more.
    """
    record: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name in (*_PLAIN, "turn", *_JSON, *_LISTS):
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name in _LISTS:
            encoded = _LISTS[name][0]
            is_longer = old and new[: len(old)] == old
            (more if is_longer else record)[name] = [encoded(item) for item in (new[len(old) :] if is_longer else new)]
        elif name in _JSON:
            record[name.removesuffix("_json")] = loads(new)
        else:
            record[name] = _maybe_list(new) if name == "turn" else new
    return record | ({"more": more} if more else {})


def changed(facts: Facts, record: Mapping[str, Any]) -> Facts:
    """The facts with a ``change`` applied."""
    changes: dict[str, Any] = {name: record[name] for name in _PLAIN if name in record}
    changes |= {name: encode(record[key], "facts") for name in _JSON if (key := name.removesuffix("_json")) in record}
    if "turn" in record:
        changes["turn"] = record["turn"] and (record["turn"][0], record["turn"][1])
    changes |= {name: tuple(map(back, record[name])) for name, (_, back) in _LISTS.items() if name in record}
    for name, rows in record.get("more", {}).items():
        changes[name] = (*getattr(facts, name), *map(_LISTS[name][1], rows))
    # A revert that was compacted cannot be undone.
    return facts._replace(**changes, reverts=(), through=record.get("through", 0), kept=tuple(record.get("kept", ())))
