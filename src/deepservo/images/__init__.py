"""Pictures and cameras from files, and pictures seen through homographies."""
