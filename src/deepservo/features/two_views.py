"""Which matches of two pictures one rigid scene explains: a plane, a solid, or one of known depth.

Without depth, a homography explains the matches of a plane, and an essential matrix those of any
solid. The plane is taken unless enough matches are near to their places on it and not in them, and
Torr's criterion then prefers the solid (GRIC, Torr 1998), which most of them must agree with:

    GRIC = sum min(e^2 / sigma^2, 2 (4 - d)) + log(4) d n + log(4 n) k,

of n matches, d = 2, k = 8 for the homography, and d = 3, k = 5 for the essential matrix; e is the
distance of a match to what the model allows [px].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from deepservo.camera import Camera
from deepservo.geometry import pnp

MAX_ERROR = 1.5  # px, from a match's place, for it to agree
MIN_INLIERS = 8  # matches that must agree with one model
MAX_TELLING_ERROR = 3.0  # px: matches that may be farther from their places tell no solid
# Matches that are between so many times MAX_ERROR from their places on the plane tell of a solid...
OFF_FACTOR, NEAR_FACTOR = 3, 10
# ... where they are more than this share of those that agree, beside those that are so by chance.
NEAR_SHARE = 0.1
# Of them more than this share must agree with the essential matrix, and so many at least: parallax
# is along its lines, and the errors of bad pictures are to all sides. (8 did at most, of planes.)
EPIPOLAR_SHARE, MIN_EPIPOLAR = 0.6, 10
# Of pictures of different places up to 4.4 times as many matches agreed with an essential matrix as
# by chance, and 19 at most.
MIN_SOLID_INLIERS, CHANCE_FACTOR = 25, 6
CONFIDENCE, MAX_ITERATIONS = 0.9999, 2000  # of the random samples


@dataclass(frozen=True)
class Candidates:
    """n points of a goal that match points of a view [px].

    index: which of the goal's points they are.
    """

    goal_px: Float[np.ndarray, "n 2"]
    cam_px: Float[np.ndarray, "n 2"]
    index: Int[np.ndarray, " n"]

    @classmethod
    def of(
        cls, goal_px: Float[np.ndarray, "n 2"], cam_px: Float[np.ndarray, "n 2"]
    ) -> "Candidates":
        """All points of the goal, in their order."""
        return cls(goal_px, cam_px, np.arange(len(goal_px)))

    def pick(self, which: np.ndarray) -> "Candidates":
        """Some of them: by number, or where `which` is true."""
        return Candidates(self.goal_px[which], self.cam_px[which], self.index[which])


@dataclass(frozen=True)
class Matched(Candidates):
    """The n matches that one model explains, and the model.

    H: a homography from goal to view pixels, of a plane, where one is found without depth.
    T_goal_cam: of a solid; its translation is of length 1 where no depth is known. None of a plane.
    """

    H: Float[np.ndarray, "3 3"] | None = None
    T_goal_cam: Float[np.ndarray, "4 4"] | None = None


Explain = Callable[[Candidates, float, int], Matched | None]
"""Which matches agree, to a largest error [px], and with what; None where fewer than so many do."""


def homography(
    candidates: Candidates, max_error: float = MAX_ERROR, min_inliers: int = MIN_INLIERS
) -> Matched | None:
    """The homography from goal to view pixels by MAGSAC, and its inliers, to `max_error` [px].

    None where there are fewer than `min_inliers`.
    """
    if len(candidates.goal_px) < min_inliers:
        return None
    cv2.setRNGSeed(0)  # the same pictures give the same homography
    H, inliers = cv2.findHomography(
        candidates.goal_px, candidates.cam_px, cv2.USAC_MAGSAC, max_error,
        maxIters=MAX_ITERATIONS, confidence=CONFIDENCE,
    )  # fmt: skip
    if H is None or int(inliers.sum()) < min_inliers:
        return None
    agree = candidates.pick(inliers[:, 0] > 0)
    return Matched(agree.goal_px, agree.cam_px, agree.index, H=H)


def rigid(
    candidates: Candidates,
    camera: Camera,
    max_error: float = MAX_ERROR,
    min_inliers: int = MIN_INLIERS,
) -> Matched | None:
    """The pose up to scale by an essential matrix (MAGSAC), and its inliers, to `max_error` [px].

    None where there are fewer in front of both cameras than `min_inliers`, or than wrong matches
    may have by chance: an essential matrix fixes one of the two coordinates of a match alone.
    """
    n, band = len(candidates.goal_px), 4 * max_error / min(camera.width, camera.height)
    least = max(min_inliers, MIN_SOLID_INLIERS, round(CHANCE_FACTOR * band * n))
    if n < least:
        return None
    goal, cam = (normalised(px, camera) for px in (candidates.goal_px, candidates.cam_px))
    focal = math.sqrt(camera.fx * camera.fy)
    cv2.setRNGSeed(0)
    one = np.eye(3)
    try:
        E, inliers = cv2.findEssentialMat(
            goal, cam, one, cv2.USAC_MAGSAC, CONFIDENCE, max_error / focal, MAX_ITERATIONS
        )
    except cv2.error:  # no sample gave a matrix
        return None
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, front = cv2.recoverPose(E, goal, cam, one, mask=inliers)
    if count < least:
        return None
    T_cam_goal = np.eye(4)
    T_cam_goal[:3, :3], T_cam_goal[:3, 3] = R, t[:, 0]
    agree = candidates.pick(front[:, 0] > 0)
    T = np.linalg.inv(T_cam_goal)
    return Matched(agree.goal_px, agree.cam_px, agree.index, T_goal_cam=T)


def plane_or_solid(
    candidates: Candidates,
    camera: Camera,
    max_error: float = MAX_ERROR,
    min_inliers: int = MIN_INLIERS,
    *,
    always: bool = True,
) -> Matched | None:
    """`homography`, or `rigid` where the matches are exact and not those of a plane.

    always: look for what is rigid where no plane is, too, which takes longest where nothing is.
    """
    plane = homography(candidates, max_error, min_inliers)
    if max_error > MAX_TELLING_ERROR or (plane is None and not always):
        return plane
    if plane is not None and not near_plane(candidates, plane, camera, max_error):
        return plane
    solid = rigid(candidates, camera, max_error, min_inliers)
    if plane is None or solid is None:
        return plane or solid
    if gric(candidates, plane, camera) <= gric(candidates, solid, camera):
        return plane
    near = is_near(plane_error(candidates, plane), max_error)
    rigid_too = epipolar_error(candidates, solid, camera)[near] < max_error
    sure = rigid_too.mean() > EPIPOLAR_SHARE and rigid_too.sum() >= MIN_EPIPOLAR
    return replace(solid, H=plane.H) if sure else plane


def plane_poses(
    H: Float[np.ndarray, "3 3"], camera: Camera, rays: Float[np.ndarray, "n 3"], depth: float
) -> list[Float[np.ndarray, "4 4"]]:
    """`T_goal_cam` that a homography of any plane may have (Malis & Vargas 2007), two at most.

    rays: of the matches in the goal, z = 1, which see the plane from its front. depth: their median
    depth [m].
    """
    _, Rs, ts, normals = cv2.decomposeHomographyMat(H, camera.K.numpy())
    found = []
    for R, t, n in zip(Rs, ts, normals, strict=True):
        towards = rays @ n[:, 0]
        if (towards > 0).mean() > 0.9:
            T_cam_goal = np.eye(4)
            T_cam_goal[:3, :3] = R
            T_cam_goal[:3, 3] = t[:, 0] * depth * float(np.median(towards))
            found.append(np.linalg.inv(T_cam_goal))
    return found


def scaled(
    T_goal_cam: Float[np.ndarray, "4 4"],
    rays: Float[np.ndarray, "n 3"],
    seen: Float[np.ndarray, "n 2"],
    depth: float,
) -> Float[np.ndarray, "4 4"]:
    """A pose known up to scale, with that by which the points' median depth is `depth` [m].

    rays: of the points in the goal, z = 1. seen: where the view sees them, normalised.
    """
    T_cam_goal = np.linalg.inv(T_goal_cam)
    view = np.column_stack([seen, np.ones(len(seen))])
    a, b = np.cross(rays @ T_cam_goal[:3, :3].T, view), np.cross(T_cam_goal[:3, 3], view)
    inverse = -(a * b).sum(1) / np.maximum((b * b).sum(1), 1e-12)
    T = T_goal_cam.copy()
    T[:3, 3] *= max(float(np.median(inverse)), 1e-6) * depth
    return T


def posed(
    candidates: Candidates,
    camera: Camera,
    Z: Float[np.ndarray, "h w"],
    max_error: float = MAX_ERROR,
    min_inliers: int = MIN_INLIERS,
) -> Matched | None:
    """The pose by MAGSAC where the goal's depth is known, and its inliers, to `max_error` [px].

    Z: of the goal's pixels [m], NaN where unknown: matches there do not agree. None where there are
    fewer than `min_inliers`.
    """
    depth = depth_at(Z, candidates.goal_px)
    known = candidates.pick(np.isfinite(depth))
    if len(known.goal_px) < min_inliers:
        return None
    rays = np.column_stack([normalised(known.goal_px, camera), np.ones(len(known.goal_px))])
    points = rays * depth[np.isfinite(depth), None]
    found = pose_of_points(points, known.cam_px, camera, max_error, min_inliers)
    if found is None:
        return None
    T, inliers = found
    agree = known.pick(inliers)
    return Matched(agree.goal_px, agree.cam_px, agree.index, T_goal_cam=T)


def pose_of_points(
    points: Float[np.ndarray, "n 3"],
    px: Float[np.ndarray, "n 2"],
    camera: Camera,
    max_error: float,
    min_inliers: int,
) -> tuple[Float[np.ndarray, "4 4"], Int[np.ndarray, " k"]] | None:
    """`T_goal_cam` by MAGSAC, and which points agree with it to `max_error` [px].

    points: in the goal's frame [m]. px: where the view shows them. None where fewer than
    `min_inliers` agree.
    """
    params = cv2.UsacParams()
    params.threshold, params.score = max_error, cv2.SCORE_METHOD_MAGSAC
    params.maxIterations, params.confidence = MAX_ITERATIONS, CONFIDENCE
    params.randomGeneratorState = 0
    try:
        good, _, turn, t, inliers = cv2.solvePnPRansac(
            points, px, camera.K.numpy(), np.zeros(4), params=params
        )
    except cv2.error:  # no sample gave a pose
        return None
    if not good or inliers is None or len(inliers) < min_inliers:
        return None
    T_cam_goal = np.eye(4)
    T_cam_goal[:3, :3], T_cam_goal[:3, 3] = cv2.Rodrigues(turn)[0], t[:, 0]
    return np.linalg.inv(T_cam_goal), inliers[:, 0]


def depth_at(Z: Float[np.ndarray, "h w"], px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Z of the pixels nearest to these places."""
    u, v = px.round().astype(int).T
    return Z[v.clip(0, Z.shape[0] - 1), u.clip(0, Z.shape[1] - 1)]


