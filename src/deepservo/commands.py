"""What the command line does, one function a command; each returns when its files are written."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from deepservo import distributed, pictures
from deepservo.bench import metrics, told
from deepservo.bench.conditions import PLAIN
from deepservo.bench.poses import read_poses
from deepservo.bench.protocols import Starts, check_memory, check_starts, goal_pictures, measure, sampled
from deepservo.bench.report import RunSet, write_report
from deepservo.bench.sets import SETS
from deepservo.bench.worlds import SIMULATOR, check_world, opened, period
from deepservo.camera import Camera
from deepservo.camera_file import CalibratedCamera, read_camera
from deepservo.checkpoint import check_folder
from deepservo.errors import InputError, check_misplaced
from deepservo.learn import PAPER_CAMERA, Options, check_scene, learn, make_scene
from deepservo.loop import World
from deepservo.methods import Controller, build
from deepservo.model import Model, Unlearned, read_model, texture_of
from deepservo.robots.gantry import Gantry
from deepservo.scene import PlanarScene
from deepservo.train import halving
from deepservo.unseen import KINDS, UnseenModel, learn_unseen

OURS = ("model.safetensors", "model.safetensors.partial", "results.json", "report.html")
LOG_S = 20.0  # seconds between two lines of progress where no bar can be drawn
SHOWN = 3  # reasons why runs stopped, the commonest
DISTANCE = 0.6  # [m] to the scene, where nobody says how far it is
FOCAL = PAPER_CAMERA.fx / PAPER_CAMERA.width
WIDE = 120  # columns of a table in what is not a terminal
FEWER = "use fewer --starts, or a camera of fewer pixels with pictures as much smaller"
Known = Model | Unlearned


class _Console(Console):
    """Leaves it to the caller what is done when the reader of a pipe, such as head, has seen enough."""

    def on_broken_pipe(self) -> None:
        """Not an end of the program."""
        raise BrokenPipeError


console = _Console(markup=False, emoji=False, highlight=False, soft_wrap=True)  # file names are shown as they are


def run_demo(out: Path, image: Path | None, minutes: float, starts: int, seed: int) -> None:
    """Learn a scene from one picture, bring cameras home to it, and show it all."""
    check_folder(out, OURS)
    check_seed(seed)
    camera = CalibratedCamera(PAPER_CAMERA)
    name = image.stem if image else "coffee"
    picture = pictures.read_picture(image) if image else pictures.bundled(name)
    scene = make_scene(picture, camera, name)
    run = sampled("lookat-rz", starts, seed, scene, camera.camera, distance=0.6)
    path = out / "model.safetensors"
    with training_bar(f"learning {name}") as show:
        model = learn(picture, scene, camera, path, name=name, minutes=minutes, seed=seed, resume=None, show=show)
    _servo(model, "cnn+dvs", scene, name, run, out)


def run_learn(
    image: Path | None,
    out: Path,
    width: float | None,
    view: bool,
    distance: float,
    camera_file: Path | None,
    method: str,
    preset: str,
    minutes: float | None,
    steps: int | None,
    backbone: str | None,
    weights: Path | None,
    colour: bool,
    loss: str | None,
    seed: int,
    resume: bool,
) -> None:
    """Learn a scene from a picture file, or several from those of a folder."""
    check_seed(seed)
    if method in KINDS:
        given = {
            "--width": width,
            "--view": view,
            "--camera": camera_file,
            "--backbone": backbone,
            "--weights": weights,
            "--loss": loss,
            "--colour": colour,
        }
        _learn_unseen(method, image, out, minutes, steps, seed, resume, given)
        return
    if image is None:
        raise InputError(f"{method}: is trained for a scene; give a picture of it")
    files = pictures.files_in(image) if image.is_dir() else [image]
    found = [pictures.read_picture(file, colour) for file in files]
    camera = read_camera(camera_file) if camera_file else CalibratedCamera(PAPER_CAMERA)
    scenes = [make_scene(picture, camera, str(file), width, view, distance) for file, picture in zip(files, found, strict=True)]
    options = Options(backbone, weights, loss, tuple(scenes[1:]))
    distributed.share_threads()
    with training_bar(f"learning {image.name}") as show, distributed.on_device() if preset == "paper" else nullcontext():

        def attempt(halved: int, resume: bool) -> Model:
            return learn(
                found[0], scenes[0], camera, out, name=image.name, distance=distance, method=method, preset=preset, minutes=minutes,
                steps=steps, seed=seed, options=replace(options, halved=halved), resume=resume, show=show,
            )  # fmt: skip

        model = halving(attempt, out, resume, console.print)
    if distributed.first():
        console.print(f"{out}: learned {image.name} in {model.training['steps']} steps, {model.training['seconds']:.0f} s")
    distributed.release()


def _learn_unseen(
    method: str,
    folder: Path | None,
    out: Path,
    minutes: float | None,
    steps: int | None,
    seed: int,
    resume: bool,
    given: Mapping[str, object],
) -> None:
    check_misplaced(f"{method}: learns for any scene and any camera", given)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: is no folder; {method} learns from pictures made by code, or from a folder of many")
    distributed.share_threads()
    with training_bar("learning what pictures have in common") as show:
        model = learn_unseen(method, out, folder=folder, minutes=minutes, steps=steps, seed=seed, resume=resume, show=show)
    if distributed.first():
        console.print(f"{out}: learned in {model.training['steps']} steps, {model.training['seconds']:.0f} s")
    distributed.release()


def run_servo(
    model_file: Path | None,
    method: str | None,
    image: Path | None,
    goal: Path | None,
    poses: Path | None,
    set_name: str,
    starts: int,
    seed: int,
    out: Path,
    camera_file: Path | None,
    distance: float | None,
    width: float | None,
    world: str,
) -> None:
    """Simulated servoing, with a model that was learned or without one."""
    check_world(world)
    model = None if model_file is None else read_model(model_file)
    check_folder(out, OURS)
    check_seed(seed)
    known: Known
    if isinstance(model, Model):
        given = {"--camera": camera_file, "--distance": distance, "--width": width}
        check_misplaced(f"{model_file}: was learned for its own camera, distance and width", given)
        known, scene, scene_name, usual = model, model.scene, model.picture, f"{model.method}+dvs"
        if image:
            texture = texture_of(pictures.read_picture(image, len(scene.texture) == 3))
            scene, scene_name = replace(model.scene, texture=texture), image.name
            check_scene(scene, model.camera, model.distance, str(image))
    else:
        known = _unlearned(image, goal, camera_file, DISTANCE if distance is None else distance, width, model)
        scene, scene_name, usual = known.scene, known.picture, "auto"
    method = method or usual
    if poses is None:
        check_starts(starts)
    check_memory(len(read_poses(poses, known.distance)[0]) if poses else starts, known.camera, method, FEWER)
    where = _starts(known, scene, goal, poses, set_name, starts, seed)
    _servo(known, method, scene, scene_name, where, out, world, goal is not None)


def _unlearned(
    image: Path | None, goal: Path | None, camera_file: Path | None, distance: float, width: float | None, model: UnseenModel | None
) -> Unlearned:
    """A scene's picture before a camera: the one in the file, or one of the goal's size and of the published field of view."""
    if image is None:
        raise InputError("no scene: give its picture with --image, or the file of a model that deepservo learn made of it")
    picture = pictures.read_picture(image)
    if camera_file:
        camera = read_camera(camera_file)
    elif goal:
        h, w = pictures.read_picture(goal).shape[1:]
        camera = CalibratedCamera(Camera(w, h, FOCAL * max(w, h), FOCAL * max(w, h), (w - 1) / 2, (h - 1) / 2))
        console.print(
            f"no --camera: {w} x {h} pixels as the goal, a focal length of {camera.camera.fx:.0f} pixels and no distortion assumed"
        )
    else:
        camera = CalibratedCamera(PAPER_CAMERA)
    scene = make_scene(picture, camera, str(image), width, distance=distance)
    return Unlearned(scene, camera.camera, distance, image.name, tuple(camera.distortion), model.net if model else None)


def _starts(model: Known, scene: PlanarScene, goal: Path | None, poses: Path | None, set_name: str, n: int, seed: int) -> Starts:
    """The runs asked for: sampled or given starts; a goal that is rendered, or a picture."""
    if poses:
        Ts_cam, Ts_goal = read_poses(poses, model.distance)
        name, used = poses.name, None
        if Ts_goal is None and goal is None:
            raise InputError(f"{poses}: holds no T_world_goal; add it, or give the goal's picture with --goal")
    else:
        drawn = sampled(set_name, n, seed, scene, model.camera, model.distance)
        Ts_cam, Ts_goal, name, used = drawn.Ts_world_cam, None if goal else drawn.Ts_world_goal, set_name, seed
        if goal is None:
            return drawn
    if goal is None:
        assert Ts_goal is not None
        return Starts(name, Ts_cam, Ts_goal, goal_pictures(scene, model.camera, Ts_goal), used)
    picture = CalibratedCamera(model.camera, model.distortion).rectify(pictures.read_picture(goal, len(scene.texture) == 3), str(goal))
    note = "" if Ts_goal is None else told.beside(scene, model.camera, picture[None], Ts_goal[0], str(goal))
    return Starts(name, Ts_cam, Ts_goal, picture[None], used, note)


def _servo(
    model: Known,
    method: str,
    scene: PlanarScene,
    scene_name: str,
    starts: Starts,
    out: Path,
    world: str = SIMULATOR,
    pictured: bool = False,
) -> None:
    """See `servo_and_show`; where the goal is not `pictured`, it is what the world's own camera sees there."""
    controller = build(method, model.camera, model.distance, model)
    if starts.Ts_world_goal is None and method == "pbvs":
        raise InputError("pbvs: needs the goal's true pose, which a picture does not tell; give T_world_goal in the poses file")
    stage = None
    if world != SIMULATOR:
        condition = SETS[starts.name][0].condition if starts.name in SETS else PLAIN
        stage, goal = opened(world, scene, model.camera, starts.Ts_world_cam, starts.Ts_world_goal, condition, starts.seed or 0)
        starts = starts if pictured or goal is None else replace(starts, goal=goal)
    training = model.training if isinstance(model, Model) and method.startswith(model.method) else None
    servo_and_show(controller, method, scene, scene_name, starts, out, stage, period(world), training)


