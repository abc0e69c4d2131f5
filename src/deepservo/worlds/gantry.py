"""Cameras carried by simulated gantries over a table, in MuJoCo.

They have joints, physics, lights and the delays of a camera.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.images import pictures
from deepservo.scene import PlanarScene
from deepservo.worlds.arm import Arm, Limits
from deepservo.worlds.meshes import Mesh, add_mesh, add_texture, compiled
from deepservo.worlds.objects import Part, add_body, add_part
from deepservo.worlds.views import AXES, Eye, mujoco

MODEL = Path(__file__).with_name("gantry.xml")
SUPERSAMPLING = 2  # see `Eye`
RATE = 30.0  # pictures a second
POSITION_GAIN = 5.0  # per second, of joints that are driven to positions by their own sensors
LAMPS = ((0.5, 0.35, 1.5), (-0.45, -0.3, 1.3))  # positions over the table, in MuJoCo's axes [m]
# Of the scene's picture, as MuJoCo's materials have them: strength and concentration of
# reflections.
SPECULAR, SHININESS = 0.8, 0.4


@dataclass(frozen=True)
class Light:
    """Two lamps over the table, and ambient light.

    changing: each lamp moves on a circle and gets brighter and darker, with a phase from the run's
    seed. diffuse: of each lamp, straight below it. specular: of reflections. swing: of changing
    lamps, the circle's radius [m] and the share of the light that varies. period: of that [s]; the
    second lamp's is longer.
    """

    changing: bool = False
    ambient: float = 0.4
    diffuse: float = 0.3
    specular: float = 0.6
    swing: float = 0.35
    period: float = 4.0

    def at(self, t: float, phase: float) -> list[tuple[tuple[float, float, float], float]]:
        """Position [m] and diffuse light of each lamp after t seconds; phase: the run's, 0 to 1."""
        found = []
        for k, (x, y, z) in enumerate(LAMPS):
            turn = 2 * math.pi * (t / (self.period * (1 + 0.6 * k)) + phase * (k + 1))
            swing = self.swing if self.changing else 0.0
            found.append(
                (
                    (x + swing * math.cos(turn), y + swing * math.sin(turn), z),
                    self.diffuse * (1 + swing * math.sin(1.7 * turn)),
                )
            )
        return found


@dataclass(frozen=True)
class Sight:
    """How a camera of the gantry takes pictures.

    rate: pictures a second. latency: from when a picture is taken to when it can be used [s].
    noise: standard deviation, of grey levels in [0, 1].
    """

    rate: float = RATE
    latency: float = 1 / RATE
    noise: float = 0.01


def add_textured_plane(spec: Any, scene: PlanarScene) -> None:
    """Add a scene's picture, face up on the table.

    The table about it has the scene's background.
    """
    mj, name = mujoco(), "textured plane"
    levels = (scene.texture * 255).round().to(torch.uint8)
    add_texture(spec, name, levels.permute(1, 2, 0).expand(-1, -1, 3).numpy())
    paper = spec.add_material(
        name=name, specular=SPECULAR, shininess=SHININESS, texrepeat=[1, 1], texuniform=False
    )
    paper.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = name
    size, (x, y) = [scene.width / 2, scene.height / 2, 0.1], scene.centre
    where = {"size": size, "pos": AXES @ [x, y, 0]}
    spec.worldbody.add_geom(
        name=name, type=mj.mjtGeom.mjGEOM_PLANE, material=name, rgba=[1, 1, 1, 1], **where
    )
    table = {"size": [3, 3, 0.1], "pos": [0, 0, -0.001], "rgba": [*[scene.background] * 3, 1]}
    spec.worldbody.add_geom(name="table", type=mj.mjtGeom.mjGEOM_PLANE, **table)
    # What parts stand on, in a group that is not drawn.
    touched = {"size": [3, 3, 0.1], "condim": 4, "contype": 1, "conaffinity": 1, "group": 3}
    spec.worldbody.add_geom(name="table top", type=mj.mjtGeom.mjGEOM_PLANE, **touched)


