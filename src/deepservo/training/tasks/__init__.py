"""What each network is taught on, and its loss."""
