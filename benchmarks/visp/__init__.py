"""docs/bench.md: ViSP's code on the same pictures and poses."""
