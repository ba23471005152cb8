"""Benchmarks: each is run by `python -m benchmarks.NAME`, prints ratios beside its limits, and loses nothing."""
