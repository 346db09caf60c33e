"""What the store does on a system that moves and removes no open file, and has no links and no synced folders.

The system is Linux behind the seam that ``tests/faults/windows.py`` gives Windows' answers: nothing here ran on Windows.

Of the contract suite an ordinary run takes one test in ten. The whole, which the soak runs:
``python -m pytest -p tests.faults.windows tests/store``; with ``--scanner`` while another program opens files for moments.
What is not run and why is the table ``tests.faults.windows.NOT_THERE``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, SessionStore
from hierstore.disk import files
from tests.faults import windows as mode
from tests.faults.windows import ABSENT, ACCESS_DENIED, SHARING_VIOLATION, refused, run_contract, windows
from tests.processes import replaced
from tests.seam import OPERATIONS, before_and_after, descriptors, finish, is_legal, prepared, view
from tests.support import fill, log_of, texts

pytestmark = pytest.mark.skipif(
    os.name == "nt" or not os.path.isdir("/dev/fd"), reason="tells what this process has open by /dev/fd"
)

SEED = 5


def test_the_contract_holds_in_windows_mode(figures):
    figures.add("contract tests in Windows mode", run_contract(SEED, one_in=10))


NO_POSIX = """
import importlib, os, pkgutil, sys
# What they are built on has its own cases for Windows, and is there before the names go.
import ctypes, filelock, orjson, shutil, socket, sqlite3, subprocess, tempfile, uuid, watchdog.observers
for name in {absent!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
os.supports_dir_fd, os.supports_fd = set(), set()
import hierstore
for info in pkgutil.walk_packages(hierstore.__path__, "hierstore."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
from hierstore.disk import files
print(files.HAS_LINK, files.HAS_DIRECTORY_SYNC, files.HAS_FOLDER_DESCRIPTORS)
with hierstore.SessionStore({root!r}) as store:
    store.create("s").append("user", "hello there")
    store.get("s").fork("f")
    store.delete("s", children="orphan")
    store.restore("s")
    print(len(store.search("hello").items), len(store.sessions().items), store.check().ok)
"""


def test_it_is_imported_and_works_where_the_names_of_posix_are_missing(root):
    """Constants are asked once, when a module is imported: before any mode can change them."""
    code = NO_POSIX.format(absent=sorted(ABSENT), root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [*["False"] * 3, "1", "2", "True"]), done.stderr[-3000:]


# The mode itself


def test_the_mode_moves_and_removes_nothing_that_is_open(tmp_path):
    one, other = os.fsencode(tmp_path / "one"), os.fsencode(tmp_path / "other")
    for path in (one, other):
        Path(os.fsdecode(path)).touch()
    with windows(), replaced(files, SHARING_WAITS_S=()), open(one, "rb"):
        for call, winerror in (
            (lambda: files.unlink(one), SHARING_VIOLATION),
            (lambda: files.rename(one, one + b"x"), SHARING_VIOLATION),
            (lambda: files.replace(one, other), SHARING_VIOLATION),
            (lambda: files.replace(other, one), ACCESS_DENIED),
            (lambda: files.open_file(os.fsencode(tmp_path), files.READ), ACCESS_DENIED),
        ):
            with pytest.raises(PermissionError) as caught:
                call()
            assert caught.value.winerror == winerror
        with pytest.raises(FileExistsError):
            files.rename(other, one)
        assert not files.maybe_link(one, one + b"x")
        files.sync_directory(os.fsencode(tmp_path / "nowhere"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


# What is open between calls


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_log_stays_open_after_a_call(tmp_path, name):
    before, after = before_and_after(tmp_path, name)
    with windows(), prepared(tmp_path / "store", name) as store:
        OPERATIONS[name].run_or_be_refused(store)
        found = view(store)
        assert is_legal(OPERATIONS[name], found, before, after)
        assert found == after
        assert open_logs(tmp_path) == []
        finish(store, OPERATIONS[name], after)
        assert open_logs(tmp_path) == []


def open_logs(folder: Path) -> list[str]:
    """What this process has open below a folder, but for the locks."""
    return [target for _, target in descriptors() if target.startswith(str(folder)) and not target.endswith(".lock")]


def test_no_log_stays_open_after_a_call_that_failed(open_store):
    with windows():
        store = open_store()
        session = fill(store.create("s"), "one")
        store.create("child", parent="s")
        for call in (
            lambda: store.delete("s"),
            lambda: store.create("s"),
            lambda: session.append("user", "x", expected_revision=99),
            lambda: session.revert("nothing"),
            lambda: session.move("child"),
            session.undo_revert,
        ):
            with pytest.raises(HierstoreError):
                call()
            assert open_logs(store.root) == []
        path = log_of(store, "s")
        path.write_bytes(path.read_bytes() + b'torn\n{"message":')
        path.replace(path)
        session.append("user", "two")
        assert open_logs(store.root) == []


# Somebody else has it open


class Refusals:
    """Refuses the first calls as Windows does while another program has the file open, and then makes them."""

    def __init__(self, call: Any, count: int, winerror: int) -> None:
        self._call = call
        self.left = count
        self._winerror = winerror

    def __call__(self, path: Any, *args: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise refused(self._winerror, path)
        return self._call(path, *args, **options)


@pytest.mark.parametrize("winerror", [SHARING_VIOLATION, ACCESS_DENIED])
@pytest.mark.parametrize("name", ["unlink", "rename", "replace", "open_file"])
def test_a_file_that_somebody_has_open_for_a_moment_is_waited_for(tmp_path, name, winerror):
    path = os.fsencode(tmp_path / "file")
    Path(os.fsdecode(path)).touch()
    call = Refusals(getattr(files, name), 3, winerror)
    patient = files.patiently(call)
    answer = patient(path, {"open_file": files.READ}.get(name, path + b" moved")) if name != "unlink" else patient(path)
    if name == "open_file":
        os.close(answer)
    assert call.left == 0


def test_the_waiting_is_bounded_and_no_other_error_is_waited_for(tmp_path):
    assert sum(files.SHARING_WAITS_S) < 2.0
    call = Refusals(None, 10_000, SHARING_VIOLATION)
    with pytest.raises(PermissionError) as caught:
        files.patiently(call)(b"file")
    assert caught.value.winerror == SHARING_VIOLATION
    assert 10_000 - call.left == len(files.SHARING_WAITS_S) + 1
    for error in (PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file or directory")):
        calls = []

        def refuse(_path: Any, error: OSError = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            files.patiently(refuse)(b"file")
        assert calls == [1]


def test_a_delete_waits_for_a_reader_that_has_the_log_open(open_store):
    """A virus scanner, a backup, an editor: whoever opens a log on Windows keeps it from being moved meanwhile."""
    with windows():
        store = open_store()
        fill(store.create("s"), "kept")
        reader = open(log_of(store, "s"), "rb")  # noqa: SIM115  # closed by the timer
        timer = threading.Timer(0.05, reader.close)
        timer.start()
        store.delete("s")
        timer.join()
        store.restore("s")
        with open(log_of(store, "s"), "rb"), replaced(files, SHARING_WAITS_S=(0.001,)):
            with pytest.raises(HierstoreError) as caught:
                store.delete("s")
            assert caught.value.session_id == "s"
        with SessionStore(store.root) as other:
            # The journal says that it is deleted: who comes next finishes that.
            assert "s" not in other
            other.restore("s")
            assert texts(other.get("s")) == ["kept"]


def test_each_test_that_is_left_out_exists():
    """A test that was renamed would be run, or forgotten here."""
    source = "".join(path.read_text() for path in (Path(__file__).parents[1] / "store").glob("test_*.py"))
    for name in mode.NOT_THERE:
        assert f"def {name.partition('[')[0]}" in source
