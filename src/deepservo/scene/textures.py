"""Pictures made by code, endless and free of licence: for tests, for benchmarks, and to train on
where there is no data set.

Each picture is drawn from one number that the generator given is asked for. So the same seed gives
the same picture bit for bit, whatever ran before and on however many threads, and in a row of
pictures none depends on what kinds came before it. Lengths are shares of the picture's longer side:
a larger picture shows the same things larger, down to the finest that its pixels can hold.
"""

import math
from collections.abc import Callable
from numbers import Integral

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.errors import InputError

Size = tuple[int, int]
Grey = Float[np.ndarray, "h w"]
Random = np.random.Generator

SMALLEST, LARGEST = 16, 4096  # pixels a side
CLOUD_EXPONENTS = (0.8, 1.7)  # photographs have about 1.25
SUB = 4  # cv2's points have so many bits below the pixel


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return low * (high / low) ** rng.random()


def _noise(size: Size, rng: Random, exponent: float, stretch: float = 1.0) -> Grey:
    """Gaussian noise whose amplitude falls as 1/f^exponent, mean 0 and deviation 1; `stretch` times
    longer along a random direction.
    """
    h, w = (
        cv2.getOptimalDFTSize(n + n // 4) for n in size
    )  # more than is kept: the two ends of a period must not both be seen
    fy, fx = np.fft.fftfreq(h).astype(np.float32)[:, None], np.fft.rfftfreq(w).astype(np.float32)
    angle = rng.uniform(0, math.pi)
    c, s = math.cos(angle), math.sin(angle)
    f2 = (stretch * (c * fx + s * fy)) ** 2 + (c * fy - s * fx) ** 2
    f2[0, 0] = math.inf
    spectrum = (
        rng.standard_normal((h, w // 2 + 1, 2), np.float32) * (f2 ** (-exponent / 2))[..., None]
    )
    noise = np.fft.irfft2(spectrum.view(np.complex64)[..., 0], (h, w))[: size[0], : size[1]].astype(
        np.float32
    )
    return (noise - noise.mean()) / noise.std()


def _smooth(size: Size, rng: Random, cells: int) -> Grey:
    """A smooth surface of about `cells` hills a side, in about [-1, 1]."""
    return cv2.resize(
        rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32),
        size[::-1],
        interpolation=cv2.INTER_CUBIC,
    )


def _ramp(size: Size, rng: Random) -> Grey:
    """A slope across the picture in a random direction, within [-1, 1]."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = (
        np.linspace(-1, 1, size[0], dtype=np.float32)[:, None],
        np.linspace(-1, 1, size[1], dtype=np.float32),
    )
    return (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2)


def _warp(picture: Grey, rng: Random, amount: float) -> Grey:
    """Bend: every pixel is taken from up to about `amount` of a side away, none from outside."""
    (h, w), cells = picture.shape, int(rng.integers(1, 6))
    amount /= cells  # long shifts in short waves would fold it
    x = np.linspace(amount * w, w - 1 - amount * w, w, dtype=np.float32) + amount * w * _smooth(
        (h, w), rng, cells
    )
    y = np.linspace(amount * h, h - 1 - amount * h, h, dtype=np.float32)[
        :, None
    ] + amount * h * _smooth((h, w), rng, cells)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _blur(picture: Grey, deviation: float) -> Grey:
    """A Gaussian blur by so many pixels; a wide one at a lower resolution, where it costs no more
    than a narrow one.
    """
    k = max(1, int(deviation))
    h, w = picture.shape
    if k > 1:
        picture = cv2.resize(
            picture, (math.ceil(w / k), math.ceil(h / k)), interpolation=cv2.INTER_AREA
        )
    picture = cv2.GaussianBlur(picture, (0, 0), deviation / k)
    return cv2.resize(picture, (w, h), interpolation=cv2.INTER_CUBIC) if k > 1 else picture


def _outlines(radius: Float[np.ndarray, " n"], rng: Random) -> Float[np.ndarray, "n 32 2"]:
    """Closed shapes about the origin, x and y: ellipses, boxes, polygons and blobs, each with an
    aspect and a turn of its own.
    """
    n = len(radius)
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    p = rng.choice([2, 40], (n, 1), p=[0.6, 0.4])
    round_or_box = (np.abs(np.cos(t)) ** p + np.abs(np.sin(t)) ** p) ** (
        -1 / p
    )  # |x|^p + |y|^p = 1
    facing = np.cos(
        t - rng.uniform(0, 2 * np.pi, (6, n, 1))
    )  # a polygon is what is on this side of its edges
    polygon = np.min(
        np.where(facing > 0.3, rng.uniform(0.5, 1, (6, n, 1)) / np.maximum(facing, 0.3), 1.6), 0
    )
    a, b, phase = (
        rng.uniform(0, 0.35, (n, 1)),
        rng.uniform(0, 0.3, (n, 1)),
        rng.uniform(0, 2 * np.pi, (2, n, 1)),
    )
    blob = 1 + a * np.cos(2 * t + phase[0]) + b * np.cos(rng.integers(3, 7, (n, 1)) * t + phase[1])
    kind = rng.choice(3, (n, 1), p=rng.dirichlet(np.ones(3)))  # another mixture every picture
    r = radius[:, None] * np.choose(kind, [round_or_box, polygon, blob])
    aspect, turn = np.exp(rng.normal(0, 0.25, (n, 1))), rng.uniform(0, np.pi, (n, 1))
    if rng.random() < 0.3:  # what people build stands upright
        turn = np.round(turn * 2 / np.pi) * np.pi / 2 + rng.normal(0, 0.03, (n, 1))
    return _turned(aspect * r * np.cos(t), r * np.sin(t) / aspect, turn)


def _turned(x: np.ndarray, y: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Points (..., 2) turned about the origin [rad]. Spelled out, as BLAS's sums vary with its
    threads.
    """
    return np.stack(
        [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], -1
    )


def _fixed(points: np.ndarray) -> np.ndarray:
    """Points as cv2 draws them with `shift=SUB`."""
    return np.rint(points * 2**SUB).astype(np.int32)


def _clouds(size: Size, rng: Random) -> Grey:
    """Noise at every scale, its amplitude 1/f^a with a in CLOUD_EXPONENTS, some of it stretched or
    folded, and bent.
    """
    exponent = rng.uniform(*CLOUD_EXPONENTS)
    noise = _noise(size, rng, exponent, _log_uniform(rng, 1, 5) if rng.random() < 0.4 else 1.0)
    if exponent > 1.3 and rng.random() < 0.4:  # veins: marble, bark, ridges
        noise = np.abs(noise - rng.uniform(-0.7, 0.7))
        noise = (noise - noise.mean()) / noise.std() * (1 if rng.random() < 0.5 else -1)
    if rng.random() < 0.7:
        noise = _warp(noise, rng, rng.uniform(0.02, 0.15))
    return rng.uniform(0.3, 0.7) + rng.uniform(0.1, 0.25) * noise


def _leaves(size: Size, rng: Random) -> Grey:
    """Dead leaves: shapes of power-law sizes over each other, each flat, graded, striped or
    rough.
    """
    h, w = 2 * size[0], 2 * size[1]  # drawn at twice the size, so that edges come out smooth
    side = float(max(h, w))
    low, high, power = (
        max(_log_uniform(rng, 0.008, 0.04) * side, 3.0),
        rng.uniform(0.15, 0.4) * side,
        rng.uniform(1.0, 2.4),
    )
    radius = (low**-power + rng.random(500) * (high**-power - low**-power)) ** (
        -1 / power
    )  # p(r) ~ r^-(power + 1)
    covered = np.cumsum(np.pi * radius**2) / (h * w)
    radius = radius[: max(12, int(np.searchsorted(covered, _log_uniform(rng, 0.5, 5))))]
    if rng.random() < 0.5:
        radius = np.sort(radius)[::-1]  # the large behind the small: nothing fine is hidden
    n = len(radius)
    label = np.zeros((h, w), np.uint16)
    shapes = _fixed(_outlines(radius, rng) + rng.uniform(0, 1, (n, 1, 2)) * [w, h])
    for i in range(n):
        cv2.fillPoly(label, [shapes[i]], i + 1, shift=SUB)
    # What each leaf looks like, one number a leaf (0 is the ground); the pixels look theirs up.
    n += 1
    level = (
        rng.beta(1.2, 1.2, n) if rng.random() < 0.5 else rng.normal(rng.uniform(0.3, 0.7), 0.17, n)
    )
    grade = rng.normal(0, 0.5 / side, (2, n)) * (rng.random(n) < rng.random())
    rough = rng.uniform(0.01, 0.12, n) * (rng.random(n) < rng.random())
    stripe = rng.uniform(0.02, 0.15, n) * (rng.random(n) < 0.3 * rng.random())
    wave, angle = 2 * np.pi / (rng.uniform(0.01, 0.03, n) * side + 4), rng.uniform(0, np.pi, n)
    looks = np.stack(
        [level, *grade, rough, stripe, wave * np.cos(angle), wave * np.sin(angle)]
    ).astype(np.float32)
    grain = _noise(size, rng, rng.uniform(0.6, 1.4))
    x, picture = np.arange(w, dtype=np.float32) - w / 2, np.empty(size, np.float32)
    for top in range(0, size[0], 64):  # in bands: what one holds fits in the processor's cache
        leaf = label[2 * top : 2 * top + 128].astype(np.intp)
        y = np.arange(2 * top, 2 * top + len(leaf), dtype=np.float32)[:, None] - h / 2
        band = looks[0][leaf]
        if grade.any():
            band += looks[1][leaf] * x + looks[2][leaf] * y
        if rough.any():
            band += looks[3][leaf] * grain[top : top + 64].repeat(2, 0).repeat(2, 1)
        if stripe.any():
            band += looks[4][leaf] * np.sin(looks[5][leaf] * x + looks[6][leaf] * y)
        picture[top : top + 64] = cv2.resize(
            band, (size[1], len(leaf) // 2), interpolation=cv2.INTER_AREA
        )
    return picture


def _text(size: Size, rng: Random) -> list[np.ndarray]:
    """Lines of words in an alphabet that nobody reads, in one block, as curves of 5 points."""
    line = max(_log_uniform(rng, 0.035, 0.14) * max(size), 6.0)
    ends = rng.integers(0, [3, 4], (24, 3, 3, 2)) / [
        2.0,
        3.0,
    ]  # 24 letters of up to 3 bows of 3 points on a 3 x 4 grid
    t = np.linspace(0, 1, 5)[:, None]
    bows = (1 - t) ** 2 * ends[:, :, :1] + 2 * t * (1 - t) * ends[:, :, 1:2] + t**2 * ends[:, :, 2:]
    block = np.array(size) * rng.uniform(0.5, 1.2, 2)
    rows, columns = max(int(block[0] / (1.5 * line)), 1), max(int(block[1] / (0.6 * line)), 2)
    letter = rng.integers(0, 24, (rows, columns))
    word = (rng.random((rows, columns)) > 0.17) & (
        np.arange(columns) < columns * rng.uniform(0.4, 1.3, (rows, 1))
    )
    word[0, 0] = True
    y, x = np.nonzero(word)
    corner = np.array([size[1] - columns * 0.6 * line, size[0] - rows * 1.5 * line]) * rng.uniform(
        0.2, 0.8, 2
    )
    points = (
        bows[letter[word]] * [0.42 * line, line]
        + np.stack([0.6 * line * x, 1.5 * line * y], 1)[:, None, None]
        + corner
    )
    angle = rng.normal(0, 0.05) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
    middle = np.array(size[::-1]) / 2
    points = points[:, : int(rng.integers(2, 4))].reshape(-1, 5, 2) - middle
    return list(_turned(points[..., 0], points[..., 1], angle) + middle)


def _strokes(size: Size, rng: Random) -> Grey:
    """Ink on a plain ground: text, curves, outlines and hatching; most of it stays ground."""
    side = max(size)
    ground = (
        rng.uniform(0.6, 0.95)
        + rng.uniform(0, 0.06) * _ramp(size, rng)
        + rng.uniform(0, 0.02) * _noise(size, rng, 1.0)
    )
    ink = np.zeros(size, np.uint8)
    for kind in rng.choice(4, rng.integers(1, 3), p=[0.4, 0.25, 0.25, 0.1]):
        lines = _text(size, rng) if kind == 0 else []
        if kind == 1:  # a pen that wanders
            n = int(rng.integers(2, 14))
            heading = rng.uniform(0, 2 * np.pi, (n, 1)) + np.cumsum(
                rng.normal(0, rng.uniform(0.05, 0.4), (n, 60)), 1
            )
            steps = (
                np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(0.005, 0.03) * side
            )
            lines = list(np.cumsum(steps, 1) + rng.uniform(0.1, 0.9, (n, 1, 2)) * size[::-1])
        elif kind == 2:
            n = int(rng.integers(3, 25))
            shapes = (
                _outlines(rng.uniform(0.02, 0.3, n) * side, rng)
                + rng.uniform(0, 1, (n, 1, 2)) * size[::-1]
            )
            lines = list(np.concatenate([shapes, shapes[:, :1]], 1))
        elif kind == 3:  # hatching, or ruled lines
            n, angle = int(rng.integers(3, 16)), rng.uniform(0, np.pi)
            along, across = (
                np.array([np.cos(angle), np.sin(angle)]),
                np.array([-np.sin(angle), np.cos(angle)]),
            )
            start = (
                rng.uniform(0.3, 0.7, 2) * size[::-1]
                + np.linspace(-0.5, 0.5, n)[:, None] * rng.uniform(0.2, 1) * side * across
            )
            half = rng.uniform(0.1, 0.8) * side * along * rng.uniform(0.8, 1.2, (n, 1))
            lines = list(np.stack([start - half, start + half], 1))
        width = round(_log_uniform(rng, 1, 2.2 if kind == 0 else 4))
        darkness, thickness = int(rng.integers(140, 256)), max(1, round(width * side / 256))
        cv2.polylines(
            ink, [_fixed(line) for line in lines], False, darkness, thickness, cv2.LINE_AA, SUB
        )
    picture = ground + ink * np.float32(1 / 255) * (rng.uniform(0, 0.25) - ground)
    return picture if rng.random() < 0.75 else 1 - picture


def _tiles(size: Size, rng: Random) -> Grey:
    """One motif over and over, in rows that may be shifted, with joints: bricks, wallpaper, cloth.
    No two cells are quite alike.
    """
    h = max(_log_uniform(rng, 0.07, 0.3) * max(size), 5.0)
    w = h * _log_uniform(rng, 0.5, 2) if rng.random() < 0.6 else h
    motif_size = (max(round(h), SMALLEST), max(round(w), SMALLEST))
    motif = (_clouds, _leaves, _strokes, _emblem)[rng.choice(4, p=[0.15, 0.2, 0.15, 0.5])](
        motif_size, rng
    )
    angle = rng.normal(0, 0.04) if rng.random() < 0.5 else rng.uniform(0, np.pi)
    c, s = math.cos(angle), math.sin(angle)
    y, x = (
        np.arange(size[0], dtype=np.float32)[:, None] - size[0] / 2,
        np.arange(size[1], dtype=np.float32) - size[1] / 2,
    )
    wobble, row_shift = rng.uniform(0, 0.08), float(rng.choice([0, 0, 1 / 2, 1 / 3]))
    v = (c * y - s * x) / h + wobble * _smooth(size, rng, 4)
    row = np.floor(v)
    u = (c * x + s * y) / w + wobble * _smooth(size, rng, 4) + row_shift * row
    column = np.floor(u)
    v, u = v - row, u - column  # place in the cell, 0 .. 1
    cell = (row % 61 * 67 + column % 67).astype(np.intp)
    slip = rng.uniform(-1, 1, (2, 61 * 67)).astype(np.float32) * np.float32(rng.uniform(0, 0.06))
    tint = rng.normal(0, rng.uniform(0, 0.06), 61 * 67).astype(np.float32)
    px, py = (u + slip[0][cell]) * motif_size[1] - 0.5, (v + slip[1][cell]) * motif_size[0] - 0.5
    picture = (
        cv2.remap(motif, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) + tint[cell]
    )
    if rng.random() < 0.25:  # a chequerboard
        picture += rng.uniform(-0.25, 0.25) * ((row + column) % 2 - 0.5)
    picture += rng.uniform(0, 0.06) * _noise(size, rng, rng.uniform(0.6, 1.4))
    edge = np.minimum(
        np.minimum(u, 1 - u) * w, np.minimum(v, 1 - v) * h
    )  # pixels to the nearest joint
    joint = np.clip(rng.uniform(0.01, 0.07) * h - edge + 0.5, 0, 1)
    return picture + joint * (rng.uniform(0, 1) - picture)


def _emblem(size: Size, rng: Random) -> Grey:
    """One to four flat shapes on a flat ground."""
    greys = rng.permutation(np.linspace(10, 245, 5))  # no shape has the ground's
    picture = np.full(size, greys[0], np.uint8)
    n = int(rng.integers(1, 5))
    _fill(picture, rng.uniform(0.15, 0.5, n) * min(size), greys[1 : n + 1], rng)
    return picture / np.float32(255)


def _fill(
    picture: np.ndarray, radius: Float[np.ndarray, " n"], greys: np.ndarray, rng: Random
) -> None:
    """Draw shapes of these radii [px] and greys (0 .. 255) anywhere on a picture of bytes, their
    edges smooth.
    """
    centre = rng.uniform(0.15, 0.85, (len(radius), 1, 2)) * picture.shape[::-1]
    for shape, grey in zip(_fixed(_outlines(radius, rng) + centre), greys, strict=True):
        cv2.fillPoly(picture, [shape], float(grey), cv2.LINE_AA, SUB)


def _faint(size: Size, rng: Random) -> Grey:
    """Nearly one grey: some weak spots, lit from one side as hollows and hills are, and a breath of
    noise.
    """
    n, side = int(rng.integers(3, 40)), max(size)
    radius = (0.015**-1.5 + rng.random(n) * (0.2**-1.5 - 0.015**-1.5)) ** (-1 / 1.5)
    radius = np.maximum(radius * side, 1)
    depth, light, angle = rng.normal(0, 1, n), rng.uniform(0, 1.5), rng.uniform(0, 2 * np.pi)
    y = (np.arange(size[0]) - rng.uniform(0, size[0], (n, 1))) / radius[:, None]
    x = (np.arange(size[1]) - rng.uniform(0, size[1], (n, 1))) / radius[:, None]
    bell_y, bell_x = depth[:, None] * np.exp(-(y**2)), np.exp(-(x**2))
    # The light's part of a spot is its slope; spots are sums of a column times a row (by einsum,
    # which is not BLAS either).
    columns = np.concatenate(
        [bell_y, light * math.sin(angle) * y * bell_y, light * math.cos(angle) * bell_y]
    ).astype(np.float32)
    spots = np.einsum(
        "ny,nx->yx", columns, np.concatenate([bell_x, bell_x, x * bell_x]).astype(np.float32)
    )
    spots = _warp(spots / spots.std(), rng, 0.08)
    grain = rng.uniform(0.1, 0.5) * _noise(size, rng, rng.uniform(0.6, 1.4))
    return rng.uniform(0.2, 0.8) + _log_uniform(rng, 0.01, 0.04) * (
        spots + rng.uniform(0, 0.6) * _ramp(size, rng) + grain
    )


def _mask(size: Size, rng: Random) -> Grey:
    """Where a second picture covers a first, in [0, 1]: half of it, patches of it, or a few shapes;
    sharp or soft.
    """
    if rng.random() < 0.4:
        mask = np.zeros(size, np.uint8)
        radius = rng.uniform(0.1, 0.45, rng.integers(1, 6)) * max(size)
        _fill(mask, radius, np.full(len(radius), 255), rng)
        return mask / np.float32(255)
    field = rng.uniform(0, 1.5) * _ramp(size, rng) + rng.uniform(0.1, 0.7) * _smooth(
        size, rng, int(rng.integers(1, 7))
    )
    field = field + rng.uniform(0, 0.12) * _noise(size, rng, 1.4)
    field = field - field.mean() - rng.normal(0, 0.3) * field.std()
    return np.clip(field * _log_uniform(rng, 0.5, max(size) / 4) + 0.5, 0, 1)


def _layer(size: Size, rng: Random) -> Grey:
    """One of the plain kinds, as it is or seen from a slant, under a light of its own."""
    kind = (_clouds, _leaves, _strokes, _tiles, _faint)[
        rng.choice(5, p=[0.26, 0.42, 0.1, 0.14, 0.08])
    ]
    picture = kind(size, rng)
    if rng.random() < 0.4:
        h, w = size
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        seen = (
            corners
            + (corners - [w / 2, h / 2]) * rng.uniform(0.08, 0.7, (4, 1))
            + rng.normal(0, 0.02, (4, 2)) * max(size)
        )
        H = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
        picture = cv2.warpPerspective(
            picture, H, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    light = _log_uniform(rng, 0.5, 1.2) * (
        1 + rng.uniform(0, 0.4) * _ramp(size, rng) + rng.uniform(0, 0.2) * _smooth(size, rng, 2)
    )
    return picture * light


def _mixed(size: Size, rng: Random) -> Grey:
    """Up to four of the other kinds before each other, lit and shadowed, and taken by a camera:
    depth of field, tone, noise.
    """
    side = max(size)
    picture = _layer(size, rng)
    for _ in range(rng.choice(4, p=[0.3, 0.35, 0.25, 0.1])):
        if rng.random() < 0.3:  # what is behind is out of focus
            picture = _blur(picture, _log_uniform(rng, 0.003, 0.02) * side)
        mask = _mask(size, rng)
        if rng.random() < 0.3:  # what is in front throws a shadow
            picture = picture * (
                1 - rng.uniform(0.2, 0.8) * _blur(mask, rng.uniform(0.01, 0.05) * side)
            )
        picture = picture + mask * (_layer(size, rng) - picture)
    if rng.random() < 0.2:  # something out of sight throws one on all of it
        picture = picture * (1 - rng.uniform(0.3, 0.7) * _mask(size, rng))
    if rng.random() < 0.3:
        picture = _blur(picture, _log_uniform(rng, 0.0015, 0.005) * side)
    picture = (picture - picture.mean()) * min(
        _log_uniform(rng, 0.12, 0.36) / (picture.std() + 1e-6), 4.0
    )
    picture = np.clip(picture + rng.uniform(0.3, 0.65), 0, 1) ** _log_uniform(rng, 0.7, 1.6)
    return picture + rng.uniform(0, 0.02) * (rng.random() < 0.5) * rng.standard_normal(
        size, np.float32
    )


def _kind(
    draw: Callable[[Size, Random], Grey],
) -> Callable[[Size, torch.Generator], Float[Tensor, "1 h w"]]:
    def drawn(size: Size, generator: torch.Generator) -> Float[Tensor, "1 h w"]:
        whole = (
            isinstance(size, tuple | list)
            and len(size) == 2
            and all(isinstance(n, Integral) for n in size)
        )
        if not whole or not all(SMALLEST <= n <= LARGEST for n in size):
            raise InputError(
                f"texture: the size must be (height, width), each {SMALLEST} to {LARGEST} whole "
                f"pixels, not {size}"
            )
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        picture = draw((int(size[0]), int(size[1])), np.random.default_rng(int(seed)))
        return torch.from_numpy(picture.clip(0, 1).astype(np.float32))[None]

    drawn.__doc__ = draw.__doc__
    return drawn


TEXTURES = {
    "clouds": _kind(_clouds),
    "leaves": _kind(_leaves),
    "strokes": _kind(_strokes),
    "tiles": _kind(_tiles),
    "faint": _kind(_faint),
    "mixed": _kind(_mixed),
}


def texture(size: Size, generator: torch.Generator, kind: str = "mixed") -> Float[Tensor, "1 h w"]:
    """A picture of `size` (height, width) [px], float32 in [0, 1]. The kinds are those of TEXTURES.

    Raises InputError for an unknown kind and for sides under 16 or over 4096 pixels.
    """
    if kind not in TEXTURES:
        raise InputError(f"{kind!r} is no kind of texture; choose one of {', '.join(TEXTURES)}")
    return TEXTURES[kind](size, generator)
