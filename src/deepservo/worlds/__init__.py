"""Worlds that are simulated: what carries the camera, and the objects before it."""
