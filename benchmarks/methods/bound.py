"""The least end error that a perturbed goal leaves possible, for any method that knows the scene by
that picture alone.

    python -m benchmarks bound --image FOLDER && make table

The goal's noise stays the same during the whole run. So the least error of any method, even with
views without noise, follows from all pixels of the goal together. It is the Cramer-Rao bound, `cov
= s^2 (J^T J)^-1` with J = [L, I, 1] over the pixels that nothing covers, L the interaction matrix
of the clean goal times the contrast that was left, and s the standard deviation of the noise.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common.rows import write
from deepservo.bench.scenes import WIDTH
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.conditions import AS_MLVS, PLAIN
from deepservo.evaluation.sets import SETS
from deepservo.features.luminance import gradient
from deepservo.geometry import interaction
from deepservo.images.pictures import files_in, read_picture
from deepservo.scene import PlanarScene
from deepservo.scene.build import texture_of

DEPTH = 0.6  # [m]
DRAWS = 1000  # errors drawn from the covariance, for their median length
COVERED = 4  # standard deviations from the clean picture at which a pixel counts as covered
ROUNDS = 20  # of reweighting, which separates contrast and brightness from covers


def lit(clean: Tensor, goal: Tensor) -> tuple[float, float, Tensor]:
    """Contrast of the goal against its clean picture, standard deviation of its noise, and the
    pixels (h * w) that are not covered.
    """
    A = torch.stack([clean.flatten(), torch.ones(clean.numel(), dtype=torch.float64)], 1)
    weights = torch.ones(len(A), dtype=torch.float64)
    for _ in range(ROUNDS):
        found = torch.linalg.lstsq(
            A * weights.sqrt()[:, None], (goal.flatten() * weights.sqrt())[:, None]
        ).solution[:, 0]
        left = goal.flatten() - A @ found
        deviation = 1.4826 * left.abs().median()
        weights = (1 + (left / (2.4 * deviation)).square()).square().reciprocal()
    return float(found[0]), float(deviation), left.abs() < COVERED * deviation


def bound(clean: Tensor, goal: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Median translation [mm] and rotation [deg] of errors that have the least covariance."""
    contrast, deviation, seen = lit(clean, goal)
    gx, gy = (g[0].double() for g in gradient(clean[None, None].float()))
    slopes = torch.stack([gx * PAPER_CAMERA.fx, gy * PAPER_CAMERA.fy], -1).reshape(-1, 1, 2)
    x, y = (values.flatten() for values in PAPER_CAMERA.xy(torch.float64))
    L = -(slopes @ interaction.point(x, y, torch.tensor(DEPTH, dtype=torch.float64)))[:, 0]
    J = torch.cat(
        [contrast * L, clean.reshape(-1, 1), torch.ones(len(L), 1, dtype=torch.float64)], 1
    )[seen]
    covariance = deviation**2 * torch.linalg.inv(J.mT @ J)[:6, :6]
    errors = torch.linalg.cholesky(covariance) @ torch.randn(
        6, DRAWS, generator=generator, dtype=torch.float64
    )
    return float(1e3 * errors[:3].norm(dim=0).median()), float(
        errors[3:].norm(dim=0).median().rad2deg()
    )


def main(image: Path, seed: int = 1, out: Path = Path("results/bound.json")) -> None:
    """Bound the end errors for the perturbed goals of `deepservo bench --sets unseen --n 1`.

    Args:
        image: folder of pictures.
        seed: of the goals and of what perturbs them.
        out: the results file.
    """
    files = files_in(image)
    _, Ts_goal = SETS["lookat-rz"][0].draw(
        len(files), torch.Generator().manual_seed(seed), DEPTH, PAPER_CAMERA
    )
    found = []
    for i, file in enumerate(files):
        scene, number = PlanarScene(texture_of(read_picture(file)), WIDTH), torch.tensor([i])
        clean, goal = (
            kind.goals(scene, PAPER_CAMERA, Ts_goal[i : i + 1], seed, number)[0, 0].double()
            for kind in (PLAIN, AS_MLVS)
        )
        found.append(bound(clean, goal, torch.Generator().manual_seed(seed)))
    mm, deg = torch.tensor(found).median(0).values.tolist()
    row = {
        "set": "unseen", "part": "lookat-rz, perturbed", "n": len(files), "seed": seed,
        "end_mm_median": mm, "end_deg_median": deg,
    }  # fmt: skip
    write(out, [row])
