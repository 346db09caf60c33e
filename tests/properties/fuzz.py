"""Files of a store damaged at random: what every call must then still keep to. ``soak`` is the long form of test_fuzz.py."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hierstore import HierstoreError, Message, SessionStore, clock
from hierstore.log import frame
from tests import wrecks
from tests.figures import Figures
from tests.properties import edits, hostile
from tests.properties.asking import Shown, ask_everything, message_of
from tests.properties.edits import Edit
from tests.support import fill, lines_of, log_of

HANGS_AFTER_S = 120.0
"""One case takes a tenth of a second; one that takes this long does not end."""

KINDS = ("log",) * 10 + ("past", "past", "registry", "journal", "journal", "trash", "trash", "marker", "index", "names")


class Known(NamedTuple):
    """What a store holds before it is damaged.

    Attributes:
        root: the store.
        histories: of each living session, what it showed at each of its revisions; the last is what it shows.
        tokens: of each share that is open, the token and the session.
        keys: where each route key has led.
    """

    root: Path
    histories: dict[str, list[tuple[bytes, ...]]]
    tokens: dict[str, str]
    keys: dict[str, set[str]]


class Case(NamedTuple):
    """One damage: all that is needed to do it again.

    Attributes:
        kind: of which kind of file.
        number: which of them.
        edits: what becomes of its bytes.
        in_place: whether the file stays the same one, so that those who link it see it too.
        stamp: whether its mtime is ``"now"``, as it was (``"kept"``) or ``"older"``.
        writes_first: whether the sessions are written to before the repair.
    """

    kind: str
    number: int
    edits: tuple[Edit, ...]
    in_place: bool
    stamp: str
    writes_first: bool


def case_of(seed: int) -> Case:
    """The case of a number: of an odd one a forgery, whose checksums are right; of an even one damage."""
    source = random.Random(seed)
    forged = seed % 2 == 1
    kind = source.choice(("log", "log", "past", "trash", "registry") if forged else KINDS)
    done = edits.drawn(source, forged=forged)
    stamp = source.choice(["now", "now", "kept", "older"])
    return Case(kind, source.randrange(1000), done, source.random() < 0.4, stamp, source.random() < 0.4)


def build(root: Path) -> Known:
    """A store with something of everything."""
    tokens = {}
    with SessionStore(root) as store:
        top = fill(store.create("top", title="T"), "1", "2", "3")
        fill(top.spawn("child", title="C"), "4").spawn("leaf")
        fill(top.fork("fork", at=3), "own").fork("twig")
        fill(store.create("Other/Id"), "x", "words y")
        fill(store.create("gone"), "bye").fork("gone fork")
        store.delete("gone", children="cascade")
        for key, name in (("key one", "child"), ("key two", "child"), ("key one", "leaf")):
            store.bind(key, name)
        top.set_title("words in a title")
        top.append("assistant", [{"type": "text", "text": "structured words"}], metadata={"k": [1]}, name="a name")
        top.extend([{"role": "user", "content": f"several {number}"} for number in range(3)])
        snap = top.snapshot("here")
        fill(top, "undone").revert(snap)
        top.add_usage(tokens=3, cost=0.25)
        top.set_ref("openai", "thread")
        top.update(metadata={"a": {"b": 1}}, labels=["x"], pinned=True)
        slim = fill(store.create("slim"), "1", "2", "3", "4")
        slim.revert(slim.messages[1].id)
        fill(slim, "5").compact(keep="present")
        fill(slim, "6", "\u00e9\U0001f600 accents").start_turn("t")
        for name in ("child", "top"):
            grant = store.get(name).share(role="append", subtree=name == "top")
            tokens[grant.token] = name
        list(store.sessions().items)
        histories = {
            node: [
                tuple(map(message_of, store.get(node).at(number).messages)) for number in _revisions(store.get(node))
            ]
            for node in _ids(store)
        }
        # A delete that a crash cut off.
        fill(store.create("half"), "1")
        nonce = lines_of(store, "half")[0]["nonce"]
        record = {"do": "delete", "batch": clock.new_id(), "root": "half", "sessions": [["half", nonce]], "orphans": []}
        (root / "aside.json").write_bytes(json.dumps(record).encode())
    return Known(root, histories, tokens, {"key one": {"child", "leaf"}, "key two": {"child"}})


def _ids(store: SessionStore) -> Iterator[str]:
    nodes = list(store.tree())
    while nodes:
        node = nodes.pop()
        yield node.id
        nodes.extend(node.children)


def _revisions(session: Any) -> list[int]:
    revisions = []
    for number in range(1, session.revision + 1):
        try:
            session.at(number)
        except HierstoreError:
            continue
        revisions.append(number)
    return revisions


def copy_of(source: Path, target: Path) -> Path:
    """A store's files with their links and times."""
    known: dict[int, str] = {}
    for folder, _, names in os.walk(source):
        beside = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(beside, mode=0o700)
        for name in names:
            path, copy = os.path.join(folder, name), os.path.join(beside, name)
            found = os.stat(path)
            if found.st_ino in known:
                os.link(known[found.st_ino], copy)
            else:
                shutil.copy2(path, copy)
                known[found.st_ino] = copy
    return target


