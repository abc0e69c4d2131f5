"""Every training loss against a plain twin that takes one pose, cell, point or pair at a time."""

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.nets.keypoint import Found, KeypointNet
from deepservo.nets.pose import GRID
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.presets import preset_of
from deepservo.training.tasks.keypoint import Learner, _inside, losses
from deepservo.training.tasks.latent import (
    AutoEncoderTask,
    IsometryTask,
    MetricTask,
    motions,
    scales,
)
from deepservo.training.tasks.pair import _matching_loss
from deepservo.training.tasks.pose import PoseTask
from deepservo.training.tasks.task import generator

CAMERA = Camera(64, 48, 80.0, 84.0, 30.0, 25.0)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm())


def d_SE3(a: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """The distance of two poses: translation and angle, each divided by its mean in the
    workspace.
    """
    cosine = float(((a[:3, :3].T @ b[:3, :3]).trace() - 1) / 2)
    return apart(a[:3, 3], b[:3, 3]) / scales()[0], math.acos(
        min(1.0, max(-1.0, cosine))
    ) / scales()[1]


def test_the_scales_are_means_over_pairs_of_poses_of_the_workspace():
    T = sampling.workspace(300, torch.Generator().manual_seed(5), 1.0)
    metres, radians = np.mean([se3.distance(T, T.roll(k, 0)) for k in (1, 2, 5)], axis=(0, 2))
    assert scales() == pytest.approx((metres, radians), rel=0.1)


def test_poses_are_learned_by_the_likelihood_of_two_dimensional_laplace_errors(texture):
    """`-log p = |e| / width + 2 log width` of each cell that does not see the plane too flat. Cells
    of the surround count a twentieth.
    """
    wide = Camera(64, 48, 24.0, 25.0, 30.0, 25.0)
    task = PoseTask(PlanarScene(texture(1), 0.5, 0.1), wide, 0.6, batch=6)
    out = (
        torch.randn(6, 3, GRID, GRID, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 1.0, 5.0])[:, None, None]
    )
    net = type("Net", (), {"size": 64, "__call__": lambda self, images: out})()
    T = sampling.workspace(6, generator(3, 2), 0.6)
    covered = (
        task.scene.render_covered(wide.resize(64, 64), T)[1]
        .numpy()
        .reshape(6, GRID, 8, GRID, 8)
        .mean((2, 4))
    )
    total, weights, shallow = 0.0, 0.0, 0
    for b, y, x in product(range(6), range(GRID), range(GRID)):
        u, v = (x + 0.5) * wide.width / GRID - 0.5, (y + 0.5) * wide.height / GRID - 0.5
        ray = T[b, :3, :3].numpy() @ [(u - wide.cx) / wide.fx, (v - wide.cy) / wide.fy, 1.0]
        if ray[2] / np.linalg.norm(ray) <= 0.15:
            shallow += 1
            continue
        point = T[b, :2, 3].numpy() - T[b, 2, 3].item() / ray[2] * ray[:2]
        log_width, weight = float(out[b, 2, y, x].clamp(-6, 3)), 0.05 + covered[b, y, x]
        total += weight * (
            np.linalg.norm(out[b, :2, y, x].numpy() - point / 0.6) / math.exp(log_width)
            + 2 * log_width
        )
        weights += weight
    assert shallow > 10 and (covered == 0).any() and (covered > 0.9).any()
    assert task.loss(net, 3, 2).item() == pytest.approx(total / weights, rel=1e-3)


def test_poses_are_learned_before_the_scenes_own_surround_and_before_any_grey(monkeypatch, texture):
    """Half of the pictures each."""
    seen = []
    monkeypatch.setattr(
        "deepservo.training.tasks.pose.perturbed", lambda images, g: seen.append(images) or images
    )
    task = PoseTask(PlanarScene(texture(1), 0.1, 0.25), CAMERA, 0.6, batch=200)
    task.loss(
        type(
            "Net",
            (),
            {"size": 32, "__call__": lambda self, images: torch.zeros(200, 3, GRID, GRID)},
        )(),
        0,
        0,
    )
    surround = seen[0][:, 0, 0, 0]
    own = (surround - 0.25).abs() < 1e-3
    assert 0.4 < own.double().mean() < 0.6 and surround[~own].std() > 0.2


