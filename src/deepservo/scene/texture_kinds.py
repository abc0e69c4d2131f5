"""Kinds of pictures made by code, drawn from random numbers: `kind(size, rng)` answers grey levels.

size: height and width [px]. The grey levels are about in [0, 1]; `textures` clips them.
"""

import math

import cv2
import numpy as np

from deepservo.scene.drawing import (
    SUBPIXEL_BITS,
    Grey,
    Random,
    Size,
    bend,
    fill_shapes,
    fixed_point,
    log_uniform,
    noise_field,
    outlines,
    ramp,
    rotated,
    smooth_surface,
)

MIN_SIDE = 16  # px of a picture's shorter side
CLOUD_EXPONENTS = (0.8, 1.7)  # photographs have about 1.25


def clouds(size: Size, rng: Random) -> Grey:
    """Noise at every scale, of amplitude 1/f^a with a in CLOUD_EXPONENTS.

    Some is stretched, folded or bent.
    """
    exponent = rng.uniform(*CLOUD_EXPONENTS)
    noise = noise_field(size, rng, exponent, log_uniform(rng, 1, 5) if rng.random() < 0.4 else 1.0)
    if exponent > 1.3 and rng.random() < 0.4:  # veins: marble, bark, ridges
        noise = np.abs(noise - rng.uniform(-0.7, 0.7))
        noise = (noise - noise.mean()) / noise.std() * (1 if rng.random() < 0.5 else -1)
    if rng.random() < 0.7:
        noise = bend(noise, rng, rng.uniform(0.02, 0.15))
    return rng.uniform(0.3, 0.7) + rng.uniform(0.1, 0.25) * noise


def leaves(size: Size, rng: Random) -> Grey:
    """Dead leaves: shapes of power-law sizes over each other, flat, graded, striped or rough."""
    h, w = 2 * size[0], 2 * size[1]  # drawn at twice the size, so that edges come out smooth
    side = float(max(h, w))
    low, high = max(log_uniform(rng, 0.008, 0.04) * side, 3.0), rng.uniform(0.15, 0.4) * side
    power = rng.uniform(1.0, 2.4)  # of p(radius) ~ radius^-(power + 1)
    radius = (low**-power + rng.random(500) * (high**-power - low**-power)) ** (-1 / power)
    covered = np.cumsum(np.pi * radius**2) / (h * w)
    radius = radius[: max(12, int(np.searchsorted(covered, log_uniform(rng, 0.5, 5))))]
    if rng.random() < 0.5:
        radius = np.sort(radius)[::-1]  # large ones behind small ones: no detail is hidden
    n = len(radius)
    label = np.zeros((h, w), np.uint16)
    shapes = fixed_point(outlines(radius, rng) + rng.uniform(0, 1, (n, 1, 2)) * [w, h])
    for i in range(n):
        cv2.fillPoly(label, [shapes[i]], i + 1, shift=SUBPIXEL_BITS)
    # The look of each leaf by its label, 0 for the ground, in rows; pixels index them by label.
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
    grain = noise_field(size, rng, rng.uniform(0.6, 1.4))
    x, picture = np.arange(w, dtype=np.float32) - w / 2, np.empty(size, np.float32)
    for top in range(0, size[0], 64):  # in bands that fit in the processor's cache
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
    """Lines of words in a random alphabet, in one block, as curves of 5 points."""
    line = max(log_uniform(rng, 0.035, 0.14) * max(size), 6.0)
    # 24 letters of up to 3 curves, each given by 3 points on a 3 x 4 grid.
    ends = rng.integers(0, [3, 4], (24, 3, 3, 2)) / [2.0, 3.0]
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
    return list(rotated(points[..., 0], points[..., 1], angle) + middle)


def strokes(size: Size, rng: Random) -> Grey:
    """Ink on a plain ground: text, curves, outlines and hatching; most of it stays ground."""
    side = max(size)
    ground = (
        rng.uniform(0.6, 0.95)
        + rng.uniform(0, 0.06) * ramp(size, rng)
        + rng.uniform(0, 0.02) * noise_field(size, rng, 1.0)
    )
    ink = np.zeros(size, np.uint8)
    for kind in rng.choice(4, rng.integers(1, 3), p=[0.4, 0.25, 0.25, 0.1]):
        lines = _text(size, rng) if kind == 0 else []
        if kind == 1:  # curves of a random walk
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
                outlines(rng.uniform(0.02, 0.3, n) * side, rng)
                + rng.uniform(0, 1, (n, 1, 2)) * size[::-1]
            )
            lines = list(np.concatenate([shapes, shapes[:, :1]], 1))
        elif kind == 3:  # hatching, or ruled lines
            n, angle = int(rng.integers(3, 16)), rng.uniform(0, np.pi)
            along = np.array([np.cos(angle), np.sin(angle)])
            across = np.array([-np.sin(angle), np.cos(angle)])
            start = (
                rng.uniform(0.3, 0.7, 2) * size[::-1]
                + np.linspace(-0.5, 0.5, n)[:, None] * rng.uniform(0.2, 1) * side * across
            )
            half = rng.uniform(0.1, 0.8) * side * along * rng.uniform(0.8, 1.2, (n, 1))
            lines = list(np.stack([start - half, start + half], 1))
        width = round(log_uniform(rng, 1, 2.2 if kind == 0 else 4))
        darkness, thickness = int(rng.integers(140, 256)), max(1, round(width * side / 256))
        cv2.polylines(
            ink,
            [fixed_point(line) for line in lines],
            False,
            darkness,
            thickness,
            cv2.LINE_AA,
            SUBPIXEL_BITS,
        )
    picture = ground + ink * np.float32(1 / 255) * (rng.uniform(0, 0.25) - ground)
    return picture if rng.random() < 0.75 else 1 - picture


