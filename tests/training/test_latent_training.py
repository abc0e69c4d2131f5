"""The losses and data of the latent methods against the published equations."""

import json

import numpy as np
import pytest
import scipy.fft
import torch

import deepservo
from deepservo import load_model
from deepservo.cli import main
from deepservo.geometry import se3
from deepservo.nets.metric import MetricNet
from deepservo.nets.resnet import AutoEncoder
from deepservo.scene import sampling
from deepservo.scene.reference import to_reference, to_world
from deepservo.training.tasks.latent import (
    AutoEncoderTask,
    IsometryTask,
    MetricTask,
    bending,
    frequency_loss,
    mixed_motions,
    pairwise_distance,
    principal_autoencoder,
    scales,
)
from tiny import learn_args, small


def dct_loss_slowly(difference: np.ndarray) -> float:
    """AEVS Eq. 9 as printed, with SciPy's DCT."""
    n, total = difference.shape[-1], 0.0
    for picture in difference[:, 0]:
        F = scipy.fft.dctn(picture, norm="ortho")
        total += sum(abs(F[i, j]) / (i + j + 1) for i in range(n) for j in range(n)) / n**2
    return total / len(difference)


def test_the_frequency_loss_is_equation_9(generator):
    difference = torch.randn(3, 1, 16, 16, generator=generator)
    assert float(frequency_loss(difference)) == pytest.approx(
        dct_loss_slowly(difference.double().numpy()), rel=1e-5
    )


@pytest.mark.parametrize("loss_of", ["frequency", "pixel"])
def test_an_autoencoder_learns_a_batch(loss_of, scene, paper_camera):
    torch.manual_seed(0)
    net, task = (
        AutoEncoder(small(size=32, width=8)),
        AutoEncoderTask(scene, paper_camera, 0.6, batch=8, loss_of=loss_of, perturb=False),
    )
    optimizer, least = (
        torch.optim.Adam(net.parameters(), 3e-3),
        {"frequency": 0.0, "pixel": 0.55}[loss_of],
    )
    losses = [learned(net, task, optimizer, 0, 1)[0] for _ in range(150)]
    assert losses[-1] - least < 0.6 * (losses[0] - least)


def test_an_autoencoder_begins_with_the_principal_components(scene, paper_camera):
    torch.manual_seed(0)
    task = AutoEncoderTask(scene, paper_camera, 0.6)
    seen = task.workspace_pictures(32, 60)
    net = principal_autoencoder(small(size=32, smooth=True, linear=True), seen)
    x = seen.flatten(1).double().numpy()
    mean = x.mean(0)
    _, _, V = np.linalg.svd(x - mean, full_matrices=False)
    slowly = mean + (x - mean) @ V[:8].T @ V[:8]
    with torch.no_grad():
        z, found = net.encoder(seen), net(seen)
    assert np.abs(found.flatten(1).numpy() - slowly).max() < 1e-4
    assert z.std(0)[0] == pytest.approx(1, abs=1e-3) and (z.std(0).diff() < 0).all()


def test_a_path_is_bent_as_much_as_its_chord_is_short(generator):
    z, step = torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)
    assert bending(z, z + step, z - step) < 1e-3
    assert bending(z, z + step, z + step) == pytest.approx(1, abs=1e-3)
    ahead, behind = z + step, z + torch.randn(6, 5, generator=generator)
    slowly = [
        (a + b - 2 * c).norm() / ((a - c).norm() + (b - c).norm())
        for a, b, c in zip(ahead, behind, z, strict=True)
    ]
    assert float(bending(z, ahead, behind)) == pytest.approx(float(sum(slowly)) / 6, rel=1e-3)


def test_some_paths_hardly_move_the_picture_and_few_leave_the_scene(generator):
    T = sampling.workspace(400, generator)
    centre = -T[:, 2, 3] / T[:, 2, 2]
    moved = T @ mixed_motions(T, generator, 0.6)
    point = T[:, :3, 3] + centre[:, None] * T[:, :3, 2]
    in_camera = torch.einsum("bji,bj->bi", moved[:, :3, :3], point - moved[:, :3, 3])
    aside = (in_camera[:, :2] / in_camera[:, 2:]).norm(dim=1)
    turned = se3.distance(T, moved)[1]
    assert 0.5 < (aside < 0.01).double().mean() < 0.75 and turned[aside < 0.01].max() > 0.3, (
        "a large motion about the point, which stays in the middle"
    )
    assert (moved[:, 2, 3] < 0).double().mean() > 0.98, "before the plane"
    assert (aside < 0.5).double().mean() > 0.99


