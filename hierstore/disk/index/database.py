"""The index's file: where it lies, how it is opened, and when it is made anew.

A file is never made again under a name that was used before: a process that still has the old one open, and closes it,
unlinks what SQLite keeps beside it (``-wal``, ``-shm``) by name. So each index that is made gets a new name, the latest
name counts, and whoever opens an index removes the earlier ones.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from unicodedata import unidata_version

from hierstore import clock
from hierstore.disk import files, mounts

VERSION = 1
# With the version of Unicode that this Python has: what is a letter in one is none in another, and words would differ.
_NAME = b"v%d-%b-" % (VERSION, unidata_version.encode())
_SUFFIX = b".sqlite"
_BESIDE = (b"", b"-wal", b"-shm", b"-journal")
_CACHE_KIB = 32 * 1024
_ATTEMPTS = 3

_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folder (name TEXT PRIMARY KEY, generation INTEGER, names BLOB, stamps BLOB);
CREATE TABLE log (
  key INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, listed INTEGER, trashed INTEGER, born INTEGER, moved INTEGER,
  id TEXT, title TEXT, title_source TEXT, parent TEXT, kind TEXT, labels TEXT, pinned INTEGER, archived INTEGER,
  suspended INTEGER, created_at REAL, updated_at REAL, revision INTEGER, count INTEGER, metadata BLOB, derived BLOB,
  preview TEXT, title_order TEXT, nonce TEXT, end INTEGER, chain INTEGER, seq INTEGER, seen TEXT,
  text_end INTEGER DEFAULT 0, text_chain INTEGER DEFAULT 0, text_revision INTEGER DEFAULT 0, text_title TEXT
);
CREATE INDEX log_updated ON log (updated_at DESC, id) WHERE listed;
CREATE INDEX log_created ON log (created_at DESC, id) WHERE listed;
CREATE INDEX log_title ON log (title_order, id) WHERE listed;
CREATE INDEX log_parent ON log (parent) WHERE listed;
CREATE INDEX log_id ON log (id);
CREATE INDEX log_nonce ON log (nonce);
CREATE INDEX log_behind ON log (key) WHERE text_end <> end;
CREATE TABLE label (name TEXT, log INTEGER, PRIMARY KEY (name, log)) WITHOUT ROWID;
CREATE INDEX label_log ON label (log);
CREATE TABLE moved (log INTEGER, generation INTEGER, updated_at REAL, created_at REAL, title_order TEXT,
  PRIMARY KEY (log, generation)) WITHOUT ROWID;
CREATE INDEX moved_generation ON moved (generation);
CREATE TABLE gone (log INTEGER PRIMARY KEY, nonce TEXT);
CREATE TABLE source (key INTEGER PRIMARY KEY, nonce TEXT UNIQUE);
CREATE TABLE role (key INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE message (key INTEGER PRIMARY KEY, source INTEGER, seq INTEGER, own INTEGER, role INTEGER, at REAL,
  digest INTEGER, chunk INTEGER);
CREATE UNIQUE INDEX message_place ON message (source, seq);
CREATE INDEX message_left ON message (source) WHERE NOT own;
CREATE TABLE span (source INTEGER, lo INTEGER, hi INTEGER, log INTEGER, PRIMARY KEY (source, lo, hi, log)) WITHOUT ROWID;
CREATE INDEX span_log ON span (log);
CREATE TABLE chunk (key INTEGER PRIMARY KEY, body BLOB);
CREATE VIRTUAL TABLE text USING fts5 (body, content='', tokenize='ascii');
INSERT INTO text (text, rank) VALUES ('hashsize', 16000000);
"""

_BUSY = frozenset([sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED])
_UNUSABLE = frozenset(
    [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PROTOCOL,
     sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH]
)  # fmt: skip

Result = TypeVar("Result")


class Unusable(Exception):
    """No index can be kept there."""


class Damaged(Exception):
    """The index is not what it should be, and is to be made anew."""


