"""The page: its head, the table of its sessions, and each session with its messages.

It is made piece by piece, so that a session of any length is written without being in memory as HTML. What one session
inherits from another on the page is shown once, there.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import takewhile
from typing import TYPE_CHECKING

from hierstore import __version__
from hierstore.cli.html import parts
from hierstore.cli.html.messages import Messages
from hierstore.cli.html.prose import moment, plain_word, word
from hierstore.cli.text import count, one_line
from hierstore.errors import CorruptLog, SessionNotFound, UnreadableLog

if TYPE_CHECKING:
    from hierstore import Session, SessionInfo, SessionStore, TreeNode

_TITLE_CHARS = 200
_DEEPEST = 12
"""Lists in the table of sessions are nested so deep and no deeper: browsers give up on hundreds of levels."""


@dataclass(slots=True)
class _Place:
    """A session's place on the page.

    Attributes:
        node: the session, as of the walk.
        number: from 1.
        above: the place of its parent, if that is on the page.
        depth: how many are above it.
        below: the places of its children.
        inherited: how many of its messages are shown at the one above; known once it is drawn.
    """

    node: TreeNode
    number: int
    above: _Place | None
    depth: int
    below: list[_Place] = field(default_factory=list)
    inherited: int = 0

    @property
    def anchor(self) -> str:
        return f"s{self.number}"

    @property
    def name(self) -> str:
        """HTML."""
        return word(_named(self.node), _TITLE_CHARS)


def _named(node: TreeNode) -> str:
    title = node.title
    return title if title and title.strip() else node.id


def page(
    store: SessionStore, roots: Sequence[TreeNode], made_s: float, seen: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """The page's HTML, piece by piece.

    Args:
        store: where the sessions are.
        roots: what is shown, with what hangs below.
        made_s: when the page is made, Unix seconds.
        seen: called after each message.

    Raises:
        SessionNotFound, CorruptLog, UnreadableLog: one of the roots cannot be read. A session below it that cannot be
            read is said to be so on the page.
    """
    places = _places(roots)
    title = _named(roots[0]) if len(roots) == 1 else count(len(roots), "session")
    yield from _head(one_line(title, _TITLE_CHARS))
    skip = "sessions" if len(places) > 1 else "messages"
    yield f'<body>\n<a class="skip" href="#main">Skip to the {skip}</a>\n'
    yield f'<header class="top"><h1>{word(title, _TITLE_CHARS)}</h1>\n<p>{_totals(places)}</p></header>\n'
    if len(places) > 1:
        yield from _contents(places)
    yield '<main id="main">\n'
    for place in places:
        yield from _Drawing(store, place, is_alone=len(places) == 1).draw(seen)
    yield f"</main>\n<footer><p>Made by hierstore {__version__}, {moment(made_s)}.</p></footer>\n</body>\n</html>\n"


def _places(roots: Sequence[TreeNode]) -> list[_Place]:
    """All sessions, parents before their children; without recursion, as a hierarchy may be deeper than Python's stack."""
    places: list[_Place] = []
    stack: list[tuple[TreeNode, _Place | None]] = [(node, None) for node in reversed(roots)]
    while stack:
        node, above = stack.pop()
        place = _Place(node, len(places) + 1, above, 0 if above is None else above.depth + 1)
        places.append(place)
        if above is not None:
            above.below.append(place)
        stack.extend((child, place) for child in reversed(node.children))
    return places


def _totals(places: Sequence[_Place]) -> str:
    messages = count(sum(place.node.message_count for place in places), "message")
    return messages if len(places) == 1 else f"{count(len(places), 'session')}, {messages}"


def _head(title: str) -> Iterator[str]:
    style = files("hierstore.cli.html").joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # Nothing is loaded and nothing runs: not even if content became markup. The style is ours by its hash.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
    yield f"<title>{plain_word(title, _TITLE_CHARS)}</title>\n<style>{style}</style>\n</head>\n"


