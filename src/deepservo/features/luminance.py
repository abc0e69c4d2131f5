"""The image itself as a feature: luminance, its gradient, its interaction matrix."""

from ctypes import Structure
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo import native
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import interaction
from deepservo.images import sampler
from deepservo.images.undrawn import STRIDE, Undrawn

# Taps of derivatives: ViSP's, which smooths, and one that is exact to the fourth order.
SMOOTH_DERIVATIVE = torch.tensor([-112.0, -913.0, -2047.0, 0.0, 2047.0, 913.0, 112.0]) / 8418.0
SHARP_DERIVATIVE = torch.tensor([0.0, 1.0, -8.0, 0.0, 8.0, -1.0, 0.0]) / 12.0
DERIVATIVE_REACH = 3  # px to either side

Where = Literal["current", "goal", "mean"]
# Weights of the current and of the goal's L in the law. L is linear in the picture, so the mean of
# both is the L of the mean picture.
SHARES: dict[Where, tuple[float, float]] = {
    "current": (1.0, 0.0),
    "goal": (0.0, 1.0),
    "mean": (0.5, 0.5),
}


def gradient(
    images: Float[Tensor, "b 1 h w"], taps: Float[Tensor, "7"] = SMOOTH_DERIVATIVE
) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """Derivatives along x and y per pixel.

    Within DERIVATIVE_REACH of the border they are wrong: there the outermost pixels are repeated.
    """
    taps = taps.to(images.device)
    gx = torch.nn.functional.conv2d(
        torch.nn.functional.pad(images, (3, 3, 0, 0), mode="replicate"), taps[None, None, None, :]
    )
    gy = torch.nn.functional.conv2d(
        torch.nn.functional.pad(images, (0, 0, 3, 3), mode="replicate"), taps[None, None, :, None]
    )
    return gx[:, 0], gy[:, 0]


