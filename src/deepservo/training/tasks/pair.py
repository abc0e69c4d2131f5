"""What a network for any scene learns from (CNN-VS section IV).

It is pictures made by code, each seen from two places.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.geometry import se3
from deepservo.images.sampler import build_pyramid, sample_covered
from deepservo.nets.pair import CELL, PairNet, cell_centres
from deepservo.nets.precision import half_precision
from deepservo.scene import perturb, sampling
from deepservo.scene.textures import texture
from deepservo.training.tasks.task import generator

TEXTURE = (240, 320)  # pixels of a picture made by code
# Pictures in a batch, and batches that each of them is in: one new picture a step.
PICTURES_PER_BATCH, LIFE_STEPS = 8, 8
# The most that the two views differ by: wider rolls are tried one by one when servoing.
MAX_ROLL = math.radians(25)
FOCAL_WIDTHS = 300 / 224  # of the published camera, in widths of its picture
MIN_COSINE = 0.1  # to the plane's normal, under which a cell is not learned
PERTURBED = 0.8  # share of the pictures that are degraded
HIDDEN_WEIGHT = 0.3  # of a cell that the other picture does not show: `none` has one probability
SURROUND_WEIGHT = 0.02  # of a cell that shows the surround


def pairs(
    n: int, g: torch.Generator, reach: float = 1.0
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]:
    """Goals about 1 before the plane, of any roll, and views of what they see.

    Goals nearly face the plane. Views are from as far as the published starts are, times `reach`.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64) * 2 - 1

    goal, roll = sampling.fronto_parallel(1.0, n), math.pi * uniform(n)
    goal[:, :2, 3] += 0.3 * uniform(n, 2)
    goal[:, 2, 3] *= 1.25 ** uniform(n)
    about_axis, tilt = torch.zeros(2, n, 3, dtype=torch.float64)
    about_axis[:, 2], tilt[:, :2] = roll, math.radians(8) * uniform(n, 2)
    goal[:, :3, :3] = se3.so3_exp(tilt) @ se3.so3_exp(about_axis)
    share = torch.where(uniform(n) < 0.4, 1.0, 0.35 + 0.25 * uniform(n))[:, None]
    away = torch.tensor([1.1, 1.1, 0.4], dtype=torch.float64) * uniform(n, 3) * share * reach
    position = goal[:, :3, 3] + away
    position[:, 2].clamp_(max=-0.35)
    axis = goal[:, :3, 2]
    seen = goal[:, :3, 3] - axis * (goal[:, 2, 3] / axis[:, 2])[:, None]
    radius, angle = 0.6 * ((uniform(n) + 1) / 2).sqrt() * share[:, 0], math.pi * uniform(n)
    aside = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros_like(angle)], -1)
    ahead = away * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) * (1 - share.sqrt())
    return goal, sampling.look_at(position, seen + aside + ahead, roll + MAX_ROLL * uniform(n))