def servo_and_show(
    controller: Controller,
    method: str,
    scene: PlanarScene,
    scene_name: str,
    starts: Starts,
    out: Path,
    stage: World | None,
    dt: float,
    training: dict[str, Any] | None = None,
) -> None:
    """Run, in the simulator or on a `stage`; measure, write and show."""
    with servo_bar(f"{method} from {len(starts.Ts_world_cam)} starts", controller.budget) as show:
        trajectory, row = measure(controller, method, scene, scene_name, starts, None, show, stage, dt)
    metrics.write_results(out / "results.json", [row])
    home = None
    if starts.Ts_world_goal is not None:
        start, end = (metrics.errors(trajectory.Ts_world_cam[i], starts.Ts_world_goal) for i in (0, -1))
        home = metrics.converged(start, end)
    there = told.at_goal(trajectory, starts.goal, home)
    trajectory = told.as_arrived(trajectory, there)
    runs = [RunSet(f"{method} · {starts.name} · {scene_name}", trajectory, starts.goal, starts.Ts_world_goal, home)]
    with console.status("drawing the report"):
        title, camera = f"{method} on {scene_name}", controller.camera
        look = stage.pictures_from if isinstance(stage, Gantry) else None
        write_report(
            out / "report.html", title=title, rows=[row], runs=runs, scene=scene, camera=camera, training=training, look=look,
            note=starts.note,
        )  # fmt: skip
    if not (trajectory.v_cam.any() or there.any()):
        raise InputError(
            f"{method}: the camera was not moved from any start ({trajectory.reason[0]}); give a goal that shows what the camera can see "
            f"({out / 'report.html'} shows both)"
        )
    (console if console.is_terminal else Console(width=WIDE, markup=False)).print(table([row]))
    for line in (*told.reasons(trajectory.reason, SHOWN), *[starts.note][: bool(starts.note)]):
        console.print(line)
    console.print(f"{out / 'results.json'}\n{out / 'report.html'}: open it in a browser")


