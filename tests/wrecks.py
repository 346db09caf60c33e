"""Stores with one thing wrong each: how it is made, what a check finds, and what a repair does about it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hierstore import SessionStore, clock, sharing
from hierstore.disk.logfile import append_offline
from hierstore.log.events import event
from tests.processes import replaced
from tests.support import LogBuilder, fill, log_of

Kinds = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Wreck:
    """One kind of damage.

    Attributes:
        make: does it to a store that holds ``family``; may leave files of its own.
        found: the problems that a check tells of, as ``(kind, session)``.
        noted: the notes of a check; None: the same as the problems that a repair mends.
        done: what a repair reports to have done, in this order.
        left: what it reports to have left.
    """

    make: Callable[[SessionStore], None]
    done: Kinds = ()
    found: Kinds = ()
    noted: Kinds = ()
    left: Kinds = ()


def family(store: SessionStore) -> None:
    """A few sessions: two below one, a fork with a fork, route keys, shares, and something in the trash."""
    top = fill(store.create("top", title="T"), "1", "2", "3")
    fill(top.spawn("child", title="C"), "4").spawn("leaf")
    fill(top.fork("fork", at=3), "own").fork("twig")
    fill(store.create("Other/Id"), "x", "y")
    fill(store.create("gone"), "bye").fork("gone fork")
    store.delete("gone", children="cascade")
    for key in ("key one", "key two"):
        store.bind(key, "child")
    store.bind("key one", "leaf")
    # Not in a part with a key, by chance: what is damaged of the one would be of the other too.
    parts = {_part(store, key) for key in ("key one", "key two")}

    made = secrets.token_urlsafe

    def apart(size: int) -> str:
        while True:
            token = made(size)
            if _part_of(store, sharing.digest_of(store._engine, token)) not in parts:
                return token

    with replaced(secrets, token_urlsafe=apart):
        store.get("child").share()


def opened(store: SessionStore, session_id: str) -> tuple[Path, bytes, list[int]]:
    """A log, its bytes, and where its lines end."""
    log = log_of(store, session_id)
    data = log.read_bytes()
    return log, data, [place + 1 for place, byte in enumerate(data) if byte == 10]


def flip(path: Path, place: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _torn(store: SessionStore) -> None:
    log, data, _ = opened(store, "child")
    log.write_bytes(data + b'{"message":{"seq":9,"id"')


def _hole(store: SessionStore) -> None:
    log, data, ends = opened(store, "child")
    log.write_bytes(data[: ends[2]] + bytes(50) + data[ends[2] + 50 :])


def _middle(store: SessionStore) -> None:
    log, _, ends = opened(store, "Other/Id")
    flip(log, ends[1] + 30)


def _last_line(store: SessionStore) -> None:
    log, _, ends = opened(store, "Other/Id")
    flip(log, ends[-2] + 30)


def _middle_of_a_parent(store: SessionStore) -> None:
    log, _, ends = opened(store, "top")
    flip(log, ends[1] + 30)


def _sealed(*bodies: bytes) -> Callable[[SessionStore], None]:
    def make(store: SessionStore) -> None:
        builder = LogBuilder("sealed")
        builder.messages(("user", "kept"))
        for number, body in enumerate(bodies, 3):
            builder.seal(body % number)
        store.create("sealed")
        log_of(store, "sealed").write_bytes(builder.data)

    return make


def _beginning(store: SessionStore) -> None:
    log, _, _ = opened(store, "child")
    flip(log, 30)


def _beginning_of_a_fork(store: SessionStore) -> None:
    log = log_of(store, "fork")
    # Another file: a fork of it has its own link.
    log.unlink()
    log.write_bytes(b"no log at all\n")


def _never_synced(data: bytes) -> Callable[[SessionStore], None]:
    def make(store: SessionStore) -> None:
        store.create("new")
        log_of(store, "new").write_bytes(data)

    return make


def _no_parent(store: SessionStore) -> None:
    log_of(store, "child").unlink()


def _offline(store: SessionStore, session_id: str, name: str, **payload: object) -> None:
    path = store._engine.layout.log(session_id)
    assert append_offline(path, session_id, lambda _: [event(name, **payload)])


def _cycle(store: SessionStore) -> None:
    _offline(store, "top", "moved", parent="leaf")
    _offline(store, "leaf", "child", id="top")


def _journal(store: SessionStore, data: bytes) -> None:
    (store.root / "tmp" / f"{clock.new_id()}.json").write_bytes(data)


def _half_deleted(store: SessionStore) -> None:
    nonce = json.loads(log_of(store, "leaf").read_text().splitlines()[0])["nonce"]
    record = {"do": "delete", "batch": clock.new_id(), "root": "leaf", "sessions": [["leaf", nonce]], "orphans": []}
    _journal(store, json.dumps(record).encode())


def _stray(name: str, data: bytes = b"bytes of a dead process") -> Callable[[SessionStore], None]:
    def make(store: SessionStore) -> None:
        path = store.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    return make


def _pasts(store: SessionStore, session_id: str) -> list[Path]:
    log = log_of(store, session_id)
    return sorted(log.parent.glob(f"{log.stem}.past*"))


def _linked_past(store: SessionStore) -> None:
    log = log_of(store, "child")
    os.link(log, log.parent / "never.past0")


def _unnamed_past(store: SessionStore) -> None:
    log = log_of(store, "child")
    (log.parent / "child.past7").write_bytes(b"nobody names it")


def _own_past(store: SessionStore) -> None:
    past = _pasts(store, "twig")[0]
    data = bytearray(past.read_bytes())
    past.unlink()
    data[data.index(b'"content":"2"') + 11] ^= 1
    past.write_bytes(data)


def _misplaced(session_id: str) -> Callable[[SessionStore], None]:
    def make(store: SessionStore) -> None:
        log = log_of(store, session_id)
        folder = store.root / "sessions" / "zz"
        folder.mkdir()
        for path in [*_pasts(store, session_id), log]:
            path.rename(folder / path.name.replace(log.stem, "elsewhere"))

    return make


def _duplicate(store: SessionStore) -> None:
    log = log_of(store, "child")
    (log.parent / "copy.jsonl").write_bytes(log.read_bytes())


def _garbage_in_the_place_of_a_misplaced_one(store: SessionStore) -> None:
    log = log_of(store, "leaf")
    log.rename(log.parent / "moved-by-hand.jsonl")
    log.write_bytes(b"not a log\n")


def _part(store: SessionStore, key: str) -> Path:
    from hierstore.naming import stripe_of

    return Path(os.fsdecode(store._engine.layout.registry(stripe_of(key))))


def _share_part(store: SessionStore) -> Path:
    return _part_of(store, store._engine.read(store._engine.entry("child")).facts.grants[0].digest)


def _part_of(store: SessionStore, digest: str) -> Path:
    return store.root / "registry" / f"{digest[-2:]}.jsonl"


def _registry_middle(store: SessionStore) -> None:
    """A rebinding is among what is lost."""
    path = _part(store, "key one")
    flip(path, path.read_bytes().index(b'"session":"leaf"') + 12)
    # A whole line behind it, so that nobody takes it for a commit that was never finished.
    with path.open("ab") as file:
        file.write(b'{"events":[],"at":1.0,"seq":9,"crc":"00000000"}\n')


def _remove(find: Callable[[SessionStore], Path]) -> Callable[[SessionStore], None]:
    return lambda store: find(store).unlink()


def _link(store: SessionStore) -> None:
    log = log_of(store, "leaf")
    log.unlink()
    log.symlink_to("elsewhere")


def _too_new(store: SessionStore) -> None:
    log = log_of(store, "leaf")
    log.write_bytes(log.read_bytes().replace(b'{"hierstore":1,', b'{"hierstore":7,'))


def _stray_folder(store: SessionStore) -> None:
    (log_of(store, "leaf").parent / "folder").mkdir()


def _damaged_trash(store: SessionStore) -> None:
    [path] = (store.root / "trash").glob("*.gone.jsonl")
    ends = [place + 1 for place, byte in enumerate(path.read_bytes()) if byte == 10]
    flip(path, ends[1] + 30)


_TOP_AND_ITS_FORKS: Kinds = (("corrupt", "fork"), ("corrupt", "top"), ("corrupt", "twig"))
_TWO_KEYS: Kinds = (("lost_route", "leaf"),)

WRECKS: dict[str, Wreck] = {
    "a torn tail": Wreck(_torn, (("torn_tail", "child"),), noted=(("torn_tail", "child"),)),
    "a hole": Wreck(
        _hole,
        (("hole", "child"), ("unlisted_child", "leaf")),
        found=(("unlisted_child", "leaf"),), noted=(("hole", "child"),),
    ),
    "damage in the middle": Wreck(_middle, (("corrupt", "Other/Id"),), (("corrupt", "Other/Id"),)),
    "damage in the last line": Wreck(_last_line, (("corrupt", "Other/Id"),), (("corrupt", "Other/Id"),)),
    "damage in a parent that forks share": Wreck(
        _middle_of_a_parent,
        (("corrupt", "top"), ("unlisted_child", "child")),
        (*_TOP_AND_ITS_FORKS, ("unlisted_child", "child")),
        left=(("corrupt", "twig"), ("corrupt", "fork")),
    ),
    "a sealed line that is no commit": Wreck(
        _sealed(b'{"nothing":1,"seq":%d', b'{"events":[{"type":"reset"}],"at":1.0,"seq":%d'),
        (("corrupt", "sealed"),), (("corrupt", "sealed"),),
    ),
    "a sealed event that cannot be folded": Wreck(
        _sealed(b'{"events":[{"type":"title"}],"at":1.0,"seq":%d'), (("corrupt", "sealed"),), (("corrupt", "sealed"),)
    ),
    "a sealed message that cannot be shown": Wreck(
        _sealed(b'{"message":{"seq":2,"id":"m"},"seq":%d'), (("corrupt", "sealed"),), (("corrupt", "sealed"),)
    ),
    "a parent that is no id": Wreck(
        _sealed(b'{"events":[{"type":"moved","parent":5}],"at":1.0,"seq":%d'),
        (("corrupt", "sealed"),), (("corrupt", "sealed"),),
    ),
    "a damaged beginning": Wreck(
        _beginning,
        (("corrupt", "child"), ("missing_parent", "leaf"), ("missing_child", "top")),
        (("corrupt", "child"),),
    ),
    "a fork with a damaged beginning": Wreck(
        _beginning_of_a_fork,
        (("corrupt", "fork"), ("missing_parent", "twig"), ("missing_child", "top"), ("stray", None)),
        (("corrupt", "fork"),),
    ),
    "an empty log": Wreck(_never_synced(b""), (("empty_log", "new"),), noted=(("empty_log", None),)),
    "a log of zeros": Wreck(_never_synced(bytes(4096)), (("empty_log", "new"),), noted=(("empty_log", None),)),
    "a missing parent": Wreck(
        _no_parent,
        (("missing_parent", "leaf"), ("missing_child", "top")),
        (("missing_parent", "leaf"),), noted=(("missing_child", "top"),),
    ),
    "an unlisted child": Wreck(
        lambda store: _offline(store, "Other/Id", "moved", parent="top"),
        (("unlisted_child", "Other/Id"),), (("unlisted_child", "Other/Id"),),
    ),
    "a note without a child": Wreck(
        lambda store: _offline(store, "top", "child", id="never"),
        (("missing_child", "top"),), noted=(("missing_child", "top"),),
    ),
    "a cycle": Wreck(_cycle, (("cycle", "leaf"),), (("cycle", "child"), ("cycle", "leaf"), ("cycle", "top"))),
    "a session that is its own parent": Wreck(
        lambda store: _offline(store, "Other/Id", "moved", parent="Other/Id"),
        (("cycle", "Other/Id"),), (("cycle", "Other/Id"), ("unlisted_child", "Other/Id")),
    ),
    "a delete that a crash cut off": Wreck(_half_deleted, (("pending", None),), noted=(("pending", None),)),
    "a record that cannot be read": Wreck(
        lambda store: _journal(store, b'{"do":"del'), (("pending", None),), noted=(("pending", None),)
    ),
    "a record that is no object": Wreck(
        lambda store: _journal(store, b"[1]\n"), (("pending", None),), noted=(("pending", None),)
    ),
    "a record of a kind unknown": Wreck(
        lambda store: _journal(store, b'{"do":"dance","sessions":[]}\n'),
        noted=(("pending", None),), left=(("pending", None),),
    ),
    "a file in tmp": Wreck(_stray("tmp/x.log"), (("stray", None),), noted=(("stray", None),)),
    "an import that died": Wreck(
        lambda store: (_stray("tmp/x.building", b"")(store), _stray("tmp/x.1.jsonl")(store), None)[-1],
        (("stray", None), ("stray", None)), noted=(("stray", None), ("stray", None)),
    ),
    "an empty file in tmp": Wreck(_stray("tmp/x.log", b""), (("stray", None),), noted=(("stray", None),)),
    "a file in the trash that is none of its": Wreck(
        _stray("trash/notes.txt"), (("stray", None),), noted=(("stray", None),)
    ),
    "a past without a log": Wreck(_stray("sessions/00/never.past0"), (("stray", None),), noted=(("stray", None),)),
    "a past in the trash without a log": Wreck(
        _stray("trash/batch.never.past0"), (("stray", None),), noted=(("stray", None),)
    ),
    "a past without a log, of which there is another link": Wreck(
        _linked_past, (("stray", None),), noted=(("stray", None),)
    ),
    "a past that its fork does not name": Wreck(_unnamed_past, (("stray", None),), noted=(("stray", None),)),
    "a misplaced log": Wreck(
        _misplaced("leaf"), (("misplaced", "leaf"),),
        (("misplaced", "leaf"),), noted=(("missing_child", "child"),),
    ),
    "a misplaced fork": Wreck(
        _misplaced("twig"), (("misplaced", "twig"),),
        (("misplaced", "twig"),), noted=(("missing_child", "fork"),),
    ),
    "a log that is there twice": Wreck(_duplicate, (("duplicate", "child"),), (("duplicate", "child"),)),
    "a misplaced log in whose place there is none": Wreck(
        _garbage_in_the_place_of_a_misplaced_one,
        (("corrupt", "leaf"), ("misplaced", "leaf")), (("corrupt", "leaf"), ("duplicate", "leaf")),
    ),
    "what is no log where none can be": Wreck(
        _stray("sessions/00/nonsense.jsonl"), (("stray", None),), noted=(("stray", None),)
    ),
    "a file of somebody else's": Wreck(_stray("sessions/00/notes.txt"), (("stray", None),), noted=(("stray", None),)),
    "a file beside the folders": Wreck(_stray("sessions/notes.txt"), (("stray", None),), noted=(("stray", None),)),
    "a folder of somebody else's": Wreck(_stray_folder, noted=(("stray", None),), left=(("stray", None),)),
    "a damaged part of the registry": Wreck(
        _registry_middle, (("corrupt", None), *_TWO_KEYS), (("corrupt", None),)
    ),
    "a torn part of the registry": Wreck(
        lambda store: _part(store, "key two").write_bytes(_part(store, "key two").read_bytes() + b'{"ev') and None,
        (("torn_tail", None),), noted=(("torn_tail", None),),
    ),
    "a part of the registry with a damaged beginning": Wreck(
        lambda store: flip(_part(store, "key two"), 5),
        (("corrupt", None), ("lost_route", "child")), (("corrupt", None), ("lost_route", "child")),
    ),
    "a part of the registry that is gone": Wreck(
        _remove(lambda store: _part(store, "key two")), (("lost_route", "child"),), (("lost_route", "child"),)
    ),
    "a part with a share that is gone": Wreck(
        _remove(_share_part), (("lost_share", "child"),), (("lost_share", "child"),)
    ),
    "a file that is no part of the registry": Wreck(
        _stray("registry/notes.txt"), (("stray", None),), noted=(("stray", None),)
    ),
    "a log that is a symbolic link": Wreck(_link, found=(("unreadable", None),), left=(("unreadable", "leaf"),)),
    "a log of a later version": Wreck(_too_new, found=(("unreadable", "leaf"),), left=(("unreadable", "leaf"),)),
    "a fork whose past is gone": Wreck(
        lambda store: _pasts(store, "twig")[0].unlink(), found=(("unreadable", "twig"),), left=(("unreadable", "twig"),)
    ),
    "a fork whose past is damaged": Wreck(
        _own_past, found=(("corrupt", "twig"),), left=(("corrupt", "twig"),)
    ),
    "damage in the trash": Wreck(_damaged_trash, noted=(("damaged_trash", "gone"),)),
}  # fmt: skip


def kinds(findings: object) -> list[tuple[str, str | None]]:
    """The kinds of findings, each with its session."""
    return [(finding.kind, finding.session_id) for finding in findings]  # type: ignore[attr-defined]


def bytes_of(root: Path) -> dict[str, bytes]:
    """Every file of a store with anything in it, by its name."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def lost(before: dict[str, bytes], root: Path) -> Iterator[str]:
    """The names of the files of which some byte is no longer in the store.

    A file is kept where some file is it, or begins with it; or begins as it did, with the rest in quarantine.
    """
    after = bytes_of(root)
    aside = [data for name, data in after.items() if name.startswith("quarantine/")]
    for name, data in before.items():
        if any(now.startswith(data) for now in after.values()):
            continue
        rests = [rest for rest in aside if data.endswith(rest)]
        if not any(now.startswith(data[: -len(rest)]) for rest in rests for now in (after.get(name, b""),)):
            yield name
