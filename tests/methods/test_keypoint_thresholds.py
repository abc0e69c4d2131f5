"""Thresholds of keypoints and edges: just within one counts, just beyond it does not."""

import numpy as np
import pytest
import torch
from conftest import noise_texture

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import detectors, edges, keypoints
from deepservo.features.edges import Edges, Slopes, edge_points
from deepservo.features.two_views import Candidates, Matched, homography
from deepservo.methods.dfbvs import KeypointServo, inside_outline
from deepservo.methods.keypoint import HomographyServo
from deepservo.methods.particle import ParticleServo
from deepservo.nets.keypoint import Found, KeypointNet
from deepservo.scene import PlanarScene, sampling

CAMERA = Camera(160, 120, 200.0, 200.0, 78.0, 61.0)
GOAL_POSE = sampling.fronto_parallel(0.6)


def spread(n: int) -> np.ndarray:
    """(n, 2) pixels over the whole picture, no three on a line."""
    return np.random.default_rng(3).uniform([5, 5], [150, 110], (n, 2))


# Keypoints.


@pytest.mark.parametrize(("agree", "believed"), [(7, False), (8, True), (9, True)])
def test_a_homography_is_accepted_with_eight_matches_that_agree(agree, believed):
    px = spread(agree + 6)
    there = 1.1 * px + [3.0, -2.0]
    there[agree:] += (
        np.random.default_rng(0).choice([-40.0, 40.0], (6, 2)) * np.linspace(0.6, 1.4, 6)[:, None]
    )
    found = homography(Candidates.of(px, there))
    assert (found is not None) == believed
    assert found is None or np.array_equal(found.goal_px, px[:agree])


@pytest.mark.parametrize(
    ("matches", "off", "says"), [(25, 0.9, 1), (24, 0.9, 0), (40, 1.1, 0), (40, 0.0, 1)]
)
def test_sift_confirms_a_pose_where_25_matches_are_off_by_less_than_a_pixel(
    matches, off, says, monkeypatch
):
    servo, px = HomographyServo(CAMERA), spread(matches)
    servo.set_goal(PlanarScene(noise_texture(4)).render(CAMERA, GOAL_POSE))
    found = Matched(px, np.add(px, [off, 0.0]), np.arange(len(px)), H=np.eye(3))
    at_goal = torch.eye(4, dtype=torch.float64), torch.full((matches,), 1 / 0.6).double()
    monkeypatch.setattr(servo, "_match", lambda image: [found])
    monkeypatch.setattr(servo, "_pose", lambda i, found: at_goal)
    servo.velocity(torch.zeros(1, 1, 120, 160))
    assert servo.pose_consistency(
        torch.eye(4, dtype=torch.float64)[None], torch.tensor([0])
    ).tolist() == [says]


@pytest.mark.parametrize(("off", "says"), [(0.9, 1), (1.1, -1)])
def test_a_pose_is_consistent_that_has_the_matches_within_a_pixel(off, says):
    servo = HomographyServo(CAMERA)
    px = torch.from_numpy(spread(32))
    servo.state = {"kept": torch.cat([px, px, torch.full((32, 1), 1 / 0.6).double()], 1)[None]}
    aside = torch.eye(4, dtype=torch.float64)[None].clone()
    aside[:, 0, 3] = off * 0.6 / 200
    assert servo.pose_consistency(aside, torch.tensor([0])).tolist() == [says]


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_keypoints_are_found_up_to_four_pixels_from_what_is_unseen(detector):
    image = PlanarScene(noise_texture(4)).render(CAMERA, GOAL_POSE)[0, 0].clone()
    image[:, 100:] = torch.nan
    points, descriptors = keypoints.detect(image, detector)
    assert len(points) == len(descriptors) > 20
    assert 93 < points[:, 0].max() < 96


