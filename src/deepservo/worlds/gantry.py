"""A world with joints: cameras carried by simulated gantries over a table, in MuJoCo, with lights,
physics and a camera's delays.
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
FINER = 2  # see `Eye`
RATE = 30.0  # pictures a second
APPROACH = 5.0  # of the way left a second, where joints are driven by their sensors
LAMPS = (
    (0.5, 0.35, 1.5),
    (-0.45, -0.3, 1.3),
)  # where they hang over the table, in MuJoCo's axes [m]
SHINE = (0.8, 0.4)  # of the poster: how strong a lamp's mirror image is, and how small


@dataclass(frozen=True)
class Light:
    """Two lamps over the table. Changing, each wanders on a circle and waxes and wanes, in a way
    that the run's seed tells.
    """

    changing: bool = False
    ambient: float = 0.4
    diffuse: float = 0.3
    """Of each lamp, straight below it."""
    specular: float = 0.6
    swing: float = 0.35
    """Radius of a lamp's way [m], and share of its light that comes and goes, where it changes."""
    period: float = 4.0
    """Of that [s]; the second lamp's is longer."""

    def at(self, t: float, phase: float) -> list[tuple[tuple[float, float, float], float]]:
        """Where each lamp is after t seconds [m], and its light."""
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
    """How a camera of the gantry sees."""

    rate: float = RATE
    latency: float = 1 / RATE
    """From when a picture is taken to when it can be used [s]."""
    noise: float = 0.01
    """Standard deviation, of grey levels in [0, 1]."""


def poster(spec: Any, scene: PlanarScene) -> None:
    """Lay a scene's picture on the table, face up; the table about it has the scene's
    background.
    """
    mj = mujoco()
    add_texture(
        spec,
        "poster",
        (scene.texture * 255).round().to(torch.uint8).permute(1, 2, 0).expand(-1, -1, 3).numpy(),
    )
    paper = spec.add_material(
        name="poster", specular=SHINE[0], shininess=SHINE[1], texrepeat=[1, 1], texuniform=False
    )
    paper.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = "poster"
    size, (x, y) = [scene.width / 2, scene.height / 2, 0.1], scene.centre
    where = {"size": size, "pos": AXES @ [x, y, 0]}
    spec.worldbody.add_geom(
        name="poster", type=mj.mjtGeom.mjGEOM_PLANE, material="poster", rgba=[1, 1, 1, 1], **where
    )
    table = {"size": [3, 3, 0.1], "pos": [0, 0, -0.001], "rgba": [*[scene.background] * 3, 1]}
    spec.worldbody.add_geom(name="table", type=mj.mjtGeom.mjGEOM_PLANE, **table)
    touched = {
        "size": [3, 3, 0.1],
        "condim": 4,
        "contype": 1,
        "conaffinity": 1,
        "group": 3,
    }  # a group that is not drawn
    spec.worldbody.add_geom(name="table top", type=mj.mjtGeom.mjGEOM_PLANE, **touched)


@dataclass(frozen=True)
class Standing:
    """A part on the table, or a mesh that nothing moves: `T_world_object`, the object's z against
    ours.
    """

    name: str
    part: Part | Mesh
    T_world_object: Float[np.ndarray, "4 4"]


def gantry_model(scene: PlanarScene, light: Light, parts: Sequence[Standing] = ()) -> Any:
    """The gantry over a table on which the scene's picture lies, and on that the parts."""
    mj = mujoco()
    spec = mj.MjSpec.from_file(str(MODEL))
    poster(spec, scene)
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
    return compiled(spec, " and ".join(each.name for each in parts) or "the poster")


@dataclass
class _Run:
    """One gantry: its state, when its camera takes the next picture, and the pictures taken that
    are on their way.
    """

    number: int
    data: Any
    noise: np.random.Generator
    phase: float
    shots: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    taken: int = 0


