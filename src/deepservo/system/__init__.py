"""The machine: files, memory, several processes."""
