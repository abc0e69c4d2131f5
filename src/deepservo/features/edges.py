"""Registration by the edges of a goal picture whose depth is known: model-based, under any light.

    d = how far the view's edge is from pi(T_cam_goal X), along its normal n
    J = n^T L_point(x, Z)
    twist = (J^T W J)^-1 J^T W d

Light moves no edge: lamps and shadows make new edges, and change how strong the others are. So only
the place of an edge counts, and robust weights leave out edges that something else made (moving
edges: Bouthemy 1989; Comport et al. 2006).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import clustered
from deepservo.features.luminance import SHARP_DERIVATIVE, gradient
from deepservo.features.unseen_pixels import continued, reached
from deepservo.geometry import interaction, se3

SMOOTHING = 1.0  # px: deviation of the Gaussian before slopes are taken
MIN_SLOPE = 0.01  # grey levels a pixel: a slope under this is noise
SAMPLE_SPACING = 0.5  # px between samples along a normal
# px to either side along the normal where an edge is searched for, iteration by iteration.
FIRST_GUESS_REACHES = (6.0, 6.0, 4.0, 4.0, *(2.5,) * 8)
TRACKING_REACHES = (2.5,) * 6
# An edge is clear when no other one within this distance [px] has more than this share of its
# slope: smoothing moves edges that are nearer to each other.
CLEARANCE = 3.5
RIVAL_STRENGTH = 0.2
ROBUST_SCALE = 2.0  # robust deviations at which a residual's weight has fallen to a quarter
MIN_DEVIATION = 0.05  # px: least robust deviation of the residuals
AGREEMENT_DISTANCE = 1.0  # px: an edge nearer than this to its place agrees
BORDER = 4  # px at the picture's border where slopes are left out
MIN_SEEN_SHARE = 0.5  # share of the edges that must be in view
MIN_POINTS = 40  # edge points that a goal and a view need
LAST_STEP = 1e-7  # m, rad: the iterations end after a step this small
GOAL_PASSES = 3  # times that the goal's own points are moved onto their edges
REMAP_MAX_ROWS = 2**15 - 2  # OpenCV's remap takes no more rows at once
BACKGROUND_DEPTH = 1e6  # m: stands for the depth beside the object


@dataclass(frozen=True)
class Fit:
    """A registered pose, and the share of the goal's edges in view that are in their places there.

    The agreement is 0 where too few edges are in view. covariance: of the twist xi to the true
    pose in the camera's frame, `T_true = T_goal_cam exp(xi)`; not finite where it is not known.
    """

    T_goal_cam: Float[np.ndarray, "4 4"]
    agreement: float
    covariance: Float[np.ndarray, "6 6"] = field(default_factory=lambda: np.full((6, 6), np.inf))


@dataclass(frozen=True)
class Slopes:
    """Derivatives of a smoothed picture's grey levels along x and y, per pixel."""

    xy: Float[np.ndarray, "h w 2"]

    @classmethod
    def of(cls, picture: Float[np.ndarray, "h w"]) -> "Slopes":
        """From grey levels in [0, 1]; 0 at unseen pixels (NaN) and within BORDER of them."""
        image = torch.from_numpy(picture.astype(np.float32))[None, None]
        whole = continued(image)
        smooth = cv2.GaussianBlur(whole[0, 0].numpy(), (0, 0), SMOOTHING)
        slopes = torch.stack(gradient(torch.from_numpy(smooth)[None, None], SHARP_DERIVATIVE), 3)
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
        """Places along the normals [px] within `reach`, and the slope at each (n, places).

        It is the absolute slope along the normal. px: points. n: their unit normals.
        """
        places = SAMPLE_SPACING * np.arange(
            -round(reach / SAMPLE_SPACING), round(reach / SAMPLE_SPACING) + 1, dtype=np.float32
        )
        nx, ny = n.astype(np.float32).T[..., None]
        u, v = (
            start + places * way
            for start, way in zip(px.astype(np.float32).T[..., None], (nx, ny), strict=True)
        )
        slopes = _at(self.xy, u, v, cv2.BORDER_CONSTANT)
        return places, np.abs(slopes[..., 0] * nx + slopes[..., 1] * ny)


