"""Poses from which a plane would look as it does from the goal: first guesses, by correlation.

The goal's picture is laid out on its plane, on a square grid seen along the normal. There every
motion of a camera that leaves the plane where it is turns the picture by an angle and shifts it.
For each of some angles one Fourier transform gives the correlation at all shifts. Grey levels are
taken less the mean about them and over the deviation about them, so that light changes nothing and
all that has texture counts alike.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.features.pairs import MIN_SHOWN, Goals

# Of a pattern: shifts alone, then turns as squares, hexagons and stars of five repeat them. A turn
# by the rest of 360 degrees is the way back from another picture.
ANGLES = (0, 60, 72, 90, 120, 180)
MIN_CORRELATION = 0.25  # chance makes nearly as much of a picture without repetition
MIN_OVERLAP = 0.25  # share of the texture that lies on the other picture
NEAREST = 3  # px of the grid: shifts up to it are none
PEAK = 3  # px: side of the square in which a peak is the highest
WINDOW = 9  # px of the grid: side of the windows about which grey levels are taken
FLAT_SHARE = 0.01  # of the picture's variance: a window with as much counts for half
TRIED = 8  # peaks of each angle
MIN_WHOLE = 0.99  # of a pixel of the grid that is seen
# The plane is laid out up to so many times the least distance.
FARTHEST = 4.0
# Of the search for the plane: the steps of its slope to the picture, and the steepest.
FIRST_SLOPE, LAST_SLOPE, STEEPEST = 0.3, 0.015, 1.0
RAYS = 9  # along each side of a picture, that tell how far its plane reaches


class Layout(NamedTuple):
    """A plane's picture on a square grid.

    frame: pose of the plane's frame in the goal's [m], its z axis the plane's normal, its origin
    the point of the grid's centre. step: of the grid [m]. image: grey levels, 0 where not seen.
    seen: 1 or 0.
    """

    frame: Float[Tensor, "4 4"]
    step: float
    image: Float[Tensor, "n n"]
    seen: Float[Tensor, "n n"]


def guesses(goal: Goals) -> Float[Tensor, "k 4 4"]:
    """Poses `T_goal_cam` other than the goal's own, of a camera that may take its view for the
    goal's, float64; none where nothing is repeated. goal: one.

    Of a pose and its inverse only one is told.
    """
    layout = _laid_out(goal)
    peaks = [] if layout is None else _peaks(*_correlations(layout))
    if layout is None or not peaks:
        return torch.empty(0, 4, 4, dtype=torch.float64)
    return torch.stack([_pose(layout, *peak) for peak in peaks])


def likeliest_plane(goal: Goals) -> Float[Tensor, "1 4"]:
    """The plane [normal, d] on which the goal's picture is most like itself, shifted.

    Only there have tiles one size in all parts of the picture. It is looked for from the goal's own
    plane on, by steps that are halved, and meets the camera's axis where that one does.
    """
    normal, distance = goal.plane[0, :3], goal.plane[0, 3]
    slopes, depth = normal[:2] / normal[2], distance / normal[2]
    best, most = goal.plane, _likeness(goal)
    step = FIRST_SLOPE
    while step >= LAST_SLOPE:
        centre = slopes
        for x, y in ((step, 0), (-step, 0), (0, step), (0, -step)):
            tried = centre + torch.tensor([x, y])
            if tried.norm() > STEEPEST:
                continue
            normal = torch.nn.functional.normalize(torch.cat([tried, torch.ones(1)]), dim=0)
            plane = torch.cat([normal, depth[None] * normal[2]])[None]
            alike = _likeness(goal.on(plane))
            if alike > most:
                best, most, slopes = plane, alike, tried
        if slopes is centre:
            step /= 2
    return best


def _likeness(goal: Goals) -> float:
    """How much of the goal's picture is seen again at a shift, on its plane."""
    layout = _laid_out(goal)
    if layout is None:
        return 0.0
    correlation, overlap = (each[0] for each in _correlations(layout, (0,)))
    shift = torch.fft.fftfreq(len(correlation), 1 / len(correlation))
    counts = (overlap > MIN_OVERLAP) & (shift[:, None] ** 2 + shift**2 > NEAREST**2)
    return float((correlation.clamp(min=0).square() * overlap)[counts].sum())


