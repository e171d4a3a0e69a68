"""Benchmarks: every transport against its peers and the physical floor. `python -m benchmarks`."""
