"""Poses from matches that were found beside the loop, of a picture before the last one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from deepservo.features import two_views
from deepservo.features.match_pose import MatchPose, Measured
from deepservo.features.two_views import MAX_TELLING_ERROR, Candidates, Matched


class LatePose(MatchPose):
    """A MatchPose that can go back to an earlier picture.

    Exact matches that no plane explains are `unexplained`, where a solid may: whether one does
    takes long, and is not looked for here.
    """

    unexplained: Candidates | None = None
    told: tuple[Matched, Measured] | None = None  # the last ones, and their pose

    def move_to(self, T_start_cam: Float[np.ndarray, "4 4"]) -> None:
        """The camera has moved so far since its start, and sees the next picture."""
        super().move_to(T_start_cam)
        self.unexplained = None

    @contextmanager
    def at(self, T_start_cam: Float[np.ndarray, "4 4"]) -> Iterator[None]:
        """In this context matches are of the picture that was taken there."""
        now, self.T_start_cam = self.T_start_cam, T_start_cam
        unexplained = self.unexplained
        try:
            yield
        finally:
            self.T_start_cam, self.unexplained = now, unexplained
            if self.measured is not None:
                since = np.linalg.inv(T_start_cam) @ now
                self.measured = replace(self.measured, since=since)

    def pose(self, found: Matched) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, " n"]]:
        """As of a MatchPose. Matches that are told twice are no second view."""
        if self.told is not None and self.told[0] is found:
            self.measured = self.told[1]
            return self.measured.T_goal_cam, self.measured.rho
        T, rho = super().pose(found)
        assert self.measured is not None
        self.told = found, self.measured
        return T, rho

    def _plane_or_solid(
        self, candidates: Candidates, max_error: float, min_inliers: int
    ) -> Matched | None:
        exact = max_error <= MAX_TELLING_ERROR
        found = two_views.plane_or_solid(
            candidates, self.camera, max_error, min_inliers, always=False
        )
        if found is not None:
            self.looked(found)
        elif exact and self.waits == 0:
            self.unexplained = candidates
        elif exact:
            self.waits -= 1
        return found
