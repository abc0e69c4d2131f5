"""An encoder is rehearsed: how much each direction of z is to count is tried on ways home in the
learned scene.

Taught to move straight, z grows in the two or three directions in which that is easiest, and |z -
z*| is all but theirs. On some scenes that is the way home; on others what the faint directions say
is not heard, and is needed. No loss tells which, a few runs do.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods.aevs import latent_servo
from deepservo.nets.resnet import Encoder
from deepservo.scene import sampling
from deepservo.training.tasks.latent import AutoEncoderTask
from deepservo.training.tasks.task import generator
from deepservo.worlds.simulator import Simulator

POWERS = (
    0.0,
    0.25,
)  # of the covariance of z: left as they are, or each at the root of its deviation
RUNS, STEPS, SEED = 24, 150, 1  # of each set
# pixels of the longer side: runs through a larger camera would take as long as the training, and
# longer
SMALL = 256
NEAR = 0.02  # of the distance, and as many radians: home, or on the straight way there
FAINTEST = 1e-5  # deviation that counts, of the greatest


def balance(
    encoder: Encoder, task: AutoEncoderTask, steps: int, show: Callable[[int, int], None]
) -> dict[str, Any]:
    """Mix z, in place, as most of the runs come home by it; the power that does it, how many come
    home, and of how many.

    `steps` a run, at most STEPS; show: called with the step, and of how many.
    """
    steps, seen = min(steps, STEPS), task.beginning(encoder.shape.size)
    with torch.no_grad():
        z = encoder(seen.contiguous(memory_format=torch.channels_last))
    mixes = [scaling(z, power) for power in POWERS]
    homes: list[int] = []

    def progress(step: int, active: int) -> None:
        show(len(homes) * steps + step, len(mixes) * steps)

    for W in mixes:
        tried = copy.deepcopy(encoder)
        tried.mix(W)
        homes.append(came_home(tried, task, steps, progress))
    best = homes.index(max(homes))
    encoder.mix(mixes[best])
    return {"rehearsed": {"power": POWERS[best], "home": homes[best], "runs": 2 * RUNS}}


def scaling(z: Float[Tensor, "n k"], power: float) -> Float[Tensor, "k k"]:
    """`C^-power`, C the covariance of z."""
    variances, directions = torch.linalg.eigh(torch.cov(z.double().mT))
    return (
        (directions * variances.clamp(min=FAINTEST**2 * variances[-1]) ** -power) @ directions.mT
    ).float()


def came_home(
    encoder: Encoder, task: AutoEncoderTask, steps: int, progress: Callable[[int, int], None]
) -> int:
    """How many of RUNS starts of `lookat`, and as many of `screw`, this encoder brings home in its
    scene. progress: as in `servo`.
    """
    g, camera, distance = generator(SEED, 0), task.camera.within(SMALL), task.distance
    Ts_cam, Ts_goal = (
        torch.cat(both)
        for both in zip(
            sampling.lookat(RUNS, g, distance), sampling.screw(RUNS, g, distance), strict=True
        )
    )
    law, goal = latent_servo(camera, encoder, distance), task.scene.render(camera, Ts_goal)
    law.set_goal(goal)
    ended = servo(
        Simulator(task.scene, camera, Ts_cam), law, goal, steps, progress=progress
    ).Ts_world_cam[-1]
    metres, radians = se3.distance(Ts_goal, ended)
    return int(((metres < NEAR * distance) & (radians < NEAR)).sum())
