"""SharedSession: what the holder of a share's token gets, and all that he gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hierstore import sharing
from hierstore.drafts import draft
from hierstore.errors import InvalidRecord, ReadOnlyStore, RevisionNotFound, SessionNotFound, ShareExpired
from hierstore.history import History, Messages
from hierstore.model import Message, SessionInfo
from hierstore.tree import ancestors, children
from hierstore.values import encode

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine
    from hierstore.log.facts import Grant
    from hierstore.log.state import State

Redact = Callable[[Message], Message | None]
"""What becomes of a message that is handed out: another (``Message.replace`` helps), or None to leave it out."""


def is_private(key: str) -> bool:
    """Whether a key of metadata is kept from shares: ``private``, and all that begin with an underscore."""
    return key.startswith("_") or key == "private"


def public(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without its private keys."""
    return {key: value for key, value in metadata.items() if not is_private(key)}


def redacted(message: Message, redact: Redact | None) -> Message | None:
    """What a hook makes of a message.

    Raises:
        InvalidRecord: the hook returned something else than a Message or None; the message is not shown.
    """
    if redact is None:
        return message
    shown = redact(message)
    if shown is not None and not isinstance(shown, Message):
        raise InvalidRecord(f"redact returned a {type(shown).__name__}, not a Message or None.", where="redact")
    return shown


@dataclass(frozen=True, slots=True, repr=False)
class _Hold:
    """What a shared session stands on; no part of it is handed out."""

    engine: Engine
    root: Entry
    digest: str
    redact: Redact | None

    def grant(self, state: State | None) -> Grant:
        """The grant, if it is still there.

        Raises:
            ShareNotFound, ShareExpired.
        """
        found = sharing.maybe_grant(state, self.digest)
        if found is None:
            raise sharing.not_found()
        if sharing.is_expired(found):
            raise ShareExpired("The time of this share is over.", expires_at=found.expires_at)
        return found

    def now(self) -> Grant:
        """The same, of the present state."""
        try:
            state = self.engine.read(self.root)
        except SessionNotFound:
            state = None
        return self.grant(state)


def _check_role(grant: Grant) -> None:
    if grant.role != "append":
        raise ReadOnlyStore("This share allows reading only.", root=None)


