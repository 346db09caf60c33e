"""Every public call that reads, asked of a store that may be damaged: it answers, or raises an error of hierstore/errors.py."""

from __future__ import annotations

from typing import Any, NamedTuple

from hierstore import HierstoreError, Message, RevisionNotFound, SessionStore

MOST_EVENTS = 5000
"""The stores of these tests have some hundred events; a feed that tells of more goes round in circles."""
FORKS = ("fork", "twig")
"""The sessions that begin with the history of another."""
COMPACTED = ("slim",)
"""The sessions of which only the present is kept."""


class Shown(NamedTuple):
    """What a damaged store may show.

    Attributes:
        histories: of each session, what it showed at each of its revisions before; the last is all of it.
        damaged: the sessions whose files were changed: each shows what one of its revisions showed, or an error.
        anything: those among them of which a line was forged: what they show is not asked, only how.
        tokens: of each share, the token and the session.
        keys: where each route key may lead.
        is_loose: whether keys and tokens may lead nowhere, as what says where was damaged.
        is_index_damaged: whether a listing may be of another time.
        written: what was appended since, the id of one message in each of these sessions.
    """

    histories: dict[str, list[tuple[bytes, ...]]]
    damaged: set[str]
    anything: set[str]
    tokens: dict[str, str]
    keys: dict[str, set[str]]
    is_loose: bool = False
    is_index_damaged: bool = False
    written: dict[str, str] = {}  # noqa: RUF012  # never changed


def message_of(message: Message) -> bytes:
    """All of a message, to compare; its id comes first."""
    parts = [message.id, message.seq, message.role, message.content, message.at, message.metadata, message.fields]
    # Not as JSON: what is nested as deep as may be read cannot be written.
    return repr(parts).encode("utf-8", "surrogatepass")


def ask_everything(store: SessionStore, expected: Shown) -> None:
    """Ask all of it."""
    for session_id in expected.histories:
        if session_id in expected.damaged:
            try:
                _ask_session(store, session_id, expected)
            except HierstoreError:
                pass
        else:
            _ask_session(store, session_id, expected)
    _ask_store(store, expected)
    _ask_ways_in(store, expected)
    _ask_feed(store, expected)


def check_history(session_id: str, messages: Any, expected: Shown) -> None:
    """Whether a session may show these messages."""
    shown = tuple(map(message_of, messages))
    if session_id in expected.written and shown:
        shown = shown[:-1] if shown[-1].startswith(f"[{expected.written[session_id]!r}, ".encode()) else shown
    histories = expected.histories[session_id]
    if session_id in expected.anything:
        return
    if session_id not in expected.damaged:
        assert shown == histories[-1], f"{session_id!r} was not touched, and shows {shown}"
        return
    # Of a fork whose past is damaged, the beginning of what it inherited.
    is_prefix = any(shown == history[: len(shown)] for history in histories)
    assert is_prefix, f"{session_id!r} shows what it never was: {shown}"


def _ask_session(store: SessionStore, session_id: str, expected: Shown) -> None:
    session = store.get(session_id)
    info = session.info
    check_history(session_id, session.messages, expected)
    assert len(session.messages) >= 0
    _ = repr(session), repr(info), info.metadata, session.derived, info.created_at, info.updated_at
    each = (
        lambda: session.snapshots, lambda: session.children, lambda: session.ancestors, session.descendants,
        lambda: session.routes, lambda: session.shares, lambda: session.is_shared, lambda: session.refs,
        lambda: session.usage, lambda: session.turn_in_progress, lambda: session.succeeded_by,
        lambda: store.tree(session_id), lambda: store.export(session_id, subtree=False),
        lambda: list(store.export_lines(session_id)), lambda: store.search("words", session=session_id).items,
        *(lambda number=number: _ask_past(session.at(number)) for number in {1, session.revision // 2 + 1, session.revision}),
    )  # fmt: skip
    for call in each:
        try:
            call()
        except RevisionNotFound:
            assert session_id in (*COMPACTED, *expected.damaged)
        except HierstoreError:
            # What concerns more sessions than this one may meet a damaged one.
            if not expected.damaged and not expected.is_loose:
                raise


def _ask_past(past: Any) -> None:
    _ = past.info, [message_of(message) for message in past.messages], past.snapshots, past.refs, past.usage


def _ask_store(store: SessionStore, expected: Shown) -> None:
    """The calls about all sessions: none of them fails for a damaged one."""
    whole = set(expected.histories) - expected.damaged
    drawn: set[str] = set()
    nodes = list(store.tree())
    while nodes:
        node = nodes.pop()
        assert node.id not in drawn, f"the tree shows {node.id!r} twice"
        drawn.add(node.id)
        nodes.extend(node.children)
    assert drawn >= whole, f"the tree does not show {whole - drawn}"
    for order in ("updated", "created", "title"):
        listed, after = [], None
        while True:
            page = store.sessions(order=order, limit=7, after=after, archived=None)  # type: ignore[arg-type]
            listed += [info.id for info in page.items]
            _ = [(repr(info), info.preview, info.metadata) for info in page.items]
            if page.next is None:
                break
            after = page.next
        assert len(listed) < 100, "a listing goes round in circles"
        assert expected.is_index_damaged or set(listed) >= whole, f"a listing does not show {whole - set(listed)}"
    for options in ({}, {"reverted": True, "deleted": True}, {"role": "user"}, {"operators": True}):
        _ = [repr(hit) for hit in store.search("words", **options).items]  # type: ignore[arg-type]
    report = store.check()
    _ = repr(report)
    _ = store.interrupted(), store.trash(), repr(store)
    assert all(name in store for name in whole)


def _ask_ways_in(store: SessionStore, expected: Shown) -> None:
    for key, allowed in expected.keys.items():
        try:
            found = store.resolve(key)
        except HierstoreError:
            assert expected.damaged or expected.is_loose, f"{key!r} raises"
            continue
        assert found is None or found.id in allowed, f"{key!r} leads to {found!r}"
    for token, session_id in expected.tokens.items():
        try:
            shared = store.open_share(token)
            check_history(session_id, shared.messages, expected)
            _ = shared.info, shared.children, shared.role, shared.expires_at
        except HierstoreError:
            assert expected.damaged or expected.is_loose, f"the share of {session_id!r} raises"


def _ask_feed(store: SessionStore, expected: Shown) -> None:
    """From the beginning: all that untouched sessions ever held is told once, in order."""
    told: dict[str, list[bytes]] = {}
    with store.watch(after="", mode="off") as watcher:
        for number, event in enumerate(watcher):
            assert number < MOST_EVENTS, "the feed goes round in circles"
            _ = repr(event), event.data
            told.setdefault(event.session_id, []).extend(map(message_of, event.messages))
        assert isinstance(watcher.cursor, str)
    for session_id, histories in expected.histories.items():
        if session_id in expected.anything or session_id in expected.written:
            continue
        ever = {message for history in histories for message in history}
        mine = told.get(session_id, [])
        assert set(mine) <= ever, f"the feed tells of {session_id!r} what it never was"
        if session_id not in (*expected.damaged, *COMPACTED):
            inherited = histories[0] if session_id in FORKS else ()
            own = [message for message in histories[-1] if message not in inherited]
            assert [message for message in mine if message in own] == own, f"the feed of {session_id!r} is not whole"
