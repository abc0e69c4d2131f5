"""The keypoint network: its points, its descriptors, and its losses."""

import pytest
import torch

from deepservo.errors import InputError
from deepservo.nets.keypoint import POINT_REACH, Found, KeypointNet
from deepservo.nets.pair import CELL, cell_centres
from deepservo.training.tasks.keypoint import SIZE, KeypointTask, Learner, losses, warped


def learner(seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    return Learner(KeypointNet(4, 16))


def test_a_point_for_each_cell_near_its_cell():
    found = KeypointNet(4, 16).eval()(torch.rand(2, 1, 48, 64))
    assert (
        found.scores.shape == (2, 48)
        and found.px.shape == (2, 48, 2)
        and found.dense.shape[2:] == (12, 16)
    )
    assert found.describe(found.px).shape == (2, 48, 16)
    assert (found.px - cell_centres(48, 64)).abs().max() <= POINT_REACH * CELL / 2
    assert ((found.scores > 0) & (found.scores < 1)).all()


def test_light_does_not_change_what_is_found():
    net = KeypointNet(4, 16).eval()
    image = torch.rand(1, 1, 64, 64)
    bright, dark = net(image), net(0.5 * image + 0.2)
    assert torch.allclose(bright.px, dark.px, atol=1e-2) and torch.allclose(
        bright.scores, dark.scores, atol=1e-3
    )


def test_descriptors_are_those_of_the_place():
    """The grid holds its own coordinates: the descriptor at a pixel is that pixel, up to
    its length.
    """
    y, x = torch.meshgrid(4 * torch.arange(12.0) + 1.5, 4 * torch.arange(16.0) + 1.5, indexing="ij")
    dense = torch.stack([x, y, torch.full_like(x, 30.0)])[None]
    px = torch.tensor([[[10.0, 20.0], [33.3, 41.7], [1.5, 1.5]]])
    d = Found(torch.rand(1, 3), px, dense).describe(px)
    assert torch.allclose(30 * d[..., :2] / d[..., 2:], px, atol=1e-3) and torch.allclose(
        d.norm(dim=-1), torch.ones(1, 3)
    )


def test_the_homography_takes_one_view_to_the_other(monkeypatch):
    """With clean pictures: the second, sampled where the first's pixels are mapped, is the
    first.
    """
    task, net = KeypointTask(batch=8), learner().net
    seen = []
    net.forward = lambda images: (
        seen.append(images)
        or Found(*(torch.zeros(len(images), 1, *([2] if k else [])) for k in range(2)), images)
    )
    monkeypatch.setattr("deepservo.training.tasks.pair.degraded", lambda images, g: images)
    _, _, H, covered = task.found(net, 0, 3)
    first, second = seen[0].chunk(2)
    px = cell_centres(SIZE, SIZE).float().expand(8, -1, -1)
    there = warped(H, px)
    inside = (there > 2).all(-1) & (there < SIZE - 3).all(-1)

    def at(images: torch.Tensor, px: torch.Tensor) -> torch.Tensor:
        smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
        return torch.nn.functional.grid_sample(
            smooth, ((2 * px + 1) / SIZE - 1)[:, None].float(), align_corners=False
        )[:, 0, 0]

    assert inside.float().mean() > 0.2
    assert (at(first, px) - at(second, there))[inside].abs().median() < 0.03
    assert covered.shape == (8, SIZE, SIZE)


def exact(n: int = 5) -> tuple[Found, Found, torch.Tensor, torch.Tensor]:
    """Points that two views agree on, each with a descriptor of its own."""
    g = torch.Generator().manual_seed(0)
    H = torch.eye(3, dtype=torch.float64)[None].clone()
    H[0, 0, 2] = 3.0
    px = torch.tensor([[[20.0, 20.0], [60.0, 20.0], [20.0, 60.0], [60.0, 60.0], [90.0, 90.0]]])[
        :, :n
    ]
    dense = torch.randn(1, 64, 32, 32, generator=g)
    moved = torch.nn.functional.grid_sample(
        dense,
        torch.nn.functional.affine_grid(
            torch.tensor([[[1.0, 0, -2 * 3 / 128], [0, 1, 0]]]),
            (1, 64, 32, 32),
            align_corners=False,
        ),
        padding_mode="border",
        align_corners=False,
    )
    scores = torch.full((1, n), 0.5)
    return (
        Found(scores, px, dense),
        Found(scores, px + torch.tensor([3.0, 0.0]), moved),
        H,
        torch.ones(1, 128, 128),
    )


def test_losses_of_points_that_agree_are_small_and_grow_when_they_do_not():
    a, b, H, covered = exact()
    right = losses(learner(), a, b, H, covered)
    assert right["place"] < 1e-4 and right["score"].abs() < 1e-4 and right["descriptor"] < 0.01
    off = Found(b.scores, b.px + torch.tensor([2.0, 0.0]), b.dense)
    assert losses(learner(), a, off, H, covered)["place"].item() == pytest.approx(2.0, abs=1e-4)
    unsure = Found(b.scores * 0.2, b.px, b.dense)
    assert losses(learner(), a, unsure, H, covered)["score"].item() == pytest.approx(
        0.4**2, abs=1e-4
    )
    foreign = Found(b.scores, b.px, b.dense.flip(1))
    assert losses(learner(), a, foreign, H, covered)["descriptor"] > 1.0
    nowhere = losses(learner(), a, b, H, torch.zeros(1, 128, 128))
    assert all(torch.isfinite(value) for value in nowhere.values()) and nowhere["place"] == 0


def test_it_learns():
    """A few steps on one batch: every weight is reached, and the loss falls."""
    task, taught = KeypointTask(batch=8), learner()
    optimizer = torch.optim.AdamW(taught.parameters(), 3e-3)
    before = task.loss(taught, 0, 0)
    for _ in range(8):
        optimizer.zero_grad()
        task.loss(taught, 0, 0).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in taught.parameters())
        optimizer.step()
    assert task.loss(taught, 0, 0) < before - 0.5


@pytest.mark.parametrize("config", [{"width": 0}, {"numbers": 2000}])
def test_an_impossible_network_is_refused(config):
    with pytest.raises(InputError, match="keypoint network"):
        KeypointNet(**config)
