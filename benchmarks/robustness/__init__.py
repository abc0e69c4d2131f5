"""docs/mutants.md, and the fuzzer: changed inputs and changed code."""
