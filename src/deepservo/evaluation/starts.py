"""Where the runs of a trial start and where they are to end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError, unknown
from deepservo.evaluation.conditions import distinct
from deepservo.evaluation.poses import MOST, read_poses
from deepservo.evaluation.sets import SETS
from deepservo.evaluation.sight import LEAST_FILLED, filled, is_view, show_enough
from deepservo.evaluation.summary import goal_offset
from deepservo.images.pictures import MIN_SEEN_SHARE, read_picture
from deepservo.scene import SolidScene
from deepservo.scene.build import Setup
from deepservo.system import memory

# Memory that runs need, counted in grey pictures of float32, as measured: what each run holds (the
# view, the view before it and the goal), and what a method works with.
PICTURES_OF_A_RUN = 3
WORKING_PICTURES = {"auto": 240, "sift": 100, "dfbvs": 80, "dct": 130, "pca": 1000}
WORKING_PICTURES_OF_OTHERS = 15
SET_NAMES = ("lookat", "screw", "lookat-rz", "lookat-rz-perturbed", "gaussian", "near")
TRIES = 100  # draws of as many poses as are asked for


@dataclass(frozen=True)
class Starts:
    """Start poses of B runs, their goal poses where these are known, and the goal pictures."""

    name: str
    """Of the set, or of the file that the poses come from."""
    Ts_world_cam: Float[Tensor, "b 4 4"]
    Ts_world_goal: Float[Tensor, "b 4 4"] | None
    goal: Float[Tensor, "g c h w"]
    """One picture for all runs, or one for each."""
    seed: int | None
    """That the poses were drawn with; None for poses from a file."""
    given: bool = False
    """Whether the goal is a picture that the caller gave, and not rendered."""
    depth: Float[Tensor, "g h w"] | None = None
    """Maps Z [m] of the goals, NaN where unknown, for methods that are to know them."""
    note: str = ""
    """A sentence for the reader of the results; empty where there is nothing to say."""


def sampled(name: str, n: int, seed: int, setup: Setup) -> Starts:
    """n starts of a published set whose pictures need no special camera, scaled to the setup's
    distance. InputError names the sets there are.

    Before what one RGB-D picture shows, poses that see less of it than LEAST_FILLED are drawn
    again; InputError where hardly any see as much.
    """
    if name not in SET_NAMES:
        raise unknown("set", name, SET_NAMES)
    check_starts(n)
    (part,) = SETS[name]
    generator = torch.Generator().manual_seed(seed)

    def draw() -> tuple[Tensor, Tensor]:
        return part.draw(n, generator, setup.distance, setup.camera)

    Ts_cam, Ts_goal = _seeing(draw, n, name, setup) if is_view(setup.scene) else draw()
    goal = part.condition.goals(setup.scene, setup.camera, Ts_goal, seed, torch.arange(n))
    return Starts(name, Ts_cam, Ts_goal, goal, seed)


def read_starts(path: Path, setup: Setup) -> Starts:
    """The starts and goals in an .npz file of poses; the goals are rendered.

    Raises InputError for what `read_poses` refuses, and where the file holds no goals.
    """
    Ts_cam, Ts_goal = read_poses(path, setup.distance)
    if Ts_goal is None:
        raise InputError(
            f"{path}: holds no T_world_goal; add it, or give the goal's picture with --goal"
        )
    for name, Ts in {"T_world_cam": Ts_cam, "T_world_goal": Ts_goal}.items():
        _check_seen(Ts, f"{path}: {name}", setup)
    goal = setup.scene.render(setup.camera, distinct(Ts_goal))
    return Starts(path.name, Ts_cam, Ts_goal, goal, None)


def read_starts_before(path: Path, goal: Path, setup: Setup) -> Starts:
    """The starts in an .npz file of poses, to the goal in a picture file.

    Where the file holds goal poses too, `note` tells how far the picture was taken from them.
    """
    Ts_cam, Ts_goal = read_poses(path, setup.distance)
    picture = _read_goal(goal, setup)
    note = ""
    if Ts_goal is not None:
        note = goal_offset(setup.scene, setup.camera, picture, Ts_goal[0], str(goal))
    return Starts(path.name, Ts_cam, Ts_goal, picture, None, given=True, note=note)


def sampled_before(name: str, n: int, seed: int, goal: Path, setup: Setup) -> Starts:
    """`sampled`, to the goal in a picture file, whose pose is unknown."""
    drawn = sampled(name, n, seed, setup)
    return replace(drawn, Ts_world_goal=None, goal=_read_goal(goal, setup), given=True)


def _read_goal(file: Path, setup: Setup) -> Float[Tensor, "1 c h w"]:
    picture = read_picture(file, len(setup.scene.texture) == 3)
    return setup.lens.rectify(picture, str(file))[None]


def with_depth(starts: Starts, setup: Setup) -> Starts:
    """The starts with the true depth of their goals, whose poses are known."""
    assert starts.Ts_world_goal is not None and isinstance(setup.scene, SolidScene)
    Z = setup.scene.depth(setup.camera, distinct(starts.Ts_world_goal))
    return replace(starts, depth=torch.where(Z.isfinite(), Z, torch.nan))


def _seeing(
    draw: Callable[[], tuple[Tensor, Tensor]], n: int, name: str, setup: Setup
) -> tuple[Tensor, Tensor]:
    """The first n starts and goals of a set that both see LEAST_FILLED."""
    kept: list[tuple[Tensor, Tensor]] = []
    for _ in range(TRIES):
        Ts_cam, Ts_goal = draw()
        see = show_enough(setup, Ts_cam, Ts_goal)
        kept.append((Ts_cam[see], Ts_goal[see]))
        if sum(len(each) for each, _ in kept) >= n:
            Ts_cam, Ts_goal = (torch.cat(poses)[:n] for poses in zip(*kept, strict=True))
            return Ts_cam, Ts_goal
    remedy = "give depth that is known at more pixels" if name == "near" else "take --set near"
    raise InputError(
        f"{setup.picture}: from hardly any start of {name} a camera sees {LEAST_FILLED:.0%} of its "
        f"picture filled by what this one and its depth show; {remedy}"
    )


def _check_seen(Ts: Float[Tensor, "n 4 4"], what: str, setup: Setup) -> None:
    """InputError where a pose of a file sees too little of an RGB-D picture to servo on."""
    if not is_view(setup.scene):
        return
    seen = filled(setup, Ts)
    if seen.min() < MIN_SEEN_SHARE:
        raise InputError(
            f"{what}[{int(seen.argmin())}] sees {float(seen.min()):.0%} of its picture filled by "
            f"what {setup.picture} shows, and at least {MIN_SEEN_SHARE:.0%} must be; give poses "
            "nearer to that picture's"
        )


def check_starts(n: int) -> None:
    """InputError where so many cannot be run at once."""
    if not 1 <= n <= MOST:
        raise InputError(f"{n} starts cannot be run at once; ask for 1 to {MOST}")


def check_memory(n: int, camera: Camera, method: str, remedy: str) -> None:
    """InputError, with the gigabytes, where n runs of a method at once would need more memory than
    there is. `remedy` ends the sentence: what to do.
    """
    working = next(
        (pictures for name, pictures in WORKING_PICTURES.items() if method.startswith(name)),
        WORKING_PICTURES_OF_OTHERS,
    )
    needed = 4 * camera.width * camera.height * (PICTURES_OF_A_RUN * n + working)
    size = f"{camera.width} x {camera.height} pixels"
    memory.check(needed, f"{method} on {n} picture{'s' * (n > 1)} of {size} at once", remedy)
