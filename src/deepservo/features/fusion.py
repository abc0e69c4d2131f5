"""The pose of a camera from its last picture and those before, along its known motion.

A pose that was believed, moved by the camera's motion, is as sure as the pictures behind it; the
last picture's own is another guess. Weighted by their covariances (Kalman 1960) they are

    d = log(T predicted^-1),   K = P (P + R)^-1,   T' = exp(K d) predicted,   P' = (1 - K) P

R and P are of what pictures do not have in common. They share the goal's picture, and the model's
errors: COMMON of each covariance does not shrink with more pictures.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3

COMMON = 0.5
FORGOTTEN = 0.02  # of R that P grows by from picture to picture: what was seen long ago has no say
MOTION_ERROR = 0.1  # share of the camera's motion that may not have been done
# Where the last picture is as many deviations from the belief, squared, it alone is believed.
SURPRISE = 40.0


class Fused(NamedTuple):
    """Of R runs: the pose, the covariance of its error, and P, NaN where no picture was used."""

    T_goal_cam: Float[Tensor, "r 4 4"]
    covariance: Float[Tensor, "r 6 6"]
    own: Float[Tensor, "r 6 6"]


def fuse(
    predicted: Float[Tensor, "r 4 4"],
    own: Float[Tensor, "r 6 6"],
    motion: Float[Tensor, "r 4 4"],
    T_goal_cam: Float[Tensor, "r 4 4"],
    covariance: Float[Tensor, "r 6 6"],
) -> Fused:
    """The pose of the last picture, `T_goal_cam` with its covariance, and the one `predicted`.

    own: P of the pictures before. motion: of the cameras since the last of them.
    """
    known = covariance.isfinite().all((1, 2))
    both = (known & own.isfinite().all((1, 2)))[:, None, None]
    one = torch.eye(6, dtype=torch.float64).expand_as(own)
    R = ((1 - COMMON) * covariance).where(known[:, None, None], torch.nan)
    done = MOTION_ERROR * se3.log(motion)
    P = own + FORGOTTEN * R + torch.diag_embed(done.square())
    P, noise = P.where(both, one), R.where(both, one)
    d = se3.log(T_goal_cam @ se3.inverse(predicted))
    whitened = torch.linalg.solve(P + noise, torch.cat([P, d[..., None]], 2))
    K, way = whitened[..., :6].mT, whitened[..., 6]
    both &= ((d * way).sum(1) < SURPRISE)[:, None, None]
    T = se3.exp((K @ d[..., None])[..., 0]) @ predicted
    own = ((one - K) @ P).where(both, R)
    return Fused(T.where(both, T_goal_cam), own + COMMON * covariance, own)
