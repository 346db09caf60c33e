"""Random histories: listings and searches say what a plain scan of the sessions says, and a rebuilt index says the same."""

from __future__ import annotations

import random

import pytest

from hierstore import HasChildren, HierarchyCycle, RevisionNotFound, SessionInfo, SessionNotFound, SessionStore
from tests.index.plain import everything, found, infos, infos_there, names, text, walk, without_index, words
from tests.processes import hear, say, told

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")
QUERIES = (("alpha",), ("beta", "gamma"), ("alpha", "delta"), ("title",))


class History:
    """Does something at random to one of the sessions of a store, again and again."""

    def __init__(self, stores: list[SessionStore], seed: int) -> None:
        self.stores = stores
        self.rng = random.Random(seed)
        self.made = 0
        self.steps = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def turn(self) -> None:
        store = self.rng.choice(self.stores)
        ids = sorted(info.id for info in infos_there(store))
        step = self.rng.choice(self.steps)
        if not ids or self.rng.random() < 0.15:
            step = self.new
        try:
            step(store, self.rng.choice(ids) if ids else "")
        except (SessionNotFound, RevisionNotFound, HasChildren, HierarchyCycle):
            pass

    def text(self) -> str:
        return " ".join(self.rng.choices(WORDS, k=self.rng.randint(1, 4)))

    def name(self) -> str:
        self.made += 1
        return f"s{self.made}" if self.made % 4 else f"S/{self.made}"

    def new(self, store, _id):
        store.create(self.name(), title=self.rng.choice([None, f"title {self.text()}"]), labels=[self.rng.choice("xy")])

    def do_append(self, store, session_id):
        store.get(session_id).append(self.rng.choice(["user", "assistant"]), self.text())

    do_append_again = do_append
    do_append_once_more = do_append

    def do_extend(self, store, session_id):
        store.get(session_id).extend([{"role": "user", "content": self.text()} for _ in range(3)])

    def do_parts(self, store, session_id):
        store.get(session_id).append("user", [self.text(), self.text()])

    def do_revert(self, store, session_id):
        session = store.get(session_id)
        session.revert(self.rng.randint(1, session.revision))

    def do_undo(self, store, session_id):
        store.get(session_id).undo_revert()

    def do_reset(self, store, session_id):
        if self.rng.random() < 0.3:
            store.get(session_id).reset()

    def do_fork(self, store, session_id):
        session = store.get(session_id)
        session.fork(self.name(), at=self.rng.choice([None, self.rng.randint(1, session.revision)]))

    def do_spawn(self, store, session_id):
        store.get(session_id).spawn(self.name())

    def do_title(self, store, session_id):
        store.get(session_id).set_title(self.rng.choice([None, f"title {self.text()}"]))

    def do_update(self, store, session_id):
        flag = self.rng.choice(["pinned", "archived", "suspended"])
        store.get(session_id).update(labels=self.rng.choices("xyz", k=2), **{flag: self.rng.random() < 0.5})

    def do_move(self, store, session_id):
        store.get(session_id).move(self.rng.choice([None, self.rng.choice(sorted(i.id for i in infos_there(store)))]))

    def do_delete(self, store, session_id):
        store.delete(session_id, children=self.rng.choice(["refuse", "cascade", "orphan"]))

    def do_restore(self, store, _id):
        trash = store.trash()
        if trash:
            try:
                store.restore(self.rng.choice(trash).id)
            except Exception as error:
                if type(error).__name__ != "SessionExists":
                    raise

    def do_purge(self, store, _id):
        trash = store.trash()
        if trash and self.rng.random() < 0.5:
            store.purge(self.rng.choice(trash).id)

    def do_compact(self, store, session_id):
        store.get(session_id).compact(keep=self.rng.choice(["snapshots", "present"]))

    def do_snapshot(self, store, session_id):
        store.get(session_id).snapshot()