class SharedSession:
    """A session as the holder of a share sees it: ``info``, ``messages``, and what the role allows.

    Made by ``SessionStore.open_share``. Every access looks whether the share still holds: after a revocation, in
    whatever process, nothing more is shown and nothing more is taken. Safe to share between threads.

    Never shown: who the parent is (but within a shared subtree), ids in other systems, usage, other shares, ``derived``,
    and metadata, of the session or of a message, whose key begins with an underscore or is ``private``.

    Any call may raise ShareNotFound (revoked, or the session is gone) and ShareExpired.
    """

    __slots__ = ("_entry", "_frozen", "_hold", "_lock", "_seen")

    def __init__(self, hold: _Hold, entry: Entry) -> None:
        self._hold = hold
        self._entry = entry
        self._frozen: State | None = None
        self._seen: tuple[History, int, History] | None = None
        self._lock = threading.Lock()

    @property
    def role(self) -> str:
        """``"read"`` or ``"append"``."""
        return self._hold.now().role

    @property
    def expires_at(self) -> float | None:
        """When the share's time is over, Unix seconds, or None."""
        return self._hold.now().expires_at

    @property
    def info(self) -> SessionInfo:
        """The session's facts, but for those that are nobody's business."""
        state = self._state()
        info = state.info
        is_root = self._entry is self._hold.root
        return replace(
            info,
            parent_id=None if is_root else info.parent_id,
            metadata_json=encode(public(info.metadata), "metadata"),
            derived_json=b"{}",
            message_count=len(self._shown(state)),
        )

    @property
    def messages(self) -> Messages:
        """The history: an immutable sequence, as of now, or of the making of a frozen share."""
        return self._shown(self._state())

    @property
    def children(self) -> tuple[SharedSession, ...]:
        """What hangs below the session; nothing where the share is of this session alone."""
        grant = self._hold.now()
        self._state()
        if not grant.subtree:
            return ()
        found = [SharedSession(self._hold, entry) for entry in children(self._hold.engine, self._entry)]
        if grant.frozen is None:
            return tuple(found)
        return tuple(shared for shared in found if shared._is_frozen(grant))

    def append(
        self,
        role: str,
        content: Any,
        *,
        message_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_revision: int | None = None,
        **fields: Any,
    ) -> Message:
        """Store one message, where the share's role is ``"append"``; the arguments are ``Session.append``'s.

        Raises:
            ReadOnlyStore: the share allows reading only.
            InvalidRecord: it cannot be stored, or ``message_id`` names a message that this share does not show.
        """
        hold = self._hold
        _check_role(hold.now())
        item = draft(role, content, message_id, metadata, fields)
        try:
            if self._entry is hold.root:
                message = hold.engine.append(self._entry, (item,), expected_revision, self._guard)[0]
            else:
                message = hold.engine.append_beside(
                    self._entry, hold.root, (item,), expected_revision, self._guard_below
                )[0]
        except SessionNotFound:
            pass
        else:
            shown = self._show(message)
            if shown is None:
                raise InvalidRecord("The message is not shown by this share.", where="message_id")
            return shown
        raise sharing.not_found()

    def _guard(self, state: State) -> None:
        """Refuse a message under the session's lock: a revocation that was answered before holds."""
        _check_role(self._hold.grant(state))

    def _guard_below(self, _: State) -> None:
        """The same for a session of the subtree: the root's lock is held too, and the tree's, so it stays there."""
        hold = self._hold
        grant = hold.grant(hold.engine.current(hold.root))
        _check_role(grant)
        if not grant.subtree or hold.root not in ancestors(hold.engine, self._entry):
            raise sharing.not_found()

    def _state(self) -> State:
        """The state that the share shows: read first, and only then is it seen whether the share holds."""
        hold = self._hold
        try:
            state = hold.engine.read(self._entry)
            if self._entry is hold.root:
                grant = hold.grant(state)
            else:
                grant = hold.now()
                # Of this very state: it may have been moved away, and written to there, since.
                if not grant.subtree or not self._is_below(state):
                    raise sharing.not_found()
            if grant.frozen is None:
                return state
            if not self._is_frozen(grant):
                raise sharing.not_found()
            if self._frozen is None:
                self._frozen = hold.engine.read_at(self._entry, self._revision(grant))
            return self._frozen
        except (SessionNotFound, RevisionNotFound):
            pass
        raise sharing.not_found()

    def _is_below(self, state: State) -> bool:
        root = self._hold.root
        parent_id = state.facts.parent_id
        if parent_id is None:
            return False
        parent = self._hold.engine.entry(parent_id)
        return parent is root or root in ancestors(self._hold.engine, parent)

    def _is_frozen(self, grant: Grant) -> bool:
        """Whether a frozen share shows this session: it was there then, is still the one that was, and can be shown.

        One that was compacted while it was outside the subtree cannot.
        """
        state = self._hold.engine.read(self._entry)
        key = (self._entry.id, self._entry.nonce)
        return any(row[:2] == key and state.is_whole(row[2]) for row in grant.frozen or ())

    def _revision(self, grant: Grant) -> int:
        return next(row[2] for row in grant.frozen or () if row[0] == self._entry.id)

    def _shown(self, state: State) -> Messages:
        """The messages as the share shows them; of a history that grew only what is new goes through the hook."""
        while True:
            known = seen = self._seen
            if seen is None or seen[0] is not state.history or seen[1] > state.count:
                seen = (state.history, 0, History())
            # Not under the lock: the hook is the caller's. And all before any is kept: it may raise in the middle.
            new = [self._show(message) for message in state.history.part(seen[1], state.count)]
            with self._lock:
                if self._seen is known:
                    shown = seen[2]
                    for maybe_shown in new:
                        if maybe_shown is not None:
                            shown.append(maybe_shown)
                    self._seen = (state.history, state.count, shown)
                    return Messages(shown, shown.total)

    def _show(self, message: Message) -> Message | None:
        metadata = message.metadata
        if any(map(is_private, metadata)):
            message = message.replace(metadata=public(metadata))
        return redacted(message, self._hold.redact)

    def __repr__(self) -> str:
        return f"<SharedSession {self._entry.id!r}>"


def open_share(engine: Engine, token: object, redact: Redact | None) -> SharedSession:
    """The session that a token opens.

    Raises:
        ShareNotFound, ShareExpired.
    """
    entry, digest = sharing.find(engine, token)
    hold = _Hold(engine, entry, digest, redact)
    hold.now()
    return SharedSession(hold, entry)
