"""A method of your own that steers all cameras at once. Measure it beside `dvs` on a published set:

    deepservo bench --methods dvs,examples/02_new_method.py:TinyPictures \\
        --sets screw --scenes coffee --n 20

This one servoes on the grey levels of tiny pictures: less detail, so it sees further. A network
goes where `_velocity` is.
"""

import torch
from torch import Tensor

from deepservo import Camera, Controller, control
from deepservo.features.luminance import Luminance

SIZE = 28


class TinyPictures(Controller):
    """DVS on pictures of SIZE x SIZE pixels, at gain 0.5. Images are (B, 1, H, W) in [0, 1], one
    for each run.
    """

    gain = 0.5

    def __init__(self, camera: Camera, depth: float = 0.6) -> None:
        super().__init__(camera)
        self.features, self.depth = (
            Luminance(camera.resize(SIZE, SIZE), border=3),
            torch.full((1, 1, 1), depth),
        )

    def _measure(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = torch.nn.functional.interpolate(images, (SIZE, SIZE), mode="area")
        return self.features.s(small), self.features.L(small, self.depth)

    def _set_goal(self, goal: Tensor) -> None:
        s, L = self._measure(goal)
        self.state = {
            "s": s,
            "L": L,
        }  # what belongs to a run stands here: finished runs are dropped from it

    def _velocity(self, image: Tensor) -> Tensor:
        s, L = self._measure(image)
        e, L = s - self.state["s"], (L + self.state["L"]) / 2
        return control.levenberg_marquardt(
            L.mT @ L, (L.mT @ e[..., None])[..., 0], self.gain, mu=0.01
        )
