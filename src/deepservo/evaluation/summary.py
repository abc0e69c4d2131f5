"""Runs in words: which were at their goal from the start, why runs stopped, and whether a goal
picture was taken from the pose given for it.
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
from deepservo.loop import Ending, Trajectory
from deepservo.methods import METHODS
from deepservo.methods.coarse_to_fine import AGREEMENT_IF_CONFIRMED, CoarseToFine
from deepservo.scene import Scene

# A pose so close to the given one, as a share of the distance, is accepted on less agreement: much
# of the picture may be covered or lit differently.
CLOSE = 0.1
SAME_PICTURE = 0.1  # image error, as a share of the goal's contrast, below which it is the goal's
LEAST_CONTRAST = 1 / 255  # grey levels, below which a goal shows nothing to recognise
ARRIVED = "arrived: the start is at the goal"
MOTIONLESS = 1e-5  # m, rad: the summed motion of a run that has hardly moved
SCHEDULE = ((2, 6), (1, 4), (0, 4))  # pyramid level and iterations of the registration
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# A goal picture is reported when it was taken so far from its pose: share of the distance, deg.
REPORTED_OFFSET = (0.01, 0.6)


def started_at_goal(
    trajectory: Trajectory, goal: Float[Tensor, "g c h w"], converged: Bool[Tensor, " b"] | None
) -> Bool[Tensor, " b"]:
    """Which runs hardly moved because they started at the goal.

    converged: as the poses have it; where it is None, poses are unknown and the pictures decide.
    """
    still = (trajectory.v_cam * trajectory.dt).abs().sum(0).amax(1) < MOTIONLESS
    if converged is not None:
        return still & converged
    mean = goal.nanmean((1, 2, 3), keepdim=True)
    contrast = (goal - mean).square().nanmean((1, 2, 3)).sqrt()
    alike = trajectory.image_error[0] < SAME_PICTURE * contrast
    return still & (contrast > LEAST_CONTRAST) & alike


def as_arrived(trajectory: Trajectory, runs: Bool[Tensor, " b"]) -> Trajectory:
    """The same, with `runs` marked as arrived in no step."""
    ends = [
        replace(
            end, ending=Ending.ARRIVED, reason="; ".join([ARRIVED, *end.reason.split("; ")[1:]])
        )
        if there
        else end
        for there, end in zip(runs.tolist(), trajectory.ends, strict=True)
    ]
    return replace(trajectory, ends=ends, steps=torch.where(runs, 0, trajectory.steps))


def commonest_reasons(why: list[str], most: int) -> list[str]:
    """At most `most` sentences: the commonest reasons why runs stopped, and of how many runs each.

    Reasons that differ in numbers alone count as one, with the range of each number.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for each in why:
        kinds[NUMBER.sub("#", each)].append(each)
    largest = sorted(kinds.values(), key=len, reverse=True)[:most]
    return [f"{len(group)} of {len(why)} runs: {_ranges(group)}" for group in largest]


def _ranges(alike: list[str]) -> str:
    """One sentence for sentences that differ in their numbers, with the range of each number."""
    columns = zip(*(NUMBER.findall(each) for each in alike), strict=True)
    spans = iter([sorted(set(column), key=float) for column in columns])

    def span(match: re.Match[str]) -> str:
        values = next(spans)
        return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    return NUMBER.sub(span, alike[0])


def goal_offset(
    scene: Scene,
    camera: Camera,
    picture: Float[Tensor, "1 c h w"],
    T_world_goal: Float[Tensor, "4 4"],
    name: str,
) -> str:
    """A sentence that tells how far from its given pose a goal picture was taken; empty where it
    was taken from there.

    The scene is rendered at the pose, and the picture registered to the rendering as `auto` does
    it. Light, noise and covers do not matter. `name` begins the sentence.
    """
    auto = METHODS["auto"](camera, depth=float(-T_world_goal[2, 3]))
    assert isinstance(auto, CoarseToFine)
    auto.set_goal(scene.render(camera, T_world_goal[None]))
    guess = control.pose_of_pbvs(auto.velocity(picture), auto.gain)
    runs, views = torch.zeros(2, dtype=torch.int64), auto.registration.views(grey(picture))
    Ts = auto.registration.refine(
        views, torch.cat([torch.eye(4, dtype=torch.float64)[None], guess]), SCHEDULE, runs
    )
    # Coarser pictures, of fewer pixels, agree by chance.
    found = auto.registration.compare(views, Ts, runs, level=1)
    metres, radians = se3.distance(Ts, torch.eye(4, dtype=torch.float64))
    close = metres < CLOSE * float(-T_world_goal[2, 3])
    shown = (found.agreement > torch.where(close, AGREEMENT_IF_CONFIRMED, SAME_PLACE_AGREEMENT)) & (
        found.seen > MIN_OVERLAP
    )
    best = int((found.agreement * shown).argmax())
    if not shown[best]:
        return (
            f"{name} shows nothing that the scene has at T_world_goal; the errors are against "
            "T_world_goal"
        )
    far, turned = float(metres[best]), float(radians[best].rad2deg())
    if far < REPORTED_OFFSET[0] * float(-T_world_goal[2, 3]) and turned < REPORTED_OFFSET[1]:
        return ""
    return (
        f"{name} was taken {1e3 * far:.3g} mm and {turned:.2g} deg away from T_world_goal; the "
        "errors are against T_world_goal"
    )
