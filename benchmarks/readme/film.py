"""Draws the README's moving picture: a camera servoed to its goal, seen from beside, and what it
sees meanwhile.

    .venv/bin/python -m benchmarks film

The scene is scikit-image's `coffee`, the method `auto`: nothing is trained.
"""

from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deepservo import Camera, PlanarScene, Simulator, build, servo
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene import sampling
from deepservo.system.files import replacing

EYE = Camera(320, 240, 340.0, 340.0, 159.5, 119.5)  # the robot's
BESIDE = Camera(480, 360, 470.0, 470.0, 239.5, 179.5)  # the spectator's
T_WORLD_BESIDE = sampling.look_at(
    torch.tensor([-1.02, -0.62, -0.95], dtype=torch.float64),
    torch.tensor([0.02, 0.02, -0.22], dtype=torch.float64),
    torch.tensor(0.35),
)
WIDTH, DISTANCE = 0.8, 0.6  # of the picture, to the goal [m]
START = (0.34, -0.24, -0.78), (0.03, 0.01, 0.0), 1.2  # position, target [m], roll [rad]
FRUSTUM = 0.14  # [m] long
GOAL, NOW, PATH = (64, 160, 92), (235, 120, 30), (235, 170, 110)
PAPER, INK = (250, 250, 247), (26, 29, 33)
GAP, TEXT = 12, 34  # [px]
FRAMES_A_STEP, FRAME_MS, LAST_FRAMES = 2, 50, 24


def main(out: Path = Path("docs/home.webp"), quality: int = 60) -> None:
    """Draw it.

    Args:
        out: the picture.
        quality: of its frames, 0 to 100.
    """
    grey, colour = PlanarScene(bundled("coffee"), WIDTH), PlanarScene(_coloured(), WIDTH)
    T_goal = sampling.fronto_parallel(DISTANCE)
    position, target, roll = (torch.tensor(value, dtype=torch.float64) for value in START)
    start = sampling.look_at(position, target, roll)[None]
    controller = build("auto", EYE, DISTANCE)
    goal = grey.render(EYE, T_goal)
    controller.set_goal(goal)
    trajectory = servo(Simulator(grey, EYE, start), controller, goal)
    mm, rad = se3.distance(T_goal, trajectory.Ts_world_cam[:, 0])
    steps = int((mm > 5e-4).sum()) + 1
    poses = _between(trajectory.Ts_world_cam[:steps, 0])
    frames = [
        _frame(colour, poses[: k + 1], T_goal[0], f"step {k // FRAMES_A_STEP}")
        for k in range(len(poses))
    ]
    last = f"{1e3 * float(mm[-1]):.3f} mm from the goal after {int(trajectory.steps[0])} steps"
    frames += [_frame(colour, poses, T_goal[0], last)] * LAST_FRAMES
    with replacing(out) as beside:
        frames[0].save(
            beside, "webp", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0,
            quality=quality, method=6,
        )  # fmt: skip
    first = f"{1e3 * float(mm[0]):.0f} mm and {float(rad[0].rad2deg()):.0f} deg away at first"
    print(f"{out}: {len(frames)} frames, {out.stat().st_size / 1e6:.1f} MB; {first}, {last}")


def _coloured() -> Float[Tensor, "3 h w"]:
    """The bundled picture's colours, cut as `bundled` cuts it."""
    h, w = bundled("coffee").shape[1:]
    picture = skimage.data.coffee()
    top, left = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
    cut = torch.from_numpy(picture[top : top + h, left : left + w] / 255)
    return cut.float().permute(2, 0, 1).contiguous()


def _between(Ts: Float[Tensor, "n 4 4"]) -> Float[Tensor, "m 4 4"]:
    """Poses on the way from each to the next."""
    moves = se3.log(se3.inverse(Ts[:-1]) @ Ts[1:])
    parts = [Ts[:-1] @ se3.exp(moves * (k / FRAMES_A_STEP)) for k in range(FRAMES_A_STEP)]
    return torch.cat([torch.stack(parts, 1).flatten(0, 1), Ts[-1:]])


def _frame(
    scene: PlanarScene, poses: Float[Tensor, "n 4 4"], T_goal: Float[Tensor, "4 4"], words: str
) -> Image.Image:
    """Both views side by side, under a line of text."""
    sheet = Image.new("RGB", (2 * BESIDE.width + 3 * GAP, BESIDE.height + 2 * GAP + TEXT), PAPER)
    seen, goal = (_picture(scene, EYE, T) for T in (poses[-1], T_goal))
    view = cv2.resize(seen, (BESIDE.width, BESIDE.height), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(goal, (BESIDE.width // 4, BESIDE.height // 4), interpolation=cv2.INTER_AREA)
    view[-small.shape[0] - 8 : -8, -small.shape[1] - 8 : -8] = small
    cv2.rectangle(
        view,
        (view.shape[1] - small.shape[1] - 9, view.shape[0] - small.shape[0] - 9),
        (view.shape[1] - 8, view.shape[0] - 8),
        GOAL,
        2,
    )
    for k, picture in enumerate((_beside(scene, poses, T_goal), view)):
        sheet.paste(Image.fromarray(picture), (GAP + k * (BESIDE.width + GAP), GAP + TEXT))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    draw.text((GAP, GAP), "the camera (orange) and its goal (green)", INK, font)
    draw.text((2 * GAP + BESIDE.width, GAP), f"what it sees, {words}", INK, font)
    return sheet


def _picture(scene: PlanarScene, camera: Camera, T: Float[Tensor, "4 4"]) -> np.ndarray:
    background = torch.full((1, 3), 0.93)
    picture = scene.render_covered(camera, T[None], background)[0][0]
    return np.ascontiguousarray((255 * picture).round().byte().permute(1, 2, 0).numpy())


def _beside(
    scene: PlanarScene, poses: Float[Tensor, "n 4 4"], T_goal: Float[Tensor, "4 4"]
) -> np.ndarray:
    """The scene from beside, with both cameras and the path so far."""
    view = _picture(scene, BESIDE, T_WORLD_BESIDE)
    path = _seen(poses[:, :3, 3])
    cv2.polylines(view, [path], False, PATH, 2, cv2.LINE_AA)
    for T, colour in ((T_goal, GOAL), (poses[-1], NOW)):
        x, y = EYE.width / 2 / EYE.fx * FRUSTUM, EYE.height / 2 / EYE.fy * FRUSTUM
        corners = torch.tensor(
            [[0, 0, 0], [-x, -y, FRUSTUM], [x, -y, FRUSTUM], [x, y, FRUSTUM], [-x, y, FRUSTUM]],
            dtype=torch.float64,
        )
        px = _seen(corners @ T[:3, :3].mT + T[:3, 3])
        cv2.polylines(view, [px[1:]], True, colour, 2, cv2.LINE_AA)
        for corner in px[1:]:
            cv2.line(view, px[0].tolist(), corner.tolist(), colour, 2, cv2.LINE_AA)
    return view


def _seen(points: Float[Tensor, "n 3"]) -> np.ndarray:
    """Where points of the world are in the view from beside [px]."""
    T = se3.inverse(T_WORLD_BESIDE)
    return BESIDE.project(points @ T[:3, :3].mT + T[:3, 3]).round().int().numpy()
