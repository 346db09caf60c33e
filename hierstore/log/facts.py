"""Facts: what a session is beside its messages. Values only; ``handlers.py`` says what each event does to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


_PLAIN = (
    "parent_id", "kind", "title", "title_source", "labels", "pinned", "archived", "suspended", "created_at",
    "children", "reset_at", "deleted", "turn", "bound",
)  # fmt: skip
_DEFAULTS: Mapping[str, Any] = Facts._field_defaults
_JSON = ("metadata_json", "derived_json", "refs_json")


def summary(facts: Facts) -> dict[str, Any]:
    """The facts as a JSON object: what an event ``compacted`` holds. What is as in a new session is not in it.

    Left out, too, is what other lines of a compacted log say: the history, the past of a fork, and unknown events; and
    the reverts, which cannot be undone any more.
    """
    names = [name for name in _PLAIN if getattr(facts, name) != _DEFAULTS[name]]
    record: dict[str, Any] = {name: getattr(facts, name) for name in names}
    record |= {
        name.removesuffix("_json"): loads(getattr(facts, name))
        for name in _JSON
        if getattr(facts, name) != _DEFAULTS[name]
    }
    rows = {
        "usage": [[name, *total] for name, total in facts.usage],
        "grants": [list(grant) for grant in facts.grants],
        "snapshots": [
            [snapshot.id, snapshot.label, snapshot.revision, snapshot.created_at, snapshot.metadata]
            for snapshot in facts.snapshots
        ],
    }
    return record | {name: items for name, items in rows.items() if items}


def restored(facts: Facts, record: dict[str, Any]) -> Facts:
    """The facts that ``summary`` wrote down, laid over others."""
    changes: dict[str, Any] = {name: record.get(name, _DEFAULTS[name]) for name in _PLAIN}
    changes |= {name: encode(record.get(name.removesuffix("_json"), {}), "facts") for name in _JSON}
    changes |= {name: tuple(changes[name]) for name in ("labels", "children")}
    changes["turn"] = changes["turn"] and tuple(changes["turn"])
    changes["bound"] = tuple((key, at) for key, at in changes["bound"])
    usage = record.get("usage", ())
    changes["usage"] = tuple((name, (digits, exponent, is_float)) for name, digits, exponent, is_float in usage)
    changes["grants"] = tuple(grant_of(row) for row in record.get("grants", ()))
    changes["snapshots"] = tuple(
        Snapshot(name, label, revision, at, encode(metadata, "metadata"))
        for name, label, revision, at, metadata in record.get("snapshots", ())
    )
    # A revert that was compacted cannot be undone.
    return facts._replace(**changes, reverts=(), through=record.get("through", 0), kept=tuple(record.get("kept", ())))


def grant_of(row: Sequence[Any]) -> Grant:
    """A grant from its JSON array."""
    name, digest, role, at, expires_at, subtree, frozen = row
    rows = None if frozen is None else tuple((owner, nonce, revision) for owner, nonce, revision in frozen)
    return Grant(name, digest, role, at, expires_at, subtree, rows)
