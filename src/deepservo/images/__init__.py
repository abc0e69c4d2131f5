"""Pictures from files, cameras from files, and resampling."""
