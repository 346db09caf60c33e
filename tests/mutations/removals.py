"""What the gate takes out of the store, one at a time: each is a guard that some test must miss."""

from __future__ import annotations

from typing import NamedTuple


class Removal(NamedTuple):
    """One guard, and how it is taken out.

    Attributes:
        name: which guard.
        file: where it is, below ``hierstore/``.
        old: the text that is it; stands there once.
        new: the text that is left.
        tests: what should notice, as arguments of pytest; the likeliest first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


REMOVALS = (
    Removal(
        "the checksum over all lines at once", "log/frame.py",
        "crc = _crc32(sealed, chain)", "crc = (_sealed(data, end) or (0, 0))[0]", ("tests/log/test_frame.py",),
    ),
    Removal(
        "the checksum of each line", "log/frame.py",
        "if _crc32(view[start : end - SEAL_BYTES], chain) != found[0]:", "if False:", ("tests/log/test_frame.py",),
    ),
    Removal(
        "the chain from what is cached to what is new", "disk/reader.py",
        "scan.end == len(data) and found.st_mtime_ns > entry.floor_ns", "found.st_mtime_ns > entry.floor_ns",
        ("tests/store/test_two_stores.py", "tests/store/test_recovery.py"),
    ),
    Removal(
        "the stamp taken inside the lock", "disk/reader.py",
        "            entry.stripe.release_file()\n",
        "            entry.stripe.release_file()\n            found = files.stat(entry.path)\n",
        ("tests/mutations/test_guards.py::test_what_is_written_as_soon_as_the_lock_is_free_is_not_taken_for_read",),
    ),
    Removal(
        "no stamp over a dirty tail", "disk/reader.py",
        "parsed.end == found.st_size == len(data) and parsed.fault is None", "parsed.fault is None",
        ("tests/store/test_recovery.py", "tests/faults/test_torn_tails.py"),
    ),
    Removal(
        "the inode in the stamp", "disk/reader.py",
        "                and found.st_ino == inode\n                and found.st_dev == device\n", "",
        ("tests/store/test_two_stores.py", "tests/races/test_coarse_clock.py"),
    ),
    Removal(
        "the mtime that only grows", "disk/files.py",
        "    for step_ns in (0, 1_000,", "    return\n    for step_ns in (0, 1_000,", ("tests/mutations/test_guards.py::test_a_session_made_anew_is_newer_than_the_one_before_whatever_the_clock_says",),
    ),
    Removal(
        "the floor of a name's next log", "disk/engine.py",
        "floor_ns = files.fstat(entry.stripe.fd).st_mtime_ns", "floor_ns = 0", ("tests/mutations/test_guards.py::test_a_session_made_anew_is_newer_than_the_one_before_whatever_the_clock_says",),
    ),
    Removal(
        "the floor kept when a log is deleted", "trash.py",
        "        _raise_floor(entry)\n", "", ("tests/mutations/test_guards.py::test_a_session_made_anew_is_newer_than_the_one_before_whatever_the_clock_says",),
    ),
    Removal(
        "the lock between threads", "disk/locks.py",
        "        if not self.mutex.acquire(False):\n            table.wait_for_thread(self)\n",
        "        self.mutex = threading.Lock()\n        self.mutex.acquire()\n",
        ("tests/store/test_threads.py",),
    ),
    Removal(
        "the lock between processes", "disk/locks.py",
        "            if not table.try_lock(self.fd, blocking=False):\n                table.wait_for_process(self)\n", "",
        ("tests/races/test_two_processes.py",),
    ),
    Removal(
        "one order of stripes", "disk/locks.py",
        "sorted(set(numbers), key=lambda number: (number != TREE, number))",
        "sorted(set(numbers), key=lambda _: os.urandom(4))",
        ("tests/mutations/test_guards.py::test_stripes_are_taken_in_one_order_whatever_the_order_in_which_they_are_named",),
    ),
    Removal(
        "locks reopened after fork", "disk/locks.py",
        "            stripe.owner = 0\n            self._close(stripe)\n", "            stripe.owner = 0\n",
        ("tests/races/test_fork.py",),
    ),
    Removal(
        "thread locks made anew after fork", "disk/locks.py",
        "            stripe.mutex = threading.Lock()\n            stripe.owner = 0\n", "", ("tests/races/test_fork.py",),
    ),
    Removal(
        "logs reopened after fork", "disk/descriptors.py",
        "        for entry in list(self._order):\n            self._close(entry)\n", "", ("tests/races/test_fork.py",),
    ),
    Removal(
        "the directory synced after a create", "disk/engine.py",
        "        durable.add_directory(os.path.dirname(entry.path))\n        entry.poisoned = False\n",
        "        entry.poisoned = False\n",
        ("tests/mutations/test_guards.py::test_a_new_log_is_on_the_medium_before_it_has_its_name_and_the_name_before_the_answer",),
    ),
    Removal(
        "the sync before an append is acknowledged", "disk/engine.py",
        "            sync_and_close(entry, synced)\n", "            files.close(synced)\n",
        ("tests/faults/test_failing_sync.py",),
    ),
    Removal(
        "the sync before any other commit is acknowledged", "disk/durable.py",
        "                sync_and_close(entry, fd)\n", "                files.close(fd)\n",
        ("tests/faults/test_failing_sync.py",),
    ),
    Removal(
        "the new log synced before it has its name", "disk/engine.py",
        "            if self.power:\n                files.sync(fd)\n", "", ("tests/mutations/test_guards.py::test_a_new_log_is_on_the_medium_before_it_has_its_name_and_the_name_before_the_answer",),
    ),
    Removal(
        "no more writes after a failed sync", "disk/durable.py",
        "    try:\n        files.sync(fd)\n    except OSError as error:\n        entry.poisoned = True\n",
        "    try:\n        files.sync(fd)\n    except OSError as error:\n",
        ("tests/faults/test_failing_sync.py",),
    ),
    Removal(
        "a torn tail cut off", "disk/engine.py",
        "            files.ftruncate(entry.fd, parsed.end)\n", "", ("tests/store/test_recovery.py",),
    ),
    Removal(
        "damage told from a torn tail", "log/frame.py",
        "return Tail.HOLE if has_hole(tail, offset) else Tail.DAMAGED", "return Tail.TORN", ("tests/log/test_frame.py",),
    ),
    Removal(
        "what is cut off kept in quarantine", "disk/engine.py",
        "if tail and (b\"\\n\" in tail or verdict is not frame.Tail.TORN):", "if False:",
        ("tests/faults/test_torn_tails.py", "tests/store/test_recovery.py"),
    ),
    Removal(
        "the id in the header compared", "disk/logfile.py",
        'if top.get("session") != session_id:', "if False:", ("tests/test_naming.py",),
    ),
    Removal(
        "exclusive placing", "disk/files.py",
        "    if HAS_LINK and maybe_link(source, target):\n        unlink(source)\n        return\n    move(source, target)\n",
        "    rename(source, target)\n",
        ("tests/mutations/test_guards.py::test_a_name_taken_by_somebody_is_not_taken_from_him",),
    ),
    Removal(
        "cut-off work finished by the next to open", "store.py",
        "        if journal.pending(layout):\n", "        if False:\n", ("tests/mutations/test_guards.py::test_a_call_cut_off_at_any_change_is_whole_or_absent_for_the_next_to_open[delete, orphan]",),
    ),
    Removal(
        "the redo record written first", "trash.py",
        "    path = journal.begin(engine.layout, record)\n    apply(engine, record, durable)\n",
        "    apply(engine, record, durable)\n    path = journal.begin(engine.layout, record)\n",
        ("tests/mutations/test_guards.py::test_a_call_cut_off_at_any_change_is_whole_or_absent_for_the_next_to_open[delete, orphan]",),
    ),
    Removal(
        "the parent's note before the child", "tree.py",
        "        if parent is not None:\n            note_child(engine, parent, session_id, durable)\n"
        "        engine.create(entry, facts, durable, is_new=True)\n",
        "        engine.create(entry, facts, durable, is_new=True)\n        if parent is not None:\n"
        "            note_child(engine, parent, session_id, durable)\n",
        ("tests/mutations/test_guards.py::test_a_call_cut_off_at_any_change_is_whole_or_absent_for_the_next_to_open[create child]",),
    ),
    Removal(
        "tokens kept as hashes", "sharing.py",
        'return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()',
        'return (b"%64d" % len(text) + token.encode("utf-8", "surrogatepass")).hex()', ("tests/store/test_shares.py",),
    ),
    Removal(
        "no symbolic link followed", "disk/files.py",
        ' | getattr(os, "O_NOFOLLOW", 0)', "", ("tests/store/test_bad_input.py",),
    ),
    Removal(
        "no waiting for a pipe", "disk/files.py",
        ' | getattr(os, "O_NONBLOCK", 0)', "", ("tests/mutations/test_guards.py::test_a_pipe_is_refused_without_waiting_for_its_other_end",),
    ),
    Removal(
        "a message of a known id stored once", "disk/engine.py",
        "            if draft.is_retry_safe:\n                return", "            if False:\n                return",
        ("tests/store/test_messages.py",),
    ),
    Removal(
        "expected_revision compared under the lock", "disk/engine.py",
        "        if expected_revision is not None and expected_revision != state.revision:\n"
        "            raise refusals.conflict(entry.id, expected_revision, state.revision)\n"
        "        return self._append_new(entry, state, drafts)\n",
        "        return self._append_new(entry, state, drafts)\n",
        ("tests/store/test_messages.py", "tests/store/test_two_stores.py"),
    ),
    Removal(
        "the nonce compared when a delete is finished", "trash.py",
        ' and read_header(entry.path).get("nonce") == nonce:', ":",
        ("tests/mutations/test_guards.py::test_a_delete_that_was_cut_off_is_not_finished_on_another_session_of_that_id",),
    ),
    Removal(
        "the lines added while a log was compacted", "compaction.py",
        "size = new.size + _add(new, added)", "size = new.size", ("tests/races/test_compaction.py",),
    ),
    Removal(
        "no compaction under a revert that came meanwhile", "compaction.py",
        " or _goes_back(added, old):", ":", ("tests/races/test_compaction.py",),
    ),
    Removal(
        "restoring by a rename", "trash.py",
        "    files.move(source, entry.path)\n", "    files.place(source, entry.path)\n", ("tests/index/test_news.py",),
    ),
    Removal(
        "all logs looked at where a look was cut off", "disk/index/index.py",
        "if maybe_changed is None or not was_compared:", "if maybe_changed is None:",
        ("tests/index/test_news.py", "tests/index/test_freshness.py"),
    ),
    Removal(
        "changes kept until they are in the index", "disk/index/index.py",
        "self._known.changes_among(self._pending | maybe_changed)", "self._known.changes_among(maybe_changed)",
        ("tests/index/test_news.py", "tests/index/test_freshness.py"),
    ),
    Removal(
        "the redo record synced", "disk/journal.py",
        "            files.sync(fd)\n", "",
        ("tests/mutations/test_guards.py::test_what_is_to_be_done_is_on_the_medium_before_any_of_it_is_done",),
    ),
    Removal(
        "a write that failed taken back", "disk/engine.py",
        "                files.ftruncate(fd, size)\n", "                pass\n", ("tests/faults/test_disk_full.py",),
    ),
    Removal(
        "a short write gone on with", "disk/engine.py",
        "            if done != len(line):\n                files.write_all(fd, line[done:])\n", "",
        ("tests/faults/test_disk_full.py", "tests/faults/test_every_call_fails.py::test_a_full_disk_at_every_system_call"),
    ),
    Removal(
        "the checksum of a fork's past", "disk/logfile.py",
        "if found.end != past.size or found.chain != past.chain:", "if found.end != past.size:",
        ("tests/mutations/test_guards.py::test_a_past_that_says_something_else_in_as_many_bytes_is_damaged",),
    ),
    Removal(
        "no cycle by moving", "tree.py",
        "if entry.id in (parent.id, *(ancestor.id for ancestor in ancestors(engine, parent))):", "if False:",
        ("tests/store/test_hierarchy.py",),
    ),
    Removal(
        "no root that others can write to", "disk/layout.py",
        "if found.st_mode & 0o022:", "if False:", ("tests/store/test_bad_input.py",),
    ),
    Removal(
        "names that Windows gives to devices", "naming.py",
        " and session_id not in _RESERVED", "", ("tests/test_naming.py",),
    ),
    Removal(
        "a share's time", "sharing.py",
        "return grant.expires_at is not None and clock.now() >= grant.expires_at", "return False",
        ("tests/store/test_shares.py",),
    ),
    Removal(
        "tokens bound to their store", "sharing.py",
        "hierstore share\\0{engine.layout.store_id}\\0{token}", "hierstore share\\0{token}",
        ("tests/store/test_shares.py",),
    ),
    Removal(
        "the bound of nesting", "values.py",
        "if depth >= MAX_DEPTH:", "if False:", ("tests/test_values.py",),
    ),
    Removal(
        "numbers that JSON has", "values.py",
        "if not math.isfinite(value):", "if False:", ("tests/test_values.py",),
    ),
)  # fmt: skip
