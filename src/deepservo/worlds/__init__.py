"""Simulated worlds: what carries the camera, and the objects in front of it."""