@dataclass(frozen=True)
class Standing:
    """A part that stands on the table and can be moved, or a mesh that is fixed.

    T_world_object: the object's z axis is up, against the world's.
    """

    name: str
    part: Part | Mesh
    T_world_object: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Workcell:
    """What surrounds the gantries.

    light: the lamps. sight: how the cameras take pictures. limits: of the joints. parts: what is on
    the table.
    """

    light: Light = field(default_factory=Light)
    sight: Sight = field(default_factory=Sight)
    limits: Limits = field(default_factory=Limits)
    parts: Sequence[Standing] = ()


def gantry_model(scene: PlanarScene, light: Light, parts: Sequence[Standing] = ()) -> Any:
    """MuJoCo's model of a gantry over a table with the scene's picture, and of parts on it.

    Raises InputError where a part cannot be drawn.
    """
    mj = mujoco()
    spec = mj.MjSpec.from_file(str(MODEL))
    add_textured_plane(spec, scene)
    sky = {"rgb1": [0.9, 0.9, 0.9], "rgb2": [0.9, 0.9, 0.9], "width": 32, "height": 32}
    spec.add_texture(
        name="room",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_FLAT,
        **sky,
    )
    spec.visual.headlight.ambient = [light.ambient] * 3
    for k, position in enumerate(LAMPS):
        spec.worldbody.add_light(
            name=f"lamp {k}", pos=position, dir=-np.array(position), cutoff=45, exponent=0,
            attenuation=[1, 0, 0], castshadow=True, ambient=[0, 0, 0], diffuse=[light.diffuse] * 3,
            specular=[light.specular] * 3,
        )  # fmt: skip
    for each in parts:
        if isinstance(each.part, Part):
            add_part(spec, each.name, each.part, each.T_world_object)
        else:
            add_mesh(spec, each.name, each.part, add_body(spec, each.name, each.T_world_object))
    return compiled(spec, " and ".join(each.name for each in parts) or "the picture")


@dataclass
class _Run:
    """One gantry: its state, and the pictures that its camera has taken and not delivered yet.

    shots: of each, the time and the joint positions. taken: how many pictures were taken.
    """

    data: Any
    noise: np.random.Generator
    phase: float
    shots: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    taken: int = 0


