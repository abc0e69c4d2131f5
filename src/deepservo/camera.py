"""The pinhole camera, and the convention of pixel coordinates.

As in OpenCV, ROS and ViSP a pixel's centre is at integer coordinates: `x = (u - cx) / fx`; the
image spans [-0.5, W - 0.5]. Axes: x right, y down, z forward.
"""

import math
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError


@dataclass(frozen=True)
class Camera:
    """Size and intrinsics [px] of a pinhole camera; InputError where they cannot be a camera's."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise InputError(
                f"camera: {asdict(self)} holds something that is not a finite number; give sizes "
                "and intrinsics in pixels"
            )
        if (
            self.width < 1
            or self.height < 1
            or int(self.width) != self.width
            or int(self.height) != self.height
        ):
            raise InputError(
                f"camera: the size {self.width} x {self.height} is not a whole, positive number "
                "of pixels"
            )
        if self.fx <= 0 or self.fy <= 0:
            raise InputError(
                f"camera: focal lengths must be positive pixels, not fx={self.fx}, fy={self.fy}"
            )
        # Whole numbers become floats: a tensor made of them would hold integers.
        for name in ("fx", "fy", "cx", "cy"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def K(self) -> Float[Tensor, "3 3"]:
        """Intrinsic matrix, float64: `p_px = K p / Z`."""
        return torch.tensor(
            [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=torch.float64
        )

    @property
    def K_inv(self) -> Float[Tensor, "3 3"]:
        """`p / Z = K_inv p_px`, float64."""
        return torch.tensor(
            [[1 / self.fx, 0, -self.cx / self.fx], [0, 1 / self.fy, -self.cy / self.fy], [0, 0, 1]],
            dtype=torch.float64,
        )

    @property
    def intrinsics(self) -> Float[Tensor, "4"]:
        """fx, fy, cx, cy, float32, as the C reads them."""
        return torch.tensor([self.fx, self.fy, self.cx, self.cy], dtype=torch.float32)

    def xy(
        self, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """Normalised coordinates x, y of every pixel's centre."""
        x = (torch.arange(self.width, dtype=torch.float64) - self.cx) / self.fx
        y = (torch.arange(self.height, dtype=torch.float64) - self.cy) / self.fy
        gy, gx = torch.meshgrid(y, x, indexing="ij")
        return gx.to(dtype), gy.to(dtype)

    def project(self, p_cam: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """Pixel coordinates (u, v) of points in the camera frame [m]; meaningless where Z <= 0."""
        u = p_cam[..., 0] / p_cam[..., 2] * self.fx + self.cx
        v = p_cam[..., 1] / p_cam[..., 2] * self.fy + self.cy
        return torch.stack([u, v], -1)

    def crop(self, border: int) -> "Camera":
        """The camera of pictures without `border` pixels on each side."""
        return replace(
            self,
            width=self.width - 2 * border,
            height=self.height - 2 * border,
            cx=self.cx - border,
            cy=self.cy - border,
        )

    def resize(self, width: int, height: int) -> "Camera":
        """The camera of pictures resized (area) to width x height."""
        sx, sy = width / self.width, height / self.height
        return Camera(
            width,
            height,
            self.fx * sx,
            self.fy * sy,
            (self.cx + 0.5) * sx - 0.5,
            (self.cy + 0.5) * sy - 0.5,
        )

    def within(self, side: int) -> "Camera":
        """The camera of pictures reduced so that their longer side is at most `side` pixels."""
        scale = min(1.0, side / max(self.width, self.height))
        return self.resize(round(scale * self.width), round(scale * self.height))


PAPER_CAMERA = Camera(224, 224, 300.0, 300.0, 119.0, 109.0)
"""The camera of the published experiments."""


def usual_camera(width: int, height: int) -> Camera:
    """A camera of this size [px] with the published camera's field of view along the longer side,
    and its principal point in the middle.
    """
    focal = PAPER_CAMERA.fx / PAPER_CAMERA.width * max(width, height)
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
