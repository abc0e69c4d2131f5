"""docs/performance.md and docs/results.md: speed on processors and GPUs."""
