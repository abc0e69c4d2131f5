"""Textured triangles are drawn as a plane is, whatever they are cut into."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepservo import native
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.geometry import se3
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.solid import SolidScene, solid_view
from deepservo.scene.solid_drawing import FEWER, MANY, SAMPLES, draw_reference, nearest
from deepservo.scene.textures import texture

CAMERA = Camera(64, 48, 60.0, 62.0, 30.0, 25.0)
LEVEL = 1 / 255


def picture(h: int = 60, w: int = 80, channels: int = 1) -> torch.Tensor:
    drawn = [texture((h, w), torch.Generator().manual_seed(i)) for i in range(channels)]
    return torch.cat(drawn)


def rectangle(scene: PlanarScene, across: int = 1, down: int = 1) -> SolidScene:
    """The plane's picture on across x down quads, of two triangles each."""
    h, w = scene.texture.shape[1:]
    x, y = torch.meshgrid(
        *(torch.linspace(0, 1, n + 1, dtype=torch.float64) for n in (across, down)), indexing="xy"
    )
    at = torch.stack([x, y], -1).flatten(0, 1)
    vertices = torch.cat(
        [(at - 0.5) * torch.tensor([scene.width, scene.height]), torch.zeros(len(at), 1)], 1
    )
    texels = at * torch.tensor([w, h]) - 0.5
    n = torch.arange(len(at)).view(down + 1, across + 1)
    a, b, c, d = (each.flatten() for each in (n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]))
    triangles = torch.cat([torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)])
    return SolidScene(scene.texture, vertices, triangles, texels[triangles], scene.background)


