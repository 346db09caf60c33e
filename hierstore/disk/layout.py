"""Where everything is in a store's folder, and making and checking that folder."""

from __future__ import annotations

import errno
import os
import stat
import zlib

from hierstore import clock
from hierstore.disk import files
from hierstore.errors import FormatTooNew, InvalidRoot
from hierstore.log.events import FORMAT
from hierstore.naming import file_name, stripe_of
from hierstore.values import encode, loads

FOLDERS = (b"sessions", b"locks", b"trash", b"quarantine", b"tmp", b"index")


class Layout:
    """Paths in a store's folder; bytes, as the system calls take them.

    Args:
        root: the store's folder, which exists.
        shared: whether files take the root's own permissions, instead of being the owner's alone.
    """

    def __init__(self, root: bytes, *, shared: bool) -> None:
        self.root = root
        self.store_id = ""
        self._synced: set[bytes] = set()
        self.sessions = os.path.join(root, b"sessions")
        self._registry = os.path.join(root, b"registry")
        self.locks = os.path.join(root, b"locks")
        self.trash = os.path.join(root, b"trash")
        self.quarantine = os.path.join(root, b"quarantine")
        self.tmp = os.path.join(root, b"tmp")
        self.marker = os.path.join(root, b"hierstore.json")
        mode = stat.S_IMODE(files.stat(root).st_mode)
        self.folder_mode = mode if shared else 0o700
        self.file_mode = mode & 0o666 if shared else 0o600

    def log(self, session_id: str) -> bytes:
        """The session's log."""
        name = file_name(session_id).encode()
        return b"%b/%02x/%b.jsonl" % (self.sessions, stripe_of(session_id), name)

    def registry(self, number: int) -> bytes:
        """A part of the registry: where route keys and share tokens lead."""
        return b"%b/%02x.jsonl" % (self._registry, number)

    def scratch(self, suffix: bytes) -> bytes:
        """A new name for a file being built."""
        return b"%b/%b%b" % (self.tmp, clock.new_id().encode(), suffix)

    def relative(self, path: bytes) -> str:
        """Where a file of the store is, as a record says it: the folder may be elsewhere when it is read."""
        return os.fsdecode(os.path.relpath(path, self.root))

    def absolute(self, name: str) -> bytes:
        """The file of which a record says that."""
        return os.path.join(self.root, os.fsencode(name))

    def make_folder(self, path: bytes, *, power: bool) -> None:
        """Make the folder that a log goes in."""
        folder = os.path.dirname(path)
        try:
            files.check_folder(folder)
        except FileNotFoundError:
            files.make_directory(folder, self.folder_mode)
        if power and folder not in self._synced:
            # Also when it was there: whoever made it may not have synced it yet.
            files.sync_directory(os.path.dirname(folder))
            self._synced.add(folder)

    def quarantine_bytes(self, path: bytes, nonce: str, offset: int, data: bytes) -> bytes:
        """Keep a copy of damaged bytes; the same bytes of the same place of the same log are kept once.

        Args:
            path: the log.
            nonce: from its header: another log may have the name later.
            offset: where the bytes stood.
            data: the bytes.
        """
        target = self.quarantine_target(path, nonce, offset, data)
        if not self._is_kept(target, data):
            scratch = self.scratch(b".bytes")
            fd = files.create(scratch, self.file_mode)
            try:
                try:
                    files.write_all(fd, data)
                    files.sync(fd)
                finally:
                    files.close(fd)
                files.rename(scratch, target)
            except OSError:
                files.remove(scratch)
                raise
            files.sync_directory(self.quarantine)
        return target

    @staticmethod
    def _is_kept(target: bytes, data: bytes) -> bool:
        """Whether that is there; a link in its place, or anything else, is not it, and is replaced."""
        try:
            return files.read_all(target) == data
        except OSError:
            return False

    def quarantine_target(self, path: bytes, nonce: str, offset: int, data: bytes) -> bytes:
        """Where ``quarantine_bytes`` keeps them."""
        stem = self.quarantine_stem(path, nonce)
        return b"%b/%b%d.%08x.bytes" % (self.quarantine, stem, offset, zlib.crc32(data))

    @staticmethod
    def quarantine_stem(path: bytes, nonce: str) -> bytes:
        """How the names of a log's damaged bytes begin."""
        return b"%b.%b." % (os.path.basename(path).removesuffix(b".jsonl"), nonce.encode())

    def quarantine_file(self, path: bytes) -> None:
        """Move a file that is no log out of the way."""
        # Cut, for a stray file may have the longest name that there is.
        name = os.path.basename(path).removesuffix(b".jsonl")[:200]
        files.rename(path, b"%b/%b.%b.file" % (self.quarantine, name, clock.new_id().encode()))


