"""Encoders, and the interaction matrix of a network against `torch.func.jvp` and against rendered
motion.
"""

import dataclasses
import math
from functools import partial

import pytest
import torch
from torch import nn

from deepservo import PlanarScene
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.features.latent import Latent, seen_by
from deepservo.geometry import se3
from deepservo.methods.bank import REACH, Bank
from deepservo.methods.mlvs import MetricServo, Neighbours
from deepservo.nets.metric import ACTIVATIONS, MetricNet, PoseEncoder
from deepservo.nets.resnet import (
    BLOCKS,
    MIN_LOCAL_DEVIATION,
    Decoder,
    Encoder,
    Halve,
    Local,
    Shape,
    folded,
)
from deepservo.nets.tangent import RULES, with_tangents
from deepservo.scene import sampling
from tiny import lived_in, small

SHAPES = [
    small(), small(layers=34), small(norm="batch"), small(pool="average"),
    small(norm="batch", pool="average"), small(blocks=1), small(blocks=5),
    small(layers=34, blocks=9, norm="batch"), small(even=True), small(smooth=True),
    small(even=True, smooth=True, linear=True), small(even=True, local=True),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_tangents_are_those_of_jvp(shape, generator):
    """In float64, before and after folding: the plain twin differentiates the unfolded network."""
    net = lived_in(Encoder(shape), generator).double()
    images = torch.rand(2, 1, shape.size, shape.size, generator=generator, dtype=torch.float64)
    tangents = torch.randn(
        2, 6, 1, shape.size, shape.size, generator=generator, dtype=torch.float64
    )
    z = net(images)
    twin = torch.stack([torch.func.jvp(net, (images,), (tangents[:, k],))[1] for k in range(6)], -1)
    plain = folded(net)
    for each in (plain,) if shape.norm == "weight" else (plain, net):
        found, L = with_tangents(each, images, tangents)
        torch.testing.assert_close(found, z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(L, twin, rtol=1e-9, atol=1e-9)


def test_folding_a_copy_leaves_the_original_and_other_copies(generator):
    for norm in ("weight", "batch"):
        net = lived_in(Encoder(small(norm=norm)), generator)
        images = torch.rand(2, 1, 64, 64, generator=generator)
        before, twice = net(images), [folded(net)(images) for _ in range(2)]
        for z in (*twice, net(images)):
            torch.testing.assert_close(z, before)


def test_in_single_precision_they_agree_to_a_hundred_thousandth(generator):
    net = folded(lived_in(Encoder(small(width=16)), generator))
    images, tangents = (
        torch.rand(3, 1, 64, 64, generator=generator),
        torch.randn(3, 6, 1, 64, 64, generator=generator),
    )
    _, L = with_tangents(net, images, tangents)
    twin = torch.stack([torch.func.jvp(net, (images,), (tangents[:, k],))[1] for k in range(6)], -1)
    assert (L - twin).abs().max() < 1e-5 * twin.abs().max()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 6, 3, 2, 1, groups=3),
        nn.MaxPool2d(2),
        Halve(),
        nn.Upsample(scale_factor=2),
        nn.BatchNorm2d(3),
        nn.InstanceNorm2d(3),
        nn.ReLU(),
        nn.SiLU(),
    ],
)
def test_every_rule_is_that_of_jvp(layer, generator):
    layer = lived_in(layer, generator)
    images, tangents = (
        torch.randn(2, 3, 8, 8, generator=generator),
        torch.randn(2, 6, 3, 8, 8, generator=generator),
    )
    z, L = with_tangents(layer, images.clone(), tangents)
    torch.testing.assert_close(z, layer(images.clone()))
    for k in range(6):
        torch.testing.assert_close(
            L[..., k], torch.func.jvp(layer, (images.clone(),), (tangents[:, k],))[1]
        )


def test_halving_is_an_average_pool_and_its_gradient_too(generator):
    images = torch.randn(2, 3, 8, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    found, wanted = Halve()(images), nn.functional.avg_pool2d(images, 3, 2, 1)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        *(torch.autograd.grad(each, images, weights) for each in (found, wanted))
    )


def test_local_normalisation_shows_a_faint_texture_as_well_as_a_strong_one(generator):
    texture = torch.randn(1, 1, 64, 64, generator=generator, dtype=torch.float64)
    bright = torch.where(torch.arange(64) < 20, 3.0, 0.4 * texture)
    local, inside = Local(4.0), (slice(None), slice(40, None))
    (kept, found), (_, strong) = (local(each)[0] for each in (bright, texture))
    assert torch.equal(kept, bright[0, 0])
    assert float(found[inside].std()) == pytest.approx(float(strong[inside].std()), rel=0.05)
    y, x = 30, 50
    weights = torch.exp(
        -((torch.arange(64)[:, None] - y) ** 2 + (torch.arange(64) - x) ** 2) / (2 * 4.0**2)
    ).double()
    weights /= weights.sum()
    mean = (weights * bright[0, 0]).sum()
    deviation = ((weights * (bright[0, 0] - mean) ** 2).sum() + MIN_LOCAL_DEVIATION**2).sqrt()
    assert float(found[y, x]) == pytest.approx(float((bright[0, 0, y, x] - mean) / deviation))