def scattered(seed: int, count: int = 60, channels: int = 1) -> SolidScene:
    """Random triangles about the cameras, of which some reach behind them."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(count, 3, generator=generator) * 2 - 1
    triangles = torch.randint(0, count, (count, 3), generator=generator)
    texels = torch.rand(count, 3, 2, generator=generator) * torch.tensor([80.0, 60.0])
    return SolidScene(picture(channels=channels), vertices, triangles, texels, 0.25)


@pytest.mark.parametrize("pieces", [(1, 1), (3, 2), (40, 30)])
def test_a_rectangle_is_rendered_as_the_plane_is(pieces):
    plane = PlanarScene(picture(channels=3), 0.8, background=0.3)
    solid = rectangle(plane, *pieces)
    poses = [sampling.fronto_parallel(0.5), sampling.lookat_rz(6, torch.Generator())[0]]
    T = torch.cat(poses)
    image, coverage = plane.render_covered(CAMERA, T)
    found, filled = solid.render_covered(CAMERA, T)
    inside = (coverage == 1) & (filled == 1)
    assert inside.float().mean() > 0.3
    assert ((image - found).abs().amax(1) * inside).max() < 0.1 * LEVEL
    assert (coverage - filled).abs().max() < 0.5, "pixels of the edge differ by their samples"
    assert torch.equal(solid.render(CAMERA, T), found)
    Z, at = plane.depth(CAMERA, T), solid.depth(CAMERA, T)
    there = torch.isfinite(at)
    assert (at[there] / Z[there] - 1).abs().max() < 2e-7 and there[coverage == 1].all()
    assert (solid.width, solid.height) == pytest.approx((plane.width, plane.height))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_c_draws_what_torch_draws(seed):
    if native.library() is None:
        pytest.skip("no compiler")
    scene = scattered(seed, channels=1 + 2 * (seed % 2))
    T = sampling.workspace(3, torch.Generator().manual_seed(seed))
    back = torch.rand(3, len(scene.texture), generator=torch.Generator().manual_seed(seed))
    found, filled = scene.render_covered(CAMERA, T, back)
    expected, share = draw_reference(scene.mesh, CAMERA, T, back)
    same = (filled == share)[:, None] & ((found - expected).abs() < 0.1 * LEVEL)
    assert same.float().mean() > 0.999, "another triangle is nearest where two are equally near"
    Z = scene.depth(CAMERA, T)
    twin = torch.stack([nearest(scene.mesh, CAMERA, each, 1)[0] for each in T])
    assert ((1 / Z - twin).abs() < 1e-5 * twin.clamp(min=1)).float().mean() > 0.999
    assert Z.min() >= scene.mesh.near * (1 - 1e-6)


def test_the_nearest_triangle_hides_the_others():
    near, far = (torch.tensor([[-9, -9, z], [9, -9, z], [0, 18, z]]) for z in (-0.2, 0.0))
    texels = torch.tensor([[[10.0, 10], [10, 10], [10, 10]], [[50, 10], [50, 10], [50, 10]]])
    halves = torch.zeros(1, 60, 80)
    halves[..., 40:] = 1
    T = sampling.fronto_parallel(0.6)
    for order, grey in (((0, 1), 0.0), ((1, 0), 1.0)):
        vertices = torch.cat([(near, far)[k] for k in order])
        scene = SolidScene(halves, vertices, torch.arange(6).view(2, 3), texels)
        assert (scene.render(CAMERA, T) == grey).all()
        assert (scene.depth(CAMERA, T) - 0.4).abs().max() < 1e-6


def test_scenes_of_many_triangles_have_fewer_samples():
    plane = PlanarScene(picture(), 0.3, background=0.0)
    scene, T = rectangle(plane, 120, 90), sampling.lookat(2, torch.Generator())[0]
    assert len(scene.triangles) > MANY
    image, filled = scene.render_covered(CAMERA, T)
    expected, share = draw_reference(scene.mesh, CAMERA, T, torch.zeros(1, 1))
    assert set((filled * FEWER**2).unique().tolist()) <= set(range(FEWER**2 + 1))
    assert ((image - expected).abs().amax(1) < 0.1 * LEVEL).float().mean() > 0.999
    assert (filled == share).float().mean() > 0.999


def test_what_is_behind_the_near_plane_is_cut_off():
    """A floor that goes on behind the camera is seen as far as the one before it."""
    plane = PlanarScene(picture(), 4.0, background=0.5)
    solid = rectangle(plane)
    T = sampling.look_at(
        *torch.tensor([[[0.3, -0.2, -0.4]], [[0.3, 0.9, 0.0]]]).double(), torch.zeros(1)
    )
    image, coverage = plane.render_covered(CAMERA, T)
    found, filled = solid.render_covered(CAMERA, T)
    inside = -torch.nn.functional.max_pool2d(-coverage, 3, 1, 1) == 1  # not at the floor's end
    assert inside.any() and ((image - found).abs()[:, 0] * inside).max() < 0.1 * LEVEL
    assert (filled[inside] == 1).all(), "no cracks"


def test_no_samples_fall_between_triangles():
    plane = PlanarScene(torch.ones(1, 32, 32), 12.0, background=math.nan)
    T = torch.cat([sampling.fronto_parallel(0.5), sampling.lookat_rz(20, torch.Generator())[0]])
    T = T[plane.render_covered(CAMERA, T)[1].flatten(1).amin(1) == 1]  # without a horizon
    assert len(T) > 15
    for pieces in ((1, 1), (7, 5), (301, 211)):
        assert not rectangle(plane, *pieces).render(CAMERA, T).isnan().any()


def test_pictures_follow_the_least_motion():
    """The change with a hundredth of a pixel is a hundredth of that with a pixel."""
    scene = rectangle(PlanarScene(picture(), 3.0), 50, 40)
    T = sampling.fronto_parallel(0.7)
    step = torch.tensor([[0.3, 0.2, 0.1, 0.1, -0.2, 0.3]], dtype=torch.float64)

    def moved(size: float) -> torch.Tensor:
        there = [scene.render(CAMERA, T @ se3.exp(s * size * step)).double() for s in (-1, 1)]
        return (there[1] - there[0]) / (2 * size)

    small, smaller = moved(1e-4), moved(1e-5)
    assert (small - smaller).square().mean().sqrt() < 0.05 * small.square().mean().sqrt()


@pytest.mark.parametrize("axis", [0, 1])
def test_an_edge_parallel_to_the_picture_moves_by_parts_of_a_pixel(axis):
    """All samples along it would change at once if they lay on a grid."""
    camera = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
    scene = rectangle(PlanarScene(torch.zeros(1, 8, 8), 0.03))  # 18 x 18 pixels
    filled = []
    for k in range(21):
        T = sampling.fronto_parallel(0.1)
        T[:, axis, 3] = 0.05 * k * 0.1 / 60
        coverage = scene.render_covered(camera, T)[1][0]
        filled.append((coverage[:, :32] if axis == 0 else coverage[:24]).sum())
    assert (torch.stack(filled) - filled[0] - 0.9 * torch.arange(21)).abs().max() < 0.8


def test_unfilled_pixels_are_unseen_before_no_background():
    plane = PlanarScene(picture(), 0.3, background=math.nan)
    image, filled = rectangle(plane).render_covered(CAMERA, sampling.fronto_parallel(0.6))
    assert torch.equal(image[:, 0].isnan(), filled < 1) and (filled == 0).any()
    assert set((filled * SAMPLES**2).unique().tolist()) <= set(range(SAMPLES**2 + 1))
    white = rectangle(plane).render(CAMERA, sampling.fronto_parallel(0.6), torch.ones(1, 1))
    assert (white[:, 0][filled == 0] == 1).all() and not white.isnan().any()


def test_without_a_compiler_torch_draws(monkeypatch):
    scene, T = scattered(3), sampling.workspace(2, torch.Generator())
    there, Z = scene.render(CAMERA, T), scene.depth(CAMERA, T)
    monkeypatch.setattr(native, "library", lambda: None)
    assert ((scene.render(CAMERA, T) - there).abs() < 0.1 * LEVEL).float().mean() > 0.999
    assert torch.isfinite(Z).eq(torch.isfinite(scene.depth(CAMERA, T))).float().mean() > 0.999


def hills() -> torch.Tensor:
    """Depth [m] with a box before a slanted, wavy wall, and a hole."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    depth = 1 + 0.05 * torch.sin(4 * x) * torch.cos(3 * y) + 0.2 * x
    depth[12:24, 20:36] = 0.6
    depth[30:33, 40:44] = math.nan
    return depth


