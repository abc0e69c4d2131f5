"""What cameras see: pictures made into planes and solids, published starts, disturbances."""

from deepservo.scene.planar import PlanarScene
from deepservo.scene.solid import SolidScene

Scene = PlanarScene | SolidScene

__all__ = ["PlanarScene", "Scene", "SolidScene"]
