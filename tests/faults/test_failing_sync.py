"""``durability="power"`` when a sync fails: told once, never tried again, and nothing else is lost."""

from __future__ import annotations

import errno
import pickle
import threading

import pytest

from hierstore import DurabilityError
from hierstore.disk import files
from tests.processes import replaced


class Syncs:
    """Stands for ``files.sync``; fails at the calls of these numbers."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.count = 0

    def __call__(self, fd: int) -> None:
        self.count += 1
        if self.count in self.failing:
            raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def store(open_store):
    made = open_store(durability="power")
    made.create("s").append("user", "one")
    made.create("other")
    return made


def contents(session) -> list[str]:
    return [message.content for message in session.messages]


WRITES = {
    "append": lambda session: session.append("user", "new"),
    "extend": lambda session: session.extend([{"role": "user", "content": "new"}]),
    "set_title": lambda session: session.set_title("new"),
    "reset": lambda session: session.reset(),
    "snapshot": lambda session: session.snapshot(),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_failed_sync_is_told_and_never_tried_again(store, open_store, name):
    session = store.get("s")
    syncs = Syncs(1)
    with replaced(files, sync=syncs):
        with pytest.raises(DurabilityError) as caught:
            WRITES[name](session)
        assert (caught.value.session_id, caught.value.errno) == ("s", errno.EIO)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), again.__dict__) == (DurabilityError, caught.value.__dict__)
        assert syncs.count == 1
        revision = session.revision
        for write in WRITES.values():
            with pytest.raises(DurabilityError):
                write(session)
        assert syncs.count == 1, "the sync was tried again: the kernel would now say that it went well"
        assert session.revision == revision, "a write that was refused is there"
    # Reading goes on, so do other sessions, and so does a store that opens the file anew.
    assert contents(session) == contents(open_store().get("s"))
    store.get("other").append("user", "fine")
    fresh = open_store(durability="power").get("s")
    fresh.append("user", "after")
    assert contents(session)[-1:] == contents(fresh)[-1:] == ["after"]


def test_another_handle_of_the_store_is_poisoned_too(store):
    with replaced(files, sync=Syncs(1)), pytest.raises(DurabilityError):
        store.get("s").append("user", "new")
    with pytest.raises(DurabilityError):
        store.get("s").append("user", "refused")
    assert contents(store.get("s")) == ["one", "new"]


def test_a_retry_with_the_messages_id_is_not_answered_as_if_it_were_safe(store, open_store):
    with replaced(files, sync=Syncs(1)), pytest.raises(DurabilityError):
        store.get("s").append("user", "new", message_id="m")
    with pytest.raises(DurabilityError):
        store.get("s").append("user", "new", message_id="m")
    syncs = Syncs()
    fresh = open_store(durability="power").get("s")
    with replaced(files, sync=syncs):
        assert fresh.append("user", "new", message_id="m").content == "new"
    assert syncs.count == 1, "a commit that may not have been synced was acknowledged without a sync"
    assert contents(fresh) == ["one", "new"]


def test_the_acknowledgment_comes_after_the_sync(store):
    done = []
    sync = files.sync

    def noting(fd: int) -> None:
        sync(fd)
        done.append("synced")

    with replaced(files, sync=noting):
        store.get("s").append("user", "new")
        done.append("acknowledged")
        store.get("s").set_title("new")
        done.append("acknowledged")
        store.get("s").fork()
    assert done[:4] == ["synced", "acknowledged", "synced", "acknowledged"]
    assert "synced" in done[4:]


def test_no_sync_without_power(open_store):
    syncs = Syncs()
    store = open_store()
    session = store.create("s")
    with replaced(files, sync=syncs):
        session.append("user", "x")
        session.set_title("t")
    assert syncs.count == 0


def test_threads_that_share_a_session_each_learn_of_a_failed_sync(store):
    session = store.get("s")
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        try:
            session.append("user", "new")
            outcomes.append("stored")
        except DurabilityError:
            outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(4)]
    with replaced(files, sync=Syncs(1, 2, 3, 4)):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == ["refused"] * 4
