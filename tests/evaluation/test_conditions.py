"""The benchmark's conditions do what they say: light, blur, covers, models, relief."""

import math

import pytest
import torch

from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.conditions import (
    BLUR,
    LIGHT,
    MODEL,
    OCCLUSION,
    PLAIN,
    SIZE,
    Disturbance,
    HardSimulator,
    Shot,
    changed,
)
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.relief import ReliefScene
from small_bench import CAMERA


def test_light_blur_and_covers_do_what_they_say():
    image = 0.2 + 0.5 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    shot = Shot(0, 3, 5)
    conditions = dict(LIGHT + BLUR + OCCLUSION)
    assert (conditions["exposure x 0.5"].view[0](image, shot) - image / 2).abs().max() < 1e-6
    assert conditions["exposure x 3"].view[0](image, shot).max() == 1
    assert (conditions["highlight of 0.4"].view[0](image, shot) == 1).float().mean() > 0.005
    shadows = torch.stack(
        [conditions["shadow to 0.2"].view[0](image, Shot(0, run, 0)) / image for run in range(20)]
    )
    assert (
        shadows.min() == pytest.approx(0.2, abs=0.01)
        and shadows.max() == pytest.approx(1, abs=0.01)
        and 0.4 < shadows.mean() < 0.8
    )
    assert (conditions["spot light + 1"].view[0](image, shot) >= image - 1e-6).all()
    blurred = conditions["defocus 2 px, view"].view[0](image, shot)
    assert blurred.std() < 0.4 * image.std() and abs(blurred.mean() - image.mean()) < 0.01
    assert (conditions["noise 0.05, both"].goal[0](image, shot) - image).std() == pytest.approx(
        0.05, rel=0.1
    )
    for share in (0.1, 0.3, 0.6):
        covered = conditions[f"{100 * share:.0f} % covered"].view[0](image, shot)
        assert (covered != image).float().mean() == pytest.approx(share, rel=0.2)


def test_covers_change_with_the_frame_and_lamps_stay_with_the_run():
    image = torch.full((1, 1, 64, 64), 0.5)
    conditions = dict(LIGHT + OCCLUSION)
    cover, lamp = conditions["30 % covered"].view[0], conditions["spot light + 1"].view[0]
    assert not torch.equal(cover(image, Shot(0, 1, 1)), cover(image, Shot(0, 1, 2)))
    assert (lamp(image, Shot(0, 1, 1)) - lamp(image, Shot(0, 1, 2))).abs().max() < 0.1
    assert (lamp(image, Shot(0, 1, 1)) - lamp(image, Shot(0, 2, 1))).abs().max() > 0.1


def test_a_moving_shutter_blurs_along_the_motion():
    scene, T = scene_of("strokes"), sampling.fronto_parallel(0.6)
    condition = dict(BLUR)["motion blur 1"]
    world = HardSimulator(scene, CAMERA, T.clone(), Disturbance(condition, 0, torch.tensor([0])))
    still = world.observe()
    world.apply(torch.tensor([[0.05, 0, 0, 0, 0, 0]], dtype=torch.float64), 1.0)
    blurred, sharp = world.observe(), scene.render(CAMERA, world.T_world_cam)
    assert torch.equal(still, scene.render(CAMERA, T))
    across, along = (
        ((x[..., 1:, :] - x[..., :-1, :]).std() for x in (blurred, sharp)),
        ((x[..., 1:] - x[..., :-1]).std() for x in (blurred, sharp)),
    )
    (across_blurred, across_sharp), (along_blurred, along_sharp) = across, along
    assert (
        along_blurred < 0.6 * along_sharp
        and across_blurred / across_sharp > along_blurred / along_sharp
    )


def test_few_pixels_are_enlarged_in_place():
    scene, T = scene_of("coffee"), sampling.fronto_parallel(0.6)
    full = PLAIN.pictures(scene, PAPER_CAMERA, T)
    for label, condition in SIZE:
        few = condition.pictures(scene, PAPER_CAMERA, T)
        assert few.shape == full.shape and (few - full).abs().mean() < 0.08, label
        assert (few - full).mean().abs() < 0.01, "nothing is shifted or scaled"


def test_wrong_camera_models():
    conditions = dict(MODEL)
    assert conditions["focal length believed x 1.2"].camera(CAMERA).fx == pytest.approx(86 / 1.2)
    T = sampling.fronto_parallel(0.6)
    tilted = conditions["plane tilted 30 deg"].poses(T)[0]
    assert tilted[:3, 3].norm() == pytest.approx(0.6) and math.degrees(
        math.acos(tilted[2, 2])
    ) == pytest.approx(30)
    relief = conditions["relief of 10 cm"].scene(scene_of("coffee"), 0.6, "coffee")
    assert isinstance(relief, ReliefScene) and 0.05 < relief.heights.max() <= 0.1


def test_a_flat_relief_is_the_plane_and_a_hill_is_where_its_rays_meet_it():
    scene, T = scene_of("coffee"), sampling.workspace(2, torch.Generator().manual_seed(1))
    flat = ReliefScene(scene.texture, scene.width, relief=0.0)
    difference = flat.render(PAPER_CAMERA, T) - PlanarScene(
        scene.texture, scene.width, antialias=False
    ).render(PAPER_CAMERA, T)
    assert difference.abs().median() < 2e-3 and difference.abs().mean() < 0.01, (
        "except where the picture's edge is blended"
    )
    level = ReliefScene(scene.texture, scene.width, relief=0.1)
    object.__setattr__(level, "heights", torch.full_like(level.heights, 0.1))
    nearer = sampling.fronto_parallel(0.5)
    raised = level.render(PAPER_CAMERA, sampling.fronto_parallel(0.6))
    assert (raised - flat.render(PAPER_CAMERA, nearer)).abs().mean() < 2e-3, "a plane 10 cm nearer"


def test_the_depth_of_hills_is_where_their_rays_meet_them():
    scene, T = scene_of("coffee"), sampling.workspace(3, torch.Generator().manual_seed(1))
    hills = ReliefScene(scene.texture, scene.width, relief=0.1)
    Z = hills.depth(CAMERA, T)
    x, y = CAMERA.xy(torch.float64)
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ T[:, None, :3, :3].mT
    known = Z.isfinite()
    assert torch.equal(known, rays[..., 2] > 0) and known.float().mean() > 0.5
    near = known & (Z < 3)
    p = T[:, None, None, :3, 3] + torch.where(near, Z, 1.0)[..., None] * rays
    above = -p[..., 2] - hills.height_at(p[..., 0], p[..., 1])
    assert above[near].abs().max() < 5e-4 and (-p[..., 2])[near].std() > 0.01
    flat = ReliefScene(scene.texture, scene.width, relief=0.0).depth(CAMERA, T)
    assert (flat / scene.depth(CAMERA, T) - 1)[near].abs().max() < 1e-5


def test_effects_depend_on_the_run_alone():
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    effects = dict(BLUR)["noise 0.05, view"].view
    whole = changed(images, effects, 5, torch.arange(4), 2)
    assert torch.equal(whole[2:], changed(images[2:], effects, 5, torch.tensor([2, 3]), 2))
