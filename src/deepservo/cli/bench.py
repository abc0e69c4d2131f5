"""What `deepservo bench` does: parses names, runs what is missing, writes the results; and compares
two of them.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepservo.bench.bench import open_together, run_all, write_all
from deepservo.bench.runs import Bench, jobs, on_this_machine
from deepservo.bench.scenes import WIDTH, scene_of
from deepservo.bench.tables import compared
from deepservo.camera import PAPER_CAMERA
from deepservo.cli.console import bench_bar, check_seed, console
from deepservo.errors import InputError, unknown
from deepservo.evaluation.poses import read_poses
from deepservo.evaluation.protocols import check_memory
from deepservo.evaluation.sets import SETS
from deepservo.evaluation.worlds import check_world
from deepservo.images import pictures
from deepservo.methods import check_method, plug_in, trained_as
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, read_model
from deepservo.scene import PlanarScene
from deepservo.scene.build import check_scene, texture_of
from deepservo.system import distributed

DISTANCE = 0.6  # of the reference pose [m]
QUICK_RUNS, QUICK_STEPS = 4, 100


def run_bench(
    methods: str,
    sets: str,
    scenes: str | None,
    image: Path | None,
    models: str | None,
    poses: Path | None,
    n: int | None,
    seed: int,
    out: Path,
    resume: bool,
    quick: bool,
    world: str,
) -> None:
    """Run what is not in `out` yet and write results.json, runs.npz, results.md and report.html."""
    check_seed(seed)
    check_world(world)
    names, wanted = (
        tuple(plug_in(name) for name in _names(methods)),
        _names(sets) if poses is None else ("poses",),
    )
    for name in names:
        check_method(name)
    for name in wanted if poses is None else ():
        _check_set(name)
    if n is not None and n < 1:
        raise InputError(f"--n {n}: give at least 1 run")
    bench = replace(_bench(names, scenes, image, models, poses, seed, quick), world=world)
    if n is not None and bench.poses is not None and n > len(bench.poses[0]):
        raise InputError(
            f"--n {n}: {poses} holds {len(bench.poses[0])} poses; give no more than those"
        )
    work = jobs(names, wanted, bench, n or (QUICK_RUNS if quick else None))
    if not work:
        raise InputError(
            f"{', '.join(names)}: the models given were not trained on the pictures of "
            f"{', '.join(wanted)}; train some on those"
        )
    for name in names:
        check_memory(
            min(bench.chunk, max(job.n for job in work)),
            bench.camera,
            name,
            "bench models that were learned for a camera of fewer pixels",
        )
    open_together(out, bench, resume)
    distributed.share_threads()
    with bench_bar(len(work)) as show:
        run_all(work, bench, out, show)
    if distributed.first():
        with console.status("drawing the report"):
            write_all(work, bench, out)
        console.print((out / "results.md").read_text())
        console.print(f"{out / 'report.html'}: open it in a browser")
    distributed.release()


def run_compare(before: Path, after: Path) -> int:
    """Print what moved; 1 where a share home fell beyond its interval, else 0."""
    table, worse = compared(_rows(before), _rows(after))
    console.print(table)
    return int(worse)


def _names(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError(
            "an empty list of names; put commas between them, as in --methods dvs,sift"
        )
    return names


def _check_set(name: str) -> None:
    if name == "poses":
        raise InputError("the set 'poses' is your own; give its file with --poses")
    if name not in SETS:
        raise unknown("set", name, SETS)


def _bench(
    methods: tuple[str, ...],
    scenes: str | None,
    image: Path | None,
    models: str | None,
    poses: Path | None,
    seed: int,
    quick: bool,
) -> Bench:
    """What all rows share; InputError where the options do not go together."""
    loaded = [read_model(name) for name in _names(models)] if models is not None else []
    of_scenes, pairs = (
        [m for m in loaded if isinstance(m, Model)],
        [m for m in loaded if isinstance(m, UnseenModel)],
    )
    if len(pairs) > 1:
        raise InputError("--models: two were trained for any scene; run them one by one")
    given = [
        name
        for name, value in (
            ("--scenes", scenes),
            ("--image", image),
            ("--models", of_scenes or None),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both name scenes; give one of them")
    untrained = [name for name in methods if trained_as(name)]
    if untrained and not of_scenes:
        raise InputError(
            f"{untrained[0]}: is trained for a scene; give the models that deepservo learn wrote "
            "with --models"
        )
    camera, distance, learned, found = (
        PAPER_CAMERA,
        DISTANCE,
        dict[tuple[str, str], Model](),
        dict[str, PlanarScene](),
    )
    if of_scenes:
        learned = {(model.picture, model.method): model for model in of_scenes}
        first = next(iter(learned.values()))
        lacking = [
            name
            for name in untrained
            if not any(trained_as(name) == method for _, method in learned)
        ]
        if lacking:
            raise InputError(
                f"{lacking[0]}: none of --models was made with deepservo learn --method "
                f"{trained_as(lacking[0])}; give one"
            )
        camera, distance = first.camera, first.distance
        odd = [
            name
            for (name, _), model in learned.items()
            if (model.camera, model.distance) != (camera, distance)
        ]
        if odd:
            raise InputError(
                f"--models: {odd[0]} was learned for another camera or distance than "
                f"{first.picture}; run them one by one"
            )
        found = {name: model.scene for (name, _), model in learned.items()}
    elif image is not None:
        for file in pictures.files_in(image) if image.is_dir() else [image]:
            found[file.name] = PlanarScene(texture_of(pictures.read_picture(file)), WIDTH)
            check_scene(found[file.name], camera, distance, str(file))
    else:
        found = {name: scene_of(name) for name in (_names(scenes) if scenes else pictures.BUNDLED)}
    if quick:
        found = dict(list(found.items())[:1])
    own = None
    if poses is not None:
        Ts_cam, Ts_goal = read_poses(poses, distance)
        if Ts_goal is None:
            raise InputError(f"{poses}: holds no T_world_goal; add it, (N, 4, 4) or one for all")
        own = (Ts_cam, Ts_goal)
    return Bench(
        camera, distance, found, learned, seed, QUICK_STEPS if quick else None, own,
        pairs[0] if pairs else None,
        own_starts=own is None and image is not None and image.is_dir(), **on_this_machine(),
    )  # fmt: skip


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a results.json."""
    try:
        rows = json.loads(path.read_text())["rows"]
        if not all("converged" in row and "method" in row for row in rows):
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a results.json") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no results.json of deepservo") from None
    return list(rows)
