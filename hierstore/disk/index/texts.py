"""What search goes by: a row for each message, its words in FTS5, and which session shows which messages.

A message has one row, however many forks show it: under the log that it was written in (its nonce) and its number there.
A row stays as long as that log has the message, or some session shows it. What a session shows are runs of such numbers.

FTS5 keeps no text here, and wants it back to take a row out, so that the numbers it ranks by stay those of the rows that
there are, as they would be after a rebuild. For that the text is kept, packed, some messages together: a log may have
been compacted or purged since.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence

from hierstore.disk.index.digests import Row, Run, Text, Texts, message_digest, text_of_message
from hierstore.words import normal

TITLE_SEQ = 0
"""The number under which a title stands; messages have theirs from 1."""

_CHUNK_MESSAGES = 64


class Writer:
    """Writes texts in one transaction.

    Args:
        sql: the index, in a transaction.
    """

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        self._next = sql.execute("SELECT coalesce(max(key), 0) + 1 FROM message").fetchone()[0]
        self._roles: dict[str, int] = {}

    def put(self, row: Row, texts: Texts, title_before: str | None) -> None:
        """Take in what a digest says of a log; its row has been written."""
        source = self._source(row.nonce)
        touched = {source}
        if texts.is_whole:
            touched |= self._hide(row.key)
            self._replace_own(source, texts.own, TITLE_SEQ)
            for nonce, messages in texts.inherited.items():
                other = self._source(nonce)
                known = {seq for (seq,) in self._sql.execute("SELECT seq FROM message WHERE source = ?", (other,))}
                self._add(other, [text_of_message(m) for m in messages if m.seq not in known], own=False)
        else:
            if texts.is_emptied:
                self._sql.execute("DELETE FROM span WHERE log = ? AND lo <> ?", (row.key, TITLE_SEQ))
            if texts.own:
                # A fork that was read first may have brought some of them already.
                self._replace_own(source, texts.own, texts.own[0].seq - 1)
        self._show(row.key, texts.shown)
        self._put_title(source, row, title_before, is_new=texts.is_whole)
        if texts.is_whole:
            self._drop_left(touched)

    def _source(self, nonce: str) -> int:
        found = self._sql.execute("SELECT key FROM source WHERE nonce = ?", (nonce,)).fetchone()
        if found is None:
            return self._sql.execute("INSERT INTO source (nonce) VALUES (?)", (nonce,)).lastrowid or 0
        key: int = found[0]
        return key

    def _role(self, name: str) -> int:
        key = self._roles.get(name)
        if key is None:
            self._sql.execute("INSERT OR IGNORE INTO role (name) VALUES (?)", (name,))
            key = self._roles[name] = self._sql.execute("SELECT key FROM role WHERE name = ?", (name,)).fetchone()[0]
        return key

    def forget(self) -> None:
        """Forget what was written since a transaction was taken back to."""
        self._roles.clear()

    # Rows

    def _add(self, source: int, texts: Sequence[Text], *, own: bool) -> None:
        for start in range(0, len(texts), _CHUNK_MESSAGES):
            part = texts[start : start + _CHUNK_MESSAGES]
            chunk = self._pack({text.seq: text.text for text in part})
            first, self._next = self._next, self._next + len(part)
            self._sql.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (key, source, text.seq, own, self._role(text.role), text.at, text.digest, chunk)
                    for key, text in enumerate(part, first)
                ],
            )
            self._sql.executemany(
                "INSERT INTO text (rowid, body) VALUES (?, ?)",
                [(key, normal(text.text)) for key, text in enumerate(part, first)],
            )

    def _pack(self, texts: dict[int, str]) -> int:
        return self._sql.execute("INSERT INTO chunk (body) VALUES (?)", (_packed(texts),)).lastrowid or 0

    def _replace_own(self, source: int, texts: Sequence[Text], after: int) -> None:
        """Let the rows of a log's own messages be these, after a seq; any others are left for ``_drop_left``."""
        rows = self._sql.execute(
            "SELECT seq, key, at, digest, own FROM message WHERE source = ? AND seq > ?", (source, after)
        )
        known = {seq: (key, (at, digest), own) for seq, key, at, digest, own in rows}
        missing: list[Text] = []
        changed: list[int] = []
        for text in texts:
            found = known.pop(text.seq, None)
            if found is not None and found[1] != (text.at, text.digest):
                # A commit that was taken back when its write failed, and another one under its number.
                changed.append(found[0])
                found = None
            if found is None:
                missing.append(text)
            elif not found[2]:
                self._sql.execute("UPDATE message SET own = 1 WHERE key = ?", (found[0],))
        self._delete(changed)
        self._add(source, missing, own=True)
        left = [(key,) for key, _, own in known.values() if own]
        self._sql.executemany("UPDATE message SET own = 0 WHERE key = ?", left)

    def _put_title(self, source: int, row: Row, before: str | None, *, is_new: bool) -> None:
        title = row.info.title
        found = self._sql.execute(
            "SELECT key FROM message WHERE source = ? AND seq = ?", (source, TITLE_SEQ)
        ).fetchone()
        # All anew also where everything is: the log may have been elsewhere, and had another title, when it was last seen.
        if found is not None and (is_new or title != before):
            self._delete([found[0]])
            found = None
        if title is None:
            return
        if found is None:
            digest = message_digest(row.info.id, title)
            self._add(source, [Text(TITLE_SEQ, row.info.created_at, digest, "", title)], own=True)
        if is_new or found is None:
            self._sql.execute("INSERT OR IGNORE INTO span VALUES (?, 0, 0, ?)", (source, row.key))

    # What is shown

    def _hide(self, log: int) -> set[int]:
        """Let a session show nothing; the sources of what it showed."""
        sources = {source for (source,) in self._sql.execute("SELECT DISTINCT source FROM span WHERE log = ?", (log,))}
        self._sql.execute("DELETE FROM span WHERE log = ?", (log,))
        return sources

    def _show(self, log: int, runs: Iterable[Run]) -> None:
        for run in runs:
            source = self._source(run.nonce)
            lo = run.lo
            before = self._sql.execute(
                "SELECT lo FROM span WHERE log = ? AND source = ? AND hi = ? AND lo <> ?",
                (log, source, run.lo - 1, TITLE_SEQ),
            ).fetchone()
            if before is not None:
                lo = before[0]
                self._sql.execute("DELETE FROM span WHERE log = ? AND source = ? AND lo = ?", (log, source, lo))
            self._sql.execute("INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?)", (source, lo, run.hi, log))

    # Removing

    def drop_gone(self) -> bool:
        """Remove the texts of logs that are gone; whether there were any."""
        rows = self._sql.execute("SELECT log, nonce FROM gone").fetchall()
        touched: set[int] = set()
        for log, nonce in rows:
            touched |= self._hide(log)
            source = self._source(nonce)
            touched.add(source)
            # The log may only have moved, to the trash or back.
            if not self._sql.execute("SELECT 1 FROM log WHERE nonce = ? AND text_end > 0", (nonce,)).fetchone():
                self._sql.execute("UPDATE message SET own = 0 WHERE source = ? AND own", (source,))
        self._drop_left(touched)
        self._sql.execute("DELETE FROM gone")
        return bool(rows)

    def _drop_left(self, sources: Iterable[int]) -> None:
        """Remove the rows that no log has and no session shows."""
        for source in sources:
            left = self._sql.execute(
                "SELECT m.key FROM message m WHERE m.source = ? AND NOT m.own AND NOT EXISTS"
                " (SELECT 1 FROM span s WHERE s.source = m.source AND s.lo <= m.seq AND s.hi >= m.seq)",
                (source,),
            ).fetchall()
            self._delete([key for (key,) in left])
            if not self._sql.execute("SELECT 1 FROM message WHERE source = ? LIMIT 1", (source,)).fetchone():
                self._sql.execute("DELETE FROM source WHERE key = ?", (source,))

    def _delete(self, keys: Sequence[int]) -> None:
        by_chunk: dict[int, list[tuple[int, int]]] = {}
        for key in keys:
            seq, chunk = self._sql.execute("SELECT seq, chunk FROM message WHERE key = ?", (key,)).fetchone()
            by_chunk.setdefault(chunk, []).append((key, seq))
        for chunk, rows in by_chunk.items():
            (body,) = self._sql.execute("SELECT body FROM chunk WHERE key = ?", (chunk,)).fetchone()
            texts = _unpacked(body)
            self._sql.executemany(
                "INSERT INTO text (text, rowid, body) VALUES ('delete', ?, ?)",
                [(key, normal(texts.pop(seq))) for key, seq in rows],
            )
            self._sql.executemany("DELETE FROM message WHERE key = ?", [(key,) for key, _ in rows])
            if texts:
                self._sql.execute("UPDATE chunk SET body = ? WHERE key = ?", (_packed(texts), chunk))
            else:
                self._sql.execute("DELETE FROM chunk WHERE key = ?", (chunk,))


def _packed(texts: dict[int, str]) -> bytes:
    return zlib.compress(json.dumps(texts, ensure_ascii=False).encode(), 1)


def _unpacked(body: bytes) -> dict[int, str]:
    return {int(seq): text for seq, text in json.loads(zlib.decompress(body)).items()}