def test_of_a_networks_points_those_on_the_picture_are_kept_by_score():
    """A point is on the picture between the centres of the first and the last pixel. The picture
    was padded to whole cells.
    """
    px = torch.tensor(
        [
            [0.0, 0.0],
            [82.0, 60.0],
            [82.5, 30.0],
            [30.0, 60.5],
            [-0.1, 5.0],
            [5.0, -0.1],
            [40.0, 59.5],
            [81.5, 20.0],
        ]
    )
    scores = torch.tensor([0.1, 0.9, 1.0, 1.0, 1.0, 1.0, 0.5, 0.7])
    learned = detectors.Learned(KeypointNet(4, 16), 10)
    learned.net = lambda padded: Found(
        scores[None], px[None], torch.rand(1, 8, padded.shape[2] // 4, padded.shape[3] // 4)
    )
    assert learned(torch.rand(61, 83))[0].tolist() == px[[1, 7, 6, 0]].tolist()
    learned.max_points = 2
    assert learned(torch.rand(61, 83))[0].tolist() == px[[1, 7]].tolist()


def test_particles_are_drawn_by_their_weights():
    """By `exp(-20 SSD / variance)`, evenly: each as often as its share of the two hundred. The
    first is the best.
    """
    servo, cost = ParticleServo(CAMERA), torch.linspace(0.4, 0.0, 50).repeat(4)
    goal = PlanarScene(noise_texture(4)).render(CAMERA, GOAL_POSE)
    servo.set_goal(goal)
    servo.velocity(goal)
    Ts = torch.eye(4, dtype=torch.float64).repeat(1, 200, 1, 1)
    Ts[0, :, 0, 3] = torch.arange(50.0).repeat(4)
    servo.state["Ts_goal_cam"], servo.step = Ts, 0
    servo._spread, servo._cost = (
        lambda share: torch.eye(4, dtype=torch.float64),
        lambda image, Ts, goal: cost,
    )
    v_cam = servo._filter(goal, torch.tensor([0]))
    drawn = servo.state["Ts_goal_cam"][0, :, 0, 3]
    counts = torch.bincount(drawn.long(), minlength=50)
    assert drawn[0] == 49 and counts.sum() == 200
    assert (counts - 200 * torch.softmax(-20 * cost[:50].double(), 0)).abs().max() <= 4.01, (
        "equally often for each of the four"
    )
    torch.testing.assert_close(v_cam[0, 0], torch.tensor(-0.1 * 49, dtype=torch.float64))


class Answers:
    """A detector that answers these points one after the other, each with a descriptor of
    its own.
    """

    def __init__(self, *px: np.ndarray) -> None:
        self.answers = iter(px)

    def __call__(self, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        px = next(self.answers)
        return px, np.eye(len(px), 64, dtype=np.float32)


@pytest.mark.parametrize(("off", "tracks"), [(3.9, True), (4.1, False)])
def test_matches_are_tracked_from_under_four_pixels_of_error(off, tracks):
    px = spread(20)
    controller = KeypointServo(CAMERA, Answers(px, np.add(px, [off, 0.0])), 0.6)
    controller.set_goal(torch.full((1, 1, 120, 160), 0.5))
    controller.velocity(torch.full((1, 1, 120, 160), 0.5))
    assert controller.state["tracking"].tolist() == [tracks] and controller.state[
        "error_px"
    ].item() == pytest.approx(off)


@pytest.mark.parametrize(("n", "steers"), [(7, None), (8, True)])
def test_eight_points_are_enough(n, steers):
    px = spread(n)
    controller = KeypointServo(CAMERA, Answers(px, np.add(px, [9.0, 0.0])), 0.6)
    controller.looks = False  # the picture stands for others
    goal = torch.full((1, 1, 120, 160), 0.5)
    if steers is None:
        with pytest.raises(InputError, match="7 keypoints on the object, and 8 are needed"):
            controller.set_goal(goal)
    else:
        controller.set_goal(goal)
        assert controller.velocity(goal).any()
        controller.detector = Answers(np.add(px[: n - 1], [9.0, 0.0]))
        assert (
            not controller.velocity(goal).any()
            and "7 matches agree of the 8 needed" in controller.words(1)[0]
        )


def test_points_as_near_as_two_pixels_to_the_outline_are_not_on_the_object():
    depth = np.full((120, 160), np.inf)
    depth[20:100, 30:130] = 0.5
    on = inside_outline(depth)
    rows, columns = on.any(1).nonzero()[0], on.any(0).nonzero()[0]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (22, 97, 32, 127)
    assert inside_outline(np.full((120, 160), 0.5)).all(), (
        "the picture's border is no edge of the object"
    )


# Edges.


def grating() -> np.ndarray:
    """Edges everywhere, also at the border."""
    y, x = np.mgrid[:120, :160]
    return 0.5 + 0.3 * np.sin(x / 3.0) * np.cos(y / 3.5)


def test_edges_are_looked_for_up_to_the_border_that_the_gradient_window_needs():
    px, _ = edge_points(Slopes.of(grating()), np.ones((120, 160), bool))
    low, high = px.min(0), np.array([159, 119]) - px.max(0)
    assert (low > 3).all() and (high > 3).all() and (low < 7).all() and (high < 7).all()


@pytest.mark.parametrize(
    ("inside", "off", "share"), [(51, 0.9, 1.0), (49, 0.0, 0.0), (60, 1.1, 0.0), (100, 0.0, 1.0)]
)
def test_half_of_the_edges_must_be_in_view_and_are_in_their_places_within_a_pixel(
    inside, off, share, monkeypatch
):
    found = Edges(CAMERA, grating(), np.full((120, 160), 0.5))
    px, n = np.full((100, 2), 60.0), np.tile([1.0, 0.0], (100, 1))
    px[inside:, 0] = 159 - 4 + 0.5
    monkeypatch.setattr(found, "seen_from", lambda T: (px, np.ones(100), n))
    monkeypatch.setattr(
        edges,
        "nearest_edges",
        lambda view, px, n, reach: (np.full(len(px), off), np.ones(len(px), bool), None),
    )
    assert found.agreement(Slopes.of(grating()), np.eye(4)) == share


def test_an_edge_counts_for_a_quarter_at_twice_the_robust_deviation():
    """The deviation is that of the edges found, and at least a twentieth of a pixel."""
    d, found = (
        np.array([0.1, -0.2, 0.3, -0.4, 2 * 1.4826 * 0.2, 50.0]),
        np.array([True] * 3 + [False] + [False] * 2),
    )
    assert edges._robust(d, found)[4] == pytest.approx(0.25)
    assert edges._robust(np.array([0.0, 0.0, 0.1]), np.ones(3, bool)) == pytest.approx(
        [1.0, 1.0, 0.25]
    )
