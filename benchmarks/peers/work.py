"""What a worker can be told to do with a peer's store; each returns what goes back as JSON."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import clock
from benchmarks.message import ROLE, SIZE_BYTES, text
from benchmarks.peers.peer import NotOffered

WORD = "marigold"
WORD_EVERY = 10
_DIGITS = 10


def content(number: int) -> str:
    """The message of a number: 300 bytes that begin with it; every tenth has the word that is searched for."""
    plain = text(number)
    return plain if number % WORD_EVERY else f"{plain[: SIZE_BYTES - len(WORD) - 1]} {WORD}"


def number_of(message: Any) -> int | None:
    """The number of a message, or None where it is not the one that was given, to the last character."""
    if not isinstance(message, str) or not message[:_DIGITS].isdecimal():
        return None
    number = int(message[:_DIGITS])
    return number if content(number) == message else None


class Stores:
    """A peer's stores that are open in this process, by name."""

    def __init__(self, make: Callable[[Path], Any]) -> None:
        self.make = make
        self.open: dict[str, Any] = {}
        self.grown: dict[tuple[str, str], tuple[int, int]] = {}
        self.loaded: list[Any] = []
        self.made = 0

    def next_name(self, prefix: str) -> str:
        """A name that no session has."""
        self.made += 1
        return f"{prefix}-{os.getpid()}-{self.made}"


class Counts:
    """A number in a file that survives the death of who counts, at the cost of no system call."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "r+b")  # noqa: SIM115  # lives as long as the map
        self._map = mmap.mmap(self._file.fileno(), 8)

    @staticmethod
    def make(path: str) -> None:
        Path(path).write_bytes(bytes(8))

    @property
    def value(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    @value.setter
    def value(self, number: int) -> None:
        self._map[:8] = number.to_bytes(8, "little")

    def close(self) -> None:
        self._map.close()
        self._file.close()


def open_store(stores: Stores, key: str, root: str) -> dict[str, Any]:
    """Open, or make, the store of a folder."""
    Path(root).mkdir(parents=True, exist_ok=True)
    began = clock()
    stores.open[key] = stores.make(Path(root))
    return {"ns": clock() - began}


def close_store(stores: Stores, key: str) -> dict[str, Any]:
    stores.open.pop(key).close()
    return {}


def create(stores: Stores, key: str, session: str) -> dict[str, Any]:
    stores.open[key].create(session)
    return {}


def fill(stores: Stores, key: str, session: str, start: int, count: int) -> dict[str, Any]:
    """A new session with so many messages, in the peer's fastest way."""
    store = stores.open[key]
    messages = [(ROLE, content(number)) for number in range(start, start + count)]
    began = clock()
    store.create(session)
    store.extend(session, messages)
    return {"ns": clock() - began}


def fill_many(stores: Stores, key: str, prefix: str, start: int, count: int, each: int) -> dict[str, Any]:
    """So many new sessions, ``prefix-0`` and on; a session's numbers begin at ten times its own."""
    began = clock()
    for place in range(start, start + count):
        fill(stores, key, f"{prefix}-{place}", place * WORD_EVERY, each)
    return {"ns": clock() - began}


# Timing


def time_call(stores: Stores, key: str, op: str, arguments: list[Any], count: int, limit_ns: int) -> dict[str, Any]:
    """Call a method so often, or until the time is up; an argument ``+`` becomes a new name each time.

    Returns:
        What each call took, and how long the last result was, or what it was if it is a number.
    """
    store = stores.open[key]
    method = getattr(store, op)
    taken: list[int] = []
    result: Any = None
    until = clock() + limit_ns
    for _ in range(count):
        given = [stores.next_name("made") if argument == "+" else argument for argument in arguments]
        del result
        began = clock()
        result = method(*given)
        ended = clock()
        taken.append(ended - began)
        if ended > until:
            break
    return {"ns": taken, "size": len(result) if isinstance(result, list) else result}


def time_append(stores: Stores, key: str, session: str, size: int, count: int, limit_ns: int) -> dict[str, Any]:
    """Append to a session of about so many messages; one that has grown by its size again is replaced by a fresh one."""
    store = stores.open[key]
    place, grown = stores.grown.get((key, session), (0, 0))
    taken: list[int] = []
    until = clock() + limit_ns
    for _ in range(count):
        if grown >= size:
            place, grown = place + 1, 0
            fill(stores, key, _numbered(session, place), 0, size)
        body = content(size + grown)
        name = _numbered(session, place)
        began = clock()
        store.append(name, ROLE, body)
        ended = clock()
        taken.append(ended - began)
        grown += 1
        if ended > until:
            break
    stores.grown[key, session] = place, grown
    return {"ns": taken, "session": _numbered(session, place), "messages": size + grown}


def _numbered(session: str, place: int) -> str:
    return f"{session}.{place}" if place else session


def time_cold(stores: Stores, root: str, other: str, session: str) -> dict[str, Any]:
    """Open and read all: what a new process waits for, imports left out.

    Another, empty store is opened before, if its folder is given, for some peers import a part of themselves only when
    they are first used.
    """
    if other:
        Path(other).mkdir(parents=True, exist_ok=True)
        stores.make(Path(other)).close()
    began = clock()
    store = stores.make(Path(root))
    messages = store.read_all(session)
    took = clock() - began
    size = len(messages)
    store.close()
    return {"ns": [took], "size": size}


# Several processes