class Luminance:
    """s = grey levels, L = their interaction matrix (Collewet & Marchand 2011).

    border: pixels on each side that are left out. taps: of the derivative of the picture that L is
    made of. Raises InputError where the border is narrower than the derivative reaches, or leaves
    nothing of the picture.
    """

    def __init__(
        self, camera: Camera, border: int = 10, taps: Float[Tensor, "7"] = SMOOTH_DERIVATIVE
    ) -> None:
        if border < DERIVATIVE_REACH:
            raise InputError(
                f"luminance: the derivative reaches {DERIVATIVE_REACH} pixels, so a border of "
                f"{border} is too narrow"
            )
        if min(camera.width, camera.height) <= 2 * border + 8:
            raise InputError(
                f"luminance: pictures of {camera.width} x {camera.height} leave nothing inside a "
                f"border of {border} pixels"
            )
        self.camera, self.border, self.taps = camera, border, taps
        x, y = camera.xy()
        self.x, self.y = self.inside(x), self.inside(y)

    def inside(self, maps: Tensor) -> Tensor:
        """Maps (..., h, w) without the border."""
        b = self.border
        return maps[..., b : maps.shape[-2] - b, b : maps.shape[-1] - b]

    def s(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b k"]:
        """The features alone."""
        return self.inside(images[:, 0]).flatten(1)

    def L(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> Float[Tensor, "b k 6"]:
        """Their interaction matrix for the depth Z [m] of each pixel, or (1, 1, 1): one for all."""
        return self.columns(images, depth).mT

    def measure(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k 6"]]:
        """s and L."""
        return self.s(images), self.L(images, depth)

    def columns(
        self, images: Float[Tensor, "b 1 h w"], depth: Float[Tensor, "#b #h #w"]
    ) -> Float[Tensor, "b 6 k"]:
        """`L` transposed: each of its columns is a picture."""
        gx, gy = gradient(images, self.taps)
        inside = depth if depth.shape[-1] == 1 else self.inside(depth)
        L = interaction.luminance(
            self.inside(gx) * self.camera.fx,
            self.inside(gy) * self.camera.fy,
            self.x,
            self.y,
            inside.to(images.dtype),
            axis=-3,
        )
        return L.flatten(2)


class Arguments(Structure):
    """What `luminance_runs` of luminance.c reads and writes."""

    _fields_ = native.fields(
        "* images goals",
        "i64 goal_step",
        "f32 current_share goal_share",
        "* camera",
        "i32 w h border",
        "* moments",
    )


class UndrawnArguments(Structure):
    """What `undrawn_luminance_runs` of luminance.c reads and writes."""

    _fields_ = [
        ("luminance", Arguments),
        ("sampling", sampler.Arguments),
        *native.fields("* compared", "i64 compared_step", "* errors some", "i32 stride"),
    ]


class NormalEquations:
    """`H = L^T L` and `g = L^T e` of the luminance, e = s - s_goal, for one depth Z [m].

    One pass over the picture in C, without L in memory; the derivative is SMOOTH_DERIVATIVE.
    Element j of a pixel's L is `gx a_j(x, y) + gy b_j(x, y)`, polynomials in its place
    (`interaction.luminance`). So H and g are linear in the sums of gx gx, gx gy, gy gy, gx e, gy e
    times `x^k y^m`, and those moments are what the pass adds up.
    """

    def __init__(self, features: Luminance, depth: float) -> None:
        self.features = features
        self.intrinsics = features.camera.intrinsics
        self.of_moments = _of_moments(1 / depth)
        self.powers = [
            torch.stack([along**k for k in range(5)], -1)
            for along in (features.x[0], features.y[:, 0])
        ]

    def __call__(
        self,
        images: Float[Tensor, "b 1 h w"] | Undrawn,
        goals: Float[Tensor, "#b 1 h w"],
        where: Where,
    ) -> tuple[Float[Tensor, "b 6 6"], Float[Tensor, "b 6"]]:
        """H and g, float64, with L of the current picture, of the goal's, or their mean (ESM).

        Undrawn pictures are drawn one after the other.
        """
        on_cpu = isinstance(images, Undrawn) or images.device.type == "cpu"
        lib = native.library() if on_cpu else None
        if lib is None:
            assert isinstance(images, Tensor), "undrawn pictures are made where there is C alone"
            return self._equations(self.moments(images, goals, where))
        goals = goals.float().contiguous()
        moments = torch.empty(len(images), self.of_moments.shape[0], dtype=torch.float64)
        arguments = self._arguments(goals, where, moments)
        if isinstance(images, Undrawn):
            _draw(images, arguments)
        else:
            images = images.float().contiguous()
            arguments.images = images.data_ptr()
            native.run(lib.luminance_runs, arguments, len(images))
        return self._equations(moments)

    def _arguments(
        self, goals: Float[Tensor, "g 1 h w"], where: Where, moments: Float[Tensor, "b 58"]
    ) -> Arguments:
        """All but the pictures."""
        (h, w), (of_current, of_goal) = goals.shape[-2:], SHARES[where]
        return Arguments(
            goals=goals.data_ptr(), goal_step=h * w if len(goals) > 1 else 0,
            current_share=of_current, goal_share=of_goal, camera=self.intrinsics.data_ptr(),
            w=w, h=h, border=self.features.border, moments=moments.data_ptr(),
        )  # fmt: skip

    def moments(
        self, images: Float[Tensor, "b 1 h w"], goals: Float[Tensor, "#b 1 h w"], where: Where
    ) -> Float[Tensor, "b 58"]:
        """The moments in torch, on any device.

        They are sums with powers of x along the rows, then of y along the columns.
        """
        (of_current, of_goal), f, camera = SHARES[where], self.features, self.features.camera
        gx, gy = (f.inside(g) for g in gradient(of_current * images + of_goal * goals, f.taps))
        gx, gy, e = gx * camera.fx, gy * camera.fy, f.inside((images - goals)[:, 0])
        x, y = (powers.to(e.device) for powers in self.powers)
        sums = []
        for product, (k, m) in zip(
            (gx * gx, gx * gy, gy * gy, gx * e, gy * e), POWERS, strict=True
        ):
            along_rows = (product @ x[:, :k]).double()
            sums.append((along_rows.mT @ y[:, :m].double()).flatten(1))
        return torch.cat(sums, 1)

    def _equations(
        self, moments: Float[Tensor, "b 58"]
    ) -> tuple[Float[Tensor, "b 6 6"], Float[Tensor, "b 6"]]:
        both = (moments @ self.of_moments.to(moments.device)).view(len(moments), 6, 7)
        return both[..., :6], both[..., 6]


def _draw(images: Undrawn, luminance: Arguments) -> None:
    """Draw them for these moments, and fill what `Undrawn` leaves to be filled."""
    lib, (h, w), B = native.library(), images.size, len(images)
    assert lib is not None
    sampling, kept = sampler.sampling(images.pyramid, images.Hs, images.background, images.size)
    compared = images.goals.contiguous()
    images.some = torch.empty(B, -(-h // STRIDE) * -(-w // STRIDE))
    images.error = torch.empty(B)
    arguments = UndrawnArguments(
        luminance=luminance, sampling=sampling, compared=compared.data_ptr(),
        compared_step=h * w if len(compared) > 1 else 0, errors=images.error.data_ptr(),
        some=images.some.data_ptr(), stride=STRIDE,
    )  # fmt: skip
    native.run(lib.undrawn_luminance_runs, arguments, B)
    del kept  # what the arguments point into


# How many powers of x and of y there are of gx gx, gx gy, gy gy, gx e, gy e.
POWERS = ((5, 3), (4, 4), (3, 5), (3, 2), (2, 3))
Polynomial = dict[tuple[int, int], float]
"""Coefficients by the powers of x and y."""


def _of_moments(iz: float) -> Float[Tensor, "58 42"]:
    """The matrix that takes the moments to [H, g], (6, 7) flattened, at inverse depth iz [1/m]."""
    a: list[Polynomial] = [
        {(0, 0): iz},
        {},
        {(1, 0): -iz},
        {(1, 1): -1},
        {(0, 0): 1, (2, 0): 1},
        {(0, 1): -1},
    ]
    b: list[Polynomial] = [
        {},
        {(0, 0): iz},
        {(0, 1): -iz},
        {(0, 0): -1, (0, 2): -1},
        {(1, 1): 1},
        {(1, 0): 1},
    ]
    one: Polynomial = {(0, 0): 1}
    parts = [torch.zeros(*powers, 6, 7, dtype=torch.float64) for powers in POWERS]
    for i in range(6):
        for j in range(6):
            for part, first, second in (
                (0, a[i], a[j]),
                (1, a[i], b[j]),
                (1, b[i], a[j]),
                (2, b[i], b[j]),
            ):
                _add(parts[part][..., i, j], first, second)
        _add(parts[3][..., i, 6], a[i], one)
        _add(parts[4][..., i, 6], b[i], one)
    return torch.cat([part.flatten(2).flatten(0, 1) for part in parts])


def _add(into: Tensor, first: Polynomial, second: Polynomial) -> None:
    """Add the product of two polynomials to coefficients by the powers of x and y."""
    for (k, m), value in first.items():
        for (n, o), other in second.items():
            into[k + n, m + o] += value * other
