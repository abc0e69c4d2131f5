"""The rehearsal of an encoder: how scaling changes z, which runs converged, and that the better
scaling is kept.
"""

import copy
from dataclasses import replace

import pytest
import torch

from deepservo.cli import main
from deepservo.nets.resnet import AutoEncoder, Shape
from deepservo.scene import PlanarScene
from deepservo.training import rehearsal
from deepservo.training.tasks.latent import AutoEncoderTask, principal_autoencoder
from deepservo.worlds.simulator import Simulator
from tiny import small


@pytest.fixture(scope="module")
def task(paper_camera) -> AutoEncoderTask:
    y, x = torch.meshgrid(torch.linspace(-3, 3, 300), torch.linspace(-3, 3, 300), indexing="ij")
    smooth = 0.5 + 0.2 * torch.sin(x + 0.4 * y) + 0.2 * torch.cos(1.3 * y - 0.5 * x)
    return AutoEncoderTask(PlanarScene(smooth[None].clamp(0, 1), 2.0), paper_camera, 0.6)


@pytest.mark.parametrize("linear", [False, True])
def test_a_mixed_encoder_answers_the_mix(linear, generator):
    torch.manual_seed(0)
    encoder = AutoEncoder(small(size=32, smooth=True, linear=linear)).encoder.eval()
    seen, W = torch.rand(5, 1, 32, 32, generator=generator), torch.randn(8, 8, generator=generator)
    with torch.no_grad():
        wanted = encoder(seen) @ W.mT
        encoder.mix(W)
        assert torch.allclose(encoder(seen), wanted, atol=1e-4)


def test_scaling_leaves_each_direction_the_root_of_its_deviation(task):
    torch.manual_seed(0)
    seen = task.workspace_pictures(32, 200)
    encoder = principal_autoencoder(small(size=32, smooth=True, linear=True), seen).encoder.eval()
    with torch.no_grad():
        before = torch.linalg.eigvalsh(torch.cov(encoder(seen).mT)).sqrt()
        encoder.mix(rehearsal.scaling(encoder(seen), 0.25))
        unscaled = rehearsal.scaling(encoder(seen), 0.0)
        after = torch.linalg.eigvalsh(torch.cov(encoder(seen).mT)).sqrt()
    assert torch.allclose(after, before.sqrt(), rtol=1e-2)
    assert torch.allclose(unscaled, torch.eye(8), atol=1e-5), "power 0 changes nothing"


def test_an_encoder_of_the_scene_converges_and_one_of_noise_does_not(task, monkeypatch):
    monkeypatch.setattr(rehearsal, "RUNS", 4)
    torch.manual_seed(0)
    encoder = principal_autoencoder(
        Shape(18, 4, 32, 64, smooth=True, linear=True), task.workspace_pictures(64)
    ).encoder
    blind = copy.deepcopy(encoder)
    blind.mix(torch.zeros(32, 32).fill_diagonal_(1.0).roll(1, 0) * (torch.arange(32) > 29))
    steps: list[int] = []
    assert rehearsal.converged_runs(encoder, task, 60, lambda step, active: steps.append(step)) >= 6
    assert rehearsal.converged_runs(blind, task, 60, lambda step, active: None) <= 2
    assert steps == list(range(1, len(steps) + 1))


def test_a_large_camera_is_rehearsed_small(task, paper_camera, monkeypatch):
    monkeypatch.setattr(rehearsal, "RUNS", 4)
    torch.manual_seed(0)
    encoder = principal_autoencoder(
        Shape(18, 4, 32, 64, smooth=True, linear=True), task.workspace_pictures(64)
    ).encoder
    counts, cameras = [], []
    monkeypatch.setattr(
        rehearsal,
        "Simulator",
        lambda scene, camera, T: cameras.append(camera) or Simulator(scene, camera, T),
    )
    for camera in (paper_camera, paper_camera.resize(2240, 2240)):
        counts.append(
            rehearsal.converged_runs(
                encoder, replace(task, camera=camera), 60, lambda step, active: None
            )
        )
    assert cameras == [paper_camera, paper_camera.resize(256, 256)]
    assert abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize("better", [0, 1])
def test_the_better_scaling_is_kept(better, task, monkeypatch):
    torch.manual_seed(0)
    seen = task.workspace_pictures(32)
    encoder = principal_autoencoder(small(size=32, smooth=True, linear=True), seen).encoder.eval()
    power = rehearsal.POWERS[better]
    with torch.no_grad():
        wanted = encoder(seen[:9]) @ rehearsal.scaling(encoder(seen), power).mT
    counts, shown = iter([3 + (better == k) for k in range(2)]), []

    def converged_runs(encoder, task, steps, progress):
        progress(steps, 1)
        return next(counts)

    monkeypatch.setattr(rehearsal, "converged_runs", converged_runs)
    found = rehearsal.balance(encoder, task, 1000, lambda step, of: shown.append((step, of)))
    with torch.no_grad():
        assert torch.allclose(encoder(seen[:9]), wanted, atol=1e-4)
    assert found == {"rehearsed": {"power": power, "home": 4, "runs": 48}}
    assert shown == [(150, 300), (300, 300)], "it shows its progress"


def test_stopped_in_the_rehearsal_it_says_how_to_go_on(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "page.safetensors"
    command = [
        "learn",
        str(files / "picture.png"),
        "--method",
        "aevs",
        "--steps",
        "2",
        "--out",
        str(out),
    ]

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rehearsal, "converged_runs", stopped)
        assert main(command) == 2
    assert f"{out}.partial keeps the training: --resume goes on from it" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not out.exists()
    monkeypatch.setattr(rehearsal, "RUNS", 2)
    assert main([*command, "--resume"]) == 0 and out.exists()
