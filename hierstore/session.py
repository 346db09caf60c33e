"""Session: a light handle on one conversation. Each method is a few lines over the capability it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from hierstore import clock, snapshots, tree
from hierstore.drafts import draft, draft_of
from hierstore.errors import InvalidRecord, RevisionConflict
from hierstore.history import Messages
from hierstore.log.events import event
from hierstore.log.state import State, merged
from hierstore.model import Message, SessionInfo, Snapshot
from hierstore.naming import check_id
from hierstore.snapshots import PastSession, Target
from hierstore.turns import Turn
from hierstore.values import json_object, maybe_text, text_set

if TYPE_CHECKING:
    from hierstore.disk.cache import Entry
    from hierstore.disk.engine import Engine


class Session:
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

    # Reading

    @property
    def id(self) -> str:
        """The session's id."""
        return self._entry.id

    @property
    def messages(self) -> Messages:
        """The history as of now: an immutable sequence that later writes do not change."""
        return self._engine.read(self._entry).messages

    @property
    def info(self) -> SessionInfo:
        """The session's facts at one revision."""
        return self._engine.read(self._entry).info

    @property
    def revision(self) -> int:
        """The number of the last commit; a new session is at 1."""
        return self._engine.read(self._entry).revision

    @property
    def title(self) -> str | None:
        """The title."""
        return self._engine.read(self._entry).facts.title

    @property
    def parent_id(self) -> str | None:
        """The id of the session it hangs below."""
        return self._engine.read(self._entry).facts.parent_id

    @property
    def kind(self) -> str | None:
        """Why it exists, as its creator said."""
        return self._engine.read(self._entry).facts.kind

    @property
    def metadata(self) -> dict[str, Any]:
        """The app's own facts; a fresh copy."""
        return self.info.metadata

    @property
    def derived(self) -> dict[str, Any]:
        """What the app computed from the history (a summary, a mark); a fresh copy. Reset and revert clear it."""
        return self.info.derived

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order given."""
        return self._engine.read(self._entry).facts.labels

    @property
    def pinned(self) -> bool:
        """Whether it is pinned."""
        return self._engine.read(self._entry).facts.pinned

    @property
    def archived(self) -> bool:
        """Whether it is archived."""
        return self._engine.read(self._entry).facts.archived

    @property
    def suspended(self) -> bool:
        """Whether it is suspended."""
        return self._engine.read(self._entry).facts.suspended

    @property
    def created_at(self) -> float:
        """When it was made, Unix seconds."""
        return self._engine.read(self._entry).facts.created_at

    @property
    def updated_at(self) -> float:
        """When its history last changed, Unix seconds; titles, labels and the like do not move it."""
        return self._engine.read(self._entry).updated_at

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
                f"Session {self.id!r} is at revision {revision}, not {expected_revision}.",
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
        if source not in ("user", "auto"):
            raise InvalidRecord(f"A title's source is 'user' or 'auto', not {source!r}.", where="source")
        title = maybe_text(title, "title")
        wanted = (title, None if title is None else source)

        def decide(state: State) -> list[dict[str, Any]]:
            facts = state.facts
            if (facts.title, facts.title_source) == wanted or (source == "auto" and facts.title_source == "user"):
                return []
            return [event("title", title=title, source=wanted[1])]

        self._engine.commit(self._entry, decide)

    def update(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        labels: Iterable[str] | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
        suspended: bool | None = None,
        derived: Mapping[str, Any] | None = None,
    ) -> None:
        """Change facts in one commit; what is None stays as it is, and no change is no commit.

        Args:
            metadata: laid over the present one key by key; a None value removes its key.
            labels: replaces the labels.
            pinned: keep it, however old.
            archived: out of sight in listings.
            suspended: interrupted, and waiting to be resumed.
            derived: facts computed from the history; merged as metadata is, and cleared by reset and revert.
        """
        change: dict[str, Any] = {}
        for name, flag in (("pinned", pinned), ("archived", archived), ("suspended", suspended)):
            if flag is not None:
                if not isinstance(flag, bool):
                    raise InvalidRecord(f"{name} is True or False, not {flag!r}.", where=name)
                change[name] = flag
        if labels is not None:
            change["labels"] = list(text_set(labels, "labels"))
        if metadata is not None:
            change["metadata"] = json_object(metadata, "metadata")
        if derived is not None:
            change["derived"] = json_object(derived, "derived")
        self._engine.commit(self._entry, lambda state: [event("updated", **change)] if _changes(state, change) else [])

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

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The snapshots, the oldest first."""
        return self._engine.read(self._entry).facts.snapshots

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
        number, count = snapshots.resolve(self._engine.read(self._entry), revision)
        return PastSession(self._engine.read_at(self._entry, number), count)

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


def _changes(state: State, change: Mapping[str, Any]) -> bool:
    """Whether an update would change anything."""
    facts = state.facts
    return (
        any(name in change and change[name] != getattr(facts, name) for name in ("pinned", "archived", "suspended"))
        or ("labels" in change and tuple(change["labels"]) != facts.labels)
        or ("metadata" in change and merged(facts.metadata_json, change["metadata"]) != facts.metadata_json)
        or ("derived" in change and merged(facts.derived_json, change["derived"]) != facts.derived_json)
    )


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


def new_or_checked_id(session_id: str | None) -> str:
    """A new id, or the caller's if it is one."""
    return clock.new_id() if session_id is None else check_id(session_id)