def degraded(images: Float[Tensor, "b 1 h w"], g: torch.Generator) -> Float[Tensor, "b 1 h w"]:
    """A share of the images degraded, the others unchanged.

    Degraded ones are out of focus, of few pixels, lit by spots and shadows, too bright, too dark,
    of low contrast, covered, noisy.
    """
    n = len(images)
    worse = perturb.fewer_pixels(perturb.defocus(images, g, 3.0), g)
    worse = perturb.highlight(perturb.shadow(worse, g), g)
    lit = torch.where(
        torch.rand(n, 1, 1, 1, generator=g) < 0.5, perturb.lights(worse, g, strength=1.0), worse
    )
    exposed = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.6, perturb.exposure(lit, g), lit)
    grey = torch.rand(n, 1, 1, 1, generator=g) * (torch.rand(n, 1, 1, 1, generator=g) < 0.7)
    worse = perturb.erase(
        perturb.contrast(exposed, g, 0.4, 1.4), g, 0.4, area=(0.02, 0.65), fill=grey
    )
    worse = perturb.erase(worse, g, 0.2, area=(0.02, 0.5), fill=images.roll(n // 4 + 1, 0))
    worse = perturb.noise(worse, g, 0.08 * torch.rand(n, 1, 1, 1, generator=g) ** 2)
    return torch.where(torch.rand(n, 1, 1, 1, generator=g) < PERTURBED, worse, images)


class Pictures(Protocol):
    """A source of pictures for the steps of a training."""

    def at(self, seed: int, step: int) -> Float[Tensor, "s 1 h w"]:
        """The pictures of a step, a function of the seed and the step.

        Grey levels are in [0, 1]. Each picture is shown to as many pairs of cameras of the batch.
        """
        ...


@dataclass
class Textures:
    """PICTURES_PER_BATCH pictures a step.

    Each stays for LIFE_STEPS steps, as drawing a picture takes as long as learning from it.

    pictures: to choose from, in place of those made by code.
    """

    pictures: Float[Tensor, "n 1 h w"] | None = None
    kept: dict[int, tuple[int, Tensor]] = field(default_factory=dict)

    def at(self, seed: int, step: int) -> Float[Tensor, "s 1 h w"]:
        """See `Pictures`."""
        for slot in range(PICTURES_PER_BATCH):
            age = (step + slot * LIFE_STEPS // PICTURES_PER_BATCH) // LIFE_STEPS
            if slot not in self.kept or self.kept[slot][0] != age:
                self.kept[slot] = age, self._drawn(generator(seed, age * PICTURES_PER_BATCH + slot))
        return torch.stack([self.kept[slot][1] for slot in range(PICTURES_PER_BATCH)])

    def _drawn(self, g: torch.Generator) -> Float[Tensor, "1 h w"]:
        if self.pictures is None:
            return texture(TEXTURE, g).to(g.device)
        return self.pictures[int(torch.randint(len(self.pictures), (), generator=g))].to(g.device)


@dataclass(frozen=True)
class Views:
    """Two views of each of b pictures on a plane: what goals see, and what cameras see."""

    K: Float[Tensor, "b 3 3"]
    Ts_world_goal: Float[Tensor, "b 4 4"]
    Ts_world_cam: Float[Tensor, "b 4 4"]
    images: Float[Tensor, "2b 1 s s"]
    """What the goals see, then what the cameras see; most of them degraded."""
    coverage: Float[Tensor, "2b s s"]
    """Of each pixel by the picture."""
    to_pixels: Float[Tensor, "2b 3 3"]
    """Take (X, Y, 1) on the plane to pixels."""


@dataclass(frozen=True)
class AnySceneTask:
    """A task on two views of pictures of many scenes, on torch's default device."""

    textures: Pictures = field(default_factory=Textures)

    def views(self, n: int, size: int, seed: int, step: int, reach: float = 1.0) -> Views:
        """n pairs of views of the step's pictures, of size x size pixels. reach: as in `pairs`."""
        g = generator(seed, step)
        goals, cams = pairs(n, g, reach)
        K = cameras(n, size, g)
        images, coverage, to_pixels = rendered_views(
            self.textures.at(seed, step), K.repeat(2, 1, 1), torch.cat([goals, cams]), size, g
        )
        return Views(K, goals, cams, degraded(images, g), coverage, to_pixels)


@dataclass(frozen=True)
class PairTask(AnySceneTask):
    """A PairNet learns which cells of two pictures show the same place."""

    batch: int = 32
    rate: float = 2e-3

    def loss(self, net: PairNet, seed: int, step: int) -> Tensor:
        """Cross-entropy of the cell that shows what each cell shows, in both directions.

        A place between cells is shared among the four about it.
        """
        views, cells = self.views(self.batch, net.size, seed, step), net.size // CELL
        with half_precision():
            d = net(views.images)
        goal, view = d.flatten(2).chunk(2)
        of_goal, of_view = (
            torch.nn.functional.adaptive_avg_pool2d(views.coverage, cells).flatten(1).chunk(2)
        )
        K, Ts_goal, Ts_cam = views.K, views.Ts_world_goal, views.Ts_world_cam
        forth = _matching_loss(
            net.similar(goal, view),
            *corresponding_pixels(K, Ts_goal, Ts_cam, net.size),
            of_view,
            cells,
        )
        back = _matching_loss(
            net.similar(view, goal),
            *corresponding_pixels(K, Ts_cam, Ts_goal, net.size),
            of_goal,
            cells,
        )
        return (forth + back) / 2


def rendered_views(
    pictures: Float[Tensor, "s 1 h w"],
    K: Float[Tensor, "b 3 3"],
    Ts: Float[Tensor, "b 4 4"],
    size: int,
    g: torch.Generator,
) -> tuple[Float[Tensor, "b 1 size size"], Float[Tensor, "b size size"], Float[Tensor, "b 3 3"]]:
    """The pictures on planes, as cameras at Ts see them.

    Each plane has a width of its own and stands before white or any grey. The first half of the
    cameras and the second half see the same pictures; s divides b / 2, or is greater. Returns the
    images, their coverage by the pictures, and what takes (X, Y, 1) on the plane to a camera's
    pixels.
    """
    (h, w), n = pictures.shape[-2:], len(Ts) // 2
    pictures = pictures[:n]  # a batch that was halved may have fewer pairs than pictures
    pyramid = build_pyramid(pictures)
    flat = pyramid.flat.repeat_interleave(n // len(pictures), 0).repeat(2, 1, 1)
    texel = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    texel[:, 0, 0] = texel[:, 1, 1] = w / (
        1.1 + 1.1 * torch.rand(n, generator=g, dtype=torch.float64)
    )
    texel[:, :2, 2] = torch.tensor([w / 2 - 0.5, h / 2 - 0.5])
    to_pixels = K @ of_plane(Ts)
    background = torch.where(
        torch.rand(2 * n, 1, generator=g) < 0.5, 1.0, torch.rand(2 * n, 1, generator=g)
    )
    Hs = texel.repeat(2, 1, 1) @ torch.linalg.inv(to_pixels)
    return *sample_covered(replace(pyramid, flat=flat), Hs, (size, size), background), to_pixels


def cameras(n: int, size: int, g: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Intrinsics of cameras of size x size pixels.

    Their focal lengths and centres vary as those of real cameras do.
    """
    fx, x, y = torch.rand(3, n, generator=g, dtype=torch.float64)
    K = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    K[:, 0, 0] = K[:, 1, 1] = FOCAL_WIDTHS * size * 0.8 * 1.6**fx
    K[:, :2, 2] = (size - 1) / 2 + 0.06 * size * (torch.stack([x, y], 1) - 0.5)
    return K


def of_plane(Ts: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 3 3"]:
    """Take (X, Y, 1) on the plane z = 0 to the frames of cameras at Ts."""
    inverse = se3.inverse(Ts)
    return torch.stack([inverse[:, :3, 0], inverse[:, :3, 1], inverse[:, :3, 3]], -1)


def corresponding_pixels(
    K: Float[Tensor, "b 3 3"], Ts_a: Float[Tensor, "b 4 4"], Ts_b: Float[Tensor, "b 4 4"], size: int
) -> tuple[Float[Tensor, "b n 2"], Bool[Tensor, "b n"]]:
    """Where picture a shows what each cell of picture b sees of the plane z = 0 [px].

    Second, whether both see it from the front, and at no grazing angle.
    """
    px = cell_centres(size, size)
    rays = (
        torch.cat([px, torch.ones_like(px[:, :1])], 1) @ torch.linalg.inv(K).mT @ Ts_b[:, :3, :3].mT
    )
    along = -Ts_b[:, None, 2, 3] / rays[..., 2].clamp(min=MIN_COSINE / 2)
    points = (Ts_b[:, None, :3, 3] + along[..., None] * rays - Ts_a[:, None, :3, 3]) @ Ts_a[
        :, :3, :3
    ]
    shown = torch.cat([points[..., :2], points[..., 2:].clamp(min=MIN_COSINE / 2)], -1) @ K.mT
    return shown[..., :2] / shown[..., 2:], (rays[..., 2] > MIN_COSINE) & (
        points[..., 2] > MIN_COSINE / 2
    )


def _matching_loss(
    logits: Tensor,
    px: Float[Tensor, "b n 2"],
    seen: Bool[Tensor, "b n"],
    covered: Float[Tensor, "b n"],
    cells: int,
) -> Tensor:
    """Mean over the cells of -log p of the cells that show the same place.

    They are the four about the place, weighted by how near they are; `none`, where the place is not
    shown.
    """
    at = (px + 0.5) / CELL - 0.5
    shown = seen & (at > -0.5).all(-1) & (at < cells - 0.5).all(-1)
    at = at.clamp(0, cells - 1)
    low = at.floor().long()
    part, high = (at - low).float(), (low + 1).clamp(max=cells - 1)
    log_p, hit = logits.log_softmax(-1), torch.zeros(())
    for y, of_y in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
        for x, of_x in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
            hit = hit + of_y * of_x * log_p.gather(-1, (y * cells + x)[..., None])[..., 0]
    weight = SURROUND_WEIGHT + covered
    return (weight * torch.where(shown, -hit, -HIDDEN_WEIGHT * log_p[..., -1])).sum() / weight.sum()