class Edges:
    """Points on the edges of an object in a goal picture, (h, w) in [0, 1].

    depth: Z [m] of each pixel, (h, w), not finite beside the object. most: of the points, so many
    are taken at most. Raises InputError where there are fewer than MIN_POINTS clear edge points.
    """

    def __init__(
        self,
        camera: Camera,
        goal: Float[np.ndarray, "h w"],
        depth: Float[np.ndarray, "h w"],
        most: int | None = None,
    ) -> None:
        there = np.isfinite(depth) & (depth > 0)
        self.camera, slopes = camera, Slopes.of(goal)
        px, n = edge_points(slopes, there)
        if most is not None and len(px) > most:
            some = np.linspace(0, len(px) - 1, most).round().astype(int)
            px, n = px[some], n[some]
        alone = np.zeros(len(px), bool)
        # Measured in the same way as views are, so that at the goal's pose no residual is left.
        for _ in range(GOAL_PASSES if len(px) else 0):
            d, _, alone = nearest_edges(slopes, px, n, 2 * SAMPLE_SPACING)
            px = px + d[:, None] * n
        if alone.sum() < MIN_POINTS:
            raise InputError(
                f"the target picture has {alone.sum()} points on clear edges of the object, and "
                f"{MIN_POINTS} are needed; go nearer"
            )
        self.px, self.n = px[alone], n[alone]
        u, v = self.px.round().astype(int).T
        # The nearest surface about a point makes its edge.
        Z = np.where(there, depth, BACKGROUND_DEPTH).astype(np.float32)
        front = cv2.erode(Z, np.ones((3, 3)))
        self.Z = front[v, u].astype(float)

    def register(
        self,
        view: Slopes,
        T_goal_cam: Float[np.ndarray, "4 4"],
        reaches: tuple[float, ...] = FIRST_GUESS_REACHES,
    ) -> Fit:
        """`T_goal_cam` of a view by weighted least squares, and the agreement there.

        T_goal_cam: a guess that is a few pixels off. reaches: how far along the normals edges are
        searched for [px], one number an iteration.
        """
        T, size = np.array(T_goal_cam, float), (self.camera.width, self.camera.height)
        for reach in reaches:
            px, Z, n = self.seen_from(T)
            d, _, found = nearest_edges(view, px, n, reach)
            if found.sum() < MIN_POINTS:
                return Fit(T, 0.0)
            J, weights = self.jacobian(px, Z, n), found * _robust(d, found)
            weighted = J * weights[:, None]
            H = weighted.T @ J
            twist = np.linalg.solve(H + 1e-9 * np.trace(H) * np.eye(6), weighted.T @ d)
            T = T @ se3.exp(torch.from_numpy(twist)).numpy()
            if np.abs(twist).max() < LAST_STEP:
                break
        C = clustered.covariance(J, d, weights, clustered.cells(px, *size))
        return Fit(T, self.agreement(view, T), C)

    def agreement(self, view: Slopes, T_goal_cam: Float[np.ndarray, "4 4"]) -> float:
        """Share of the edges in view that are in their places at this pose; see `Fit`."""
        px, _, n = self.seen_from(T_goal_cam)
        inside = (
            (px >= BORDER) & (px <= np.array([self.camera.width, self.camera.height]) - 1 - BORDER)
        ).all(1)
        if inside.mean() < MIN_SEEN_SHARE:
            return 0.0
        d, found, _ = nearest_edges(
            view, px[inside], n[inside], AGREEMENT_DISTANCE + SAMPLE_SPACING
        )
        return float((found & (np.abs(d) < AGREEMENT_DISTANCE)).mean())

    def seen_from(
        self, T_goal_cam: Float[np.ndarray, "4 4"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels (n, 2), depths (n,) [m] and unit normals (n, 2) of the points from this pose."""
        T = np.linalg.inv(T_goal_cam)
        px, Z = self._through(T, self.px)
        n = self._through(T, self.px + self.n)[0] - px
        return px, Z, n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)

    def jacobian(
        self, px: Float[np.ndarray, "n 2"], Z: Float[np.ndarray, " n"], n: Float[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 6"]:
        """J of `d(n^T px)/dt = J v_cam`: the points' speed along their normals [px/s]."""
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
    """Edge points [px] on the object and its outline, to a fraction of a pixel, and unit normals.

    An edge point is a maximum of the slope along the slope's own direction (Canny 1986).
    """
    size = np.hypot(slopes.gx, slopes.gy)
    near = cv2.dilate(there.astype(np.uint8), np.ones((3, 3))) > 0
    near[:BORDER], near[-BORDER:], near[:, :BORDER], near[:, -BORDER:] = False, False, False, False
    v, u = (near & (size > MIN_SLOPE)).nonzero()
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
    """The image at (u, v) [px], bicubic: (n, k) or (n, k, channels)."""
    parts = range(0, max(1, len(u)), REMAP_MAX_ROWS)
    found = [
        cv2.remap(
            image,
            u[i : i + REMAP_MAX_ROWS],
            v[i : i + REMAP_MAX_ROWS],
            cv2.INTER_CUBIC,
            borderMode=border,
        )
        for i in parts
    ]
    return found[0] if len(found) == 1 else np.concatenate(found)


def nearest_edges(
    view: Slopes, px: Float[np.ndarray, "n 2"], n: Float[np.ndarray, "n 2"], reach: float
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The nearest edge along each point's normal, within `reach` [px].

    Returns how far it is [px], whether there is one, and whether it is clear of others (CLEARANCE).
    """
    places, slope = view.along(px, n, reach + CLEARANCE)
    inner, peaks = places[1:-1], _peaks(slope) & (slope[:, 1:-1] > MIN_SLOPE)
    off = np.where(peaks & (np.abs(inner) <= reach), np.abs(inner), np.inf)
    best, rows = off.argmin(1), np.arange(len(px))
    found = np.isfinite(off[rows, best])
    offset = SAMPLE_SPACING * _summit(*(slope[rows, best + k] for k in range(3)))
    alone = _alone(inner, peaks, slope[:, 1:-1], best)
    return np.where(found, inner[best] + offset, 0.0), found, found & alone


def _alone(
    places: Float[np.ndarray, " k"],
    peaks: Bool[np.ndarray, "n k"],
    slope: Float[np.ndarray, "n k"],
    which: Int[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Which edges, one on each normal, have no strong other one within CLEARANCE."""
    rows = np.arange(len(slope))
    away = np.abs(places - places[which][:, None])
    return ~(
        peaks
        & (slope > RIVAL_STRENGTH * slope[rows, which, None])
        & (away < CLEARANCE)
        & (away > 1)
    ).any(1)


def _peaks(slope: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k_less_2"]:
    return (slope[:, 1:-1] >= slope[:, :-2]) & (slope[:, 1:-1] > slope[:, 2:])


def _summit(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the parabola through three neighbours is highest, relative to the middle one."""
    return 0.5 * (before - after) / np.minimum(before - 2 * middle + after, -1e-9)


def _robust(d: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Geman-McClure's weights of residuals d [px]; only those `found` count for the scale."""
    scale = max(MIN_DEVIATION, 1.4826 * float(np.median(np.abs(d[found]))))
    return 1 / (1 + (d / (ROBUST_SCALE * scale)) ** 2) ** 2
