"""The system's queue of changes: it says everything that was finished, or that it does not know."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hierstore import SessionStore
from hierstore.disk import files, mounts, news
from hierstore.disk.index import freshness
from hierstore.disk.news import News
from tests.index.plain import infos
from tests.processes import replaced, store_at
from tests.support import fill, log_of

pytestmark = pytest.mark.skipif(not mounts.is_local(b"/tmp"), reason="no local file system that is known")


@pytest.fixture(autouse=True)
def _only_once(hears: bool) -> None:
    if not hears:
        pytest.skip("with the queue only")


@pytest.fixture
def queue(store: SessionStore) -> Iterator[News]:
    """The queue of a store with one session."""
    fill(store.create("s"), "one")
    made = News(os.fsencode(store.root / "sessions"), os.fsencode(store.root / "trash"))
    assert made.changed() == set()
    yield made
    made.close()


def act(root: Path, method: str, *args: object, **options: object) -> None:
    """In a child: a session's method, or a store's."""
    store = store_at(root)
    of_store = method in ("create", "delete", "restore", "check")
    getattr(store if of_store else store.get("s"), method)(*args, **options)


def same(store: SessionStore) -> None:
    """A listing shows what reading every session shows."""
    listed = {(info.id, info.message_count, info.title, info.revision) for info in store.sessions(limit=1000)}
    assert listed == {(info.id, info.message_count, info.title, info.revision) for info in infos(store)}


@pytest.mark.parametrize(
    ("method", "args"),
    [("append", ("user", "two")), ("set_title", ("t",)), ("revert", (1,)), ("snapshot", ("x",)), ("compact", ())],
)
def test_what_another_process_did_is_told_when_its_call_is_over(start, root, store, queue, method, args):
    if method == "compact":
        fill(store.get("s"), "undone")
        store.get("s").revert(1)
        queue.changed()
    start().call(act, root, method, *args, **({"keep": "present"} if method == "compact" else {}))
    assert os.fsencode(log_of(store, "s")) in queue.changed()
    assert queue.changed() == set()


def test_a_new_folder_is_told_of_and_what_is_in_it(start, root, store, queue):
    start().call(act, root, "create", "t")
    path = os.fsencode(log_of(store, "t"))
    told = queue.changed()
    assert {path, os.path.dirname(path)} & told
    start().call(act, root, "delete", "t")
    (deleted,) = (root / "trash").glob("*.t.jsonl") or (root / "trash").iterdir()
    assert {path, os.fsencode(deleted)} <= queue.changed()
    start().call(act, root, "restore", "t")
    assert {path, os.fsencode(deleted)} <= queue.changed()


def test_what_another_process_kept_open_is_told_under_its_name_after_a_restore(start, root, store, queue):
    """An append through a descriptor is told of under the name that this was opened by, or renamed to."""
    kept = start()
    kept.call(act, root, "append", "user", "two")
    store.delete("s")
    store.restore("s")
    assert queue.changed()
    kept.call(act, root, "append", "user", "three")
    assert queue.changed() == {os.fsencode(log_of(store, "s"))}


def test_reading_tells_nothing(start, root, store, queue):
    start().call(act, root, "check")
    assert store.get("s").messages
    store.sessions()
    assert queue.changed() == set()


def test_nothing_is_looked_at_when_nothing_changed(store):
    for number in range(5):
        fill(store.create(f"s{number}"), "one")
    store.sessions()
    looked: list[object] = []

    def looking(of):
        def look(path, *args):
            # The index's own folder is looked at: whether it is still the one.
            if b"/index" not in os.fsencode(path):
                looked.append(path)
            return of(path, *args)

        return look

    with replaced(files, lstat=looking(os.lstat), stamps_in=looking(files.stamps_in)):
        assert len(store.sessions()) == 5
        assert looked == []
        fill(store.get("s3"), "two")
        assert store.sessions().items[0].message_count == 2
    # The folder: that it is no link to elsewhere.
    log = os.fsencode(log_of(store, "s3"))
    assert sorted(looked) == [os.path.dirname(log), log]


def test_a_queue_that_overflowed_is_noticed(store):
    fill(store.create("s"), "one")
    store.create("t")
    store.sessions()
    assert store._index.freshness._news is not None
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    logs = [log_of(store, name) for name in "st"]
    for number in range(limit + 100):
        # In turns: the system joins an event to one before it that is the same.
        os.utime(logs[number % 2], ns=(number, os.stat(logs[number % 2]).st_mtime_ns))
    fill(store.get("t"), "lost")
    (root_folder,) = {path.parent.parent for path in logs}
    other = SessionStore(root_folder.parent)
    fresh = next(f"n{number}" for number in range(500) if not log_of(store, f"n{number}").parent.exists())
    fill(other.create(fresh), "in a folder that nobody was told of")
    same(store)
    fill(other.get(fresh), "and told of now")
    other.close()
    same(store)


def test_folders_that_were_replaced_are_noticed(root, store, open_store):
    fill(store.create("s"), "one")
    same(store)
    copy = root.parent / "copy"
    shutil.copytree(root / "sessions", copy)
    (root / "sessions").rename(root.parent / "away")
    copy.rename(root / "sessions")
    other = open_store()
    fill(other.get("s"), "two")
    same(store)
    fill(other.get("s"), "three")
    same(store)
    # Renamed away and back as a whole: still the ones that are watched.
    root.rename(root.parent / "elsewhere")
    (root.parent / "elsewhere").rename(root)
    fill(other.get("s"), "four")
    same(store)


def test_a_folder_of_logs_that_goes_and_comes_back_is_told_of(root, store):
    fill(store.create("s"), "one")
    same(store)
    folder = log_of(store, "s").parent
    folder.rename(root.parent / "away")
    assert not store.sessions().items
    (root.parent / "away").rename(folder)
    same(store)
    fill(store.get("s"), "two")
    same(store)
    shutil.rmtree(folder)
    assert not store.sessions().items
    fill(store.create("s"), "anew")
    same(store)


def test_where_there_is_no_queue_everything_is_looked_at(root, store, monkeypatch):
    def refusing(*_: object) -> News:
        raise OSError("no")

    monkeypatch.setattr(freshness, "News", refusing)
    for text in ("one", "two"):
        fill(store.get_or_create("s"), text)
        same(store)
    assert store._index.freshness._news is None


def test_a_network_share_has_none(store, monkeypatch):
    monkeypatch.setattr(files, "mounts", lambda: iter([(b"/", "nfs4")]))
    with pytest.raises(OSError, match="unseen"):
        News(os.fsencode(store.root / "sessions"), os.fsencode(store.root / "trash"))


def test_a_user_has_so_many_and_no_more(store, monkeypatch):
    monkeypatch.setattr(news, "_PLACES", f"\0hierstore-test-{os.getpid()}-%d")
    folders = os.fsencode(store.root / "sessions"), os.fsencode(store.root / "trash")
    taken = [News(*folders) for _ in range(news._MAX_QUEUES)]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too many"):
        News(*folders)
    assert len(os.listdir("/proc/self/fd")) == before
    taken.pop().close()
    taken.append(News(*folders))
    for one in taken:
        one.close()


def test_what_fails_while_it_is_made_is_closed(store):
    fill(store.create("s"), "one")
    before = len(os.listdir("/proc/self/fd"))
    folders = os.fsencode(store.root / "sessions"), os.fsencode(store.root / "trash")
    with replaced(files, names=lambda _: (_ for _ in ()).throw(OSError("no"))), pytest.raises(OSError, match="no"):
        News(*folders)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_takes_nothing_from_its_parents_queue(store, open_store):
    fill(store.create("s"), "one")
    same(store)
    pid = os.fork()
    if pid == 0:
        try:
            fill(store.get("s"), "the child's")
            store.sessions()
            fill(store.get("s"), "and more")
            same(store)
            os._exit(0)
        except BaseException:  # noqa: BLE001  # whatever it is, the child must not go on as pytest
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    same(store)
    fill(open_store().get("s"), "two")
    same(store)


def test_what_was_told_to_one_that_was_interrupted_is_found(store):
    fill(store.create("s"), "one")
    same(store)
    fill(store.get("s"), "two")
    heard = store._index.freshness

    def interrupted() -> None:
        type(heard).changed(heard)
        raise KeyboardInterrupt

    with replaced(heard, changed=interrupted), pytest.raises(KeyboardInterrupt):
        store.sessions()
    same(store)


def test_closing_the_store_gives_the_queue_back(store):
    store.sessions()
    store.sessions()
    heard = store._index.freshness
    assert heard._news is not None
    store.close()
    assert heard._news is None
