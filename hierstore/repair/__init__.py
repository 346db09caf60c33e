"""Repair: mending what a check finds, without losing a byte.

What is cut away goes to ``quarantine/``. Each step looks, takes the locks of what it is about, looks again, and acts; so
others may read and write meanwhile, two repairs do not get in each other's way, and one that dies leaves a store that
the next one finishes.

A log is cut to its sound beginning; whole lines behind damage are not put back. A history in which a revert, a reset or
a message is missing in the middle never was; the beginning was.
"""

from __future__ import annotations

from hierstore.disk.engine import Engine
from hierstore.repair.leads import mend_registry
from hierstore.repair.logs import mend_logs
from hierstore.repair.pending import finish_work, leave_unfinished
from hierstore.repair.run import Run
from hierstore.repair.strays import clear_strays
from hierstore.repair.ties import mend_ties
from hierstore.reports import RepairReport


def repair(engine: Engine, *, dry_run: bool) -> RepairReport:
    """Mend the whole store, as far as that can be done.

    A dry run reports what a real one would do, but for two things: work that a crash cut off is only named, so that what
    follows from finishing it does not show; and what the system refuses shows only when it is tried.

    Raises:
        ReadOnlyStore: the store only reads.
        StoreClosed: it was closed.
    """
    engine.check_writable()
    run = Run(engine, dry_run=dry_run)
    finish_work(run)
    mend_logs(run)
    mend_registry(run)
    mend_ties(run)
    if not dry_run:
        # What is mended now may have been in its way.
        finish_work(run)
    clear_strays(run)
    leave_unfinished(run)
    return run.report()
