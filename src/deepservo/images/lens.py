"""OpenCV's polynomial lens model, and whether its polynomial folds back within the picture."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from deepservo.camera import Camera

RAYS, STEPS = 32, 256  # rays to each side of the picture, and points of a ray, that are checked


def bent(
    xy: Float[np.ndarray, "n 2"], distortion: tuple[float, ...]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Distorted normalised coordinates of undistorted ones `xy`, and the map's determinant.

    The determinant is that of the map's Jacobian.
    """
    origin, points = np.zeros(3), np.column_stack([xy, np.ones(len(xy))])
    found, J = cv2.projectPoints(points, origin, origin, np.eye(3), np.array(distortion))
    by_x, by_y = J[:, 3], J[:, 4]  # moving a point at Z = 1 moves its normalised coordinates alike
    return found[:, 0], by_x[0::2] * by_y[1::2] - by_x[1::2] * by_y[0::2]


@np.errstate(all="ignore")  # infinities of a pole are found below as not finite
def fold(camera: Camera, distortion: tuple[float, ...]) -> float | None:
    """The normalised radius at which the lens's polynomial folds back; None where it does not.

    From there on the undistorted picture would show places a second time. Along each ray from the
    principal point, the map from undistorted to distorted coordinates is followed until it folds,
    where its Jacobian's determinant is no longer positive. Points farther out are wrong where they
    map into the distorted picture; where they map beside it, the undistorted picture is empty and
    nothing is wrong. Points that map to infinity or behind the principal point are at or beyond a
    pole of the rational model, and are always wrong.
    """
    if not any(distortion):
        return None
    w, h = camera.width, camera.height
    along, near, far = np.linspace(-0.5, 0.5, RAYS), np.full(RAYS, -0.5), np.full(RAYS, 0.5)
    sides = [
        np.column_stack(pair) for pair in ((along, near), (far, along), (along, far), (near, along))
    ]
    ends = (
        np.concatenate(sides) * (w, h) + ((w - 1) / 2, (h - 1) / 2) - (camera.cx, camera.cy)
    ) / (camera.fx, camera.fy)
    xy = ends[:, None] * np.linspace(0, 1, STEPS + 1)[1:, None]
    seen, determinant = bent(xy.reshape(-1, 2), distortion)
    seen = seen.reshape(xy.shape)
    past_pole = ~((seen * xy).sum(-1) > 0) | ~np.isfinite(seen).all(-1)
    folded = np.logical_or.accumulate(~(determinant.reshape(xy.shape[:2]) > 0) | past_pole, 1)
    wrong = _within(xy, camera) & (past_pole | folded & _within(seen, camera))
    if not wrong.any():
        return None
    ray = wrong.any(1)
    first = folded[ray].argmax(1)
    return float(np.linalg.norm(xy[ray, first], axis=-1).min())


def _within(xy: Float[np.ndarray, "r s 2"], camera: Camera) -> Bool[np.ndarray, "r s"]:
    """Whether normalised coordinates are in the camera's picture."""
    px = xy * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return np.all((px >= -0.5) & (px <= np.array([camera.width, camera.height]) - 0.5), axis=-1)
