"""How faults are put into the code, and which tests are run on each."""
