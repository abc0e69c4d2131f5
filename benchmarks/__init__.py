"""What makes `results/` and the tables and figures of README and docs: `python -m benchmarks`."""
