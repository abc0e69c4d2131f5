"""Detectors on homography pairs: repeatability, localisation, matching score and the homography
they give.

    python -m benchmarks keypoints --folder PICTURES && make table

Two views of a picture, clean and degraded; of each detector its 500 most confident points (Tang et
al. 2020, section 4).
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.common.rows import Row, fill
from benchmarks.objects.tabletop import finders
from deepservo.camera import Camera
from deepservo.features import neighbours
from deepservo.features.detectors import Detector
from deepservo.features.two_views import Candidates, homography
from deepservo.images import pictures
from deepservo.scene import PlanarScene
from deepservo.training.tasks.pair import degraded, of_plane, pairs

CAMERA = Camera(320, 240, 300.0, 300.0, 159.5, 119.5)
SAME_POINT = 3.0  # px: points nearer than that are the same point
CORNERS = np.array([[0, 0], [319, 0], [319, 239], [0, 239]], float)
ACCURATE = (1.0, 3.0, 5.0)  # px of mean corner error
SPREAD = 0.6  # of the published starts'
FIGURES = ("repeated", "off_px", "matched", *(f"within_{k:g}" for k in ACCURATE))


def through(H: Float[np.ndarray, "3 3"], px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Pixels through a homography."""
    p = np.column_stack([px, np.ones(len(px))]) @ H.T
    return p[:, :2] / p[:, 2:]


def inside(px: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Which of these pixels lie in the picture."""
    return (px >= 0).all(1) & (px[:, 0] <= CAMERA.width - 1) & (px[:, 1] <= CAMERA.height - 1)


def scored(
    find: Detector, first: torch.Tensor, second: torch.Tensor, H: Float[np.ndarray, "3 3"]
) -> dict[str, float]:
    """The figures of one pair of pictures, H from the first's pixels to the second's."""
    (a, of_a), (b, of_b) = find(first), find(second)
    there, back = through(H, a), through(np.linalg.inv(H), b)
    a, of_a, there = (x[inside(there)] for x in (a, of_a, there))
    b, of_b = b[inside(back)], of_b[inside(back)]
    if not len(a) or not len(b):
        return dict.fromkeys(FIGURES, 0.0) | {"off_px": np.nan}
    apart = np.linalg.norm(there[:, None] - b[None], axis=2)
    near = np.concatenate([apart.min(0), apart.min(1)])
    i, j = neighbours.match(of_a, of_b)
    right = apart[i, j] < SAME_POINT
    found = homography(Candidates.of(a[i], b[j]), min_inliers=4)
    corner = (
        np.inf
        if found is None
        else np.linalg.norm(through(found.H, CORNERS) - through(H, CORNERS), axis=1).mean()
    )
    return {
        "repeated": float((near < SAME_POINT).mean()),
        "off_px": float(near[near < SAME_POINT].mean()) if (near < SAME_POINT).any() else np.nan,
        "matched": float(right.sum() / min(len(a), len(b))),
    } | {f"within_{k:g}": float(corner < k) for k in ACCURATE}


def main(
    *,
    folder: Path | None = None,
    model: Path | None = None,
    n: int = 10,
    seed: int = 0,
    out: Path = Path("results/keypoints.json"),
) -> None:
    """Measure what is not measured yet.

    Args:
        folder: pictures; the bundled ones when not given.
        model: a network of `deepservo learn --method keypoints`; the shipped one when not given.
        n: pairs of each picture.
        seed: of the pairs and of what degrades them.
        out: the results file.
    """
    files = pictures.files_in(folder) if folder else []
    textures = [pictures.read_picture(file) for file in files] or [
        pictures.bundled(name) for name in pictures.BUNDLED
    ]
    compared = finders(model)

    def measure(settings: Row) -> Row:
        find, degrade = compared[settings["detector"]], settings["spoiled"]
        found = [
            row
            for k, texture in enumerate(textures)
            for row in of_picture(find, texture, n, 1000 * seed + k, degrade)
        ]
        return {key: float(np.nanmean([row[key] for row in found])) for key in found[0]}

    settings = {"pictures": len(textures), "n": n, "seed": seed}
    wanted = (
        {"detector": name, "spoiled": degrade, **settings}
        for degrade in (False, True)
        for name in compared
    )
    fill(out, wanted, measure, FIGURES)


def of_picture(
    find: Detector, texture: torch.Tensor, n: int, seed: int, degrade: bool
) -> list[dict[str, float]]:
    """n pairs of views of a picture 1.4 wide, from about 1 away."""
    g = torch.Generator().manual_seed(seed)
    scene = PlanarScene(texture, 1.4)
    Ts = torch.cat(pairs(n, g, SPREAD))
    images = scene.render(CAMERA, Ts)
    images = degraded(images, g) if degrade else images
    to_pixels = CAMERA.K @ of_plane(Ts)
    Hs = (to_pixels[n:] @ torch.linalg.inv(to_pixels[:n])).numpy()
    return [scored(find, images[k, 0], images[n + k, 0], Hs[k]) for k in range(n)]
