"""How inputs of each kind are made, changed and used by the fuzzer."""
