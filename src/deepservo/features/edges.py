"""Registration by the edges of a goal picture whose depth is known: model-based, and under whatever
light.

    d = how far the view's edge is from pi(T_cam_goal X), along its normal n
    J = n^T L_point(x, Z)
    twist = (J^T W J)^-1 J^T W d

Light moves no edge: lamps and shadows make new ones, and change how strong the old ones are. So of
an edge only its place counts, and robust weights leave out what something else made (moving edges:
Bouthemy 1989; Comport et al. 2006).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.luminance import SHARP, gradient
from deepservo.features.unseen_pixels import continued, reached
from deepservo.geometry import interaction, se3

SMOOTH = 1.0  # px: deviation of the Gaussian before slopes are taken
FAINT = 0.01  # of grey levels a pixel: a slope under this is noise
APART = 0.5  # px between the places that are looked at along a normal
FAR, NEAR = (
    (6.0, 6.0, 4.0, 4.0, *(2.5,) * 8),
    (2.5,) * 6,
)  # px along the normal where an edge is looked for, iteration by iteration
ALONE = 3.5  # px: an edge nearer than this to another, and...
OTHER = 0.2  # ...that one not weaker than this part of it: smoothing has moved both
CUT = 2.0  # robust deviations at which a distance counts for a quarter
LEAST = 0.05  # px: the deviation is no less
WITHIN = 1.0  # px: an edge as near as this agrees
BORDER = 4  # px of the picture in which slopes are not trusted
SEEN = 0.5  # of the edges: less in view tells nothing
FEWEST = 40  # edge points
STILL = 1e-7  # m, rad: a step so small is the last
SETTLING = 3  # times that the goal's own points are measured
MOST_ROWS = 2**15 - 2
NOWHERE = 1e6  # m: beside the object


@dataclass(frozen=True)
class Fit:
    """What registration found."""

    T_goal_cam: Float[np.ndarray, "4 4"]
    agreement: float
    """Share of the goal's edges in view that are where they should be; 0 where too few are in
    view.
    """


@dataclass(frozen=True)
class Slopes:
    """How grey levels change, per pixel, along x and y of a smoothed picture."""

    xy: Float[np.ndarray, "h w 2"]

    @classmethod
    def of(cls, picture: Float[np.ndarray, "h w"]) -> "Slopes":
        """Made from grey levels in [0, 1]; none at unseen pixels and as near to them as BORDER."""
        image = torch.from_numpy(picture.astype(np.float32))[None, None]
        whole = continued(image)
        smooth = cv2.GaussianBlur(whole[0, 0].numpy(), (0, 0), SMOOTH)
        slopes = torch.stack(gradient(torch.from_numpy(smooth)[None, None], SHARP), 3)
        if whole is not image:
            slopes[reached(image, BORDER)] = 0
        return cls(slopes[0].numpy())

    @property
    def gx(self) -> Float[np.ndarray, "h w"]:
        """Along x alone."""
        return self.xy[..., 0]

    @property
    def gy(self) -> Float[np.ndarray, "h w"]:
        """Along y alone."""
        return self.xy[..., 1]

    def along(
        self, px: Float[np.ndarray, "n 2"], n: Float[np.ndarray, "n 2"], reach: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places on each point's normal [px], and the size of the slope along it there (n,
        places).
        """
        places = APART * np.arange(
            -round(reach / APART), round(reach / APART) + 1, dtype=np.float32
        )
        nx, ny = n.astype(np.float32).T[..., None]
        u, v = (
            start + places * way
            for start, way in zip(px.astype(np.float32).T[..., None], (nx, ny), strict=True)
        )
        slopes = _at(self.xy, u, v, cv2.BORDER_CONSTANT)
        return places, np.abs(slopes[..., 0] * nx + slopes[..., 1] * ny)


