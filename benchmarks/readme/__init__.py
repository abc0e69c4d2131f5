"""README.md: its table and its moving picture."""