def near_plane(candidates: Candidates, plane: Matched, camera: Camera, max_error: float) -> bool:
    """Whether many matches are near to their places on the plane, but not in them."""
    error, near = plane_error(candidates, plane), NEAR_FACTOR * max_error
    count = int(is_near(error, max_error).sum())
    far = len(error) - len(plane.goal_px)
    by_chance = far * min(1.0, math.pi * near**2 / (camera.width * camera.height))
    return count > NEAR_SHARE * len(plane.goal_px) + by_chance + 3 * math.sqrt(by_chance)


def is_near(error: Float[np.ndarray, " n"], max_error: float) -> Bool[np.ndarray, " n"]:
    """Which matches are near to their places on the plane, but not in them."""
    return (error > OFF_FACTOR * max_error) & (error < NEAR_FACTOR * max_error)


def plane_error(candidates: Candidates, plane: Matched) -> Float[np.ndarray, " n"]:
    """How far each match is from its place on the plane [px]."""
    at = (
        np.column_stack([candidates.goal_px, np.ones(len(candidates.goal_px))])
        @ np.asarray(plane.H).T
    )
    return np.linalg.norm(at[:, :2] / at[:, 2:] - candidates.cam_px, axis=1)


def epipolar_error(
    candidates: Candidates, solid: Matched, camera: Camera
) -> Float[np.ndarray, " n"]:
    """How far each match is from the nearest that a rigid scene allows (Sampson) [px]."""
    T = np.linalg.inv(np.asarray(solid.T_goal_cam))
    x, y, z = T[:3, 3]
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ T[:3, :3]
    goal, cam = (
        np.column_stack([normalised(px, camera), np.ones(len(px))])
        for px in (candidates.goal_px, candidates.cam_px)
    )
    along, back = goal @ E.T, cam @ E
    apart = np.abs((cam * along).sum(1))
    slope = np.sqrt((along[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1))
    return math.sqrt(camera.fx * camera.fy) * apart / np.maximum(slope, 1e-12)


def gric(candidates: Candidates, matched: Matched, camera: Camera, deviation: float = 1.0) -> float:
    """Torr's criterion: the model with the lesser one explains the matches. deviation: [px]."""
    n = len(candidates.goal_px)
    if matched.T_goal_cam is None:
        error, d, k = plane_error(candidates, matched) / math.sqrt(2), 2, 8
    else:
        error, d, k = epipolar_error(candidates, matched, camera), 3, 5
    loss = np.minimum((error / deviation) ** 2, 2 * (4 - d)).sum()
    return float(loss + math.log(4) * d * n + math.log(4 * n) * k)


def normalised(px: Float[np.ndarray, "n 2"], camera: Camera) -> Float[np.ndarray, "n 2"]:
    """Normalised coordinates of pixels."""
    return (px - [camera.cx, camera.cy]) / [camera.fx, camera.fy]


def pose_of_homography(
    H: Float[np.ndarray, "3 3"], camera: Camera, depth: float
) -> Float[np.ndarray, "4 4"]:
    """`T_goal_cam` from a homography of goal to current pixels, of a plane that faces the goal at
    `depth` [m].

    `K^-1 H K = s (R + t n^T / depth)` with n along z: its first two columns are those of `s R`,
    which fixes s and R (by SVD), then t.
    """
    G = camera.K_inv.numpy() @ H @ camera.K.numpy()
    G = G * np.sign(np.linalg.det(G))
    across = np.cross(G[:, 0], G[:, 1])
    scale = math.sqrt(np.linalg.norm(across))
    U, _, Vt = np.linalg.svd(np.column_stack([G[:, :2] / scale, across / scale**2]))
    R = U @ Vt
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R.T, R.T @ (R[:, 2] - G[:, 2] / scale) * depth
    return T


def pose_of_matches(found: Matched, camera: Camera, depth: float) -> Float[np.ndarray, "4 4"]:
    """`T_goal_cam` of matches on a plane that faces the goal at `depth` [m].

    It has the least sum of their distances. It is more exact than the pose of the matches'
    homography, two of whose eight numbers fit the matches' errors alone.
    """
    rays, points = (
        torch.from_numpy(np.column_stack([px, np.ones(len(px))])) @ camera.K_inv.mT
        for px in (found.cam_px, found.goal_px)
    )
    T_plane_cam, _ = pnp.pose_from_plane_points(
        rays, depth * points[None, :, :2], torch.ones(1, len(points), dtype=torch.float64)
    )
    T_plane_cam[0, 2, 3] += depth
    return T_plane_cam[0].numpy()


def rotation(
    goal: Float[np.ndarray, "n 2"], seen: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "3 3"]:
    """R of `T_goal_cam` that explains matches at normalised x, y best without a translation.

    It is that of Kabsch (1976), with weights by which large errors count in proportion only.
    """
    a, b = (np.column_stack([xy, np.ones(len(xy))]) for xy in (goal, seen))
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b))
    weight = np.ones(len(a))
    for _ in range(3):
        U, _, Vt = np.linalg.svd((weight[:, None] * a).T @ b)
        R = U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt
        error = np.linalg.norm(a - b @ R.T, axis=1)
        weight = 1 / np.maximum(error, max(np.median(error), 1e-9))
    return R
