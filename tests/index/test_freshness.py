"""No answer is stale: what was finished before a listing or search began is in it, whoever did it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hierstore import SessionStore, clock
from hierstore.disk import files
from hierstore.disk.index import index as index_module
from hierstore.disk.index import searching
from hierstore.log import frame
from hierstore.log.events import Draft, commit, event, header, message_commit
from tests.index.plain import everything, found, infos, names, open_files
from tests.processes import hear, replaced, say, store_at
from tests.support import fill, log_of


def append(root: Path, session_id: str, text: str) -> None:
    """In a child."""
    store_at(root).get_or_create(session_id).append("user", text)


def do(root: Path, method: str, *args, **options) -> None:
    """In a child: a store's method."""
    getattr(store_at(root), method)(*args, **options)


def listed(root: Path) -> dict[str, tuple[int, str | None]]:
    """In a child: what a listing shows of each session."""
    return shown(store_at(root))


def searched(root: Path, query: str, **options) -> list[str]:
    """In a child: the texts that a search finds."""
    return texts(store_at(root), query, **options)


def shown(store: SessionStore) -> dict[str, tuple[int, str | None]]:
    """What a listing shows of each session."""
    return {info.id: (info.message_count, info.preview) for info in store.sessions(limit=1000)}


def texts(store: SessionStore, query: str, **options) -> list[str]:
    """The texts that a search finds."""
    return sorted(hit.message.content for hit in store.search(query, **options) if hit.message)


def test_what_another_process_wrote_is_listed_and_found_at_once(start, root, store):
    writer = start()
    for number in range(20):
        writer.call(append, root, "s", f"alpha w{number}")
        (info,) = store.sessions()
        assert (info.message_count, info.preview) == (number + 1, f"alpha w{number}")
        assert len(store.search(f"w{number}")) == 1
    writer.call(do, root, "delete", "s")
    assert store.sessions().items == store.search("alpha").items == ()
    writer.call(do, root, "restore", "s")
    assert len(store.sessions()) == 1
    writer.call(do, root, "delete", "s")
    writer.call(do, root, "purge")
    writer.call(append, root, "s", "beta")
    (info,) = store.sessions()
    assert (info.message_count, info.preview) == (1, "beta")
    assert store.search("alpha", deleted=True, reverted=True).items == ()


def test_two_processes_that_keep_the_index_open_see_each_others_writes(start, root, store):
    other = start()
    for number in range(10):
        fill(store.get_or_create("mine"), f"mine w{number}")
        assert other.call(listed, root)["mine"] == (number + 1, f"mine w{number}")
        assert other.call(searched, root, f"w{number}") == [f"mine w{number}"]
        other.call(append, root, "theirs", f"theirs v{number}")
        assert shown(store)["theirs"] == (number + 1, f"theirs v{number}")
        assert texts(store, f"v{number}") == [f"theirs v{number}"]


def test_a_session_made_anew_with_equal_size_and_time_is_noticed(store, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 1_000_000.25)
    for number in range(10, 40):
        fill(store.create("s", title=f"t{number}"), f"w{number}")
        (info,) = store.sessions()
        assert (info.title, info.preview) == (f"t{number}", f"w{number}")
        assert len(store.search(f"w{number}")) == len(store.search(f"t{number}")) == 1
        assert store.search(f"w{number - 1}").items == ()
        store.delete("s")
        store.purge()


@pytest.mark.damages
def test_a_commit_that_is_being_written_is_listed_when_it_is_whole(store):
    session = fill(store.create("s"), "alpha one")
    path = log_of(store, "s")
    store.sessions()
    fill(session, "alpha two")
    whole = path.read_bytes()
    cut = whole[:-10]
    times = path.stat()
    path.write_bytes(cut)
    for _ in range(2):
        assert shown(store)["s"] == (1, "alpha one")
        assert texts(store, "alpha") == ["alpha one"]
    # The same size and the same time, in other words: what a stamp over an unfinished line would not tell.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    shown(store)
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert shown(store)["s"] == (2, "alpha two")
    assert texts(store, "alpha") == ["alpha one", "alpha two"]


@pytest.mark.damages
def test_bytes_that_complete_an_unfinished_end_without_a_new_stamp_are_noticed(store):
    session = fill(store.create("s"), "alpha one")
    path = log_of(store, "s")
    before = path.read_bytes()
    fill(session, "alpha two")
    whole = path.read_bytes()
    stamp = path.stat()
    with path.open("r+b") as file:
        file.seek(len(before))
        file.write(b" " * (len(whole) - len(before)))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert shown(store)["s"] == (1, "alpha one")
    with path.open("r+b") as file:
        file.write(whole)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert shown(store)["s"] == (2, "alpha two")
    assert texts(store, "alpha") == ["alpha one", "alpha two"]


