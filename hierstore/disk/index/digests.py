"""From a log's bytes to what the index keeps of it. Reads files and folds them; knows nothing of SQLite.

What the index has of a log is a state: facts, and how many messages. The lines that came since are folded on it by the
same function that folds any log, over a history whose messages are not there and not asked for. Lines that lead back to
them (a revert, a compaction) have the log read whole.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from hierstore.disk import files, logfile
from hierstore.disk.index.stamps import TRASH, UNTRUSTED, Stamp
from hierstore.errors import CorruptLog, FormatTooNew, SessionNotFound, UnreadableLog
from hierstore.history import History
from hierstore.log import frame
from hierstore.log.events import parse
from hierstore.log.facts import Facts
from hierstore.log.state import State, fold
from hierstore.model import Message, SessionInfo
from hierstore.naming import file_name, stripe_of
from hierstore.values import loads
from hierstore.words import preview, text_of

_LEADS_BACK = frozenset(["created", "past", "reverted", "unreverted", "compacted"])
_EVENTS_LINE = b"\n" + frame.EVENTS_START
_BLOCK_BYTES = 4 * 2**20
_BAD = (CorruptLog, UnreadableLog, FormatTooNew, OSError)


class Text(NamedTuple):
    """A message as search takes it."""

    seq: int
    at: float
    digest: int
    role: str
    text: str


class Run(NamedTuple):
    """Messages that a session shows: those of one log from one number to another."""

    nonce: str
    lo: int
    hi: int


@dataclass(slots=True)
class Watermark:
    """How far a log has been read.

    Attributes:
        end: where its valid lines ended.
        chain: the chain value there.
        revision: the number of the last commit.
    """

    end: int = 0
    chain: int = 0
    revision: int = 0


@dataclass(slots=True)
class Row:
    """What the index has of a log.

    Attributes:
        path: below ``sessions/``, or ``trash/…``.
        nonce: from its header.
        info: the session's facts, with a preview.
        read: how far the facts go.
        seq: the number of the last message ever stored.
        seen: the stamp of a file whose end could not be trusted, as text; empty where it could.
        text: how far its text goes.
        text_title: the title as its text has it.
        key: the index's number for it; 0 for none.
    """

    path: str
    nonce: str
    info: SessionInfo
    read: Watermark
    seq: int
    seen: str = ""
    text: Watermark = field(default_factory=Watermark)
    text_title: str | None = None
    key: int = 0

    @property
    def is_trashed(self) -> bool:
        """Whether it lies in the trash."""
        return self.path.startswith(TRASH)


@dataclass(slots=True)
class Texts:
    """What search needs of a log.

    Attributes:
        is_whole: whether this is everything, or what comes on top.
        own: messages that stand in the log itself.
        is_emptied: on top only: whether the history was emptied first.
        shown: what the session shows; on top, what is new of it.
        inherited: whole only: for the logs of the time before, by nonce, the messages that the session shows of them.
    """

    is_whole: bool
    own: list[Text]
    is_emptied: bool = False
    shown: list[Run] = field(default_factory=list)
    inherited: dict[str, list[Message]] = field(default_factory=dict)


class Digest(NamedTuple):
    """What a look at a log gave.

    Attributes:
        stamp: of the file as read; UNTRUSTED where its end may still change under an equal stamp; None: no log.
        row: None when there is no session in it.
        texts: None when they were not asked for, or are as they were.
    """

    stamp: Stamp | None
    row: Row | None
    texts: Texts | None


Pasts = dict[tuple[int, ...], History]


def digest(path: bytes, name: str, base: Row | None, pasts: Pasts, *, with_text: bool) -> Digest:
    """Read what is new of a log, without its lock: what is committed never changes, and its end is judged.

    Args:
        path: the log.
        name: how the index calls it.
        base: what the index has of it.
        pasts: histories of the time before forks, shared between calls.
        with_text: whether search needs it.
    """
    try:
        fd = files.open_regular(path, files.READ)
    except (FileNotFoundError, NotADirectoryError):
        return Digest(None, None, None)
    except OSError:
        return Digest(UNTRUSTED, None, None)
    try:
        # Before the bytes: a file that grows in between is larger than its stamp says, and read again.
        found = files.fstat(fd)
        if base is not None:
            more = _continued(fd, found, base, with_text=with_text)
            if more is not None:
                return more
        data = files.read(fd, found.st_size, 0)
    except OSError:
        return Digest(UNTRUSTED, None, None)
    finally:
        files.close(fd)
    return _whole(data, found, path, name, base, pasts, with_text=with_text)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


# What is new


def _continued(fd: int, found: os.stat_result, base: Row, *, with_text: bool) -> Digest | None:
    """The digest of lines that follow on what is known; None when the log must be read whole."""
    start = base.text if with_text else base.read
    if not 0 < start.end <= base.read.end <= found.st_size:
        return None
    data = files.read(fd, found.st_size - start.end, start.end)
    if not data:
        # Nothing is new and yet the stamp is another: no line tells whether it is still the same log.
        return None
    cut = base.read.end - start.end
    if cut:
        known = frame.scan(data[:cut], start.chain, start.revision)
        if known != (cut, base.read.chain, base.read.revision):
            return None
    tail = data[cut:]
    scan = frame.scan(tail, base.read.chain, base.read.revision)
    if scan.end != len(tail):
        # The end may be a write in progress, or another file's bytes. If the file is what it was when all of it was
        # read, and nothing is valid behind that, it still says the same.
        same = scan.end == 0 and base.seen == repr(_stamp(found)) and not cut
        return Digest(UNTRUSTED, base, None) if same else None
    if base.seen or _leads_back(data):
        return None
    try:
        row = _folded(base, tail, scan)
        texts = _added(data, base.nonce) if with_text else None
    except logfile.NO_COMMIT:
        return None
    if texts is not None:
        row = replace(row, text=replace(row.read), text_title=row.info.title)
    return Digest(_stamp(found), row, texts)


def _leads_back(lines: bytes) -> bool:
    return any(
        event.get("type") in _LEADS_BACK for commit in _event_commits(lines) for event in commit.get("events", ())
    )


def _event_commits(lines: bytes) -> Iterator[dict[str, Any]]:
    """The commits of a log's lines that are not a single message each."""
    start = 0
    while start < len(lines):
        if lines.startswith(frame.EVENTS_START, start):
            end = lines.index(b"\n", start) + 1
            yield parse(lines[start:end])
            start = end
        else:
            start = lines.find(_EVENTS_LINE, start) + 1 or len(lines)


