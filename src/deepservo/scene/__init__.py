"""Scenes: `render(camera, T_world_cam) -> images, coverage`."""

from deepservo.scene.planar import PlanarScene

__all__ = ["PlanarScene"]
