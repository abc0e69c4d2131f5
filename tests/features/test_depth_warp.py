"""Views warped by depth: in C as in torch, as by a plane, and without what is hidden."""

import pytest
import torch

from deepservo.camera import Camera
from deepservo.features.alignment import align, align_reference
from deepservo.features.depth_warp import warp_by_depth, warp_by_depth_reference
from deepservo.features.pairs import Pairs, projections
from deepservo.features.registration import MIN_RESIDUAL_SCALE, Registration
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, sampling, solid_kinds
from tilted_planes import plane_of

CAMERA, N = Camera(160, 120, 160.0, 160.0, 79.5, 59.5), 3
T_WORLD_GOAL = sampling.look_at(
    torch.tensor([[0.15, 0.1, -0.55]]).double(), torch.zeros(1, 3).double(), torch.zeros(1).double()
)
SCALE = torch.tensor([0.02, 0.02, 0.02, 0.05, 0.05, 0.1], dtype=torch.float64)
TWISTS = SCALE * torch.randn(N, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
PLANE = PlanarScene(bundled("coffee"), 0.8)
STEPS = solid_kinds.steps(PLANE, 0.6, 0)


def registration(scene, by_depth: bool) -> tuple[Registration, torch.Tensor]:
    """Of the goal, and the pictures of N views."""
    found = Registration(CAMERA, scene.render(CAMERA, T_WORLD_GOAL), plane_of(T_WORLD_GOAL))
    if by_depth:
        found.set_depth(1 / scene.depth(CAMERA, T_WORLD_GOAL))
    return found, scene.render(CAMERA, T_WORLD_GOAL @ se3.exp(TWISTS))


def pairs_at(found: Registration, images: torch.Tensor, level: int) -> Pairs:
    views, goals = found.views(images), found.levels[level]
    floor = (MIN_RESIDUAL_SCALE[level] * goals.spread).expand(N, 1)
    noise = views.noise / 2**level
    return Pairs.of(views.levels[level], found.cameras[level], noise, goals, floor)


@pytest.mark.parametrize("level", range(4))
def test_a_warp_in_c_is_the_warp_in_torch(level):
    found, images = registration(STEPS, True)
    pairs = pairs_at(found, images, level)
    seen = projections(se3.exp(TWISTS), pairs.goals, pairs.camera)
    fast, slow = (
        warp(pairs.views, seen.matrix, seen.shift, pairs.goals.map)
        for warp in (warp_by_depth, warp_by_depth_reference)
    )
    assert 0.4 < fast[1].mean() < 0.95, "some pixels are out of view, and some hidden"
    # A pixel at the very middle between two may be rounded to either.
    for a, b in zip(fast, slow, strict=True):
        assert ((a - b).abs() > 1e-4).float().mean() < 1e-3


@pytest.mark.parametrize("level", range(4))
def test_steps_by_depth_in_c_are_the_steps_in_torch(level):
    found, images = registration(STEPS, True)
    pairs, start = pairs_at(found, images, level), se3.exp(0.7 * TWISTS)
    fast, slow = (aligned(pairs, start, 4, level, None) for aligned in (align, align_reference))
    assert se3.distance(fast[0], slow[0])[0].max() < 2e-5
    assert (fast[1].gain_bias - slow[1].gain_bias).abs().max() < 1e-3


def test_the_depth_of_a_plane_registers_as_the_plane_does():
    runs, start = torch.arange(N), torch.eye(4, dtype=torch.float64).repeat(N, 1, 1)
    found = []
    for by_depth in (False, True):
        registered, images = registration(PLANE, by_depth)
        views = registered.views(images)
        found.append(registered.refine(views, start, ((3, 12), (2, 6), (1, 3), (0, 2)), runs))
    assert se3.distance(*found)[0].max() < 1e-6


def test_a_solid_is_registered_by_its_depth_and_not_by_a_plane():
    runs, start = torch.arange(N), torch.eye(4, dtype=torch.float64).repeat(N, 1, 1)
    off = {}
    for by_depth in (False, True):
        registered, images = registration(STEPS, by_depth)
        views = registered.views(images)
        T = registered.refine(views, start, ((3, 12), (2, 8), (1, 16), (0, 16)), runs)
        off[by_depth] = float(se3.distance(T, se3.exp(TWISTS))[0].max())
    assert off[True] < 5e-4 and off[False] > 5e-3, off


def test_what_is_nearer_hides_what_is_behind_it():
    """A box in the goal's left half comes over its right half as the camera moves to the left."""
    inverse = torch.full((1, 20, 40), 1.0)
    inverse[:, :, :20] = 4.0
    K = torch.tensor([[40.0, 0, 19.5], [0, 40, 9.5], [0, 0, 1]], dtype=torch.float64)
    rotation, shift = torch.eye(3).double()[None], (K @ torch.tensor([0.05, 0, 0]).double())[None]
    view = torch.linspace(0, 1, 40).expand(1, 1, 20, 40)
    for warp in (warp_by_depth, warp_by_depth_reference):
        _, cover = warp(view, rotation, shift, inverse)
        # The box moves by 8 pixels, what is behind it by 2: it hides 6 of those pixels.
        assert (cover[0, 10, :20] > 0.99).all()
        assert (cover[0, 10, 20:25] == 0).all() and (cover[0, 10, 27:37] > 0.99).all()


def test_pixels_of_unknown_depth_do_not_count():
    found, images = registration(STEPS, True)
    inverse = 1 / STEPS.depth(CAMERA, T_WORLD_GOAL)
    inverse[:, 30:60, 40:90] = 0
    found.set_depth(inverse)
    pairs = pairs_at(found, images, 0)
    seen = projections(se3.exp(TWISTS), pairs.goals, pairs.camera)
    for warp in (warp_by_depth, warp_by_depth_reference):
        _, cover = warp(pairs.views, seen.matrix, seen.shift, pairs.goals.map)
        assert (cover[:, 30:60, 40:90] == 0).all()
