"""Looking: listings, search, and counts. The third part of SessionStore's methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from hierstore.session import Session, id_of, required_id

if TYPE_CHECKING:
    from types import EllipsisType

    from hierstore.disk.engine import Engine
    from hierstore.disk.index.index import Index
    from hierstore.model import SessionInfo
    from hierstore.pages import Page, SearchHit
    from hierstore.reports import DiskUsage, SessionSize, StoreStatistics

# What needs SQLite is imported where it is called: a program that never lists should not pay for it at its start.


class Looking:
    """Pages of sessions, and of messages that hold some words; what there is of all, in numbers."""

    _engine: Engine
    _index: Index | None = None

    def sessions(
        self,
        *,
        parent: Session | str | EllipsisType | None = ...,
        roots: bool = False,
        label: str | Iterable[str] | None = None,
        kind: str | None = None,
        pinned: bool | None = None,
        suspended: bool | None = None,
        archived: bool | None = False,
        order: Literal["updated", "created", "title"] = "updated",
        limit: int = 50,
        after: str | None = None,
    ) -> Page[SessionInfo]:
        """The sessions' facts, page by page.

        A listing shows every change that was finished before it began, by whatever process. A walk from page to page
        goes by the places that the sessions had when it began: while others write, it shows each of those once, with
        its facts of now, as long as it is still what was asked for. (If the index is lost meanwhile, by the places of
        now: then a session that was written to may be passed over.)

        Sessions that cannot be read are not shown; ``check`` tells of them.

        Args:
            parent: only its children; None: only sessions without a parent, as with ``roots``.
            roots: only sessions without a parent.
            label: only those with this label, or with all of these, 100 at most.
            kind: only those that were made for this reason.
            pinned: only those that are, or are not; None: both. The same with the next two.
            suspended: see ``pinned``.
            archived: see ``pinned``; archived ones are left out unless asked for.
            order: the latest ``"updated"`` or ``"created"`` first, or by ``"title"``, capitals or not, those without one
                last.
            limit: how many on a page, 1 to 10,000.
            after: ``Page.next`` of the page before, of the same question.

        Returns:
            The page. Each of its infos has a preview of the last message.

        Raises:
            InvalidRecord: an argument is not what it should be.
        """
        from hierstore import listing
        from hierstore.disk.index.listing import Filter
        from hierstore.values import maybe_text

        wanted = Filter(
            parent=None if isinstance(parent, type(...)) else id_of(parent),
            roots=roots or parent is None,
            labels=listing.labels_of(label),
            kind=maybe_text(kind, "kind"),
            pinned=listing.maybe_flag(pinned, "pinned"),
            suspended=listing.maybe_flag(suspended, "suspended"),
            archived=listing.maybe_flag(archived, "archived"),
        )
        return listing.sessions(self._opened_index(), wanted, order, limit, after)

    def search(
        self,
        query: str,
        *,
        limit: int = 20,
        after: str | None = None,
        session: Session | str | None = None,
        subtree: bool = False,
        role: str | Iterable[str] | None = None,
        operators: bool = False,
        reverted: bool = False,
        deleted: bool = False,
        context: int = 1,
    ) -> Page[SearchHit]:
        """Messages and titles that hold all words of a query, those that fit best first.

        A search finds everything that was finished before it began, by whatever process. Case and accents do not count.
        Found are text, the text in content of several parts, and the arguments of tool calls. A message that forks share
        is found once.

        Args:
            query: the words. What joins words without a space (``foo-bar``) joins them here too. It is never taken for
                anything but words, unless ``operators`` says so, and no text is refused.
            limit: how many on a page, 1 to 10,000.
            after: ``Page.next`` of the page before, of the same question. While others write, ranks change: a hit may
                then be shown twice, or passed over.
            session: only what this session shows.
            subtree: with ``session``, also what those below it show.
            role: only messages of this role, or of these; titles are then not found.
            operators: let ``"two words"`` in quotes be found side by side, ``foo*`` stand for all words that begin so,
                and ``-foo`` leave out what holds that word.
            reverted: find also what was undone by a revert or a reset, and is still in a log.
            deleted: find also what is in the trash.
            context: how many messages before and after to show, 0 to 50.

        Returns:
            The page; fewer than ``limit`` where hits were changed while they were looked at.

        Raises:
            InvalidRecord: an argument other than the query's text is not what it should be.
            LockTimeout: another process kept the index to itself for longer than ``lock_timeout_s``.
        """
        from hierstore import search

        return search.search(
            self._engine,
            self._opened_index(),
            query,
            limit=limit,
            after=after,
            session=None if session is None else required_id(session),
            subtree=subtree,
            role=role,
            operators=operators,
            reverted=reverted,
            deleted=deleted,
            context=context,
        )

    def statistics(self) -> StoreStatistics:
        """How many sessions, messages, tokens and bytes there are, by role, kind, label and day.

        Reads every session, without a lock. Sessions that cannot be read are counted as such.

        Raises:
            UnreadableLog: a folder of the store cannot be read.
        """
        from hierstore import statistics

        return statistics.statistics(self._engine)

    def disk_usage(self) -> DiskUsage:
        """How many bytes each of the store's folders has.

        Raises:
            UnreadableLog: one cannot be read.
        """
        from hierstore import sizes

        return sizes.disk_usage(self._engine)

    def sizes(self) -> tuple[SessionSize, ...]:
        """How many bytes each session has on disk, the largest first; those in the trash are not among them.

        Reads forks alone: of all others only the size of their file is asked.

        Raises:
            UnreadableLog: a folder of the store cannot be read.
        """
        from hierstore import sizes

        return sizes.sizes(self._engine)

    def reindex(self) -> int:
        """Make the index anew from the logs, whatever state it is in; other processes may go on meanwhile.

        Never needed for a right answer: an index that is damaged or gone is made anew by who asks it. It is for one that
        is taken to be wrong, and for making a large one beforehand. Of a store that is only read it is the reader's own.

        Returns:
            How many sessions it has.

        Raises:
            WriteFailed: the one that is there cannot be removed.
            LockTimeout: another process kept it to itself for longer than ``lock_timeout_s``.
        """
        from hierstore.disk import refusals

        try:
            return self._opened_index().renew()
        except OSError as error:
            raise refusals.index_unusable(error, self._engine.layout.root) from error

    def _opened_index(self) -> Index:
        """The index; made when it is first needed."""
        self._engine.check_open()
        if self._index is not None:
            return self._index
        from hierstore.disk.index.index import Index

        made = Index(
            self._engine.layout,
            timeout_s=self._engine.locks.timeout_s,
            read_only=self._engine.read_only,
            check_open=self._engine.check_open,
        )
        # Of several threads one is first. Without a lock, that a forked child would find taken.
        index: Index = self.__dict__.setdefault("_index", made)
        return index

    def _scrub_index(self) -> None:
        """Let the index, if there is one, hold nothing of what was purged."""
        from hierstore.disk.index import database

        if self._index is not None or database.has_file(self._engine.layout.root, read_only=self._engine.read_only):
            self._opened_index().scrub()

    def _close_index(self) -> None:
        index = self.__dict__.pop("_index", None)
        if index is not None:
            index.close()
