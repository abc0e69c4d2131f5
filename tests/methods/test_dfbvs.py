"""DFBVS: detectors with one interface, matches that one pose explains, and image-based servoing on
them.
"""

import numpy as np
import pytest
import torch
from conftest import noise_texture
from scipy.ndimage import gaussian_filter

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import detectors
from deepservo.geometry import interaction, se3
from deepservo.loop import servo
from deepservo.methods.dfbvs import MIN_MATCHES, KeypointServo, even_light, tracked_px
from deepservo.nets.keypoint import KeypointNet
from deepservo.scene import PlanarScene, sampling
from deepservo.worlds.simulator import Simulator

CAMERA = Camera(160, 120, 200.0, 200.0, 78.0, 61.0)
SCENE = PlanarScene(noise_texture(4), width=0.8)
GOAL_POSE = sampling.fronto_parallel(0.6)


def seen(Ts: torch.Tensor) -> torch.Tensor:
    return SCENE.render(CAMERA, Ts)


def away(*twist: float) -> torch.Tensor:
    return GOAL_POSE @ se3.exp(torch.tensor([twist], dtype=torch.float64))


@pytest.mark.parametrize(
    ("detector", "end_m"), [(detectors.sift, 3e-3), (detectors.orb, 2e-2)], ids=["sift", "orb"]
)
def test_it_converges(detector, end_m):
    """ORB places keypoints to whole pixels of its pyramid."""
    starts = torch.cat(
        [away(0.06, -0.05, 0.04, 0.05, -0.08, 0.3), away(-0.04, 0.03, -0.06, -0.1, 0.05, -0.2)]
    )
    controller = KeypointServo(CAMERA, detector, 0.6)
    controller.set_goal(seen(GOAL_POSE))
    end = servo(
        Simulator(SCENE, CAMERA, starts), controller, seen(GOAL_POSE), max_steps=120
    ).Ts_world_cam[-1]
    metres, radians = se3.distance(end, GOAL_POSE)
    assert metres.max() < end_m and radians.max() < end_m / 0.3
    assert controller.words(2)[0].endswith("px off")