# Damaging


def _targets(root: Path, kind: str) -> list[Path]:
    patterns = {
        "log": "sessions/*/*.jsonl", "past": "sessions/*/*.past*", "registry": "registry/*.jsonl", "trash": "trash/*",
        "marker": "hierstore.json", "index": "index/*", "journal": "tmp/*.json", "names": "sessions/*/*",
    }  # fmt: skip
    return sorted(path for path in root.glob(patterns[kind]) if path.is_file())


def damage(root: Path, case: Case, other: bytes) -> tuple[set[str], bytes]:
    """Do it.

    Returns:
        The names, without endings, of the logs that it may have changed, and the bytes that the file had.
    """
    if case.kind == "journal":
        (root / "aside.json").rename(root / "tmp" / f"{clock.new_id()}.json")
    paths = _targets(root, case.kind)
    path = paths[case.number % len(paths)]
    before, found = path.read_bytes(), path.stat()
    linked = {path} if not case.in_place else {at for at in root.rglob("*") if at.stat().st_ino == found.st_ino}
    if case.kind == "names":
        other_path = paths[case.number // 7 % len(paths)]
        _rename(path, other_path, case.number)
        linked |= {at for at in root.glob("sessions/*/*") if at.exists() and at.stat().st_ino == found.st_ino}
        linked |= {other_path, path}
    else:
        after = edits.edited(case.edits, before, other)
        if not case.in_place:
            path.unlink()
        path.write_bytes(after)
        path.chmod(0o600)
        if case.stamp != "now":
            at = found.st_mtime_ns - (10**9 if case.stamp == "older" else 0)
            os.utime(path, ns=(at, at))
    return {name for at in linked for name in (_stem(at),)}, before


def _rename(path: Path, other: Path, number: int) -> None:
    match number % 5:
        case 0:
            path.unlink()
        case 1:
            path.unlink()
            path.symlink_to(other)
        case 2:
            path.unlink()
            path.mkdir()
        case 3:
            aside = path.with_name("aside")
            path.rename(aside)
            if other.exists():
                other.rename(path)
            aside.rename(other)
        case _:
            path.rename(
                path.with_name(["a.jsonl", "~.jsonl", ".jsonl", "x" * 200 + ".jsonl", "top.past99"][number // 5 % 5])
            )


def _stem(path: Path) -> str:
    return path.name.partition(".past")[0].removesuffix(".jsonl")


# One case


def go_through(known: Known, folder: Path, case: Case, figures: Figures) -> None:
    """Damage a copy, ask everything, write, repair, and look whether all is as promised."""
    root = copy_of(known.root, folder / "store")
    try:
        _go_through(known, root, case)
    except Exception as error:
        error.add_note(f"repeat: tests.properties.fuzz.again({case!r})")
        raise
    finally:
        shutil.rmtree(root)
    figures.add("files forged" if edits.is_sealed(case.edits) else "files damaged")


def again(case: Case) -> None:
    """Repeat one case."""
    with tempfile.TemporaryDirectory() as folder:
        go_through(build(Path(folder) / "template"), Path(folder), case, Figures())


def _go_through(known: Known, root: Path, case: Case) -> None:
    other = log_of_any(known.root, case.number)
    with SessionStore(root) as warm:
        for session_id in known.histories:
            list(warm.get(session_id).messages)
        stems, before = damage(root, case, other)
        expected = _expected(known, warm, stems, case)
        kept = {name: data for name, data in wrecks.bytes_of(root).items() if name.startswith(("sessions/", "trash/"))}
        for options in ({"read_only": True}, {}):
            opened = attempt(lambda options=options: SessionStore(root, **options))
            if isinstance(opened, HierstoreError):
                assert case.kind == "marker", f"the store does not open: {opened!r}"
                return
            with opened as cold:
                ask_everything(cold, expected)
        ask_everything(warm, expected)
        written = _write(warm, expected) if case.writes_first else {}
    with SessionStore(root) as store:
        _repair(store, expected, case, written, kept, before)


def log_of_any(root: Path, number: int) -> bytes:
    """The bytes of some log."""
    logs = _targets(root, "log")
    return logs[number // 3 % len(logs)].read_bytes()


def attempt(call: Callable[[], Any]) -> Any:
    """What a call answers, or the documented error that it raises."""
    try:
        return call()
    except HierstoreError as error:
        return error


def _expected(known: Known, store: SessionStore, stems: set[str], case: Case) -> Shown:
    damaged = {name for name in known.histories if log_of(store, name).stem in stems}
    may_be_anything = damaged if edits.is_sealed(case.edits) and case.kind != "names" else set()
    keys = known.keys if case.kind != "registry" or not edits.is_sealed(case.edits) else {}
    is_loose = case.kind in ("index", "registry", "marker")
    return Shown(known.histories, damaged, may_be_anything, known.tokens, keys, is_loose, case.kind == "index")


def _write(store: SessionStore, expected: Shown) -> dict[str, str]:
    """Append to every session; what was taken is read back."""
    written = {}
    for session_id in expected.histories:
        answer = attempt(lambda session_id=session_id: store.get(session_id).append("user", f"new in {session_id}"))
        if isinstance(answer, Message):
            _read_back(store, session_id, answer)
            with SessionStore(store.root) as cold:
                _read_back(cold, session_id, answer, is_past_lost=session_id in expected.damaged)
            written[session_id] = answer.id
        else:
            assert session_id in expected.damaged, f"{session_id!r} takes no writes: {answer!r}"
    return written


def _read_back(store: SessionStore, session_id: str, written: Message, *, is_past_lost: bool = False) -> None:
    messages = attempt(lambda: store.get(session_id).messages)
    if is_past_lost and (isinstance(messages, HierstoreError) or not messages or messages[-1] != written):
        # Behind a past that was damaged nothing can be shown without mixing: it is in the log for when that is restored. Nor
        # can a store know of damage behind an equal stamp.
        assert written.id.encode() in log_of(store, session_id).read_bytes()
        return
    assert messages[-1] == written, f"{session_id!r} took {written!r} and shows {messages[-1]!r}"


def sound_end(data: bytes) -> int:
    """Where the longest run of valid lines ends; what ``frame.scan`` finds, found by sealing each line anew."""
    end = chain = 0
    for seq, line in enumerate(edits.lines_of(data)):
        body = line[: -frame.SEAL_BYTES]
        again, chain = frame.seal(body, chain)
        if again != line or not body.endswith(b',"seq":%d' % seq):
            break
        end += len(line)
    return end


def _repair(
    store: SessionStore, expected: Shown, case: Case, written: dict[str, str], kept: dict[str, bytes], before: bytes
) -> None:
    report = store.repair()
    if not case.writes_first and case.kind != "journal":
        assert list(wrecks.lost(kept, store.root)) == [], "a repair lost bytes"
    left = {finding.session_id for finding in report.left}
    places = {finding.path for finding in report.left}
    again = store.repair()
    assert again.done == (), f"a second repair still found something: {again.done}"
    with SessionStore(store.root) as cold:
        problems = [
            finding
            for finding in cold.check().problems
            if finding.path not in places and finding.session_id not in left
        ]
        assert problems == [], f"after a repair: {problems}; it left {report.left}"
        ask_everything(cold, expected._replace(written=written))
        if case.kind == "log" and not written and not edits.is_sealed(case.edits):
            _check_prefix(cold, expected, before, kept)
        for node in list(_ids(cold)):
            answer = attempt(lambda node=node: cold.get(node).append("user", "after the repair"))
            if isinstance(answer, HierstoreError):
                assert node in left, f"{node!r} takes no writes after a repair: {answer!r}"
            else:
                _read_back(cold, node, answer)


def _check_prefix(store: SessionStore, expected: Shown, before: bytes, kept: dict[str, bytes]) -> None:
    """Every commit before the first damaged byte is still in the log."""
    for session_id in expected.damaged:
        path = log_of(store, session_id)
        damaged = kept.get(str(path.relative_to(store.root)), b"")
        sound = damaged[: sound_end(damaged)]
        if sound.count(b"\n") > 1 and before.startswith(sound):
            assert path.read_bytes().startswith(sound), f"a repair lost valid commits of {session_id!r}"


@contextmanager
def watched(case: object) -> Iterator[None]:
    """End the process, with a word on why, when a case does not end."""

    def give_up() -> None:
        print(f"does not end, repeat: tests.properties.fuzz.again({case!r})", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.stderr)
        os._exit(3)

    timer = threading.Timer(HANGS_AFTER_S, give_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Damage files, and pass hostile values, until the time is over."""
    ends = time.monotonic() + seconds
    known = build(folder / "template")
    source = random.Random(seed)
    while time.monotonic() < ends:
        case = case_of(source.randrange(2**62))
        with watched(case):
            go_through(known, folder, case, figures)
        if source.random() < 0.05:
            with watched("hostile values"):
                hostile.soak_once(figures, folder / "hostile", source.randrange(2**62))