def test_a_layer_without_a_rule_is_named():
    with pytest.raises(TypeError, match="GELU has no rule for tangents"):
        with_tangents(
            nn.Sequential(nn.Flatten(), nn.GELU()),
            torch.rand(1, 1, 2, 2),
            torch.rand(1, 6, 1, 2, 2),
        )
    assert nn.GELU not in RULES


def test_resnet_18_and_34_are_their_sizes():
    """Convolutions and the linear layer as in the original (He et al. 2016, Table 1), for one grey
    channel and 1000 answers.
    """
    for layers, parameters in ((18, 11_689_512), (34, 21_797_672)):
        net = Encoder(Shape(layers=layers, latent=1000, norm="batch", pool="average"))
        assert sum(p.numel() for p in net.parameters()) == parameters - 2 * 64 * 49, (
            "grey and not red, green, blue"
        )
        assert sum(BLOCKS[layers]) == len(Shape(layers=layers).stages())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_decoder_gives_a_picture_back(shape, generator):
    z = torch.randn(2, shape.latent, generator=generator)
    assert Decoder(shape)(z).shape == (2, 1, shape.size, shape.size)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 50}, "choose one of 18, 34"),
        ({"latent": 5}, "6 numbers or more"),
        ({"size": 100}, "multiple of 32"),
        ({"blocks": 9}, "has 8 residual blocks"),
    ],
)
def test_impossible_encoders_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        small(**changes)


@pytest.mark.parametrize(("smooth", "by"), [(False, 1e-4), (True, 1e-3)])
def test_L_z_against_rendered_motion(smooth, by, paper_camera, generator):
    """The camera moves along each axis and renders: a smooth scene and an untrained encoder. An
    untrained smooth encoder hardly responds, so that a step of 1e-4 would be lost in rounding.
    """
    v, u = torch.meshgrid(torch.linspace(0, 1, 480), torch.linspace(0, 1, 640), indexing="ij")
    scene = PlanarScene(
        (0.5 + 0.2 * torch.sin(23 * u + 5 * v) + 0.2 * torch.cos(17 * v - 8 * u))[None]
    )
    torch.manual_seed(0)
    features = Latent(paper_camera, folded(Encoder(small(width=8, latent=16, smooth=smooth))))
    T = sampling.look_at(
        torch.tensor([[0.02, 0.01, -0.5]]).double(),
        torch.tensor([[0.02, 0.03, 0.0]]).double(),
        torch.tensor([0.4]).double(),
    )
    _, L = features.measure(scene.render(paper_camera, T), scene.depth(paper_camera, T).float())
    step = by * torch.eye(6, dtype=torch.float64)
    ahead, behind = (
        features.s(scene.render(paper_camera, T @ se3.exp(sign * step))) for sign in (1, -1)
    )
    numeric = ((ahead - behind) / (2 * by)).mT
    error = (numeric - L[0]).norm(dim=0) / numeric.norm(dim=0)
    assert error.median() < 0.05, error


