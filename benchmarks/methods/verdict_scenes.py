"""Scenes that mislead: patterns that repeat, pictures in which things were moved, and views that
are covered or exchanged while cameras run before them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.bench.scenes import WIDTH
from deepservo.camera import Camera
from deepservo.evaluation.conditions import Shot
from deepservo.geometry import se3
from deepservo.scene import PlanarScene, Scene

Texture = Float[Tensor, "1 h w"]
View = Callable[[Float[Tensor, "1 4 4"], int], Float[Tensor, "1 1 h w"]]
"""What a camera at a pose sees in its picture of that number."""

SQUARE = 16  # px of a checkerboard's square
DARK, LIGHT = 0.1, 0.9
ENDLESS = (48, 64)  # squares of the checkerboard whose border no camera sees, and its width [m]
ENDLESS_WIDTH = 3.2
BOARD, MARGIN, BOARD_WIDTH = (6, 9), 16, 0.4  # squares; the white about them [px]; the width [m]
TABLE = 0.5  # grey level about the board
TILES = 6  # along each side
TILE = (96, 128)  # px, halved evenly as a texture is seen from farther off
BRICK, MORTAR, COURSES, IN_A_COURSE = (30, 80), 4, 20, 10
SHADES = 0.08  # deviation of the bricks' grey levels, where each has its own
PATCHES = (2, 6)  # at least and at most
MOVED_SHARE = (0.1, 0.3)  # of the area that patches take, at least and at most
NOISE = 0.01  # of a camera before a plate or a hand, in grey levels


def checkerboard(border: bool) -> PlanarScene:
    """A board of 9 x 6 squares on a grey table, or squares as far as any camera sees."""
    (rows, columns), width = (BOARD, BOARD_WIDTH) if border else (ENDLESS, ENDLESS_WIDTH)
    cells = (torch.arange(rows)[:, None] + torch.arange(columns)) % 2
    squares = torch.where(cells == 0, DARK, LIGHT)
    texture = squares.repeat_interleave(SQUARE, 0).repeat_interleave(SQUARE, 1)[None]
    if border:
        texture = torch.nn.functional.pad(texture, (MARGIN,) * 4, value=LIGHT)
    return PlanarScene(texture, width, TABLE)


def tiled(texture: Texture) -> PlanarScene:
    """The middle ninth of a picture, TILES times in each direction."""
    h, w = texture.shape[-2:]
    middle = texture[None, :, h // 3 : h - h // 3, w // 3 : w - w // 3]
    tile = torch.nn.functional.interpolate(middle, TILE, mode="bilinear", antialias=True)[0]
    return PlanarScene(tile.repeat(1, TILES, TILES), WIDTH)


def bricks(shades: float) -> PlanarScene:
    """A wall of bricks, every second course shifted by half a brick. shades: the deviation of their
    grey levels.
    """
    (height, length), generator = BRICK, torch.Generator().manual_seed(0)
    wall = torch.full((COURSES * height, IN_A_COURSE * length), LIGHT)
    for course in range(COURSES):
        greys = 0.45 + shades * torch.randn(IN_A_COURSE, generator=generator)
        line = torch.full((IN_A_COURSE * length,), LIGHT)
        for k, grey in enumerate(greys.clamp(0, 0.8).tolist()):
            line[k * length + MORTAR : (k + 1) * length] = grey
        line = line.roll(course % 2 * length // 2)
        wall[course * height + MORTAR : (course + 1) * height] = line
    return PlanarScene(wall[None], WIDTH)


def mirrored(scene: PlanarScene) -> PlanarScene:
    """The picture as in a mirror."""
    return PlanarScene(scene.texture.flip(2), scene.width, scene.background)


def of_another_time(
    scene: PlanarScene, how: str, other: PlanarScene, generator: torch.Generator
) -> PlanarScene:
    """The scene after some rectangles in the middle of its picture were changed.

    how: "moved" (each has changed places with another), "exchanged" (each shows the `other`
    picture) or "covered" (each is of one grey).
    """
    texture = scene.texture.clone()
    h, w = texture.shape[-2:]
    another = torch.nn.functional.interpolate(other.texture[None], (h, w), mode="bilinear")[0]
    count = int(torch.randint(PATCHES[0], PATCHES[1] + 1, (), generator=generator))
    low, high = MOVED_SHARE
    share = low + (high - low) * float(torch.rand((), generator=generator))
    each = share / (2 * count if how == "moved" else count)
    for _ in range(count):
        first, second = _two_places(h, w, each, generator)
        if how == "moved":
            texture[first], texture[second] = texture[second].clone(), texture[first].clone()
        elif how == "exchanged":
            texture[first] = another[first]
        else:
            texture[first] = float(torch.rand((), generator=generator))
    return PlanarScene(texture, scene.width, scene.background)


def _two_places(
    h: int, w: int, share: float, generator: torch.Generator
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two rectangles of one size, each with this share of a picture's area, in its middle, where
    cameras look.
    """
    stretch = 2 ** float(2 * torch.rand((), generator=generator) - 1)
    high, wide = (min(0.8, math.sqrt(share * each)) for each in (stretch, 1 / stretch))
    rows, columns = max(2, round(high * h)), max(2, round(wide * w))
    places = []
    for _ in range(2):
        y, x = torch.rand(2, generator=generator).tolist()
        top = round((0.1 + 0.8 * y) * (h - rows))
        left = round((0.15 + 0.7 * x) * (w - columns))
        places.append((slice(None), slice(top, top + rows), slice(left, left + columns)))
    return places[0], places[1]


