"""Polygons of a mesh file as triangles: a fan of convex ones, ear clipping of the others."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Triples = list[tuple[int, int, int]]


def cut(points: Float[np.ndarray, "n 3"], polygons: Sequence[Sequence[int]]) -> list[Triples]:
    """The triangles of each polygon as positions in it; none where it has fewer than three corners.

    polygons: each a list of numbers of `points`.
    """
    found: list[Triples] = [
        [(0, k, k + 1) for k in range(1, len(polygon) - 1)] for polygon in polygons
    ]
    for size in {len(polygon) for polygon in polygons if len(polygon) > 3}:
        these = [k for k, polygon in enumerate(polygons) if len(polygon) == size]
        corners = points[np.array([polygons[k] for k in these])]
        for k in np.flatnonzero((_turns(corners) < 0).any(1)):
            found[these[k]] = _ears(corners[k])
    return found


def _turns(corners: Float[np.ndarray, "m n 3"]) -> Float[np.ndarray, "m n"]:
    """How each corner turns about its polygon's normal (Newell's).

    It is positive where the corner is convex, 0 where it is nearly straight.
    """
    after, before = np.roll(corners, -1, 1) - corners, corners - np.roll(corners, 1, 1)
    fan = corners - corners[:, :1]
    normal = np.cross(fan, np.roll(fan, -1, 1)).sum(1, keepdims=True)
    turns = (np.cross(before, after) * normal).sum(-1)
    return np.where(np.abs(turns) > 1e-9 * (normal**2).sum(-1), turns, 0)


def _ears(corners: Float[np.ndarray, "n 3"]) -> Triples:
    """The triangles of a polygon by ear clipping.

    An ear is a convex corner whose triangle with its neighbours contains no other corner. Ears are
    cut off until a triangle is left.
    """
    left, found = list(range(len(corners))), []
    normal = np.cross(corners - corners[0], np.roll(corners - corners[0], -1, 0)).sum(0)
    while len(left) > 3:
        turns = _turns(corners[left][None])[0]
        for k in np.argsort(-turns):
            three = (left[k - 1], left[k], left[(k + 1) % len(left)])
            others = [other for other in left if other not in three]
            if not _inside(corners[list(three)], corners[others], normal).any():
                break
        else:  # the polygon crosses itself: no triangulation is right
            k = 1
            three = (left[0], left[1], left[2])
        found.append(three)
        del left[k]
    return [*found, (left[0], left[1], left[2])]


def _inside(
    three: Float[np.ndarray, "3 3"],
    points: Float[np.ndarray, "n 3"],
    normal: Float[np.ndarray, "3"],
) -> Bool[np.ndarray, " n"]:
    """Which points are in the triangle, seen along the normal; its own corners are not."""
    sides = np.roll(three, -1, 0) - three
    away = np.cross(sides, points[:, None] - three) @ normal
    same = (points[:, None] == three).all(-1).any(1)
    return (away >= 0).all(1) & ~same
