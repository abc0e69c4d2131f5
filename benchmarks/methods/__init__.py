"""docs/methods: networks, the bank of poses, least errors, and how long a step takes."""