def overwrite(path: Path, data: bytes, *, keep_time: bool = False) -> None:
    """Put other bytes in a file, so that even its inode is the same."""
    stamp = path.stat()
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
    if keep_time:
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif path.stat().st_mtime_ns == stamp.st_mtime_ns:
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))


def log_saying(text: str, *more: str, nonce: str, floor_ns: int = 0) -> bytes:
    """A log of a session ``s`` with some messages."""
    bodies = [header("s", nonce, 1.0, floor_ns), commit([event("created")], 1, 1.0)]
    for number, content in enumerate((text, *more), 1):
        bodies.append(message_commit([Draft(f"m{number}", "user", content, 1.5, None, False)], number, number + 1))
    lines, chain = [], 0
    for body in bodies:
        line, chain = frame.seal(body, chain)
        lines.append(line)
    return b"".join(lines)


@pytest.mark.damages
def test_another_log_of_the_same_size_is_noticed(store):
    store.create("s")
    path = log_of(store, "s")
    for number, word in enumerate(("alpha", "gamma", "delta")):
        overwrite(path, log_saying(f"{word} one", nonce=f"{number:016x}"))
        assert shown(store) == {"s": (1, f"{word} one")}
        assert texts(store, "one") == [f"{word} one"]
        assert store.search("alpha").items == () or word == "alpha"


@pytest.mark.damages
def test_another_log_whose_lines_end_at_the_same_places_is_noticed(store):
    store.create("s")
    path = log_of(store, "s")
    overwrite(path, log_saying("alpha one", nonce="1" * 16))
    shown(store)
    texts(store, "one")
    overwrite(path, log_saying("gamma one", "delta two", nonce="2" * 16))
    assert shown(store) == {"s": (2, "delta two")}
    assert texts(store, "one") == ["gamma one"]
    assert store.search("alpha", reverted=True).items == ()


@pytest.mark.damages
def test_another_last_message_that_was_listed_and_not_searched_is_noticed(store):
    store.create("s")
    path = log_of(store, "s")
    overwrite(path, log_saying("alpha one", nonce="1" * 16))
    texts(store, "one")
    overwrite(path, log_saying("alpha one", "alpha two", nonce="1" * 16))
    shown(store)
    overwrite(path, log_saying("alpha one", "gamma two", nonce="1" * 16))
    assert texts(store, "gamma") == ["gamma two"]
    assert store.search("alpha two").items == ()
    assert shown(store) == {"s": (2, "gamma two")}


@pytest.mark.damages
def test_a_log_whose_time_is_not_above_its_floor_has_no_stamp(store):
    store.create("s")
    path = log_of(store, "s")
    for number, word in enumerate(("alpha", "gamma", "delta")):
        overwrite(path, log_saying(f"{word} one", nonce=f"{number:016x}", floor_ns=2**62), keep_time=True)
        assert shown(store) == {"s": (1, f"{word} one")}
        assert texts(store, "one") == [f"{word} one"]


@pytest.mark.damages
def test_another_file_under_a_grown_logs_name_is_read_whole(store, tmp_path):
    fill(store.create("s"), "alpha one")
    shown(store)
    texts(store, "alpha")
    with SessionStore(tmp_path / "other") as other:
        fill(other.create("s"), "alpha other", "alpha and a longer one")
        data = log_of(other, "s").read_bytes()
    path = log_of(store, "s")
    with path.open("r+b") as file:
        # In place, so that even the inode is the same.
        file.write(data)
    assert shown(store)["s"] == (2, "alpha and a longer one")
    assert texts(store, "alpha") == ["alpha and a longer one", "alpha other"]


@pytest.mark.damages
def test_a_session_that_cannot_be_read_hides_no_other(store):
    fill(store.create("good"), "alpha")
    fill(store.create("bad"), "alpha")
    path = log_of(store, "bad")
    data = path.read_bytes()
    shown(store)
    path.write_bytes(b"rubbish\n" + data)
    assert shown(store) == {"good": (1, "alpha")}
    assert texts(store, "alpha") == ["alpha"]
    path.write_bytes(data)
    assert len(shown(store)) == 2
    (path.parent / "stray.jsonl").write_bytes(data)
    (path.parent / "folder.jsonl").mkdir()
    (path.parent / "link.jsonl").symlink_to(path)
    assert len(store.sessions()) == 2
    assert len(store.search("alpha")) == 2


# Another process at the index


