"""The photometric methods on the papers' sets `lookat` and `screw`, beside the published figures of
DVS.

    python -m benchmarks dvs && make table

`dvs` is the published law (Levenberg-Marquardt, L the mean of both pictures', 1500 steps);
`photometric` is this package's registration starting from the goal's own pose. A variant changes
one thing, to see what a difference comes from. Rows that are in --out are not measured again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.rows import Row, fill
from benchmarks.common.runs import measured
from deepservo import METHODS, Controller, PlanarScene
from deepservo.camera import PAPER_CAMERA
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial
from deepservo.images.pictures import BUNDLED, bundled
from deepservo.scene.build import Setup

DEPTH = 0.6  # [m]
# what is changed: options of the scene, options of `dvs`
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as published": ({}, {}),
    "plain bilinear": ({"antialias": False}, {}),
    "black surround": ({"background": 0.0}, {}),
    "L at the goal": ({}, {"interaction": "goal"}),
    "L at the current picture": ({}, {"interaction": "current"}),
}


@dataclass(frozen=True)
class Options:
    """What is measured."""

    n: int = 100
    """starts a row."""
    seed: int = 0
    """of the starts."""
    out: Path = Path("results/dvs.json")
    """the results file."""
    pictures: tuple[str, ...] = BUNDLED
    """bundled pictures to take."""
    methods: tuple[str, ...] = ("dvs", "photometric")
    """`dvs`, `photometric`."""
    sets: tuple[str, ...] = ("lookat", "screw")
    """published sets."""
    variants: tuple[str, ...] = ("as published",)
    """of the scene and of `dvs`, by name."""
    max_steps: int | None = None
    """steps; each method's own (1500 and 300) when not given."""


def controller_of(method: str, variant: str) -> Controller:
    """The method, changed as the variant says where it is `dvs`."""
    changes = VARIANTS[variant][1] if method == "dvs" else {}
    return METHODS[method](PAPER_CAMERA, depth=DEPTH, **changes)


def wanted(options: Options) -> Iterator[Row]:
    """The settings of each row; a variant of the law alone is measured with `dvs` alone."""
    for variant in options.variants:
        for picture in options.pictures:
            for name in options.sets:
                for method in options.methods:
                    if method == "dvs" or not VARIANTS[variant][1]:
                        steps = options.max_steps or controller_of(method, variant).max_steps
                        yield {
                            "method": method, "set": name, "scene": picture, "n": options.n,
                            "seed": options.seed, "max_steps": steps, "variant": variant,
                        }  # fmt: skip


def measure(settings: Row) -> Row:
    """The figures of a row."""
    method, picture, variant = (settings[key] for key in ("method", "scene", "variant"))
    scene = PlanarScene(bundled(picture), 0.8, **VARIANTS[variant][0])
    setup = Setup(scene, PAPER_CAMERA, DEPTH, picture)
    starts = sampled(settings["set"], settings["n"], settings["seed"], setup)
    trial = Trial(method, setup, starts, max_steps=settings["max_steps"])
    return measured(controller_of(method, variant), trial)


def main(options: Options) -> None:
    """Measure what is not measured yet."""
    fill(options.out, wanted(options), measure, ("converged", "time_s"))
