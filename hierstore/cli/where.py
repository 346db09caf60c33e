"""Which store is meant: the folder, and why that one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from hierstore.cli.text import Refused

VARIABLE = "HIERSTORE_ROOT"
SHARED = "HIERSTORE_SHARED"
FOLDER = ".hierstore"
_MARK = "hierstore.json"
"""The file that a store has."""


class Where(NamedTuple):
    """A store's folder.

    Attributes:
        path: absolute.
        why: ``"option"``, ``"environment"``, ``"project"`` or ``"user"``.
        reason: the same for people.
        exists: whether there is a store, as far as we may look.
    """

    path: str
    why: str
    reason: str
    exists: bool


def find(option: str | None, environment: Mapping[str, str] = os.environ) -> Where:
    """The store that a command is about.

    Args:
        option: what ``--root`` says, if anything.
        environment: the process's.

    Raises:
        Refused: the option is empty. A script that meant a folder must not get another.
    """
    if option is not None:
        if not option:
            raise Refused("--root is empty; it names the store's folder.")
        return _at(option, "option", "--root says so")
    if named := environment.get(VARIABLE):
        return _at(named, "environment", f"the environment's {VARIABLE} says so")
    folder = _maybe_project()
    if folder is not None:
        return _at(os.path.join(folder, FOLDER), "project", f"{folder} has a folder {FOLDER}")
    from platformdirs import user_data_dir

    return _at(user_data_dir("hierstore", appauthor=False), "user", "it is the user's, as nothing names another")


def is_shared(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether other users are meant to write to the store too: the environment's HIERSTORE_SHARED is not empty or 0."""
    return environment.get(SHARED, "0") not in ("", "0")


def _maybe_project() -> str | None:
    """The nearest folder, this one or one above it, that has a store's folder."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        # It was removed under our feet.
        return None
    while not os.path.isdir(os.path.join(folder, FOLDER)):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _at(path: str, why: str, reason: str) -> Where:
    path = os.path.abspath(os.path.expanduser(path))
    return Where(path, why, reason, _may_be_there(os.path.join(path, _MARK)))


def _may_be_there(path: str) -> bool:
    """Whether a file is there, or we may not know: then opening the store tells why."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
