"""The pose of one run's camera from its matches, by whatever is known of the goal's depth."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

from deepservo.camera import Camera
from deepservo.features import two_views
from deepservo.features.goal_depth import GoalDepth
from deepservo.features.structure import Structure, View, resection
from deepservo.features.two_views import Candidates, Matched

# px: where the matches' median error by a plane that faces the camera is larger, the scene is none
FACING_ERROR = 3.0

PlanePose = Callable[[Matched], Float[torch.Tensor, "4 4"]]
"""`T_goal_cam` of matches of a plane that faces the goal's camera at the known distance."""


class MatchPose:
    """Explains the matches of one run, and finds its poses.

    Where the goal's map of depth is known, one pose explains the matches. Else a plane does, which
    faces the goal's camera at the depth given, or a solid, whose `Structure` is estimated from the
    camera's own motion; once it is, it serves to the end of the run. So it is where no depth is
    given, for its scale. n: of the goal's points. goal: its number among those of `depth`.
    """

    def __init__(
        self, camera: Camera, depth: GoalDepth, goal: int, n: int, plane_pose: PlanePose
    ) -> None:
        self.camera, self.n, self.plane_pose = camera, n, plane_pose
        self.number, self.known_number = depth.number, depth.metres is not None
        several = depth.Z is not None and len(depth.Z) > 1
        self.Z = None if depth.Z is None else depth.Z[goal if several else 0].numpy()
        self.structure: Structure | None = None

    def explain(self, candidates: Candidates, max_error: float, min_inliers: int) -> Matched | None:
        """The matches that agree; see `two_views.Explain`."""
        if self.Z is not None:
            return two_views.posed(candidates, self.camera, self.Z, max_error, min_inliers)
        return two_views.plane_or_solid(candidates, self.camera, max_error, min_inliers)

    def pose(
        self, found: Matched, T_start_cam: Float[np.ndarray, "4 4"]
    ) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, " n"]]:
        """`T_goal_cam`, and the inverse depths of the matches' points in the goal [1/m].

        T_start_cam: the camera's motion since its start.
        """
        view = View(
            T_start_cam,
            found.index,
            two_views.normalised(found.goal_px, self.camera),
            two_views.normalised(found.cam_px, self.camera),
        )
        focal = self.camera.fx
        if self.Z is not None:
            rho, T = 1 / two_views.depth_at(self.Z, found.goal_px), found.T_goal_cam
            assert T is not None
            return resection(view, rho, np.zeros(len(rho)), T, focal), rho
        guesses = []
        if found.H is not None:
            guesses = [self.plane_pose(found).numpy()]
            rho = np.full(len(found.index), 1 / self.number)
            plane = found.T_goal_cam is None and self._error(guesses[0], rho, found) < FACING_ERROR
            if self.structure is None and plane and self.known_number:
                return guesses[0], rho
        if found.T_goal_cam is not None:
            guesses.append(self._scaled(found, view))
        if self.structure is None:
            self.structure = Structure(self.n, focal, 1 / self.number)
        T = self.structure.see(view, guesses)
        return T, self.structure.rho[found.index]

    def inverse_depth(self) -> Float[torch.Tensor, "h w"] | None:
        """1 / Z [1/m] of the goal's pixels, between its points; None without a structure."""
        return None if self.structure is None else self.structure.dense(self.camera)

    def _scaled(self, found: Matched, view: View) -> Float[np.ndarray, "4 4"]:
        """A pose known up to scale, with that by which the points' median depth is the number."""
        assert found.T_goal_cam is not None
        T = found.T_goal_cam.copy()
        T_cam_goal = np.linalg.inv(T)
        ray = np.column_stack([view.seen, np.ones(len(view.seen))])
        m = np.column_stack([view.goal, np.ones(len(view.goal))])
        a, b = np.cross(m @ T_cam_goal[:3, :3].T, ray), np.cross(T_cam_goal[:3, 3], ray)
        rho = -(a * b).sum(1) / np.maximum((b * b).sum(1), 1e-12)
        T[:3, 3] *= max(float(np.median(rho)), 1e-6) * self.number
        return T

    def _error(self, T_goal_cam: np.ndarray, rho: Float[np.ndarray, " n"], found: Matched) -> float:
        """Median distance of the matches from their places by a pose [px]."""
        T = np.linalg.inv(T_goal_cam)
        m = (
            np.column_stack([found.goal_px, np.ones(len(found.goal_px))])
            @ self.camera.K_inv.numpy().T
        )
        at = (m @ T[:3, :3].T + rho[:, None] * T[:3, 3]) @ self.camera.K.numpy().T
        return float(np.median(np.linalg.norm(at[:, :2] / at[:, 2:] - found.cam_px, axis=1)))
