"""The photometric stage alone on the papers' sets `lookat` and `screw`, beside the published
figures of DVS.

    python -m benchmarks dvs && make table

`dvs` is the published law (Levenberg-Marquardt, L the mean of both pictures', 1500 steps);
`photometric` is this package's registration starting from the goal's own pose. A variant changes
one thing, to see what a difference comes from. Rows that are in --out are not measured again.
"""

from pathlib import Path
from typing import Any

import tyro

from benchmarks.common.rows import ResultsFile, per_run
from deepservo import METHODS, PlanarScene
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import servo_bar
from deepservo.evaluation.metrics import judge
from deepservo.evaluation.starts import sampled
from deepservo.evaluation.trial import Trial, measure
from deepservo.images.pictures import BUNDLED, bundled
from deepservo.scene.build import Setup

DEPTH = 0.6
# what is changed: options of the scene, options of `dvs`
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as published": ({}, {}),
    "plain bilinear": ({"antialias": False}, {}),
    "black surround": ({"background": 0.0}, {}),
    "L at the goal": ({}, {"interaction": "goal"}),
    "L at the current picture": ({}, {"interaction": "current"}),
}


def main(
    *,
    n: int = 100,
    seed: int = 0,
    out: Path = Path("results/dvs.json"),
    pictures: tuple[str, ...] = BUNDLED,
    methods: tuple[str, ...] = ("dvs", "photometric"),
    sets: tuple[str, ...] = ("lookat", "screw"),
    variants: tuple[str, ...] = ("as published",),
    max_steps: int | None = None,
) -> None:
    """Measure what is not measured yet.

    Args:
        n: starts a row.
        seed: of the starts.
        out: the results file.
        pictures: bundled pictures to take.
        methods: `dvs`, `photometric`.
        sets: published sets.
        variants: of the scene and of `dvs`, by name.
        max_steps: steps; each method's own (1500 and 300) when not given.
    """
    results = ResultsFile(out)
    for variant in variants:
        in_scene, in_law = VARIANTS[variant]
        for picture in pictures:
            scene = PlanarScene(bundled(picture), 0.8, **in_scene)
            for name in sets:
                for method in methods:
                    controller = METHODS[method](
                        PAPER_CAMERA, depth=DEPTH, **(in_law if method == "dvs" else {})
                    )
                    steps = max_steps or controller.max_steps
                    settings = {
                        "method": method,
                        "set": name,
                        "scene": picture,
                        "n": n,
                        "seed": seed,
                        "max_steps": steps,
                        "variant": variant,
                    }
                    if results.has(settings) or (method != "dvs" and in_law):
                        continue
                    setup = Setup(scene, PAPER_CAMERA, DEPTH, picture)
                    starts = sampled(name, n, seed, setup)
                    trial = Trial(method, setup, starts, max_steps=steps)
                    with servo_bar(f"{method}, {name}, {picture}", steps) as show:
                        trajectory, row = measure(controller, trial, show)
                    results.add(
                        {
                            **row,
                            "runs": per_run(
                                judge(trajectory, starts.Ts_world_goal, controller.gain)
                            ),
                        },
                        settings,
                    )
                    print(
                        f"{picture:10} {name:7} {method:12} {100 * row['converged']:5.1f} % home, "
                        f"{row['time_s']:.0f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    tyro.cli(main)