def _folded(base: Row, tail: bytes, scan: frame.Scan) -> Row:
    """What the index has of a log after more lines."""
    info = base.info
    facts = Facts(
        id=info.id,
        parent_id=info.parent_id,
        kind=info.kind,
        title=info.title,
        title_source=info.title_source,
        metadata_json=info.metadata_json,
        derived_json=info.derived_json,
        labels=info.labels,
        pinned=info.pinned,
        archived=info.archived,
        suspended=info.suspended,
        created_at=info.created_at,
    )
    # So many messages, and none of them there: nothing in the lines asks for them.
    history = History().shared(info.message_count)
    facts = facts._replace(epochs=((1, history),))
    counts = array("Q", bytes(8 * info.revision))
    state = State(facts, info.revision, history, info.message_count, counts, base.seq, info.updated_at)
    after = fold(state, tail)
    is_new = after.count > info.message_count or after.history is not history
    shown = _preview(after) if is_new else info.preview
    read = Watermark(base.read.end + scan.end, scan.chain, scan.seq)
    return replace(base, info=replace(after.info, preview=shown), read=read, seq=after.seq)


def _preview(state: State) -> str | None:
    if not state.count:
        return None
    message = state.history.message(state.count - 1)
    return preview(text_of(message.content, message.fields))


def _added(lines: bytes, nonce: str) -> Texts:
    """The texts of lines that lead nowhere back."""
    texts = Texts(is_whole=False, own=[])
    seqs: list[int] = []
    for commit in _commits(lines):
        for record in _messages_of(commit):
            if record is None:
                texts.is_emptied = True
                seqs.clear()
            else:
                texts.own.append(_text(record))
                seqs.append(record["seq"])
    texts.shown = list(_runs((nonce, seq) for seq in seqs))
    return texts


