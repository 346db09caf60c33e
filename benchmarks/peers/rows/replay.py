"""Real conversations, message by message, by one process and by four: how fast, how large, and whether they come back."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.cell import LESS, MORE, Cell, Row
from benchmarks.peers.host import Host, Unmeasured
from benchmarks.peers.rows.base import NS, STORE, Bench, Cells, Run, columns, each_peer
from benchmarks.peers.work import digest_of

_PROCESSES = 4
_ALL_LIMIT_S = 60.0

WORKS = {"replay": "append the conversations of --input FILE, by one process and by four"}
_ALONE = "messages a second"
_TOGETHER = f"by {_PROCESSES} processes"
_WHOLE = "read back whole"
_WHOLE_TOGETHER = f"whole, by {_PROCESSES}"
_DISK = "bytes on disk for one of text"
_MEMORY = "peak memory beyond imports"
_HEADS = (
    (_ALONE, "/s", MORE), (_TOGETHER, "/s", MORE), (_WHOLE, "", ""), (_WHOLE_TOGETHER, "", ""), (_DISK, "", LESS),
    (_MEMORY, "bytes", LESS),
)  # fmt: skip


def conversations(path: str) -> list[Any]:
    """The conversations of a file that ``hierstore import`` takes, as a role and a text for each message.

    What a message has beside its content (calls of tools and their ids) goes into the text as JSON, so that no peer
    is spared it.
    """
    from hierstore.cli.conversations import read_files

    return [
        [f"conversation-{place:06d}", [[record["role"], _text(record)] for record in found.records]]
        for place, found in enumerate(read_files([path]))
    ]


def _text(record: Mapping[str, Any]) -> str:
    if record.keys() <= {"role", "content"} and isinstance(record.get("content"), str):
        return str(record["content"])
    return json.dumps({key: value for key, value in record.items() if key != "role"}, ensure_ascii=False)


def size_bytes(folder: Path) -> int:
    """What the files below a folder hold; one that has several names counts once."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            seen = Path(place, name).lstat()
            found[seen.st_dev, seen.st_ino] = seen.st_size
    return sum(found.values())


def _play(run: Run, host: Host, root: Path, path: Path, count: int) -> tuple[list[dict[str, Any]], int | None]:
    """Let so many processes replay the file.

    Returns:
        What they say, and by how much the first one grew in memory, bytes.
    """
    with host.workers(count) as workers:
        for place, worker in enumerate(workers):
            worker.ask("load", path=str(path), share=[place, count])
        before = workers[0].ask("memory")["peak"]
        for worker in workers:
            worker.ask("open_store", key=STORE, root=str(root))
        # What a store makes when it is first used is there before the others begin.
        workers[0].ask("create", key=STORE, session="first")
        for worker in workers:
            worker.tell("replay", key=STORE, limit_ns=int(run.scale.replay_limit_s * NS))
        answers = [worker.hear(run.scale.replay_limit_s + _ALL_LIMIT_S) for worker in workers]
        after = workers[0].ask("memory")["peak"]
        for worker in workers:
            worker.ask("close_store", key=STORE)
    return answers, None if before is None else after - before


def _note(run: Run, answers: Sequence[dict[str, Any]]) -> str:
    """What is to be known of a replay that was stopped, or in which something was raised."""
    errors: Counter[str] = Counter()
    for answer in answers:
        errors.update(answer["errors"])
    notes = []
    if sum(len(answer["done"]) for answer in answers) < len(run.conversations or ()):
        notes.append(f"stopped after {run.scale.replay_limit_s:g} s")
    if errors:
        notes.append(f"{errors.total():,} raised, most often {errors.most_common(1)[0][0]}")
    return "; ".join(notes)


def _rate(answers: Sequence[dict[str, Any]], note: str) -> Cell:
    messages = sum(answer["messages"] for answer in answers)
    wall_s = (max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers)) / NS
    return Cell.of([messages / wall_s], note=note, facts={"messages": messages})


def _whole(host: Host, root: Path, done: Sequence[str], digests: Mapping[str, str]) -> Cell:
    same = 0
    word = ""
    with host.workers() as (reader,):
        try:
            reader.ask("open_store", key=STORE, root=str(root))
        except Unmeasured as error:
            return Cell(text=f"0 of {len(done)}", note=str(error))
        for session in done:
            try:
                same += reader.ask("digest", key=STORE, session=session)["digest"] == digests[session]
            except Unmeasured as error:
                word = word or str(error)
    return Cell(text=f"{same:,} of {len(done):,}", note=word, facts={"same": same, "of": len(done)})


def _one_peer(run: Run, path: Path, given: Sequence[Any], name: str, host: Host) -> Cells:
    del name
    digests = {session: digest_of([text for _, text in items]) for session, items in given}
    alone, together = run.place("replay", host.slug, "1"), run.place("replay", host.slug, str(_PROCESSES))
    answers, grown = _play(run, host, alone, path, 1)
    texts = {session: sum(len(text.encode()) for _, text in items) for session, items in given}
    done = answers[0]["done"]
    on_disk, note = size_bytes(alone), _note(run, answers)
    cells = {
        _ALONE: _rate(answers, note),
        _WHOLE: _whole(host, alone, done, digests),
        _DISK: Cell.of([on_disk / sum(texts[session] for session in done)], facts={"bytes": on_disk}),
        _MEMORY: Cell.of([grown], note=note) if grown is not None else Cell(text="not told by the system"),
    }
    return cells | _by_several(run, host, together, path, digests)


def _by_several(run: Run, host: Host, root: Path, path: Path, digests: Mapping[str, str]) -> dict[str, Cell]:
    try:
        answers, _ = _play(run, host, root, path, _PROCESSES)
    except Unmeasured as error:
        return {_TOGETHER: Cell.without(error), _WHOLE_TOGETHER: Cell.without(error)}
    done = [session for answer in answers for session in answer["done"]]
    return {_TOGETHER: _rate(answers, _note(run, answers)), _WHOLE_TOGETHER: _whole(host, root, done, digests)}


def _measure(run: Run) -> list[Row]:
    if not run.conversations:
        return []
    path = run.folder / "conversations.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(conversation) + "\n" for conversation in run.conversations)
    given = run.conversations
    messages = sum(len(items) for _, items in given)
    found = each_peer(run, "replay", partial(_one_peer, run, path, given))
    group = f"Replay of {len(given):,} real conversations ({messages:,} messages), one message at a time"
    return columns(run, group, found, _HEADS)


REPLAY = Bench(WORKS, _measure)
