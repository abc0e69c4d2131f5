"""A goal's pose and the depths of its points, from matches on the way and the camera's own motion.

A point m = (x, y, 1) of the goal with inverse depth rho is seen from a camera at `T_cam_goal` = (R,
t) in the direction of `R m + rho t`. The camera's motion from its start is known: what was
commanded, or what the robot says that it did. So the pose of the goal in the start's frame and the
inverse depths are what explains all views (bundle adjustment, Triggs 2000, with the depths
eliminated), and their scale is that of the motion.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.linalg import norm

from deepservo.camera import Camera
from deepservo.geometry import se3

MAX_VIEWS = 8  # that are remembered: the first, and those farthest from one another
MIN_MOVE = 0.03  # share of the distance, or rad, between views that are remembered
DEVIATION = 1.0  # px, of a match's place in a view
ROBUST_SCALE = 3.0  # deviations at which a match's weight has fallen to a quarter
SURE_VIEWS = 3  # with as many the depths are in no doubt
PRIOR = 0.7  # deviation of the scale, as a share, before the camera has moved
TILT = 1.0  # deviation of the slope of the plane that is nearest to the points
# Deviation of the points' inverse depths from that plane, as a share: of a plane, and of a solid.
RELIEFS = 0.01, 0.3
FIT_ITERATIONS, POSE_ITERATIONS = 12, 15  # at most
LAST_STEP = 1e-9  # m, rad: the iterations for a pose end at a step this small,
LAST_FIT_STEP = 1e-6  # and those for the depths at one this small
CELL = 8  # px: side of the cells in which points are gathered
MIN_DEVIATION, MAX_DEVIATION = 0.03, 0.3  # shares of the inverse depth, of points that are used
COARSER_SHARE = 0.05  # weight of a larger neighbourhood's mean, in points
MIN_INVERSE, MAX_INVERSE = 0.1, 10.0  # of the mean, that a point's inverse depth is kept within


@dataclass(frozen=True)
class View:
    """Where a view shows points of the goal, in normalised coordinates.

    index: which of the goal's points. goal: where the goal shows them. T_start_cam: the camera's
    motion since the start.
    """

    T_start_cam: Float[np.ndarray, "4 4"]
    index: Int[np.ndarray, " n"]
    goal: Float[np.ndarray, "n 2"]
    seen: Float[np.ndarray, "n 2"]


@dataclass
class Structure:
    """What is known of one run's goal and scene.

    n: how many points the goal has. focal: px, of the camera. inverse: 1 / Z [1/m] that is assumed
    of all points at first.
    """

    n: int
    focal: float
    inverse: float
    T_start_goal: Float[np.ndarray, "4 4"] | None = None
    views: list[View] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rho = np.full(self.n, self.inverse)
        self.deviation = np.full(self.n, np.inf)  # of rho [1/m]; infinite where never seen
        self.goal, self.relief = np.zeros((self.n, 2)), max(RELIEFS)

    def see(self, view: View, guesses: list[Float[np.ndarray, "4 4"]]) -> Float[np.ndarray, "4 4"]:
        """`T_goal_cam` of a view.

        guesses: of it, for the first SURE_VIEWS views. All views together give the depths;
        the pose is that of this view's matches alone, so that none is left when they are in the
        goal's places, however wrong depths or the known motion may be.
        """
        self.goal[view.index] = view.goal
        views = [*self.views, view]
        guesses = guesses if len(self.views) < SURE_VIEWS else []
        starts = [view.T_start_cam @ np.linalg.inv(guess) for guess in guesses]
        if self.T_start_goal is not None:
            starts.append(self.T_start_goal)
        reliefs = RELIEFS if len(self.views) < MAX_VIEWS else (self.relief,)
        seen = _Observations.of(views)
        fits = [
            min((self._fitted(seen, T, relief) for T in starts), key=lambda fit: fit.cost)
            for relief in reliefs
        ]
        _, _, self.relief, T, rho, deviation = min(fits, key=lambda fit: fit.cost + fit.freedom)
        if len(views) == 1:  # one view has no scale of its own
            scale = float(np.median(rho[view.index])) / self.inverse
            T = view.T_start_cam @ _stretched(np.linalg.inv(view.T_start_cam) @ T, scale)
            rho, deviation = rho / scale, deviation / scale
        self.T_start_goal, self.rho, self.deviation = T, rho, deviation
        self._remember(view)
        deviation = np.minimum(self.deviation[view.index], self.inverse)
        guess = np.linalg.inv(T) @ view.T_start_cam
        return resection(view, self.rho[view.index], deviation, guess, self.focal)

    def dense(self, camera: Camera) -> Float[torch.Tensor, "h w"]:
        """1 / Z [1/m] of all pixels of the goal, smooth between its points.

        It is their mean, weighted by their deviations, over neighbourhoods that grow where points
        are few (normalised convolution, Knutsson & Westin 1993).
        """
        w, h = (max(2, round(side / CELL)) for side in (camera.width, camera.height))
        px = self.goal * [camera.fx, camera.fy] + [camera.cx, camera.cy]
        x, y = ((px + 0.5) * [w / camera.width, h / camera.height]).astype(int).T
        middle = float(np.median(self.rho[np.isfinite(self.deviation)]))
        used = (self.deviation < MAX_DEVIATION * middle) & (x >= 0) & (y >= 0) & (x < w) & (y < h)
        at, rho = (y * w + x)[used], self.rho[used]
        weight = 1 / (self.deviation[used] ** 2 + (MIN_DEVIATION * middle) ** 2)
        weight *= (MIN_DEVIATION * middle) ** 2
        total = np.bincount(at, weight, h * w).astype(float).reshape(h, w)
        value = np.bincount(at, weight * rho, h * w).astype(float).reshape(h, w)
        found = np.full((h, w), np.average(rho, weights=weight) if used.any() else middle)
        reach = max(h, w) / 2
        while reach > 0.5:
            a, b = (cv2.GaussianBlur(each, (0, 0), reach) * reach**2 for each in (value, total))
            found = (a + COARSER_SHARE * found) / (b + COARSER_SHARE)
            reach /= 2
        size = (camera.width, camera.height)
        return torch.from_numpy(cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)).float()

    def _fitted(
        self, seen: "_Observations", T_start_goal: Float[np.ndarray, "4 4"], relief: float
    ) -> "_Fit":
        """The best fit from a first pose, of points that lie so near to a plane."""
        points = np.bincount(seen.index, minlength=self.n) > 0
        m = np.zeros((self.n, 3))
        m[seen.index] = seen.m
        prior = _Prior(m[points].mean(0), self.inverse)
        rho = np.where(points, self._first_rho(seen, T_start_goal), 0)
        plane = prior.nearest(m[points], rho[points])
        rest = (rho - m @ plane) * points if relief == max(RELIEFS) else np.zeros(self.n)
        T, mu, best = T_start_goal, 1e-3, None
        low, high = MIN_INVERSE * self.inverse, MAX_INVERSE * self.inverse
        for _ in range(FIT_ITERATIONS):
            r, Jp, Jr = seen.residual(T, m @ plane + rest)
            w, loss = _weights(r, (DEVIATION / self.focal) ** 2)
            precision = points / (relief * prior.middle(plane)) ** 2
            cost = loss + prior.cost(plane) + float((precision * rest * rest).sum())
            if best is None or cost < best[0]:
                weighted = w[:, None] * Jr
                J = np.concatenate([Jp, Jr[..., None] * seen.m[:, None]], 2)
                E = np.zeros((self.n, 9))
                np.add.at(E, seen.index, np.einsum("mi,mij->mj", weighted, J))
                d = np.bincount(seen.index, (weighted * Jr).sum(1), self.n) + precision
                a = np.bincount(seen.index, (weighted * r).sum(1), self.n) + precision * rest
                H, g = np.einsum("m,mij,mik->jk", w, J, J), np.einsum("m,mij,mi->j", w, J, r)
                H[6:, 6:] += prior.information
                g[6:] += prior.information @ (plane - prior.mean)
                best, mu = (cost, T, plane, rest, d), mu * 0.1
            else:
                mu *= 10
            damped = np.maximum(d * (1 + mu), 1e-12)
            S = H * (1 + mu * np.eye(9)) - (E / damped[:, None]).T @ E
            ridge = 1e-9 * np.diag(np.r_[np.full(6, np.trace(H[:6, :6])), 0, 0, 0])
            step = np.linalg.solve(S + ridge, (E / damped[:, None]).T @ a - g)
            if np.abs(step).max() < LAST_FIT_STEP:
                break
            T = best[1] @ se3.exp(torch.from_numpy(step[:6])).numpy()
            plane = best[2] + step[6:]
            flat = m @ plane
            rest = (np.clip(flat + best[3] - (a + E @ step) / damped, low, high) - flat) * points
        assert best is not None
        cost, T, plane, rest, d = best
        rho = np.where(points, m @ plane + rest, self.inverse)
        # Laplace's approximation: what the freedom of the points costs.
        freedom = float(np.log(d[points] * (relief * prior.middle(plane)) ** 2).sum())
        deviation = np.where(points, 1 / np.sqrt(np.maximum(d, 1e-12)), np.inf)
        return _Fit(cost, freedom, relief, T, rho, deviation)

    def _first_rho(
        self, seen: "_Observations", T_start_goal: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, " n"]:
        """The inverse depths so far; of points not seen before, as the last view has them."""
        known = np.isfinite(self.deviation)
        last = seen.of_last_view()
        R, t = last.motions(T_start_goal)
        ray = np.column_stack([last.seen, np.ones(len(last.seen))])
        a, b = np.cross(np.einsum("mij,mj->mi", R, last.m), ray), np.cross(t, ray)
        found = -(a * b).sum(1) / np.maximum((b * b).sum(1), 1e-12)
        low, high = MIN_INVERSE * self.inverse, MAX_INVERSE * self.inverse
        rho = np.where(known, self.rho, self.inverse)
        new = ~known[last.index]
        rho[last.index[new]] = np.clip(found[new], low, high)
        return rho

    def _remember(self, view: View) -> None:
        """Keep the view where it is far from those that are kept, and MAX_VIEWS of them at most."""

        def apart(a: View, b: View) -> float:
            T = np.linalg.inv(a.T_start_cam) @ b.T_start_cam
            return float(norm(T[:3, 3]) * self.inverse + norm(T[:3, :3] - np.eye(3)) / np.sqrt(2))

        if self.views and min(apart(view, each) for each in self.views) < MIN_MOVE:
            return
        self.views.append(view)
        if len(self.views) > MAX_VIEWS:
            nearest = [
                min(apart(view, other) for other in self.views if other is not view)
                for view in self.views[1:-1]
            ]
            del self.views[1 + int(np.argmin(nearest))]


class _Fit(NamedTuple):
    """A pose and inverse depths with their deviations [1/m].

    cost: how little they are likely, for this relief, one of RELIEFS. freedom: what is added to
    compare it with others: how much better points that are free fit whatever they are of.
    """

    cost: float
    freedom: float
    relief: float
    T_start_goal: Float[np.ndarray, "4 4"]
    rho: Float[np.ndarray, " n"]
    deviation: Float[np.ndarray, " n"]


class _Prior:
    """What is likely of the plane that is nearest to points: `1 / Z = plane . (x, y, 1)`.

    mean: of the points (x, y, 1). inverse: assumed of them [1/m].
    """

    def __init__(self, mean: Float[np.ndarray, "3"], inverse: float) -> None:
        self.points, self.inverse = mean, inverse
        self.mean = np.array([0, 0, inverse])
        self.information = np.outer(mean, mean) / (PRIOR * inverse) ** 2
        self.information += np.diag([1, 1, 0]) / (TILT * inverse) ** 2

    def cost(self, plane: Float[np.ndarray, "3"]) -> float:
        """Twice the negative logarithm of how likely a plane is."""
        off = plane - self.mean
        return float(off @ self.information @ off)

    def middle(self, plane: Float[np.ndarray, "3"]) -> float:
        """Its inverse depth in the middle of the points."""
        return max(float(self.points @ plane), MIN_INVERSE * self.inverse)

    def nearest(
        self, m: Float[np.ndarray, "n 3"], rho: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, "3"]:
        """The plane nearest to points (x, y, 1) of these inverse depths."""
        weight = 1 / (max(RELIEFS) * self.inverse) ** 2
        off = np.linalg.solve(
            weight * m.T @ m + self.information, weight * m.T @ (rho - m @ self.mean)
        )
        return self.mean + off


@dataclass(frozen=True)
class _Observations:
    """All matches of some views: m of them. m: rays of the goal. view: the number of each's."""

    m: Float[np.ndarray, "m 3"]
    seen: Float[np.ndarray, "m 2"]
    index: Int[np.ndarray, " m"]
    view: Int[np.ndarray, " m"]
    T_cam_start: Float[np.ndarray, "k 4 4"]

    @classmethod
    def of(cls, views: list[View]) -> "_Observations":
        goal = np.concatenate([view.goal for view in views])
        return cls(
            np.column_stack([goal, np.ones(len(goal))]),
            np.concatenate([view.seen for view in views]),
            np.concatenate([view.index for view in views]),
            np.repeat(np.arange(len(views)), [len(view.index) for view in views]),
            np.stack([np.linalg.inv(view.T_start_cam) for view in views]),
        )

    def of_last_view(self) -> "_Observations":
        last = self.view == len(self.T_cam_start) - 1
        return _Observations(
            self.m[last], self.seen[last], self.index[last], self.view[last], self.T_cam_start
        )

    def motions(self, T_start_goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R (m, 3, 3) and t (m, 3) of each match's `T_cam_goal`."""
        T = (self.T_cam_start @ T_start_goal)[self.view]
        return T[:, :3, :3], T[:, :3, 3]

    def residual(
        self, T_start_goal: Float[np.ndarray, "4 4"], rho: Float[np.ndarray, " n"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (m, 2), and their derivatives by a twist of `T_start_goal` and by rho.

        The derivatives are (m, 2, 6), of `T_start_goal exp(twist)`, and (m, 2).
        """
        (R, t), z = self.motions(T_start_goal), rho[self.index][:, None]
        h = np.einsum("mij,mj->mi", R, self.m) + z * t
        down = np.maximum(h[:, 2:], 1e-3)
        u = h[:, :2] / down
        by_v = z[..., None] * R
        x, y, one = self.m.T
        o = np.zeros_like(x)
        hat = np.stack([o, -one, y, one, o, -x, -y, x, o], 1).reshape(-1, 3, 3)
        by_pose = np.concatenate([by_v, -R @ hat], 2)
        project = np.zeros((len(u), 2, 3))
        project[:, 0, 0] = project[:, 1, 1] = 1
        project[:, :, 2] = -u
        project /= down[..., None]
        return u - self.seen, project @ by_pose, np.einsum("mij,mj->mi", project, t)


def _stretched(T: Float[np.ndarray, "4 4"], scale: float) -> Float[np.ndarray, "4 4"]:
    """The motion with its translation times `scale`."""
    longer = T.copy()
    longer[:3, 3] *= scale
    return longer


def projected(
    T_goal_cam: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "n 2"], rho: np.ndarray
) -> Float[np.ndarray, "n 2"]:
    """Where a camera sees points of the goal of inverse depths rho, in normalised coordinates."""
    T = np.linalg.inv(T_goal_cam)
    h = np.column_stack([goal, np.ones(len(goal))]) @ T[:3, :3].T + rho[:, None] * T[:3, 3]
    return h[:, :2] / np.maximum(h[:, 2:], 1e-3)


def resection(
    view: View,
    rho: Float[np.ndarray, " n"],
    deviation: Float[np.ndarray, " n"],
    T_goal_cam: Float[np.ndarray, "4 4"],
    focal: float,
) -> Float[np.ndarray, "4 4"]:
    """`T_goal_cam` of a view by its matches and the inverse depths of their points, from a guess.

    rho, deviation: of the matches' points [1/m]. It is robust least squares by Levenberg-Marquardt.
    """
    n = len(view.index)
    alone = _Observations.of([View(np.eye(4), np.arange(n), view.goal, view.seen)])
    T, mu, best = np.linalg.inv(T_goal_cam), 1e-3, None
    for _ in range(POSE_ITERATIONS):
        r, J, Jr = alone.residual(T, rho)
        variance = (DEVIATION / focal) ** 2 + ((Jr * deviation[:, None]) ** 2).sum(1)
        w, loss = _weights(r, variance)
        if best is None or loss < best[0]:
            H, g = np.einsum("m,mij,mik->jk", w, J, J), np.einsum("m,mij,mi->j", w, J, r)
            best, mu = (loss, T), mu * 0.1
        else:
            mu *= 10
        twist = -np.linalg.solve(H * (1 + mu * np.eye(6)) + 1e-12 * np.trace(H) * np.eye(6), g)
        if np.abs(twist).max() < LAST_STEP:
            break
        T = best[1] @ se3.exp(torch.from_numpy(twist)).numpy()
    assert best is not None
    return np.linalg.inv(best[1])


def _weights(
    r: Float[np.ndarray, "m 2"], variance: Float[np.ndarray, " m"] | float
) -> tuple[Float[np.ndarray, " m"], float]:
    """Geman-McClure's weights of residuals of a variance, and the loss."""
    r2 = (r * r).sum(1) / (variance * ROBUST_SCALE**2)
    return 1 / (variance * (1 + r2) ** 2), float((ROBUST_SCALE**2 * r2 / (1 + r2)).sum())