def test_cells_are_learned_by_the_cross_entropy_of_the_four_about_each_place():
    """The four are weighted by nearness. A cell that is not shown should say so, with weight 0.3.
    The surround counts 0.02.
    """
    cells, g = 5, torch.Generator().manual_seed(0)
    logits, seen = torch.randn(2, 25, 26, generator=g), torch.rand(2, 25, generator=g) < 0.9
    px, covered = (
        60 * torch.rand(2, 25, 2, generator=g) - 10,
        (torch.rand(2, 25, generator=g) < 0.8).float(),
    )
    px[0, 0], px[0, 1], px[0, 2] = (
        torch.tensor([0.4, 20.0]),
        torch.tensor([39.0, 39.2]),
        torch.tensor([40.0, 20.0]),
    )
    p = logits.double().softmax(-1).numpy()
    total, weights, kinds = 0.0, 0.0, set()
    for b, k in product(range(2), range(25)):
        x, y = px[b, k].double().numpy()
        shown = bool(seen[b, k]) and -0.5 < x < 39.5 and -0.5 < y < 39.5
        x, y = (min(max((each + 0.5) / 8 - 0.5, 0), cells - 1) for each in (x, y))
        cost = -0.3 * math.log(p[b, k, -1])
        if shown:
            cost = 0.0
            for i, j in product(range(cells), range(cells)):
                cost -= (
                    max(0, 1 - abs(x - i))
                    * max(0, 1 - abs(y - j))
                    * math.log(p[b, k, j * cells + i])
                )
        total += (0.02 + covered[b, k].item()) * cost
        weights += 0.02 + covered[b, k].item()
        kinds.add(shown)
    assert kinds == {True, False}
    assert _matching_loss(logits, px.double(), seen, covered, cells).item() == pytest.approx(
        total / weights, rel=1e-5
    )


def test_pictures_and_poses_are_learned_by_the_sum_of_equations_9_10_and_11(scene):
    """MLVS's distances: between poses, from pictures to poses, and between copies of a picture,
    squared as in its code.
    """
    task, made = MetricTask(scene, CAMERA, 0.6, anchors=4, neighbours=2, copies=2, pool=30), []

    class Images:
        shape = SimpleNamespace(size=16)

        def __call__(self, seen: torch.Tensor) -> torch.Tensor:
            made.append(torch.randn(len(seen), 3, generator=torch.Generator().manual_seed(7)))
            return made[0]

    mixed = torch.randn(12, 3, generator=torch.Generator().manual_seed(8))
    found = task.loss(
        SimpleNamespace(images=Images(), poses=lambda T: T[:, :3].flatten(1).float() @ mixed), 1, 4
    )
    pool = to_reference(sampling.workspace(30, generator(1, 4), 0.6), 0.6)
    chosen = [
        sorted(range(30), key=lambda k, a=a: sum(d_SE3(pool[a], pool[k])))[:3] for a in range(4)
    ]
    T = torch.cat([pool[each] for each in chosen])
    of_poses = T[:, :3].flatten(1).float() @ mixed
    of_images = made[0].view(3, 12, 3)
    pairs, copies = list(product(range(12), repeat=2)), list(product(range(3), repeat=2))
    poses = np.mean(
        [(sum(d_SE3(T[i], T[j])) - apart(of_poses[i], of_poses[j])) ** 2 for i, j in pairs]
    )
    both = [
        apart(of_images[c, i], of_poses[j]) - apart(of_poses[i], of_poses[j])
        for c in range(3)
        for i, j in pairs
    ]
    alike = [apart(of_images[a, i], of_images[b, i]) ** 2 for a, b in copies for i in range(12)]
    assert found.item() == pytest.approx(
        poses + np.mean(np.square(both)) + np.mean(alike), rel=1e-3
    )


