"""What the benchmarks share: results files, timing, drawings."""
