"""Session: a light handle on one conversation. Each method is a few lines over the capability it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from hierstore import clock, links, settings, snapshots, tree
from hierstore.drafts import draft, draft_of
from hierstore.errors import InvalidRecord, RevisionConflict, quoted
from hierstore.log.events import event
from hierstore.log.state import State
from hierstore.model import Message, ShareGrant, Snapshot
from hierstore.naming import check_id
from hierstore.snapshots import PastSession, Target
from hierstore.turns import Turn
from hierstore.values import json_object, maybe_text, text_set
from hierstore.view import SessionView

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine
    from hierstore.reports import CompactReport


class Session(SessionView):
    """A handle on one session: light, safe to share between threads, valid in forked children.

    It holds no data of its own. Every property reads through the validated cache: it shows what every process that
    was answered before the call has written. Two properties read one after the other may show two revisions; ``info``
    shows one.

    Made by ``SessionStore``. Any call may raise SessionNotFound (it was deleted), UnreadableLog, CorruptLog,
    LockTimeout, and, if it writes, ReadOnlyStore, WriteFailed and DurabilityError.
    """

    __slots__ = ("_engine", "_entry")

    def __init__(self, engine: Engine, entry: Entry) -> None:
        self._engine = engine
        self._entry = entry

    @property
    def id(self) -> str:
        """The session's id."""
        return self._entry.id

    def _state(self) -> State:
        return self._engine.read(self._entry)

    # Writing

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
        """Store one message.

        Args:
            role: who speaks; any text but the empty one.
            content: text, or any other JSON value; up to 16 MiB and 200 levels.
            message_id: the caller's id for it, 1-512 characters. If the history has a message of that id, that one is
                returned, and nothing is written: a retry is safe.
            metadata: the app's own facts about it.
            expected_revision: store it only if the session is at this revision.
            fields: whatever else comes with it (``tool_calls=…``); stored and given back as it is.

        Returns:
            The message as stored. When this returns, every process sees it, and it survives the death of all of them;
            with ``durability="power"`` also a power cut.

        Raises:
            InvalidRecord: it is not JSON, too deep or too large; nothing was written.
            RevisionConflict: the session is at another revision; nothing was written.
            DurabilityError: it is in the log and may not survive a power cut.
        """
        item = draft(role, content, message_id, metadata, fields)
        return self._engine.append(self._entry, (item,), expected_revision)[0]

    def extend(
        self, messages: Iterable[Message | Mapping[str, Any]], *, expected_revision: int | None = None
    ) -> tuple[Message, ...]:
        """Store several messages in one commit: all of them or none.

        Args:
            messages: Messages (of any session; they keep their ids), or mappings with ``role`` and ``content``, and
                perhaps ``message_id`` and ``metadata``; what else they hold becomes ``fields``.
            expected_revision: store them only if the session is at this revision.

        Returns:
            The messages as stored, in the order given; those whose id the history had already as they were.

        Raises:
            InvalidRecord, RevisionConflict, DurabilityError: as ``append``.
        """
        if isinstance(messages, str | bytes | Mapping):
            raise InvalidRecord("extend takes a collection of messages, not one of them.", where="messages")
        drafts = [draft_of(item) for item in messages]
        if drafts:
            return self._engine.append(self._entry, drafts, expected_revision)
        self._engine.check_writable()
        revision = self.revision
        if expected_revision is not None and expected_revision != revision:
            raise RevisionConflict(
                f"Session {self.id!r} is at revision {revision}, not {quoted(expected_revision)}.",
                session_id=self.id,
                expected=expected_revision,
                actual=revision,
            )
        return ()

    def turn(self, *, expected_revision: int | None = None) -> Turn:
        """Collect the messages of one turn, and store them in one commit when the block ends without an exception.

        Nothing is stored, in any process's view, before the end of the block. A reset of the session in between, by
        whomever, ends the turn: RevisionConflict is raised at the end of the block, and nothing is stored.

        Args:
            expected_revision: store the turn only if the session is still at this revision.
        """
        return Turn(self._engine, self._entry, expected_revision)

    def reset(self, reason: str | None = None) -> None:
        """Empty the history, on disk. Title, parent, labels, metadata, snapshots and links stay; ``derived`` goes.

        Also ends every turn that is under way. What was there stays in the log and can be reverted to.

        Args:
            reason: kept in the log.
        """
        payload = event("reset", reason=maybe_text(reason, "reason"))
        self._engine.commit(self._entry, lambda _: [payload])

    def set_title(self, title: str | None, *, source: Literal["user", "auto"] = "user") -> None:
        """Set the title, or with None clear it.

        Args:
            title: the title.
            source: ``"auto"`` for one that a program made up: it never replaces a person's. After a person has
                cleared the title, a program may set one again.
        """
        settings.set_title(self._engine, self._entry, title, source)

    def update(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] | None = None,
        add_labels: Iterable[str] = (),
        remove_labels: Iterable[str] = (),
        pinned: bool | None = None,
        archived: bool | None = None,
        suspended: bool | None = None,
        derived: Mapping[str, Any] | None = None,
    ) -> None:
        """Change facts in one commit; what is None stays as it is, and no change is no commit.

        Args:
            metadata: laid over the present one key by key; a None value removes its key.
            labels: replaces the labels.
            add_labels: joins the labels that it has at that moment, or ``labels`` if given.
            remove_labels: leaves them; what it does not have is no error.
            pinned: keep it, however old.
            archived: out of sight in listings.
            suspended: interrupted, and waiting to be resumed.
            derived: facts computed from the history; merged as metadata is, and cleared by reset and revert.
        """
        settings.update(
            self._engine,
            self._entry,
            metadata=metadata,
            labels=labels,
            add_labels=add_labels,
            remove_labels=remove_labels,
            derived=derived,
            flags={"pinned": pinned, "archived": archived, "suspended": suspended},
        )

    # Hierarchy

    def spawn(
        self,
        session_id: str | None = None,
        *,
        title: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] = (),
    ) -> Session:
        """Make an empty child; the arguments are ``SessionStore.create``'s.

        Raises:
            SessionExists: nothing was changed.
        """
        facts = created_facts(title, self.id, kind, metadata, labels)
        return self._of(tree.create(self._engine, new_or_checked_id(session_id), facts))

    def fork(
        self,
        session_id: str | None = None,
        *,
        at: Target | None = None,
        title: str | None = None,
        kind: str | None = "branch",
    ) -> Session:
        """Make a child that starts with this session's history.

        The cost does not grow with the history: the bytes are shared. The messages keep their ids. From here on the
        two are independent: neither sees what the other does, and deleting the parent leaves the fork whole.

        Args:
            session_id: the child's id; made when not given.
            at: up to and with which message id, or up to which revision or snapshot; everything when None.
            title: the child's title.
            kind: why it exists.

        Raises:
            RevisionNotFound: there is no such message, revision or snapshot.
            SessionExists: nothing was changed.
        """
        from hierstore import forks

        title, kind = maybe_text(title, "title"), maybe_text(kind, "kind")
        child_id = new_or_checked_id(session_id)
        return self._of(forks.fork(self._engine, self._entry, child_id, at, title=title, kind=kind))

    @property
    def children(self) -> tuple[Session, ...]:
        """The sessions whose parent this is, in the order in which they came."""
        return tuple(self._of(entry) for entry in tree.children(self._engine, self._entry))

    @property
    def ancestors(self) -> tuple[Session, ...]:
        """The parent, its parent and so on up to a root."""
        return tuple(self._of(entry) for entry in tree.ancestors(self._engine, self._entry))

    def descendants(self) -> tuple[Session, ...]:
        """Everything below, depth first, each once, also where a damaged store has a cycle."""
        return tuple(self._of(entry) for entry in tree.descendants(self._engine, self._entry))

    def move(self, new_parent: Session | str | None) -> None:
        """Hang the session, with all below it, under another parent; None makes it a root.

        Raises:
            HierarchyCycle: the new parent is the session itself or below it.
            SessionNotFound: there is no such parent.
        """
        tree.move(self._engine, self._entry, id_of(new_parent))

    # Snapshots

    def snapshot(self, label: str | None = None, metadata: Mapping[str, Any] | None = None) -> Snapshot:
        """Give the present revision a name."""
        label, facts = maybe_text(label, "label"), json_object(metadata, "metadata")
        return snapshots.snapshot(self._engine, self._entry, label, facts)

    def revert(self, to: Target) -> None:
        """Make the history again what it was; nothing is removed from the log.

        Args:
            to: a snapshot or its id, a revision, or a message or its id: up to and with that message.

        Raises:
            RevisionNotFound: the session has no such thing.
        """
        snapshots.revert(self._engine, self._entry, to)

    def undo_revert(self) -> None:
        """Go back to the history before the last revert that is not undone yet.

        Messages that came after the revert leave the history; a revert to one of them brings them back.

        Raises:
            RevisionNotFound: there is no revert to undo.
        """
        snapshots.undo_revert(self._engine, self._entry)

    def at(self, revision: Target) -> PastSession:
        """The session as it was at a revision, read-only; a snapshot or a message id stands for its revision.

        Raises:
            RevisionNotFound: the session has no such thing.
        """
        return snapshots.past(self._engine, self._entry, revision)

    # Links, usage, the turn in progress

    def set_ref(self, name: str, value: Any, *, if_equals: Any = links.ANYTHING) -> bool:
        """Note the session's id in another system, or with None clear it.

        Args:
            name: which system, or whose id; 1-512 characters.
            value: the id; text or any JSON value.
            if_equals: set it only if it is this now; None: only if it is not set. Compared and set in one step, among
                all processes.

        Returns:
            False when it was something else than ``if_equals``; nothing was changed.
        """
        return links.set_ref(self._engine, self._entry, name, value, if_equals)

    def add_usage(self, /, **counters: float) -> None:
        """Add to counters (``input_tokens=…``, ``cost_usd=…``), all in one commit.

        Exact, whoever adds at the same time and in whatever order: 8,000 times 0.001 is 8.0. A correction may be
        negative; ``set_usage`` gives another total.
        """
        links.add_usage(self._engine, self._entry, counters)

    def set_usage(self, /, **counters: float) -> None:
        """Give counters another total; those not named stay."""
        links.set_usage(self._engine, self._entry, counters)

    def start_turn(self, token: str | None = None) -> str:
        """Note that a turn is in progress, so that after a crash ``SessionStore.interrupted`` tells of it.

        Args:
            token: whoever ends the turn must name it; made when None. A turn noted before is taken over: its token
                ends nothing any more.

        Returns:
            The token.
        """
        return links.start_turn(self._engine, self._entry, token)

    def end_turn(self, token: str) -> bool:
        """Note that the turn has ended; False, and nothing is changed, when it is not this token's."""
        return links.end_turn(self._engine, self._entry, token)

    # Routes

    @property
    def routes(self) -> tuple[str, ...]:
        """The route keys that are bound to this session now."""
        from hierstore import routes

        return routes.keys_of(self._engine, self._state())

    @property
    def succeeded_by(self) -> Session | None:
        """The session that a route key of this one was given to after it; None while it has all its keys.

        It may have been deleted since.
        """
        from hierstore import routes

        found = routes.successor_of(self._engine, self._state())
        return None if found is None else self._of(self._engine.entry(found))

    # Sharing

    def share(
        self,
        *,
        role: Literal["read", "append"] = "read",
        expires_in_s: float | None = None,
        subtree: bool = False,
        frozen: bool = False,
    ) -> ShareGrant:
        """Let whoever has the token see the session (``SessionStore.open_share``).

        Args:
            role: ``"read"``, or ``"append"``: also add messages.
            expires_in_s: for how long, seconds; for ever when None.
            subtree: also what hangs below the session, as it is moved there and away.
            frozen: show the session as it is now: nothing that is written later. Only for reading.

        Returns:
            The grant with its token, which is not kept anywhere and cannot be had again.

        Raises:
            InvalidRecord: nothing was written.
        """
        from hierstore import sharing

        return sharing.share(
            self._engine, self._entry, role=role, expires_in_s=expires_in_s, subtree=subtree, frozen=frozen
        )

    @property
    def shares(self) -> tuple[ShareGrant, ...]:
        """The grants that were not revoked, those whose time is over too; without their tokens."""
        from hierstore import sharing

        return sharing.grants(self._state())

    @property
    def is_shared(self) -> bool:
        """Whether some token opens the session now."""
        from hierstore import sharing

        return sharing.is_shared(self._state())

    def unshare(self, grant_id: ShareGrant | str | None = None) -> None:
        """Revoke a grant, or all of them; it holds from the moment this returns, in every process.

        Raises:
            ShareNotFound: the session has no such grant.
        """
        from hierstore import sharing

        maybe_id = grant_id.id if isinstance(grant_id, ShareGrant) else grant_id
        sharing.unshare(self._engine, self._entry, maybe_id)

    # Keeping

    def compact(self, *, keep: Literal["snapshots", "present"]) -> CompactReport:
        """Rewrite the log without what no kept revision needs: undone messages, superseded facts.

        Nothing that a reader sees changes: history, facts and revision stay as they are. Other processes may read and
        write meanwhile. What goes is the way there: reverts cannot be undone, and a revision that is not kept raises
        RevisionNotFound. A fork keeps what it shows. What a frozen share shows is kept.

        Args:
            keep: ``"snapshots"``: every snapshot can still be gone back to; ``"present"``: snapshots go too.
        """
        from hierstore import compaction

        return compaction.compact(self._engine, self._entry, keep)

    # Handle

    def _of(self, entry: Entry) -> Session:
        return Session(self._engine, entry)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return self.id == other.id and self._engine.layout.root == other._engine.layout.root

    def __hash__(self) -> int:
        return hash((self.id, self._engine.layout.root))

    def __repr__(self) -> str:
        return f"<Session {self.id!r}>"


def created_facts(
    title: str | None,
    parent: Session | str | None,
    kind: str | None,
    metadata: Mapping[str, Any] | None,
    labels: Iterable[str],
) -> dict[str, Any]:
    """Check what a new session is made with, before anything is written."""
    title = maybe_text(title, "title")
    return {
        "title": title,
        "title_source": None if title is None else "user",
        "parent": id_of(parent),
        "kind": maybe_text(kind, "kind"),
        "metadata": json_object(metadata, "metadata"),
        "labels": list(text_set(labels, "labels")),
    }


def id_of(session: Session | str | None) -> str | None:
    """The id that stands for a session or is one."""
    if session is None:
        return None
    return session.id if isinstance(session, Session) else check_id(session)


def required_id(session: Session | str) -> str:
    """The same where None is not allowed."""
    return session.id if isinstance(session, Session) else check_id(session)


def new_or_checked_id(session_id: str | None) -> str:
    """A new id, or the caller's if it is one."""
    return clock.new_id() if session_id is None else check_id(session_id)
