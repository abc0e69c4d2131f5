"""A method of your own that looks at one picture at a time, in NumPy and OpenCV. Measure it, alone
and refined on grey levels:

    deepservo bench --methods examples/03_one_picture_at_a_time.py:Homography \\
        --sets screw --scenes coffee --n 20
    deepservo bench --methods examples/03_one_picture_at_a_time.py:Homography+dvs \\
        --sets screw --scenes coffee --n 20

This one matches SIFT keypoints, decomposes the homography of the matches, and drives towards the
pose that it gives.
"""

import cv2
import numpy as np

from deepservo import Camera, SingleController


class Homography(SingleController):
    """Pose-based servoing on a plane that the goal's camera faces, `depth` metres before it."""

    def __init__(self, camera: Camera, depth: float = 0.6) -> None:
        super().__init__(camera)
        self.K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        self.depth = depth

    def start(self, goal: np.ndarray) -> None:
        """A run begins with its goal, (h, w) in [0, 1]. Each run has a copy of `self`."""
        self.sift = cv2.SIFT_create(500)
        self.goal, self.v_cam = self._detect(goal), np.zeros(6)

    def step(self, image: np.ndarray) -> np.ndarray:
        """(vx, vy, vz, wx, wy, wz) [m/s, rad/s] in the camera's frame; half of the last one where
        too few keypoints match.
        """
        (px_goal, words_goal), (px, words) = self.goal, self._detect(image)
        matches = []
        if words is not None:
            matches = cv2.BFMatcher(crossCheck=True).match(words_goal, words)
        H = None
        if len(matches) >= 8:
            there = px_goal[[m.queryIdx for m in matches]]
            here = px[[m.trainIdx for m in matches]]
            H, _ = cv2.findHomography(there, here, cv2.USAC_MAGSAC, 2.0)
        if H is None:
            self.v_cam = self.v_cam / 2
            return self.v_cam
        _, Rs, ts, normals = cv2.decomposeHomographyMat(H, self.K)
        facing = int(np.argmax([normal[2, 0] for normal in normals]))  # the goal's camera
        turn = cv2.Rodrigues(Rs[facing])[0][:, 0]
        self.v_cam = self.gain * np.concatenate([self.depth * ts[facing][:, 0], turn])
        return self.v_cam

    def _detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        found, words = self.sift.detectAndCompute((255 * image).astype(np.uint8), None)
        return np.array([point.pt for point in found]), words
