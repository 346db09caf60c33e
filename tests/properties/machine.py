"""The model of ``test_model`` led a rougher life: links to the outside, deaths in the middle of a call, edits from outside.

A process that dies is a fork of this one that kills itself at its n-th system call that changes anything. What it did
is done or not: the model takes either, and from then on every store must show the same.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as begin_with
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from hierstore import CorruptLog, SessionNotFound, SessionStore, ShareNotFound
from hierstore.disk.logfile import parse_log
from hierstore.log import frame
from hierstore.log.events import Draft, message_commit
from tests.figures import Figures
from tests.properties.dying import finishes, silent, whole_seconds
from tests.properties.linked import LinkedStores, texts_of
from tests.properties.test_model import Expected, contents, place, which
from tests.support import log_of

MODEL = ("living", "trash", "leads", "bound", "grants", "revoked")
TAILS = [b"01234567 {", b'{"message":{"id":"', b"\0" * 300, b"a line of a diary\n", b'{"events":[],"seq":2}\n']


class Backup(NamedTuple):
    """A log as it was, and what the session showed then."""

    data: bytes
    expected: Expected
    bound: frozenset[str]
    grants: frozenset[str]


class RoughLife(LinkedStores):
    """Further rules; every rule may come after every other one."""

    steps = 0
    deaths = 0
    coarse = False

    @initialize()
    def open(self) -> None:
        self.patches = contextlib.ExitStack()
        if self.coarse:
            self.patches.enter_context(whole_seconds())
        super().open()
        self.backups: dict[str, Backup] = {}
        self.scribbled: set[str] = set()

    def teardown(self) -> None:
        with self.patches:
            try:
                self.erase_scribbles()
            finally:
                super().teardown()

    has_sessions = precondition(lambda self: self.living)

    # Death

    @has_sessions
    @rule(store=which, at=place, at_call=st.integers(1, 2), what=st.sampled_from(
        ["add", "title", "ref", "usage", "reset", "unbind"],
    ))  # fmt: skip
    def die_in_a_commit(self, store: int, at: int, at_call: int, what: str) -> None:
        self.die(store, at, None, at_call, what)

    @has_sessions
    @rule(store=which, at=place, other=st.none() | place, at_call=st.integers(1, 12), what=st.sampled_from(
        ["bind", "route", "unshare", "spawn", "fork", "move", "cascade", "orphan", "restore"],
    ))  # fmt: skip
    def die_among_several(self, store: int, at: int, other: int | None, at_call: int, what: str) -> None:
        self.die(store, at, other, at_call, what)

    def die(self, store: int, at: int, other: int | None, at_call: int, what: str) -> None:
        """A process dies in a call, at its n-th change; or it is done before that."""
        work = self.work_of(what, at, other)
        if work is None:
            return
        touched = set(self.living)
        is_done = self.finishes(lambda: work(store), at_call)
        before = self.model()
        alive, self.stores = self.stores, [silent(), silent()]
        try:
            work(0)
        finally:
            self.stores = alive
        # Whoever opens the store finishes what can be finished.
        with SessionStore(self.folder / "store") as cold:
            if not is_done and not self.is_shown_by(cold):
                after = self.model()
                self.take(before)
                self.allow_notes(cold, after["living"])
            self.compare_all(cold)
        self.touched |= touched | set(self.living)

    def finishes(self, work: Callable[[], Any], at_call: int) -> bool:
        is_done = finishes(work, at_call)
        type(self).deaths += not is_done
        return is_done

    def work_of(self, what: str, at: int, other: int | None) -> Callable[[int], None] | None:
        """A call that may be cut off; None where it would be refused."""
        session_id = sorted(self.living)[at % len(self.living)]
        if what == "move" and other is not None:
            parent = sorted(self.living)[other % len(self.living)]
            if parent in (session_id, *self.below(session_id)):
                return None
        if what == "unbind" and "key 0" in self.leads and self.lead("key 0") is None:
            # Whether it was done shows only when the session comes back from the trash.
            return None
        if (what == "restore" and not self.trash) or (what == "unshare" and not self.grants):
            return None
        works: dict[str, Callable[[int], None]] = {
            "add": lambda store: self.add_named(store, at, ["first", "x" * 6000, "last"]),
            "title": lambda store: self.set_title(store, at, "at last", "user"),
            "ref": lambda store: self.set_ref(store, at, "r", at % 2),
            "usage": lambda store: self.add_usage(store, at, 3),
            "reset": lambda store: self.reset(store, at),
            "bind": lambda store: self.bind(store, at, "key 0"),
            "route": lambda store: self.route(store, "key 1"),
            "unbind": lambda store: self.unbind(store, "key 0"),
            "unshare": lambda store: self.unshare(store, at),
            "spawn": lambda store: self.spawn(store, at),
            "fork": lambda store: self.fork(store, at, None),
            "move": lambda store: self.move(store, at, other),
            "cascade": lambda store: self.delete(store, at, "cascade"),
            "orphan": lambda store: self.delete(store, at, "orphan"),
            "restore": lambda store: self.restore(store, at, other or 0),
        }
        return works[what]

    def model(self) -> dict[str, Any]:
        """A copy of what should be."""
        return copy.deepcopy({name: getattr(self, name) for name in MODEL})

    def take(self, model: dict[str, Any]) -> None:
        for name, value in model.items():
            setattr(self, name, value)

    def compare_all(self, store: SessionStore) -> None:
        self.compare(store, set(self.living))
        self.compare_listing(store)
        self.compare_links(store)

    def is_shown_by(self, store: SessionStore) -> bool:
        try:
            self.compare_all(store)
        except (AssertionError, SessionNotFound, ShareNotFound):
            return False
        return True

    def allow_notes(self, store: SessionStore, after: dict[str, Expected]) -> None:
        """Of what was cut off, a parent may have noted the child, and a session the key: it leads nobody anywhere."""
        for session_id, expected in self.living.items():
            if store.get(session_id).revision == len(expected.shown) + 1 and session_id in after:
                expected.noted = after[session_id].noted
                expected.commit()
                keys = {row[0] for row in store.get(session_id)._state().facts.bound}
                self.bound[session_id] = self.bound.get(session_id, set()) | keys

    @has_sessions
    @rule(store=which, at=place, at_call=st.integers(1, 12), keep=st.sampled_from(["snapshots", "present"]))
    def die_compacting(self, store: int, at: int, at_call: int, keep: str) -> None:
        session_id, _ = self.pick(at)
        before = self.stores[store].get(session_id)._state()
        self.finishes(lambda: self.handle(store, session_id).compact(keep=keep), at_call)  # type: ignore[arg-type]
        self.note_compaction(store, session_id, before, keep)

    @precondition(lambda self: self.trash)
    @rule(store=which, at_call=st.integers(1, 12))
    def die_purging(self, store: int, at_call: int) -> None:
        """Each of those purged is gone or not; another purge does the rest."""
        is_done = self.finishes(self.stores[store].purge, at_call)
        left = {deleted.id for deleted in self.stores[store].trash()}
        assert not (is_done and left)
        for batch in self.trash:
            batch.sessions = {name: kept for name, kept in batch.sessions.items() if name in left}
        self.trash = [batch for batch in self.trash if batch.sessions]
        self.purge(store)

    @has_sessions
    @rule(store=which, at=place, at_call=st.integers(1, 12))
    def die_importing(self, store: int, at: int, at_call: int) -> None:
        """All that a bundle holds is there, or nothing of it."""
        session_id, _ = self.pick(at)
        chosen, names = self.stores[store], [session_id, *self.below(session_id)]
        bundle = chosen.export(session_id)
        is_done = self.finishes(lambda: chosen.import_bundle(bundle), at_call)
        with SessionStore(self.folder / "store") as cold:
            copies = [info for info in cold.sessions(limit=10_000).items if info.id not in self.living]
            found = sorted([str(message) for message in texts_of(cold, info.id)] for info in copies)
        assert found in ([], sorted([str(message) for message in self.living[name].history] for name in names))
        assert copies or not is_done
        for info in copies:
            if info.parent_id is None or info.parent_id in self.living:
                chosen.delete(info.id, children="cascade")
        for info in copies:
            assert chosen.purge(info.id) == (info.id,)
        self.touched.update(self.living)

    # Edits from outside

    def log(self, session_id: str) -> Path:
        return log_of(self.stores[0], session_id)

    @has_sessions
    @rule(at=place, how=st.sampled_from(["kept", "new", "in place"]))
    def replace_by_a_copy(self, at: int, how: str) -> None:
        """As a backup that is put back does: another file or the same one, with the old times or new ones."""
        session_id, _ = self.pick(at)
        log, aside = self.log(session_id), self.folder / "aside"
        if how == "in place" and log.stat().st_nlink == 1:
            log.write_bytes(log.read_bytes())
            return
        shutil.copy2(log, aside)
        if how == "new":
            os.utime(aside)
        aside.replace(log)

    @has_sessions
    @rule(at=place)
    def back_up(self, at: int) -> None:
        session_id, expected = self.pick(at)
        grants = frozenset(token for token, grant in self.grants.items() if grant.session_id == session_id)
        bound = frozenset(self.bound.get(session_id, ()))
        self.backups[session_id] = Backup(self.log(session_id).read_bytes(), copy.deepcopy(expected), bound, grants)

    @has_sessions
    @rule(at=place)
    def put_back_an_older_log(self, at: int) -> None:
        """Where nothing that other logs rely on came since."""
        session_id, expected = self.pick(at)
        backup = self.backups.get(session_id)
        grants = {token for token, grant in self.grants.items() if grant.session_id == session_id}
        if backup is None or backup.bound != self.bound.get(session_id, set()) or backup.grants != grants:
            return
        older = backup.expected
        if (older.noted, older.parent, older.through) != (expected.noted, expected.parent, expected.through):
            return
        aside = self.folder / "aside"
        aside.write_bytes(backup.data)
        aside.chmod(0o600)
        aside.replace(self.log(session_id))
        self.living[session_id] = copy.deepcopy(older)

    @precondition(lambda self: self.trash)
    @rule(store=which)
    def purge(self, store: int) -> None:
        super().purge(store)
        # A fork keeps its history elsewhere now.
        self.backups.clear()

    @has_sessions
    @rule(at=place, same=st.booleans())
    def remove_and_put_back(self, at: int, same: bool) -> None:
        session_id, _ = self.pick(at)
        log, aside = self.log(session_id), self.folder / "aside"
        shutil.copy2(log, aside)
        if same:
            log.rename(aside)
        else:
            log.unlink()
        for store in self.stores:
            assert session_id not in store
            with pytest.raises(SessionNotFound):
                store.get(session_id)
        aside.rename(log)

    @has_sessions
    @rule(at=place, tail=st.sampled_from(TAILS))
    def tear_the_tail(self, at: int, tail: bytes) -> None:
        """As a writer leaves it that died in its write, or a power cut, or a program that knows nothing of commits."""
        session_id, _ = self.pick(at)
        with self.log(session_id).open("ab") as log:
            log.write(tail)
        if tail.endswith(b"\n"):
            self.scribbled.add(session_id)

    def erase_scribbles(self) -> None:
        """A whole line that is no commit is a problem until somebody writes there; there must be no other one."""
        with SessionStore(self.folder / "store") as cold:
            problems = cold.check().problems
            assert [
                found for found in problems if found.kind != "corrupt" or found.session_id not in self.scribbled
            ] == []
            if problems:
                assert cold.repair().left == ()
                self.resync()

    @has_sessions
    @rule(at=place, content=contents)
    def append_by_another_program(self, at: int, content: Any) -> None:
        """By one that knows the format, and neither the locks nor what is cached."""
        session_id, expected = self.pick(at)
        data = self.log(session_id).read_bytes()
        end = frame.maybe_end(data)
        if end is None:
            return
        chain, revision = end
        assert revision == len(expected.shown)
        state = parse_log(data, session_id, os.fsencode(self.log(session_id))).state
        draft = Draft(self.new_id(), "user", content, 1.0, None, False)
        with self.log(session_id).open("ab") as log:
            log.write(frame.seal(message_commit([draft], state.seq + 1, revision + 1), chain)[0])
        expected.commit([*expected.history, (draft.id, content)])

    @has_sessions
    @rule(store=which, at=place)
    def damage_and_repair(self, store: int, at: int) -> None:
        """What was whole is shown all the time, and nothing is written until the damage is gone."""
        session_id, _ = self.pick(at)
        if b"\0" in self.log(session_id).read_bytes():
            # What follows zeros is what a power cut left of them.
            return
        with self.log(session_id).open("ab") as log:
            log.write(b"\nx\n" + frame.seal(b'{"events":[],"at":1.0,"seq":99', 1)[0])
        for shown in self.stores:
            self.compare(shown, {session_id})
            with pytest.raises(CorruptLog):
                shown.get(session_id).append("user", "never stored")
        assert self.stores[store].repair().left == ()
        self.resync()
        self.touched.update(self.living)

    @rule()
    def delete_the_index(self) -> None:
        shutil.rmtree(self.folder / "store" / "index", ignore_errors=True)

    @has_sessions
    @rule(at=place, mtime_s=st.none() | st.integers(1, 2 * 10**9))
    def touch(self, at: int, mtime_s: int | None) -> None:
        session_id, _ = self.pick(at)
        now = time.time_ns()
        ns = now - now % 10**9 if mtime_s is None else mtime_s * 10**9
        os.utime(self.log(session_id), ns=(ns, ns))

    # Comparing

    @invariant()
    def everything_else_agrees(self) -> None:
        type(self).steps += 1
        for store in getattr(self, "stores", ()):
            self.compare_listing(store)
            self.compare_links(store)


class CoarseLife(RoughLife):
    """The same where times are whole seconds."""

    coarse = True


MACHINES = {"rough": RoughLife, "coarse": CoarseLife}


def live(kind: str, figures: Figures, maybe_seed: int | None = None, **options: Any) -> None:
    """Let the model and two stores live many lives.

    Args:
        kind: of ``MACHINES``.
        figures: what counts the steps.
        maybe_seed: what the choices begin with; None: the same ones each time.
        options: Hypothesis's settings.
    """
    machine = type(kind, (MACHINES[kind],), {"steps": 0, "deaths": 0})
    if maybe_seed is not None:
        machine = begin_with(maybe_seed)(machine)
        options["derandomize"] = False
    # Making an example small may take minutes, which tests have not: the steps as they are repeat it too.
    options.setdefault("phases", [Phase.generate])
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    try:
        run_state_machine_as_test(machine, settings=settings(suppress_health_check=checks, **options))
    except AssertionError as error:
        error.add_note(f"{kind} with {options}, seed {maybe_seed}")
        raise
    finally:
        figures.add("steps of the model", machine.steps)
        figures.add("deaths in the model", machine.deaths)


def soak(figures: Figures, *, folder: Path, seconds: float, seed: int) -> None:
    """Lives of many lengths, with other choices each time, until the time is over."""
    over = time.monotonic() + seconds
    random_ = random.Random(seed)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        while time.monotonic() < over:
            steps = random_.choice([15, 30, 60])
            live(
                random_.choice(list(MACHINES)), figures, random_.randrange(2**32),
                max_examples=300 // steps, stateful_step_count=steps, phases=[Phase.generate, Phase.shrink],
                deadline=None, database=None, print_blob=True,
            )  # fmt: skip
    finally:
        tempfile.tempdir = before
