"""``python -m benchmarks peers``: hierstore next to what its users would pick instead, on the same work, in the same run."""