def hold_the_index(root: Path) -> None:
    """In a child: write to the index until told to stop, as one that has a lot to do, or that hangs."""
    store = store_at(root)
    store.sessions()
    sql = store._index._sql()
    sql.execute("BEGIN IMMEDIATE")
    say("held")
    hear()
    sql.execute("ROLLBACK")


def test_a_listing_does_not_wait_for_a_process_that_writes_the_index(start, root, store, open_store):
    for number in range(5):
        fill(store.create(f"s{number}"), "old")
    store.sessions()
    holder = start()
    holder.begin(hold_the_index, root)
    assert holder.hear() == "held"
    fill(store.get("s0"), "new")
    store.create("s9", labels=["x"])
    store.delete("s4")
    for other in (store, open_store()):
        page = other.sessions(limit=2)
        assert [info.id for info in page] == ["s9", "s0"]
        assert page.items[1].preview == "new"
        rest = other.sessions(limit=9, after=page.next)
        assert [info.id for info in rest] == ["s3", "s2", "s1"]
        assert [info.id for info in other.sessions(label="x")] == ["s9"]
        assert {info.id for info in other.sessions()} == {"s0", "s1", "s2", "s3", "s9"}
    holder.say()
    holder.result()
    page = store.sessions(limit=9)
    assert [info.id for info in page] == ["s9", "s0", "s3", "s2", "s1"]


def test_a_walk_that_began_beside_a_writer_shows_each_session_once(start, root, store):
    names_ = [f"s{number}" for number in range(9)]
    for name in names_:
        fill(store.create(name), "old")
    store.sessions()
    holder = start()
    holder.begin(hold_the_index, root)
    holder.hear()
    seen, after = [], None
    while True:
        fill(store.get(names_[len(seen) * 5 % 9]), "new")
        page = store.sessions(limit=2, after=after)
        seen += [info.id for info in page]
        after = page.next
        if after is None:
            break
        if len(seen) == 4:
            holder.say()
            holder.result()
    assert sorted(seen) == names_


def test_appends_and_reads_do_not_wait_for_the_index(start, root, open_store):
    store = open_store(lock_timeout_s=0.2)
    session = fill(store.create("s"), "one")
    holder = start()
    holder.begin(hold_the_index, root)
    holder.hear()
    fill(session, "two")
    assert len(session.messages) == 2
    holder.say()
    holder.result()


def hold_and_search(root: Path, query: str) -> str:
    """In a child."""
    try:
        return str(len(store_at(root, lock_timeout_s=0.2).search(query)))
    except Exception as error:  # noqa: BLE001  # its name is asked
        return type(error).__name__


def test_a_search_beside_a_process_that_hangs_raises_and_is_never_stale(start, root, store):
    fill(store.create("s"), "alpha")
    store.search("alpha")
    holder, other = start(), start()
    holder.begin(hold_the_index, root)
    holder.hear()
    assert other.call(hold_and_search, root, "alpha") == "1"
    fill(store.get("s"), "alpha")
    assert other.call(hold_and_search, root, "alpha") == "LockTimeout"
    holder.say()
    holder.result()
    assert other.call(hold_and_search, root, "alpha") == "2"


def work(root: Path, number: int, turns: int) -> None:
    """In a child: append, and see it at once; list and search what others do."""
    store = store_at(root)
    for turn in range(turns):
        token = f"t{number}x{turn}"
        session = store.get_or_create(f"s{number}-{turn % 3}", title=f"title {number}")
        session.append("user", f"alpha {token}")
        store.get_or_create("shared").append("user", f"beta {token}")
        page = store.sessions(limit=100)
        mine = next(info for info in page if info.id == session.id)
        assert mine.preview == f"alpha {token}"
        assert mine.message_count == len(session.messages)
        (hit,) = store.search(f"alpha {token}")
        assert hit.session_id == session.id
        assert len(store.search(f"beta {token}")) == 1
        if turn % 4 == 3 and len(session.messages) > 1:
            session.revert(session.messages[0])
            assert store.search(f"alpha {token}").items == ()
        if turn % 5 == 4:
            store.delete(session.id)
            assert session.id not in {info.id for info in store.sessions(limit=100)}


def test_eight_processes_append_list_and_search_at_once(start, root, store):
    crowd = [start() for _ in range(8)]
    for number, child in enumerate(crowd):
        child.begin(work, root, number, 12)
    for child in crowd:
        child.result()
    assert sorted(info.id for info in store.sessions(limit=1000)) == sorted(info.id for info in infos(store))
    for query in ("alpha", "beta", "title"):
        assert sorted(names(everything(store, query))) == sorted(found(store, query))