def tiles(size: Size, rng: Random) -> Grey:
    """One motif repeated in rows that may be shifted, with joints: bricks, wallpaper, cloth.

    Each cell is slightly shifted and tinted.
    """
    h = max(log_uniform(rng, 0.07, 0.3) * max(size), 5.0)
    w = h * log_uniform(rng, 0.5, 2) if rng.random() < 0.6 else h
    motif_size = (max(round(h), MIN_SIDE), max(round(w), MIN_SIDE))
    motif = (clouds, leaves, strokes, _emblem)[rng.choice(4, p=[0.15, 0.2, 0.15, 0.5])](
        motif_size, rng
    )
    angle = rng.normal(0, 0.04) if rng.random() < 0.5 else rng.uniform(0, np.pi)
    c, s = math.cos(angle), math.sin(angle)
    y = np.arange(size[0], dtype=np.float32)[:, None] - size[0] / 2
    x = np.arange(size[1], dtype=np.float32) - size[1] / 2
    wobble, row_shift = rng.uniform(0, 0.08), float(rng.choice([0, 0, 1 / 2, 1 / 3]))
    v = (c * y - s * x) / h + wobble * smooth_surface(size, rng, 4)
    row = np.floor(v)
    u = (c * x + s * y) / w + wobble * smooth_surface(size, rng, 4) + row_shift * row
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
    picture += rng.uniform(0, 0.06) * noise_field(size, rng, rng.uniform(0.6, 1.4))
    # Pixels to the nearest joint.
    edge = np.minimum(np.minimum(u, 1 - u) * w, np.minimum(v, 1 - v) * h)
    joint = np.clip(rng.uniform(0.01, 0.07) * h - edge + 0.5, 0, 1)
    return picture + joint * (rng.uniform(0, 1) - picture)


def _emblem(size: Size, rng: Random) -> Grey:
    """One to four flat shapes on a flat ground."""
    greys = rng.permutation(np.linspace(10, 245, 5))  # no shape has the ground's
    picture = np.full(size, greys[0], np.uint8)
    n = int(rng.integers(1, 5))
    fill_shapes(picture, rng.uniform(0.15, 0.5, n) * min(size), greys[1 : n + 1], rng)
    return picture / np.float32(255)


def faint(size: Size, rng: Random) -> Grey:
    """Nearly one grey: weak spots, shaded on one side as hollows and hills are, and faint noise."""
    n, side = int(rng.integers(3, 40)), max(size)
    radius = (0.015**-1.5 + rng.random(n) * (0.2**-1.5 - 0.015**-1.5)) ** (-1 / 1.5)
    radius = np.maximum(radius * side, 1)
    depth, light, angle = rng.normal(0, 1, n), rng.uniform(0, 1.5), rng.uniform(0, 2 * np.pi)
    y = (np.arange(size[0]) - rng.uniform(0, size[0], (n, 1))) / radius[:, None]
    x = (np.arange(size[1]) - rng.uniform(0, size[1], (n, 1))) / radius[:, None]
    bell_y, bell_x = depth[:, None] * np.exp(-(y**2)), np.exp(-(x**2))
    # The shade of a spot is its slope. Spots are sums of a column times a row; einsum does not use
    # BLAS here, whose sums depend on the number of threads.
    columns = np.concatenate(
        [bell_y, light * math.sin(angle) * y * bell_y, light * math.cos(angle) * bell_y]
    ).astype(np.float32)
    spots = np.einsum(
        "ny,nx->yx", columns, np.concatenate([bell_x, bell_x, x * bell_x]).astype(np.float32)
    )
    spots = bend(spots / spots.std(), rng, 0.08)
    grain = rng.uniform(0.1, 0.5) * noise_field(size, rng, rng.uniform(0.6, 1.4))
    return rng.uniform(0.2, 0.8) + log_uniform(rng, 0.01, 0.04) * (
        spots + rng.uniform(0, 0.6) * ramp(size, rng) + grain
    )