def _laid_out(goal: Goals) -> Layout | None:
    """The goal's picture on its plane; None where the camera sees too little of it."""
    camera, side = goal.camera, max(goal.camera.width, goal.camera.height)
    normal, distance = goal.plane[0, :3], goal.plane[0, 3]
    u, v = (torch.linspace(0, n - 1, RAYS) for n in (camera.width, camera.height))
    pixels = torch.cartesian_prod(u, v).double()
    rays = torch.cat([pixels, torch.ones(len(pixels), 1)], 1) @ camera.K_inv.mT
    rho = rays @ normal / distance
    near = rho > rho.max() / FARTHEST
    if rho.max() <= 0 or near.sum() < 3:
        return None
    across = torch.eye(3, dtype=torch.float64)[0] - normal[0] * normal
    across = across / across.norm()
    turn = torch.stack([across, torch.linalg.cross(normal, across), normal], 1)
    points = (rays[near] / rho[near, None]) @ turn
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    step = float((high - low).max()) / (side - 1)
    frame = torch.eye(4, dtype=torch.float64)
    frame[:3, :3] = turn
    frame[:3, 3] = turn @ torch.cat([(low + high) / 2, distance[None]])
    half = step * (side - 1) / 2
    along = torch.linspace(-half, half, side, dtype=torch.float64)
    y, x = torch.meshgrid(along, along, indexing="ij")
    at = torch.stack([x, y, torch.zeros_like(x)], -1) @ turn.mT + frame[:3, 3]
    seen = camera.project(at)
    size = torch.tensor([camera.width - 1, camera.height - 1])
    grid = (2 * seen / size - 1).where(at[..., 2:] > 0, 2.0).float()
    shown = (goal.image >= MIN_SHOWN).float()
    both = torch.cat([goal.image * shown, shown])[None]
    image, whole = torch.nn.functional.grid_sample(both, grid[None], align_corners=True)[0]
    mask = (whole > MIN_WHOLE).float()
    return Layout(frame, step, image * mask, mask)


def _correlations(
    layout: Layout, angles: tuple[int, ...] = ANGLES
) -> tuple[Float[Tensor, "a m m"], Float[Tensor, "a m m"]]:
    """Correlation of the picture, turned by each angle and shifted, with itself; and the overlap.

    The overlap is the least share of either's texture that lies on the other. The shift is (row,
    column), negative ones counted from the end.
    """
    image, seen = layout.image, layout.seen
    part, *means = torch.nn.functional.avg_pool2d(
        torch.stack([seen, image, image * image])[None], WINDOW, 1, WINDOW // 2
    )[0]
    mean, square = (each / part.clamp(min=1e-6) for each in means)
    count = seen.sum().clamp(min=1)
    spread = (image * image).sum() / count - (image.sum() / count).square()
    variance = (square - mean * mean).clamp(min=0)
    level = seen * (image - mean) / (variance + FLAT_SHARE * spread + 1e-8).sqrt()
    stack = torch.stack([level, seen, level * level])
    turned = torch.stack([stack if a == 0 else _turned(stack, a) for a in angles])
    size = 2 * len(image)
    still = torch.fft.rfft2(stack, s=(size, size))
    level, seen, power = torch.fft.rfft2(turned, s=(size, size)).conj().unbind(1)
    product, power_still, power_turned = (
        torch.fft.irfft2(each, s=(size, size))
        for each in (still[0] * level, still[2] * seen, still[1] * power)
    )
    power_still, power_turned = power_still.clamp(min=0), power_turned.clamp(min=0)
    share = torch.minimum(power_still, power_turned) / stack[2].sum().clamp(min=1e-6)
    return product / (power_still * power_turned).sqrt().clamp(min=1e-6), share


def _turned(maps: Float[Tensor, "c n n"], angle: float) -> Float[Tensor, "c n n"]:
    """Maps turned about their centre; the second is what is seen of the others."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    back = torch.tensor([[[c, s, 0.0], [-s, c, 0.0]]])
    grid = torch.nn.functional.affine_grid(back, [1, *maps.shape], align_corners=True)
    out = torch.nn.functional.grid_sample(maps[None], grid, align_corners=True)[0]
    return out * (out[1:2] > MIN_WHOLE)


def _peaks(
    correlation: Float[Tensor, "a m m"], overlap: Float[Tensor, "a m m"]
) -> list[tuple[int, int, int]]:
    """The highest of each angle: the angle [deg], and the shift (x, y) in pixels of the grid."""
    half, found = correlation.shape[-1] // 2, []
    for angle, values, common in zip(ANGLES, correlation, overlap, strict=True):
        high = (values > MIN_CORRELATION) & (common > MIN_OVERLAP)
        at = torch.fft.fftshift(high).nonzero()
        y, x = (at - half).unbind(1)
        if angle == 0:  # a shift and the one back say the same
            one_way = (x * x + y * y > NEAREST**2) & ((y > 0) | ((y == 0) & (x > 0)))
            y, x = y[one_way], x[one_way]
        if not len(x):
            continue
        top = torch.nn.functional.max_pool2d(values.where(high, 0)[None], PEAK, 1, PEAK // 2)[0]
        peak = values[y, x] == top[y, x]
        y, x = y[peak], x[peak]
        # Of equal ones those that have most in common.
        best = (values * common)[y, x].argsort(descending=True)[:TRIED]
        found += [(angle, *each) for each in torch.stack([x, y], 1)[best].tolist()]
    return found


def _pose(layout: Layout, angle: int, x: int, y: int) -> Float[Tensor, "4 4"]:
    """`T_goal_cam` of a camera whose picture, turned and shifted so on the plane, is the goal's."""
    motion, radians = torch.eye(4, dtype=torch.float64), math.radians(angle)
    c, s = math.cos(radians), math.sin(radians)
    motion[:2, :2] = torch.tensor([[c, -s], [s, c]])
    motion[:2, 3] = layout.step * torch.tensor([x, y])
    return layout.frame @ motion @ torch.linalg.inv(layout.frame)
