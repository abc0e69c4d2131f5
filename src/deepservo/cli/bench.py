"""`deepservo bench`: measure methods on sets of starts, and compare two measurements."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from deepservo.cli.options import OptionalCount, OptionalPath, OptionalText
from deepservo.errors import InputError

if TYPE_CHECKING:
    from deepservo.bench.runs import Bench as Shared
    from deepservo.bench.runs import Job

QUICK_RUNS, QUICK_STEPS = 4, 100
FEWER_PIXELS = "bench models that were learned for a camera of fewer pixels"


@dataclass(frozen=True)
class Bench:
    """Measure methods on the published sets and on harder ones, beside the published figures."""

    #: Names, comma between: see deepservo list. dct-20 is dct with 20 coefficients, mine.py:Mine
    #: the class Mine in your file.
    methods: str = "dvs,dct,pca,orb,sift,sift+dvs"
    #: Names, comma between: see deepservo list.
    sets: str = "lookat,screw,lookat-rz"
    #: Pictures by name, comma between (see deepservo list); the five bundled ones when neither
    #: this, --image nor --models is given.
    scenes: OptionalText = None
    #: A picture of your own, 0.8 m wide, as the scene; or a folder of them, each with starts of its
    #: own.
    image: OptionalPath = None
    #: Model files, comma between, whose scenes are run: for the methods that are trained. One of
    #: cnn-pair serves any scene.
    models: OptionalText = None
    #: An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres: your own set.
    poses: OptionalPath = None
    #: Runs of each part of a set on each scene; as many as were published when not given. torchrun
    #: takes --n for itself: --runs there.
    n: Annotated[OptionalCount, tyro.conf.arg(aliases=["--runs"])] = None
    #: Of the starts and of what changes the pictures.
    seed: int = 0
    #: Folder for results.json, runs.npz, results.md, report.html, and the runs that are done.
    out: Path = Path("bench")
    #: Go on in a folder that the same settings made; methods and sets may be added.
    resume: bool = False
    #: A quick run of everything: four runs of at most 100 steps on one scene.
    quick: bool = False
    #: simulator, gantry or gantry-lights: see servo.
    world: str = "simulator"
    #: Two results.json, before and after: say what moved; exit code 1 where a share fell beyond its
    #: interval.
    compare: Annotated[
        tuple[Path, Path] | None,
        tyro.conf.arg(metavar="BEFORE AFTER", help_behavior_hint=""),
    ] = None

    def run(self) -> int:
        """Run what is not in the folder yet, and write results.json, runs.npz, results.md and
        report.html; or compare. The exit code.
        """
        from deepservo.bench import bench as runner
        from deepservo.bench.tables import compared, read_rows
        from deepservo.cli.console import bench_bar, console
        from deepservo.system import distributed

        if self.compare:
            table, fell = compared(*(read_rows(path) for path in self.compare))
            console.print(table)
            return int(fell)
        shared, work = self._planned()
        runner.open_together(self.out, shared, self.resume)
        distributed.share_threads()
        with bench_bar(len(work)) as show:
            runner.run_all(work, shared, self.out, show)
        if distributed.first():
            with console.status("drawing the report"):
                runner.write_all(work, shared, self.out)
            console.print((self.out / "results.md").read_text())
            console.print(f"{self.out / 'report.html'}: open it in a browser")
        distributed.release()
        return 0

    def _planned(self) -> "tuple[Shared, list[Job]]":
        """What all runs share, and the rows to run; InputError where options do not go together."""
        from deepservo.bench.runs import jobs
        from deepservo.cli.console import check_seed
        from deepservo.evaluation.sets import check_set
        from deepservo.evaluation.starts import check_memory
        from deepservo.evaluation.worlds import check_world
        from deepservo.methods import check_method, plug_in

        check_seed(self.seed)
        check_world(self.world)
        methods = tuple(plug_in(name) for name in _names(self.methods))
        sets = ("poses",) if self.poses else _names(self.sets)
        for name in methods:
            check_method(name)
        for name in () if self.poses else sets:
            check_set(name)
        if self.n is not None and self.n < 1:
            raise InputError(f"--n {self.n}: give at least 1 run")
        shared = self._shared(methods)
        if self.n is not None and shared.poses is not None and self.n > len(shared.poses[0]):
            raise InputError(
                f"--n {self.n}: {self.poses} holds {len(shared.poses[0])} poses; give no more than "
                "those"
            )
        work = jobs(methods, sets, shared, self.n or (QUICK_RUNS if self.quick else None))
        if not work:
            raise InputError(
                f"{', '.join(methods)}: the models given were not trained on the pictures of "
                f"{', '.join(sets)}; train some on those"
            )
        together = min(shared.chunk, max(job.n for job in work))
        for name in methods:
            check_memory(together, shared.camera, name, FEWER_PIXELS)
        return shared, work

    def _shared(self, methods: tuple[str, ...]) -> "Shared":
        """Scenes, camera, models and settings, which all runs share."""
        from deepservo.bench import inputs
        from deepservo.images.pictures import BUNDLED
        from deepservo.methods import trained_as

        of_scenes, of_any_scene = inputs.read_models(_names(self.models) if self.models else ())
        naming = {
            "--scenes": self.scenes,
            "--image": self.image,
            "--models": of_scenes or None,
        }
        given = [option for option, value in naming.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} both name scenes; give one of them")
        untrained = [name for name in methods if trained_as(name)]
        if untrained and not of_scenes:
            raise InputError(
                f"{untrained[0]}: is trained for a scene; give the models that deepservo learn "
                "wrote with --models"
            )
        if of_scenes:
            shared = inputs.of_models(of_scenes, methods)
        elif self.image is not None:
            shared = inputs.of_pictures(self.image)
        else:
            shared = inputs.of_names(_names(self.scenes) if self.scenes else BUNDLED)
        if self.quick:
            first = dict(list(shared.scenes.items())[:1])
            shared = replace(shared, scenes=first, max_steps=QUICK_STEPS)
        if self.poses is not None:
            shared = inputs.with_poses(shared, self.poses)
        return replace(shared, seed=self.seed, world=self.world, pair=of_any_scene)


def _names(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError(
            "an empty list of names; put commas between them, as in --methods dvs,sift"
        )
    return names
