"""Where a camera is before a known shape, by edges that are drawn anew from each pose tried.

An outline of a rounded surface is no line on it: it moves over the surface as the camera moves. And
light moves where an outline seems to be, by a fraction of a pixel. Both are right in a drawing from
the pose that is believed, under the light of the view (see `features.drawn`).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.drawn import Drawing, Shape
from deepservo.features.edges import Edges, Fit, Slopes, edge_points
from deepservo.geometry import se3

Passes = tuple[tuple[float, ...], ...]
"""Of each pass, on edges drawn once, the reaches of its iterations [px]; see `Edges.register`."""
MOST_POINTS = 1500  # of the drawn edges: more are no more exact
TRACKING: Passes = ((2.5,) * 3,)
NEAR: Passes = ((6.0, 6.0, 4.0, 4.0, *(2.5,) * 8), (2.5,) * 6, (2.5,) * 3)
# A search compares pictures of this longer side [px], from the goal's pose moved along its axis [m]
# and turned about it [rad], with the drawing shifted by up to so many pixels.
SEARCH_SIDE = 120
ALONG = tuple(np.linspace(-0.12, 0.04, 9))
ROLLS = (-0.2, 0.0, 0.2)
SHIFT, SHIFT_STEP = 36, 2
FAR: Passes = ((4.0,) * 5, (2.5,) * 4)
REFINED, COMPARED = 10, 3  # of the poses tried: refined at that size, and then at the whole one
WAYS = 4  # directions of edges that are told apart
MISS = 3.0  # px: an edge that is farther from its place is missing


@dataclass(frozen=True)
class View:
    """The camera's picture and its slopes."""

    picture: Float[np.ndarray, "h w"]
    slopes: Slopes

    @classmethod
    def of(cls, picture: Float[np.ndarray, "h w"]) -> "View":
        """From grey levels in [0, 1], NaN at unseen pixels."""
        return cls(picture, Slopes.of(picture))


def register_drawn(
    shape: Shape, camera: Camera, view: View, T_goal_cam: Float[np.ndarray, "4 4"], passes: Passes
) -> Fit:
    """`T_goal_cam` of a view from a guess, and the agreement there (see `features.edges.Fit`).

    shape: in the goal camera's frame.
    """
    found = Fit(np.array(T_goal_cam, float), 0.0)
    for reaches in passes:
        drawing = Drawing.of(shape.seen_from(found.T_goal_cam), camera)
        picture = drawing.under_the_light_of(view.picture)
        try:
            edges = Edges(camera, picture, drawing.depth, MOST_POINTS)
        except InputError:  # too little of it would be seen from there
            return Fit(found.T_goal_cam, 0.0)
        fit = edges.register(view.slopes, np.eye(4), reaches)
        T = found.T_goal_cam @ fit.T_goal_cam
        found = Fit(T, fit.agreement, fit.covariance)
    return found


def search_drawn(shape: Shape, camera: Camera, view: View) -> Fit:
    """The pose about the goal's from which the drawing agrees best with the view.

    Outlines and painted edges are compared at a low resolution, at first by how far the view's
    edges are from them. It takes as long as a dozen pictures.
    """
    small = camera.within(SEARCH_SIDE)
    size = (small.width, small.height)
    rough = View.of(cv2.resize(view.picture, size, interpolation=cv2.INTER_AREA))
    away = _distances(rough.slopes)
    tried = [
        (score, T @ _turned(shift, small))
        for T in _about()
        for score, shift in _best_shifts(shape.seen_from(T), small, away)
    ]
    tried.sort(key=lambda each: each[0])
    fits = [register_drawn(shape, small, rough, T, FAR) for _, T in tried[:REFINED]]
    fits.sort(key=lambda fit: -fit.agreement)
    whole = [register_drawn(shape, camera, view, f.T_goal_cam, NEAR) for f in fits[:COMPARED]]
    return max(whole, key=lambda fit: fit.agreement)


def _about() -> list[Float[np.ndarray, "4 4"]]:
    """Poses about the goal's, along its axis and turned about it."""
    twists = torch.tensor([[0, 0, z, 0, 0, roll] for z in ALONG for roll in ROLLS])
    return list(se3.exp(twists.double()).numpy())


def _turned(shift: tuple[int, int], camera: Camera) -> Float[np.ndarray, "4 4"]:
    """The turn of a camera that shifts its picture by about so many pixels."""
    twist = [0.0, 0.0, 0.0, shift[1] / camera.fy, -shift[0] / camera.fx, 0.0]
    return se3.exp(torch.tensor(twist, dtype=torch.float64)).numpy()


def _ways(n: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, " k"]:
    """The directions of normals, 0 to WAYS; opposite ones are the same."""
    return np.arctan2(n[:, 1], n[:, 0]) / np.pi * WAYS % WAYS


def _distances(slopes: Slopes) -> Float[np.ndarray, "ways h w"]:
    """How far the nearest edge of about each direction is [px], MISS at most."""
    h, w = slopes.gx.shape
    px, n = edge_points(slopes, np.ones((h, w), bool))
    u, v = px.round().astype(int).clip(0, [w - 1, h - 1]).T
    found, ways = np.full((WAYS, h, w), MISS, np.float32), _ways(n)
    for k in range(WAYS):
        off = np.abs((ways - k + WAYS / 2) % WAYS - WAYS / 2)
        empty = np.ones((h, w), np.uint8)
        empty[v[off < 0.75], u[off < 0.75]] = 0
        if not empty.all():
            found[k] = np.minimum(cv2.distanceTransform(empty, cv2.DIST_L2, 3), MISS)
    return found


def _best_shifts(
    shape: Shape, camera: Camera, away: Float[np.ndarray, "ways h w"]
) -> list[tuple[float, tuple[int, int]]]:
    """The two best shifts [px] of the shape's drawing, and the mean distance of edges there.

    away: see `_distances`.
    """
    drawing = Drawing.of(shape, camera)
    picture = (drawing.cover + drawing.lit[..., 0]) / 2
    px, n = edge_points(Slopes.of(picture), np.isfinite(drawing.depth))
    if not len(px):
        return []
    u, v = px.round().astype(int).T
    border = np.pad(away, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), constant_values=MISS)
    ways, steps = _ways(n).round().astype(int) % WAYS, np.arange(0, 2 * SHIFT + 1, SHIFT_STEP)
    apart = border[ways, (v + steps[:, None])[:, None], (u + steps[:, None])[None]].mean(2)
    best = []
    for _ in range(2):
        y, x = np.unravel_index(apart.argmin(), apart.shape)
        best.append((float(apart[y, x]), (int(steps[x]) - SHIFT, int(steps[y]) - SHIFT)))
        apart[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = MISS
    return best