def append_for(
    stores: Stores, key: str, session: str, start: int, at_ns: int, duration_ns: int, counts: str = ""
) -> dict[str, Any]:
    """From a moment on, append for so long.

    Returns:
        How many were acknowledged, of which numbers were not, the errors by what they said, and when it began and ended.
    """
    store = stores.open[key]
    counter = Counts(counts) if counts else None
    refused: list[int] = []
    errors: Counter[str] = Counter()
    while time.monotonic_ns() < at_ns:
        pass
    began = now = time.monotonic_ns()
    until = began + duration_ns
    number = start
    while now < until:
        try:
            store.append(session, ROLE, content(number))
            if counter is not None:
                counter.value += 1
        except NotOffered:
            raise
        except Exception as error:  # noqa: BLE001  # counted and shown
            refused.append(number)
            errors[brief(error)] += 1
        number += 1
        now = time.monotonic_ns()
    return {"tried": number - start, "refused": refused, "errors": dict(errors), "began": began, "ended": now}


def append_and_count(stores: Stores, key: str, session: str, start: int, counts: str) -> dict[str, Any]:
    """Append until killed; how many were acknowledged stands in the file."""
    store = stores.open[key]
    counter = Counts(counts)
    number = start
    while True:
        store.append(session, ROLE, content(number))
        number += 1
        counter.value = number - start


def append_one(stores: Stores, key: str, session: str, number: int) -> dict[str, Any]:
    """Append one message, and say when that began and when it was acknowledged, by the clock that processes share."""
    body = content(number)
    began = time.monotonic_ns()
    stores.open[key].append(session, ROLE, body)
    return {"began": began, "ended": time.monotonic_ns()}


def numbers(stores: Stores, key: str, session: str) -> dict[str, Any]:
    """The numbers of a session's messages, in their order, and how many others there are."""
    found = [number_of(message) for message in stores.open[key].read_all(session)]
    return {"numbers": [number for number in found if number is not None], "strange": found.count(None)}


def watch_for(stores: Stores, key: str, session: str, number: int, limit_ns: int) -> dict[str, Any]:
    """Read until a message is there; None if it is not within the time."""
    store = stores.open[key]
    wanted = content(number)
    until = time.monotonic_ns() + limit_ns
    now = raised = 0
    while now < until:
        try:
            messages = store.read_all(session)
        except NotOffered:
            raise
        except Exception:  # noqa: BLE001  # counted and shown: what was half written may be whole the next time
            messages = []
            raised += 1
        now = time.monotonic_ns()
        if wanted in messages[-1:] or wanted in messages:
            return {"seen": now, "raised": raised}
    return {"seen": None, "raised": raised}


def read_beside(
    stores: Stores, key: str, session: str, first: int, counts: str, at_ns: int, duration_ns: int
) -> dict[str, Any]:
    """While another process appends: each read must show what was acknowledged before it began, and what an earlier one did."""
    store = stores.open[key]
    counter = Counts(counts)
    reads = less = 0
    seen = worst = 0
    errors: Counter[str] = Counter()
    while time.monotonic_ns() < at_ns:
        pass
    until = time.monotonic_ns() + duration_ns
    while time.monotonic_ns() < until:
        acknowledged = max(first + counter.value, seen)
        reads += 1
        try:
            shown = len(store.read_all(session))
        except Exception as error:  # noqa: BLE001  # counted and shown
            errors[brief(error)] += 1
            continue
        if shown < acknowledged:
            less += 1
            worst = max(worst, acknowledged - shown)
        seen = max(seen, shown)
    return {"reads": reads, "less": less, "worst": worst, "errors": dict(errors)}


def set_title(stores: Stores, key: str, session: str, title: str) -> dict[str, Any]:
    stores.open[key].set_title(session, title)
    return {}


def title(stores: Stores, key: str, session: str) -> dict[str, Any]:
    return {"title": stores.open[key].title(session)}


# Conversations


def load(stores: Stores, path: str, share: list[int]) -> dict[str, Any]:
    """Read conversations that are to be replayed.

    Args:
        stores: where they are kept for ``replay``.
        path: JSON lines of ``[session, [[role, text], …]]``.
        share: ``[k, n]``: every n-th conversation from the k-th on.
    """
    with open(path, encoding="utf-8") as lines:
        stores.loaded = [json.loads(line) for place, line in enumerate(lines) if place % share[1] == share[0]]
    return {"count": len(stores.loaded)}


def replay(stores: Stores, key: str, limit_ns: int) -> dict[str, Any]:
    """Append what was loaded, message by message; begin no conversation after so long."""
    store = stores.open[key]
    done: list[str] = []
    messages = 0
    errors: Counter[str] = Counter()
    began = time.monotonic_ns()
    for session, items in stores.loaded:
        _counting(errors, store.create, session)
        messages += sum([_counting(errors, store.append, session, role, body) for role, body in items])
        done.append(session)
        if time.monotonic_ns() - began > limit_ns:
            break
    ended = time.monotonic_ns()
    return {"began": began, "ended": ended, "done": done, "messages": messages, "errors": dict(errors)}


def _counting(errors: Counter[str], call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call succeeded; its error is counted."""
    try:
        call(*arguments)
    except NotOffered:
        raise
    except Exception as error:  # noqa: BLE001  # counted and shown
        errors[brief(error)] += 1
        return False
    return True


def brief(error: BaseException) -> str:
    """An error's type and the beginning of its message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def digest(stores: Stores, key: str, session: str) -> dict[str, Any]:
    """A hash over a session's texts."""
    return {"digest": digest_of(stores.open[key].read_all(session))}


def digest_of(texts: list[str]) -> str:
    """The same for texts that are at hand."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def memory(_: Stores) -> dict[str, Any]:
    """The largest size in memory that this process has had, bytes; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {"peak": None}
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return {"peak": int(line.split()[1]) * 1024}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function
    for function in (
        open_store, close_store, create, fill, fill_many, time_call, time_append, time_cold, append_for, append_and_count,
        append_one, numbers, watch_for, read_beside, set_title, title, load, replay, digest, memory,
    )
}  # fmt: skip