def before(scene: Scene, camera: Camera) -> View:
    """Of a camera before a scene."""
    return lambda T_world_cam, picture: scene.render(camera, T_world_cam)


def plate(camera: Camera, noise: float, shot: Shot) -> View:
    """Of a camera behind a grey plate. shot: on whose seed and run the noise depends."""

    def view(T_world_cam: Float[Tensor, "1 4 4"], picture: int) -> Float[Tensor, "1 1 h w"]:
        grey = torch.full((1, 1, camera.height, camera.width), 0.5)
        return _noisy(grey, noise, shot, picture)

    return view


def hand(camera: Camera, shot: Shot) -> View:
    """Of a camera before which a hand is held: dark, out of focus, a little brighter between the
    fingers, and never quite still.
    """
    x = torch.linspace(-1, 1, camera.width)[None, :]
    y = torch.linspace(-1, 1, camera.height)[:, None]
    phase = 2 * math.pi * torch.rand(3, generator=shot.of_run(7))

    def view(T_world_cam: Float[Tensor, "1 4 4"], picture: int) -> Float[Tensor, "1 1 h w"]:
        sway = 0.05 * torch.sin(0.2 * picture + phase)
        palm = 0.12 + 0.05 * torch.sin(2 * x + phase[0]) * torch.cos(1.5 * y + sway[0])
        across = x + 0.3 * y + sway[1]
        for k in range(4):
            gap = torch.exp(-((across - 0.45 * (k - 1.5)) ** 2) / (2 * 0.03**2))
            palm = palm + 0.1 * gap * torch.sigmoid(-4 * (y - sway[2]))
        return _noisy(palm[None, None], NOISE, shot, picture)

    return view


def _noisy(
    image: Float[Tensor, "1 1 h w"], deviation: float, shot: Shot, picture: int
) -> Float[Tensor, "1 1 h w"]:
    generator = Shot(shot.seed, shot.run, picture).of_frame(8)
    return (image + deviation * torch.randn(image.shape, generator=generator)).clamp(0, 1)


@dataclass(frozen=True)
class Change:
    """What a camera sees from some picture on, for the rest of its run.

    picture: the first one. after_arrival: whether it is counted from the first picture in which the
    controller says that the run has arrived.
    """

    view: View
    picture: int
    after_arrival: bool = False


class ChangingView:
    """Free-flying cameras, each with a view of its own, which may change during the run.

    views: of each run. changes: of each run; empty where none changes. arrived: which of the runs
    that still go on have arrived, as their controller says; it is called where a change waits for
    an arrival.
    """

    def __init__(
        self,
        T_world_cam: Float[Tensor, "n 4 4"],
        views: list[View],
        changes: list[Change],
        arrived: Callable[[], list[bool]] = list,
    ) -> None:
        self.T_world_cam, self.views, self.changes = T_world_cam.double(), views, changes
        self.arrived = arrived
        self.runs, self.pictures = list(range(len(views))), 0
        self.due = {k: each.picture for k, each in enumerate(changes) if not each.after_arrival}
        self.changed_at: dict[int, int] = {}
        """By the number of a run: the first picture that it took of the changed view."""

    def observe(self) -> Float[Tensor, "b 1 h w"]:
        """What each camera sees now."""
        found = []
        for run, T in zip(self.runs, self.T_world_cam.split(1), strict=True):
            view = self.views[run]
            if run in self.due and self.pictures >= self.due[run]:
                view = self.changes[run].view
                self.changed_at.setdefault(run, self.pictures)
            found.append(view(T, self.pictures))
        self.pictures += 1
        return torch.cat(found)

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move by these twists [m/s, rad/s], each in its camera's frame, for dt seconds."""
        self.T_world_cam = self.T_world_cam @ se3.exp(v_cam.double() * dt)
        if self.changes and any(run not in self.due for run in self.runs):
            for run, there in zip(self.runs, self.arrived(), strict=True):
                if there and run not in self.due:
                    self.due[run] = self.pictures + self.changes[run].picture

    def select_runs(self, index: Tensor) -> None:
        """Go on with these cameras alone."""
        self.T_world_cam = self.T_world_cam[index]
        self.runs = [self.runs[i] for i in index.tolist()]