class Edges:
    """Points on the edges of a goal picture (h, w) of an object, depth Z [m] (h, w), not finite
    beside it.

    Raises InputError where there are fewer than FEWEST.
    """

    def __init__(
        self, camera: Camera, goal: Float[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]
    ) -> None:
        there = np.isfinite(depth) & (depth > 0)
        self.camera, slopes = camera, Slopes.of(goal)
        px, n = edge_points(slopes, there)
        alone = np.zeros(len(px), bool)
        for _ in range(
            SETTLING if len(px) else 0
        ):  # as exact as views will be measured, so that at home nothing is left
            d, _, alone = nearest_edges(slopes, px, n, 2 * APART)
            px = px + d[:, None] * n
        if alone.sum() < FEWEST:
            raise InputError(
                f"the target picture has {alone.sum()} points on clear edges of the object, and "
                f"{FEWEST} are needed; go nearer"
            )
        self.px, self.n = px[alone], n[alone]
        u, v = self.px.round().astype(int).T
        front = cv2.erode(
            np.where(there, depth, NOWHERE).astype(np.float32), np.ones((3, 3))
        )  # what is in front makes the edge
        self.Z = front[v, u].astype(float)

    def register(
        self, view: Slopes, T_goal_cam: Float[np.ndarray, "4 4"], reaches: tuple[float, ...] = FAR
    ) -> Fit:
        """Where the view was taken from, starting from a guess that is a few pixels off, and the
        agreement there.
        """
        T = np.array(T_goal_cam, float)
        for reach in reaches:
            px, Z, n = self.seen_from(T)
            d, _, found = nearest_edges(view, px, n, reach)
            if found.sum() < FEWEST:
                return Fit(T, 0.0)
            J = self.jacobian(px, Z, n)
            weighted = J * (found * _robust(d, found))[:, None]
            H = weighted.T @ J
            twist = np.linalg.solve(H + 1e-9 * np.trace(H) * np.eye(6), weighted.T @ d)
            T = T @ se3.exp(torch.from_numpy(twist)).numpy()
            if np.abs(twist).max() < STILL:
                break
        return Fit(T, self.agreement(view, T))

    def agreement(self, view: Slopes, T_goal_cam: Float[np.ndarray, "4 4"]) -> float:
        """See `Fit`."""
        px, _, n = self.seen_from(T_goal_cam)
        inside = (
            (px >= BORDER) & (px <= np.array([self.camera.width, self.camera.height]) - 1 - BORDER)
        ).all(1)
        if inside.mean() < SEEN:
            return 0.0
        d, found, _ = nearest_edges(view, px[inside], n[inside], WITHIN + APART)
        return float((found & (np.abs(d) < WITHIN)).mean())

    def seen_from(
        self, T_goal_cam: Float[np.ndarray, "4 4"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a camera there sees the points (n, 2) [px], how deep (n,) [m], and their unit
        normals (n, 2).
        """
        T = np.linalg.inv(T_goal_cam)
        px, Z = self._through(T, self.px)
        n = self._through(T, self.px + self.n)[0] - px
        return px, Z, n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)

    def jacobian(
        self, px: Float[np.ndarray, "n 2"], Z: Float[np.ndarray, " n"], n: Float[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 6"]:
        """How fast points go along their normals [px/s] as the camera moves."""
        x, y = self._rays(px)[:, :2].T
        L = interaction.point(*(torch.from_numpy(each) for each in (x, y, Z))).numpy()
        return n[:, :1] * self.camera.fx * L[:, 0] + n[:, 1:] * self.camera.fy * L[:, 1]

    def _through(self, T_cam_goal: np.ndarray, px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c = self.camera
        X = (self._rays(px) * self.Z[:, None]) @ T_cam_goal[:3, :3].T + T_cam_goal[:3, 3]
        Z = np.maximum(X[:, 2], 1e-6)
        return X[:, :2] / Z[:, None] * [c.fx, c.fy] + [c.cx, c.cy], Z

    def _rays(self, px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        c = self.camera
        return np.column_stack([(px - [c.cx, c.cy]) / [c.fx, c.fy], np.ones(len(px))])


def edge_points(
    slopes: Slopes, there: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Where the slope is greatest along itself, between the pixels, on the object and its outline
    [px], and unit normals.
    """
    size = np.hypot(slopes.gx, slopes.gy)
    near = cv2.dilate(there.astype(np.uint8), np.ones((3, 3))) > 0
    near[:BORDER], near[-BORDER:], near[:, :BORDER], near[:, -BORDER:] = False, False, False, False
    v, u = (near & (size > FAINT)).nonzero()
    if not len(u):
        return np.zeros((0, 2)), np.zeros((0, 2))
    px = np.stack([u, v], 1).astype(float)
    n = np.stack([slopes.gx[v, u], slopes.gy[v, u]], 1) / size[v, u, None]
    places = [(px + way * n).astype(np.float32) for way in (-1, 1)]
    before, after = (_at(size, at[:, :1], at[:, 1:])[:, 0] for at in places)
    offset = _summit(before, size[v, u], after)
    peak = (size[v, u] >= before) & (size[v, u] > after) & (np.abs(offset) <= 0.75)
    return (px + offset[:, None] * n)[peak], n[peak]


def _at(
    image: np.ndarray,
    u: Float[np.ndarray, "n k"],
    v: Float[np.ndarray, "n k"],
    border: int = cv2.BORDER_REFLECT_101,
) -> np.ndarray:
    """An image between its pixels, bicubic, (n, k) or (n, k, channels). OpenCV takes fewer than
    2^15 rows at once.
    """
    parts = range(0, max(1, len(u)), MOST_ROWS)
    found = [
        cv2.remap(
            image, u[i : i + MOST_ROWS], v[i : i + MOST_ROWS], cv2.INTER_CUBIC, borderMode=border
        )
        for i in parts
    ]
    return found[0] if len(found) == 1 else np.concatenate(found)


def nearest_edges(
    view: Slopes, px: Float[np.ndarray, "n 2"], n: Float[np.ndarray, "n 2"], reach: float
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """How far along its normal from each point the nearest edge is, at most reach [px]; whether
    there is one; and whether it is alone.
    """
    places, slope = view.along(px, n, reach + ALONE)
    inner, peaks = places[1:-1], _peaks(slope) & (slope[:, 1:-1] > FAINT)
    off = np.where(peaks & (np.abs(inner) <= reach), np.abs(inner), np.inf)
    best, rows = off.argmin(1), np.arange(len(px))
    found, offset = (
        np.isfinite(off[rows, best]),
        APART * _summit(*(slope[rows, best + k] for k in range(3))),
    )
    alone = _alone(inner, peaks, slope[:, 1:-1], best)
    return np.where(found, inner[best] + offset, 0.0), found, found & alone


def _alone(
    places: Float[np.ndarray, " k"],
    peaks: Bool[np.ndarray, "n k"],
    slope: Float[np.ndarray, "n k"],
    which: Int[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Which edges, one on each normal, have no other near by."""
    rows = np.arange(len(slope))
    away = np.abs(places - places[which][:, None])
    return ~(peaks & (slope > OTHER * slope[rows, which, None]) & (away < ALONE) & (away > 1)).any(
        1
    )


def _peaks(slope: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k_less_2"]:
    return (slope[:, 1:-1] >= slope[:, :-2]) & (slope[:, 1:-1] > slope[:, 2:])


def _summit(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three neighbours is highest, from the middle one."""
    return 0.5 * (before - after) / np.minimum(before - 2 * middle + after, -1e-9)


def _robust(d: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Geman-McClure's weights."""
    scale = max(LEAST, 1.4826 * float(np.median(np.abs(d[found]))))
    return 1 / (1 + (d / (CUT * scale)) ** 2) ** 2