def test_an_isometry_is_learned_by_distances_whose_errors_count_by_their_share():
    """The root of the sum of squares: from eight poses near each, and from four others."""
    T = to_reference(sampling.workspace(6, torch.Generator().manual_seed(1), 0.6), 0.6)
    mixed = torch.randn(12, 5, generator=torch.Generator().manual_seed(2))

    def phi(T: torch.Tensor) -> torch.Tensor:
        return T[..., :3, :].flatten(-2).float() @ mixed

    found = IsometryTask._isometry(None, phi, T, torch.Generator().manual_seed(3))
    moved = T @ se3.exp(motions(0.03, (8, 6), torch.Generator().manual_seed(3)))
    total = []
    for k in range(6):
        for other in [*moved[:, k], *(T[(k - way) % 6] for way in range(1, 5))]:
            wanted = math.hypot(*d_SE3(T[k], other))
            total.append(((apart(phi(T[k]), phi(other)) - wanted) / (wanted + 0.02)) ** 2)
    assert found.item() == pytest.approx(np.mean(total), rel=1e-2)


def test_pixels_are_given_back_by_equation_8(scene):
    """AEVS's binary cross-entropy."""
    g = torch.Generator().manual_seed(0)
    found, images = torch.rand(2, 1, 5, 5, generator=g), torch.rand(2, 1, 5, 5, generator=g)
    loss = AutoEncoderTask(scene, CAMERA, 0.6, loss_of="pixel")._reconstruction_loss(found, images)
    p, t = found.double().numpy(), images.double().numpy()
    assert loss.item() == pytest.approx(np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p)), rel=1e-5)
    outside = AutoEncoderTask(scene, CAMERA, 0.6, loss_of="pixel")._reconstruction_loss(
        3 * found - 1, images
    )
    assert torch.isfinite(outside)


def test_a_place_counts_as_seen_on_the_pixels_that_show_something():
    """At the picture's border and beyond it."""
    covered = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0))
    v, u = torch.meshgrid(torch.arange(-2.0, 7.0), torch.arange(-2.0, 9.0), indexing="ij")
    px = torch.stack([u.flatten(), v.flatten()], 1) + torch.tensor([0.4, -0.4])
    expected = torch.nn.functional.pad(covered > 0.5, (2, 2, 2, 2)).flatten(1)
    assert torch.equal(_inside(px.expand(2, -1, -1), covered), expected)


def test_keypoints_are_learned_as_tang_has_them():
    """The losses of place, score, descriptor and outlier. Several points of a and b are outside, on
    nothing, or beside their partner.
    """
    torch.manual_seed(0)
    learner, g = Learner(KeypointNet(4, 16)), torch.Generator().manual_seed(1)
    n, size = 20, 64
    a, b = (
        Found(
            torch.rand(2, n, generator=g),
            70 * torch.rand(2, n, 2, generator=g) - 3,
            torch.randn(2, 8, 16, 16, generator=g),
        )
        for _ in "ab"
    )
    H = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    H[0, :2, 2], H[1, 2, 0], H[1, 0, 1] = torch.tensor([3.0, -2.0], dtype=torch.float64), 0.002, 0.1
    b.px[:, : n - 3] = there_of(a.px, H)[:, : n - 3].flip(1) + 1.5 * torch.randn(
        2, n - 3, 2, generator=g
    )
    covered = torch.ones(2, size, size)
    covered[:, :, 40:] = 0
    found, expected = losses(learner, a, b, H, covered), tangs_losses(learner, a, b, H, covered)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        expected, rel=1e-3, abs=1e-5
    )


