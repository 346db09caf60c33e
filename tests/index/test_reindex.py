"""``SessionStore.reindex``: the index made anew, whatever there was, under whoever uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hierstore import SessionStore, StoreClosed, WriteFailed
from tests.index.plain import index_files
from tests.support import fill


@pytest.fixture
def filled(store):
    for number in range(3):
        fill(store.create(f"s{number}", title=f"alpha {number}"), "beta", "gamma")
    store.create("gone")
    store.delete("gone")
    return store


def found(store: SessionStore) -> tuple[int, int]:
    return len(store.sessions().items), len(store.search("beta").items)


def test_it_tells_how_many_sessions_there_are_without_the_trash(filled):
    assert filled.reindex() == 3
    assert found(filled) == (3, 3)


def test_of_an_empty_store_it_knows_none(store):
    assert store.reindex() == 0


def test_the_file_is_another_and_the_only_one(filled, root):
    found(filled)
    before = set(index_files(root))
    filled.reindex()
    after = set(index_files(root))
    assert before
    assert after
    assert not before & after


def test_it_holds_the_text_too_so_that_the_next_search_reads_no_log(filled, root):
    filled.reindex()
    with SessionStore(root) as cold:
        assert found(cold) == (3, 3)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000, b"SQLite format 3\0" + b"\0" * 5000])
def test_whatever_stands_in_the_file_it_is_made_anew(filled, root, content):
    found(filled)
    for path in (root / "index").glob("*.sqlite"):
        path.write_bytes(content)
    with SessionStore(root) as other:
        assert other.reindex() == 3
        assert found(other) == (3, 3)
    assert found(filled) == (3, 3)


def test_an_index_that_lies_is_put_right(filled, root):
    import sqlite3

    found(filled)
    filled.close()
    (path,) = (root / "index").glob("*.sqlite")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE log SET title = 'wrong', title_order = 'wrong'")
    connection.commit()
    connection.close()
    with SessionStore(root) as store:
        assert {info.title for info in store.sessions()} == {"wrong"}, "nothing else tells that it lies"
        store.reindex()
        assert {info.title for info in store.sessions()} == {"alpha 0", "alpha 1", "alpha 2"}


def test_indexes_of_other_versions_go_too_and_nothing_else(filled, root):
    for name in ("v0-1.0.0-x.sqlite", "v0-1.0.0-x.sqlite-wal", "v9-99.0-y.sqlite", "notes.txt"):
        (root / "index" / name).write_text("")
    filled.reindex()
    left = os.listdir(root / "index")
    assert "notes.txt" in left
    assert not [name for name in left if name.startswith(("v0", "v9"))]


def test_who_has_the_old_one_open_goes_on_with_the_new_one(filled, root):
    with SessionStore(root) as other:
        assert found(other) == (3, 3)
        filled.reindex()
        fill(filled.create("s3"), "beta")
        assert found(other) == (4, 4)
        assert other.reindex() == 4
    assert found(filled) == (4, 4)


def test_another_process_goes_on_too(filled, root):
    code = (
        "import sys; from hierstore import SessionStore\n"
        "with SessionStore(sys.argv[1]) as store:\n"
        "    print(len(store.sessions().items), flush=True); input(); print(len(store.search('beta').items), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        filled.reindex()
        assert process.communicate("\n")[0] == "3\n"
        assert process.returncode == 0


def test_of_a_store_that_is_only_read_it_is_the_readers_own(filled, root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found(filled)
    before = set(index_files(root))
    with SessionStore(root, read_only=True) as reader:
        assert reader.reindex() == 3
    assert set(index_files(root)) == before
    assert list((tmp_path / "cache").rglob("*.sqlite"))


def test_a_link_in_the_place_of_the_folder_is_not_followed(filled, root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "v1-x.sqlite").write_text("mine")
    for path in (root / "index").iterdir():
        path.unlink()
    (root / "index").rmdir()
    (root / "index").symlink_to(elsewhere)
    assert filled.reindex() == 3
    assert (elsewhere / "v1-x.sqlite").read_text() == "mine"


def test_one_that_cannot_be_removed_is_an_error_of_its_own(filled, root):
    (root / "index" / "v1-x.sqlite").mkdir()
    with pytest.raises(WriteFailed, match="could not be made anew"):
        filled.reindex()
    (root / "index" / "v1-x.sqlite").rmdir()
    assert found(filled) == (3, 3)


def test_of_a_closed_store_it_is_an_error(filled):
    filled.close()
    with pytest.raises(StoreClosed):
        filled.reindex()
