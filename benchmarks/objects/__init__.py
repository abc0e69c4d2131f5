"""docs/methods/dfbvs.md and docs/gantry.md: runs before parts on the gantry."""
