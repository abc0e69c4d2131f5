"""What `deepservo servo` does: simulated servoing, with a model that was learned or without one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.cli.console import check_seed, console, servo_bar, table
from deepservo.errors import InputError, check_misplaced
from deepservo.evaluation import metrics, told
from deepservo.evaluation.conditions import PLAIN
from deepservo.evaluation.poses import read_poses
from deepservo.evaluation.protocols import (
    Starts,
    check_memory,
    check_starts,
    goal_pictures,
    measure,
    sampled,
)
from deepservo.evaluation.sets import SETS
from deepservo.evaluation.worlds import SIMULATOR, check_world, opened, period
from deepservo.images import pictures
from deepservo.images.camera_file import CalibratedCamera, read_camera
from deepservo.loop import World
from deepservo.methods import Controller, build, plug_in
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, Unlearned, read_model
from deepservo.report.run_page import Report, RunSet, write_report
from deepservo.scene import PlanarScene
from deepservo.scene.build import check_scene, make_scene, texture_of
from deepservo.system.files import check_folder
from deepservo.worlds.gantry import Gantry

OURS = ("model.safetensors", "model.safetensors.partial", "results.json", "report.html")
SHOWN = 3  # reasons why runs stopped, the commonest
DISTANCE = 0.6  # [m] to the scene, where nobody says how far it is
FOCAL = PAPER_CAMERA.fx / PAPER_CAMERA.width
WIDE = 120  # columns of a table in what is not a terminal
FEWER = "use fewer --starts, or a camera of fewer pixels with pictures as much smaller"
Known = Model | Unlearned


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
        known = _unlearned(
            image, goal, camera_file, DISTANCE if distance is None else distance, width, model
        )
        scene, scene_name, usual = known.scene, known.picture, "auto"
    method = plug_in(method or usual)
    if poses is None:
        check_starts(starts)
    check_memory(
        len(read_poses(poses, known.distance)[0]) if poses else starts, known.camera, method, FEWER
    )
    where = _starts(known, scene, goal, poses, set_name, starts, seed)
    servo_scene(known, method, scene, scene_name, where, out, world, goal is not None)


def _unlearned(
    image: Path | None,
    goal: Path | None,
    camera_file: Path | None,
    distance: float,
    width: float | None,
    model: UnseenModel | None,
) -> Unlearned:
    """A scene's picture before a camera: the one in the file, or one of the goal's size and of the
    published field of view.
    """
    if image is None:
        raise InputError(
            "no scene: give its picture with --image, or the file of a model that deepservo learn "
            "made of it"
        )
    picture = pictures.read_picture(image)
    if camera_file:
        camera = read_camera(camera_file)
    elif goal:
        h, w = pictures.read_picture(goal).shape[1:]
        camera = CalibratedCamera(
            Camera(w, h, FOCAL * max(w, h), FOCAL * max(w, h), (w - 1) / 2, (h - 1) / 2)
        )
        console.print(
            f"no --camera: {w} x {h} pixels as the goal, a focal length of {camera.camera.fx:.0f} "
            "pixels and no distortion assumed"
        )
    else:
        camera = CalibratedCamera(PAPER_CAMERA)
    scene = make_scene(picture, camera, str(image), width, distance=distance)
    return Unlearned(
        scene,
        camera.camera,
        distance,
        image.name,
        tuple(camera.distortion),
        model.net if model else None,
    )


def _starts(
    model: Known,
    scene: PlanarScene,
    goal: Path | None,
    poses: Path | None,
    set_name: str,
    n: int,
    seed: int,
) -> Starts:
    """The runs asked for: sampled or given starts; a goal that is rendered, or a picture."""
    if poses:
        Ts_cam, Ts_goal = read_poses(poses, model.distance)
        name, used = poses.name, None
        if Ts_goal is None and goal is None:
            raise InputError(
                f"{poses}: holds no T_world_goal; add it, or give the goal's picture with --goal"
            )
    else:
        drawn = sampled(set_name, n, seed, scene, model.camera, model.distance)
        Ts_cam, Ts_goal, name, used = (
            drawn.Ts_world_cam,
            None if goal else drawn.Ts_world_goal,
            set_name,
            seed,
        )
        if goal is None:
            return drawn
    if goal is None:
        assert Ts_goal is not None
        return Starts(name, Ts_cam, Ts_goal, goal_pictures(scene, model.camera, Ts_goal), used)
    picture = CalibratedCamera(model.camera, model.distortion).rectify(
        pictures.read_picture(goal, len(scene.texture) == 3), str(goal)
    )
    note = (
        ""
        if Ts_goal is None
        else told.beside(scene, model.camera, picture[None], Ts_goal[0], str(goal))
    )
    return Starts(name, Ts_cam, Ts_goal, picture[None], used, note)


def servo_scene(
    model: Known,
    method: str,
    scene: PlanarScene,
    scene_name: str,
    starts: Starts,
    out: Path,
    world: str = SIMULATOR,
    pictured: bool = False,
) -> None:
    """See `servo_and_show`; where the goal is not `pictured`, it is what the world's own camera
    sees there.
    """
    controller = build(method, model.camera, model.distance, model)
    if starts.Ts_world_goal is None and method == "pbvs":
        raise InputError(
            "pbvs: needs the goal's true pose, which a picture does not tell; give T_world_goal "
            "in the poses file"
        )
    stage = None
    if world != SIMULATOR:
        condition = SETS[starts.name][0].condition if starts.name in SETS else PLAIN
        stage, goal = opened(
            world,
            scene,
            model.camera,
            starts.Ts_world_cam,
            starts.Ts_world_goal,
            condition,
            starts.seed or 0,
        )
        starts = starts if pictured or goal is None else replace(starts, goal=goal)
    training = (
        model.training if isinstance(model, Model) and method.startswith(model.method) else None
    )
    servo_and_show(
        controller, method, scene, scene_name, starts, out, stage, period(world), training
    )


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
    with servo_bar(
        f"{method} from {len(starts.Ts_world_cam)} starts", controller.max_steps
    ) as show:
        trajectory, row = measure(
            controller, method, scene, scene_name, starts, None, show, stage, dt
        )
    metrics.write_results(out / "results.json", [row])
    home = None
    if starts.Ts_world_goal is not None:
        start, end = (
            metrics.errors(trajectory.Ts_world_cam[i], starts.Ts_world_goal) for i in (0, -1)
        )
        home = metrics.converged(start, end)
    there = told.at_goal(trajectory, starts.goal, home)
    trajectory = told.as_arrived(trajectory, there)
    runs = [
        RunSet(
            f"{method} · {starts.name} · {scene_name}",
            trajectory,
            starts.goal,
            starts.Ts_world_goal,
            home,
        )
    ]
    with console.status("drawing the report"):
        title, camera = f"{method} on {scene_name}", controller.camera
        look = stage.pictures_from if isinstance(stage, Gantry) else None
        report = Report(title, [row], runs, scene, camera, training, look, starts.note)
        write_report(out / "report.html", report)
    if not (trajectory.v_cam.any() or there.any()):
        raise InputError(
            f"{method}: the camera was not moved from any start ({trajectory.reason[0]}); give a "
            "goal that shows what the camera can see "
            f"({out / 'report.html'} shows both)"
        )
    (console if console.is_terminal else Console(width=WIDE, markup=False)).print(table([row]))
    for line in (*told.reasons(trajectory.reason, SHOWN), *[starts.note][: bool(starts.note)]):
        console.print(line)
    console.print(f"{out / 'results.json'}\n{out / 'report.html'}: open it in a browser")
