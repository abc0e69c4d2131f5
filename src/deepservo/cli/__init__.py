"""The command line: parses and calls, no logic. What cannot be used is said in one sentence, exit
code 2.
"""

import errno
import io
import os
import re
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import reduce
from itertools import dropwhile, takewhile
from operator import or_
from pathlib import Path
from typing import Annotated, Any

import tyro

from deepservo.errors import InputError, check_misplaced, unknown
from deepservo.system import memory
from deepservo.version import __version__

# What may be left away: the help shows what it is, and each option's own words say what holds
# without it.
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OptionalNumber = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
FirstPath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")]
]
FirstName = tyro.conf.Positional[
    Annotated[str | None, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")]
]


@dataclass(frozen=True)
class Demo:
    """Learn a scene from one picture and bring simulated cameras home to it."""

    out: Path = Path("demo")
    """Folder for model.safetensors, results.json and report.html."""
    image: OptionalPath = None
    """A picture of your own instead of the bundled one."""
    minutes: float = 4.5
    """Training time on this machine."""
    starts: int = 100
    """Simulated cameras."""
    seed: int = 0
    """Of the training and of the starts."""

    def run(self) -> None:
        """See `demo.run_demo`."""
        from deepservo.cli.demo import run_demo

        run_demo(self.out, self.image, self.minutes, self.starts, self.seed)


@dataclass(frozen=True, kw_only=True)
class Learn:
    """Learn a scene from one picture of it; or, with --method cnn-pair, a network for scenes never
    seen.
    """

    image: FirstPath = None
    """The plane's texture or, with --view, the camera's own picture of the scene; a folder of them
    for the siamese methods and for cnn-pair and keypoints, which learn from pictures made by code
    when none is given.
    """
    out: Path
    """The model file to write, such as model.safetensors."""
    width: OptionalNumber = None
    """Width of the picture on the plane [m]; 0.8 when not given."""
    view: bool = False
    """The picture is the camera's own view of the scene, facing it at --distance."""
    distance: float = 0.6
    """Distance from the camera to the plane at the reference pose [m]."""
    camera: OptionalPath = None
    """Camera file (OpenCV or ROS YAML); the published experiments' camera when not given."""
    method: str = "cnn"
    """What to train: cnn, aevs, mlvs, siamese-se3, siamese-SE3, siamese-ibvs; cnn-pair or keypoints
    for any scene.
    """
    preset: str = "cpu"
    """cpu: minutes on two cores; paper: as published, for a GPU."""
    minutes: OptionalNumber = None
    """Training time on this machine; with neither this nor --steps, 4.5 for cnn, 10 for mlvs, 20
    for siamese-*; aevs: 1000 steps.
    """
    steps: OptionalCount = None
    """Training steps, exactly."""
    backbone: OptionalText = None
    """What the network begins with, for the siamese methods and the published cnn: compact,
    resnet18, efficientnet_b3 and so on.
    """
    weights: OptionalPath = None
    """ImageNet's weights for the backbone, saved from torchvision."""
    colour: bool = False
    """A siamese method learns and sees colours, not grey levels."""
    loss: OptionalText = None
    """How a siamese method weighs its errors: by four learned weights, by two, or fixed; of the
    published aevs: frequency or pixel.
    """
    seed: int = 0
    """Of the weights and the pictures."""
    resume: bool = False
    """Go on from the checkpoint of a training that was stopped."""

    def run(self) -> None:
        """See `learn.run_learn`."""
        from deepservo.cli.learn import run_learn

        run_learn(
            self.image, self.out, self.width, self.view, self.distance, self.camera, self.method,
            self.preset, self.minutes, self.steps, self.backbone, self.weights, self.colour,
            self.loss, self.seed, self.resume,
        )  # fmt: skip


@dataclass(frozen=True)
class Servo:
    """Steer simulated cameras home: with a learned model, or with none before the picture in
    --image.
    """

    model: FirstPath = None
    """A model file that `deepservo learn` wrote."""
    method: OptionalText = None
    """Any method by name (see deepservo list), or mine.py:Mine; when not given, the model's own
    with the photometric refinement, or auto without a model.
    """
    image: OptionalPath = None
    """The picture on the plane: another than the one learned."""
    goal: OptionalPath = None
    """The camera's picture at the goal, instead of a rendered one; or a folder that `deepservo
    target` wrote.
    """
    mesh: OptionalPath = None
    """With such a folder: the object, which then stands on the gantry's table, its z up."""
    unit: OptionalText = None
    """Of the mesh's numbers: m or mm; metres when not given."""
    poses: OptionalPath = None
    """An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres."""
    set: str = "lookat-rz"
    """Published set (see deepservo list) to draw the starts from when no poses are given."""
    starts: int = 100
    """How many starts to draw."""
    seed: int = 0
    """Of the starts."""
    out: Path = Path("out")
    """Folder for results.json and report.html."""
    camera: OptionalPath = None
    """Where there is no model: the camera file (OpenCV or ROS YAML); of the goal's size and a usual
    field of view when not given.
    """
    distance: OptionalNumber = None
    """Where there is no model: from the camera to the plane at the goal [m], known or guessed; 0.6
    when not given.
    """
    width: OptionalNumber = None
    """Where there is no model: of the picture on the plane [m]; 0.8 when not given."""
    world: str = "simulator"
    """simulator: cameras that fly; gantry: carried by a gantry with joints in MuJoCo;
    gantry-lights: under lamps that wander.
    """

    def run(self) -> None:
        """See `servo.run_servo`, and `target.run_servo_target`."""
        if self.model is None and self.goal is not None and self.goal.is_dir():
            from deepservo.cli.target import run_servo_target

            given = {
                "--poses": self.poses,
                "--camera": self.camera,
                "--distance": self.distance,
                "--width": self.width,
            }
            check_misplaced(f"{self.goal}: tells its own camera, depths and starts", given)
            method = self.method or "dfbvs+edges"
            run_servo_target(
                self.goal,
                self.mesh,
                self.unit,
                self.image,
                method,
                self.starts,
                self.seed,
                self.out,
                self.world,
            )
            return
        if self.mesh is not None:
            raise InputError(
                "--mesh: goes with the goal that deepservo target rendered of it; give that "
                "folder with --goal"
            )
        from deepservo.cli.servo import run_servo

        run_servo(
            self.model, self.method, self.image, self.goal, self.poses, self.set, self.starts,
            self.seed, self.out, self.camera, self.distance, self.width, self.world,
        )  # fmt: skip


@dataclass(frozen=True)
class Info:
    """Say what a model is, how it was made, on which camera."""

    model: tyro.conf.Positional[Path]
    """A model file."""

    def run(self) -> None:
        """See `info.run_info`."""
        from deepservo.cli.info import run_info

        run_info(self.model)


@dataclass(frozen=True)
class Bench:
    """Measure methods on the published sets and on harder ones, beside the published figures."""

    methods: str = "dvs,dct,pca,orb,sift,sift+dvs"
    """Names, comma between: see deepservo list. dct-20 is dct with 20 coefficients, mine.py:Mine
    the class Mine in your file.
    """
    sets: str = "lookat,screw,lookat-rz"
    """Names, comma between: see deepservo list."""
    scenes: OptionalText = None
    """Pictures by name, comma between (see deepservo list); the five bundled ones when neither
    this, --image nor --models is given.
    """
    image: OptionalPath = None
    """A picture of your own, 0.8 m wide, as the scene; or a folder of them, each with starts of its
    own.
    """
    models: OptionalText = None
    """Model files, comma between, whose scenes are run: for the methods that are trained. One of
    cnn-pair serves any scene.
    """
    poses: OptionalPath = None
    """An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres: your own set."""
    n: Annotated[OptionalCount, tyro.conf.arg(aliases=["--runs"])] = None
    """Runs of each part of a set on each scene; as many as were published when not given. torchrun
    takes --n for itself: --runs there.
    """
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
    compare: Annotated[
        tuple[Path, Path] | None, tyro.conf.arg(metavar="BEFORE AFTER", help_behavior_hint="")
    ] = None
    """Two results.json, before and after: say what moved; exit code 1 where a share fell beyond its
    interval.
    """

    def run(self) -> int | None:
        """See `bench`."""
        from deepservo.cli.bench import run_bench, run_compare

        if self.compare:
            return run_compare(*self.compare)
        run_bench(
            self.methods, self.sets, self.scenes, self.image, self.models, self.poses, self.n,
            self.seed, self.out, self.resume, self.quick, self.world,
        )  # fmt: skip
        return None


@dataclass(frozen=True, kw_only=True)
class Target:
    """Render a goal from a mesh: goal.png, depth.npy [m], mask.png, camera.yaml and pose.npz, as
    the camera would see the object.
    """

    mesh: Path
    """An OBJ, STL or PLY file, textured or not."""
    pose: Path
    """An .npz file with T_object_cam, (4, 4): the camera in the object's frame, metres, z
    forward.
    """
    camera: Path
    """Camera file (OpenCV or ROS YAML)."""
    out: Path
    """Folder for the five files."""
    unit: OptionalText = None
    """Of the mesh's numbers: m or mm; metres when not given."""

    def run(self) -> None:
        """See `target.run_target`."""
        from deepservo.cli.target import run_target

        run_target(self.mesh, self.pose, self.camera, self.out, self.unit)


@dataclass(frozen=True)
class Recipe:
    """Repeat a published experiment at full scale on a GPU: train, measure, and write its results
    file.
    """

    name: FirstName = None
    """Which: see --missing."""
    steps: OptionalCount = None
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
        """See `recipe`."""
        from deepservo.cli.recipe import run_missing, run_recipe

        if self.missing:
            run_missing(self.results)
            return
        run_recipe(
            self.name, self.steps, self.quick, self.seed, self.resume, self.out, self.results
        )


@dataclass(frozen=True)
class List:
    """Name the methods, sets, scenes, worlds and recipes that there are, each with what it is."""

    def run(self) -> None:
        """See `list.run_list`."""
        from deepservo.cli.list import run_list

        run_list()


ABOUT = (
    "Bring a camera home to a picture. `deepservo list` names all methods, sets, scenes, "
    "worlds and recipes."
)
REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EROFS: "choose a place that you may read and write",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
}
PLAINER = (  # what the parser says, and what is said of it
    (
        r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)$",
        r"\1: \2 is not a whole number",
    ),
    (r"^Error parsing (\S+): could not convert string to float: (.*)$", r"\1: \2 is not a number"),
    (
        r"^Error parsing (\S+): no type matching \{None\}\|\{?([^}]*?)\}? could be instantiated "
        r"from \[(.*)\]$",
        r"\1 takes \2, not \3",
    ),
    (r"^Missing value for argument '(.*)'\. Expected .*$", r"\1 needs a value"),
    (r"^Missing from deepservo (\S+): ", r"\1 needs "),
    (r"\. \(required\)$", ""),
    (r"\. \(required\) ", "; "),
    (r"^Unrecognized options: (.*)$", r"there is a word too many: \1"),
)
COMMANDS = {
    "demo": Demo, "learn": Learn, "servo": Servo, "target": Target, "info": Info, "bench": Bench,
    "recipe": Recipe, "list": List,
}  # fmt: skip


