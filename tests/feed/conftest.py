"""The fixtures that start processes."""

from tests.processes import start, zygote

__all__ = ["start", "zygote"]
