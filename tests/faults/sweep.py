"""One system call fails, in each of the ways it can: over every call of the store, one failure at a time.

What is judged is told in ``test_every_call_fails.py``. Here are the kinds of failure, the choice of the calls that fail,
the calls that only read, those that open a store, and the long form that goes on with new choices.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hierstore import CheckReport, HierstoreError, InvalidRoot, SessionStore, TreeNode, UnreadableLog, departed
from tests.faults import test_every_call_fails as every
from tests.faults.windows import SHARING_VIOLATION, refused, run_contract, windows
from tests.figures import Figures
from tests.processes import replaced
from tests.seam import (
    FAMILY,
    OPERATIONS,
    Call,
    View,
    before_and_after,
    descriptors,
    ends_of_loops,
    family,
    hooked,
    list_calls,
    prepared,
    view,
)

BY_PATH = frozenset(
    ["stat", "lstat", "unlink", "rename", "replace", "mkdir", "utime", "chmod", "scandir", "open_file", "link"]
)
GROWS = frozenset(["write", "open_file", "mkdir", "link", "rename", "replace"])
MOVES = frozenset(["open_file", "unlink", "rename", "replace"])

Fail = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


def eacces(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Somebody took the right away."""
    raise every.refuse(errno.EACCES)


def eintr(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A signal's handler raised this where Python would have made the call again. A close has closed all the same."""
    if name == "close":
        call()
    raise every.refuse(errno.EINTR)


def shared(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Somebody has the file open, on Windows, and keeps it so for longer than the store waits."""
    raise refused(SHARING_VIOLATION, args[0])


@dataclass(frozen=True)
class Kind:
    """A way in which calls fail.

    Attributes:
        fail: does it.
        names: of the calls that can fail so; None: all.
        mode: where they do.
        only_changes: whether only calls that change something fail so.
    """

    fail: Fail
    names: frozenset[str] | None = None
    mode: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    only_changes: bool = False

    def fits(self, call: Call) -> bool:
        """Whether a call can fail so."""
        return (self.names is None or call.name in self.names) and (call.changes or not self.only_changes)


KINDS = {
    "EIO": Kind(every.eio),
    "ENOSPC": Kind(every.enospc, GROWS, only_changes=True),
    "EMFILE": Kind(every.emfile, frozenset(every.OPENS)),
    "EACCES": Kind(eacces, BY_PATH),
    "EINTR": Kind(eintr),
    "sharing violation": Kind(shared, MOVES, windows),
}


def deal(calls: list[Call], kinds: list[str], seed: Any) -> Iterator[tuple[Call, str]]:
    """Give each call one of the kinds that fit it, at random, and all kinds to about as many calls."""
    chance = random.Random(seed)
    given = dict.fromkeys(kinds, 0)
    for call in chance.sample(calls, len(calls)):
        fitting = [kind for kind in kinds if KINDS[kind].fits(call)]
        if fitting:
            least = min(given[kind] for kind in fitting)
            kind = chance.choice([kind for kind in fitting if given[kind] == least])
            given[kind] += 1
            yield call, kind


class Sweep:
    """Failures at chosen calls, each on a store made anew, and what harm they did.

    Args:
        figures: counts the failures.
        folder: where the stores are made.
        seed: what repeats the choice.
    """

    def __init__(self, figures: Figures, folder: Path, seed: Any) -> None:
        self._figures = figures
        self._folder = folder
        self._seed = seed
        self._serial = 0
        self.harm: list[str] = []

    def one(self, what: str, point: Call, kind: str, work: Callable[[Path, Any], None]) -> None:
        """Let a call fail; ``work`` is given a folder and a hook, and raises when something is not as promised."""
        self._serial += 1
        root = self._folder / f"{self._serial}"
        self._figures.add(f"failures injected: {kind}")
        opened, threads = descriptors(), threading.active_count()
        try:
            work(root, every.failing(point, KINDS[kind].fail))
            assert descriptors() == opened, "a descriptor was leaked"
            assert threading.active_count() == threads, "a thread was left"
        except Exception as failure:  # noqa: BLE001  # whatever it is, it is no answer to a failing call
            told = f"{type(failure).__name__}: {failure}".splitlines()[0][:300]
            place = " < ".join(f"{os.path.basename(file)}:{line}" for file, line in point.place)
            self.harm.append(
                f"{what}: {kind} at {point.number} {point.name} from {place}: {told} (seed {self._seed!r})"
            )
        if root.exists():
            shutil.rmtree(root)

    def verdict(self) -> None:
        """Raise what was found."""
        assert not self.harm, "\n".join([f"{len(self.harm)} of {self._serial} faults did harm:", *self.harm])


# What changes something


def sweep_operation(figures: Figures, folder: Path, name: str, seed: Any, kinds: list[str], **options: Any) -> None:
    """Let each call that an operation makes fail, in one way each."""
    run = Sweep(figures, folder, seed)
    before, after = before_and_after(folder, name)
    for mode in {KINDS[kind].mode: None for kind in kinds}:
        here = [kind for kind in kinds if KINDS[kind].mode is mode]
        with mode():
            calls = ends_of_loops(every.calls_of(folder / mode.__name__, name, **options))
            for point, kind in deal(calls, here, (seed, name).__repr__()):
                run.one(name, point, kind, lambda root, hook: _change(root, name, hook, before, after, options))
    run.verdict()


def _change(root: Path, name: str, hook: Any, before: View, after: View, options: dict[str, Any]) -> None:
    every._fail_once(root, name, hook, before, after, options)


# What only reads


def _texts(session: Any) -> list[Any]:
    return [message.content for message in session.messages]


def _watched(store: SessionStore) -> list[str]:
    # The trash is looked at each time: a pause between two looks is for the cost alone.
    with replaced(departed, _PAUSE_S=0.0), store.watch(after="", mode="off") as watcher:
        # What could not be looked at the first time is told the next time; nothing is passed over.
        return sorted({event.session_id for event in (*watcher, *watcher)})


def _watched_now(mode: str) -> Callable[[SessionStore], Any]:
    def read(store: SessionStore) -> None:
        store.watch(mode=mode).close()  # type: ignore[arg-type]

    return read


READS: dict[str, Callable[[SessionStore], Any]] = {
    **every.READS,
    "info": lambda store: store.get("a").info,
    "snapshots": lambda store: [found.label for found in store.get("a").snapshots],
    "tree": lambda store: store.tree(),
    "check": lambda store: store.check(),
    "sessions": lambda store: sorted(info.id for info in store.sessions(limit=100).items),
    "search": lambda store: sorted({hit.session_id for hit in store.search("leaf hello", limit=100).items}),
    "export": lambda store: sorted(item["id"] for item in store.export("top")["sessions"]),
    "export_lines": lambda store: len(list(store.export_lines("top"))),
    "trash": lambda store: [item.id for item in store.trash()],
    "resolve": lambda store: store.resolve("key"),
    "interrupted": lambda store: [session.id for session in store.interrupted()],
    "open_share": lambda store: _texts(store.open_share(TOKEN)),
    "watch from the beginning": _watched,
    "watch, by events": _watched_now("auto"),
    "watch, by looks": _watched_now("polling"),
}
TOKEN = "?"
OF_THE_WHOLE = frozenset(
    ["tree", "check", "sessions", "search", "trash", "resolve", "interrupted", "open_share", "watch, by events",
     "watch, by looks"]
)  # fmt: skip
"""Reads that are of no one session: an error of theirs may name none."""
MAY_LEAVE_OUT = frozenset(["sessions", "search", "tree", "interrupted"])
"""Reads of many that go on when one cannot be read, and leave that one out."""


def sweep_read(figures: Figures, folder: Path, name: str, seed: Any, kinds: list[str]) -> None:
    """Let each call that a read makes fail, in one way each; a store that was never read is asked."""
    with pytest.MonkeyPatch.context() as patched:
        # An index that cannot be made in the store is made in the user's cache.
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        _sweep_read(figures, folder, name, seed, kinds)


def _sweep_read(figures: Figures, folder: Path, name: str, seed: Any, kinds: list[str]) -> None:
    run = Sweep(figures, folder, seed)
    root = folder / "store"
    with prepared(root, "append") as store:
        store.delete("bba")
        token = store.get("b").share().token
        with replaced_token(token):
            wanted = READS[name](store)
    for mode in {KINDS[kind].mode: None for kind in kinds}:
        here = [kind for kind in kinds if KINDS[kind].mode is mode]
        with mode(), replaced_token(token):
            with SessionStore(root) as cold:
                calls = ends_of_loops(list_calls(lambda: READS[name](cold)))
            for point, kind in deal(calls, here, (seed, name).__repr__()):
                shutil.rmtree(root / "index", ignore_errors=True)
                run.one(name, point, kind, lambda _, hook: _read(root, name, hook, wanted))
    run.verdict()


@contextlib.contextmanager
def replaced_token(token: str) -> Iterator[None]:
    """Let the share's token be this one: each store has its own."""
    global TOKEN
    before, TOKEN = TOKEN, token
    try:
        yield
    finally:
        TOKEN = before


def _read(root: Path, name: str, hook: Any, wanted: Any) -> None:
    with SessionStore(root, lock_timeout_s=every.IMPATIENT_S) as store:
        found, caught = None, None
        try:
            with hooked(hook):
                found = READS[name](store)
        except HierstoreError as error:
            caught = error
        if caught is not None:
            assert isinstance(caught, UnreadableLog), f"{caught!r} instead of UnreadableLog"
            assert name in OF_THE_WHOLE or caught.session_id in FAMILY, f"{caught!r} names no session"
        elif isinstance(found, CheckReport):
            assert found == wanted or found.problems or found.notes, "it says that all is well, and has not seen all"
        elif name in MAY_LEAVE_OUT:
            assert _few_missing(found, wanted), f"{found!r} instead of {wanted!r}"
        else:
            assert every._ids_of(found) == every._ids_of(wanted), f"{found!r} instead of {wanted!r}"
        assert READS[name](store) == wanted, "the error stayed"


def _few_missing(found: Any, wanted: Any) -> bool:
    """Whether all of it is there, but for one that could not be read, and what is below that."""
    if any(isinstance(node, TreeNode) for node in wanted):
        return {node.id for node in found} <= {node.id for node in wanted}
    return set(found) <= set(wanted) and len(wanted) - len(found) <= 1


# What opens a store


def _opened(root: Path, **options: Any) -> None:
    SessionStore(root, lock_timeout_s=every.IMPATIENT_S, **options).close()


def _half_done(root: Path) -> None:
    """A store in which a delete was cut off, when its record was written."""

    class Stopped(BaseException):
        pass

    def stop(_count: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name == "rename" and args[1].startswith(os.fsencode(root / "trash")):
            raise Stopped
        return call()

    with SessionStore(root) as store:
        family(store)
        with contextlib.suppress(Stopped), hooked(stop):
            store.delete("b", children="cascade")


def _whole(root: Path) -> None:
    with SessionStore(root) as store:
        family(store)


OPENINGS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "make": (lambda root: None, {}),
    "make, shared": (lambda root: None, {"shared": True}),
    "open": (_whole, {}),
    "open to read": (_whole, {"read_only": True}),
    "open after a crash": (_half_done, {}),
}


def sweep_opening(figures: Figures, folder: Path, name: str, seed: Any, kinds: list[str]) -> None:
    """Let each call that opening a store makes fail, in one way each."""
    run = Sweep(figures, folder, seed)
    prepare, options = OPENINGS[name]
    prepare(folder / "model")
    _opened(folder / "model", **options)
    with SessionStore(folder / "model") as store:
        wanted = view(store)
    for mode in {KINDS[kind].mode: None for kind in kinds}:
        here = [kind for kind in kinds if KINDS[kind].mode is mode]
        with mode():
            prepare(folder / mode.__name__)
            calls = list_calls(lambda: _opened(folder / mode.__name__, **options))  # noqa: B023  # called at once
            for point, kind in deal(ends_of_loops(calls), here, (seed, name).__repr__()):
                run.one(name, point, kind, lambda root, hook: _open(root, prepare, options, hook, wanted))
    run.verdict()


def _open(root: Path, prepare: Callable[[Path], Any], options: dict[str, Any], hook: Any, wanted: View) -> None:
    prepare(root)
    try:
        with hooked(hook):
            _opened(root, **options)
    except InvalidRoot:
        # The one error there is: a session that cannot be finished keeps nobody from the others.
        pass
    _opened(root, **options)
    with SessionStore(root) as store:
        assert view(store) == wanted
        assert store.check().problems == ()


# The long form

WHOLE_CONTRACT_S = 600.0
"""A run of at least this long, seconds, has the time for the whole contract suite in Windows mode."""


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Fail every call in every way, in an order that is another each time, until the time is over."""
    deadline = time.monotonic() + seconds
    chance = random.Random(seed)
    if seconds >= WHOLE_CONTRACT_S:
        figures.add("contract tests in Windows mode", run_contract(seed, one_in=1))
    works: list[tuple[Callable[..., None], str]] = [
        *((sweep_operation, name) for name in OPERATIONS),
        *((sweep_read, name) for name in READS),
        *((sweep_opening, name) for name in OPENINGS),
    ]
    number = 0
    while time.monotonic() < deadline:
        for work, name in chance.sample(works, len(works)):
            if time.monotonic() >= deadline:
                return
            number += 1
            place = folder / f"{number}"
            place.mkdir()
            # One kind at a time: so each call fails in each way that it can, sooner or later.
            kind = chance.choice(list(KINDS))
            options = {"durability": "power"} if work is sweep_operation and chance.random() < 0.5 else {}
            work(figures, place, name, (seed, number), [kind], **options)
            shutil.rmtree(place)
