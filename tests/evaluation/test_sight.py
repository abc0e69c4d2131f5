"""Before solids, cameras have room and starts see their goals."""

import math

import pytest
import torch

from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError
from deepservo.evaluation import sight
from deepservo.evaluation.sets import SETS, overlap
from deepservo.geometry import se3
from deepservo.scene import SolidScene, sampling
from deepservo.scene.build import Setup

D = 0.6
CAMERA = PAPER_CAMERA.resize(96, 96)
NAMES = ("solid-steps", "solid-clutter", "solid-tilt")


def before(name: str, picture: str = "coffee", distance: float = D) -> Setup:
    scene = SETS[name][0].condition.scene(scene_of(picture), distance, picture)
    return Setup(scene, CAMERA, distance, picture)


def box() -> Setup:
    """0.2 m wide and 0.3 m high, on a plane."""
    x, z = 0.1, -0.3
    corners = [[-x, -x], [x, -x], [x, x], [-x, x]]
    vertices = [[*xy, 0] for xy in corners] + [[*xy, z] for xy in corners]
    vertices += [[8 * X, 8 * Y, 0] for X, Y in corners]
    sides = [(k, (k + 1) % 4, 4 + (k + 1) % 4, 4 + k) for k in range(4)]
    quads = [*sides, (4, 5, 6, 7), (8, 9, 10, 11)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    scene = SolidScene(
        torch.rand(1, 8, 8),
        torch.tensor(vertices, dtype=torch.float64),
        torch.tensor(triangles, dtype=torch.int32),
        torch.zeros(len(triangles), 3, 2),
    )
    return Setup(scene, CAMERA, D, "box")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("distance", [0.6, 0.3])
def test_starts_and_goals_have_room_and_see_each_other(name, distance):
    setup, part = before(name, distance=distance), SETS[name][0]
    drawn = [
        part.poses(torch.arange(20), 20, torch.Generator().manual_seed(seed), setup)
        for seed in (0, 0, 1)
    ]
    (Ts_cam, Ts_goal), again, other = drawn
    assert torch.equal(Ts_cam, again[0]) and not torch.equal(Ts_cam, other[0])
    assert setup.scene.depth(CAMERA, Ts_cam).amin((1, 2)).min() >= 0.15 * distance
    assert setup.scene.depth(CAMERA, Ts_goal).amin((1, 2)).min() >= 0.2 * distance
    assert sight.share_seen(setup.scene, CAMERA, Ts_goal, Ts_cam).min() >= 0.1
    _, radians = se3.distance(Ts_goal, Ts_cam)
    assert math.degrees(radians.max()) > 30, "they are rolled"


def test_runs_have_the_same_starts_whoever_shares_the_set():
    setup, part = before("solid-clutter"), SETS["solid-clutter"][0]
    whole, some = (
        part.poses(which, 12, torch.Generator().manual_seed(3), setup)
        for which in (torch.arange(12), torch.arange(1, 12, 4))
    )
    for Ts, few in zip(whole, some, strict=True):
        assert torch.equal(Ts[1::4], few)


def test_a_picture_too_small_to_be_seen_is_refused():
    part, far = SETS["solid-steps"][0], Setup(box().scene, CAMERA, 100.0, "dot.png")
    with pytest.raises(InputError, match=r"dot\.png: no start before the solids"):
        part.poses(torch.arange(2), 2, torch.Generator().manual_seed(0), far)


def test_each_picture_has_solids_of_its_own():
    coffee, again, moon = (
        before("solid-steps", name).scene for name in ("coffee",) * 2 + ("moon",)
    )
    T = sampling.fronto_parallel(D)
    depth = coffee.depth(CAMERA, T)
    assert torch.equal(depth, again.depth(CAMERA, T))
    assert not torch.equal(depth, moon.depth(CAMERA, T))


def test_planes_of_the_bundled_pictures_are_tilted_evenly():
    """The median slope of each plane, by the depth that a camera straight above it sees."""
    tilts = []
    for picture in ("coffee", "page", "chelsea", "astronaut", "moon"):
        inverse = 1 / before("solid-tilt", picture).scene.depth(CAMERA, sampling.fronto_parallel(D))
        # 1 / Z = (n . ray) / d is linear in the pixel's place.
        x, y = (
            (each.diff(dim=k).median() * f)
            for each, k, f in ((inverse, 2, CAMERA.fx), (inverse, 1, CAMERA.fy))
        )
        tilts.append(math.degrees(math.atan(D * math.hypot(x, y))))
    assert tilts == pytest.approx([7, 23, 33, 44, 55], abs=0.6)


def test_a_camera_in_or_behind_something_has_no_room():
    setup = box()
    Ts = sampling.fronto_parallel(D, 5)
    Ts[:, :3, 3] = torch.tensor(
        [[0, 0, -0.6], [0, 0, -0.4], [0.3, 0, -0.2], [0, 0, -0.2], [0.3, 0, 0.2]]
    )
    turned = torch.tensor([[0, 0, 0, math.pi, 0, 0]], dtype=torch.float64)
    Ts[4:] @= se3.exp(turned)  # looks back at the plane from behind
    found = sight.room(setup, Ts)
    assert found[:3].tolist() == pytest.approx([0.3, 0.1, 0.2], rel=1e-4)
    assert found[3:].tolist() == [0, 0]


def test_the_share_of_a_plane_is_its_overlap():
    plane = scene_of("coffee")
    Ts_goal = sampling.fronto_parallel(D, 30)
    Ts_cam = sampling.gaussian_starts(Ts_goal, torch.Generator().manual_seed(2), D)
    share = sight.share_seen(plane, CAMERA, Ts_goal, Ts_cam)
    assert (share - overlap(CAMERA, Ts_goal, Ts_cam)).abs().max() < 0.05


def test_what_a_box_hides_is_not_seen():
    """A camera that is low beside the box does not see what is on its other side."""
    setup, T = box(), sampling.fronto_parallel(1.2)
    low = sampling.look_at(
        torch.tensor([[0.5, 0.0, -0.1]]).double(),
        torch.tensor([[-0.6, 0.0, -0.1 + 1e-3]]).double(),
        torch.zeros(1).double(),
    )
    seen = sight.share_seen(setup.scene, CAMERA, T, low)
    x, _ = CAMERA.xy(torch.float64)
    Z = setup.scene.depth(CAMERA, T)[0]
    right = (x * Z > 0.1) & (Z > 1.1)
    assert 0 < seen.item() <= right.double().mean().item() + 0.02
