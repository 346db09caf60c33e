"""The fixtures that start processes, and a cache folder of the test's own: the index goes there where it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import start, zygote

__all__ = ["start", "zygote"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder
