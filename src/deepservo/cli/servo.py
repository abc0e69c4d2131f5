"""`deepservo servo`: simulated servoing, with a learned model or without one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepservo.cli.options import (
    FirstPath,
    OptionalDepth,
    OptionalNumber,
    OptionalPath,
    OptionalText,
)
from deepservo.errors import InputError, check_misplaced

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepservo.camera import Camera
    from deepservo.evaluation.starts import Starts
    from deepservo.evaluation.trial import Trial
    from deepservo.methods import Controller
    from deepservo.methods.status import Tolerance
    from deepservo.models.scene_model import Model, Unlearned
    from deepservo.scene.build import Setup

OUTPUTS = ("model.safetensors", "model.safetensors.partial", "results.json", "report.html")
REASONS_SHOWN = 3  # why runs stopped, the commonest
DISTANCE = 0.6  # m, to the scene, where nobody says it
KNOWS = ("all", "number", "nothing")  # of the depth, by a method
FEWER = "use fewer --starts, or a camera of fewer pixels with pictures as much smaller"


@dataclass(frozen=True)
class Servo:
    """Steer simulated cameras to a goal, with a learned model or, before a picture, without one."""

    #: A model file that `deepservo learn` wrote.
    model: FirstPath = None
    #: Any method by name (see deepservo list), or mine.py:Mine; when not given, auto, which asks
    #: the model's own where its other ways fail.
    method: OptionalText = None
    #: The picture on the plane: another than the one learned.
    image: OptionalPath = None
    #: The camera's picture at the goal, instead of a rendered one; or a folder that `deepservo
    #: target` wrote.
    goal: OptionalPath = None
    #: With such a folder: the object, which then stands on the gantry's table, its z up.
    mesh: OptionalPath = None
    #: Of the mesh's numbers: m or mm; metres when not given.
    unit: OptionalText = None
    #: An .npz file with T_world_cam and T_world_goal, (N, 4, 4), metres.
    poses: OptionalPath = None
    #: Set (see deepservo list) to draw the starts from when no poses are given; when not given,
    #: lookat-rz, or near before a scene with depth.
    set: OptionalText = None
    #: How many starts to draw.
    starts: int = 100
    #: Of the starts.
    seed: int = 0
    #: Folder for results.json and report.html.
    out: Path = Path("out")
    #: Where there is no model: the camera file (OpenCV or ROS YAML); of the goal's size, or of the
    #: map's picture, and a usual field of view when not given.
    camera: OptionalPath = None
    #: Where there is no model: from the camera to the plane at the goal [m], known or guessed; 0.6
    #: when not given.
    distance: OptionalNumber = None
    #: Where there is no model: of the picture on the plane [m]; 0.8 when not given.
    width: OptionalNumber = None
    #: Where there is no model: Z of each pixel of --image, which then is the camera's own picture,
    #: as a .npy file of metres or a 16-bit PNG of millimetres: the scene is what both show, and not
    #: a plane. Or a number: what the method takes for the distance [m].
    depth: OptionalDepth = None
    #: What the method knows of the depth: all, number (of a map the median), or nothing.
    knows: str = "all"
    #: How near to the goal a run has to come [mm]: it ends there, or says what keeps it from it.
    #: When not given, runs go on until they rest, and 1 mm counts as arrived.
    tolerance_mm: OptionalNumber = None
    #: The same of the angle [deg]; 0.1 when not given.
    tolerance_deg: OptionalNumber = None
    #: What a lost run does: hold (zero, as when not given), back-off, or spiral (it turns about).
    search: OptionalText = None
    #: simulator: free-flying cameras; gantry: cameras on a gantry with joints in MuJoCo;
    #: gantry-lights: the same under wandering lamps.
    world: str = "simulator"

    def run(self) -> None:
        """Steer the cameras, write the results and their page, and print a summary."""
        from deepservo.cli.console import check_seed
        from deepservo.evaluation.trial import placed
        from deepservo.evaluation.worlds import check_world
        from deepservo.methods import build, plug_in
        from deepservo.models.scene_model import Model
        from deepservo.system.files import check_folder

        if self.model is None and self.goal is not None and self.goal.is_dir():
            carry_out(*self._before_object(self.goal), self.out)
            return
        if self.mesh is not None:
            raise InputError(
                "--mesh: goes with the goal that deepservo target rendered of it; give that folder "
                "with --goal"
            )
        check_world(self.world)
        if self.knows not in KNOWS:
            raise InputError(f"--knows takes {', '.join(KNOWS)}, not {self.knows!r}; give one")
        known, setup = self._setup()
        check_folder(self.out, OUTPUTS)
        check_seed(self.seed)
        learned = known if isinstance(known, Model) else None
        method = plug_in(self.method or (f"{learned.method}+auto" if learned else "auto"))
        starts = self._starts(setup, method)
        controller = build(method, known.camera, self._told(known), known)
        controller.tolerance, controller.search = self._tolerance(), self.search
        own = learned is not None and method.startswith(learned.method)
        trial = placed(method, setup, starts, self.world)
        carry_out(controller, trial, self.out, learned.training if own and learned else None)

    def _setup(self) -> "tuple[Model | Unlearned, Setup]":
        """What the method knows, and what is really before the camera."""
        from deepservo.camera import PAPER_CAMERA, usual_camera
        from deepservo.cli.console import console
        from deepservo.images.camera_file import CalibratedCamera, read_camera
        from deepservo.images.pictures import read_picture
        from deepservo.models.scene_model import Model, Unlearned, read_model
        from deepservo.scene.build import read_setup, read_solid_setup

        model = None if self.model is None else read_model(self.model)
        if isinstance(model, Model):
            why = f"{self.model}: was learned for its own camera, distance and width"
            check_misplaced(why, self._described())
            return model, model.with_picture(self.image) if self.image else model
        if self.image is None:
            raise InputError(
                "no scene: give its picture with --image, or the file of a model that deepservo "
                "learn made of it"
            )
        lens, own = CalibratedCamera(PAPER_CAMERA), self.image if self._has_map() else self.goal
        if self.camera:
            lens = read_camera(self.camera)
        elif own:
            h, w = read_picture(own).shape[1:]
            lens = CalibratedCamera(usual_camera(w, h))
            console.print(
                f"no --camera: {w} x {h} pixels as {own.name}, a focal length of "
                f"{lens.camera.fx:.0f} pixels and no distortion assumed"
            )
        Z = self._map(lens.camera)
        if Z is not None:
            setup = read_solid_setup(self.image, Z, lens, str(self.depth))
        else:
            distance = DISTANCE if self.distance is None else self.distance
            setup = read_setup(self.image, lens, width=self.width, distance=distance)
        return Unlearned.of(setup, model.net if model else None), setup

    def _described(self) -> dict[str, object]:
        """The options that describe a camera and its scene, where there is neither a model nor a
        rendered goal.
        """
        return {
            "--camera": self.camera,
            "--distance": self.distance,
            "--width": self.width,
            "--depth": self.depth,
            "--knows": self.knows != KNOWS[0],
        }

    def _has_map(self) -> bool:
        """Whether --depth is a map's file."""
        from deepservo.images.depth import is_number

        return self.depth is not None and not is_number(self.depth)

    def _map(self, camera: "Camera") -> "Float[Tensor, 'h w'] | None":
        """The map of --depth at the camera's size, Z [m]; None where it is a number or not given.

        Raises InputError where it is neither, or options disagree with a map.
        """
        from deepservo.evaluation.worlds import SIMULATOR
        from deepservo.images.depth import as_depth

        _, maps = as_depth(self.depth, camera, "--depth")
        if maps is None:
            return None
        if self.world != SIMULATOR:
            raise InputError(
                f"{self.depth}: a map of depth makes a scene that is not flat, and {self.world} "
                "has a plane; leave --world away"
            )
        check_misplaced(
            f"{self.depth}: tells the distance and the width, and the goal is {self.image} itself",
            {"--distance": self.distance, "--width": self.width, "--goal": self.goal},
        )
        return maps[0]

    def _tolerance(self) -> "Tolerance | None":
        """What was asked for, if anything was."""
        from deepservo.methods.status import Tolerance

        given = {"mm": self.tolerance_mm, "deg": self.tolerance_deg}
        asked = {name: value for name, value in given.items() if value is not None}
        return Tolerance(**asked) if asked else None

    def _told(self, known: "Setup") -> float | None:
        """The number of metres that the method is built with; maps are told with the goals."""
        from deepservo.images.depth import as_depth

        if self.knows == "nothing":
            return None
        if self.depth is None or self._has_map():
            return known.distance
        return as_depth(self.depth, known.camera)[0]

    def _starts(self, setup: "Setup", method: str) -> "Starts":
        """Start poses and the goal, drawn or from files; InputError where memory does not hold
        them.
        """
        from deepservo.evaluation import starts

        poses, goal, n = self.poses, self.goal, self.starts
        name = self.set or ("lookat-rz" if setup.depth is None else "near")
        if poses is None:
            starts.check_starts(n)
        else:
            n = len(starts.read_poses(poses, setup.distance)[0])
        starts.check_memory(n, setup.camera, method, FEWER)
        if poses is None and goal is None:
            drawn = starts.sampled(name, n, self.seed, setup)
            return self._with_maps(drawn, setup)
        if poses is None:
            assert goal is not None
            return starts.sampled_before(name, n, self.seed, goal, setup)
        if goal is None:
            return self._with_maps(starts.read_starts(poses, setup), setup)
        return starts.read_starts_before(poses, goal, setup)

    def _with_maps(self, starts: "Starts", setup: "Setup") -> "Starts":
        """The starts, and maps of their goals where the method is to know them."""
        from deepservo.evaluation.starts import with_depth

        return with_depth(starts, setup) if self._has_map() and self.knows == "all" else starts

    def _before_object(self, goal: Path) -> "tuple[Controller, Trial]":
        """A goal rendered from a mesh: the object stands on the gantry's table, and the starts are
        those of Table I of DFBVS's paper.
        """
        from deepservo.cli.console import check_seed
        from deepservo.evaluation.objects import check_object_method, on_table
        from deepservo.evaluation.starts import check_starts
        from deepservo.evaluation.worlds import LIGHTS, SIMULATOR, check_world
        from deepservo.methods import build
        from deepservo.system.files import check_folder

        check_misplaced(
            f"{goal}: tells its own camera, depths and starts",
            {"--poses": self.poses, **self._described()},
        )
        if self.world == SIMULATOR:
            raise InputError(
                f"{goal}: is a goal of an object, which stands on the gantry's table; add --world "
                f"{' or --world '.join(LIGHTS)}"
            )
        check_world(self.world)
        if self.mesh is None:
            raise InputError(f"{goal}: is a goal of an object; give the object with --mesh")
        method = self.method or "dfbvs+edges"
        check_object_method(method)
        check_folder(self.out, OUTPUTS)
        check_seed(self.seed)
        check_starts(self.starts)
        table = on_table(goal, self.mesh, self.unit, self.image)
        trial = table.trial(method, self.starts, self.seed, self.world)
        controller = build(method, table.setup.camera, table.target.depth, shape=table.shape)
        controller.tolerance, controller.search = self._tolerance(), self.search
        return controller, trial