class Gantry:
    """B gantries over the same table, each moved by its own joints: a World like the free-flying
    simulator.

    Ts_world_cam: (B, 4, 4), where the cameras start; InputError where the arm cannot put one. runs:
    the numbers of these runs in the whole set, which with the seed tell their noise and lights.
    parts: what stands on the table, free to be moved.
    """

    def __init__(
        self,
        scene: PlanarScene,
        camera: Camera,
        Ts_world_cam: Float[Tensor, "b 4 4"],
        light: Light = Light(),
        sight: Sight = Sight(),
        limits: Limits = Limits(),
        seed: int = 0,
        runs: Tensor | None = None,
        parts: Sequence[Standing] = (),
    ) -> None:
        self.camera, self.light, self.sight, self.colour = (
            camera,
            light,
            sight,
            scene.texture.shape[0] == 3,
        )
        self.model = gantry_model(scene, light, parts)
        self.arm, self.eye = Arm(self.model, limits), Eye(self.model, "eye", camera, FINER)
        self.drawn = mujoco().MjData(self.model)  # what is drawn: a state of the past
        numbers = range(len(Ts_world_cam)) if runs is None else runs.tolist()
        self.runs = [
            self._placed(T, n, seed)
            for T, n in zip(Ts_world_cam.double().numpy(), numbers, strict=True)
        ]

    def _placed(self, T_world_cam: Float[np.ndarray, "4 4"], number: int, seed: int) -> _Run:
        data, random = mujoco().MjData(self.model), np.random.default_rng((seed, number))
        data.qpos[self.arm.q] = self.arm.joints_at(T_world_cam, f"start {number}")
        mujoco().mj_forward(self.model, data)
        run = _Run(number, data, random, float(random.random()))
        run.shots.append((0.0, data.qpos.copy()))
        return run

    @property
    def T_world_cam(self) -> Float[Tensor, "b 4 4"]:
        """Where the cameras are now."""
        return torch.from_numpy(np.stack([self.arm.pose(run.data) for run in self.runs]))

    def observe(self) -> Float[Tensor, "b c h w"]:
        """The last picture of each camera that has arrived by now."""
        return torch.cat([self._seen(run) for run in self.runs])

    def _seen(self, run: _Run) -> Float[Tensor, "1 c h w"]:
        arrived = run.data.time - self.sight.latency + 1e-9
        while len(run.shots) > 1 and run.shots[1][0] <= arrived:
            run.shots.popleft()
        t, qpos = run.shots[0]
        image = self._drawn(qpos, t, run.phase)
        return (
            image + torch.from_numpy(run.noise.normal(0, self.sight.noise, image.shape)).float()
        ).clamp(0, 1)

    def _drawn(self, qpos: np.ndarray, t: float, phase: float) -> Float[Tensor, "1 c h w"]:
        """What the camera sees of a state, without noise."""
        for k, (position, strength) in enumerate(self.light.at(t, phase)):
            self.model.light_pos[k], self.model.light_diffuse[k] = position, strength
            self.model.light_dir[k] = -np.array(position) / np.linalg.norm(
                position
            )  # at the middle of the table
        self.drawn.qpos[:] = qpos
        mujoco().mj_kinematics(self.model, self.drawn)
        mujoco().mj_camlight(self.model, self.drawn)
        image = torch.from_numpy(self.eye.picture(self.drawn).copy()).permute(2, 0, 1)[None] / 255
        return image if self.colour else pictures.grey(image)

    def pictures_at(
        self, Ts_world_cam: Float[Tensor, "n 4 4"], light_at: float = 0.0
    ) -> Float[Tensor, "n c h w"]:
        """What the camera sees from these poses, standing still and without noise; InputError where
        the arm cannot go.
        """
        return self._standing(
            [
                self.arm.joints_at(T, f"goal {k}")
                for k, T in enumerate(Ts_world_cam.double().numpy())
            ],
            light_at,
        )

    def pictures_from(self, Ts_world_cam: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n c h w"]:
        """As `pictures_at`, from where cameras have been: a joint may have gone a little over the
        end of its range.
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
        """Move on for dt seconds with this velocity of the camera, as well as the joints can;
        pictures are taken on the way.
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
        """Bring one camera to a pose by the joints' own sensors, blind, and hold it there;
        InputError where the arm cannot.

        fingers: how far each is opened [m].
        """
        data, q = self.runs[run].data, self.arm.joints_at(T_world_cam)
        data.ctrl[self.model.actuator("grip").id] = fingers
        for _ in range(round(seconds / self.model.opt.timestep)):
            self.arm.turn(data, APPROACH * (q - data.qpos[self.arm.q]))
            mujoco().mj_step(self.model, data)
        mujoco().mj_kinematics(self.model, data)
        mujoco().mj_comPos(self.model, data)

    def select_runs(self, index: Tensor) -> None:
        """Go on with these gantries alone."""
        self.runs = [self.runs[i] for i in index.tolist()]
