"""A benchmark of a few runs on a small camera, and whether two results are the same."""

from dataclasses import fields

import numpy as np

from deepservo.bench.runs import Bench, Runs
from deepservo.bench.scenes import scene_of
from deepservo.camera import Camera

CAMERA = Camera(64, 64, 86.0, 86.0, 33.0, 31.0)


def small(scenes: tuple[str, ...] = ("coffee",), max_steps: int | None = 8) -> Bench:
    return Bench(
        CAMERA, 0.6, {name: scene_of(name) for name in scenes}, {}, seed=1, max_steps=max_steps
    )


# Alike to rounding alone, which depends on the pictures beside them.
CLOSE = ("path", "mm", "deg", "seen_mm", "seen_deg", "most_mm", "most_deg", "said_mm", "said_deg")


def same(a: Runs, b: Runs) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        for f in fields(Runs)
        if f.name not in CLOSE
    ) and (np.abs(a.path - b.path).max() < 1e-6)