def test_an_autoencoder_learns_to_move_straight(scene, paper_camera):
    torch.manual_seed(0)
    task = AutoEncoderTask(scene, paper_camera, 0.6, batch=24, perturb=False, straightness=20)
    net = principal_autoencoder(
        small(size=32, width=8, smooth=True, linear=True), task.workspace_pictures(32)
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = [learned(net, task, optimizer, 0, 1)[0] for _ in range(150)]
    assert losses[-1] < 0.6 * losses[0]


def test_pictures_and_poses_learn_the_same_embedding(scene, paper_camera):
    torch.manual_seed(0)
    net, task = (
        MetricNet(small(size=32, width=8)),
        MetricTask(scene, paper_camera, 0.6, anchors=8, copies=1, pool=256),
    )
    losses = learned(net, task, torch.optim.Adam(net.parameters(), 3e-3), 0, 60)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_the_poses_learn_an_isometry_and_then_the_pictures(scene, paper_camera, generator):
    torch.manual_seed(0)
    net, task = (
        MetricNet(small(size=32, width=8, even=True), "silu"),
        IsometryTask(scene, paper_camera, 0.6, batch=64),
    )
    optimizer = torch.optim.Adam(net.poses.parameters(), 1e-2)
    for _ in range(600):
        optimizer.zero_grad()
        task._isometry(
            net.poses, to_reference(sampling.workspace(64, generator), 0.6), generator
        ).backward()
        optimizer.step()
    unit = torch.tensor([scales()[0]] * 3 + [scales()[1]] * 3)
    with torch.no_grad():
        stretched = torch.linalg.svdvals(
            net.poses.measure(to_reference(sampling.workspace(50, generator), 0.6))[1] * unit
        )
    assert stretched.median() == pytest.approx(1, abs=0.2), (
        "a step or a turn as long as the unit is as long in the latent space"
    )
    assert stretched.quantile(0.05) > 0.4 and stretched.max() < 2
    before = [p.clone() for p in net.poses.parameters()]
    optimizer = torch.optim.Adam(net.images.parameters(), 3e-3)
    losses = [learned(net, task, optimizer, 0, 1)[0] for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(map(torch.equal, before, net.poses.parameters()))


@pytest.mark.parametrize(
    ("kind", "options", "moved"),
    [(MetricTask, {"anchors": 4, "pool": 64}, True), (IsometryTask, {"batch": 32}, False)],
)
def test_pictures_move_the_poses_of_the_published_loss_alone(
    kind, options, moved, scene, paper_camera
):
    torch.manual_seed(0)
    net, task = MetricNet(small(size=32), "silu"), kind(scene, paper_camera, 0.6, **options)
    gradients = []
    for scale in (1.0, 5.0):  # of the pictures
        with torch.no_grad():
            net.images[-1].weight *= scale
        net.zero_grad()
        task.loss(net, 0, 0).backward()
        gradients.append(net.poses.layers[0].weight.grad.clone())
    assert torch.equal(*gradients) != moved


def learned(net, task, optimizer, seed: int, steps: int) -> list[float]:
    losses = []
    for step in range(steps):
        loss = task.loss(net, seed, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_batch_holds_the_nearest_neighbours_of_its_first_poses(scene, paper_camera, generator):
    task = MetricTask(scene, paper_camera, 0.6, anchors=4, neighbours=3)
    pool = sampling.workspace(64, generator)
    found = task._near_each_other(pool).view(4, 4, 4, 4)
    assert torch.equal(found[:, 0], pool[:4])
    metres, radians = (se3.distance(pool[:4, None], pool[None])[i] for i in (0, 1))
    apart = metres / 0.6 / scales()[0] + radians / scales()[1]
    for k in range(4):
        assert torch.equal(found[k], pool[apart[k].argsort()[:4]])


def test_distances_between_all_pairs_are_those_of_each(generator):
    a, b = sampling.workspace(5, generator), sampling.workspace(7, generator)
    found, slow = pairwise_distance(a, b), se3.distance(a[:, None], b[None])
    for one, other in zip(found, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_to_the_reference_and_back(generator):
    T = sampling.workspace(5, generator, 2.0)
    there = to_reference(T, 2.0)
    torch.testing.assert_close(to_world(there, 2.0), T)
    facing = to_reference(sampling.fronto_parallel(2.0), 2.0)[0]
    assert torch.equal(facing, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("method", ["aevs", "mlvs"])
def test_learned_saved_loaded_and_servoed(method, files, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(learn_args(files, out, "--method", method, "--steps", "2")) == 0
    model = load_model(out)
    assert model.method == method and model.training["steps"] == 2
    again = tmp_path / "again.safetensors"
    model.save(again)
    assert again.read_bytes() == out.read_bytes(), "saving and loading changes nothing"
    assert main(["info", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{method}, a network of" in printed and ("of 48 runs converged" in printed) == (
        method == "aevs"
    )
    controller = deepservo.load(out, method)
    image = model.scene.render(model.camera, sampling.fronto_parallel(model.distance))
    controller.set_goal(image)
    assert controller.velocity(image).abs().max() < 1e-6, "at the goal the velocity is zero"


def test_two_methods_learned_on_one_picture_are_measured_side_by_side(files, tmp_path, capsys):
    models = [tmp_path / "aevs.safetensors", tmp_path / "mlvs.safetensors"]
    for out in models:
        assert main(learn_args(files, out, "--method", out.stem, "--steps", "2")) == 0
    both = ",".join(map(str, models))
    args = [
        "bench",
        "--models",
        both,
        "--sets",
        "lookat",
        "--n",
        "1",
        "--quick",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*args, "--methods", "aevs,mlvs+dvs"]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"aevs", "mlvs+dvs"}
    capsys.readouterr()
    assert main([*args, "--methods", "aevs,cnn+dvs"]) == 2
    assert (
        "cnn+dvs: none of --models was made with deepservo learn --method cnn"
        in capsys.readouterr().err
    )
