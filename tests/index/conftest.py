"""The fixtures that start processes, and a cache folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hierstore.disk.index import freshness
from tests.processes import start, zygote

__all__ = ["start", "zygote"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, params=["looks", "hears"])
def hears(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether small stores ask the system's queue of changes too: every answer must be the same with and without it."""
    is_heard = bool(request.param == "hears")
    if is_heard:
        monkeypatch.setattr(freshness, "MANY", 0)
    return is_heard
