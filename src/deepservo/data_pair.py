"""What a network for scenes never seen learns from: endless pictures made by code, each seen from two places (CNN-VS section IV)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.data import generator, half_precision
from deepservo.geometry import se3
from deepservo.nets.pair import CELL, PairNet, cell_centres
from deepservo.scene import PlanarScene, perturb, sampling
from deepservo.scene.textures import texture

TEXTURE = (240, 320)  # pixels of a picture made by code
SLOTS, LIFE = 8, 8  # pictures in a batch, and batches that each of them is in: one new picture a step
ROLL = math.radians(25)  # most that the two differ by: wider rolls are tried one by one when servoing
FOCAL = 300 / 224  # of the published camera, in widths of its picture
STEEPEST = 0.1  # cosine to the plane's normal under which a cell is not asked for
PERTURBED = 0.8  # share of the pictures that are spoiled
UNSEEN = 0.3  # weight of a cell that the other picture does not show, which is told in one number
SURROUND = 0.02  # of a cell that shows the surround


def pairs(n: int, g: torch.Generator) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]:
    """Goals about 1 before the plane and nearly facing it, of any roll, and views of what they see, from as far as the published starts."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64) * 2 - 1

    goal, roll = sampling.fronto_parallel(1.0, n), math.pi * uniform(n)
    goal[:, :2, 3] += 0.3 * uniform(n, 2)
    goal[:, 2, 3] *= 1.25 ** uniform(n)
    about_axis, tilt = torch.zeros(2, n, 3, dtype=torch.float64)
    about_axis[:, 2], tilt[:, :2] = roll, math.radians(8) * uniform(n, 2)
    goal[:, :3, :3] = se3.so3_exp(tilt) @ se3.so3_exp(about_axis)
    reach = torch.where(uniform(n) < 0.4, 1.0, 0.35 + 0.25 * uniform(n))[:, None]
    away = torch.tensor([1.1, 1.1, 0.4], dtype=torch.float64) * uniform(n, 3) * reach
    position = goal[:, :3, 3] + away
    position[:, 2].clamp_(max=-0.35)
    axis = goal[:, :3, 2]
    seen = goal[:, :3, 3] - axis * (goal[:, 2, 3] / axis[:, 2])[:, None]
    radius, angle = 0.6 * ((uniform(n) + 1) / 2).sqrt() * reach[:, 0], math.pi * uniform(n)
    aside = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.zeros_like(angle)], -1)
    ahead = away * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) * (1 - reach.sqrt())
    return goal, sampling.look_at(position, seen + aside + ahead, roll + ROLL * uniform(n))


def spoiled(images: Float[Tensor, "b 1 h w"], g: torch.Generator) -> Float[Tensor, "b 1 h w"]:
    """Most of them out of focus, lit by spots and shadows, too bright or too dark, faint, partly covered, noisy; the others as they are."""
    n = len(images)
    worse = perturb.highlight(perturb.shadow(perturb.defocus(images, g, 3.0), g), g)
    lit = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.5, perturb.lights(worse, g, strength=1.0), worse)
    exposed = torch.where(torch.rand(n, 1, 1, 1, generator=g) < 0.6, perturb.exposure(lit, g), lit)
    grey = torch.rand(n, 1, 1, 1, generator=g) * (torch.rand(n, 1, 1, 1, generator=g) < 0.5)
    worse = perturb.erase(perturb.contrast(exposed, g, 0.4, 1.4), g, area=(0.02, 0.5), fill=grey)
    worse = perturb.noise(worse, g, 0.08 * torch.rand(n, 1, 1, 1, generator=g) ** 2)
    return torch.where(torch.rand(n, 1, 1, 1, generator=g) < PERTURBED, worse, images)


