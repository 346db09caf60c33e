"""Work on several sessions that a crash cut off: it is finished before anything else, and what waits for it waits."""

from __future__ import annotations

import os

from hierstore import trash
from hierstore.disk import files, journal
from hierstore.disk.locks import TREE
from hierstore.errors import HierstoreError, StoreClosed
from hierstore.repair.run import Run


def finish_work(run: Run) -> None:
    """Finish what can be finished; a record that says nothing is put aside."""
    engine = run.engine
    with run.guarding("pending", None, engine.layout.tmp):
        # Whoever holds the tree's lock and finds a record knows that its writer is dead.
        with engine.locks.holding([TREE]):
            records = [path for path in journal.pending(engine.layout) if not _put_nonsense_aside(run, path)]
        if records and not run.dry_run:
            try:
                trash.finish_pending(engine)
            except StoreClosed:
                raise
            except (HierstoreError, OSError):
                # leave_unfinished() says so at the end: it may be that a log has to be mended first.
                pass
        for path in records:
            if run.dry_run or not files.exists(path):
                run.did("pending", None, path, "Work on several sessions that a crash cut off is finished.")


def leave_unfinished(run: Run) -> None:
    """Report the work that could not be finished."""
    engine = run.engine
    if run.dry_run or not journal.pending(engine.layout):
        return
    why = "its record is not what such a record should be, or of a kind that this version does not know"
    try:
        trash.finish_pending(engine)
    except StoreClosed:
        raise
    except HierstoreError as error:
        why = str(error).removesuffix(".")
    except OSError as error:
        why = str(error.strerror)
    for path in journal.pending(engine.layout):
        detail = f"Work on several sessions that a crash cut off could not be finished: {why}."
        run.leave("pending", None, path, detail)


def _put_nonsense_aside(run: Run, path: bytes) -> bool:
    """Put a record aside that is no JSON object; the tree's lock is held."""
    try:
        record = journal.load(path)
        if record is None or isinstance(record, dict):
            return False
    except ValueError:
        pass
    size = files.lstat(path).st_size
    if not run.dry_run:
        run.put_aside(path)
    name = os.fsdecode(os.path.basename(path))
    detail = f"What {name} said of work to be finished cannot be read: its {size} bytes are in quarantine/."
    run.did("pending", None, path, detail)
    return True
