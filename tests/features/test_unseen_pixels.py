"""Unseen pixels (NaN), which rectifying a lens's distortion leaves: no method takes them
for black.
"""

import pytest
import torch

from closed_loop import (
    CAMERA,
    END_MM,
    NAMES,
    STEPS,
    NearTruth,
    assert_converged,
    controller_of,
    has_poses,
    model_of,
    offset_from,
)
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features import keypoints, registration_step
from deepservo.features.pairs import Pairs, projections
from deepservo.features.registration import MIN_RESIDUAL_SCALE, Registration, fronto
from deepservo.features.unseen_pixels import completed, continued, has_unseen, reached
from deepservo.geometry import se3
from deepservo.images.camera_file import CalibratedCamera
from deepservo.images.pictures import as_images
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.cnn_vs import PoseServo
from deepservo.scene import sampling
from deepservo.worlds.simulator import Simulator

GOAL_POSE = sampling.fronto_parallel(0.6)
SLOW = {
    "cnn-pair": 0.02
}  # m/s and rad/s: other matches are left, and its cells are coarser than a pixel
BLIND = ("pbvs", "photometric")  # pbvs uses no picture; photometric does in its refinement


def without(images: torch.Tensor, where: str) -> torch.Tensor:
    """The pictures with a frame, a corner or a spot unseen."""
    images, h, w = images.clone(), images.shape[-2], images.shape[-1]
    places = {
        "frame": [(slice(0, h // 16), slice(None)), (slice(None), slice(-w // 12, None))],
        "corner": [(slice(0, h // 3), slice(0, w // 3))],
        "spot": [(slice(h // 2, h // 2 + 12), slice(w // 4, w // 4 + 20))],
    }
    for rows, columns in places[where]:
        images[..., rows, columns] = torch.nan
    return images


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name != "pbvs" and ("+dvs" not in name or name == "sift+dvs")],
)
def test_at_the_goals_pose_unseen_pixels_move_no_camera(name, scene):
    """They do not change the velocity, which is zero there but for untrained networks."""
    whole = scene.render(CAMERA, GOAL_POSE)
    controller = build(name, CAMERA, 0.6, model_of(name, scene))
    controller.set_goal(whole)
    v_whole = controller.velocity(whole)
    for goal, view in (
        (without(whole, "frame"), whole),
        (whole, without(whole, "spot")),
        (without(whole, "corner"), without(whole, "corner")),
    ):
        controller.set_goal(goal)
        v_cam = controller.velocity(view)
        assert torch.isfinite(v_cam).all() and (v_cam - v_whole).abs().max() < SLOW.get(
            name, 5e-4
        ), f"{v_cam} at the goal"


@pytest.mark.parametrize("name", ["cnn+dvs", "mlvs+dvs", "siamese-se3+dvs"])
def test_a_learned_scenes_goal_with_unseen_pixels_is_reached(name, scene):
    world, whole = (
        Simulator(scene, CAMERA, offset_from(GOAL_POSE, (0.06, 0.15))),
        scene.render(CAMERA, GOAL_POSE),
    )
    controller = controller_of(name, scene, world, GOAL_POSE)
    if isinstance(controller.coarse, PoseServo):
        controller.coarse.predict = NearTruth(world, GOAL_POSE)  # which predicts the goal once
    controller.set_goal(without(whole, "corner"))
    assert_converged(servo(world, controller, whole, 60), GOAL_POSE, 0.3)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in NAMES
        if n not in BLIND and not has_poses(n) and not n.startswith(("aevs", "cnn-pair"))
    ],
)
def test_a_goal_with_unseen_pixels_is_reached_as_exactly(name, scene):
    T_start = offset_from(GOAL_POSE, (0.015, 0.03))
    goal = without(scene.render(CAMERA, GOAL_POSE), "frame")
    controller = build(name, CAMERA, 0.6, model_of(name, scene))
    controller.set_goal(goal)
    trajectory = servo(Simulator(scene, CAMERA, T_start), controller, goal, STEPS.get(name, 60))
    assert_converged(trajectory, GOAL_POSE, END_MM.get(name, 0.3))
    assert torch.isfinite(trajectory.image_error[0]).all(), "over the seen pixels"


@pytest.mark.parametrize("name", ["dvs", "dct"])
def test_black_in_place_of_unseen_pixels_does_harm(name, scene):
    """This checks the other tests: black pixels in these places do harm."""
    ends = {}
    for how, value in (("unseen", torch.nan), ("black", 0.0)):
        goal = without(scene.render(CAMERA, GOAL_POSE), "corner").nan_to_num(value)
        controller = build(name, CAMERA, 0.6)
        controller.set_goal(goal)
        trajectory = servo(
            Simulator(scene, CAMERA, offset_from(GOAL_POSE, (0.015, 0.03))),
            controller,
            goal,
            STEPS.get(name, 60),
        )
        ends[how] = float(se3.distance(trajectory.Ts_world_cam[-1], GOAL_POSE)[0])
    assert ends["black"] > 2 * ends["unseen"], ends


def test_runs_with_unseen_pixels_are_their_own(scene):
    """One of the goals has unseen pixels, and runs end: the others keep their own goals."""
    T_goal = GOAL_POSE.repeat(3, 1, 1)
    T_goal[1, 0, 3] = 0.03
    goal = scene.render(CAMERA, T_goal)
    goal[1:2] = without(goal[1:2], "corner")
    T_start = offset_from(T_goal, (0.01, 0.02))
    T_start[0] = T_goal[0]
    for name in ("dvs", "dct", "auto"):
        controller = build(name, CAMERA, 0.6)
        controller.set_goal(goal)
        trajectory = servo(Simulator(scene, CAMERA, T_start), controller, goal, STEPS.get(name, 60))
        assert_converged(trajectory, T_goal, END_MM.get(name, 0.3))


def test_keypoints_are_not_found_where_nothing_is_seen(scene):
    picture = without(scene.render(CAMERA, GOAL_POSE), "corner")
    for px, _ in (
        keypoints.detect(picture[0, 0]),
        keypoints.detect(picture[0, 0], "orb"),
        keypoints.detect_fine(picture[0, 0]),
    ):
        u, v = px.round().astype(int).T
        assert len(px) > 50 and not picture[0, 0].isnan().numpy()[v, u].any()


@pytest.mark.parametrize("which", ["goal", "view", "both"])
@pytest.mark.parametrize("level", range(4))
def test_a_step_in_c_is_the_step_in_torch(which, level, scene, paper_camera):
    T = GOAL_POSE @ se3.exp(
        torch.tensor([[0.02, -0.01, 0.02, 0.03, -0.02, 0.05]], dtype=torch.float64)
    )
    goal, view = scene.render(paper_camera, GOAL_POSE), scene.render(paper_camera, T)
    goal = without(goal, "corner") if which != "view" else goal
    view = without(view, "spot") if which != "goal" else view
    found = Registration(paper_camera, goal, fronto(0.6))
    views, goals = found.views(view), found.levels[level]
    floor = MIN_RESIDUAL_SCALE[level] * goals.spread
    seen = projections(torch.eye(4, dtype=torch.float64)[None], goals, found.cameras[level])
    pairs = Pairs.of(
        views.levels[level], found.cameras[level], views.noise / 2**level, goals, floor
    )
    args = (pairs, seen, torch.zeros(1, 3, dtype=torch.float64), 2 * floor, None)
    fast, slow = registration_step.step(*args), registration_step.step_reference(*args)
    for name in ("gain_bias", "cost", "scale", "next_cost", "H", "g"):
        a, b = getattr(fast, name).double(), getattr(slow, name).double()
        assert torch.isfinite(a).all() and (a - b).abs().max() < 1e-2 * b.abs().max(), (
            f"{name}: {a} is not {b}"
        )


def test_registration_does_not_count_unseen_pixels(scene, paper_camera):
    whole, runs, T = (
        scene.render(paper_camera, GOAL_POSE),
        torch.zeros(1, dtype=torch.int64),
        torch.eye(4, dtype=torch.float64)[None],
    )
    clean = Registration(paper_camera, whole, fronto(0.6))
    all_of_it = clean.compare(clean.views(whole), T, runs).seen
    corner = (1 / 3 - 3 / 56) ** 2  # 1/9, less what is border
    for goal, view, hidden in (
        (whole, without(whole, "corner"), corner),
        (without(whole, "corner"), whole, 0.0),  # the view shows all that the goal does
    ):
        found = Registration(paper_camera, goal, fronto(0.6))
        compared = found.compare(found.views(view), T, runs)
        assert compared.agreement > 0.99
        assert 0.9 * corner < float(all_of_it - compared.seen) < 1.2 * corner
        assert abs(float(all_of_it - compared.in_common) - hidden) < 0.02


def test_unseen_pixels_are_continued_from_those_about_them():
    ramp = torch.linspace(0.2, 0.6, 40).expand(1, 1, 30, 40).clone()
    holes = without(ramp, "spot")
    found = continued(holes)
    assert (
        torch.equal(found[~holes.isnan()], ramp[~holes.isnan()])
        and (found - ramp).abs().max() < 0.06
    )
    assert continued(ramp) is ramp and not has_unseen(ramp) and has_unseen(holes)


def test_each_picture_is_completed_by_the_other(generator):
    image, goal = (torch.rand(2, 1, 24, 32, generator=generator) for _ in range(2))
    cut_image, cut_goal = without(image, "corner"), without(goal, "frame")
    full_image, full_goal = completed(cut_image, cut_goal[:1])
    for mine, its, other, full in (
        (image, cut_image, cut_goal[:1], full_image),
        (goal[:1], cut_goal[:1], cut_image, full_goal),
    ):
        seen = ~its.isnan()
        assert torch.equal(full[seen.expand_as(full)], mine.expand_as(full)[seen.expand_as(full)])
        from_other = ~seen & ~other.isnan()
        assert torch.equal(
            full[from_other.expand_as(full)], other.expand_as(full)[from_other.expand_as(full)]
        )
    neither = cut_image.isnan() & cut_goal[:1].isnan()
    assert (
        neither.any()
        and torch.equal(full_image[neither], full_goal[neither])
        and not has_unseen(full_image + full_goal)
    )


def test_reached_pixels_are_as_far_as_stated():
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4, 4] = torch.nan
    assert reached(image, 2).sum() == 25 and reached(image, 2)[0, 2:7, 2:7].all()


def test_undoing_distortion_marks_what_the_lens_did_not_see():
    camera = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)
    picture = torch.full((1, 120, 160), 0.5)
    pincushion = CalibratedCamera(camera, (0.3, 0.1, 0.0, 0.0)).rectify(picture, "the picture")
    assert (
        pincushion[0, 0, 0].isnan()
        and pincushion[0, -1, -1].isnan()
        and not pincushion[0, 40:80, 50:110].isnan().any()
    )
    assert (
        0.02 < pincushion.isnan().float().mean() < 0.4
        and (pincushion[~pincushion.isnan()] == 0.5).all()
    )
    barrel = CalibratedCamera(camera, (-0.2, 0.0, 0.0, 0.0)).rectify(picture, "the picture")
    assert not has_unseen(barrel), "a barrel lens sees more than an ideal one"


def test_a_picture_must_show_something(scene):
    whole = scene.render(CAMERA, GOAL_POSE)
    nearly_none = whole.clone()
    nearly_none[..., : round(0.8 * CAMERA.height), :] = torch.nan
    with pytest.raises(InputError, match="20 % show something where at least 25 % must"):
        as_images(nearly_none, CAMERA, "the goal picture")
    with pytest.raises(InputError, match=r"values must lie in \[0, 1\]"):
        as_images(without(whole, "spot") * 3, CAMERA, "the goal picture")
    colours = whole.expand(1, 3, -1, -1).clone()
    colours[:, 1] = without(colours[:, 1], "spot")
    assert as_images(colours, CAMERA, "it", colour=True).isnan().all(1).sum() == 12 * 20, (
        "unseen in one channel is unseen"
    )
