"""The interface to MuJoCo: axes, cameras, and pictures of its worlds without a screen.

Ours: x right, y down, z forward, and the table z = 0 is seen from z < 0. MuJoCo's: z up, and a
camera looks along its own -z. Half a turn about x takes one to the other, for the world and for the
camera alike.
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
MIN_VERSION = (3, 6)  # older ones mirror an off-centre principal point
WINDOW_BACKENDS = ("", "glfw", "glx")  # values of MUJOCO_GL that open a window
BACKENDS = {"egl": "EGL", "osmesa": "OSMesa"}  # those that need no screen, and their libraries
INSTALL = "install EGL (Debian: libegl1 and libgl1-mesa-dri) or OSMesa (libosmesa6)"
MAX_SIDE = 16384  # px: OpenGL draws no larger picture
BYTES_PER_PIXEL = 80  # eight samples of colour and depth, and what is read back
PIXEL_PITCH = 1e-3  # m on the sensor: any number gives the same picture


@cache
def mujoco() -> Any:
    """The package `mujoco`, imported with a way of drawing that needs no screen.

    Raises InputError, with what to install or to set, where it is missing, too old, or cannot draw.
    """
    if "MUJOCO_GL" in os.environ:
        _check_chosen(os.environ["MUJOCO_GL"])
    else:
        # MuJoCo chooses how to draw at its import, and ends the process where that fails.
        if "mujoco" in sys.modules and "DISPLAY" not in os.environ:
            raise InputError(
                "mujoco was imported without a way to draw that needs no screen; set "
                "MUJOCO_GL=egl before its import"
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
        # MUJOCO_GL and PYOPENGL_PLATFORM differ, or name what is not installed.
        raise InputError(
            f"{_settings()}: MuJoCo cannot draw so ({str(error).splitlines()[0]}); unset it, or "
            "set MUJOCO_GL=egl"
        ) from None
    if tuple(int(part) for part in found.__version__.split(".")[:2]) < MIN_VERSION:
        raise InputError(
            f"MuJoCo {found.__version__} draws wrongly here; install "
            f"{MIN_VERSION[0]}.{MIN_VERSION[1]} or newer"
        )
    return found


def _check_chosen(chosen: str) -> None:
    """InputError where MuJoCo cannot draw with this value of MUJOCO_GL.

    Only on Linux: other systems have their own way of drawing.
    """
    name = chosen.strip().lower()
    if name in BACKENDS:
        if not ctypes.util.find_library(BACKENDS[name]):
            raise InputError(
                f"MUJOCO_GL={chosen}: {BACKENDS[name]} is not installed here; {INSTALL}, or unset "
                "MUJOCO_GL"
            )
    elif sys.platform.startswith("linux") and not (
        name in WINDOW_BACKENDS and os.environ.get("DISPLAY")
    ):
        why = "it needs a screen" if name in WINDOW_BACKENDS else "there is no such way of drawing"
        raise InputError(
            f"MUJOCO_GL={chosen!r}: MuJoCo cannot draw so here ({why}); unset it, or set "
            "MUJOCO_GL=egl"
        )


def _settings() -> str:
    """The environment's variables that choose how MuJoCo draws, with their values."""
    names = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
    return ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def pose_there(
    T_world_cam: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]]:
    """Position and rotation of one of our poses in MuJoCo's axes."""
    return AXES @ T_world_cam[:3, 3], AXES @ T_world_cam[:3, :3] @ AXES


def pose_here(
    position: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "4 4"]:
    """One of our poses from position and rotation in MuJoCo's axes."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = AXES @ rotation @ AXES, AXES @ position
    return T


def quaternion(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """A rotation as MuJoCo's unit quaternion (w, x, y, z)."""
    found = np.zeros(4)
    mujoco().mju_mat2Quat(found, np.ascontiguousarray(rotation, float).ravel())
    return found


def set_lens(model: Any, name: str, camera: Camera) -> None:
    """Set the intrinsics of MuJoCo's camera of that name to those of `camera`."""
    k = model.camera(name).id
    shift = ((camera.width - 1) / 2 - camera.cx, (camera.height - 1) / 2 - camera.cy)
    model.cam_resolution[k] = (camera.width, camera.height)
    model.cam_sensorsize[k] = PIXEL_PITCH * np.array([camera.width, camera.height])
    model.cam_intrinsic[k] = PIXEL_PITCH * np.array([camera.fx, camera.fy, *shift])
    model.cam_projection[k] = 0


class Eye:
    """Pictures by one camera of a model, drawn without a screen, by EGL or else by OSMesa.

    supersampling: how many times as many rows and columns are drawn and then averaged; drivers do
    not antialias shadows. Raises InputError where the picture cannot be drawn.
    """

    def __init__(self, model: Any, name: str, camera: Camera, supersampling: int = 1) -> None:
        set_lens(model, name, camera)
        self.name, self.size = name, (camera.width, camera.height)
        w, h = (supersampling * side for side in self.size)
        size = f"{camera.width} x {camera.height} pixels"
        if max(w, h) > MAX_SIDE:
            raise InputError(
                f"a picture of {size} is too large to draw; give a camera of at most "
                f"{MAX_SIDE // supersampling} pixels a side"
            )
        what, remedy = f"a drawn picture of {size}", "give a camera of fewer pixels"
        memory.check(BYTES_PER_PIXEL * w * h, what, remedy)
        model.vis.global_.offwidth, model.vis.global_.offheight = w, h
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GLFW's; the error below says what matters
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
        """The picture of a state whose kinematics are computed."""
        self.renderer.update_scene(data, camera=self.name)
        return cv2.resize(self.renderer.render(), self.size, interpolation=cv2.INTER_AREA)

    def depth(self, data: Any) -> Float[np.ndarray, "h w"]:
        """Depth Z [m] of each pixel's centre, without supersampling."""
        self.renderer.enable_depth_rendering()
        self.renderer.update_scene(data, camera=self.name)
        found = np.array(self.renderer.render())
        self.renderer.disable_depth_rendering()
        return found