def prepare(root: str | os.PathLike[str], *, shared: bool, read_only: bool) -> tuple[Layout, bool]:
    """Make the folder a store if it is none, and see that it may be used.

    Returns:
        The layout, and whether the store can only be read.

    Raises:
        InvalidRoot: a file, not ours alone and not said to be shared, not there for a reader, not writable for a maker.
        FormatTooNew: a later version made it.
    """
    name = os.fspath(root)
    if not name:
        raise InvalidRoot("The store's root is empty; name a folder.", root=name)
    path = os.path.abspath(os.fsencode(name))
    if os.path.islink(path) and os.path.isdir(path):
        # The one link that is the caller's own; below it none is followed.
        path = os.path.realpath(path)
    if not read_only:
        _make_root(path, name)
    _check_root(path, name, shared)
    try:
        layout = Layout(path, shared=shared)
        cannot_write = not os.access(path, os.W_OK | os.X_OK)
        is_made = files.exists(layout.marker)
        _check_folders(layout, name)
    except OSError as error:
        raise _unreadable(name, error) from error
    if not is_made:
        if read_only or cannot_write:
            why = "is not a hierstore store" if read_only else "is not writable"
            raise InvalidRoot(f"The folder {name} {why}.", root=name)
        _make_store(layout, name)
    layout.store_id = _check_marker(layout, name)
    return layout, read_only or cannot_write


def _unreadable(name: str, error: OSError) -> InvalidRoot:
    what = f"The store's root {name} cannot be read: {error.strerror}"
    return InvalidRoot(what + (_ADVICE if error.errno in _NO_RIGHT else "."), root=name)


_NO_RIGHT = frozenset([errno.EACCES, errno.EPERM])
_ADVICE = "; ask its owner for the right to, or use a folder of your own."


def _check_folders(layout: Layout, name: str) -> None:
    """See that no folder of the store is a symbolic link: what it leads to is not the store's."""
    for folder in (*FOLDERS, b"registry"):
        # The index may be made again elsewhere, and looks after itself.
        if folder != b"index":
            try:
                files.check_folder(os.path.join(layout.root, folder))
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise InvalidRoot(
                    f"The folder {folder.decode()} of the store {name} cannot be used: {error.strerror}.", root=name
                ) from error


def _make_root(path: bytes, name: str) -> None:
    try:
        files.make_directories(path, 0o700)
    except (FileExistsError, NotADirectoryError):
        raise InvalidRoot(f"The store's root {name} is a file; it has to be a folder.", root=name) from None
    except OSError as error:
        if error.errno in _NO_RIGHT:
            raise _unreadable(name, error) from error
        raise InvalidRoot(f"The store's root {name} cannot be made: {error.strerror}.", root=name) from error


def _check_root(path: bytes, name: str, shared: bool) -> None:
    try:
        found = files.stat(path)
    except FileNotFoundError as error:
        raise InvalidRoot(f"The store's root {name} does not exist.", root=name) from error
    except OSError as error:
        raise _unreadable(name, error) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidRoot(f"The store's root {name} is a file; it has to be a folder.", root=name)
    if shared or not hasattr(os, "geteuid"):
        return
    if found.st_mode & 0o022:
        raise InvalidRoot(
            f"Other users can write to the store's root {name}; take that right from them (chmod go-w), or open the"
            " store with shared=True if they are meant to.",
            root=name,
        )
    if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0:
        raise InvalidRoot(
            f"The store's root {name} belongs to another user; open the store with shared=True if that is meant.",
            root=name,
        )


def _make_store(layout: Layout, name: str) -> None:
    """Make the folders, then the marker: a store with a marker is whole. Several processes may do this at once."""
    try:
        for folder in FOLDERS:
            files.make_directory(os.path.join(layout.root, folder), layout.folder_mode)
        marker = {"hierstore": FORMAT, "store": clock.new_id(), "created_at": clock.now()}
        scratch = layout.scratch(b".marker")
        fd = files.create(scratch, layout.file_mode)
        try:
            files.write_all(fd, encode(marker, "marker") + b"\n")
            files.sync(fd)
        finally:
            files.close(fd)
        try:
            files.place(scratch, layout.marker)
        except (FileExistsError, FileNotFoundError):
            # Another process was faster; a repair of its may even have put the scratch file aside.
            files.remove(scratch)
        files.sync_directory(layout.root)
    except OSError as error:
        raise InvalidRoot(f"A store cannot be made in {name}: {error.strerror}.", root=name) from error


def _check_marker(layout: Layout, name: str) -> str:
    """The store's id."""
    path = os.fsdecode(layout.marker)
    try:
        fd = files.open_regular(layout.marker, files.READ)
        try:
            marker = loads(files.read(fd, 2**16, 0))
        finally:
            files.close(fd)
        version = marker["hierstore"]
    except OSError as error:
        raise _unreadable(name, error) from error
    except (ValueError, KeyError, TypeError):
        raise InvalidRoot(f"{path} is damaged: it does not say which format the store has.", root=name) from None
    if not isinstance(version, int) or version > FORMAT:
        raise FormatTooNew(
            f"The store {name} has format {version}, and this version of hierstore reads up to {FORMAT}; upgrade"
            " hierstore.",
            path=path, format=version, supported=FORMAT,
        )  # fmt: skip
    return str(marker.get("store", ""))
