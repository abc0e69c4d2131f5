"""docs/architecture.md: the plan of the rooms, drawn from the imports."""