def compare(store: SessionStore, rng: random.Random) -> None:
    """A listing and some searches against a plain scan."""
    plain = sorted(infos(store), key=lambda info: info.id)
    listed = walk(store, limit=rng.choice([1, 3, 1000]), archived=None)
    assert sorted(listed, key=lambda info: info.id) == plain
    by_time = sorted(plain, key=lambda info: info.id)
    by_time.sort(key=lambda info: info.updated_at, reverse=True)
    assert listed == by_time
    for info in listed:
        messages = store.get(info.id).messages
        last = messages[-1].content if messages else None
        assert info.preview == (last if not isinstance(last, list) else " ".join(last))
    assert [i.id for i in store.sessions(label="x", archived=None, limit=1000)] == [
        info.id for info in by_time if "x" in info.labels
    ]
    assert [i.id for i in store.sessions(roots=True, pinned=False, limit=1000)] == [
        info.id for info in by_time if info.parent_id is None and not info.pinned and not info.archived
    ]
    for query in QUERIES:
        hits = everything(store, " ".join(query), limit=rng.choice([1, 7, 1000]))
        assert sorted(names(hits)) == sorted(found(store, *query)), query
    one = rng.choice(plain).id if plain else "nobody"
    hits = everything(store, "alpha", session=one)
    assert sorted(names(hits)) == sorted(shown_by(store, one, "alpha"))


def shown_by(store: SessionStore, session_id: str, word: str) -> list[str]:
    from tests.index.plain import shown

    return [message or f"title of {name}" for name, message, has in shown(store) if name == session_id and word in has]


def answers(store: SessionStore):
    """Everything that is asked, to the last digit of each score."""
    options = [{}, {"reverted": True}, {"deleted": True}, {"reverted": True, "deleted": True}]
    return [everything(store, " ".join(query), **more) for query in QUERIES for more in options], walk(
        store, archived=None
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_are_listed_and_found_as_a_plain_scan_finds_them(root, open_store, seed):
    stores = [open_store(), open_store(cache_bytes=1)]
    history = History(stores, seed)
    for turn in range(90):
        history.turn()
        if turn % 6 == 5:
            compare(history.rng.choice(stores), history.rng)
    before = answers(stores[0])
    assert answers(stores[1]) == before
    without_index(root)
    assert answers(open_store()) == before


@pytest.mark.parametrize("seed", range(3))
def test_a_listing_between_any_two_steps_changes_no_answer(root, open_store, seed):
    store = open_store()
    history = History([store], 100 + seed)
    for turn in range(60):
        history.turn()
        # Facts without text, text without facts: each goes its own way.
        if turn % 2:
            store.sessions()
        elif turn % 3 == 0:
            store.search("alpha")
    before = answers(store)
    without_index(root)
    assert answers(store) == before


def live(root, seed: int) -> int:
    """In a child: do things at random until told to stop; how many."""
    stores = [SessionStore(root, lock_timeout_s=60.0)]
    history = History(stores, seed)
    history.made = seed * 1000
    say("ready")
    turns = 0
    while not told():
        history.turn()
        turns += 1
    stores[0].close()
    hear()
    return turns


def scan(store: SessionStore) -> dict[str, tuple[SessionInfo, set[str]]]:
    """Of each session its facts, and what of it a search for one word should find; read one after the other."""
    found = {}
    for info in infos_there(store):
        try:
            session = store.get(info.id)
            messages = session.messages
            found[info.id] = (session.info, {message.id for message in messages if "alpha" in words(text(message))})
        except SessionNotFound:
            continue
    return found


@pytest.mark.parametrize("seed", range(2))
def test_beside_writers_every_answer_lies_between_a_scan_before_and_one_after(start, root, open_store, seed):
    store = open_store(lock_timeout_s=60.0)
    writers = [start() for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.begin(live, root, 10 * seed + number + 1)
        assert writer.hear() == "ready"
    exact = 0
    for _ in range(25):
        before = scan(store)
        listed = {info.id: info for info in walk(store, limit=7, archived=None)}
        hits = everything(store, "alpha", limit=1000)
        after = scan(store)
        still = {name for name in before.keys() & after.keys() if before[name][0] == after[name][0]}
        exact += len(still)
        for name in still:
            assert listed[name] == before[name][0]
            assert before[name][1] <= {hit.message_id for hit in hits}
        for name in before.keys() & after.keys() & listed.keys():
            assert before[name][0].revision <= listed[name].revision <= after[name][0].revision
        for hit in hits:
            if hit.session_id in still and hit.message_id is not None:
                assert hit.message_id in before[hit.session_id][1]
    for writer in writers:
        writer.say("stop")
    # How many depends on the machine; that each did something beside the answers does not.
    assert all(writer.result() for writer in writers)
    assert exact > 100, "they changed everything between two scans, so this shows little"
    without_index(root)
    compare(store, random.Random(seed))
