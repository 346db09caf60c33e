"""Stores of many sessions, made fast: the logs are written with the log's own functions, without a store's locks and syncs."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

from hierstore import SessionStore
from hierstore.log import frame
from hierstore.log.events import Draft, commit, event, header, message_commit
from hierstore.naming import stripe_of

MESSAGES = 20
_WORDS = 50_000
_TEXTS = 20_000
_BEGAN = 1.7e9


class Texts:
    """Texts of 8 to 70 words, drawn as words are in a language: few often, many seldom. The same on every run."""

    def __init__(self) -> None:
        rng = random.Random(1)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(_WORDS)]
        weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(_WORDS)))
        self._texts = [
            " ".join(rng.choices(self.words, cum_weights=weights, k=rng.randint(8, 70))) for _ in range(_TEXTS)
        ]

    def text(self, number: int) -> str:
        """The text of a message, by its number in the store."""
        text = self._texts[number * 7919 % _TEXTS]
        return f"{text} {self.words[number * 104_729 % _WORDS]}"


def session_id(number: int) -> str:
    """The id of a session, as the store would make it."""
    return f"018bcfe568{number:020x}"


def lines(number: int, texts: Texts) -> Iterator[bytes]:
    """The lines of a session's log."""
    chain = 0
    at = _BEGAN + number
    name = session_id(number)
    facts = {"title": f"Session {number}", "title_source": "user", "parent": None, "kind": None, "metadata": {}}
    bodies = [header(name, f"{number:016x}", at), commit([event("created", **facts, labels=[])], 1, at)]
    for place in range(MESSAGES):
        role = "assistant" if place % 2 else "user"
        message_id = f"{number:020x}{place:010x}"
        draft = Draft(message_id, role, texts.text(number * MESSAGES + place), at + place, None, False)
        bodies.append(message_commit([draft], place + 1, place + 2))
    for body in bodies:
        line, chain = frame.seal(body, chain)
        yield line


def make(root: Path, count: int, texts: Texts) -> int:
    """Make a store of so many sessions.

    Returns:
        The bytes of all logs.
    """
    SessionStore(root).close()
    size = 0
    for number in range(count):
        folder = root / "sessions" / f"{stripe_of(session_id(number)):02x}"
        if number < 4096:
            folder.mkdir(mode=0o700, exist_ok=True)
        data = b"".join(lines(number, texts))
        fd = os.open(folder / f"{session_id(number)}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, data)
        os.close(fd)
        size += len(data)
    return size