class Gantry:
    """B gantries, each over a table of its own with the same scene: a `loop.World` with joints.

    Ts_world_cam: (B, 4, 4), where the cameras start; InputError where the arm cannot reach one.
    seed, runs: noise and light of a run follow from the seed and its number in the whole set (0 to
    B - 1 when not given).
    """

    def __init__(
        self,
        scene: PlanarScene,
        camera: Camera,
        Ts_world_cam: Float[Tensor, "b 4 4"],
        cell: Workcell = Workcell(),
        *,
        seed: int = 0,
        runs: Tensor | None = None,
    ) -> None:
        self.camera, self.light, self.sight = camera, cell.light, cell.sight
        self.colour = scene.texture.shape[0] == 3
        self.model = gantry_model(scene, cell.light, cell.parts)
        self.arm = Arm(self.model, cell.limits)
        self.eye = Eye(self.model, "eye", camera, SUPERSAMPLING)
        self.drawn = mujoco().MjData(self.model)  # the state that is drawn, which is a past one
        numbers = range(len(Ts_world_cam)) if runs is None else runs.tolist()
        self.runs = [
            self._placed(T, n, seed)
            for T, n in zip(Ts_world_cam.double().numpy(), numbers, strict=True)
        ]

    def _placed(self, T_world_cam: Float[np.ndarray, "4 4"], number: int, seed: int) -> _Run:
        data, random = mujoco().MjData(self.model), np.random.default_rng((seed, number))
        data.qpos[self.arm.q] = self.arm.joints_at(T_world_cam, f"start {number}")
        mujoco().mj_forward(self.model, data)
        run = _Run(data, random, float(random.random()))
        run.shots.append((0.0, data.qpos.copy()))
        return run

    @property
    def T_world_cam(self) -> Float[Tensor, "b 4 4"]:
        """The cameras' poses now."""
        return torch.from_numpy(np.stack([self.arm.pose(run.data) for run in self.runs]))

    def observe(self) -> Float[Tensor, "b c h w"]:
        """The last picture of each camera that has been delivered by now, in [0, 1]."""
        return torch.cat([self._seen(run) for run in self.runs])

    def _seen(self, run: _Run) -> Float[Tensor, "1 c h w"]:
        arrived = run.data.time - self.sight.latency + 1e-9
        while len(run.shots) > 1 and run.shots[1][0] <= arrived:
            run.shots.popleft()
        t, qpos = run.shots[0]
        image = self._drawn(qpos, t, run.phase)
        noise = torch.from_numpy(run.noise.normal(0, self.sight.noise, image.shape)).float()
        return (image + noise).clamp(0, 1)

    def _drawn(self, qpos: np.ndarray, t: float, phase: float) -> Float[Tensor, "1 c h w"]:
        """What the camera sees of a state, without noise."""
        for k, (position, strength) in enumerate(self.light.at(t, phase)):
            self.model.light_pos[k], self.model.light_diffuse[k] = position, strength
            # To the middle of the table.
            self.model.light_dir[k] = -np.array(position) / np.linalg.norm(position)
        self.drawn.qpos[:] = qpos
        mujoco().mj_kinematics(self.model, self.drawn)
        mujoco().mj_camlight(self.model, self.drawn)
        image = torch.from_numpy(self.eye.picture(self.drawn).copy()).permute(2, 0, 1)[None] / 255
        return image if self.colour else pictures.grey(image)

    def pictures_at(
        self, Ts_world_cam: Float[Tensor, "n 4 4"], light_at: float = 0.0
    ) -> Float[Tensor, "n c h w"]:
        """Pictures from these poses at rest, without noise, under the light at `light_at` [s].

        Raises InputError where the arm cannot reach a pose.
        """
        return self._standing(
            [
                self.arm.joints_at(T, f"goal {k}")
                for k, T in enumerate(Ts_world_cam.double().numpy())
            ],
            light_at,
        )

    def pictures_from(self, Ts_world_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n c h w"]:
        """`pictures_at` from poses where cameras have been.

        A joint may be slightly out of its range.
        """
        return self._standing([self.arm.joints_of(T) for T in Ts_world_cam.double().numpy()], 0.0)

    def _standing(
        self, joints: list[Float[np.ndarray, "6"]], light_at: float
    ) -> Float[Tensor, "n c h w"]:
        qpos, found = self.model.qpos0.copy(), []
        for each in joints:
            qpos[self.arm.q] = each
            found.append(self._drawn(qpos, light_at, 0.0))
        return torch.cat(found)

    def apply(self, v_cam: Float[Tensor, "b 6"], dt: float) -> None:
        """Move for dt seconds with these velocities of the cameras, within the joints' limits.

        Pictures are taken meanwhile.
        """
        for run, v in zip(self.runs, v_cam.double().numpy(), strict=True):
            self._moved(run, v, round(dt / self.model.opt.timestep))

    def _moved(self, run: _Run, v_cam: Float[np.ndarray, "6"], ticks: int) -> None:
        for _ in range(ticks):
            self.arm.steer(run.data, v_cam)
            mujoco().mj_step(self.model, run.data)
            if run.data.time + 1e-9 >= (run.taken + 1) / self.sight.rate:
                run.taken += 1
                run.shots.append((run.data.time, run.data.qpos.copy()))
        mujoco().mj_kinematics(self.model, run.data)
        mujoco().mj_comPos(self.model, run.data)

    def drive(
        self, run: int, T_world_cam: Float[np.ndarray, "4 4"], fingers: float, seconds: float
    ) -> None:
        """Move the camera of one run to a pose without pictures, and hold it there.

        It moves by the joints' own sensors. fingers: how far each finger of the gripper is opened
        [m]. seconds: of all of it. Raises InputError where the arm cannot reach the pose.
        """
        data, q = self.runs[run].data, self.arm.joints_at(T_world_cam)
        data.ctrl[self.model.actuator("grip").id] = fingers
        for _ in range(round(seconds / self.model.opt.timestep)):
            self.arm.turn(data, POSITION_GAIN * (q - data.qpos[self.arm.q]))
            mujoco().mj_step(self.model, data)
        mujoco().mj_kinematics(self.model, data)
        mujoco().mj_comPos(self.model, data)

    def select_runs(self, index: Tensor) -> None:
        """Keep these gantries alone."""
        self.runs = [self.runs[i] for i in index.tolist()]
