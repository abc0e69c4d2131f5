"""docs/measurements.md: methods on bundled pictures, and how the renderer samples."""
