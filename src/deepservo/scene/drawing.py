"""What pictures made by code are drawn with: noise, surfaces, shapes, blurs.

Every function draws its random numbers in a fixed order, and none depends on the number of threads.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float

Size = tuple[int, int]
"""Height and width [px]."""
Grey = Float[np.ndarray, "h w"]
Random = np.random.Generator

SUBPIXEL_BITS = 4  # bits below the pixel of cv2's points


def log_uniform(rng: Random, low: float, high: float) -> float:
    """A number whose logarithm is uniform between those of `low` and `high`."""
    return low * (high / low) ** rng.random()


def noise_field(size: Size, rng: Random, exponent: float, stretch: float = 1.0) -> Grey:
    """Gaussian noise of mean 0 and deviation 1 whose amplitude falls as 1/f^exponent.

    It is `stretch` times longer along a random direction.
    """
    # Larger than what is kept: the noise is periodic, and both ends of a period would match.
    h, w = (cv2.getOptimalDFTSize(n + n // 4) for n in size)
    fy, fx = np.fft.fftfreq(h).astype(np.float32)[:, None], np.fft.rfftfreq(w).astype(np.float32)
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    f2 = (stretch * (c * fx + s * fy)) ** 2 + (c * fy - s * fx) ** 2
    f2[0, 0] = math.inf
    spectrum = (
        rng.standard_normal((h, w // 2 + 1, 2), np.float32) * (f2 ** (-exponent / 2))[..., None]
    )
    noise = np.fft.irfft2(spectrum.view(np.complex64)[..., 0], (h, w))
    noise = noise[: size[0], : size[1]].astype(np.float32)
    return (noise - noise.mean()) / noise.std()


def smooth_surface(size: Size, rng: Random, cells: int) -> Grey:
    """A smooth surface of about `cells` hills a side, in about [-1, 1]."""
    return cv2.resize(
        rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32),
        size[::-1],
        interpolation=cv2.INTER_CUBIC,
    )


def ramp(size: Size, rng: Random) -> Grey:
    """A slope across the picture in a random direction, within [-1, 1]."""
    angle = rng.uniform(0, 2 * math.pi)
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)
    return (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2)


def bend(picture: Grey, rng: Random, amount: float) -> Grey:
    """The picture bent: a pixel is taken from up to about `amount` of a side away.

    No pixel is taken from outside.
    """
    (h, w), cells = picture.shape, int(rng.integers(1, 6))
    amount /= cells  # long shifts in short waves would fold the picture
    x = np.linspace(amount * w, w - 1 - amount * w, w, dtype=np.float32)
    x = x + amount * w * smooth_surface((h, w), rng, cells)
    y = np.linspace(amount * h, h - 1 - amount * h, h, dtype=np.float32)[:, None]
    y = y + amount * h * smooth_surface((h, w), rng, cells)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def blur(picture: Grey, deviation: float) -> Grey:
    """The picture blurred by a Gaussian of this deviation [px].

    A wide one is applied at a lower resolution, where it costs no more than a narrow one.
    """
    k = max(1, int(deviation))
    h, w = picture.shape
    if k > 1:
        picture = cv2.resize(
            picture, (math.ceil(w / k), math.ceil(h / k)), interpolation=cv2.INTER_AREA
        )
    picture = cv2.GaussianBlur(picture, (0, 0), deviation / k)
    return cv2.resize(picture, (w, h), interpolation=cv2.INTER_CUBIC) if k > 1 else picture


def outlines(radius: Float[np.ndarray, " n"], rng: Random) -> Float[np.ndarray, "n 32 2"]:
    """Closed shapes about the origin, 32 points (x, y) each: ellipses, boxes, polygons and blobs.

    radius: of each [px]. Each has its own aspect and angle.
    """
    n = len(radius)
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    p = rng.choice([2, 40], (n, 1), p=[0.6, 0.4])
    # |x|^p + |y|^p = 1
    round_or_box = (np.abs(np.cos(t)) ** p + np.abs(np.sin(t)) ** p) ** (-1 / p)
    # A polygon is the intersection of six half planes.
    facing = np.cos(t - rng.uniform(0, 2 * np.pi, (6, n, 1)))
    polygon = np.min(
        np.where(facing > 0.3, rng.uniform(0.5, 1, (6, n, 1)) / np.maximum(facing, 0.3), 1.6), 0
    )
    a, b = rng.uniform(0, 0.35, (n, 1)), rng.uniform(0, 0.3, (n, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, n, 1))
    blob = 1 + a * np.cos(2 * t + phase[0]) + b * np.cos(rng.integers(3, 7, (n, 1)) * t + phase[1])
    kind = rng.choice(3, (n, 1), p=rng.dirichlet(np.ones(3)))  # a new mixture each time
    r = radius[:, None] * np.choose(kind, [round_or_box, polygon, blob])
    aspect, turn = np.exp(rng.normal(0, 0.25, (n, 1))), rng.uniform(0, np.pi, (n, 1))
    if rng.random() < 0.3:  # upright, as buildings and furniture are
        turn = np.round(turn * 2 / np.pi) * np.pi / 2 + rng.normal(0, 0.03, (n, 1))
    return rotated(aspect * r * np.cos(t), r * np.sin(t) / aspect, turn)


def rotated(x: np.ndarray, y: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Points (..., 2) rotated about the origin by an angle [rad].

    Without BLAS, whose sums depend on the number of threads.
    """
    return np.stack(
        [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], -1
    )


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Points [px] as integers for cv2's `shift=SUBPIXEL_BITS`."""
    return np.rint(points * 2**SUBPIXEL_BITS).astype(np.int32)


def fill_shapes(
    picture: np.ndarray, radius: Float[np.ndarray, " n"], greys: np.ndarray, rng: Random
) -> None:
    """Draw shapes of these radii [px] and greys (0 .. 255) anywhere on a picture of bytes.

    Their edges are smooth.
    """
    centre = rng.uniform(0.15, 0.85, (len(radius), 1, 2)) * picture.shape[::-1]
    for shape, grey in zip(fixed_point(outlines(radius, rng) + centre), greys, strict=True):
        cv2.fillPoly(picture, [shape], float(grey), cv2.LINE_AA, SUBPIXEL_BITS)