def check_seed(seed: int) -> None:
    """InputError when torch's generators do not take `seed`."""
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed must be a whole number from 0 to 2^63 - 1, not {seed}")


def table(rows: list[dict[str, Any]]) -> Table:
    """The figures a person looks at first."""
    shown = Table(title=None)
    for column in ("method", "set", "scene", "runs", "home", "end mm", "end deg", "length", "steps", "ms/step"):
        shown.add_column(column, justify="left" if column in ("method", "set", "scene") else "right")
    for row in rows:
        known = row["converged"] is not None
        home = f"{100 * row['converged']:.1f} %" if known else "unknown"
        shown.add_row(row["method"], row["set"], row["scene"], str(row["n"]), home, *(_figure(row[k], form) for k, form in FIGURES))
    return shown


FIGURES = (
    ("end_mm_median", ".4f"), ("end_deg_median", ".5f"), ("length_ratio", ".2f"), ("steps_median", ".0f"), ("ms_per_step_p50", ".0f"),
)  # fmt: skip


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


@contextmanager
def _bar(what: str, total: int | None, note: str = "") -> Iterator[Callable[[int, int, str], None]]:
    """A bar to call with (done, of, note); where none can be drawn (a file, a pipe), a line now and then instead.

    Of several processes the first draws it.
    """
    if not distributed.first():
        yield lambda done, of, note: None
        return
    if not console.is_terminal:
        said = time.monotonic()

        def tell(done: int, of: int, note: str) -> None:
            nonlocal said
            if time.monotonic() - said > LOG_S:
                said = time.monotonic()
                console.print(f"{what}: {note}")

        yield tell
        return
    plain = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[note]}", markup=False))
    with Progress(*plain, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=total, note=note)
        yield lambda done, of, note: bar.update(task, completed=done, total=of, note=note)


