"""Siame-se(3) and CNN-VS as published: labels, losses and data against plain twins, and what a user does with them."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

import deepservo
from deepservo import load_model
from deepservo.bench import sets
from deepservo.camera import Camera
from deepservo.cli import main
from deepservo.data_siamese import (
    LAWS,
    OVERLAP,
    POINTS,
    RegressionTask,
    SiameseTask,
    lit_and_covered,
    occluders,
    overlap,
    pairs,
    scaled,
    two_widths,
    ways,
)
from deepservo.geometry import se3
from deepservo.loop import Simulator, servo
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.nets import NETS
from deepservo.nets.backbones import resnet18
from deepservo.nets.siamese import BETA, FASTER, GROUPS, Balanced, RegressionNet, SiameseNet, metres_and_degrees
from deepservo.pictures import LUMA
from deepservo.scene import PlanarScene, sampling
from tiny import interrupt_at, learn_args, picture, weights

DISTANCE = 0.6
METHODS = ("siamese-se3", "siamese-SE3", "siamese-ibvs")


def task_of(scene: PlanarScene, camera: Camera, **options: object) -> SiameseTask:
    return SiameseTask(scene, camera, DISTANCE, **{"batch": 8, **options})  # type: ignore[arg-type]


def learned(net: torch.nn.Module, task: SiameseTask | RegressionTask, steps: int) -> list[float]:
    """The losses of one batch that is learned again and again."""
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


# What is learned.


def test_the_published_label_is_equation_3(generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for found, difference, goal, view in zip(
        LAWS["se3"](goals, views), LAWS["SE3"](goals, views), goals.numpy(), views.numpy(), strict=True
    ):
        T = np.linalg.inv(goal) @ view
        thetau = Rotation.from_matrix(T[:3, :3]).as_rotvec()
        np.testing.assert_allclose(found, -np.concatenate([T[:3, :3].T @ T[:3, 3], thetau]), atol=1e-9)
        np.testing.assert_allclose(difference, np.concatenate([T[:3, 3], thetau]), atol=1e-9)


def seen_slowly(points_world: np.ndarray, T_world_cam: np.ndarray) -> np.ndarray:
    """Normalised coordinates of points, one after the other."""
    in_cam = np.linalg.inv(T_world_cam) @ np.concatenate([points_world, np.ones((len(points_world), 1))], 1).T
    return (in_cam[:2] / in_cam[2]).T.flatten()


def test_the_second_law_is_servoing_on_four_points(generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for found, goal, view in zip(LAWS["ibvs"](goals, views).numpy(), goals.numpy(), views.numpy(), strict=True):
        points = []
        for x, y in POINTS:  # where a ray of the goal's camera meets the plane z = 0
            ray = goal[:3, :3] @ [x, y, 1]
            points.append(goal[:3, 3] - goal[2, 3] / ray[2] * ray)
        points = np.array(points)
        columns = []
        for k in range(6):  # the interaction matrix by differences
            twist, step = np.zeros((4, 4)), 1e-6
            twist[:3, 3] = np.eye(6)[k, :3]
            twist[:3, :3] = np.cross(np.eye(3), np.eye(6)[k, 3:])
            columns.append((seen_slowly(points, view @ expm(step * twist)) - seen_slowly(points, view @ expm(-step * twist))) / (2 * step))
        L, e = np.stack(columns, 1), seen_slowly(points, view) - np.array(POINTS).flatten()
        np.testing.assert_allclose(found, -np.linalg.pinv(L) @ e, atol=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_at_the_goal_every_law_stands_still(law, generator, paper_camera):
    goals, _ = pairs(5, generator, paper_camera)
    assert LAWS[law](goals, goals).abs().max() < 1e-9


@pytest.mark.parametrize("law", ["se3", "ibvs"])
def test_every_law_of_velocities_brings_home(law, generator, paper_camera):
    goals, views = pairs(20, generator, paper_camera)
    for _ in range(100):
        views = views @ se3.exp(0.1 * LAWS[law](goals, views))
    metres, radians = se3.distance(goals, views)
    assert metres.max() < 1e-2 and radians.max() < 1e-2


@pytest.mark.parametrize("loss", GROUPS)
def test_the_loss_is_equation_6_or_7(loss, generator):
    net, error = balanced(loss), torch.randn(5, 6, generator=generator)
    if loss == "fixed":
        slowly = sum(np.sum((DISTANCE * e[:3]) ** 2) + 0.01 * np.sum(np.degrees(e[3:]) ** 2) for e in error.numpy()) / 5
    else:
        groups = {"four": ([0, 1], [2], [3, 4], [5]), "two": ([0, 1, 2], [3, 4, 5])}[loss]
        variances = np.linspace(0.5, 2, len(groups))
        with torch.no_grad():
            net.scaled.copy_(torch.tensor(np.log(variances) / FASTER))
        slowly = 0.0
        for variance, group in zip(variances, groups, strict=True):
            slowly += sum(np.linalg.norm(e[group]) ** 2 for e in error.numpy()) / 5 / (2 * variance) + np.log(np.sqrt(variance))
    assert net.loss(error, DISTANCE).item() == pytest.approx(slowly, rel=1e-5)


def test_the_weights_of_the_loss_begin_at_one_and_learn_faster_than_the_network():
    net = balanced()
    assert torch.equal(net.log_variances, torch.zeros(4))
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    before = net.net.head[-1].weight.detach().clone()
    e = net.net.answer(torch.ones(2, 2048), torch.zeros(1, 2048)) - 1
    net.loss(e, DISTANCE).backward()
    optimizer.step()
    assert net.log_variances.detach().abs() == pytest.approx(FASTER * 1e-4, rel=1e-2)
    assert (net.net.head[-1].weight - before).abs().max().item() == pytest.approx(1e-4, rel=1e-2)


def test_the_weights_of_the_loss_settle_where_the_error_is():
    """sigma_s^2 is the mean of |error_s|^2 in the end: a group that is easy counts more."""
    net, error = balanced(), torch.tensor([[0.1, 0.1, 0.3, 0.02, 0.02, 0.5]])
    optimizer = torch.optim.Adam([net.scaled], 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        net.loss(error, DISTANCE).backward()
        optimizer.step()
    assert net.log_variances.exp().detach() == pytest.approx(torch.tensor([0.02, 0.09, 0.0008, 0.25]), rel=0.05)


# What it is learned from.


def test_the_ways_are_those_of_the_published_runs_and_shorter_ones(generator):
    T = ways(4000, generator)
    metres, radians = se3.distance(torch.eye(4, dtype=torch.float64), T)
    assert torch.equal(T[:, 3], torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64).expand(4000, 4))
    whole = (metres * DISTANCE).quantile(0.99), radians.quantile(0.99).rad2deg()
    assert 0.25 < whole[0] < 0.35 and 38 < whole[1] < 50
    halvings = [(metres * DISTANCE < size).double().mean() for size in (0.02, 0.04, 0.08)]
    assert halvings[0] > 0.1 and all(b - a > 0.15 for a, b in pairwise(halvings)), "as many on each halving of the way"


def test_pairs_that_share_too_little_are_drawn_again(paper_camera):
    g = torch.Generator().manual_seed(0)
    goals, views = pairs(1000, g, paper_camera)
    assert overlap(paper_camera, goals, views).min() >= OVERLAP and views[:, 2, 3].max() < -0.09
    wide = goals @ ways(1000, g)
    share = overlap(paper_camera, goals, wide)
    assert (share < OVERLAP).any(), "there is something to filter"
    apart = (share - sets.overlap(paper_camera, goals, wide)).abs()
    assert apart.max() < 0.1 and apart.mean() < 0.02, "as the benchmark counts it, by fewer points"


@pytest.mark.parametrize("law", LAWS)
def test_a_batch_is_a_function_of_the_seed_and_the_step(law, scene, small_camera):
    net, task = balanced(), task_of(scene, small_camera, law=law)
    losses = [task.loss(net.train(), seed, step).item() for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3))]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_the_curriculum_ramps_the_perturbations_up(scene, small_camera, generator):
    task = task_of(scene, small_camera, ramp=10)
    assert [task.spoiling(step) for step in (0, 5, 10, 500)] == [0, 0.5, 1, 1]
    assert task_of(scene, small_camera).spoiling(0) == 1
    seen = []

    class Watched(SiameseNet):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return super().features(images)

    net = Balanced(Watched("compact"), "four")
    task.loss(net, 0, 0)
    task_of(scene, small_camera).loss(net, 0, 0)
    assert not torch.equal(*seen), "what is spoiled at full strength is not at the first step"


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
def test_a_view_is_paired_with_its_goal_and_with_others_that_it_shows(scenes, scene, paper_camera, generator):
    task = task_of(scene, paper_camera, others=(scene,) * (scenes - 1), batch=24, goals=4)
    goals, views = pairs(24, generator, paper_camera)
    views[5] = goals[5] @ se3.exp(torch.tensor([0.45, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))  # shows little of any
    found = set(zip(*(numbers.tolist() for numbers in task.paired(goals, views)), strict=True))
    slowly = set()
    for view in range(24):
        for goal in (view, view - 6, view - 12, view - 18):
            if (view - goal) % scenes == 0 and overlap(paper_camera, goals[goal][None], views[view][None]) >= OVERLAP:
                slowly.add((view, goal % 24))
    assert found == slowly and len(found) > 24 * 3
    alone = task_of(scene, paper_camera, batch=24, goals=1).paired(goals[:5], views[:5])
    assert torch.equal(*alone) and len(alone[0]) == 5, "as published each has one"


def test_pictures_are_taken_at_the_scenes_distance(scene, small_camera, generator):
    goals, _ = pairs(4, generator, small_camera)
    far = PlanarScene(scene.texture, 10 * scene.width)
    near, away = (
        SiameseTask(s, small_camera, d).pictures(32, torch.cat([goals, goals]), torch.Generator().manual_seed(0))
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
    r = two_widths(0)
    wide = torch.tensor([0.05, 0.05, 0.05, *np.radians((10, 10, 20))])
    assert (
        len(r) == 11_000 and r[:10_000].std(0) == pytest.approx(wide, rel=0.05) and r[10_000:].std(0) == pytest.approx(wide / 100, rel=0.1)
    )
    seen = []
    monkeypatch.setattr(
        "deepservo.data_siamese.to_world", lambda T, distance: seen.append(T[:, 0, 3]) or sampling.fronto_parallel(0.6, len(T))
    )
    net = RegressionNet("compact").eval()
    net.features = lambda images: torch.zeros(len(images), 2048)
    monkeypatch.setattr("deepservo.data_siamese.lit_and_covered", lambda images, g: images)
    task = RegressionTask(scene, Camera(8, 8, 10.0, 10.0, 3.5, 3.5), DISTANCE, batch=1000)
    net.size = 8
    for step in range(22):
        task.loss(net, 0, step)
    first, second = torch.cat(seen[:11]), torch.cat(seen[11:])
    assert torch.equal(first.sort().values, r[:, 0].sort().values) and torch.equal(second.sort().values, r[:, 0].sort().values)
    assert not torch.equal(first, second), "in another order"


def test_the_loss_of_cnn_vs_is_in_metres_and_degrees():
    error = torch.tensor([[0.5, 0.0, 0.0, 0.0, np.pi / 6, 0.0]])
    assert metres_and_degrees(error, 0.6).item() == pytest.approx(0.3**2 + BETA * 30**2)


def test_superpixels_of_other_pictures_and_lights_spoil_a_share(generator):
    images = torch.full((200, 1, 64, 64), 0.5)
    worse = lit_and_covered(images, generator)
    assert 0.6 < (worse != images).flatten(1).any(1).double().mean() < 0.8
    assert 5 < np.median([patch.mask.sum() ** 0.5 for patch in occluders(64)]) < 25, "pieces, not dust"


def test_cnn_vs_learns_where_a_picture_was_taken(scene, small_camera):
    torch.manual_seed(0)
    losses = learned(RegressionNet("compact"), RegressionTask(scene, small_camera, DISTANCE, batch=16), 20)
    assert losses[-1] < 0.5 * losses[0]


# What a user does with it.


@pytest.mark.parametrize("method", METHODS)
def test_learned_in_a_moment_saved_loaded_and_served(method, files, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(learn_args(files, out, "--method", method, "--steps", "2", "--loss", "two")) == 0
    model = load_model(out)
    assert model.method == method and model.training["settings"]["loss"] == "two"
    again = tmp_path / "again.safetensors"
    model.save(again)
    assert again.read_bytes() == out.read_bytes(), "nothing is lost on the way"
    assert main(["info", str(out)]) == 0
    assert f"{method}, a network of" in capsys.readouterr().out
    controller = deepservo.load(out, method)
    image = model.scene.render(model.camera, sampling.fronto_parallel(model.distance))
    controller.set_goal(image)
    assert controller.velocity(image).abs().max() < 1e-9, "at home it stands still"


def test_cnn_as_published_is_served_as_cnn(files, tmp_path):
    out = tmp_path / "model.safetensors"
    assert main(learn_args(files, out, "--preset", "paper", "--backbone", "compact", "--steps", "2")) == 0
    model = load_model(out)
    assert isinstance(model.net, RegressionNet) and model.net.name == "compact"
    servo = PoseServo(model.camera, model.net, model.distance)
    r = torch.tensor([[0.1, -0.2, 0.3, 0.2, 0.1, -0.3]])
    servo.net.forward = lambda images: r
    (T,) = servo.predict(torch.zeros(1, 1, 64, 64))
    np.testing.assert_allclose(T[:3, 3], [0.06, -0.12, 0.18 - 0.6], atol=1e-6)
    np.testing.assert_allclose(Rotation.from_matrix(T[:3, :3]).as_rotvec(), [0.2, 0.1, -0.3], atol=1e-6)
    deepservo.load(out).set_goal(model.scene.render(model.camera, sampling.fronto_parallel(0.6)))


def test_the_answers_are_in_units_of_the_distance_and_the_gain_scales_them(scene, small_camera):
    torch.manual_seed(0)
    net, image = SiameseNet("compact").eval(), torch.rand(2, 1, 64, 64)
    found = {}
    for name, (distance, pose, gain) in {"base": (1.0, False, 0.1), "far": (3.0, False, 0.1), "fast": (1.0, False, 0.5)}.items():
        servo = SiameseServo(small_camera, net, distance, pose, gain)
        servo.set_goal(image[:1])
        found[name] = servo.velocity(image[1:])
    scale = torch.tensor([[3.0] * 3 + [1.0] * 3])
    torch.testing.assert_close(found["far"], found["base"] * scale)
    torch.testing.assert_close(found["fast"], found["base"] * 5)


def test_a_pose_that_is_answered_steers_by_pbvs(small_camera):
    net = SiameseNet("compact")
    net.features, net.answer = lambda images: images, lambda s, s_goal: torch.tensor([[0.2, 0.0, 0.1, 0.0, 0.0, 0.5]])
    servo = SiameseServo(small_camera, net, 0.5, pose=True)
    servo.set_goal(torch.zeros(1, 1, 64, 64))
    R = Rotation.from_rotvec([0, 0, 0.5]).as_matrix()
    expected = -0.1 * np.concatenate([R.T @ [0.1, 0, 0.05], [0, 0, 0.5]])
    np.testing.assert_allclose(servo.velocity(torch.zeros(1, 1, 64, 64))[0], expected, atol=1e-7)


def test_the_goals_features_are_computed_once(scene, small_camera):
    net, seen = SiameseNet("compact").eval(), []
    backbone = net.backbone.forward
    net.backbone.forward = lambda images: seen.append(len(images)) or backbone(images)
    servo_ = SiameseServo(small_camera, net, DISTANCE)
    T = sampling.fronto_parallel(DISTANCE)
    goal = scene.render(small_camera, T)
    servo_.set_goal(goal)
    servo(Simulator(scene, small_camera, T.repeat(3, 1, 1) @ se3.exp(torch.full((3, 6), 0.02).double())), servo_, goal, 4)
    assert seen == [1, 3, 3, 3, 3]


@pytest.fixture
def folder(tmp_path):
    """Two pictures."""
    for seed in (0, 1):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{seed}.png"), picture(seed=seed))
    return tmp_path / "pictures"


def test_several_pictures_are_learned_by_one_network(folder, files, tmp_path, monkeypatch, capsys):
    out, steps = tmp_path / "model.safetensors", []
    monkeypatch.setattr(
        SiameseTask, "loss", lambda task, net, *_: steps.append((len(task.others), task.ramp)) or net.log_variances.square().sum()
    )
    args = ["learn", str(folder), "--out", str(out), "--camera", str(files / "camera.yaml"), "--method", "siamese-se3"]
    assert main([*args, "--steps", "4"]) == 0
    assert steps == [(1, 2)] * 4, "in minutes the curriculum takes half of the training"
    steps.clear()
    assert main([*args, "--steps", "15", "--preset", "paper", "--backbone", "compact"]) == 0
    assert steps == [(1, 2)] * 15, "as published 10 of 75 parts"
    assert len(load_model(out).training["settings"]["others"]) == 1
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    assert "for 2 scenes, the first of them" in capsys.readouterr().out


def test_stopped_and_resumed(files, tmp_path, interruptible):
    args = [learn_args(files, tmp_path / name, "--method", "siamese-se3", "--steps", "3") for name in ("whole", "stopped")]
    assert main(args[0]) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert main(args[1]) == 2
    assert main([*args[1], "--loss", "two", "--resume"]) == 2, "another loss is another training"
    assert main([*args[1], "--resume"]) == 0
    whole, stopped = (weights(tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[k], stopped[k]) for k in whole), "the weights of the loss too were kept"


def test_colours_are_learned_kept_and_seen(files, tmp_path, capsys):
    coloured = np.stack([picture(seed=seed) for seed in (1, 2, 3)], -1)
    cv2.imwrite(str(tmp_path / "coloured.png"), coloured)
    out = tmp_path / "model.safetensors"
    args = ["learn", str(tmp_path / "coloured.png"), "--out", str(out), "--camera", str(files / "camera.yaml"), "--colour", "--steps", "2"]
    assert main([*args, "--method", "siamese-se3"]) == 0
    model = load_model(out)
    assert torch.equal(model.scene.texture, torch.from_numpy(coloured[..., ::-1].copy()).permute(2, 0, 1) / 255)
    controller = deepservo.load(out, "siamese-se3")
    image = model.scene.render(model.camera, sampling.fronto_parallel(0.6))
    assert image.shape[1] == 3
    controller.set_goal(image)
    assert controller.velocity(image).abs().max() < 1e-9
    same_grey = (image * LUMA[:, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    assert controller.velocity(same_grey).abs().max() > 1e-4, "what differs is the colour alone"
    cv2.imwrite(str(tmp_path / "goal.png"), (255 * image[0].permute(1, 2, 0).numpy()[..., ::-1]).round())
    scene = ["--image", str(tmp_path / "coloured.png"), "--goal", str(tmp_path / "goal.png")]
    for method in ("siamese-se3", "siamese-se3+dvs"):  # which finishes in grey
        where = ["--set", "gaussian", "--starts", "2", "--out", str(tmp_path / "out")]
        assert main(["servo", str(out), "--method", method, *where]) == 0
        assert main(["servo", str(out), "--method", method, *scene, *where]) == 0
    finish = deepservo.load(out, "siamese-se3+dvs")
    finish.set_goal(image)
    assert finish.velocity(image).abs().max() < 1e-6 and finish.stage(1).tolist() == [1]
    assert main([*args, "--method", "mlvs"]) == 2
    assert "mlvs: learns grey levels" in capsys.readouterr().err


def test_impossible_options_are_refused_in_one_sentence(files, folder, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    file = tmp_path / "weights.pth"
    torch.save({"layer": torch.zeros(2)}, file)
    siamese = ("--method", "siamese-se3")
    for more, words in (
        (("--backbone", "resnet18"), "cnn: has no backbone with --preset cpu"),
        (("--weights", str(file)), "--method cnn --preset paper"),
        (("--loss", "two"), "only siamese-se3, siamese-SE3, siamese-ibvs take"),
        ((*siamese, "--loss", "tow"), "did you mean two"),
        ((*siamese, "--backbone", "resnet8"), "did you mean resnet18"),
        ((*siamese, "--weights", str(file)), "compact is deepservo's own"),
        (
            (*siamese, "--backbone", "resnet18", "--weights", str(file)),
            "weights.pth: is not for resnet18: it lacks conv1.weight and has layer",
        ),
        ((*siamese, "--backbone", "resnet18", "--weights", str(tmp_path / "none.pth")), "none.pth: no such file"),
        (("--method", "siamese"), "did you mean siamese-se3"),
        ((*siamese, "--preset", "papr"), "did you mean paper"),
    ):
        assert main(learn_args(files, out, "--steps", "2", *more)) == 2, more
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1, error
    assert main(["learn", str(folder), "--out", str(out), "--steps", "2"]) == 2
    assert "cnn: learns one picture" in capsys.readouterr().err
    assert main(["learn", str(tmp_path / "m"), "--out", str(out), *siamese]) == 2
    assert not out.exists() and not out.with_name("m.safetensors.partial").exists()


def test_weights_that_are_given_are_where_the_training_begins(files, tmp_path, monkeypatch):
    monkeypatch.setattr(SiameseTask, "loss", lambda task, net, seed, step: net.net.head[-1].weight.square().sum())
    marked = {k: torch.full_like(v, 0.25) if k == "bn1.bias" else v for k, v in resnet18().state_dict().items()}
    torch.save(marked, tmp_path / "weights.pth")
    args = ("--method", "siamese-se3", "--steps", "1", "--backbone", "resnet18")
    for name, more in (("with", ("--weights", str(tmp_path / "weights.pth"))), ("without", ())):
        assert main(learn_args(files, tmp_path / name, *args, *more)) == 0
    model, without = load_model(tmp_path / "with"), load_model(tmp_path / "without")
    assert model.net.config() == {"backbone": "resnet18", "bias": False, "colour": False}
    assert torch.equal(model.net.backbone.bn1.bias.detach(), marked["bn1.bias"])
    assert torch.equal(model.net.backbone.conv1.weight.detach(), marked["conv1.weight"])
    assert not torch.equal(without.net.backbone.conv1.weight, marked["conv1.weight"])
    assert model.training["settings"]["weights"] and "weights" not in without.training["settings"]


def test_files_of_another_kind_are_refused(files, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    assert main(learn_args(files, out, "--method", "siamese-se3", "--steps", "1")) == 0
    model = load_model(out)
    for changes, words in (
        ({"backbone": "resnet8"}, "there is no backbone"),
        ({"backbone": "resnet18"}, "weights"),
        ({"depth": 3}, "garbles"),
        ({"colour": True}, "the learned picture, of 1 channels"),
    ):
        tensors, config = deepservo.checkpoint.load(out)
        config["net"] |= changes
        bad = tmp_path / "bad.safetensors"
        deepservo.checkpoint.save(bad, tensors, {k: v for k, v in config.items() if k != "format"})
        with pytest.raises(deepservo.InputError, match=words):
            load_model(bad)
    assert json.dumps(model.net.config()) == '{"backbone": "compact", "bias": false, "colour": false}'
    assert NETS["siamese-se3"](model.net.config()).bias is False
    with pytest.raises(deepservo.InputError, match="trained for another method"):
        deepservo.load(out, "siamese-SE3")
