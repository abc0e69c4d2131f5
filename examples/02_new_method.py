"""A method of your own: a Controller that answers a velocity, measured beside `dvs` on a published set.

This one servoes on the grey levels of tiny pictures: less detail, so it sees further. A network goes where `_velocity` is.
"""

import torch
from torch import Tensor

from deepservo import METHODS, Camera, Controller, PlanarScene, control
from deepservo.evaluation.protocols import measure, sampled
from deepservo.features.luminance import Luminance
from deepservo.images.pictures import bundled

SIZE = 28


class TinyPictures(Controller):
    """DVS on pictures of SIZE x SIZE pixels, at gain 0.5."""

    gain = 0.5

    def __init__(self, camera: Camera, depth: float = 0.6) -> None:
        super().__init__(camera)
        self.features, self.depth = Luminance(camera.resize(SIZE, SIZE), border=3), torch.full((1, 1, 1), depth)

    def _measure(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = torch.nn.functional.interpolate(images, (SIZE, SIZE), mode="area")
        return self.features.s(small), self.features.L(small, self.depth)

    def _set_goal(self, goal: Tensor) -> None:
        s, L = self._measure(goal)
        self.state = {"s": s, "L": L}  # what belongs to a run stands here: finished runs are dropped from it

    def _velocity(self, image: Tensor) -> Tensor:
        s, L = self._measure(image)
        e, L = s - self.state["s"], (L + self.state["L"]) / 2
        return control.levenberg_marquardt(L.mT @ L, (L.mT @ e[..., None])[..., 0], self.gain, mu=0.01)


METHODS["tiny"] = lambda camera, depth=0.6, model=None: TinyPictures(camera, depth)

camera = Camera(width=112, height=112, fx=150, fy=150, cx=59, cy=54)
scene = PlanarScene(bundled("coffee"), width=0.8)
starts = sampled("lookat", 20, 0, scene, camera, 0.6)
for name in ("dvs", "tiny"):
    _, row = measure(METHODS[name](camera, depth=0.6), name, scene, "coffee", starts, budget=100)
    print(f"{name}: {100 * row['converged']:.0f} % of {row['n']} came home, median {row['end_mm_median']:.3f} mm")