def test_an_rgbd_picture_gives_itself_back():
    image, depth = picture(48, 64, 3), hills()
    scene = solid_view(image, depth, CAMERA, 0.9)
    T = sampling.fronto_parallel(0.9)
    found, Z = scene.render(CAMERA, T)[0], scene.depth(CAMERA, T)[0]
    seen = ~found.isnan().any(0)
    assert seen.float().mean() > 0.9 and seen[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert ((found - image).abs() * seen).nan_to_num(0).max() < LEVEL
    there = torch.isfinite(Z)
    there[[0, -1]], there[:, [0, -1]] = False, False
    assert there.any() and (Z / depth - 1)[there].abs().max() < 1e-6
    edge = torch.zeros_like(seen)
    edge[11:25, 19:37] = True
    edge[13:23, 21:35] = False
    edge[29:34, 39:45] = True
    assert edge[~seen].all(), "only depth edges and the hole are unseen"


def test_nothing_is_invented_behind_an_edge():
    """Beside a box that moves against the wall there is nothing, and no stretched surface."""
    scene = solid_view(picture(48, 64), hills(), CAMERA, 0.9)
    T = sampling.fronto_parallel(0.9)
    T[:, 0, 3] = 0.1
    Z = scene.depth(CAMERA, T)
    assert not ((Z > 0.65) & (Z < 0.75)).any()
    assert scene.render(CAMERA, T)[0, 0, 14:22].isnan().any(1).all()


def test_a_flat_view_is_the_plane():
    wide = Camera(64, 48, 60.0, 60.0, 30.0, 25.0)
    image = picture(48, 64)
    solid = solid_view(image, torch.full((48, 64), 0.7), wide)
    plane = PlanarScene(image, solid.width, centre=solid.centre)
    T = sampling.lookat_rz(4, torch.Generator())[0]
    (a, inside), (b, filled) = plane.render_covered(wide, T), solid.render_covered(wide, T)
    both = (inside == 1) & (filled == 1)
    assert both.any() and (a - b).abs()[:, 0][both].max() < 0.1 * LEVEL
    assert solid.height == pytest.approx(plane.height)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texture": torch.zeros(8, 8)}, "must be"),
        ({"texture": torch.full((1, 8, 8), math.nan)}, "texture hold NaN"),
        ({"vertices": torch.zeros(3, 2)}, "give vertices"),
        ({"vertices": torch.full((3, 3), math.inf)}, "vertices hold"),
        ({"triangles": torch.tensor([[0, 1, 3]])}, "vertices 0 to 3"),
        ({"triangles": torch.zeros(0, 3), "texels": torch.zeros(0, 3, 2)}, "give vertices"),
        ({"texels": torch.zeros(2, 3, 2)}, "give vertices"),
        ({"size": (0.0, 1.0)}, "is none"),
        ({"centre": (math.nan, 1.0)}, "is none"),
    ],
)
def test_what_is_no_scene_is_refused(changes, words):
    scene = SolidScene(
        torch.zeros(1, 8, 8), torch.eye(3), torch.tensor([[0, 1, 2]]), torch.zeros(1, 3, 2)
    )
    with pytest.raises(InputError, match=words):
        replace(scene, **changes)


@pytest.mark.parametrize(
    ("depth", "distance", "words"),
    [
        (torch.ones(4, 4), None, "of the camera's size"),
        (torch.full((48, 64), math.nan), None, "no depth is known"),
        (torch.ones(48, 64), -1.0, "not positive"),
        (1 + 9 * (torch.arange(48 * 64).view(48, 64) % 2), 1.0, "no four neighbours"),
    ],
)
def test_what_is_no_view_is_refused(depth, distance, words):
    with pytest.raises(InputError, match=words):
        solid_view(picture(48, 64), depth, CAMERA, distance)
