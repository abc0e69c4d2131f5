"""What a person is told of runs: which were at their goal from the start, why they stopped, and
whether a goal's picture fits its pose.
"""

import re
from collections import defaultdict
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo import control
from deepservo.camera import Camera
from deepservo.features.registration import MIN_OVERLAP, SAME_PLACE_AGREEMENT
from deepservo.geometry import se3
from deepservo.images.pictures import grey
from deepservo.loop import Trajectory
from deepservo.methods import METHODS
from deepservo.methods.coarse_to_fine import AGREEMENT_IF_CONFIRMED, CoarseToFine
from deepservo.scene import PlanarScene

# of the distance: a pose so near is believed with less agreement, for much of a picture may be
# covered or lit
NEAR = 0.1
ALIKE = 0.1  # of the goal's contrast: a picture that differs by less shows the goal
CONTRAST = 1 / 255  # grey level under which a goal shows nothing that could be recognised
ARRIVED = "arrived: the start is at the goal"
STILL = 1e-5  # m, rad: the whole way of a run that has hardly moved
FINELY = (
    (2, 6),
    (1, 4),
    (0, 4),
)  # levels and iterations by which two pictures are laid on one another
NUMBER = re.compile(r"\d+(?:\.\d+)?")
APART = (
    0.01,
    0.6,
)  # of the distance, and degrees, by which a goal's picture must lie beside its pose to be told of


def at_goal(
    trajectory: Trajectory, goal: Float[Tensor, "g c h w"], home: Bool[Tensor, " b"] | None
) -> Bool[Tensor, " b"]:
    """Which runs hardly moved because their start is the goal: as their poses say or, where those
    are unknown, as their pictures do.
    """
    still = (trajectory.v_cam * trajectory.dt).abs().sum(0).amax(1) < STILL
    if home is not None:
        return still & home
    mean = goal.nanmean((1, 2, 3), keepdim=True)
    contrast = (goal - mean).square().nanmean((1, 2, 3)).sqrt()
    return still & (contrast > CONTRAST) & (trajectory.image_error[0] < ALIKE * contrast)


def as_arrived(trajectory: Trajectory, runs: Bool[Tensor, " b"]) -> Trajectory:
    """The same, these runs told as what they are: arrived, without a step."""
    reason = [
        f"{ARRIVED}{';' * bool(more)}{more}" if there else why
        for there, why in zip(runs.tolist(), trajectory.reason, strict=True)
        for more in [why.partition(";")[2]]
    ]
    return replace(trajectory, reason=reason, steps=torch.where(runs, 0, trajectory.steps))


def reasons(why: list[str], most: int) -> list[str]:
    """The commonest kinds of reasons, with how many runs have each; its numbers from the least to
    the greatest of those runs.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for each in why:
        kinds[NUMBER.sub("#", each)].append(each)
    largest = sorted(kinds.values(), key=len, reverse=True)[:most]
    return [f"{len(group)} of {len(why)} runs: {_ranges(group)}" for group in largest]


def _ranges(alike: list[str]) -> str:
    """Sentences that differ in their numbers as one, each number a range where it differs."""
    columns = zip(*(NUMBER.findall(each) for each in alike), strict=True)
    spans = iter([sorted(set(column), key=float) for column in columns])

    def span(match: re.Match[str]) -> str:
        values = next(spans)
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    return NUMBER.sub(span, alike[0])


def beside(
    scene: PlanarScene,
    camera: Camera,
    picture: Float[Tensor, "1 c h w"],
    T_world_goal: Float[Tensor, "4 4"],
    name: str,
) -> str:
    """A sentence where a goal's picture was not taken from the pose that is given for it; empty
    where it was.

    The scene is rendered at the pose, and the picture is registered to that, by what `auto` does.
    Light, noise and covers do not matter.
    """
    auto = METHODS["auto"](camera, depth=float(-T_world_goal[2, 3]))
    assert isinstance(auto, CoarseToFine)
    auto.set_goal(scene.render(camera, T_world_goal[None]))
    guess = control.pose_of_pbvs(auto.velocity(picture), auto.gain)
    runs, views = torch.zeros(2, dtype=torch.int64), auto.registration.views(grey(picture))
    Ts = auto.registration.refine(
        views, torch.cat([torch.eye(4, dtype=torch.float64)[None], guess]), FINELY, runs
    )
    found = auto.registration.compare(
        views, Ts, runs, level=1
    )  # coarser pictures of this many pixels agree by chance
    metres, radians = se3.distance(Ts, torch.eye(4, dtype=torch.float64))
    near = metres < NEAR * float(-T_world_goal[2, 3])
    shown = (found.agreement > torch.where(near, AGREEMENT_IF_CONFIRMED, SAME_PLACE_AGREEMENT)) & (
        found.seen > MIN_OVERLAP
    )
    best = int((found.agreement * shown).argmax())
    if not shown[best]:
        return (
            f"{name} shows nothing that the scene has at T_world_goal; the errors are against "
            "T_world_goal"
        )
    far, turned = float(metres[best]), float(radians[best].rad2deg())
    if far < APART[0] * float(-T_world_goal[2, 3]) and turned < APART[1]:
        return ""
    return (
        f"{name} was taken {1e3 * far:.3g} mm and {turned:.2g} deg away from T_world_goal; the "
        "errors are against T_world_goal"
    )
