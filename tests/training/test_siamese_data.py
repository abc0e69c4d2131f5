"""Siame-se(3) and CNN-VS as published: labels, losses and data against plain twins."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from deepservo.camera import Camera
from deepservo.evaluation import sets
from deepservo.geometry import se3
from deepservo.nets.siamese import (
    BETA,
    GROUPS,
    WEIGHTS_LEARNING_RATE,
    Balanced,
    RegressionNet,
    SiameseNet,
    metres_and_degrees,
)
from deepservo.scene import PlanarScene, sampling
from deepservo.training.tasks.siamese import (
    IBVS_POINTS,
    LAWS,
    MIN_OVERLAP,
    RegressionTask,
    SiameseTask,
    lit_and_covered,
    occluders,
    overlap,
    pairs,
    poses_on_runs,
    published_poses,
    scaled,
)

DISTANCE = 0.6


def task_of(scene: PlanarScene, camera: Camera, **options: object) -> SiameseTask:
    return SiameseTask(scene, camera, DISTANCE, **{"batch": 8, **options})  # type: ignore[arg-type]


def learned(net: torch.nn.Module, task: SiameseTask | RegressionTask, steps: int) -> list[float]:
    """The losses while one batch is learned again and again."""
    optimizer, losses = torch.optim.Adam(net.parameters(), 1e-3), []
    for _ in range(steps):
        loss = task.loss(net, 0, 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def balanced(loss: str = "four") -> Balanced:
    torch.manual_seed(0)
    return Balanced(SiameseNet("compact", bias=False), loss)  # type: ignore[arg-type]


def test_the_published_label_is_equation_3(generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for found, difference, goal, view in zip(
        LAWS["se3"](goals, views),
        LAWS["SE3"](goals, views),
        goals.numpy(),
        views.numpy(),
        strict=True,
    ):
        T = np.linalg.inv(goal) @ view
        thetau = Rotation.from_matrix(T[:3, :3]).as_rotvec()
        np.testing.assert_allclose(
            found, -np.concatenate([T[:3, :3].T @ T[:3, 3], thetau]), atol=1e-9
        )
        np.testing.assert_allclose(difference, np.concatenate([T[:3, 3], thetau]), atol=1e-9)


def seen_slowly(points_world: np.ndarray, T_world_cam: np.ndarray) -> np.ndarray:
    """Normalised coordinates of points, one after the other."""
    in_cam = (
        np.linalg.inv(T_world_cam)
        @ np.concatenate([points_world, np.ones((len(points_world), 1))], 1).T
    )
    return (in_cam[:2] / in_cam[2]).T.flatten()


def test_the_second_law_is_servoing_on_four_points(generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for found, goal, view in zip(
        LAWS["ibvs"](goals, views).numpy(), goals.numpy(), views.numpy(), strict=True
    ):
        points = []
        for x, y in IBVS_POINTS:  # where a ray of the goal's camera meets the plane z = 0
            ray = goal[:3, :3] @ [x, y, 1]
            points.append(goal[:3, 3] - goal[2, 3] / ray[2] * ray)
        points = np.array(points)
        columns = []
        for k in range(6):  # the interaction matrix by differences
            twist, step = np.zeros((4, 4)), 1e-6
            twist[:3, 3] = np.eye(6)[k, :3]
            twist[:3, :3] = np.cross(np.eye(3), np.eye(6)[k, 3:])
            columns.append(
                (
                    seen_slowly(points, view @ expm(step * twist))
                    - seen_slowly(points, view @ expm(-step * twist))
                )
                / (2 * step)
            )
        L, e = np.stack(columns, 1), seen_slowly(points, view) - np.array(IBVS_POINTS).flatten()
        np.testing.assert_allclose(found, -np.linalg.pinv(L) @ e, atol=1e-5)


def test_the_four_points_are_a_square_about_the_axis_within_the_published_picture(paper_camera):
    assert sorted(IBVS_POINTS) == [(x, y) for x in (-0.2, 0.2) for y in (-0.2, 0.2)]
    px = np.array(IBVS_POINTS) * [paper_camera.fx, paper_camera.fy] + [
        paper_camera.cx,
        paper_camera.cy,
    ]
    assert (px > 0).all() and (px < [paper_camera.width, paper_camera.height]).all()


@pytest.mark.parametrize("law", LAWS)
def test_at_the_goal_every_law_stands_still(law, generator, paper_camera):
    goals, _ = pairs(5, generator, paper_camera)
    assert LAWS[law](goals, goals).abs().max() < 1e-9


@pytest.mark.parametrize("law", ["se3", "ibvs"])
def test_every_law_of_velocities_converges(law, generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for _ in range(100):
        views = views @ se3.exp(0.1 * LAWS[law](goals, views))
    metres, radians = se3.distance(goals, views)
    assert metres.max() < 1e-2 and radians.max() < 1e-2


@pytest.mark.parametrize("loss", GROUPS)
def test_the_loss_is_equation_6_or_7(loss, generator):
    net, error = balanced(loss), torch.randn(5, 6, generator=generator)
    if loss == "fixed":
        slowly = (
            sum(
                np.sum((DISTANCE * e[:3]) ** 2) + 0.01 * np.sum(np.degrees(e[3:]) ** 2)
                for e in error.numpy()
            )
            / 5
        )
    else:
        groups = {"four": ([0, 1], [2], [3, 4], [5]), "two": ([0, 1, 2], [3, 4, 5])}[loss]
        variances = np.linspace(0.5, 3, len(groups))  # whose logarithms do not cancel
        with torch.no_grad():
            net.scaled.copy_(torch.tensor(np.log(variances) / WEIGHTS_LEARNING_RATE))
        slowly = 0.0
        for variance, group in zip(variances, groups, strict=True):
            slowly += sum(np.linalg.norm(e[group]) ** 2 for e in error.numpy()) / 5 / (
                2 * variance
            ) + np.log(np.sqrt(variance))
    assert net.loss(error, DISTANCE).item() == pytest.approx(slowly, rel=1e-5)


def test_the_weights_of_the_loss_begin_at_one_and_learn_faster_than_the_network():
    net = balanced()
    assert torch.equal(net.log_variances, torch.zeros(4))
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    before = net.net.head[-1].weight.detach().clone()
    e = net.net.answer(torch.ones(2, 2048), torch.zeros(1, 2048)) - 1
    net.loss(e, DISTANCE).backward()
    optimizer.step()
    assert net.log_variances.detach().abs() == pytest.approx(WEIGHTS_LEARNING_RATE * 1e-4, rel=1e-2)
    assert (net.net.head[-1].weight - before).abs().max().item() == pytest.approx(1e-4, rel=1e-2)


def test_the_weights_of_the_loss_settle_where_the_error_is():
    """In the end sigma_s^2 is the mean of |error_s|^2: a group with small errors counts more."""
    net, error = balanced(), torch.tensor([[0.1, 0.1, 0.3, 0.02, 0.02, 0.5]])
    optimizer = torch.optim.Adam([net.scaled], 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        net.loss(error, DISTANCE).backward()
        optimizer.step()
    assert net.log_variances.exp().detach() == pytest.approx(
        torch.tensor([0.02, 0.09, 0.0008, 0.25]), rel=0.05
    )


# Training data.


def test_the_motions_are_those_of_the_published_runs_and_shorter_ones(generator):
    T = poses_on_runs(4000, generator)
    metres, radians = se3.distance(torch.eye(4, dtype=torch.float64), T)
    assert torch.equal(
        T[:, 3], torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64).expand(4000, 4)
    )
    whole = (metres * DISTANCE).quantile(0.99), radians.quantile(0.99).rad2deg()
    assert 0.25 < whole[0] < 0.35 and 38 < whole[1] < 50
    halvings = [(metres * DISTANCE < size).double().mean() for size in (0.02, 0.04, 0.08)]
    assert halvings[0] > 0.1 and all(b - a > 0.15 for a, b in pairwise(halvings)), (
        "as many on each halving of the distance"
    )


def test_pairs_that_share_too_little_are_drawn_again(paper_camera):
    g = torch.Generator().manual_seed(0)
    goals, views = pairs(1000, g, paper_camera)
    assert overlap(paper_camera, goals, views).min() >= MIN_OVERLAP and views[:, 2, 3].max() < -0.09
    wide = goals @ poses_on_runs(1000, g)
    share = overlap(paper_camera, goals, wide)
    assert (share < MIN_OVERLAP).any(), "there is something to filter"
    apart = (share - sets.overlap(paper_camera, goals, wide)).abs()
    assert apart.max() < 0.1 and apart.mean() < 0.02, "as the benchmark counts it, by fewer points"


@pytest.mark.parametrize("law", LAWS)
def test_a_batch_is_a_function_of_the_seed_and_the_step(law, scene, small_camera):
    net, task = balanced(), task_of(scene, small_camera, law=law)
    losses = [
        task.loss(net.train(), seed, step).item() for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3))
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_the_curriculum_ramps_the_perturbations_up(scene, small_camera, generator):
    task = task_of(scene, small_camera, ramp=10)
    assert [task.perturbation(step) for step in (0, 5, 10, 500)] == [0, 0.5, 1, 1]
    assert task_of(scene, small_camera).perturbation(0) == 1
    seen = []

    class Watched(SiameseNet):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return super().features(images)

    net = Balanced(Watched("compact"), "four")
    task.loss(net, 0, 0)
    task_of(scene, small_camera).loss(net, 0, 0)
    assert not torch.equal(*seen), "full perturbations are not there at the first step"


@pytest.mark.parametrize("channels", [1, 3])
def test_each_pair_shows_one_of_the_scenes(channels, small_camera, generator):
    scenes = [PlanarScene(torch.full((channels, 60, 80), grey), 8.0) for grey in (0.2, 0.5, 0.8)]
    task = task_of(scenes[0], small_camera, others=tuple(scenes[1:]))
    goals, views = pairs(8, generator, small_camera)
    images = task.pictures(32, torch.cat([goals, views]), generator)
    assert images.shape == (16, channels, 32, 32)
    middles = images[:, 0, 16, 16].view(2, 8)
    assert torch.allclose(middles[0], middles[1]) and len(set(middles[0].tolist())) == 3


@pytest.mark.parametrize("scenes", [1, 3])
def test_a_view_is_paired_with_its_goal_and_with_others_that_it_shows(
    scenes, scene, paper_camera, generator
):
    task = task_of(scene, paper_camera, others=(scene,) * (scenes - 1), batch=24, goals=4)
    goals, views = pairs(24, generator, paper_camera)
    views[5] = goals[5] @ se3.exp(
        torch.tensor([0.45, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    )  # a view that shows little of any goal
    found = set(zip(*(numbers.tolist() for numbers in task.paired(goals, views)), strict=True))
    slowly = set()
    for view in range(24):
        for goal in (view, view - 6, view - 12, view - 18):
            if (view - goal) % scenes == 0 and overlap(
                paper_camera, goals[goal][None], views[view][None]
            ) >= MIN_OVERLAP:
                slowly.add((view, goal % 24))
    assert found == slowly and len(found) > 24 * 3
    alone = task_of(scene, paper_camera, batch=24, goals=1).paired(goals[:5], views[:5])
    assert torch.equal(*alone) and len(alone[0]) == 5, "as published each has one"


def test_pictures_are_taken_at_the_scenes_distance(scene, small_camera, generator):
    goals, _ = pairs(4, generator, small_camera)
    far = PlanarScene(scene.texture, 10 * scene.width)
    near, away = (
        SiameseTask(s, small_camera, d).pictures(
            32, torch.cat([goals, goals]), torch.Generator().manual_seed(0)
        )
        for s, d in ((scene, 0.6), (far, 6.0))
    )
    torch.testing.assert_close(near, away, atol=1e-3, rtol=0)
    direct = scene.render(small_camera.resize(32, 32), scaled(goals, 0.6))
    seen = scene.render_covered(small_camera.resize(32, 32), scaled(goals, 0.6))[1] > 0.999
    torch.testing.assert_close(near[:4, 0][seen], direct[:, 0][seen])


@pytest.mark.parametrize("loss", ["four", "fixed"])
def test_a_few_steps_lower_the_loss(loss, scene, small_camera):
    net, task = balanced(loss), task_of(scene, small_camera, loss_of=loss)
    losses = learned(net, task, 15)
    assert losses[-1] < losses[0] - 0.5 * abs(losses[0])


# CNN-VS.


def test_the_poses_of_cnn_vs_have_two_widths_and_each_comes_once_an_epoch(scene, monkeypatch):
    r = published_poses(0)
    wide = torch.tensor([0.05, 0.05, 0.05, *np.radians((10, 10, 20))])
    assert (
        len(r) == 11_000
        and r[:10_000].std(0) == pytest.approx(wide, rel=0.05)
        and r[10_000:].std(0) == pytest.approx(wide / 100, rel=0.1)
    )
    seen = []
    monkeypatch.setattr(
        "deepservo.training.tasks.siamese.to_world",
        lambda T, distance: seen.append(T[:, 0, 3]) or sampling.fronto_parallel(0.6, len(T)),
    )
    net = RegressionNet("compact").eval()
    net.features = lambda images: torch.zeros(len(images), 2048)
    monkeypatch.setattr(
        "deepservo.training.tasks.siamese.lit_and_covered", lambda images, g: images
    )
    task = RegressionTask(scene, Camera(8, 8, 10.0, 10.0, 3.5, 3.5), DISTANCE, batch=1000)
    net.size = 8
    for step in range(22):
        task.loss(net, 0, step)
    first, second = torch.cat(seen[:11]), torch.cat(seen[11:])
    assert torch.equal(first.sort().values, r[:, 0].sort().values) and torch.equal(
        second.sort().values, r[:, 0].sort().values
    )
    assert not torch.equal(first, second), "in another order"


def test_the_loss_of_cnn_vs_is_in_metres_and_degrees():
    error = torch.tensor([[0.5, 0.0, 0.0, 0.0, np.pi / 6, 0.0]])
    assert metres_and_degrees(error, 0.6).item() == pytest.approx(0.3**2 + BETA * 30**2)


def test_superpixels_of_other_pictures_and_lights_degrade_a_share(generator):
    images = torch.full((200, 1, 64, 64), 0.5)
    worse = lit_and_covered(images, generator)
    assert 0.6 < (worse != images).flatten(1).any(1).double().mean() < 0.8
    assert 5 < np.median([patch.mask.sum() ** 0.5 for patch in occluders(64)]) < 25, (
        "pieces, not single pixels"
    )


def test_cnn_vs_learns_where_a_picture_was_taken(scene, small_camera):
    torch.manual_seed(0)
    losses = learned(
        RegressionNet("compact"), RegressionTask(scene, small_camera, DISTANCE, batch=16), 20
    )
    assert losses[-1] < 0.5 * losses[0]
