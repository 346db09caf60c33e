"""An error at every system call of an import, and Ctrl-C there: all sessions are there afterwards, or none.

What was written down is finished by the next to open the store, so it is a store opened afterwards that is asked.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hierstore import DurabilityError, HierstoreError, InvalidRecord, SessionStore, WriteFailed
from tests.seam import Call, descriptors, ends_of_loops, hooked, is_change, list_calls
from tests.support import contents, texts
from tests.transfer.bundles import Bundle, as_lines, files_in, rich
from tests.transfer.cases import (
    CASES,
    NAMES,
    Glance,
    assert_tidy,
    before_and_after,
    bundle_of,
    foreign_folder,
    glance,
    prepared,
    use_all,
)

IMPATIENT_S = 1.0
Fail = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What is imported."""
    return bundle_of(tmp_path_factory.mktemp("source"))


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def eio(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The medium fails. A failing close closes all the same, as Linux does."""
    if name == "close":
        call()
    raise refuse(errno.EIO)


def enospc(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The disk is full: no room for a file, or for half of the bytes."""
    if name == "write":
        fd, data = args
        call(fd, bytes(data)[: len(data) // 2])
    raise refuse(errno.ENOSPC)


def emfile(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """No descriptor is left."""
    raise refuse(errno.EMFILE)


def interrupt_before(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Ctrl-C before the call. Before a close it would leave a descriptor open, which the language cannot prevent."""
    if name == "close":
        call()
    raise KeyboardInterrupt


def interrupt_after(name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Ctrl-C after the call. What opens something would leave it open."""
    answer = call()
    if name in ("open_file", "dup"):
        os.close(answer)
    elif name == "scandir":
        answer.close()
    raise KeyboardInterrupt


def failing(point: Call, fail: Fail, *, goes_on: bool = False) -> Any:
    """A hook that lets that call fail; and, if it goes on, every later one that changes something."""
    failed = False

    def hook(number: int, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nonlocal failed
        if not failed and number >= point.number and name == point.name:
            failed = True
            return fail(name, call, args)
        return fail(name, call, args) if failed and goes_on and is_change(name, args) else call()

    return hook


def calls_of(folder: Path, name: str, bundle: Bundle, **options: Any) -> list[Call]:
    root = folder / "calls"
    foreign_folder(folder / "calls foreign")
    with prepared(root, name, **options) as store:
        return ends_of_loops(list_calls(lambda: CASES[name].run(store, bundle)))


def sweep(
    folder: Path, name: str, bundle: Bundle, points: list[Call], fail: Fail, *, goes_on: bool = False, **options: Any
) -> None:
    """Let each of these calls fail, each on a store made anew; every one that did harm is told of."""
    before, after = before_and_after(folder, name, bundle)
    harm = []
    assert points
    for point in points:
        root = folder / f"{point.number}"
        try:
            _fail_once(root, name, bundle, failing(point, fail, goes_on=goes_on), before, after, options)
        except (AssertionError, HierstoreError, OSError, ValueError, LookupError, TypeError) as failure:
            lines = " < ".join(f"{os.path.basename(file)}:{line}" for file, line in point.place)
            what = f"{type(failure).__name__}: {failure}".splitlines()[0]
            harm.append(f"{fail.__name__} at {point.number} {point.name} from {lines}: {what[:300]}")
        shutil.rmtree(root)
    assert not harm, "\n".join([f"{len(harm)} of {len(points)} faults did harm:", *harm])


def _fail_once(
    root: Path, name: str, bundle: Bundle, hook: Any, before: Glance, after: Glance, options: dict[str, Any]
) -> None:
    opened, threads = descriptors(), threading.active_count()
    foreign_folder(root.parent / f"{root.name} foreign")
    with prepared(root, name, lock_timeout_s=IMPATIENT_S, **options) as store:
        error: BaseException | None = None
        try:
            with hooked(hook):
                CASES[name].run(store, bundle)
        except (HierstoreError, KeyboardInterrupt) as caught:
            error = caught
        _judge(root, store, name, bundle, error, before, after)
    assert descriptors() == opened, "a descriptor was leaked"
    assert threading.active_count() == threads


def _judge(
    root: Path,
    store: SessionStore,
    name: str,
    bundle: Bundle,
    error: BaseException | None,
    before: Glance,
    after: Glance,
) -> None:
    is_pending = any(file.endswith(".json") for file in files_in(root / "tmp"))
    with SessionStore(root, lock_timeout_s=IMPATIENT_S) as fresh:  # whose locks are others: none is still held
        found = glance(fresh)
        assert found in (before, after), f"half of it is there, after {error!r}"
        if error is None:
            assert found == after, "it was answered, and is not there"
        if isinstance(error, HierstoreError) and "othing was imported" in str(error):
            assert found == before, f"it is there, after {error!r}"
        if is_pending:
            assert found == after, "what was written down was not done"
        assert fresh.check().problems == ()
        assert_tidy(fresh)
        assert glance(fresh) == found
    if not isinstance(error, DurabilityError):
        assert glance(store) == found, f"this store shows another state than a fresh one, after {error!r}"
        CASES[name].again(store, bundle)
        if name != "new ids" or found == before:
            assert glance(store) == after
        use_all(store)


@pytest.mark.parametrize("name", CASES)
def test_an_io_error_at_every_system_call(tmp_path, bundle, name):
    """behaviours 10, 29"""
    sweep(tmp_path, name, bundle, calls_of(tmp_path, name, bundle), eio)


@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_at_every_system_call(tmp_path, bundle, name):
    """behaviours 10, 29"""
    points = [
        call for call in calls_of(tmp_path, name, bundle) if call.changes and call.name not in ("utime", "unlink")
    ]
    sweep(tmp_path, name, bundle, points, enospc)


@pytest.mark.parametrize("name", CASES)
def test_a_disk_that_fails_from_some_system_call_on(tmp_path, bundle, name):
    """behaviours 10, 29: what would clean up fails too"""
    points = [call for call in calls_of(tmp_path, name, bundle) if call.changes]
    sweep(tmp_path, name, bundle, points, enospc, goes_on=True)


@pytest.mark.parametrize("name", CASES)
def test_no_descriptor_left_at_every_open(tmp_path, bundle, name):
    """behaviours 10, 29"""
    opens = ("open_file", "dup", "scandir", "sync_directory")
    sweep(tmp_path, name, bundle, [call for call in calls_of(tmp_path, name, bundle) if call.name in opens], emfile)


@pytest.mark.parametrize("name", CASES)
def test_a_failing_sync_at_every_sync(tmp_path, bundle, name):
    """behaviours 10, 29"""
    calls = calls_of(tmp_path, name, bundle, durability="power")
    points = [call for call in calls if call.name in ("sync", "sync_directory", "dup")]
    sweep(tmp_path, name, bundle, points, eio, durability="power")


@pytest.mark.parametrize("fail", [interrupt_before, interrupt_after])
@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_at_every_system_call(tmp_path, bundle, name, fail):
    """behaviours 29"""
    sweep(tmp_path, name, bundle, calls_of(tmp_path, name, bundle), fail)


def test_an_error_before_anything_is_written_down_leaves_nothing_at_all(tmp_path, root, bundle):
    with prepared(tmp_path / "calls", "refuse") as store:
        calls = list_calls(lambda: CASES["refuse"].run(store, bundle))
    record = next(call.number for call in calls if call.name == "rename")
    written = 0
    for call in ends_of_loops(calls):
        if call.number >= record or not call.changes or call.name in ("utime", "unlink"):
            continue
        with prepared(root, "refuse") as store:
            before = contents(root)
            with hooked(failing(call, enospc)), pytest.raises(WriteFailed) as caught:
                CASES["refuse"].run(store, bundle)
            assert caught.value.errno == errno.ENOSPC
            assert str(caught.value).endswith(".")
            assert contents(root) == before, (call.name, call.place)
        shutil.rmtree(root)
        written += 1
    assert written > 5


# What others left


@pytest.mark.damages
@pytest.mark.parametrize(
    "left",
    [
        b"garbage",
        b"",
        b"[1]",
        b'"x"',
        b"null",
        b"{}",
        b'{"do":"import"}',
        b'{"do":"import","sessions":[]}',
        b'{"do":"later"}',
    ],
    ids=repr,
)
def test_a_record_that_says_nothing_is_in_no_imports_way(root, bundle, left):
    """A record of a later version, or one that a power cut left: a refused import is refused all the same."""
    with SessionStore(root) as store:
        (root / "tmp" / "00-left.json").write_bytes(left)
        before = contents(root)
        with pytest.raises(InvalidRecord):
            store.import_bundle({**bundle, "sessions": [*bundle["sessions"], "x"]})
        assert contents(root) == before
        store.import_bundle(bundle, on_conflict="refuse")
        assert {name for name in NAMES if name in store} == set(NAMES)
        store.import_lines(as_lines(bundle))
        assert store.check().problems == ()


def test_a_second_import_while_the_first_waits_to_be_finished_changes_nothing_of_it(root, bundle, tmp_path):
    with prepared(root, "refuse") as store:
        calls = list_calls(lambda: CASES["refuse"].run(store, bundle))
    shutil.rmtree(root)
    # The last log's way to its place fails: the others have theirs, and the record waits.
    last = [call for call in calls if call.name == "rename"][-1]
    with prepared(root, "refuse") as store:
        with hooked(failing(last, eio)), pytest.raises(WriteFailed):
            CASES["refuse"].run(store, bundle)
        assert [file for file in files_in(root / "tmp") if file.endswith(".json")]
        store.import_bundle(bundle, on_conflict="new_ids")
        store.import_bundle(bundle, on_conflict="skip", parent="parent")
    with SessionStore(root) as store:
        assert {name for name in NAMES if name in store} == set(NAMES)
        assert texts(store.get("twig")) == ["hello", "hi", "own"]
        assert store.check().problems == ()
        assert_tidy(store)
        assert len(store.get("top").descendants()) == 4
        use_all(store)


def test_an_export_that_fails_to_read_is_the_stores_own_error(root, tmp_path):
    with SessionStore(root) as store:
        rich(store)
        wanted = json.dumps(store.export("top"))
    with SessionStore(root) as cold:
        points = ends_of_loops(list_calls(lambda: cold.export("top")))
    harm = []
    for point in points:
        with SessionStore(root) as store:
            try:
                with hooked(failing(point, eio)):
                    found = json.dumps(store.export("top"))
                if found != wanted:
                    harm.append(f"shorter after {point}")
            except HierstoreError:
                pass
            except OSError as error:
                harm.append(f"{error!r} at {point}")
            assert json.dumps(store.export("top")) == wanted
    assert not harm, "\n".join(harm)
