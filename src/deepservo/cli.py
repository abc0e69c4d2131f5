"""The command line: parses and calls, no logic. What cannot be used is said in one sentence, exit code 2."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from deepservo import memory
from deepservo.errors import InputError, check_misplaced


@dataclass(frozen=True)
class Demo:
    """Learn a scene from one picture and bring simulated cameras home to it."""

    out: Path = Path("demo")
    """Folder for model.safetensors, results.json and report.html."""
    image: Path | None = None
    """A picture of your own instead of the bundled one."""
    minutes: float = 4.5
    """Training time on this machine."""
    starts: int = 100
    """Simulated cameras."""
    seed: int = 0
    """Of the training and of the starts."""

    def run(self) -> None:
        """See `commands.run_demo`."""
        from deepservo.commands import run_demo

        run_demo(self.out, self.image, self.minutes, self.starts, self.seed)


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Learn a scene from one picture of it; or, with --method cnn-pair, a network for scenes never seen."""

    image: tyro.conf.Positional[Path | None] = None
    """The plane's texture or, with --view, the camera's own picture of the scene; a folder of them for the siamese methods and for
    cnn-pair and keypoints, which learn from pictures made by code when none is given."""
    out: Path
    """The model file to write, such as model.safetensors."""
    width: float | None = None
    """Width of the picture on the plane [m]; 0.8 when not given."""
    view: bool = False
    """The picture is the camera's own view of the scene, facing it at --distance."""
    distance: float = 0.6
    """Distance from the camera to the plane at the reference pose [m]."""
    camera: Path | None = None
    """Camera file (OpenCV or ROS YAML); the published experiments' camera when not given."""
    method: str = "cnn"
    """What to train: cnn, aevs, mlvs, siamese-se3, siamese-SE3, siamese-ibvs; cnn-pair or keypoints for any scene."""
    preset: str = "cpu"
    """cpu: minutes on two cores; paper: as published, for a GPU."""
    minutes: float | None = None
    """Training time on this machine; with neither this nor --steps, 4.5 for cnn, 10 for mlvs, 20 for siamese-*; aevs: 1000 steps."""
    steps: int | None = None
    """Training steps, exactly."""
    backbone: str | None = None
    """What the network begins with, for the siamese methods and the published cnn: compact, resnet18, efficientnet_b3 and so on."""
    weights: Path | None = None
    """ImageNet's weights for the backbone, saved from torchvision."""
    colour: bool = False
    """A siamese method learns and sees colours, not grey levels."""
    loss: str | None = None
    """How a siamese method weighs its errors: by four learned weights, by two, or fixed; of the published aevs: frequency or pixel."""
    seed: int = 0
    """Of the weights and the pictures."""
    resume: bool = False
    """Go on from the checkpoint of a training that was stopped."""

    def run(self) -> None:
        """See `commands.run_learn`."""
        from deepservo.commands import run_learn

        run_learn(
            self.image, self.out, self.width, self.view, self.distance, self.camera, self.method, self.preset, self.minutes,
            self.steps, self.backbone, self.weights, self.colour, self.loss, self.seed, self.resume,
        )  # fmt: skip


@dataclass(frozen=True)
class Servo:
    """Steer simulated cameras home: with a learned model, or with none before the picture in --image."""

    model: tyro.conf.Positional[Path | None] = None
    """A model file that `deepservo learn` wrote."""
    method: str | None = None
    """Any method by name; when not given, the model's own with the photometric finish, or auto where there is no model."""
    image: Path | None = None
    """The picture on the plane: another than the one learned."""
    goal: Path | None = None
    """The camera's picture at the goal, instead of a rendered one; or a folder that `deepservo target` wrote."""
    mesh: Path | None = None
    """With such a folder: the object, which then stands on the gantry's table, its z up."""
    unit: str | None = None
    """Of the mesh's numbers: m or mm; metres when not given."""
    poses: Path | None = None
    """An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres."""
    set: str = "lookat-rz"
    """Published set to draw the starts from when no poses are given."""
    starts: int = 100
    """How many starts to draw."""
    seed: int = 0
    """Of the starts."""
    out: Path = Path("out")
    """Folder for results.json and report.html."""
    camera: Path | None = None
    """Where there is no model: the camera file (OpenCV or ROS YAML); of the goal's size and a usual field of view when not given."""
    distance: float | None = None
    """Where there is no model: from the camera to the plane at the goal [m], known or guessed; 0.6 when not given."""
    width: float | None = None
    """Where there is no model: of the picture on the plane [m]; 0.8 when not given."""
    world: str = "simulator"
    """simulator: cameras that fly; gantry: carried by a gantry with joints in MuJoCo; gantry-lights: under lamps that wander."""

    def run(self) -> None:
        """See `commands.run_servo`, and `commands_target.run_servo_target`."""
        if self.model is None and self.goal is not None and self.goal.is_dir():
            from deepservo.commands_target import run_servo_target

            given = {"--poses": self.poses, "--camera": self.camera, "--distance": self.distance, "--width": self.width}
            check_misplaced(f"{self.goal}: tells its own camera, depths and starts", given)
            method = self.method or "dfbvs+edges"
            run_servo_target(self.goal, self.mesh, self.unit, self.image, method, self.starts, self.seed, self.out, self.world)
            return
        if self.mesh is not None:
            raise InputError("--mesh: goes with the goal that deepservo target rendered of it; give that folder with --goal")
        from deepservo.commands import run_servo

        run_servo(
            self.model, self.method, self.image, self.goal, self.poses, self.set, self.starts, self.seed, self.out, self.camera,
            self.distance, self.width, self.world,
        )  # fmt: skip


