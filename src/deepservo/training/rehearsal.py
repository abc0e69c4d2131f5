"""The weight of each direction of z is chosen by runs in the learned scene (rehearsal).

An encoder that learned that z moves straight has large variance in the two or three directions in
which that is easiest, and these dominate |z - z*|. On some scenes that is enough to converge; on
others the directions of small variance are needed. The training loss does not show which; a few
runs do.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.loop import servo
from deepservo.methods.aevs import latent_servo
from deepservo.nets.resnet import Encoder
from deepservo.scene import sampling, taught
from deepservo.training.exam import MAX_SIDE_PX, count_home
from deepservo.training.tasks.latent import AutoEncoderTask
from deepservo.training.tasks.task import generator
from deepservo.worlds.simulator import Simulator

# Of the inverse covariance of z: no change, or each direction divided by the root of its deviation.
POWERS = (0.0, 0.25)
RUNS, MAX_STEPS, SEED = 24, 150, 1  # runs of each set, steps of a run
MIN_DEVIATION = 1e-5  # of a direction of z, as a share of the greatest


def balance(
    encoder: Encoder, task: AutoEncoderTask, steps: int, show: Callable[[int, int], None]
) -> dict[str, Any]:
    """Mix z, in place, by the power of POWERS with which most runs converge.

    steps: of a run, at most MAX_STEPS. show: called with the step, and the number of all steps.
    Returns what the model file records: the power, how many runs converged, and of how many.
    """
    steps, seen = min(steps, MAX_STEPS), task.workspace_pictures(encoder.shape.size)
    with torch.no_grad():
        z = encoder(seen.contiguous(memory_format=torch.channels_last))
    mixes = [scaling(z, power) for power in POWERS]
    converged: list[int] = []

    def progress(step: int, active: int) -> None:
        show(len(converged) * steps + step, len(mixes) * steps)

    for W in mixes:
        tried = copy.deepcopy(encoder)
        tried.mix(W)
        converged.append(converged_runs(tried, task, steps, progress))
    best = converged.index(max(converged))
    encoder.mix(mixes[best])
    return {"rehearsed": {"power": POWERS[best], "home": converged[best], "runs": 2 * RUNS}}


def scaling(z: Float[Tensor, "n k"], power: float) -> Float[Tensor, "k k"]:
    """`C^-power`, C the covariance of z over its n rows."""
    variances, directions = torch.linalg.eigh(torch.cov(z.double().mT))
    return (
        (directions * variances.clamp(min=MIN_DEVIATION**2 * variances[-1]) ** -power)
        @ directions.mT
    ).float()


def converged_runs(
    encoder: Encoder, task: AutoEncoderTask, steps: int, progress: Callable[[int, int], None]
) -> int:
    """How many of 2 RUNS starts converge with this encoder in its scene.

    Half of the starts are those of `lookat`, half of `screw`. progress: as in `servo`.
    """
    g, camera, distance = generator(SEED, 0), task.camera.within(MAX_SIDE_PX), task.distance
    Ts_cam, Ts_goal = (
        torch.cat(both)
        for both in zip(
            sampling.lookat(RUNS, g, distance), sampling.screw(RUNS, g, distance), strict=True
        )
    )
    Ts_cam = taught.with_room(
        task.scene, distance, Ts_cam, lambda n: sampling.lookat(n, g, distance)[0]
    )
    law, goal = latent_servo(camera, encoder, distance), taught.shown(task.scene, camera, Ts_goal)
    law.set_goal(goal)
    ended = servo(
        Simulator(task.scene, camera, Ts_cam), law, goal, steps, progress=progress
    ).Ts_world_cam[-1]
    return count_home(ended, Ts_goal, distance)
