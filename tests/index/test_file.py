"""The index's file: derived, lost and made again, and never in anybody's way."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hierstore import SessionStore, StoreClosed
from hierstore.disk import mounts
from hierstore.disk.index import database
from tests.index.plain import everything, index_files, open_files, walk, without_index
from tests.processes import replaced
from tests.support import contents, fill, holding, log_of


@pytest.fixture
def filled(store):
    """A store with some sessions, listed and searched."""
    for number in range(4):
        fill(store.create(f"s{number}", title=f"alpha {number}"), *[f"alpha {word}" for word in "abc"])
    assert answers(store)
    return store


def answers(store):
    """What is asked of it before and after."""
    hits = store.search("alpha", limit=100)
    titled = walk(store, order="title", limit=2)
    return store.sessions().items, hits.items, titled, everything(store, "alpha b", limit=2)


# Not in anybody's way


def test_a_program_that_does_not_list_does_not_load_sqlite(tmp_path):
    code = (
        "import sys; from hierstore import SessionStore\n"
        f"with SessionStore({str(tmp_path / 'store')!r}) as store:\n"
        "    store.create('a').append('user', 'x'); store.get('a').messages[0]; store.tree(); store.delete('a')\n"
        "assert 'sqlite3' not in sys.modules\n"
        "assert not any('index' in name for name in sys.modules if name.startswith('hierstore'))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert os.listdir(tmp_path / "store" / "index") == []


def test_without_the_index_everything_else_is_as_it_was(filled, root):
    before = {name: data for name, data in contents(root).items() if not name.startswith("index")}
    tree = filled.tree()
    without_index(root)
    assert filled.tree() == tree
    fill(filled.get("s1"), "more")
    assert len(filled.get("s1").messages) == 4
    assert filled.check().ok
    assert {name for name in contents(root) if not name.startswith("index")} == before.keys()


def test_files_are_the_owners_alone(filled, root):
    assert stat.S_IMODE((root / "index").stat().st_mode) == 0o700
    for path in (root / "index").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_shared_root_shares_its_index(tmp_path):
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o777)
    with SessionStore(root, shared=True) as store:
        fill(store.create("s"), "alpha")
        answers(store)
        for path in (root / "index").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o666, path


# Lost, damaged, of another version


def test_the_index_is_made_again_when_it_was_deleted(filled, root, open_store):
    before = answers(filled)
    without_index(root)
    assert answers(filled) == before
    filled.close()
    without_index(root)
    assert answers(open_store()) == before


def test_a_process_goes_over_to_the_index_that_others_made(filled, root, open_store):
    without_index(root)
    other = open_store()
    answers(other)
    answers(filled)
    (path,) = index_files(root)
    assert {Path(file).name for file in open_files(root / "index") if file.endswith(".sqlite")} == {path.name}
    fill(other.get("s1"), "alpha new")
    assert filled.sessions().items[0].preview == "alpha new"
    assert len(filled.search("new")) == 1


@pytest.mark.parametrize("at", [0, 50, 4096, 5000, 12_345, 40_000])
@pytest.mark.parametrize("open_while", [True, False])
def test_a_damaged_index_is_made_again(filled, root, open_store, at, open_while):
    before = answers(filled)
    if not open_while:
        filled.close()
    (path,) = index_files(root)
    for beside in (root / "index").glob("*-wal"):
        if not open_while:
            beside.unlink()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(200_000))
    store = open_store()
    assert answers(store) == before
    fill(store.get("s0"), "alpha new")
    assert store.sessions().items[0].preview == "alpha new"
    assert len(store.search("alpha new")) == 1
    store.close()
    (path,) = index_files(root)
    with sqlite3.connect(path) as made:
        assert made.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    made.close()


@pytest.mark.parametrize("data", [b"", b"no database", b"\0" * 100_000])
def test_a_file_that_is_no_index_is_made_one(filled, root, open_store, data):
    before = answers(filled)
    filled.close()
    (path,) = index_files(root)
    for file in (root / "index").iterdir():
        file.unlink()
    path.write_bytes(data)
    assert answers(open_store()) == before


def test_an_index_of_another_version_is_made_again(filled, root, open_store):
    before = answers(filled)
    filled.close()
    (path,) = index_files(root)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
        other.execute("UPDATE log SET preview = 'as that version understands it'")
    other.close()
    assert answers(open_store()) == before
    assert index_files(root) != [path]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE log SET labels = '{'", "UPDATE chunk SET body = x'00'",
        "UPDATE folder SET stamps = x'00'", "DELETE FROM fact", "DROP TABLE moved", "DELETE FROM chunk",
        "DELETE FROM role", "DROP TABLE text",
    ],
)  # fmt: skip
def test_rows_that_make_no_sense_are_made_again(filled, root, open_store, change):
    filled.close()
    (path,) = index_files(root)
    with sqlite3.connect(path) as other:
        other.execute(change)
    other.close()
    store = open_store()
    fill(store.get("s1"), "alpha new")
    store.get("s2").revert(1)
    store.get("s2").set_title("beta")
    found = answers(store)
    assert {info.id for info in found[0]} == {"s0", "s1", "s2", "s3"}
    without_index(root)
    assert answers(store) == found


def test_the_index_of_another_version_is_left_to_it(filled, root, open_store):
    before = answers(filled)
    other = root / "index" / "v2-14.0.0-ffff.sqlite"
    other.write_bytes(b"something that only that version reads")
    filled.close()
    assert answers(open_store()) == before
    assert other.read_bytes() == b"something that only that version reads"


# Where it lies


def test_an_earlier_index_is_removed(filled, root, open_store):
    (path,) = index_files(root)
    earlier = path.with_name(path.name[: path.name.rindex("-")] + "-0000-earlier.sqlite")
    for name in ("", "-wal", "-shm"):
        Path(f"{earlier}{name}").write_bytes(b"")
    filled.close()
    answers(open_store())
    assert index_files(root) == [path]
    assert not list((root / "index").glob("*earlier*"))


@pytest.mark.parametrize("data", [b"precious", b""])
@pytest.mark.parametrize("what", ["index", "file"])
def test_links_are_not_followed(filled, root, open_store, tmp_path, what, data):
    before = answers(filled)
    filled.close()
    target = tmp_path / "target"
    if what == "file":
        (path,) = index_files(root)
        for file in (root / "index").iterdir():
            file.unlink()
        target.write_bytes(data)
        path.symlink_to(target)
    else:
        without_index(root)
        target.mkdir()
        (root / "index").symlink_to(target)
    assert answers(open_store()) == before
    if what == "file":
        assert target.read_bytes() == data
    else:
        assert list(target.iterdir()) == []


def test_on_a_network_share_it_lies_in_the_users_cache(root, open_store, cache):
    with replaced(mounts, is_network=lambda path: path == os.fsencode(root)):
        store = open_store()
        fill(store.create("s"), "alpha")
        before = answers(store)
        assert os.listdir(root / "index") == []
        assert len(list(cache.glob("hierstore/*/*.sqlite"))) == 1
        assert answers(open_store()) == before
        assert len(list(cache.glob("hierstore/*/*.sqlite"))) == 1
        assert stat.S_IMODE(next(cache.glob("hierstore/*")).stat().st_mode) == 0o700


def test_the_mounts_of_the_system_tell_what_is_a_share(monkeypatch, tmp_path):
    from hierstore.disk import files

    table = [(b"/", "ext4"), (os.fsencode(tmp_path / "a"), "nfs4"), (os.fsencode(tmp_path / "a" / "b"), "ext4")]
    monkeypatch.setattr(files, "mounts", lambda: iter(table))
    assert not mounts.is_network(os.fsencode(tmp_path))
    assert mounts.is_network(os.fsencode(tmp_path / "a"))
    assert mounts.is_network(os.fsencode(tmp_path / "a" / "c"))
    assert not mounts.is_network(os.fsencode(tmp_path / "a" / "b" / "c"))
    assert not mounts.is_network(os.fsencode(tmp_path / "aa"))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN])
def test_where_sqlite_cannot_lock_it_lies_in_the_users_cache(root, open_store, cache, code):
    prepare = database._prepare

    def failing(connection, *, is_file):
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        if path.startswith(str(root)):
            error = sqlite3.OperationalError("no locks here")
            error.sqlite_errorcode = code
            raise error
        prepare(connection, is_file=is_file)

    with replaced(database, _prepare=failing):
        store = open_store()
        fill(store.create("s"), "alpha")
        answers(store)
        assert len(list(cache.glob("hierstore/*/*.sqlite"))) == 1
    assert not open_files(root / "index")


def test_a_read_only_store_writes_nothing_in_its_folder(filled, root, open_store, cache):
    before = answers(filled)
    filled.close()
    without_index(root)
    seen = contents(root)
    reader = open_store(read_only=True)
    assert answers(reader) == before
    assert contents(root) == seen
    assert len(list(cache.glob("hierstore/*/*.sqlite"))) == 1


def test_where_nothing_can_be_written_the_index_is_in_memory(filled, root, open_store, cache):
    before = answers(filled)
    filled.close()
    cache.write_bytes(b"a file where the cache should be")
    reader = open_store(read_only=True)
    assert answers(reader) == before
    with SessionStore(root) as writer:
        fill(writer.get("s1"), "alpha new")
    assert reader.sessions().items[0].preview == "alpha new"
    assert len(reader.search("new")) == 1


def test_a_full_disk_is_answered_from_memory(filled):
    before = answers(filled)
    filled._index._sql().execute("PRAGMA max_page_count = 1")
    for number in range(30):
        fill(filled.get("s0"), f"beta {number} " + "word " * 200)
    assert filled.sessions().items[0].id == "s0"
    assert len(filled.search("beta", limit=100)) == 30
    assert len(filled.search("alpha", limit=100)) == len(before[1])


# Processes, threads, life


def test_closing_the_store_closes_the_index(filled, root):
    assert open_files(root / "index")
    filled.close()
    assert not open_files(root / "index")
    with pytest.raises(StoreClosed):
        filled.sessions()
    with pytest.raises(StoreClosed):
        filled.search("alpha")


def test_a_store_that_is_let_go_closes_the_index(root, filled):
    filled.close()
    store = SessionStore(root)
    answers(store)
    del store
    assert not open_files(root / "index")


def test_a_forked_child_and_its_parent_go_on_each_by_itself(filled, root):
    before = answers(filled)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert not open_files(root / "index")
            assert answers(filled) == before
            fill(filled.get("s1"), "alpha child")
            assert filled.sessions().items[0].preview == "alpha child"
            assert len(filled.search("child")) == 1
            filled.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert filled.sessions().items[0].preview == "alpha child"
    assert len(filled.search("child")) == 1


def test_a_child_forked_while_a_thread_searches_has_an_index_of_its_own(filled, root):
    from hierstore.disk.index import index as module

    before = answers(filled)
    is_in, may_go = threading.Event(), threading.Event()

    def slowly(view):
        is_in.set()
        may_go.wait(30)

    with replaced(module, _FORK_WAIT_S=0.01):
        thread = threading.Thread(target=lambda: filled._index.listing(slowly))
        thread.start()
        is_in.wait(30)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert answers(filled) == before
            fill(filled.get("s1"), "alpha child")
            assert filled.sessions().items[0].preview == "alpha child"
            # Not the parent's, whose connection is at work: one in memory.
            assert filled._index._sql().execute("PRAGMA database_list").fetchone()[2] == ""
            status = 0
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        may_go.set()
        thread.join()
    assert filled.sessions().items[0].preview == "alpha child"


# Purging


def test_a_purge_leaves_nothing_in_the_index(filled, root, open_store):
    fill(filled.create("secret", title="Quetzalcoatl"), "xylophone zanzibar", "eichhörnchen")
    answers(filled)
    filled.search("xylophone")
    assert holding(root / "index", "zanzibar")
    filled.delete("secret")
    filled.search("alpha")
    filled.purge()
    for needle in ("xylophone", "zanzibar", "quetzalcoatl", "Quetzalcoatl", "eichhornchen", "secret"):
        assert holding(root, needle) == []
    assert len(filled.search("alpha", limit=100)) == 16
    filled.close()
    assert len(open_store().search("alpha", limit=100)) == 16


def test_a_purge_by_a_process_that_never_listed_leaves_nothing_either(filled, root, open_store):
    fill(filled.create("secret"), "zanzibar")
    filled.search("zanzibar")
    filled.close()
    other = open_store()
    other.delete("secret")
    other.purge()
    assert holding(root, "zanzibar") == []


def test_a_purge_keeps_in_the_index_what_a_fork_shows(filled, root):
    parent = fill(filled.create("parent"), "zanzibar", "xylophone")
    parent.fork("fork", at=parent.messages[0].id)
    filled.search("zanzibar")
    filled.delete("parent", children="orphan")
    filled.purge()
    assert [hit.session_id for hit in filled.search("zanzibar")] == ["fork"]
    assert holding(root, "xylophone") == []


def test_a_store_that_was_never_listed_has_no_index_after_a_purge(store, root):
    store.create("s")
    store.delete("s")
    store.purge()
    assert os.listdir(root / "index") == []


def test_what_a_session_shows_stays_one_run_as_it_grows(store):
    session = store.create("s")
    for number in range(10):
        fill(session, f"alpha {number}")
        store.search("alpha")
    spans = store._index.search(lambda view: view.sql.execute("SELECT lo, hi FROM span").fetchall())
    assert spans == [(1, 10)]


def test_only_what_is_new_of_a_log_is_read(store):
    from hierstore.disk import files

    session = store.create("s")
    session.extend([{"role": "user", "content": f"alpha {number}"} for number in range(2000)])
    fill(session, "one more")
    answers(store)
    size = log_of(store, "s").stat().st_size
    fill(session, "alpha new")
    read: list[int] = []

    def counting(fd, wanted, offset):
        read.append(wanted)
        return os.pread(fd, wanted, offset)

    with replaced(files, _read_some=counting):
        assert store.sessions().items[0].preview == "alpha new"
        store._index.search(lambda view: None)
    assert sum(read) < size // 100
