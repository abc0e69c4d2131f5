"""Scenes made by code that are not flat, textured with parts of any picture.

Each has the plane's picture as it lies on the plane, and solids on it or the plane turned. Surfaces
are laid flat on the picture without stretching, so that a texel is as large on them as on the plane
(a ball's within a fifth), at places and turns of their own, and reflected: nothing on the plane
looks like anything on a solid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from deepservo.camera import PAPER_CAMERA
from deepservo.scene.planar import PlanarScene
from deepservo.scene.solid import SolidScene

VIEW = PAPER_CAMERA.width / PAPER_CAMERA.fx  # of the goal's view: its width at distance 1
UPRIGHT = 0.75  # of that width within which solids stand, from top to bottom
LOW, HIGH = 0.05, 0.5  # of the distance: heights of solids
STEPS, STEP_SIZES = 12, (0.08, 0.30)  # boxes; widths of their tops, of the view's as seen
SOLIDS, SOLID_SIZES = 20, (0.08, 0.2)
MOST_TILT = 25.0  # deg, of a solid
STEEPEST = 60.0  # deg, of a tilted plane
CORNER = 30.0  # deg, from the optical axis to what a tilted plane fills of the goal's view
REACH = 4.0, 30.0  # distances that a tilted plane goes on, at least and at most
ROUND = 24  # corners of a circle
SHRINK = 0.9  # what has no room becomes so much smaller
TRIES = 100

Points = Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Surface:
    """Part of a solid: points [m], triangles between them, and the points laid flat [m].

    They are laid flat as a camera sees them from outside: x right, y down.
    """

    points: Points
    flat: Float[np.ndarray, "n 2"]
    triangles: Int[np.ndarray, "m 3"]


Solid = Sequence[Surface]


def steps(scene: PlanarScene, distance: float, seed: int) -> SolidScene:
    """Boxes on the plane, upright to it and parallel to the picture's sides, none over another.

    Their heights are 5 to 50 % of `distance` [m], from which the goal's camera sees the plane.
    """
    rng = np.random.default_rng(seed)
    surfaces: list[Surface] = []
    taken: list[np.ndarray] = []  # x and y, lowest and highest
    sizes = [(rng.uniform(*STEP_SIZES, 2), rng.uniform(LOW, HIGH)) for _ in range(STEPS)]
    for shares, share in sorted(sizes, key=lambda each: -float(each[0].prod())):
        height, size = share * distance, shares * VIEW * (1 - share) * distance
        while True:
            at = rng.uniform(-1, 1, (TRIES, 2)) * _half_view(distance - height)
            low, high = at - size / 2, at + size / 2
            gap = 0.02 * distance
            free = [
                i
                for i in range(TRIES)
                if all(((low[i] > b + gap) | (high[i] < a - gap)).any() for a, b in taken)
            ]
            if free:
                break
            size = SHRINK * size
        taken.append(np.stack([low[free[0]], high[free[0]]]))
        surfaces += _moved(_box(size[0], size[1], height), np.eye(3), np.array([*at[free[0]], 0.0]))
    return _scene(scene, _ground(scene), surfaces, rng)


def clutter(scene: PlanarScene, distance: float, seed: int) -> SolidScene:
    """Boxes, cylinders, cones, pyramids and balls on the plane, turned and tilted at random.

    They stand close to each other, up to half of `distance` [m] high, so that each hides others
    from most places.
    """
    rng = np.random.default_rng(seed)
    surfaces: list[Surface] = []
    stand = np.empty((0, 3))  # x, y and radius
    for i in range(SOLIDS):
        share = rng.uniform(LOW, HIGH)
        width = rng.uniform(*SOLID_SIZES) * VIEW * (1 - share) * distance
        solid = SHAPES[i % len(SHAPES)](width, share * distance)
        side, lean = rng.uniform(0, 2 * math.pi), rng.uniform(0, math.radians(MOST_TILT))
        R = _turn(np.array([math.cos(side), math.sin(side), 0.0]), lean)
        R = R @ _turn(np.array([0.0, 0.0, 1.0]), rng.uniform(0, 2 * math.pi))
        points = np.concatenate([each.points for each in solid])
        foot = points[points[:, 2] > -1e-9] @ R[2]
        sunk = max(0.0, -float(foot.min()))  # until none of the foot is above the plane
        # The first place with room, or the one with the most.
        at = rng.uniform(-1, 1, (TRIES, 2)) * _half_view((1 - share) * distance)
        apart = np.linalg.norm(at[:, None] - stand[:, :2], axis=-1) - stand[:, 2] - 0.6 * width
        room = apart.min(1, initial=distance)
        x, y = at[int(room.clip(max=0).argmax())]
        stand = np.concatenate([stand, [[x, y, 0.6 * width]]])
        surfaces += _moved(solid, R, np.array([x, y, sunk]))
    return _scene(scene, _ground(scene), surfaces, rng)


def tilt(scene: PlanarScene, distance: float, seed: int, angle: float | None = None) -> SolidScene:
    """The plane turned by `angle` [deg] about a random axis in it, through the origin.

    angle: drawn from 0 to 60 when not given. The picture is mirrored at its edges, again and again,
    so that the plane fills the view of the goal's camera at `distance` [m].
    """
    rng = np.random.default_rng(seed)
    side, drawn = rng.uniform(0, 2 * math.pi), rng.uniform(0, STEEPEST)
    axis = np.array([math.cos(side), math.sin(side), 0.0])
    steep = math.radians(drawn if angle is None else angle)
    R = _turn(axis, steep)
    size = np.array([scene.width, scene.height])
    # Where the ray to the view's corner meets the plane, where it goes away from the camera.
    sink = math.cos(math.radians(CORNER) + steep) / math.sin(math.radians(CORNER))
    reach = distance * min(REACH[1], max(REACH[0], 1 / max(sink, 1e-9)))
    tiles = np.ceil(reach / size).astype(int)
    ground = [
        _tile(scene, i, k)
        for i in range(-tiles[0], tiles[0] + 1)
        for k in range(-tiles[1], tiles[1] + 1)
    ]
    return _scene(scene, [(each.points @ R.T, each) for each in ground], [], rng)


def _half_view(distance: float) -> Float[np.ndarray, "2"]:
    """Half of the width and of the height [m] that solids stand in, as seen from `distance`."""
    return distance * VIEW / 2 * np.array([1.0, UPRIGHT])


def _turn(axis: Float[np.ndarray, "3"], angle: float) -> Float[np.ndarray, "3 3"]:
    """The rotation by an angle [rad] about an axis of length 1."""
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


def _moved(solid: Solid, R: np.ndarray, t: np.ndarray) -> list[Surface]:
    """The solid turned, then moved."""
    return [Surface(each.points @ R.T + t, each.flat, each.triangles) for each in solid]


def _polygon(points: np.ndarray) -> Surface:
    """A flat, convex polygon of these corners in their order."""
    across = points[1] - points[0]
    across = across / np.linalg.norm(across)
    rest = points - points[0]
    up = rest[-1] - rest[-1] @ across * across
    up = up / np.linalg.norm(up)
    fan = np.array([[0, k, k + 1] for k in range(1, len(points) - 1)])
    return Surface(points, np.stack([rest @ across, rest @ up], 1), fan)


def _circle(radius: float) -> Points:
    """Corners of a circle in the plane z = 0."""
    angle = 2 * math.pi * np.arange(ROUND) / ROUND
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], 1)


def _box(width: float, depth: float, height: float) -> Solid:
    """Standing on the plane z = 0, which is its foot; so do the other solids."""
    x, y = width / 2, depth / 2
    foot = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0]])
    top = foot - [0, 0, height]
    sides = [_polygon(np.stack([foot[k - 1], foot[k], top[k], top[k - 1]])) for k in range(4)]
    return [_polygon(foot), _polygon(top), *sides]


def _pyramid(width: float, height: float) -> Solid:
    foot = width / 2 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    tip = np.array([0, 0, -height])
    return [_polygon(foot), *(_polygon(np.stack([foot[k - 1], foot[k], tip])) for k in range(4))]


def _cylinder(width: float, height: float) -> Solid:
    foot = _circle(width / 2)
    top = foot - [0, 0, height]
    ring = np.r_[np.arange(ROUND), 0]
    along = math.pi * width * np.arange(ROUND + 1) / ROUND
    flat = np.concatenate(
        [np.stack([along, 0 * along], 1), np.stack([along, 0 * along + height], 1)]
    )
    k, above = np.arange(ROUND), np.arange(ROUND) + ROUND + 1
    halves = np.concatenate(
        [np.stack([k, k + 1, above + 1], 1), np.stack([k, above + 1, above], 1)]
    )
    side = Surface(np.concatenate([foot[ring], top[ring]]), flat, halves)
    return [_polygon(foot), _polygon(top), side]


def _cone(width: float, height: float) -> Solid:
    foot, slant = _circle(width / 2), math.hypot(width / 2, height)
    ring = np.r_[np.arange(ROUND), 0]
    angle = math.pi * width / slant * np.arange(ROUND + 1) / ROUND
    flat = slant * np.stack([np.cos(angle), np.sin(angle)], 1)
    k = np.arange(ROUND)
    fan = np.stack([k, k + 1, 0 * k + ROUND + 1], 1)
    tip = np.array([[0, 0, -height]])
    side = Surface(np.concatenate([foot[ring], tip]), np.concatenate([flat, [[0, 0]]]), fan)
    return [_polygon(foot), side]


def _ball(width: float, height: float) -> Solid:
    """As wide as the mean of width and height; of six parts, as a cube has sides."""
    radius, n = (width + height) / 4, 5
    a, b = np.meshgrid(*2 * [np.linspace(-math.pi / 4, math.pi / 4, n)], indexing="ij")
    rays = np.stack([np.tan(a), np.tan(b), np.ones_like(a)], -1).reshape(-1, 3)
    rays = radius * rays / np.linalg.norm(rays, axis=1, keepdims=True)
    from_pole = np.arccos(rays[:, 2:] / radius)  # as long laid flat as on the ball
    flat = rays[:, :2] * from_pole / np.sin(from_pole).clip(min=1e-9)
    number = np.arange(n * n).reshape(n, n)
    p, q, r, s = (
        each.ravel()
        for each in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:])
    )
    halves = np.concatenate([np.stack([p, q, s], 1), np.stack([p, s, r], 1)])
    up = np.array([0, 0, radius])
    return [
        Surface(np.roll(sign * rays, turn, 1) - up, flat * [-sign, 1], halves)
        for turn in range(3)
        for sign in (1, -1)
    ]


def _block(width: float, height: float) -> Solid:
    return _box(width, 0.7 * width, height)


Shape = Callable[[float, float], Solid]
SHAPES: tuple[Shape, ...] = (
    _block,
    _cylinder,
    _cone,
    _pyramid,
    _ball,
)


def _tile(scene: PlanarScene, i: int, k: int) -> Surface:
    """The picture i widths right of its place and k heights below, mirrored where these are odd.

    What is laid flat are its texels.
    """
    h, w = scene.texture.shape[1:]
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    at = (corner + np.array([i, k])) * [scene.width, scene.height] + scene.centre
    texels = (corner * [(-1) ** i, (-1) ** k] + 0.5) * [w, h] - 0.5
    points = np.concatenate([at, np.zeros((4, 1))], 1)
    return Surface(points, texels, np.array([[0, 1, 2], [0, 2, 3]]))


def _ground(scene: PlanarScene) -> list[tuple[Points, Surface]]:
    """The picture on the plane."""
    tile = _tile(scene, 0, 0)
    return [(tile.points, tile)]


def _scene(
    scene: PlanarScene,
    ground: list[tuple[Points, Surface]],
    surfaces: list[Surface],
    rng: np.random.Generator,
) -> SolidScene:
    """The tiles of the plane, at these points, and surfaces with parts of the picture on them."""
    parts = ground + [
        (each.points, Surface(each.points, _laid(scene, each.flat, rng), each.triangles))
        for each in surfaces
    ]
    first = np.cumsum([0, *(len(points) for points, _ in parts)])
    texels = [each.flat[each.triangles] for _, each in parts]
    triangles = [each.triangles + k for (_, each), k in zip(parts, first, strict=False)]
    return SolidScene(
        scene.texture,
        torch.from_numpy(np.concatenate([points for points, _ in parts])),
        torch.from_numpy(np.concatenate(triangles)),
        torch.from_numpy(np.concatenate(texels)),
        background=scene.background,
        size=(scene.width, scene.height),
        centre=scene.centre,
    )


def _laid(
    scene: PlanarScene, flat: Float[np.ndarray, "n 2"], rng: np.random.Generator
) -> Float[np.ndarray, "n 2"]:
    """Texels for points laid flat [m]: reflected, turned, at a random place.

    Where the picture has no room for them, they become smaller.
    """
    h, w = scene.texture.shape[1:]
    scale = np.array([w / scene.width, h / scene.height])  # texels per metre
    for k in range(10 * TRIES):
        c, s = np.cos(angle := rng.uniform(0, 2 * math.pi)), np.sin(angle)
        at = (flat * [-1, 1]) @ np.array([[c, s], [-s, c]]) * scale * SHRINK ** (k // 10)
        low, room = at.min(0), np.array([w - 1, h - 1]) - np.ptp(at, axis=0)
        if (room >= 0).all():
            break
    return at - low + rng.uniform(0, 1, 2) * room