def _contents(places: Sequence[_Place]) -> Iterator[str]:
    yield '<nav aria-labelledby="contents"><h2 id="contents">Sessions</h2>\n<ol>\n'
    level = 0
    for number, place in enumerate(places):
        depth = min(place.depth, _DEEPEST)
        if number:
            yield "<ol>\n" * (depth - level) or "</li>\n" + "</ol></li>\n" * (level - depth)
        level = depth
        node = place.node
        facts = [word(node.kind, 40)] if node.kind else []
        facts.append("cannot be read" if node.error is not None else count(node.message_count, "message"))
        yield f'<li><a href="#{place.anchor}">{place.name}</a> <span class="facts">{", ".join(facts)}</span>'
    yield "</li>\n" + "</ol></li>\n" * level + "</ol></nav>\n"


class _Drawing:
    """One session of the page."""

    def __init__(self, store: SessionStore, place: _Place, *, is_alone: bool) -> None:
        self._store = store
        self._place = place
        self._is_alone = is_alone

    def draw(self, seen: Callable[[], object]) -> Iterator[str]:
        place = self._place
        named = "Messages" if self._is_alone else place.name
        kind = "session alone" if self._is_alone else "session"
        yield f'<section class="{kind}" id="{place.anchor}">\n<h2>{named}</h2>\n'
        try:
            session = self._store.get(place.node.id)
            yield from self._facts(session, session.info)
            yield from self._messages(session, seen)
        except (SessionNotFound, CorruptLog, UnreadableLog) as error:
            if place.above is None:
                raise
            yield f'<p class="note">{word(str(error))}</p>\n'
        yield "</section>\n"

    def _facts(self, session: Session, info: SessionInfo) -> Iterator[str]:
        """What there is to say of the session, but for what a share does not show either."""
        from hierstore.shared import public

        place = self._place
        flags = [name for name in ("pinned", "archived", "suspended") if getattr(info, name)]
        snapshots = [
            f"{word(snapshot.label or snapshot.id, 80)}, {moment(snapshot.created_at)}"
            for snapshot in session.snapshots
        ]
        rows = {
            "Id": f"<code>{word(info.id)}</code>",
            "Kind": word(info.kind, 80) if info.kind else "",
            "Parent": _linked([place.above]) if place.above is not None else "",
            "Children": _linked(place.below),
            "Labels": " ".join(f'<span class="label">{word(label, 80)}</span>' for label in info.labels),
            "Flags": ", ".join(flags),
            "Snapshots": "<br>".join(snapshots),
            "Begun": moment(info.created_at),
            "Changed": moment(info.updated_at),
        }
        yield '<dl class="session-facts">'
        yield "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows.items() if value)
        yield "</dl>\n"
        if metadata := public(info.metadata):
            yield parts.other("Metadata", metadata) + "\n"

    def _messages(self, session: Session, seen: Callable[[], object]) -> Iterator[str]:
        place, messages = self._place, session.messages
        if place.above is not None:
            place.inherited = yield from self._inherited(session, place.above)
        drawing = Messages(place.anchor)
        if not messages:
            yield '<p class="note">No messages.</p>\n'
        for number, message in enumerate(messages):
            if number >= place.inherited:
                yield from drawing.draw(message)
            seen()

    def _inherited(self, session: Session, above: _Place) -> Generator[str, None, int]:
        """Say which messages are those of the session above, and return how many."""
        try:
            theirs = self._store.get(above.node.id).messages
        except (SessionNotFound, CorruptLog, UnreadableLog):
            return 0
        shared = list(takewhile(lambda pair: pair[0].id == pair[1].id, zip(session.messages, theirs, strict=False)))
        if not shared:
            return 0
        owner = above
        while owner.above is not None and owner.inherited >= len(shared):
            owner = owner.above
        begins = "The first message is that" if len(shared) == 1 else f"The first {len(shared):,} messages are those"
        last = f'<a href="#{owner.anchor}-m{shared[-1][1].seq}">up to #{shared[-1][1].seq}</a>'
        yield f'<p class="note">{begins} of <a href="#{above.anchor}">{above.name}</a>, {last}.</p>\n'
        return len(shared)


def _linked(places: Sequence[_Place]) -> str:
    shown = [f'<a href="#{place.anchor}">{place.name}</a>' for place in places[:20]]
    more = [f"{len(places) - 20:,} more"] if len(places) > 20 else []
    return ", ".join([*shown, *more])
