"""Ids and values that nobody should pass, through every public call: taken and given back equal, or refused with nothing done."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import math
import os
import pathlib
import pickle
import random
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hierstore import HierstoreError, Session, SessionStore
from tests.figures import Figures
from tests.support import fill


class OwnError(Exception):
    """Raised by a caller's object: it is the caller's, and may come out of any call that is given one."""


class _Text(str):
    """Text that lies about itself wherever a subclass can."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"

    def __len__(self) -> int:
        return 3

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7

    def encode(self, *_: Any) -> bytes:
        return b"another"

    def strip(self, *_: Any) -> str:
        return "another"


class _Number(int):
    def __le__(self, other: object) -> bool:
        raise OwnError

    __lt__ = __ge__ = __gt__ = __le__


class _Map(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise OwnError

    def __iter__(self) -> Iterator[str]:
        return iter(["k"])

    def __len__(self) -> int:
        return 1


class _Dict(dict[str, Any]):
    def items(self) -> Any:
        raise OwnError


class _Mute:
    def __repr__(self) -> str:
        raise OwnError


class _Iterable:
    def __iter__(self) -> Iterator[Any]:
        yield "one"
        raise OwnError


class _Colour(enum.IntEnum):
    RED = 3


class _Word(enum.StrEnum):
    RED = "red"


def _cycle(kind: type) -> Any:
    value: Any = kind()
    if isinstance(value, dict):
        value["self"] = value
    else:
        value.append(value)
    return value


def nested(levels: int, kind: type = list) -> Any:
    """A value of so many levels."""
    value: Any = kind()
    for _ in range(levels - 1):
        value = {"k": value} if kind is dict else [value]
    return value


TEXTS = [
    "", ".", "..", "...", "/", "a/b", "../../etc/passwd", "/etc/passwd", "C:\\x", "a\\b", "a:b", "a\0b", "\0", "x" * 64, "x" * 65,
    "x" * 512, "x" * 513, "\U0001f600" * 512, "x" * 4096, "x" * 4097, "CON", "con", "nul", "nul.txt", "COM1", "trailing.",
    "trailing ", " leading", "\u00e9", "e\u0301", "\u212b", "\u00c5", "A", "a", "\u0130", "\u0131", "\u00df", "SS", "\ufb01",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u202eabc", "\u200fabc", "\u2066x\u2069", "line\nbreak", "line\r\nbreak", "\t",
    "\x1b[31m", "\x7f", "\u2028", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\ud800", "a\udfff", "\udc80", "%2e%2e", "~", "a~b",
    "-", "--help", "*", '"', "'", "'; drop table x; --", "NEAR(", '"*"', "AND", "OR", "^a", "x.jsonl", "x.past0", "tree",
    "registry 00", "__proto__", "null", "0", "1", "-1", "1e5", "NaN", "{}", "\u0660", "\u0000\u0000",
]  # fmt: skip

VALUES: dict[str, Callable[[], Any]] = {
    **{ascii(text)[:40]: lambda text=text: text for text in TEXTS},
    "lying text": lambda: _Text("lying"), "text enum": lambda: _Word.RED, "None": lambda: None, "True": lambda: True,
    "False": lambda: False, "0": lambda: 0, "-1": lambda: -1, "-0.0": lambda: -0.0, "1.5": lambda: 1.5, "5e-324": lambda: 5e-324,
    "nan": lambda: math.nan, "inf": lambda: math.inf, "-inf": lambda: -math.inf, "2**53": lambda: 2**53,
    "2**53+1": lambda: 2**53 + 1, "2**63": lambda: 2**63, "-2**63": lambda: -(2**63), "-2**63-1": lambda: -(2**63) - 1,
    "2**64-1": lambda: 2**64 - 1, "2**64": lambda: 2**64, "10**400": lambda: 10**400, "10**5000": lambda: 10**5000,
    "1e308": lambda: 1e308, "lying number": lambda: _Number(5), "int enum": lambda: _Colour.RED,
    "bytes": lambda: b"x", "bytearray": lambda: bytearray(b"x"), "memoryview": lambda: memoryview(b"x"),
    "set": lambda: {1}, "frozenset": lambda: frozenset("a"), "object": object, "a class": lambda: dict, "complex": lambda: 1j,
    "decimal": lambda: decimal.Decimal("1.5"), "date": lambda: datetime.datetime(2038, 1, 19), "path": lambda: pathlib.Path("a"),
    "ellipsis": lambda: ..., "a function": lambda: len, "a generator": lambda: (item for item in "ab"),
    "empty list": list, "empty dict": dict, "list": lambda: [1, "a", None], "tuple": lambda: (1, ("a",)), "range": lambda: range(3),
    "dict": lambda: {"a": {"b": [1]}}, "ordered": lambda: collections.OrderedDict(b=1, a=2),
    "proxy": lambda: types.MappingProxyType({"a": 1}), "counter": lambda: collections.Counter("aab"),
    "named tuple": lambda: collections.namedtuple("Pair", "a b")(1, 2),
    "key 1": lambda: {1: 2}, "key None": lambda: {None: 2}, "key bytes": lambda: {b"a": 2}, "key tuple": lambda: {(): 2},
    "key surrogate": lambda: {"\ud800": 1}, "key empty": lambda: {"": 1}, "key nul": lambda: {"\0": 1},
    "key lying": lambda: {_Text("k"): 1}, "keys 1 and '1'": lambda: {1: 1, "1": 2}, "surrogate within": lambda: {"a": ["\ud83d"]},
    "key mute": lambda: {_Mute(): 1}, "key huge": lambda: {10**5000: 1}, "keys alike": lambda: {_Text("k"): 1, "k2": 2},
    "cycle of lists": lambda: _cycle(list), "cycle of dicts": lambda: _cycle(dict), "nan within": lambda: [[math.nan]],
    "huge within": lambda: {"a": [2**64]}, "raising mapping": _Map, "raising dict": lambda: _Dict(a=1), "mute": _Mute,
    "raising iterable": _Iterable, "list of a mute": lambda: [_Mute()], "role only": lambda: {"role": "user"},
    "message": lambda: {"role": "user", "content": "x", "name": "\0", "extra": {"a": [1]}},
    "message of itself": lambda: {"role": "user", "content": "x", "content_": _cycle(list)},
    **{f"{levels} levels": lambda levels=levels: nested(levels) for levels in (199, 200, 201, 254, 255, 1024, 1025, 100_000)},
    **{f"{levels} dicts": lambda levels=levels: nested(levels, dict) for levels in (199, 200, 201, 254, 1024)},
}  # fmt: skip

LARGE: dict[str, Callable[[], Any]] = {
    "16 MiB of text": lambda: "x" * 2**24, "and one more": lambda: "x" * (2**24 + 1), "16 MiB of emoji": lambda: "\U0001f600" * 2**22,
    "and one more emoji": lambda: "\U0001f600" * (2**22 + 1), "16 MiB of zeros": lambda: "\0" * 2**24,
    "a long list": lambda: [0] * 2**23, "a longer list": lambda: [0] * (2**23 + 1), "many keys": lambda: dict.fromkeys(map(str, range(10**5))),
}  # fmt: skip
"""At the record's cap, and beyond."""


def as_json(value: Any) -> Any:
    """What JSON makes of a value that was taken."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {as_json(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value]


class Call(NamedTuple):
    """A public call that is given a value.

    Attributes:
        make: makes it, and answers what came back of the value.
        sent: what ought to have come back, of the value; None: nothing does.
        writes: whether it may change the store when it does not raise.
        raises: what Python itself says of an argument of the wrong kind, where the contract names no error for it.
    """

    make: Callable[[SessionStore, Any], Any]
    sent: Callable[[Any], Any] | None = None
    writes: bool = True
    raises: type[Exception] = OwnError


def _cold(store: SessionStore, session_id: str) -> Session:
    """The session as another process would read it."""
    store._engine.cache.clear()
    return store.get(session_id)


def _last(store: SessionStore) -> Any:
    return _cold(store, "s").messages[-1]


def _created(store: SessionStore, **options: Any) -> Any:
    return _cold(store, store.create(**options).id)


def _of_id(make: Callable[[SessionStore, Any], Session]) -> Call:
    """A call that makes a session of that id."""
    return Call(lambda store, value: _cold(store, make(store, value).id).id, as_json)


def _read(make: Callable[[SessionStore, Any], Any]) -> Call:
    return Call(make, None, writes=False)


def _bundle(store: SessionStore, value: Any) -> Any:
    bundle = store.export("s")
    bundle["sessions"][0]["session"] = value
    return store.import_bundle(bundle)


def _key(store: SessionStore) -> str:
    """A route key that leads nowhere yet."""
    return f"key {len(list(store.tree()))}"


def _s(store: SessionStore) -> Session:
    return store.get("s")


CALLS: dict[str, Call] = {
    # ids
    "create": Call(lambda store, value: _created(store, session_id=value).id, lambda value: None if value is None else as_json(value)),
    "get": _read(lambda store, value: store.get(value)),
    "get_or_create": _of_id(lambda store, value: store.get_or_create(value)),
    "in": _read(lambda store, value: value in store),
    "parent": Call(lambda store, value: store.create(parent=value)),
    "delete": Call(lambda store, value: store.delete(value)),
    "restore": Call(lambda store, value: store.restore(value)),
    "purge": Call(lambda store, value: store.purge(value)),
    "tree": _read(lambda store, value: store.tree(value)),
    "spawn": Call(lambda store, value: _cold(store, _s(store).spawn(value).id).id, lambda value: None if value is None else as_json(value)),
    "fork": Call(lambda store, value: _cold(store, _s(store).fork(value).id).id, lambda value: None if value is None else as_json(value)),
    "move": Call(lambda store, value: _s(store).move(value)),
    "bind to": Call(lambda store, value: store.bind("k", value)),
    "route's id": Call(lambda store, value: store.route(_key(store), session_id=value)),
    "route's parent": Call(lambda store, value: store.route(_key(store), parent=value)),
    "watch": _read(lambda store, value: store.watch(session=value, mode="off").close()),
    "search in": _read(lambda store, value: store.search("x", session=value)),
    "sessions below": _read(lambda store, value: store.sessions(parent=value)),
    "export": _read(lambda store, value: store.export(value)),
    "export_lines": _read(lambda store, value: list(store.export_lines(value))),
    "import below": Call(lambda store, value: store.import_bundle(store.export("s"), parent=value)),
    "import of": Call(_bundle),
    # values
    "content": Call(lambda store, value: (_s(store).append("user", value), _last(store).content)[1], as_json),
    "metadata of a message": Call(
        lambda store, value: (_s(store).append("user", "x", metadata={"k": value}), _last(store).metadata["k"])[1], as_json),
    "metadata as it is": Call(
        lambda store, value: (_s(store).append("user", "x", metadata=value), _last(store).metadata)[1],
        lambda value: as_json(value) if value else {}),
    "field": Call(lambda store, value: (_s(store).append("user", "x", name=value), _last(store).fields["name"])[1], as_json),
    "extend": Call(lambda store, value: _s(store).extend(value), raises=TypeError),
    "extend with": Call(lambda store, value: _s(store).extend([value])),
    "role": Call(lambda store, value: (_s(store).append(value, "x"), _last(store).role)[1], as_json),
    "message_id": Call(
        lambda store, value: (_s(store).append("user", "x", message_id=value), _last(store).id)[1],
        lambda value: None if value is None else as_json(value)),
    "expected_revision": Call(lambda store, value: _s(store).append("user", "x", expected_revision=value)),
    "title": Call(lambda store, value: (_s(store).set_title(value), _cold(store, "s").title)[1], as_json),
    "title's source": Call(lambda store, value: _s(store).set_title("t", source=value)),
    "title at birth": Call(lambda store, value: _created(store, title=value).title, as_json),
    "kind": Call(lambda store, value: _created(store, kind=value).kind, as_json),
    "label": Call(lambda store, value: next(iter(_created(store, labels=[value]).labels)), as_json),
    "labels": Call(lambda store, value: _created(store, labels=value).labels),
    "metadata at birth": Call(
        lambda store, value: _created(store, metadata=value).metadata, lambda value: {} if value is None else as_json(value)),
    "update metadata": Call(
        lambda store, value: (_s(store).update(metadata={"k": value}), _cold(store, "s").metadata.get("k"))[1], as_json),
    "update with": Call(lambda store, value: _s(store).update(metadata=value)),
    "update labels": Call(lambda store, value: _s(store).update(labels=value)),
    "pinned": Call(lambda store, value: _s(store).update(pinned=value)),
    "archived": Call(lambda store, value: _s(store).update(archived=value)),
    "snapshot's label": Call(lambda store, value: (_s(store).snapshot(value), _cold(store, "s").snapshots[-1].label)[1], as_json),
    "snapshot's metadata": Call(
        lambda store, value: (_s(store).snapshot("x", value), _cold(store, "s").snapshots[-1].metadata)[1],
        lambda value: {} if value is None else as_json(value)),
    "reset": Call(lambda store, value: _s(store).reset(value)),
    "ref": Call(lambda store, value: (_s(store).set_ref("r", value), _cold(store, "s").refs.get("r"))[1], as_json),
    "ref's name": Call(lambda store, value: (_s(store).set_ref(value, 1), _cold(store, "s").refs[as_json(value)])[1], lambda _: 1),
    "if_equals": Call(lambda store, value: _s(store).set_ref("r", 1, if_equals=value)),
    "usage": Call(lambda store, value: _s(store).add_usage(tokens=value)),
    "usage set": Call(lambda store, value: (_s(store).set_usage(tokens=value), _cold(store, "s").usage["tokens"])[1], as_json),
    "start_turn": Call(lambda store, value: _s(store).start_turn(value)),
    "end_turn": Call(lambda store, value: _s(store).end_turn(value)),
    "bind": Call(lambda store, value: (store.bind(value, "s"), _cold(store, "s"), store.resolve(value).id)[2], lambda _: "s"),  # type: ignore[union-attr]
    "resolve": _read(lambda store, value: store.resolve(value)),
    "unbind": Call(lambda store, value: store.unbind(value)),
    "route": Call(lambda store, value: store.route(value).id == store.route(value).id, lambda _: True),
    "reset_idle_s": Call(lambda store, value: store.route("idle", reset_idle_s=value)),
    "reset_hour": Call(lambda store, value: store.route("hour", reset_hour=value)),
    # targets
    "at": _read(lambda store, value: _s(store).at(value).messages),
    "revert": Call(lambda store, value: _s(store).revert(value)),
    "fork at": Call(lambda store, value: _s(store).fork(at=value)),
    # questions
    "search": _read(lambda store, value: store.search(value)),
    "search with operators": _read(lambda store, value: store.search(value, operators=True)),
    "search of a role": _read(lambda store, value: store.search("x", role=value)),
    "search after": _read(lambda store, value: store.search("x", after=value)),
    "search limit": _read(lambda store, value: store.search("x", limit=value)),
    "search context": _read(lambda store, value: store.search("x", context=value)),
    "sessions of a label": _read(lambda store, value: store.sessions(label=value)),
    "sessions of a kind": _read(lambda store, value: store.sessions(kind=value)),
    "sessions pinned": _read(lambda store, value: store.sessions(pinned=value)),
    "sessions after": _read(lambda store, value: store.sessions(after=value)),
    "sessions in order": _read(lambda store, value: store.sessions(order=value)),
    "sessions limit": _read(lambda store, value: store.sessions(limit=value)),
    "watch after": _read(lambda store, value: store.watch(after=value, mode="off").close()),
    # shares
    "open_share": _read(lambda store, value: store.open_share(value)),
    "share's role": Call(lambda store, value: _s(store).share(role=value)),
    "share's time": Call(lambda store, value: _s(store).share(expires_in_s=value)),
    "share's subtree": Call(lambda store, value: _s(store).share(subtree=value)),
    "unshare": Call(lambda store, value: _s(store).unshare(value)),
    # keeping
    "delete's children": Call(lambda store, value: store.delete("s", children=value), raises=ValueError),
    "purge by age": Call(lambda store, value: store.purge(max_age_days=value)),
    "prune by age": _read(lambda store, value: store.prune(max_age_days=value, dry_run=True)),
    "prune by count": _read(lambda store, value: store.prune(max_sessions=value, dry_run=True)),
    "prune by bytes": _read(lambda store, value: store.prune(max_bytes=value, dry_run=True)),
    "prune but": _read(lambda store, value: store.prune(max_age_days=0.5, keep=value, dry_run=True)),
    "compact": Call(lambda store, value: _s(store).compact(keep=value)),
    "import_bundle": Call(lambda store, value: store.import_bundle(value)),
    "import_lines": Call(lambda store, value: store.import_lines(value)),
    "import_lines of": Call(lambda store, value: store.import_lines([value])),
    "import_folder": Call(lambda store, value: store.import_folder(value), raises=TypeError),
    "on_conflict": Call(lambda store, value: store.import_bundle(store.export("s"), on_conflict=value)),
}  # fmt: skip


def stamps(root: Path) -> dict[str, tuple[int, int, int]]:
    """What tells whether anything was written, without reading it: not in ``locks/``, nor in the derived ``index/``."""
    found = {}
    for folder, _, names in os.walk(root):
        if os.path.basename(folder) not in ("locks", "index"):
            for name in names:
                stat = os.stat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _made(call: Call, store: SessionStore, value: Any, note: str) -> tuple[Any, Exception | None]:
    """What a call answers, or the error that it may raise."""
    try:
        return call.make(store, value), None
    except (HierstoreError, OwnError, call.raises) as error:
        return None, error
    except Exception as error:
        error.add_note(note)
        raise


def _check_error(error: HierstoreError, note: str) -> None:
    """It can be printed, and sent to another process."""
    # A path may hold bytes that are no text.
    str(error).encode("utf-8", "surrogateescape")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error)), note


def pass_one(store: SessionStore, call_name: str, value_name: str) -> None:
    """Pass one value to one call: as promised, or AssertionError."""
    if "s" not in store:
        fill(store.create("s"), "x")
    call, value = CALLS[call_name], {**VALUES, **LARGE}[value_name]()
    note = f"repeat: tests.properties.hostile, call {call_name!r} with {value_name!r}"
    before = stamps(store.root)
    came_back, error = _made(call, store, value, note)
    if error is not None:
        assert stamps(store.root) == before, f"refused with {error!r}, and yet something was written; {note}"
        if isinstance(error, HierstoreError):
            _check_error(error, note)
        return
    assert call.writes or stamps(store.root) == before, f"a call that reads has written; {note}"
    if call.sent is not None and (sent := call.sent({**VALUES, **LARGE}[value_name]())) is not None:
        assert type(came_back) is type(sent), f"{came_back!r:.200} came back; {note}"
        assert came_back == sent, f"{came_back!r:.200} came back; {note}"


def pass_all(figures: Figures, root: Path, pairs: list[tuple[str, str]]) -> None:
    """Pass values to calls, over one store, which must be sound in the end."""
    with SessionStore(root) as store:
        for call_name, value_name in pairs:
            pass_one(store, call_name, value_name)
            figures.add("hostile values")
        with SessionStore(root) as cold:
            assert cold.check().problems == ()


def soak_once(figures: Figures, folder: Path, seed: int) -> None:
    """Some pairs at random, the large ones among them, over a store of their own."""
    source = random.Random(seed)
    names = [*VALUES, *LARGE]
    pairs = [(source.choice(list(CALLS)), source.choice(names)) for _ in range(200)]
    pass_all(figures, folder / f"{seed}", pairs)
