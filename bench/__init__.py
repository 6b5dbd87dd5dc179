"""Benchmarks: ratios between two ways to the same result, measured in turn in one process. Not tests."""
