"""Disturbances: light, blur, covers, few pixels, and wrong models of the scene or the camera.

An effect changes one picture; what it draws depends on the seed, the run and, where it changes from
frame to frame, the step: so a run does not depend on those beside it.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation import known_depth
from deepservo.evaluation.known_depth import KnownDepth, OfMedian
from deepservo.geometry import se3
from deepservo.images.depth import Depth
from deepservo.images.undrawn import Undrawn
from deepservo.scene import PlanarScene, Scene, SolidScene, perturb, solid_kinds
from deepservo.scene.relief import ReliefScene
from deepservo.worlds.simulator import Simulator, without_lost

Image = Float[Tensor, "1 1 h w"]
SHUTTER = 8  # pictures that a moving camera's exposure is the mean of
GOAL_STEP = -1  # the step at which a goal was taken
SALT = 5  # of solids' seeds: planes of the five bundled pictures are tilted by 7 to 55 deg, evenly


@dataclass(frozen=True)
class Shot:
    """The run and the step of a picture, on which random numbers depend."""

    seed: int
    run: int
    step: int

    def of_run(self, salt: int = 0) -> torch.Generator:
        """The same for every picture of the run."""
        return torch.Generator().manual_seed(hash((self.seed, self.run, salt)) % 2**62)

    def of_frame(self, salt: int = 0) -> torch.Generator:
        """Another for each picture."""
        return torch.Generator().manual_seed(hash((self.seed, self.run, self.step, salt)) % 2**62)


Effect = Callable[[Image, Shot], Image]
Solid = Callable[[PlanarScene, float, int], SolidScene]
"""What is made of a plane for a goal at a distance [m], with a seed."""


@dataclass(frozen=True)
class Condition:
    """What changes the pictures of the goal and of the view, and which parameters the controller
    gets wrong.
    """

    goal: tuple[Effect, ...] = ()
    view: tuple[Effect, ...] = ()
    motion: float = 0.0
    """Share of the time from one picture to the next that the shutter is open."""
    size: int | None = None
    """Pixels across that the camera really has; its pictures are enlarged to the size that methods
    take.
    """
    depth: KnownDepth = 1.0
    """What the controller knows of the goal's depth."""
    focal: float = 1.0
    """The controller's, as a multiple of the true one."""
    tilt: float = 0.0
    """Of the plane [deg] against what the goal's camera faces."""
    relief: float = 0.0
    """Height of the hills on the plane [m]."""
    solid: Solid | None = None
    """What stands on the plane, or is made of it."""

    def scene(self, scene: Scene, distance: float, name: str) -> Scene:
        """The scene of that name as it really is, for goals at `distance` [m] from the plane.

        What is solid depends on the name: a picture is always on the same. Raises InputError for
        hills, or what is solid, on a scene that is not flat.
        """
        if not self.relief and self.solid is None:
            return scene
        if not isinstance(scene, PlanarScene):
            raise InputError(
                "this set has hills or solids on a plane; give a flat scene, or another set"
            )
        if self.solid is not None:
            return self.solid(scene, distance, zlib.crc32(name.encode(), SALT))
        return ReliefScene(
            scene.texture,
            scene.width,
            scene.background,
            texel_aspect=scene.texel_aspect,
            centre=scene.centre,
            relief=self.relief,
        )

    def depth_at_first(self, distance: float) -> float | None:
        """What the controller knows of all goals' depth [m], before it is told of each."""
        return distance * self.depth if isinstance(self.depth, float | int) else None

    def depth_of_goals(
        self,
        scene: Scene,
        camera: Camera,
        Ts_world_goal: Float[Tensor, "n 4 4"],
        seed: int,
        runs: Tensor,
    ) -> Depth:
        """What the controller is told of the goals' depth: maps, or a number where there is one
        goal; None where it is told nothing, or nothing new.
        """
        if self.depth is None or isinstance(self.depth, float | int):
            return None
        maps = scene.depth(camera, Ts_world_goal)
        if isinstance(self.depth, OfMedian):
            (Z,) = maps
            return self.depth(Z)
        shots = [Shot(seed, run, GOAL_STEP).of_run(5) for run in runs.tolist()]
        return torch.stack([self.depth(Z, shot) for Z, shot in zip(maps, shots, strict=True)])

    def camera(self, camera: Camera) -> Camera:
        """The camera as it really is."""
        return replace(camera, fx=camera.fx / self.focal, fy=camera.fy / self.focal)

    def poses(self, Ts: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n 4 4"]:
        """Poses before the tilted plane: all turn together about the scene's centre."""
        turn = torch.tensor([math.radians(self.tilt), 0.0, 0.0], dtype=torch.float64)
        return se3.transform(se3.so3_exp(turn), torch.zeros(3, dtype=torch.float64)) @ Ts

    def pictures(
        self, scene: Scene, camera: Camera, Ts_world_cam: Float[Tensor, "n 4 4"]
    ) -> Float[Tensor, "n 1 h w"]:
        """What cameras at these poses see, without effects."""
        if self.size is None:
            return scene.render(camera, Ts_world_cam)
        small = camera.resize(self.size, round(self.size * camera.height / camera.width))
        image = scene.render(small, Ts_world_cam)
        return torch.nn.functional.interpolate(
            image, (camera.height, camera.width), mode="bilinear", align_corners=False
        )

    def goals(
        self,
        scene: Scene,
        camera: Camera,
        Ts_world_goal: Float[Tensor, "n 4 4"],
        seed: int,
        runs: Tensor,
    ) -> Float[Tensor, "g 1 h w"]:
        """The goals' pictures: one where all runs share one."""
        return self.as_goals(self.pictures(scene, camera, distinct(Ts_world_goal)), seed, runs)

    def as_goals(
        self, images: Float[Tensor, "g 1 h w"], seed: int, runs: Tensor
    ) -> Float[Tensor, "g 1 h w"]:
        """Pictures of the goals, with what is done to goals."""
        return (
            changed(images.expand(len(runs), -1, -1, -1), self.goal, seed, runs, GOAL_STEP)
            if self.goal
            else images
        )


PLAIN = Condition()


def distinct(Ts_world_goal: Float[Tensor, "n 4 4"]) -> Float[Tensor, "g 4 4"]:
    """The goals' poses: one where all runs share one."""
    return Ts_world_goal[:1] if bool((Ts_world_goal == Ts_world_goal[:1]).all()) else Ts_world_goal


def changed(
    images: Float[Tensor, "n 1 h w"],
    effects: tuple[Effect, ...],
    seed: int,
    runs: Tensor,
    step: int,
) -> Float[Tensor, "n 1 h w"]:
    """Each run's picture under all effects, one after the other."""
    done = list(images.split(1))
    for i, run in enumerate(runs.tolist()):
        for effect in effects:
            done[i] = effect(done[i], Shot(seed, run, step))
    return torch.cat(done)


@dataclass(frozen=True)
class Disturbance:
    """A condition, and what its random numbers depend on."""

    condition: Condition
    seed: int
    runs: Int[Tensor, " b"]
    """The numbers of the runs in their whole set."""


class HardSimulator(Simulator):
    """A simulator whose pictures are disturbed."""

    def __init__(
        self,
        scene: Scene,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        disturbance: Disturbance,
    ) -> None:
        super().__init__(scene, camera, T_world_cam)
        self.condition, self.seed = disturbance.condition, disturbance.seed
        self.runs, self.step = disturbance.runs, 0
        self.moved: Tensor | None = None

    def observe(self) -> Float[Tensor, "b c h w"]:
        """The scene rendered, as the condition has it."""
        condition, image = self.condition, None
        if condition.motion and self.moved is not None:
            for k in range(SHUTTER):
                back = -condition.motion * (k + 0.5) / SHUTTER
                part = condition.pictures(
                    self.scene, self.camera, self.T_world_cam @ se3.exp(self.moved * back)
                )
                image = part if image is None else image + part
            assert image is not None
            image = image / SHUTTER
        else:
            image = condition.pictures(self.scene, self.camera, self.T_world_cam)
        if condition.view:
            image = changed(image, condition.view, self.seed, self.runs, self.step)
        self.step += 1
        return without_lost(image)

    def undrawn(self, goals: Float[Tensor, "#b c h w"]) -> Undrawn | None:
        """As of a `Simulator`, where nothing disturbs the pictures."""
        changes = self.condition.view or self.condition.motion or self.condition.size
        return None if changes else super().undrawn(goals)

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move, and remember how: the next exposure is blurred along it."""
        super().apply(v_cam, dt)
        self.moved = v_cam.double() * dt

    def select_runs(self, index: Tensor) -> None:
        """Go on with these cameras alone."""
        super().select_runs(index)
        self.runs = self.runs[index]
        self.moved = None if self.moved is None else self.moved[index]


def _as_mlvs(image: Image, shot: Shot) -> Image:
    return perturb.as_mlvs(image, shot.of_run())


def _exposed(image: Image, shot: Shot, factor: float) -> Image:
    return (image * factor).clamp(0, 1)


def _places(image: Image, shot: Shot, salt: int) -> tuple[Tensor, Tensor, Tensor]:
    """The picture's x and y in [-1, 1] from where something is that wanders slowly, and a direction
    of its own.
    """
    phase, rate, angle = torch.rand(3, 2, generator=shot.of_run(salt)).unbind(0)
    centre = 0.7 * torch.sin(2 * math.pi * phase + (0.02 + 0.04 * rate) * shot.step)
    y, x = (
        torch.linspace(-1, 1, image.shape[-2])[:, None],
        torch.linspace(-1, 1, image.shape[-1])[None, :],
    )
    return x - centre[0], y - centre[1], 2 * math.pi * angle[0]


def _spot(image: Image, shot: Shot, strength: float) -> Image:
    """A lamp that wanders: up to 1 + strength times as bright."""
    x, y, _ = _places(image, shot, 1)
    return (image * (1 + strength * torch.exp(-(x * x + y * y) / (2 * 0.4**2)))).clamp(0, 1)


def _specular(image: Image, shot: Shot, size: float) -> Image:
    """A highlight that saturates, of this radius in half pictures, and wanders."""
    x, y, _ = _places(image, shot, 2)
    return (image + 1.5 * torch.exp(-(x * x + y * y) / (2 * (size / 2) ** 2))).clamp(0, 1)


def _shadow(image: Image, shot: Shot, left: float) -> Image:
    """A wandering edge, on one side of which this share of the light is left."""
    x, y, angle = _places(image, shot, 3)
    dark = torch.sigmoid((torch.cos(angle) * x + torch.sin(angle) * y) / 0.05)
    return image * (1 - (1 - left) * dark)


def _defocused(image: Image, shot: Shot, radius: float) -> Image:
    """Averaged over a disc of this radius [px]."""
    reach = math.ceil(radius)
    at = torch.arange(-reach, reach + 1.0)
    disc = ((radius + 0.5) - (at[:, None].square() + at.square()).sqrt()).clamp(0, 1)
    padded = torch.nn.functional.pad(image, (reach,) * 4, mode="replicate")
    return torch.nn.functional.conv2d(padded, (disc / disc.sum())[None, None])


def _noisy(image: Image, shot: Shot, deviation: float) -> Image:
    return perturb.noise(image, shot.of_frame(), deviation)


def _covered(image: Image, shot: Shot, share: float) -> Image:
    """One rectangle over this share of the picture, of one grey, another in each frame."""
    generator = shot.of_frame(4)
    return perturb.erase(
        image, generator, 1.0, (share, share), float(torch.rand((), generator=generator))
    )


def _both(name: str, effect: Effect) -> tuple[tuple[str, Condition], ...]:
    """The effect on the view, on the goal, and on both."""
    return (
        (f"{name}, view", Condition(view=(effect,))),
        (f"{name}, goal", Condition(goal=(effect,))),
        (f"{name}, both", Condition(goal=(effect,), view=(effect,))),
    )


AS_MLVS = Condition(goal=(_as_mlvs,))
FAINT = ("moon", "clock", "grass", "brick", "page", "faint", "tiles", "strokes")
LIGHT = (
    *(
        (f"exposure x {f:g}", Condition(view=(partial(_exposed, factor=f),)))
        for f in (0.7, 0.5, 0.3, 1.5, 2, 3)
    ),
    *((f"spot light + {s:g}", Condition(view=(partial(_spot, strength=s),))) for s in (0.5, 1, 2)),
    *(
        (f"highlight of {s:g}", Condition(view=(partial(_specular, size=s),)))
        for s in (0.2, 0.4, 0.6)
    ),
    *((f"shadow to {s:g}", Condition(view=(partial(_shadow, left=s),))) for s in (0.6, 0.4, 0.2)),
)
BLUR = (
    *(c for r in (1, 2, 4) for c in _both(f"defocus {r} px", partial(_defocused, radius=r))),
    *((f"motion blur {m:g}", Condition(motion=m)) for m in (0.25, 0.5, 1.0)),
    *(c for d in (0.02, 0.05, 0.08) for c in _both(f"noise {d:g}", partial(_noisy, deviation=d))),
)
OCCLUSION = tuple(
    (f"{100 * s:.0f} % covered", Condition(view=(partial(_covered, share=s),)))
    for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
)
SIZE = tuple((f"{s} px", Condition(size=s)) for s in (96, 64, 48, 32))
LIT_AND_COVERED = Condition(view=(partial(_spot, strength=0.5), partial(_covered, share=0.2)))
MODEL = (
    *((f"depth believed x {d:g}", Condition(depth=d)) for d in (0.8, 0.5, 1.25, 2)),
    *((f"focal length believed x {f:g}", Condition(focal=f)) for f in (0.8, 1.2)),
    *((f"plane tilted {t} deg", Condition(tilt=t)) for t in (10, 20, 30)),
    *((f"relief of {100 * r:g} cm", Condition(relief=r)) for r in (0.02, 0.05, 0.1)),
)
SOLIDS = {
    name: tuple((label, Condition(depth=depth, solid=make)) for label, depth in known_depth.PARTS)
    for name, make in (
        ("solid-steps", solid_kinds.steps),
        ("solid-clutter", solid_kinds.clutter),
        ("solid-tilt", solid_kinds.tilt),
    )
}