def main(args: list[str] | None = None) -> int:
    """Run one command; the exit code: 0, or 2 with one sentence on standard error (1: `bench
    --compare` found a share that fell).

    Raises SystemExit with it where the words are no command, or ask for help or the version.
    """
    command: Any = None
    try:
        try:
            command = _parsed(sys.argv[1:] if args is None else args)
        except InputError as error:
            raise SystemExit(_refuse(str(error))) from None
        return command.run() or 0
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough: nothing is wrong
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is still to be flushed goes nowhere
        return 0
    except OSError as error:
        # a full disk, a path without permission: the machine's state, not a fault of the program
        remedy = REMEDIES.get(error.errno or 0, "choose another place")
        return _refuse(f"{error.filename or 'a file'}: {error.strerror or error}; {remedy}")
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return _refuse(
            "memory ran out; use fewer --starts or runs (--n), smaller pictures or a smaller camera"
        )
    except KeyboardInterrupt as stop:
        go_on = (
            "--resume goes on from it"
            if isinstance(command, Learn | Recipe)
            else "the same command goes on from it"
        )
        return _refuse(
            f"stopped by Ctrl-C, nothing half-written{f'; {stop}: {go_on}' if str(stop) else ''}"
        )


def _parsed(words: list[str]) -> Any:
    """The command, with its options. Raises InputError, or SystemExit where help or the version was
    asked for and is printed.
    """
    if words[:1] == ["--version"]:
        print(f"deepservo {__version__}")
        raise SystemExit(0)
    if not words:
        raise InputError(f"give a command: {', '.join(COMMANDS)}; see deepservo --help")
    if (
        words[0].startswith("-")
        and words[0] not in ("-h", "--help")
        and not words[0].startswith("--tyro-")
    ):
        raise InputError(
            f"give a command before {words[0]}: {', '.join(COMMANDS)}; see deepservo --help"
        )
    if not words[0].startswith("-"):
        _check_words(*words)
    kinds = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in COMMANDS.items()]  # type: ignore[valid-type]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(reduce(or_, kinds), args=words, prog="deepservo", description=ABOUT)  # type: ignore[call-overload]
    except SystemExit as end:
        if not said.getvalue():
            raise
        lines = [
            line.strip("│╭╮╰╯| ") for line in said.getvalue().splitlines()[1:]
        ]  # without the box and its title
        why = takewhile(
            lambda line: not _ruler(line), dropwhile(_ruler, lines)
        )  # below the ruler is the option's help
        plain = " ".join(why).rstrip(".")
        for found, better in PLAINER:
            plain = re.sub(found, better, plain)
        raise InputError(f"{plain}; see deepservo {words[0]} --help") from end


def _ruler(line: str) -> bool:
    return not line.strip("─-")


def _check_words(command: str, *words: str) -> None:
    """InputError, with the nearest name, where there is no such command or it has no such
    option.
    """
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    options = {
        f"--{no}{field.name}" for field in fields(COMMANDS[command]) for no in ("", "no-")
    } | {"--help", "-h", "--runs"}
    for word in words:
        name = word.split("=")[0].replace("_", "-")
        if re.match("-(-|[A-Za-z])", name) and name not in options:  # and no number below zero
            near = get_close_matches(name, options, 1)
            mean = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                f"{command} has no option {name}; {mean}see deepservo {command} --help"
            )


def _refuse(why: str) -> int:
    print(f"deepservo: {' '.join(why.split())}", file=sys.stderr)
    return 2
