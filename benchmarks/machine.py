"""The facts of the machine that figures depend on; none that names it, its user or its folders."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path


def facts(folder: Path) -> dict[str, object]:
    """What to print beside figures that were measured in a folder."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _maybe_cpu(),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "file_system": _maybe_file_system(folder),
        "load_average_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("hierstore", "orjson", "filelock")},
    }


def _maybe_cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _maybe_file_system(folder: Path) -> str | None:
    """The type of the file system of the longest mount point above the folder."""
    try:
        mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    above = {str(path) for path in (folder.resolve(), *folder.resolve().parents)}
    found = [(len(mount[1]), place, mount[2]) for place, mount in enumerate(mounts) if mount[1] in above]
    return max(found)[2] if found else None