@dataclass(frozen=True)
class Info:
    """Say what a model is, how it was made, on which camera."""

    model: tyro.conf.Positional[Path]
    """A model file."""

    def run(self) -> None:
        """See `commands.run_info`."""
        from deepservo.commands import run_info

        run_info(self.model)


@dataclass(frozen=True)
class Bench:
    """Measure methods on the published sets and on harder ones, beside the published figures."""

    methods: str = "dvs,dct,pca,orb,sift,sift+dvs"
    """Names, comma between: see the list in an error about one that there is not. dct-20 is dct with 20 coefficients."""
    sets: str = "lookat,screw,lookat-rz"
    """Names, comma between: lookat, screw, lookat-rz, gaussian, batches, overlap, steps, hard-light and so on."""
    scenes: str | None = None
    """Bundled or code-made pictures, comma between; the five bundled ones when neither this, --image nor --models is given."""
    image: Path | None = None
    """A picture of your own, 0.8 m wide, as the scene; or a folder of them, each with starts of its own."""
    models: str | None = None
    """Model files, comma between, whose scenes are run: for the methods that are trained. One of cnn-pair serves any scene."""
    poses: Path | None = None
    """An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres: your own set."""
    n: Annotated[int | None, tyro.conf.arg(aliases=["--runs"])] = None
    """Runs of each part of a set on each scene; as many as were published when not given. torchrun takes --n for itself: --runs there."""
    seed: int = 0
    """Of the starts and of what changes the pictures."""
    out: Path = Path("bench")
    """Folder for results.json, runs.npz, results.md, report.html, and the runs that are done."""
    resume: bool = False
    """Go on in a folder that the same settings made; methods and sets may be added."""
    quick: bool = False
    """A glance at everything: four runs of at most 100 steps on one scene."""
    world: str = "simulator"
    """simulator, gantry or gantry-lights: see servo."""
    compare: tuple[Path, Path] | None = None
    """Two results.json, before and after: say what moved; exit code 1 where a share fell beyond its interval."""

    def run(self) -> int | None:
        """See `commands_bench`."""
        from deepservo.commands_bench import run_bench, run_compare

        if self.compare:
            return run_compare(*self.compare)
        run_bench(
            self.methods, self.sets, self.scenes, self.image, self.models, self.poses, self.n, self.seed, self.out, self.resume, self.quick,
            self.world,
        )  # fmt: skip
        return None


@dataclass(frozen=True, kw_only=True)
class Target:
    """Render a goal from a mesh: goal.png, depth.npy [m], mask.png, camera.yaml and pose.npz, as the camera would see the object."""

    mesh: Path
    """An OBJ, STL or PLY file, textured or not."""
    pose: Path
    """An .npz file with T_object_cam, (4, 4): the camera in the object's frame, metres, z forward."""
    camera: Path
    """Camera file (OpenCV or ROS YAML)."""
    out: Path
    """Folder for the five files."""
    unit: str | None = None
    """Of the mesh's numbers: m or mm; metres when not given."""

    def run(self) -> None:
        """See `commands_target.run_target`."""
        from deepservo.commands_target import run_target

        run_target(self.mesh, self.pose, self.camera, self.out, self.unit)


@dataclass(frozen=True)
class Recipe:
    """Repeat a published experiment at full scale on a GPU: train, measure, and write its results file."""

    name: tyro.conf.Positional[str | None] = None
    """Which: see --missing."""
    steps: int | None = None
    """Training steps: a part of the recipe's, and as large a part of its runs."""
    quick: bool = False
    """A glance: the small networks, twenty steps, two short runs."""
    seed: int = 0
    """Of the training and of the starts."""
    resume: bool = False
    """Go on from the checkpoint and from the runs that are kept in --out."""
    missing: bool = False
    """List the recipes without a full-scale result in --results, those of greatest value first."""
    out: Path = Path("recipes")
    """Folder for the model, its checkpoint and the runs."""
    results: Path = Path("results/full-scale")
    """Folder for the results files."""

    def run(self) -> None:
        """See `commands_recipe`."""
        from deepservo.commands_recipe import run_missing, run_recipe

        if self.missing:
            run_missing(self.results)
            return
        run_recipe(self.name, self.steps, self.quick, self.seed, self.resume, self.out, self.results)


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Learn, tyro.conf.subcommand("learn")]
    | Annotated[Servo, tyro.conf.subcommand("servo")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Target, tyro.conf.subcommand("target")]
    | Annotated[Recipe, tyro.conf.subcommand("recipe")]
)


def main(args: list[str] | None = None) -> int:
    """Run one command; the exit code: 0, or 2 with one sentence on standard error (1: `bench --compare` found a share that fell)."""
    command: Any = None
    try:
        command = tyro.cli(Command, args=args, prog="deepservo", description="Bring a camera home to a picture.")  # type: ignore[call-overload]
        return command.run() or 0
    except InputError as error:
        return _refuse(str(error))
    except OSError as error:  # a full disk, a path without permission: the machine's state, not a fault of the program
        return _refuse(f"{error.filename or 'a file'}: {error.strerror or error}; free some space or choose another place")
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return _refuse("memory ran out; use fewer --starts or runs (--n), smaller pictures or a smaller camera")
    except KeyboardInterrupt as stop:
        go_on = "--resume goes on from it" if isinstance(command, Learn | Recipe) else "the same command goes on from it"
        return _refuse(f"stopped by Ctrl-C, nothing half-written{f'; {stop}: {go_on}' if str(stop) else ''}")


def _refuse(why: str) -> int:
    print(f"deepservo: {' '.join(why.split())}", file=sys.stderr)
    return 2
