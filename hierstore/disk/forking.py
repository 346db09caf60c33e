"""What happens to stores when their process forks.

A child must not use its parent's descriptors: a lock held through a shared one is held by both. Before the fork nothing
is half opened; in the child descriptors are closed, thread locks are new, and nothing is cached.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What has something to do when the process forks."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew."""


_living: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forking: list[Forkable] = []


def register(one: Forkable) -> None:
    """Have its methods called at each fork, as long as it lives."""
    _living.add(one)


def _before() -> None:
    _forking[:] = list(_living)
    for one in _forking:
        one.before_fork()


def _after_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()


def _after_in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
