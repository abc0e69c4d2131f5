"""The network for unseen scenes: its training data, and that it learns."""

import math
from itertools import pairwise

import pytest
import torch

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.nets.pair import CELL, PairNet, cell_centres
from deepservo.scene import PlanarScene
from deepservo.scene.textures import texture
from deepservo.training.tasks.pair import (
    PICTURES_PER_BATCH,
    PairTask,
    Textures,
    corresponding_pixels,
    degraded,
    pairs,
)
from deepservo.training.tasks.task import generator


def test_pairs_look_at_the_same_and_roll_little_against_each_other():
    goals, views = pairs(500, generator(0, 0))
    assert ((goals[:, 2, 3] < -0.75) & (goals[:, 2, 3] > -1.3)).all() and (
        views[:, 2, 3] <= -0.35
    ).all()
    metres, radians = se3.distance(goals, views)
    assert metres.quantile(0.9) > 0.9 and metres.quantile(0.1) < 0.4, "far ones and near ones"
    assert 20 < radians.rad2deg().median() < 60
    x = (goals[:, :3, 0] * views[:, :3, 0]).sum(1)
    assert x.quantile(0.05) > math.cos(math.radians(65)), (
        "the right half is still on the right, foreshortened"
    )


def test_a_cell_is_sought_where_the_other_picture_shows_what_it_sees():
    """The plain twin renders a picture whose grey level is its own x, or y: every pixel then shows
    which place it sees.
    """
    camera = Camera(64, 64, 80.0, 80.0, 33.0, 30.0)
    goals, views = pairs(20, generator(1, 0))
    ramp = torch.linspace(0, 1, 256)
    for axis, grey in enumerate((ramp.expand(1, 256, 256), ramp[:, None].expand(1, 256, 256))):
        scene = PlanarScene(grey.contiguous(), width=8.0)
        at_goal, at_view = scene.render(camera, goals), scene.render(camera, views)
        px, seen = corresponding_pixels(camera.K.expand(20, 3, 3), goals, views, 64)
        inside = seen & (px > 1).all(-1) & (px < 62).all(-1)
        assert inside.float().mean() > 0.1
        grid = (px.float() + 0.5) / 32 - 1
        shown = torch.nn.functional.grid_sample(at_goal, grid[:, :, None], align_corners=False)[
            :, 0, :, 0
        ]
        centres = (cell_centres(64, 64).float() + 0.5) / 32 - 1
        own = torch.nn.functional.grid_sample(
            at_view, centres.expand(20, -1, -1)[:, :, None], align_corners=False
        )[:, 0, :, 0]
        assert (shown - own)[inside].abs().max() < 3e-3, axis


def test_textures_are_a_function_of_seed_and_step():
    walked, jumped = Textures(), Textures()
    steps = [walked.at(3, step) for step in range(10)]
    assert all(torch.equal(a, b) for a, b in zip(steps[9], jumped.at(3, 9), strict=True))
    new = [
        sum(not torch.equal(a, b) for a, b in zip(*each, strict=True)) for each in pairwise(steps)
    ]
    assert new == [1] * 9, "one new picture a step"
    given = (torch.arange(5) / 10)[:, None, None, None].expand(5, 1, 40, 50)
    assert torch.isin(Textures(given).at(0, 0), given).all()


def test_degraded_pictures_stay_in_range():
    images = texture((64, 64), generator(0, 0)).expand(64, 1, 64, 64)
    worse = degraded(images, generator(0, 1))
    assert worse.min() >= 0 and worse.max() <= 1
    untouched = (worse == images).flatten(1).all(1).float().mean()
    assert 0.05 < untouched < 0.4


def test_light_on_a_part_of_the_picture_hardly_changes_what_the_network_sees():
    picture = texture((128, 128), generator(0, 2))[None]
    shaded = picture * torch.linspace(0.5, 1, 128)
    seen = PairNet().seen
    assert (seen(picture)[:, 1] - seen(shaded)[:, 1]).abs().mean() < 0.1 * (
        picture - shaded
    ).abs().mean() / picture.std()


def test_it_learns_to_distinguish_cells():
    torch.manual_seed(0)
    net, task = PairNet(width=8, numbers=16).train(), PairTask(batch=PICTURES_PER_BATCH)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for step in range(16):
        loss = task.loss(net, 0, step % 2)  # the same pictures over and over
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.85 * sum(losses[:4])
    assert task.loss(net, 0, 5).item() == task.loss(net, 0, 5).item(), (
        "the batch of a step is always the same"
    )


def test_a_batch_may_have_fewer_pairs_than_pictures():
    net, task = PairNet(width=8, numbers=16).train(), PairTask(batch=PICTURES_PER_BATCH // 2)
    assert torch.isfinite(task.loss(net, 0, 0)), "a batch that was halved where memory is short"


def test_matches_are_answered_for_pictures_of_any_multiple_of_a_cell():
    net = PairNet(width=4, numbers=8).eval()
    with torch.no_grad():
        a, b = net(torch.rand(2, 1, 64, 96)), net(torch.rand(2, 1, 40, 48))
        logits = net.similar(a.flatten(2), b.flatten(2))
    assert a.shape == (2, 8, 64 // CELL, 96 // CELL) and (a.norm(dim=1) - 1).abs().max() < 1e-5
    assert logits.shape == (2, 5 * 6, 8 * 12 + 1)
    best = logits[..., :-1].argmax(-1)
    same = net.similar(a.flatten(2), a.flatten(2))[..., :-1].argmax(-1)
    assert best.max() < 96 and torch.equal(same, torch.arange(96).expand(2, -1)), (
        "a picture matches itself"
    )


def test_an_impossible_pair_network_is_refused():
    with pytest.raises(InputError, match="width 0"):
        PairNet(width=0)