@dataclass
class Textures:
    """SLOTS pictures a step, a function of the seed and the step; each stays for LIFE steps, as drawing one takes as long as using it.

    pictures: to draw from, in place of those made by code.
    """

    pictures: Sequence[Float[Tensor, "1 h w"]] = ()
    kept: dict[int, tuple[int, Tensor]] = field(default_factory=dict)

    def at(self, seed: int, step: int) -> list[Float[Tensor, "1 h w"]]:
        """Of this step."""
        for slot in range(SLOTS):
            age = (step + slot * LIFE // SLOTS) // LIFE
            if slot not in self.kept or self.kept[slot][0] != age:
                g = generator(seed, age * SLOTS + slot)
                drawn = self.pictures[int(torch.randint(len(self.pictures), (), generator=g))] if self.pictures else texture(TEXTURE, g)
                self.kept[slot] = age, drawn
        return [self.kept[slot][1] for slot in range(SLOTS)]


@dataclass(frozen=True)
class PairTask:
    """Teaches a PairNet which cells of two pictures show the same place."""

    textures: Textures = field(default_factory=Textures)
    batch: int = 32
    rate: float = 2e-3

    def loss(self, net: PairNet, seed: int, step: int) -> Tensor:
        """Cross-entropy of the cell that shows what each cell shows, from either picture to the other; between cells, shared out."""
        g, n = generator(seed, step), self.batch // SLOTS
        images, covered, shown, seen = [], [], [], []
        for picture in self.textures.at(seed, step):
            camera, scene, background = self._drawn(net.size, picture, 2 * n, g)
            goals, views = pairs(n, g)
            image, coverage = scene.render_covered(camera, torch.cat([goals, views]), background)
            images.append(image.unflatten(0, (2, n)))
            covered.append(torch.nn.functional.adaptive_avg_pool2d(coverage, net.size // CELL).flatten(1).unflatten(0, (2, n)))
            both = there(camera, goals, views), there(camera, views, goals)
            shown.append(torch.stack([px for px, _ in both]))
            seen.append(torch.stack([before for _, before in both]))
        worse = spoiled(torch.cat(images, 1).flatten(0, 1), g)
        with half_precision():
            d = net(worse)
        goal, view = d.flatten(2).chunk(2)
        of_goal, of_view = torch.cat(covered, 1)
        px, before = torch.cat(shown, 1), torch.cat(seen, 1)
        cells = net.size // CELL
        forth = _missed(net.similar(goal, view), px[0], before[0], of_view, cells)
        back = _missed(net.similar(view, goal), px[1], before[1], of_goal, cells)
        return (forth + back) / 2

    def _drawn(self, size: int, picture: Tensor, n: int, g: torch.Generator) -> tuple[Camera, PlanarScene, Tensor]:
        """A camera, how large the picture is before it, and its surrounds: white or any grey."""
        fx, x, y, width, *_ = torch.rand(4, generator=g, dtype=torch.float64).tolist()
        focal, middle = FOCAL * size * 0.8 * 1.6**fx, (size - 1) / 2
        camera = Camera(size, size, focal, focal, middle + 0.06 * size * (x - 0.5), middle + 0.06 * size * (y - 0.5))
        background = torch.where(torch.rand(n, 1, generator=g) < 0.5, 1.0, torch.rand(n, 1, generator=g))
        return camera, PlanarScene(picture, 1.1 + 1.1 * width), background


def there(camera: Camera, Ts_a: Float[Tensor, "b 4 4"], Ts_b: Float[Tensor, "b 4 4"]) -> tuple[Float[Tensor, "b n 2"], Bool[Tensor, "b n"]]:
    """Where picture a shows what each cell of picture b sees of the plane z = 0 [px]; whether both see it from before, not too flat."""
    px = cell_centres(camera.height, camera.width)
    rays = torch.cat([px, torch.ones_like(px[:, :1])], 1) @ camera.K_inv.mT @ Ts_b[:, :3, :3].mT
    along = -Ts_b[:, None, 2, 3] / rays[..., 2].clamp(min=STEEPEST / 2)
    points = (Ts_b[:, None, :3, 3] + along[..., None] * rays - Ts_a[:, None, :3, 3]) @ Ts_a[:, :3, :3]
    shown = camera.project(torch.cat([points[..., :2], points[..., 2:].clamp(min=STEEPEST / 2)], -1))
    return shown, (rays[..., 2] > STEEPEST) & (points[..., 2] > STEEPEST / 2)


def _missed(logits: Tensor, px: Float[Tensor, "b n 2"], seen: Bool[Tensor, "b n"], covered: Float[Tensor, "b n"], cells: int) -> Tensor:
    """Mean over the cells of -log p of the four cells about each place, by how near they are; of `none`, where it is not shown."""
    at = (px + 0.5) / CELL - 0.5
    shown = seen & (at > -0.5).all(-1) & (at < cells - 0.5).all(-1)
    at = at.clamp(0, cells - 1)
    low = at.floor().long()
    part, high = (at - low).float(), (low + 1).clamp(max=cells - 1)
    log_p, hit = logits.log_softmax(-1), torch.zeros(())
    for y, of_y in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
        for x, of_x in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
            hit = hit + of_y * of_x * log_p.gather(-1, (y * cells + x)[..., None])[..., 0]
    weight = SURROUND + covered
    return (weight * torch.where(shown, -hit, -UNSEEN * log_p[..., -1])).sum() / weight.sum()
