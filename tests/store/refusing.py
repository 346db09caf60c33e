"""Bad input: the right error, in one sentence, and nothing written. And in which order something is written."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from hierstore import HierstoreError, InvalidRecord
from tests.seam import hooked
from tests.support import contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from hierstore import SessionStore


def assert_refused(store: SessionStore, call: Callable[[], Any], where: str | None = None) -> InvalidRecord:
    """See that a call raises InvalidRecord and leaves every byte of the store as it was."""
    before = contents(store.root)
    with pytest.raises(InvalidRecord) as caught:
        call()
    error = caught.value
    assert isinstance(error, HierstoreError)
    assert isinstance(error, ValueError)
    text = str(error)
    assert text[0].isupper() or text.startswith(str(error.where))
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text
    assert where is None or error.where == where
    assert str(pickle.loads(pickle.dumps(error))) == text
    assert contents(store.root) == before
    return error


def order_of_writes(call: Callable[[], Any]) -> list[str]:
    """In what order a call writes and syncs files, each told by the folder below the root that it is in."""
    steps: list[str] = []

    def note(_: int, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name in ("write", "sync"):
            path = os.readlink(f"/proc/self/fd/{args[0]}")
            folder = next((part for part in ("sessions", "registry") if f"/store/{part}/" in path), None)
            steps.extend([f"{name} {folder}"] if folder is not None else [])
        return real()

    with hooked(note):
        call()
    return steps
