"""Roots and files that cannot be used: the right error with one sentence, and nothing written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import (
    FormatTooNew,
    HierstoreError,
    InvalidRoot,
    InvalidSessionId,
    ReadOnlyStore,
    SessionExists,
    SessionNotFound,
    SessionStore,
    UnreadableLog,
)
from hierstore.disk import files
from tests.support import contents, fill, log_of, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    OpenStore = Callable[..., SessionStore]

NOBODY = 65534


def assert_is_a_sentence(error: BaseException) -> None:
    text = str(error)
    assert text[0].isupper() or text[0] == "/"
    assert text.endswith(".")
    assert "\n" not in text


def refused(root: Any, kind: type[HierstoreError], match: str | None = None, **options: Any) -> HierstoreError:
    with pytest.raises(kind, match=match) as caught:
        SessionStore(root, **options)
    assert_is_a_sentence(caught.value)
    return caught.value


# Roots


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"shared": True}], ids=repr)
def test_a_root_that_is_a_file_is_refused(tmp_path: Path, options: dict[str, bool]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert refused(file, InvalidRoot, "is a file", **options).root == str(file)
    refused(file / "below", InvalidRoot, **options)
    assert file.read_text() == "mine"


def test_a_root_that_is_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "link", InvalidRoot)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_no_store_is_not_made_one_by_reading_it(tmp_path: Path) -> None:
    refused(tmp_path, InvalidRoot, "not a hierstore store", read_only=True)
    refused(tmp_path / "nope", InvalidRoot, "does not exist", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_durability_is_refused_before_anything_is_made(root: Path) -> None:
    with pytest.raises(ValueError, match="durability"):
        SessionStore(root, durability="never")  # type: ignore[arg-type]
    assert not root.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_root_that_others_can_write_to_is_refused_unless_it_is_said_to_be_shared(root: Path, mode: int) -> None:
    root.mkdir()
    root.chmod(mode)
    refused(root, InvalidRoot, "shared=True")
    assert list(root.iterdir()) == []
    with SessionStore(root, shared=True) as store:
        fill(store.create("s"), "x")
        assert store.check().ok
    refused(root, InvalidRoot, "shared=True", read_only=True)


def test_a_shared_stores_files_take_the_roots_permissions_whatever_the_umask(root: Path) -> None:
    root.mkdir()
    root.chmod(0o770)
    before = os.umask(0o077)
    try:
        with SessionStore(root, shared=True) as store:
            fill(store.create("s"), "x").fork("f")
            store.delete("f")
    finally:
        os.umask(before)
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o770 if path.is_dir() else 0o660), path


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o500])
def test_a_root_that_others_can_only_read_is_accepted(root: Path, mode: int) -> None:
    SessionStore(root).close()
    root.chmod(mode)
    with SessionStore(root) as store:
        assert store.tree() == ()
    root.chmod(0o700)


@pytest.mark.damages
def test_a_store_made_by_a_newer_format_is_refused_and_left_alone(root: Path) -> None:
    with SessionStore(root) as store:
        fill(store.create("s"), "x")
    marker = root / "hierstore.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "hierstore": 2}))
    before = contents(root)
    for options in ({}, {"read_only": True}):
        error = refused(root, FormatTooNew, "format 2.*upgrade", **options)
        assert (error.path, error.format, error.supported) == (str(marker), 2, 1)
    assert contents(root) == before


@pytest.mark.damages
@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "not json", '{"hierstore": null}', '{"hierstore": "x"}', "\0\0\0"], ids=repr
)
def test_a_damaged_marker_is_an_error_and_is_not_written_over(root: Path, text: str) -> None:
    SessionStore(root).close()
    (root / "hierstore.json").write_text(text)
    before = contents(root)
    refused(root, HierstoreError)
    assert contents(root) == before


@pytest.mark.damages
def test_a_single_log_of_a_newer_format_is_refused_and_hides_no_other(store: SessionStore) -> None:
    fill(store.create("new"), "x")
    fill(store.create("s"), "kept")
    path = log_of(store, "new")
    path.write_bytes(path.read_bytes().replace(b'{"hierstore":1,', b'{"hierstore":7,'))
    before = contents(store.root)
    with SessionStore(store.root) as cold:
        for call in (
            lambda: len(cold.get("new").messages),
            lambda: cold.get("new").append("user", "y"),
            lambda: cold.get_or_create("new").reset(),
            lambda: cold.delete("new"),
            lambda: cold.create("child", parent="new"),
            lambda: cold.get("s").move("new"),
        ):
            with pytest.raises(FormatTooNew, match="format 7") as caught:
                call()
            assert (caught.value.path, caught.value.format, caught.value.supported) == (str(path), 7, 1)
            assert_is_a_sentence(caught.value)
        with pytest.raises(SessionExists):
            cold.create("new")
        assert texts(cold.get("s")) == ["kept"]
        assert [finding.session_id for finding in cold.check().problems] == ["new"]
    assert contents(store.root) == before


# Ids

BAD_IDS = ["", "x" * 513, 5, None, b"x", ["s"], "a\ud800"]

ID_CALLS: dict[str, Callable[[SessionStore, Any], object]] = {
    "create": lambda store, bad: store.create(bad),
    "get": lambda store, bad: store.get(bad),
    "get_or_create": lambda store, bad: store.get_or_create(bad),
    "parent": lambda store, bad: store.create("new", parent=bad),
    "delete": lambda store, bad: store.delete(bad),
    "restore": lambda store, bad: store.restore(bad),
    "purge": lambda store, bad: store.purge(bad),
    "tree": lambda store, bad: store.tree(bad),
    "spawn": lambda store, bad: store.get("s").spawn(bad),
    "fork": lambda store, bad: store.get("s").fork(bad),
    "move": lambda store, bad: store.get("s").move(bad),
}
NONE_IS_FINE = {"create", "parent", "purge", "tree", "spawn", "fork", "move"}


@pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: repr(bad)[:12].encode("ascii", "replace").decode())
@pytest.mark.parametrize("name", ID_CALLS)
def test_what_is_no_id_is_refused_and_nothing_is_written(store: SessionStore, name: str, bad: Any) -> None:
    store.create("p")
    store.create("s", parent="p")
    if bad is None and name in NONE_IS_FINE:
        return
    before = contents(store.root)
    with pytest.raises(InvalidSessionId) as caught:
        ID_CALLS[name](store, bad)
    assert_is_a_sentence(caught.value)
    pickle.loads(pickle.dumps(caught.value))
    assert contents(store.root) == before
    assert bad not in store


# Files that the system does not let us read


@pytest.mark.damages
@pytest.mark.parametrize("target", ["outside", "another session", "nowhere"])
def test_a_symbolic_link_at_a_logs_path_is_refused(store: SessionStore, tmp_path: Path, target: str) -> None:
    fill(store.create("o"), "other's")
    session = fill(store.create("s"), "x")
    outside = tmp_path / "outside"
    outside.write_bytes(log_of(store, "s").read_bytes())
    path = log_of(store, "s")
    path.unlink()
    path.symlink_to(
        {"outside": outside, "another session": log_of(store, "o"), "nowhere": tmp_path / "nowhere"}[target]
    )
    before = outside.read_bytes(), log_of(store, "o").read_bytes()
    with SessionStore(store.root) as cold:
        for attempt in (lambda: len(cold.get("s").messages), lambda: cold.get("s").append("user", "y"), lambda: len(session.messages),
                        lambda: session.append("user", "y")):  # fmt: skip
            with pytest.raises((UnreadableLog, SessionNotFound) if target == "nowhere" else UnreadableLog) as caught:
                attempt()
            assert caught.value.session_id == "s"
            assert_is_a_sentence(caught.value)
    assert (outside.read_bytes(), log_of(store, "o").read_bytes()) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.damages
def test_a_symbolic_link_in_place_of_a_lock_is_refused(store: SessionStore, tmp_path: Path) -> None:
    session = store.create("s")
    target = tmp_path / "target"
    lock = Path(os.fsdecode(session._entry.stripe.path))
    lock.unlink()
    lock.symlink_to(target)
    with SessionStore(store.root) as cold:
        with pytest.raises(HierstoreError) as caught:
            cold.get("s").append("user", "x")
        assert_is_a_sentence(caught.value)
    assert not target.exists()


@pytest.mark.damages
def test_a_symbolic_link_in_place_of_a_forks_past_is_refused(store: SessionStore, tmp_path: Path) -> None:
    fill(store.create("p"), "x").fork("f")
    past = next(path for path in store.root.rglob("*.past*"))
    (tmp_path / "copy").write_bytes(past.read_bytes())
    past.unlink()
    past.symlink_to(tmp_path / "copy")
    with SessionStore(store.root) as cold:
        for attempt in (lambda: len(cold.get("f").messages), lambda: cold.get("f").append("user", "y")):
            with pytest.raises(UnreadableLog):
                attempt()
        assert texts(cold.get("p")) == ["x"]


@pytest.mark.damages
def test_a_pipe_in_place_of_a_log_does_not_block(store: SessionStore) -> None:
    store.create("s")
    path = log_of(store, "s")
    path.unlink()
    os.mkfifo(path)
    with SessionStore(store.root) as cold:
        with pytest.raises((UnreadableLog, SessionNotFound)):
            len(cold.get("s").messages)
        assert texts(fill(cold.create("s"), "x")) == ["x"]


@pytest.mark.parametrize("call", ["stat", "open_file"])
def test_an_io_error_is_raised_with_the_sessions_id_and_is_not_taken_for_a_missing_session(
    store: SessionStore, monkeypatch, call: str
) -> None:
    """behaviours 10"""
    fill(store.create("s"), "x")
    fill(store.create("o"), "other's")
    with SessionStore(store.root) as cold:
        real = getattr(files, call)

        def failing(path: bytes, *arguments: Any) -> Any:
            if os.path.basename(path) == b"s.jsonl":
                raise OSError(5, "Input/output error", os.fsdecode(path))
            return real(path, *arguments)

        monkeypatch.setattr(files, call, failing)
        for attempt in (lambda: len(cold.get("s").messages), lambda: cold.get("s").append("user", "y"),
                        lambda: cold.get_or_create("s").info, lambda: cold.delete("s")):  # fmt: skip
            with pytest.raises(HierstoreError) as caught:
                attempt()
            assert not isinstance(caught.value, SessionNotFound)
            assert caught.value.session_id == "s"
            assert caught.value.errno == 5
        with pytest.raises(HierstoreError):
            cold.create("s")
        assert texts(cold.get("o")) == ["other's"]
        monkeypatch.undo()
        assert texts(cold.get("s")) == ["x"]


# Folders of others


def in_a_child(work: Callable[[], Any], user: int | None) -> Any:
    """What ``work`` answers in a forked child, as another user if one is given."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            answer = work()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent shows it
            answer = error
        with os.fdopen(into, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        answer = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def unprivileged(work: Callable[[], Any]) -> Any:
    """What ``work`` answers as a user who may not do everything."""
    return in_a_child(work, NOBODY) if os.geteuid() == 0 else work()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can reach (pytest's own are closed to others)."""
    made = Path(tempfile.mkdtemp(prefix="hierstore-test-"))
    made.chmod(0o755)
    yield made
    for path in made.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(made)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs two users, and so to be root")
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@forks
def test_a_root_that_cannot_be_made_is_refused(folder: Path) -> None:
    folder.chmod(0o555)
    with pytest.raises(InvalidRoot) as caught:
        unprivileged(lambda: SessionStore(folder / "store"))
    assert_is_a_sentence(caught.value)
    assert list(folder.iterdir()) == []


@forks
def test_an_empty_folder_that_is_not_writable_is_refused(folder: Path) -> None:
    folder.chmod(0o555)
    with pytest.raises(InvalidRoot, match="not writable"):
        unprivileged(lambda: SessionStore(folder))
    assert list(folder.iterdir()) == []


@forks
@pytest.mark.skipif(os.geteuid() != 0, reason="the folder has to belong to root")
def test_a_folder_of_another_user_is_refused_unless_it_is_said_to_be_shared(folder: Path) -> None:
    os.chown(folder, 12345, 12345)
    with pytest.raises(InvalidRoot, match="another user"):
        unprivileged(lambda: SessionStore(folder))


@forks
@needs_root
def test_a_store_that_cannot_be_written_to_is_read_and_nothing_else(folder: Path) -> None:
    with SessionStore(folder, shared=True) as store:
        fill(store.create("s"), "1", "2")
    before = contents(folder)

    def work() -> tuple[list[str], str]:
        with SessionStore(folder, shared=True) as mine:
            session = mine.get("s")
            with pytest.raises(ReadOnlyStore) as caught:
                session.append("user", "3")
            return texts(session), str(caught.value)

    shown, sentence = unprivileged(work)
    assert shown == ["1", "2"]
    assert sentence.endswith(".")
    assert contents(folder) == before


def own(folder: Path) -> None:
    """Give a folder to the user that ``unprivileged`` works as."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


@forks
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_log_that_may_not_be_read_is_unreadable_and_neither_missing_nor_empty(folder: Path, what: str) -> None:
    with SessionStore(folder) as store:
        fill(store.create("s"), "x")
        fill(store.create("o"), "other's")
        path = log_of(store, "s")
        assert path.parent != log_of(store, "o").parent
    own(folder)
    before = contents(folder)
    (path if what == "file" else path.parent).chmod(0)

    def work() -> list[Any]:
        answers: list[Any] = []
        with SessionStore(folder) as mine:
            for attempt in (lambda: len(mine.get("s").messages), lambda: mine.get("s").append("user", "y"),
                            lambda: mine.create("s"), lambda: mine.get_or_create("s").info):  # fmt: skip
                with pytest.raises(HierstoreError) as caught:
                    attempt()
                answers.append(caught.value)
            answers.append(texts(mine.get("o")))
        return answers

    read, write, create, get_or_create, other = unprivileged(work)
    (path if what == "file" else path.parent).chmod(0o600 if what == "file" else 0o700)
    for error in (read, write, get_or_create):
        assert isinstance(error, UnreadableLog)
        assert (error.session_id, error.errno) == ("s", 13)
    assert not isinstance(create, SessionNotFound)
    assert other == ["other's"]
    assert contents(folder) == before
