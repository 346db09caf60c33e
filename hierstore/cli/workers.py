"""Worker processes: started afresh, deaf to Ctrl-C, and gone with the command whatever ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import ParamSpec, TypeVar

from hierstore.cli.text import Refused

P = ParamSpec("P")
T = TypeVar("T")

START_TIMEOUT_S = 60.0

spawning: SpawnContext = get_context("spawn")
"""Fresh interpreters: nothing of the command's state, threads or descriptors is in them."""

_ALONE = "A worker process waited in vain for the others."

_barrier: Barrier | None = None


class Workers:
    """Up to so many processes; made by ``working``."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def submit(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a process do a job; may start one."""
        # A new process inherits the mask, so Ctrl-C, which a terminal sends to all of them, reaches the command
        # alone: the workers finish what they are at. A handler set in the worker would come too late.
        with _without_interrupts():
            return self._executor.submit(job, *args, **kwargs)


@contextmanager
def working(processes: int, *, together: bool = False) -> Iterator[Workers]:
    """Worker processes for the length of the block. Its end waits for the jobs under way; on an error no other begins.

    Args:
        processes: how many at most.
        together: none begins its first job before all have started; ``meet`` lets them wait for each other again.

    Raises:
        Refused: a worker process died.
    """
    from multiprocessing import resource_tracker

    # Started beforehand: starting it lifts the mask that submit sets.
    resource_tracker.ensure_running()
    barrier = spawning.Barrier(processes) if together else None
    executor = ProcessPoolExecutor(processes, mp_context=spawning, initializer=_begin, initargs=(barrier,))
    try:
        yield Workers(executor)
    except BrokenProcessPool:
        raise Refused("A worker process died; what it had written is whole. Run the command again.") from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def meet() -> None:
    """Wait until every worker is here; for workers that were started together.

    Raises:
        Refused: one of them gave up, or did not come in time.
    """
    if _barrier is not None:
        try:
            _barrier.wait(START_TIMEOUT_S)
        except BrokenBarrierError:
            raise Refused(_ALONE) from None


def give_up() -> None:
    """Let nobody wait for this worker."""
    if _barrier is not None:
        _barrier.abort()


def results(jobs: Iterable[Future[T]]) -> list[T]:
    """What the jobs return, if all do; else the error of one that failed, not of one that waited for it in vain."""
    jobs = list(jobs)
    errors = [error for job in jobs if (error := job.exception()) is not None]
    for error in sorted(errors, key=lambda error: str(error) == _ALONE):
        raise error
    return [job.result() for job in jobs]


def _begin(barrier: Barrier | None) -> None:
    global _barrier  # noqa: PLW0603  # a barrier reaches a process only while it starts
    _barrier = barrier
    threading.Thread(target=_end_with_parent, daemon=True).start()
    meet()


def _end_with_parent() -> None:
    """End this process when the command is killed: its queue would never tell."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
