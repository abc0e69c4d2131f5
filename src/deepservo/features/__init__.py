"""Features: what is measured in an image, and how it moves with the camera."""
