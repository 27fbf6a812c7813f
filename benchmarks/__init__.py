"""Benchmarks: ratios of times, measured interleaved in one run."""