def tangs_losses(
    learner: Learner, a: Found, b: Found, H: torch.Tensor, covered: torch.Tensor
) -> dict[str, float]:
    """The plain twin of `losses`, point by point."""
    n, size = a.px.shape[1], covered.shape[1]
    sharp = learner.net.sharpness.exp().item()
    like = [x.double().numpy() for x in (a.describe(a.px) @ b.describe(b.px).mT * sharp).detach()]
    place, entropy, pairs, matches, correct = [], [], [], [], []
    for k, i in product(range(2), range(n)):
        u, v = there_of(a.px, H)[k, i].double().numpy()
        away = np.linalg.norm(b.px[k].double().numpy() - [u, v], axis=1)
        j, guess = int(away.argmin()), int(like[k][i].argmax())
        matches.append(
            [
                *(2 * a.px[k, i] / size - 1),
                *(2 * b.px[k, guess] / size - 1),
                1 - like[k][i].max() / sharp,
            ]
        )
        correct.append(float(away[guess] < 4))
        if (
            0 <= round(u) < size
            and 0 <= round(v) < size
            and covered[k, round(v), round(u)] > 0.5
            and away[j] < 4
        ):
            place.append(away[j])
            pairs.append((float(a.scores[k, i]), float(b.scores[k, j]), away[j]))
            counted = [like[k][i][m] for m in range(n) if away[m] < 4 or away[m] > 8]
            entropy.append(math.log(sum(map(math.exp, counted))) - like[k][i][j])
    assert 3 < len(place) < 2 * n - 6, "some are paired, and some are not"
    usual = np.mean(place)
    score = np.mean([(p + q) / 2 * (away - usual) + (p - q) ** 2 for p, q, away in pairs])
    logits = learner.outliers(torch.tensor(matches).float().view(2, n, 5)).double()
    judged = logits.sigmoid().flatten().detach().numpy()
    outlier = np.mean(
        [-math.log(p if right else 1 - p) for p, right in zip(judged, correct, strict=True)]
    )
    return {"place": usual, "score": score, "descriptor": np.mean(entropy), "outlier": outlier}


def there_of(px: torch.Tensor, H: torch.Tensor) -> torch.Tensor:
    """Pixels through homographies."""
    p = torch.cat([px.double(), torch.ones(*px.shape[:2], 1, dtype=torch.float64)], -1) @ H.mT
    return (p[..., :2] / p[..., 2:]).float()


@pytest.mark.parametrize(
    ("method", "preset", "published"),
    [
        ("cnn", "paper", {"batch": 50, "rate": 1e-4}),
        (
            "siamese-se3",
            "paper",
            {"batch": 25, "rate": 1e-4, "goals": 1, "loss_of": "four", "law": "se3"},
        ),
        (
            "siamese-SE3",
            "paper",
            {"batch": 25, "rate": 1e-4, "goals": 1, "loss_of": "two", "law": "SE3"},
        ),
        ("siamese-se3", "cpu", {"batch": 64, "rate": 2e-3, "goals": 8}),
        ("cnn", "cpu", {"batch": 64}),
        ("aevs", "cpu", {"batch": 96}),
        ("aevs", "paper", {"batch": 50, "rate": 1e-3, "loss_of": "frequency", "straightness": 0}),
        (
            "mlvs",
            "paper",
            {"anchors": 64, "neighbours": 3, "copies": 2, "rate": 1e-4, "batch": 64 * 4 * 3},
        ),
    ],
)
def test_published_recipes_have_the_published_numbers(method, preset, published, scene):
    """What is not published is as the method's page says."""
    chosen = preset_of(method, preset)
    task = chosen.task(scene, CAMERA, 0.6)
    assert {name: getattr(task, name) for name in published} == published
    steps = {("cnn", "paper"): 50 * 11_000 / 50, ("siamese-se3", "paper"): 50 * 100_000 / 25}.get(
        (method, preset)
    )
    assert steps is None or chosen.steps == steps
