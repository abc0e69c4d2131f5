"""Where MuJoCo begins: its axes against ours, its camera against ours, and pictures of its worlds
without a screen.

Ours: x right, y down, z forward, and the table z = 0 seen from z < 0. MuJoCo's: z up, and a camera
looks along its own -z. Half a turn about x takes one to the other, for the world and for the camera
alike.
"""

import ctypes.util
import importlib
import os
import sys
import warnings
from functools import cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.system import memory

AXES = np.diag([1.0, -1.0, -1.0])
OLDEST = (3, 6)  # before, an off-centre principal point is mirrored
WINDOWS = (
    "",
    "glfw",
    "glx",
)  # ways of drawing that open a window; MuJoCo takes an empty word for the first
INSTALL = "install EGL (Debian: libegl1 and libgl1-mesa-dri) or OSMesa (libosmesa6)"
MOST = 16384  # pixels a side of what OpenGL draws at once
BYTES = 80  # a pixel: eight samples of colour and depth, and what is read back
MM = 1e-3  # a pixel's side on the sensor [m]; any will do
BACKENDS = {
    "egl": "EGL",
    "osmesa": "OSMesa",
}  # drawing without a screen: what MuJoCo calls it, and the library it takes


@cache
def mujoco() -> Any:
    """The package; InputError, with what to install or to set, where it or all that it could draw
    with is missing.
    """
    if "MUJOCO_GL" in os.environ:
        _check_chosen(os.environ["MUJOCO_GL"])
    else:
        if (
            "mujoco" in sys.modules and "DISPLAY" not in os.environ
        ):  # it has chosen, and would end the whole process where that fails
            raise InputError(
                "mujoco was imported before it was told how to draw without a screen; set "
                "MUJOCO_GL=egl before"
            )
        there = [name for name, library in BACKENDS.items() if ctypes.util.find_library(library)]
        if there:
            os.environ["MUJOCO_GL"] = there[0]
    try:
        found = importlib.import_module("mujoco")
    except ImportError:
        raise InputError(
            "the gantry and meshes need MuJoCo, which is not installed; run pip install "
            "'deepservo[mujoco]'"
        ) from None
    except RuntimeError as error:
        # what it was told to draw with, by MUJOCO_GL or PYOPENGL_PLATFORM, is not there or not the
        # same
        raise InputError(
            f"{_settings()}: MuJoCo cannot draw so ({str(error).splitlines()[0]}); unset it, or "
            "set MUJOCO_GL=egl"
        ) from None
    if tuple(int(part) for part in found.__version__.split(".")[:2]) < OLDEST:
        raise InputError(
            f"MuJoCo {found.__version__} draws wrongly here; install {OLDEST[0]}.{OLDEST[1]} or "
            "newer"
        )
    return found


def _check_chosen(chosen: str) -> None:
    """InputError where MUJOCO_GL is something that MuJoCo cannot draw with here (on Linux;
    elsewhere the system has its own way).
    """
    name = chosen.strip().lower()
    if name in BACKENDS:
        if not ctypes.util.find_library(BACKENDS[name]):
            raise InputError(
                f"MUJOCO_GL={chosen}: {BACKENDS[name]} is not installed here; {INSTALL}, or unset "
                "MUJOCO_GL"
            )
    elif sys.platform.startswith("linux") and not (name in WINDOWS and os.environ.get("DISPLAY")):
        why = "it needs a screen" if name in WINDOWS else "there is no such way of drawing"
        raise InputError(
            f"MUJOCO_GL={chosen!r}: MuJoCo cannot draw so here ({why}); unset it, or set "
            "MUJOCO_GL=egl"
        )


def _settings() -> str:
    """The variables of the environment that choose how MuJoCo draws, as they are set."""
    names = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
    return ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def pose_there(
    T_world_cam: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Position and rotation in MuJoCo's axes of one of our poses."""
    return AXES @ T_world_cam[:3, 3], AXES @ T_world_cam[:3, :3] @ AXES


def pose_here(
    position: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "4 4"]:
    """The inverse of `pose_there`."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = AXES @ rotation @ AXES, AXES @ position
    return T


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """wxyz."""
    found = np.zeros(4)
    mujoco().mju_mat2Quat(found, np.ascontiguousarray(rotation, float).ravel())
    return found


def set_lens(model: Any, name: str, camera: Camera) -> None:
    """Give MuJoCo's camera of that name our intrinsics."""
    k = model.camera(name).id
    shift = ((camera.width - 1) / 2 - camera.cx, (camera.height - 1) / 2 - camera.cy)
    model.cam_resolution[k] = (camera.width, camera.height)
    model.cam_sensorsize[k] = (MM * camera.width, MM * camera.height)
    model.cam_intrinsic[k] = (MM * camera.fx, MM * camera.fy, MM * shift[0], MM * shift[1])
    model.cam_projection[k] = 0


class Eye:
    """Pictures by one camera of a model; it draws without a screen, by EGL or else by OSMesa.

    finer: how many times as many rows and columns are drawn, then averaged, as a camera's pixels
    do: drivers smooth no shadow's edge.
    """

    def __init__(self, model: Any, name: str, camera: Camera, finer: int = 1) -> None:
        set_lens(model, name, camera)
        self.name, self.size = name, (camera.width, camera.height)
        w, h = (finer * side for side in self.size)
        size = f"{camera.width} x {camera.height} pixels"
        if max(w, h) > MOST:
            raise InputError(
                f"a picture of {size} is too large to draw; give a camera of at most "
                f"{MOST // finer} pixels a side"
            )
        memory.check(BYTES * w * h, f"a drawn picture of {size}", "give a camera of fewer pixels")
        model.vis.global_.offwidth, model.vis.global_.offheight = w, h
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GLFW's: the sentence below says what matters
                self.renderer = mujoco().Renderer(model, h, w)
        except Exception as error:  # each way of drawing fails in its own way
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            if "framebuffer" in why.lower():
                raise InputError(
                    f"a picture of {size} cannot be drawn here ({why}); give a camera of fewer "
                    "pixels"
                ) from None
            there = any(ctypes.util.find_library(library) for library in BACKENDS.values())
            remedy = (
                f"{_settings()} is set: unset it, or set MUJOCO_GL=egl"
                if there and _settings()
                else INSTALL
            )
            raise InputError(f"MuJoCo cannot draw here ({why}); {remedy}") from None

    def picture(self, data: Any) -> UInt8[np.ndarray, "h w 3"]:
        """What it sees of a state whose kinematics are done."""
        self.renderer.update_scene(data, camera=self.name)
        return cv2.resize(self.renderer.render(), self.size, interpolation=cv2.INTER_AREA)

    def depth(self, data: Any) -> Float[np.ndarray, "h w"]:
        """Depth Z [m] of each pixel's centre, drawn no finer."""
        self.renderer.enable_depth_rendering()
        self.renderer.update_scene(data, camera=self.name)
        found = np.array(self.renderer.render())
        self.renderer.disable_depth_rendering()
        return found
