"""Measurements of hierstore beside what it claims to beat, in the same run: ``python -m benchmarks core``."""
