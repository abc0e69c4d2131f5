"""All pages: the tables that are made of `results/`."""
