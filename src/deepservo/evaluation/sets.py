"""The test sets by name: start and goal poses, and disturbances. Each part of a set is a row of the
results.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.evaluation import conditions, sight
from deepservo.evaluation.conditions import PLAIN, Condition
from deepservo.geometry import se3
from deepservo.scene import sampling
from deepservo.scene.build import Setup

Poses = tuple[Float[Tensor, "n 4 4"], Float[Tensor, "n 4 4"]]
Draw = Callable[[int, torch.Generator, float, Camera], Poses]

BINS = tuple((k / 10, (k + 1) / 10) for k in range(10))
ROLL = 40.0  # deg, to either side, of starts before solids
MOST_DRAWS = 200  # of a start and its goal before solids


@dataclass(frozen=True)
class Part:
    """n published starts, drawn for a goal `distance` from the plane (None: the scene's own), under
    a condition.
    """

    label: str
    n: int
    draw: Draw
    distance: float | None = None
    condition: Condition = PLAIN
    scenes: tuple[str, ...] = ()
    """That the part is measured on; empty: those that the caller names."""

    def poses(
        self, which: Int[Tensor, " n"], among: int, generator: torch.Generator, setup: Setup
    ) -> Poses:
        """Starts and goals of the runs `which` of so many, before the scene as it really is.

        Before solids a start and its goal are drawn again until the view is clear, and before what
        one RGB-D picture shows until both see enough of it. Raises InputError where they never do.
        """

        def drawn() -> Poses:
            Ts_cam, Ts_goal = self.draw(among, generator, setup.distance, setup.camera)
            return self.condition.poses(Ts_cam[which]), self.condition.poses(Ts_goal[which])

        Ts_cam, Ts_goal = drawn()
        if self.condition.solid is None and not sight.is_view(setup.scene):
            return Ts_cam, Ts_goal
        good = sight.clear if self.condition.solid else sight.show_enough
        poor = torch.arange(len(which))
        for _ in range(MOST_DRAWS):
            poor = poor[~good(setup, Ts_cam[poor], Ts_goal[poor])]
            if not len(poor):
                return Ts_cam, Ts_goal
            again = drawn()
            Ts_cam[poor], Ts_goal[poor] = (Ts[poor] for Ts in again)
        raise InputError(
            f"{setup.picture}: no start before the solids sees enough of its goal; give a larger "
            "picture, or another set, such as near"
        )


def overlap(
    camera: Camera, Ts_goal: Float[Tensor, "n 4 4"], Ts_cam: Float[Tensor, "n 4 4"]
) -> Float[Tensor, " n"]:
    """Share of the goal's pixels whose point of the plane z = 0 is in the start's picture, by every
    eighth pixel.
    """
    v, u = torch.meshgrid(
        torch.arange(3.5, camera.height, 8), torch.arange(3.5, camera.width, 8), indexing="ij"
    )
    rays = (
        torch.stack([u.flatten(), v.flatten(), torch.ones(u.numel())], -1).double()
        @ camera.K_inv.mT
        @ Ts_goal[:, :3, :3].mT
    )
    centre = Ts_goal[:, None, :3, 3]
    along = -centre[..., 2] / rays[..., 2]
    points = centre + along[..., None] * rays
    seen = (points - Ts_cam[:, None, :3, 3]) @ Ts_cam[:, :3, :3]
    px = camera.project(seen)
    size = torch.tensor([camera.width, camera.height])
    inside = ((px > -0.5) & (px < size - 0.5)).all(-1) & (seen[..., 2] > 0) & (along > 0)
    return inside.double().mean(1)


def _simple(draw: Callable[[int, torch.Generator, float], Poses]) -> Draw:
    return lambda n, generator, distance, camera: draw(n, generator, distance)


def gaussian(n: int, generator: torch.Generator, distance: float, camera: Camera) -> Poses:
    """Siame-se(3)'s starts; those that share less than a tenth with their goal are drawn again."""
    Ts_goal = sampling.gaussian_goals(n, generator, distance)
    Ts_cam = sampling.gaussian_starts(Ts_goal, generator, distance)
    while True:
        poor = (overlap(camera, Ts_goal, Ts_cam) < 0.1) | (Ts_cam[:, 2, 3] > -0.1 * distance)
        if not poor.any():
            return Ts_cam, Ts_goal
        Ts_cam[poor] = sampling.gaussian_starts(Ts_goal[poor], generator, distance)


def rolled(n: int, generator: torch.Generator, distance: float, camera: Camera) -> Poses:
    """Siame-se(3)'s starts, each turned about its optical axis by up to ROLL."""
    Ts_goal = sampling.gaussian_goals(n, generator, distance)
    Ts_cam = sampling.gaussian_starts(Ts_goal, generator, distance)
    turn = torch.zeros(n, 6, dtype=torch.float64)
    turn[:, 5] = math.radians(ROLL) * (2 * torch.rand(n, generator=generator).double() - 1)
    return Ts_cam @ se3.exp(turn), Ts_goal


def sharing(low: float, high: float) -> Draw:
    """Starts that share between `low` and `high` with their goal, from offsets as wide as it
    takes.
    """

    def draw(n: int, generator: torch.Generator, distance: float, camera: Camera) -> Poses:
        kept: list[tuple[Tensor, Tensor]] = []
        found = 0
        while found < n:
            Ts_goal = sampling.gaussian_goals(50, generator, distance)
            # The same directions, up to three times as far as the published starts.
            way = 3 * torch.rand(50, 1, 1, generator=generator, dtype=torch.float64)
            T_goal_cam = torch.linalg.solve(
                Ts_goal, sampling.gaussian_starts(Ts_goal, generator, distance)
            )
            T_goal_cam[:, :3, 3:] *= way
            Ts_cam = Ts_goal @ T_goal_cam
            share = overlap(camera, Ts_goal, Ts_cam)
            good = (share > low) & (share <= high) & (Ts_cam[:, 2, 3] < -0.1 * distance)
            kept.append((Ts_cam[good], Ts_goal[good]))
            found += int(good.sum())
        Ts_cam, Ts_goal = (torch.cat(poses)[:n] for poses in zip(*kept, strict=True))
        return Ts_cam, Ts_goal

    return draw


def check_set(name: str) -> None:
    """InputError, with the nearest names, where there is no set of that name."""
    if name == "poses":
        raise InputError("the set 'poses' is your own; give its file with --poses")
    if name not in SETS:
        raise unknown("set", name, SETS)


def _published(values: tuple[float, ...]) -> Draw:
    def draw(
        n: int, generator: torch.Generator, distance: float, camera: Camera
    ) -> tuple[Tensor, Tensor]:
        T_cam, T_goal = sampling.offset(values, distance)
        return T_cam.repeat(n, 1, 1), T_goal.repeat(n, 1, 1)

    return draw


ROBOT_RUNS = (
    ("CNN-VS 1", 0.8, (1, -24, -9, -10, -16, -43)),
    ("CNN-VS 2", 0.8, (33, -5, -1.2, 13, -26, -39)),
    ("Siame-se(3) 1", 0.8, (45, 19, 9, 34, -20, -47)),
    ("Siame-se(3) 2", 0.3, (-17.9, 1, 0.5, 4.3, 18.4, 44.6)),
    ("AEVS 1", 0.6, (-32.78, 18.07, -6.16, 18.41, 27.51, 16.98)),
    ("AEVS 2", 0.6, (8.74, -23.67, -1.08, -18.55, -17.92, -32.62)),
    ("MLVS", 0.6, (-8.16, 7.27, -29.98, 24.86, -10.16, 135.06)),
)

_lookat_rz = _simple(sampling.lookat_rz)


def _batches(condition: Condition) -> tuple[Part, ...]:
    """CNN-VS's batches of starts, each a step farther away."""
    return tuple(
        Part(f"batch {k}", 80, _simple(partial(sampling.batch, step=k / 9)), 0.25, condition)
        for k in range(10)
    )


def _hard(parts: tuple[tuple[str, Condition], ...]) -> tuple[Part, ...]:
    """Starts of `lookat-rz` under each condition."""
    return tuple(Part(label, 30, _lookat_rz, condition=condition) for label, condition in parts)


SETS: Mapping[str, tuple[Part, ...]] = MappingProxyType(
    {
        "lookat": (Part("", 500, _simple(sampling.lookat)),),
        "screw": (Part("", 500, _simple(sampling.screw)),),
        "lookat-rz": (Part("", 500, _lookat_rz),),
        "lookat-rz-perturbed": (Part("", 500, _lookat_rz, condition=conditions.AS_MLVS),),
        "gaussian": (Part("", 1000, gaussian),),
        "near": (Part("", 100, _simple(sampling.near)),),
        "gaussian-perturbed": (Part("", 1000, gaussian, condition=conditions.LIT_AND_COVERED),),
        "unseen": tuple(
            Part(
                f"{name}{', perturbed' if condition is conditions.AS_MLVS else ''}",
                5,
                draw,
                condition=condition,
            )
            for name, draw in (("gaussian", gaussian), ("lookat-rz", _lookat_rz))
            for condition in (PLAIN, conditions.AS_MLVS)
        ),
        "batches": _batches(PLAIN),
        "batches-perturbed": _batches(conditions.LIT_AND_COVERED),
        "overlap": tuple(
            Part(f"{100 * low:.0f} to {100 * high:.0f} %", 50, sharing(low, high))
            for low, high in BINS
        ),
        "steps": tuple(
            Part(f"{100 * d:g} cm", 25, _simple(partial(sampling.spread, deviation=d)))
            for d in (0.02, 0.05, 0.1, 0.2, 0.4)
        ),
        "published-starts": tuple(
            Part(label, 1, _published(values), distance) for label, distance, values in ROBOT_RUNS
        ),
        "hard-texture": (Part("", 30, _lookat_rz, scenes=conditions.FAINT),),
        "hard-light": _hard(conditions.LIGHT),
        "hard-blur": _hard(conditions.BLUR),
        "hard-occlusion": _hard(conditions.OCCLUSION),
        "hard-size": _hard(conditions.SIZE),
        "hard-overlap": tuple(
            Part(f"{100 * low:.0f} to {100 * high:.0f} %", 30, sharing(low, high))
            for low, high in ((0.2, 0.3), (0.1, 0.2), (0.05, 0.1))
        ),
        "hard-model": _hard(conditions.MODEL),
        **{
            name: tuple(Part(label, 30, rolled, condition=condition) for label, condition in parts)
            for name, parts in conditions.SOLIDS.items()
        },
    }
)