def carry_out(
    controller: "Controller",
    trial: "Trial",
    out: Path,
    training: dict[str, Any] | None = None,
) -> None:
    """Run the trial, write results.json and report.html to the folder `out`, and print a summary.

    training: that of the model, to be shown on the page. Raises InputError where no camera moved.
    """
    from deepservo.cli.console import console, print_lines, servo_bar, table
    from deepservo.evaluation import metrics, results_file, summary
    from deepservo.evaluation.trial import measure
    from deepservo.report.run_data import RunSet
    from deepservo.report.run_page import Report, write_report

    starts, max_steps = trial.starts, trial.max_steps or controller.max_steps
    with servo_bar(f"{trial.method} from {len(starts.Ts_world_cam)} starts", max_steps) as show:
        trajectory, row = measure(controller, trial, show)
    results_file.write_results(out / "results.json", [row])
    converged = metrics.converged_of(trajectory, starts.Ts_world_goal)
    arrived = summary.started_at_goal(trajectory, starts.goal, converged)
    trajectory = summary.as_arrived(trajectory, arrived)
    label = f"{trial.method} · {starts.name} · {trial.setup.picture}"
    runs = RunSet(label, trajectory, starts.goal, starts.Ts_world_goal, converged)
    with console.status("drawing the report"):
        report = Report(
            trial.title,
            [row],
            [runs],
            trial.setup.scene,
            controller.camera,
            training,
            trial.look,
            starts.note,
        )
        write_report(out / "report.html", report)
    if not (trajectory.v_cam.any() or arrived.any()):
        raise InputError(
            f"{trial.method}: the camera was not moved from any start ({trajectory.reason[0]}); "
            f"give a goal that shows what the camera can see ({out / 'report.html'} shows both)"
        )
    reasons = summary.commonest_reasons(trajectory.reason, REASONS_SHOWN)
    print_lines(table([row]), *reasons, *([starts.note] if starts.note else []))
    console.print(f"{out / 'results.json'}\n{out / 'report.html'}: open it in a browser")