def judge(error: sqlite3.Error) -> Exception:
    """What an error of SQLite's means for the index: Unusable, Damaged, or itself where somebody is only faster."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _BUSY:
        return error
    if code is not None and code & 0xFF in _UNUSABLE:
        return Unusable(str(error))
    return Damaged(str(error))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has what was asked for, and only now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def patiently(work: Callable[[], Result], timeout_s: float) -> Result:
    """Do something that another process may keep from being done for a moment.

    Raises:
        sqlite3.OperationalError: it stayed so.
    """
    deadline = time.monotonic() + timeout_s
    wait_s = 0.5e-3
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
        wait_s = min(wait_s * 1.5, 10e-3)


def places(root: bytes, *, read_only: bool) -> Iterator[bytes]:
    """The folders that an index may lie in, the best first: the store's, and the user's cache.

    SQLite's log of writes needs memory that all processes share, which no two machines do.
    """
    if not read_only and not mounts.is_network(root):
        yield os.path.join(root, b"index")
    cache = files.maybe_user_cache()
    if cache is not None:
        digest = hashlib.sha256(os.path.realpath(root)).hexdigest()[:32]
        yield os.path.join(cache, b"hierstore", digest.encode())


def has_file(root: bytes, *, read_only: bool) -> bool:
    """Whether there is an index of a store."""
    return any(name.endswith(_SUFFIX) for folder in places(root, read_only=read_only) for name in files.names(folder))


def maybe_latest(folder: bytes) -> bytes | None:
    """The index in a folder that would be opened, as a path; None where there is none, or the folder cannot be read."""
    try:
        found = _names(folder)
    except OSError:
        return None
    return os.path.join(folder, found[-1]) if found else None


def remove_all(folder: bytes) -> None:
    """Remove every index in a folder, those of other versions too; whoever has one open makes a new one.

    Raises:
        OSError: one cannot be removed.
    """
    try:
        found = list(files.names(folder))
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        # A link, or no folder: no index is kept there.
        return
    for name in found:
        if any(name.endswith(_SUFFIX + ending) for ending in _BESIDE):
            files.remove(os.path.join(folder, name))


def _names(folder: bytes) -> list[bytes]:
    return sorted(name for name in files.names(folder) if name.startswith(_NAME) and name.endswith(_SUFFIX))


class Database:
    """A connection to the index in one folder. One thread at a time.

    Args:
        folder: where it lies; None for one in memory, that nobody shares.
        timeout_s: how long to wait for another process, seconds.
        file_mode, folder_mode: the permissions of what is made.
    """

    def __init__(self, folder: bytes | None, *, timeout_s: float, file_mode: int, folder_mode: int) -> None:
        self._folder = folder or b""
        self._timeout_s = timeout_s
        self._file_mode = file_mode
        self._folder_mode = folder_mode
        self.name = b""
        self.sql = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self._folder:
            return self._prepared(_connect(":memory:"))
        try:
            self._make_folder(self._folder)
            for attempt in range(_ATTEMPTS):
                self.name = self._latest() or self._make()
                try:
                    return self._opened()
                except Damaged:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    # By its name: what another process has made in its place meanwhile stays.
                    self._remove(self.name)
        except OSError as error:
            raise Unusable(str(error)) from error
        raise AssertionError("unreachable")

    def _opened(self) -> sqlite3.Connection:
        path = os.path.join(self._folder, self.name)
        _check_file(path)
        try:
            connection = _connect(os.fsdecode(path))
        except sqlite3.Error as error:
            raise judge(error) from error
        return self._prepared(connection)

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            patiently(lambda: _prepare(connection, is_file=bool(self._folder)), self._timeout_s)
            self._remove_earlier()
        except sqlite3.Error as error:
            connection.close()
            raise judge(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_folder(self, folder: bytes) -> None:
        above = os.path.dirname(folder)
        missing = []
        while not files.exists(above):
            missing.append(above)
            above = os.path.dirname(above)
        for path in reversed(missing):
            files.make_directory(path, 0o700)
        files.make_directory(folder, self._folder_mode)
        found = files.lstat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise Unusable("the index's folder is a link, or no folder")

    def _latest(self) -> bytes | None:
        return next(reversed(_names(self._folder)), None)

    def _make(self) -> bytes:
        name = _NAME + clock.new_id().encode() + _SUFFIX
        # Made by us, and so with our permissions and over nobody's link; SQLite takes an empty file for a new database.
        files.close(files.create(os.path.join(self._folder, name), self._file_mode))
        return name

    def is_current(self) -> bool:
        """Whether this is still the index that others would open."""
        try:
            return not self._folder or self._latest() == self.name
        except OSError as error:
            raise Unusable(str(error)) from error

    def _remove_earlier(self) -> None:
        if self._folder:
            for name in _names(self._folder):
                if name < self.name:
                    self._remove(name)

    def _remove(self, name: bytes) -> None:
        for ending in _BESIDE:
            files.remove(os.path.join(self._folder, name + ending))

    def discard(self) -> None:
        """Close the index and remove its file: it is damaged, or holds what must not stay."""
        self.close()
        if self._folder:
            self._remove(self.name)

    def close(self) -> None:
        """Close the connection."""
        self.sql.close()


def _check_file(path: bytes) -> None:
    found = files.lstat(path)
    for ending in _BESIDE:
        # SQLite follows a link to what it keeps beside, and waits for the other end of a pipe, for ever.
        if files.exists(path + ending) and not stat.S_ISREG(files.lstat(path + ending).st_mode):
            raise Damaged("the index is a link, or no file")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid() and found.st_mode & 0o022 == 0:
        raise Unusable("the index is another user's")


def _connect(path: str) -> sqlite3.Connection:
    # Its own waiting is off: it sleeps for up to 100 ms at a time.
    return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=64)


def _prepare(connection: sqlite3.Connection, *, is_file: bool) -> None:
    """Make the tables if there are none, and see that they are this version's."""
    run = connection.execute
    # Zeros over what is deleted; no wait for the medium: what a power cut damages is made anew.
    for pragma in ("secure_delete = ON", "synchronous = NORMAL", "temp_store = MEMORY", f"cache_size = -{_CACHE_KIB}"):
        run(f"PRAGMA {pragma}")
    if is_file and run("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise Unusable("SQLite has no write-ahead log there")
    run("PRAGMA wal_autocheckpoint = 2000")
    if run("PRAGMA user_version").fetchone()[0] == 0:
        run("BEGIN IMMEDIATE")
        try:
            if run("PRAGMA user_version").fetchone()[0] == 0 and not run("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    run(statement)
                run("INSERT INTO fact VALUES ('epoch', ?), ('generation', 0)", (clock.new_id(),))
                run(f"PRAGMA user_version = {VERSION}")
        finally:
            run("COMMIT")
    # For searches; here, because making a table has every statement prepared anew.
    run("CREATE TEMP TABLE IF NOT EXISTS hit (key INTEGER PRIMARY KEY, score REAL)")
    run("CREATE TEMP TABLE IF NOT EXISTS chosen (log INTEGER PRIMARY KEY)")
    if run("PRAGMA user_version").fetchone()[0] != VERSION:
        raise Damaged("the index is of another version")
    if not run("SELECT value FROM fact WHERE name = 'generation'").fetchone():
        raise Damaged("the index has lost its facts")


ABANDONED: list[sqlite3.Connection] = []
"""Connections of the parent that a forked child must neither use nor close."""
