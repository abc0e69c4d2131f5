"""Features: what is measured in an image, and how it changes as the camera moves."""