@contextmanager
def training_bar(what: str) -> Iterator[Any]:
    """A bar for a training: call it with each Progress."""
    with _bar(what, None, "timing the first steps") as bar:

        def show(progress: Any) -> None:
            loss = f", loss {progress.loss[-1][1]:.3g}" if progress.loss else ""
            bar(progress.step, progress.steps, f"{progress.doing}step {progress.step} of {progress.steps}{loss}")

        yield show


@contextmanager
def servo_bar(what: str, budget: int) -> Iterator[Any]:
    """A bar for a servoing: call it with each step and the number of runs still going."""
    with _bar(what, budget) as bar:
        yield lambda step, going: bar(step, budget, f"step {step}, {going} runs to go")
        bar(budget, budget, "")


@contextmanager
def bench_bar(rows: int) -> Iterator[Any]:
    """A bar for a benchmark: call it with the job, its runs done, the chunks done and all chunks, and the step."""
    with _bar(f"{rows} rows", None, "") as bar:

        def show(job: Any, runs: int, done: int, chunks: int, step: int) -> None:
            where = ", ".join(word for word in (job.method, job.set, job.part, job.scene) if word)
            bar(done, chunks, f"{where}: run {runs} of {job.n}, step {step}; {done} of {chunks} chunks done")

        yield show