def _commits(lines: bytes) -> Iterator[dict[str, Any]]:
    """The commits of some lines, decoded by the block."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", min(start + _BLOCK_BYTES, len(lines) - 1)) + 1
        yield from loads(b"[" + lines[start : end - 1].replace(b"\n", b",") + b"]")
        start = end


def _messages_of(commit: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """The messages of a commit; None stands for a reset."""
    if "message" in commit:
        yield commit["message"]
        return
    for event in commit.get("events", ()):
        kind = event.get("type")
        if kind == "message":
            yield event
        elif kind == "reset":
            yield None


def _text(record: dict[str, Any]) -> Text:
    text = text_of(record["content"], record.get("fields"))
    return Text(record["seq"], record["at"], message_digest(record["id"], text), record["role"], text)


def text_of_message(message: Message) -> Text:
    """The same of a message."""
    text = text_of(message.content, message.fields)
    return Text(message.seq, message.at, message_digest(message.id, text), message.role, text)


def message_digest(message_id: str, text: str) -> int:
    """A number that tells messages apart, but not the copies of one; SQLite's integers have 63 bits and a sign."""
    data = f"{message_id}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def _runs(places: Iterable[tuple[str, int]]) -> Iterator[Run]:
    """Runs of consecutive numbers in one log."""
    run: Run | None = None
    for nonce, seq in places:
        if run is not None and run.nonce == nonce and run.hi + 1 == seq:
            run = Run(nonce, run.lo, seq)
        else:
            if run is not None:
                yield run
            run = Run(nonce, seq, seq)
    if run is not None:
        yield run


# All of it


def _whole(
    data: bytes, found: os.stat_result, path: bytes, name: str, base: Row | None, pasts: Pasts, *, with_text: bool
) -> Digest:
    session_id = logfile.read_first(data).get("session")
    if not isinstance(session_id, str) or not _is_named(name, session_id):
        return Digest(UNTRUSTED, None, None)
    try:
        parsed = logfile.parse_log(data, session_id, path, known=pasts)
    except (SessionNotFound, *_BAD):
        # Not trusted: what is missing for it may come back, and its own stamp would not tell.
        return Digest(UNTRUSTED, None, None)
    state = parsed.state
    is_whole = parsed.end == len(data) == found.st_size and parsed.fault is None and found.st_mtime_ns > parsed.floor_ns
    stamp = _stamp(found) if is_whole else UNTRUSTED
    info = replace(state.info, preview=_preview(state))
    row = Row(name, parsed.nonce, info, Watermark(parsed.end, parsed.chain, state.revision), state.seq)
    if not is_whole:
        row.seen = repr(_stamp(found)) if parsed.fault is None else "fault"
    if base is not None and base.nonce == row.nonce:
        row.key, row.text, row.text_title = base.key, base.text, base.text_title
    if not with_text:
        return Digest(stamp, row, None)
    try:
        texts = _all_texts(data[: parsed.end], parsed, path, pasts)
    except (*_BAD, *logfile.NO_COMMIT):
        # A fork whose past cannot be read: it is listed, and shows what is left of it.
        texts = Texts(is_whole=True, own=[])
    row.text, row.text_title = replace(row.read), info.title
    return Digest(stamp, row, texts)


def _is_named(name: str, session_id: str) -> bool:
    """Whether a log lies where the session's log would."""
    folder, _, file = name.partition("/")
    wanted = f"{file_name(session_id)}.jsonl"
    return (
        file.endswith(f".{wanted}") if folder == TRASH else (folder, file) == (f"{stripe_of(session_id):02x}", wanted)
    )


def _all_texts(lines: bytes, parsed: logfile.Parsed, path: bytes, pasts: Pasts) -> Texts:
    start = lines.index(b"\n") + 1
    own = [_text(record) for commit in _commits(lines[start:]) for record in _messages_of(commit) if record is not None]
    texts = Texts(is_whole=True, own=own)
    state = parsed.state
    logs = logfile.lineage(state.facts.past, state.facts.id, path, pasts)
    owners: list[tuple[str, int]] = []
    for message in state.messages:
        # A log goes on from the number of the last message that it inherited.
        before = next((nonce for nonce, base in reversed(logs.before) if base < message.seq), None)
        is_own = message.seq > logs.own_base or before is None
        owners.append((parsed.nonce if is_own else before or "", message.seq))
        if not is_own and before is not None:
            texts.inherited.setdefault(before, []).append(message)
    texts.shown = list(_runs(owners))
    return texts
