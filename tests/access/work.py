"""What a store is made to do, all of it; and a witness of every path on which it makes, opens or changes something."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hierstore import HierstoreError, SessionStore
from tests.seam import KEY, hooked
from tests.support import log_of

NAMES = ("p", "c", "f", "o", "late")
"""The sessions of a store that ``filled`` made; their ids are on no path but their own logs'."""


def filled(root: Path, **options: Any) -> None:
    """A store with something in each of its folders: a parent, a child, a fork, one in the trash, what was damaged."""
    with SessionStore(root, **options) as store:
        store.create("p", title="the parent").append("user", "hello there")
        store.get("p").spawn("c").append("user", "child's")
        store.get("p").fork("f").append("user", "fork's")
        store.create("o").append("user", "other's")
        store.create("gone").append("user", "deleted")
        store.delete("gone")
        store.bind(KEY, "p")
        store.get("p").share()
        store.search("hello")
    log = log_of(store, "o")
    # Damage of the kind that goes to quarantine/ at the next write.
    log.write_bytes(log.read_bytes() + b'{"half\nof a line\n')
    with SessionStore(root, **options) as store, contextlib.suppress(HierstoreError):
        store.get("o").append("user", "more")
    # What a process leaves that dies while it builds.
    path = root / "tmp" / "half-built.log"
    path.write_bytes(b"half")
    path.chmod(0o600 if not options.get("shared") else stat.S_IMODE(root.stat().st_mode) & 0o666)


def _delete_and_restore(store: SessionStore, name: str) -> None:
    store.delete(name, children="orphan")
    store.restore(name)


def _export_and_import(store: SessionStore) -> None:
    store.import_bundle(store.export("p"))


def _compacted(store: SessionStore) -> None:
    session = store.get("p")
    session.append("user", "kept")
    session.append("user", "undone")
    session.revert(session.messages[-2])
    session.compact(keep="present")


WORK: dict[str, Callable[[SessionStore], Any]] = {
    "read": lambda store: [len(store.get(name).messages) for name in ("p", "c", "f")],
    "read the other": lambda store: len(store.get("o").messages),
    "append": lambda store: store.get("p").append("user", "more"),
    "append to the fork": lambda store: store.get("f").append("user", "more"),
    "append to the other": lambda store: store.get("o").append("user", "more"),
    "create": lambda store: store.create("late"),
    "get_or_create": lambda store: store.get_or_create("p").info,
    "spawn": lambda store: store.get("c").spawn(),
    "fork": lambda store: store.get("p").fork(),
    "compact": _compacted,
    "move": lambda store: store.get("c").move(None),
    "bind": lambda store: store.bind(KEY, "o"),
    "route": lambda store: store.route("another key"),
    "resolve": lambda store: store.resolve(KEY),
    "share": lambda store: store.get("c").share(),
    "unshare": lambda store: store.get("p").unshare(),
    "open_share": lambda store: store.open_share("no token"),
    "delete and restore": lambda store: _delete_and_restore(store, "c"),
    "trash": lambda store: store.trash(),
    "tree": lambda store: store.tree(),
    "sessions": lambda store: store.sessions(),
    "search": lambda store: store.search("hello"),
    "watch": lambda store: [event.type for event in store.watch(after="", mode="off")],
    "interrupted": lambda store: store.interrupted(),
    "export and import": _export_and_import,
    "check": lambda store: store.check(),
    "prune": lambda store: store.prune(max_age_days=1000),
    "repair": lambda store: store.repair(),
    "purge": lambda store: store.purge(),
}  # fmt: skip

_BY_NAME = {
    "unlink": (0,), "rename": (0, 1), "replace": (0, 1), "mkdir": (0,), "utime": (0,), "chmod": (0,), "scandir": (0,),
    "open_file": (0,), "link": (0, 1),
}  # fmt: skip
"""Which arguments of a call are paths on whose end it works."""
_ELSEWHERE = b"/proc/self/mounts"


@dataclass
class Witness:
    """Sees each call that the store makes.

    Attributes:
        root: the store's folder, its links resolved.
        cache: the user's, where an index may lie.
        made: what was made, relative to the root, with the permissions it had from its first moment.
        outside: what was opened, listed, made, moved, removed or changed outside the root.
    """

    root: Path
    cache: Path
    made: dict[str, int] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look at all calls."""
        with hooked(self._see):
            yield

    def _see(self, _number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        places = [os.path.realpath(os.path.dirname(path)) for path in _paths(name, args)]
        makes = name == "mkdir" or (name == "open_file" and args[1] & os.O_CREAT and not os.path.lexists(args[0]))
        answer = call()
        for place in places:
            if not self._is_inside(place) and args[0] != _ELSEWHERE:
                self.outside.append(f"{name} {args!r}")
        if name == "open_file" and args[0] != _ELSEWHERE:
            real = os.readlink(f"/proc/self/fd/{answer}")
            if not self._is_inside(os.fsencode(real)):
                self.outside.append(f"{name} {args!r} opened {real}")
        if name == "scandir" and not isinstance(args[0], int) and not self._is_inside(os.path.realpath(args[0])):
            self.outside.append(f"{name} {args!r}")
        if makes:
            path = os.path.relpath(os.fsdecode(args[0]), self.root)
            self.made[path] = stat.S_IMODE(os.lstat(args[0]).st_mode)
        return answer

    def _is_inside(self, path: bytes) -> bool:
        # The root itself is made in the folder above it.
        above = os.fsencode(self.root.parent), os.fsencode(self.cache.parent)
        return path in above or any(
            path == folder or path.startswith(folder + b"/") for folder in map(os.fsencode, (self.root, self.cache))
        )


def _paths(name: str, args: tuple[Any, ...]) -> list[bytes]:
    return [args[place] for place in _BY_NAME.get(name, ()) if not isinstance(args[place], int)]


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def judged(work: Callable[[], Any]) -> HierstoreError | None:
    """The error of a call, which has to be one of the store's own, with a sentence."""
    try:
        work()
    except HierstoreError as error:
        text = str(error)
        assert text[:1].isupper(), text
        assert text.endswith("."), text
        assert "None" not in text, text
        assert os.strerror(errno.ELOOP) not in text or "link" in text, text
        return error
    return None