def test_threads_append_list_and_search_at_once(store):
    failures: list[BaseException] = []

    def turn(number: int) -> None:
        try:
            for place in range(15):
                fill(store.get_or_create(f"s{number}"), f"alpha t{number}x{place}")
                assert len(store.search(f"t{number}x{place}")) == 1
                assert next(info for info in store.sessions() if info.id == f"s{number}").message_count == place + 1
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    threads = [threading.Thread(target=turn, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_listing_gets_in_while_another_process_builds_the_index(start, root, store, monkeypatch):
    for number in range(400):
        fill(store.create(f"s{number}"), *[f"alpha {word} {number}" for word in "abcdef"])
    builder = start()
    builder.begin(searched, root, "alpha a 7", limit=5)
    for number in range(10):
        fill(store.get("s0"), f"new {number}")
        assert store.sessions(limit=1).items[0].preview == f"new {number}"
    assert builder.result() == ["alpha a 7"]


# Told what changed


class Told:
    """Tells what it was told."""

    def __init__(self) -> None:
        self.paths: set[bytes] | None = None
        self.asked = 0

    def changed(self) -> set[bytes] | None:
        self.asked += 1
        paths, self.paths = self.paths, set()
        return paths

    def close(self) -> None:
        pass


def test_only_the_logs_that_are_told_are_looked_at(store, open_store):
    for number in range(5):
        fill(store.create(f"s{number}"), "old")
    store.sessions()
    told = store._index.freshness = Told()
    store.sessions()
    other = open_store()
    looked: list[bytes] = []
    with replaced(files, scandir=lambda path: looked.append(path) or os.scandir(path)):
        assert {info.preview for info in store.sessions()} == {"old"}
    fill(other.get("s1"), "new")
    other.create("s7")
    other.delete("s2")
    told.paths = {os.fsencode(log_of(store, name)) for name in ("s1", "s2", "s7")}
    with replaced(files, scandir=lambda path: looked.append(path) or os.scandir(path)):
        previews = {info.id: info.preview for info in store.sessions()}
        assert previews == {"s0": "old", "s1": "new", "s3": "old", "s4": "old", "s7": None}
        # Of the index's own folder, to see that it is still the one, and of no other.
        assert all(not isinstance(path, int) and path.endswith(b"/index") for path in looked)
    assert len(store.search("new")) == 1
    told.paths = None
    fill(other.get("s3"), "new too")
    assert store.sessions().items[0].preview == "new too"


def test_what_is_told_and_could_not_be_written_is_not_forgotten(start, root, store):
    fill(store.create("s"), "old")
    store.sessions()
    told = store._index.freshness = Told()
    store.sessions()
    holder = start()
    holder.begin(hold_the_index, root)
    holder.hear()
    fill(store.get("s"), "new")
    told.paths = {os.fsencode(log_of(store, "s"))}
    for _ in range(2):
        assert store.sessions().items[0].preview == "new"
    holder.say()
    holder.result()
    for _ in range(2):
        assert store.sessions().items[0].preview == "new"


def test_what_the_first_look_found_and_could_not_be_written_is_not_forgotten(start, root, store, open_store):
    fill(store.create("s"), "old")
    store.sessions()
    holder = start()
    holder.begin(hold_the_index, root)
    holder.hear()
    fill(store.get("s"), "new")
    other = open_store()
    told = other._opened_index().freshness = Told()
    told.paths = set()
    for _ in range(2):
        assert other.sessions().items[0].preview == "new"
    holder.say()
    holder.result()
    assert other.sessions().items[0].preview == "new"
    assert len(other.search("new")) == 1


def test_what_was_told_before_an_error_is_not_forgotten(store):
    fill(store.create("s"), "old")
    store.sessions()
    told = store._index.freshness = Told()
    store.sessions()
    fill(store.get("s"), "new")
    told.paths = {os.fsencode(log_of(store, "s"))}

    def failing(*_: object) -> None:
        raise KeyboardInterrupt

    with replaced(index_module, write=failing), pytest.raises(KeyboardInterrupt):
        store.sessions()
    assert store.sessions().items[0].preview == "new"
    assert not [path for path in open_files(store.root) if "trash" in path]


def test_what_a_fork_still_shows_is_found_though_its_origin_changed_in_between(store, open_store):
    origin = fill(store.create("a"), "first", "alpha")
    origin.fork("b")
    assert [hit.session_id for hit in store.search("alpha")] == ["a"]
    found_by = searching.hits

    def then_reverted(*args: object) -> list[searching.Hit]:
        found = found_by(*args)
        other = open_store().get("a")
        if len(other.messages) == 2:
            other.revert(other.messages[0])
        return found

    with replaced(searching, hits=then_reverted):
        assert [hit.session_id for hit in store.search("alpha")] == ["b"]