MOVED = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@pytest.mark.parametrize("windows", [5, 9])
def test_z_of_a_smooth_encoder_is_the_mean_of_what_several_cameras_see(
    windows, scene, paper_camera, generator
):
    """Each window is a camera: the picture that it would take is embedded. The encoder is trained
    on the middle one.
    """
    torch.manual_seed(0)
    encoder = folded(Encoder(small(width=8, latent=16, smooth=True)))
    features = Latent(paper_camera, encoder, windows)
    T = sampling.workspace(4, generator, 0.6)
    pixel, middle = 218 / 66, seen_by(paper_camera, 64)
    cameras = [
        dataclasses.replace(middle, cx=middle.cx + x, cy=middle.cy + y) for x, y in MOVED[:windows]
    ]
    assert middle.fx == pytest.approx(paper_camera.fx / pixel) and (
        middle.width,
        middle.height,
    ) == (64, 64)
    slowly = torch.stack([encoder(scene.render(camera, T)) for camera in cameras]).mean(0)
    found = features.s(scene.render(paper_camera, T))
    assert (found - slowly).norm() < 0.02 * (slowly - slowly.mean(0)).norm()
    one_off = encoder(scene.render(cameras[1], T))
    assert (one_off - slowly).norm() > 5 * (found - slowly).norm(), (
        "a shift of a pixel would exceed this"
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_L_of_a_pose_against_motion(activation, generator):
    """Rolls near half a turn are among them, where theta u would jump."""
    torch.manual_seed(0)
    phi = PoseEncoder(16, activation).double()
    T = sampling.workspace(6, generator)
    half = torch.zeros(2, 3, dtype=torch.float64)
    half[:, 2] = math.pi * torch.tensor([1 - 1e-9, -1 + 1e-9], dtype=torch.float64)
    T[:2, :3, :3], T[1, :3, 3] = se3.so3_exp(half), T[0, :3, 3]
    z, L = phi.measure(T.view(2, 3, 4, 4))
    assert (z[0, 0] - z[0, 1]).abs().max() < 1e-7, (
        "slightly more or less than half a turn is the same"
    )
    step = 1e-6 * torch.eye(6, dtype=torch.float64)
    with torch.no_grad():
        numeric = (phi(T[:, None] @ se3.exp(step)) - phi(T[:, None] @ se3.exp(-step))).mT / 2e-6
    torch.testing.assert_close(L.view(6, 16, 6), numeric, rtol=1e-5, atol=1e-8)


# the bank of poses


@pytest.fixture(scope="module")
def bank():
    torch.manual_seed(0)
    phi = PoseEncoder(16).requires_grad_(False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "deepservo.methods.bank.NEAR_COUNT", 150
        )  # one in a hundred, as in the whole bank
        return Bank(phi, torch.eye(4, dtype=torch.float64), grid=5), phi


def test_the_bank_finds_what_looking_at_all_of_it_finds(bank, generator):
    kept, _ = bank
    wanted = kept.embedded[torch.randint(len(kept.r), (50,), generator=generator)]
    wanted = wanted + 0.1 * wanted.std() * torch.randn(wanted.shape, generator=generator)
    found, apart = kept.nearest(
        wanted, 20, probed=64
    )  # 200 poses a neighbour; in the whole bank it is 600
    exact, distances = kept.exact(wanted, 20)
    recall = [
        len(set(a.tolist()) & set(b.tolist())) / 20 for a, b in zip(found, exact, strict=True)
    ]
    assert sum(recall) / len(recall) > 0.99
    assert (apart[:, 0] - distances[:, 0]).abs().max() < 1e-3
    assert all(len(set(row.tolist())) == 20 for row in found)


def test_the_bank_holds_the_embeddings_of_its_poses_and_the_goal_is_in_its_middle(bank, generator):
    _, phi = bank
    T_goal = sampling.look_at(
        *(torch.tensor(x).double() for x in ([0.1, -0.2, -1.1], [0.0, 0.1, 0.0], 0.5))
    )
    T_goal[2, 3] += 1
    kept = Bank(phi, T_goal, grid=5)
    assert len(kept.r) == 5**6 + 10_000
    torch.testing.assert_close(phi(kept.poses(kept.r[::1000])), kept.embedded[::1000])
    metres, radians = se3.distance(kept.poses(kept.r).double(), T_goal)
    assert float((metres + radians).min()) < 0.02
    assert bool(((kept.r - kept.r.mean(0)).abs() <= torch.tensor(REACH) + 1e-2).all())


@pytest.mark.parametrize("weights", ["inverse", "printed"])
def test_L_of_the_bank_is_equation_13(weights, scene, paper_camera, monkeypatch):
    monkeypatch.setattr("deepservo.methods.mlvs.Bank", partial(Bank, grid=4))
    torch.manual_seed(0)
    net = MetricNet(small(size=32))
    servo = MetricServo(paper_camera, net, 0.6, neighbours=Neighbours(7, weights))
    servo.set_goal(scene.render(paper_camera, sampling.fronto_parallel(0.6)))
    z = servo.state["z"] + 0.01
    exact, apart = servo.bank.exact(z, 7)
    L = torch.zeros(z.shape[1], 6)
    for j, d in zip(exact[0], apart[0], strict=True):
        a = (
            float(d) / float(apart.sum())
            if weights == "printed"
            else (1 / float(d)) / float((1 / apart).sum())
        )
        L += (
            a
            * net.poses.requires_grad_(False).measure(servo.bank.poses(servo.bank.r[j])[None])[1][0]
        )
    torch.testing.assert_close(servo._L(z)[0], L, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--method", "cnn", "--preset", "gpu"],
            "no preset of cnn 'gpu'; did you mean cpu? choose one of cpu, paper",
        ),
        (["--method", "aves"], "did you mean aevs?"),
    ],
)
def test_unknown_recipes_are_refused(options, words, files, tmp_path, capsys):
    assert (
        main(
            [
                "learn",
                str(files / "picture.png"),
                "--out",
                str(tmp_path / "m.safetensors"),
                "--steps",
                "2",
                *options,
            ]
        )
        == 2
    )
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())