def exact_matches(T: torch.Tensor, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 points of a goal and their depths by a map, and where the camera at T sees them."""
    px = np.random.default_rng(0).uniform([0, 0], [159, 119], (40, 2))
    u, v = px.round().astype(int).T
    points = np.column_stack([px, np.ones(40)]) @ CAMERA.K_inv.numpy().T * Z[v, u][:, None]
    T_cam_goal = torch.linalg.inv(torch.linalg.inv(GOAL_POSE) @ T)[0]
    moved = torch.from_numpy(points) @ T_cam_goal[:3, :3].T + T_cam_goal[:3, 3]
    return px, Z[v, u], CAMERA.project(moved).numpy()


def answering(*px: np.ndarray) -> detectors.Detector:
    """A detector that answers these points one after the other, each with its own descriptor."""
    answers = iter(px)
    return lambda image: (next(answers), np.eye(40, dtype=np.float32))


def test_the_law_is_equation_4():
    """With exact matches `v = -gain L*^+ (s - s*)`, L* of the target's places and depths, by
    NumPy's pseudo-inverse.
    """
    T = away(0.02, 0.01, -0.03, 0.02, 0.01, 0.1)
    depth = np.random.default_rng(1).uniform(0.4, 0.8, (120, 160))
    px, Z, moved = exact_matches(T, depth)
    controller = KeypointServo(CAMERA, answering(px, moved), depth)
    controller.set_goal(seen(GOAL_POSE))
    v = controller.velocity(seen(T))[0]
    s, s_goal = ((torch.from_numpy(p) - torch.tensor([78.0, 61.0])) / 200.0 for p in (moved, px))
    L = interaction.point(s_goal[:, 0], s_goal[:, 1], torch.from_numpy(Z)).flatten(0, 1)
    assert torch.allclose(
        v,
        torch.from_numpy(-0.1 * np.linalg.pinv(L.numpy()) @ (s - s_goal).flatten().numpy()),
        atol=1e-9,
    )


def test_wrong_matches_are_rejected():
    """Half of the matches are wrong: those that one pose explains are kept."""
    T, g = away(0.05, -0.03, 0.04, 0.05, 0.05, 0.2), np.random.default_rng(1)
    depth = g.uniform(0.4, 0.8, (120, 160))
    px, _, moved = exact_matches(T, depth)
    moved[20:] = g.uniform([0, 0], [159, 119], (20, 2))
    controller = KeypointServo(CAMERA, answering(px, moved), depth)
    controller.set_goal(seen(GOAL_POSE))
    controller.velocity(seen(T))
    agree = controller.state["matched"][0]
    assert agree[:20].all() and agree.sum() <= 23


def test_clutter_beside_the_object_does_not_matter():
    """The object fills only the middle, and the view shows something else around it."""
    depth = np.full((120, 160), np.inf)
    depth[25:95, 35:125] = 0.6
    other = PlanarScene(noise_texture(9), width=0.8).render(CAMERA, GOAL_POSE)[0]
    controller = KeypointServo(CAMERA, detectors.sift, depth)
    controller.set_goal(seen(GOAL_POSE))
    assert all(
        (px[:, 0] >= 35).all() and (px[:, 0] <= 125).all() for px in [controller.targets[0].px]
    )
    T = away(0.01, 0.01, 0.0, 0.0, 0.0, 0.02)
    view = torch.where(torch.from_numpy(np.isfinite(depth)), seen(T)[0], other)[None]
    plain = KeypointServo(CAMERA, detectors.sift, 0.6)
    plain.set_goal(seen(GOAL_POSE))
    assert (controller.velocity(view) - plain.velocity(seen(T))).abs().max() < 2e-3


def test_near_the_goal_matches_are_tracked():
    controller = KeypointServo(CAMERA, detectors.sift, 0.6)
    controller.set_goal(seen(GOAL_POSE))
    before = None
    for k in range(6):
        controller.velocity(seen(away(0.004 * 0.8**k, 0.0, 0.0, 0.0, 0.0, 0.0)))
        matched = controller.state["matched"][0]
        assert controller.state["tracking"][0]
        assert before is None or not (matched & ~before).any()
        before = matched


def test_without_matches_the_velocity_is_zero_and_the_reason_is_given():
    controller = KeypointServo(CAMERA, detectors.sift, 0.6)
    controller.set_goal(seen(GOAL_POSE))
    v = controller.velocity(PlanarScene(noise_texture(11)).render(CAMERA, GOAL_POSE))
    assert not v.any() and f"of the {MIN_MATCHES} needed" in controller.words(1)[0]


def test_a_target_without_points_or_depth_is_refused():
    blank = KeypointServo(CAMERA, detectors.sift, 0.6)
    with pytest.raises(InputError, match="0 keypoints on the object"):
        blank.set_goal(torch.full((1, 1, 120, 160), 0.5))
    with pytest.raises(InputError, match="is known nowhere"):
        KeypointServo(CAMERA, detectors.sift, np.full((120, 160), np.inf))
    with pytest.raises(InputError, match="160 x 120"):
        KeypointServo(CAMERA, detectors.sift, np.ones((60, 60)))


def test_a_learned_detector_keeps_the_highest_scores_inside_the_picture():
    px, descriptors = detectors.Learned(KeypointNet(4, 16), 50)(torch.rand(61, 83))
    assert px.shape == (50, 2) and descriptors.shape == (50, 16)
    assert (px >= 0).all() and (px <= [82, 60]).all()


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray, np.ndarray.tolist])
def test_a_detector_of_the_users_own_may_answer_tensors_arrays_or_lists(kind):
    g = np.random.default_rng(0)
    answer = {"keypoints": kind(50 * g.random((9, 2))), "descriptors": kind(g.random((9, 64)))}
    px, descriptors = detectors.external(lambda image: answer)(torch.rand(60, 80))
    assert np.allclose(px, np.asarray(answer["keypoints"])) and np.allclose(
        descriptors, np.asarray(answer["descriptors"])
    )


def test_a_picture_is_normalised_by_the_mean_and_contrast_about_each_pixel():
    """Over a Gaussian of six pixels. A contrast under 0.02 is not amplified, so that noise
    is not.
    """
    picture = seen(GOAL_POSE)[0, 0].numpy() * np.linspace(0.3, 1.0, 160, dtype=np.float32)
    mean, square = (
        gaussian_filter(each.astype(float), 6.0, mode="mirror", truncate=4)
        for each in (picture, picture**2)
    )
    slowly = 128 + 42 * (picture - mean) / np.sqrt(np.maximum(square - mean**2, 0) + 0.02**2)
    inner = (slice(30, 90), slice(30, 130))
    assert np.abs(even_light(picture)[inner].astype(float) - slowly.clip(0, 255)[inner]).max() < 1.5
    faint = even_light(
        (0.5 + 0.001 * np.random.default_rng(0).standard_normal((120, 160))).astype(np.float32)
    )
    assert faint.std() < 4


def test_a_detector_of_the_users_own():
    """As the extractors of XFeat and LightGlue answer: tensors with a leading axis of one, in any
    order.
    """
    g = torch.Generator().manual_seed(0)
    answer = {
        "keypoints": 50 * torch.rand(1, 9, 2, generator=g),
        "descriptors": torch.rand(1, 9, 64, generator=g),
        "scores": torch.arange(9.0)[None],
    }
    px, descriptors = detectors.external(lambda image: answer, max_points=4)(torch.rand(60, 80))
    assert np.allclose(px, answer["keypoints"][0, [8, 7, 6, 5]]) and np.allclose(
        descriptors, answer["descriptors"][0, [8, 7, 6, 5]]
    )
    with pytest.raises(InputError, match="lacks 'descriptors'"):
        detectors.external(lambda image: {"keypoints": answer["keypoints"]})(torch.rand(60, 80))
    for wrong in ((9, 3), (9,), (2, 9, 2)):
        with pytest.raises(InputError, match=r"give \(n, 2\) and \(n, d\)"):
            detectors.external(
                lambda image, wrong=wrong: answer | {"keypoints": torch.zeros(wrong)}
            )(torch.rand(60, 80))
    with pytest.raises(InputError, match=r"shape \(9, 2\) and descriptors of shape \(8, 64\)"):
        detectors.external(lambda image: answer | {"descriptors": answer["descriptors"][:, 1:]})(
            torch.rand(60, 80)
        )


def test_a_tracked_match_is_put_where_the_view_looks_as_the_goal_does():
    """From one or two pixels off to a tenth of a pixel, under a lamp that the goal did not have."""
    T = away(0.004, -0.003, 0.002, 0.0, 0.0, 0.01)
    goal, view = seen(GOAL_POSE)[0, 0].numpy(), seen(T)[0, 0].numpy()
    g = np.random.default_rng(2)
    px = g.uniform([30, 30], [130, 90], (60, 2))
    points = np.column_stack([px, np.ones(60)]) @ CAMERA.K_inv.numpy().T * 0.6
    T_cam_goal = torch.linalg.inv(torch.linalg.inv(GOAL_POSE) @ T)[0]
    right = CAMERA.project(
        (torch.from_numpy(np.column_stack([points, np.ones(60)])) @ T_cam_goal.T)[:, :3]
    ).numpy()
    lamp = np.linspace(0.5, 1.0, 160)[None] * view + 0.05
    found, good = tracked_px(
        even_light(goal),
        even_light(lamp.astype(np.float32)),
        px,
        right + g.uniform(-1.2, 1.2, (60, 2)),
    )
    assert good.mean() > 0.9 and np.median(np.linalg.norm(found - right, axis=1)[good]) < 0.1
